"""Proofs, charts, basins and curves, as the page gets them."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.explorer import slow
from samflow.explorer.state import State
from samflow.plots.colours import COLOURS

QUARTIC = State(loss="x**2/2 - y**2/2 + y**4/4", box=((-2.0, 2.0), (-2.0, 2.0)), rule="gd", lr=0.2)
"""Minima at (0, ±1) with eigenvalues 1, 2; a saddle at 0 with 1, −1."""


def at(points, w):
    (i,) = np.flatnonzero(np.abs(points.w - w).max(axis=1) < 1e-6)
    return points.kinds[i], bool(points.proved[i]), bool(points.critical[i])


@pytest.mark.parametrize(
    ("rho", "kind", "hallucinated"), [(0.036, Kind.saddle, 2), (0.0361, Kind.attracting, 2)]
)
def test_the_mark_changes_its_kind_at_4_111_and_both_are_proved(rho, kind, hallucinated):
    found = slow.fixed_points(State(rho=rho))
    assert at(found, (0.0, 1.0)) == (kind, True, True)
    assert found.complete
    assert (~found.critical).sum() == hallucinated
    assert found.headline.startswith("5 fixed points (all, proved)")


def test_eigen_directions_of_a_saddle():
    """GD at 0: stable along x, unstable along y; each mark is 7 % of the box to both sides."""
    found = slow.fixed_points(QUARTIC.changed(box=((-0.5, 0.5), (-0.25, 0.25))))
    (stable,) = [ends for ends, is_stable in found.arms if is_stable]
    (unstable,) = [ends for ends, is_stable in found.arms if not is_stable]
    np.testing.assert_allclose(np.ptp(stable, axis=0), [2 * 0.07, 0], atol=1e-12)
    np.testing.assert_allclose(np.ptp(unstable, axis=0), [0, 2 * 0.07 / 2], atol=1e-12)


def test_the_landscape_has_the_points_and_ends_in_their_units():
    found = slow.landscape(QUARTIC.changed(rule="usam"))
    assert dict(found.points) == {
        (0.0, -1.0): "minimum",
        (0.0, 0.0): "saddle",
        (0.0, 1.0): "minimum",
    }
    assert found.complete
    assert (found.rho_max, found.lr_max) == (4.0, 1.5)  # 8/2, and 2.5/2 rounded up
    filled = slow.with_chart_ranges(QUARTIC, found)
    assert filled.point == (0.0, 0.0)
    assert slow.with_chart_ranges(filled.changed(point=(0.0, 1.0)), found).point == (0.0, 1.0)
    # L → 100 L: λ → 100 λ, the ends a hundredth
    scaled = slow.landscape(State(loss="50*x**2 - 50*y**2 + 25*y**4", box=QUARTIC.box, lr=0.001))
    assert (scaled.rho_max, scaled.lr_max) == (0.06, 0.015)
    # 8/200 = 0.04 is below 1.2 times the rho that is shown: the slider must hold it


def test_the_chart_says_what_classify_says():
    """In every cell, and at 4/111 = 0.036 it changes."""
    state = State(point=(0.0, 1.0), rho_max=0.06, lr_max=0.02)
    found = slow.chart(state)
    assert found.by_jacobian
    for i in (0, 20, 35, 36, 59):
        for j in (0, 30, 59):
            rho, lr = float(found.rho[i]), float(found.lr[j])
            system = sf.Map(sf.losses.beale(), sf.USAM(rho=rho), lr=lr)
            assert found.word_at(rho, lr) == str(sf.classify(system, [0.0, 1.0]).kind)
    low, high = found.word_at(0.0355, 0.01), found.word_at(0.0366, 0.01)
    assert (low, high) == ("saddle", "attracting")
    assert found.word_at(0.07, 0.01) is None
    colours = found.image[30, 59, :3] / 255
    np.testing.assert_allclose(colours, to_rgb(found.colours[found.what[59, 30]]), atol=1 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["usam", "sam"])
def test_the_chart_is_that_of_the_library(rule):
    state = State(rule=rule, point=(0.0, 1.0), rho_max=0.06, lr_max=0.02)
    found = slow.chart(state)
    ends = {"rho": found.rho[[1, 59]], "lr": found.lr[[0, 59]]}
    whole = sf.stability_chart(sf.losses.beale(), sf.rule(rule, rho=0.06), [0.0, 1.0], **ends)
    assert [[found.word_at(x, y) for y in ends["lr"]] for x in ends["rho"]] == whole.what.tolist()


def test_a_chart_needs_a_critical_point_and_a_rho():
    state = State(point=(1.0, 1.0), rho_max=0.06, lr_max=0.02)
    with pytest.raises(ArgumentError, match="critical point"):
        slow.chart(state)
    with pytest.raises(ArgumentError, match="must have a rho"):
        slow.chart(state.changed(rule="gd", rho_max=0.06, lr_max=0.02, point=(0.0, 1.0)))


@pytest.mark.slow
def test_basins_have_the_colours_of_portraits():
    found = slow.basins(QUARTIC)
    sides = {name: to_rgb(colour) for colour, _, name in found.legend}
    upper, lower = sides["basin of (0, 1)"], sides["basin of (0, −1)"]
    rows = found.image[:, 60, :3] / 255
    np.testing.assert_allclose(rows[0], lower, atol=1 / 255)
    np.testing.assert_allclose(rows[-1], upper, atol=1 / 255)
    assert {colour for colour, *_ in found.legend} <= set(COLOURS["basins"])
    assert (found.image[..., 3] == 255).all()


@pytest.mark.slow
def test_the_separatrix_is_the_line_through_the_saddle():
    found = slow.curves(QUARTIC)
    assert len(found.stable) == len(found.unstable) == 2
    assert found.left_out == 0
    assert max(np.abs(arm[:, 1]).max() for arm in found.stable) < 1e-7


def test_curves_with_momentum_are_refused():
    with pytest.raises(ArgumentError, match="momentum"):
        slow.curves(QUARTIC.changed(momentum=0.5))


@pytest.mark.parametrize(
    ("value", "expected"), [(0.16, 0.2), (0.2, 0.2), (9.0, 10.0), (1e-7, 1e-7), (3.2e5, 4e5)]
)
def test_round_numbers(value, expected):
    assert slow.nice(value) == pytest.approx(expected, rel=1e-12)
