"""Cycles on the loss itself that `classify` names, against plain iteration in NumPy."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import rules, theory
from samflow.equilibria.agreement import disagreement
from samflow.equilibria.nonsmooth.located import MAX_PERIOD

WELL = sf.loss("y**4/4 - y**2/2")


def slope(y):
    return y**3 - y


def iterated(lr, rho, y=1.001, momentum=0.0, burn=6000, keep=400, grad=slope):
    """Return the last points of SAM with heavy ball, in NumPy."""
    v, points = 0.0, []
    for k in range(burn + keep):
        v = momentum * v + grad(y + rho * np.sign(grad(y)))
        y = y - lr * v
        if k >= burn:
            points.append(y)
    return np.array(points)


def period(points, longest=200):
    return next(
        (q for q in range(1, longest) if np.abs(points[q:] - points[:-q]).max() < 1e-11), None
    )


@pytest.mark.parametrize(
    ("lr", "share"),
    [
        (0.05, "4/7"),
        (0.15, "4/7"),
        (0.17, "5/9"),
        (0.19, "5/9"),
        (0.2, "1/2"),
        (0.01, "27/47"),
    ],
)
def test_the_minimum_of_the_double_well(lr, share):
    found = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr), [1.0])
    points = iterated(lr, 0.1)
    q = period(points)
    assert found.kind is sf.Kind.cycle
    (cycle,) = found.local.on_loss.cycles
    assert (cycle.period, cycle.rotation) == (q, Fraction(share))
    away = np.abs(points[:q] - 1)
    assert (cycle.nearest, cycle.farthest) == pytest.approx((away.min(), away.max()), rel=1e-9)
    side = np.sign(points[:q] - 1)
    slopes = 1 - lr * (3 * (points[:q] + 0.1 * side) ** 2 - 1)
    assert cycle.multipliers[0] == pytest.approx(np.prod(slopes), rel=1e-9)
    assert (side < 0).sum() == cycle.negative >= q / 2  # b < a: y < 1 is less steep
    assert cycle.curvature == pytest.approx(2)
    # The other minimum is its mirror, and so is the less steep side.
    mirror = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr), [-1.0]).local.on_loss.cycles
    assert [str(each) for each in mirror] == [str(cycle)]


def test_the_two_cycle_is_named_where_it_exists_and_not_before():
    """On the loss it exists for lr > 0.198536 (`test_rotation`), on affine branches for 0.182."""
    periods = [
        sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr), [1.0]).local.on_loss.cycles[0].period
        for lr in (0.1985, 0.1986)
    ]
    assert periods == [period(iterated(0.1985, 0.1)), 2]
    assert periods[0] > 2


def test_a_long_period_is_said_to_be_a_rotation():
    lr = 0.001
    found = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr), [1.0])
    assert found.kind is sf.Kind.rotation
    on_loss = found.local.on_loss
    assert on_loss.cycles == ()
    affine = theory.rotation_cycle(
        slope(1.1), -slope(0.9), plus=1 - 2.63 * lr, minus=1 - 1.43 * lr, max_period=MAX_PERIOD
    )
    assert isinstance(affine, theory.NoCycle)
    # 4 orbits of 8,192 steps or more count a share to 1 in 8,192; the branches are affine to O(lr).
    assert on_loss.share == pytest.approx(float(affine.low), abs=2e-3)
    assert f"no cycle up to period {MAX_PERIOD}" in str(found)
    assert "2-cycle ±" in str(found)  # what the quadratic part has is not lost
    seen = sf.fate(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr), [1.0], num_starts=4)
    assert seen.disagreement == ""


@pytest.mark.parametrize(("momentum", "lr"), [(0.5, 0.1), (0.9, 0.1)])
def test_with_heavy_ball(momentum, lr):
    found = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=lr, momentum=momentum), [1.0])
    points = iterated(lr, 0.1, momentum=momentum)
    (cycle,) = found.local.on_loss.cycles
    assert cycle.period == period(points)
    away = np.abs(points[: cycle.period] - 1)
    assert (cycle.nearest, cycle.farthest) == pytest.approx((away.min(), away.max()), rel=1e-8)


def test_cycles_that_attract_beside_each_other_are_named_each():
    """With heavy ball 0.9 two attract at lr = 0.0581: study `rotation`."""
    found = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=0.0581, momentum=0.9), [1.0])
    assert [cycle.period for cycle in found.local.on_loss.cycles] == [5, 7]
    ends = {period(iterated(0.0581, 0.1, y=1 + e, momentum=0.9)) for e in (1e-3, -1e-3)}
    assert ends == {5, 7}


def test_a_maximum_has_a_cycle_once_the_ascent_reaches_where_the_loss_curves_up():
    """At y = 0, g′(ρ) = 3ρ² − 1 > 0 for ρ > .577, and g pushes back for ρ < 1."""
    for rho, cycles in ((0.5, 0), (0.7, 1)):
        found = sf.classify(sf.Map(WELL, sf.SAM(rho=rho), lr=0.1), [0.0])
        assert found.kind is (sf.Kind.cycle if cycles else sf.Kind.chaotic_trap)
        assert len(found.local.on_loss.cycles) == cycles
    points = iterated(0.1, 0.7, y=1e-3)
    assert period(points) == found.local.on_loss.cycles[0].period == 2
    assert found.local.on_loss.cycles[0].farthest == pytest.approx(np.abs(points).max(), rel=1e-9)


BEALE = sf.losses.beale()


def beale_gradient(w):
    x, y = w
    terms = [c - x + x * y**k for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    along_x = sum(2 * term * (y**k - 1) for k, term in enumerate(terms, 1))
    return np.array(
        [along_x, sum(2 * term * k * x * y ** (k - 1) for k, term in enumerate(terms, 1))]
    )


def test_the_minimum_of_beale_is_named_as_orbits_find_it():
    """The quadratic part's 2-cycle is at 0.016; a weak eigenvalue lets the offset grow to 0.19."""
    found = sf.classify(sf.Map(BEALE, sf.SAM(rho=0.05), lr=0.01), [3.0, 0.5])
    (cycle,) = found.local.on_loss.cycles
    assert (found.kind, cycle.period, cycle.negative) == (sf.Kind.cycle, 2, 1)
    w, orbit = np.array([3.0, 0.501]), []
    for _ in range(6000):
        g = beale_gradient(w)
        w = w - 0.01 * beale_gradient(w + 0.05 * g / np.linalg.norm(g))
        orbit.append(w)
    away = np.linalg.norm(np.array(orbit[-2:]) - [3.0, 0.5], axis=1)
    assert (cycle.nearest, cycle.farthest) == pytest.approx((away.min(), away.max()), rel=1e-9)
    # The distance from the cycle falls by the largest multiplier every two steps.
    gaps = np.linalg.norm(np.array(orbit[-1]) - np.array(orbit[1001:1201:2]), axis=1)
    rate = np.exp(np.polyfit(np.arange(100), np.log(gaps), 1)[0])
    assert rate == pytest.approx(abs(cycle.multipliers[0]), rel=1e-4)


