"""`samflow rules`: the rules, where they are smooth, and where stability has closed forms."""

import json as json_format
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import TEXT_SUFFIXES, checked_path, deliver, indented


def command(json: options.AsJson = False, output: options.Output = None) -> int:
    """List the rules: formula, whether smooth at a critical point, closed forms, source."""
    path = checked_path(output, TEXT_SUFFIXES)
    rows = [_facts(name) for name in _names()]
    text = json_format.dumps(rows, indent=2, ensure_ascii=False)
    deliver([part for row in rows for part in _lines(row)], text, as_json=json, path=path)
    return 0


def _names() -> list[str]:
    from samflow.rules import RULES

    return list(RULES)


def _facts(name: str) -> dict[str, Any]:
    import jax.numpy as jnp

    from samflow import losses, rules, theory

    made = rules.rule(name, rho=0.1)
    smooth = bool(made.singularity(losses.quartic(), jnp.zeros(2)) > 0)
    exact = "multipliers and thresholds" if name in theory.RULES else "2-cycles of quadratics"
    return {
        "name": name,
        "formula": made.formula,
        "smooth_at_critical_points": smooth,
        "closed_forms": exact,
        "source": made.source,
    }


def _lines(row: dict[str, Any]) -> list[RenderableType]:
    smooth = "a Jacobian" if row["smooth_at_critical_points"] else "no Jacobian"
    facts = (
        f"d(w) = {row['formula']}",
        f"at critical points: {smooth}; closed forms: {row['closed_forms']}",
        row["source"],
    )
    below = [indented(Text(fact)) for fact in facts]
    return [Text(row["name"], style="bold"), *below]
