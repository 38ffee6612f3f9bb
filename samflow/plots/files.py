"""Files of figures: PDF, SVG, PNG, EPS and PGF, each written rightly or refused with the reason."""

import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from samflow import _checks
from samflow.plots.style import Layout, styled
from samflow.records import write_whole

FORMATS = ("pdf", "svg", "png", "eps", "pgf")
"""Formats that `save` writes: the ending of a file's name decides."""

LATEX = ("lualatex", "xelatex", "pdflatex")
"""Programs, one of which PGF needs."""

_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
_DATE = re.compile(rb"^%%CreationDate:.*\n", re.MULTILINE)
_TEX = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "η": "eta",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "ω": "omega",
    "Δ": "Delta",
    "×": "times",
    "±": "pm",
    "≈": "approx",
    "≤": "le",
    "≥": "ge",
    "∠": "angle",
}
"""Characters that the fonts of LaTeX do not have, and their commands."""


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Write `figure` with embedded fonts, and return the paths written.

    Each file is written completely or not at all, and only after every format has been drawn. The
    same figure gives the same bytes: no dates and no random identifiers.

    | ending | what it is for, and what it needs |
    |---|---|
    | .pdf | LaTeX and journals; fonts are embedded as outlines (type 42) |
    | .svg | the web; letters are outlines, so that it looks the same without the fonts |
    | .png | slides and web pages; 300 dots per inch |
    | .eps | journals that ask for it; fonts as in PDF; refused where anything is transparent |
    | .pgf | LaTeX sets the text; refused without a LaTeX to measure it, and with images |

    Args:
        figure: what to write.
        path: a file with one of these endings; or a stem to which `formats` are added. Any
            other ending of letters alone is refused: it names a format, not part of a stem.
        formats: for a stem, which formats.

    Raises:
        ArgumentError: for an unknown format, a path that cannot be written, and a figure that the
            format cannot hold.

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
    for name in targets.values():
        _check_format(figure, name)
    if not isinstance(figure.get_layout_engine(), Layout):
        with styled(figure):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it would move the panels a little at every drawing
    contents = {target: _rendered(figure, name) for target, name in targets.items()}
    return [write_whole(target, content) for target, content in contents.items()]


def latex() -> str | None:
    """Return the LaTeX that PGF is measured with: the first of `LATEX` on the PATH, if any."""
    return next((name for name in LATEX if shutil.which(name)), None)


def check_latex() -> None:
    """Refuse PGF where there is no LaTeX.

    Raises:
        ArgumentError: without any of `LATEX` on the PATH.

    """
    if latex() is None:
        raise _checks.ArgumentError(
            f"PGF needs LaTeX, which measures the texts, but none of {', '.join(LATEX)} is on the "
            "PATH. Install one, or write .pdf, which LaTeX includes as well."
        )


def _check_format(figure: Figure, name: str) -> None:
    if name == "pgf":
        check_latex()
        images = sum(_is_image(artist) for artist in _shown(figure))
        if images:
            raise _checks.ArgumentError(
                f"PGF cannot hold pixels, but the figure has {images} image(s) of them, such as "
                "basins or a chart. Write .pdf, which LaTeX includes as well."
            )
    if name == "eps":
        found = [artist for artist in _shown(figure) if _is_transparent(artist)]
        if found:
            kinds = ", ".join(sorted({type(artist).__name__ for artist in found}))
            raise _checks.ArgumentError(
                f"EPS knows no transparency, but {len(found)} part(s) of the figure have it "
                f"({kinds}). Write .pdf, or draw them in opaque colours."
            )


def _shown(figure: Figure) -> Iterator[Artist]:
    """Go through everything that is drawn, also inside what is drawn."""
    stack: list[Artist] = [figure]
    while stack:
        artist = stack.pop()
        if artist.get_visible():
            yield artist
            stack += artist.get_children()


def _is_image(artist: Artist) -> bool:
    return isinstance(artist, AxesImage) or bool(artist.get_rasterized())


def _is_transparent(artist: Artist) -> bool:
    """Say whether anything of an artist lies between visible and invisible."""
    alpha = artist.get_alpha()
    if alpha is not None and not np.isin(alpha, (0.0, 1.0)).all():
        return True
    if isinstance(artist, AxesImage):  # its pixels have no hole either: PostScript fills it
        values = artist.get_array()
        pixels = np.ma.getdata(artist.to_rgba(values)) if values is not None else np.ones(4)
        return bool((pixels[..., 3] != (255 if pixels.dtype == np.uint8 else 1)).any())
    colours: list[Any] = []
    if isinstance(artist, Line2D):
        colours = [artist.get_color(), artist.get_markerfacecolor(), artist.get_markeredgecolor()]
    elif isinstance(artist, Patch):
        colours = [artist.get_facecolor(), artist.get_edgecolor()]
    elif isinstance(artist, Collection):
        colours = [*artist.get_facecolor(), *artist.get_edgecolor()]
    elif isinstance(artist, Text):
        colours = [artist.get_color()]
    return any(not np.isin(to_rgba_array(colour)[:, 3], (0.0, 1.0)).all() for colour in colours)


def _rendered(figure: Figure, kind: str) -> bytes:
    if kind == "pgf":
        return _as_pgf(figure)
    buffer = io.BytesIO()
    with styled(figure):
        figure.savefig(buffer, format=kind, metadata=_METADATA.get(kind))
    if kind == "png":
        return _with_palette(buffer)
    return _DATE.sub(b"", buffer.getvalue(), count=1) if kind == "eps" else buffer.getvalue()


def _as_pgf(figure: Figure) -> bytes:
    """Return PGF, in the fonts of the document that includes it."""
    buffer = io.BytesIO()
    own: Any = {"pgf.texsystem": latex(), "pgf.rcfonts": False, "font.family": "serif"}
    with styled(figure), matplotlib.rc_context(own), _tex_commands(figure):
        figure.savefig(buffer, format="pgf")
    return buffer.getvalue()


@contextmanager
def _tex_commands(figure: Figure) -> Iterator[None]:
    """Have commands in all texts, within, for characters that the fonts of LaTeX do not have."""
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    before = [text.get_text() for text in texts]
    try:
        for text, written in zip(texts, before, strict=True):
            text.set_text("".join(_command(character) for character in written))
        yield
    finally:
        for text, written in zip(texts, before, strict=True):
            text.set_text(written)


def _command(character: str) -> str:
    return rf"\ensuremath{{\{_TEX[character]}}}" if character in _TEX else character


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
