"""Invariant curves of saddles against closed forms and against orbits."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors import End, manifolds


def bent(z):
    """Linear in (u, v) = (x, y − x²): u⁺ = 2u, v⁺ = v/2; so y = x² and x = 0 are the curves."""
    u, v = 2 * z[0], 0.5 * (z[1] - z[0] ** 2)
    return jnp.stack([u, v + u**2])


def reflected(z):
    """The same with multipliers −2 and ½."""
    u, v = -2 * z[0], 0.5 * (z[1] - z[0] ** 2)
    return jnp.stack([u, v + u**2])


BOX = [(-1.0, 1.0), (-1.5, 1.5)]


@pytest.mark.parametrize("function", [bent, reflected])
def test_a_map_in_bent_coordinates(function):
    system = sf.FunctionMap(function, dim=2, name="bent")
    found = manifolds(system, [0.0, 0.0], BOX)
    for arm in found.unstable:
        x, y = arm.points[:-1].T  # the last lies outside
        assert arm.end is End.left
        assert abs(x).max() > 0.9
        # A point of the first piece is off by its length squared, (3e-5)², which contracts; the
        # line between points by at most the stated error.
        np.testing.assert_allclose(y, x**2, atol=1e-8)
        assert arm.error < 1e-4
    for arm in found.stable:
        np.testing.assert_allclose(arm.points[:, 0], 0, atol=1e-8)
        assert arm.end is End.left
    assert sorted(np.sign(arm.points[-1, 1]) for arm in found.stable) == [-1, 1]


def test_the_stated_error_bounds_the_line_between_points():
    """Halfway between neighbours on y = x², whose bulge is spacing²/4."""
    system = sf.FunctionMap(bent, dim=2, name="bent")
    for spacing in (0.2, 0.05):
        found = manifolds(system, [0.0, 0.0], BOX, spacing=spacing)
        for arm in found.unstable:
            middle = 0.5 * (arm.points[1:] + arm.points[:-1])[:-1]
            off = np.abs(middle[:, 1] - middle[:, 0] ** 2).max()
            assert off <= 4 * arm.error + 1e-8  # along y; four, since pieces are quartered at most


def test_separatrix_of_a_double_well():
    """Stable curve x-axis of the quartic's saddle under GD; starts beside it part."""
    system = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.GD(), lr=0.2)
    found = manifolds(system, [0.0, 0.0], [(-1, 1), (-2, 2)])
    for arm in found.stable:
        np.testing.assert_allclose(arm.points[:, 1], 0, atol=1e-7)
    assert {arm.end for arm in found.unstable} <= {End.converged, End.slow}
    np.testing.assert_allclose(
        sorted(arm.points[-1, 1] for arm in found.unstable), [-1, 1], atol=1e-2
    )
    np.testing.assert_allclose(found.spectrum, [0.8, 1.2], atol=1e-12)


def distances(points, line):
    """Distances of points from the line through others."""
    begin, along = line[:-1], np.diff(line, axis=0)
    size = np.maximum((along**2).sum(axis=1), 1e-300)
    away = points[:, None] - begin
    share = np.clip((away * along).sum(axis=2) / size, 0, 1)
    return np.linalg.norm(away - share[..., None] * along, axis=2).min(axis=1)


