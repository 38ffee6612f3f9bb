"""`samflow sweep`: an analysis over ranges of hyperparameters, as a table or a file."""

import math
from collections import Counter
from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import chunks, options
from samflow.cli.output import (
    RECORD_SUFFIXES,
    checked_path,
    deliver,
    form_of,
    say,
    table_of,
)

_MANY = 10_000
"""Cells of a grid from which on its size is told before it is computed."""
_COUNTED = 8
"""Different values of a quantity that are printed with their number."""
_ROWS, _COLUMNS = 24, 8
"""Cells of a grid that is printed as a table, at most."""

Of = Annotated[
    str,
    typer.Option(
        "--of",
        help="What to compute in each cell: orbit, escaped, sharpness, period, exponent, classify "
        "or fate.",
    ),
]
Start = Annotated[
    str,
    typer.Option(
        "--start", help="Start of the orbits, or the point for classify and fate, such as 0,1."
    ),
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
    form: options.Form = None,
) -> int:
    """Compute one quantity of a map over ranges of its hyperparameters.

    Of --rho, --lr, --momentum and --set give at least one as a range. A period
    of 0 says that none up to 64 was found.
    """
    printed = form_of(json, form)
    path = checked_path(output, RECORD_SUFFIXES)
    import samflow as sf
    from samflow import _checks
    from samflow._memory import told
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
    cells = math.prod(len(row) for row in grid.values())
    if cells >= _MANY:
        size = told(MEASURES[of].bytes_of(cells, system.state_dim))
        where = "of memory" if store is None else f"in {store}, in chunks"
        say(f"{cells:,} cells, whose results take at least {size} {where}")
    meter = chunks.Meter("cells")
    if store is None:
        meter(0, cells)
    found: Any = sf.sweep(
        system,
        grid,
        of,
        w0=options.make_point("--start", start, made),
        num_steps=_checks.count("--steps", steps),
        progress=meter,
        **chunks.arguments(store, part, chunk_cells),
    )
    chunks.say_missing(context, store)
    if store is None:
        deliver([Text(str(found)), *_values(found.to_dataset())], found, form=printed, path=path)
        return 0
    if path is not None and found.missing:
        say(f"{path} is written when no chunk is missing.")
        path = None
    whole = path is not None or printed not in ("text", "json")
    result = found.load() if whole else found.to_json()
    deliver([Text(found.summary())], result, form=printed, path=path)
    return 0


def _values(data: Any) -> list[Any]:
    """Return what was computed: each value with its share of the cells, or lowest and highest.

    The first quantity is also shown cell by cell where the grid is small.
    """
    quantities = [one for one in data.data_vars.values() if one.dims]
    lines: list[Any] = []
    for one in quantities:
        if one.dtype.kind == "f":
            missing = int(one.isnull().sum())
            text = f"from {_shown(one.min().item())} to {_shown(one.max().item())}, "
            text = text if missing < one.size else ""
            text = text + f"not a number in {missing} of {one.size}" if missing else text[:-2]
        else:
            counts = Counter(one.values.ravel().tolist()).most_common()
            rest = sum(many for _, many in counts[_COUNTED:])
            parts = [f"{value} in {many}" for value, many in counts[:_COUNTED]]
            text = ", ".join(parts) + (f", others in {rest}" if rest else "") + f" of {one.size}"
        lines.append(Text(f"{one.name}: {text}"))
    first = quantities[0]
    if first.ndim > 2 or first.sizes[first.dims[0]] > _ROWS:
        return lines
    if first.ndim == 1:
        table = table_of(str(first.dims[0]), str(first.name))
        rows = [[value] for value in first.values.tolist()]
    elif first.shape[1] <= _COLUMNS and set(first.dims) <= set(data.coords):
        columns = data[first.dims[1]].values.tolist()
        heads = [f"{first.dims[1]} = {_shown(value)}" for value in columns]
        table, rows = table_of(str(first.dims[0]), *heads), first.values.tolist()
    else:
        return lines
    for value, row in zip(data[first.dims[0]].values.tolist(), rows, strict=True):
        table.add_row(_shown(value), *map(_shown, row))
    return [*lines, table]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
