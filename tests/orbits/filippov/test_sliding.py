"""Filippov solutions of normalised SAM's flow: arrival, sliding, crossing, leaving.

Losses are polynomials whose coefficients are leaves, so that all of one dimension share their
compiled programs.
"""

import functools
import logging
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import samflow as sf
from samflow import theory
from samflow.losses.base import AbstractLoss
from samflow.orbits.filippov import solution
from samflow.orbits.filippov.sliding import margins, wall
from samflow.rules import AbstractNormalisedRule
from samflow.theory.drift import sharpness_flow
from tests.tiers import slow

TOL = 1e-7
"""Some 30 steps, each with an error of up to 1e-8‖w‖ + 1e-10, over a speed ‖d‖ of order 1."""


EXPONENTS = {
    1: [(2,), (4,)],
    2: [(2, 0), (0, 2), (1, 2), (2, 1), (1, 3), (2, 2), (4, 0), (0, 4)],
    3: [(2, 0, 0), (0, 2, 0), (0, 0, 2), (2, 0, 2)],
}


@functools.cache
def monomials(dim):
    """Return the loss, its gradient and its Hessian as functions of (w, coefficients)."""
    exponents = EXPONENTS[dim]
    w, c = sympy.symbols(f"w:{dim}"), sympy.symbols(f"c:{len(exponents)}")
    parts = [math.prod(x**k for x, k in zip(w, e, strict=True)) for e in exponents]
    loss = sum(a * part for a, part in zip(c, parts, strict=True))
    gradient = [sympy.diff(loss, x) for x in w]
    hessian = [[sympy.diff(g, x) for x in w] for g in gradient]
    made = (sympy.lambdify((w, c), f, modules=jnp) for f in (loss, gradient, hessian))
    return tuple(made)


class Polynomial(AbstractLoss):
    """A polynomial in w with its coefficients as leaves."""

    c: jax.Array
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="polynomial")
    domain: None = None
    elementwise: bool = eqx.field(static=True, default=False)

    def __call__(self, w):
        return monomials(self.dim)[0](w, self.c)

    def gradient(self, w):
        return jnp.stack(monomials(self.dim)[1](w, self.c))

    def hessian(self, w):
        rows = monomials(self.dim)[2](w, self.c)
        return jnp.array([[x + 0 * w[0] for x in row] for row in rows])


def polynomial(dim, terms):
    """Return a loss from {exponents: coefficient}."""
    assert set(terms) <= set(EXPONENTS[dim])
    c = [terms.get(e, 0.0) for e in EXPONENTS[dim]]
    return Polynomial(jnp.asarray(c), dim)


def quadratic(eigenvalues):
    dim = len(eigenvalues)
    units = (2 * np.eye(dim, dtype=int)).tolist()
    return polynomial(dim, {tuple(u): v / 2 for u, v in zip(units, eigenvalues, strict=True)})


DOUBLE_WELL = polynomial(1, {(4,): 0.25, (2,): -0.5})
VALLEY = polynomial(2, {(0, 2): 0.5, (2, 2): 0.5})
LEANING = polynomial(2, {(0, 2): 0.5, (1, 3): -1 / 3})
"""½v² − ⅓uv³: the valley v = 0 whose side v > 0 bends down beyond v = 1/u."""


def run(loss, start, t1, rho, **settings):
    return sf.integrate(
        sf.Flow(loss, sf.SAM(rho=rho)), start, t1=t1, **({"num_times": 41} | settings)
    )


def status(found):
    return sf.Status(int(found.status))


def reference(gradient, start, times, rho, side=None):
    """Return the smooth solution at `times` by scipy; `side` is ĝ at a start with g = 0."""

    def field(_, w):
        g = gradient(w)
        size = np.linalg.norm(g)
        return -gradient(w + rho * (g / size if size else np.asarray(side, float)))

    made = solve_ivp(
        field, (times[0], times[-1]), start, method="DOP853", rtol=1e-12, atol=1e-15, t_eval=times
    )
    return made.y.T


def arrival_on_a_quadratic(eigenvalues, start, rho):
    """Return T from ż = −(Hz‖z‖ + rho H²z), ṫ = ‖z‖: no jump, and no event to locate."""
    lam = np.asarray(eigenvalues)

    def field(_, y):
        z, r = y[:-1], np.linalg.norm(y[:-1])
        return np.append(-(lam * z * r + rho * lam**2 * z), r)

    until = 60 / (rho * np.min(lam**2))
    start = np.append(lam * start, 0.0)
    return solve_ivp(field, (0, until), start, method="LSODA", rtol=1e-12, atol=1e-14).y[-1, -1]


