"""Branches of fixed points and cycles against closed forms and published values."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax.tree_util import Partial

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from samflow.attractors import Bifurcation, continue_bifurcation

CLOSED = 1e-8  # of a closed form: Newton's method leaves 1e-9 of a unit, brackets less


def number_map(function, dim=1, **numbers):
    return sf.FunctionMap(Partial(function, **numbers), dim=dim, name="test")


def number_flow(function, dim=1, **numbers):
    return sf.FunctionFlow(Partial(function, **numbers), dim=dim, name="test")


def logistic(z, r):
    return r * z * (1 - z)


def henon(z, a, b):
    return jnp.stack([1 - a * z[0] ** 2 + z[1], b * z[0]])


def lorenz(z, r):
    x, y, u = z
    return jnp.stack([10 * (y - x), x * (r - u) - y, x * y - 8 / 3 * u])


def quartic(rho=0.5, lr=0.1):
    return sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.USAM(rho=rho), lr=lr)


def shown(branch):
    return [(str(point.kind), point.parameter) for point in branch.special]


@pytest.fixture(scope="module")
def logistic_branch():
    return sf.continue_branch(number_map(logistic, r=2.8), [1 - 1 / 2.8], "r", (0.5, 4.0))


def test_logistic_map(logistic_branch):
    """Fixed point 1 − 1/r: transcritical at 1, flip at 3, multiplier 2 − r."""
    branch = logistic_branch
    (cross, at_cross), (flip, at_flip) = shown(branch)
    assert (cross, flip) == ("transcritical", "flip")
    assert abs(at_cross - 1) < CLOSED
    assert abs(at_flip - 3) < CLOSED
    assert branch.ends == (Status.reached_bound, Status.reached_bound)
    assert {branch.parameter[0], branch.parameter[-1]} == {0.5, 4.0}
    np.testing.assert_allclose(branch.states[:, 0], 1 - 1 / branch.parameter, atol=CLOSED)
    np.testing.assert_allclose(branch.spectrum[:, 0], 2 - branch.parameter, atol=1e-7)
    stable = (branch.parameter > 1 + 1e-6) & (branch.parameter < 3 - 1e-6)
    assert {k for k, s in zip(branch.kinds, stable, strict=True) if s} == {Kind.attracting}
    outside = (branch.parameter < 1 - 1e-6) | (branch.parameter > 3 + 1e-6)
    assert {k for k, s in zip(branch.kinds, outside, strict=True) if s} == {Kind.repelling}


def test_logistic_cycle(logistic_branch):
    """The 2-cycle is born at 3 and flips at 1 + √6; it ends where it shrinks to the fixed point."""
    system = number_map(logistic, r=2.8)
    cycle = sf.switch_branch(system, logistic_branch, logistic_branch.of("flip")[0])
    assert cycle.period == 2
    assert set(cycle.ends) == {Status.shrunk, Status.reached_bound}
    (_, born), (_, flips) = sorted(shown(cycle), key=lambda item: item[1])
    assert abs(born - 3) < CLOSED
    assert abs(flips - (1 + np.sqrt(6))) < CLOSED
    r = cycle.parameter
    multiplier = 4 + 2 * r - r**2  # of the 2-cycle
    np.testing.assert_allclose(np.real(cycle.spectrum[:, 0]), multiplier, atol=1e-6)


def test_logistic_period_3():
    """Period 3 begins at 1 + √8, in a fold: the branch turns back."""
    start = sf.iterate(number_map(logistic, r=3.83), [0.5], num_steps=3000).final_w
    branch = sf.continue_branch(number_map(logistic, r=3.83), start, "r", (3.6, 4.0), period=3)
    (fold,) = branch.of(Bifurcation.fold)
    assert abs(fold.parameter - (1 + np.sqrt(8))) < CLOSED
    assert fold.interval[0] <= fold.parameter <= fold.interval[1]


def test_henon_map():
    """Fold −(1 − b)²/4, flip 3(1 − b)²/4, of the 2-cycle (1 − b)² + (1 + b)²/4: b = .3."""
    system = number_map(henon, dim=2, a=0.2, b=0.3)
    x = (-0.7 + np.sqrt(0.49 + 0.8)) / 0.4
    branch = sf.continue_branch(system, [x, 0.3 * x], "a", (-0.5, 1.4))
    assert [kind for kind, _ in shown(branch)] == ["fold", "flip"]
    assert abs(branch.of("fold")[0].parameter + 0.1225) < CLOSED
    assert abs(branch.of("flip")[0].parameter - 0.3675) < CLOSED
    assert Status.unbounded in branch.ends  # as a → 0⁻ the other fixed point goes to infinity
    cycle = sf.switch_branch(system, branch, branch.of("flip")[0])
    second = max(cycle.of("flip"), key=lambda point: point.parameter)
    assert abs(second.parameter - 0.9125) < CLOSED
    np.testing.assert_allclose(sorted(np.real(second.spectrum)), [-1, -0.09], atol=1e-6)
    folds = continue_bifurcation(system, branch, branch.of("fold")[0], "b", (-0.9, 0.9))
    a, b = folds.parameters.T
    np.testing.assert_allclose(a, -((1 - b) ** 2) / 4, atol=1e-7)
    flips = continue_bifurcation(system, branch, branch.of("flip")[0], "b", (-0.9, 0.9))
    a, b = flips.parameters.T
    np.testing.assert_allclose(a, 3 * (1 - b) ** 2 / 4, atol=1e-7)


def test_delayed_logistic():
    """Neimark–Sacker at a = 2 with multipliers e^{±iπ/3}."""
    system = number_map(lambda z, a: jnp.stack([a * z[0] * (1 - z[1]), z[0]]), dim=2, a=1.5)
    branch = sf.continue_branch(system, [1 / 3, 1 / 3], "a", (1.2, 2.5))
    (point,) = branch.special
    assert point.kind is Bifurcation.neimark_sacker
    assert abs(point.parameter - 2) < CLOSED
    assert abs(abs(np.angle(point.spectrum[0])) - np.pi / 3) < 1e-7
    assert point.criticality == "supercritical"  # an attracting circle is born, Kuznetsov 2004


def test_lorenz_flow():
    """Pitchfork at r = 1, supercritical; Hopf at 470/19, subcritical."""
    system = number_flow(lorenz, dim=3, r=0.5)
    trivial = sf.continue_branch(system, [0.0, 0.0, 0.0], "r", (0.0, 30.0))
    assert [(p.kind, p.criticality) for p in trivial.special] == [("pitchfork", "supercritical")]
    assert abs(trivial.special[0].parameter - 1) < CLOSED
    both = sf.switch_branch(system, trivial, trivial.special[0])
    assert [str(p.kind) for p in both.special] == ["Hopf", "pitchfork", "Hopf"]
    for point in both.of("Hopf"):
        assert abs(point.parameter - 470 / 19) < 1e-7
        assert point.criticality == "subcritical"
    with pytest.raises(ArgumentError, match=r"`sf\.find_cycles`.*`sf\.poincare_map`"):
        sf.switch_branch(system, both, both.of("Hopf")[0])
    r = both.parameter
    np.testing.assert_allclose(both.states[:, 0] ** 2, 8 / 3 * (r - 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("c", [0.7, -0.7])
def test_normal_form_coefficients(c):
    """Systems that are their own normal forms; a linear change of coordinates changes no sign."""
    flip = number_map(lambda z, m: (-1 + m) * z + 2 * c * z**3, m=-0.1)
    (point,) = sf.continue_branch(flip, [0.0], "m", (-0.3, 0.3)).special
    assert abs(point.coefficient - 2 * c) < 1e-9
    assert point.criticality == ("supercritical" if c > 0 else "subcritical")

    def rotation(z, m):
        scale = 1 + m + c * jnp.sum(z**2)
        return scale * jnp.stack(
            [jnp.cos(1.0) * z[0] - jnp.sin(1.0) * z[1], jnp.sin(1.0) * z[0] + jnp.cos(1.0) * z[1]]
        )

    found = sf.continue_branch(number_map(rotation, dim=2, m=-0.1), [0.0, 0.0], "m", (-0.3, 0.3))
    (point,) = found.special
    # z = √2·Re, Im of the complex amplitude ⟨p, x⟩ with ‖q‖ = 1, so |z|² counts twice.
    assert abs(point.coefficient - 2 * c) < 1e-7
    assert point.criticality == ("supercritical" if c < 0 else "subcritical")
    fork = number_flow(lambda z, m: m * z + c * z**3, m=-0.1)
    (point,) = sf.continue_branch(fork, [0.0], "m", (-0.3, 0.3)).special
    assert abs(point.coefficient - c) < 1e-7
    assert point.criticality == ("supercritical" if c < 0 else "subcritical")


def test_flip_coefficient_of_a_map_with_a_quadratic_part(logistic_branch):
    """Of x ↦ f: ½(f″/2)² + f‴/6 by Schwarz' derivative, an independent formula."""
    x, r = sympy.symbols("x r")
    f = (r * x * (1 - x)).subs(r, 3)
    at = {x: sympy.Rational(2, 3)}
    second, third = (sympy.diff(f, x, k).subs(at) for k in (2, 3))
    (flip,) = logistic_branch.of("flip")
    assert abs(flip.coefficient - float(second**2 / 4 + third / 6)) < 1e-6


