"""What a portrait shows is what the records say."""

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.quiver import Quiver

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.plots._portrait import name_of
from samflow.plots.layers import level_values

BOX = ((-1.5, 1.5), (-1.5, 1.5))


@pytest.fixture(scope="module")
def trapped():
    """USAM on the quartic at rho = 1.25: the saddle attracts, two saddles of the flow appear."""
    system = sf.Flow(sf.losses.quartic(), sf.USAM(rho=1.25))
    return system, sf.find_fixed_points(system, BOX)


def drawn(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def points(ax, gid):
    return np.concatenate([line.get_xydata() for line in drawn(ax, gid)])


def test_each_fixed_point_has_one_mark_of_its_kind(trapped):
    system, found = trapped
    (ax,) = plots.portrait(system, BOX, fixed_points=found).axes
    kinds, critical = np.array(found.kinds), np.asarray(found.critical)
    # known answers: 0 and ±1 attract; y² = 1 − 1/ρ are saddles, and no critical points
    assert sorted(found.kinds) == ["attracting"] * 3 + ["saddle"] * 2
    w = np.asarray(found.w)
    assert np.array_equal(points(ax, "fixed points attracting"), w[kinds == Kind.attracting])
    saddles = points(ax, "fixed points saddle not critical")
    assert np.array_equal(saddles, w[(kinds == Kind.saddle) & ~critical])
    assert saddles[:, 1] == pytest.approx([-np.sqrt(0.2), np.sqrt(0.2)], abs=1e-12)
    assert not drawn(ax, "fixed points saddle")


def test_a_curve_of_fixed_points_is_a_line_for_each_stretch():
    """GD on the valley at lr 0.4 is stable across where 1 + u² < 5."""
    system = sf.Map(sf.losses.valley(), sf.GD(), lr=0.4)
    found = sf.find_fixed_points(system, (-4, 4))
    (ax,) = plots.portrait(system, (-4, 4), fixed_points=found).axes
    (held,) = drawn(ax, "continuum attracting")
    ends = held.get_xydata()[[0, -1]]
    np.testing.assert_allclose(ends, [[-2, 0], [2, 0]], atol=1e-12)
    begins = [line.get_xydata()[:, 0].min() for line in drawn(ax, "continuum repelling")]
    np.testing.assert_allclose(begins, [-4, 2], atol=1e-12)
    assert not any(str(line.get_gid()).startswith("fixed points") for line in ax.lines)


def test_marks_of_different_kinds_differ():
    looks = {(mark["marker"], mark["fillstyle"]) for mark in plots.MARKERS.values()}
    # no point is one of these kinds of attractors
    assert set(plots.MARKERS) == set(Kind) - {Kind.quasiperiodic, Kind.chaotic, Kind.continuum}
    assert len(looks) == len(plots.MARKERS)


def test_eigen_directions_are_the_eigenvectors_of_the_jacobian():
    system = sf.Flow(sf.losses.beale(), sf.GD())
    found = sf.find_fixed_points(system, ((-1, 4), (0, 2)))
    (ax,) = plots.portrait(system, ((-1, 4), (0, 2)), fixed_points=found).axes
    # H = [[0, 27.75], [27.75, 0]] at the saddle (0, 1): GD leaves along (1, −1)
    (unstable,) = drawn(ax, "unstable eigen-direction")
    across = np.diff(unstable.get_xydata(), axis=0)[0]
    assert across[0] + across[1] == pytest.approx(0, abs=1e-12)
    assert unstable.get_xydata().mean(axis=0) == pytest.approx([0, 1], abs=1e-12)
    assert len(drawn(ax, "stable eigen-direction")) == 3  # one of the saddle, two of the minimum
    for stability in found.stability:
        jacobian = np.asarray(system.jacobian(stability.state))
        for value, vector, stable in plots.eigen_directions(system, stability):
            assert jacobian @ vector == pytest.approx(value * vector, abs=1e-10)
            assert stable == (value < 0)


def test_directions_of_a_map_are_stable_inside_the_unit_circle():
    system = sf.Map(sf.losses.saddle([1.0, -1.0]), sf.GD(), lr=0.1)
    found = plots.eigen_directions(system, sf.classify(system, jnp.zeros(2)))
    assert {(round(value, 12), stable) for value, _, stable in found} == {(0.9, True), (1.1, False)}


def test_there_are_no_directions_for_a_centre_or_with_momentum():
    turn = sf.FunctionFlow(lambda z: jnp.array([z[1], -z[0]]), dim=2)
    assert plots.eigen_directions(turn, sf.classify(turn, jnp.zeros(2))) == []
    heavy = sf.Map(sf.losses.saddle(), sf.GD(), lr=0.1, momentum=0.9)
    assert plots.eigen_directions(heavy, sf.classify(heavy, jnp.zeros(2))) == []


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (sf.Flow, ["sliding"] * 3),
        # At the saddle, λ = (1, −1), and at the minima, λ = (1, 2): 2-cycles attract.
        (lambda loss, rule: sf.Map(loss, rule, lr=0.1), ["cycle"] * 3),
    ],
)
def test_critical_points_of_normalised_sam_have_marks_of_their_own_and_no_directions(make, kinds):
    system = make(sf.losses.quartic(), sf.SAM(rho=0.2))
    found = sf.find_fixed_points(system, BOX)
    assert [k for k, c in zip(found.kinds, found.critical, strict=True) if c] == kinds
    (ax,) = plots.portrait(system, BOX, fixed_points=found).axes
    assert np.sort(points(ax, f"fixed points {kinds[0]}")[:, 1]) == pytest.approx([-1, 0, 1])
    here = [line.get_xydata().mean(axis=0) for line in ax.lines if "eigen" in str(line.get_gid())]
    for critical in (-1, 0, 1):
        assert all(np.linalg.norm(centre - [0, critical]) > 0.05 for centre in here)
    labels = [text for text in ax.get_legend_handles_labels()[1] if kinds[0] in text]
    assert [text.endswith("(attracting)") for text in labels] == [True]


