"""USAM's map: the window in rho at both ends, and heavy ball."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import theory
from samflow.theory.windows import Endpoint, Event

NAME = "map-window"
TITLE = "The window in rho in which a saddle attracts USAM's map, at both ends"
_study = Study(NAME, "[K] theorem 1 for the lower end; the upper end derived in docs/theory")
_LR = 0.1
_EIGENVALUES = (1.0, -2.0)
_SHIFT = 1e-3
_WORDS = {
    "none": "no momentum",
    "heavy_ball": "heavy-ball momentum .9",
    "nesterov": "Nesterov momentum .9",
}
_PASSES = {Event.plus_one: "+1", Event.flip: "−1"}


class Case(NamedTuple):
    """A radius next to an end of a window: what theory says of it, and what the orbit did."""

    scheme: str
    momentum: float
    side: str
    end: Endpoint
    inside: bool
    converges: bool


def measure(progress: Callable[[str], None] = lambda message: None) -> list[Case]:
    """Follow an orbit on either side of both ends, for the plain map and for momentum."""
    cases = []
    for scheme, momentum in (("none", 0.0), ("heavy_ball", 0.9), ("nesterov", 0.9)):
        progress(scheme)
        window = theory.rho_window(_EIGENVALUES, lr=_LR, momentum=momentum, scheme=scheme)
        for side, end, inner in (("lower", window.low, 1), ("upper", window.high, -1)):
            for shift, inside in ((inner, True), (-inner, False)):
                rho = float(end.value) * (1 + shift * _SHIFT)
                converges = _converges(scheme, momentum, rho)
                cases.append(Case(scheme, momentum, side, end, inside, converges))
    return cases


def judge(record: list[Case]) -> list[Claim]:
    """Claim that orbits converge inside the window alone."""
    return [
        _study.fact(
            f"{_WORDS[case.scheme]}, {case.side} end, {where}",
            f"with λ = (1, −2), lr = {_LR} and {_WORDS[case.scheme]} a multiplier passes "
            f"{_PASSES[case.end.event]} at the {case.side} end rho = {float(case.end.value):.6g} "
            f"of the window. Does the orbit converge to the saddle {where} the window, at a "
            "relative distance of 1e-3 from this end?",
            predicted=case.inside,
            measured=case.converges,
            reason="orbits converge or leave exponentially; 200,000 steps suffice to decide",
            evidence=Evidence.numerical,
        )
        for case in record
        for where in ("inside" if case.inside else "outside",)
    ]


def _converges(scheme: str, momentum: float, rho: float) -> bool:
    system = sf.Map(
        sf.losses.saddle(_EIGENVALUES),
        sf.USAM(rho=rho),
        lr=_LR,
        momentum=momentum,
        nesterov=scheme == "nesterov",
    )
    orbit = sf.iterate(system, jnp.asarray([1e-3, 1e-3]), num_steps=200_000)
    return bool(np.linalg.norm(np.asarray(orbit.final_w)) < 1e-6)