def test_practical_sam_repels_within_eps_and_has_sams_cycle_about_it():
    found = sf.classify(sf.Map(WELL, rules.PracticalSAM(rho=0.1, eps=1e-12), lr=0.05), [1.0])
    assert found.kind is sf.Kind.repelling
    (cycle,) = found.local.on_loss.cycles
    (sams,) = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=0.05), [1.0]).local.on_loss.cycles
    assert (cycle.period, cycle.negative) == (sams.period, sams.negative)
    # The ascent is shorter by eps/‖g‖, at most 1e-9 on the cycle.
    assert cycle.farthest == pytest.approx(sams.farthest, rel=1e-8)
    assert "attracting on the loss: 7-cycle" in str(found)
    # With eps in its window the point attracts, and nothing is looked for.
    mild = sf.classify(sf.Map(WELL, rules.PracticalSAM(rho=0.1, eps=1.0), lr=0.05), [1.0])
    assert (mild.kind, mild.local) == (sf.Kind.attracting, None)
    # USAM's ascent has no length of its own; at a hallucinated point of SAM the gradient is not 0.
    usam = sf.classify(sf.Map(WELL, sf.USAM(rho=9.0), lr=0.5), [1.0])
    assert (usam.kind, usam.local) == (sf.Kind.repelling, None)
    hallucinated = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=0.05), [-0.1])
    assert (hallucinated.kind, hallucinated.local) == (sf.Kind.repelling, None)


