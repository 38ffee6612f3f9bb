"""Where memory does not suffice, the message says how many examples to take at once."""

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.losses.allocation import allocation_error, explained_allocation, vectors
from samflow.losses.eager import compiled

LOSS = network(eqx.nn.Linear(2, 1, key=jr.key(0)), np.ones((100, 2)), np.ones((100, 1)), name="big")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_the_micro_batch_to_use_is_a_quarter(error):
    words = [
        (LOSS, r"100 examples at once\. Use `loss.in_chunks\(25\)`"),
        (LOSS.in_chunks(7), r"7 examples at once\. Use `loss.in_chunks\(1\)`"),
        (LOSS.in_chunks(1), "Even a single example is too much"),
    ]
    for loss, message in words:
        with pytest.raises(ArgumentError, match=message), explained_allocation(loss):
            raise error


def test_other_errors_are_raised_as_they_are():
    with pytest.raises(RuntimeError, match="something else"), explained_allocation(LOSS):
        raise RuntimeError("something else")


def test_functions_compiled_for_losses_say_it_too():
    """The loss may be a part of an argument, as of a map."""

    @compiled
    def fails(system, w):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    for holder in (LOSS, sf.Map(LOSS, sf.GD(), lr=0.1), LOSS.in_chunks(100)):
        with pytest.raises(ArgumentError, match=r"100 examples at once\. Use .*chunk_size=25"):
            fails(holder, np.zeros(3))
    with pytest.raises(RuntimeError, match="Out of memory"):
        fails(None, np.zeros(3))


def test_vectors_that_no_machine_holds_are_refused_in_words():
    assert vectors(3, 4).shape == (3, 4)
    with pytest.raises(ArgumentError, match=r"400 vectors of 1000000000000 weights take 2\.98e"):
        vectors(400, 10**12)


@pytest.mark.parametrize(
    ("said", "amount"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes", "3.22 GB"),
        ("can't allocate memory: you tried to allocate 2097152 bytes. Error code 12", "2.1 MB"),
        ("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has", "1.61 GB"),
        ("bad_alloc", ""),
    ],
)
def test_how_much_was_asked_for_is_said_where_it_is_known(said, amount):
    message = str(allocation_error("a network", 64, said))
    assert (f"a network where {amount} more were asked for, with 64" in message) == bool(amount)
    assert "more were" in message or not amount
    whole = str(allocation_error("a network", 64, said, whole=True))
    assert "chunk" not in whole
    assert "a loss of whole batches" in whole
