"""Style of figures: journal sizes, colours, fonts, and a layout that follows the size."""

import io
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.offsetbox import VPacker

from samflow import _checks
from samflow.plots import journals

COLUMN = journals.DEFAULT.column
"""Width in inches of a figure of one journal column."""

DOUBLE_COLUMN = journals.DEFAULT.double
"""Width in inches of a figure across two columns."""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8A8F94"
PALE = "#CDD1D4"

RULE_COLOURS = {"gd": BLACK, "usam": BLUE, "sam": VERMILION}
"""One colour for each rule, the same in every figure."""

RC: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.35,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.0,
    "axes.spines.top": True,
    "lines.linewidth": 1.0,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "samflow",
    "savefig.dpi": 300,
    "figure.dpi": 150,
}
"""Settings of matplotlib under which every figure is drawn and written, in a journal's letters."""

_SCREEN = 140
"""CSS pixels of an inch of a figure in a notebook: letters of 8 points are as large as text."""

_FOOTNOTE = "footnote"
_SMALL = 6.0
_CHARACTERS_AN_INCH = 30
"""Of a footnote, on the average."""

LEGENDS = ("below", "right", "none")
"""Where a legend may stand: under all panels, to their right, or nowhere."""


class Layout(ConstrainedLayoutEngine):
    """Constrained layout that depends on the figure alone, with legends that fit its width.

    Each drawing lays out anew, from the grid on: the panels do not creep from one drawing to the
    next, and a figure that gets another size has the layout of that size.
    """

    def __init__(self, **settings: Any) -> None:
        """Remember the journal that the figure is made for."""
        super().__init__(**settings)
        self.journal = journals.current()

    def execute(self, fig: Any) -> Any:
        """Pack the legends under the figure, and place the panels beside all decorations."""
        for legend in fig.legends:
            _pack(legend, fig)
        if any(text.get_gid() == _FOOTNOTE for text in fig.texts):
            below = _above_footnote(fig)
            self.set(rect=(0.0, below, 1.0, 1.0 - below))
        for ax in fig.axes:
            if ax.get_subplotspec() is not None and ax.get_in_layout():
                ax.set_position(ax.get_subplotspec().get_position(fig))
                ax.set_in_layout(True)
        return super().execute(fig)


