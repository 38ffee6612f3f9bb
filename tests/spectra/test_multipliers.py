"""Multipliers against the dense Jacobian, and against theory at a network's critical points."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import spectra
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.spectra import multipliers
from tests.tiers import slow

KINDS = [{}, {"momentum": 0.9}, {"momentum": 0.8, "nesterov": True}]


@pytest.fixture(scope="module")
def student():
    """A network whose targets are its own outputs, so that its weights are a critical point."""
    model = eqx.nn.MLP(12, 4, 16, 1, activation=jnp.tanh, key=jr.key(0))
    x = np.random.default_rng(0).normal(size=(30, 12))
    w = sf.losses.network(model, x, np.zeros((30, 4))).flatten(model)
    loss = sf.losses.network(model, x, sf.losses.network(model, x, np.zeros((30, 4))).predict(w))
    assert loss.dim == 276 > multipliers.DENSE_DIM
    return loss, w, np.asarray(loss.hessian(w))


def extreme(eigenvalues, k):
    return eigenvalues[np.lexsort((-eigenvalues.imag, -np.abs(eigenvalues)))][:k]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(rho=0.2), sf.rules.PracticalSAM(0.02, eps=0.1)])
def test_the_closed_form_holds_at_a_networks_critical_point(student, rule, kind):
    loss, w, hessian = student
    lr = 3.0  # far beyond the edge: at 1 there are more multipliers than Arnoldi can tell apart
    system = sf.Map(loss, rule, lr=lr, **kind)
    found = spectra.update_multipliers(system, w, k=3)
    assert (found.method, found.exact) == ("arnoldi", True)
    assert (found.status == Status.located).all()
    # Simple, well-apart roots: residuals are 1e-9 of max|μ| at most, and in λ they count squared.
    np.testing.assert_allclose(found.values, found.closed_form, atol=1e-8)
    np.testing.assert_array_equal(found.gap, abs(found.values - found.closed_form))
    # Independently, from the dense Hessian by the written-out update: U = λ(1 + ρλ), ρ/ε = 0.2.
    radius = 0.0 if isinstance(rule, sf.GD) else 0.2
    lam = np.linalg.eigvalsh(hessian)
    x = lr * lam * (1 + radius * lam)
    b = kind.get("momentum", 0.0)
    if kind.get("nesterov"):
        matrices = [[[1 - a * (1 + b), -lr * b * b], [a / lr, b]] for a in x]
    else:
        matrices = [[[1 - a, -lr * b], [a / lr, b]] for a in x]
    expected = extreme(np.linalg.eigvals(np.array(matrices)).ravel().astype(complex), 3)
    np.testing.assert_allclose(found.values, expected, atol=1e-8)
    assert found.statement == "A critical point up to rounding: the closed form is exact."


@pytest.mark.parametrize("kind", [{}, slow({"momentum": 0.8, "nesterov": True})])
@pytest.mark.parametrize("rule", [sf.USAM(rho=0.2), sf.SAM(rho=0.1), sf.rules.FSAM(rho=0.1)])
def test_arnoldi_finds_the_multipliers_of_the_dense_jacobian(student, rule, kind):
    loss, w, _ = student
    away = w + 0.1 * np.random.default_rng(2).normal(size=loss.dim)
    system = sf.Map(loss, rule, lr=0.6, **kind)
    jacobian = np.asarray(system.jacobian(system.lift(away)))
    found = spectra.update_multipliers(system, away, k=2)
    assert (found.status == Status.located).all()
    expected = extreme(np.linalg.eigvals(jacobian).astype(complex), 2)
    # Residual times the condition of these multipliers, which are far from the others.
    np.testing.assert_allclose(found.values, expected, atol=1e-7)
    x = np.asarray(found.vectors)
    residuals = np.linalg.norm(x @ jacobian.T - np.asarray(found.values)[:, None] * x, axis=1)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-12)


def test_away_from_a_critical_point_the_gap_is_that_of_the_third_derivative(student):
    """USAM's Jacobian has H(w + ρg) − H(w) in it, which is of the size of ρ: so is the gap."""
    loss, w, _ = student
    away = w + 0.05 * np.random.default_rng(2).normal(size=loss.dim)
    gaps = []
    for radius in (1e-2, 1e-3):
        found = spectra.update_multipliers(sf.Map(loss, sf.USAM(rho=radius), lr=0.6), away, k=1)
        assert not found.exact
        assert "the closed form, which is that of a critical point" in found.statement
        assert float(found.residuals[0]) < 1e-8 < 1e-6 < float(found.gap[0])
        gaps.append(float(found.gap[0]))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)  # the next order is ρ of it
    gd = spectra.update_multipliers(sf.Map(loss, sf.GD(), lr=0.6), away, k=1)
    assert gd.exact  # its Jacobian is I − ηH(w) anywhere
    assert float(gd.gap[0]) < 1e-8
    assert "gd's closed form is exact anywhere" in gd.statement


