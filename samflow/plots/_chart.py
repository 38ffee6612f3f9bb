"""Figure of a chart: what critical points are over two numbers, with theory's curves on top."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from samflow import _checks
from samflow.attractors import AttractorChart, Chart
from samflow.plots import style

KINDS = {
    "attracting": "#A6CEE3",
    "saddle": "#FDD0A2",
    "repelling": "#F4B6C2",
    "nonhyperbolic": "#FFFFFF",
    "not a fixed point": "#FFFFFF",
    "none": "#EEEEEE",
    "leaves": "#EEEEEE",
    "stays": "#CAB2D6",
    "longer cycle": "#BDBDBD",
    "missing": "#666666",
}
_OTHERS = ("#B2DF8A", "#FFE699", "#9FD5CE", "#D9C2A7", "#C6DBEF", "#E7CB94", "#CEDB9C", "#DADAEB")
_LONGEST = 8
_LONG = "longer cycle"
LINES = [
    (line, colour)
    for colour in (style.BLACK, style.BLUE, style.VERMILION)
    for line in ("-", "--", ":", "-.")
]
_LABELS = {"rho": r"$\rho$", "lr": r"$\eta$", "momentum": r"$\beta$", "eps": r"$\varepsilon$"}


def chart(
    found: Chart | AttractorChart,
    *,
    curves: bool = True,
    colours: Mapping[str, str] | None = None,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
    ax: Axes | None = None,
) -> Figure:
    """Draw what the points are, a colour for each word, and theory's curves.

    Args:
        found: of `sf.stability_chart`.
        curves: whether to draw theory's curves.
        colours: of words, in the place of the default ones.
        title: over the picture.
        size: width and height in inches; one column by default.
        legend: "below", "right" or "none"; on given axes none is drawn.
        ax: where to draw; on a new figure when not given.

    Raises:
        ArgumentError: for another size or legend.

    """
    legend = _checks.known("legend", legend, style.LEGENDS)
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 3.2)) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        _draw_words(panel, found, dict(colours or {}))
        styles: dict[str, tuple[str, str]] = {}
        for line in found.boundaries if curves else ():
            drawn, colour = styles.setdefault(line.group, LINES[len(styles) % len(LINES)])
            panel.plot(line.x, line.y, drawn, color=colour, linewidth=0.9, label=line.group)
        xlabel, ylabel = (_LABELS.get(name, name) for name in found.names)
        panel.set(xlabel=xlabel, ylabel=ylabel)
        panel.set_title(title)
        panel.set(xlim=ends(found.x), ylim=ends(found.y))
        if figure is not None:
            style.place_legend(figure, [panel], legend, columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def _draw_words(ax: Axes, found: Chart | AttractorChart, chosen: dict[str, str]) -> None:
    short = np.vectorize(shortened)(found.what)
    colours = {word: chosen.get(word, own) for word, own in word_colours(short).items()}
    words = list(colours)
    codes = np.zeros(short.shape, int)
    for k, word in enumerate(words):
        codes[short == word] = k
        label = f"{word} ({(short == word).mean():.0%})" if word == "missing" else word
        mark = {"markeredgecolor": style.GREY, "markeredgewidth": 0.4, "label": label}
        ax.plot([], [], "s", color=colours[word], zorder=0, **mark)
    ax.pcolormesh(
        found.x,
        found.y,
        codes.T,
        cmap=ListedColormap([colours[word] for word in words]),
        vmin=-0.5,
        vmax=len(words) - 0.5,
        shading="nearest",
        rasterized=True,
        zorder=0,
    )


def word_colours(words: np.ndarray) -> dict[str, str]:
    """Return the colour of each word of a chart, in the order of a legend."""
    present = sorted(set(words.ravel().tolist()), key=_order)
    others = [word for word in present if word not in KINDS]
    return {
        word: KINDS[word] if word in KINDS else _OTHERS[others.index(word) % len(_OTHERS)]
        for word in present
    }


def ends(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis: cells are drawn whole, half a cell beyond."""
    edge = (values[-1] - values[0]) / max(len(values) - 1, 1) / 2 or 0.5
    return float(values[0] - edge), float(values[-1] + edge)


def shortened(word: str) -> str:
    """Return one word for all long cycles, which no colours tell apart."""
    number = word.rpartition(" ")[2]
    return _LONG if number.isdigit() and int(number) > _LONGEST else word


def _order(word: str) -> tuple[int, int, str]:
    number = word.rpartition(" ")[2]
    return (word not in KINDS, int(number) if number.isdigit() else 0, word)
