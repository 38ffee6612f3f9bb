"""Cycles against closed forms, both sides of the bifurcations, and brute-force twins."""

import itertools
import json
import re
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import theory
from samflow._checks import ArgumentError
from samflow.equilibria.newton import distinct
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractMemorylessRule, AbstractRule
from tests.tiers import slow

ROUNDING = 1e-12  # of entries of size 1, multipliers of size 1


class Logistic(eqx.Module):
    r: jax.Array
    traces: ClassVar[list[None]] = []

    def __call__(self, z):
        self.traces.append(None)
        return self.r * z * (1 - z)


class Henon(eqx.Module):
    a: jax.Array
    b: float = 0.3

    def __call__(self, z):
        return jnp.array([1 - self.a * z[0] ** 2 + z[1], self.b * z[0]])


class Quadratic(eqx.Module):
    hessian: jax.Array

    def __call__(self, w):
        return 0.5 * w @ self.hessian @ w


def logistic(r, period, box=((0.0, 1.0),), **settings):
    system = sf.FunctionMap(Logistic(jnp.asarray(float(r))), dim=1, name="logistic")
    return sf.find_cycles(system, period=period, box=box, **settings)


def henon(a, period):
    system = sf.FunctionMap(Henon(jnp.asarray(float(a))), dim=2, name="henon")
    return sf.find_cycles(system, period=period, box=((-2.0, 2.0), (-2.0, 2.0)))


def quadratic(lams, rotation=None, *, rule, lr, momentum=None):
    q = np.eye(len(lams)) if rotation is None else rotation
    loss = sf.loss(Quadratic(jnp.asarray(q @ np.diag(lams) @ q.T)), dim=len(lams))
    return sf.Map(loss, rule, lr=lr, momentum=momentum)


def box_of(dim, half_width=2.0):
    return ((-half_width, half_width),) * dim


# The logistic map


@pytest.mark.parametrize("r", [3.001, 3.2, 3.4])
def test_logistic_two_cycle_is_its_closed_form(r):
    """x = (r + 1 ± √((r − 3)(r + 1)))/2r, multiplier 4 + 2r − r²."""
    found = logistic(r, 2)
    root = np.sqrt((r - 3) * (r + 1))
    expected = np.array([r + 1 - root, r + 1 + root]) / (2 * r)
    np.testing.assert_allclose(found.points[:, :, 0], [expected], atol=ROUNDING)
    np.testing.assert_allclose(found.multipliers, [[4 + 2 * r - r**2]], atol=1e-10)  # /(r − 3)
    assert found.kinds == (sf.Kind.attracting,)
    np.testing.assert_allclose(found.margin, [1 - abs(4 + 2 * r - r**2)], atol=1e-10)


@pytest.mark.parametrize("r", [2.9, 2.999, 3.0])
def test_logistic_has_no_two_cycle_up_to_the_flip(r):
    """At r = 3 the fixed point solves the equation of 2-cycles with multiplicity three."""
    assert len(logistic(r, 2)) == 0
    assert len(logistic(r, 1)) == 2


@pytest.mark.parametrize(("period", "count"), [(1, 2), (2, 1), (3, 2), (4, 3), (5, 6)])
def test_all_logistic_cycles_at_four_are_found(period, count):
    """With x = sin²(πt) the map is t → 2t: periodic where t = k/(2^p ± 1), multiplier ±2^p."""
    found = logistic(4.0, period)
    assert len(found) == count
    t = np.concatenate([np.arange(2**period + s) / (2**period + s) for s in (-1, 1)])
    gaps = np.abs(found.points[..., :1] - np.sin(np.pi * t) ** 2).min(axis=2)
    assert gaps.max() < ROUNDING
    moduli = np.abs(found.multipliers[:, 0])
    at_zero = np.abs(found.points[:, 0, 0]) < ROUNDING  # t = 0: an end of the interval, 4^p
    np.testing.assert_allclose(moduli, np.where(at_zero, 4.0, 2.0) ** period, rtol=1e-9)
    assert set(found.kinds) == {sf.Kind.repelling}


