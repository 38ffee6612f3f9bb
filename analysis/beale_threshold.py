"""Beale's saddle (0, 1) attracts USAM's flow exactly from rho* = 4/111 on."""

from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import sympy

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "beale-threshold"
TITLE = "A saddle becomes an attractor of USAM: Beale's saddle at rho* = 4/111"
THRESHOLD = sympy.Rational(4, 111)
_SADDLE = (0.0, 1.0)
_STARTS = 400
_study = Study(NAME, "[K] theorem 1; 4/111 derived in docs/theory.md")


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Check the threshold four ways: formula, linearisation, orbits, certificate."""
    threshold = float(THRESHOLD)
    loss = sf.losses.beale()
    progress("formula")
    hessian = loss.hessian_formula.subs(dict(zip(loss.symbols, _SADDLE, strict=True)))
    eigenvalues = [sympy.nsimplify(value, rational=True) for value in hessian.eigenvals()]
    window = theory.rho_window(eigenvalues)
    claims = [
        _study.fact(
            "formula",
            "from the exact Hessian at (0, 1), sympy's window in rho begins at rho*",
            predicted=THRESHOLD,
            measured=window.low.value,
            reason="exact rational arithmetic",
        )
    ]
    progress("linearisation")
    claims.append(
        _study.close(
            "linearisation",
            "the leading eigenvalue of the flow's Jacobian at (0, 1) crosses 0 at rho*",
            predicted=threshold,
            measured=_crossing(loss),
            rel=1e-12,
            reason="bisection to the last bit; rounding of the Jacobian is about 1e-15",
        )
    )
    progress("orbits")
    for factor, share in ((0.95, 0.0), (1.05, 1.0)):
        claims.append(
            _study.close(
                f"orbits at {factor:g} rho*",
                f"of {_STARTS} orbits that start within 1e-3 of the saddle, at "
                f"rho = {factor:g} rho* the share that converges to it",
                predicted=share,
                measured=_trapped_share(loss, factor * threshold),
                reason="every orbit counts; the next fixed point is 0.01 away or more",
            )
        )
    progress("certificate")
    claims += _certified(loss, threshold)
    return claims


def _crossing(loss: sf.losses.ExpressionLoss) -> float:
    low, high = 0.03, 0.04
    while high - low > 1e-15:
        middle = (low + high) / 2
        margin = sf.classify(sf.Flow(loss, sf.USAM(rho=middle)), _SADDLE).margin
        low, high = (low, middle) if margin > 0 else (middle, high)
    return (low + high) / 2


def _trapped_share(loss: sf.losses.ExpressionLoss, rho: float) -> float:
    """Follow the map with a small step, whose lower threshold is the flow's."""
    offsets = 1e-3 * jr.ball(jr.key(1), 2, shape=(_STARTS,))
    system = sf.Map(loss, sf.USAM(rho=rho), lr=1e-3)
    orbits = sf.iterate(system, jnp.asarray(_SADDLE) + offsets, num_steps=100_000, tol=1e-15)
    distance = np.linalg.norm(np.asarray(orbits.final_w) - np.asarray(_SADDLE), axis=1)
    return float((distance < 1e-9).mean())


def _certified(loss: sf.losses.ExpressionLoss, threshold: float) -> list[Claim]:
    box = ((-4.0, 4.0), (-4.0, 4.0))
    proofs = {
        factor: sf.certify_fixed_points(sf.Flow(loss, sf.USAM(rho=factor * threshold)), box)
        for factor in (0.999, 1.001)
    }
    kinds: dict[float, str] = {}
    for factor, proof in proofs.items():
        at_saddle = [p for p in proof.points if np.allclose(p.midpoint, _SADDLE, atol=1e-9)]
        kinds[factor] = "; ".join(f"{p.kind}, {p.kind_verdict}" for p in at_saddle)
    return [
        _study.fact(
            f"certificate at {factor:g} rho*",
            f"ball arithmetic proves what (0, 1) is for the flow at {factor:g} rho*",
            predicted=f"{kind}, proved",
            measured=kinds[factor],
            reason="a proof or none",
        )
        for factor, kind in ((0.999, "saddle"), (1.001, "attracting"))
    ]
