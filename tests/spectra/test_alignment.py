"""|cos(g, v₁)| against closed forms on quadratics and the dense Hessian of networks."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.spectra import ascent_alignment
from samflow.spectra.spectrum import DENSE_DIM
from tests.units import FEW, Scaled


def quadratic(lams):
    return sf.losses.Quadratic(jnp.asarray(lams))


@pytest.mark.parametrize(
    ("lams", "count"),
    [((3.0, 1.0, -2.0), 1), ((3.0, 3.0, -5.0), 2), ((-1.0, -3.0, -2.0), 1), ((2.0, 2.0, 2.0), 3)],
)
def test_on_a_quadratic_it_is_the_share_of_the_largest_eigenvalue(lams, count):
    lams, w = np.array(lams), np.array([0.3, -0.7, 0.5])
    found = ascent_alignment(quadratic(lams), w)
    g = lams * w
    expected = np.linalg.norm(g[lams == lams.max()]) / np.linalg.norm(g)
    assert found.status is Status.located
    assert found.cosine == pytest.approx(expected, rel=1e-12)  # rounding
    assert (found.eigenvalue, found.multiplicity) == (lams.max(), count)
    assert (count == 3) == (found.cosine == pytest.approx(1, abs=1e-12))
    assert found.error < 1e-12


def test_a_gradient_across_the_sharpest_direction_has_no_share():
    found = ascent_alignment(quadratic((3.0, 1.0)), [0.0, 0.4])
    assert (found.status, found.cosine) == (Status.located, 0.0)


def test_at_a_critical_point_there_is_no_direction():
    loss = sf.losses.beale()
    for w in ([0.0, 1.0], [3.0, 0.5]):
        found = ascent_alignment(loss, w)
        assert found.status is Status.no_gradient
        assert np.isnan(found.cosine)
        assert str(found) == f"no gradient: {Status.no_gradient.message}"
        # Slightly beside it there is one.
        beside = ascent_alignment(loss, [w[0] + 1e-5, w[1]])
        assert beside.status is Status.located
        assert "|cos(g, v₁)|" in str(beside)


def test_it_does_not_depend_on_units():
    loss, w = sf.losses.beale(), np.array([0.5, 0.8])
    here = ascent_alignment(loss, w)
    for c, k in FEW:
        there = ascent_alignment(Scaled(loss, np.float64(c), np.float64(k)), k * w)
        assert there.cosine == pytest.approx(here.cosine, rel=1e-9)
        assert ascent_alignment(Scaled(loss, c, k), k * np.array([3.0, 0.5])).status is (
            Status.no_gradient
        )


@pytest.mark.parametrize("top", [1, 2])
def test_beyond_the_dense_dimension_a_repeated_eigenvalue_counts_as_one_space(top):
    """Lanczos from a random start finds it once; from g it finds g's part of it."""
    rng = np.random.default_rng(0)
    lams = rng.uniform(-1, 1, DENSE_DIM + 50)
    lams[:top] = 3.0
    w = rng.normal(size=len(lams))
    g = lams * w
    found = ascent_alignment(quadratic(lams), w)
    assert found.status is Status.located
    assert found.multiplicity is None
    # The error is residual over gap; the gap is 2 and the residual 3e-6 or less.
    assert found.cosine == pytest.approx(
        np.linalg.norm(g[:top]) / np.linalg.norm(g), abs=found.error
    )
    assert found.error < 1e-5
    across = ascent_alignment(quadratic(lams), np.where(np.arange(len(lams)) < top, 0.0, w))
    assert across.cosine < 1e-6
    few = ascent_alignment(quadratic(lams), w, max_products=3)
    assert few.status is Status.residual_too_large


@pytest.mark.parametrize("width", [8, 24])
def test_on_networks_it_is_that_of_the_dense_hessian(width):
    model = eqx.nn.MLP(6, 4, width, 1, activation=jnp.tanh, key=jr.key(1))
    rng = np.random.default_rng(0)
    loss = sf.losses.network(model, rng.normal(size=(20, 6)), rng.normal(size=(20, 4)))
    assert (loss.dim > DENSE_DIM) == (width == 24)
    w = loss.flatten(model)
    g = np.asarray(loss.gradient(w))
    _, vectors = np.linalg.eigh(np.asarray(loss.hessian(w)))
    found = ascent_alignment(loss, w)
    assert found.status is Status.located
    expected = abs(vectors[:, -1] @ g) / np.linalg.norm(g)
    assert found.cosine == pytest.approx(expected, abs=max(found.error, 1e-10))
    assert found.cosine > 0.01


def test_bad_arguments_are_refused():
    loss = quadratic((1.0, 2.0))
    with pytest.raises(ArgumentError, match="`w` must have shape"):
        ascent_alignment(loss, [1.0])
    with pytest.raises(ArgumentError, match="`tol` must be"):
        ascent_alignment(loss, [1.0, 1.0], tol=0.0)