def test_quartic_under_usam():
    """Pitchfork at rho = 1; folds at rho = 4, y = ∓½; flip of y = 1 at lr = 1/(1 + 2 rho)."""
    trivial = sf.continue_branch(quartic(), [0.0, 0.0], "rho", (0.1, 7.0))
    assert [str(p.kind) for p in trivial.special] == ["pitchfork"]
    assert abs(trivial.special[0].parameter - 1) < CLOSED
    assert trivial.special[0].criticality == "subcritical"  # it repels beside an attractor
    fork = sf.switch_branch(quartic(), trivial, trivial.special[0])
    np.testing.assert_allclose(fork.states[:, 1] ** 2, 1 - 1 / fork.parameter, atol=1e-6)
    lower = sf.continue_branch(quartic(rho=6.0, lr=0.01), [0.0, -0.21], "rho", (0.1, 7.0))
    (fold,) = lower.special
    assert fold.kind is Bifurcation.fold
    assert abs(fold.parameter - 4) < CLOSED
    np.testing.assert_allclose(fold.state, [0, -0.5], atol=1e-6)
    # Nine fixed points at rho = 6: 0 and ±1 for every rho, two of the fork, four of the folds.
    np.testing.assert_allclose(np.sort(fork.at(6.0)[:, 1]), [-0.912871, 0.912871], atol=2e-3)
    np.testing.assert_allclose(np.sort(lower.at(6.0)[:, 1]), [-0.788675, -0.211325], atol=2e-3)
    minimum = sf.continue_branch(quartic(), [0.0, 1.0], "lr", (0.01, 0.9))
    (flip,) = minimum.special
    assert abs(flip.parameter - 0.5) < CLOSED
    curve = continue_bifurcation(quartic(), minimum, flip, "rho", (0.0, 7.0))
    lr, rho = curve.parameters.T
    np.testing.assert_allclose(lr, 1 / (1 + 2 * rho), atol=CLOSED)