def test_period_three_is_born_at_one_plus_root_eight():
    born = 1 + np.sqrt(8)
    assert len(logistic(born - 1e-4, 3)) == 0
    above = logistic(born + 1e-4, 3)
    assert sorted(map(str, above.kinds)) == ["attracting", "repelling"]
    # A fold: both multipliers are 1 ± a multiple of the square root of the distance.
    growth = np.sort(above.multipliers[:, 0].real) - 1
    assert growth[0] == pytest.approx(-growth[1], rel=0.1)
    wider = logistic(born + 4e-4, 3)
    assert np.ptp(wider.multipliers.real) == pytest.approx(2 * np.ptp(growth), rel=0.05)


# The Hénon map


def henon_two_cycle(a, b=0.3):
    """x² − (1−b)/a x + ((1−b)² − a)/a² = 0; the product of Jacobians has determinant b²."""
    x = np.sort(np.roots([1, -(1 - b) / a, ((1 - b) ** 2 - a) / a**2]))
    trace = 4 * ((1 - b) ** 2 - a) + 2 * b
    points = np.stack([x, b * x[::-1]], axis=1)
    return points, np.sort(np.roots([1, -trace, b**2]))


@pytest.mark.parametrize(("a", "kind"), [(0.9, "attracting"), (0.9125, "nonhyperbolic")])
def test_henon_two_cycle_is_its_closed_form(a, kind):
    found = henon(a, 2)
    points, multipliers = henon_two_cycle(a)
    np.testing.assert_allclose(found.points, [points], atol=ROUNDING)
    np.testing.assert_allclose(np.sort(found.multipliers[0].real), multipliers, atol=1e-11)
    assert list(map(str, found.kinds)) == [kind]
    if a == 0.9125:
        np.testing.assert_allclose(found.multipliers, [[-1, -0.09]], atol=1e-11)


def test_henon_two_cycle_flips_at_its_threshold():
    assert len(henon(0.3675 - 1e-3, 2)) == 0  # flip of the fixed point
    assert len(henon(0.3675 + 1e-3, 2)) == 1
    below, above = henon(0.9125 - 1e-3, 2), henon(0.9125 + 1e-3, 2)
    assert (below.kinds, above.kinds) == ((sf.Kind.attracting,), (sf.Kind.saddle,))
    assert above.multipliers[0, 0].real < -1 < below.multipliers[0, 0].real
    assert len(henon(0.9125 - 1e-3, 4)) == 0
    assert henon(0.9125 + 1e-3, 4).kinds == (sf.Kind.attracting,)


