"""Curves and surfaces of fixed points: recognised, followed, and what lies across them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax.tree_util import Partial

import samflow as sf
from samflow import Kind
from samflow.equilibria._multistart import sampled_points
from samflow.equilibria.continua.across import across
from samflow.equilibria.continua.gathered import critical_set_of, described, followed
from samflow.theory.windows import Event

SQUARE = ((-2.0, 2.0), (-2.0, 2.0))
APART = {(0, -1, 0), (0, 0, -1), (0, 0, 0), (0, 0, 1), (0, 1, 0)}
TWO_CIRCLES = "(x**2+y**2)**2+(x**2+z**2)**2-2*(2*x**2+y**2+z**2)"


def exact(system, box):
    """Return the continua of a formula without the searches for isolated points."""
    found = critical_set_of(system, box, 64)
    return found, described(system, found.continua, ())


def gd(text, lr=0.1):
    return sf.Map(sf.loss(text), sf.GD(), lr=lr)


def test_five_points_and_two_curves():
    """sympy's example, by hand: x = 0 leaves a grid of nine; else y = ±z, x² + y² = 1."""
    found, continua = exact(gd(TWO_CIRCLES, lr=0.2), ((-2.0, 2.0),) * 3)
    assert found.complete
    assert {tuple(w) for w in found.proved.tolist()} == APART
    assert [one.dimension for one in continua] == [1, 1]
    for one in continua:
        assert one.closed
        assert one.proved
        x, y, z = one.w.T
        np.testing.assert_allclose(x**2 + y**2, 1, atol=1e-12)
        np.testing.assert_allclose(np.abs(z), np.abs(y), atol=1e-12)
        assert one.arc[-1] == pytest.approx(_ellipse(1.0, np.sqrt(2)), rel=1e-3)  # by chords
        assert {point.w for point in one.singular} == {(-1, 0, 0), (1, 0, 0)}
        assert {(point.what, point.proved) for point in one.singular} == {("crossing", True)}


@pytest.mark.slow
def test_they_are_listed_and_printed_apart():
    found = sf.find_fixed_points(gd(TWO_CIRCLES, lr=0.2), (-2, 2))
    assert found.complete
    assert found.proved.all()
    assert {tuple(w) for w in np.asarray(found.w).tolist()} == APART
    lines = str(found).splitlines()
    assert lines[0] == "5 isolated fixed points (all, proved): 1 repelling, 4 saddle"
    assert len(lines) == 3
    assert lines[1].startswith("closed curve of fixed points (x, y, z) = (cos(t), sin(t), ")
    table = found.table("continuum")
    assert table["continuum_dimension"].tolist() == [1, 1]
    assert found.continua[0].table()["kind"].isin(["attracting", "saddle"]).all()


def _ellipse(a, b):
    t = np.linspace(0, 2 * np.pi, 20001)
    return np.trapezoid(np.hypot(a * np.sin(t), b * np.cos(t)), t)


@pytest.mark.parametrize(
    ("text", "dimension", "parametrisation", "closed"),
    [
        ("(x**2 + y**2 - 1)**2", 1, "(x, y) = (cos(t), sin(t))", True),
        ("(x**2 + y**2 + z**2 - 1)**2", 2, None, False),
        ("(x*y - 1)**2", 1, "(x, y) = (t, 1/t)", False),
        ("(1 + u**2)*v**2/2", 1, "(u, v) = (t, 0)", False),
        ("(y - x**2/2)**2/2", 1, "(x, y) = (t, t**2/2)", False),
        ("(x**2 + y**2 - 1)**4", 1, "(x, y) = (cos(t), sin(t))", True),  # H = 0 on all of it
        ("x**2*y**2", 1, "(x, y) = (t, 0)", False),
        ("(x**3 + x - y**2)**2", 1, "", False),  # of genus 1: no rational functions
    ],
)
def test_dimension_and_parametrisation(text, dimension, parametrisation, closed):
    system = gd(text)
    found, continua = exact(system, ((-2.0, 2.0),) * system.dim)
    assert found.complete
    one = continua[0]
    assert (one.dimension, one.closed, one.proved) == (dimension, closed, True)
    if parametrisation is not None:
        assert one.parametrisation == parametrisation
    slopes = jax.vmap(system.loss.gradient)(jnp.asarray(one.w))
    np.testing.assert_allclose(slopes, 0, atol=1e-12)