@pytest.mark.parametrize("lam", [1.0, slow(2.5), -1.0, slow(-0.4)])
def test_arrival_time_is_the_closed_form(lam):
    rho = 0.5
    for w0 in (0.1, -0.3, 0.49, 0.51, -2.0):
        found = run(quadratic([lam]), [w0], 12.0, rho)
        exact = float(theory.arrival_time(lam, w0, rho=rho))
        if math.isinf(exact):  # λ < 0 and |w₀| > rho: repelled
            assert status(found) is sf.Status.reached_end
            assert math.isinf(found.arrived_at)
            assert abs(found.w[-1, 0]) > abs(w0)
            continue
        assert status(found) is sf.Status.sliding
        # Near rho, λ < 0, the flow is slow: an error in w grows by up to e^(|λ|T) on the way.
        assert float(found.arrived_at) == pytest.approx(exact, abs=TOL)
        after = np.asarray(found.times) > exact
        assert np.all(np.asarray(found.w)[after] == 0)
        before = np.asarray(found.times)[~after]
        path = (abs(w0) + np.sign(lam) * rho) * np.exp(-lam * before) - np.sign(lam) * rho
        np.testing.assert_allclose(found.w[~after, 0], np.sign(w0) * path, atol=TOL)


def test_the_arrival_time_is_as_exact_as_the_tolerance():
    exact = float(theory.arrival_time(1.0, 3.0, rho=0.5))
    tolerances = (1e-8, 1e-10, 1e-12)
    errors = [
        abs(float(run(quadratic([1.0]), [3.0], 4.0, 0.5, rtol=t, atol=t).arrived_at) - exact)
        for t in tolerances
    ]
    assert all(error < 10 * tol for error, tol in zip(errors, tolerances, strict=True))


@pytest.mark.parametrize("dim", [2, slow(3)])
def test_quadratics_arrive_inside_the_radius_before_the_bound(dim):
    rng = np.random.default_rng(dim)
    for signs in (np.ones(dim), -np.ones(dim), np.append(-1, np.ones(dim - 1))):
        lam, rho = signs * rng.uniform(0.4, 2.0, dim), rng.uniform(0.2, 1.0)
        radius = min(float(theory.attraction_radius(lam.tolist(), rho=rho)), 2 * rho)
        e = rng.normal(size=dim)
        start = 0.9 * radius * e / np.linalg.norm(e) / lam
        found = run(quadratic(lam), start, 30.0, rho)
        assert status(found) is sf.Status.sliding
        np.testing.assert_allclose(found.w[-1], 0, atol=1e-14)
        bound = theory.arrival_time_bound(lam.tolist(), 0.9 * radius, rho=rho)
        assert float(found.arrived_at) <= float(bound)
        exact = arrival_on_a_quadratic(lam, start, rho)
        assert float(found.arrived_at) == pytest.approx(exact, abs=TOL)


def test_a_stiff_minimum_is_reached():
    """κ = 50: the direction turns κ² times as fast as ‖g‖ falls."""
    lam, start, rho = (50.0, 1.0), np.array([0.01, 0.3]), 0.1
    found = run(quadratic(lam), start, 5.0, rho)
    assert status(found) is sf.Status.sliding
    # The error of ĝ is that of w times κ, and it is squared in T.
    exact = arrival_on_a_quadratic(lam, start, rho)
    assert float(found.arrived_at) == pytest.approx(exact, abs=1e-5)


def test_tiny_steps_of_the_map_arrive_when_the_flow_does():
    lr, rho, lam, mu = 1e-5, 0.3, 1.0, -0.7
    x, y = 0.2, 0.1
    found = run(quadratic([lam, mu]), [x, y], 2.0, rho)
    for step in range(round(2.0 / lr)):
        a, b = lam * x, mu * y
        r = math.hypot(a, b)
        if step * lr > float(found.arrived_at) + 10 * lr:
            assert r < 10 * lr
        elif r < 2 * lr:
            assert step * lr > float(found.arrived_at) - 20 * lr
        x, y = x - lr * lam * (x + rho * a / r), y - lr * mu * (y + rho * b / r)