def test_codimension_2():
    """Cusp of p + qx − x³ at 0; the flip of (−1 + m)u + nu³ + u⁵ changes side at n = 0."""
    cusp = number_flow(lambda z, p, q: p + q * z - z**3, p=-0.5, q=1.0)
    branch = sf.continue_branch(cusp, [-1.2], "p", (-2.0, 2.0))
    assert [str(point.kind) for point in branch.special] == ["fold", "fold"]
    for point in branch.special:
        assert abs(abs(point.parameter) - 2 / np.sqrt(27)) < CLOSED
    curve = continue_bifurcation(cusp, branch, branch.special[0], "q", (-1.0, 2.0))
    (point,) = curve.special
    assert point.kind == "cusp"
    np.testing.assert_allclose(point.parameters, 0, atol=1e-6)
    p, q = curve.parameters.T
    np.testing.assert_allclose(27 * p**2, 4 * q**3, atol=1e-6)
    flips = number_map(lambda z, m, n: (-1 + m) * z + n * z**3 + z**5, m=-0.1, n=0.5)
    branch = sf.continue_branch(flips, [0.0], "m", (-0.5, 0.5))
    curve = continue_bifurcation(flips, branch, branch.special[0], "n", (-1.0, 1.0))
    assert [str(point.kind) for point in curve.special] == ["generalised flip"]
    np.testing.assert_allclose(curve.special[0].parameters, 0, atol=1e-6)


