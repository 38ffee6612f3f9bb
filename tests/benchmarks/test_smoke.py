"""The benchmarks run, and both sides of each compute the same; nothing is timed here."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import samflow as sf
from benchmarks import checkpoints, lyapunov, noise, peers, proofs
from benchmarks.ensembles import CASES, LR, RHO, compile_peer, numpy_peer, starts
from samflow.cli.app import app

FOLDER = Path(__file__).parents[2] / "benchmarks"


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


def run(script, *arguments):
    command = [sys.executable, str(FOLDER / script), *arguments, "--runs", "1", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_script_prints_json():
    report = run("ensembles.py", "--points", "16", "--steps", "10")
    assert [row["case"] for row in report["rows"]] == [" ".join(case) for case in CASES]
    assert all(row["ratio"] > 0 for row in report["rows"])


def test_the_monitor_is_measured_beside_the_same_training():
    report = run("monitor.py", "--images", "20", "--hidden", "4", "--steps", "60", "--every", "20")
    assert [row["rule"] for row in report["rows"]] == ["gd", "usam", "sam"]
    assert all(row["watched"] > 0 and 1 <= row["most"] < 10 for row in report["rows"])


def test_proofs_are_proved_and_timed(monkeypatch):
    name, (limit, prove) = next(iter(proofs.CASES.items()))
    assert prove().verdict == "proved"
    monkeypatch.setattr(proofs, "CASES", {name: (limit, prove)})
    monkeypatch.setattr(proofs, "seconds", lambda arguments, cache: 1.0)
    (row,) = proofs.measure(1)
    assert 0 < row["again/s"] < row["first/s"] == row["first/base"]


@pytest.mark.parametrize("case", lyapunov.CASES)
def test_both_peers_and_samflow_agree_on_exponents(case, tmp_path):
    start, steps = lyapunov.starts_of(case, 8), 66  # a whole group of rescalings and more
    _, peer = lyapunov.compile_peer(tmp_path)
    found = [run(case, start, steps) for run in (peer, lyapunov.numpy_peer)]
    # Along this orbit chaos multiplies rounding by e^(.49 · 66) = 1e14: .01 in the last slopes.
    np.testing.assert_allclose(*found, atol=1e-3)
    ours = sf.lyapunov_spectrum(lyapunov.system_of(case), start, num_steps=steps)
    # Frames start differently: only the sum of all exponents does not depend on that.
    np.testing.assert_allclose(ours.sum, found[0].sum(axis=1), atol=1e-3)


@pytest.mark.slow
def test_the_script_of_exponents_prints_json():
    report = run("lyapunov.py", "--points", "8", "--steps", "2000")
    assert len(report["rows"]) == len(lyapunov.CASES)
    assert all(row["ratio"] > 0 for row in report["rows"])


@pytest.mark.parametrize("loss", noise.STARTS)
def test_noisy_peers_and_samflow_have_the_same_moments(loss):
    with tempfile.TemporaryDirectory() as folder:
        compiled = peers.compile_c(FOLDER / "noise.c", Path(folder))
        assert compiled is not None
        row = noise.measure(compiled, loss, paths=128, steps=20, runs=1)
    # The same random numbers: rounding alone, over twenty steps.
    assert row["largest_difference"] < 1e-11


def test_the_peer_in_numpy_has_the_moments_of_usam():
    found = noise.numpy_peer("saddle", 20_000, 20)
    system = sf.StochasticMap(
        sf.Map(sf.losses.saddle(), sf.USAM(rho=noise.RHO), lr=noise.LR),
        sf.noise.AdditiveNoise(np.square(noise.SIGMA)),
    )
    exact = sf.noise.second_moment(system, [0, 0], num_steps=20, keep_every=2).second[1:]
    for column, i in ((0, 0), (2, 1)):  # five standard errors of a mean of squares
        np.testing.assert_allclose(found[:, column], exact[:, i, i], rtol=5 * np.sqrt(2 / 20_000))


@pytest.mark.slow
def test_the_script_of_noise_prints_json():
    report = run("noise.py", "--paths", "64", "--steps", "10")
    assert [row["case"] for row in report["rows"]] == list(noise.STARTS)
    assert all(row["ratio"] > 0 for row in report["rows"])


def test_a_command_and_its_peer_are_measured_on_the_network_that_is_named(monkeypatch, tmp_path):
    lines = []

    def timed(line, name, folder):
        lines.append((line, name))
        return 2.0 if len(lines) == 2 else 1.0, 3.0, {"pairs": {"num_products": 7}, "dim": 5510}

    monkeypatch.setattr(checkpoints, "_timed", timed)
    rows = list(checkpoints._rows("torch-6k", tmp_path))
    assert [row["case"].partition(" ")[2] for row in rows] == [
        "eigsh",
        "whole, with figure",
        "--quick",
    ]
    assert [row["ratio"] for row in rows] == [1.0, 2.0, 2.0]  # of the peer's 2 s of CPU
    assert {name for _, name in lines} == {"torch-6k"}
    assert "--quick" in lines[-1][0]
    # The command line knows every option that it is given.
    given = lines[-2][0]
    options = given[given.index("checkpoint") + 1 :]
    commands: Any = typer.main.get_command(app)
    parsed = commands.commands["checkpoint"].make_context("checkpoint", options)
    assert parsed.params["model"] == "benchmarks.checkpoints:make"


@pytest.mark.slow
def test_the_script_of_checkpoints_prints_json():
    pytest.importorskip("torch")
    command = [sys.executable, str(FOLDER / "checkpoints.py"), "--only", "torch-6k", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peer, whole, quick = json.loads(done.stdout)["rows"]
    assert peer["dim"] == whole["dim"] == quick["dim"] == 5510
    assert quick["products"] < whole["products"] < peer["products"]
    assert min(row["cpu"] for row in (peer, whole, quick)) > 0
