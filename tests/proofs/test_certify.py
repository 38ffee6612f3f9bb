"""Certificates: what is proved of the zoo, and what must stay open."""

import json

import numpy as np
import pytest
import sympy

import samflow as sf
from samflow import Kind, Verdict, losses
from samflow._checks import ArgumentError
from samflow.proofs._certify import certify, certify_fixed_points
from samflow.proofs._locate import Limits
from samflow.proofs._undecided import undecided
from samflow.proofs.blocks import separate
from samflow.proofs.enclosures import Dynamics

X, Y = sympy.symbols("x y", real=True)
QUARTIC = X**2 / 2 - Y**2 / 2 + Y**4 / 4
SQUARE = ((-2, 2), (-2, 2))
BY_SUBDIVISION = Limits(algebra=False, separate=False)


def kinds(certificate):
    return sorted((p.kind.value if p.kind else "undecided") for p in certificate.points)


def holds(spans, values):
    """Say whether each interval, widened by the rounding of the reference, holds its value."""
    return all(
        low - 1e-9 * abs(v) <= v <= high + 1e-9 * abs(v)
        for (low, high), v in zip(spans, values, strict=True)
    )


@pytest.mark.parametrize("settings", [Limits(), BY_SUBDIVISION], ids=["algebra", "subdivision"])
@pytest.mark.parametrize(
    ("name", "box", "minima", "saddles", "maxima"),
    [
        ("beale", ((-4, 4), (-4, 4)), 1, 2, 0),
        ("himmelblau", ((-6, 6), (-6, 6)), 4, 4, 1),
        ("six_hump_camel", ((-3, 3), (-2, 2)), 6, 7, 2),
        ("rosenbrock", ((-4, 4), (-4, 4)), 1, 0, 0),
    ],
)
def test_all_critical_points_of_the_classics(name, box, minima, saddles, maxima, settings):
    loss = getattr(losses, name)()
    found = certify(loss.expression, loss.symbols, box, settings=settings)
    assert found.verdict is Verdict.proved
    assert kinds(found) == sorted(
        ["attracting"] * minima + ["saddle"] * saddles + ["repelling"] * maxima
    )
    by_index = [sum(p.index == i for p in found.points) for i in range(3)]
    assert by_index == [minima, saddles, maxima]
    known = np.array([point.w for point in loss.critical_points])
    for p in found.points:
        low, high = np.array(p.enclosure).T
        near = ((low - 1e-8 <= known) & (known <= high + 1e-8)).all(axis=1)
        assert near.sum() == 1


def test_the_spectra_of_beale():
    loss = losses.beale()
    found = certify(loss.expression, loss.symbols, ((-4, 4), (-4, 4)), rule="usam", rho=0.01)
    saddle, other, minimum = found.points
    assert holds(saddle.enclosure, (0, 1))
    assert holds(saddle.hessian, (-27.75, 27.75))
    assert holds(minimum.enclosure, (3, 0.5))
    np.testing.assert_allclose(minimum.hessian, [[0.301464] * 2, [48.97979] * 2], rtol=1e-5)
    np.testing.assert_allclose(other.midpoint, (0.100538, -2.644514), atol=1e-6)
    np.testing.assert_allclose(other.hessian, [[-0.781027] * 2, [867.752] * 2], rtol=1e-6)
    np.testing.assert_allclose(other.loss, 9.864512, rtol=1e-6)


def test_the_threshold_of_beale_is_4_over_111():
    loss = losses.beale()
    found = certify(loss.expression, loss.symbols, ((-4, 4), (-4, 4)), rule="usam", rho=0.01)
    (window,) = found.points[0].windows
    low, high = window.low.enclosure
    threshold = sympy.Rational(4, 111)
    assert sympy.Rational(low) <= threshold <= sympy.Rational(high)
    assert high - low < 1e-16
    assert window.low.eigenvalue == -27.75


