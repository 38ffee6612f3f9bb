"""The two phases of a late switch, on valleys."""

import math
from collections.abc import Callable

import sympy

import samflow as sf
from analysis.claims import Claim, Evidence, Study, Verdict
from samflow.valleys import Phase, TwoPhase
from samflow.valleys.phases import NOT_MEASURED

NAME = "valley-phases"
TITLE = "Two phases in a valley: SAM escapes from GD's minimum and converges to a flatter one"
_study = Study(NAME, "[Z] P1 to P4; rates derived in docs/theory.md")
_PREDICTED_ESCAPE = sympy.log(2)
_LR, _RHO = 0.3, 0.2


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Run `two_phase` on the straight and on the bent valley, both from sharpness 5."""
    claims = []
    for loss, start in ((sf.losses.valley(), [2.0, 0.0]), (sf.losses.curved_valley(), [2.0, 2.0])):
        progress(loss.name)
        found = sf.two_phase(sf.Map(loss, sf.USAM(rho=_RHO), lr=_LR), start)
        claims += phase_claims(_study, loss.name, found)
        claims.append(
            _study.close(
                f"{loss.name}: escape",
                "U(5) = 10 and lr·U = 3: the escape rate is log 2 exactly",
                predicted=float(_PREDICTED_ESCAPE),
                measured=found.escape.slope,
                rel=0.01,
                reason="1 %: the valley bends the growth within the window",
            )
        )
    return claims


def phase_claims(study: Study, where: str, found: TwoPhase) -> list[Claim]:
    """Turn the four phases of a record into claims."""
    return [
        Claim(
            study=study.name,
            name=f"{where}: {phase.name}",
            source=study.source,
            statement=phase.statement,
            predicted=f"{phase.predicted:.6g}" + _mean(phase),
            measured=_measured(phase),
            tolerance=f"±{phase.tolerance:.2g}" if phase.tolerance > 0 else "none",
            reason=phase.reason,
            evidence=Evidence.numerical,
            verdict=Verdict.holds if phase.holds else Verdict.fails,
        )
        for phase in found.phases
    ]


def _mean(phase: Phase) -> str:
    return f" (mean {phase.mean:.6g})" if math.isfinite(phase.mean) else ""


def _measured(phase: Phase) -> str:
    interval = f" [{phase.low:.6g}, {phase.high:.6g}]" if phase.low <= phase.high else ""
    found = f"{phase.measured:.6g}{interval}"
    return f"not measured: {found}" if phase.verdict == NOT_MEASURED else found
