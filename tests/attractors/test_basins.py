"""Basins against symmetry, published shares and known attractors."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors import Ending, basins, boundary
from samflow.attractors.basins import label

QUARTIC = sf.loss("x**2/2 - y**2/2 + y**4/4")
BOX = [(-2.0, 2.0)] * 2


@pytest.mark.parametrize("lr", [1e-3, 0.05, 0.9])
def test_exactly_two_attractors_on_the_quartic(lr):
    """GD up to its edge at 2/λ = 1, also where 1000 steps bring nothing near the minima."""
    found = basins(sf.Map(QUARTIC, sf.GD(), lr=lr), BOX, 24)
    points = [attractor.points[0] for attractor in found.attractors]
    np.testing.assert_allclose(sorted(p[1] for p in points), [-1, 1], atol=1e-9)
    upper = int(np.argmax([p[1] for p in points]))
    settled = found.labels >= 0
    assert set(found.labels[~settled]) <= {int(Ending.diverged)}  # from large |y| at large lr
    assert settled.mean() > 0.9
    if lr < 0.1:  # no step passes over the saddle's stable curve, y = 0
        assert settled.all()
        np.testing.assert_array_equal(found.labels == upper, found.starts[:, 1] > 0)


def test_starts_are_labelled_in_any_parts():
    """The labels of the whole are those of its parts, to the bit: also at an lr that jumps."""
    system = sf.Map(QUARTIC, sf.GD(), lr=0.9)
    found = basins(system, BOX, 24)
    for part in (slice(0, 100), slice(100, 576)):
        again = label(system, found.starts[part], found.attractors, longest=200_000)
        np.testing.assert_array_equal(again.labels, found.labels[part])
        np.testing.assert_array_equal(again.steps, found.steps[part])


def test_usam_has_five_attractors_at_rho_6():
    """0, ±.788675 and ±1 attract at small lr (docs/theory; tests.references)."""
    found = basins(sf.Map(QUARTIC, sf.USAM(rho=6.0), lr=0.01), BOX, 24)
    heights = sorted(float(a.points[0, 1]) for a in found.attractors)
    np.testing.assert_allclose(heights, [-1, -0.788675, 0, 0.788675, 1], atol=1e-6)
    assert {a.found for a in found.attractors} == {"fixed point"}


def test_sam_has_cycles_about_both_minima_and_the_saddle():
    """At rho = .1, lr = .05: period 7 at the minima, 2 at the saddle, which holds for rho < 1."""
    found = basins(sf.Map(QUARTIC, sf.SAM(rho=0.1), lr=0.05), BOX, 24)
    assert sorted(a.period for a in found.attractors) == [2, 7, 7]
    assert (found.labels >= 0).all()
    shares = {found.attractors[k].period: part.fraction for k, part in found.shares().items()}
    assert shares[2] < 0.1


def test_cycles_are_found_where_there_are_no_attracting_fixed_points():
    """Logistic map at r = 3.5: one 4-cycle; starts outside [0, 1] leave."""
    logistic = sf.FunctionMap(lambda z: 3.5 * z * (1 - z), dim=1, name="logistic")
    found = basins(logistic, [(-0.5, 1.5)], 40)  # no start at 0 or 1
    assert [a.period for a in found.attractors] == [4]
    inside = (found.starts[:, 0] > 0) & (found.starts[:, 0] < 1)
    np.testing.assert_array_equal(found.labels == 0, inside)
    assert set(found.labels[~inside]) == {int(Ending.diverged)}


def test_a_slow_orbit_is_no_attractor():
    """On w⁴ GD approaches 0 as a power of the step for ever: nothing is made up."""
    found = basins(sf.Map(sf.loss("w**4"), sf.GD(), lr=0.01), [(-1.0, 1.0)], 20, max_steps=4000)
    assert found.attractors == ()
    assert set(found.labels) == {int(Ending.unresolved)}


def test_three_dimensions_by_sampling():
    """A double well in each weight: eight minima, an eighth of the box each by symmetry."""
    wells = sf.loss("(x**2-1)**2/4 + (y**2-1)**2/4 + (z**2-1)**2/4")
    found = basins(sf.Map(wells, sf.GD(), lr=0.05), [(-2.0, 2.0)] * 3, num_samples=2000)
    assert len(found.attractors) == 8
    for part in found.shares().values():
        assert part.low - 0.02 < 1 / 8 < part.high + 0.02  # 8 intervals of 95 %
    signs = np.array([a.points[0] for a in found.attractors])[found.labels]
    np.testing.assert_array_equal(np.sign(signs), np.sign(found.starts))


def test_flows():
    found = basins(sf.Flow(QUARTIC, sf.GD()), BOX, 8)
    assert len(found.attractors) == 2
    assert (found.labels >= 0).all()


def test_newtons_method_has_a_fractal_boundary():
    """Newton on z³ − 1: uncertainty exponent ≈ .6 (known-answers), a third of the basins each."""

    def newton(z):
        x, y = z
        square = (x**2 - y**2, 2 * x * y)
        cube = (x * square[0] - y * square[1] - 1, x * square[1] + y * square[0])
        size = 3 * (square[0] ** 2 + square[1] ** 2)
        return jnp.stack(
            [
                x - (cube[0] * square[0] + cube[1] * square[1]) / size,
                y - (cube[1] * square[0] - cube[0] * square[1]) / size,
            ]
        )

    system = sf.FunctionMap(newton, dim=2, name="newton")
    found = basins(system, [(-2.0, 2.0)] * 2, 200)
    assert len(found.attractors) == 3
    measured = boundary(found)
    assert abs((2 - measured.dimension) - 0.6) < 0.1  # 200 cells a side: 5 doublings
    assert measured.boundary_entropy > 0.6  # a straight one has .5, see below


def test_a_straight_boundary_has_dimension_1():
    turned = sf.loss("(x - y/2)**2/2 - (y + x/2)**2/2 + (y + x/2)**4/4")
    found = basins(sf.Map(turned, sf.GD(), lr=0.02), BOX, 128)
    measured = boundary(found)
    assert abs(measured.dimension - 1) < 0.1
    assert measured.boundary_entropy < 0.55  # mean of −Σ p log p over cuts of a square: about .5


@pytest.mark.parametrize("make", [lambda *of: sf.Map(*of, lr=0.1), sf.Flow])
def test_where_a_formula_has_no_value_orbits_are_undefined(make):
    """x − log x is for x > 0, where all orbits go to (1, 0); its gradient is finite below, too."""
    system = make(sf.loss("x - log(x) + y**2/2"), sf.GD())
    found = basins(system, [(-1.0, 3.0), (-1.0, 1.0)], 8)
    assert len(found.attractors) == 1
    inside = found.starts[:, 0] > 0
    assert set(found.labels[inside]) == {0}
    assert set(found.labels[~inside]) == {int(Ending.undefined)}
    assert set(found.steps[~inside]) == {0}


@pytest.mark.parametrize(("lr", "leaves"), [(6.0, True), (3.0, False)])
def test_an_orbit_that_jumps_out_of_where_the_formula_has_a_value_is_undefined(lr, leaves):
    """GD on x − log x: x⁺ = x − lr + lr/x is < 0 for x in (1.27, 4.73) if lr = 6; never if < 4."""
    system = sf.Map(sf.loss("x - log(x)"), sf.GD(), lr=lr)
    found = basins(system, [(1.3, 4.7)], 16, max_steps=250)
    assert set((found.labels == Ending.undefined).tolist()) == {leaves}


def test_starts_outside_the_domain_of_the_loss_are_not_followed():
    """Beale's is [−4.5, 4.5]²; orbits that leave it later go on, here to 4 % beyond."""
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.002)
    found = basins(system, [(-6.0, 6.0)] * 2, 12, max_steps=4000)
    beyond = np.any(np.abs(found.starts) > 4.5, axis=1)
    np.testing.assert_array_equal(found.labels == Ending.outside, beyond)
    assert (found.labels[~beyond] >= 0).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resolution": 10, "num_samples": 10}, "cannot both"),
        ({"resolution": (10, 10, 10)}, "one for each of 2"),
        ({"resolution": 0}, "resolution"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        basins(sf.Map(QUARTIC, sf.GD(), lr=0.05), BOX, **arguments)


def test_a_sample_has_no_boundary():
    found = basins(sf.Map(QUARTIC, sf.GD(), lr=0.05), BOX, num_samples=50)
    with pytest.raises(ArgumentError, match="grid"):
        boundary(found)
