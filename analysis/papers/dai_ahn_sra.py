"""With and without the division by ‖g‖, at the same ρ and lr: who diverges, who drifts on."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.integrate
import sympy

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import theory
from samflow._status import Status

NAME = "dai-ahn-sra"
TITLE = "Where USAM diverges SAM stays bounded; where USAM stops SAM drifts on along the minima"
_study = Study(NAME, "Dai, Ahn, Sra 2023, arXiv 2305.15287")
_LAMS = (3.0, 1.0, 0.2)
_LR = 0.3
_SIDES = (0.99, 1.01)
_STARTS = 64
_SMALL = 1e-12
"""Below the threshold the largest multiplier is −.989: its power 5,000 is 1e-24."""

_VALLEY = "(x*y)**2/2"
_RHO, _VALLEY_LR = 0.02, 0.2
_U, _V = 2.0, 1e-3
_STEPS = 20_000
_STEEP = 3.0
"""Here ηu² = 1.8, and ηU(u²) is above 2 for rho > .0124: USAM leaves, GD does not."""


class Record(NamedTuple):
    """How orbits on a quadratic end, and where orbits beside the valley end."""

    diverged: list[int]
    converged: list[int]
    reach: list[float]
    ends: dict[str, np.ndarray]
    steep: dict[str, np.ndarray]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow both rules from the same starts."""
    progress("a quadratic")
    loss, starts = sf.losses.Quadratic(_LAMS), jr.normal(jr.key(0), (_STARTS, len(_LAMS)))
    diverged, converged, reach = [], [], []
    for side in _SIDES:
        rho = side * _threshold()
        system = sf.Map(loss, sf.USAM(rho=rho), lr=_LR)
        orbit = sf.iterate(system, starts, num_steps=5000)
        diverged.append(int((orbit.status == Status.diverged).sum()))
        converged.append(int((jnp.linalg.norm(orbit.final_w, axis=1) < _SMALL).sum()))
        orbit = sf.iterate(sf.Map(loss, sf.SAM(rho=rho), lr=_LR), starts, num_steps=5000)
        reach.append(float(jnp.linalg.norm(orbit.final_w, axis=1).max()))
    progress("the minima of (xy)²")
    return Record(diverged, converged, reach, _ends(_U), _ends(_STEEP))


