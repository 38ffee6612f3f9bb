"""GD against USAM and SAM on Beale's function, as in [K]."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study

NAME = "beale-descent"
TITLE = "From the same starts GD leaves Beale's saddle on both sides; USAM and SAM stay at it"
_study = Study(NAME, "[K] section 3 and its figure on Beale's function")
_LR = 1e-4
_RHO = 0.05
_RING = 0.03
"""Radius of the ring of starts: inside rho, beyond which SAM on a quadratic escapes."""
_STEPS = 1_000_000


class Record(NamedTuple):
    """Where orbits start, and where they are at the end, by rule."""

    starts: np.ndarray
    ends: dict[str, np.ndarray]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow orbits from a ring around the saddle under the three rules."""
    # Half a spacing off the diagonals, where the saddle's stable and unstable directions lie.
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False) + np.pi / 24
    starts = np.c_[_RING * np.cos(angles), 1 + _RING * np.sin(angles)]
    loss = sf.losses.beale()
    ends = {}
    for rule in (sf.GD(), sf.USAM(rho=_RHO), sf.SAM(rho=_RHO)):
        progress(rule.name)
        orbit = sf.iterate(sf.Map(loss, rule, lr=_LR), starts, num_steps=_STEPS, tol=1e-15)
        ends[rule.name] = np.asarray(orbit.final_w)
    return Record(starts, ends)


def judge(record: Record) -> list[Claim]:
    """Count where the orbits end."""
    starts, ends = record
    to_minimum = np.linalg.norm(ends["gd"] - [3.0, 0.5], axis=1)
    to_saddle = {name: np.linalg.norm(end - [0.0, 1.0], axis=1) for name, end in ends.items()}
    # A 2-cycle of SAM along an eigenvector has radius lr·rho·|λ|/(2 − lr·|λ|); chaos adds to it.
    hovering = 10 * _LR * _RHO * 27.75
    where = f"{len(starts)} starts on a circle of radius {_RING} around the saddle, lr = {_LR}"
    return [
        _study.fact(
            "GD leaves",
            f"number of orbits of GD that are within 1e-6 of the saddle after {_STEPS:,} steps; "
            f"{where}",
            predicted=0,
            measured=int((to_saddle["gd"] < 1e-6).sum()),
            reason="a count",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "GD reaches the minimum",
            "number of orbits of GD that end within 1e-6 of the minimum (3, ½): by linearisation "
            "those with x > y − 1, which start on one side of the saddle's stable direction; "
            f"{where}",
            predicted=int((starts[:, 0] > starts[:, 1] - 1).sum()),
            measured=int((to_minimum < 1e-6).sum()),
            reason="a count; the slowest multiplier is 1 − 3e-5, so that 1e6 steps contract by "
            "e^−30",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "USAM stays",
            f"number of orbits of USAM with rho = {_RHO} > 4/111 that end within 1e-6 of the "
            f"saddle; {where}",
            predicted=len(starts),
            measured=int((to_saddle["usam"] < 1e-6).sum()),
            reason="a count",
            evidence=Evidence.numerical,
        ),
        _study.fact(
            "SAM stays",
            f"number of orbits of SAM with rho = {_RHO} that end within {hovering:.2g} of the "
            f"saddle; {where}",
            predicted=len(starts),
            measured=int((to_saddle["sam"] < hovering).sum()),
            reason="a count; the distance is ten times lr·rho·|λ|, the order of the size of SAM's "
            "cycles",
            evidence=Evidence.numerical,
        ),
    ]
