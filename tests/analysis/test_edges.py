"""Claims of the study of edges: they hold where theory says, and each can fail."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from analysis import edges
from analysis.edges import Case, Runs
from analysis.size import Size
from analysis.statistics import mean_of_series
from figures import edges as figure


@pytest.fixture(scope="module")
def seen():
    """A short training, whose rows are written over."""
    loss, w = sf.networks.digits_loss(jr.key(0), num_images=60, hidden=4)
    return edges.watched(Case("gd", 0.05).on(loss), w, 47, 1)


def _at(seen, ratio, *, rule_lr=2.0, lr=0.1, batch=np.nan):
    """Return rows in which λ over the edge is as given, the next eigenvalues 1 % apart."""
    wave = 0.005 * np.sin(np.arange(len(seen)))
    edge = np.full(len(seen), rule_lr / lr)
    below = np.array([0.0, 0.01, 0.015, 0.02, 0.03])
    return dataclasses.replace(
        seen,
        lr=np.full(len(seen), lr),
        edge=edge,
        eigenvalues=edge[:, None] * (ratio + wave[:, None] - below),
        batch_sharpness=(2 / lr) * (batch + wave),
    )


@pytest.fixture
def record(seen):
    """A record in which each training is at its edge, and SGD's sharpness below."""
    full = {
        "GD": _at(seen, 1.02),
        "heavy ball": _at(seen, 1.01, rule_lr=3.0),
        "USAM": _at(seen, 1.02, rule_lr=1.5),
        "SAM": _at(seen, 1.02, rule_lr=1.2),
        "Adam": _at(seen, 1.0, rule_lr=38.0),
    }
    slow, noisy = _at(seen, 0.3, lr=0.025), _at(seen, 0.9, batch=1.0)
    return {"perceptron": Runs(100, full, slow, noisy)}


def test_every_claim_holds_and_each_can_fail(record):
    claims = edges.judge(record)
    assert len(claims) == 9
    assert [claim.name for claim in claims if not claim.holds] == []
    runs = record["perceptron"]
    wrong = Runs(
        100,
        {name: _at(run, 1.1) for name, run in runs.full.items()},
        _at(runs.slow, 0.99),
        _at(runs.noisy, 1.0, batch=0.9),
    )
    # 2/lr is excluded at 1.1 as well: the rules are put where it is.
    wrong.full["SAM"] = _at(runs.full["SAM"], 1.1, rule_lr=2 / 1.1)
    assert not any(claim.holds for claim in edges.judge({"perceptron": wrong}))


def test_what_is_not_finite_fails(record):
    runs = record["perceptron"]
    full = {name: _at(run, np.nan) for name, run in runs.full.items()}
    lost = Runs(100, full, _at(runs.slow, np.nan), _at(runs.noisy, np.nan))
    assert not any(claim.holds for claim in edges.judge({"perceptron": lost}))


def test_the_figure_has_a_panel_for_each_rule(record):
    drawn = figure.draw(record)
    assert len(drawn.axes) == 6
    assert [ax.get_title().split(":")[0] for ax in drawn.axes][-1] == "SGD"
    assert "heavy ball 1.01" in figure.caption(record)


def test_the_error_of_a_correlated_mean_is_that_of_independent_runs():
    """x⁺ = 0.8 x + noise: the mean of n has deviation 5/√n, three times that of n alone."""
    generator = np.random.default_rng(0)
    noise, x = generator.normal(size=(400, 1600)), np.zeros((400, 1600))
    for k in range(1, 1600):
        x[:, k] = 0.8 * x[:, k - 1] + noise[:, k]
    found = [mean_of_series(run, 8) for run in x]
    spread = np.std([each.mean for each in found])
    assert spread == pytest.approx(5 / np.sqrt(1600), rel=0.15)  # 400 runs: 3.5 %
    error = np.sqrt(np.mean([each.error**2 for each in found]))
    assert error == pytest.approx(spread, rel=0.15)  # stretches are 200 long, the correlation 5


@pytest.mark.slow
def test_the_perceptron_reaches_every_edge():
    claims = edges.judge(edges.measure(size=Size.small))
    assert [claim.name for claim in claims if not claim.holds] == []
