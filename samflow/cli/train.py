"""`samflow train`: a training that is looked at every k steps, against its edge of stability."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    PICTURES_AND_RECORDS,
    checked_paths,
    deliver_all,
    form_of,
    progress,
    say,
    table_of,
)

if TYPE_CHECKING:
    from samflow.networks import TrainingRecord

DIGITS = "digits"
"""The name of a loss which is no formula: a network on real data."""
_MOST_LINES = 25

Name = Annotated[
    str,
    typer.Option(
        "--loss",
        help="`digits`, a network on handwritten digits, with the others as test data; or a name "
        'of `samflow losses`, or a formula such as "x**2 - y**2", with --start.',
    ),
]
Start = Annotated[
    str | None,
    typer.Option("--start", help="Weights to start from, such as 2,0.1. Not with --loss digits."),
]
Steps = Annotated[int, options.whole_option("--steps", help="Number of steps in all.")]
Every = Annotated[int, options.whole_option("--every", help="Measure every so many steps.")]
Batch = Annotated[
    int | None,
    options.whole_option(
        "--batch-size",
        help="Examples per step; by default all. With it batch sharpness is measured, too.",
    ),
]
Pairs = Annotated[
    int, options.whole_option("--eigenvalues", help="How many leading eigenvalues are followed.")
]
Seed = Annotated[
    int, options.whole_option("--seed", help="Seed of the weights and of the order of examples.")
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="An .npz file that keeps the state of the training. If it exists, and is of the same "
        "command, training resumes from it, and the rows are kept; --steps may be larger.",
    ),
]


def command(
    loss: Name = DIGITS,
    start: Start = None,
    rule: options.Rule = "gd",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.15,
    momentum: options.Momentum = 0.0,
    steps: Steps = 1000,
    every: Every = 50,
    batch_size: Batch = None,
    eigenvalues: Pairs = 1,
    seed: Seed = 0,
    state: State = None,
    journal: options.Journal = None,
    json: options.AsJson = False,
    form: options.Form = None,
    output: options.OutputsIfAny = None,
) -> int:
    """Train, and measure sharpness, the edge of stability and alignment every k steps.

    In the table `ratio` is sharpness over edge: below 1 the step is stable, and
    lr could be larger. |cos(g, v1)| is the alignment of the gradient with the
    sharpest direction, and `products` is the number of Hessian-vector products.
    """
    printed = form_of(json, form)
    target = options.checked_journal(journal)
    paths = checked_paths(output or [], PICTURES_AND_RECORDS)
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    options.check_seed(seed)
    from pathlib import Path

    import jax.random as jr

    from samflow import _checks, networks, plots

    steps = _checks.count("--steps", steps)
    kept = None if state is None else _checks.writable("--state", state, (".npz",))
    made, w0, test = _problem(loss, start, jr.key(seed))
    if batch_size is not None and test is None:
        raise _checks.ArgumentError(
            f"Argument `--batch-size` needs `--loss {DIGITS}`, but {made.name} is no mean over "
            "examples. Leave it out."
        )
    system = options.make_map(made, rule, rho=rho, lr=lr, momentum=momentum)
    monitor = networks.Monitor(
        every=_checks.count("--every", every),
        num_eigenvalues=_checks.count("--eigenvalues", eigenvalues),
        batch_size=batch_size,
        test=test,
        key=jr.key(seed),
    )
    if kept is not None and Path(kept).exists():
        at = networks.load_state(kept, system, batch_size=batch_size, monitor=monitor)
        progress(f"continuing from epoch {at.epoch}, step {at.step}")
    else:
        at = networks.first_state(system, w0, key=jr.key(seed))
    an_epoch = 1 if batch_size is None else math.ceil(made.num_examples / batch_size)
    until = math.ceil(steps / an_epoch)
    how: Any = {"until": until, "batch_size": batch_size, "monitor": monitor}
    try:
        ended = networks.train(system, at, **how, save_to=kept, save_every=every, progress=progress)
    except KeyboardInterrupt as interrupt:
        if kept is None:
            interrupt.add_note("Give --state FILE to keep the training, and go on from there.")
        raise
    found = monitor.record
    draw = lambda: plots.training(found)  # noqa: E731
    deliver_all(render(found), found, draw, form=printed, paths=paths, journal=target)
    if ended.failed_at is not None:
        say(f"The training ended early, at epoch {ended.failed_at[0]}: {ended.status.message}")
        return 1
    return 0


def render(found: "TrainingRecord") -> list[RenderableType]:
    """Return a record as it is printed: the answer, and a line for each row."""
    names = ("step", "loss", "sharpness", "edge", "ratio", "|cos(g, v1)|", "products")
    batches, errors = (
        any(map(math.isfinite, values)) for values in (found.batch_sharpness, found.test_error)
    )
    more = [*(["batch sharpness"] if batches else []), *(["test error"] if errors else [])]
    table = table_of(*names, *more)
    stride = -(-len(found) // _MOST_LINES)
    for i in range(0, len(found), stride):
        ratio = found.curvature[i] / found.edge[i]
        cells = [found.loss[i], found.curvature[i], found.edge[i], ratio, found.cosine[i]]
        cells = [f"{found.steps[i]}", *map(_shown, cells), f"{found.num_products[i]}"]
        cells += [_shown(found.batch_sharpness[i])] if batches else []
        table.add_row(*cells, *([_shown(found.test_error[i])] if errors else []))
    left = len(found) - len(range(0, len(found), stride))
    after = [Text(f"{left} more rows are in the record (-o)")] if left else []
    return [Text(answer(found), style="bold"), Text(str(found)), Text(), table, *after]


def answer(found: "TrainingRecord") -> str:
    """Return where the training is against its edge, in one sentence."""
    sharp, edge, name = found.curvature[-1], found.edge[-1], found.update[-1]
    if not math.isfinite(edge):
        sharp = found.sharpness[-1]
        return f"At the end the sharpness is {_shown(sharp)}; the edge of {name} is unknown."
    where = "above" if sharp > edge else "below"
    return (
        f"At the end the sharpness {_shown(sharp)} is {where} the edge of {name}, {_shown(edge)}: "
        f"{sharp / edge:.2f} of it."
    )


def _shown(number: float) -> str:
    return f"{number:.4g}" if math.isfinite(number) else "-"


def _problem(name: str, start: str | None, key: Any) -> tuple[Any, Any, Any]:
    """Return the loss, the first weights, and the loss on test data where there are any."""
    from samflow import _checks

    if name.strip().lower() != DIGITS:
        loss = options.make_loss(name)
        if start is None:
            raise _checks.ArgumentError(
                f"Option `--start` is missing. Give {loss.dim} numbers separated by commas."
            )
        return loss, options.make_point("--start", start, loss), None
    if start is not None:
        raise _checks.ArgumentError(
            f"Argument `--start` cannot be given with `--loss {DIGITS}`, but is {start}: the "
            "network starts from random weights. Leave it out."
        )
    from samflow.networks import digits_loss, load_digits

    loss, w0 = digits_loss(key)
    n, num_all = loss.num_examples, 1797
    x, y = load_digits(num_all)
    return loss, w0, loss.on(x[n:], y[n:], None)