def test_sliding_in_the_valley_is_the_sharpness_flow_at_finite_rho():
    """λ = 1 + u², so u̇ = −½ rho² λ′ = −rho² u: exponential after T."""
    rho, start = 0.3, [2.0, 0.4]
    found = run(VALLEY, start, 8.0, rho)
    assert status(found) is sf.Status.sliding
    times, arrival = np.asarray(found.times), float(found.arrived_at)

    def gradient(w):
        u, v = w
        return np.array([u * v * v, (1 + u * u) * v])

    at = reference(gradient, start, [0.0, arrival - 1e-6], rho)[-1]
    speed = -gradient(at + rho * np.array([0.0, 1.0]))
    np.testing.assert_allclose(at + 1e-6 * speed, [at[0], 0.0], atol=2e-7)
    after = times > arrival
    u = at[0] * np.exp(-(rho**2) * (times[after] - arrival))
    np.testing.assert_allclose(found.w[after, 0], u, atol=2e-7)
    np.testing.assert_allclose(found.w[after, 1], 0, atol=1e-12)
    symbol = sympy.Symbol("u")
    assert sharpness_flow(1 + symbol**2, symbol, rho=rho).equals(-(rho**2) * symbol)


def test_sliding_in_a_bent_valley_is_the_limit_of_tiny_steps():
    """½(y − ½x²)²: the normal turns as the solution slides."""
    lr, rho = 1e-5, 0.3
    loss = polynomial(2, {(0, 2): 0.5, (2, 1): -0.5, (4, 0): 0.125})
    found = run(loss, [1.5, 0.3], 4.0, rho)
    assert status(found) is sf.Status.sliding
    x, y = 1.5, 0.3
    for _ in range(round(4.0 / lr)):
        h = y - x * x / 2
        a, b = -x * h, h
        r = math.hypot(a, b)
        p, q = x + rho * a / r, y + rho * b / r
        h = q - p * p / 2
        x, y = x + lr * p * h, y - lr * h
    np.testing.assert_allclose(found.w[-1], [x, y], atol=20 * lr)
    path = np.asarray(found.w)[np.asarray(found.times) > float(found.arrived_at)]
    np.testing.assert_allclose(path[:, 1], path[:, 0] ** 2 / 2, atol=1e-8)


def well_time(u0, t):
    """Return the solution of u̇ = u − u³."""
    return np.sign(u0) / np.sqrt(1 + (1 / u0**2 - 1) * np.exp(-2 * t))


def test_a_solution_crosses_a_minimum_that_another_critical_point_is_near():
    """¼y⁴ − ½y², rho = 1.3: at y = 1⁻ the ascent point 1 − rho is beyond the maximum at 0.

    u = y + rho above 1 and u = y − rho below it both solve u̇ = u − u³.
    """
    rho, start = 1.3, 1.5
    found = run(DOUBLE_WELL, [start], 5.0, rho)
    assert status(found) is sf.Status.reached_end
    arrival = brentq(lambda t: well_time(start + rho, t) - (1 + rho), 0, 1, xtol=1e-14)
    assert float(found.arrived_at) == pytest.approx(arrival, abs=TOL)
    times = np.asarray(found.times)
    above = well_time(start + rho, times) - rho
    below = rho + well_time(1 - rho, np.maximum(times - arrival, 0))
    np.testing.assert_allclose(found.w[:, 0], np.where(times < arrival, above, below), atol=TOL)


def leaning_gradient(w):
    u, v = w
    return np.array([-(v**3) / 3, v - u * v * v])


def test_a_sliding_solution_leaves_where_one_side_lets_it_go():
    """½v² − ⅓uv³ at rho = 1: S₊ ∝ 1 − u, S₋ ∝ 1 + u, so u̇ = u/3 until u = 1 at t = 3 ln(1/u₀)."""
    u0, leaves = 0.5, 3 * math.log(2)
    found = run(LEANING, [u0, 0.0], 2.5, 1.0)
    assert status(found) is sf.Status.reached_end
    assert float(found.arrived_at) == 0
    times, w = np.asarray(found.times), np.asarray(found.w)
    slides = times <= leaves
    np.testing.assert_allclose(w[slides, 0], u0 * np.exp(times[slides] / 3), atol=TOL)
    np.testing.assert_allclose(w[slides, 1], 0, atol=1e-12)
    after = np.append(leaves, times[~slides])
    smooth = reference(leaning_gradient, [1.0, 0.0], after, 1.0, side=[0.0, 1.0])
    np.testing.assert_allclose(w[~slides], smooth[1:], atol=TOL)
    assert w[-1, 1] > 0.02


