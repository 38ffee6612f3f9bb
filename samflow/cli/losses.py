"""`samflow losses`: the losses that --loss knows by name."""

import inspect
import json as json_format
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    TEXT_SUFFIXES,
    checked_path,
    deliver,
    form_of,
    indented,
)

if TYPE_CHECKING:
    from samflow.losses import ExpressionLoss


def command(json: options.AsJson = False, output: options.Output = None) -> int:
    """List the losses: name, formula, domain, known critical points, source."""
    path = checked_path(output, TEXT_SUFFIXES)
    from samflow.losses import ZOO

    rows = [
        _facts(factory(), "dim" in inspect.signature(factory).parameters)
        for factory in ZOO.values()
    ]
    content: list[RenderableType] = [part for row in rows for part in _lines(row)]
    content.append(Text("\nAny formula can be a loss too: --loss 'x**2 - y**2'."))
    text = json_format.dumps(rows, indent=2, ensure_ascii=False)
    deliver(content, text, form=form_of(json), path=path)
    return 0


def _facts(loss: "ExpressionLoss", any_dim: bool) -> dict[str, Any]:
    return {
        "name": loss.name,
        "dim": loss.dim,
        "any_dim": any_dim,
        "formula": str(loss.expression),
        "domain": loss.domain,
        "known_critical_points": dict(Counter(point.shape for point in loss.critical_points)),
        "source": loss.source,
    }


def _lines(row: dict[str, Any]) -> list[RenderableType]:
    dim = f"{row['dim']} weight{'s' if row['dim'] > 1 else ''}"
    dim += " (--dim changes it)" if row["any_dim"] else ""
    domain = "everywhere" if row["domain"] is None else options.show_box(row["domain"])
    known = ", ".join(
        f"{many} {kind if many == 1 else plural}"
        for kind, plural in _PLURALS.items()
        if (many := row["known_critical_points"].get(kind))
    )
    facts = (row["formula"], f"{dim}; {domain}; {known}", row["source"])
    below = [indented(Text(fact)) for fact in facts if fact]
    return [Text(row["name"], style="bold"), *below]


_PLURALS = {
    "minimum": "minima",
    "saddle": "saddles",
    "maximum": "maxima",
    "degenerate": "degenerate (on a curve)",
}