def judge(record: Record) -> list[Claim]:
    """Compare with the threshold of USAM, the ball of SAM, and the drift of both."""
    of_usam = _stop(_U, _V)
    end = {name: float(w[0]) for name, w in record.ends.items()}
    steep = {name: float(w[0]) for name, w in record.steep.items()}
    edge = _edge()
    ends = [_where(steep[name] ** 2, edge) for name in ("usam", "sam")]
    return [
        _study.fact(
            "USAM's threshold",
            f"on the quadratic with λ = 3, 1, .2 at lr = .3, USAM converges from {_STARTS} random "
            f"starts for rho below {_threshold():.6g}, where lr·U(3) = 2, and diverges from all "
            "above",
            predicted=f"{_STARTS} converge; {_STARTS} diverge",
            measured=f"{record.converged[0]} converge; {record.diverged[1]} diverge",
            reason="rho = .99 and 1.01 times the threshold",
            evidence=Evidence.numerical,
        ),
        *(
            _study.below(
                f"SAM stays bounded, rho = {side:g} times that",
                "largest ‖w‖ of SAM after 5,000 steps from these starts. Since ‖w⁺‖ ≤ q‖w‖ + "
                "lr·rho·λ₁ with q = max|1 − lr·λ| < 1, all orbits end in the ball of radius "
                "lr·rho·λ₁/(1 − q), at every rho",
                bound=1.0001 * _ball(side * _threshold()),
                measured=measured,
                reason="proved; q^5000 is below rounding",
            )
            for side, measured in zip(_SIDES, record.reach, strict=True)
        ),
        _study.close(
            "USAM stops",
            f"how far USAM moves along the minima of ½(xy)² from ({_U:g}, {_V:g}), at rho = "
            f"{_RHO:g}, lr = {_VALLEY_LR:g}, until it stops: lr·x(1 + rho·λ)²y²/(1 − m²) with λ = "
            "x², m = 1 − lr·U(λ)",
            predicted=of_usam,
            measured=_U - end["usam"],
            rel=1e-4,
            reason="leading order in y² = 1e-6, times factors of order 10; rounding of x, 1e-16",
        ),
        _study.close(
            "SAM drifts on",
            f"end point x of SAM after {_STEPS:,} steps from the same point: u(lr·k) on "
            "u̇ = −½λ′(u)(2 rho/(2 − lr·λ))², along minima at which GD and USAM rest",
            predicted=_drifted(_U),
            measured=end["sam"],
            rel=5e-3,
            reason="the formula is of leading order in rho; the next is of relative size rho²/u², "
            "5e-3 at the end",
        ),
        _study.fact(
            "side by side",
            f"λ at the end of {_STEPS:,} steps from the same start, at the same rho and lr: of "
            "USAM as at the start, of SAM less than half",
            predicted="USAM 4.0, SAM below half",
            measured=f"USAM {end['usam'] ** 2:.1f}, SAM "
            + ("below half" if end["sam"] ** 2 < _U**2 / 2 else "above half"),
            reason="the two claims before",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "USAM moves only above its edge",
            f"from x = {_STEEP:g}, where lr·U(x²) = {_VALLEY_LR * _curvature(_STEEP):.3g} > 2, "
            f"USAM stops inside its edge, λ < {edge:.4g}, and SAM goes on beyond",
            predicted="USAM inside its edge and above half of it; SAM below half of it",
            measured=f"USAM {ends[0]}; SAM {ends[1]}",
            reason="the excursion that takes USAM over its edge ends somewhere below it",
            evidence=Evidence.numerical,
        ),
    ]


def _where(sharpness: float, edge: float) -> str:
    if not sharpness <= edge:
        return "outside its edge"
    return "below half of it" if sharpness < edge / 2 else "inside its edge and above half of it"


def _threshold() -> float:
    """Return the rho at which lr·U(λ₁) = 2."""
    return (2 / (_LR * _LAMS[0]) - 1) / _LAMS[0]


def _ball(rho: float) -> float:
    q = max(abs(1 - _LR * lam) for lam in _LAMS)
    return _LR * rho * _LAMS[0] / (1 - q)


def _curvature(u: float) -> float:
    return u**2 * (1 + _RHO * u**2)


def _edge() -> float:
    """Return the λ at which lr·U(λ) = 2."""
    return float((np.sqrt(1 + 8 * _RHO / _VALLEY_LR) - 1) / (2 * _RHO))


def _ends(u: float) -> dict[str, np.ndarray]:
    loss = sf.loss(_VALLEY)
    return {
        name: np.asarray(
            sf.iterate(
                sf.Map(loss, sf.rule(name, rho=_RHO), lr=_VALLEY_LR), [u, _V], num_steps=_STEPS
            ).final_w
        )
        for name in ("usam", "sam")
    }


def _stop(u: float, v: float) -> float:
    """Return how far USAM moves along the valley, to leading order in v²."""
    factor, multiplier = 1 + _RHO * u**2, 1 - _VALLEY_LR * _curvature(u)
    return _VALLEY_LR * u * factor**2 * v**2 / (1 - multiplier**2)


def _drifted(start: float) -> float:
    """Return the end of SAM's drift, by the formula of docs/theory, section 4."""
    u = sympy.Symbol("u", real=True)
    drift = theory.valley_drift(u**2, u, rho=_RHO, lr=_VALLEY_LR)
    velocity = sympy.lambdify(u, drift)
    t1 = _VALLEY_LR * _STEPS
    found = scipy.integrate.solve_ivp(lambda t, y: velocity(y), (0, t1), [start], rtol=1e-10)
    return float(found.y[0, -1])
