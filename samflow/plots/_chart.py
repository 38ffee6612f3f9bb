"""Figure of a chart: what a critical point is over rho and lr, with theory's curves on top."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from samflow.attractors import Chart
from samflow.plots import style

_KINDS = {
    "attracting": "#A6CEE3",
    "saddle": "#FDD0A2",
    "repelling": "#F4B6C2",
    "nonhyperbolic": "#FFFFFF",
    "leaves": "#EEEEEE",
    "stays": "#CAB2D6",
    "longer cycle": "#BDBDBD",
}
_CYCLES = ("#B2DF8A", "#FFE699", "#9FD5CE", "#D9C2A7", "#C6DBEF", "#E7CB94", "#CEDB9C", "#DADAEB")
_LONGEST = 8
_LONG = "longer cycle"
_LINES = ("-", "--", ":", "-.")


def chart(found: Chart) -> Figure:
    """Draw what the point is, a colour for each word, and theory's curves."""
    with style.styled():
        figure = style.new_figure(style.COLUMN, 3.2)
        ax = figure.add_subplot()
        short = np.vectorize(_shortened)(found.what)
        words = sorted(set(short.ravel().tolist()), key=_order)
        others = [word for word in words if word not in _KINDS]
        colours = {word: _CYCLES[i % len(_CYCLES)] for i, word in enumerate(others)} | _KINDS
        codes = np.zeros(short.shape, int)
        for k, word in enumerate(words):
            codes[short == word] = k
            ax.plot(
                [],
                [],
                "s",
                color=colours[word],
                markeredgecolor=style.GREY,
                markeredgewidth=0.4,
                label=word,
            )
        ax.pcolormesh(
            found.rho,
            found.lr,
            codes.T,
            cmap=ListedColormap([colours[word] for word in words]),
            vmin=-0.5,
            vmax=len(words) - 0.5,
            shading="nearest",
            rasterized=True,
            zorder=0,
        )
        for i, line in enumerate(found.boundaries):
            ax.plot(
                line.rho,
                line.lr,
                _LINES[i % len(_LINES)],
                color=style.BLACK,
                linewidth=0.9,
                label=line.name,
            )
        ax.set(xlabel=r"$\rho$", ylabel=r"$\eta$")
        style.legend_below(figure, [ax], columns=2)
    return figure


def _shortened(word: str) -> str:
    """Return one word for all long cycles, which no colours tell apart."""
    number = word.rpartition(" ")[2]
    return _LONG if number.isdigit() and int(number) > _LONGEST else word


def _order(word: str) -> tuple[int, int, str]:
    number = word.rpartition(" ")[2]
    return (word not in _KINDS, int(number) if number.isdigit() else 0, word)