def test_border_collision_of_sams_cycle():
    """A cycle of SAM ends where one of its points meets the minimum, where SAM jumps.

    On ½w² the 2-cycle ±lr·rho/(2 − lr) has the size 0 at rho = 0.
    """
    system = sf.Map(sf.loss("w**2/2"), sf.SAM(rho=0.1), lr=0.5)
    radius = 0.5 * 0.1 / 1.5
    branch = sf.continue_branch(system, [radius], "rho", (0.0, 1.0), period=2)
    np.testing.assert_allclose(np.abs(branch.states[:, 0]), branch.parameter / 3, atol=1e-9)
    assert set(branch.kinds[2:-2]) == {Kind.attracting}
    seventh = sf.Map(sf.loss("-y**2/2 + y**4/4"), sf.SAM(rho=0.1), lr=0.1)
    start = sf.iterate(seventh, [1.001], num_steps=7000).final_w
    found = sf.continue_branch(seventh, start, "lr", (0.01, 0.5), period=7)
    assert found.ends == (Status.border, Status.border)
    low, high = sorted(point.parameter for point in found.special)
    for lr, periodic in (
        (low + 1e-4, True),
        (low - 1e-4, False),
        (high - 1e-4, True),
        (high + 1e-4, False),
    ):
        system = sf.Map(seventh.loss, seventh.rule, lr=lr)
        end = sf.iterate(system, [1.001], num_steps=70_000, keep_every=7).w[:, 0]
        assert (abs(end[-1] - end[-2]) < 1e-9) == periodic, lr


def test_a_parabola_has_no_false_bifurcations():
    """A stable branch with curvature and close multipliers: nothing is reported."""
    system = number_map(
        lambda z, m: jnp.stack([0.5 * z[0] + m**2, 0.499 * z[1] + z[0] ** 2]), dim=2, m=0.5
    )
    branch = sf.continue_branch(system, [0.5, 0.5], "m", (-1.0, 1.0))
    assert branch.special == ()
    assert set(branch.kinds) == {Kind.attracting}


def test_a_map_that_keeps_areas_has_no_false_neimark_sacker():
    """The standard map at (π, 0): trace 2 − k and determinant 1, so a flip at k = 4 alone."""

    def standard(z, k):
        p = z[1] + k * jnp.sin(z[0])
        return jnp.stack([z[0] + p, p])

    branch = sf.continue_branch(number_map(standard, 2, k=0.5), [np.pi, 0.0], "k", (0.1, 6.0))
    (flip,) = branch.special
    assert flip.kind is Bifurcation.flip
    assert abs(flip.parameter - 4) < CLOSED
    # What a branch that stands upright at a value has there are all its states, and no 0/0.
    upright = replace(branch, parameter=np.full(len(branch), 0.5))
    np.testing.assert_array_equal(upright.at(0.5), branch.states)


def test_neighbouring_branches_are_not_jumped_to():
    """Two branches z = ±√(m² + δ²), 2δ apart at the narrowest: each is followed to its end."""
    gap = 1e-3
    system = number_flow(lambda z, m: m**2 + gap**2 - z**2, m=0.5)
    branch = sf.continue_branch(system, [0.5], "m", (-1.0, 1.0))
    assert branch.special == ()
    np.testing.assert_allclose(
        branch.states[:, 0], np.sqrt(branch.parameter**2 + gap**2), atol=1e-7
    )


