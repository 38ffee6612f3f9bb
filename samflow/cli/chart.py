"""`samflow chart`: what a critical point is over rho and lr, drawn with theory's curves."""

from typing import Annotated

import typer
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import deliver, picture_path, writing

Point = Annotated[str, typer.Option("--point", help="The critical point, such as 0,1.")]
RhoRange = Annotated[str, typer.Option("--rho", help="Lowest and highest radius, such as 0,0.3.")]
LrRange = Annotated[
    str, typer.Option("--lr", help="Lowest and highest step size, such as 0.001,0.05.")
]
Resolution = Annotated[int, options.whole_option("--resolution", help="Values of rho, and of lr.")]
Picture = Annotated[
    str, typer.Option("--output", "-o", help=f"File for the picture: {options.PICTURES}.")
]


def command(
    loss: options.Loss,
    output: Picture,
    point: Point,
    rho: RhoRange = "0,0.3",
    lr: LrRange = "0.001,0.05",
    rule: options.Rule = "usam",
    momentum: options.Momentum = 0.0,
    resolution: Resolution = 120,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
) -> int:
    """Draw what a critical point is for a rule, over a plane of rho and lr."""
    path = picture_path(output)
    assert path is not None  # --output is required
    import numpy as np

    import samflow as sf
    from samflow import _checks

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    low, high = options.make_range("--rho", rho)
    slow, fast = options.make_range("--lr", lr)
    _checks.nonnegative("--rho", low)
    _checks.positive("--lr", slow)
    number = _checks.count("--resolution", resolution, minimum=2)
    found = sf.stability_chart(
        made,
        sf.rule(rule, rho=high),
        options.make_point("--point", point, made),
        rho=np.linspace(low, high, number),
        lr=np.linspace(slow, fast, number),
        momentum=_checks.fraction("--momentum", momentum),
    )
    with writing(path):
        sf.plots.save(sf.plots.chart(found), path)
    lines = [Text(str(found)), *(Text(line.name) for line in found.boundaries)]
    deliver(lines, found.to_json(), as_json=json, path=None)
    return 0
