"""Constant ρ: fast on strongly convex losses, a floor under noise, rest where g ≠ 0."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import sympy
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Study

NAME = "si-yun"
TITLE = (
    "At constant ρ SAM converges like 1/T² without noise, and keeps an error of order ρ² with it"
)
_PAPER = "Si, Yun 2023, arXiv 2306.09850"
_study = Study(NAME, _PAPER)

_LAMS = (4.0, 1.0)
_RHO = 0.2
_START = (1.0, -2.0)
_RUNS = (256, 1024, 4096, 16384, 65536)

_CURVATURES = (3.0, 1.0)
"""Of two examples ½a(x ∓ 1)², drawn with equal chances: their mean has its minimum at ½."""
_SHIFT = (_CURVATURES[0] - _CURVATURES[1]) / sum(_CURVATURES)
_RADII = (0.1, 0.2, 0.4)
_PATHS = 4096
_STEPS = 4000
_DECAY = 2.0

_REST = 0.375
"""|g| where SAM rests on the double well ¼(w² − 1)² at rho = 1.5."""


class Rested(NamedTuple):
    """Of a double well as wide as rho: what is proved of SAM's resting points, and one orbit."""

    proof: str
    gradient: float


class Record(NamedTuple):
    """‖w_T‖ for runs of T steps, the mean position under noise, and points of rest."""

    with_log: list[float]
    without: list[float]
    best: list[float]
    means: list[float]
    errors: list[float]
    rested: dict[float, Rested]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Run SAM for many numbers of steps, under noise with falling lr, and on double wells."""
    progress("runs without noise")
    ends = [[_end(steps, lr) for steps in _RUNS] for lr in (_paper_lr, _plain_lr)]
    progress("runs with noise")
    moments = [_under_noise(rho, _PATHS) for rho in _RADII]
    progress("points of rest")
    return Record(
        ends[0],
        ends[1],
        [_best(steps) for steps in _RUNS],
        [mean for mean, _ in moments],
        [error for _, error in moments],
        {rho: _rest(rho) for rho in (0.15, 1.5)},
    )


def judge(record: Record) -> list[Claim]:
    """Compare with the 2-cycle's radius, the shifted minimum, and the point of rest."""
    first, last = _RUNS[0], _RUNS[-1]
    logs = [math.log(x) for x in (record.with_log[0], record.with_log[-1])]
    told = "on ½(4x² + y²) from (1, −2), rho = .2"
    claims = [
        _study.close(
            f"T = {steps}",
            f"‖w_T‖ of SAM with lr = 2 log T/(μT), {told}, is the radius lr·rho·λ₁/(2 − lr·λ₁) of "
            "the 2-cycle along λ₁: the loss falls like λ₁³ rho² log² T/(2 μ² T²), the paper's "
            "Θ̃(1/T²)",
            predicted=_radius(_paper_lr(steps)),
            measured=end,
            rel=1e-6,
            reason="the orbit arrives at the time log(1 + ‖g₀‖/(rho·μ))/μ = 3.2 at the latest, of "
            "2 log T = 11 or more, and then contracts onto the cycle",
        )
        for steps, end in zip(_RUNS, record.with_log, strict=True)
    ]
    claims += [
        _study.close(
            "slope",
            f"slope of log(‖w_T‖/log T) against log T from T = {first} to {last}, with lr = 2 log "
            "T/(μT): −1, so that the loss falls like (log T/T)²",
            predicted=-1.0,
            measured=(logs[1] - logs[0] - math.log(math.log(last) / math.log(first)))
            / math.log(last / first),
            rel=0.02,
            reason="the cycle's radius is lr·rho·λ₁/2 but for the factor 1/(1 − lr·λ₁/2), which is "
            f"{1 / (1 - 2 * _paper_lr(first)):.3f} at T = {first}: log of this over log(T₂/T₁)",
        ),
        _study.close(
            "without log T",
            "slope of log ‖w_T‖ against log T with lr = 4/(μT): −1. The logarithm in the paper's "
            "rate is not needed here, because SAM arrives in finite time",
            predicted=-1.0,
            measured=math.log(record.without[-1] / record.without[0]) / math.log(last / first),
            rel=0.01,
            reason="as before, 1/(1 − lr·λ₁/2) at the first T",
            source=f"derived in docs/theory, section 3; {_PAPER}",
        ),
    ]
    claims += [
        _study.close(
            f"no lr is faster, T = {steps}",
            "the least max(|x_T|, |x_T+1|) of SAM on x²/2 from 1 with rho = .2 over 2,001 constant "
            "lr: not below its bound rho·log(1 + 1/rho)/(2T), so that the rate is tight. An orbit "
            "that has not yet arrived has x + rho = (1 − lr)^k(1 + rho), and one that has makes "
            "steps of length lr·rho at least, across 0",
            predicted=_least(steps),
            measured=best if best >= _least(steps) * (1 - 1 / steps) else math.nan,
            rel=0.25,
            reason="a bound from below, to relative order 1/T; the best lr arrives just before T, "
            "with one of both x a little farther than half a step from 0",
        )
        for steps, best in zip(_RUNS, record.best, strict=True)
    ]
    claims += [
        _study.sampled(
            f"floor, rho = {rho:g}",
            "mean distance |x − w*| for SAM on one example a step, of a₁(x − 1)²/2 and a₂(x + "
            "1)²/2, a = 3, 1, with lr = 2/(k + 20) at step k. Between both minima the ascents of "
            "the examples are opposite, so that x tends to w* + rho(a₁ − a₂)/(a₁ + a₂) = w* + "
            "rho/2",
            predicted=_SHIFT * rho,
            measured=mean,
            error=error,
            num_errors=4.5,
            bias=1e-4,
            reason="standard error of the paths; the start is forgotten as (20/4020)⁴ = 6e-10",
        )
        for rho, mean, error in zip(_RADII, record.means, record.errors, strict=True)
    ]
    slope = math.log(record.means[-1] / record.means[0]) / math.log(_RADII[-1] / _RADII[0])
    relative = [e / m for e, m in zip(record.errors, record.means, strict=True)]
    spread = math.hypot(relative[0], relative[-1]) / math.log(_RADII[-1] / _RADII[0])
    claims += [
        _study.sampled(
            "floor against rho",
            f"slope of the logarithm of the loss at the mean position against log rho, from rho = "
            f"{_RADII[0]:g} to {_RADII[-1]:g}: 2, the paper's floor of order rho² that no decay of "
            "lr removes",
            predicted=2.0,
            measured=2 * slope,
            error=2 * spread,
            num_errors=4.5,
            bias=1e-3,
            reason="standard errors of both means",
        )
    ]
    claims += [
        _study.fact(
            f"points of rest, rho = {rho:g}",
            "SAM's flow on s²·¼((w/s)² − 1)², s = rho/1.5, has two attracting fixed points that "
            "are no critical points, ±s/2, and they are proved",
            predicted="2 attracting, proved",
            measured=found.proof,
            reason="exhaustive search with proof (hallucinated fixed points)",
        )
        for rho, found in record.rested.items()
    ]
    small, large = sorted(record.rested)
    return [
        *claims,
        *(
            _study.close(
                f"gradient at rest, rho = {rho:g}",
                "|g| where SAM comes to rest on that double well, whose curvature at the minima is "
                "2 at every rho: .25 rho, within the paper's bound |g| ≤ β rho, β ≥ 2",
                predicted=_REST * rho / 1.5,
                measured=found.gradient,
                rel=1e-9,
                reason="the multiplier is that of GD at the opposite minimum, .8: rounding remains "
                "after 1,000 steps",
            )
            for rho, found in record.rested.items()
        ),
        _study.close(
            "floor of a nonconvex loss",
            f"slope of log |g|² at rest against log rho, from rho = {small:g} to {large:g}: 2, so "
            "that the paper's floor of order rho² is reached",
            predicted=2.0,
            measured=2
            * math.log(record.rested[large].gradient / record.rested[small].gradient)
            / math.log(large / small),
            rel=1e-9,
            reason="rounding",
        ),
    ]


