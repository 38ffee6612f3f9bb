"""What docs/theory says of SAM's hallucinated fixed points, against sympy and certificates."""

import functools

import numpy as np
import pytest
import sympy

from samflow import Kind, Verdict, losses, theory
from samflow.proofs._certify import certify

EVERYWHERE = ((-40, 40), (-40, 40))
COUNTED = ("beale", "himmelblau", "six_hump_camel", "goldstein_price", "quartic")


@functools.lru_cache
def hallucinated(name, rho, box=EVERYWHERE):
    """Return pairs (w, w*) that are proved to be all in the box."""
    loss = losses.ZOO[name]()
    found = certify(loss.expression, loss.symbols, box, rule="sam", rho=rho)
    assert found.verdict is Verdict.proved
    points = [p for p in found.points if p.origin == "hallucinated"]
    return [(np.array(p.midpoint), np.mean(p.ascent, axis=1), p) for p in points]


def derivatives(name):
    loss = losses.ZOO[name]()
    g = sympy.lambdify(loss.symbols, loss.gradient_formula)
    h = sympy.lambdify(loss.symbols, sympy.Matrix(loss.hessian_formula))
    return lambda w: np.array(g(*w), float), lambda w: np.array(h(*w), float)


def negative(matrix):
    return int((np.linalg.eigvalsh(matrix) < 0).sum())


def across(w, target, g, h):
    """Return M, the matrix of H(w) + μ on the tangent space of the sphere, and μ."""
    e = (target - w) / np.linalg.norm(target - w)
    tangent = np.linalg.svd(e[None])[2][1:]
    mu = np.linalg.norm(g(w)) / np.linalg.norm(target - w)
    return tangent @ h(w) @ tangent.T + mu * np.eye(len(w) - 1), mu


def test_the_jacobian_is_that_of_the_direction():
    """d(w) = g(w + rho g/‖g‖), differentiated by sympy at (0, 1 − rho) on a loss with a twist."""
    x, y = sympy.symbols("x y", real=True)
    rho = sympy.Rational(3, 2)
    loss = x**2 / 2 - y**2 / 2 + y**4 / 4 + x**2 * y / 3 + x**3 * y / 5
    g = sympy.Matrix([loss.diff(x), loss.diff(y)])
    norm = sympy.sqrt(g.dot(g))
    step = {x: x + rho * g[0] / norm, y: y + rho * g[1] / norm}
    at = {x: 0, y: 1 - rho}
    direct = g.subs(step, simultaneous=True).jacobian([x, y]).subs(at)
    assert sympy.simplify(g.subs(step, simultaneous=True).subs(at)) == sympy.zeros(2, 1)
    h, unit, mu = g.jacobian([x, y]), (g / norm).subs(at), (norm / rho).subs(at)
    target = {x: 0, y: 1}
    formula = h.subs(target) * (sympy.eye(2) + (sympy.eye(2) - unit * unit.T) * h.subs(at) / mu)
    assert sympy.simplify(direct - formula) == sympy.zeros(2)
    m = h.subs(at)[0, 0] + mu  # the tangent space is the x-axis
    assert sympy.simplify(formula.det() - h.subs(target).det() * m / mu) == 0


def test_on_a_quadratic_sam_is_gd_along_and_usam_with_radius_one_over_lambda_across():
    m, second, third, rho = sympy.symbols("m lambda_2 lambda_3 rho", positive=True)
    w = sympy.Matrix(sympy.symbols("x y z", real=True))
    h = sympy.diag(-m, second, third)
    g = h * w
    ascent = w + rho * g / sympy.sqrt(g.dot(g))
    at = {w[0]: rho, w[1]: 0, w[2]: 0}
    jacobian = sympy.simplify((h * ascent).jacobian(w).subs(at))
    assert sympy.simplify((h * ascent).subs(at)) == sympy.zeros(3, 1)
    usam = theory.effective_curvature("usam")
    curvatures = [theory.evaluate(usam, lam=x, rho=1 / m) for x in (second, third)]
    assert sympy.simplify(jacobian - sympy.diag(-m, *curvatures)) == sympy.zeros(3)