def test_the_unstable_curve_of_henons_map_against_numpy():
    """4001 points beside the saddle, 36 steps by NumPy: the stated error bounds the distance."""
    x = (np.sqrt(0.7**2 + 4 * 1.4) - 0.7) / 2.8  # 1.4 x² + 0.7 x = 1
    saddle = np.array([x, 0.3 * x])

    def henon(z):
        return 1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]

    system = sf.FunctionMap(henon, dim=2, name="henon", elementwise=True)
    found = manifolds(system, saddle, [(-1.5, 1.5), (-0.5, 0.5)], length=6.0, spacing=0.02)
    np.testing.assert_allclose(found.spectrum, [0.155946, -1.923739], atol=1e-6)  # known-answers
    direction = np.array([found.spectrum[1], 0.3])
    for arm in found.unstable:
        sign = np.sign((arm.points[1] - saddle)[0]) * np.sign(direction[0])
        shares = np.linspace(1, found.spectrum[1] ** 2, 4001)[:, None]
        z = (saddle + 1e-7 * sign * shares * direction).T
        curve = []
        for step in range(36):
            z = np.array(henon(z))
            curve += [z.T] if step % 2 else []
        curve = np.concatenate(curve)
        length = np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))
        curve = curve[: np.searchsorted(length, 5.9)]
        assert distances(curve[::60], arm.points).max() <= arm.error < 0.02
        # The points themselves lie on the curve; a line through every fourth of NumPy's is off by
        # 1.5e-5 where these are farthest apart.
        assert distances(arm.points[1:-20:5], curve[::4]).max() < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(rho=0.02)])
def test_orbits_part_at_the_stable_curve_of_beales_saddle(rule):
    """Starts on the two sides of the separatrix go to the minimum, or away.

    USAM's is a saddle below rho = 4/111, from where on it attracts.
    """
    system = sf.Map(sf.losses.beale(), rule, lr=1e-3)
    found = manifolds(system, [0.0, 1.0], [(-2.0, 2.0), (0.0, 2.0)])
    arm = found.stable[0].points
    i = len(arm) // 2
    along = arm[i + 1] - arm[i - 1]
    across = 0.02 * np.array([-along[1], along[0]]) / np.linalg.norm(along)
    starts = np.stack([arm[i] + across, arm[i] - across])
    ends = np.asarray(sf.iterate(system, starts, num_steps=30_000).final)
    assert np.linalg.norm(ends[0] - ends[1]) > 1


def test_a_flow():
    """ẋ = x, ẏ = −y + x²: unstable curve y = x²/3, stable x = 0."""
    system = sf.FunctionFlow(lambda z: jnp.stack([z[0], -z[1] + z[0] ** 2]), dim=2, name="bent")
    found = manifolds(system, [0.0, 0.0], BOX, spacing=0.05)
    for arm in found.unstable:
        x, y = arm.points.T
        np.testing.assert_allclose(y, x**2 / 3, atol=1e-8)
        assert arm.end is End.left
    for arm in found.stable:
        np.testing.assert_allclose(arm.points[:, 0], 0, atol=1e-8)
    assert "stable" in str(found)


def test_what_has_no_curves_is_refused():
    minimum = sf.Map(sf.losses.beale(), sf.GD(), lr=1e-3)
    with pytest.raises(ArgumentError, match="must be a saddle"):
        manifolds(minimum, [3.0, 0.5], BOX)
    with pytest.raises(ArgumentError, match=r"with a Jacobian, but is .*no Jacobian"):
        manifolds(sf.Map(sf.losses.beale(), sf.SAM(rho=0.05), lr=1e-3), [0.0, 1.0], BOX)
    with pytest.raises(ArgumentError, match="two weights and no momentum"):
        manifolds(sf.Map(sf.losses.beale(), sf.GD(), lr=1e-3, momentum=0.9), [0.0, 1.0], BOX)


def test_a_map_that_folds_has_no_inverse_beyond():
    """lr λ > 1 along x beyond |x| = ½: GD on a quartic folds there, and the arm says so."""
    system = sf.Map(sf.loss("x**4 + x**2/10 - y**2/2"), sf.GD(), lr=0.2)
    found = manifolds(system, [0.0, 0.0], [(-3, 3), (-1, 1)])
    assert {arm.end for arm in found.stable} == {End.no_inverse}
    fold = np.sqrt((1 / 0.2 - 0.2) / 12)  # 1 = lr(12x² + 0.2)
    reach = fold - 0.2 * (4 * fold**3 + 0.2 * fold)  # its image
    for arm in found.stable:
        assert abs(arm.points[:, 0]).max() < reach + 1e-6 or abs(arm.points[:, 0]).max() < fold
