"""ε in SAM's denominator: where the practical rule and the idealised one part."""

from collections.abc import Callable

import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import rules, theory

NAME = "practical-sam"
TITLE = (
    "SAM with ε in the denominator: the idealised answer up to ε = ‖g‖ on the 2-cycle, then USAM's"
)
_study = Study(NAME, "derived in docs/theory.md, Proposition 11")
_LAM, _RHO, _LR = 1.0, 0.05, 0.1


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Compare orbits with the window in ε, on both sides, at a minimum and at a saddle."""
    claims = []
    window = theory.eps_window([_LAM], rho=_RHO, lr=_LR)
    parting = float(window.low.value)
    for placement in theory.PLACEMENTS:
        progress(f"ε {placement} the root")
        predicted = float(
            theory.practical_cycle(_LAM, rho=_RHO, lr=_LR, eps=0.5 * parting, placement=placement)
        )
        claims.append(
            _study.close(
                f"‖g‖ on the 2-cycle, ε {placement}",
                "at half the ε where the two part, ‖g‖ on the 2-cycle is G − ε, or √(G² − ε²) with "
                "ε inside the root; SAM's own is G",
                predicted=predicted,
                measured=_amplitude(0.5 * parting, placement),
                rel=1e-9,
                reason="the cycle attracts; rounding",
            )
        )
        claims.append(
            _study.fact(
                f"the parting, ε {placement}",
                f"at λ = 1, rho = .05, lr = .1 orbits come to the minimum for ε = 1.02 G, as "
                f"USAM's multipliers with rho/ε say, and do not for .98 G; G = {parting:.6g}",
                predicted="comes, does not",
                measured=", ".join(
                    "comes" if _amplitude(share * parting, placement) < 1e-9 else "does not"
                    for share in (1.02, 0.98)
                ),
                reason="both sides of the threshold",
            )
        )
    progress("the usual ε")
    claims.append(
        _study.close(
            "ε = 1e-12",
            "with the usual ε the orbit is on SAM's 2-cycle, while the linearisation at the "
            "minimum has the multiplier −lr·rho·λ²/ε = −5e9",
            predicted=float(theory.practical_cycle(_LAM, rho=_RHO, lr=_LR, eps=0)),
            measured=_amplitude(1e-12, "outside"),
            rel=1e-8,
            reason="ε over ‖g‖ is 4e-10",
        )
    )
    progress("saddle")
    return [*claims, *_saddle()]


def _system(lams: tuple[float, ...], eps: float, placement: str) -> sf.Map:
    rule = rules.PracticalSAM(rho=_RHO, eps=eps, placement=placement)  # pyright: ignore
    return sf.Map(sf.losses.saddle(lams), rule, lr=_LR)  # pyright: ignore[reportCallIssue]


def _amplitude(eps: float, placement: str) -> float:
    """Return ‖g‖ at the end of an orbit at the minimum."""
    orbit = sf.iterate(_system((_LAM,), eps, placement), [1e-3], num_steps=20_000)
    return _LAM * float(np.abs(orbit.final_w[0]))


def _saddle() -> list[Claim]:
    lams = (1.0, -0.3)
    window = theory.eps_window(lams, rho=_RHO, lr=_LR)
    low, high = float(window.low.value), float(window.high.value)
    cases = (0.98 * low, 1.02 * low, 0.98 * high, 1.02 * high)
    kinds = [str(sf.classify(_system(lams, eps, "outside"), [0.0, 0.0]).kind) for eps in cases]
    seen = [
        sf.fate(_system(lams, eps, "outside"), [0.0, 0.0], num_starts=8, radius=1e-5).outcome
        for eps in cases
    ]
    return [
        _study.fact(
            "a saddle, linearised",
            f"at λ = 1, −.3 the saddle attracts for {low:.6g} < ε < rho|λ₋| = {high:.6g}: kinds at "
            ".98 and 1.02 times either end",
            predicted="repelling or saddle, attracting, attracting, repelling or saddle",
            measured=", ".join(
                "attracting" if k == "attracting" else "repelling or saddle" for k in kinds
            ),
            reason="both sides of both ends",
        ),
        _study.fact(
            "a saddle, orbits",
            "below the window SAM's 2-cycle holds the orbit, in it the saddle attracts, above it "
            "the orbit leaves",
            predicted="cycle, attractor, attractor, leaves",
            measured=", ".join(seen),
            reason="both sides of both ends",
        ),
    ]