@pytest.mark.parametrize("settings", [Limits(), BY_SUBDIVISION], ids=["separate", "together"])
def test_the_nine_fixed_points_of_the_quartic_at_rho_6(settings):
    """known-answers: y in {0, ±.211325, ±.788675, ±.912871, ±1} on x = 0."""
    found = certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=6, settings=settings)
    assert found.summary().startswith("exactly 9 fixed points in [-2, 2] × [-2, 2]: proved")
    root = np.sqrt(3)
    y = np.array([0, (3 - root) / 6, (3 + root) / 6, np.sqrt(5 / 6), 1])
    expected = np.sort(np.concatenate([-y[1:], y]))
    np.testing.assert_allclose(sorted(p.midpoint[1] for p in found.points), expected, atol=1e-15)
    origins = {abs(round(p.midpoint[1], 6)): p.origin for p in found.points}
    assert origins == {
        0.0: "critical",
        0.211325: "hallucinated",
        0.788675: "hallucinated",
        0.912871: "hallucinated",
        1.0: "critical",
    }
    for p in found.points:
        assert holds(p.enclosure, p.midpoint)
        y = p.midpoint[1]
        np.testing.assert_allclose(np.mean(p.ascent[1]), y + 6 * (y**3 - y), atol=1e-14)


@pytest.mark.parametrize(("rho", "count"), [(0.5, 3), (1.5, 5), (3.9, 5), (4.1, 9), (100, 9)])
def test_the_number_of_fixed_points_changes_at_the_bifurcations(rho, count):
    """Pitchfork of y = 0 at rho = 1, folds at rho = 4."""
    found = certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=rho)
    assert found.verdict is Verdict.proved
    assert len(found.points) == count


@pytest.mark.parametrize(("rho", "proved"), [(1, 3), (4, 5)])
def test_at_a_bifurcation_nothing_is_claimed_about_the_degenerate_points(rho, proved):
    found = certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=rho)
    assert found.verdict is Verdict.inconclusive
    assert len(found.points) == proved
    degenerate = {1: [0.0], 4: [-0.5, 0.5]}[rho]
    for y in degenerate:
        assert any(b[1][0] <= y <= b[1][1] for b, _ in found.inconclusive)
    assert max(high - low for b, _ in found.inconclusive for low, high in b) < 1e-6


def test_a_proof_for_a_whole_range_of_rho():
    found = certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=(6, 6.01))
    assert found.verdict is Verdict.proved
    assert len(found.points) == 9
    for rho in (6, 6.005, 6.01):
        for one in certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=rho).points:
            inside = [p for p in found.points if holds(p.enclosure, one.midpoint)]
            assert len(inside) == 1
            assert inside[0].kind is one.kind


def test_critical_points_outside_of_the_box_have_preimages_inside():
    """In |y| ≤ 1/4 at rho = 6: 0, and two points whose ascent points are ±1."""
    found = certify(QUARTIC, (X, Y), ((-1, 1), (-0.25, 0.25)), rule="usam", rho=6)
    assert found.verdict is Verdict.proved
    assert [p.origin for p in found.points] == ["hallucinated", "critical", "hallucinated"]


@pytest.mark.parametrize("name", ["beale", "himmelblau"])
def test_subdivision_and_resultants_agree_about_usam(name):
    loss = getattr(losses, name)()
    box = ((0, 4), (0, 2))  # small: what an ascent step reaches from it stays small
    one, other = (
        certify(loss.expression, loss.symbols, box, rule="usam", rho=0.01, settings=settings)
        for settings in (Limits(), BY_SUBDIVISION)
    )
    assert one.verdict is other.verdict is Verdict.proved
    assert [p.enclosure for p in one.points] == [p.enclosure for p in other.points]


def test_every_certified_point_stands_still_and_numpy_agrees_about_its_kind():
    system = sf.Map(losses.himmelblau(), sf.USAM(rho=0.05), lr=0.01, momentum=0.5)
    found = certify_fixed_points(system, ((-6, 6), (-6, 6)))
    assert found.verdict is Verdict.proved
    assert {p.origin for p in found.points} == {"critical", "hallucinated"}
    for p in found.points:
        z = system.lift(np.array(p.midpoint))
        np.testing.assert_allclose(system.step(z), z, atol=1e-11)
        modulus = np.abs(np.linalg.eigvals(system.jacobian(z)))
        expected = "attracting" if modulus.max() < 1 else "saddle"
        assert p.kind == ("repelling" if modulus.min() > 1 else expected)
        enclosed = [abs(complex(np.mean(e.real), np.mean(e.imag))) for e in p.eigenvalues]
        np.testing.assert_allclose(np.sort(enclosed), np.sort(modulus), atol=1e-6)


