"""No verdict depends on the units of weights and losses, on either side of any threshold."""

import itertools

import jax
import numpy as np
import pytest

import samflow as sf
from samflow import rules
from samflow._status import Kind, Status, Verdict
from samflow.equilibria._units import bending_length
from tests.units import BOTH, EXACT, FEW, formula, rescaled

QUARTIC = sf.loss("x**2/2 - y**2/2 + y**4/4")
AT = {"saddle": (0.0, 0.0), "minimum": (0.0, 1.0)}
MOMENTUM = [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}]
NEAR = (1 - 1e-6, 1 + 1e-6)


def _cases():
    """Systems on the quartic beside every threshold: eigenvalues −1, 1 at 0 and 1, 2 at (0, 1)."""
    for extra, side in itertools.product(MOMENTUM, NEAR):  # both sides of each
        edge = {0: 2, 1: 3, 2: 1.5}[len(extra)]  # the flip of 0 < lr U
        yield sf.Map(QUARTIC, sf.USAM(rho=1 * side), lr=0.1, **extra)  # 1/|λ₋|
        yield sf.Map(QUARTIC, sf.USAM(rho=0.5), lr=side * edge / 4, **extra)  # U(2) = 4
        yield sf.Map(QUARTIC, sf.GD(), lr=side * edge / 2, **extra)
        yield sf.Map(QUARTIC, rules.PracticalSAM(rho=0.2 * side, eps=0.2), lr=0.1, **extra)
    for side in NEAR:
        yield sf.Flow(QUARTIC, sf.USAM(rho=1 * side))


@BOTH
def test_classify_and_conditions_beside_every_threshold(units):
    kinds = set()
    for system, point in itertools.product(_cases(), AT.values()):
        here = sf.classify(rescaled(system, 1.0, 1.0), point)  # the same program as in other units
        kinds.add(here.kind)
        assert here.kind is not Kind.nonhyperbolic
        for c, k in units:
            there = rescaled(system, c, k)
            found = sf.classify(there, k * np.array(point))
            assert (found.kind, found.status) == (here.kind, here.status), (there, point)
            factor = 1.0 if found.discrete else c / k**2
            ours, theirs = np.sort_complex(found.spectrum), np.sort_complex(here.spectrum * factor)
            np.testing.assert_allclose(ours, theirs, rtol=1e-8)
            if (c, k) == units[0]:
                assert sf.conditions(there, k * np.array(point)).kind is here.kind
    assert kinds == {Kind.attracting, Kind.saddle}


@BOTH
def test_at_a_threshold_the_point_is_neutral_in_all_units(units):
    for system in (
        sf.Map(QUARTIC, sf.USAM(rho=1.0), lr=0.1),
        sf.Map(QUARTIC, sf.GD(), lr=2.0),
        sf.Map(QUARTIC, sf.USAM(rho=1.0), lr=0.1, momentum=0.5),
        sf.Flow(QUARTIC, sf.USAM(rho=1.0)),
    ):
        for c, k in units:
            found = sf.classify(rescaled(system, c, k), [0.0, 0.0])
            assert found.kind is Kind.nonhyperbolic
        assert sf.conditions(rescaled(system, *units[0]), [0.0, 0.0]).kind is Kind.nonhyperbolic


@pytest.mark.parametrize(
    ("lams", "lr", "extra", "kind"),
    [
        ((1e8, 3e7), 1e-9, {}, Kind.attracting),  # multipliers 0.9 and 0.97
        ((1e8, 3e7), 2.001e-8, {}, Kind.saddle),
        ((1e8, 3e7), 1.999e-8, {}, Kind.attracting),
        ((1e-8, 3e-9), 1e7, {}, Kind.attracting),
        ((2e8, 6e7), 4e-9, {"momentum": 0.9}, Kind.attracting),
        ((1e8, 1.0), 0.1, {}, Kind.saddle),  # beside a multiplier of −1e7 one of 0.9
        ((1e-4, -1e-4), 1e-10, {}, Kind.nonhyperbolic),  # 1e-14 from 1: less than the tolerance
    ],
)
def test_large_and_small_eigenvalues(lams, lr, extra, kind):
    system = sf.Map(sf.losses.Quadratic(lams), sf.GD(), lr=lr, **extra)
    assert sf.classify(system, [0.0, 0.0]).kind is kind
    exact = Kind.saddle if min(lams) < 0 else kind  # theory has no rounding to allow for
    assert sf.conditions(system, [0.0, 0.0]).kind is exact


