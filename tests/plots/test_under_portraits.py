"""Basins and invariant curves under portraits, and several portraits beside each other."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.attractors import Ending
from samflow.plots._basins import regions, shared_regions
from samflow.plots._manifolds import _STABLE, _UNSTABLE, draw_manifolds
from samflow.plots.colours import OVER_BASINS, palette
from samflow.plots.files import _check_format

BOX = ((-2.0, 2.0), (-2.0, 2.0))
LOSS = sf.loss("x**2/2 - y**2/2 + y**4/4")
"""Minima at (0, ±1), a saddle at 0: GD's basins are y > 0 and y < 0, its separatrix is y = 0."""


@pytest.fixture(scope="module")
def gd():
    """GD, its basins, and the curves of its saddle."""
    system = sf.Map(LOSS, sf.GD(), lr=0.2)
    return system, sf.basins(system, BOX, 12), sf.manifolds(system, [0.0, 0.0], BOX)


@pytest.fixture(scope="module")
def drawn(gd):
    """The portrait of GD over them."""
    system, found, curves = gd
    return plots.portrait(system, BOX, basins=found, manifolds=curves)


def lines(ax, gid):
    return [line.get_xydata() for line in ax.lines if line.get_gid() == gid]


def pixels(ax):
    """Return the colour of each point of the grid, first weight first."""
    (image,) = [image for image in ax.images if image.get_gid() == "basins"]
    return np.swapaxes(image.cmap(image.norm(image.get_array()))[..., :3], 0, 1)


def test_the_separatrix_goes_through_the_saddle_on_the_known_line(drawn):
    (ax,) = drawn.axes
    arms = lines(ax, _STABLE)
    assert len(arms) == 2
    for arm in arms:
        assert np.abs(arm[:, 1]).max() < 1e-7  # y = 0, up to Newton's method for the inverse
        assert np.linalg.norm(arm, axis=1).min() < 1e-12
    ends = sorted(arm[np.abs(arm[:, 0]).argmax(), 0] for arm in arms)
    assert ends[0] <= -2 <= 2 <= ends[1]  # both reach the edge of the box
    for arm in lines(ax, _UNSTABLE):  # along y, to the minima
        assert np.abs(arm[:, 0]).max() < 1e-7
        assert np.abs(arm[:, 1]).max() == pytest.approx(1, abs=0.02)


def test_the_colours_under_the_portrait_are_those_of_the_labels(gd, drawn):
    _, found, _ = gd
    (ax,) = drawn.axes
    handles, labels = ax.get_legend_handles_labels()
    look = dict(zip(labels, handles, strict=True))
    upper, lower = (
        to_rgb(look[f"basin of (0, {y})"].get_facecolor()[:3]) for y in ("1", "\N{MINUS SIGN}1")
    )
    assert upper != lower
    colours = pixels(ax)
    above = found.starts.reshape(*found.shape, 2)[..., 1] > 0
    assert colours[above] == pytest.approx(np.broadcast_to(upper, (72, 3)))
    assert colours[~above] == pytest.approx(np.broadcast_to(lower, (72, 3)))
    assert to_rgb(palette(None, over_basins=True)["motion"]) == to_rgb(OVER_BASINS)
    _check_format(drawn, "eps")  # nothing is transparent


def test_the_legend_has_one_entry_for_each_kind(drawn):
    (legend,) = drawn.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert sorted(labels) == sorted(
        [
            "basin of (0, 1)",
            "basin of (0, \N{MINUS SIGN}1)",
            "direction of a step",
            _STABLE,
            _UNSTABLE,
            "attracting",
            "saddle",
        ]
    )


def test_what_is_computed_for_a_flow_is_what_theory_says():
    flow = sf.Flow(LOSS, sf.GD())
    found = sf.find_fixed_points(flow, BOX)
    (ax,) = plots.portrait(flow, BOX, fixed_points=found, manifolds=True).axes
    assert len(lines(ax, _STABLE)) == len(lines(ax, _UNSTABLE)) == 2
    for arm in lines(ax, _STABLE):
        assert np.abs(arm[:, 1]).max() < 1e-7
    (ax,) = plots.portrait(flow, ((0.5, 2), (0.5, 2)), manifolds=True).axes
    assert not lines(ax, _STABLE)  # there is no saddle in this box


def test_basins_are_computed_where_none_are_given():
    system = sf.Map(LOSS, sf.GD(), lr=0.2)
    (ax,) = plots.portrait(system, BOX, basins=True).axes
    colours = pixels(ax)
    for half in (colours[:, :60], colours[:, 60:]):
        assert len(np.unique(half.reshape(-1, 3), axis=0)) == 1
    assert (colours[0, 0] != colours[0, -1]).any()


