"""SSAM: for which step sizes it is stable where SAM is not, and what it does at saddles."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Study
from analysis.size import Size
from analysis.statistics import Interval, interval, missed
from samflow import rules, theory
from samflow.networks import digits_loss

NAME = "ssam"
TITLE = "SSAM against SAM: the largest stable step size, and saddles"
SMALL_SIZE = "5 networks and one radius on the digits instead of 12 and two."
PAPER = "Tan, Zhang, Liu, Wang, Hao 2024, arXiv 2401.07250"
_study = Study(NAME, "derived in docs/theory, Proposition 16")

RULES = {"GD": rules.GD, "SAM": rules.SAM, "SSAM": rules.SSAM}
RHO, LAMS, START = 0.3, (2.0, 0.5), (0.6, 0.8)
QUARTIC_STARTS = (0.5, 1.0, 2.0)
HALVINGS = 20
RATES = ((1.0, 0.5), (1.0, -0.2)), (0.2, 1.2, 1.9)
"""Eigenvalues, and η|λ₁|."""
SADDLE, SADDLE_LR, NUM_STARTS = (1.0, -0.1), 0.3, 100
"""|λ₋| below SAM's weak bound .176."""
RADII = {Size.full: (0.05, 0.5), Size.small: (0.5,)}
SEEDS = {Size.full: 12, Size.small: 5}
STEPS = 300
_DIGITS_HALVINGS = 8
_FAR = 1e3
_QUARTIC = sf.loss("w**4/4")


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        quadratic: the largest lr with bounded orbits, by rule.
        quartic: the same on w⁴/4, by start and rule.
        rates: measured rates of SSAM with the predicted ones.
        saddle: how many starts SAM leaves the saddle from, and SSAM converges to it from.
        digits: the largest stable lr by radius and rule, one per network.

    """

    quadratic: dict[str, float]
    quartic: dict[float, dict[str, float]]
    rates: list[tuple[float, float]]
    saddle: tuple[int, int]
    digits: dict[float, dict[str, np.ndarray]]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Halve intervals of lr on two formulas and on networks; follow SSAM near critical points."""
    progress("formulas")
    loss = sf.losses.Quadratic(LAMS)
    quadratic = {name: _largest(_bounded(loss, name, START), 0.1, 3.0) for name in RULES}
    quartic = {
        w: {name: _largest(_bounded(_QUARTIC, name, (w,)), 0.01, 20.0) for name in RULES}
        for w in QUARTIC_STARTS
    }
    rates = [(_rate(lams, x), _predicted(lams, x)) for lams in RATES[0] for x in RATES[1]]
    progress("digits")
    digits = {rho: _on_digits(rho, SEEDS[size]) for rho in RADII[size]}
    return Record(quadratic, quartic, rates, _at_saddle(), digits)


def judge(record: Record) -> list[Claim]:
    """Compare with closed forms; decide the paper's two claims case by case."""
    edge = 2 / max(LAMS)
    claims = [
        _study.close(
            f"quadratic: {name}",
            f"largest lr with bounded orbits on ½(2x² + ½y²), ρ = {RHO}: 2/λ₁",
            predicted=edge,
            measured=found,
            rel=2e-3,
            reason="an orbit counts as bounded if it stays below 1e3 for 3,000 steps, as unstable "
            "ones do up to 1.0013 · 2/λ₁; SAM's 2-cycle is longer than that from .9997 · 2/λ₁ on",
        )
        for name, found in record.quadratic.items()
    ]
    for w, found in record.quartic.items():
        known = {"SAM": 2 * w / (w + RHO) ** 3, "SSAM": 2 / w**2}
        claims += [
            _study.close(
                f"w⁴/4 from {w:g}: {name}",
                f"largest lr with bounded orbits from w₀ = {w:g}, ρ = {RHO}",
                predicted=value,
                measured=found[name],
                rel=1e-3,
                reason="beyond, |w| grows at every step, by more and more",
            )
            for name, value in known.items()
        ]
    worst = max(abs(a - b) for a, b in record.rates)
    return [
        *claims,
        _wider(record.quadratic, "a quadratic", "far from the minimum both are GD", False),
        _wider(record.quartic[1.0], "w⁴/4 from w₀ = 1", "(1 + ρ/w₀)³ times SAM's", True),
        _study.below(
            "rates in the plane",
            "the largest difference between SSAM's rate at a minimum (λ = 1, .5) and at a saddle "
            f"(λ = 1, −.2), for η|λ₁| = {', '.join(map(str, RATES[1]))}, and the closed form: it "
            "converges to the saddle as to the minimum",
            bound=0.01,
            measured=worst,
            reason="over 1,000 steps; the ray that the orbit comes to differs from its start by a "
            "constant in the sum, below 10",
        ),
        _study.beside(
            "saddles",
            f"{NUM_STARTS} random starts near a saddle (λ = 1, −.1; η = {SADDLE_LR}, ρ = {RHO})",
            paper="SAM is more prone than SGD to getting stuck at saddles; SSAM addresses this",
            found=f"SAM leaves from {record.saddle[0]}; SSAM converges to it from "
            f"{record.saddle[1]}",
            agrees=record.saddle[1] == 0,
            reason="SSAM reverses the gradient where the loss curves down: every nondegenerate "
            "saddle attracts it for η max|λ| < 2, exponentially. If one orbit in ten left, all "
            "would stay with probability 3e-5",
            error_probability=3e-5,
            source=f"{PAPER}, abstract of the version in JMLR",
        ),
        *(_digits(rho, found) for rho, found in record.digits.items()),
    ]