def biham_wenzel(period, a=1.4, b=0.3, step=0.02, num_steps=4000):
    """Return the x of all cycles: for each choice of signs s, ẋₙ = sₙ (xₙ₊₁ − 1 + a xₙ² − b xₙ₋₁)
    comes to the cycle with these signs or escapes (Biham, Wenzel 1989)."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=period)))
    x = np.zeros(signs.shape)
    for _ in range(num_steps):
        ahead, behind = np.roll(x, -1, axis=1), np.roll(x, 1, axis=1)
        x = np.clip(x + step * signs * (ahead - 1 + a * x**2 - b * behind), -10, 10)
    still = np.abs(np.roll(x, -1, axis=1) - 1 + a * x**2 - b * np.roll(x, 1, axis=1)).max(axis=1)
    cycles = []
    for orbit in x[(still < 1e-8) & (np.abs(x).max(axis=1) < 5)]:
        shifts = [np.roll(orbit, q) for q in range(period)]
        minimal = all(np.abs(orbit - s).max() > 1e-5 for s in shifts[1:])
        if minimal and all(np.abs(s - c).max() > 1e-5 for s in shifts for c in cycles):
            cycles.append(orbit)
    return cycles


@pytest.mark.parametrize(("period", "count"), [(2, 1), (3, 0), (4, 1), (5, 0), (6, 2), (7, 4)])
def test_henon_cycles_are_those_of_biham_and_wenzel(period, count):
    found = henon(1.4, period)
    twin = biham_wenzel(period)
    assert len(found) == len(twin) == count  # as published: Artuso, Aurell, Cvitanović 1990
    for orbit in twin:
        shifts = np.stack([np.roll(orbit, q) for q in range(period)])
        assert np.abs(found.points[:, None, :, 0] - shifts).max(axis=2).min() < 1e-6
    products = np.prod(found.multipliers, axis=1)
    np.testing.assert_allclose(products, (-0.3) ** period, rtol=1e-9)  # det DF = −b


# Normalised SAM


def planar_cycles(lams, rho, lr):
    """Return the 2-cycles with two active eigenvectors, as (i, j, |w_i|, |w_j|).

    w ↦ m(r) w with m_i(r) = 1 − ηλᵢ − ηρλᵢ²/r, r = ‖Hw‖. A 2-cycle with radii r₀, r₁ needs
    m_i(r₀) m_i(r₁) = 1 for each active i: linear in 1/r₀ + 1/r₁ and 1/(r₀r₁), so that generically
    one or two are active. With one it is ±c v; with two r₀ ≠ r₁.
    """
    cycles = []
    for i, j in itertools.combinations(range(len(lams)), 2):
        lam = np.array([lams[i], lams[j]])
        matrix = np.stack([(1 - lr * lam) * lam, -lr * lam**3], axis=1)
        total, product = np.linalg.solve(matrix, lr * lam - 2)  # of ρ/r₀ and ρ/r₁
        if product > 0 and total > 2 * np.sqrt(product):
            u, v = np.roots([1, -total, product])
            m = 1 - lr * lam - lr * lam**2 * u
            share = ((u / v) ** 2 - m[1] ** 2) / (m[0] ** 2 - m[1] ** 2)
            if 0 < share < 1:
                gradient = rho / u * np.sqrt([share, 1 - share])
                cycles.append((i, j, *(gradient / np.abs(lam))))
    return cycles


def hessian_of(seed, dim):
    rng = np.random.default_rng(seed)
    lams = rng.uniform(0.3, 2.0, dim) * rng.permutation([1, -1, *rng.choice([-1, 1], dim - 2)])
    rotation = np.eye(dim) if seed % 2 else np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return lams, rotation, 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-1.5, -0.05)


def cycle_along(found, direction):
    """Return the index of the only cycle of `found` along `direction`, and its radius."""
    across = found.w - (found.w @ direction)[..., None] * direction
    (index,) = np.flatnonzero(np.abs(across).max(axis=(1, 2)) < 1e-9 * np.abs(found.w).max())
    first, second = found.w[index] @ direction
    assert first == pytest.approx(-second, rel=1e-9)
    return index, abs(first)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("seed", [0, 1, *map(slow, range(2, 8))])
def test_sam_has_the_two_cycles_of_theory_and_no_others(seed, dim):
    """Along each eigenvector one (section 3, Proposition 7); four for each pair in a plane."""
    lams, rotation, rho, lr = hessian_of(seed, dim)
    system = quadratic(lams, rotation, rule=sf.SAM(rho=rho), lr=lr)
    found = sf.find_cycles(system, period=2, box=box_of(dim))
    planar = planar_cycles(lams, rho, lr)
    assert len(found) == dim + 4 * len(planar)
    assert (found.status == sf.Status.located).all()
    for i, lam in enumerate(lams):
        index, radius = cycle_along(found, rotation[:, i])
        assert radius == pytest.approx(float(theory.cycle_radius(lam, rho=rho, lr=lr)), rel=1e-9)
        own = float(theory.cycle_multiplier(lam, lr=lr))
        scaled = [float(theory.transverse_curvature(lam, m, lr=lr)) for m in np.delete(lams, i)]
        expected = np.sort([own, *((1 - x) ** 2 for x in scaled)])
        values = np.sort(found.multipliers[index].real)
        np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9 * expected.max())
    for i, j, *moduli in planar:
        images = np.abs(found.w @ rotation[:, [i, j]])
        assert np.sum(np.abs(images - moduli).max(axis=2).min(axis=1) < 1e-9 * max(moduli)) == 4


def test_two_cycles_off_the_eigenvectors_exist():
    """One example, by the map itself in NumPy."""
    lams, rho, lr = np.array([-2.5, -0.15]), 0.1, 0.12
    ((_, _, *w),) = planar_cycles(lams, rho, lr)

    def step(w):
        return w - lr * lams * (w + rho * lams * w / np.linalg.norm(lams * w))

    w = np.array(w)
    np.testing.assert_allclose(step(step(w)), w, rtol=1e-12)
    lengths = np.linalg.norm([w, step(w)], axis=1)
    assert lengths.max() > 1.1 * lengths.min()  # no ±c v
    found = sf.find_cycles(quadratic(lams, rule=sf.SAM(rho=rho), lr=lr), period=2, box=box_of(2))
    assert len(found) == 6


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("momentum", [0.3, 0.9])
def test_sam_cycles_with_heavy_ball(seed, momentum):
    """Own and transverse multipliers are squares of those of the 2×2 update with ηλ, or x_j."""
    lams, rotation, rho, lr = hessian_of(seed, 2)
    system = quadratic(lams, rotation, rule=sf.SAM(rho=rho), lr=lr, momentum=momentum)
    found = sf.find_cycles(system, period=2, box=box_of(2))
    with_ball = {"lr": lr, "momentum": momentum, "scheme": "heavy_ball"}
    for i, lam in enumerate(lams):
        index, radius = cycle_along(found, rotation[:, i])
        expected = float(theory.cycle_radius(lam, rho=rho, **with_ball))
        assert radius == pytest.approx(expected, rel=1e-9)
        x = [lr * lam, float(theory.transverse_curvature(lam, lams[1 - i], **with_ball))]
        blocks = [np.array([[1 - a, -momentum], [a, momentum]]) for a in x]  # (w, lr v)
        squares = np.concatenate([np.linalg.eigvals(b) ** 2 for b in blocks])
        values = found.multipliers[index]
        scale = np.abs(squares).max()
        np.testing.assert_allclose(np.abs(values).max(), scale, rtol=1e-7)
        np.testing.assert_allclose(
            np.poly(values).real, np.poly(squares).real, atol=1e-7 * max(1.0, scale**4)
        )


@pytest.mark.parametrize(("lr", "count"), [(1.9, 1), (1.99, 1), (2.01, 0), (2.5, 0)])
def test_the_cycle_of_a_minimum_ends_at_the_flip(lr, count):
    """κ = 2: at λ = 1 there is a 2-cycle iff η < 2."""
    system = quadratic([1.0], rule=sf.SAM(rho=0.05), lr=lr)
    found = sf.find_cycles(system, period=2, box=box_of(1, 50.0))
    assert len(found) == count


def test_a_repeated_largest_eigenvalue_has_a_sphere_of_cycles():
    system = quadratic([1.0, 1.0, -0.5], rule=sf.SAM(rho=0.05), lr=0.1)
    found = sf.find_cycles(system, period=2, box=box_of(3))
    neutral = np.array([kind is sf.Kind.nonhyperbolic for kind in found.kinds])
    assert neutral.sum() > 10
    assert (~neutral).sum() == 1  # along −½
    radii = np.linalg.norm(found.w[neutral], axis=2)
    np.testing.assert_allclose(radii, 0.1 * 0.05 / 1.9, rtol=1e-6)


@pytest.mark.parametrize("rho", [1e-4, 0.1])
@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_the_trap_holds_a_repelling_two_cycle(a, rho):
    """w ↦ (1 + a)w − aρ sign w has ±aρ/(2 + a), multiplier (1 + a)²."""
    system = quadratic([-a], rule=sf.SAM(rho=rho), lr=1.0)
    found = sf.find_cycles(system, period=2, box=box_of(1))
    radius = a * rho / (2 + a)
    np.testing.assert_allclose(found.w[:, :, 0], [[-radius, radius]], rtol=1e-10)
    np.testing.assert_allclose(found.multipliers, [[(1 + a) ** 2]], rtol=1e-10)
    assert found.kinds == (sf.Kind.repelling,)


def trap_cycles(a, period):
    """Return the first points of the cycles at ρ = 1: one affine equation for each itinerary."""
    firsts = []
    for signs in itertools.product([-1, 1], repeat=period):
        w = a * sum((1 + a) ** k * s for k, s in enumerate(signs[::-1])) / ((1 + a) ** period - 1)
        orbit = [w]
        for s in signs:
            orbit.append((1 + a) * orbit[-1] - a * s)
        admissible = all(w * s > 1e-12 for w, s in zip(orbit[:-1], signs, strict=True))
        minimal = all(abs(w - orbit[0]) > 1e-9 for w in orbit[1:-1])
        if admissible and minimal:
            firsts.append(min(orbit[:-1]))
    return sorted({round(w, 9) for w in firsts})


@pytest.mark.parametrize("a", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("period", [2, 4])
def test_trap_cycles_are_those_of_the_itineraries(a, period):
    system = quadratic([-a], rule=sf.SAM(rho=1.0), lr=1.0)
    found = sf.find_cycles(system, period=period, box=box_of(1))
    np.testing.assert_allclose(found.points[:, 0, 0], trap_cycles(a, period), atol=2e-9)
    np.testing.assert_allclose(np.abs(found.multipliers), (1 + a) ** period, rtol=1e-9)


# What is no cycle, and what has no Jacobian


def test_gradient_descent_on_a_bowl_has_no_cycle():
    system = quadratic([1.0, 0.3], rule=sf.GD(), lr=1.9)
    found = sf.find_cycles(system, period=2, box=box_of(2))
    assert len(found) == 0
    assert found.points.shape == (0, 2, 2)
    assert str(found) == "0 cycles of period 2 (multistart, more may exist)"
    shorter = re.search(r"(\d+) to one of a shorter period", found.note)
    assert shorter is not None
    assert int(shorter[1]) > 0


class HeavyBall(AbstractRule):
    """SAM's heavy ball as a rule: m⁺ = βm + d, and m⁺ is the direction."""

    rho: float
    beta: float
    name = "heavy ball"
    formula = source = ""
    num_memories = 1

    def step(self, loss, w, memory):
        memory = self.beta * memory + sf.SAM(rho=self.rho).direction(loss, w)
        return memory, memory

    def init(self, loss, w):
        return 0.0 * w

    def singularity(self, loss, w, memory):
        return sf.SAM(rho=self.rho).singularity(loss, w)


