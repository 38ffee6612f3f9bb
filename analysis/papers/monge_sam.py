"""Monge SAM at saddles: what it shares with SAM, and how far its attraction reaches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import rules, theory

NAME = "monge-sam"
TITLE = "Monge SAM is attracted to every saddle that attracts SAM, from a smaller ball"
PAPER = "Jacobsen, Arvanitidis 2025, arXiv 2502.08448"
_study = Study(NAME, "derived in docs/theory, Proposition 24")

RHO, LR, STEPS = 0.1, 0.05, 20_000
SADDLE = (1.0, -0.5)
FLOW_LR = 1e-3
METRICS = (1.0, 20.0, 200.0, 1000.0)
"""α; with ρ|λ₋| = .05 the radii part at α = 20."""
WEAK = (0.6, 0.9, 1.1, 1.6)
"""|λ₋| over SAM's weak bound: on either side."""
SIDES = (0.97, 1.03)
"""Of a bound: within 3 % of it multipliers are too near 1 for `STEPS` steps."""
NUM_STARTS, NEAR = 100, 1e-4
"""Random starts, and their ‖g‖ where they are near the saddle."""
_BEALE_SADDLE = (0.0, 1.0)


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        limits: the largest difference of the two rules' limits at Beale's saddle.
        flow: how many starts just within the radius arrive, and just beyond leave, of how many.
        across: how many cycles are left by orbits beside them iff SAM's are, of how many.
        along: the same of the bound on the metric.
        near: how many random starts nearby SAM and Monge SAM are held from.
        far: the same from between the two radii.
        large: how many starts nearby Monge SAM with a very large metric is held from.

    """

    limits: float
    flow: tuple[int, int]
    across: tuple[int, int]
    along: tuple[int, int]
    near: tuple[int, int]
    far: tuple[int, int]
    large: int


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow orbits of SAM (a metric of 0) and Monge SAM beside their radii and bounds."""
    progress("radii")
    flow = [_flow(metric, side) for metric in METRICS for side in SIDES]
    progress("cycles")
    most = float(theory.monge_largest_metric(SADDLE[0], rho=RHO, lr=LR))
    across = [_across(share * most, weak) for share in (0.0, 0.3, 0.9) for weak in WEAK]
    along = [_along(side * most) for side in SIDES]
    progress("random starts")
    inner, outer = radii()
    between = float(np.sqrt(inner * outer))
    return Record(
        limits=_limits(),
        flow=_count(flow),
        across=_count(across),
        along=_count(along),
        near=(_held(0.0, NEAR), _held(METRICS[0], NEAR)),
        far=(_held(0.0, between), _held(METRICS[-1], between)),
        large=_held(1e5, NEAR),
    )


def radii() -> tuple[float, float]:
    """Return the radius of the largest metric, and SAM's."""
    inner, outer = (float(theory.monge_radius(SADDLE, rho=RHO, metric=a)) for a in (METRICS[-1], 0))
    return inner, outer


def judge(record: Record) -> list[Claim]:
    """Say what is SAM's, what is not, and what of the paper's claim holds."""
    inner, outer = radii()
    return [
        _study.fact(
            "limits",
            "at Beale's saddle the limits of the direction as g → 0 are SAM's, from 64 sides: the "
            "largest difference",
            predicted=0.0,
            measured=record.limits,
            reason="the same operations: α‖g‖ → 0 makes the ascent SAM's",
        ),
        _study.every(
            "radius of the flow",
            "starts at 0.97 r come to the saddle and starts at 1.03 r leave it, "
            "r√(1 + α²r²) = ρ|λ₋|, for α from 1 to 1000: every saddle attracts",
            holding=record.flow[0],
            of=record.flow[1],
            what="starts",
            reason=f"{STEPS:,} steps of {FLOW_LR}; a step moves the radius by less than 1 %",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "across the 2-cycle",
            "an orbit beside the cycle along λ₁ returns to it iff |λ₋| > ηλ₁²/(2 − ηλ₁), SAM's "
            "bound, whatever α is",
            holding=record.across[0],
            of=record.across[1],
            what="cycles",
            reason=f"|λ₋| is {', '.join(map(str, WEAK))} times the bound; {STEPS:,} steps",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "along the 2-cycle",
            "the cycle attracts along itself iff α²ρ² < (2 − ηλ₁)³/(4ηλ₁³(1 − ηλ₁)²): at 0.97 and "
            "1.03 times this α",
            holding=record.along[0],
            of=record.along[1],
            what="cycles",
            reason=f"beyond 3 % a multiplier differs from 1 by .002 or more; {STEPS:,} steps",
            evidence=Evidence.numerical,
        ),
        _study.beside(
            "attraction near a saddle",
            f"orbits of the map from {NUM_STARTS} random points with ‖g‖ = {NEAR:g} near a saddle "
            f"(λ = 1, −.5; ρ = {RHO}, η = {LR}), α = 1",
            paper="less attraction to saddle points",
            found=f"Monge SAM is held from {record.near[1]}, SAM from {record.near[0]}",
            agrees=record.near[1] < record.near[0],
            reason="at a saddle g → 0 and Monge SAM is SAM: what it is there does not depend on α "
            "as long as α²ρ²ηλ³ < 2. If one orbit in ten left, all would stay with probability "
            "3e-5",
            error_probability=3e-5,
            source=PAPER,
        ),
        _study.beside(
            "attraction from afar",
            f"the same from ‖g‖ = {np.sqrt(inner * outer):.3g}, between r = {inner:.3g} for "
            f"α = {METRICS[-1]:g} and SAM's {outer:.3g}",
            paper="less attraction to saddle points",
            found=f"Monge SAM is held from {record.far[1]}, SAM from {record.far[0]}",
            agrees=record.far[1] < record.far[0],
            reason="the radius shrinks where αρ|λ₋| exceeds 1. If both were held from equally "
            "many, a difference as large would have a probability below 1e-6",
            error_probability=1e-6,
            source=PAPER,
        ),
        _study.fact(
            "a very large metric",
            "with α = 1e5 the step no longer fits into the ball that attracts the flow, "
            "ηρλ₁² > r: the map is held from none",
            predicted=0,
            measured=record.large,
            reason=f"{NUM_STARTS} random starts with ‖g‖ = {NEAR:g}, {STEPS:,} steps",
            evidence=Evidence.numerical,
        ),
    ]


