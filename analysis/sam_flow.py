"""The flow of normalised SAM: it comes to critical points in finite time, stays, and slides."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import theory

NAME = "sam-flow"
TITLE = "Normalised SAM's flow reaches critical points in finite time and slides along valleys"
_study = Study(NAME, "derived in docs/theory, Proposition 4")
_RHO, _VALLEY_RHO = 0.1, 0.2
_LAMS = np.array([2.0, -1.0, -2.0])
_ALONE = {2.0: 1.0, -2.0: 0.07}
"""By eigenvalue, where on its eigenvector an orbit starts."""


class Record(NamedTuple):
    """Arrivals on eigenvectors, starts held inside and outside the radius, the rate of sliding."""

    arrivals: dict[float, float]
    inside: tuple[int, int]
    """How many starts inside the radius are held, and of how many."""
    outside: tuple[int, int]
    sliding: float


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow the flow at a saddle and along a valley."""
    progress("a saddle")
    arrivals, inside, outside = _saddle()
    progress("sliding along a valley")
    return Record(arrivals, inside, outside, _valley())


def judge(record: Record) -> list[Claim]:
    """Compare arrival, sliding and the radius of attraction with the closed forms."""
    arrivals = [
        _study.close(
            f"arrival at λ={lam:g}",
            f"along the eigenvector of λ, where the loss is ½λw², the flow from w = {w0:g} reaches "
            f"0 at time T = {_time(lam)} and stays",
            predicted=float(theory.arrival_time(lam, w0, rho=_RHO)),
            measured=record.arrivals[lam],
            rel=1e-7,
            reason="the integrator's tolerance, 1e-8 per step",
        )
        for lam, w0 in _ALONE.items()
    ]
    (held, inside), (beyond, outside) = record.inside, record.outside
    return [
        *arrivals,
        _study.every(
            "radius of a saddle",
            f"at a saddle with λ = 2, −1, −2, each of {inside} orbits that start at "
            "‖Hw‖ = .999 rho min|λ₋| reaches the saddle and stays",
            holding=held,
            of=inside,
            what="held",
            reason="the bound is proved for all starts",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "the radius is sharp",
            "no orbit that starts at ‖Hw‖ = 1.001 rho min|λ₋| on the eigenvector v of the weakest "
            "λ₋ stays at the saddle",
            holding=outside - beyond,
            of=outside,
            what="leave",
            reason="beyond the equilibria at ±rho·v the flow leads away from the saddle",
            evidence=Evidence.numerical,
        ),
        _study.close(
            "sliding is the sharpness flow",
            "in the valley ½(1 + u²)v² the flow reaches v = 0 and slides along it by "
            "u̇ = −½λ′(u)rho² = −rho² u: the rate at which log u falls",
            predicted=_VALLEY_RHO**2,
            measured=record.sliding,
            rel=1e-6,
            reason="the integrator's tolerance over the time of sliding; here Filippov's convex "
            "combination gives the sharpness flow exactly, for every rho",
            source="Wen, Ma, Li 2023, arXiv 2211.05729 (small rho); docs/theory",
        ),
    ]


def _time(lam: float) -> str:
    return "ln(1 + |w|/rho)/λ" if lam > 0 else "−ln(1 − |w|/rho)/|λ|"


def _saddle() -> tuple[dict[float, float], tuple[int, int], tuple[int, int]]:
    """Start on eigenvectors, and just inside and outside the radius of attraction.

    Inside on the worst direction and on random ones; all in one ensemble, compiled once.
    """
    radius = float(theory.attraction_radius(_LAMS.tolist(), rho=_RHO))
    z = np.random.default_rng(0).normal(size=(30, 3))
    z = np.concatenate([z / np.linalg.norm(z, axis=1, keepdims=True), [[0, 1.0, 0], [0, -1.0, 0]]])
    inside, outside = 0.999 * radius * z / _LAMS, 1.001 * radius * z[-2:] / _LAMS
    alone = [w0 * (lam == _LAMS) for lam, w0 in _ALONE.items()]
    flow = sf.Flow(sf.losses.saddle(tuple(_LAMS.tolist())), sf.SAM(rho=_RHO))
    path = sf.integrate(flow, np.concatenate([inside, outside, alone]), t1=40.0)
    held = np.asarray(path.status) == sf.Status.sliding
    at_0 = np.abs(np.asarray(path.states)[:, -1]).max(axis=1) < 1e-12
    times = np.where(held & at_0, np.asarray(path.arrived_at), np.nan)[-len(alone) :]
    beyond = held[len(inside) : -len(alone)]
    return (
        dict(zip(_ALONE, times.tolist(), strict=True)),
        (int(held[: len(inside)].sum()), len(inside)),
        (int(beyond.sum()), len(beyond)),
    )


def _valley() -> float:
    """Return the rate of log u while the flow slides; NaN if it does not."""
    path = sf.integrate(sf.Flow(sf.losses.valley(), sf.SAM(rho=_VALLEY_RHO)), [2.0, 0.3], t1=20.0)
    if path.status != sf.Status.sliding:
        return np.nan
    times, u = np.asarray(path.times), np.asarray(path.states)[:, 0]
    first, last = np.flatnonzero(times > float(path.arrived_at))[[0, -1]]
    return float(-np.log(u[last] / u[first]) / (times[last] - times[first]))
