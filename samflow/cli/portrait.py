"""`samflow portrait`: phase portraits of a loss with two weights, as a picture or a film."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    FILM_SUFFIXES,
    PICTURE_SUFFIXES,
    Meter,
    checked_path,
    deliver,
    form_of,
    writing,
)
from samflow.cli.output import progress as tell

_LR = 0.01
_RESOLUTION = 120

Rules = Annotated[
    str,
    typer.Option(
        "--rule",
        help="Name of a rule, such as gd, usam or sam, or a formula such as "
        '"g(w + rho*g)"; see `samflow rules`. Several, such as gd,usam,sam, are drawn beside each '
        "other.",
    ),
]
Rhos = Annotated[
    str,
    typer.Option(
        "--rho",
        help="Radius of the ascent step, at least 0; for several rules also one for each, such as "
        "0,0.05,0.3.",
    ),
]
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
UnderIt = Annotated[
    bool, typer.Option("--basins", help="Draw the basins of attraction beneath, by colour.")
]
Curves = Annotated[
    bool,
    typer.Option(
        "--manifolds", help="Draw the stable and unstable curves of saddles: the separatrices."
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        help="What to draw of levels, motion, nullclines, directions and fixed points, with commas "
        "between.",
    ),
]
Title = Annotated[
    str | None, typer.Option("--title", help="Title; by default rule and hyperparameters.")
]
Size = Annotated[
    str | None,
    typer.Option("--size", help="Width and height in inches, such as 3.3,3.5."),
]
Legend = Annotated[str, typer.Option("--legend", help="Place of the legend: below, right or none.")]
Greys = Annotated[bool, typer.Option("--greys", help="Draw in shades of grey.")]
Parameter = Annotated[
    str,
    typer.Option("--parameter", help="For a film with --range: the hyperparameter that changes."),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range", help="For a film: first and last value of the hyperparameter, such as 0.02,0.06."
    ),
]
Frames = Annotated[int, options.whole_option("--frames", help="For a film: number of frames.")]
Picture = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        help=f"File for the picture: {options.PICTURES}; or for a film, in which orbits run or a "
        "hyperparameter changes: .mp4 (needs ffmpeg) or .gif.",
    ),
]


def command(
    loss: options.Loss,
    output: Picture,
    rule: Rules = "usam",
    rho: Rhos = "0.05",
    lr: StepSize = None,
    momentum: options.Momentum = 0.0,
    flow: Flow = False,
    box: options.BoxText = None,
    start: Starts = None,
    length: Length = None,
    basins: UnderIt = False,
    manifolds: Curves = False,
    layers: Layers = None,
    title: Title = None,
    size: Size = None,
    journal: options.Journal = None,
    legend: Legend = "below",
    greys: Greys = False,
    parameter: Parameter = "rho",
    between: Range = None,
    frames: Frames = 60,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
) -> int:
    """Draw phase portraits of a loss with two weights and print the fixed points."""
    path = checked_path(output, (*PICTURE_SUFFIXES, *FILM_SUFFIXES))
    assert path is not None  # --output is required
    target = options.checked_journal(journal)
    import samflow as sf
    from samflow import _checks
    from samflow.records import to_json

    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    if made.dim != 2:
        raise _checks.ArgumentError(
            f"Argument `--loss` must have two weights to be drawn, but {made.name} has {made.dim}. "
            "Choose another loss."
        )
    film = path.suffix in FILM_SUFFIXES
    _check_options(flow, lr, momentum, manifolds, film=film, ranged=between is not None)
    names = options.rule_names(rule)
    systems = [
        options.make_flow(made, name, rho=radius)
        if flow
        else options.make_map(
            made, name, rho=radius, lr=_LR if lr is None else lr, momentum=momentum
        )
        for name, radius in zip(names, _radii(rho, len(names)), strict=True)
    ]
    starts = [options.make_point("--start", text, made) for text in start or ()]
    look: dict[str, Any] = {
        "starts": starts or None,
        "length": _length(length, whole=not flow),
        "layers": None if layers is None else [part.strip() for part in layers.split(",")],
        "colours": sf.plots.GREYS if greys else None,
        "size": None if size is None else _size(size),
        "legend": _checks.known("--legend", legend, sf.plots.LEGENDS),
        "manifolds": manifolds,
    }
    if film:
        systems = _moving(systems, parameter, between, frames, starts)
    place = options.make_box(box, made)
    if film:
        with sf.plots.journal(target):
            _write_film(path, systems, place, frames, title, look | {"basins": basins})
        systems = [systems[0], *systems[1:][-1:]]
        found = [sf.find_fixed_points(system, place) for system in systems]
    else:
        found = [sf.find_fixed_points(system, place) for system in systems]
        with sf.plots.journal(target):
            _write_picture(path, systems, place, found, basins, title, look)
    lines = []
    for system, points in zip(systems, found, strict=True):
        lines += [Text(f"{system.describe()}: {points}" if len(systems) > 1 else str(points))]
        lines += [
            Text(f"  {options.show_point(w)}  {stability}")
            for w, stability in zip(points.w.tolist(), points.stability, strict=True)
        ]
    result = found[0].to_json() if len(found) == 1 else to_json([each.to_dict() for each in found])
    deliver(lines, result, form=form_of(json), path=None)
    return 0


def _write_picture(
    path: Path,
    systems: list[Any],
    box: Any,
    found: list[Any],
    basins: bool,
    title: str | None,
    look: dict[str, Any],
) -> None:
    import samflow as sf

    under = [
        sf.basins(
            system,
            box,
            _RESOLUTION,
            fixed_points=points,
            progress=lambda done, total: tell(f"{done} of {total} starts decided"),
        )
        for system, points in zip(systems, found, strict=True)
        if basins
    ]
    tell("drawing")
    if len(systems) == 1:
        look |= {"fixed_points": found[0], "basins": under[0] if under else False}
        figure = sf.portrait(systems[0], box, title=title, **look)
    else:
        look |= {"fixed_points": found, "basins": under or False}
        figure = sf.portraits(systems, box, title=title or "", **look)
    with writing(path):
        sf.plots.save(figure, path)


def _write_film(
    path: Path,
    systems: list[Any],
    box: Any,
    frames: int,
    title: str | None,
    look: dict[str, Any],
) -> None:
    import samflow as sf

    number = frames if len(systems) == 1 else len(systems)
    meter = Meter(number)
    with writing(path):
        sf.plots.animate(
            systems[0] if len(systems) == 1 else systems,
            box,
            path,
            titles=None if title is None else [title] * number,
            frames=frames,
            progress=lambda done, total: meter("frames", done),
            **look,
        )


def _check_options(
    flow: bool, lr: float | None, momentum: float, manifolds: bool, *, film: bool, ranged: bool
) -> None:
    from samflow import _checks

    if flow and (lr is not None or momentum):
        raise _checks.ArgumentError(
            "Argument `--flow` cannot be given with `--lr` or `--momentum`: a flow has neither."
        )
    if manifolds and momentum:
        raise _checks.ArgumentError(
            "Argument `--manifolds` cannot be given with `--momentum`: curves in four dimensions "
            "are no lines of the plane."
        )
    if ranged and not film:
        raise _checks.ArgumentError(
            f"Argument `--range` is for films, but `-o` ends otherwise. Give -o a name that ends "
            f"in {' or '.join(FILM_SUFFIXES)}."
        )


def _moving(
    systems: list[Any], parameter: str, between: str | None, frames: int, starts: list[Any]
) -> list[Any]:
    """Return the system of each frame, or the one over which orbits run."""
    import numpy as np

    import samflow as sf
    from samflow import _checks

    number = _checks.count("--frames", frames, minimum=2)
    if len(systems) > 1:
        raise _checks.ArgumentError(
            f"Argument `--rule` must be one rule for a film, but names {len(systems)}. Make one "
            "film for each."
        )
    if between is None:
        if not starts:
            raise _checks.ArgumentError(
                "Argument `--start` or `--range` must say what moves in a film."
            )
        return systems
    leaf = sf.systems.find_leaf(systems[0], parameter, "--parameter")
    low, high = options.make_range("--range", between)
    (_checks.positive if parameter == "lr" else _checks.nonnegative)("--range", low)
    dtype = leaf.value(systems[0]).dtype
    return [
        leaf.replaced(systems[0], value.astype(dtype)) for value in np.linspace(low, high, number)
    ]


def _radii(text: str, count: int) -> list[float]:
    """Return a radius for each rule."""
    from samflow import _checks

    found = options.numbers("--rho", text)
    if len(found) not in (1, count):
        raise _checks.ArgumentError(
            f"Argument `--rho` must be one number, or one for each of {count} rule(s), but is "
            f"{text!r}."
        )
    return found * count if len(found) == 1 else found


def _size(text: str) -> list[float]:
    from samflow import _checks

    sides = options.numbers("--size", text)
    if len(sides) != 2 or not all(0 < side < math.inf for side in sides):
        raise _checks.ArgumentError(
            "Argument `--size` must be width and height in inches, both greater than 0, such as "
            f"3.3,3.5, but is {text!r}."
        )
    return sides


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
