"""Refined grids against whole ones; zooms, planes through more weights, starts off the domain."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors import Ending, basins
from samflow.attractors.basins.refinement import refine

QUARTIC = sf.loss("x**2/2 - y**2/2 + y**4/4")
BOX = [(-2.0, 2.0)] * 2


def picture(function, n):
    """Labels of a grid by a function of the plane, and how `refine` sees them."""
    at = -1 + 2 * (np.arange(n) + 0.5) / n
    labels = function(*np.meshgrid(at, at, indexing="ij")).astype(int)
    return labels.ravel(), refine(lambda numbers: labels.ravel()[numbers], labels.shape, seed=0)


@pytest.mark.parametrize("n", [256, 300])
def test_smooth_boundaries_are_refined_exactly_from_few_cells(n):
    """A disc and a line: some 3 cells across, along a boundary of 8 n cells, are followed."""
    whole, (labels, how) = picture(lambda x, y: (x**2 + y**2 < 0.5) + 2 * (y > 0.3 * x), n)
    np.testing.assert_array_equal(labels, whole)
    assert how.wrong == 0
    assert how.followed - how.checked < 0.2 * n * n
    assert 0 < how.error < 0.01


def test_an_island_between_coarse_cells_is_missed_and_the_error_says_so():
    """36 islands of 5² cells, a tenth of the plane, between cells of a grid of every 16th."""
    n = 512

    def islands(x, y):
        i, j = np.round((x + 1) * n / 2 - 0.5), np.round((y + 1) * n / 2 - 0.5)
        return (i % 16 > 4) & (i % 16 < 10) & (j % 16 > 4) & (j % 16 < 10)

    whole, (labels, how) = picture(islands, n)
    wrong = np.mean(labels != whole)
    assert how.wrong > 0
    assert 0 < wrong <= how.error


def test_one_label_needs_the_coarse_grid_and_the_check_alone():
    whole, (labels, how) = picture(lambda x, y: 0 * x, 512)
    np.testing.assert_array_equal(labels, whole)
    assert how.followed == 32**2 + how.checked


def test_a_small_grid_is_followed_whole():
    _, (_, how) = picture(lambda x, y: x > 0, 40)
    assert how == (1600, 0, 0, 0.0)


@pytest.mark.parametrize("lr", [0.05, 0.9])
def test_refined_basins_are_those_of_the_whole_grid(lr):
    """At lr = .9 the boundary has parts where large steps pass over the saddle's curve."""
    system = sf.Map(QUARTIC, sf.GD(), lr=lr)
    whole = basins(system, BOX, 256)
    fast = basins(system, BOX, 256, refine=True, attractors=whole)
    np.testing.assert_array_equal(fast.labels, whole.labels)
    assert fast.refinement.followed < 0.2 * 256**2
    assert str(fast).splitlines()[0].endswith("of the labels wrong")
    assert whole.refinement is None


@pytest.mark.slow
def test_a_fractal_boundary_loses_as_many_cells_as_are_said():
    def henon(z):
        return 1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]

    system = sf.FunctionMap(henon, dim=2, name="henon", elementwise=True)
    whole = basins(system, BOX, 256)
    fast = basins(system, BOX, 256, refine=True, attractors=whole)
    assert np.mean(fast.labels != whole.labels) <= fast.refinement.error
    assert fast.refinement.followed < 0.3 * 256**2


def test_a_zoom_keeps_the_numbers_of_attractors():
    """The box of the zoom has one of them, which found by itself would be number 0."""
    system = sf.Map(QUARTIC, sf.GD(), lr=0.05)
    whole = basins(system, BOX, 24)
    upper = next(i for i, one in enumerate(whole.attractors) if one.points[0, 1] > 0)
    near = basins(system, [(-1, 1), (0.5, 1.5)], 10, attractors=whole)
    assert set(near.labels) == {upper}
    assert near.names()[upper] == whole.names()[upper]
    again = basins(system, [(-1, 1), (0.5, 1.5)], 10, attractors=whole.attractors[upper:][:1])
    assert set(again.labels) == {0}
    other = sf.Map(QUARTIC, sf.GD(), lr=0.06)
    with pytest.raises(ArgumentError, match="of the same system"):
        basins(other, BOX, 10, attractors=whole)


