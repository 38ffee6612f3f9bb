"""Studies of papers on how SAM converges: claims hold, and fail for what they speak against."""

import pytest

from analysis.papers import compagnoni, dai_ahn_sra, mordukhovich, si_yun
from analysis.size import Size


def failed(claims):
    """Return the names of the claims that do not hold."""
    return [claim.name for claim in claims if not claim.holds]


@pytest.fixture(scope="module")
def beside():
    return dai_ahn_sra.measure()


def test_usam_diverges_or_stops_where_sam_is_bounded_or_drifts(beside):
    assert failed(dai_ahn_sra.judge(beside)) == []


def test_a_rule_that_stands_still_is_not_one_that_drifts(beside):
    """With the ends of both rules exchanged, all that is said of the minima fails."""
    swapped = beside._replace(
        ends={"usam": beside.ends["sam"], "sam": beside.ends["usam"]},
        steep={"usam": beside.steep["sam"], "sam": beside.steep["usam"]},
    )
    minima = ["USAM stops", "SAM drifts on", "side by side", "USAM moves only above its edge"]
    assert failed(dai_ahn_sra.judge(swapped)) == minima


def test_the_floor_is_the_shifted_minimum_and_not_the_minimum():
    """On the examples of the study, computed by hand: 3(x − 1 − r) + (x + 1 + r) = 0, r = .2."""
    mean, error = si_yun._under_noise(0.2, 256)
    assert abs(mean - 0.1) < 4.5 * error < 0.05


def test_double_wells_of_every_width_have_points_of_rest():
    """½ of the width: (w/s)³ − w/s = −3/8 at w = s/2, so that |g| = 3s/8."""
    found = si_yun._rest(0.3)
    assert found.proof == "2 attracting, proved"
    assert found.gradient == pytest.approx(0.375 * 0.2, rel=1e-9)


@pytest.mark.slow
def test_runs_of_many_lengths_end_on_the_cycle():
    record = si_yun.measure()
    assert failed(si_yun.judge(record)) == []
    late = record._replace(with_log=[record.with_log[0]] * 5)
    assert {"T = 4096", "slope"} <= set(failed(si_yun.judge(late)))


@pytest.mark.slow
def test_diminishing_steps_converge_and_constant_ones_drift():
    record = mordukhovich.measure()
    assert failed(mordukhovich.judge(record)) == []
    still = record._replace(valley=dict.fromkeys(record.valley, 1.0))
    assert len(failed(mordukhovich.judge(still))) == 3


@pytest.mark.slow
def test_a_saddle_attracts_stochastic_sam_below_a_threshold_of_noise():
    record = compagnoni.measure(size=Size.small)
    assert failed(compagnoni.judge(record)) == []
    high = record.sides["sam", 2.0]
    both = record._replace(sides=record.sides | {("sam", 0.5): high})
    assert failed(compagnoni.judge(both)) == ["held and left", "the paper in words"]
