"""Charts: colours are words, lines are theory's curves."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError


@pytest.fixture(scope="module")
def found():
    loss = sf.losses.saddle((1.0, -1.0))
    return sf.stability_chart(loss, sf.USAM(rho=1.0), [0.0, 0.0], rho=[0.5, 1.5], lr=[0.1, 0.2])


def test_a_colour_for_each_word_and_a_line_at_the_threshold(found):
    """The saddle with λ = −1 attracts for ρ > 1: two words, and a curve at ρ = 1."""
    figure = plots.chart(found, title="A saddle", size=(4.0, 3.0))
    (ax,) = figure.axes
    assert ax.get_title() == "A saddle"
    assert figure.get_size_inches().tolist() == [4.0, 3.0]
    assert {"saddle", "attracting"} <= set(ax.get_legend_handles_labels()[1])
    lines = [np.asarray(line.get_xdata()) for line in ax.lines]
    assert any(len(x) > 1 and np.allclose(x, 1.0, atol=1e-9) for x in lines)
    assert figure.legends


def test_without_a_legend_and_on_given_axes(found):
    assert not plots.chart(found, legend="none").legends
    ax = Figure().add_subplot()
    assert plots.chart(found, curves=False, ax=ax) is ax.figure
    with pytest.raises(ArgumentError, match="Unknown legend `left`"):
        plots.chart(found, legend="left")
    with pytest.raises(ArgumentError, match="`size` must be a pair"):
        plots.chart(found, size=3)  # type: ignore[arg-type]
