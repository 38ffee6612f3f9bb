"""Curves of fixed points as attractors of basins: where they attract, and nowhere else."""

import numpy as np
import pytest

import samflow as sf
from samflow import Kind
from samflow.attractors import Ending, basins
from samflow.attractors.basins.continua import curves
from samflow.plots._basins import shared_regions
from samflow.plots.colours import COLOURS

HYPERBOLAS = sf.loss("(x*y - 1)**2")
BOX = [(-4.0, 4.0)] * 2


def gd_by_numpy(starts, lr, steps):
    """Where GD on (xy − 1)² comes to."""
    x, y = starts.T
    with np.errstate(all="ignore"):
        for _ in range(steps):
            g = 2 * (x * y - 1)
            x, y = x - lr * g * y, y - lr * g * x
    return x, y


def test_gd_comes_to_the_attracting_parts_of_both_hyperbolas():
    """λ = 2(x² + y²) on xy = 1: GD at lr = 0.1 is kept where λ < 20, by NumPy's orbits as well.

    Starts on y = −x come to the saddle at 0, and stay on it.
    """
    found = basins(sf.Map(HYPERBOLAS, sf.GD(), lr=0.1), BOX, 16)
    assert [one.kind for one in found.attractors] == [Kind.continuum] * 2
    assert all(one.proved for one in found.attractors)
    for one in found.attractors:
        x, y = one.points.T
        np.testing.assert_allclose(x * y, 1, atol=2e-3)  # chords between samples 0.1 apart
        assert (2 * (x**2 + y**2)).max() < 20
        assert (2 * (x**2 + y**2)).max() > 19.8  # up to a radius of the tube, 0.008
    x, y = gd_by_numpy(found.starts, 0.1, 20_000)
    rests = np.abs(x * y - 1) < 1e-9
    assert (2 * (x**2 + y**2))[rests].max() < 20
    positive = int(found.attractors[0].points[0, 0] < 0)
    wanted = np.where(x > 0, positive, 1 - positive)
    np.testing.assert_array_equal(found.labels[rests], wanted[rests])
    assert set(found.labels[~rests]) == {int(Ending.unresolved), int(Ending.diverged)}
    left = found.starts[found.labels == Ending.unresolved]
    np.testing.assert_array_equal(left[:, 0], -left[:, 1])
    assert found.names()[0].startswith("continuum of fixed points in [-3.1")
    ((first, second),) = [
        list(regions.values())[:2] for regions in shared_regions([found], COLOURS)
    ]
    assert first.name.startswith("basin of continuum through (")
    assert first.name != second.name


@pytest.mark.slow
@pytest.mark.parametrize("lr", [None, 0.01])
def test_usam_and_its_flow_come_to_them_too(lr):
    """GD's flow keeps x² − y²; these nearly do, and no orbit leaves the box."""
    rule = sf.USAM(rho=0.05)
    system = sf.Flow(HYPERBOLAS, rule) if lr is None else sf.Map(HYPERBOLAS, rule, lr=lr)
    found = basins(system, [(-2.0, 2.0)] * 2, 12)
    assert [one.kind for one in found.attractors] == [Kind.continuum] * 2
    x, y = found.starts.T
    sides = np.sign(np.round(x + y, 9))  # the saddle's stable line parts the basins
    assert set(found.labels[sides > 0]) == {int(found.labels[(x + y).argmax()])}
    assert set(found.labels[sides < 0]) == {int(found.labels[(x + y).argmin()])}
    assert (found.labels[sides != 0] >= 0).all()


@pytest.mark.parametrize(("lr", "attracts"), [(0.24, True), (0.26, False)])
def test_a_ring_is_one_attractor_up_to_its_edge(lr, attracts):
    """(r² − 1)² has λ = 8 on r = 1: GD's edge is at lr = 1/4."""
    system = sf.Map(sf.loss("(x**2 + y**2 - 1)**2"), sf.GD(), lr=lr)
    made = curves(system, sf.find_fixed_points(system, [(-2.0, 2.0)] * 2))
    assert len(made) == attracts
    for ring in made:
        np.testing.assert_allclose(np.linalg.norm(ring.points, axis=1), 1, atol=1e-3)
        angles = np.sort(np.arctan2(*ring.points.T))
        assert np.diff(angles).max() < 0.004  # balls of this radius touch
        beside = ring.points[7] * np.array([[0.998], [1.002], [0.99], [1.01]])
        assert ring.region.holds(beside).tolist() == [True, True, False, False]