def test_where_orbits_leave_no_cycle_is_claimed():
    found = sf.classify(sf.Map(BEALE, sf.SAM(rho=0.05), lr=0.02), [3.0, 0.5])
    assert found.kind is sf.Kind.undefined
    assert set(found.local.on_loss.outcomes) == {"leaves"}
    assert found.local.two_cycle is not None  # of the quadratic part
    assert str(found).startswith(
        "undefined: no Jacobian; no attracting cycle was located on the loss: "
    )


def test_a_third_derivative_holds_a_saddle_that_the_quadratic_part_lets_go():
    """Its bound is |λ₋| > η/(2 − η) = 0.0526. At 0.03 orbits leave in tens of thousands of steps.

    Until then they turn about the point, and that is taken for no rotation.
    """
    for bend, weak, held in ((0.1, 0.05, True), (0.0, 0.05, False), (0.1, 0.03, False)):
        saddle = sf.loss(f"x**2/2 + {bend}*x**3 + x**4*1e-6 - {weak}*y**2/2")
        found = sf.classify(sf.Map(saddle, sf.SAM(rho=0.1), lr=0.1), [0.0, 0.0])
        assert found.local.two_cycle is None
        assert found.kind is (sf.Kind.cycle if held else sf.Kind.undefined)
        assert ("turns" in found.local.on_loss.outcomes) is not held


@pytest.mark.parametrize(("length", "height"), [(1e-8, 1e8), (1e8, 1e-8), (1e4, 1e4)])
def test_the_cycle_does_not_depend_on_units(length, height):
    """L → height·L, w → length·w; lr goes as length²/height, rho as length."""
    loss = sf.loss(f"{height!r}*((y/{length!r})**4/4 - (y/{length!r})**2/2)")
    lr = 0.05 * length**2 / height
    found = sf.classify(sf.Map(loss, sf.SAM(rho=0.1 * length), lr=lr), [length])
    one = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=0.05), [1.0]).local.on_loss
    (ours,) = found.local.on_loss.cycles
    (theirs,) = one.cycles
    assert (ours.period, ours.negative) == (theirs.period, theirs.negative)
    assert ours.farthest == pytest.approx(length * theirs.farthest, rel=1e-9)
    rho = found.local.on_loss.quadratic_rho
    assert rho == pytest.approx(length * one.quadratic_rho, rel=1e-9)


def test_orbits_on_another_cycle_or_at_another_distance_differ_from_what_is_located():
    found = sf.classify(sf.Map(WELL, sf.SAM(rho=0.1), lr=0.05), [1.0])
    far = found.local.on_loss.cycles[0].farthest

    def said(kind, fates, period, distance):
        return disagreement(kind, found.local, [fates], np.array([period]), np.array([distance]))

    assert said(sf.Kind.cycle, "cycle", 7, far) == ""
    for fates, period, distance in (
        ("cycle", 2, far),
        ("cycle", 7, 1.02 * far),
        ("trap", 0, far),
        ("leaves", 0, 1.0),
    ):
        text = said(sf.Kind.cycle, fates, period, distance)
        assert text.startswith("orbits differ from theory, which predicts: a 7-cycle, rotation 4/7")
    assert said(sf.Kind.rotation, "trap", 0, far) == ""
    # A period longer than 64 is not looked for in orbits, as ASAM's 106 on the quartic: they are
    # seen as trapped. The distances tell.
    for period, distance, agrees in ((65, far, True), (64, far, False), (65, 1.02 * far, False)):
        cycle = found.local.on_loss.cycles[0]._replace(period=period)
        local = found.local._replace(on_loss=found.local.on_loss._replace(cycles=(cycle,)))
        seen = (["trap"], np.array([0]), np.array([distance]))
        assert (disagreement(sf.Kind.cycle, local, *seen) == "") is agrees
        # As VaSSO's at the saddle of the quartic: some starts turn beside the cycle of others.
        beside = local._replace(on_loss=local.on_loss._replace(outcomes=("cycle", "turns")))
        assert disagreement(sf.Kind.cycle, beside, *seen) == ""
    assert "rotation" in said(sf.Kind.rotation, "leaves", 0, 1.0)


