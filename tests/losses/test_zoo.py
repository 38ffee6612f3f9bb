"""Every listed critical point is one, of the kind that is listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from tests.references import BEALE_EIGENVALUES

ZOO = sf.losses.ZOO


@pytest.mark.parametrize("name", ZOO)
def test_listed_critical_points(name):
    loss = ZOO[name]()
    assert loss.critical_points
    points = jnp.array([p.w for p in loss.critical_points])
    gradients = np.asarray(jax.vmap(loss.gradient)(points))
    hessians = np.asarray(jax.vmap(loss.hessian)(points))
    for point, gradient, hessian in zip(loss.critical_points, gradients, hessians, strict=True):
        # A coordinate rounded to double precision moves the gradient by ‖H‖ ε |w|, and the
        # gradient's own rounding is of the size of its largest term.
        scale = np.abs(hessian).max() * max(1.0, np.abs(point.w).max())
        assert np.linalg.norm(gradient) <= 1e-14 * max(scale, 100.0), point
        eigenvalues = np.linalg.eigvalsh(hessian)
        if point.shape == "degenerate":
            assert np.abs(eigenvalues).min() < 1e-12
        else:
            signs = {"minimum": {1.0}, "maximum": {-1.0}, "saddle": {-1.0, 1.0}}[point.shape]
            assert set(np.sign(eigenvalues)) == signs
            assert np.abs(eigenvalues).min() > 1e-3
        if loss.domain is not None:
            low, high = np.array(loss.domain).T
            assert ((low <= np.array(point.w)) & (np.array(point.w) <= high)).all()


@pytest.mark.parametrize("name", ZOO)
def test_one_source_gives_value_gradient_and_hessian(name):
    """The formulas agree with JAX's derivatives of the value."""
    loss = ZOO[name]()
    w = jnp.linspace(0.3, 0.7, loss.dim)
    # Two algorithms for the same polynomial differ by rounding of its largest term (≲ 1e5).
    np.testing.assert_allclose(loss.gradient(w), jax.grad(loss)(w), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(loss.hessian(w), jax.hessian(loss)(w), rtol=1e-9, atol=1e-9)
    hvp = loss.hvp(w, jnp.ones(loss.dim))
    np.testing.assert_allclose(hvp, loss.hessian(w).sum(axis=1), rtol=1e-9, atol=1e-9)
    at = dict(zip(loss.symbols, [sympy.Float(float(v), 30) for v in w], strict=True))
    exact = float(loss.expression.subs(at).evalf(30))
    assert float(loss(w)) == pytest.approx(exact, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ZOO)
def test_both_layouts_agree(name):
    loss = ZOO[name]()
    points = jnp.linspace(0.1, 0.9, 3 * loss.dim).reshape(3, loss.dim)
    columns = Components(*(points[:, i] for i in range(loss.dim)))
    together = jnp.stack(loss.gradient(columns).parts, axis=-1)
    # The same operations in the same order; fusion may contract a product and a sum.
    np.testing.assert_allclose(together, jax.vmap(loss.gradient)(points), rtol=1e-12, atol=1e-12)


def test_beale_eigenvalues():
    loss = sf.losses.beale()
    for point in loss.critical_points:
        near = min(BEALE_EIGENVALUES, key=lambda w: np.linalg.norm(np.subtract(w, point.w)))
        eigenvalues = np.linalg.eigvalsh(loss.hessian(jnp.array(point.w)))
        np.testing.assert_allclose(eigenvalues, BEALE_EIGENVALUES[near], rtol=2e-6)  # as printed


def test_counts():
    assert len(sf.losses.styblinski_tang(3).critical_points) == 27
    assert len(sf.losses.rastrigin(2).critical_points) == 441
    assert sf.losses.rosenbrock(4).dim == 4


def test_polynomial_system():
    cubic = sf.loss("x**3 + x*y")
    x, y = cubic.symbols
    assert cubic.polynomial_system() == (sympy.Poly(3 * x**2 + y, x, y), sympy.Poly(x, x, y))
    assert sf.losses.rastrigin().polynomial_system() is None
    assert sf.loss("((x + 1)**90)*y**20").polynomial_system() is None  # not worth expanding


def test_saddle_takes_eigenvalues():
    loss = sf.losses.saddle((2.0, -0.1, 0.5))
    np.testing.assert_array_equal(loss.hessian(jnp.zeros(3)), np.diag([2.0, -0.1, 0.5]))
    assert loss.critical_points[0].shape == "saddle"
    with pytest.raises(ArgumentError, match="finite numbers"):
        sf.losses.saddle((1.0, float("nan")))
    with pytest.raises(ArgumentError, match="finite numbers"):
        sf.losses.saddle(())


def test_function_loss_agrees_with_the_formula():
    formula = sf.losses.beale()
    function = sf.loss(
        lambda w: (
            (1.5 - w[0] + w[0] * w[1]) ** 2
            + (2.25 - w[0] + w[0] * w[1] ** 2) ** 2
            + (2.625 - w[0] + w[0] * w[1] ** 3) ** 2
        ),
        dim=2,
    )
    w = jnp.array([0.7, -0.4])
    np.testing.assert_allclose(function.gradient(w), formula.gradient(w), rtol=1e-13)
    np.testing.assert_allclose(function.hessian(w), formula.hessian(w), rtol=1e-12)
    columns = Components(jnp.array([0.7, 1.0]), jnp.array([-0.4, 2.0]))
    np.testing.assert_allclose(
        jnp.stack(function.gradient(columns).parts),
        jnp.stack(formula.gradient(columns).parts),
        rtol=1e-12,
    )


def test_a_loss_prints_what_it_is():
    assert str(sf.losses.quartic()) == "quartic(x, y) = x**2/2 + y**4/4 - y**2/2"
    assert str(sf.loss("x*y + y**2")) == "x*y + y**2 of x, y"
    assert str(sf.loss(lambda w: w @ w, dim=3)).endswith(", 3 weights")
