"""The two phases of a late switch, on valleys."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import sympy

import samflow as sf
from analysis.claims import Claim, Evidence, Study, Verdict
from samflow.switching import ClaimVerdict, LateSwitch, PhaseClaim

NAME = "valley-phases"
TITLE = "Two phases in a valley: SAM escapes from GD's minimum and converges to a flatter one"
_study = Study(NAME, "[Z] P1 to P4; rates derived in docs/theory")
_PREDICTED_ESCAPE = sympy.log(2)
_LR, _RHO = 0.3, 0.2


_SHOWN_STEPS = 60
_LINEAR = 1e-5


class Shown(NamedTuple):
    """An orbit of the straight valley that a figure shows: each step and its loss."""

    lr: float
    rho: float
    w: np.ndarray
    loss: np.ndarray


class Record(NamedTuple):
    """The two phases by valley, and an orbit to show."""

    found: dict[str, LateSwitch]
    shown: Shown


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Run `two_phase` on the straight and on the bent valley, both from sharpness 5."""
    rule = sf.USAM(rho=_RHO)
    found = {}
    for loss, start in ((sf.losses.valley(), [2.0, 0.0]), (sf.losses.curved_valley(), [2.0, 2.0])):
        progress(loss.name)
        found[loss.name] = sf.two_phase(sf.Map(loss, rule, lr=_LR), start)
    system = sf.Map(sf.losses.valley(), rule, lr=_LR)
    orbit = sf.iterate(system, [2.0, 1e-8], num_steps=_SHOWN_STEPS, keep_every=1)
    loss = np.asarray(jax.vmap(system.loss)(orbit.w))
    return Record(found, Shown(_LR, _RHO, np.asarray(orbit.w), loss))


def judge(record: Record) -> list[Claim]:
    """Turn the phases into claims, and compare the escape with log 2."""
    v = np.abs(record.shown.w[:, 1])
    linear = int((v < _LINEAR).argmin()) - 1
    claims = [
        _study.close(
            "valley: the first steps",
            f"from a displacement of 1e-8 up to {_LINEAR:g}, log|v| grows by log 2 per step",
            predicted=float(_PREDICTED_ESCAPE),
            measured=float(np.log(v[linear] / v[0]) / linear),
            rel=1e-9,
            reason=f"terms of the next order, v², are at most {_LINEAR**2:g}",
        )
    ]
    for name, found in record.found.items():
        claims += phase_claims(_study, name, found)
        claims.append(
            _study.close(
                f"{name}: escape",
                "U(5) = 10 and lr·U = 3, so that the escape rate is exactly log 2",
                predicted=float(_PREDICTED_ESCAPE),
                measured=found.escape.slope,
                rel=2e-3,
                reason="0.2 %, since the slopes in the fitted window agree to half of that",
            )
        )
    return claims


def phase_claims(study: Study, where: str, found: LateSwitch) -> list[Claim]:
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
            used=abs(phase.measured - phase.predicted) / phase.tolerance
            if phase.tolerance
            else math.nan,
        )
        for phase in found.phases
    ]


def _mean(phase: PhaseClaim) -> str:
    return f" (mean over the window {phase.mean:.6g})" if math.isfinite(phase.mean) else ""


def _measured(phase: PhaseClaim) -> str:
    interval = f" (95 %: {phase.low:.6g} to {phase.high:.6g})" if math.isfinite(phase.mean) else ""
    found = f"{phase.measured:.6g}{interval}"
    return f"not measured: {found}" if phase.verdict is ClaimVerdict.not_measured else found
