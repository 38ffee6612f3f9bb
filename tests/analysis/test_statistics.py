"""Intervals over seeds: Student's, and a sign only where they decide one."""

import math

import numpy as np
import pytest
import scipy.stats

from analysis.statistics import LEAST, Interval, Mean, interval, mean_of, missed, redrawn


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


def test_the_mean_and_its_error_are_those_of_the_sample():
    found = mean_of(np.array([1.0, 3.0, 2.0, 2.0]))
    assert found == pytest.approx((2.0, math.sqrt(2 / 3) / 2))
    assert found.z == pytest.approx(2 / (math.sqrt(2 / 3) / 2))
    assert math.isnan(mean_of(np.ones(3)).z)  # equal values decide nothing, not everything


def test_a_claim_drawn_anew_fails_as_often_as_said():
    means = [Mean(2.0, 0.5), Mean(1.5, 0.5)]
    expected = scipy.stats.norm.cdf(3 - 4) + scipy.stats.norm.cdf(3 - 3)
    assert redrawn(means, 3.0) == pytest.approx(min(expected, 0.5))
    assert redrawn(means[:1], 3.0) == pytest.approx(scipy.stats.norm.cdf(-1))
    assert redrawn([Mean(100.0, 1.0)], 3.0) == LEAST
    assert redrawn([Mean(1.0, 0.0)], 3.0) == 0.5
    assert redrawn([Mean(math.nan, math.nan)], 3.0) == 0.5


def test_seeds_drawn_anew_miss_a_sign_as_often_as_said():
    generator, n = np.random.default_rng(0), 5
    values = generator.normal(0.8, 0.5, n)
    found = interval(values)
    assert found.sign == "higher"
    drawn = generator.normal(found.mean, values.std(ddof=1), (40_000, n))
    quantile = scipy.stats.t.ppf(0.975, n - 1)
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(n))
    share = np.mean(t < quantile)
    assert missed(found, n) == pytest.approx(share, abs=4 * math.sqrt(share / 40_000))


@pytest.mark.parametrize("found", [Interval(1.0, 1.0), Interval(math.nan, math.nan)])
def test_what_seeds_leave_open_they_miss_half_the_time(found):
    assert missed(found, 5) == 0.5


def test_a_sign_beyond_doubt_has_the_least_probability():
    assert missed(Interval(1.0, 1e-9), 5) == LEAST
