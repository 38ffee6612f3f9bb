"""Style and files of figures: journal sizes, colours, embedded fonts."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from samflow import _checks
from samflow.records import write_whole

COLUMN = 3.35
"""Width in inches of a figure of one journal column."""

DOUBLE_COLUMN = 6.9
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
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
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
"""Settings of matplotlib under which every figure is drawn and written; STIX comes with it."""

FORMATS = ("pdf", "png", "svg")
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {},
    "svg": {"Date": None},
}


def styled() -> Any:
    """Return a context manager under which matplotlib draws in the house style.

    The caller's settings are restored at the end. Importing samflow changes no settings.
    """
    return matplotlib.rc_context(RC)


def new_figure(width: float = COLUMN, height: float = 2.9) -> Figure:
    """Return an empty figure, `width` × `height` inches, that belongs to no window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.03, h_pad=0.05, wspace=0.03, hspace=0.03)
    return figure


def panel_letter(ax: Axes, letter: str) -> None:
    """Write a panel's letter above the left end of its frame."""
    ax.set_title(f"({letter})", loc="left", fontweight="bold")


def legend_below(figure: Figure, axes: Iterable[Axes], *, columns: int) -> None:
    """Put one legend for all of `axes` under the figure, where it covers no data.

    Its entries stand in drawing order, the lowest `zorder` first.
    """
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        labels = sorted(entries, key=lambda label: entries[label].get_zorder())
        handles = [entries[label] for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Write `figure` with embedded fonts, and return the paths written.

    Each file is written completely or not at all, and only after every format has been drawn. The
    same figure gives the same bytes: no dates, no random identifiers, and a layout that is settled
    at the first save and stays.

    Args:
        figure: what to write.
        path: a file that ends in .pdf, .png or .svg; or a stem to which `formats` are added. Any
            other ending of letters alone is refused: it names a format, not part of a stem.
        formats: which of pdf, png (300 dots per inch) and svg, for a stem.

    Raises:
        ArgumentError: for an unknown format or a path that cannot be written.

    """
    path = Path(path)
    ending = path.suffix.removeprefix(".")
    if ending in FORMATS:
        wanted = {path: ending}
    elif ending.isalpha():
        raise _checks.ArgumentError(
            f"Argument `path` must end in .{', .'.join(FORMATS)} or have no ending, but is "
            f"{str(path)!r}. Matplotlib's `figure.savefig` writes other formats."
        )
    else:
        known = [_checks.known("format", name, FORMATS) for name in formats]
        wanted = {path.with_name(f"{path.name}.{name}"): name for name in known}
    targets = {_checks.writable("path", target): name for target, name in wanted.items()}
    with styled():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it would move the panels a little at every drawing
    contents = {target: _rendered(figure, name) for target, name in targets.items()}
    return [write_whole(target, content) for target, content in contents.items()]


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return _with_palette(buffer) if kind == "png" else buffer.getvalue()


def _with_palette(png: io.BytesIO) -> bytes:
    """Write a PNG again with 256 colours, spread over all that occur: a third of its size."""
    smaller = io.BytesIO()
    with Image.open(png) as image:
        dpi = image.info["dpi"]
        flat = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        flat.save(smaller, format="png", optimize=True, dpi=dpi)
    return smaller.getvalue()