@pytest.mark.parametrize(
    ("point", "status"),
    [
        ((0.0, 1.0), Status.located),
        ((1e-9, 1.0), Status.located),
        ((1e-17, 1e-16), Status.located),  # what a solver returns for 0
        ((1e-3, 1.0), Status.not_a_fixed_point),
        ((1e-3, 2e-3), Status.not_a_fixed_point),
        ((0.3, 0.1), Status.not_a_fixed_point),
    ],
)
def test_how_near_is_near_does_not_depend_on_units(point, status):
    for rule in (sf.GD(), sf.USAM(rho=0.3)):
        system = sf.Map(QUARTIC, rule, lr=0.1, momentum=0.5)
        for c, k in FEW:
            assert sf.classify(rescaled(system, c, k), k * np.array(point)).status is status


def test_a_length_is_that_of_the_problem():
    """Of y⁴/4 − y²/2 the second derivative 3y² − 1 changes by ½ at y = 0.4; of quadratics never."""
    flow = sf.Flow(QUARTIC, sf.GD())
    here = bending_length(flow, jax.numpy.zeros(2))
    assert 0.2 < here < 4
    for k in EXACT:
        there = bending_length(rescaled(flow, 1.0, k), jax.numpy.zeros(2))
        assert 1 / 4 <= there / (k * here) <= 4  # radii are tried in steps of 4
    assert bending_length(sf.Flow(sf.losses.Quadratic((1.0, 2.0)), sf.GD()), jax.numpy.ones(2)) == 0


@BOTH
@pytest.mark.parametrize("extra", [{}, {"momentum": 0.5}])
def test_what_holds_sam_is_the_same_in_all_units(extra, units):
    """A trap, a cycle, or nothing at the saddle, by the ratio of lengths alone."""
    kinds = set()
    for rule, weak in itertools.product((sf.SAM(rho=0.05), rules.ASAM(rho=0.5)), (0.02, 0.06, 0.5)):
        loss = sf.losses.Quadratic((1.0, -weak))
        for system in (sf.Map(loss, rule, lr=0.1, **extra), sf.Flow(loss, rule)):
            here = sf.classify(system, [0.0, 0.0])
            kinds.add(here.kind)
            for c, k in units:
                found = sf.classify(rescaled(system, c, k), [0.0, 0.0])
                assert (found.kind, found.status) == (here.kind, here.status)
    assert {Kind.cycle, Kind.sliding} <= kinds


def test_sams_hallucinated_points_keep_their_jacobian():
    """They lie rho from a critical point: with rho = 5e-10 that is near in no unit."""
    system = sf.Map(sf.losses.Quadratic((-1.0,)), sf.SAM(rho=0.05), lr=0.1)
    for c, k in FEW:
        found = sf.classify(rescaled(system, c, k), [0.05 * k])
        assert found.status is Status.located
        assert found.kind is Kind.repelling


SEARCHED = sf.loss("(x**2 - 1)**2/4 + x*y/3 + y**2/2")


@BOTH
@pytest.mark.parametrize("method", ["exhaustive", "multistart"])
def test_fixed_points_are_found_in_all_units(method, units):
    """By proof, of a formula with other constants each time, and from many starts."""
    system = sf.Map(SEARCHED, sf.USAM(rho=0.4), lr=0.3, momentum=0.3)
    box = np.array([[-2.0, 2.5]] * 2)
    here = sf.find_fixed_points(system, box)
    assert here.complete
    assert len(here) >= 3
    for c, k in units:
        loss = formula(SEARCHED, c, k) if method == "exhaustive" else None
        there = rescaled(system, c, k, loss)
        found = sf.find_fixed_points(there, k * box, method=method)
        assert found.kinds == here.kinds, (c, k)
        np.testing.assert_array_equal(found.critical, here.critical)
        np.testing.assert_array_equal(found.status, here.status)
        np.testing.assert_allclose(found.w / k, here.w, atol=1e-9)
        assert found.complete == (method == "exhaustive")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("1e-10*(x**2 + y**2)", {Kind.attracting: 1}),
        ("x**3/3 - 1e-20*x + y**2", {Kind.attracting: 1, Kind.saddle: 1}),
    ],
)
def test_the_kind_is_the_one_that_is_proved(text, kinds):
    flow = sf.Flow(sf.loss(text), sf.GD())
    found = sf.find_fixed_points(flow, [(-1, 1)] * 2)
    assert found.complete
    assert {kind: found.kinds.count(kind) for kind in set(found.kinds)} == kinds
    for stability in found.stability:
        assert (stability.margin > 0) == (stability.kind is Kind.attracting)
        assert "nan" not in str(stability)