def _paper_lr(steps: int) -> float:
    return 2 * math.log(steps) / (min(_LAMS) * steps)


def _plain_lr(steps: int) -> float:
    return 4 / (min(_LAMS) * steps)


def _radius(lr: float) -> float:
    """Return the radius of SAM's 2-cycle along the largest eigenvalue."""
    return lr * _RHO * _LAMS[0] / (2 - lr * _LAMS[0])


def _end(steps: int, lr: Callable[[int], float]) -> float:
    """Return ‖w_T‖."""
    loss = sf.losses.Quadratic(_LAMS)
    orbit = sf.iterate(sf.Map(loss, sf.SAM(rho=_RHO), lr=lr(steps)), _START, num_steps=steps)
    return float(jnp.linalg.norm(orbit.final_w))


def _least(steps: int) -> float:
    """Return the bound on |x_T| from 1 on x²/2."""
    return _RHO * math.log(1 + 1 / _RHO) / (2 * steps)


def _best(steps: int) -> float:
    """Return the least max(|x_T|, |x_T+1|) over constant step sizes."""
    lrs = jnp.linspace(0.5, 4.0, 2001) * 2 * _least(steps) / _RHO
    system = sf.Map(sf.losses.Quadratic((1.0,)), sf.SAM(rho=_RHO), lr=0.1)
    return float(_farther(system, lrs, jnp.asarray(steps)).min())