def test_verdicts_do_not_depend_on_units():
    """L → cL, lr → lr/c, w → kw, rho → rho k/c·k: the same rho/lr window in its own units."""
    c, k = 1e3, 1e-2
    scaled = sf.Map(
        sf.loss(f"{c}*((x/{k})**2/2 - (y/{k})**2/2 + (y/{k})**4/4)"),
        sf.USAM(rho=0.5 * k**2 / c),
        lr=0.1 * k**2 / c,
    )
    unit = k**2 / c
    branch = sf.continue_branch(scaled, [0.0, 0.0], "rho", (0.1 * unit, 7.0 * unit))
    (point,) = branch.special
    assert point.kind is Bifurcation.pitchfork
    assert abs(point.parameter / unit - 1) < CLOSED
    assert point.criticality == "subcritical"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parameter": "rhoo"}, "Unknown parameter"),
        ({"parameter": 3}, "a name"),
        ({"parameter": lambda s: s.nothing}, "one number that the system keeps"),
        ({"bounds": (1.0, 2.0)}, "must hold the system's own rho"),
        ({"bounds": (2.0, 1.0)}, "bounds"),
        ({"w0": [0.3, 0.4]}, "near a fixed point"),
        ({"period": 0}, "period"),
        ({"max_step": -1.0}, "max_step"),
    ],
)
def test_bad_input(arguments, words):
    given = {"w0": [0.0, 0.0], "parameter": "rho", "bounds": (0.1, 7.0)} | arguments
    with pytest.raises(ArgumentError, match=words):
        sf.continue_branch(quartic(), **given)


def test_a_diagram_refuses_points_at_the_door():
    """It says `points` and which; a point that is one is followed, also at the domain's end."""
    loss = sf.loss("x**2/2", domain=[(-4.0, 0.0)])
    system = sf.Map(loss, sf.USAM(rho=0.5), lr=0.1)
    asked = {"parameter": "lr", "bounds": (0.05, 0.2), "num_values": 2, "num_transient": 0}
    for points, words in (
        ([[0.0], [-3.0]], r"`points` must be near fixed points, .* from \(-3\)"),
        ([[1.0]], "`points` must lie in the loss's domain"),
    ):
        with pytest.raises(ArgumentError, match=words):
            sf.attractors.bifurcation_diagram(system, points, **asked)
    found = sf.attractors.bifurcation_diagram(system, [[0.0]], **asked)
    assert len(found.branches) == 1
    assert np.isfinite(found.orbits.states).all()


def test_a_function_without_numbers_is_told_how_to_have_some():
    system = sf.FunctionMap(lambda z: 0.5 * z, dim=1)
    with pytest.raises(ArgumentError, match="Partial"):
        sf.continue_branch(system, [0.0], "r", (0.0, 1.0))


def test_only_flips_and_branch_points_are_switched_at():
    system = number_map(henon, dim=2, a=0.2, b=0.3)
    x = (-0.7 + np.sqrt(0.49 + 0.8)) / 0.4
    branch = sf.continue_branch(system, [x, 0.3 * x], "a", (-0.3, 0.3))
    with pytest.raises(ArgumentError, match="no branch of fixed points or cycles begins"):
        sf.switch_branch(system, branch, branch.of("fold")[0])


def test_families_hang_together():
    """All nine fixed points at rho = 6 from two starts, each branch once."""
    system = quartic(rho=6.0, lr=0.01)
    found = sf.attractors.families(system, [0.0, 0.0], "rho", (0.1, 7.0))
    assert len(found) == 2  # the trivial branch and the fork
    more = sf.attractors.families(system, [0.0, 0.912871], "rho", (0.1, 7.0), known=found)
    assert more == []  # it lies on the fork
    lower = sf.attractors.families(system, [0.0, -0.211], "rho", (0.1, 7.0), known=found)
    assert [len(branch.at(6.0)) for branch in lower] == [2]


