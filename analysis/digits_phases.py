"""The two phases of a late switch, on a network trained on real digits."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from analysis.size import Size
from analysis.valley_phases import phase_claims
from samflow.networks import digits_loss, load_checkpoint, save_checkpoint, train_to_minimum
from samflow.valleys import TwoPhase

NAME = "digits-phases"
TITLE = "Two phases on a real network: an MLP (64–32–10, tanh) on 300 of scikit-learn's digits"
SMALL_SIZE = (
    "the switches are not made again from the weights of the file, which are the same bits."
)
_study = Study(NAME, "[Z] P1 to P4; rates derived in docs/theory.md")
LR = 0.05
TARGETS = (2.1, 2.6)
"""Values of lr·U(λ_max) at the switch: rho is chosen to give them."""


def run(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> list[Claim]:
    """Train by GD, switch to USAM, and do it again from weights that went through a file."""
    loss, w0 = digits_loss(jr.key(0))
    progress("training by full-batch GD")
    trained = train_to_minimum(loss, w0)
    sharpness = float(trained.sharpness.values[-1])
    claims = [
        _study.below(
            "GD stays",
            "the sharpness is below GD's edge 2/lr: without a switch GD keeps this minimum",
            bound=2 / LR,
            measured=sharpness,
            reason="an inequality",
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = save_checkpoint(Path(folder) / "digits.safetensors", loss, trained.w)
        loaded = load_checkpoint(file, loss).w
    claims.append(
        _study.fact(
            "checkpoint",
            "weights saved as safetensors and loaded again are the same bits",
            predicted=True,
            measured=bool(np.array_equal(loaded, trained.w)),
            reason="float64 is stored as it is",
        )
    )
    for target in TARGETS:
        rho = (target / (LR * sharpness) - 1) / sharpness
        system = sf.Map(loss, sf.USAM(rho=rho), lr=LR)
        where = f"lr·U = {target:g}"
        progress(f"switch at {where}")
        found = sf.two_phase(system, trained.w, num_steps=600, gd_tol=1e-3)
        claims += phase_claims(_study, where, found)
        if size is Size.small:
            continue
        progress(f"switch at {where}, from the file")
        again = sf.two_phase(system, loaded, num_steps=600, gd_tol=1e-3)
        claims.append(
            _study.fact(
                f"{where}: from the file",
                "the verdicts on P1 to P4 from the loaded weights",
                predicted=_verdicts(found),
                measured=_verdicts(again),
                reason="the same bits in, the same verdicts out",
            )
        )
    return claims


def _verdicts(found: TwoPhase) -> str:
    return ", ".join(f"{phase.name} {phase.verdict}" for phase in found.phases)
