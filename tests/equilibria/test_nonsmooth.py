"""Cycles, traps and sliding at critical points without a Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import rules, theory
from samflow.equilibria.nonsmooth.arriving import Evidence, Sliding

HEAVY, NESTEROV = {"momentum": 0.6}, {"momentum": 0.6, "nesterov": True}


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_curvatures_whose_squares_are_no_numbers_have_the_same_cycles_and_radius(scale):
    """λ → cλ, lr → lr/c: the cycle is the same in weights, and ‖g‖ is c times as large."""
    one, far = (
        sf.classify(
            sf.Map(sf.losses.saddle((2 * c, -c)), sf.SAM(rho=0.1), lr=0.1 / c), [0.0, 0.0]
        ).local
        for c in (1.0, scale)
    )
    ours, theirs = one.cycles[0], far.cycles[0]
    assert theirs.radius == pytest.approx(ours.radius, rel=1e-12)
    assert theirs.gradient == pytest.approx(scale * ours.gradient, rel=1e-12)
    assert theirs.attracts == ours.attracts
    flows = [
        sf.classify(sf.Flow(sf.losses.saddle((2 * c, -c)), sf.SAM(rho=0.1)), [0.0, 0.0])
        for c in (1.0, scale)
    ]
    radii = [flow.local.sliding.radius for flow in flows]
    assert radii[1] == pytest.approx(scale * radii[0], rel=1e-12)


def quadratic(hessian, centre=None):
    """Return ½(w − c)ᵀH(w − c) as a formula."""
    n = len(hessian)
    centre = np.zeros(n) if centre is None else centre
    names = [f"w{i}" for i in range(n)]
    shifted = [
        f"({name} - ({value!r}))" for name, value in zip(names, centre.tolist(), strict=True)
    ]
    terms = [
        f"({0.5 * hessian[i, j]!r})*{shifted[i]}*{shifted[j]}" for i in range(n) for j in range(n)
    ]
    return sf.loss(" + ".join(terms).replace("np.float64", ""))


def rotated(lams, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(lams), len(lams))))
    h = q @ np.diag(lams) @ q.T
    return (h + h.T) / 2


@pytest.mark.parametrize("extra", [{}, HEAVY, NESTEROV])
@pytest.mark.parametrize("lams", [(1.0, -0.6), (2.0, 0.5, -1.1), (1.5, -0.3, -0.9, 0.8)])
def test_the_cycles_of_sam_are_those_of_theory(lams, extra):
    rho, lr = 0.2, 0.25
    scheme = {0: "none", 1: "heavy_ball", 2: "nesterov"}[len(extra)]
    about = {"lr": lr, "momentum": extra.get("momentum", 0), "scheme": scheme}
    system = sf.Map(quadratic(rotated(lams)), sf.SAM(rho=rho), lr=lr, **extra)
    found = sf.classify(system, np.zeros(len(lams)))
    assert found.status is sf.Status.not_differentiable
    cycles = {round(cycle.curvature, 6): cycle for cycle in found.local.cycles}
    assert set(cycles) == {round(lam, 6) for lam in lams}
    stable = theory.stable_cycles(lams, **about)
    for i, lam in enumerate(lams):
        cycle = cycles[round(lam, 6)]
        radius = float(theory.cycle_radius(lam, rho=rho, **about))
        # Rounding, times the condition of the eigenproblem.
        assert cycle.radius == pytest.approx(radius, rel=1e-10)
        assert cycle.gradient == pytest.approx(abs(lam) * radius, rel=1e-10)
        assert cycle.attracts == (i in stable)
        if scheme == "none":
            across = [theory.transverse_curvature(lam, mu, lr=lr) for mu in lams if mu != lam]
            expected = [(1 - lr * lam) ** 2, *((1 - float(x)) ** 2 for x in across)]
            got = sorted(m.real for m in cycle.multipliers)
            np.testing.assert_allclose(got, sorted(expected), rtol=1e-9, atol=1e-12)
    assert (found.kind is sf.Kind.cycle) == bool(stable)


def opposite(system, u, w):
    """Return F(w + u) − (w − u) for the plain map, and its Jacobian at w + u."""
    return system.step(w + u) - (w - u), jax.jacfwd(system.step)(w + u)


@pytest.mark.parametrize("norm", ["raw", "centralised"])
@pytest.mark.parametrize("seed", range(4))
def test_the_cycles_of_gcsam_are_cycles_with_these_multipliers(seed, norm):
    lams = np.random.default_rng(seed).uniform(0.4, 1.5, 4) * [1, 1, -1, 1]
    system = sf.Map(quadratic(rotated(lams, seed)), rules.GCSAM(rho=0.2, norm=norm), lr=0.3)
    cycles = sf.classify(system, np.zeros(4)).local.cycles
    assert len(cycles) == 3  # of four directions one is not ascended
    for cycle in cycles:
        residual, jacobian = opposite(system, cycle.radius * jnp.array(cycle.direction), 0.0)
        np.testing.assert_allclose(residual, 0, atol=1e-12)
        expected = sorted(np.linalg.eigvals(jacobian) ** 2, key=lambda z: (z.real, z.imag))
        got = sorted(cycle.multipliers, key=lambda z: (z.real, z.imag))
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)


def test_the_cycles_of_asam_are_cycles_to_leading_order_in_rho():
    h = np.array([[1.0, 0.4], [0.4, -0.7]])
    centre = jnp.array([1.5, -0.6])
    errors = []
    for rho in (1e-2, 1e-3):
        system = sf.Map(quadratic(h, np.asarray(centre)), rules.ASAM(rho=rho, shift=0.1), lr=0.3)
        for cycle in sf.classify(system, centre).local.cycles:
            u = cycle.radius * jnp.array(cycle.direction)
            errors.append(float(jnp.linalg.norm(opposite(system, u, centre)[0])) / cycle.radius)
    # The scales |w| change by O(ρ) along the cycle: ten times the ρ, ten times the error.
    assert max(errors[2:]) < 0.02
    np.testing.assert_allclose(np.array(errors[:2]) / errors[2:], 10, rtol=0.2)


@pytest.mark.parametrize(
    "rule",
    [
        rules.FSAM(rho=0.3, sigma=0.4, decay=0.6),
        rules.FSAM(rho=0.3),
        rules.VaSSO(rho=0.3),
        rules.VaSSO(rho=0.3, theta=0.9),
        rules.OptimisticSAM(rho=0.3, lookahead=0.1),
        rules.LookaheadSAM(rho=0.3, lookahead=0.02),
        rules.MultiStepSAM(rho=0.3, num_steps=3),
        rules.MultiStepSAM(rho=0.3, num_steps=2, average=True),
        rules.UnifiedSAM(rho=0.3, mix=0.6),
        rules.MongeSAM(rho=0.3, metric=2.0),
    ],
)
@pytest.mark.parametrize("lams", [(1.0, -0.5), (1.2, 0.4, -0.7)])
def test_cycles_along_eigenvectors_have_these_multipliers(lams, rule):
    system = sf.Map(quadratic(rotated(lams)), rule, lr=0.2)
    cycles = sf.classify(system, np.zeros(len(lams))).local.cycles
    everywhere = (rules.FSAM, rules.VaSSO, rules.UnifiedSAM, rules.MongeSAM)
    along_all = isinstance(rule, everywhere)
    assert len(cycles) == (len(lams) if along_all else sum(lam > 0 for lam in lams))
    for cycle in cycles:
        w = cycle.radius * jnp.array(cycle.direction)
        g = system.loss.gradient(w)
        # On the cycle the memory is ∓ a part of the gradient, or the last direction, −2w/lr.
        if isinstance(rule, rules.FSAM):
            z = jnp.concatenate([w, -g * (1 - rule.decay) / (1 + rule.decay)])
        elif isinstance(rule, rules.VaSSO):
            z = jnp.concatenate([w, -g * rule.theta / (2 - rule.theta)])
        elif isinstance(rule, rules.OptimisticSAM):
            z = jnp.concatenate([w, -2 * w / system.lr])
        else:
            z = w
        np.testing.assert_allclose(system.step(z), -z, atol=1e-12)
        twice = lambda z: system.step(system.step(z))  # noqa: E731
        expected = np.sort_complex(np.linalg.eigvals(jax.jacfwd(twice)(z)))
        got = np.sort_complex(np.array(cycle.multipliers))
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
        assert cycle.attracts == (np.abs(expected).max() < 1)


@pytest.mark.parametrize(
    ("made", "trap", "none"),
    [
        (rules.UnifiedSAM, -12.0, -50.0),  # R₀ = .72, R₁ = 1.5; ηU₀ = 7.5
        (rules.MongeSAM, -8.0, -12.0),  # R₀ = .64 and 1.44, R₁ = .67 and .89
    ],
)
def test_rules_near_sam_are_held_where_sam_is(made, trap, none):
    """By a cycle, a trap or nothing, on both sides of SAM's weak bound .0526 and of the ball's."""
    kinds = {}
    for lams in ((1.0, -0.06), (1.0, -0.04), (1.0, -1.3), (1.0, trap), (1.0, none)):
        system = sf.Map(sf.losses.saddle(lams), made(rho=0.1), lr=0.1)
        kinds[lams] = sf.classify(system, [0.0, 0.0]).kind
        flow = sf.classify(sf.Flow(system.loss, system.rule), [0.0, 0.0])
        assert flow.kind is sf.Kind.sliding
        assert flow.local.sliding.finite_time
    expected = [sf.Kind.cycle, sf.Kind.undefined, sf.Kind.trap, sf.Kind.trap, sf.Kind.undefined]
    assert list(kinds.values()) == expected
    # Without an ascent it is gradient descent, of which the rule's own theory says nothing.
    none = sf.Map(sf.losses.saddle((1.0, -0.5)), made(rho=0.0), lr=0.1)
    assert sf.classify(none, [0.0, 0.0]).kind is sf.Kind.undefined
    still = sf.Flow(sf.losses.saddle((1.0, -0.5)), made(rho=0.0))
    assert sf.classify(still, [0.0, 0.0]).kind is sf.Kind.undefined
    # With momentum no theory is stated: what is there is located, as orbits see it.
    heavy = sf.Map(sf.losses.saddle((1.0, -0.5)), made(rho=0.1), lr=0.1, momentum=0.5)
    found = sf.classify(heavy, [0.0, 0.0])
    assert (found.kind, found.local.cycles) == (sf.Kind.cycle, ())
    located = {cycle.period: cycle.farthest for cycle in found.local.cycles_on_loss}
    seen = sf.fate(heavy, [0.0, 0.0], num_starts=8)
    assert (seen.outcome, set(seen.period.tolist())) == ("cycle", set(located))
    for period, farthest in zip(seen.period.tolist(), seen.farthest, strict=True):
        np.testing.assert_allclose(farthest, located[period], rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "factor"), [(rules.MongeSAM, 1.0), (lambda rho: rules.UnifiedSAM(rho, mix=0.25), 4.0)]
)
def test_the_flows_of_rules_near_sam_are_held_up_to_the_same_end(made, factor):
    """Of the quartic's saddle SAM's is rho = 1, by proof; without a formula, by minimisation."""
    quartic = sf.losses.quartic()
    function = sf.loss(lambda w: w[0] ** 2 / 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4, dim=2)
    for share, proved, seen in (
        (0.98, sf.Kind.sliding, sf.Kind.sliding),
        (1.02, sf.Kind.saddle, sf.Kind.undefined),
    ):
        rule = made(rho=share * factor)
        found = sf.classify(sf.Flow(quartic, rule), [0.0, 0.0])
        assert found.kind is proved
        low, high = found.local.sliding.rho_end
        assert low <= factor * (1 + 1e-12)
        assert high == pytest.approx(factor, rel=1e-3)  # an enclosure, to 1e-4 of its search
        assert found.local.sliding.radius is None  # SAM's is not the rule's
        assert sf.classify(sf.Flow(function, rule), [0.0, 0.0]).kind is seen


def test_with_the_default_sigma_no_saddle_has_an_attracting_cycle_of_f_sam():
    saddle = sf.losses.saddle((1.0, -0.5))
    system = sf.Map(saddle, rules.FSAM(rho=0.1), lr=0.1)
    assert sf.classify(system, [0.0, 0.0]).kind is sf.Kind.undefined
    mild = sf.Map(saddle, rules.FSAM(rho=0.1, sigma=0.5), lr=0.1)
    assert sf.classify(mild, [0.0, 0.0]).kind is sf.Kind.cycle


def test_asam_with_a_weight_of_zero_has_no_such_cycles():
    found = sf.classify(sf.Map(sf.losses.saddle(), rules.ASAM(rho=0.1), lr=0.1), [0.0, 0.0])
    assert (found.kind, found.local.cycles) == (sf.Kind.undefined, ())
    flow = sf.classify(sf.Flow(sf.losses.beale(), rules.ASAM(rho=0.1)), [0.0, 1.0])
    assert flow.kind is sf.Kind.undefined


@pytest.mark.parametrize(
    ("lams", "lr", "kind"),
    [
        ((1.0, -0.06), 0.1, sf.Kind.cycle),  # above η/(2 − η) = .0526
        ((1.0, -0.04), 0.1, sf.Kind.undefined),
        ((1.0, -1.04), 0.1, sf.Kind.cycle),  # below 2/(2 − η) = 1.0526
        ((1.0, -1.07), 0.1, sf.Kind.trap),
        ((1.0, -9.9), 0.1, sf.Kind.trap),
        ((1.0, -10.1), 0.1, sf.Kind.undefined),  # η|λ₋| > 1
        ((-1.0,), 0.99, sf.Kind.chaotic_trap),
        ((-1.0,), 1.01, sf.Kind.undefined),
        ((-2.0, -2.0), 0.3, sf.Kind.chaotic_trap),
        ((-1.0, -2.0), 0.2, sf.Kind.trap),
        ((1.0, 0.3), 1.9, sf.Kind.cycle),
        ((1.0, 0.3), 2.1, sf.Kind.undefined),
        ((1.0, 1.0, -0.5), 0.1, sf.Kind.cycle),  # a sphere of cycles
        ((1.0, 0.0), 0.1, sf.Kind.undefined),
    ],
)
def test_kinds_of_the_map_on_both_sides_of_every_threshold(lams, lr, kind):
    found = sf.classify(sf.Map(sf.losses.saddle(lams), sf.SAM(rho=0.1), lr=lr), np.zeros(len(lams)))
    assert found.kind is kind
    assert np.isnan(found.multipliers).all()


def test_orbits_do_what_the_kind_says():
    rng = np.random.default_rng(1)
    for lams, lr in (
        ((1.0, -0.3), 0.2),
        ((0.8, -1.3), 0.3),
        ((-1.0, -1.5), 0.2),
        ((1, 1, -0.5), 0.1),
    ):
        system = sf.Map(sf.losses.saddle(lams), sf.SAM(rho=0.1), lr=lr)
        found = sf.classify(system, np.zeros(len(lams)))
        trap = found.local.trap
        z = rng.normal(size=(40, len(lams)))
        z *= 0.9 * trap.entered_from / np.linalg.norm(z, axis=1, keepdims=True)
        orbit = sf.iterate(system, z / np.array(lams), num_steps=20_000, keep_every=19_800)
        last = sf.iterate(system, orbit.final, num_steps=200, keep_every=1)
        sizes = np.linalg.norm(np.asarray(last.w) * np.array(lams), axis=-1)
        assert sizes.max() <= trap.radius * (1 + 1e-9)
        back = np.abs(np.asarray(last.w)[:, 2:] - np.asarray(last.w)[:, :-2]).max(axis=(1, 2))
        # Every orbit is on a 2-cycle, or none is.
        assert (back < 1e-9).all() if found.kind is sf.Kind.cycle else (back > 1e-6).all()


def test_the_trap_is_refused_with_momentum_and_weight_decay_has_nothing():
    loss = sf.losses.saddle((-1.0,))
    assert sf.classify(sf.Map(loss, sf.SAM(rho=0.1), lr=0.1, **HEAVY), [0.0]).local.trap is None
    decayed = sf.classify(sf.Map(loss, sf.SAM(rho=0.1), lr=0.1, weight_decay=0.1), [0.0])
    assert (decayed.kind, decayed.local.cycles) == (sf.Kind.undefined, ())


@pytest.mark.parametrize("lams", [(1.0,), (-2.0,), (1.0, -0.5), (-1.0, -3.0, 2.0), (3.0, 1.0)])
def test_the_flow_of_sam_slides_from_the_radius_of_theory(lams):
    found = sf.classify(sf.Flow(quadratic(rotated(lams)), sf.SAM(rho=0.3)), np.zeros(len(lams)))
    assert found.kind is sf.Kind.sliding
    predicted = float(theory.attraction_radius(lams, rho=0.3))
    assert found.local.sliding.radius == pytest.approx(predicted, rel=1e-9)
    assert found.local.sliding.exact
    assert found.local.sliding.finite_time


def test_on_a_general_loss_the_radius_is_proved_beside_that_of_its_quadratic_part():
    found = sf.classify(sf.Flow(sf.losses.beale(), sf.SAM(rho=0.05)), [0.0, 1.0])
    sliding = found.local.sliding
    assert (found.kind, sliding.evidence) == (sf.Kind.sliding, Evidence.proved)
    assert sliding.quadratic_radius == pytest.approx(0.05 * 27.75)
    assert 1 < sliding.radius < sliding.quadratic_radius
    assert sliding.least[0] <= 36.9512 <= sliding.least[1]  # dense sampling, in tests/proofs
    assert 1.02 < sliding.rho_end[0] < sliding.rho_end[1] < 1.03
    assert "proved" in str(found)
    assert "(of the quadratic part)" not in str(found)


@pytest.mark.parametrize(
    ("rho", "kind", "said"),
    [
        (0.5, sf.Kind.sliding, "arrives in finite time"),
        (1.2, sf.Kind.saddle, "a solution leaves along (0, 1): proved"),
    ],
)
def test_the_flow_at_the_quartic_saddle_on_both_sides_of_rho_1(rho, kind, said):
    found = sf.classify(sf.Flow(sf.losses.quartic(), sf.SAM(rho=rho)), [0.0, 0.0])
    assert found.kind is kind
    assert said in str(found)
    assert "‖g‖ falls in every direction for rho < 1" in str(found)
    assert "the quadratic part is within 1 % for rho < 0.1" in str(found)


def test_the_rate_that_is_printed_is_the_proved_end():
    """At rho 1.2 the quartic's least S is 1.2(1 − 1.44) = −0.528; at a maximum with rho 1 it is 0.

    Where nothing tells the sign no number is printed.
    """
    enclosures = {
        (-0.6, -0.5): "‖g‖ first grows at the rate 0.5 or more",
        (-0.5, -0.5): "‖g‖ first grows at the rate 0.5",
        (0.5, 0.6): "‖g‖ falls at the rate 0.5 or more, slowest",
        (-4e4, 4.0): "",
        (-5e-324, 0.0): "",
    }
    for least, said in enclosures.items():
        assert str(Sliding(Evidence.proved, least=least)) == said
    undecided = str(sf.classify(sf.Flow(sf.loss("x**4/4 - x**2/2"), sf.SAM(rho=1.0)), [0.0]))
    assert "neither falls nor grows, to rounding, along (1)" in undecided
    assert "first grows" not in undecided


@pytest.mark.parametrize(("rho", "lost"), [(0.5, False), (1.5, True)])
def test_practical_sam_attracts_from_a_proved_radius_and_sam_may_be_let_go(rho, lost):
    """The quartic's saddle: with eps = 1e-12 λ = −1 attracts at both rho, SAM is held up to 1.

    Along y with rho > 1 ‖g‖ falls as long as the ascent aρ is below 1: ‖g‖ < eps/(rho − 1) = 2e-12.
    """
    flow = sf.Flow(sf.losses.quartic(), rules.PracticalSAM(rho=rho))
    found = sf.classify(flow, [0.0, 0.0])
    assert found.kind is sf.Kind.attracting
    radius = found.local.sliding.radius
    assert f"from ‖g‖ < {radius:.6g} at least: proved" in str(found)
    assert ("with eps = 0 a solution leaves along (0, 1): proved" in str(found)) is lost
    if lost:
        assert 1.9e-12 < radius < 2e-12
    else:  # SAM's own radius at this rho is 0.34
        assert 0.3 < sf.conditions(flow, [0.0, 0.0]).sliding.radius < 0.36
    still = sf.Flow(sf.losses.saddle((1.0, 2.0)), rules.PracticalSAM(rho=0.0))
    assert sf.classify(still, [0.0, 0.0]).local is None


def test_where_the_proof_is_undecided_minimisation_answers():
    """Rosenbrock's minimum in 5 dimensions: dense sampling has the end between 0.01 and 0.02."""
    loss, w = sf.losses.rosenbrock(5), [1.0] * 5
    beyond = sf.classify(sf.Flow(loss, sf.SAM(rho=0.05)), w)
    assert (beyond.kind, beyond.local.sliding.evidence) == (sf.Kind.undefined, Evidence.minimised)
    assert "‖g‖ grows from some directions: by minimisation over the sphere" in str(beyond)
    assert beyond.local.sliding.least[0] == pytest.approx(-0.173, abs=0.003)  # sampled: −0.170
    flow = sf.Flow(loss, sf.SAM(rho=0.003))
    below = sf.classify(flow, w)
    assert (below.kind, below.local.sliding.evidence) == (sf.Kind.sliding, Evidence.proved)
    window = sf.conditions(flow, w).rho_window
    assert 0.01 < float(window.high.value) < 0.02
    assert window.high.enclosure is None  # found by minimisation, not proved