def test_it_is_not_looked_for_on_a_quadratic_a_curve_of_minima_or_with_weight_decay():
    quadratic = sf.classify(sf.Map(sf.losses.saddle((1.0, -0.5)), sf.SAM(rho=0.1), lr=0.1), [0, 0])
    assert quadratic.local.on_loss is None
    assert (quadratic.kind, quadratic.local.exact) == (sf.Kind.cycle, True)
    circle = sf.Map(sf.loss("(x**2 + y**2 - 1)**2"), sf.SAM(rho=0.1), lr=0.1)
    assert sf.classify(circle, [1.0, 0.0]).local.on_loss is None
    decayed = sf.Map(WELL, sf.SAM(rho=0.1), lr=0.1, weight_decay=0.1)
    assert sf.classify(decayed, [0.0]).local.on_loss is None


BENT = sf.loss("x**2 + y**2/3 + x*y/5 + 0.7*x**3 - 0.9*x**2*y + 0.4*x*y**2 + 0.3*x**4 + 0.2*y**4")


@pytest.mark.parametrize("extra", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}])
def test_the_offset_of_the_two_cycle_is_that_of_theory_to_leading_order_in_rho(extra):
    lr, w = 0.3, jnp.zeros(2)
    lams, vectors = np.linalg.eigh(np.asarray(BENT.hessian(w)))
    v = jnp.asarray(vectors[:, 1])
    bend = jax.jacfwd(lambda t: BENT.hvp(w + t * v, v))(0.0)
    bends = vectors.T @ np.asarray(bend)
    scheme = {0: "none", 1: "heavy_ball", 2: "nesterov"}[len(extra)]
    about = {"lr": lr, "momentum": extra.get("momentum", 0), "scheme": scheme}
    errors = []
    for rho in (1e-3, 1e-4):
        system = sf.Map(BENT, sf.SAM(rho=rho), lr=lr, **extra)
        radius = float(theory.cycle_radius(lams[1], rho=rho, **about))
        points = np.asarray(
            sf.iterate(system, radius * v, num_steps=3001, keep_every=1).w[-2:] @ vectors
        )
        along, across = theory.cycle_offset(
            lams[1], bends[1], across=[(lams[0], bends[0])], rho=rho, **about
        )
        found = points.mean(axis=0)[::-1] - [float(along), float(across)]
        errors.append(np.abs(found).max() / rho**2)
        assert np.ptp(points[:, 1]) / 2 == pytest.approx(radius, rel=100 * rho)
    # The offset is 2 ρ² in size, the next order ρ³.
    assert errors[1] < 0.2 * errors[0] < 0.01


@pytest.mark.parametrize("loss", [BENT, sf.loss("x**2 + y**2/3 + 0.3*x**4 + 0.2*y**4")])
def test_up_to_its_rho_the_two_cycle_of_the_quadratic_part_is_the_losss_to_one_per_cent(loss):
    """With third derivatives the offset decides, without them the change of the radius."""
    lr = 0.3
    rho = sf.classify(sf.Map(loss, sf.SAM(rho=0.01), lr=lr), [0.0, 0.0]).local.on_loss.quadratic_rho
    lam = float(np.linalg.eigvalsh(np.asarray(loss.hessian(jnp.zeros(2))))[1])
    off = []
    for share in (0.5, 1.0, 2.0):
        system = sf.Map(loss, sf.SAM(rho=share * rho), lr=lr)
        (cycle,) = sf.classify(system, [0.0, 0.0]).local.on_loss.cycles
        assert cycle.period == 2
        points = sf.iterate(system, [1e-3 * rho] * 2, num_steps=3001, keep_every=1).w[-2:]
        radius = float(theory.cycle_radius(lam, rho=share * rho, lr=lr))
        half = float(jnp.linalg.norm(points[1] - points[0])) / 2
        off.append(
            max(float(jnp.linalg.norm(points.mean(axis=0))) / radius, abs(half / radius - 1))
        )
    assert off[1] == pytest.approx(0.01, rel=0.05)  # the next order in ρ
    assert off[0] < 0.006
    assert off[2] > 0.018


