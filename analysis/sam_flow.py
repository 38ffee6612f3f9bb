"""The flow of normalised SAM: it comes to critical points in finite time, stays, and slides."""

from collections.abc import Callable

import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "sam-flow"
TITLE = "Normalised SAM's flow reaches critical points in finite time and slides along valleys"
_study = Study(NAME, "derived in docs/theory.md, Proposition 4")
_RHO = 0.1


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Compare arrival, sliding and the radius of attraction with the closed forms."""
    progress("a saddle")
    claims = _saddle()
    progress("sliding along a valley")
    return [*claims, _valley()]


def _time(lam: float) -> str:
    return "ln(1 + |w|/rho)/λ" if lam > 0 else "−ln(1 − |w|/rho)/|λ|"


def _saddle() -> list[Claim]:
    """Start on eigenvectors, and just inside and outside the radius of attraction.

    Inside on the worst direction and on random ones; all in one ensemble, compiled once.
    """
    lams = np.array([2.0, -1.0, -2.0])
    radius = float(theory.attraction_radius(lams.tolist(), rho=_RHO))
    z = np.random.default_rng(0).normal(size=(30, 3))
    z = np.concatenate([z / np.linalg.norm(z, axis=1, keepdims=True), [[0, 1.0, 0], [0, -1.0, 0]]])
    inside, outside = 0.999 * radius * z / lams, 1.001 * radius * z[-2:] / lams
    single = {2.0: 1.0, -2.0: 0.07}
    alone = [w0 * (lams == lam) for lam, w0 in single.items()]
    flow = sf.Flow(sf.losses.saddle(tuple(lams.tolist())), sf.SAM(rho=_RHO))
    path = sf.integrate(flow, np.concatenate([inside, outside, alone]), t1=40.0)
    held = np.asarray(path.status) == sf.Status.sliding
    at_0 = np.abs(np.asarray(path.states)[:, -1]).max(axis=1) < 1e-12
    times = np.where(held & at_0, np.asarray(path.arrived_at), np.nan)[-len(alone) :]
    arrivals = [
        _study.close(
            f"arrival at λ={lam:g}",
            f"on the eigenvector of λ, as on ½λw², the flow from w = {w0:g} comes to 0 at T = "
            f"{_time(lam)} and stays",
            predicted=float(theory.arrival_time(lam, w0, rho=_RHO)),
            measured=float(time),
            rel=1e-7,
            reason="the integrator's tolerance of 1e-8 a step",
        )
        for (lam, w0), time in zip(single.items(), times, strict=True)
    ]
    return [
        *arrivals,
        _study.fact(
            "radius of a saddle",
            "from ‖Hw‖ = .999 rho min|λ₋| every start comes to the saddle and is held (32 starts, "
            "λ = 2, −1, −2)",
            predicted=32,
            measured=int(held[: len(inside)].sum()),
            reason="a bound proved for every start",
        ),
        _study.fact(
            "the radius is the best",
            "from 1.001 times that, on the eigenvector of the weakest λ₋, none does",
            predicted=0,
            measured=int(held[len(inside) : -len(alone)].sum()),
            reason="beyond the equilibria at ±rho v the flow leads away",
        ),
    ]


def _valley() -> Claim:
    path = sf.integrate(sf.Flow(sf.losses.valley(), sf.SAM(rho=0.2)), [2.0, 0.3], t1=20.0)
    times, u = np.asarray(path.times), np.asarray(path.states)[:, 0]
    sliding = times > float(path.arrived_at)
    first, last = np.flatnonzero(sliding)[[0, -1]]
    rate = -np.log(u[last] / u[first]) / (times[last] - times[first])
    return _study.close(
        "sliding is the sharpness flow",
        "in the valley ½(1 + u²)v² the flow comes to v = 0 and slides, u̇ = −½λ′(u)rho² = −rho² u: "
        "the rate of log u",
        predicted=0.2**2,
        measured=float(rate) if path.status == sf.Status.sliding else np.nan,
        rel=1e-6,
        reason="the integrator's tolerance over the time of sliding; Filippov's combination of the "
        "two sides is exact here for every rho",
        source="Wen, Ma, Li 2023, arXiv 2211.05729 (small rho); docs/theory.md",
    )
