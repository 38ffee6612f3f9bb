"""USAM's map: the window in rho at both ends, and heavy ball."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "map-window"
TITLE = "The window in rho in which a saddle attracts USAM's map, at both ends"
_study = Study(NAME, "[K] theorem 1 for the lower end; the upper end derived in docs/theory.md")
_LR = 0.1
_EIGENVALUES = (1.0, -2.0)
_SHIFT = 1e-3


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Check both ends for the plain map and for momentum, by formula and by orbits."""
    claims: list[Claim] = []
    for kind, momentum in (("none", 0.0), ("heavy_ball", 0.9), ("nesterov", 0.9)):
        progress(kind)
        claims += _ends(kind, momentum)
    return claims


def _window(kind: str, momentum: float) -> theory.Window:
    return theory.rho_window(_EIGENVALUES, lr=_LR, momentum=momentum, kind=kind)


def _ends(kind: str, momentum: float) -> list[Claim]:
    window = _window(kind, momentum)
    claims = []
    for end, inner in ((window.low, 1), (window.high, -1)):
        side = "lower" if inner == 1 else "upper"
        value = float(end.value)
        for shift, expected in ((inner, True), (-inner, False)):
            rho = value * (1 + shift * _SHIFT)
            where = "inside" if expected else "outside"
            claims.append(
                _study.fact(
                    f"{kind}, {side} end, {where}",
                    f"λ = (1, −2), lr = {_LR}, momentum {momentum:g} ({kind}): at a relative "
                    f"distance of 1e-3 {where} the {side} end rho = {value:.6g} ({end.event}), "
                    "do orbits converge to the saddle?",
                    predicted=expected,
                    measured=_converges(kind, momentum, rho),
                    reason="exponential either way; 200,000 steps decide it",
                )
            )
    return claims


def _converges(kind: str, momentum: float, rho: float) -> bool:
    system = sf.Map(
        sf.losses.saddle(_EIGENVALUES),
        sf.USAM(rho=rho),
        lr=_LR,
        momentum=momentum,
        nesterov=kind == "nesterov",
    )
    orbit = sf.iterate(system, jnp.asarray([1e-3, 1e-3]), num_steps=200_000)
    return bool(np.linalg.norm(np.asarray(orbit.final_w)) < 1e-6)
