"""The figure of a late switch shows the numbers of its record."""

import equinox as eqx
import numpy as np
import pytest

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow.plots.files import _check_format
from samflow.switching.records import COLUMNS
from samflow.switching.sweep_records import QUANTITIES, SwitchSweep


@pytest.fixture(scope="module")
def run():
    """USAM, switched on at the minimum (2, 0) of ½(1 + u²)v², as in figures/two_phases."""
    system = sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3)
    return sf.two_phase(system, [2.0, 0.0], displacement=3e-7)


def find(figure, gid):
    return [line for ax in figure.axes for line in ax.lines if line.get_gid() == gid]


def test_loss_motion_way_and_sharpness_are_those_of_the_record(run):
    figure = plots.switching(run, title="Valley")
    (loss,) = find(figure, "loss")
    _check_format(figure, "eps")  # nothing is transparent
    positive = run.loss > 0
    assert np.array_equal(loss.get_ydata()[positive], run.loss[positive])
    for name in ("escaping", "converging"):
        (line,) = find(figure, name)
        drawn = line.get_ydata()
        there = np.isfinite(drawn)
        assert np.array_equal(drawn[there], np.abs(getattr(run, name))[there])
    (way,) = find(figure, "barrier")
    assert np.array_equal(way.get_ydata(), run.barrier.losses)
    assert way.get_xdata()[[0, -1]].tolist() == [0, 1]
    ends = figure.axes[-1].lines[0].get_ydata()
    # λ = 1 + u²: 5 at the switch, below the edge 3.79 at the end
    assert ends == pytest.approx(run.sharpness)
    assert ends[0] == pytest.approx(5.0, abs=1e-3)
    (edge,) = find(figure, "edge")
    assert ends[1] < edge.get_ydata()[0] == pytest.approx(3.791529, abs=1e-6)


def test_predicted_slopes_are_those_of_the_claims(run):
    figure = plots.switching(run)
    for claim in run.phases:
        for line in find(figure, claim.name):
            slopes = np.diff(np.log(line.get_ydata()))
            assert slopes == pytest.approx(claim.predicted, rel=1e-9)
    assert len(find(figure, "P1")) == len(find(figure, "P4")) == 1
    assert find(figure, "P1")[0].get_xdata()[[0, -1]].tolist() == [
        run.escape.start,
        run.escape.stop,
    ]


def test_a_training_has_epochs_in_the_place_of_steps(run):
    measured = np.full((3, len(COLUMNS)), np.nan)
    measured[:, COLUMNS.index("train loss")] = [0.3, 0.2, 0.1]
    none = np.zeros(0)
    where = lambda r: (r.loss, r.along, r.escaping, r.converging, r.epochs, r.measured)  # noqa: E731
    training = eqx.tree_at(where, run, (none, none, none, none, np.arange(3), measured))
    figure = plots.switching(training)
    first = figure.axes[0]
    (line,) = first.lines
    assert line.get_xydata().tolist() == [[0, 0.3], [1, 0.2], [2, 0.1]]
    assert line.get_label() == "train loss"
    assert len(figure.axes) == 3
    assert not find(figure, "escaping")


def sweep(sharpness):
    arrays = {name: np.full((2, 3), np.nan) for name in QUANTITIES} | {"sharpness": sharpness}
    return SwitchSweep(
        total_epochs=4,
        before="GD",
        after="SAM",
        provenance=(),
        switch_epochs=np.array([0, 4]),
        status=np.full((2, 3), 2),
        **arrays,
    )


def test_a_sweep_has_means_with_intervals_and_nothing_of_what_was_not_measured():
    found = sweep(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]]))
    (ax,) = plots.switching(found).axes
    mean = ax.lines[0].get_xydata()
    assert mean.tolist() == [[0, 2], [4, 6]]
    (bars,) = ax.collections
    segments = np.array(bars.get_segments())[..., 1]
    low, _, high = found.interval("sharpness").T
    assert segments == pytest.approx(np.column_stack([low, high]))
    with pytest.raises(ArgumentError, match="an arm that finished"):
        plots.switching(sweep(np.full((2, 3), np.nan)))


def test_another_record_is_refused(run):
    with pytest.raises(ArgumentError, match="`found` must be a LateSwitch"):
        plots.switching(run.barrier)