def test_across_a_circle_and_a_sphere_the_eigenvalue_is_8():
    """(r² − 1)²: d²/dr² = 12r² − 4 = 8 at r = 1, whatever the dimension."""
    for text in ("(x**2 + y**2 - 1)**2", "(x**2 + y**2 + z**2 - 1)**2"):
        system = sf.Map(sf.loss(text), sf.USAM(rho=0.01), lr=0.1)
        _, (one,) = exact(system, ((-2.0, 2.0),) * system.dim)
        np.testing.assert_allclose(one.curvature, 8, rtol=1e-12)
        # U = 8(1 + 8ρ); the multiplier 1 − lr U; ends where lr U = 2.
        np.testing.assert_allclose(one.spectrum, 1 - 0.1 * 8 * 1.08, rtol=1e-12)
        np.testing.assert_allclose(one.lr_window, [[0, 2 / (8 * 1.08)]] * len(one), rtol=1e-12)
        np.testing.assert_allclose(one.rho_window[:, 1], (2 / 0.1 / 8 - 1) / 8, rtol=1e-12)
        assert set(one.kinds) == {Kind.attracting}
        assert one.changes == one.singular == ()


def test_on_the_hyperbola_stability_changes_where_lr_times_the_sharpness_is_2():
    """λ = 2(x² + y²) on xy = 1: 0.1 λ = 2 where x² = 5 ± √24."""
    _, continua = exact(gd("(x*y - 1)**2"), ((-4.0, 4.0),) * 2)
    assert len(continua) == 2
    for one in continua:
        assert one.ends == ("the box", "the box")
        assert np.abs(one.w[[0, -1]]).max(axis=1).tolist() == [4.0, 4.0]  # on the faces
        x, y = one.w.T
        np.testing.assert_allclose(one.curvature[:, 0], 2 * (x**2 + y**2), rtol=1e-9)
        places = sorted(abs(change.w[0]) for change in one.changes)
        expected = np.sqrt(5 + np.sqrt(24) * np.array([-1, 1]))
        np.testing.assert_allclose(places, expected, rtol=1e-11)  # bisected to rounding
        assert {change.event for change in one.changes} == {Event.flip}
        assert [part[2] for part in one.stretches] == [
            Kind.repelling,
            Kind.attracting,
            Kind.repelling,
        ]
        # Orbits from beside it agree, on both sides of each place.
        for x0, kind in (
            (1.02 * expected[1], Kind.repelling),
            (0.98 * expected[1], Kind.attracting),
        ):
            assert _from_beside(gd("(x*y - 1)**2"), np.array([x0, 1 / x0])) is kind


def _from_beside(system, w):
    """Say what an orbit from 1e-6 beside a point of xy = 1 does."""
    orbit = sf.iterate(system, w + 1e-6, num_steps=200)
    start, end = (float(abs(v[0] * v[1] - 1)) for v in (w + 1e-6, orbit.final_w))
    return Kind.attracting if end < start else Kind.repelling


def test_usam_changes_along_the_valley_where_its_formula_says():
    """λ = 1 + u², U = λ(1 + ρλ): lr U = 2 at λ = (−1 + √(1 + 8ρ/lr))/(2ρ)."""
    rho, lr = 0.2, 0.3
    valley = sf.losses.valley()
    lam = (-1 + np.sqrt(1 + 8 * rho / lr)) / (2 * rho)
    _, (one,) = exact(sf.Map(valley, sf.USAM(rho=rho), lr=lr), ((-4.0, 4.0),) * 2)
    np.testing.assert_allclose([c.w[0] for c in one.changes], [-np.sqrt(lam - 1), np.sqrt(lam - 1)])
    # SAM's 2-cycle across ends where GD flips, lr λ = 2, for every rho.
    _, (one,) = exact(sf.Map(valley, sf.SAM(rho=rho), lr=lr), ((-4.0, 4.0),) * 2)
    edge = np.sqrt(2 / lr - 1)
    np.testing.assert_allclose([c.w[0] for c in one.changes], [-edge, edge])
    assert [part[2] for part in one.stretches] == [Kind.undefined, Kind.cycle, Kind.undefined]
    assert np.isnan(one.spectrum).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_spectrum_across_is_the_jacobians_without_the_tangential_part(momentum, nesterov):
    """Against all multipliers: those of the tangent are 1, and β with momentum."""
    system = sf.Map(
        sf.losses.curved_valley(), sf.USAM(rho=0.1), lr=0.2, momentum=momentum, nesterov=nesterov
    )
    w = np.array([1.0, 0.5])
    tangent = np.array([[1.0, 1.0]]) / np.sqrt(2)
    (one,) = across(system, w[None], tangent[None])
    every = np.linalg.eigvals(np.asarray(system.jacobian(system.lift(jnp.asarray(w)))))
    rest = [1.0, momentum] if momentum else [1.0]
    ours = np.sort_complex(np.concatenate([one.spectrum, rest]))
    np.testing.assert_allclose(ours, np.sort_complex(every), atol=1e-9)


