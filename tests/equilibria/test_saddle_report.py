"""The survey of critical points: known answers, the twin in theory, both sides of thresholds."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import theory
from samflow._checks import ArgumentError
from samflow._status import Kind, Verdict
from samflow.equilibria.saddle_records import Behaviour, SurveyedPoint
from samflow.equilibria.saddle_report import survey

BOX = ((-4.5, 4.5), (-4.5, 4.5))
HALF = 27.75
"""At Beale's saddle (0, 1), H = [[0, 111/4], [111/4, 0]]: a Gröbner basis, docs/theory."""


def _at(found, w) -> SurveyedPoint:
    (point,) = [p for p in found.points if np.allclose(p.w, w, rtol=0, atol=1e-6)]
    return point


def _rule(point: SurveyedPoint, rule: str) -> Behaviour:
    (behaviour,) = [b for b in point.behaviours if b.rule == rule]
    return behaviour


@pytest.fixture(scope="module")
def beale():
    return survey(sf.losses.beale(), BOX, rho=0.05, lr=0.01)


def test_beale_has_exactly_its_three_critical_points(beale):
    assert beale.verdict is Verdict.proved
    assert [p.shape for p in beale.points] == ["saddle", "saddle", "minimum"]
    known = sorted(p.w for p in sf.losses.beale().critical_points)
    np.testing.assert_allclose([p.w for p in beale.points], known, rtol=0, atol=1e-12)
    assert all(p.proved for p in beale.points)


def test_eigenvalues_and_multipliers_at_the_saddle_of_beale(beale):
    point = _at(beale, (0, 1))
    assert point.eigenvalues == pytest.approx((-HALF, HALF), rel=1e-15)  # rounding only
    gd, usam, sam = (_rule(point, rule) for rule in ("gd", "usam", "sam"))
    assert [z.real for z in gd.multipliers] == pytest.approx([1.2775, 0.7225], rel=1e-14)
    expected = sorted((1 - 0.01 * x * (1 + 0.05 * x) for x in (-HALF, HALF)), reverse=True)
    assert [z.real for z in usam.multipliers] == pytest.approx(expected, rel=1e-14)
    assert (gd.kind, usam.kind, sam.kind) == (Kind.saddle, Kind.attracting, Kind.cycle)
    assert sam.multipliers == ()
    assert sam.rho_window is None


def test_the_threshold_in_rho_is_enclosed(beale):
    window = _rule(_at(beale, (0, 1)), "usam").rho_window
    assert window.is_empty is False
    low, high = window.low.enclosure
    assert low <= 4 / 111 <= high
    assert high - low < 1e-16
    assert (window.low.eigenvalue, window.low.event) == (-HALF, "plus_one")
    assert (window.high.eigenvalue, window.high.event) == (HALF, "flip")


@pytest.mark.parametrize(("rho", "kind"), [(0.03, Kind.saddle), (0.05, Kind.attracting)])
def test_the_saddle_of_beale_attracts_above_its_threshold_only(rho, kind):
    usam = _rule(_at(survey(sf.losses.beale(), BOX, rules=["usam"], rho=rho), (0, 1)), "usam")
    assert (usam.kind, usam.verdict) == (kind, Verdict.proved)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_windows_agree_with_theory(momentum):
    rho, lr = 0.05, 0.01
    found = survey(sf.losses.himmelblau(), ((-6, 6),) * 2, rho=rho, lr=lr, momentum=momentum)
    scheme = "heavy_ball" if momentum else "none"
    fixed = {"momentum": momentum, "scheme": scheme}
    for point in found.points:
        gd, usam = _rule(point, "gd"), _rule(point, "usam")
        lams = point.eigenvalues
        twins = (
            (usam.rho_window, theory.rho_window(lams, lr=lr, **fixed)),
            (usam.lr_window, theory.lr_window(lams, rule="usam", rho=rho, **fixed)),
            (gd.lr_window, theory.lr_window(lams, rule="gd", **fixed)),
        )
        for window, twin in twins:
            assert window.is_empty == twin.is_empty
            assert window.describe() == twin.describe()
            if not window.is_empty:
                for end, its_twin in ((window.low, twin.low), (window.high, twin.high)):
                    assert float(end.value) == pytest.approx(float(its_twin.value), rel=1e-13)
                    assert (end.event, end.closed) == (its_twin.event, its_twin.closed)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_kinds_and_multipliers_agree_with_the_jacobian(momentum):
    loss, rho, lr = sf.losses.quartic(), 2.0, 0.1
    found = survey(loss, ((-2, 2),) * 2, rho=rho, lr=lr, momentum=momentum)
    for point in found.points:
        for name in ("gd", "usam"):
            system = sf.Map(loss, sf.rule(name, rho=rho), lr=lr, momentum=momentum)
            stability = sf.classify(system, point.w)
            behaviour = _rule(point, name)
            assert behaviour.kind is stability.kind
            ours = np.sort_complex([complex(*z) for z in behaviour.multipliers])
            # eigvals of a 4×4 matrix with double eigenvalues: half the digits.
            np.testing.assert_allclose(ours, np.sort_complex(stability.multipliers), atol=1e-7)