def test_a_flow_has_streamlines_and_a_map_has_arrows_of_one_length():
    loss = sf.losses.saddle()
    (ax,) = plots.portrait(sf.Flow(loss, sf.GD()), BOX).axes
    assert [c for c in ax.collections if isinstance(c, LineCollection)]
    assert "streamline" in ax.get_legend_handles_labels()[1]
    (ax,) = plots.portrait(sf.Map(loss, sf.GD(), lr=0.1, momentum=0.5), BOX).axes
    (arrows,) = [c for c in ax.collections if isinstance(c, Quiver)]
    assert np.hypot(arrows.U, arrows.V) == pytest.approx(1.0)
    # from rest the first step of heavy ball is that of GD: w⁺ − w = −lr (x, −y)
    assert np.sign(arrows.U) == pytest.approx(-np.sign(arrows.X))
    assert "direction of a step from rest" in ax.get_legend_handles_labels()[1]


def test_nullclines_vanish_in_their_component():
    system = sf.Flow(sf.losses.beale(), sf.USAM(rho=0.05))
    field = plots.sample_field(system, ((-1, 4), (0, 2)))
    for component, curves in enumerate(plots.nullclines(system, field)):
        assert curves
        vertices = np.concatenate(curves)
        vertices = vertices[np.isfinite(vertices).all(axis=1)]
        there = np.abs(plots.motion_at(system, vertices)[:, component])
        # linear interpolation on cells of 1/32: second order in the cell, against |f| of order 10
        assert np.median(there) < 0.01
        typical = np.median(np.abs(field.motion[component]))
        assert np.quantile(there, 0.95) < 0.05 * typical


def test_a_jump_is_no_nullcline():
    pole = sf.FunctionFlow(lambda z: jnp.array([1 / z[0], z[1]]), dim=2)
    field = plots.sample_field(pole, BOX)
    first, second = plots.nullclines(pole, field)
    assert first == []  # 1/x changes its sign at x = 0 without vanishing
    assert np.concatenate(second)[:, 1] == pytest.approx(0, abs=1e-12)
    sam = sf.Flow(sf.loss("x**2 + y**2"), sf.SAM(rho=0.1))
    for curves in plots.nullclines(sam, plots.sample_field(sam, BOX)):
        vertices = np.concatenate(curves)
        kept = vertices[np.isfinite(vertices).all(axis=1)]
        assert (np.linalg.norm(kept, axis=1) > 0).all()


