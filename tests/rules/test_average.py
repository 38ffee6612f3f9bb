"""The mean over a Gaussian: closed forms, exactness, samples."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.rules import GD, AverageSAM
from tests import contracts


@pytest.mark.parametrize(("nodes", "exact"), [(1, False), (2, False), (3, True), (8, True)])
def test_a_polynomial_gradient_is_averaged_exactly_by_enough_nodes(nodes, exact):
    """E 6(x + σz)⁵ = 6(x⁵ + 10x³σ² + 15xσ⁴): degree 5 needs 3 nodes."""
    loss, x, rho = sf.loss("x**6"), 0.8, 0.4
    expected = 6 * (x**5 + 10 * x**3 * rho**2 + 15 * x * rho**4)
    found = float(AverageSAM(rho, nodes=nodes).direction(loss, jnp.array([x]))[0])
    assert (found == pytest.approx(expected, rel=1e-14)) is exact


def test_a_transcendental_gradient_is_averaged_to_its_closed_form():
    """E sin(x + σz) = e^(−σ²/2) sin x, with σ² = rho²/n on each of n weights."""
    loss, w, rho = sf.loss("-cos(x) - cos(y) - cos(z)"), jnp.array([0.3, 1.2, -2.0]), 0.9
    found = AverageSAM(rho, nodes=9).direction(loss, w)
    # The error is (σ²)⁹ 9!/18! of the 18th derivative.
    np.testing.assert_allclose(found, np.exp(-(rho**2) / 6) * np.sin(w), atol=1e-12)


def test_a_critical_point_is_left_by_half_the_gradient_of_the_laplacian():
    loss, w = sf.losses.himmelblau(), jnp.array([3.0, 2.0])
    assert np.all(loss.gradient(w) == 0)
    gradient_of_laplacian = 24 * w + 4  # ΔL = 12x² + 4x + 12y² + 4y − 68
    rho = 0.1
    found = AverageSAM(rho).direction(loss, w)
    # The fourth derivative of g vanishes: the expansion ends.
    np.testing.assert_allclose(found, rho**2 / 4 * gradient_of_laplacian, rtol=1e-12)


def test_a_sample_tends_to_the_mean_and_is_the_same_at_every_call():
    loss, w, rho = sf.losses.himmelblau(), jnp.array([0.5, 1.5]), 0.5
    exact = AverageSAM(rho).direction(loss, w)
    # 8000 points, in batches.
    rule = AverageSAM.monte_carlo(rho, dim=2, num_samples=4000, key=jr.key(1))
    found = rule.direction(loss, w)
    shift = rho / np.sqrt(2) * rule.sample
    pairs = 0.5 * (jax.vmap(loss.gradient)(w + shift) + jax.vmap(loss.gradient)(w - shift))
    error = np.std(pairs, axis=0) / np.sqrt(4000)
    assert np.all(np.abs(found - exact) < 4 * error)  # a fixed key: no flake
    assert np.all(error < 0.06)
    np.testing.assert_array_equal(found, rule.direction(loss, w))
    assert np.abs(found - GD().direction(loss, w)).max() > 0.1


def test_a_larger_sample_keeps_the_first_rows():
    small = AverageSAM.monte_carlo(0.1, dim=3, num_samples=4, key=jr.key(2))
    large = AverageSAM.monte_carlo(0.1, dim=3, num_samples=9, key=jr.key(2))
    np.testing.assert_array_equal(small.sample, large.sample[:4])
    assert len(np.unique(large.sample)) == 27


def test_an_ensemble_shares_the_sample_and_both_layouts_the_points():
    rule = AverageSAM.monte_carlo(0.3, dim=2, num_samples=3, key=jr.key(0))
    starts = jnp.array([[0.5, 1.5], [0.1, -0.7], [2.0, 0.3]])
    system = sf.Map(sf.losses.quartic(), rule, lr=0.004)
    contracts.check_components_are_points(system, starts)
    contracts.check_jit_is_eager(system, starts[0])
    assert system.describe()


def test_a_function_of_many_weights_takes_a_sample():
    dim = 40
    loss = sf.loss(lambda w: jnp.sum(jnp.cosh(w)), dim=dim)
    rule = AverageSAM.monte_carlo(1.0, dim=dim, num_samples=3, key=jr.key(0))
    w = jnp.linspace(-1.0, 1.0, dim)
    shifts = np.asarray(rule.sample) / np.sqrt(dim)
    expected = np.mean([np.sinh(w + s) + np.sinh(w - s) for s in shifts], axis=0) / 2
    np.testing.assert_allclose(rule.direction(loss, w), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: AverageSAM(0.1, nodes=0), "`nodes` must be a whole number of at least 1"),
        (lambda: AverageSAM(0.1, nodes=65), "`nodes` must be at most 64, but is 65"),
        (lambda: AverageSAM(0.1, nodes=2, sample=[[1.0]]), "`nodes` must be left out"),
        (lambda: AverageSAM(0.1, sample=[1.0]), r"`sample` must have shape \(num_samples, dim\)"),
        (lambda: AverageSAM(0.1, sample=np.zeros((0, 2))), r"but has shape \(0, 2\)"),
        (lambda: AverageSAM.monte_carlo(0.1, dim=0, key=jr.key(0)), "`dim` must be a whole"),
        (
            lambda: AverageSAM(0.1, sample=[[1.0]]).direction(sf.losses.beale(), jnp.ones(2)),
            "a column for each of 2 weights, but has 1",
        ),
        (
            lambda: AverageSAM(0.1, nodes=64).direction(sf.losses.rosenbrock(dim=3), jnp.ones(3)),
            "at most 4096 points, but 64 along each of 3 axes give more. Use `AverageSAM.monte",
        ),
    ],
)
def test_bad_arguments_are_refused(use, words):
    with pytest.raises(ArgumentError, match=words):
        use()


def test_as_many_points_as_allowed_are_allowed():
    rule = AverageSAM(0.1, nodes=64)
    w = jnp.array([0.3, 0.4])
    np.testing.assert_allclose(rule.direction(sf.losses.saddle(), w), [0.3, -0.4], rtol=1e-13)
    assert len(AverageSAM(0.1, nodes=2)._points(12)[0]) == 4096
