"""`samflow chart`: what critical points are over rho and lr, drawn with theory's curves."""

from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import chunks, options
from samflow.cli.output import (
    PICTURES_AND_RECORDS,
    checked_paths,
    deliver_all,
    form_of,
    progress,
)

Point = Annotated[
    str | None,
    typer.Option(
        "--point", help="The critical point, such as 0,1. By default all critical points in --box."
    ),
]
GradientNorm = Annotated[
    float | None,
    options.number_option(
        "--gradient-norm", help="Draw SAM's edge of stability at this norm of the gradient."
    ),
]


def command(
    context: typer.Context,
    loss: options.Loss,
    output: options.OutputsIfAny = None,
    point: Point = None,
    rho: options.RhoRange = "0,0.3",
    lr: options.LrRange = "0.001,0.05",
    rule: options.Rule = "usam",
    momentum: options.MomentumRange = "0",
    others: options.OtherRanges = None,
    box: options.BoxText = None,
    resolution: options.RangeResolution = 120,
    gradient_norm: GradientNorm = None,
    store: chunks.Store = None,
    part: chunks.Part = None,
    chunk_cells: chunks.ChunkCells = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    journal: options.Journal = None,
    json: options.AsJson = False,
    form: options.Form = None,
) -> int:
    """Print or draw where in a plane of two hyperparameters critical points attract.

    Two of --rho, --lr, --momentum and --set are ranges.
    """
    printed = form_of(json, form)
    target = options.checked_journal(journal)
    paths = checked_paths(output or (), PICTURES_AND_RECORDS)
    import samflow as sf
    from samflow import _checks

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    number = _checks.count("--resolution", resolution, minimum=2)
    numbers, ranges = options.make_numbers(
        {"--rho": rho, "--lr": lr, "--momentum": momentum}, others or [], number
    )
    if len(ranges) != 2:
        raise _checks.ArgumentError(
            "Two of `--rho`, `--lr`, `--momentum` and `--set` must be ranges, such as 0,0.3, but "
            f"there are {len(ranges)}: {', '.join(ranges) or 'none'}. Give one number for the rest."
        )
    if gradient_norm is not None:
        _checks.positive("--gradient-norm", gradient_norm)
    chosen, given = options.rule_with(rule, numbers)
    if point is not None and box is not None:
        raise _checks.ArgumentError(
            "Argument `--box` cannot be given with `--point`. Leave one of both out."
        )
    about: dict[str, Any] = {"gradient_norm": gradient_norm}
    if point is None:
        about["box"] = options.make_box(box, made)
    else:
        from samflow.attractors.charts.point import critical_point

        where = options.make_point("--point", point, made)
        about["w"] = critical_point("--point", made, where).w
    progress("orbits")
    about |= chunks.arguments(store, part, chunk_cells)
    found = sf.stability_chart(made, chosen, progress=chunks.Meter("cells"), **about, **given)
    chunks.say_missing(context, store)
    what = f"Which critical points of {made.name} attract"
    if point is not None:
        what = f"Of which kind the critical point ({point}) of {made.name} is"
    pairs = zip(found.names, (found.x, found.y), strict=True)
    plane = " × ".join(f"{name} in [{x.min():g}, {x.max():g}]" for name, x in pairs)
    lines = [Text(f"{what} under {rule}, by share of the plane {plane}:")]
    lines.append(Text(str(found)))
    if found.boundaries:
        lines.append(Text("Theory's curves in this plane, at which that can change:"))
        lines += [Text(f"  {line.name}") for line in found.boundaries]
    deliver_all(
        lines, found, lambda: sf.plots.chart(found), form=printed, paths=paths, journal=target
    )
    return 0
