"""The picture of a monitored training shows the curvature and the edges that the record has."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow.networks import Monitor, first_state, train


@pytest.fixture(scope="module")
def watched():
    loss = sf.losses.valley()
    gd, usam = (sf.Map(loss, rule, lr=0.3) for rule in (sf.GD(), sf.USAM(rho=0.2)))
    monitor = Monitor(every=2, compare=(sf.SAM(rho=0.1),))
    state = train(gd, first_state(gd, jnp.array([2.0, 0.1])), until=6, monitor=monitor).state
    train(usam, state, until=12, monitor=monitor)
    return monitor.record


def test_lines_are_at_the_curvature_and_at_the_edges(watched):
    figure = plots.training(watched)
    curvature, loss, alignment = figure.axes
    lines = {line.get_label(): line for line in curvature.get_lines()}
    np.testing.assert_array_equal(lines[r"sharpness $\lambda_1$"].get_ydata(), watched.sharpness)
    np.testing.assert_array_equal(lines["edge of SAM"].get_ydata(), watched.edges[:, 0])
    edges = [line for line in curvature.get_lines() if line.get_linestyle() == "--"]
    assert [len(line.get_xdata()) for line in edges] == [4, 4]  # GD's stretch, and USAM's
    np.testing.assert_allclose(edges[0].get_ydata(), 2 / 0.3)
    changes = [line.get_xdata()[0] for line in loss.get_lines() if len(line.get_xdata()) == 2]
    assert changes == [6]
    assert alignment.get_ylabel() == "alignment"


def test_what_cannot_be_drawn_is_refused(watched):
    with pytest.raises(ArgumentError, match=r"monitor\.record"):
        plots.training(watched.to_dataset())
    with pytest.raises(ArgumentError, match="at least two rows"):
        plots.training(Monitor().record)
