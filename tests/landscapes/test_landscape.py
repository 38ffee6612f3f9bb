"""Landscapes against closed forms: values, parabolas, trajectories, and what captions claim."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.landscapes import random_walk_shares
from samflow.landscapes.directions import filter_normalised

landscape: Any = sf.landscape
QUARTIC = sf.loss("x**2 - y**2/2 + y**4/4")
BOWL = sf.loss(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 7.0) * w**2), dim=6)
"""Six weights, curvatures 1 to 6."""


def test_along_eigenvectors_the_values_and_the_departure_are_the_closed_form():
    found = landscape(QUARTIC, [0.0, 0.0])
    assert found.names == ("sharpest", "lowest")
    assert found.curvatures == pytest.approx([2, -1], abs=1e-12)  # rounding
    assert found.residuals == pytest.approx([0, 0], abs=1e-12)
    x, y = found.offsets
    assert found.slices[0] == pytest.approx(x**2, abs=1e-12)
    assert found.slices[1] == pytest.approx(-(y**2) / 2 + y**4 / 4, abs=1e-12)
    x, y = found.grid[0][None, :], found.grid[1][:, None]
    assert found.plane == pytest.approx(x**2 - y**2 / 2 + y**4 / 4, abs=1e-12)
    assert found.plane_parabola() == pytest.approx(x**2 - y**2 / 2, abs=1e-12)
    # |y⁴/4| = tol y²/2 at y = √(2 tol); bisected 30 times from a factor of 1.37
    assert found.departs[1] == pytest.approx([-np.sqrt(0.2), np.sqrt(0.2)], rel=1e-8)
    assert np.isinf(found.departs[0]).all()  # a parabola everywhere
    narrow = landscape(QUARTIC, [0.0, 0.0], along="lowest", tol=0.001)
    assert narrow.departs[0, 1] == pytest.approx(np.sqrt(0.002), rel=1e-8)
    assert narrow.plane is None


def test_the_parabola_has_the_slope_where_the_gradient_is_not_zero():
    found = landscape(sf.loss("exp(x)"), [0.3], extent=0.5)
    a, e = found.offsets[0], np.exp(0.3)
    assert (found.slopes[0], found.curvatures[0]) == pytest.approx((e, e), rel=1e-12)
    assert found.parabola[0] == pytest.approx(e * (1 + a + a**2 / 2), rel=1e-12)
    high = found.departs[0, 1]  # e^a − 1 − a − a²/2 = a²/20
    assert np.exp(high) - 1 - high - 0.55 * high**2 == pytest.approx(0, abs=1e-10)


def test_the_slice_does_not_depend_on_units():
    loss = sf.losses.beale()
    scaled = sf.loss(lambda w: 1e6 * loss(w / 1000), dim=2)
    one, other = landscape(loss, [0.0, 1.0]), landscape(scaled, [0.0, 1000.0])
    assert other.departs == pytest.approx(1000 * one.departs, rel=1e-6)
    assert other.offsets == pytest.approx(1000 * one.offsets, rel=1e-6)
    assert other.plane == pytest.approx(1e6 * one.plane, rel=1e-6)


def test_the_plane_of_a_trajectory_holds_what_it_says():
    steps = np.array([[0, 0, 0], [3, 0, 0], [3, 4, 0.5]])
    states = np.zeros((3, 6))
    states[:, 1:4] = steps
    found = landscape(BOWL, states)
    # three states lie in one plane
    assert found.shares.sum() == pytest.approx(1, abs=1e-12)
    assert found.path_distances == pytest.approx(np.zeros(3), abs=1e-12)
    assert found.path_below == pytest.approx(found.path_losses, abs=1e-12)
    assert found.path[-1].tolist() == [0, 0]
    size = np.linalg.norm(states - states[-1], axis=1)
    assert np.linalg.norm(found.path, axis=1) == pytest.approx(size, abs=1e-12)
    # on the line alone the distance is what Pythagoras leaves
    line = landscape(BOWL, states, along="line")
    left = size**2 - line.path[:, 0] ** 2
    assert line.path_distances**2 == pytest.approx(left, abs=1e-12)
    assert line.path_distances[1] > 1
    assert 1 - line.shares.sum() == pytest.approx(left.sum() / (size**2).sum(), abs=1e-12)
    v = states[-1] / np.linalg.norm(states[-1])
    assert line.curvatures[0] == pytest.approx(np.sum(np.arange(1, 7) * v**2), abs=1e-12)
    assert "no eigenvalue" in str(line)


def test_a_line_between_two_minima_has_the_barrier_and_one_in_a_bowl_has_none():
    double = sf.loss("(x**2 - 1)**2/4 + y**2")
    text = str(landscape(double, [[-1.0, 0.0], [1.0, 0.0]], extent=[(-2.1, 0.1)], num_points=23))
    assert "rises by at least 0.25 above" in text  # at 0, which is drawn
    assert "at the 19 points drawn, 0.1 apart" in text
    # A peak of height 50 and width 0.01 between two samples: what is said of the samples is true.
    peaked = sf.loss("(x**2 - 1)**2 + 50*exp(-(x - 13/30)**2*10000)")
    line = landscape(peaked, [[-1.0], [1.0]], extent=[(-2.1, 0.1)], num_points=23)
    assert "rises by at least 1 above" in str(line)
    assert float(peaked(np.array([13 / 30]))) > 50
    text = str(landscape(BOWL, [[1.0, 0, 0, 0, 0, 0], [0.0] * 6]))
    assert "no barrier" in text


def test_what_a_random_walk_puts_on_its_first_axes():
    m = 40
    steps = np.minimum.outer(np.arange(1, m + 1), np.arange(1, m + 1))  # the Gram matrix
    exact = np.linalg.eigvalsh(steps)[::-1][:3] / np.trace(steps)
    assert random_walk_shares(m + 1, 3) == pytest.approx(exact, abs=1e-12)
    assert random_walk_shares(10**6)[0] == pytest.approx(8 / np.pi**2, rel=1e-5)  # of order 1/m
    assert random_walk_shares(2).tolist() == pytest.approx([1, 0])
    dim = 4000
    walk = np.cumsum(np.random.default_rng(0).normal(size=(m + 1, dim)), axis=0)
    flat = sf.loss(lambda w: 0.5 * jnp.vdot(w, w), dim=dim)
    found = landscape(flat, walk, num_points=3)
    # in finitely many dimensions the shares fluctuate by √(2/dim) = 2 %
    assert found.shares.sum() == pytest.approx(found.walk_share, rel=0.03)


def test_undefined_values_are_counted_and_stay():
    found = landscape(sf.loss("sqrt(1 - x**2 - y**2)"), [0.0, 0.0], extent=1.5, num_points=13)
    x, y = found.grid[0][None, :], found.grid[1][:, None]
    inside = x**2 + y**2 <= 1
    assert (np.isfinite(found.plane) == inside).all()
    on_slices = sum((np.abs(a) > 1).sum() for a in found.offsets)
    assert found.num_undefined == (~inside).sum() + on_slices
    assert f"{found.num_undefined} of {found.num_values} values are not finite" in found.caption
    assert "not finite" not in landscape(QUARTIC, [0.0, 0.0]).caption


@pytest.fixture(scope="module")
def student():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    loss = sf.losses.network(model, jr.normal(jr.key(1), (5, 3)), jnp.zeros((5, 2)))
    return loss, loss.flatten(model)


def test_random_directions_have_the_filters_lengths_and_are_called_weak(student):
    loss, w = student
    v = jnp.asarray(filter_normalised(loss, jr.normal(jr.key(2), (loss.dim,)), w))
    for d, a in zip(loss.split(v), loss.split(w), strict=True):
        if a.ndim == 2:
            rows = np.linalg.norm(d, axis=1), np.linalg.norm(a, axis=1)
            assert rows[0] == pytest.approx(rows[1], rel=1e-12)
        else:
            assert not np.asarray(d).any()
    found = landscape(loss, w, along=("random", "random"), num_points=5)
    assert found.directions @ found.directions.T == pytest.approx(np.eye(2), abs=1e-12)
    assert "weak evidence" in found.caption
    assert "weak evidence" not in landscape(loss, w, num_points=5).caption


def test_a_network_is_looked_at_as_its_own_values_say(student):
    loss, w = student
    found = landscape(loss, w, along=("sharpest", np.ones(loss.dim)), num_points=4, extent=0.3)
    a, b = found.grid[0][2], found.grid[1][1]
    there, h = jax.jit(lambda w, z: (loss(z), loss.hessian(w)))(
        w, w + a * found.directions[0] + b * found.directions[1]
    )
    assert found.plane[1, 2] == pytest.approx(float(there), rel=1e-12)  # blocks may round
    assert found.names[1] == "direction 2, orthogonal part"
    assert found.mixed == pytest.approx(float(found.directions[0] @ h @ found.directions[1]))


def test_a_loss_of_torch_has_the_landscape_that_it_has_in_jax(student):
    torch = pytest.importorskip("torch")
    loss, w = student
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    x, y = (torch.tensor(np.asarray(each)) for each in (loss.x, loss.y))
    same = sf.losses.torch_network(model.double(), x, y, loss="squared")
    along = np.eye(loss.dim)[:2]
    one = landscape(loss, w, along=along, num_points=5, extent=1.0)
    other = landscape(same, w, along=along, num_points=5, extent=1.0)
    assert same.weight_shapes == loss.weight_shapes
    assert other.plane == pytest.approx(one.plane, rel=1e-9)  # two libraries' rounding
    assert other.departs == pytest.approx(one.departs, rel=1e-6)
    assert "kinks" not in other.caption
    model[1] = torch.nn.ReLU()
    kinked = sf.losses.torch_network(model.double(), x, y, loss="squared")
    text = landscape(kinked, w, along=along[0], num_points=3, extent=1.0).caption
    assert "kinks (" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"along": "sharpst"}, "Did you mean sharpest"),
        ({"along": ("sharpest", "sharpest")}, "parallel"),
        ({"along": "line"}, "at least 2 states"),
        ({"along": ["eigenvectors", "line"]}, "alone"),
        ({"extent": -1.0}, "`extent` must be a number > 0"),
        ({"extent": [(0.0, 1.0)]}, "each of 2 directions"),
        ({"along": np.zeros(2)}, "one of them is 0"),
        ({"num_points": 2}, "at least 3"),
    ],
)
def test_misuse_is_refused_at_the_door(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        landscape(QUARTIC, [0.0, 0.0], **arguments)


def test_the_record_has_named_axes_units_and_a_row_for_each_direction():
    found = landscape(QUARTIC, [0.0, 0.0], num_points=5)
    data = found.to_dataset()
    assert dict(data["plane"].sizes) == {"offset_second": 5, "offset_first": 5}
    assert data["curvatures"].attrs["units"] == "loss/weight^2"
    assert data.attrs["system"] == QUARTIC.name
    assert found.table()["names"].tolist() == ["sharpest", "lowest"]
