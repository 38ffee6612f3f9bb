"""`samflow saddle`: every critical point, what it is for each rule, and what is proved."""

from typing import Annotated

import typer

from samflow.cli import options
from samflow.cli.output import (
    RECORD_SUFFIXES,
    checked_path,
    deliver,
    form_of,
    progress,
    say,
)
from samflow.cli.saddle_text import render

_DEFAULT = ("gd", "usam", "sam")
_EVERY = "all"
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="Name of a rule, or a formula such as "
        '"g(w + rho*g)", see `samflow rules`. Repeat the option for several; `all` takes all rules '
        "and also follows orbits. By default gd, usam and sam.",
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate",
        help="Also follow orbits that start near each critical point; takes a second or two per "
        "rule.",
    ),
]
All = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Also find the hallucinated fixed points: those of USAM and SAM that are no critical "
        "points of the loss. Can be slow.",
    ),
]


def command(
    loss: options.Loss,
    rule: Rules = None,
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    box: options.BoxText = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    every: All = False,
    simulate: Simulate = False,
    json: options.AsJson = False,
    form: options.Form = None,
    output: options.OutputOfRecord = None,
) -> int:
    """Find the critical points; print eigenvalues, multipliers, thresholds in rho and lr.

    For each point and rule a row says of which kind the point is for the rule's
    map, and whether it, or a cycle about it, attracts. Its last word says what
    that rests on: `yes` is a proof, `located` a cycle found by Newton's method,
    `observed` what orbits did. The lines below the rows give the rho and lr for
    which the point attracts. The last lines count points by rule: attracting
    ones, and ones that hold orbits nearby.

    With --simulate, and with --rule all, tables say what orbits from near the
    point do. `attractor`: they converge to it. `cycle`, `trap`: they stay near,
    with a period or without. `elsewhere`: they come to rest near it. (32 of 32)
    counts orbits.
    """
    printed = form_of(json, form)
    path = checked_path(output, RECORD_SUFFIXES)
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    from samflow.equilibria.saddle_report import survey
    from samflow.rules import RULES, known_rule

    names = [known_rule(name, _EVERY) for name in rule or _DEFAULT]
    compare = _EVERY in names
    rules = list(RULES) if compare else names
    place = options.make_box(box, made)
    simulate = simulate or compare
    found = survey(
        made,
        place,
        rules=rules,
        rho=rho,
        lr=lr,
        momentum=momentum,
        hallucinated=every,
        simulate=simulate,
        progress=progress if simulate else lambda name: None,
    )
    deliver(render(found), found, form=printed, path=path)
    if not found.points and not found.complete:
        say("No critical point was found, nor a proof that there is none.")
        return 1
    return 0