def test_weight_decay_moves_the_fixed_points_of_gradient_descent():
    loss = sf.loss("(x - 1)**2/2")
    system = sf.Map(loss, sf.GD(), lr=0.125, weight_decay=1.0)
    (point,) = certify_fixed_points(system, ((-2, 2),)).points
    assert point.midpoint == (0.5,)
    assert holds(point.hessian, (2.0,))


def test_normalised_sam_has_no_jacobian_at_a_critical_point():
    found = certify_fixed_points(sf.Flow(losses.beale(), sf.SAM(rho=0.05)), ((-4, 4), (-4, 4)))
    assert found.summary() == (
        "exactly 4 fixed points and 3 critical points in [-4, 4] × [-4, 4]: "
        "proved (4 saddle, 3 undefined)"
    )
    critical = [p for p in found.points if p.origin == "critical"]
    assert len(critical) == 3
    for p in critical:
        assert p.kind is Kind.undefined
        assert p.eigenvalues == ()
        assert p.windows == ()


@pytest.mark.parametrize("settings", [Limits(), BY_SUBDIVISION], ids=["separate", "together"])
def test_styblinski_tang_in_four_dimensions(settings):
    loss = losses.styblinski_tang(4)
    found = certify(loss.expression, loss.symbols, ((-5, 5),) * 4, settings=settings)
    assert found.verdict is Verdict.proved
    assert len(found.points) == 81
    assert [sum(p.index == i for p in found.points) for i in range(5)] == [16, 32, 24, 8, 1]


def test_blocks_are_found_and_joined():
    a, b, c, d = sympy.symbols("a b c d", real=True)
    blocks = separate(sympy.pi * (a**2 + b**2 * c) + sympy.sin(d) + 3, (a, b, c, d))
    assert [places for places, _ in blocks] == [(0,), (1, 2), (3,)]
    total = sum(part for _, part in blocks)
    assert sympy.expand(total - sympy.pi * (a**2 + b**2 * c) - sympy.sin(d)) == 0
    (whole,) = separate((a + b) ** 2, (a, b))
    assert whole == ((0, 1), (a + b) ** 2)


def test_the_product_of_blocks_keeps_the_order_of_the_coordinates():
    """x and z are coupled, y stands between them alone."""
    a, b, c = sympy.symbols("a b c", real=True)
    loss = (a - c) ** 2 + (c - 3) ** 2 + (b - 2) ** 2 + (b - 2) ** 3 / 9
    box = ((-1, 4), (-5, 4), (1, 5))
    one, other = (certify(loss, (a, b, c), box, settings=s) for s in (Limits(), BY_SUBDIVISION))
    assert [p.midpoint for p in one.points] == [(3.0, -4.0, 3.0), (3.0, 2.0, 3.0)]
    assert [p.enclosure for p in one.points] == [p.enclosure for p in other.points]


def test_too_many_points_are_counted_but_not_listed():
    loss = losses.rastrigin(4)
    box = ((-5.12, 5.12),) * 4
    found = certify(loss.expression, loss.symbols, box)
    assert found.verdict is Verdict.unsupported
    assert str(21**4) in found.reason


@pytest.mark.parametrize("box", [((0.5, 0.9), (-1, 1)), ((-1, 1), (0.1, 0.9))])
def test_an_empty_box_is_proved_empty(box):
    found = certify(QUARTIC, (X, Y), box)
    assert found.verdict is Verdict.proved
    assert found.points == ()
    assert found.summary().startswith("exactly 0 fixed points")


