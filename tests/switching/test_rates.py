"""Rates from data whose rate is known."""

import numpy as np
import pytest

from samflow.switching import fit_rate


def test_a_pure_exponential_is_fitted_exactly():
    steps = np.arange(60)
    for rate in (0.03, 0.7):
        growing = fit_rate(1e-9 * np.exp(rate * steps), growing=True)
        assert growing.slope == pytest.approx(rate, rel=1e-12)  # rounding
        assert (growing.start, growing.stop) == (0, 59)
        falling = fit_rate(np.exp(-rate * steps), growing=False)
        assert falling.slope == pytest.approx(-rate, rel=1e-12)


def test_the_window_leaves_out_floor_and_saturation():
    """A floor, then growth at 0.2 a step, then saturation: logistic growth over noise."""
    steps = np.arange(200)
    grown = 1e-8 * np.exp(0.2 * steps)
    data = grown / (1 + grown) + 1e-8 * np.exp(-steps)
    found = fit_rate(data, growing=True)
    assert found.slope == pytest.approx(0.2, rel=2e-3)  # the tightest spread is 1e-3
    assert data[found.start] < 1e-6
    assert 1e-4 < data[found.stop] < 0.2
    assert found.low < found.slope < found.high


def test_the_interval_covers_noise():
    """Of many noisy series about 95 % have the true rate inside their interval."""
    rng = np.random.default_rng(3)
    steps = np.arange(80)
    inside = 0
    for _ in range(300):
        noise = 1e-3 * rng.normal(size=steps.size)
        found = fit_rate(np.exp(0.1 * steps + noise), growing=True)
        assert found.found
        inside += found.low <= 0.1 <= found.high
    # Binomial: 285 ± 4 at 95 %; five blocks share their ends, which widens the interval a little.
    assert 270 <= inside <= 300


@pytest.mark.parametrize(
    "data",
    [
        np.ones(50),
        np.zeros(50),
        np.full(50, np.nan),
        1.0 + np.arange(50.0) ** 3,  # a power law has no exponential stretch of 5 %
        np.exp(0.5 * np.arange(8)),  # too short
        np.exp(-0.5 * np.arange(50)),  # falls where growth is asked for
    ],
)
def test_where_there_is_no_growth_none_is_found(data):
    found = fit_rate(data, growing=True)
    assert not found.found or found.slope < 0.2
    if np.ptp(np.nan_to_num(data)) == 0 or len(data) < 11 or data[0] > data[-1]:
        assert not found.found
