"""The study of landscapes: its formulas on losses in closed form, and that wrong records fail."""

import pickle

import numpy as np
import pytest

import samflow as sf
from analysis import landscapes as study
from analysis.claims import Verdict
from reporting.registry import FIGURES


def test_departures_follow_from_the_third_and_fourth_derivatives():
    """On y²/2 + y³/6 + y⁴/24: |y/3 + y²/12| = tol, exactly."""
    loss = sf.loss("y**2/2 + y**3/6 + y**4/24")
    predicted = study._departures(loss, np.zeros(1), np.ones(1), 0.01)
    measured = sf.landscape(loss, [0.0], along=[1.0], tol=0.01, extent=1.0).departs[0]
    assert predicted == pytest.approx(measured, rel=1e-8)  # bisected 30 times


def test_where_a_slice_turns():
    found = sf.landscape(sf.losses.quartic(), [0.0, 0.0], along="lowest", extent=1.4)
    # −y²/2 + y⁴/4 has its minima at ±1; parabolas of three values are off by (0.056)²
    assert study._turns(found) == pytest.approx((-1, 1), abs=4e-3)


def test_a_random_walk():
    shares = [study._walk_share(seed, 21, 2000) for seed in range(3)]
    assert np.mean(shares) == pytest.approx(sf.landscapes.random_walk_shares(21).sum(), rel=0.01)


@pytest.mark.slow
def test_all_claims_hold_and_a_wrong_end_fails():
    record = pickle.loads(pickle.dumps(study.measure()))
    assert FIGURES["landscapes"].draw(record).axes
    assert FIGURES["landscapes"].caption(record).endswith(".")
    assert {claim.verdict for claim in study.judge(record)} == {Verdict.holds}
    quadratic = record._replace(
        ends=(np.inf, 1.02 * record.ends[1]), sam=np.array([0.5, np.nan, 0.5]), gd=record.sam
    )
    failed = [claim.name for claim in study.judge(quadratic) if claim.verdict is Verdict.fails]
    assert failed == [
        "end along the lowest eigenvector, backwards",
        "end along the lowest eigenvector, forwards",
        "held below",
        "left by gradient descent",
    ]