def test_a_solution_crosses_a_valley_whose_other_side_falls():
    """½v² − ⅓uv³ at rho = 1, u > 1: S₋ > 0 > S₊, through v = 0 upwards."""
    found = run(LEANING, [1.3, -0.05], 0.4, 1.0)
    assert status(found) is sf.Status.reached_end
    times, w, arrival = np.asarray(found.times), np.asarray(found.w), float(found.arrived_at)
    assert 0 < arrival < 0.4
    at = reference(leaning_gradient, [1.3, -0.05], [0.0, arrival - 1e-7], 1.0)[-1]
    assert at[1] == pytest.approx(0, abs=1e-6)
    after = np.append(arrival, times[times > arrival])
    smooth = reference(leaning_gradient, [at[0], 0.0], after, 1.0, side=[0.0, 1.0])
    np.testing.assert_allclose(w[times > arrival], smooth[1:], atol=1e-6)


def test_a_valley_of_codimension_two_has_no_unique_solution():
    loss = polynomial(3, {(2, 0, 0): 0.5, (0, 2, 0): 1.0, (2, 0, 2): 0.5})
    found = run(loss, [0.2, 0.3, 0.4], 5.0, 0.3)
    assert status(found) is sf.Status.not_unique
    arrival = float(found.arrived_at)
    assert float(found.stopped_at) == arrival
    finite = np.isfinite(np.asarray(found.w)).all(axis=1)
    np.testing.assert_array_equal(finite, np.asarray(found.times) <= arrival)


def test_a_kernel_along_which_nothing_pulls_does_not_matter():
    """½(x² + 2y²) + 0z²: Proposition 4 holds, and the solution stays where it arrives."""
    found = run(quadratic([1.0, 2.0, 0.0]), [0.2, 0.3, 0.4], 5.0, 0.3)
    assert status(found) is sf.Status.sliding
    np.testing.assert_allclose(found.w[-1], [0, 0, 0.4], atol=1e-12)


@pytest.mark.parametrize(("rho", "held"), [(0.5, True), (0.99, True), (1.01, False), (1.5, False)])
def test_the_maximum_of_the_double_well_holds_for_small_rho_only(rho, held):
    """At y → 0± the flow has ẏ = ∓rho(1 − rho²)."""
    at = run(DOUBLE_WELL, [0.0], 5.0, rho)
    assert status(at) is (sf.Status.sliding if held else sf.Status.not_unique)
    assert float(at.arrived_at) == 0
    for side in (1.0, -1.0):
        near = run(DOUBLE_WELL, [side * 0.1], 5.0, rho)
        assert status(near) is (sf.Status.sliding if held else sf.Status.reached_end)
        assert math.isfinite(near.arrived_at) == held
        if not held:  # repelled to the equilibrium where the ascent point is the maximum's own
            assert side * float(near.w[-1, 0]) > min(rho - 1, 0.1) * 0.9


def test_a_start_where_only_one_side_leads_away_leaves_by_it():
    """The minimum y = 1 of the double well at rho = 1.3 is left downwards, to y = rho − 1."""
    found = run(DOUBLE_WELL, [1.0], 9.0, 1.3)
    assert status(found) is sf.Status.reached_end
    assert float(found.arrived_at) == 0
    assert float(found.w[-1, 0]) == pytest.approx(0.3, abs=1e-6)


def passing_gradient(w):
    x, y = w
    return np.array([2 * x, -y + y**3])


PASSING = polynomial(2, {(2, 0): 1.0, (0, 2): -0.5, (0, 4): 0.25})
"""x² − ½y² + ¼y⁴, whose saddle at 0 lets go along y for rho > 1."""


@pytest.mark.parametrize(("y0", "nearest"), [(1e-3, 2.1e-4), (1e-6, 2.1e-8)])
def test_a_critical_point_that_does_not_hold_is_passed(y0, nearest):
    found = run(PASSING, [0.3, y0], 3.0, 1.5)
    assert status(found) is sf.Status.reached_end
    assert math.isinf(found.arrived_at)
    # It does pass so near: sampled from where it still comes to beyond where it leaves.
    times = np.append(0, np.linspace(0.0911, 0.0913, 20_001))
    path = reference(passing_gradient, [0.3, y0], times, 1.5)
    assert np.linalg.norm(path, axis=1).min() == pytest.approx(nearest, rel=0.2)
    exact = reference(passing_gradient, [0.3, y0], np.asarray(found.times), 1.5)
    np.testing.assert_allclose(found.w, exact, atol=TOL)


