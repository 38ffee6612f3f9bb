"""ε in SAM's denominator: where the practical rule differs from the idealised one."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import rules, theory

NAME = "practical-sam"
TITLE = (
    "SAM with ε in the denominator: like SAM if ε is below ‖g‖ on SAM's 2-cycle, like USAM if above"
)
_study = Study(NAME, "derived in docs/theory, Proposition 11")
_LAM, _RHO, _LR = 1.0, 0.05, 0.1
_SADDLE = (1.0, -0.3)


class Record(NamedTuple):
    """‖g‖ at the end of orbits at a minimum, and what a saddle is on both sides of its window."""

    half: dict[str, float]
    sides: dict[str, tuple[float, float]]
    usual: float
    multipliers: tuple[float, float]
    """At the saddle: the least at the lower end in ε, the largest at the upper one."""
    kinds: list[str]
    fates: list[str]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow orbits on both sides of the window in ε, at a minimum and at a saddle."""
    parting = _parting()
    half, sides = {}, {}
    for placement in theory.PLACEMENTS:
        progress(f"ε {placement} the root")
        half[placement] = _amplitude(0.5 * parting, placement)
        above, below = (_amplitude(share * parting, placement) for share in (1.02, 0.98))
        sides[placement] = above, below
    progress("the usual ε")
    usual = _amplitude(1e-12, "outside")
    progress("saddle")
    low, high = _ends()
    cases = (0.98 * low, 1.02 * low, 0.98 * high, 1.02 * high)
    systems = [_system(_SADDLE, eps, "outside") for eps in cases]
    at_ends = [_multipliers(eps) for eps in (low, high)]
    return Record(
        half,
        sides,
        usual,
        (float(at_ends[0].min()), float(at_ends[1].max())),
        [str(sf.classify(system, [0.0, 0.0]).kind) for system in systems],
        [sf.fate(system, [0.0, 0.0], num_starts=8, radius=1e-5).outcome for system in systems],
    )


def judge(record: Record) -> list[Claim]:
    """Compare with the cycle's closed form and with both ends of the window."""
    parting, (low, high) = _parting(), _ends()
    claims = []
    for placement in theory.PLACEMENTS:
        cycle = theory.practical_cycle(
            _LAM, rho=_RHO, lr=_LR, eps=0.5 * parting, placement=placement
        )
        claims += [
            _study.close(
                f"‖g‖ on the 2-cycle, ε {placement}",
                "at ε = G/2, where G is ‖g‖ on the 2-cycle of SAM with ε = 0, ‖g‖ on the 2-cycle "
                "is G − ε with ε outside the root and √(G² − ε²) with ε inside it",
                predicted=float(cycle),
                measured=record.half[placement],
                rel=1e-9,
                reason="the cycle attracts; rounding",
            ),
            _study.fact(
                f"threshold in ε, ε {placement}",
                "at a minimum with λ = 1, rho = .05, lr = .1 orbits converge for ε = 1.02 G, as "
                "the multipliers of USAM with radius rho/ε predict, and do not for ε = .98 G; "
                f"G = {parting:.6g}",
                predicted="converges, does not",
                measured=", ".join(
                    "converges" if end < 1e-9 else "does not" for end in record.sides[placement]
                ),
                reason="both sides of the threshold",
                evidence=Evidence.numerical,
            ),
        ]
    return [
        *claims,
        _study.close(
            "ε = 1e-12",
            "‖g‖ at the end of an orbit with ε = 1e-12, a usual value, is that of SAM's 2-cycle, "
            "although the minimum is a fixed point: its multiplier is −lr·rho·λ²/ε = −5e9",
            predicted=float(theory.practical_cycle(_LAM, rho=_RHO, lr=_LR, eps=0)),
            measured=record.usual,
            rel=1e-8,
            reason="ε/‖g‖ is 4e-10",
        ),
        *(
            _study.close(
                f"the window's {end} end",
                f"at a saddle with λ = 1, −.3 the Jacobian has the multiplier {sign}1 at the {end} "
                f"end of the window in ε in which the saddle attracts, ε = {eps:.6g}",
                predicted=predicted,
                measured=measured,
                rel=1e-12,
                reason="rounding",
            )
            for end, sign, eps, predicted, measured in (
                ("lower", "−", low, -1.0, record.multipliers[0]),
                ("upper", "", high, 1.0, record.multipliers[1]),
            )
        ),
        _study.fact(
            "a saddle, linearised",
            f"a saddle with λ = 1, −.3 attracts for {low:.6g} < ε < rho|λ₋| = {high:.6g}. Below "
            "the window only the multiplier along λ = 1 is unstable, less than −1; above it only "
            "that along λ = −.3, greater than 1. Compared are the kinds at .98 and 1.02 times each "
            "end, for increasing ε",
            predicted="saddle, attracting, attracting, saddle",
            measured=", ".join(record.kinds),
            reason="both sides of both ends; the multipliers differ from ±1 by at least 2 %",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "a saddle, orbits",
            "the fates of orbits at these four values of ε: below the window they end on a "
            "2-cycle, inside it they converge to the saddle, above it they leave",
            predicted="cycle, attractor, attractor, leaves",
            measured=", ".join(record.fates),
            reason="both sides of both ends",
            evidence=Evidence.numerical,
        ),
    ]


def _parting() -> float:
    """Return the ε at which practical SAM's answer parts from SAM's at the minimum."""
    return float(theory.eps_window([_LAM], rho=_RHO, lr=_LR).low.value)


def _ends() -> tuple[float, float]:
    """Return the ends of the window in ε in which the saddle attracts."""
    window = theory.eps_window(_SADDLE, rho=_RHO, lr=_LR)
    return float(window.low.value), float(window.high.value)


def _system(lams: tuple[float, ...], eps: float, placement: str) -> sf.Map:
    rule = rules.PracticalSAM(rho=_RHO, eps=eps, placement=placement)  # pyright: ignore
    return sf.Map(sf.losses.saddle(lams), rule, lr=_LR)  # pyright: ignore[reportCallIssue]


def _amplitude(eps: float, placement: str) -> float:
    """Return ‖g‖ at the end of an orbit at the minimum."""
    orbit = sf.iterate(_system((_LAM,), eps, placement), [1e-3], num_steps=20_000)
    return _LAM * float(np.abs(orbit.final_w[0]))


def _multipliers(eps: float) -> np.ndarray:
    """Return the multipliers at the saddle."""
    system = _system(_SADDLE, eps, "outside")
    return np.linalg.eigvalsh(np.asarray(jax.jacfwd(system.step)(np.zeros(2))))
