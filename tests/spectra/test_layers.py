"""Traces by layer against the dense Hessian's blocks, and intervals that tell the truth."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import spectra
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.spectra.layers import layers


@pytest.fixture(scope="module")
def small():
    model = eqx.nn.MLP(3, 2, 8, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    loss = sf.losses.network(model, rng.normal(size=(30, 3)), rng.normal(size=(30, 2)))
    w = loss.flatten(model)
    return loss, w, np.diag(np.asarray(loss.hessian(w)))


BLOCKS = {"layers.0": slice(0, 32), "layers.1": slice(32, 50)}
ARRAYS = {"layers.0.weight": 24, "layers.0.bias": 8, "layers.1.weight": 16, "layers.1.bias": 2}


def test_exact_traces_are_those_of_the_blocks(small):
    loss, w, diagonal = small
    found = spectra.layer_traces(loss, w, num_products=50, key=jr.key(0))
    assert (found.names, found.method, found.num_products) == (tuple(BLOCKS), "exact", 50)
    expected = [diagonal[part].sum() for part in BLOCKS.values()]
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)  # rounding
    np.testing.assert_array_equal(found.sizes, [32, 18])
    assert not np.any(found.standard_errors)
    assert (found.status == Status.located).all()
    whole = spectra.trace(loss, w, num_products=50, key=jr.key(0)).value
    assert float(found.values.sum()) == pytest.approx(float(whole), rel=1e-12)
    arrays = spectra.layer_traces(loss, w, num_products=50, key=jr.key(0), by="array")
    assert arrays.names == tuple(ARRAYS)
    np.testing.assert_array_equal(arrays.sizes, list(ARRAYS.values()))


def test_an_estimate_is_its_twins_and_intervals_cover(small):
    """Of 60 intervals of 90 % at least 44 cover: fewer have the probability 2e-5 (binomial)."""
    loss, w, diagonal = small
    hessian = np.asarray(loss.hessian(w))
    found = spectra.layer_traces(loss, w, num_products=20, key=jr.key(3))
    signs = np.stack(
        [np.asarray(jr.rademacher(jr.fold_in(jr.key(3), i), (50,), float)) for i in range(20)]
    )
    for part, value, error in zip(
        BLOCKS.values(), found.values, found.standard_errors, strict=True
    ):
        each = (signs * (signs @ hessian))[:, part].sum(axis=1)
        assert float(value) == pytest.approx(each.mean(), rel=1e-10)
        assert float(error) == pytest.approx(each.std(ddof=1) / np.sqrt(20), rel=1e-10)
    covered = 0
    for i in range(30):
        one = spectra.layer_traces(loss, w, num_products=20, key=jr.key(i), level=0.9)
        for part, (low, high) in zip(BLOCKS.values(), one.intervals, strict=True):
            covered += bool(low <= diagonal[part].sum() <= high)
    assert covered >= 44


def test_more_products_keep_the_first_probes(small):
    loss, w, _ = small
    few, more = (
        spectra.layer_traces(loss, w, num_products=n, key=jr.key(0), tol=t)
        for n, t in ((3, 1e-3), (40, 10.0))
    )
    assert (few.status == Status.residual_too_large).all()
    assert (more.status == Status.located).all()
    assert "residual too large" in str(few).splitlines()[0]
    assert "residual" not in str(more)


def test_what_is_not_finite_is_told_by_layer():
    """The second layer's weights overflow its own products and those of the first."""
    model = eqx.nn.MLP(1, 1, 2, 1, activation=jnp.exp, key=jr.key(0))
    loss = sf.losses.network(model, [[1.0]], [[0.0]])
    w = jnp.full(loss.dim, 400.0)
    found = spectra.layer_traces(loss, w, num_products=50, key=jr.key(0))
    assert (found.status == Status.not_finite).all()


def test_layers_that_are_interrupted_are_told_apart():
    names = ("a.weight", "a.bias", "b.weight", "a.scale", "top")
    loss = SimpleNamespace(weight_names=names, weight_shapes=((2, 3), (2,), (4,), (1,), ()))
    expected = {
        "a": slice(0, 8),
        "b": slice(8, 12),
        "a (2)": slice(12, 13),
        "top": slice(13, 14),
    }
    assert layers(loss) == expected  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_products": 2}, "`num_products` must be"),
        ({"by": "unit"}, "unit"),
        ({"level": 1.0}, "`level` must be"),
        ({"tol": 0.0}, "`tol` must be"),
        ({"key": 3}, "`key` must be a key"),
        ({"w": jnp.ones(3)}, "`w` must have shape"),
        ({"loss": sf.losses.saddle()}, "Use `trace` for a loss without layers"),
    ],
)
def test_bad_input_is_refused(small, change, said):
    loss, w, _ = small
    arguments = {"loss": loss, "w": w, "num_products": 3, "key": jr.key(0)} | change
    with pytest.raises(ArgumentError, match=said):
        spectra.layer_traces(arguments.pop("loss"), arguments.pop("w"), **arguments)


def test_single_precision_is_refused(small):
    loss, w, _ = small
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ArgumentError, match="double precision"):
            spectra.layer_traces(loss, w, key=jr.key(0))
    finally:
        jax.config.update("jax_enable_x64", True)
