"""Orderings of second moments are decided by sample paths, and can fail."""

import numpy as np
import pytest

from analysis import noisy_saddle
from analysis.claims import Verdict
from analysis.noise_moments import _one_or_two, _ordered
from analysis.noisy_saddle import Setting, exact, squares
from analysis.statistics import Mean, mean_of


def test_a_difference_that_paths_do_not_decide_fails():
    above, below, open_ = Mean(1.0, 0.1), Mean(-1.0, 0.1), Mean(0.1, 0.1)
    said = lambda means: _ordered("n", "s", means, "times", "[K]").verdict  # noqa: E731
    assert said([above, above]) is Verdict.holds
    assert said([above, below]) is Verdict.fails
    assert said([above, open_]) is Verdict.fails
    assert said([]) is Verdict.fails


def test_paths_and_recursion_share_no_momentum_and_agree():
    """One program serves SGD and momentum: both are held against the recursion's closed form."""
    # y⁺ = 1.01 y − .01 ξ, ξ of variance 1/32: E y² = (.01)²/32 (a^(2k) − 1)/(a² − 1), a = 1.01.
    a2 = 1.01**2
    expected = 1e-4 / 32 * (a2**100 - 1) / (a2 - 1)
    assert exact(Setting(0.0), 100)[-1] == pytest.approx(expected, rel=1e-12)
    found = mean_of(squares(Setting(0.0), 100, 4000)[:, -1])
    assert abs(found.mean - expected) < 4.5 * found.error


def test_large_batches_are_compared_with_seeds_of_their_own():
    """With the same seed paths would scale exactly, and the claim could not fail."""
    rows = [4.0 ** i * squares(Setting(0.4, batch_size=4.0**i), 100, 512, key=10 + i)
            for i in range(2)]  # fmt: skip
    assert not np.allclose(rows[0], rows[1])
    same = [size * squares(Setting(0.4, batch_size=size), 100, 512, key=10) for size in (1.0, 4.0)]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-9)
    assert noisy_saddle.ORDERED_BATCHES[0] == 1.0


@pytest.mark.parametrize(
    ("constant", "agrees"),
    [(2.03, True), (1.03, False), (1.5, None), (float("nan"), None)],
)
def test_the_constant_of_the_gap_can_be_that_of_the_paper(constant, agrees):
    assert _one_or_two(constant) is agrees
