"""`samflow sweep`: an analysis over ranges of hyperparameters, as a table or a file."""

from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import chunks, options
from samflow.cli.output import RECORD_SUFFIXES, checked_path, deliver, say

Of = Annotated[
    str,
    typer.Option(
        "--of",
        help="What to compute in each cell: orbit, escaped, sharpness, period, exponent, classify "
        "or fate.",
    ),
]
Start = Annotated[
    str, typer.Option("--start", help="Where orbits begin, or the point of classify and fate: 0,1.")
]
Steps = Annotated[int, options.whole_option("--steps", help="Steps of each orbit.")]


def command(
    context: typer.Context,
    loss: options.Loss,
    start: Start,
    of: Of = "period",
    rho: options.RhoRange = "0.05",
    lr: options.LrRange = "0.01",
    rule: options.Rule = "usam",
    momentum: options.MomentumRange = "0",
    others: options.OtherRanges = None,
    resolution: options.RangeResolution = 100,
    steps: Steps = 1000,
    output: options.OutputOfRecord = None,
    store: chunks.Store = None,
    part: chunks.Part = None,
    chunk_cells: chunks.ChunkCells = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
) -> int:
    """Compute one quantity of a map over ranges of its hyperparameters."""
    path = checked_path(output, RECORD_SUFFIXES)
    import samflow as sf
    from samflow import _checks
    from samflow.attractors.charts.plane import map_with_rows
    from samflow.attractors.sweep.measures import MEASURES

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    _checks.known("--of", of, MEASURES)
    number = _checks.count("--resolution", resolution, minimum=2)
    texts = {"--rho": rho, "--lr": lr, "--momentum": momentum}
    numbers, ranges = options.make_numbers(texts, others or [], number)
    if not ranges:
        raise _checks.ArgumentError(
            "One of `--rho`, `--lr`, `--momentum` and `--set` must be a range, such as 0,0.3, but "
            "all are single numbers."
        )
    chosen, given = options.rule_with(rule, numbers)
    system, grid = map_with_rows(made, chosen, given)
    found: Any = sf.sweep(
        system,
        grid,
        of,
        w0=options.make_point("--start", start, made),
        num_steps=_checks.count("--steps", steps),
        progress=chunks.Meter("cells"),
        **chunks.arguments(store, part, chunk_cells),
    )
    chunks.say_missing(context, store)
    if store is None:
        deliver([Text(str(found))], found, as_json=json, path=path)
        return 0
    if path is not None and found.missing:
        say(f"{path} is written when no chunk is missing.")
        path = None
    result = found.load() if path is not None else found.to_json()
    deliver([Text(found.summary())], result, as_json=json, path=path)
    return 0