def test_a_loss_that_is_no_formula_is_classified_by_minimisation():
    """The same quartic as a function: S = rho(1 − rho²e_y⁴) changes its sign at rho = 1."""
    loss = sf.loss(lambda w: w[0] ** 2 / 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4, dim=2)
    for rho, kind in [(0.99, sf.Kind.sliding), (1.01, sf.Kind.undefined)]:
        found = sf.classify(sf.Flow(loss, sf.SAM(rho=rho)), [0.0, 0.0])
        sliding = found.local.sliding
        assert (found.kind, sliding.evidence) == (kind, Evidence.minimised)
        # BFGS to 1e-10 of the scale of S, whose error is of second order in the direction's.
        assert sliding.least[0] == pytest.approx(rho * (1 - rho**2), abs=1e-9)
        assert "by minimisation" in str(found) or kind is sf.Kind.undefined


def test_the_measured_radius_stands_beside_the_proved_one():
    flow = sf.Flow(sf.losses.saddle((1.0, -0.5)), sf.SAM(rho=0.2))
    sliding = sf.classify(flow, [0.0, 0.0], measure=True).local.sliding
    assert sliding.radius == pytest.approx(0.2 * 0.5)
    assert sliding.measured == pytest.approx(sliding.radius, rel=2e-3)  # bisected to 1e-3
    assert sf.classify(flow, [0.0, 0.0]).local.sliding.measured is None


