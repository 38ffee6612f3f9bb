"""The studies of papers about trained networks decide both ways, and leave open what is open."""

import numpy as np
import pytest

from analysis.claims import Verdict
from analysis.papers import dpsat, multistep
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


def nets(sharper, worse, more_clipped):
    """Make DP-SAT's ends from DP-SGD's by what is added to each quantity."""
    plain = Ends(0.1 + SPREAD, 0.1 + SPREAD, 1 + SPREAD)
    ends, clipped = {0.0: plain}, {0.0: 0.1 + SPREAD}
    for i, rho in enumerate(dpsat.RHOS, 1):
        ends[rho] = Ends(plain.error + worse + i * SPREAD, plain.loss, np.exp(sharper + i * SPREAD))
        clipped[rho] = clipped[0.0] + more_clipped + i * SPREAD
    return dpsat.Nets(ends, clipped)


@pytest.mark.parametrize(("change", "verdict"), [(-0.1, HOLDS), (0.1, DISAGREES)])
def test_dpsat_is_set_beside_dpsgd_both_ways(change, verdict):
    found = dpsat._ends(nets(change, change, change), dpsat.RHOS[0])
    assert [claim.verdict for claim in found] == [verdict] * 3
    even = dpsat._ends(nets(0.0, 0.0, 0.0), dpsat.RHOS[0])
    assert [claim.verdict for claim in even] == [Verdict.undecided] * 3


def test_a_saddle_is_left_more_slowly_only_if_the_times_say_so():
    above = dpsat._above_one
    slow, fast, lost = dpsat.Mean(1.2, 0.01), dpsat.Mean(1.0, 0.01), dpsat.Mean(np.nan, np.nan)
    assert (above(slow, fast), above(fast, slow)) == (True, False)
    assert above(slow, slow) is above(lost, fast) is None


def test_theory_without_an_ascent_is_sgd():
    for lam in (-1.0, 1.0):
        assert dpsat.response(lam, 0.0) == 0
        expected = dpsat.LR / 2 / lam * (1 - np.exp(-2 * lam))
        assert dpsat.formula(lam, 0.0, 1.0) == pytest.approx(expected, rel=1e-12)
    assert dpsat.predicted_exit(0.5) > dpsat.predicted_exit(0.0)