def test_a_plane_through_three_weights():
    """Numbers in the box hold weights: of eight wells four meet the plane z = ½."""
    wells = sf.loss("(x**2-1)**2/4 + (y**2-1)**2/4 + (z**2-1)**2/4")
    found = basins(sf.Map(wells, sf.GD(), lr=0.05), [(-2.0, 2.0), (-2.0, 2.0), 0.5], 10)
    assert found.grid.shape == (10, 10)
    assert (found.starts[:, 2] == 0.5).all()
    signs = np.array([a.points[0] for a in found.attractors])[found.labels]
    np.testing.assert_array_equal(np.sign(signs), np.sign(found.starts))
    with pytest.raises(ArgumentError, match="finite"):
        basins(sf.Map(wells, sf.GD(), lr=0.05), [(-2.0, 2.0), (-2.0, 2.0), np.nan], 10)


@pytest.mark.slow
def test_a_magnetic_pendulum_that_begins_at_rest():
    """A flow in four dimensions, over a plane: three magnets, of which two are mirror images."""
    angles = 2 * np.pi * np.arange(3) / 3

    def pendulum(z):
        x, y, u, v = z
        ax, ay = -0.25 * x - 0.2 * u, -0.25 * y - 0.2 * v
        for a, b in zip(np.cos(angles), np.sin(angles), strict=True):
            cube = ((x - a) ** 2 + (y - b) ** 2 + 0.3**2) ** 1.5
            ax, ay = ax - (x - a) / cube, ay - (y - b) / cube
        return u, v, ax, ay

    system = sf.FunctionFlow(pendulum, dim=4, name="pendulum", elementwise=True)
    found = basins(system, [(-4, 4), (-4, 4), 0.0, 0.0], 30)
    assert len(found.attractors) == 3
    assert (found.labels >= 0).all()
    at = np.array([one.points[0] for one in found.attractors])
    lower, upper = int(np.argmin(at[:, 1])), int(np.argmax(at[:, 1]))
    mirrored = np.mean((found.grid == lower)[:, ::-1] == (found.grid == upper))
    assert mirrored > 0.97  # near the fractal boundary rounding decides
    for part in found.shares().values():
        assert abs(part.fraction - 1 / 3) < 0.05


@pytest.mark.parametrize("box", [[(-6.0, 6.0)] * 2, [(5.0, 6.0)] * 2])
def test_starts_outside_the_domain_are_said_to_be_there(box):
    """Beale's domain is [−4.5, 4.5]²: of the larger box 1 − .75² lie outside, of the other all."""
    found = basins(sf.Map(sf.losses.beale(), sf.GD(), lr=1e-3), box, 16, max_steps=8000)
    outside = np.abs(found.starts).max(axis=1) > 4.5
    np.testing.assert_array_equal(found.labels == Ending.outside, outside)
    share = found.shares()[int(Ending.outside)].fraction
    assert share == pytest.approx(1 - 0.75**2 if box[0][0] < 0 else 1)
    assert "outside" in str(found)


def test_a_loss_that_is_not_defined_everywhere():
    """log x + 1/x: no number at x < 0, where its gradient has one; all others come to x = 1."""
    found = basins(sf.Map(sf.loss("log(x) + 1/x"), sf.GD(), lr=0.05), [(-1.0, 3.0)], 40)
    np.testing.assert_array_equal(found.labels == Ending.undefined, found.starts[:, 0] < 0)
    right = found.starts[:, 0] > 0.3  # from smaller x the first step leads far away
    assert (found.labels[right] == 0).all()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([(1.0, 1.0)] * 2, "low < high"),
        ([(1.0, -1.0)] * 2, "low < high"),
        ([(-1.0, 1.0)] * 3, "2 pairs"),
        ([(-1.0, jnp.inf)] * 2, "finite"),
    ],
)
def test_boxes_that_are_refused(box, words):
    with pytest.raises(ArgumentError, match=words):
        basins(sf.Map(QUARTIC, sf.GD(), lr=0.05), box, 10)


def test_a_sample_is_not_refined():
    with pytest.raises(ArgumentError, match="needs a grid"):
        basins(sf.Map(QUARTIC, sf.GD(), lr=0.05), BOX, num_samples=10, refine=True)