def test_at_the_threshold_itself_nothing_is_claimed():
    """At rho = 1 the saddle of ½x² − ½y² has the multiplier 1, exactly."""
    loss = sf.losses.saddle((1.0, -1.0))
    point = _at(survey(loss, ((-1, 1),) * 2, rho=1.0), (0, 0))
    usam = _rule(point, "usam")
    assert point.proved
    assert (usam.kind, usam.verdict) == (Kind.nonhyperbolic, Verdict.inconclusive)
    assert usam.lr_window.is_empty is None


def test_sam_is_held_on_the_2_cycle_that_is_foretold(beale):
    """Beale's saddle: the loss is not quadratic, so its cycle is, within a few per cent."""
    cycles = _rule(_at(beale, (0, 1)), "sam").local.cycles
    (held,) = [cycle for cycle in cycles if cycle.attracts]
    assert held.radius == pytest.approx(0.01 * 0.05 * HALF / (2 - 0.01 * HALF), rel=1e-9)
    system = sf.Map(sf.losses.beale(), sf.SAM(rho=0.05), lr=0.01)
    orbit = sf.iterate(system, [0.001, 1.002], num_steps=4001, keep_every=1)
    last = np.asarray(orbit.w)[-2:]
    assert np.linalg.norm(last[0] - last[1]) / 2 == pytest.approx(held.radius, rel=0.05)


def test_the_flow_of_sam_is_proved_on_the_loss_itself(beale):
    """At all three points; the ends in rho are those of dense sampling, in tests/proofs."""
    flows = [_rule(point, "sam").sliding for point in beale.points]
    assert [_rule(point, "sam").flow for point in beale.points] == [Kind.sliding] * 3
    assert [flow.evidence.name for flow in flows] == ["proved"] * 3
    ends = [flow.rho_end for flow in flows]
    for (low, high), expected in zip(ends, (1.025, 0.024328, 0.11152), strict=True):
        assert low <= expected * (1 + 1e-4)
        assert expected * (1 - 1e-4) <= high
    # Beyond its end the second point is held all the same: ‖g‖ grows at first, and then falls.
    assert [flow.least[0] > 0 for flow in flows] == [True, False, True]
    assert _rule(beale.points[0], "usam").sliding is None


def test_beyond_its_end_the_flow_at_the_quartic_is_not_said_to_be_held():
    found = survey(sf.losses.quartic(), (-2, 2), rules=("sam",), rho=1.2, lr=0.01)
    behaviours = [point.behaviours[0] for point in found.points]
    assert [b.flow for b in behaviours] == [Kind.saddle] * 3
    assert all(b.sliding.leaves is not None for b in behaviours)