@pytest.mark.parametrize("name", COUNTED)
def test_for_small_rho_there_are_two_for_each_negative_eigenvalue(name):
    loss, (_, h) = losses.ZOO[name](), derivatives(name)
    found = hallucinated(name, 0.01)
    for point in loss.critical_points:
        lams, vectors = np.linalg.eigh(h(point.w))
        here = [(w, p) for w, target, p in found if np.allclose(target, point.w, atol=1e-9)]
        assert len(here) == 2 * (lams < 0).sum()
        for v in vectors.T[lams < 0]:
            for side in (-1, 1):
                offsets = [np.linalg.norm(w - point.w - side * 0.01 * v) for w, _ in here]
                assert min(offsets) < 0.1 * 0.01  # O(rho²)
    assert len(found) == 2 * sum(negative(h(point.w)) for point in loss.critical_points)
    assert not any(p.kind is Kind.attracting for *_, p in found)


def test_for_small_rho_the_eigenvalues_are_those_of_the_quadratic_up_to_order_rho():
    """The maximum of Himmelblau's function: two negative eigenvalues, four points."""
    _, h = derivatives("himmelblau")
    errors = []
    for rho in (1e-2, 1e-3, 1e-4):
        here = [
            (w - target, p)
            for w, target, p in hallucinated("himmelblau", rho)
            if np.allclose(target, (-0.2708445906673476, -0.9230385564799815), atol=1e-9)
        ]
        lams, vectors = np.linalg.eigh(h((-0.2708445906673476, -0.9230385564799815)))
        assert len(here) == 4
        worst = 0.0
        for z, p in here:
            i = int(np.abs(vectors.T @ z).argmax())
            j = 1 - i
            expected = sorted([-lams[i], -lams[j] * (1 + lams[j] / abs(lams[i]))])
            values = sorted(np.mean(v.real) for v in p.eigenvalues)
            worst = max(worst, np.abs(np.subtract(values, expected)).max())
            # steepest direction: the other descends more slowly and leaves too
            assert p.kind is (Kind.repelling if i == 0 else Kind.saddle)
        errors.append(worst)
    assert errors[1] / errors[0] == pytest.approx(0.1, rel=0.1)
    assert errors[2] / errors[1] == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("rho", [0.3, 0.7, 1.1, 1.6, 3.1, 4.5])
@pytest.mark.parametrize("name", COUNTED)
def test_their_signs_sum_to_one_less_those_of_the_critical_points_in_the_ball(name, rho):
    loss, (g, h) = losses.ZOO[name](), derivatives(name)
    critical = [np.array(point.w) for point in loss.critical_points]
    found = hallucinated(name, rho)
    for centre in critical:
        signs = [
            (-1) ** negative(across(w, target, g, h)[0])
            for w, target, _ in found
            if np.allclose(target, centre, atol=1e-9)
        ]
        inside = [(-1) ** negative(h(w)) for w in critical if np.linalg.norm(w - centre) < rho]
        assert sum(signs) == 1 - sum(inside)


@pytest.mark.parametrize("rho", [0.3, 1.1, 3.1])
@pytest.mark.parametrize("name", COUNTED)
def test_in_the_plane_the_flow_has_a_saddle_where_the_two_signs_differ(name, rho):
    g, h = derivatives(name)
    for w, target, p in hallucinated(name, rho):
        signs = (-1) ** (negative(h(target)) + negative(across(w, target, g, h)[0]))
        assert (p.kind is Kind.saddle) == (signs < 0)


HIMMELBLAU = {point.shape: point.w for point in losses.himmelblau().critical_points[::-1]}


@pytest.mark.parametrize(
    ("centre", "other"),
    [("maximum", "saddle"), ("saddle", "maximum"), ("minimum", "maximum"), ("maximum", "minimum")],
)
def test_one_is_born_in_or_ends_in_a_critical_point_that_the_sphere_passes(centre, other):
    """With q = eᵀH⁻¹e at the critical point: μ = (rho₀ − rho)/(rho₀ q) to first order."""
    _, h = derivatives("himmelblau")
    g, _ = derivatives("himmelblau")
    target, passed = (np.array(HIMMELBLAU[kind]) for kind in (centre, other))
    distance = np.linalg.norm(target - passed)
    e = (target - passed) / distance
    q = e @ np.linalg.solve(h(passed), e)
    box = tuple((w - 0.01, w + 0.01) for w in passed)
    for rho in (distance * (1 - 1e-5), distance * (1 + 1e-5)):
        mu = (distance - rho) / (distance * q)
        here = hallucinated("himmelblau", rho, box)
        assert len(here) == (1 if mu > 0 else 0)
        for w, seen, _ in here:
            np.testing.assert_allclose(seen, target, atol=1e-9)
            assert across(w, target, g, h)[1] == pytest.approx(mu, rel=1e-2)
    assert {"minimum": q > 0, "maximum": q < 0, "saddle": True}[other]