def test_a_critical_point_met_within_the_tolerance_ends_what_is_not_held_there():
    for y0 in (0.0, 1e-12):  # passes at 1e-16, where the tolerance is 1e-10
        found = run(PASSING, [0.3, y0], 3.0, 1.5)
        assert status(found) is sf.Status.not_unique
        assert math.isfinite(found.arrived_at)
    held = run(PASSING, [0.3, 0.0], 3.0, 0.5)
    assert status(held) is sf.Status.sliding


def test_the_end_just_before_and_just_after_the_arrival():
    arrival = float(theory.arrival_time(1.0, 0.1, rho=0.5))
    before = run(quadratic([1.0]), [0.1], arrival - 1e-6, 0.5)
    after = run(quadratic([1.0]), [0.1], arrival + 1e-6, 0.5)
    assert status(before) is sf.Status.reached_end
    assert math.isinf(before.arrived_at)
    assert float(before.w[-1, 0]) == pytest.approx(0.5e-6, rel=0.01)
    assert status(after) is sf.Status.sliding
    assert float(after.w[-1, 0]) == 0


def test_an_ensemble_is_its_members_one_by_one():
    for rho in (0.9, 1.3):
        starts = np.array([[0.5], [0.0], [1.0], [1.5]])
        together = run(DOUBLE_WELL, starts, 2.5, rho)
        for i, start in enumerate(starts):
            alone = run(DOUBLE_WELL, start, 2.5, rho)
            for name in ("w", "status", "arrived_at", "stopped_at"):
                # Rounding may differ between batch sizes, and steps with it.
                np.testing.assert_allclose(
                    getattr(together, name)[i], getattr(alone, name), rtol=1e-9, atol=1e-12
                )
    assert [sf.Status(c).name for c in together.status.tolist()] == [
        "reached_end",
        "not_unique",
        "reached_end",
        "reached_end",
    ]


def test_a_phase_is_compiled_once_whatever_came_before_it(caplog):
    run(VALLEY, [2.0, 0.4], 8.0, 0.3)  # smooth, meeting, sliding
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        run(LEANING, [0.5, 0.05], 4.0, 1.0)  # and smooth again
        run(LEANING, [1.3, -0.05], 0.4, 1.0)  # smooth, crossing, smooth
    assert [r for r in caplog.messages if r.startswith("Compiling")] == []


class Renormalised(AbstractNormalisedRule):
    """(‖g‖/‖g(wᵖ)‖) g(wᵖ), wᵖ = w + rho ĝ: tends to 0 at critical points. `known` may hide that."""

    rho: jax.Array
    known: jax.Array
    name: ClassVar[str] = "renormalised"
    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""

    def direction(self, loss, w):
        g = loss.gradient(w)
        ascent = loss.gradient(w + self.rho * g / jnp.linalg.norm(g))
        return jnp.linalg.norm(g) / jnp.linalg.norm(ascent) * ascent

    def limit(self, loss, w, e):
        return self.known * e

    def singularity(self, loss, w, memory=None):
        return jnp.linalg.norm(loss.gradient(w))


@pytest.mark.parametrize("known", [0.0, np.nan])
def test_a_rule_without_a_jump_or_without_a_limit_does_not_slide(known):
    rule = Renormalised(jnp.asarray(0.3), jnp.asarray(known))
    flow = sf.Flow(quadratic([1.0]), rule)
    found = sf.integrate(flow, [1.0], t1=30.0, num_times=41)
    assert status(found) is sf.Status.reached_end
    assert math.isinf(found.arrived_at)
    # On ½w² it is GD; atol = 1e-10 is the error left when w is below it.
    np.testing.assert_allclose(found.w[:, 0], np.exp(-np.asarray(found.times)), atol=1e-8)
    at = sf.integrate(flow, [0.0], t1=30.0, num_times=41)
    assert status(at) is sf.Status.undefined