def test_starts_without_an_attractor_are_white_and_hatched_by_cause():
    system = sf.Map(sf.loss("x**2/2 + y**2/2 - y**4"), sf.GD(), lr=0.5)
    found = sf.basins(system, BOX, 12)
    assert {0, Ending.diverged} <= set(found.labels.tolist())
    (ax,) = plots.portrait(system, BOX, basins=found).axes
    lost = found.grid < 0
    assert (pixels(ax)[lost] == 1).all()
    assert (pixels(ax)[~lost] < 1).any(axis=-1).all()
    look = regions({int(ending): ending.label for ending in Ending}, [], palette(None))
    assert len({region.hatch for region in look.values()}) == len(Ending)
    assert {region.colour for region in look.values()} == {"white"}


def test_systems_beside_each_other_share_axes_colours_and_one_legend(gd):
    system, found, _ = gd
    sam = sf.Map(LOSS, sf.SAM(rho=0.1), lr=0.2)
    other = sf.basins(sam, BOX, 12)
    figure = plots.portraits([system, sam], BOX, basins=[found, other], titles=["GD", "SAM"])
    first, second = figure.axes
    assert first.get_shared_x_axes().joined(first, second)
    assert first.get_shared_y_axes().joined(first, second)
    assert [ax.get_title() for ax in (first, second)] == ["GD", "SAM"]
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == len(set(labels))
    # SAM ends in cycles about the minima, which have the colours of GD's minima; its cycle about
    # the saddle has one of its own.
    assert "basin of or about (0, 1)" in labels
    top = other.starts.reshape(12, 12, 2)[..., 1] > 0.5
    assert np.array_equal(pixels(first)[top], pixels(second)[top])
    colours = {tuple(colour) for colour in pixels(second).reshape(-1, 3)}
    assert len(colours) == len(set(other.labels.tolist()))


def test_more_attractors_than_colours_still_differ():
    system = sf.Map(sf.loss("cos(x) + cos(y)"), sf.GD(), lr=0.5)
    found = sf.basins(system, ((-10.0, 10.0), (-10.0, 10.0)), 20)
    assert len(found.attractors) > len(palette(None)["basins"])
    (look,) = shared_regions([found], palette(None))
    assert len({(region.colour, region.hatch) for region in look.values()}) == len(look)
    plots.basins(found).draw_without_rendering()


def test_strange_attractors_are_drawn_by_their_points(gd):
    system, found, _ = gd
    cloud = np.array([[0.1, 0.5], [-0.1, 1.5], [0.0, 3.0]])
    strange = found.attractors[1]._replace(kind=Kind.chaotic, period=0, points=cloud)
    record = replace(found, attractors=(found.attractors[0], strange))
    (ax,) = plots.portrait(system, BOX, basins=record).axes
    (dots,) = lines(ax, "strange")
    assert np.array_equal(dots, cloud[:2])  # the third is outside the box
    labels = ax.get_legend_handles_labels()[1]
    assert "chaotic attractor" in labels
    assert "basin of chaotic attractor about (0, 1.67)" in labels


def test_curves_that_are_not_resolved_are_left_out_and_that_is_said(gd):
    import equinox as eqx

    _, _, curves = gd
    rough = eqx.tree_at(lambda record: record.unstable[0].error, curves, np.nan)
    ax = plots.new_figure().add_subplot()
    draw_manifolds(ax, [rough], palette(None), resolved=0.01)
    assert len(lines(ax, _UNSTABLE)) == 1
    assert len(lines(ax, _STABLE)) == 2
    assert "(curves not resolved: left out)" in ax.get_legend_handles_labels()[1]


def test_curves_and_basins_alone(gd):
    _, found, curves = gd
    (ax,) = plots.manifolds(curves, title="GD").axes
    assert np.array_equal(lines(ax, _STABLE)[0], curves.stable[0].points)
    assert np.array_equal(lines(ax, f"fixed points {Kind.saddle}")[0], [curves.saddle])
    assert ax.get_title() == "GD"
    (ax,) = plots.basins(found, separatrices=curves).axes
    assert len(lines(ax, _STABLE)) == 2
    assert not lines(ax, _UNSTABLE)
    dots = [points[0] for points in lines(ax, "attractor")]
    assert sorted(map(tuple, np.round(dots, 6))) == [(0, -1), (0, 1)]


def test_a_plane_through_three_weights_has_the_names_of_the_weights_that_vary():
    loss = sf.loss("x**2/2 + y**2/2 - z**2/2 + z**4/4")
    box = [(-2.0, 2.0), 0.5, (-2.0, 2.0)]
    found = sf.basins(sf.Map(loss, sf.GD(), lr=0.2), box, 8)
    (ax,) = plots.basins(found).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$w_1$", "$w_3$")
    above = found.starts[:, 2].reshape(8, 8) > 0
    assert len(np.unique(pixels(ax)[above], axis=0)) == 1
    assert (pixels(ax)[above][0] != pixels(ax)[~above][0]).any()
    dots = np.concatenate(lines(ax, "attractor"))
    assert np.sort(dots[:, 1]) == pytest.approx([-1, 1], abs=1e-6)  # z = ±1, projected
    assert "attractors (projected)" in ax.get_legend_handles_labels()[1]
    with pytest.raises(ArgumentError, match="must be of the system"):
        plots.portrait(sf.Map(LOSS, sf.GD(), lr=0.2), BOX, basins=found)