def test_the_flow_of_asam_slides_from_its_radius_and_not_from_beyond():
    h = np.diag([1.0, -0.8])
    centre = np.array([0.7, 2.0])
    rho = 1e-3  # the scales are frozen to leading order in ρ
    flow = sf.Flow(quadratic(h, centre), rules.ASAM(rho=rho))
    radius = sf.classify(flow, centre).local.sliding.radius
    # Along an axis the ascent has length ρT: the equilibria are at ρT₋, where ‖Tg‖ = ρT₋²|λ₋|.
    assert radius == pytest.approx(rho * centre[1] ** 2 * 0.8, rel=1e-9)
    for share, comes in ((0.98, True), (1.02, False)):
        start = centre + np.array([0.0, share * rho * centre[1]])
        w = np.asarray(sf.integrate(flow, start, t1=8.0).states)
        moved = np.abs(w[np.isfinite(w).all(axis=1)][-1, 1] - centre[1])
        assert (moved < 1e-5 * rho * centre[1]) == comes


def test_relatives_whose_flow_does_not_slide():
    saddle = sf.losses.saddle((1.0, -0.5))
    kinds = {
        name: sf.classify(sf.Flow(saddle, rules.rule(name, rho=0.1, **options)), [0.0, 0.0]).kind
        for name, options in {
            "ssam": {},
            "lookahead-sam": {},
            "gcsam": {},
            "pgn": {},
            "n-sam": {},
            "m-sam": {},
        }.items()
    }
    assert kinds == {
        "ssam": sf.Kind.attracting,
        "lookahead-sam": sf.Kind.undefined,
        "gcsam": sf.Kind.saddle,  # 1ᵀH⁻¹1 = 1 − 2 < 0
        "pgn": sf.Kind.sliding,
        "n-sam": sf.Kind.sliding,
        "m-sam": sf.Kind.sliding,
    }
    kept = sf.classify(sf.Flow(sf.losses.saddle((1.0, -2.0)), rules.GCSAM(rho=0.1)), [0.0, 0.0])
    assert kept.kind is sf.Kind.attracting  # 1 − ½ > 0


