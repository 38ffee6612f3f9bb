"""`samflow sweep`: what is printed of a small grid, and of values that are not there."""

import pytest

from samflow.cli import run

SWEEP = ["sweep", "--loss", "quartic", "--rho", "0.1,0.5", "--lr", "0.1,0.6", "--resolution", "4"]


def test_periods_cell_by_cell(capsys):
    """The minimum (0, 1) of the quartic flips under USAM at lr = 1/(1 + 2 rho)."""
    assert run([*SWEEP, "--start", "0,1.1", "--of", "period"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "period: 1 in 14, 2 in 2 of 16" in lines
    head, *rows = (line.split() for line in lines[3:])
    assert " ".join(head) == "rho lr = 0.1 lr = 0.2667 lr = 0.4333 lr = 0.6"
    for rho, *periods in rows:
        edge = 1 / (1 + 2 * float(rho))
        wanted = ["2" if lr > edge else "1" for lr in (0.1, 0.2667, 0.4333, 0.6)]
        assert periods == wanted


@pytest.mark.parametrize(
    ("start", "said"), [("0,1", "margin: from "), ("0,1.1", "margin: not a number in 16 of 16")]
)
def test_numbers_from_lowest_to_highest(capsys, start, said):
    assert run([*SWEEP, "--start", start, "--of", "classify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(said) for line in lines)


def test_a_large_grid_says_its_size_and_time_before_it_ends(capsys, monkeypatch):
    """Results of `classify` are a number and two words: 40 bytes or more in each of 10,201 cells.

    Blocks have 4096 cells, and the first one gives an estimate of the time.
    """
    told = []
    monkeypatch.setattr("samflow.cli.chunks.progress", told.append)
    asked = [*SWEEP[:-1], "101", "--start", "0,1", "--of", "classify"]
    assert run(asked) == 0
    (size,) = (line for line in capsys.readouterr().err.splitlines() if "memory" in line)
    assert size == "10,201 cells, whose results take at least 408 kB of memory"
    assert told[0] == "0 of 10201 cells"
    assert told[1].startswith("4096 of 10201 cells, about ")
    assert told[-1] == "10201 of 10201 cells"
    assert run([*SWEEP, "--start", "0,1", "--of", "classify"]) == 0
    assert "memory" not in capsys.readouterr().err
