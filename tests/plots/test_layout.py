"""The layout follows the size of a figure: legends fit, and cover no data."""

import pytest

import samflow as sf
from samflow import plots
from samflow.plots.style import new_figure

BOX = ((-1.5, 1.5), (-1.5, 1.5))


def make(legend):
    system = sf.Flow(sf.losses.quartic(), sf.USAM(rho=1.25))
    found = sf.find_fixed_points(system, BOX)
    return plots.portrait(system, BOX, fixed_points=found, legend=legend), found


@pytest.fixture(scope="module")
def below():
    return make("below")


@pytest.fixture(scope="module")
def right():
    return make("right")


def columns(figure):
    (legend,) = figure.legends
    places = {round(text.get_window_extent().x0, 1) for text in legend.get_texts()}
    return len(places)


@pytest.mark.parametrize("size", [(3.35, 3.6), (3.3, 3.0), (6.9, 3.0), (2.2, 4.0)])
def test_the_legend_lies_in_the_figure_and_covers_no_fixed_point(below, right, size):
    for figure, found in (below, right) if size[0] > 3 else (below,):
        figure.set_size_inches(*size)
        figure.draw_without_rendering()
        (ax,), (legend,) = figure.axes, figure.legends
        box, panel = legend.get_window_extent(), ax.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert not box.overlaps(ax.get_tightbbox())
        assert panel.width > 0.2 * figure.bbox.width
        for w in found.w.tolist():
            x, y = ax.transData.transform(w)
            assert panel.contains(x, y)
            assert not box.contains(x, y)


def test_a_narrow_figure_has_fewer_columns_and_gets_them_back(below):
    figure, _ = below
    seen = []
    for width in (6.9, 2.2, 6.9):
        figure.set_size_inches(width, 4.0)
        figure.draw_without_rendering()
        seen.append(columns(figure))
    assert seen == [2, 1, 2]


def test_the_layout_is_that_of_the_size_whatever_it_was_before(below, tmp_path):
    figure, _ = below
    figure.set_size_inches(3.35, 3.6)
    (first,) = plots.save(figure, tmp_path / "first.pdf")
    figure.set_size_inches(5.0, 2.5)
    (other,) = plots.save(figure, tmp_path / "other.pdf")
    figure.set_size_inches(3.35, 3.6)
    (again,) = plots.save(figure, tmp_path / "again.pdf")
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_no_entries_no_legend():
    figure = new_figure()
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1])
    plots.legend_below(figure, [ax])
    assert not figure.legends
