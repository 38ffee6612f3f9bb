"""`samflow escape`: how long noise takes to drive an optimiser out of a ball about a saddle."""

import json as json_module
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow._status import Status
from samflow._text import is_formula, shown_name
from samflow.cli import options
from samflow.cli.output import (
    RECORD_SUFFIXES,
    TEXT_SUFFIXES,
    Meter,
    checked_path,
    deliver,
    form_of,
    say,
    table_of,
)

if TYPE_CHECKING:
    from samflow.noise import AdditiveNoise, EscapeTimes

HESSIAN, ISOTROPIC = "hessian", "isotropic"
_PLAIN = "gd"
"""What every rule is compared with: SGD, since there is noise."""
_MISSING = "not reached"
_AT_REST = 1e-6
"""Largest gradient at a critical point."""

Noise = Annotated[
    str,
    typer.Option(
        "--noise",
        help="Noise of the gradient: hessian has covariance |H|/B, with H the Hessian at --point; "
        "isotropic has variance sigma²/B in each direction.",
    ),
]
Sigma = Annotated[
    float | None,
    options.number_option(
        "--sigma", help="Standard deviation of isotropic noise for one example; 1 by default."
    ),
]
BatchSize = Annotated[
    int,
    options.whole_option(
        "--batch-size",
        help="Batch size B, at least 1. The covariance of the noise is divided by it.",
    ),
]
Centre = Annotated[
    str | None,
    typer.Option(
        "--point", help="Centre of the ball, such as 0,1. By default the saddle of the loss."
    ),
]
Start = Annotated[
    str | None,
    typer.Option("--start", help="Start of the paths, such as 0,1. By default the centre."),
]
Radius = Annotated[
    float, options.number_option("--radius", help="Radius of the ball, greater than 0.")
]
Paths = Annotated[int, options.whole_option("--paths", help="Number of paths for each rule.")]
MaxSteps = Annotated[
    int,
    options.whole_option(
        "--max-steps", help="Largest number of steps; a path still inside is then censored."
    ),
]
Seed = Annotated[
    int, options.whole_option("--seed", help="Seed of the random numbers, at least 0.")
]
RuleName = Annotated[
    str,
    typer.Option(
        "--rule",
        help="Name of a rule, or its formula, see `samflow rules`. It is compared with SGD.",
    ),
]


def command(
    loss: options.Loss,
    rule: RuleName = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    batch_size: BatchSize = 32,
    noise: Noise = HESSIAN,
    sigma: Sigma = None,
    point: Centre = None,
    start: Start = None,
    radius: Radius = 0.5,
    paths: Paths = 1000,
    max_steps: MaxSteps = 20_000,
    seed: Seed = 0,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    json: options.AsJson = False,
    output: options.OutputOfRecord = None,
) -> int:
    """Simulate when a rule and SGD leave a ball around a saddle: median time, interval, share."""
    path = checked_path(output, RECORD_SUFFIXES)
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    from samflow import _checks

    _checks.positive("--radius", radius, "It is the radius of the ball.")
    counts = {"--batch-size": batch_size, "--paths": paths, "--max-steps": max_steps}
    for name, value in counts.items():
        _checks.count(name, value)
    options.check_seed(seed)
    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    centre = _centre(made, point)
    begin = None if start is None else options.make_point("--start", start, made)
    model = _noise(noise, sigma, made, centre, batch_size)
    names = list(dict.fromkeys((_PLAIN, rule if is_formula(rule) else rule.lower())))
    maps = {n: options.make_map(made, n, rho=rho, lr=lr, momentum=momentum) for n in names}
    _warn_unless_critical(made, centre)
    import jax.random as jr

    import samflow as sf

    meters = {name: Meter(paths) for name in maps}
    found = {
        name: sf.escape_time(
            sf.StochasticMap(step, model),
            centre,
            radius=radius,
            key=jr.key(seed),
            num_paths=paths,
            max_steps=max_steps,
            start=begin,
            progress=lambda ended, _, name=name: meters[name](
                f"{_shown_name(name)}: paths that have ended", ended
            ),
        )
        for name, step in maps.items()
    }
    heading = (
        f"{made.name}: escape from the ball of radius {radius:g} about {options.show_point(centre)}"
    )
    result: Any = json_module.dumps(_plain(found, made.name, centre), indent=2, ensure_ascii=False)
    if path is not None and path.suffix not in TEXT_SUFFIXES:
        result = sf.noise.compare_escape(found, loss=made.name, point=centre)
    deliver(render(heading, found), result, form=form_of(json), path=path)
    return _verdict(found)


