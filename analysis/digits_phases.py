"""The two phases of a late switch, on a network trained on real digits."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from analysis.size import Size
from analysis.valley_phases import phase_claims
from samflow.networks import digits_loss, load_checkpoint, save_checkpoint, train_to_minimum
from samflow.switching import LateSwitch

NAME = "digits-phases"
TITLE = "Two phases on a real network: an MLP (64–32–10, tanh) on 300 of scikit-learn's digits"
SMALL_SIZE = "the switches are not repeated from the saved weights, which are bit for bit the same."
_study = Study(NAME, "[Z] P1 to P4; rates derived in docs/theory")
LR = 0.05
TARGETS = (2.1, 2.6)
"""Values of lr·U(λ_max) at the switch: rho is chosen to give them."""


class Record(NamedTuple):
    """The sharpness that GD ends at, whether a file keeps the weights, and the switches."""

    sharpness: float
    same: bool
    found: dict[float, LateSwitch]
    """By lr·U at the switch."""
    again: dict[float, LateSwitch]
    """The same from the weights of the file."""


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train by GD, switch to USAM, and do it again from weights that went through a file."""
    loss, w0 = digits_loss(jr.key(0))
    progress("training by full-batch GD")
    trained = train_to_minimum(loss, w0)
    sharpness = float(trained.sharpness.values[-1])
    with tempfile.TemporaryDirectory() as folder:
        file = save_checkpoint(Path(folder) / "digits.safetensors", loss, trained.w)
        loaded = load_checkpoint(file, loss).w
    found, again = {}, {}
    for target in TARGETS:
        rho = (target / (LR * sharpness) - 1) / sharpness
        system = sf.Map(loss, sf.USAM(rho=rho), lr=LR)
        progress(f"switch at lr·U = {target:g}")
        found[target] = sf.two_phase(system, trained.w, num_steps=600, gd_tol=1e-3)
        if size is Size.full:
            progress(f"switch at lr·U = {target:g}, from the file")
            again[target] = sf.two_phase(system, loaded, num_steps=600, gd_tol=1e-3)
    return Record(sharpness, bool(np.array_equal(loaded, trained.w)), found, again)


def judge(record: Record) -> list[Claim]:
    """Turn the phases into claims, and compare those from the file."""
    claims = [
        _study.below(
            "GD stays",
            "the sharpness is below GD's edge of stability 2/lr, so that GD without a switch stays "
            "at this minimum",
            bound=2 / LR,
            measured=record.sharpness,
            reason="a strict inequality",
        ),
        _study.fact(
            "checkpoint",
            "weights saved as safetensors and loaded again are bit for bit the same",
            predicted=True,
            measured=record.same,
            reason="float64 is stored without rounding",
        ),
    ]
    for target, found in record.found.items():
        where = f"lr·U = {target:g}"
        claims += phase_claims(_study, where, found)
    claims += [
        _study.fact(
            f"lr·U = {target:g}: from the file",
            "a switch from the loaded weights gives the same verdicts on P1 to P4",
            predicted=_verdicts(record.found[target]),
            measured=_verdicts(again),
            reason="the same weights give the same verdicts",
        )
        for target, again in record.again.items()
    ]
    return claims


def _verdicts(found: LateSwitch) -> str:
    return ", ".join(f"{phase.name} {phase.verdict}" for phase in found.phases)