def test_lines_that_cross_are_named_with_their_crossing():
    found, continua = exact(gd("x**2*y**2"), SQUARE)
    assert len(found.isolated) == 0
    assert {one.parametrisation for one in continua} == {"(x, y) = (t, 0)", "(x, y) = (0, t)"}
    for one in continua:
        assert [(p.w, p.what) for p in one.singular] == [((0.0, 0.0), "crossing")]
        assert set(one.kinds) <= {Kind.attracting, Kind.nonhyperbolic}
        # λ = 2s² along either line.
        np.testing.assert_allclose(one.curvature[:, 0], 2 * (one.w**2).sum(axis=1), atol=1e-14)


def test_where_a_valley_turns_into_a_ridge():
    """x y²: λ = 2x across the line y = 0, which changes sign at the origin without a crossing."""
    _, (one,) = exact(gd("x*y**2"), SQUARE)
    (change,) = one.changes
    assert change.w == pytest.approx((0.0, 0.0), abs=1e-12)
    assert (change.before, change.after) == (Kind.repelling, Kind.attracting)
    assert change.event is Event.plus_one
    assert [point.what for point in one.singular] == ["degenerate"]


def test_self_crossings_cusps_and_points_apart_of_the_same_equation():
    (loop,) = exact(gd("(y**2 - x**2*(x + 1))**2"), SQUARE)[1]
    assert [(p.w, p.what) for p in loop.singular] == [((0.0, 0.0), "crossing")]
    cusp = exact(gd("(y**2 - x**3)**2"), SQUARE)[1]
    assert len(cusp) == 2  # its two arms end there
    for arm in cusp:
        assert set(arm.ends) == {"the box", "a singular point"}
        assert [(p.w, p.what) for p in arm.singular] == [((0.0, 0.0), "singular")]
    found, _ = exact(gd("(y**2 - x**2*(x - 1))**2"), SQUARE)
    np.testing.assert_allclose(found.isolated, [[2 / 3, 0], [0, 0]], atol=1e-15)
    assert len(found.proved) == 1  # that the origin is alone is seen, not proved
    assert not found.complete


def test_of_a_complex_curve_with_one_real_point_no_curve_is_claimed():
    """x² + y² = 0 has complex dimension 1, and one real point."""
    found, continua = exact(gd("(x**2 + y**2)**2"), SQUARE)
    assert continua == ()
    np.testing.assert_array_equal(found.isolated, [[0.0, 0.0]])
    assert not found.complete


def test_a_deep_linear_network_has_sheets_of_its_dimension():
    """(abc − 1)²: the surface abc = 1, λ = 2((bc)² + (ac)² + (ab)²), and lines of saddles."""
    _, continua = exact(gd("(a*b*c - 1)**2", lr=0.01), ((-2.0, 2.0),) * 3)
    assert [one.dimension for one in continua] == [2] * 4 + [1] * 3
    for one in continua:
        a, b, c = one.w.T
        if one.dimension == 2:
            expected = 2 * ((b * c) ** 2 + (a * c) ** 2 + (a * b) ** 2)
            np.testing.assert_allclose(one.curvature[:, 0], expected, rtol=1e-9)
            assert len({tuple(np.sign(w)) for w in one.w}) == 1  # a sheet for each choice of signs
        else:
            assert set(one.kinds) <= {Kind.saddle, Kind.nonhyperbolic}  # λ = ±2s, 0 at the origin


@pytest.mark.slow
def test_a_surface_has_places_where_stability_changes():
    _, continua = exact(gd("(x*y*z - 1)**2", lr=0.2), ((-2.0, 2.0),) * 3)
    changes = [c for one in continua for c in one.changes if one.dimension == 2]
    assert changes
    for change in changes:
        x, y, z = change.w
        sharpness = 2 * ((y * z) ** 2 + (x * z) ** 2 + (x * y) ** 2)
        assert 0.2 * sharpness == pytest.approx(2, rel=1e-9)
        assert x * y * z == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "points"),
    [("x**4 + y**4", 1), ("x**4 - y**4", 1), ("x**20 + y**2", 1), ("(x**2 - 2)**4 + y**2", 3)],
)
def test_isolated_points_are_no_continuum_however_degenerate(text, points):
    found, continua = exact(gd(text), SQUARE)
    assert continua == ()
    assert len(found.isolated) == points
    assert found.complete