def test_rational_points_on_the_edge_belong_to_the_closed_box():
    found = certify(QUARTIC, (X, Y), ((0, 1), (0, 1)), settings=BY_SUBDIVISION)
    assert found.verdict is Verdict.proved
    assert [p.midpoint for p in found.points] == [(0, 0), (0, 1)]
    apart = certify(QUARTIC, (X, Y), ((-1, 1), (0.5, np.nextafter(1, 0))))
    assert apart.verdict is Verdict.proved
    assert apart.points == ()


def test_other_points_on_the_edge_are_left_open():
    """At rho = 16/7 the points y = ±3/4, of irrational ascent in general, are hallucinated."""
    found = certify(QUARTIC, (X, Y), ((-1, 1), (0.5, 0.75)), rule="usam", rho=sympy.Rational(16, 7))
    assert found.verdict is Verdict.inconclusive
    assert "edge" in found.inconclusive[0].reason


@pytest.mark.parametrize("loss", [X**3 + Y**2, X**4 + Y**2 + X * Y**2, (X**2 + Y**2) ** 2], ids=str)
@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_a_degenerate_point_is_never_proved(loss, rule):
    found = certify(loss, (X, Y), SQUARE, rule=rule, rho=0.25)
    assert found.verdict is Verdict.inconclusive
    assert any(b[0][0] <= 0 <= b[0][1] for b, _ in found.inconclusive)
    assert not any(holds(p.enclosure, (0, 0)) for p in found.points)


@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_a_curve_of_fixed_points_ends_and_hides_no_isolated_one(rule):
    found = certify(
        (X * Y - 1) ** 2 / 2,
        (X, Y),
        SQUARE,
        rule=rule,
        rho=0.1,
        settings=Limits(max_boxes=3000),
    )
    assert found.verdict is Verdict.inconclusive
    assert [p.midpoint for p in found.points] == [(0.0, 0.0)]
    assert "inconclusive in" in found.summary()
    for t in (0.6, 1.0, -1.7):
        assert any(a <= t <= b and c <= 1 / t <= d for ((a, b), (c, d)), _ in found.inconclusive)


def test_the_valley_is_left_open():
    found = certify((1 + X**2) * Y**2 / 2, (X, Y), SQUARE, settings=Limits(max_boxes=1000))
    assert found.verdict is Verdict.inconclusive
    assert any(a == -2 and b == 2 for ((a, b), _), _ in found.inconclusive)


def test_a_kind_exactly_on_a_threshold_stays_open():
    """rho = 1/4 with λ = −4 is dyadic: U is exactly 0. Existence is proved, the kind is not."""
    loss = X**2 / 2 - 2 * Y**2
    on, above = (certify(loss, (X, Y), SQUARE, rule="usam", rho=r) for r in (0.25, 0.2500001))
    assert on.points[0].kind is None
    assert on.points[0].kind_verdict is Verdict.inconclusive
    assert on.verdict is Verdict.inconclusive  # I + rho H is singular: a line of fixed points
    assert above.points[0].kind is Kind.attracting
    assert above.verdict is Verdict.proved


def test_outside_of_its_domain_a_loss_has_no_fixed_points():
    found = certify(X + sympy.log(X), (X,), ((-4, -0.5),))  # 1 + 1/x vanishes at −1
    assert found.verdict is Verdict.proved
    assert found.points == ()
    edge = certify(X - sympy.log(X), (X,), ((-1, 4),))
    assert edge.verdict is Verdict.inconclusive
    assert [p.midpoint for p in edge.points] == [(1.0,)]


def test_an_unbounded_ascent_leaves_the_box_open():
    found = certify(X - sympy.log(X), (X,), ((-1, 4),), rule="usam", rho=0.1)
    assert found.verdict is Verdict.inconclusive
    assert ((-1.0, 4.0),) in [part.box for part in found.inconclusive]
    assert [p.midpoint for p in found.points] == [(1.0,)]


