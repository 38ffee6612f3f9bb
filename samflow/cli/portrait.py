"""`samflow portrait`: the phase portrait of a loss with two weights, as a file."""

from typing import Annotated

import typer
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import checked_path, deliver, writing

_LR = 0.01
_SUFFIXES = (".pdf", ".png", ".svg")

Flow = Annotated[bool, typer.Option("--flow", help="Draw the rule's flow instead of its map.")]
StepSize = Annotated[
    float | None,
    options.number_option("--lr", help="Step size of the map, greater than 0; 0.01 by default."),
]
Starts = Annotated[
    list[str] | None,
    typer.Option(
        "--start", help="Start of an orbit, such as 2,-0.5. Repeat the option for several."
    ),
]
Length = Annotated[
    float | None,
    options.number_option(
        "--length",
        help="Length of orbits: steps of a map (default 1000) or time of a flow (default 10).",
    ),
]
Picture = Annotated[
    str, typer.Option("--output", "-o", help="File for the picture: .pdf, .png or .svg.")
]


def command(
    loss: options.Loss,
    output: Picture,
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: StepSize = None,
    momentum: options.Momentum = 0.0,
    flow: Flow = False,
    box: options.BoxText = None,
    start: Starts = None,
    length: Length = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
) -> int:
    """Draw the phase portrait of a loss with two weights and print the fixed points."""
    path = checked_path(output, _SUFFIXES)
    assert path is not None  # --output is required
    import samflow as sf
    from samflow import _checks

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    if made.dim != 2:
        raise _checks.ArgumentError(
            f"Argument `--loss` must have two weights to be drawn, but {made.name} has {made.dim}. "
            "Choose another loss."
        )
    if flow and (lr is not None or momentum):
        raise _checks.ArgumentError(
            "Argument `--flow` cannot be given with `--lr` or `--momentum`: a flow has neither."
        )
    system = (
        options.make_flow(made, rule, rho=rho)
        if flow
        else options.make_map(made, rule, rho=rho, lr=_LR if lr is None else lr, momentum=momentum)
    )
    starts = [options.make_point("--start", text, made) for text in start or ()]
    duration = _length(length, whole=not flow)
    place = options.make_box(box, made)
    found = sf.find_fixed_points(system, place)
    figure = sf.portrait(system, place, starts=starts or None, length=duration, fixed_points=found)
    with writing(path):
        sf.plots.save(figure, path)
    lines = [Text(str(found))]
    lines += [
        Text(f"  {options.show_point(w)}  {stability}")
        for w, stability in zip(found.w.tolist(), found.stability, strict=True)
    ]
    deliver(lines, found.to_json(), as_json=json, path=None)
    return 0


def _length(value: float | None, *, whole: bool) -> float | None:
    from samflow import _checks

    if value is None:
        return None
    _checks.positive("--length", value)
    if not whole:
        return value
    if value != int(value):
        raise _checks.ArgumentError(
            f"Argument `--length` must be a whole number of steps for a map, but is {value}."
        )
    return int(value)