def test_memory_is_part_of_the_state():
    """Momentum written as a rule's memory has momentum's cycles, and their multipliers."""
    lams, lr = [1.0, -0.5], 0.1
    plain = quadratic(lams, rule=sf.SAM(rho=0.05), lr=lr, momentum=0.5)
    memory = quadratic(lams, rule=HeavyBall(rho=0.05, beta=0.5), lr=lr)
    one, other = (sf.find_cycles(s, period=2, box=box_of(2)) for s in (plain, memory))
    assert len(one) == len(other) >= 2
    np.testing.assert_allclose(one.points, other.points, atol=1e-12)
    np.testing.assert_allclose(np.abs(one.multipliers), np.abs(other.multipliers), rtol=1e-7)


class Nowhere(AbstractMemorylessRule):
    """Gradient descent that is said to be smooth nowhere."""

    name = "nowhere"
    formula = source = ""

    def direction(self, loss, w):
        return loss.gradient(w)

    def singularity(self, loss, w, memory=None):
        return 0.0 * jnp.sum(w**2)


def test_a_cycle_without_jacobian_gets_no_multipliers():
    """g = y³ − y and y ↦ (1 + η(1 − y²))y: at y² = 1 + 2/η it changes sign."""
    system = sf.Map(sf.losses.double_well(), Nowhere(), lr=1.1)
    rough = sf.find_cycles(system, period=2, box=box_of(1))
    high = np.sqrt(1 + 2 / 1.1)
    assert np.abs(rough.w[:, :, 0] - [-high, high]).max(axis=1).min() < ROUNDING
    assert (rough.status == sf.Status.not_differentiable).all()
    assert set(rough.kinds) == {sf.Kind.undefined}
    assert np.isnan(rough.multipliers).all()
    assert np.isnan(rough.margin).all()


