"""`samflow escape`: what it prints and returns, and what it refuses."""

import json

import numpy as np
import pytest

import samflow as sf
from samflow.cli import run

QUARTIC = ["escape", "--loss", "quartic", "--lr", "0.05", "--paths", "400", "--rho", "0.5"]


def test_a_row_for_the_rule_and_one_for_sgd(capsys):
    assert run([*QUARTIC, "--rule", "usam"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "quartic: escape from the ball of radius 0.5 about (0, 0)" in out
    rows = {
        line.split()[0]: line.split() for line in out.splitlines() if line[:4] in ("SGD ", "USAM")
    }
    sgd, usam = rows["SGD"], rows["USAM"]
    assert float(sgd[4]) < float(usam[2])  # the intervals are apart
    assert "100.0%" in sgd
    assert max(map(len, out.splitlines())) <= 100


def test_json_has_medians_counts_and_the_curve(capsys, tmp_path):
    path = tmp_path / "found.json"
    arguments = [*QUARTIC, "--rule", "sam", "--max-steps", "300", "--batch-size", "128"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["loss"], found["point"], found["radius"]) == ("quartic", [0.0, 0.0], 0.5)
    sgd, sam = found["rules"]
    assert (sgd["rule"], sam["rule"]) == ("gd", "sam")
    assert sgd["median_low"] <= sgd["median"] <= sgd["median_high"]
    assert sam["median"] is None  # held by the 2-cycle of its stable direction
    assert "above 1/2" in sam["reason"]
    assert sam["count"] == {"still inside": 400}
    assert sam["restricted_mean"] == 300
    assert len(sgd["curve"]["steps"]) == len(sgd["curve"]["survival"])
    assert run([*arguments, "-o", str(path)]) == 0
    assert json.loads(path.read_text()) == found
    capsys.readouterr()
    assert run(arguments) == 0
    assert "SAM: no median: the survival curve ends at 1, above 1/2" in capsys.readouterr().out


def test_tables_and_arrays(tmp_path):
    """A row for each rule; the arrays hold every path."""
    arguments = [*QUARTIC, "--rule", "usam", "-o"]
    for suffix in (".csv", ".nc", ".tex"):
        assert run([*arguments, str(tmp_path / f"a{suffix}")]) == 0
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert header.startswith("rule,median,interval_low,interval_high,share")
    assert [row.split(",")[0] for row in rows] == ["gd", "usam"]
    data = sf.load_dataset(tmp_path / "a.nc")
    assert data["all_times"].dims == ("rule", "path")
    inside = (data["all_status"] == "still inside").sum("path").values
    np.testing.assert_array_equal(data["still_inside"].values, inside)
    assert "toprule" in (tmp_path / "a.tex").read_text()


def test_the_seed_decides_and_sgd_alone_is_one_row(capsys):
    arguments = [*QUARTIC, "--rule", "gd", "--noise", "isotropic", "--sigma", "2", "--json"]
    medians = []
    for seed in ("0", "0", "1"):
        assert run([*arguments, "--seed", seed]) == 0
        (row,) = json.loads(capsys.readouterr().out)["rules"]
        medians.append(row["restricted_mean"])
    assert medians[0] == medians[1] != medians[2]


def test_beale_begins_at_its_saddle(capsys):
    arguments = ["escape", "--loss", "beale", "--lr", "0.001", "--paths", "50", "--radius", "0.2"]
    assert run([*arguments, "--rho", "0.02", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["point"] == [0.0, 1.0]


def test_a_point_that_is_not_critical_gives_a_warning(capsys):
    assert run([*QUARTIC, "--rule", "gd", "--point", "0.3,0.2"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("Warning: (0.3, 0.2) is no critical point of quartic")


def test_lost_paths_return_1(capsys):
    """SAM without noise, at the saddle, divides 0 by 0."""
    arguments = [*QUARTIC, "--rule", "sam", "--noise", "isotropic", "--sigma", "0"]
    assert run([*arguments, "--max-steps", "5"]) == 1
    out, err = capsys.readouterr()
    assert "SAM lost paths: 400 undefined. They count as censored" in err
    assert "SAM: no path was followed beyond step 0" in out


def test_an_interrupt_is_130_and_leaves_no_file(capsys, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("samflow.noise.escape._advance", interrupted)
    assert run([*QUARTIC, "-o", str(tmp_path / "x.json")]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert list(tmp_path.iterdir()) == []


MISUSE = {
    "negative radius": (["--radius", "-1"], ["--radius", "greater than 0", "-1"]),
    "radius not a number": (["--radius", "nan"], ["--radius", "nan"]),
    "batch size of zero": (["--batch-size", "0"], ["--batch-size", "at least 1", "0"]),
    "half a batch": (["--batch-size", "1.5"], ["--batch-size", "whole", "'1.5'"]),
    "no path": (["--paths", "0"], ["--paths", "at least 1"]),
    "no step": (["--max-steps", "0"], ["--max-steps", "at least 1"]),
    "too many steps": (["--max-steps", "9999999999"], ["max_steps", "below"]),
    "seed past 64 bits": (["--seed", str(2**70)], ["--seed", "below 2⁶³"]),
    "negative seed": (["--seed", "-1"], ["--seed", "at least 0"]),
    "start outside the ball": (["--start", "0,0.6"], ["start", "radius 0.5", "distance 0.6"]),
    "start of one number": (["--start", "0.1"], ["--start", "2 numbers"]),
    "point of one number": (["--point", "0.1"], ["--point", "2 numbers"]),
    "unknown noise": (["--noise", "hesian"], ["hesian", "hessian"]),
    "sigma of the Hessian": (["--sigma", "1"], ["--sigma", "isotropic"]),
    "negative sigma": (["--noise", "isotropic", "--sigma", "-1"], ["--sigma", "at least 0"]),
    "unknown rule": (["--rule", "samm"], ["samm", "sam"]),
    "negative lr": (["--lr", "-1"], ["--lr", "greater than 0"]),
}


@pytest.mark.parametrize(("extra", "expected"), MISUSE.values(), ids=MISUSE.keys())
def test_misuse_is_one_line_and_code_2(extra, expected, capsys):
    assert run([*QUARTIC, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    for piece in expected:
        assert piece in err


def test_a_loss_without_a_listed_saddle_asks_for_a_point(capsys):
    assert run(["escape", "--loss", "x**2 - y**2"]) == 2
    assert "`--point` is missing" in capsys.readouterr().err
