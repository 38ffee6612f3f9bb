"""Which rho holds the flow of normalised SAM at a critical point, on the loss itself."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow.losses.base import AbstractLoss
from samflow.proofs import certify_sliding

NAME = "saddle-at-finite-rho"
TITLE = "At finite rho a loss holds SAM's flow up to a rho that the quadratic part does not have"
SMALL_SIZE = "without the solutions at Rosenbrock's minimum"
_study = Study(NAME, "derived in docs/theory, Propositions S1 to S3")
_RHO, _BELOW, _ABOVE = 0.5, 0.98, 1.02
_BEALE = (0.05, 0.5, 0.8)
_EPS = 0.05
_DIRECTIONS = 100_000
_STARTS = 24


class Record(NamedTuple):
    """Proofs beside dense sampling, and what solutions do beside the ends that are proved."""

    quartic: tuple[float, float]
    quartic_end: tuple[float, float]
    quartic_near: tuple[float, float]
    beale: dict[float, tuple[tuple[float, float], float]]
    """By rho, the least S as it is proved, and sampled."""
    beale_end: tuple[float, float]
    beale_beside: tuple[float, float]
    """The least S sampled at both ends of that interval."""
    held: dict[float, int]
    """By rho, how many solutions from beside the quartic's saddle come to it."""
    radius: float
    in_time: int
    """How many solutions from the radius that is kept arrive before the bound on their time."""
    rosenbrock: tuple[str, float, int | None]
    """At the minimum: the verdict, the least S sampled, and how many solutions come to it; None
    where none were followed."""
    practical: tuple[float, float]
    """The radius that practical SAM keeps, and the least rate of fall sampled within it."""


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Prove on three losses, sample S, and follow solutions."""
    quartic, beale, rosenbrock = sf.losses.quartic(), sf.losses.beale(), sf.losses.rosenbrock()
    progress("proofs")
    ours: Any = certify_sliding(sf.Flow(quartic, sf.SAM(rho=_RHO)), [0.0, 0.0], max_cells=1000)
    theirs: dict[float, Any] = {
        rho: certify_sliding(
            sf.Flow(beale, sf.SAM(rho=rho)),
            [0.0, 1.0],
            end=rho == _BEALE[0],
            near=False,
            radius=False,
        )
        for rho in _BEALE
    }
    stiff = certify_sliding(
        sf.Flow(rosenbrock, sf.SAM(rho=0.05)), [1.0, 1.0], end=False, near=False, radius=False
    )
    soft = sf.rules.PracticalSAM(rho=_RHO, eps=_EPS)
    practical: Any = certify_sliding(
        sf.Flow(quartic, soft), [0.0, 0.0], end=False, near=False, max_cells=1000
    )
    progress("sampling")
    low, high = theirs[_BEALE[0]].rho_end
    progress("solutions")
    held = {rho: len(_arrivals(quartic, [0.0, 0.0], rho, 1e-3)) for rho in (_BELOW, _ABOVE)}
    arrivals = _arrivals(quartic, [0.0, 0.0], _RHO, ours.radius)
    return Record(
        quartic=ours.least,
        quartic_end=ours.rho_end,
        quartic_near=ours.near,
        beale={rho: (proof.least, _least(beale, [0.0, 1.0], rho)) for rho, proof in theirs.items()},
        beale_end=(low, high),
        beale_beside=(_least(beale, [0.0, 1.0], low), _least(beale, [0.0, 1.0], high)),
        held=held,
        radius=ours.radius,
        in_time=int((arrivals <= ours.time).sum()),
        rosenbrock=(
            str(stiff.verdict),
            _least(rosenbrock, [1.0, 1.0], 0.05),
            len(_arrivals(rosenbrock, [1.0, 1.0], 0.05, 1e-4)) if size is Size.full else None,
        ),
        practical=(practical.radius, _least_fall(sf.Flow(quartic, soft), practical.radius)),
    )


def judge(record: Record) -> list[Claim]:
    """Compare proofs with closed forms, with sampling, and with solutions."""
    sampled = "sampled in 100,000 directions, of which the least is at most 1e-8 too large"
    beale = [
        _study.fact(
            f"Beale's saddle at rho {rho:g}",
            f"the interval proved for the least S at Beale's saddle, rho = {rho:g}, holds the "
            "least one that dense sampling finds, and lies above 0",
            predicted=True,
            measured=0 < low <= found <= high * (1 + 1e-8),
            reason=f"{sampled}; found {found:.6g} in [{low:.6g}, {high:.6g}]",
            evidence=Evidence.numerical,
        )
        for rho, ((low, high), found) in record.beale.items()
    ]
    below, above = record.beale_beside
    exact = _RHO * (1 - _RHO**2)
    verdict, least, came = record.rosenbrock
    all_come = f", and each of {_STARTS} solutions from beside it comes to it"
    return [
        _study.fact(
            "least S of the quartic",
            "at the quartic's saddle S = rho(1 − rho² e_y⁴): the interval proved for its least "
            f"value at rho = {_RHO:g} holds rho(1 − rho²)",
            predicted=True,
            measured=record.quartic[0] <= exact <= record.quartic[1],
            reason="ball arithmetic",
        ),
        _study.fact(
            "end of the quartic",
            "the interval proved for the rho at which the least S is first 0 holds 1, and is "
            "narrower than 2e-4",
            predicted=True,
            measured=record.quartic_end[0]
            <= 1
            <= record.quartic_end[1]
            < record.quartic_end[0] + 2e-4,
            reason="ball arithmetic",
        ),
        _study.fact(
            "reach of the quadratic part",
            "at the quartic's saddle the least S is that of the quadratic part to within 1 % up to "
            "rho = 0.1",
            predicted=True,
            measured=record.quartic_near[0] <= 0.1 <= record.quartic_near[1],
            reason="S/rho = 1 − rho² at the least; ball arithmetic",
        ),
        *[
            _study.fact(
                f"solutions at rho {rho:g}",
                f"of {_STARTS} solutions from ‖g‖ = 0.001 about the quartic's saddle "
                + ("all come to it" if rho < 1 else "none stays at it"),
                predicted=_STARTS if rho < 1 else 0,
                measured=count,
                reason="the sign of S changes at rho = 1; the integrator's tolerance is 1e-8",
                evidence=Evidence.numerical,
            )
            for rho, count in record.held.items()
        ],
        _study.every(
            "the radius that is kept",
            f"from ‖g‖ = {record.radius:.4g}, which is proved to be kept at rho = {_RHO:g}, "
            "solutions arrive before the bound on their time",
            holding=record.in_time,
            of=_STARTS,
            what="in time",
            reason="the bound is proved for all starts",
            evidence=Evidence.numerical,
        ),
        *beale,
        _study.fact(
            "end of Beale's saddle",
            "the least S sampled at Beale's saddle is positive at the lower and negative at the "
            f"upper end of the interval that is proved, rho in [{record.beale_end[0]:.5f}, "
            f"{record.beale_end[1]:.5f}]",
            predicted=True,
            measured=below > 0 > above,
            reason=sampled,
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "‖g‖ may grow at first",
            "at Rosenbrock's minimum, rho = 0.05, S < 0 in some directions, and the point is "
            f"proved to hold{'' if came is None else all_come}",
            predicted=("proved", True, None if came is None else _STARTS),
            measured=(verdict, least < 0, came),
            reason="S > 0 wherever the direction of g rests; Proposition S3",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "practical SAM",
            f"with ε = {_EPS:g} ‖g‖ falls everywhere within the radius that is proved to be kept, "
            f"{record.practical[0]:.4g}, at the quartic's saddle, rho = {_RHO:g}",
            predicted=True,
            measured=record.practical[0] > 0 and record.practical[1] > 0,
            reason="the bound is proved for all w; sampled at 40,000 of them",
            evidence=Evidence.numerical,
        ),
    ]


def _least(loss: AbstractLoss, w: list[float], rho: float) -> float:
    """Return the least S over a dense sample of directions in the plane, by JAX."""
    angle = jnp.linspace(0, 2 * jnp.pi, _DIRECTIONS, endpoint=False)
    e = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    at = jnp.asarray(w)
    limits = jax.vmap(loss.gradient)(at + rho * e)
    return float(jnp.einsum("ki,ij,kj->k", e, loss.hessian(at), limits).min())


def _arrivals(loss: AbstractLoss, w: list[float], rho: float, size: float) -> np.ndarray:
    """Return when solutions come to `w` that start at ‖H(w₀ − w)‖ = size around it, and do."""
    angle = np.linspace(0, 2 * math.pi, _STARTS, endpoint=False)
    g = size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    starts = np.asarray(w) + np.linalg.solve(np.asarray(loss.hessian(jnp.asarray(w))), g.T).T
    path = sf.integrate(sf.Flow(loss, sf.SAM(rho=rho)), starts, t1=20.0)
    ends = np.asarray(path.states)[:, -1] - np.asarray(w)
    there = (np.asarray(path.status) == sf.Status.sliding) & (np.abs(ends).max(axis=1) < 1e-9)
    return np.asarray(path.arrived_at)[there]


def _least_fall(flow: sf.Flow, radius: float) -> float:
    """Return the least −d‖g‖/dt over ‖g‖ among points of a grid with ‖g‖ ≤ radius about 0."""
    x, y = jnp.meshgrid(jnp.linspace(-0.5, 0.5, 200), jnp.linspace(-0.5, 0.5, 200))
    w = jnp.stack([x.ravel(), y.ravel()], axis=1)
    g = jax.vmap(flow.loss.gradient)(w)
    size = jnp.linalg.norm(g, axis=1)
    pulled = jnp.einsum("kij,kj->ki", jax.vmap(flow.loss.hessian)(w), jax.vmap(flow.velocity)(w))
    rate = -(g * pulled).sum(axis=1) / size**2
    return float(rate[size <= radius].min())