def test_the_flip_is_seen_on_both_sides_of_the_edge(student):
    loss, w, hessian = student
    edge = 2 / np.linalg.eigvalsh(hessian)[-1]
    for factor, unstable in ((0.99, False), (1.01, True)):
        found = spectra.update_multipliers(sf.Map(loss, sf.GD(), lr=factor * edge), w, k=1)
        assert (abs(complex(found.values[0])) > 1 + 1e-6) == unstable


def test_dense_and_arnoldi_agree(monkeypatch):
    """Of a small network: each exhaustion of the space costs its dimension to the fourth."""
    model = eqx.nn.MLP(4, 2, 8, 1, activation=jnp.tanh, key=jr.key(0))
    x = np.random.default_rng(0).normal(size=(10, 4))
    w = sf.losses.network(model, x, np.zeros((10, 2))).flatten(model)
    loss = sf.losses.network(model, x, sf.losses.network(model, x, np.zeros((10, 2))).predict(w))
    monkeypatch.setattr(multipliers, "DENSE_DIM", loss.dim)
    system = sf.Map(loss, sf.USAM(rho=0.2), lr=0.5, weight_decay=0.01, momentum=0.5)
    arnoldi = spectra.update_multipliers(system, w, k=3)
    # The first is repeated, in flat directions: found as often where Arnoldi exhausts the space.
    exhausted = spectra.update_multipliers(system, w, k=3, tol=1e-16, max_products=1000)
    monkeypatch.setattr(multipliers, "DENSE_DIM", 1000)
    dense = spectra.update_multipliers(system, w, k=3)
    assert (dense.method, arnoldi.method) == ("dense", "arnoldi")
    np.testing.assert_allclose(exhausted.values, dense.values, atol=1e-8)
    every = np.linalg.eigvals(np.asarray(system.jacobian(system.lift(w))))
    assert (np.abs(every[:, None] - arnoldi.values).min(axis=0) < 1e-7).all()
    assert abs(arnoldi.values[0] - dense.values[0]) < 1e-8
    # Weight decay adds to U; w is then no fixed point, but J is still a polynomial in H.
    np.testing.assert_allclose(dense.gap, 0, atol=1e-8)


def test_complex_pairs_come_with_their_closed_form():
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.01, momentum=0.9)
    found = spectra.update_multipliers(system, [3.0, 0.5], k=4)
    assert abs(found.values[0].imag) > 0.01
    np.testing.assert_allclose(found.gap, 0, atol=1e-9)
    assert "i, residual" in str(found)


def test_a_run_cut_short_says_so(student):
    loss, w, _ = student
    system = sf.Map(loss, sf.GD(), lr=0.1)  # multipliers in [1 − 0.1 λmax, 1], clustered at 1
    found = spectra.update_multipliers(system, w, k=3, max_products=5)
    assert (found.status == Status.residual_too_large).all()
    assert found.num_products == 5
    x, jacobian = np.asarray(found.vectors), np.asarray(system.jacobian(w))
    residuals = np.linalg.norm(x @ jacobian.T - np.asarray(found.values)[:, None] * x, axis=1)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-12)


def test_sam_has_no_multipliers_at_a_critical_point(student):
    loss, w, _ = student
    for system, at in (
        (sf.Map(loss, sf.SAM(rho=0.1), lr=0.1), w),
        (sf.Map(sf.losses.beale(), sf.SAM(rho=0.1), lr=0.1), [0.0, 1.0]),
    ):
        found = spectra.update_multipliers(system, at, k=2)
        assert (found.status == Status.not_differentiable).all()
        assert np.isnan(found.values).all()
        assert np.isnan(found.residuals).all()
        assert found.statement == "sam has no Jacobian here."
        assert not found.exact


def test_a_jacobian_that_is_not_finite_has_no_multipliers():
    for dim in (3, 250):
        loss = sf.loss(lambda w: jnp.sum(jnp.abs(w) ** 1.5), dim=dim)
        found = spectra.update_multipliers(sf.Map(loss, sf.GD(), lr=0.1), np.zeros(dim), k=2)
        assert (found.status == Status.not_finite).all()
        assert np.isnan(found.values).all()


def test_bad_input_fails_at_the_door():
    beale = sf.losses.beale()
    system = sf.Map(beale, sf.GD(), lr=0.01)
    with pytest.raises(ArgumentError, match="`system` must be a Map, but is Flow"):
        spectra.update_multipliers(sf.Flow(beale, sf.GD()), [0.0, 1.0])
    with pytest.raises(ArgumentError, match="`k` must be at most 2, the dimension of the state"):
        spectra.update_multipliers(system, [0.0, 1.0], k=3)
    with pytest.raises(ArgumentError, match=r"`w` must have shape \(2,\)"):
        spectra.update_multipliers(system, [0.0], k=1)
    with pytest.raises(ArgumentError, match="`tol` must be finite and greater than 0"):
        spectra.update_multipliers(system, [0.0, 1.0], k=1, tol=0.0)
