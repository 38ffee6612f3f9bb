"""`samflow bifurcation`: branches of fixed points along a parameter, over orbits, as a file."""

from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    PICTURES_AND_RECORDS,
    checked_paths,
    deliver_all,
    form_of,
    progress,
    say,
)

Parameter = Annotated[
    str,
    typer.Option(
        "--parameter", help="The hyperparameter that is varied: rho, lr, momentum or another."
    ),
]
Range = Annotated[str, typer.Option("--range", help="Its lowest and highest value, such as 0,2.")]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="A fixed point to begin at, such as 0,1, given roughly. By default all fixed points "
        "of the map in the box.",
    ),
]
Observable = Annotated[
    int,
    options.whole_option(
        "--weight", help="Number of the weight that is drawn, counted from 1.", default="the last"
    ),
]
Depth = Annotated[
    int,
    options.whole_option(
        "--depth",
        help="How many generations of branches to follow that are born at flips or branch points.",
    ),
]


def command(
    loss: options.Loss,
    output: options.OutputsIfAny = None,
    parameter: Parameter = "rho",
    between: Range = "0,1",
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    start: Start = None,
    box: options.BoxText = None,
    weight: Observable = 0,
    depth: Depth = 1,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    journal: options.Journal = None,
    json: options.AsJson = False,
    form: options.Form = None,
) -> int:
    """Follow fixed points of a map along a hyperparameter; print their bifurcations, or draw.

    Each branch is a line, with its bifurcations below it. "Ends: reached bound"
    says that the branch goes on beyond --range.
    """
    printed = form_of(json, form)
    target = options.checked_journal(journal)
    paths = checked_paths(output or (), PICTURES_AND_RECORDS)
    import numpy as np

    import samflow as sf
    from samflow import _checks
    from samflow.attractors.continuation.families import begins

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    low, high = options.make_range("--range", between)
    system = options.make_map(made, rule, rho=rho, lr=lr, momentum=momentum)
    value = float(sf.systems.find_leaf(system, parameter, "--parameter").value(system))
    if not low <= value <= high:
        raise _checks.ArgumentError(
            f"Argument `--range` must hold the map's own {parameter}, {value:g}, but is "
            f"{between!r}. Change the range, or give --{parameter}."
        )
    column = _checks.count("--weight", weight or made.dim, maximum=made.dim) - 1
    rounds = _checks.count("--depth", depth, minimum=0)
    if start is not None:
        points: Any = np.array([options.make_point("--start", start, made)])
        if not begins(system, points[0], parameter, (low, high)):
            raise _checks.ArgumentError(
                f"Argument `--start` must be near a fixed point of the map, but {start} is near "
                f"none at {parameter} = {value:g}. Leave it out to begin at all fixed points in "
                "--box."
            )
    else:
        points = np.asarray(sf.find_fixed_points(system, options.make_box(box, made)).w)
    found = sf.attractors.bifurcation_diagram(
        system, points, parameter, (low, high), rounds=rounds, progress=progress
    )
    if not found.branches:
        say("No branch was found: no point is a fixed point with a Jacobian, nor near a cycle.")
        return 1
    lines = [Text(line) for line in str(found).splitlines()]
    draw = lambda: sf.plots.bifurcation(found, observable=column)  # noqa: E731
    deliver_all(lines, found, draw, form=printed, paths=paths, journal=target)
    return 0
