"""`samflow basins`: which start of a box ends where; drawn for two weights."""

from typing import Annotated

import typer
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import PICTURE_SUFFIXES, checked_path, deliver, progress, writing

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
    found = sf.basins(
        system,
        options.make_box(box, made),
        resolution if made.dim <= 2 else None,
        num_samples=samples if made.dim > 2 else None,
        progress=lambda done, total: progress(f"{done} of {total} starts decided"),
    )
    if path is not None:
        with writing(path):
            sf.plots.save(sf.plots.basins(found), path)
    lines = [Text(line) for line in str(found).splitlines()]
    deliver(lines, found.to_json(), as_json=json, path=None)
    return 0
