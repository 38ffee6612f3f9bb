"""Edges and cycles under Adam, AdamW, RMSprop and Lion, against maps and orbits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import samflow as sf
from samflow import theory
from samflow.theory.symbols import beta, lr, multiplier, rho, scaled_curvature

LAM, LR = 3.0, 0.01
ROUNDING = 1e-12


def quadratic(lam=LAM):
    return sf.loss(lambda w: 0.5 * lam * w[0] ** 2, dim=1)


FROZEN = {
    "adam": sf.Adam(beta2=1.0, bias_correction=False, eps=0.1, eps_root=0.05),
    "adamw": sf.AdamW(beta1=0.6, beta2=1.0, bias_correction=False, weight_decay=2.0),
    "rmsprop": sf.RMSprop(beta2=1.0),
}


@pytest.mark.parametrize(
    ("name", "radius"), [("adam", 0.0), ("adam", 0.2), ("adamw", 0.2), ("rmsprop", 0.0)]
)
def test_the_quasi_static_edge_on_both_sides(name, radius):
    """P is frozen at 0.5, and the curvature 0.1 % below and above the edge."""
    base, size = FROZEN[name], 0.5
    eps, root = float(base.eps), float(base.eps_root)
    values = {beta: 0.0, lr: LR, rho: radius or 1, theory.adaptive.preconditioner: size}
    values[theory.adaptive.decay] = 0.0 if base.weight_decay is None else float(base.weight_decay)
    values[beta] = 0.0 if base.beta1 is None else float(base.beta1)
    edge = float(theory.adaptive_edge("usam" if radius else "gd").subs(values))
    for share, stable in ((0.999, True), (1.001, False)):
        system = sf.AdaptiveMap(quadratic(share * edge), sf.USAM(rho=radius), lr=LR, base=base)
        z = system.lift(jnp.array([0.0])).at[-1].set((size - eps) ** 2 - root)
        np.testing.assert_allclose(system.preconditioner(z), size, rtol=ROUNDING)
        np.testing.assert_allclose(edge * (1 + radius * edge) / size, system.edge, rtol=ROUNDING)
        moduli = np.abs(np.linalg.eigvals(np.asarray(system.jacobian(z))[:-1, :-1]))
        assert (moduli.max() < 1) == stable


def test_the_multipliers_are_those_of_the_map():
    """Also away from the edge, with decay; v is frozen."""
    base = sf.AdamW(beta1=0.6, beta2=1.0, bias_correction=False, weight_decay=9.0, eps=0.0)
    system = sf.AdaptiveMap(quadratic(), sf.GD(), lr=LR, base=base)
    z = system.lift(jnp.array([0.0])).at[2].set(0.04)
    found = np.linalg.eigvals(np.asarray(system.jacobian(z))[:2, :2])
    values = {beta: 0.6, scaled_curvature: LR * LAM / 0.2, lr: LR, theory.adaptive.decay: 9.0}
    roots = sympy.Poly(theory.adaptive_polynomial().subs(values), multiplier).nroots()
    roots = np.array([complex(root) for root in roots])
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(roots), rtol=1e-9)


def test_the_edge_in_numbers_and_decay_against_criteria():
    """38 and 2; heavy ball at (1 − β)η; with decay, both ends of x by counting roots inside."""
    assert theory.adaptive_threshold().subs({beta: sympy.Rational(9, 10), lr: 0}) == 38
    plain = theory.adaptive_polynomial().subs(theory.adaptive.decay, 0)
    ball = theory.characteristic_polynomial("heavy_ball").subs(
        scaled_curvature, (1 - beta) * scaled_curvature
    )
    assert sympy.expand(plain - ball) == 0
    for first, shrink in ((0.0, 0.3), (0.9, 0.3), (0.5, 1.4)):
        high = (1 + first) * (2 - shrink) / (1 - first)
        for x in (-shrink - 1e-3, -shrink + 1e-3, high - 1e-3, high + 1e-3):
            values = {beta: first, lr: 1, theory.adaptive.decay: shrink, scaled_curvature: x}
            roots = np.roots([float(c) for c in _coefficients(values)])
            assert (np.abs(roots).max() < 1) == (-shrink < x < high)
            assert all(c.subs(values) > 0 for c in theory.adaptive_jury()) == (-shrink < x < high)


def _coefficients(values):
    return sympy.Poly(theory.adaptive_polynomial().subs(values), multiplier).all_coeffs()


def test_the_edge_of_sam_with_adam_on_both_sides():
    """Away from a critical point: g along one weight that hardly moves, the edge along another.

    There D = λ(1 + ρλ/‖g‖) exactly, since g is at right angles to the perturbation.
    """
    base, size, norm = sf.Adam(beta2=1.0, bias_correction=False, eps=0.0), 0.05, 0.4
    values = {rho: 0.2, beta: 0.9, lr: LR, theory.adaptive.preconditioner: size}
    values |= {theory.adaptive.decay: 0, theory.symbols.grad_norm: norm}
    edge = float(theory.adaptive_edge("sam").subs(values))
    for share, stable in ((0.999, True), (1.001, False)):
        lam = share * edge
        loss = sf.loss(lambda w, h=lam: 0.5 * (1e-9 * w[0] ** 2 + h * w[1] ** 2), dim=2)
        system = sf.AdaptiveMap(loss, sf.SAM(rho=0.2), lr=LR, base=base)
        z = system.lift(jnp.array([norm / 1e-9, 0.0])).at[4:6].set(size**2)
        jacobian = np.asarray(system.jacobian(z))
        moduli = np.abs(np.linalg.eigvals(jacobian[np.ix_([1, 3], [1, 3])]))
        assert (moduli.max() < 1) == stable


@pytest.mark.parametrize("rule", ["gd", "usam", "sam"])
@pytest.mark.parametrize("decay", [0.0, 30.0])
def test_the_two_cycle_is_one_of_the_map(rule, decay):
    """Two steps lead back; v is at rest, so P is stationary, and at the edge of the secant."""
    made = {"gd": sf.GD(), "usam": sf.USAM(rho=0.2), "sam": sf.SAM(rho=0.2)}[rule]
    base = sf.AdamW(beta1=0.6, eps=1e-3, weight_decay=decay, bias_correction=False)
    system = sf.AdaptiveMap(quadratic(), made, lr=LR, base=base)
    given = {"lr": LR, "beta1": 0.6, "rule": rule, "eps": 1e-3, "decay": decay}
    given["rho"] = 0 if rule == "gd" else 0.2
    radius = float(theory.adaptive_cycle(LAM, **given))
    d = float(made.direction(system.loss, jnp.array([radius]))[0])
    z = jnp.array([radius, -(1 - 0.6) / (1 + 0.6) * d, d**2])
    once = system.step(z)
    np.testing.assert_allclose(once, z * jnp.array([-1.0, -1.0, 1.0]), rtol=ROUNDING)
    np.testing.assert_allclose(d / radius / (d + 1e-3), system.edge, rtol=ROUNDING)


def test_the_two_cycle_begins_where_the_critical_point_loses_its_stability():
    lr_edge = 38 * 1e-3 / LAM
    assert theory.adaptive_cycle(LAM, lr=0.999 * lr_edge, beta1=0.9, eps=1e-3) is None
    assert theory.adaptive_cycle(LAM, lr=1.001 * lr_edge, beta1=0.9, eps=1e-3) > 0
    for share, kind in ((0.999, sf.Kind.attracting), (1.001, sf.Kind.saddle)):
        system = sf.AdaptiveMap(quadratic(), sf.GD(), lr=share * lr_edge, base=sf.Adam(eps=1e-3))
        assert sf.classify(system, [0.0]).kind is kind


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.1, 0.99), (0.5, 0.9), (0.9, 0.999)])
def test_where_the_two_cycle_attracts(beta1, beta2):
    """By the multipliers of two steps of the map, on both sides of the limit on G/(G + ε)."""
    limit = float(theory.adaptive_cycle_limit(beta1, beta2))
    ends = ((0.99, True), (1.01, False)) if limit < 1 else ((0.99 / limit, True),)
    for share, attracts in ends:
        q = share * limit if np.isfinite(limit) else 0.9
        # a = reach − eps/λ and q = λa/(λa + eps), so that λa + eps = λ·reach
        reach = LR * (1 - beta1) / (1 + beta1) / 2
        eps = (1 - q) * LAM * reach
        radius = float(theory.adaptive_cycle(LAM, lr=LR, beta1=beta1, eps=eps))
        base = sf.Adam(beta1=beta1, beta2=beta2, eps=eps, bias_correction=False)
        system = sf.AdaptiveMap(quadratic(), sf.GD(), lr=LR, base=base)
        d = LAM * radius
        z = jnp.array([radius, -(1 - beta1) / (1 + beta1) * d, d**2])
        jacobian = jax.jacfwd(lambda z, f=system.step: f(f(z)))(z)
        moduli = np.abs(np.linalg.eigvals(jacobian))
        assert (moduli.max() < 1) == attracts
        b2, share_symbol = sympy.symbols("β2 q", nonnegative=True)
        values = {beta: beta1, b2: beta2, share_symbol: q}
        polynomial = sympy.Poly(theory.adaptive_cycle_polynomial().subs(values), multiplier)
        roots = np.roots([float(c) for c in polynomial.all_coeffs()])
        np.testing.assert_allclose(np.sort(np.abs(roots) ** 2), np.sort(moduli), rtol=1e-6)


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.2), (0.8, 0.5)])
def test_lion_has_two_cycles_in_a_band_and_never_rests(betas):
    """Begun in the 2-cycle about b: kept where |b| is below the band, left above, or at q < 0."""
    beta1, beta2 = betas
    band = float(theory.lion_band(beta1, beta2))
    base = sf.Lion(beta1=beta1, beta2=beta2)
    system = sf.AdaptiveMap(quadratic(), sf.GD(), lr=LR, base=base)
    middles = np.array([0.98, 1.02]) * abs(band) * LR / 2
    swing = (1 - beta2) / (1 + beta2) * LR / 2
    starts = np.stack([middles + LR / 2, LAM * (middles - swing)], axis=1)
    w = np.asarray(sf.iterate(system, starts, num_steps=200, keep_every=1).w)[..., 0]
    np.testing.assert_allclose(np.abs(np.diff(w)), LR, rtol=1e-9)
    assert (np.maximum(np.abs(w[:, 1:]), np.abs(w[:, :-1])) >= LR / 2).all()
    kept = np.abs(w[:, 2:] - w[:, :-2]).max(axis=1) < 1e-9 * LR
    assert kept.tolist() == [band > 0, False]