def test_a_residual_that_is_too_large_is_said_to_be():
    found = logistic(3.2, 2, tol=1e-30)
    assert len(found) == 1
    expected = sf.Status.residual_too_large if found.residual[0] > 0 else sf.Status.located
    assert found.status[0] == expected


# What comes back


def test_one_cycle_is_found_once_whatever_its_first_point():
    cycle = np.array([[0.1, 1.0], [0.5, 2.0], [0.9, 3.0]])
    other = cycle + 1e-3
    points = np.stack([np.roll(cycle, q, axis=0) for q in range(3)] + [other, cycle[::-1]])
    group = distinct(points, np.array([3e-9, 1e-9, 2e-9, 0.0, 0.0]), np.ones(5))
    np.testing.assert_array_equal(group, [1, 1, 1, 3, 4])  # the reverse is another cycle
    wide = distinct(points, np.full(5, 1e-2), np.ones(5))
    assert len(set(wide[:4].tolist())) == 1  # within the errors


def test_cycles_begin_with_their_least_point_and_are_in_order():
    found = logistic(4.0, 5)
    assert (found.points[:, 0] == found.points.min(axis=1)).all()
    assert (np.diff(found.points[:, 0, 0]) > 0).all()
    images = 4 * found.points * (1 - found.points)
    np.testing.assert_allclose(images, np.roll(found.points, -1, axis=1), atol=1e-14)