@pytest.mark.parametrize(("steps", "kind"), [(1, "sliding"), (2, "undefined"), (3, "undefined")])
def test_several_ascent_steps_do_not_hold_a_maximum_as_one_does(steps, kind):
    # With two the flow leaves. With three it is held, in one dimension, but the ascent from the
    # maximum itself meets it again after two steps: no limit exists to classify by.
    rule = rules.MultiStepSAM(rho=0.3, num_steps=steps)
    assert sf.classify(sf.Flow(sf.losses.saddle((-1.0,)), rule), [0.0]).kind == kind


def test_shards_that_share_the_critical_point_slide_and_others_are_not_at_rest():
    shared = sf.losses.mean([sf.loss("x**2 - y**2"), sf.loss("2*x*y + x**2")])
    assert sf.classify(sf.Flow(shared, rules.MSAM(rho=0.1)), [0.0, 0.0]).kind is sf.Kind.sliding
    # g₁ = −g₂ = (1, 0) at 0, H₁ = diag(2, −2), H₂ = diag(4, −2): d = ρ(H₁ − H₂)(1, 0)/2 = (−ρ, 0).
    apart = sf.losses.mean([sf.loss("x**2 - y**2 + x"), sf.loss("2*x**2 - y**2 - x")])
    system = sf.Map(apart, rules.MSAM(rho=0.1), lr=0.1)
    np.testing.assert_allclose(system.step(jnp.zeros(2)), [0.01, 0.0], atol=1e-16)
    assert sf.classify(system, [0.0, 0.0]).status is sf.Status.not_a_fixed_point


