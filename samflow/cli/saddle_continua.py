"""Curves and surfaces of critical points as `samflow saddle` prints them."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from samflow._text import shown_name
from samflow.cli.output import indented
from samflow.cli.saddle_cells import is_followed, loss_of, outcomes_of, places

if TYPE_CHECKING:
    from samflow.equilibria.continua.records import Continuum
    from samflow.equilibria.saddle_records import Survey, SurveyedPoint

_SETS = 8
"""So many curves and surfaces are printed."""
_SHOWN = 3
"""Of the samples of a curve so many are named."""
_LOSSES = 6
"""Curves of more losses than these are told together."""


def distinct_sets(found: "Survey") -> list["Continuum"]:
    """Return each curve or surface once, for the first rule."""
    return [one for one in found.continua if one.rule == found.continua[0].rule]


def render_continua(found: "Survey", samples: Sequence["SurveyedPoint"]) -> list[RenderableType]:
    """Return what is printed of each curve or surface: what lies across it for each rule."""
    parts: list[RenderableType] = []
    for one in distinct_sets(found)[:_SETS]:
        on = {tuple(w) for w in one.w.tolist()}
        mine = [point for point in samples if point.w in on]
        loss = loss_of(mine[0]) if mine else f"{one.loss:.6g}"
        said = one.describe().replace("fixed points", "critical points")
        parts.append(Text(f"\n{said}; loss {loss}", style="bold"))
        across = one.curvature
        lines = [
            f"Hessian eigenvalues across between {across.min():.6g} and {across.max():.6g}; "
            f"{len(one)} samples"
        ]
        followed = [point for point in mine if is_followed(point)]
        for other in found.continua:
            if other.number != one.number:
                continue
            text = other.across()
            i = found.rules.index(other.rule)
            fates = Counter(name for point in followed for name in outcomes_of(point.behaviours[i]))
            if fates:
                text += f"; orbits from near {len(followed)} samples: {', '.join(fates)}"
            lines.append(f"{shown_name(other.rule)}: {text}")
        parts += [indented(line) for line in lines]
    left = len(distinct_sets(found)) - _SETS
    return [*parts, Text(f"\nand {left} more of these, see --json")] if left > 0 else parts


def render_samples(points: Sequence["SurveyedPoint"]) -> list[RenderableType]:
    """Return what is printed of critical points that are samples of curves or surfaces.

    On each of these the loss is constant, so that points of one loss are taken together.
    """
    by_loss: dict[str, list[SurveyedPoint]] = {}
    for point in points:
        by_loss.setdefault(loss_of(point), []).append(point)
    if len(by_loss) > _LOSSES:
        ends = sorted(by_loss, key=float)
        by_loss = {f"{ends[0]} to {ends[-1]}": list(points)}
    parts: list[RenderableType] = []
    for loss, group in by_loss.items():
        heading = Text(f"\n{places(group, _SHOWN + 1)}  ", style="bold")
        samples = "1 sample" if len(group) == 1 else f"{len(group)} samples"
        heading.append(
            f"{samples} of a curve or surface, found by Newton's method; loss {loss}",
            style="not bold",
        )
        curvatures = [lam for point in group for lam in point.eigenvalues]
        lines = [f"Hessian eigenvalues between {min(curvatures):.6g} and {max(curvatures):.6g}"]
        followed = [point for point in group if is_followed(point)]
        for i, behaviour in enumerate(group[0].behaviours):
            kinds = Counter(str(point.behaviours[i].kind) for point in group)
            text = ", ".join(f"{kind} ({many})" for kind, many in kinds.most_common())
            fates = Counter(name for point in followed for name in outcomes_of(point.behaviours[i]))
            if fates:
                text += f"; orbits from near {len(followed)} of them: {', '.join(fates)}"
            lines.append(f"{shown_name(behaviour.rule)}: {text}")
        parts += [heading, *(indented(line) for line in lines)]
    return parts
