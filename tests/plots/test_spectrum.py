"""The picture of a diagnosis shows the thresholds that its record has."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow import plots
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks import Checkpoint, Effort, diagnose

PROBES = Effort(density_probes=2)


@pytest.fixture(scope="module")
def checkpoint():
    x = np.sqrt(3) * np.diag([2.0, 1.0, 0.5])
    model = eqx.nn.Linear(3, 1, use_bias=False, key=jr.key(0))
    return Checkpoint(network(model, x, np.zeros((3, 1))), jnp.zeros(3))


def test_lines_are_at_the_edges_and_what_is_far_off_is_said(checkpoint):
    found = diagnose(checkpoint, rho=0.1, lr=0.4, rules=["gd", "usam"], effort=PROBES)
    (ax,) = plots.spectrum(found).axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines["edge of GD, 5"].get_xdata()) == [5.0, 5.0]
    assert any(label.startswith("edge of USAM, 3.66") for label in lines)
    assert "USAM attracts below −10 (beyond)" in lines
    marks = lines["2 extreme eigenvalues"].get_xdata()
    np.testing.assert_allclose(marks, found.pairs.values)


def test_a_diagnosis_without_a_density_is_refused(checkpoint):
    with pytest.raises(ArgumentError, match=r"Effort\(density_probes=4\)"):
        plots.spectrum(diagnose(checkpoint, rho=0.1, lr=0.4))
