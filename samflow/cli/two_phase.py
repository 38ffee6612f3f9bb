"""`samflow two-phase`: a late switch from GD to SAM, checked against theory."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    RECORD_SUFFIXES,
    Meter,
    checked_path,
    deliver,
    form_of,
    progress,
    say,
    table_of,
)

if TYPE_CHECKING:
    from samflow.switching import LateSwitch

Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="Weights from which GD goes to a minimum, such as 2,0.1. Not with --loss digits.",
    ),
]
Radius = Annotated[
    float | None,
    options.number_option(
        "--rho", help="Radius of the ascent step; by default 0.2, for digits 0.07."
    ),
]
StepSize = Annotated[
    float | None,
    options.number_option("--lr", help="Step size; by default 0.3, for digits 0.05."),
]
Name = Annotated[
    str,
    typer.Option(
        "--loss",
        help='Name of a loss, see `samflow losses`; a formula such as "x**2 - y**2"; or `digits`, '
        "a network on handwritten digits (takes minutes).",
    ),
]
Steps = Annotated[
    int, options.whole_option("--steps", help="Number of steps after the switch, at least 50.")
]


class _Defaults(NamedTuple):
    rho: float
    lr: float


class _Problem(NamedTuple):
    """A loss, how to make the weights from which GD starts, and how small ‖g‖ is to get."""

    loss: Any
    w0: Callable[[], Any]
    gd_tol: float | None


DIGITS = "digits"
"""The name of a loss which is no formula: a network on real data."""

_VALLEY = _Defaults(rho=0.2, lr=0.3)
_DIGITS = _Defaults(rho=0.07, lr=0.05)
"""The training stops at a sharpness of about 20.9: USAM leaves from rho = 0.044 on."""
_DIGITS_TOL = 8e-4
"""Reached in about 50,000 steps; nearly flat directions would take very many more."""
_REPORT_EVERY = 5000


def command(
    loss: Name,
    start: Start = None,
    rule: options.Rule = "usam",
    rho: Radius = None,
    lr: StepSize = None,
    momentum: options.Momentum = 0.0,
    steps: Steps = 2000,
    dim: options.Dim = None,
    json: options.AsJson = False,
    form: options.Form = None,
    output: options.OutputOfRecord = None,
) -> int:
    """Run GD to a minimum, switch to SAM there, and check four claims on such a switch.

    P1: the escape is exponential. P2: the end lies in the same valley. P3: it
    is flatter. P4: the convergence is exponential.
    """
    printed = form_of(json, form)
    path = checked_path(output, RECORD_SUFFIXES)
    real = loss.strip().lower() == DIGITS
    radius = (_DIGITS if real else _VALLEY).rho if rho is None else rho
    step = (_DIGITS if real else _VALLEY).lr if lr is None else lr
    options.check_hyperparameters(rho=radius, lr=step, momentum=momentum)
    problem = _digits(start, dim) if real else _from_start(options.make_loss(loss, dim=dim), start)
    system = options.make_map(problem.loss, rule, rho=radius, lr=step, momentum=momentum)
    import samflow as sf
    from samflow.switching import ClaimVerdict

    found = sf.two_phase(
        system, problem.w0(), num_steps=steps, gd_tol=problem.gd_tol, progress=progress
    )
    deliver(render(found), found, form=printed, path=path)
    for phase in found.phases:
        if phase.verdict is ClaimVerdict.not_measured:
            say(f"{phase.name} was not measured: {phase.reason}.")
    if found.fails:
        failed = found.named(ClaimVerdict.fails)
        say(f"Not as predicted: {failed}. The orbit after the switch: {found.status.label}.")
    return 0 if found.holds else 1


def render(found: "LateSwitch") -> list[RenderableType]:
    """Return a switch as it is printed: the answer, and a row for each prediction."""
    (before, after), settings = found.sharpness, dict(found.provenance)
    table = table_of(
        "", "prediction", "predicted", "measured", "95 % interval", "tolerance", "holds"
    )
    for phase in found.phases:
        interval = f"{phase.low:.6g} to {phase.high:.6g}" if math.isfinite(phase.mean) else "-"
        table.add_row(
            phase.name,
            phase.statement,
            _shown(phase.predicted),
            _shown(phase.measured),
            interval,
            f"{phase.tolerance:.2g}" if phase.tolerance > 0 else "none",
            {"holds": "yes", "fails": "NO"}.get(phase.verdict, phase.verdict),
        )
    sharpness = (
        f"sharpness {_shown(before)} at GD's minimum, {_shown(after)} at the end; "
        f"the rule's edge {_shown(found.edge)}"
    )
    return [
        Text(found.answer, style="bold"),
        Text(f"GD, then the {settings['system']}"),
        Text(sharpness),
        Text(),
        table,
        Text(),
        Text(f"peak loss {_shown(found.peak)}"),
    ]


def _shown(number: float) -> str:
    return f"{number:.6g}" if math.isfinite(number) else "none"


def _from_start(loss: Any, start: str | None) -> _Problem:
    from samflow import _checks

    if start is None:
        raise _checks.ArgumentError(
            f"Option `--start` is missing. Give {loss.dim} numbers separated by commas: the point "
            "from which GD goes to a minimum."
        )
    w0 = options.make_point("--start", start, loss)
    return _Problem(loss, lambda: w0, None)


def _digits(start: str | None, dim: int | None) -> _Problem:
    """Return the perceptron on handwritten digits, to be trained from random weights."""
    from samflow import _checks

    for name, value in (("--start", start), ("--dim", dim)):
        if value is not None:
            raise _checks.ArgumentError(
                f"Argument `{name}` cannot be given with `--loss {DIGITS}`, but is {value}: the "
                "network starts from random weights. Leave it out."
            )
    import jax.random as jr

    from samflow.networks import digits_loss, train_to_minimum

    loss, w0 = digits_loss(jr.key(0))

    def trained() -> Any:
        progress("training the network by full-batch GD: a minute or two")
        meters: list[Meter] = []

        def report(made: int, most: int, gradient_norm: float) -> None:
            if not meters:
                meters.append(Meter(most, at_most=True))
            if made % _REPORT_EVERY == 0:
                meters[0](f"training: gradient norm {gradient_norm:.3g}; steps", made)

        return train_to_minimum(loss, w0, tol=_DIGITS_TOL, progress=report).w

    return _Problem(loss, trained, _DIGITS_TOL)