@eqx.filter_jit
def _farther(system: sf.Map, lrs: Array, steps: Any) -> Array:
    def one(lr: Array) -> Array:
        here = eqx.tree_at(lambda s: s.lr, system, lr)
        x = lax.fori_loop(0, steps, lambda _, x: here.step(x), jnp.ones(1))
        return jnp.maximum(jnp.abs(x), jnp.abs(here.step(x)))[0]

    return jax.vmap(one)(lrs)


def _under_noise(rho: float, num_paths: int) -> tuple[float, float]:
    """Return the mean of the distance from the minimum over paths, and its standard error."""
    first, second = _CURVATURES
    pair = sf.losses.mean([sf.loss(f"{first}*(x - 1)**2/2"), sf.loss(f"{second}*(x + 1)**2/2")])
    system = sf.Map(pair, sf.SAM(rho=rho), lr=lambda k: _DECAY / (k + 20))
    found = sf.noise.sample_moments(
        sf.StochasticMap(system, sf.noise.MiniBatch(1)),
        [0.5],
        key=jr.key(0),
        num_paths=num_paths,
        num_steps=_STEPS,
        about=[0.5],
    )
    return abs(float(found.mean[-1, 0])), float(found.mean_error[-1, 0])


def _rest(rho: float) -> Rested:
    """Prove SAM's points of rest on a double well of width rho/1.5, and let an orbit rest."""
    s = sympy.Rational(str(rho)) / sympy.Rational(3, 2)
    loss = sf.loss(f"({s})**2*((x/({s}))**2 - 1)**2/4")
    rule, width = sf.SAM(rho=rho), float(s)
    proof = sf.certify_fixed_points(sf.Flow(loss, rule), ((-2 * width, 2 * width),))
    points = [point for point in proof.points if point.origin == "hallucinated"]
    attracting = sum(str(point.kind) == "attracting" for point in points)
    orbit = sf.iterate(sf.Map(loss, rule, lr=0.1), [0.55 * width], num_steps=1000)
    gradient = float(jnp.abs(loss.gradient(orbit.final_w)[0]))
    return Rested(f"{attracting} attracting, {proof.verdict}", gradient)