def test_beale_has_isolated_points_only():
    found = sf.find_fixed_points(sf.Map(sf.losses.beale(), sf.GD(), lr=0.01), (-4, 4))
    assert found.continua == ()
    assert "curve" not in str(found)


def partial(function):
    return jax.tree_util.Partial(jax.grad(function))


FUNCTIONS = {
    "circle": (lambda w: (w @ w - 1) ** 2, [[1.0, 0.0], [0.6, 0.8]], [1]),
    "cross": (lambda w: w[0] ** 2 * w[1] ** 2, [[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]], [1, 1]),
    "quartic": (lambda w: w[0] ** 4 + w[1] ** 2, [[0.0, 0.0], [1e-5, 0.0]], []),
    "flat": (lambda w: w[0] ** 20 + w[1] ** 2, [[0.0, 0.0], [1e-3, 0.0], [0.05, 0.0]], []),
    "exponential": (lambda w: (jnp.exp(w[0]) * w[1] - 1) ** 2, [[0.0, 1.0]], [1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_followed_and_degenerate_points_refused(name):
    """What Newton's method found is no curve because H has a kernel there: it must lead on."""
    function, points, dimensions = FUNCTIONS[name]
    found = followed(partial(function), np.array(points), SQUARE)
    assert [one.dimension for one in found] == dimensions
    for one in found:
        assert one.closed == (name == "circle")
        slopes = jax.vmap(jax.grad(function))(jnp.asarray(one.w))
        np.testing.assert_allclose(slopes, 0, atol=1e-10)


def test_a_sphere_is_sampled_and_a_flat_region_is_one():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(60, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = followed(partial(lambda w: (w @ w - 1) ** 2), points, ((-2.0, 2.0),) * 3)
    assert [one.dimension for one in found] == [2]
    bowl = partial(lambda w: jax.nn.relu(w @ w - 1) ** 2)  # 0 on a disc
    found = followed(bowl, 0.3 * rng.uniform(-1, 1, size=(8, 2)), SQUARE)
    assert [one.dimension for one in found] == [2]


def test_any_map_has_curves_of_fixed_points():
    """x⁺ = x, y⁺ = (1 + x)(y − x²) + x²: fixed on y = x², where the other multiplier is 1 + x.

    All of x = 0 is fixed as well: the two curves cross where the multiplier passes 1.
    """
    system = sf.FunctionMap(
        lambda z: jnp.array([z[0], (1 + z[0]) * (z[1] - z[0] ** 2) + z[0] ** 2]), dim=2
    )
    motion = jax.tree_util.Partial(lambda z: system.step(z) - z)
    (one,) = described(system, followed(motion, np.array([[0.5, 0.25]]), SQUARE), ())
    x = one.w[:, 0]
    np.testing.assert_allclose(one.w[:, 1], x**2, atol=1e-10)
    np.testing.assert_allclose(one.spectrum[:, 0], 1 + x, atol=1e-9)
    assert np.isnan(one.curvature).all()
    assert [change.event for change in one.changes] == [Event.plus_one]
    assert [point.what for point in one.singular] == ["degenerate"]
    # At the crossing every point near the cubic between samples solves: an error of h⁴.
    assert one.changes[0].w == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_a_search_without_a_formula_lists_curves_apart(rule):
    loss = sf.loss(lambda w: (w @ w - 1) ** 2, dim=2)
    system = sf.Map(loss, sf.rule(rule, rho=0.01), lr=0.1)
    found = sf.find_fixed_points(system, SQUARE, num_starts=32)
    assert not found.complete
    assert [(one.dimension, one.closed, one.proved) for one in found.continua] == [(1, True, False)]
    np.testing.assert_allclose(np.asarray(found.w)[np.asarray(found.critical)], [[0, 0]], atol=1e-9)
    assert "followed numerically" in str(found)


def test_parametrisations_solve_the_equations_exactly():
    """Independent of the check inside: put each into the gradient."""
    for text in (TWO_CIRCLES, "(x**2 + 4*y**2 - 2*x - 3)**2"):
        system = gd(text)
        _, continua = exact(system, ((-4.0, 4.0),) * system.dim)
        s, t = sympy.symbols("s t", real=True)
        for one in continua:
            values = sympy.sympify(one.parametrisation.split(" = ")[1], locals={"s": s, "t": t})
            at = dict(zip(system.loss.symbols, values, strict=True))
            for part in system.loss.gradient_formula:
                number = part.subs(at).subs({s: 0.7, t: 0.3})
                assert abs(number) < 1e-12


def test_a_ring_of_hallucinated_points_is_followed_and_judged_by_its_jacobian():
    """Where 2r³ − r = 0 USAM's gradient is taken at the maximum 0: the multiplier is 1 + 8 lr."""
    system = sf.Map(sf.loss("(x**2 + y**2 - 1)**2"), sf.USAM(rho=0.5), lr=0.02)
    found = sf.find_fixed_points(system, (-2, 2), num_starts=64)
    minima, ring = found.continua
    assert minima.proved
    assert set(minima.kinds) == {Kind.attracting}
    np.testing.assert_allclose(np.linalg.norm(ring.w, axis=1), np.sqrt(0.5), rtol=1e-9)
    np.testing.assert_allclose(ring.spectrum[:, 0], 1 + 8 * 0.02, rtol=1e-9)
    assert ring.closed
    assert not ring.proved
    assert set(ring.kinds) == {Kind.repelling}
    assert np.isnan(ring.lr_window).all()
    assert len(found) == 1
    assert "could not be followed" not in str(found)


def _ring(ratio, w):
    return (w[0] ** 2 + ratio * w[1] ** 2 - 1) ** 2


@pytest.mark.parametrize(("ratio", "ring"), [(1.0, True), (1.0001, False)])
def test_sams_hallucinated_points_are_samples_of_a_ring_only_where_there_is_one(ratio, ring):
    """L = (x² + a y² − 1)², rho = ½: SAM stands still where its ascent ends at the maximum 0.

    For a = 1 that is |w| = ½. For any other a it is (±½, 0) and (0, ±½), where the Jacobian is
    nearly singular as well: its least entry there is about 4 (a − 1).
    """
    loss = sf.loss(Partial(_ring, jnp.asarray(ratio)), dim=2)
    system = sf.Map(loss, sf.SAM(rho=0.5), lr=0.02)
    points = np.array([[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]])
    critical = np.array([False, False, True])
    found = sampled_points(system, points, critical, SQUARE, 1e-9)
    assert found.tolist() == [ring, ring, False]


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "multiplier"), [(0.5, 1 + 4 * 0.02), (1.5, 1 - 8 * 0.02)])
def test_sams_ring_of_hallucinated_points_is_followed_and_judged(rho, multiplier):
    """On |w| = ½ the ascent ends at the maximum, λ = −4, or on the minima opposite, λ = 8."""
    system = sf.Map(sf.loss("(x**2 + y**2 - 1)**2"), sf.SAM(rho=rho), lr=0.02)
    found = sf.find_fixed_points(system, SQUARE, method="multistart", num_starts=32)
    assert len(found) == 1  # the maximum
    assert found.critical.all()
    (ring,) = [one for one in found.continua if np.linalg.norm(one.w[0]) < 0.9]
    np.testing.assert_allclose(np.linalg.norm(ring.w, axis=1), 0.5, rtol=1e-9)
    np.testing.assert_allclose(ring.spectrum[:, 0], multiplier, rtol=1e-9)
    assert ring.closed
    assert set(ring.kinds) == {Kind.repelling if multiplier > 1 else Kind.attracting}


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_edges_are_located_between_samples(rho):
    """On xy = 1 λ = 2(x² + y²), from 4 at x = y = ±1 to 8.5 at the box: lr U(λ) = 2."""
    system = sf.Map(sf.loss("(x*y - 1)**2"), sf.USAM(rho=rho), lr=0.01)
    _, (one, other) = exact(system, SQUARE)
    for curve in (one, other):
        least, largest = (2 / (lam * (1 + rho * lam)) for lam in (8.5, 4.0))
        np.testing.assert_allclose(curve.lr_edges, [least, largest], rtol=1e-8)
        assert curve.lr_window[:, 1].max() < largest * (1 - 1e-6)  # no sample lies there
        assert f"lr edge {least:.4g} to {largest:.4g}" in curve.across()
        if rho:  # (2/(lr λ) − 1)/λ
            wanted = [(200 / lam - 1) / lam for lam in (8.5, 4.0)]
            np.testing.assert_allclose(curve.rho_edges, wanted, rtol=1e-8)
