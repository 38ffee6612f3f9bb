"""`samflow basins`: which start of a box ends where; drawn for two weights."""

from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import chunks, options
from samflow.cli.output import PICTURE_SUFFIXES, checked_path, deliver, writing

Flow = Annotated[bool, typer.Option("--flow", help="Follow the rule's flow instead of its map.")]
Resolution = Annotated[
    int, options.whole_option("--resolution", help="Points of the grid for each weight.")
]
Samples = Annotated[
    int | None,
    options.whole_option(
        "--samples", help="Number of random starts, for more than two weights; 10000 by default."
    ),
]
Picture = Annotated[
    str | None,
    typer.Option("--output", "-o", help=f"File for the picture: {options.PICTURES}. Two weights."),
]


def command(
    context: typer.Context,
    loss: options.Loss,
    output: Picture = None,
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    flow: Flow = False,
    box: options.BoxText = None,
    resolution: Resolution = 100,
    samples: Samples = None,
    store: chunks.Store = None,
    part: chunks.Part = None,
    chunk_cells: chunks.ChunkCells = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
) -> int:
    """Follow orbits from all over a box; print the attractors and the share of each basin."""
    path = checked_path(output, PICTURE_SUFFIXES)
    import samflow as sf
    from samflow import _checks

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    if path is not None and made.dim != 2:
        raise _checks.ArgumentError(
            f"Argument `-o` needs a loss with two weights, but {made.name} has {made.dim}. Leave "
            "it out."
        )
    system = (
        options.make_flow(made, rule, rho=rho)
        if flow
        else options.make_map(made, rule, rho=rho, lr=lr, momentum=momentum)
    )
    found: Any = sf.basins(
        system,
        options.make_box(box, made),
        resolution if made.dim <= 2 else None,
        num_samples=samples if made.dim > 2 else None,
        progress=chunks.Meter("starts decided"),
        **chunks.arguments(store, part, chunk_cells),
    )
    if path is not None:
        with writing(path):
            sf.plots.save(sf.plots.basins(found), path)
    chunks.say_missing(context, store)
    lines = [Text(line) for line in (found.summary() if store else str(found)).splitlines()]
    deliver(lines, found.to_json(), as_json=json, path=None)
    return 0