def test_what_is_not_finite_is_left_blank():
    system = sf.Flow(sf.loss("x - log(x) + y**2"), sf.GD())
    box = ((-1.0, 3.0), (-1.0, 1.0))
    field = plots.sample_field(system, box)
    assert np.isfinite(field.loss[:, field.x > 0]).all()
    assert not np.isfinite(field.loss[:, field.x < 0]).any()
    found = sf.find_fixed_points(system, ((0.5, 3.0), (-1.0, 1.0)))
    (ax,) = plots.portrait(system, box, fixed_points=found).axes
    levels = [c for c in ax.collections if hasattr(c, "levels")]
    vertices = [path.vertices for c in levels for path in c.get_paths() if len(path.vertices)]
    assert np.concatenate(vertices)[:, 0].min() > 0
    assert points(ax, "fixed points attracting") == pytest.approx(np.array([[1.0, 0.0]]))


def test_levels_pass_through_the_saddles(trapped):
    system, found = trapped
    field = plots.sample_field(system, BOX)
    chosen = level_values(field, system, found)
    assert 0.0 in chosen  # the loss at the saddle (0, 0)
    assert chosen.min() > field.loss.min()
    assert level_values(field, system, found, levels=0).size == 0
    assert level_values(field, system, found, levels=[1.0, 0.5]).tolist() == [0.5, 1.0]


def test_orbits_start_where_asked_and_follow_the_record():
    system = sf.Map(sf.losses.quartic(), sf.GD(), lr=0.1)
    starts = np.array([[1.0, 0.5], [-1.0, -0.2]])
    (ax,) = plots.portrait(system, BOX, starts=starts, length=50).axes
    record = sf.iterate(system, starts, num_steps=50, keep_every=1)
    for line, path in zip(drawn(ax, "orbit"), np.asarray(record.w), strict=True):
        assert np.array_equal(line.get_xydata(), path)
    assert np.array_equal(points(ax, "start"), starts)


def test_an_orbit_into_a_singularity_stays_there():
    system = sf.Flow(sf.losses.saddle(), sf.SAM(rho=0.5))
    (ax,) = plots.portrait(system, BOX, starts=[0.1, 0.1], length=5.0).axes
    (line,) = drawn(ax, "orbit")
    path = line.get_xydata()
    last = path[np.isfinite(path).all(axis=1)][-1]
    assert np.linalg.norm(last) < 1e-12  # it came in finite time, and is held


def test_axes_given_are_drawn_on_and_bear_the_names_of_the_weights():
    with plots.styled():
        figure = plots.new_figure()
        ax = figure.add_subplot()
        system = sf.Flow(sf.losses.valley(), sf.GD())
        found = sf.find_fixed_points(system, ((1, 2), (1, 2)))
        assert plots.portrait(system, ((1, 2), (1, 2)), fixed_points=found, ax=ax) is figure
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$u$", "$v$")
    assert not figure.legends
    henon = sf.FunctionMap(lambda z: jnp.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), dim=2)
    (ax,) = plots.portrait(henon, BOX).axes
    assert ax.get_xlabel() == "$w_1$"
    # known answers: fixed points x = 0.6313545 and −1.1313545, both saddles
    assert np.sort(points(ax, "fixed points saddle")[:, 0]) == pytest.approx(
        [-1.1313545, 0.6313545], abs=1e-7
    )


def test_titles_use_the_symbols_of_the_theory():
    system = sf.Map(sf.losses.saddle(), sf.USAM(rho=0.5), lr=0.1, momentum=0.9)
    assert name_of(system) == r"USAM map, $\rho=0.5$, $\eta=0.1$, $\beta=0.9$"


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    plots.portrait(sf.Flow(sf.losses.saddle(), sf.GD()), BOX)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("system", "box", "match"),
    [
        (sf.Flow(sf.losses.saddle([1.0, -1.0, 1.0]), sf.GD()), BOX, "2 weights.*3"),
        (sf.Flow(sf.losses.double_well(), sf.GD()), BOX, "2 weights.*1"),
        (sf.Flow(sf.losses.saddle(), sf.GD()), ((1, 1), (0, 1)), "low < high"),
        (sf.Flow(sf.losses.saddle(), sf.GD()), ((0, np.inf), (0, 1)), "low < high"),
        (sf.Flow(sf.losses.saddle(), sf.GD()), ((0, 1),), "2 pairs"),
    ],
)
def test_what_cannot_be_drawn_is_refused(system, box, match):
    with pytest.raises(ArgumentError, match=match):
        plots.portrait(system, box)


@pytest.mark.parametrize("starts", [[1.0, 2.0, 3.0], [np.nan, 0.0], [[]]])
def test_starts_that_are_no_points_are_refused(starts):
    with pytest.raises(ArgumentError, match="starts"):
        plots.portrait(sf.Flow(sf.losses.saddle(), sf.GD()), BOX, starts=starts)