def test_a_multiple_eigenvalue_has_a_sphere_of_cycles_that_attracts():
    loss = sf.losses.saddle((2.0, 2.0, -1.5))
    found = survey(loss, ((-1, 1),) * 3, rho=0.1, lr=0.1)
    cycles = _rule(_at(found, (0, 0, 0)), "sam").local.cycles
    (held,) = [cycle for cycle in cycles if cycle.attracts]
    assert (held.curvature, held.multiplicity) == (pytest.approx(2.0), 2)
    starts = np.array([[0.01, 0.02, 0.001], [-0.003, 0.01, 0.002]])
    orbit = sf.iterate(sf.Map(loss, sf.SAM(rho=0.1), lr=0.1), starts, num_steps=2000)
    radii = jnp.linalg.norm(orbit.final_w, axis=1)
    np.testing.assert_allclose(radii, held.radius, rtol=1e-9)  # 2,000 steps have settled it


def test_one_dimension_has_a_chaotic_trap_at_a_maximum():
    found = survey(sf.losses.double_well(), ((-2, 2),), rho=0.1, lr=0.1)
    trap = _rule(_at(found, (0,)), "sam").local.trap
    assert trap.radius == pytest.approx(0.1 * 0.1 * 1.0)
    assert trap.exponent == pytest.approx(np.log(1.1))
    at_minimum = _rule(_at(found, (1,)), "sam")
    assert at_minimum.kind is Kind.cycle
    assert at_minimum.local.trap.exponent is None


def test_a_continuum_of_minima_is_reported_as_undecided():
    found = survey(sf.losses.matrix_factorisation(), ((-2, 2),) * 2, rho=0.05)
    assert found.verdict is Verdict.inconclusive
    assert found.undecided
    assert _at(found, (0, 0)).proved
    others = [p for p in found.points if p.shape == "degenerate"]
    assert others
    for point in others:
        assert not point.proved
        assert _rule(point, "usam").kind is Kind.nonhyperbolic
        assert _rule(point, "usam").verdict is Verdict.inconclusive
        assert (_rule(point, "sam").kind, _rule(point, "sam").local) == (Kind.undefined, None)


def test_samples_of_a_circle_are_told_from_a_point_apart():
    """(x² + y² − 1)²: a circle of minima, where L = 0, about a maximum, which is proved."""
    found = survey(sf.loss("(x**2 + y**2 - 1)**2"), (-2, 2), rules=["gd"])
    apart = [point for point in found.points if not point.sampled]
    assert [(point.w, point.shape, point.proved) for point in apart] == [((0, 0), "maximum", True)]
    samples = [point for point in found.points if point.sampled]
    assert len(samples) > 100
    assert not any(point.proved for point in samples)
    # What rounding leaves of 0 is known to be that.
    assert all(abs(point.loss) <= point.loss_error for point in samples)


@pytest.mark.slow
def test_samples_of_a_surface_and_of_lines():
    """(xyz − 1)²: the surface xyz = 1 and the axes, where L = 0 and 1; nothing is isolated."""
    found = survey(sf.loss("(x*y*z - 1)**2"), (-2, 2), rules=["gd"])
    assert len(found.points) > 100
    assert all(point.sampled and not point.proved for point in found.points)
    losses = {0.0 if abs(p.loss) <= p.loss_error else p.loss for p in found.points}
    assert losses == {0.0, 1.0}


@pytest.mark.parametrize(
    ("formula", "w", "eigenvalues"),
    [
        ("x**4 - y**4", (0.0, 0.0), (0.0, 0.0)),
        ("(x - 1/3)**4 + (y + 1)**2", (1 / 3, -1.0), (0.0, 2.0)),
    ],
)
def test_a_zero_that_exact_substitution_proves_is_proved(formula, w, eigenvalues):
    """A degenerate zero: no interval method can prove it, rational arithmetic can."""
    found = survey(sf.loss(formula), (-2, 2), rules=["gd"])
    (point,) = found.points
    assert (point.w, point.exact, point.proved, point.sampled) == (w, True, True, False)
    assert point.enclosure is None  # nothing says that it is alone
    assert point.eigenvalues == eigenvalues
    assert found.verdict is Verdict.inconclusive


