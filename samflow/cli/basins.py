"""`samflow basins`: which start of a box ends where; drawn for two weights."""

import functools
from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import chunks, options
from samflow.cli.output import (
    PICTURE_SUFFIXES,
    PICTURES_AND_RECORDS,
    TEXT_SUFFIXES,
    checked_paths,
    deliver_all,
    form_of,
)

Flow = Annotated[bool, typer.Option("--flow", help="Follow the rule's flow instead of its map.")]
Resolution = Annotated[
    int, options.whole_option("--resolution", help="Grid points per weight, for up to two weights.")
]
Samples = Annotated[
    int | None,
    options.whole_option(
        "--samples", help="Number of random starts, for more than two weights; 10000 by default."
    ),
]
Refine = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Follow a coarse grid, and of finer ones only the cells that have a neighbour with "
        "another label.",
    ),
]
Zoom = Annotated[
    str | None,
    typer.Option(
        "--zoom",
        help="A second box, given as --box, that is shown instead; attractors keep the numbers "
        "and colours that they have in --box.",
    ),
]


def command(
    context: typer.Context,
    loss: options.Loss,
    output: options.OutputsIfAny = None,
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    flow: Flow = False,
    box: options.BoxText = None,
    resolution: Resolution = 100,
    samples: Samples = None,
    refine: Refine = False,
    zoom: Zoom = None,
    store: chunks.Store = None,
    part: chunks.Part = None,
    chunk_cells: chunks.ChunkCells = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    journal: options.Journal = None,
    json: options.AsJson = False,
    form: options.Form = None,
) -> int:
    """Follow orbits from all over a box; print the attractors and the share of each basin.

    A share is the part of the starts whose orbits end there. The brackets after
    it are a 95 % interval.
    """
    printed = form_of(json, form)
    target = options.checked_journal(journal)
    paths = checked_paths(output or [], PICTURES_AND_RECORDS)
    import samflow as sf
    from samflow import _checks

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    if made.dim != 2 and any(path.suffix in PICTURE_SUFFIXES for path in paths):
        raise _checks.ArgumentError(
            f"Argument `-o` needs a loss with two weights for a picture, but {made.name} has "
            f"{made.dim}. Leave it out, or give a file for the result, such as shares.csv."
        )
    system = (
        options.make_flow(made, rule, rho=rho)
        if flow
        else options.make_map(made, rule, rho=rho, lr=lr, momentum=momentum)
    )
    if zoom is not None and store is not None:
        raise _checks.ArgumentError("Argument `--zoom` has no store: leave out `--store`.")
    follow: Any = functools.partial(
        sf.basins,
        system,
        resolution=resolution if made.dim <= 2 else None,
        num_samples=samples if made.dim > 2 else None,
        progress=chunks.Meter("starts decided"),
        **chunks.arguments(store, part, chunk_cells),
    )
    inner = None if zoom is None else options.make_box(zoom, made, "--zoom")
    found = follow(options.make_box(box, made), refine=refine)
    if inner is not None:
        found = follow(inner, refine=refine, attractors=found)
    chunks.say_missing(context, store)
    lines = [Text(line) for line in (found.summary() if store else str(found)).splitlines()]
    tables = {path.suffix for path in paths} - {*PICTURE_SUFFIXES, *TEXT_SUFFIXES}
    result = found.load() if store and tables else found
    draw = lambda: sf.plots.basins(found)  # noqa: E731
    deliver_all(lines, result, draw, form=printed, paths=paths, journal=target)
    return 0
