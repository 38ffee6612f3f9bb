"""Blocks, the diagonal and the Frobenius norm of a Hessian, against the dense one."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import Status, spectra
from samflow._checks import ArgumentError
from samflow.spectra import blocks
from samflow.spectra.layers import layers


@pytest.fixture(scope="module")
def small():
    model = eqx.nn.MLP(3, 2, 8, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    loss = sf.losses.network(model, rng.normal(size=(30, 3)), rng.normal(size=(30, 2)))
    w = loss.flatten(model)
    return loss, w, np.asarray(loss.hessian(w))


def expected(hessian, parts):
    """Ends, norms and traces of blocks."""
    each = [hessian[np.ix_(part, part)] for part in parts]
    values = [np.linalg.eigvalsh(block) for block in each]
    return (
        np.array([v[0] for v in values]),
        np.array([v[-1] for v in values]),
        np.array([np.linalg.norm(block, 2) for block in each]),
        np.array([np.trace(block) for block in each]),
    )


def parts(loss, by):
    return [np.arange(p.start, p.stop) for p in layers(loss, by).values()]


@pytest.mark.parametrize("by", ["layer", "array"])
def test_blocks_are_those_of_the_dense_hessian(small, by, monkeypatch):
    loss, w, hessian = small
    low, high, norms, traces = expected(hessian, parts(loss, by))
    dense = spectra.block_spectra(loss, w, by=by)
    assert (dense.method, dense.num_products) == ("dense", 50)
    monkeypatch.setattr(blocks, "DENSE_DIM", 0)
    formed = spectra.block_spectra(loss, w, by=by)
    assert (formed.method, formed.num_products) == ("lanczos", 50)
    monkeypatch.setattr(blocks, "_DENSE_BLOCK", 0)
    lanczos = spectra.block_spectra(loss, w, by=by, tol=1e-10)
    for found in (dense, formed, lanczos):
        assert found.names == tuple(layers(loss, by))
        assert (found.status == Status.located).all()
        for got, true in zip(
            (found.smallest, found.largest, found.norms), (low, high, norms), strict=True
        ):
            np.testing.assert_allclose(got, true, atol=1e-11)  # rounding, and the square of tol
        # Within five standard errors, of nine degrees of freedom: one key in a thousand is beyond.
        assert (np.abs(found.traces - traces) <= 5 * np.asarray(found.trace_errors) + 1e-12).all()
    assert not np.any(dense.trace_errors)
    assert not np.any(formed.trace_errors)
    assert np.any(lanczos.trace_errors)


def test_the_error_of_a_trace_is_told(small, monkeypatch):
    """Of ten steps in a block of 32: 10 probes, whose errors over 20 runs are as they say."""
    loss, w, hessian = small
    monkeypatch.setattr(blocks, "DENSE_DIM", 0)
    monkeypatch.setattr(blocks, "_DENSE_BLOCK", 20)
    true = np.trace(hessian[:32, :32])
    gaps, errors = [], []
    for i in range(20):
        found = spectra.block_spectra(loss, w, tol=1e-14, max_products=5, key=jr.key(i))
        assert found.num_products == 5 + 10 + 18
        gaps.append(float(found.traces[0]) - true)
        errors.append(float(found.trace_errors[0]))
    spread = np.sqrt(np.mean(np.square(gaps)))
    assert 0.6 < np.mean(errors) / spread < 1.6  # the spread of 20 is known to 16 %
    whole = hessian[:32] ** 2  # of a product with all weights, as for `layer_traces`
    assert spread < 0.5 * np.sqrt(2 * (whole.sum() - np.sum(np.diag(hessian)[:32] ** 2)) / 10)


def test_blocks_may_be_any_grouping_of_arrays(small):
    loss, w, hessian = small
    kind = spectra.block_spectra(loss, w, by=lambda name: name.rpartition(".")[2])
    assert kind.names == ("weight", "bias")
    weights = np.r_[0:24, 32:48]
    low, high, *_ = expected(hessian, [weights, np.setdiff1d(np.arange(50), weights)])
    np.testing.assert_allclose(kind.smallest, low, atol=1e-12)
    np.testing.assert_allclose(kind.largest, high, atol=1e-12)
    whole = spectra.block_spectra(loss, w, by=lambda name: "all")
    pairs = spectra.extreme_eigenpairs(loss, w, k=1)
    np.testing.assert_allclose([whole.smallest[0], whole.largest[0]], pairs.values, rtol=1e-12)


def test_a_search_that_gives_up_says_so(small, monkeypatch):
    loss, w, hessian = small
    monkeypatch.setattr(blocks, "DENSE_DIM", 0)
    monkeypatch.setattr(blocks, "_DENSE_BLOCK", 0)
    few = spectra.block_spectra(loss, w, tol=1e-10, max_products=3, trace_products=3)
    assert (few.status == Status.residual_too_large).all()
    assert few.num_products == 2 * (3 + 3)
    for part, *found in zip(
        parts(loss, "layer"), few.largest, few.largest_residuals, few.smallest, strict=False
    ):
        values = np.linalg.eigvalsh(hessian[np.ix_(part, part)])
        high, residual, low = map(float, found)
        assert np.abs(values - high).min() <= residual  # whatever the status
        assert values[0] <= low <= high <= values[-1]
    assert "residual too large" in str(few)
    overflowing = w.at[40].set(1e200)  # a weight of the last layer, whose square is no number
    for dense in (0, 40):
        monkeypatch.setattr(blocks, "_DENSE_BLOCK", dense)
        nothing = spectra.block_spectra(loss, overflowing, trace_products=3)
        assert int(nothing.status[0]) == Status.not_finite
        assert np.isnan(float(nothing.norms[0]))


def test_the_diagonal_is_exact_or_within_its_error(small):
    loss, w, hessian = small
    diagonal = np.diag(hessian)
    exact = spectra.hessian_diagonal(loss, w, num_products=50)
    assert (exact.method, exact.num_products) == ("exact", 50)
    np.testing.assert_allclose(exact.values, diagonal, atol=1e-14)
    assert float(exact.relative_error) == 0
    found = spectra.hessian_diagonal(loss, w, num_products=40, key=jr.key(1), tol=1e-3)
    assert found.method == "hutchinson"
    assert (np.asarray(found.status) == Status.residual_too_large).any()
    z = (np.asarray(found.values) - diagonal) / np.asarray(found.standard_errors)
    # Of Student's distribution with 39 degrees: the mean square of 50 is 1.05 ± 0.2 if entries
    # were independent, and they are not quite.
    assert 0.5 < np.mean(z**2) < 2
    # The variance is the sum of the squares beside the diagonal: 40 draws know it to 1/√20 or so.
    variance = np.sum(hessian**2, axis=1) - diagonal**2
    ratio = np.asarray(found.standard_errors) ** 2 * 40 / variance
    assert 0.7 < ratio.mean() < 1.3
    assert float(found.relative_error) == pytest.approx(
        np.linalg.norm(found.standard_errors) / np.linalg.norm(found.values)
    )


def test_the_frobenius_norm_is_exact_or_within_its_interval(small):
    loss, w, hessian = small
    true = np.linalg.norm(hessian)
    exact = spectra.frobenius_norm(loss, w, num_products=50)
    assert (exact.method, exact.status) == ("exact", Status.located)
    assert float(exact.value) == pytest.approx(true, rel=1e-13)
    squared = hessian @ hessian
    plain = np.sqrt(2 * (np.sum(squared**2) - np.sum(np.diag(squared) ** 2)) / 15) / (2 * true)
    covered, gaps, errors = 0, [], []
    for i in range(20):
        found = spectra.frobenius_norm(loss, w, num_products=15, key=jr.key(i), level=0.9)
        assert float(found.lower_bound) <= true * (1 + 1e-12)
        assert found.num_products == 15
        low, high = map(float, found.interval)
        covered += low <= true <= high
        gaps.append(float(found.value) - true)
        errors.append(float(found.standard_error))
    spread = np.sqrt(np.mean(np.square(gaps)))
    assert spread < plain  # 0.65 of what as many products without a sketch are expected to err by
    assert 0.6 < np.mean(errors) / spread < 1.6  # the spread of 20 is known to 16 %
    assert covered >= 13  # of 18 expected; fewer have the probability 0.002 (binomial)
    none = spectra.frobenius_norm(loss, w, num_products=15, tol=1e-9)
    assert none.status == Status.residual_too_large


def test_a_hessian_of_low_rank_has_no_error():
    quadratic = sf.losses.Quadratic(jnp.r_[jnp.array([3.0, -4.0]), jnp.zeros(18)])
    found = spectra.frobenius_norm(quadratic, jnp.zeros(20), num_products=12)
    assert float(found.value) == pytest.approx(5.0, rel=1e-12)
    assert float(found.standard_error) < 1e-12
    zero = spectra.frobenius_norm(sf.losses.Quadratic(jnp.zeros(20)), jnp.zeros(20), num_products=9)
    assert float(zero.value) == 0


@pytest.mark.parametrize(
    ("call", "change", "message"),
    [
        (spectra.block_spectra, {"by": "neuron"}, "by"),
        (spectra.block_spectra, {"tol": 0.0}, "tol"),
        (spectra.block_spectra, {"max_products": 1}, "max_products"),
        (spectra.block_spectra, {"trace_products": 2}, "trace_products"),
        (spectra.hessian_diagonal, {"num_products": 2}, "num_products"),
        (spectra.frobenius_norm, {"num_products": 8}, "num_products"),
        (spectra.frobenius_norm, {"level": 1.0}, "level"),
    ],
)
def test_bad_input_is_refused(small, call, change, message):
    loss, w, _ = small
    with pytest.raises(ArgumentError, match=message):
        call(loss, w, **change)
    with pytest.raises(ArgumentError, match="`w`"):
        call(loss, w[1:])


def test_a_diagnosis_has_a_table_by_layer(small):
    loss, w, hessian = small
    checkpoint = sf.networks.Checkpoint(loss, w)
    effort = sf.networks.Effort(trace_products=6)
    given = {"rho": 0.1, "lr": 0.1, "rules": ("gd",), "effort": effort}
    found = sf.networks.diagnose(checkpoint, by_layer=True, **given)
    assert found.blocks is not None
    np.testing.assert_allclose(
        found.blocks.largest, expected(hessian, parts(loss, "layer"))[1], atol=1e-12
    )
    row = next(line for line in str(found).splitlines() if line.startswith("layers.1  "))
    assert row.split()[1:4] == [
        "18",
        *(f"{float(v[1]):.5g}" for v in (found.blocks.smallest, found.blocks.largest)),
    ]
    data = found.to_dataset()
    assert list(data["blocks_block"].values) == ["layers.0", "layers.1"]
    without = dataclasses.replace(found, blocks=None)
    assert "Diagonal blocks" in str(found)
    assert "Diagonal blocks" not in str(without)
