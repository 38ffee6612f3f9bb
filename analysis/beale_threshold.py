"""Beale's saddle (0, 1) attracts USAM's flow exactly from rho* = 4/111 on."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import sympy

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import theory

NAME = "beale-threshold"
TITLE = "A saddle becomes an attractor of USAM: Beale's saddle at rho* = 4/111"
THRESHOLD = sympy.Rational(4, 111)
_SADDLE = (0.0, 1.0)
_STARTS = 400
_ORBITS = {0.95: False, 1.05: True}
"""By the factor of rho* at which orbits are followed, whether the saddle attracts."""
_PROOFS = {0.999: "saddle", 1.001: "attracting"}
"""By the factor of rho*, what the saddle is for the flow."""
_study = Study(NAME, "[K] theorem 1; 4/111 derived in docs/theory")


class Record(NamedTuple):
    """The threshold found four ways; orbits and certificates by the factor of rho*."""

    formula: sympy.Expr
    crossing: float
    trapped: dict[float, int]
    kinds: dict[float, str]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Find the threshold by formula, linearisation, orbits and certificate."""
    threshold = float(THRESHOLD)
    loss = sf.losses.beale()
    progress("formula")
    hessian = loss.hessian_formula.subs(dict(zip(loss.symbols, _SADDLE, strict=True)))
    eigenvalues = [sympy.nsimplify(value, rational=True) for value in hessian.eigenvals()]
    formula = theory.rho_window(eigenvalues).low.value
    progress("linearisation")
    crossing = _crossing(loss)
    progress("orbits")
    trapped = {factor: _trapped(loss, factor * threshold) for factor in _ORBITS}
    progress("certificate")
    return Record(formula, crossing, trapped, {f: _proved(loss, f * threshold) for f in _PROOFS})


def judge(record: Record) -> list[Claim]:
    """Compare each of the four with 4/111."""
    return [
        _study.fact(
            "formula",
            "the lower end of the window in rho, from the exact Hessian at (0, 1), is rho*",
            predicted=THRESHOLD,
            measured=record.formula,
            reason="exact rational arithmetic in sympy",
        ),
        _study.close(
            "linearisation",
            "the leading eigenvalue of the flow's Jacobian at (0, 1) crosses 0 at rho*",
            predicted=float(THRESHOLD),
            measured=record.crossing,
            rel=1e-12,
            reason="bisection to the last bit; rounding of the Jacobian is about 1e-15",
        ),
        *(
            _study.fact(
                f"orbits at {factor:g} rho*",
                f"number of orbits that converge to the saddle at rho = {factor:g} rho*, of "
                f"{_STARTS} that start within 1e-3 of it",
                predicted=_STARTS if attracts else 0,
                measured=record.trapped[factor],
                reason="all orbits must agree; the next fixed point is at least 0.01 away",
                evidence=Evidence.numerical,
            )
            for factor, attracts in _ORBITS.items()
        ),
        *(
            _study.fact(
                f"certificate at {factor:g} rho*",
                f"the kind of fixed point that (0, 1) is for the flow at rho = {factor:g} rho*, by "
                "ball arithmetic",
                predicted=f"{kind}, proved",
                measured=record.kinds[factor],
                reason="ball arithmetic proves the kind, or says that it cannot",
            )
            for factor, kind in _PROOFS.items()
        ),
    ]


def _crossing(loss: sf.losses.ExpressionLoss) -> float:
    low, high = 0.03, 0.04
    while high - low > 1e-15:
        middle = (low + high) / 2
        margin = sf.classify(sf.Flow(loss, sf.USAM(rho=middle)), _SADDLE).margin
        low, high = (low, middle) if margin > 0 else (middle, high)
    return (low + high) / 2


def _trapped(loss: sf.losses.ExpressionLoss, rho: float) -> int:
    """Count the orbits that converge to the saddle under the map with a small step.

    The map's lower threshold is the flow's.
    """
    offsets = 1e-3 * jr.ball(jr.key(1), 2, shape=(_STARTS,))
    system = sf.Map(loss, sf.USAM(rho=rho), lr=1e-3)
    orbits = sf.iterate(system, jnp.asarray(_SADDLE) + offsets, num_steps=100_000, tol=1e-15)
    distance = np.linalg.norm(np.asarray(orbits.final_w) - np.asarray(_SADDLE), axis=1)
    return int((distance < 1e-9).sum())


def _proved(loss: sf.losses.ExpressionLoss, rho: float) -> str:
    """Return what the certificate says of the saddle."""
    box = ((-4.0, 4.0), (-4.0, 4.0))
    proof = sf.certify_fixed_points(sf.Flow(loss, sf.USAM(rho=rho)), box)
    at_saddle = [p for p in proof.points if np.allclose(p.midpoint, _SADDLE, atol=1e-9)]
    return "; ".join(f"{p.kind}, {p.kind_verdict}" for p in at_saddle)