def test_a_degenerate_critical_point_keeps_its_honest_ending():
    """¼x⁴ has H = 0 at 0, where the flow arrives all the same: that is not handled."""
    found = run(polynomial(1, {(4,): 0.25}), [0.5], 20.0, 0.3)
    assert status(found) in (sf.Status.out_of_steps, sf.Status.step_size_vanished)
    assert math.isinf(found.arrived_at)


def test_budgets_end_a_solution_honestly(monkeypatch):
    stiff = run(quadratic([1e5, 1.0]), [1e-6, 0.3], 8.0, 0.3)  # κ² steps a halving of ‖g‖
    assert status(stiff) is sf.Status.out_of_steps
    assert math.isinf(stiff.arrived_at)
    assert np.isnan(np.asarray(stiff.w)[-1]).all()  # nothing is padded
    monkeypatch.setattr(solution, "_MAX_ROUNDS", 1)
    found = run(PASSING, [0.3, 1e-6], 3.0, 1.5)  # looks at the saddle, and would go on
    assert status(found) is sf.Status.out_of_steps
    assert 0 < float(found.stopped_at) < 0.1


def test_a_sliding_solution_escapes_where_it_says():
    """u = ½e^(t/3) is 0.8 at t = 3 ln 1.6."""
    found = run(LEANING, [0.5, 0.0], 2.5, 1.0, escape_radius=0.8)
    assert status(found) is sf.Status.diverged
    assert float(found.stopped_at) == pytest.approx(3 * math.log(1.6), abs=TOL)
    finite = np.isfinite(np.asarray(found.w)).all(axis=1)
    np.testing.assert_array_equal(finite, found.times <= found.stopped_at)


def test_sliding_passes_where_the_curvature_changes_sign():
    """½uv²: λ = u, so u̇ = −½rho² through u = 0, and on along the ridge."""
    loss = polynomial(2, {(1, 2): 0.5})
    found = run(loss, [0.5, 0.0], 6.0, 0.5)
    assert status(found) is sf.Status.sliding
    np.testing.assert_allclose(found.w[:, 0], 0.5 - 0.125 * found.times, atol=TOL)
    np.testing.assert_array_equal(found.w[:, 1], 0)


def test_the_end_of_a_manifold_is_seen():
    system = sf.Flow(quadratic([1.0, 0.1]), sf.SAM(rho=0.3))
    w = jnp.zeros(2)
    stays, keeps, inside = margins(wall(system, w), w, jnp.asarray(1.0))
    assert keeps < 0 < min(stays, inside)


def test_what_is_too_large_for_a_hessian_is_not_followed():
    small, large = (
        sf.Flow(sf.losses.FunctionLoss(jnp.sum, dim), sf.SAM(rho=0.1)) for dim in (200, 201)
    )
    assert solution.jumps(small)
    assert not solution.jumps(large)
    assert not solution.jumps(sf.Flow(sf.losses.saddle(), sf.USAM(rho=0.1)))


def test_a_sweep_over_rho_finds_each_arrival():
    rhos = np.array([0.05, 0.5])
    arrived = jax.vmap(lambda rho: run(quadratic([1.0]), [0.1], 2.0, rho).arrived_at)(rhos)
    np.testing.assert_allclose(arrived, np.log(1 + 0.1 / rhos), atol=TOL)


@pytest.mark.slow
def test_transformations_follow_arrivals_and_know_no_derivative_after_them():
    """w = (w₀ + rho)e^(−t) − rho before T = ln(1 + w₀/rho), with the derivative e^(−t) − 1."""

    def states(rho):
        found = run(quadratic([1.0]), [0.1], 2.0, rho)
        return found.w[:, 0], (found.arrived_at, found.status, found.times)

    def swept(rho):
        w, pull, rest = jax.vjp(states, rho, has_aux=True)
        return w, jax.vmap(pull)(jnp.eye(w.size))[0], *rest

    rhos = np.array([0.05, 0.5])
    w, slopes, arrived_at, codes, times = jax.vmap(swept)(jnp.asarray(rhos))
    np.testing.assert_allclose(arrived_at, np.log(1 + 0.1 / rhos), atol=TOL)
    np.testing.assert_array_equal(codes, [sf.Status.sliding] * 2)
    before = np.asarray(times) < np.asarray(arrived_at)[:, None]
    assert np.all(np.asarray(w)[~before] == 0)
    np.testing.assert_allclose(slopes[before], np.exp(-np.asarray(times)[before]) - 1, atol=1e-6)
    assert np.isnan(slopes[~before]).all()
