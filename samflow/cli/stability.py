"""`samflow stability`: which minima that fit all examples SGD and USAM can keep."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import (
    TEXT_SUFFIXES,
    Meter,
    checked_path,
    deliver,
    form_of,
    say,
    table_of,
)

if TYPE_CHECKING:
    from samflow.noise import AlignmentBound, MeanSquareRate, StabilityThreshold, TypicalRate

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Least-squares problem that w = 0 fits exactly: one row aᵢ per example, the gradient "
        "of its output. A .csv of numbers without a header, or an .npz with one array.",
    ),
]
Random = Annotated[
    str | None,
    typer.Option(
        "--random",
        help="Instead of --data: number of Gaussian rows and number of weights, such as 20,5.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="Instead of --data: `digits`, whose rows are 30 images of handwritten digits.",
    ),
]
BatchSize = Annotated[
    int, options.whole_option("--batch-size", help="Number of examples in each batch.")
]
Replacement = Annotated[
    bool,
    typer.Option(
        "--replacement/--no-replacement", help="Whether a batch may contain an example twice."
    ),
]
Seed = Annotated[
    int, options.whole_option("--seed", help="Seed of the random rows and of the simulation.")
]
Steps = Annotated[
    int,
    options.whole_option(
        "--steps", help="Steps of each simulated chain, from which the typical rate is estimated."
    ),
]

MOST_ENTRIES = 10_000_000
"""Of random rows: 80 MB."""
DIGITS, _NUM_IMAGES = "digits", 30
_SUFFIXES = (".csv", ".npz")


class Report(NamedTuple):
    """What the command finds, each a record of `samflow.noise`."""

    mean_square: "MeanSquareRate"
    typical: "TypicalRate"
    bound: "AlignmentBound | None"
    lr_threshold: "StabilityThreshold"
    rho_threshold: "StabilityThreshold | None"


def command(
    data: Data = None,
    random: Random = None,
    loss: Name = None,
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.1,
    momentum: options.Momentum = 0.0,
    batch_size: BatchSize = 1,
    replacement: Replacement = False,
    seed: Seed = 0,
    steps: Steps = 2000,
    json: options.AsJson = False,
    output: options.Output = None,
) -> int:
    """Say whether SGD or USAM stays at a minimum that fits every example: rates and thresholds."""
    path = checked_path(output, TEXT_SUFFIXES)
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    options.check_seed(seed)
    made = _problem(data, random, loss, seed)
    from samflow.noise import MiniBatch
    from samflow.systems import StochasticMap

    inner = options.make_map(made, rule, rho=rho, lr=lr, momentum=momentum)
    found = _report(StochasticMap(inner, MiniBatch(batch_size, replacement)), seed, steps)
    deliver(_render(found), _as_json(found), form=form_of(json), path=path)
    status = found.mean_square.status
    if status.name != "located":
        say(f"The mean-square rate is unreliable: {status.message}")
        return 1
    return 0


_STAGES = 3


def _report(system: Any, seed: int, steps: int) -> Report:
    import jax.numpy as jnp
    import jax.random as jr

    from samflow import noise

    w = jnp.zeros(system.dim)
    meter = Meter(_STAGES)
    meter("the operator on second moments")
    mean_square = noise.mean_square_rate(system, w)
    meter("chains for the typical rate")
    typical = noise.typical_rate(system, w, key=jr.key(seed), num_steps=steps)
    bound = None if system.map.momentum is not None else noise.alignment_bound(system, w)
    meter("thresholds")
    at_lr = noise.stability_threshold(system, w, "lr")
    at_rho = None
    if hasattr(system.map.rule, "rho") and _kept_without_ascent(system, w):
        at_rho = noise.stability_threshold(system, w, "rho")
    return Report(mean_square, typical, bound, at_lr, at_rho)


def _kept_without_ascent(system: Any, w: Any) -> bool:
    import equinox as eqx
    import jax.numpy as jnp

    from samflow import noise

    plain = eqx.tree_at(lambda s: s.map.rule.rho, system, jnp.asarray(0.0))
    return noise.mean_square_rate(plain, w).radius <= 1


def _render(found: Report) -> list[RenderableType]:
    table = table_of("", "value", "how", "verdict")
    exact, typical, bound = found.mean_square, found.typical, found.bound
    table.add_row(
        "mean-square rate", f"{exact.rate:.6g}", f"{exact.expectation}, {exact.method}",
        exact.stability,
    )  # fmt: skip
    low, high = typical.interval
    interval = f"95 % interval {low:.5g} to {high:.5g}"
    table.add_row("typical rate", f"{typical.rate:.5g}", interval, typical.stability)
    if bound is not None:
        table.add_row(
            "bound [Z]", f"{bound.value:.6g}", f"≤ 1 if stable; alignment {bound.alignment:.4g}",
            "unstable" if bound.violated else "no verdict",
        )  # fmt: skip
    for name, side in (("lr", found.lr_threshold), ("rho", found.rho_threshold)):
        if side is None:
            continue
        said = f"stable to {side.low:.9g}, unstable from {side.high:.9g}"
        if name == "lr" and bound is not None:
            said += f"; bound [Z] {bound.lr:.6g}, ratio {bound.lr / side.value:.4g}"
        table.add_row(f"threshold in {name}", f"{side.value:.6g}", said, side.status.label)
    heading = dict(exact.provenance)["system"]
    note = (
        "Rates are per step, the mean-square rate of E‖w‖² and the typical rate of ‖w‖ in almost "
        "every run. A positive rate means that orbits leave the minimum."
    )
    if bound is not None:
        note += " [Z] is the necessary condition of Zhou et al. 2024."
    return [Text(f"The {heading}", style="bold"), Text(), table, Text(), Text(note)]


def _as_json(found: Report) -> str:
    from samflow.records import plain

    named = {"stability": found.mean_square.stability, **plain(found)}
    return json.dumps(named, indent=2, ensure_ascii=False, allow_nan=False)


def _problem(data: str | None, random: str | None, loss: str | None, seed: int) -> Any:
    from samflow import _checks
    from samflow.noise import least_squares

    given = {"--data": data, "--random": random, "--loss": loss}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise _checks.ArgumentError(
            "Give exactly one of `--data`, `--random` and `--loss digits`, but "
            f"{' and '.join(names) or 'none'} is given."
        )
    if data is not None:
        return least_squares(_read(data), name=Path(data).name)
    if loss is not None:
        _checks.known("loss", loss.strip().lower(), (DIGITS,))
        from samflow.networks import load_digits

        return least_squares(load_digits(_NUM_IMAGES)[0], name=DIGITS)
    assert random is not None
    return least_squares(_random(random, seed), name=f"random({random})")


def _random(text: str, seed: int) -> Any:
    import numpy as np

    from samflow import _checks

    sizes = options.numbers("--random", text)
    if len(sizes) != 2 or not all(size.is_integer() and size >= 1 for size in sizes):
        raise _checks.ArgumentError(
            "Argument `--random` must be two whole numbers of at least 1, the number of examples "
            f"and of weights, such as 20,5, but is {text!r}."
        )
    if sizes[0] * sizes[1] > MOST_ENTRIES:
        raise _checks.ArgumentError(
            f"Argument `--random` must ask for at most {MOST_ENTRIES:,} numbers (examples times "
            f"weights), but asks for {sizes[0] * sizes[1]:.3g}: {text!r}."
        )
    return np.random.default_rng(seed).normal(size=(int(sizes[0]), int(sizes[1])))


def _read(name: str) -> Any:
    import numpy as np

    from samflow import _checks

    path = Path(name)
    if path.suffix not in _SUFFIXES:
        raise _checks.ArgumentError(
            f"Argument `--data` must end in {' or '.join(_SUFFIXES)}, but is {name!r}."
        )
    try:
        if path.suffix == ".csv":
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # an empty file is a warning only
                return np.loadtxt(path, delimiter=",", ndmin=2)
        with np.load(path, allow_pickle=False) as arrays:
            if len(arrays.files) != 1:
                raise _checks.ArgumentError(
                    f"Argument `--data` must hold one array, but {name!r} holds "
                    f"{len(arrays.files)}: {', '.join(arrays.files)}."
                )
            return arrays[arrays.files[0]]
    except OSError as error:
        raise _checks.ArgumentError(
            f"Argument `--data` must be a file that can be read, but {name!r} cannot "
            f"({error.strerror or error})."
        ) from error
    except (ValueError, zipfile.BadZipFile, UserWarning) as error:
        if isinstance(error, _checks.ArgumentError):
            raise
        reason = " ".join(str(error).split())
        raise _checks.ArgumentError(
            f"Argument `--data` must hold numbers, one row per example, but {name!r} does not: "
            f"{reason}"
        ) from error