@pytest.mark.parametrize(
    ("rho", "kind"), [(0.1, "saddle"), (0.499, "saddle"), (0.501, "attracting")]
)
def test_shards_with_opposite_gradients_are_at_rest_and_smooth(rho, kind):
    # L = x² − y² ± x: at 0 ‖g‖ = 1 and ĝ = ±(1, 0), so that the ascents cancel. The derivative of
    # ĝ is (I − ĝĝᵀ)H = diag(0, −2), and that of d is H(I + ρ diag(0, −2)) = diag(2, −2 + 4ρ).
    apart = sf.losses.mean([sf.loss("x**2 - y**2 + x"), sf.loss("x**2 - y**2 - x")])
    found = sf.classify(sf.Map(apart, rules.MSAM(rho=rho), lr=0.1), [0.0, 0.0])
    assert found.status is sf.Status.located
    expected = sorted([1 - 0.1 * 2, 1 - 0.1 * (-2 + 4 * rho)])
    np.testing.assert_allclose(sorted(np.real(found.multipliers)), expected, rtol=1e-14)
    assert found.kind == kind


def test_practical_sam_is_smooth_and_its_verdict_turns_at_the_window_in_eps():
    loss, rho, lr = sf.losses.saddle((1.0, -0.6)), 0.3, 0.1
    window = theory.eps_window((1.0, -0.6), rho=rho, lr=lr)
    for end in (float(window.low.value), float(window.high.value)):
        for eps in (0.999 * end, 1.001 * end):
            for placement in theory.PLACEMENTS:
                rule = rules.PracticalSAM(rho=rho, eps=eps, placement=placement)
                found = sf.classify(sf.Map(loss, rule, lr=lr), [0.0, 0.0])
                assert found.status is sf.Status.located
                assert (found.kind is sf.Kind.attracting) == (eps in window)
