"""The studies of papers about trained networks decide both ways, and leave open what is open."""

import numpy as np
import pytest

from analysis.claims import Verdict
from analysis.papers import multistep
from analysis.papers.digits import Ends
from analysis.papers.multistep import RHO, Arm

HOLDS, FAILS, DISAGREES = Verdict.holds, Verdict.fails, Verdict.disagrees
SPREAD = np.linspace(-1e-3, 1e-3, 5)


def of_arms(sharpness, error, *, spread=1.0):
    """Make the record of three ascent steps whose arms end as two functions of the arm say."""
    ends = {
        arm: Ends(error(arm) + i * spread * SPREAD, SPREAD, sharpness(arm) * (1 + i * SPREAD))
        for i, arm in enumerate(multistep.arms((3,)))
    }
    return multistep.Record((3,), ends)


@pytest.mark.parametrize(
    ("sharpness", "error", "verdicts"),
    [  # flatter; no gain, twice; apart, twice; only the length
        (lambda a: 1 / (1 + a.length), lambda a: 0.1, [HOLDS] * 3 + [DISAGREES, HOLDS, HOLDS]),
        (lambda a: 1 / (1 + a.length * a.num_steps), lambda a: 0.1, [HOLDS] * 5 + [FAILS]),
        (
            lambda a: 1 + 1e-3 * a.length,
            lambda a: 0.1 / a.num_steps,
            [FAILS, DISAGREES, DISAGREES, DISAGREES, DISAGREES, FAILS],
        ),
    ],
)
def test_length_and_number_of_ascent_steps_are_told_apart(sharpness, error, verdicts):
    assert [c.verdict for c in multistep.judge(of_arms(sharpness, error))] == verdicts


def test_arms_keep_one_of_the_two_lengths():
    assert multistep.arms((3,))[2:] == [Arm(1, 3 * RHO), Arm(3, RHO), Arm(3, 3 * RHO)]


def test_a_seed_that_is_lost_decides_nothing():
    record = of_arms(lambda a: 1 / (1 + a.length), lambda a: float("nan"))
    found = [c.verdict for c in multistep.judge(record)]
    assert found[1:3] == [Verdict.undecided] * 2