def _wider(found: dict[str, float], where: str, why: str, expected: bool) -> Claim:
    ratio = found["SSAM"] / found["SAM"]
    return _study.beside(
        f"range of lr on {where}",
        f"largest lr with bounded orbits: SSAM {found['SSAM']:.4g}, SAM {found['SAM']:.4g}",
        paper="SSAM extends the range of learning rates",
        found=f"ratio {ratio:.4g}: {'wider' if expected else 'the same'}; {why}",
        agrees=ratio > 1.01,
        reason="a ratio within 1 % of 1 is none; both are within 0.1 % of closed forms",
        error_probability=1e-9,
        source=PAPER,
    )


def _digits(rho: float, found: dict[str, np.ndarray]) -> Claim:
    gain = interval(np.log(found["SSAM"] / found["SAM"]))
    means = ", ".join(f"{name} {values.mean():.3g}" for name, values in found.items())
    return _study.beside(
        f"range of lr on digits, ρ = {rho:g}",
        f"largest lr at which the loss of a perceptron (64–16–10) on 100 digits is below its start "
        f"after {STEPS} full-batch steps, mean of {len(found['SAM'])} networks: {means}",
        paper="SSAM extends the range of learning rates",
        found=f"log of SSAM's over SAM's {gain}",
        agrees={"higher": True, "lower": False}.get(gain.sign),
        reason="95 % interval over networks, paired; lr is found to 2 %",
        error_probability=_error(gain, len(found["SAM"])),
        source=PAPER,
    )


def _error(gain: Interval, num_seeds: int) -> float:
    return max(missed(gain, num_seeds), 1e-12)


def _largest(
    stable: Callable[[float], bool], low: float, high: float, count: int = HALVINGS
) -> float:
    """Halve the interval of log lr: stable at `low`, not at `high`; NaN if they are not."""
    if not stable(low) or stable(high):
        return float("nan")
    for _ in range(count):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def _made(name: str, rho: float) -> Any:
    return RULES[name]() if name == "GD" else RULES[name](rho=rho)


def _bounded(loss: Any, name: str, start: tuple[float, ...]) -> Callable[[float], bool]:
    def bounded(lr: float) -> bool:
        system = sf.Map(loss, _made(name, RHO), lr=lr)  # pyright: ignore[reportCallIssue]
        return bool(jnp.abs(_end(system, jnp.array(start))).max() < _FAR)

    return bounded


@eqx.filter_jit
def _end(system: Any, w: Array) -> Array:
    """Return where 3,000 steps lead, or the first point beyond 1e3, or within 1e-100 of 0."""

    def going(state: Any) -> Array:
        size = jnp.abs(state[1]).max()
        return (state[0] < 3000) & (size < _FAR) & (size > 1e-100)

    def step(state: Any) -> Any:
        return state[0] + 1, system.step(state[1])

    return lax.while_loop(going, step, (jnp.asarray(0), w))[1]


def _predicted(lams: tuple[float, ...], x: float) -> float:
    return float(theory.renormalised_rate(lams, lr=x))


def _rate(lams: tuple[float, ...], x: float) -> float:
    """Return the mean of log(‖w⁺‖/‖w‖) over 1,000 steps that are put back to ‖w‖ = 1e-7 ρ."""
    system = sf.Map(sf.losses.Quadratic(lams), rules.SSAM(rho=1.0), lr=x)  # pyright: ignore
    return float(_growth(system, jnp.array([0.6, 0.8]))) / 1000


@eqx.filter_jit
def _growth(system: Any, w: Array) -> Array:
    def step(_: Any, state: Any) -> Any:
        w, total = state
        moved = system.step(1e-7 * w) / 1e-7
        size = jnp.linalg.norm(moved)
        return moved / size, total + jnp.log(size)

    return lax.fori_loop(0, 1000, step, (w, jnp.zeros(())))[1]


def _at_saddle() -> tuple[int, int]:
    """Return how many starts SAM leaves from, and from how many SSAM comes to the saddle."""
    turns = np.random.default_rng(0).normal(size=(NUM_STARTS, 2))
    starts = jnp.asarray(1e-3 * RHO * turns / np.linalg.norm(turns, axis=1)[:, None])
    ends = {}
    for name in ("SAM", "SSAM"):
        made = _made(name, RHO)
        system = sf.Map(sf.losses.Quadratic(SADDLE), made, lr=SADDLE_LR)  # pyright: ignore
        ends[name] = np.abs(jax.vmap(functools.partial(_end, system))(starts)).max(axis=1)
    return int((ends["SAM"] > 10 * RHO).sum()), int((ends["SSAM"] < 1e-6 * RHO).sum())


def _on_digits(rho: float, num_seeds: int) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for seed in range(num_seeds):
        loss, w = digits_loss(jr.key(seed), num_images=100, hidden=16)
        for name in RULES:
            stable = _trains(loss, w, _made(name, rho))
            found[name].append(_largest(stable, 0.02, 4.0, _DIGITS_HALVINGS))
    return {name: np.array(values) for name, values in found.items()}


def _trains(loss: Any, w: Array, made: Any) -> Callable[[float], bool]:
    before = float(loss(w))

    def trains(lr: float) -> bool:
        system = sf.Map(loss, made, lr=lr)  # pyright: ignore[reportCallIssue]
        return bool(_loss_after(system, w) < before)

    return trains


@eqx.filter_jit
def _loss_after(system: Any, w: Array) -> Array:
    return system.loss(lax.fori_loop(0, STEPS, lambda _, w: system.step(w), w))
