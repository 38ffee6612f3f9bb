"""Sweeps of the study against NumPy, and claims that can fail."""

import numpy as np
import pytest

from analysis import asymmetric_valley, rotation
from analysis.size import Size
from figures import staircase


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation, "_COUNTS", {Size.small: 8})
        yield rotation.measure(size=Size.small)


def test_every_claim_holds_and_each_can_fail(record):
    claims = rotation.judge(record)
    assert all(claim.holds for claim in claims)
    wrong = record._replace(
        sweeps={
            beta: found._replace(share=found.share + 0.02) for beta, found in record.sweeps.items()
        },
        named=record.named._replace(period=record.named.period + 1),
        at_threshold=record.at_threshold._replace(period=0 * record.at_threshold.period),
        both=record.both._replace(period=0 * record.both.period),
        affine=(record.affine[0] - 1, record.affine[1]),
        bent=1.1,
        across={ratio: 1.1 * found for ratio, found in record.across.items()},
        unstable=(0.9, 4),
    )
    assert not any(claim.holds for claim in rotation.judge(wrong))


def test_a_sweep_counts_what_numpy_counts(record):
    found = record.sweeps[0.9]
    for i in (0, 3):
        y, v, negative = 1.001, 0.0, 0
        whole = found.period[i, 0] or 2048
        for k in range(10_000 + whole):
            negative += (y < 1) * (k >= 10_000)
            v = 0.9 * v + rotation.slope(y - 1 + 0.1 * np.sign(y - 1))
            y -= found.lr[i] * v
        assert negative / whole == pytest.approx(found.share[i, 0], abs=2e-3)


def test_the_figure_has_theory_where_there_is_theory_and_names_its_wide_steps(record):
    top, *below = staircase.draw(record).axes
    lines = {line.get_label(): line for line in top.lines}
    share = [np.nan if each is None else float(each) for each in record.over_rho.theory]
    np.testing.assert_array_equal(lines["theory"].get_ydata(), share)
    assert len(lines["orbits"].get_ydata()) == record.over_rho.share.size
    assert ["theory" in {line.get_label() for line in ax.lines} for ax in below] == [
        True,
        False,
        False,
    ]
    assert "1/2" in {text.get_text() for text in top.texts}


def test_the_drift_of_the_asymmetric_valley_by_theory():
    """The weights are b/(a + b) = 2/9 and 7/9; as lr → 0 the cycle gives them."""
    near, share = asymmetric_valley.predicted(asymmetric_valley.LRS[-1])
    assert share == pytest.approx(2 / 9, rel=5e-3)
    limit = -(2 * 0.0288 + 7 * 0.0128) / 9
    assert near == pytest.approx(limit, rel=0.01)
    drifts = {
        lr: asymmetric_valley.Drift(*asymmetric_valley.predicted(lr))
        for lr in asymmetric_valley.LRS
    }
    assert all(claim.holds for claim in asymmetric_valley.judge(asymmetric_valley.Record(drifts)))
    even = {lr: asymmetric_valley.Drift(-0.02, 0.5) for lr in asymmetric_valley.LRS}
    assert not any(
        claim.holds
        for claim in asymmetric_valley.judge(asymmetric_valley.Record(even))
        if claim.name != "lr = 0.2"
    )
