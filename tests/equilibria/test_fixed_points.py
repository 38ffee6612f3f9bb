"""All fixed points where that can be proved, and honesty where it cannot."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from tests.references import HENON, QUARTIC_AT_RHO_6
from tests.tiers import slow

BOX = ((-4.0, 4.0), (-4.0, 4.0))


@pytest.mark.parametrize("name", ["beale", "himmelblau", "six_hump_camel", "goldstein_price"])
def test_all_critical_points_of_the_zoo_are_found_and_proved(name):
    loss = sf.losses.ZOO[name]()
    found = sf.find_fixed_points(sf.Flow(loss, sf.GD()), loss.domain)
    assert found.complete
    assert found.method == "exhaustive"
    assert found.critical.all()
    listed = np.array([p.w for p in loss.critical_points])
    assert len(found) == len(listed)
    distances = np.linalg.norm(np.asarray(found.w)[:, None] - listed, axis=2).min(axis=1)
    assert distances.max() < 1e-12
    kinds = {"minimum": "attracting", "maximum": "repelling", "saddle": "saddle"}
    expected = sorted(kinds[p.shape] for p in loss.critical_points)
    assert sorted(map(str, found.kinds)) == expected


def test_quartic_at_rho_6_has_exactly_nine():
    found = sf.find_fixed_points(sf.Flow(sf.losses.quartic(), sf.USAM(rho=6.0)), BOX)
    assert found.complete
    assert len(found) == 9
    assert found.critical.sum() == 3
    np.testing.assert_allclose(found.w[:, 0], 0, atol=1e-14)
    expected = sorted({s * y for y in QUARTIC_AT_RHO_6 for s in (1, -1)})
    np.testing.assert_allclose(np.sort(found.w[:, 1]), expected, atol=1e-6)  # as printed


def test_both_methods_find_the_same_points():
    system = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)
    proved = sf.find_fixed_points(system, BOX)
    tried = sf.find_fixed_points(system, BOX, method="multistart")
    assert proved.complete
    assert not tried.complete
    assert "random starts" in tried.note
    gaps = np.linalg.norm(np.asarray(proved.w)[:, None] - np.asarray(tried.w), axis=2)
    assert gaps.min(axis=1).max() < 1e-8
    assert gaps.min(axis=0).max() < 1e-8  # and nothing that is none


def test_functions_are_searched_from_many_starts():
    henon = sf.FunctionMap(lambda z: jnp.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), dim=2)
    found = sf.find_fixed_points(henon, ((-2, 2), (-2, 2)))
    assert found.method == "multistart"
    assert not found.complete
    np.testing.assert_allclose(np.sort(found.w[:, 0]), np.sort(list(HENON)), atol=1e-6)
    with pytest.raises(ArgumentError, match="cannot be `exhaustive`"):
        sf.find_fixed_points(henon, ((-2, 2), (-2, 2)), method="exhaustive")


def test_a_continuum_that_is_no_polynomials_is_not_called_complete():
    system = sf.Map(sf.loss("(exp(x)*y - 1)**2/2"), sf.GD(), lr=0.1)
    found = sf.find_fixed_points(system, BOX, num_starts=32)
    assert not found.complete
    assert "undecided" in found.note


def test_a_continuum_is_complete_where_algebra_says_what_it_is():
    found = sf.find_fixed_points(sf.Map(sf.losses.matrix_factorisation(), sf.GD(), lr=0.1), BOX)
    assert found.complete
    assert found.method == "algebra"
    assert "undecided" in found.note  # of the subdivision
    np.testing.assert_array_equal(found.w, [[0.0, 0.0]])  # the saddle, apart
    assert {one.equations for one in found.continua} == {("x*y - 1",)}


def test_a_degenerate_point_is_found_once():
    """x⁴ − y⁴ has one critical point, of multiplicity nine: no crowd of copies."""
    box = ((-1, 1.3), (-1, 1.2))
    found = sf.find_fixed_points(sf.Flow(sf.loss("x**4 - y**4"), sf.GD()), box)
    assert found.complete
    assert found.exact.tolist() == found.proved.tolist() == [True]
    np.testing.assert_array_equal(found.w, [[0.0, 0.0]])
    assert found.kinds == (sf.Kind.nonhyperbolic,)
    quartic = sf.loss(lambda w: w[0] ** 4 - w[1] ** 4, dim=2)  # without a formula no proof
    found = sf.find_fixed_points(sf.Flow(quartic, sf.GD()), box)
    assert not found.complete
    assert not found.proved.any()
    assert len(found) == 1
    np.testing.assert_allclose(found.w[0], 0, atol=1e-4)  # the residual is 1e-9, its cube root 6e-4
    assert found.kinds == (sf.Kind.nonhyperbolic,)


def test_beyond_the_edge_of_the_domain_there_is_nothing():
    """x²/2 − log x has g = x − 1/x, which vanishes at −1 too, where the loss is not defined."""
    loss = sf.loss("x**2/2 - log(x)")
    found = sf.find_fixed_points(sf.Flow(loss, sf.GD()), ((-3.0, 3.0),))
    np.testing.assert_allclose(found.w, [[1.0]], atol=1e-12)
    at_minus_one = sf.classify(sf.Flow(loss, sf.GD()), [-1.0])
    assert at_minus_one.status is sf.Status.not_finite
    assert at_minus_one.kind is sf.Kind.undefined
    assert sf.certify_stability(loss, [1.0], rho=0.1, lr=0.1).verdict is sf.Verdict.proved
    assert sf.certify_stability(loss, [-1.0], rho=0.1, lr=0.1).verdict is not sf.Verdict.proved


def test_of_sam_the_fixed_points_and_beside_them_the_critical_points():
    found = sf.find_fixed_points(sf.Flow(sf.losses.beale(), sf.SAM(rho=0.05)), BOX)
    assert str(found).startswith("7 fixed points (all, proved): 4 saddle, 3 ")
    assert str(found).endswith("; 4 hallucinated")
    assert found.hallucinated.tolist() == (~found.critical).tolist()
    kinds = np.array(found.kinds)
    assert set(kinds[found.hallucinated]) == {sf.Kind.saddle}
    assert sf.Kind.saddle not in kinds[found.critical]  # where there is no Jacobian
    assert float(found.residual.max()) < 1e-9  # 868 (the largest eigenvalue) times rounding of w
    assert (found.status == sf.Status.located).all()
    points = np.asarray(found.w)
    for w in points[found.hallucinated]:
        g = np.asarray(sf.losses.beale().gradient(w))
        assert np.linalg.norm(g) > 0.01
        ascent = w + 0.05 * g / np.linalg.norm(g)
        assert np.linalg.norm(points[found.critical] - ascent, axis=1).min() < 1e-12


def camel(w):
    x, y = w
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


CAMEL = sf.loss(camel, dim=2)
"""The six-hump camel as a function in JAX, whose formula is not known."""


@pytest.mark.parametrize("rho", [slow(0.2), 1.0])
def test_many_starts_find_the_hallucinated_points_of_a_function(rho):
    box = ((-3.0, 3.0), (-2.0, 2.0))
    proved = sf.find_fixed_points(sf.Flow(sf.losses.six_hump_camel(), sf.SAM(rho=rho)), box)
    tried = sf.find_fixed_points(sf.Flow(CAMEL, sf.SAM(rho=rho)), box, num_starts=128)
    assert proved.complete
    assert tried.method == "multistart"
    assert not tried.complete
    assert tried.hallucinated.sum() == proved.hallucinated.sum() == {0.2: 22, 1.0: 34}[rho]
    np.testing.assert_allclose(tried.w, proved.w, atol=1e-9)
    for by_orbits, by_proof in zip(tried.kinds, proved.kinds, strict=True):
        # That a solution leaves can be proved of a formula alone.
        leaves = by_proof is sf.Kind.saddle and by_orbits is sf.Kind.undefined
        assert by_orbits is by_proof or leaves


def test_many_starts_find_those_whose_ascent_points_lie_outside_the_box():
    """On −½(w + 0.2)² the point 0.3 ascends to −0.2, outside of [0.1, 0.4]."""
    system = sf.Flow(sf.loss(lambda w: -0.5 * (w[0] + 0.2) ** 2, dim=1), sf.SAM(rho=0.5))
    found = sf.find_fixed_points(system, ((0.1, 0.4),))
    np.testing.assert_allclose(found.w, [[0.3]], atol=1e-12)
    assert found.kinds == (sf.Kind.repelling,)


def test_where_weight_decay_moves_the_fixed_points_of_sam_they_are_found_and_stand_still():
    """On −½w² with decay δ: −(w + rho) + δw = 0 at w = −rho/(1 − δ), and its mirror image."""
    system = sf.Map(sf.losses.saddle((-1.0,)), sf.SAM(rho=0.5), lr=0.1, weight_decay=0.25)
    found = sf.find_fixed_points(system, ((-1.0, 1.5),))
    np.testing.assert_allclose(found.w[:, 0], [-0.5 / 0.75, 0.0, 0.5 / 0.75], atol=1e-12)
    assert found.critical.tolist() == [False, True, False]
    assert "weight decay" in found.note
    for w in found.w[found.hallucinated]:
        np.testing.assert_allclose(system.step(w), w, atol=1e-14)


def test_an_empty_answer_is_empty():
    found = sf.find_fixed_points(sf.Flow(sf.losses.beale(), sf.GD()), ((1.0, 2.0), (1.0, 2.0)))
    assert len(found) == 0
    assert found.complete
    assert str(found) == "0 fixed points (all, proved)"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"box": ((1.0, 1.0), (0.0, 1.0))}, "empty or unbounded"),
        ({"box": ((0.0, np.inf), (0.0, 1.0))}, "empty or unbounded"),
        ({"box": ((0.0, 1.0),)}, "2 pairs"),
        ({"box": "everything"}, "2 pairs"),
        ({"method": "multistrat"}, "Did you mean multistart"),
        ({"num_starts": 0}, "at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.Flow(sf.losses.beale(), sf.GD())
    with pytest.raises(ArgumentError, match=words):
        sf.find_fixed_points(system, **({"box": BOX} | arguments))


def test_the_relatives_of_usam_hallucinate_elsewhere():
    """L = ¼(x² − 1)²: g = x³ − x, H = 3x² − 1, against roots of polynomials."""
    loss, radii = sf.loss("(x**2 - 1)**2/4"), {"penalty": 2.0, "ascent": 4.0}
    g, h = np.poly1d([1, 0, -1, 0]), np.poly1d([3, 0, -1])
    x = np.poly1d([1, 0])
    expected = {
        "penalty": [np.poly1d(g * (1 + radii["penalty"] * h))],
        "ascent": [x + radii["ascent"] * h * g - target for target in (-1, 0, 1)],
    }
    for form, polynomials in expected.items():
        roots = np.concatenate([p.roots for p in polynomials])
        real = np.unique(np.round(roots[abs(roots.imag) < 1e-9].real, 8))
        system = sf.Flow(loss, sf.rules.HessianUSAM(rho=radii[form], form=form))
        found = sf.find_fixed_points(system, box=(-2, 2))
        np.testing.assert_allclose(np.ravel(found.w), real, atol=1e-7)
        # The critical points are −1, 0 and 1; at ±√(1/6) the penalty's factor 1 + ρH vanishes.
        np.testing.assert_array_equal(found.critical, np.isclose(abs(g(real)), 0, atol=1e-6))
        assert (~np.asarray(found.critical)).sum() == len(real) - 3 > 0
