"""The quadratic loss is the formula ½ Σ λᵢwᵢ², and its eigenvalues are a leaf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow.losses.quadratic import is_quadratic

LAMS = (2.0, -0.5, 0.0)


@pytest.mark.parametrize(
    "lams",
    [
        ("1", "2"),
        (True, False),
        np.ma.masked_array([1.0, 2.0], [0, 1]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        (1j, 2),
    ],
)
def test_what_is_no_number_is_no_eigenvalue(lams):
    with pytest.raises(ArgumentError, match="finite numbers"):
        sf.losses.Quadratic(lams)
    with pytest.raises(ArgumentError, match="finite numbers"):
        sf.losses.saddle(lams)


def test_it_is_the_formula():
    loss, formula = sf.losses.Quadratic(LAMS), sf.losses.saddle(LAMS)
    for w in jax.random.normal(jax.random.key(0), (5, 3)):
        # Sums of three products, in an order of each one's own.
        assert float(loss(w)) == pytest.approx(float(formula(w)), rel=1e-14)
        np.testing.assert_array_equal(loss.gradient(w), formula.gradient(w))
        np.testing.assert_array_equal(loss.hessian(w), formula.hessian(w))
        np.testing.assert_array_equal(loss.gradient(w), jax.grad(loss)(w))
        np.testing.assert_array_equal(loss.hvp(w, w), loss.hessian(w) @ w)
    assert (loss.dim, loss.domain, loss.elementwise) == (3, None, True)


def test_both_layouts_agree():
    loss, points = sf.losses.Quadratic(LAMS), jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
    columns = Components(*points.T)
    together = jnp.stack(loss.gradient(columns).parts, axis=-1)
    np.testing.assert_array_equal(together, jax.vmap(loss.gradient)(points))
    np.testing.assert_allclose(loss(columns), jax.vmap(loss)(points), rtol=1e-14)


def test_eigenvalues_are_swept_and_differentiated_through_the_lens():
    w = jnp.array([1.0, 2.0])
    loss = sf.losses.Quadratic((1.0, 1.0))

    def value(lams):
        return eqx.tree_at(lambda one: one.lams, loss, lams)(w)

    sweep = jnp.array([[1.0, -1.0], [3.0, 0.5]])
    np.testing.assert_array_equal(jax.vmap(value)(sweep), [0.5 - 2.0, 1.5 + 1.0])
    np.testing.assert_array_equal(jax.grad(value)(sweep[0]), [0.5, 2.0])  # wᵢ²/2
    made_inside = jax.jit(lambda lams: sf.losses.Quadratic(lams)(w))
    np.testing.assert_array_equal(made_inside(sweep[0]), -1.5)


@pytest.mark.parametrize("lams", [(), (1.0, float("nan")), (float("inf"),), 1.0, [[1.0, 2.0]]])
def test_bad_eigenvalues_are_refused(lams):
    with pytest.raises(ArgumentError, match="`lams` must hold finite numbers, one for each weight"):
        sf.losses.Quadratic(lams)


def test_what_is_known_to_be_quadratic():
    quadratic = (sf.losses.Quadratic(LAMS), sf.losses.saddle(), sf.loss("(x + 1)**2 - x*y + 3"))
    assert all(map(is_quadratic, quadratic))
    other = (sf.losses.beale(), sf.loss("x**3"), sf.loss("exp(x)"), sf.loss("1/x"))
    assert not any(map(is_quadratic, other))
    assert is_quadratic(sf.loss("x**3 - (x - 1)**3"))  # 3x² − 3x + 1
    assert not is_quadratic(sf.loss(lambda w: w @ w, dim=2))  # not known to be