def _limits() -> float:
    loss, w = sf.losses.beale(), jnp.array(_BEALE_SADDLE)
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    sides = jnp.stack([jnp.cos(turns), jnp.sin(turns)], axis=1)

    def limits(rule: Any) -> Array:
        return jax.vmap(lambda e: rule.limit(loss, w, e))(sides)

    sam, monge = rules.SAM(rho=RHO), rules.MongeSAM(rho=RHO)  # pyright: ignore
    return float(jnp.abs(limits(sam) - limits(monge)).max())


def _count(cases: list[bool]) -> tuple[int, int]:
    return sum(cases), len(cases)


def _flow(metric: float, side: float) -> bool:
    """Say whether a start on λ₋'s axis, at this part of the radius, does what theory says."""
    radius = float(theory.monge_radius(SADDLE, rho=RHO, metric=metric))
    start = [[0.0, side * radius / abs(SADDLE[1])]]
    return bool(_stays(_follow(SADDLE, metric, FLOW_LR, start))[0] == (side < 1))


def _across(metric: float, share: float) -> bool:
    """Say whether what is across the cycle shrinks iff |λ₋| exceeds SAM's bound."""
    lam, c = SADDLE[0], _radius(metric)
    weak = float(theory.saddle_cycle_bounds(lam, lr=LR)[0])
    end = _follow((lam, -share * weak), metric, LR, [[c, 1e-6 * c]])[0]
    return bool((abs(end[1]) < 1e-6 * c) == (share > 1))


def _along(metric: float) -> bool:
    """Say whether an orbit on λ₁'s axis beside the cycle comes to it iff the metric is below."""
    c = _radius(metric)
    end = _follow(SADDLE, metric, LR, [[c * (1 + 1e-6), 0.0]])[0]
    most = float(theory.monge_largest_metric(SADDLE[0], rho=RHO, lr=LR))
    return bool((abs(abs(end[0]) - c) < 1e-6 * c) == (metric < most))


def _held(metric: float, size: float) -> int:
    """Return from how many random starts with this ‖g‖ orbits stay near the saddle."""
    turns = np.random.default_rng(0).normal(size=(NUM_STARTS, 2))
    starts = size * turns / np.linalg.norm(turns, axis=1)[:, None] / np.array(SADDLE)
    return int(_stays(_follow(SADDLE, metric, LR, starts)).sum())


def _radius(metric: float) -> float:
    lam = SADDLE[0]
    return float(theory.monge_cycle_gradient(lam, rho=RHO, metric=metric, lr=LR)) / lam


def _stays(ends: np.ndarray) -> np.ndarray:
    return np.abs(ends).max(axis=-1) < 10 * RHO


def _follow(lams: tuple[float, float], metric: float, lr: float, starts: Any) -> np.ndarray:
    """Return the ends of orbits of Monge SAM on ½ Σ λᵢwᵢ²."""
    rule = rules.MongeSAM(rho=RHO, metric=metric)  # pyright: ignore[reportCallIssue]
    system = sf.Map(sf.losses.Quadratic(lams), rule, lr=lr)  # pyright: ignore[reportCallIssue]
    return np.asarray(_ends(system, jnp.asarray(starts)))


@eqx.filter_jit
def _ends(system: Any, starts: Array) -> Array:
    def end(w: Array) -> Array:
        return lax.fori_loop(0, STEPS, lambda _, w: system.step(w), w)

    return jax.vmap(end)(starts)
