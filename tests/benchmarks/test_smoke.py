"""The benchmarks run, and both sides of each compute the same; nothing is timed here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import samflow as sf
from benchmarks.ensembles import CASES, LR, RHO, compile_peer, numpy_peer, starts

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ensembles.py"


@pytest.mark.parametrize(("loss", "rule"), CASES)
def test_both_peers_and_samflow_agree(loss, rule, tmp_path):
    x, y = starts(loss, 16)
    steps = 20  # few enough for SAM's magnified rounding to stay small
    ours = sf.iterate(
        sf.Map(sf.losses.ZOO[loss](), sf.rule(rule, rho=RHO), lr=LR),
        np.stack([x, y], axis=1),
        num_steps=steps,
    )
    _, peer = compile_peer(tmp_path)
    for run in (peer, numpy_peer):
        theirs = np.stack(run(f"{loss}_{rule}", x, y, steps), axis=1)
        # C may reorder sums (fast-math); gradients reach 1e2, lr is 1e-3.
        np.testing.assert_allclose(ours.final_w, theirs, rtol=1e-11)


def test_starts_do_not_diverge():
    for loss, rule in CASES:
        x, y = starts(loss, 200)
        system = sf.Map(sf.losses.ZOO[loss](), sf.rule(rule, rho=RHO), lr=LR)
        orbits = sf.iterate(system, np.stack([x, y], axis=1), num_steps=1000)
        assert set(orbits.count()) <= {"out of steps", "converged"}


def test_the_script_prints_json():
    arguments = ["--points", "16", "--steps", "10", "--runs", "1", "--json"]
    out = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=True
    )
    report = json.loads(out.stdout)
    assert [row["case"] for row in report["rows"]] == [" ".join(case) for case in CASES]
    assert all(row["ratio"] > 0 for row in report["rows"])
