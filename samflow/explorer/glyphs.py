"""The marks of portraits as paths, for Bokeh's canvas and for the icons of lists.

The shapes are those that matplotlib draws for `samflow.plots.MARKERS`.
"""

from typing import Any, NamedTuple

import numpy as np
from bokeh.models import CustomJS
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from samflow._status import Kind
from samflow.plots.colours import COLOURS
from samflow.plots.marks import MARKERS, WITHOUT_JACOBIAN

SIZE = 13.0
"""Pixels of the mark of a fixed point with a Jacobian."""
COLUMNS = ("x", "y", "marker", "size", "face", "edge", "width", "alpha", "kind")
"""Of a source of marks."""
_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


class Mark(NamedTuple):
    """How the mark of a kind is drawn.

    Attributes:
        outline: path of a mark that is one pixel wide, in SVG's language.
        half: path of the part that is filled, where that is not all or nothing; else empty.
        size: pixels.
        face: the colour inside.
        edge: the colour of the outline.
        width: of the outline, in pixels.

    """

    outline: str
    half: str
    size: float
    face: str
    edge: str
    width: float


def mark(kind: Kind, *, critical: bool = True) -> Mark:
    """Return the mark of a fixed point, as `samflow.plots.draw_fixed_points` draws it."""
    colour = COLOURS["fixed points" if critical else "not critical"]
    look = MARKERS[kind]
    whole = MarkerStyle(look["marker"], fillstyle="full")
    half = ""
    if look["fillstyle"] == "left":
        part = MarkerStyle(look["marker"], fillstyle="left")
        half = _svg(part.get_path().transformed(part.get_transform()))
    bare = kind in WITHOUT_JACOBIAN and look["fillstyle"] != "none"
    return Mark(
        outline=_svg(whole.get_path().transformed(whole.get_transform())),
        half=half,
        size=SIZE * (0.9 if kind is Kind.saddle else 1.5 if kind in WITHOUT_JACOBIAN else 1.0),
        face=colour if look["fillstyle"] == "full" else "#FFFFFF",
        edge="#FFFFFF" if bare else colour,
        width=1.2 if bare else 1.8,
    )


def definitions() -> dict[str, CustomJS]:
    """Return Bokeh's custom markers: one for each kind, and the filled half of some."""
    paths = {}
    for kind in MARKERS:
        found = mark(kind)
        paths[f"@{kind.name}"] = found.outline
        if found.half:
            paths[f"@{kind.name}_half"] = found.half
    return {name: CustomJS(code=_JS % path) for name, path in paths.items()}


def columns(w: np.ndarray, kinds: tuple[Kind, ...], critical: np.ndarray, alpha: Any) -> dict:
    """Return the columns of a Bokeh source of marks, the filled halves after their outlines."""
    rows = []
    for (x, y), kind, is_critical, seen in zip(
        w.tolist(), kinds, critical.tolist(), np.broadcast_to(alpha, len(w)).tolist(), strict=True
    ):
        found = mark(kind, critical=is_critical)
        size, name = found.size, f"@{kind.name}"
        rows.append((x, y, name, size, found.face, found.edge, found.width, seen, str(kind)))
        if found.half:
            half = (f"{name}_half", size, found.edge, found.edge, found.width, seen, str(kind))
            rows.append((x, y, *half))
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def icon(kind: Kind, *, critical: bool = True, pale: bool = False) -> str:
    """Return the mark as an inline picture for HTML."""
    found = mark(kind, critical=critical)
    scale = 0.85 * found.size
    edge = found.edge if found.edge != "#FFFFFF" else found.face
    look = f'stroke="{edge}" stroke-width="{found.width / scale:.3f}" stroke-linejoin="round"'
    parts = f'<path d="{found.outline}" fill="{found.face}" {look}/>'
    if found.half:
        parts += f'<path d="{found.half}" fill="{edge}"/>'
    return (
        f'<svg class="icon" width="20" height="20" viewBox="-10 -10 20 20" aria-label="{kind}"'
        f' opacity="{0.35 if pale else 1}"><g transform="scale({scale:.2f})">{parts}</g></svg>'
    )


_JS = """
const outline = new Path2D("%s")
export default (args, obj, {ctx, i, r, visuals}) => {
  const path = new Path2D()
  path.addPath(outline, new DOMMatrix().scale(2*r))
  return path
}
"""


def _svg(path: Path) -> str:
    """Return a path of matplotlib in SVG's language, whose second axis points down."""
    parts = []
    for points, code in path.iter_segments(simplify=False):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        shown = " ".join(f"{x:.4f},{-y:.4f}" for x, y in points.reshape(-1, 2))
        parts.append(_COMMANDS[code] + shown)
    return "".join(parts)