def test_records_of_another_system_are_refused(gd):
    system, found, curves = gd
    other = sf.Map(LOSS, sf.GD(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"`basins` must be of the system.*0\.1.*0\.2"):
        plots.portrait(other, BOX, basins=found)
    with pytest.raises(ArgumentError, match="`manifolds` must be of the system"):
        plots.portrait(other, BOX, manifolds=[curves])
    with pytest.raises(ArgumentError, match="`basins` must be a Basins"):
        plots.portrait(system, BOX, basins=curves)
    with pytest.raises(ArgumentError, match="`manifolds` must be a Manifolds"):
        plots.portrait(system, BOX, manifolds=[found])


def test_what_cannot_be_drawn_is_refused(gd):
    system, found, _ = gd
    heavy = sf.Map(LOSS, sf.GD(), lr=0.1, momentum=0.9)
    with pytest.raises(ArgumentError, match="without momentum"):
        plots.portrait(heavy, BOX, manifolds=True)
    line = sf.basins(sf.Map(sf.loss("y**4/4 - y**2/2"), sf.GD(), lr=0.2), [(-2, 2)], 12)
    with pytest.raises(ArgumentError, match="grid of two weights"):
        plots.portrait(system, BOX, basins=line)
    with pytest.raises(ArgumentError, match="at least one record"):
        plots.manifolds([])
    with pytest.raises(ArgumentError, match="at least one system"):
        plots.portraits([], BOX)
    with pytest.raises(ArgumentError, match="`titles` must have one entry for each of 2"):
        plots.portraits([system, system], BOX, titles=["a"])
    with pytest.raises(ArgumentError, match="`basins` must have one entry for each of 2"):
        plots.portraits([system, system], BOX, basins=[found])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"layers": ["motoin"]}, "Unknown layer.*Did you mean motion"),
        ({"colours": {"orbit": "red"}}, "Unknown colour.*Did you mean orbits"),
        ({"colours": {"orbits": "reed"}}, "a colour of matplotlib for 'orbits'.*reed"),
        ({"colours": {"basins": []}}, "colours of matplotlib for 'basins'"),
        ({"colours": "red"}, "`colours` must be a Mapping"),
        ({"legend": "left"}, "Unknown legend"),
        ({"size": 3}, r"pair \(width, height\) in inches"),
        ({"size": (3, -1)}, "`size` must be finite and greater than 0"),
        ({"size": (3, float("nan"))}, "`size` must be finite and greater than 0"),
    ],
)
def test_settings_that_are_wrong_are_refused_before_any_work(settings, match):
    system = sf.Flow(sf.losses.saddle(), sf.GD())
    with pytest.raises(ArgumentError, match=match):
        plots.portrait(system, BOX, **settings)


def test_layers_colours_title_and_size_are_those_asked_for():
    system = sf.Flow(sf.losses.saddle(), sf.GD())
    found = sf.find_fixed_points(system, BOX)
    figure = plots.portrait(
        system,
        BOX,
        fixed_points=found,
        starts=[1.0, 0.5],
        layers=["fixed points"],
        colours=plots.GREYS | {"orbits": "red"},
        title="A saddle",
        size=(3.0, 2.5),
        legend="none",
    )
    (ax,) = figure.axes
    assert ax.get_title() == "A saddle"
    assert tuple(figure.get_size_inches()) == (3.0, 2.5)
    assert not figure.legends
    assert not ax.collections  # neither streamlines nor levels
    gids = {line.get_gid() for line in ax.lines}
    assert gids == {"fixed points saddle", "orbit", "start"}
    (orbit,) = [line for line in ax.lines if line.get_gid() == "orbit"]
    assert orbit.get_color() == "red"


def test_what_attracts_is_filled_and_what_does_not_is_open():
    attract = {
        Kind.attracting,
        Kind.sliding,
        Kind.cycle,
        Kind.rotation,
        Kind.chaotic_trap,
        Kind.trap,
    }
    filled = {kind for kind, mark in plots.MARKERS.items() if mark["fillstyle"] == "full"}
    assert filled == attract
    assert plots.MARKERS[Kind.saddle]["fillstyle"] == "left"


def test_basins_are_told_apart_in_greys():
    # relative luminance to lightness (CIE 1976): neighbours differ by 5 and more of 100
    def lightness(colour):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16

    for colours in (plots.COLOURS, plots.GREYS):
        first = sorted([100.0, *map(lightness, colours["basins"][:4])])
        assert np.diff(first).min() > 5
        assert first[0] - lightness(OVER_BASINS) > 20  # arrows are seen on each of them
