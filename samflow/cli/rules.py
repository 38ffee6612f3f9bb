"""`samflow rules`: the rules, where they are smooth, and where stability has closed forms."""

import inspect
import json as json_format
from typing import Any

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


def command(json: options.AsJson = False, output: options.Output = None) -> int:
    """List the rules: name, formula, smoothness, closed forms, memory, options, source."""
    path = checked_path(output, TEXT_SUFFIXES)
    from samflow.rules import RULES

    rows = [_facts(name) for name in RULES]
    text = json_format.dumps(rows, indent=2, ensure_ascii=False)
    content: list[RenderableType] = [part for row in rows for part in _lines(row)]
    content += [Text("\nA formula can be a rule too", style="bold"), *map(_indented, _FORMULAS)]
    deliver(content, text, form=form_of(json), path=path)
    return 0


_FORMULAS = (
    '--rule "g(w + rho*g/norm(g))" is SAM. A formula is a vector, made of',
    "w, g          the weights, and the gradient of the loss there",
    "g(v), grad(v) the gradient at other weights, as g(w + rho*g)",
    "H(v)          the Hessian at w times a vector",
    "norm(v), dot(a, b), sqrt, pi, numbers, + - * / **, and rho, which --rho gives",
    'other names, given after it: --rule "g(w + rho*g/(norm(g) + eps)); eps = 0.1"',
)
"""The language of formulas, for a person."""


def _indented(line: str) -> RenderableType:
    return indented(Text(line))


def _facts(name: str) -> dict[str, Any]:
    from samflow import rules

    kind = rules.RULES[name]
    return {
        "name": name,
        "formula": kind.formula,
        "options": _options(kind),
        "memory": kind.num_memories > 0,
        "smooth_at_critical_points": kind.smooth,
        "closed_forms": kind.closed_forms,
        "source": kind.source,
    }


def _options(kind: type) -> list[str]:
    """Return what the rule takes beside rho, with its default where that is a number or a word."""
    shown = []
    for option, parameter in inspect.signature(kind).parameters.items():
        if option != "rho":
            default = getattr(parameter.default, "name", parameter.default)
            shown.append(option if default is None else f"{option}={default}")
    return shown


def _lines(row: dict[str, Any]) -> list[RenderableType]:
    smooth = "a Jacobian" if row["smooth_at_critical_points"] else "no Jacobian"
    facts = [
        f"d(w) = {row['formula']}",
        f"at critical points: {smooth}; closed forms: {row['closed_forms']}",
    ]
    if row["memory"]:
        facts.append("has a memory of earlier gradients: for maps only")
    if row["options"]:
        facts.append(f"options: {', '.join(row['options'])}")
    below = [indented(Text(fact)) for fact in (*facts, row["source"])]
    return [Text(row["name"], style="bold"), *below]
