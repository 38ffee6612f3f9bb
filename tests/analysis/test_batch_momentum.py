"""The table of batch size and momentum: seeds decide, and the caption says what is drawn."""

import pytest

from analysis import batch_momentum
from analysis.batch_momentum import FULL, SMALL, Record, Run, cells, judge
from analysis.claims import Verdict
from analysis.statistics import interval
from figures import batch_momentum as figure
from samflow import Status


def record(settings, *, control, rescue=1.0):
    """Return made-up runs: SAM a half behind SGD, by momentum `rescue` of it brought back."""
    runs = []
    for cell in cells(settings, control=control):
        behind = 0.5 * (cell.rho > 0) * (1 - rescue * (cell.momentum > 0))
        behind *= cell.batch_size / settings.batch_sizes[-1]
        behind += 0.5 * (cell.rho > 0) * rescue * (cell.lr != settings.lr)
        for seed in range(settings.num_seeds):
            loss = 1.0 + behind - 0.2 * (cell.momentum > 0) * (cell.lr == settings.lr)
            loss += 0.01 * seed * (1 + cell.rho)
            runs.append(Run(cell, seed, loss, 0.9 - 0.1 * behind, Status.out_of_steps))
    made = tuple(runs)
    means = {
        (cell, of): interval(batch_momentum.column(made, cell, of))
        for cell in cells(settings, control=control)
        for of in ("accuracy", "loss")
    }
    return Record(settings, made, means)


def test_seeds_decide_for_the_paper_and_against_it():
    assert [claim.verdict for claim in judge(record(FULL, control=True))] == [Verdict.holds] * 4
    behind, helped = judge(record(SMALL, control=False, rescue=0.0))
    assert (behind.verdict, helped.verdict) == (Verdict.holds, Verdict.fails)
    assert helped.error_probability == 0.5


@pytest.mark.parametrize(
    ("settings", "control", "said"),
    [(SMALL, False, {"(b)": True, "(c)": False}), (FULL, True, {"(b)": True, "(c)": True})],
)
def test_the_caption_says_no_panel_that_is_not_drawn(settings, control, said):
    made = record(settings, control=control)
    axes = figure.draw(made).axes
    text = figure.caption(made)
    assert len(axes) == 1 + len(settings.batch_sizes) == 1 + sum(said.values())
    assert {letter: letter in text for letter in said} == said
    assert ("Dashed" in text) == control
    assert all(f"{size}" in text for size in settings.batch_sizes)
    assert f"{settings.num_train} digits for {settings.epochs} epochs" in text