class Picture(Figure):
    """A figure that belongs to no window system; the last value of a notebook's cell shows it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture, and how large it is on the screen, as IPython asks for it."""
        file = io.BytesIO()
        with styled(self):
            self.savefig(file, format="png", dpi=1.5 * _SCREEN)  # sharp on a fine screen
        width, height = (round(_SCREEN * inches) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


def styled(figure: Figure | None = None) -> Any:
    """Return a context manager under which matplotlib draws in the house style.

    The letters are those of the journal (`journal`), or of the one that `figure` was made for. The
    caller's settings are restored at the end. Importing samflow changes no settings.
    """
    engine = figure.get_layout_engine() if figure is not None else None
    where = engine.journal if isinstance(engine, Layout) else journals.current()
    settings: Any = {**RC, **where.letters}
    return matplotlib.rc_context(settings)


def new_figure(width: float = COLUMN, height: float = 2.9) -> Figure:
    """Return an empty figure, `width` × `height` inches, that belongs to no window system."""
    engine = Layout(w_pad=0.03, h_pad=0.05, wspace=0.03, hspace=0.03)
    return Picture(figsize=(width, height), layout=engine)


def column() -> float:
    """Return the width in inches of one column of the journal."""
    return journals.current().column


def double_column() -> float:
    """Return the width in inches across the columns of the journal."""
    return journals.current().double


def sized_figure(size: Any, default: tuple[float, float]) -> Figure:
    """Return an empty figure of `size`, (width, height) in inches, or of the default size."""
    if size is None:
        return new_figure(*default)
    try:
        width, height = size
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError(
            "Argument `size` must be a pair (width, height) in inches, but is "
            f"{_checks.excerpt(size)}."
        ) from error
    hint = "It is in inches: a column of a journal has about 3.3."
    return new_figure(_checks.positive("size", width, hint), _checks.positive("size", height, hint))


def panel_letter(ax: Axes, letter: str) -> None:
    """Write a panel's letter above the left end of its frame."""
    ax.set_title(f"({letter})", loc="left", fontweight="bold")


def legend_below(figure: Figure, axes: Iterable[Axes], *, columns: int = 5) -> None:
    """Put one legend for all of `axes` under the figure, where it covers no data.

    Its entries stand in drawing order, the lowest `zorder` first. In a figure of `new_figure` it
    has fewer columns than asked for where the figure is too narrow, also after a change of size.
    """
    _legend(figure, axes, "lower center", columns)


def legend_right(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put one legend for all of `axes` to their right, in one column."""
    _legend(figure, axes, "right center", 1)


def place_legend(figure: Figure, axes: Iterable[Axes], where: str, *, columns: int = 5) -> None:
    """Put one legend for all of `axes` at one of `LEGENDS`."""
    if where == "below":
        legend_below(figure, axes, columns=columns)
    elif where == "right":
        legend_right(figure, axes)


def footnote(figure: Figure, text: str) -> None:
    """Write a paragraph under all panels and legends of a figure of `new_figure`."""
    figure.text(0.01, 0.01, text, fontsize=_SMALL, va="bottom", linespacing=1.15, gid=_FOOTNOTE)


def footnote_height(text: str, width: float) -> float:
    """Return about how high, in inches, a footnote is in a figure of this width."""
    lines = -(-len(text) // int(_CHARACTERS_AN_INCH * width))
    return _SMALL * 1.3 / 72 * lines


def _above_footnote(figure: Figure) -> float:
    """Break the footnote into lines that fit, and put legends over it; return where they end."""
    text = next(text for text in figure.texts if text.get_gid() == _FOOTNOTE)
    words = " ".join(text.get_text().split())
    number = int(1.2 * _CHARACTERS_AN_INCH * figure.get_figwidth())
    for count in range(number, number // 2, -2):
        text.set_text(textwrap.fill(words, count))
        if text.get_window_extent().width <= 0.98 * figure.bbox.width:
            break
    below = 0.02 + text.get_window_extent().height / figure.bbox.height
    top = below
    for legend in figure.legends:
        if str(legend._outside_loc) == "lower":  # pyright: ignore[reportAttributeAccessIssue]
            # With an anchor of its own the layout leaves no room for it.
            legend.set_bbox_to_anchor((0, below, 1, 1 - below), transform=figure.transFigure)
            extent: Any = legend.get_tightbbox()
            top = max(top, below + extent.height / figure.bbox.height)
    return min(0.8, top)


def _legend(figure: Figure, axes: Iterable[Axes], where: str, columns: int) -> None:
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        labels = sorted(entries, key=lambda label: _height(entries[label]))
        handles = [entries[label] for label in labels]
        place: Any = f"outside {where}"
        legend = figure.legend(handles, labels, loc=place, ncols=columns)
        legend.set_gid(f"columns {columns}")


def _height(handle: Any) -> float:
    """Return the zorder of an artist, or of the first part of a container such as an error bar."""
    return (handle if isinstance(handle, Artist) else handle.get_children()[0]).get_zorder()


def _pack(legend: Legend, figure: Figure) -> None:
    """Pack the entries of a legend of ours into as many columns as the figure has room for."""
    known, _, most = (legend.get_gid() or "").partition(" ")
    if known != "columns":
        return
    box: Any = legend.get_children()[0].get_children()[-1]
    columns = box.get_children()
    items = [item for column in columns for item in column.get_children()]
    gap = columns[0].sep
    for number in range(min(int(most), len(items)), 0, -1):
        ends = [len(items) * i // number for i in range(number + 1)]
        parts = [items[i:j] for i, j in pairwise(ends)]
        columns[:] = [VPacker(pad=0, sep=gap, align="baseline", children=part) for part in parts]
        box.set_figure(figure)
        extent: Any = legend.get_tightbbox()
        if extent.width <= figure.bbox.width:
            return
