"""Lyapunov exponents: published values, and the trap of normalised SAM."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "lyapunov"
TITLE = "Lyapunov exponents: published values, and the chaos of normalised SAM at a maximum"
_study = Study(NAME, "see each claim")


_HENON_B = 0.3
_TRAP = (-2.0, 0.1, 0.3)
_TRAP_STEPS = 100_000
_TIME = 1500.0
_LORENZ = np.array([[1.0, 1.0, 20.0], [2.0, 1.0, 21.0], [-3.0, -4.0, 22.0], [5.0, 6.0, 25.0]])


class Spectrum(NamedTuple):
    """Exponents in descending order with their standard errors."""

    exponents: np.ndarray
    errors: np.ndarray


class Record(NamedTuple):
    """Exponents of Hénon's map, of SAM's trap in the plane, and of Lorenz's flow."""

    henon: Spectrum
    trap: Spectrum
    lorenz: Spectrum
    """The mean over the orbits."""


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Compute the exponents of textbook maps, of Lorenz's flow and of SAM's trap."""
    progress("Hénon")
    henon = sf.FunctionMap(
        lambda z: [1 - 1.4 * z[0] ** 2 + z[1], _HENON_B * z[0]], dim=2, elementwise=True
    )
    textbook = sf.lyapunov_spectrum(henon, [0.1, 0.1], num_steps=1_000_000)
    progress("trap")
    lam, rho, lr = _TRAP
    trap = sf.Map(sf.losses.saddle((lam, lam)), sf.SAM(rho=rho), lr=lr)  # pyright: ignore
    inside = sf.lyapunov_spectrum(trap, [0.01, 0.02], num_steps=_TRAP_STEPS)
    progress("Lorenz")
    lorenz = sf.FunctionFlow(
        lambda z: jnp.stack(
            [10 * (z[1] - z[0]), z[0] * (28 - z[2]) - z[1], z[0] * z[1] - 8 / 3 * z[2]]
        ),
        dim=3,
    )
    flow = sf.lyapunov_spectrum(lorenz, _LORENZ, t1=_TIME, t_transient=20.0)
    errors = np.sqrt((np.asarray(flow.standard_error) ** 2).mean(axis=0) / len(_LORENZ))
    return Record(
        _spectrum(textbook),
        _spectrum(inside),
        Spectrum(np.asarray(flow.exponents).mean(axis=0), errors),
    )


def _spectrum(found: Any) -> Spectrum:
    return Spectrum(np.asarray(found.exponents), np.asarray(found.standard_error))


def judge(record: Record) -> list[Claim]:
    """Compare with published values, with sums that are exact, and with the trap's closed form."""
    henon, trap, lorenz = record
    lam, _, lr = _TRAP
    transient = math.log(1e6) / _TRAP_STEPS
    return [
        _study.sampled(
            "Hénon",
            "largest exponent of Hénon's map at a = 1.4, b = .3",
            predicted=0.41924,
            measured=float(henon.exponents[0]),
            error=float(henon.errors[0]),
            bias=5e-6,
            reason="four standard errors over 1e6 steps, and the digits of the published value",
            source="Sprott 2003, Chaos and Time-Series Analysis",
        ),
        _study.close(
            "Hénon, sum",
            "the two exponents sum to ln b",
            predicted=float(np.log(_HENON_B)),
            measured=float(henon.exponents.sum()),
            rel=1e-9,
            reason="the determinant is −b everywhere; rounding",
            source="Hénon 1976",
        ),
        _study.close(
            "SAM's trap",
            "largest exponent of normalised SAM at a maximum with equal curvatures: log(1 + lr|λ|)",
            predicted=float(theory.trap_exponent(lam, lr=lr)),
            measured=float(trap.exponents[0]),
            absolute=transient,
            reason="along the line of the orbit the map's slope is 1 + lr|λ| everywhere. While a "
            "tangent vector aligns with this line, its length changes by a factor below 1e6: "
            f"log(1e6) over {_TRAP_STEPS:,} steps",
            source="derived in docs/theory, Proposition 6",
        ),
        _study.close(
            "SAM's trap, across",
            "the second exponent, the mean of log|1 + lr|λ|(1 − rho/‖w‖)|, is 0. Each orbit stays "
            "on a line through the maximum; lengths across it grow as ‖w‖ does, which is bounded",
            predicted=0.0,
            measured=float(trap.exponents[1]),
            absolute=transient,
            reason="the sum of the logarithms is log(‖w_n‖/‖w_0‖), which lies within ±log(1e6) "
            "unless ‖w_n‖ is below a millionth of the trap's radius",
            source="derived in docs/theory, Proposition 6",
        ),
        _study.sampled(
            "Lorenz",
            "largest exponent of Lorenz's flow at σ = 10, r = 28, b = 8/3: mean over "
            f"{len(_LORENZ)} orbits",
            predicted=0.9056,
            measured=float(lorenz.exponents[0]),
            error=float(lorenz.errors[0]),
            bias=5e-5,
            reason=f"four standard errors over {_TIME:g} time units each, and the digits of the "
            "published value",
            source="Sprott 2003, Chaos and Time-Series Analysis",
        ),
        _study.close(
            "Lorenz, along the flow",
            "the second exponent is 0, since along the orbit distances grow as the speed does",
            predicted=0.0,
            measured=float(lorenz.exponents[1]),
            absolute=math.log(1e3) / _TIME,
            reason="the speed on the attractor stays within a factor of 1e3: log(1e3) over "
            f"{_TIME:g} time units",
            source="Haken 1983",
        ),
        _study.close(
            "Lorenz, sum",
            "the three exponents sum to −41/3",
            predicted=-41 / 3,
            measured=float(lorenz.exponents.sum()),
            rel=1e-6,
            reason="the divergence is −41/3 everywhere; the integrator's tolerance",
            source="Lorenz 1963",
        ),
    ]