def test_an_irrational_degenerate_zero_is_proved_by_algebra_and_no_transcendental_one_is():
    """(x² − 2)⁴ at √2, no double and no rational number; (eˣ − 2)⁴ at log 2, of no polynomial."""
    found = survey(sf.loss("(x**2 - 2)**4"), (1, 2), rules=["gd"])
    (point,) = found.points
    assert found.complete
    assert (point.exact, point.proved, point.sampled) == (True, True, False)
    assert point.w[0] == np.sqrt(2)  # the nearest double
    found = survey(sf.loss("(exp(x) - 2)**4"), (0, 1), rules=["gd"])
    (point,) = found.points
    assert not found.complete
    assert (point.exact, point.proved, point.sampled) == (False, False, False)
    assert point.w[0] == pytest.approx(np.log(2), abs=1e-3)


def test_a_loss_of_0_is_known_to_be_rounding_and_a_small_one_is_not():
    wells = survey(sf.loss("(x**2 - 1)**2/4"), (-2, 2), rules=["gd"])
    assert [abs(point.loss) <= point.loss_error for point in wells.points] == [True, False, True]
    # A ball about 0 has its middle at rounding: what is said is 0, within all of the ball.
    assert [point.loss for point in wells.points] == [0.0, pytest.approx(0.25), 0.0]
    small = survey(sf.loss("(x**2 - 1)**2/4 + 1e-30"), (-2, 2), rules=["gd"])
    assert [point.loss for point in small.points] == pytest.approx([1e-30, 0.25, 1e-30])
    assert not any(abs(point.loss) <= point.loss_error for point in small.points)


def test_one_pair_is_a_box_for_every_weight():
    loss = sf.losses.quartic()
    system = sf.Map(loss, sf.GD(), lr=0.1)
    assert sf.certify_fixed_points(system, (-2, 2)).box == ((-2.0, 2.0), (-2.0, 2.0))
    assert sf.find_fixed_points(system, [-2, 2]).box == ((-2.0, 2.0), (-2.0, 2.0))
    for wrong in ((-2, 2, 1), (2, -2), ((-2, 2),), 3.0):
        with pytest.raises(ArgumentError, match="`box` must"):
            survey(loss, wrong)


def test_a_loss_without_a_formula_is_surveyed_without_proof():
    loss = sf.loss(lambda w: w[0] ** 2 - w[1] ** 2, dim=2)
    found = survey(loss, ((-1, 1),) * 2, rho=1.0, lr=0.1)
    point = _at(found, (0, 0))
    assert found.verdict is Verdict.unsupported
    assert not point.proved
    assert _rule(point, "usam").kind is Kind.attracting  # rho = 1 > 1/|λ| = 1/2
    assert _rule(point, "usam").verdict is Verdict.inconclusive


def test_hallucinated_points_of_beale():
    found = survey(sf.losses.beale(), BOX, rules=["usam"], rho=0.05, hallucinated=True)
    gradient = sf.losses.beale().gradient
    assert len(found.hallucinated) == 2
    for point in found.hallucinated:
        w = jnp.asarray(point.w)
        assert jnp.linalg.norm(gradient(w)) > 1
        np.testing.assert_allclose(w + 0.05 * gradient(w), point.ascent, atol=1e-12)
        np.testing.assert_allclose(gradient(jnp.asarray(point.ascent)), 0, atol=1e-10)
        assert (point.kind, point.verdict) == (Kind.saddle, Verdict.proved)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": -1.0}, "rho.*at least 0"),
        ({"lr": 0.0}, "lr.*greater than 0"),
        ({"momentum": 1.0}, "momentum.*in \\[0, 1\\)"),
        ({"rules": ["samm"]}, "samm.*sam"),
        ({"box": ((1, 1), (0, 1))}, "box is empty"),
    ],
)
def test_bad_arguments_are_refused(settings, message):
    settings = {"box": BOX} | settings
    with pytest.raises(ArgumentError, match=message):
        survey(sf.losses.beale(), settings.pop("box"), **settings)
