"""Verdicts of higher order, against closed forms, orbits from both sides, and normal forms."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import Kind, Verdict
from samflow.attractors.continuation import Bifurcation
from samflow.equilibria import normal_forms
from samflow.equilibria.degenerate import _AtRest
from tests.tiers import slow


def gd(text, lr=0.25):
    return sf.Map(sf.loss(text), sf.GD(), lr=lr)


def higher(system, w, **settings):
    found = sf.classify(system, w, **settings)
    assert found.kind is Kind.nonhyperbolic
    return found.higher


@pytest.mark.parametrize(
    ("text", "verdict", "order", "coefficient"),
    [
        # On the centre manifold y = h(x) the loss is f(x), and GD is x⁺ = x − lr f′(x)/(1 + ...).
        ("x**4 + y**2", "attracting", 3, -4 * 0.25),
        ("x**3 + y**2", "semi-stable", 2, -3 * 0.25),
        ("y**2 - x**4", "saddle", 3, 4 * 0.25),
        ("-x**4 - y**2", "repelling", 3, 4 * 0.25),
        ("x**8 + y**2", "attracting", 7, -8 * 0.25),
        ("(y - x**2)**2 + x**4", "attracting", 3, -4 * 0.25),
        ("(y - x**2)**2 - x**5", "semi-stable", 4, -5 * 0.25),
        ("(y - x**2)**2 + x**6", "attracting", 5, -6 * 0.25),
        ("x**4 - y**2", "saddle", 3, -4 * 0.25),
        ("x**3 - y**2", "saddle", 2, -3 * 0.25),
    ],
)
def test_degenerate_critical_points_of_a_formula(text, verdict, order, coefficient):
    found = higher(gd(text), [0.0, 0.0])
    assert (found.verdict, found.order, found.evidence) == (verdict, order, Verdict.proved)
    assert found.coefficient == pytest.approx(coefficient, rel=1e-14)
    assert abs(found.direction[0]) == 1
    flow = higher(sf.Flow(sf.loss(text), sf.GD()), [0.0, 0.0])
    # A repelling map direction of −y² has multiplier 1 + 2·lr > 1, as the flow's eigenvalue is 2.
    assert (flow.verdict, flow.order) == (verdict, order)
    assert flow.coefficient == pytest.approx(coefficient / 0.25, rel=1e-14)


@pytest.mark.parametrize("text", ["(y - x**2)**2 - x**5", "x**4 + y**2 + x**2*y"])
def test_degenerate_critical_points_of_usam_have_the_order_of_gd(text):
    """The second is ¾x⁴ where y is best; the map of USAM itself is reduced, with its own rho."""
    base = higher(gd(text), [0.0, 0.0])
    for rho in (0.5, 3.0):
        found = higher(sf.Map(sf.loss(text), sf.USAM(rho=rho), lr=0.0625), [0.0, 0.0])
        assert (found.verdict, found.order, found.evidence) == (
            base.verdict,
            base.order,
            Verdict.proved,
        )
        assert found.coefficient == pytest.approx(base.coefficient / 4, rel=1e-14)
    if "x**4" in text:
        assert base.coefficient == pytest.approx(-0.25 * 4 * 0.75, rel=1e-14)


@pytest.mark.parametrize(
    "text", ["x**4 + y**2", "x**3 + y**2", "y**2 - x**4", "(y - x**2)**2 - x**5"]
)
def test_orbits_from_either_side_do_what_is_said(text):
    """From 0.05 along either side of the centre direction, on the centre manifold to order 2."""
    system = gd(text)
    found = higher(system, [0.0, 0.0])
    ahead = np.array(found.direction)
    starts = [side * 0.05 * ahead + [0, 0.05**2 if "x**2)" in text else 0] for side in (1, -1)]
    last = [float(jnp.linalg.norm(sf.iterate(system, w, num_steps=4000).final_w)) for w in starts]
    comes = [bool(x < 0.049) for x in last]
    assert (
        comes
        == {
            "attracting": [True, True],
            "semi-stable": [True, False],
            "saddle": [False, False],
        }[found.verdict]
    )


def test_the_threshold_of_usam_on_the_quartic():
    """At ρ = 1, g(y + g(y)) = y⁹ − y³ along y: the pitchfork there is subcritical at the saddle."""
    quartic = sf.losses.quartic()
    for system, coefficient in (
        (sf.Flow(quartic, sf.USAM(rho=1.0)), 1.0),
        (sf.Map(quartic, sf.USAM(rho=1.0), lr=0.125), 0.125),
    ):
        found = higher(system, [0.0, 0.0])
        assert (found.verdict, found.order) == ("saddle", 3)
        assert found.coefficient == coefficient
        assert found.direction == (0.0, 1.0)
        assert found.evidence is Verdict.proved


@pytest.mark.slow
def test_the_pitchfork_of_continuation_has_the_same_coefficient():
    quartic = sf.losses.quartic()
    branch = sf.continue_branch(sf.Flow(quartic, sf.USAM(rho=0.8)), [0.0, 0.0], "rho", (0.5, 1.5))
    (pitchfork,) = branch.of(Bifurcation.pitchfork)
    assert pitchfork.coefficient == pytest.approx(1.0, rel=1e-6)  # dy/dt = y³ at ρ = 1


@pytest.mark.parametrize(
    ("text", "b"),
    [
        # −s + a₂s² + a₃s³ has b = a₃ + a₂²; a₂ = −½L‴/2, a₃ = −½L⁗/6 at lr = ½, L″ = 4.
        ("2*x**2 + x**3 + y**2/2", 1.5**2),
        ("2*x**2 + x**3/3 + x**4 + y**2/2", -2 + 0.25),
        ("2*x**2 - x**4 + y**2/2", 2.0),
    ],
)
def test_at_the_flip_the_cubic_coefficient_decides_as_orbits_and_continuation_do(text, b):
    system = gd(text, lr=0.5)
    found = higher(system, [0.0, 0.0])
    assert found.multiplier == -1
    assert found.coefficient == pytest.approx(b, rel=1e-14)
    assert found.verdict == ("attracting" if b > 0 else "saddle")
    orbit = sf.iterate(system, [0.05, 0.0], num_steps=1000)
    end = float(jnp.linalg.norm(orbit.final_w))
    assert (end < 0.04) == (b > 0)
    # The same number as of the critical normal form.
    jacobian = np.asarray(system.jacobian(jnp.zeros(2)))
    forms = normal_forms.Derivatives(_AtRest(system), np.zeros(3))
    pair = normal_forms.eigenpair(jacobian, -1.0)
    ours = normal_forms.cubic(forms, np.eye(2) - jacobian, pair, singular=False)
    assert ours == pytest.approx(b, rel=1e-12)


def test_beyond_and_below_the_flip_there_is_nothing_to_decide():
    for lr in (0.499, 0.501):
        found = sf.classify(gd("2*x**2 + x**3 + y**2/2", lr=lr), [0.0, 0.0])
        assert found.higher is None
        assert found.kind is (Kind.attracting if lr < 0.5 else Kind.saddle)


def test_momentum_divides_by_one_minus_beta():
    """Heavy ball moves along a flat direction at lr/(1 − β)."""
    system = sf.Map(sf.loss("x**4 + y**2"), sf.GD(), lr=0.25, momentum=0.5)
    found = higher(system, [0.0, 0.0])
    assert (found.verdict, found.order, found.evidence) == ("attracting", 3, Verdict.proved)
    assert found.coefficient == pytest.approx(-4 * 0.25 / 0.5, rel=1e-14)


def test_the_verdict_does_not_depend_on_units():
    """L → cL, lr → lr/c, w → kw: powers of two, which change no rounding."""
    base = higher(gd("x**4 + y**2"), [0.0, 0.0])
    for c, k in ((2.0**20, 2.0**-10), (2.0**-30, 2.0**12)):
        loss = sf.loss(f"{c}*((x/{k})**4 + (y/{k})**2)")
        found = higher(sf.Map(loss, sf.GD(), lr=0.25 * k**2 / c), [0.0, 0.0])
        assert (found.verdict, found.order) == (base.verdict, base.order)
        assert found.coefficient == pytest.approx(base.coefficient / k**2, rel=1e-14)


def test_an_order_that_is_not_looked_at_is_named():
    found = higher(gd("x**20 + y**2"), [0.0, 0.0])
    assert found.verdict == "undecided"
    assert "all orders up to 9 vanish" in str(found)
    found = higher(gd("x**20 + y**2"), [0.0, 0.0], order=19)
    assert (found.verdict, found.order) == ("attracting", 19)
    # On a curve of critical points no order decides.
    assert not higher(gd("(1 + x**2)*y**2/2", lr=0.5), [0.0, 0.0]).decided


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("x**4 + y**4", "attracting"),
        ("x**4 + x*y**3 + y**4", "attracting"),  # t⁴ + t + 1 has no real root
        ("-x**4 - y**4 + x**5", "repelling"),
        ("x**4 - y**4", "saddle"),
        ("x**3 - 3*x*y**2", "saddle"),  # the monkey's
        ("x**2*y**2", None),  # a multiple root: the form vanishes along lines
        ("(x**2 + y**2)*x*y + x**6", "saddle"),
    ],
)
def test_where_the_hessian_vanishes_the_leading_form_decides(text, verdict):
    found = higher(gd(text, lr=0.1), [0.0, 0.0])
    if verdict is None:
        assert not found.decided
        assert "two centre directions; order 3 is not reduced" in str(found)
        return
    assert (found.verdict, found.directions, found.evidence) == (verdict, 2, Verdict.proved)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    starts = 0.05 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ends = np.linalg.norm(
        np.asarray(sf.iterate(gd(text, lr=0.1), starts, num_steps=20_000).final_w), axis=1
    )
    gone = ~(ends < 0.05)
    if verdict == "attracting":
        assert not gone.any()
    else:
        assert gone.all() if verdict == "repelling" else gone.any()


def test_two_directions_beside_a_stable_one_are_named():
    found = higher(gd("x**4 + y**4 + z**2"), [0.0, 0.0, 0.0])
    assert not found.decided
    assert found.directions == 2


def test_rational_points_and_others():
    found = higher(gd("(x - 1/3)**4 + (y + 1)**2"), [1 / 3, -1.0])
    assert (found.verdict, found.evidence) == ("attracting", Verdict.proved)
    # At √2 nothing is rational: 64·4·lr in floating point, (x² − 2)⁴ = (2√2 s)⁴ + ...
    found = higher(gd("(x**2 - 2)**4 + y**2"), [np.sqrt(2), 0.0])
    assert (found.verdict, found.evidence) == ("attracting", Verdict.unsupported)
    assert found.coefficient == pytest.approx(-0.25 * 4 * 64, rel=1e-6)
    # cos x + x²/2 = 1 + x⁴/24 − ...: rational at 0, though cos is not elsewhere.
    found = higher(gd("cos(x) + x**2/2 + y**2"), [0.0, 0.0])
    assert (found.verdict, found.evidence) == ("attracting", Verdict.proved)
    assert found.coefficient == pytest.approx(-0.25 / 6, rel=1e-14)


FUNCTIONS = {
    "attracting": lambda w: w[0] ** 4 + w[1] ** 2,
    "semi-stable": lambda w: (w[1] - w[0] ** 2) ** 2 + w[0] ** 3,
    "undecided": lambda w: (1 + w[0] ** 2) * w[1] ** 2,
}


@pytest.mark.parametrize("verdict", ["semi-stable", slow("attracting"), slow("undecided")])
def test_functions_are_differentiated_on_demand(verdict):
    system = sf.Map(sf.loss(FUNCTIONS[verdict], dim=2), sf.GD(), lr=0.25)
    assert higher(system, [0.0, 0.0]) is None
    found = higher(system, [0.0, 0.0], order=3)
    assert (found.verdict, found.evidence) == (verdict, Verdict.unsupported)


def test_a_complex_pair_is_decided_by_its_lyapunov_coefficient():
    """The delayed logistic map at r = 2 (Kuznetsov 2004, chapter 4): supercritical."""
    delayed = sf.FunctionMap(lambda z: jnp.array([2 * z[0] * (1 - z[1]), z[0]]), dim=2)
    found = higher(delayed, [0.5, 0.5], order=3)
    assert (found.verdict, found.directions) == ("attracting", 2)
    assert found.coefficient < 0
    orbit = sf.iterate(delayed, [0.55, 0.5], num_steps=3000)
    assert float(jnp.linalg.norm(orbit.final_w - 0.5)) < 0.03
    quarter = sf.FunctionMap(lambda z: jnp.array([-z[1] + z[0] ** 2, z[0]]), dim=2)
    resonant = higher(quarter, [0.0, 0.0], order=3)
    assert not resonant.decided
    assert "strong resonance" in str(resonant)


def test_a_list_of_fixed_points_a_survey_and_conditions_say_the_same():
    loss = sf.loss("x**4/4 + x**3/3 + y**2")  # a minimum at −1, and a saddle-node at 0
    found = sf.find_fixed_points(sf.Map(loss, sf.GD(), lr=0.25), (-2, 2))
    said = "2 fixed points (all, proved): 1 attracting, 1 nonhyperbolic (semi-stable at order 2)"
    assert str(found) == said
    assert found.table()["higher_verdict"].tolist() == ["", "semi-stable"]
    surveyed = sf.survey(loss, (-2, 2), rules=["gd", "usam"], rho=0.5, lr=0.25)
    for behaviour in surveyed.points[1].behaviours:
        assert behaviour.kind is Kind.nonhyperbolic
        assert behaviour.higher.verdict == "semi-stable"
    told = sf.conditions(sf.Map(loss, sf.USAM(rho=0.5), lr=0.25), [0.0, 0.0])
    assert "nonhyperbolic: semi-stable at order 2" in str(told)


def test_a_survey_has_the_windows_of_the_other_directions_where_the_flat_one_attracts():
    """x⁴ + y²: λ = 2 across, so lr < 2/2 for GD and lr < 2/(2(1 + 2ρ)) for USAM."""
    loss = sf.loss("x**4 + y**2")
    found = sf.survey(loss, (-2, 2), rules=["gd", "usam"], rho=0.5, lr=0.25)
    gradient, usam = found.points[0].behaviours
    assert float(gradient.lr_window.high.value) == pytest.approx(1, rel=1e-12)
    assert float(usam.lr_window.high.value) == pytest.approx(0.5, rel=1e-12)
    assert gradient.lr_window.neutral == 1
    for lr, verdict in ((0.999, "attracting"), (1.001, "saddle")):
        assert higher(gd("x**4 + y**2", lr=lr), [0.0, 0.0]).verdict == verdict
    # Where the flat direction repels, nothing attracts: no window is claimed.
    found = sf.survey(sf.loss("y**2 - x**4"), (-2, 2), rules=["gd"], lr=0.25)
    assert not found.points[0].behaviours[0].lr_window.decided
