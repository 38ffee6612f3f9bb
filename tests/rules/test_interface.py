"""One interface of rules: a memory that may be empty costs nothing."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval as pe

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow.rules import RULES, rule
from tests.rules.cases import CASES

LOSS, W = sf.losses.himmelblau(), jnp.array([0.3, 0.8])


@pytest.mark.parametrize("name", CASES)
def test_a_memory_is_as_long_as_is_said_in_both_layouts(name):
    made = CASES[name].rule
    length = 2 * made.num_memories
    assert made.init(LOSS, W).shape == (length,)
    parts = made.init(LOSS, Components(*W))
    assert isinstance(parts, Components)
    assert len(parts) == length


def _operations(step, w):
    """Return how often each operation is in the program of `step`, without dead code."""
    closed = jax.make_jaxpr(step)(w)
    used, _ = pe.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return Counter(str(equation.primitive) for equation in used.eqns)


@pytest.mark.parametrize("make", [sf.GD, lambda: sf.USAM(rho=0.1), lambda: sf.SAM(rho=0.1)])
def test_an_empty_memory_adds_no_operation(make):
    """The program of a step is that of w − lr d(w), in both layouts."""
    made = make()
    system = sf.Map(LOSS, made, lr=0.01)

    def plain(w):
        return w - system.lr * made.direction(LOSS, w)

    for w in (W, Components(*W)):
        found, expected = (_operations(step, w) for step in (system.step, plain))
        assert found == expected


def test_a_memory_is_seen_in_the_program():
    """The negative case of the test above: the state of a rule with a memory is longer."""
    system = sf.Map(LOSS, rule("vasso", rho=0.1), lr=0.01)
    z = system.lift(W)
    np.testing.assert_array_equal(z, [*W, *LOSS.gradient(W)])
    assert system.step(z).shape == (4,)


def test_a_flow_asks_for_the_number_of_memories():
    for name in RULES:
        made = rule(name, rho=0.1)
        if made.num_memories:
            with pytest.raises(ArgumentError, match="must have no memory"):
                sf.Flow(LOSS, made)
        else:
            sf.Flow(LOSS, made)