def render(heading: str, found: "dict[str, EscapeTimes]") -> list[RenderableType]:
    """Return escape times as they are printed: the setting, and a row for each rule."""
    table = table_of(
        "rule", "median steps", "95 % interval", "mean, restricted", "escaped", "still inside",
        "lost",
    )  # fmt: skip
    for name, times in found.items():
        count = times.count()
        low, high = (_steps(end) for end in times.interval)
        interval = low if low == high == _MISSING else f"{low} to {high}"
        inside = count.get(Status.still_inside.label, 0)
        mean = times.survival.mean
        table.add_row(
            _shown_name(name),
            _steps(times.median),
            interval,
            f"{mean:.6g} ± {times.survival.mean_error:.2g}",
            f"{times.share:.1%}",
            str(inside),
            str(len(times.times) - inside - count.get(Status.escaped.label, 0)),
        )
    last = next(reversed(found.values()))
    settings = dict(last.provenance)
    lines = [
        f"{_shown_name(name)}: no {times.survival.reason}".replace("no the ", "no ")
        for name, times in found.items()
        if times.survival.reason
    ]
    lines += [
        f"{_shown_name(name)}: no path was followed beyond step {times.survival.horizon:g}, and "
        f"the mean is of min(T, {times.survival.horizon:g})"
        for name, times in found.items()
        if times.survival.horizon < times.max_steps
    ]
    return [
        Text(heading, style="bold"),
        Text(f"{settings['num_paths']} paths of the {settings['system']}"),
        Text(),
        table,
        Text(),
        *(Text(line) for line in lines),
        Text(
            f"Kaplan–Meier estimates; the mean is that of min(T, {last.max_steps}). Paths still "
            "inside are censored."
        ),
    ]


def _verdict(found: "dict[str, EscapeTimes]") -> int:
    kept = {Status.escaped.label, Status.still_inside.label}
    lost = {
        name: {cause: n for cause, n in times.count().items() if cause not in kept}
        for name, times in found.items()
    }
    for name, causes in lost.items():
        if causes:
            shown = ", ".join(f"{n} {cause}" for cause, n in causes.items())
            say(f"{_shown_name(name)} lost paths: {shown}. They count as censored, not as escaped.")
    return 1 if any(lost.values()) else 0


def _plain(found: "dict[str, EscapeTimes]", loss: str, centre: list[float]) -> dict[str, Any]:
    from samflow.records import plain

    rules = []
    for name, times in found.items():
        row: dict[str, Any] = {"rule": name, "median": times.median}
        row |= {"median_low": times.interval[0], "median_high": times.interval[1]}
        row |= {"reason": times.survival.reason, "share_escaped": times.share}
        row |= {"restricted_mean": times.survival.mean, "mean_error": times.survival.mean_error}
        row |= {"horizon": times.survival.horizon}
        row |= {"count": times.count(), "provenance": dict(times.provenance)}
        curve = times.survival
        row["curve"] = {
            "steps": curve.times, "survival": curve.survival, "low": curve.low, "high": curve.high
        }  # fmt: skip
        rules.append(row)
    first = next(iter(found.values()))
    head = {"loss": loss, "point": centre, "radius": first.radius, "max_steps": first.max_steps}
    return {name: plain(value) for name, value in {**head, "rules": rules}.items()}


def _centre(loss: Any, text: str | None) -> list[float]:
    if text is not None:
        return options.make_point("--point", text, loss)
    points = getattr(loss, "critical_points", ())
    for kind in ("saddle", "maximum"):
        for known in points:
            if known.shape == kind:
                return list(known.w)
    from samflow import _checks

    raise _checks.ArgumentError(
        f"Option `--point` is missing: no saddle of {loss.name} is listed. Give {loss.dim} numbers "
        "separated by commas. `samflow saddle` finds critical points."
    )


def _noise(
    name: str, sigma: float | None, loss: Any, centre: list[float], batch_size: int
) -> "AdditiveNoise":
    from samflow import _checks, noise

    kind = _checks.known("noise", name.lower(), (HESSIAN, ISOTROPIC))
    if kind == HESSIAN:
        if sigma is not None:
            raise _checks.ArgumentError(
                f"Argument `--sigma` needs `--noise {ISOTROPIC}`, but is {sigma:g} with `--noise "
                f"{HESSIAN}`. The size of that noise follows from the Hessian. Leave `--sigma` out."
            )
        return noise.hessian_noise(loss, centre, batch_size=batch_size)
    size = 1.0 if sigma is None else sigma
    _checks.nonnegative("--sigma", size)
    return noise.isotropic_noise(loss.dim, sigma=size, batch_size=batch_size)


def _warn_unless_critical(loss: Any, centre: list[float]) -> None:
    import jax.numpy as jnp

    gradient = float(jnp.linalg.norm(loss.gradient(jnp.asarray(centre))))
    if not gradient <= _AT_REST:
        say(
            f"Warning: {options.show_point(centre)} is no critical point of {loss.name}: its "
            f"gradient has norm {gradient:.3g}, and paths drift away without noise."
        )


def _shown_name(name: str) -> str:
    return "SGD" if name == _PLAIN else shown_name(name)


def _steps(number: float) -> str:
    return _MISSING if math.isnan(number) else f"{number:g}"
