"""`samflow stability`: its numbers are the library's; misuse is one line and code 2."""

import json
import math

import numpy as np
import pytest

from samflow.cli import run

SMALL = ["stability", "--random", "4,2", "--steps", "50"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _json(arguments, capsys, code=0):
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_json_has_the_known_answers_for_one_weight(capsys, tmp_path):
    (tmp_path / "rows.csv").write_text("1.0\n2.0\n")
    found = _json(
        ["stability", "--data", "rows.csv", "--rho", "0.5", "--lr", "0.1", "--steps", "50"], capsys
    )
    steps = [0.1 * 1.5, 0.1 * 4 * 3]  # lr s(1 + rho s)
    wanted = np.log(np.mean([(1 - x) ** 2 for x in steps]))
    assert found["mean_square"]["rate"] == pytest.approx(wanted, rel=1e-12)
    assert found["mean_square"]["expectation"] == "exact"
    assert found["stability"] == "stable"
    # 2 E[U]/E[U²], U = 1.5 and 12
    assert found["lr_threshold"]["low"] == pytest.approx(2 * 13.5 / (1.5**2 + 12**2), rel=1e-8)
    assert found["lr_threshold"]["low"] < found["lr_threshold"]["high"]
    assert 2 * found["typical"]["interval"][0] <= found["mean_square"]["rate"]


@pytest.mark.parametrize(("factor", "verdict"), [(0.99, "stable"), (1.01, "unstable")])
def test_both_sides_of_the_threshold(factor, verdict, capsys, tmp_path):
    np.savez(tmp_path / "rows.npz", rows=[[1.0], [2.0]])
    lr = factor * 2 * 5 / 17  # GD: 2 E[s]/E[s²]
    arguments = ["stability", "--data", "rows.npz", "--rule", "gd", "--lr", str(lr), "--steps", "9"]
    found = _json(arguments, capsys)
    assert found["stability"] == verdict
    assert found["rho_threshold"] is None


def test_the_table_has_the_rows_and_says_what_they_are(capsys):
    assert run([*SMALL, "--batch-size", "2", "--replacement"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for piece in (
        "usam(rho=0.05)",
        "mini-batches of 2 with replacement",
        "mean-square rate",
        "exact, dense",
        "95 % interval",
        "bound [Z]",
        "threshold in lr",
        "threshold in rho",
    ):
        assert piece in out


def test_momentum_has_no_bound_and_a_file_is_written(capsys, tmp_path):
    assert run([*SMALL, "--momentum", "0.5", "--lr", "0.01", "-o", "found.json"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["bound"] is None
    assert math.isfinite(found["mean_square"]["rate"])
    assert capsys.readouterr().out == ""


def test_seeds_are_reproducible_and_differ(capsys):
    first, again, other = (
        _json([*SMALL, "--seed", seed], capsys)["mean_square"]["rate"] for seed in ("1", "1", "2")
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["--data", "--random", "none"]),
        (["--random", "4,2", "--loss", "digits"], ["exactly one", "--random and --loss"]),
        (["--random", "4"], ["--random", "20,5", "'4'"]),
        (["--random", "4,0"], ["--random", "'4,0'"]),
        (["--random", "1e300,2"], ["--random", "at most 10,000,000"]),
        (["--random", "4,2", "--seed", str(2**70)], ["--seed", "below 2⁶³"]),
        (["--loss", "digits", "--seed", "-1"], ["--seed", "at least 0"]),
        (["--random", "a,b"], ["--random", "numbers"]),
        (["--loss", "digit"], ["digit", "digits"]),
        (["--random", "4,2", "--batch-size", "5"], ["batch_size", "at most", "4", "5"]),
        (["--random", "4,2", "--batch-size", "0"], ["batch_size", "at least 1", "0"]),
        (["--random", "4,2", "--rule", "sam"], ["sam", "no linearisation"]),
        (["--random", "4,2", "--lr", "0"], ["--lr", "greater than 0"]),
        (["--random", "4,2", "--rho", "nan"], ["--rho", "finite"]),
        (["--random", "4,2", "--steps", "0"], ["num_steps", "at least 1"]),
        (["--data", "none.csv"], ["--data", "none.csv", "not found"]),
        (["--data", "rows.txt"], ["--data", ".csv or .npz", "rows.txt"]),
        (["--data", "nan.csv"], ["rows", "finite", "row 1"]),
        (["--data", "words.csv"], ["--data", "numbers", "words.csv"]),
        (["--data", "empty.csv"], ["--data", "empty.csv"]),
        (["--data", "ragged.csv"], ["--data", "ragged.csv"]),
        (["--data", "words.npz"], ["--data", "words.npz"]),
        (["--data", "two.npz"], ["--data", "one array", "a, b"]),
        (["--data", "deep.npz"], ["rows", "shape", "(1, 1, 1)"]),
        (["--data", "zero.csv"], ["the Hessian of some example is not 0, but all are 0"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_misuse_is_one_line_and_code_2(arguments, expected, capsys, tmp_path):
    texts = {"nan": "1,2\nnan,3\n", "words": "a,b\n", "empty": "", "ragged": "1,2\n3\n"}
    for name, text in {**texts, "zero": "0,0\n0,0\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "words.npz").write_text("no zip")
    np.savez(tmp_path / "two.npz", a=[1.0], b=[2.0])
    np.savez(tmp_path / "deep.npz", a=np.ones((1, 1, 1)))
    before = set(tmp_path.iterdir())
    assert run(["stability", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for piece in expected:
        assert piece in err
    assert set(tmp_path.iterdir()) == before