def test_where_nothing_is_proved_floating_point_has_the_word():
    """At rho = 1/|λ₋| no ball decides: the list is proved, that kind is not."""
    found = sf.find_fixed_points(sf.Flow(QUARTIC, sf.USAM(rho=1.0)), [(-0.5, 0.5)] * 2)
    assert found.certificate.points[0].kind_verdict is Verdict.inconclusive
    assert found.kinds == (Kind.nonhyperbolic,)


def test_a_step_too_small_for_floating_point_is_proved_to_attract():
    """Multipliers 1 − 2e-12: within the tolerance of `classify`, and below 1 all the same."""
    system = sf.Map(sf.loss("x**2 + y**2"), sf.GD(), lr=1e-12)
    assert sf.classify(system, [0.0, 0.0]).kind is Kind.nonhyperbolic
    assert sf.find_fixed_points(system, [(-1, 1)] * 2).kinds == (Kind.attracting,)


@BOTH
def test_claims_over_ranges_are_proved_in_all_units(units):
    for c, k in units:
        loss = formula(SEARCHED, c, k)
        for point, rhos, verdict in (
            ((0.0, 0.0), (0.0, 0.05), Verdict.proved),
            ((1.0, -0.3), (0.0, 0.05), Verdict.refuted),
        ):
            unit = k**2 / c
            near = k * np.array(point)
            found = sf.certify_stability(
                loss, near, rho=[r * unit for r in rhos], lr=0.1 * unit, claim="saddle"
            )
            assert found.verdict is verdict, (c, k, point)


@BOTH
@pytest.mark.parametrize("extra", [{}, {"momentum": 0.4}])
def test_cycles_are_found_in_all_units(extra, units):
    """Of the quartic under GD beyond the flip, lr·2 > 2(1 + β), a 2-cycle about the minimum."""
    loss = sf.loss("y**4/4 - y**2/2")
    system = sf.Map(loss, sf.GD(), lr=1.1 * (1 + extra.get("momentum", 0.0)), **extra)
    box = np.array([[0.2, 1.8]])
    search = {"period": 2, "num_starts": 64}
    here = sf.find_cycles(system, box=box, **search)
    assert Kind.attracting in here.kinds
    for c, k in units:
        found = sf.find_cycles(rescaled(system, c, k), box=k * box, **search)
        assert found.kinds == here.kinds, (c, k)
        np.testing.assert_array_equal(found.status, here.status)
        np.testing.assert_allclose(found.w / k, here.w, atol=1e-9)
        np.testing.assert_allclose(found.multipliers, here.multipliers, rtol=1e-6, atol=1e-9)


@BOTH
def test_points_on_the_edge_of_a_box_are_proved_to_lie_in_it(units):
    """Critical points at y = 0 and 1, which are the edges, at exact multiples of k."""
    for c, k in units:
        if k not in EXACT:
            continue  # the edge of the box is then not where the point is
        flow = sf.Flow(formula(QUARTIC, c, k), sf.GD())
        found = sf.certify_fixed_points(flow, k * np.array([[-1.0, 0.5], [0.0, 1.0]]))
        assert found.verdict is Verdict.proved
        assert [point.kind for point in found.points] == [Kind.saddle, Kind.attracting]
        outside = sf.certify_fixed_points(flow, k * np.array([[-1.0, 0.5], [0.0, 1 - 2**-30]]))
        assert outside.verdict is Verdict.proved
        assert [point.kind for point in outside.points] == [Kind.saddle]