def test_a_cycle_with_one_point_in_the_box_counts():
    low, high = logistic(3.2, 2).points[0, :, 0]
    assert len(logistic(3.2, 2, box=((low - 0.1, low + 0.1),))) == 1
    assert len(logistic(3.2, 2, box=((high - 0.1, high + 0.1),))) == 1
    between = logistic(3.2, 2, box=((low + 0.1, high - 0.1),))
    assert len(between) == 0
    assert re.search(r"[1-9]\d* to one outside", between.note)


def test_other_parameters_run_the_same_program():
    logistic(3.2, 2)
    before = len(Logistic.traces)
    assert before > 0
    assert len(logistic(3.3, 2)) == 1
    assert len(Logistic.traces) == before


def test_the_default_box_is_the_domain_and_the_record_is_complete_in_itself():
    loss = sf.losses.beale()
    found = sf.find_cycles(sf.Map(loss, sf.SAM(rho=0.05), lr=0.01), period=2)
    assert found.box == loss.domain
    assert not found.complete
    # At the saddle (0, 1) there are the two cycles of Proposition 7, to first order in rho.
    near = np.abs(found.w - [0.0, 1.0]).max(axis=(1, 2)) < 0.05
    radii = np.linalg.norm(found.w[near, 0] - found.w[near, 1], axis=1) / 2
    expected = [theory.cycle_radius(lam, rho=0.05, lr=0.01) for lam in (-27.75, 27.75)]
    np.testing.assert_allclose(np.sort(radii), np.array(expected, dtype=float), rtol=0.02)
    dataset = found.to_dataset()
    assert dataset["points"].dims == ("cycle", "point", "state")
    assert dataset["multipliers"].shape == (len(found), 2)
    assert json.loads(found.to_json())["period"] == 2
    assert "planes through critical points" in found.note


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"period": 0}, "`period` must be a whole number of at least 1"),
        ({"period": None}, "`period` is missing"),
        ({"period": 2.0}, "`period` must be a whole number"),
        ({"box": None}, "`box` must be given .* one pair"),
        ({"box": ((1.0, 1.0),)}, "empty or unbounded"),
        ({"num_starts": 0}, "at least 1"),
        ({"tol": 0.0}, "greater than 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.FunctionMap(lambda z: 1 - z**2, dim=1)
    with pytest.raises(ArgumentError, match=words):
        sf.find_cycles(system, **({"period": 2, "box": ((0.0, 1.0),)} | arguments))


def test_a_cycle_of_a_flow_has_no_number_of_steps():
    with pytest.raises(ArgumentError, match="`period` must be left out for a flow, but is 2"):
        sf.find_cycles(sf.Flow(sf.losses.beale(), sf.GD()), period=2)  # type: ignore[call-overload]


def test_losses_are_asked_for_their_domain_only():
    class Bare(AbstractLoss):
        name = "bare"
        dim = 1
        domain = None
        elementwise = False

        def __call__(self, w):
            return jnp.sum(w**2) / 2

        def gradient(self, w):
            return w

        def hessian(self, w):
            return jnp.eye(1)

    system = sf.Map(Bare(), sf.GD(), lr=0.5)
    with pytest.raises(ArgumentError, match="it has no loss with a domain"):
        sf.find_cycles(system, period=2)