def test_nothing_is_bent_on_a_quadratic():
    assert theory.quadratic_cycle_rho(1.0, 0.0, across=[(0.3, 0.0)], lr=0.1) == math.inf


@pytest.mark.parametrize(
    ("rho", "kind"), [(0.5, "chaotic trap"), (0.9, "cycle"), (1.1, "undefined")]
)
def test_a_trap_of_the_quadratic_part_that_the_loss_contradicts(rho, kind):
    """At the maximum of (x² − 1)²/4, whose quadratic part has a chaotic trap for every rho.

    The branches of the map contract where g′(rho) = 3rho² − 1 > 0, and a 2-cycle is there. For
    rho > 1 the ascent point lies beyond the minimum, and SAM rests at x = ±(rho − 1).
    """
    found = sf.classify(sf.Map(sf.loss("(x**2-1)**2/4"), sf.SAM(rho=rho), lr=0.1), [0.0])
    assert found.kind == kind
    if kind == "undefined":
        said = "no attracting cycle was located on the loss: orbits stay on one side"
        assert str(found) == f"undefined: no Jacobian; {said}"  # and nothing of a trap


@pytest.mark.parametrize(
    ("rho", "kind"), [(0.5, "chaotic trap (of the quadratic part)"), (0.7, "rotation")]
)
def test_orbits_that_turn_are_called_chaotic_only_where_they_part(rho, kind):
    """At rho = 0.5 g′(±rho) < 0; at 0.7 it is 0.68 and 0.26, and a 141-cycle attracts.

    The exponent is the mean of log(1 − lr g′) over the orbit, here by NumPy.
    """
    loss, lr = sf.loss("-y**2/2 + y**3/20 + y**4/4"), 0.001
    found = sf.classify(sf.Map(loss, sf.SAM(rho=rho), lr=lr), [0.0])
    assert str(found).startswith(f"{kind}: no Jacobian; ")

    def grad(y):
        return -y + 0.15 * y**2 + y**3

    y, logs = 1e-3, []
    for k in range(24_000):
        ascent = y + rho * np.sign(grad(y))
        logs += [np.log(1 - lr * (3 * ascent**2 + 0.3 * ascent - 1))] if k >= 20_000 else []
        y = y - lr * grad(ascent)
    # Orbits of some thousand steps, in which the share of a side is good to 1e-3.
    assert found.local.on_loss.growth == pytest.approx(np.mean(logs), abs=2e-6)
    assert f"Lyapunov exponent {found.local.on_loss.growth:.3g} on the loss" in str(found)
    if kind == "rotation":
        assert found.local.on_loss.growth == pytest.approx(-0.00051, abs=5e-6)
        assert str(found).count("Lyapunov") == 1


@pytest.mark.parametrize("name", ["GCSAM", "OptimisticSAM", "FSAM"])
def test_a_cycle_on_one_side_is_located(name):
    """Its points lie at y < 1 both; `fate` sees the period 2 in the states."""
    system = sf.Map(sf.losses.quartic(), getattr(rules, name)(rho=0.05), lr=0.01)
    found = sf.classify(system, [0.0, 1.0])
    (cycle,) = found.local.on_loss.cycles
    assert (found.kind, cycle.period, cycle.negative) == (sf.Kind.cycle, 2, 2)
    assert "2-cycle, on one side along λ = 2" in str(found)
    orbit = sf.iterate(system, [1e-5, 1.00002], num_steps=20_001, keep_every=1)
    away = np.linalg.norm(np.asarray(orbit.w[-2:]) - [0.0, 1.0], axis=1)
    assert (cycle.nearest, cycle.farthest) == pytest.approx((away.min(), away.max()), rel=1e-6)
    assert (np.asarray(orbit.w[-2:, 1]) < 1).all()


def test_a_cycle_about_another_point_is_not_the_points_own():
    """SSAM's about its hallucinated fixed point (0, 1/2), whose ascent reaches (0, −1)."""
    found = sf.classify(sf.Map(sf.losses.quartic(), rules.SSAM(rho=1.5), lr=0.01), [0.0, 0.0])
    assert found.kind is sf.Kind.undefined
    assert found.local.on_loss.cycles == ()
    assert "elsewhere" in found.local.on_loss.outcomes
