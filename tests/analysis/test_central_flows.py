"""Claims of the study of central flows: they hold for what theory says, and each can fail."""

import numpy as np
import pytest

from analysis import central_flows
from analysis.central_flows import Network, Path, Record, Toy
from analysis.size import Size
from figures import central_flows as figure


@pytest.fixture
def record():
    """A record in which every run does as theory says, with small fluctuations."""
    steps = np.arange(0, 1001, 5)
    wave = np.sin(steps / 11)
    flow = np.stack([np.full(steps.size, 14.0), np.full(steps.size, 13.9), 0.01 * steps], axis=1)
    network = Network(
        steps=steps,
        leading=flow + 0.3 * wave[:, None],
        flow_leading=flow,
        edge=flow[:, 0],
        critical=np.full(steps.size, 2),
        loss=0.105 + 0.001 * wave,
        predicted=np.full(steps.size, 0.105),
        at_mean=0.1 + 1e-6 * (1000 - steps),
        distance=0.02 + 0.01 * wave,
        plain_distance=steps / 1000,
    )
    sigma = np.array([0.4, 0.6])
    path = Path(steps, flow[:, 0], flow[:, 0])
    return Record(
        toy=Toy(2.7015621, (2.7, 2.7025), (2.7975e-5, 2.797e-5, 2.7965e-5)),
        growth={0.3: (-2.7e-5, -2.75e-5), 0.5: (7.2e-5, 7.3e-5)},
        covariance=(sigma, sigma),
        sam=(6e-5, 0.3, 0.3),
        bursts=path,
        saturation=path,
        networks={"GD": network},
    )


def test_every_claim_holds_and_each_can_fail(record):
    claims = central_flows.judge(record)
    assert len(claims) == 10
    assert [claim.name for claim in claims if not claim.holds] == []
    network = record.networks["GD"]
    wrong = record._replace(
        toy=Toy(2.7015621, (2.7, 2.72), (2.7975e-5, 2.85e-5, 2.75e-5)),
        growth={0.3: (-2.7e-5, 2.7e-5), 0.5: (7.2e-5, 5e-5)},
        covariance=(record.covariance[0], 1.01 * record.covariance[0]),
        sam=(0.1, 0.3, 0.3),
        networks={
            "GD": network._replace(
                leading=network.leading + 0.5,
                loss=network.loss - 0.003,
                distance=network.distance + 1,
            )
        },
    )
    assert not any(claim.holds for claim in central_flows.judge(wrong))


def test_the_figure_has_a_column_for_each_rule_and_two_toys_without(record):
    whole = figure.draw(record)
    assert len(whole.axes) == 2 + 3
    assert "2 directions of GD" in figure.caption(record)
    small = record._replace(networks={})
    assert len(figure.draw(small).axes) == 2
    assert "digits" not in figure.caption(small)


@pytest.mark.slow
def test_the_toys_are_as_theory_says():
    found = central_flows.measure(size=Size.small)
    claims = central_flows.judge(found)
    assert len(claims) == 7
    assert all(claim.holds for claim in claims)