@pytest.mark.parametrize(
    ("system", "word"),
    [
        (sf.Map(sf.loss(lambda w: w @ w, dim=2), sf.GD(), lr=0.1), "formula"),
        (sf.Map(losses.beale(), sf.USAM(rho=0.1), lr=0.1, weight_decay=0.1), "weight decay"),
        (sf.FunctionMap(lambda z: z, dim=2), "rule"),
    ],
)
def test_what_is_not_supported_says_so(system, word):
    found = certify_fixed_points(system, SQUARE)
    assert found.verdict is Verdict.unsupported
    assert word in found.reason
    assert found.points == ()
    assert "unsupported" in found.summary()


def test_a_formula_without_balls_is_unsupported():
    found = certify(sympy.gamma(X), (X,), ((1, 2),))
    assert found.verdict is Verdict.unsupported


@pytest.mark.parametrize("box", [((0, 1),), ((1, 0), (0, 1)), ((0, np.inf), (0, 1)), "box"])
def test_bad_boxes_fail_at_the_door(box):
    with pytest.raises(ArgumentError, match="box"):
        certify(QUARTIC, (X, Y), box)


def test_a_certificate_turns_into_json():
    system = sf.Map(losses.beale(), sf.USAM(rho=0.05), lr=0.01)
    found = certify_fixed_points(system, ((-4, 4), (-4, 4)))
    read = json.loads(found.to_json())
    assert read["verdict"] == "proved"
    assert read["provenance"]["system"] == system.describe()
    assert len(read["points"]) == len(found.points)
    (i,) = [i for i, p in enumerate(found.points) if holds(p.enclosure, (0, 1))]
    assert read["points"][i]["kind"] == "attracting"
    window = found.points[i].windows[0]
    assert read["points"][i]["windows"][0]["low"]["enclosure"] == list(window.low.enclosure)
    open_end = certify(QUARTIC, (X, Y), SQUARE, rule="usam", rho=4)
    read = json.loads(open_end.to_json())
    assert read["inconclusive"][0]["reason"] == open_end.inconclusive[0].reason


def test_the_map_and_the_flow_have_the_same_points_and_their_own_kinds():
    loss = losses.himmelblau()
    flow = certify(loss.expression, loss.symbols, ((-6, 6), (-6, 6)))
    fast = certify(
        loss.expression, loss.symbols, ((-6, 6), (-6, 6)), dynamics=Dynamics(lr=sympy_half())
    )
    assert [p.enclosure for p in flow.points] == [p.enclosure for p in fast.points]
    assert "attracting" in kinds(flow)
    assert set(kinds(fast)) == {"repelling"}  # lr = 1/2 is far beyond 2/λ


def sympy_half():
    from samflow.proofs.balls import exact

    return exact(sympy.Rational(1, 2))


def test_undecided_boxes_are_joined_where_they_touch_and_nowhere_lost():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 40, (3000, 2)) / 4.0
    boxes = [tuple((a, a + 0.25) for a in row) for row in low]
    parts = undecided([*boxes, ((90.0, 91.0), (90.0, 91.0))], "reason")
    assert 2 <= len(parts) <= 16
    for b in boxes:
        assert any(
            all(p <= a and c <= q for (a, c), (p, q) in zip(b, part.box, strict=True))
            for part in parts
        )
    assert undecided([], "reason") == []


def test_undecided_boxes_apart_stay_apart_unless_there_are_many():
    touching = [((0.0, 1.0), (0.0, 1.0)), ((1.0, 2.0), (0.5, 3.0))]
    above = ((0.0, 2.0), (5.0, 6.0))  # apart in y alone
    parts = {part.box for part in undecided([*touching, above], "reason")}
    assert parts == {((0.0, 2.0), (0.0, 3.0)), above}
    scattered = [((2.0 * i, 2.0 * i + 1), (0.0, 1.0)) for i in range(17)]
    assert len(undecided(scattered[:16], "reason")) == 16
    assert [part.box for part in undecided(scattered, "reason")] == [((0.0, 33.0), (0.0, 1.0))]


def test_an_unknown_rule_is_refused():
    with pytest.raises(ArgumentError, match=r"Unknown rule `adam`\. Did you mean sam"):
        certify(X**2, (X,), ((-1, 1),), rule="adam")
