"""Lyapunov exponents: published values, and the trap of normalised SAM."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "lyapunov"
TITLE = "Lyapunov exponents: published values, and chaos where a maximum traps normalised SAM"
_study = Study(NAME, "see each claim")


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Compute the exponents of textbook maps, of Lorenz's flow and of SAM's trap."""
    progress("Hénon")
    henon = sf.FunctionMap(
        lambda z: [1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]], dim=2, elementwise=True
    )
    found = sf.lyapunov_spectrum(henon, [0.1, 0.1], num_steps=1_000_000)
    top, bottom = np.asarray(found.exponents).tolist()
    claims = [
        _study.close(
            "Hénon",
            "largest exponent at a = 1.4, b = .3",
            predicted=0.41924,
            measured=top,
            absolute=5 * float(found.standard_error[0]) + 5e-6,
            reason="five standard errors over 1e6 steps, and the digits of the published value",
            source="Sprott 2003, Chaos and Time-Series Analysis",
        ),
        _study.close(
            "Hénon, sum",
            "the exponents sum to ln b",
            predicted=float(np.log(0.3)),
            measured=top + bottom,
            rel=1e-9,
            reason="the determinant is −b everywhere; rounding",
            source="Hénon 1976",
        ),
    ]
    progress("trap")
    lam, rho, lr = -2.0, 0.1, 0.3
    trap = sf.Map(sf.losses.saddle((lam,)), sf.SAM(rho=rho), lr=lr)  # pyright: ignore
    inside = sf.lyapunov_spectrum(trap, [0.01], num_steps=20_000)
    claims.append(
        _study.close(
            "SAM's trap",
            "at a maximum the orbit of normalised SAM has the exponent log(1 + lr|λ|)",
            predicted=float(theory.trap_exponent(lam, lr=lr)),
            measured=float(inside.exponents[0]),
            rel=1e-10,
            reason="the slope is 1 + lr|λ| at every point of the trap",
            source="derived in docs/theory.md, Proposition 6",
        )
    )
    progress("Lorenz")
    lorenz = sf.FunctionFlow(
        lambda z: jnp.stack(
            [10 * (z[1] - z[0]), z[0] * (28 - z[2]) - z[1], z[0] * z[1] - 8 / 3 * z[2]]
        ),
        dim=3,
    )
    found = sf.lyapunov_spectrum(lorenz, [1.0, 1.0, 20.0], t1=1500.0, t_transient=20.0)
    exponents = np.asarray(found.exponents)
    claims += [
        _study.close(
            "Lorenz",
            "largest exponent at σ = 10, r = 28, b = 8/3",
            predicted=0.9056,
            measured=float(exponents[0]),
            absolute=5 * float(found.standard_error[0]),
            reason="five standard errors over 1500 time units",
            source="Sprott 2003, Chaos and Time-Series Analysis",
        ),
        _study.close(
            "Lorenz, sum",
            "the exponents sum to −41/3",
            predicted=-41 / 3,
            measured=float(exponents.sum()),
            rel=1e-6,
            reason="the divergence is −41/3 everywhere; the integrator's tolerance",
            source="Lorenz 1963",
        ),
    ]
    return claims