def test_families_of_sam_follow_the_cycle_of_orbits():
    """Critical points are no fixed points of SAM: on ½w² the 2-cycle ±lr·rho/(2 − lr) is there."""
    system = sf.Map(sf.loss("w**2/2"), sf.SAM(rho=0.1), lr=0.5)
    (branch,) = sf.attractors.families(system, [0.0], "lr", (0.1, 1.0))
    assert branch.period == 2
    np.testing.assert_allclose(
        np.abs(branch.cycles[:, :, 0]).T,
        0.1 * branch.parameter / (2 - branch.parameter) * np.ones((2, 1)),
        atol=1e-9,
    )


def test_diagram_of_orbits():
    """Logistic: 1 − 1/r at 2.9, the 2-cycle at 3.2, r = 4 conjugate to the tent map."""
    system = number_map(logistic, r=2.8)
    found = sf.attractors.orbit_diagram(system, [[0.3], [0.4]], "r", [2.9, 3.2], num_kept=8)
    assert found.states.shape == (2, 2, 8, 1)
    np.testing.assert_allclose(found.states[0], 1 - 1 / 2.9, atol=1e-9)
    two = (4.2 + np.array([-1, 1]) * np.sqrt(4.2 * 0.2)) / 6.4  # ((r+1) ± √((r+1)(r−3)))/2r
    np.testing.assert_allclose(np.unique(found.states[1].round(9)), two.round(9), atol=1e-8)
    gone = sf.attractors.orbit_diagram(system, [0.3], "r", [4.5], num_kept=4)
    assert Status(int(gone.status[0, 0])) in (Status.diverged, Status.not_finite)
    assert len(gone.points()[0]) == 0  # nothing is drawn of an orbit that left
    with pytest.raises(ArgumentError, match="finite numbers"):
        sf.attractors.orbit_diagram(system, [0.3], "r", [np.nan])


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        (sf.rule("practical-sam", rho=0.1, eps=0.5), False),
        (sf.rule("g(w + rho*g/(norm(g) + eps))", rho=0.1, eps=0.5), False),
        (sf.rule("practical-sam", rho=0.1, eps=0.5, placement="inside"), True),
    ],
)
def test_a_flip_has_no_normal_form_where_the_rule_has_no_second_derivative(rule, known):
    """‖g‖ + eps makes |x⁺| = |x| − lr (ρ/eps²)x² + ... at the flip: attracting, at order 2.

    The derivatives that exist say repelling, as of x⁴/4 alone.
    """
    loss, lr = sf.loss("x**2/2 + x**4/4"), 2 / 1.2
    (flip,) = sf.continue_branch(sf.Map(loss, rule, lr=1.5), [0.0], "lr", (1.0, 2.0)).special
    assert flip.parameter == pytest.approx(lr, rel=1e-9)  # its own error is 2e-13
    assert np.isfinite(flip.coefficient) == bool(flip.criticality) == known
    system = sf.Map(loss, rule, lr=lr)
    higher = sf.classify(system, [0.0], order=3).higher
    assert higher.decided == known
    if not known:
        assert abs(sf.iterate(system, [0.05], num_steps=500).w[-1, 0]) < 0.01


def test_a_curve_of_flips_ends_at_the_bound_that_it_meets_first():
    """lr (1 + rho) = 2: rho = 0.01 comes just before lr = 2, within a step of it."""
    system = sf.Map(sf.loss("x**2/2 + x**4/4"), sf.USAM(rho=0.1), lr=1.5)
    branch = sf.continue_branch(system, [0.0], "lr", (1.0, 2.0))
    for low, high in ((0.01, 0.5), (0.0, 0.5)):
        curve = continue_bifurcation(system, branch, branch.special[0], "rho", (low, high))
        lr, rho = np.asarray(curve.parameters).T
        np.testing.assert_allclose(lr * (1 + rho), 2.0, rtol=CLOSED)
        assert rho.min() == pytest.approx(low, abs=1e-12)  # rounding, of 0.01 in its unit
        assert rho.max() == pytest.approx(high, abs=1e-12)
