"""The figure of a landscape shows its record, and its caption stands clear of the panels."""

from typing import Any

import numpy as np
import pytest

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError

landscape: Any = plots.landscape  # whose figures have parts without types


def drawn(figure, gid):
    return [artist for ax in figure.axes for artist in ax.lines if artist.get_gid() == gid]


def test_it_draws_the_slices_their_parabolas_and_where_they_part():
    found = sf.landscape(sf.loss("x**2 - y**2/2 + y**4/4"), [0.0, 0.0], num_points=21)
    figure = landscape(found)
    (line,), (parabola,) = drawn(figure, "slice 2"), drawn(figure, "parabola 2")
    assert np.asarray(line.get_xydata()) == pytest.approx(
        np.stack([found.offsets[1], found.slices[1]], axis=1)
    )
    assert parabola.get_ydata() == pytest.approx(found.parabola[1])
    dotted = [line.get_xdata()[0] for line in figure.axes[2].lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([-np.sqrt(0.2), np.sqrt(0.2)], rel=1e-6)
    assert len(figure.axes) == 3
    (text,) = figure.texts
    assert text.get_text().replace("\N{MINUS SIGN}", "-").split() == found.caption.split()
    assert not landscape(found, caption=False).texts


def test_the_caption_the_legend_and_the_panels_do_not_overlap():
    states = np.array([[1.0, 0.3], [0.5, 0.9], [0.0, 1.0]])
    figure = landscape(sf.landscape(sf.losses.beale(), states, num_points=11))
    for width in (6.9, 5.0):
        figure.set_size_inches(width, 3.6)
        figure.draw_without_rendering()
        text, legend = figure.texts[0].get_window_extent(), figure.legends[0].get_tightbbox()
        lowest = min(ax.get_tightbbox().y0 for ax in figure.axes)
        assert text.y1 <= legend.y0 + 1
        assert legend.y1 <= lowest + 1  # a pixel
        assert text.x1 <= figure.bbox.x1


def test_undefined_values_are_hatched_and_another_record_is_refused():
    loss = sf.loss("sqrt(1 - x**2 - y**2)")
    figure = landscape(sf.landscape(loss, [0.0, 0.0], extent=1.5, num_points=9))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "not finite" in labels
    with pytest.raises(ArgumentError, match="landscape"):
        landscape(sf.losses.beale())  # pyright: ignore[reportArgumentType]
