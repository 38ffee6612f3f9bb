"""Intervals over seeds: Student's, and a sign only where they decide one."""

import math

import numpy as np
import pytest
import scipy.stats

from analysis.statistics import Interval, interval


def test_the_interval_is_that_of_the_t_test():
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.7])
    found = interval(values)
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.3, abs=1e-15)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_the_interval_of_two_values_is_known():
    # n = 2: t is Cauchy's quantile tan(0.475 π), the standard error half the distance
    assert interval(np.array([1.0, 3.0])).half == pytest.approx(math.tan(0.475 * math.pi))


@pytest.mark.parametrize(
    ("mean", "half", "sign"),
    [
        (1.0, 0.99, "higher"),
        (-1.0, 0.99, "lower"),
        (1.0, 1.0, "undecided"),
        (-1.0, 1.0, "undecided"),
        (0.0, 0.0, "undecided"),
    ],
)
def test_a_sign_is_decided_where_the_interval_does_not_contain_zero(mean, half, sign):
    found = Interval(mean, half)
    assert found.sign == sign
    assert (found.decided == "") == (sign != "undecided")


def test_a_run_without_a_result_decides_nothing():
    found = interval(np.array([1.0, 1.1, np.nan]))
    assert found.sign == "not finite"
    assert found.decided


def test_intervals_are_written_with_two_digits_or_in_hundredths():
    assert str(Interval(0.123, 0.045)) == "0.12 ± 0.04"
    assert Interval(0.123, 0.045).points == "12.3 ± 4.5"
