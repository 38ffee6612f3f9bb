"""Normalised SAM near a critical point: the 2-cycle and the trap."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory
from samflow.switching import fit_rate

NAME = "sam-cycle"
TITLE = "Normalised SAM does not converge: its 2-cycle at a minimum, its trap at a maximum"
_study = Study(NAME, "Bartlett, Long, Bousquet 2022, arXiv 2210.01513; docs/theory")
_TRAP = (-1.0, 0.1, 0.1)
_CASES = ((1.0, 0.1, 0.1), (5.0, 0.05, 0.3), (0.2, 1.0, 1.0))


class Record(NamedTuple):
    """The farthest points of orbits on cycles and in the trap, and what was seen in the trap."""

    radii: dict[tuple[float, float, float], float]
    trap: float
    growth: float
    asked: str


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow orbits at minima and at a maximum, and a pair of neighbours in the trap."""
    radii = {}
    for lam, rho, lr in _CASES:
        progress(f"λ = {lam:g}")
        radii[lam, rho, lr] = float(np.abs(_tail(lam, rho, lr)).max())
    progress("trap")
    growth = fit_rate(_separation(*_TRAP), growing=True)
    return Record(radii, float(np.abs(_tail(*_TRAP)).max()), growth.slope, _asked(*_TRAP))


def judge(record: Record) -> list[Claim]:
    """Compare with the closed forms of the cycle and of the trap."""
    lam, rho, lr = _TRAP
    claims = [
        _study.close(
            f"radius at λ={case[0]:g}, rho={case[1]:g}, lr={case[2]:g}",
            "on ½λw² orbits settle on the 2-cycle ±lr·rho·λ/(2 − lr·λ)",
            predicted=float(theory.cycle_radius(case[0], rho=case[1], lr=case[2])),
            measured=radius,
            rel=1e-12,
            reason="rounding; two steps contract by (1 − lr·λ)² towards the cycle",
        )
        for case, radius in record.radii.items()
    ]
    return [
        *claims,
        _study.below(
            "trap",
            "at a maximum (λ = −1) orbits stay in |w| ≤ lr·rho·|λ|",
            bound=float(theory.trap_radius(lam, rho=rho, lr=lr)) * (1 + 1e-12),
            measured=record.trap,
            reason="a proved bound, plus rounding",
            source="derived in docs/theory",
        ),
        _study.close(
            "chaos",
            "in the trap two orbits that start 1e-13 apart separate at the rate log(1 + lr·|λ|) "
            "per step",
            predicted=float(theory.trap_exponent(lam, lr=lr)),
            measured=record.growth,
            rel=1e-5,
            reason="the map is piecewise linear, so that only rounding matters: 1e-5 of the "
            "distance 1e-13 in the first steps and less in each later one, over about 200 steps",
            source="derived in docs/theory",
        ),
        _study.fact(
            "no Jacobian",
            "at the maximum itself `classify` gives no multipliers and says that orbits stay in a "
            "chaotic trap",
            predicted="chaotic trap, not differentiable",
            measured=record.asked,
            reason="normalised SAM has no Jacobian where g = 0",
            source="derived in docs/theory",
        ),
    ]


def _system(lam: float, rho: float, lr: float) -> sf.Map:
    return sf.Map(sf.losses.saddle((lam,)), sf.SAM(rho=rho), lr=lr)


def _tail(lam: float, rho: float, lr: float) -> np.ndarray:
    start = [0.3 * lr * rho * abs(lam)]
    orbit = sf.iterate(_system(lam, rho, lr), start, num_steps=4000, keep_every=1)
    return np.asarray(orbit.w)[3000:, 0]


def _separation(lam: float, rho: float, lr: float) -> np.ndarray:
    start = 0.3 * lr * rho * abs(lam)
    pair = [[start], [start + 1e-13]]
    orbits = sf.iterate(_system(lam, rho, lr), pair, num_steps=300, keep_every=1)
    return np.abs(np.diff(np.asarray(orbits.w)[:, :, 0], axis=0)[0])


def _asked(lam: float, rho: float, lr: float) -> str:
    stability = sf.classify(_system(lam, rho, lr), [0.0])
    return f"{stability.kind}, {stability.status.label}"
