"""Basins against symmetry, published shares and known attractors."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import Kind
from samflow._checks import ArgumentError
from samflow.attractors import Ending, basins, boundary
from samflow.attractors.basins import label, limit_cycles
from tests.tiers import slow

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


WELL = sf.loss("y**4/4 - y**2/2")
"""GD on it is the cubic map u ↦ a u − u³ of u = √lr y, with a = 1 + lr."""


@pytest.mark.parametrize(
    ("lr", "period", "kind"),
    [
        (1e-3, 1, Kind.attracting),
        (0.5, 1, Kind.attracting),
        (0.999, 1, Kind.attracting),
        (1.001, 2, Kind.cycle),  # the flip at lr = 2/λ = 1
        (1.2, 2, Kind.cycle),
        (1.25, 4, Kind.cycle),  # the flip of the 2-cycle at a = √5
        (1.5, 0, Kind.chaotic),
    ],
)
def test_two_attractors_below_and_above_the_edge(lr, period, kind):
    """Mirror images, half of the starts each, up to the crisis at a = √(27/4), lr = 1.598."""
    found = basins(sf.Map(WELL, sf.GD(), lr=lr), [(-1.4, 1.4)], 40)
    assert [(one.kind, one.period) for one in found.attractors] == [(kind, period)] * 2
    assert [part.fraction for part in found.shares().values()] == [0.5, 0.5]
    for i, one in enumerate(found.attractors):
        assert (one.points > 0).all() or (one.points < 0).all()
        mirrored = found.labels[::-1] == 1 - i
        np.testing.assert_array_equal(found.labels == i, mirrored)


@pytest.mark.parametrize(("lr", "exponent"), [(1.61, None), (2.0, np.log(3))])
def test_one_attractor_above_the_crisis(lr, exponent):
    """At lr = 2 the map is −T₃ of Chebyshev, with exponent log 3."""
    found = basins(sf.Map(WELL, sf.GD(), lr=lr), [(-1.4, 1.4)], 40)
    (only,) = found.attractors
    assert only.kind is Kind.chaotic
    assert (found.labels == 0).all()
    if exponent is not None:
        assert abs(only.exponent - exponent) < 0.005


def test_at_the_edge_nothing_attracts_fast_enough():
    """At lr = 1 exactly orbits come to ±1 as 1/√k: they are unresolved, and nothing is made up."""
    found = basins(sf.Map(WELL, sf.GD(), lr=1.0), [(-1.4, 1.4)], 10, max_steps=4000)
    assert found.attractors == ()
    assert set(found.labels) == {int(Ending.unresolved)}


@pytest.mark.parametrize("lr", [1e-3, 0.05, 1.88, 1.91])
def test_momentum_has_two_attractors(lr):
    """Momentum .9, with its edge at lr = 2·1.9/λ = 1.9; beyond, a 2-cycle about each minimum."""
    found = basins(sf.Map(WELL, sf.GD(), lr=lr, momentum=0.9), [(-1.4, 1.4)], 40)
    assert [one.period for one in found.attractors] == [1 if lr < 1.9 else 2] * 2
    assert {int(k) for k in found.labels} <= {0, 1, int(Ending.diverged)}


@pytest.mark.parametrize(
    ("rho", "lr", "number", "periods"),
    [
        (0.5, 1e-3, 2, {1}),
        (0.5, 0.495, 2, {1}),  # the flip at 1/(1 + 2 rho) = 1/2
        (0.5, 0.51, 2, {2}),
        (2.0, 1e-3, 3, {1}),  # from rho = 1 on the saddle attracts, too
        (6.0, 1e-3, 5, {1}),  # nine points on x = 0, of which five attract
        (6.0, 0.0785, 5, {1, 2}),  # the flip of ±1 at 1/13
    ],
)
def test_usam_on_the_quartic_at_several_rho(rho, lr, number, periods):
    found = basins(sf.Map(QUARTIC, sf.USAM(rho=rho), lr=lr), [(-1.4, 1.4)] * 2, 16)
    assert len(found.attractors) == number
    assert {one.period for one in found.attractors} == periods
    assert {int(k) for k in found.labels} <= {*range(number), int(Ending.diverged)}


@pytest.mark.parametrize("lr", [slow(1e-3), 0.05, slow(0.9), 1.0])
def test_what_holds_sam_is_proved_and_is_what_classify_says(lr):
    """The minima and, up to lr < 1, the saddle: orbits are captured where a trap is proved."""
    system = sf.Map(QUARTIC, sf.SAM(rho=0.1), lr=lr)
    found = basins(system, [(-1.4, 1.4)] * 2, 16)
    assert len(found.attractors) == (3 if lr < 1 else 2)
    assert all(one.proved for one in found.attractors if lr < 0.9 or abs(one.points[0, 1]) > 0.3)
    assert (found.labels >= 0).sum() >= 252  # at lr = 1 four starts stay on x = ±.1
    heights = (-1, 0, 1) if lr < 1 else (-1, 1)
    kinds = [sf.classify(system, [0.0, y], measure=False).kind for y in heights]
    assert [one.kind for one in found.attractors] == kinds
    for one in found.attractors:
        if one.kind is Kind.cycle and one.period:
            ends = np.asarray(sf.iterate(system, one.points, num_steps=one.period).final)
            np.testing.assert_allclose(ends, one.points, atol=1e-9)


def test_attractors_outside_the_box_are_found():
    found = basins(sf.Map(WELL, sf.GD(), lr=0.05), [(-0.4, 0.4)], 20)
    np.testing.assert_allclose(sorted(a.points[0, 0] for a in found.attractors), [-1, 1], atol=1e-9)
    assert (found.labels >= 0).all()


def test_nothing_attracts():
    """x² − y² upside down: all orbits leave."""
    found = basins(sf.Map(sf.loss("-x**2 - y**2"), sf.GD(), lr=0.1), BOX, 8)
    assert found.attractors == ()
    assert set(found.labels) == {int(Ending.diverged)}
    assert "0 attractors" in str(found)


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


def around(z):
    """ṙ = r(μ + r² − r⁴) with μ = −0.1, θ̇ = 1: 0 attracts up to r² = (1 − √0.6)/2."""
    return (-0.1 + z @ z - (z @ z) ** 2) * z + jnp.stack([-z[1], z[0]])


OUTER = np.sqrt((1 + np.sqrt(0.6)) / 2)
"""The radius of the limit cycle that attracts from there on."""


@pytest.mark.slow
def test_a_limit_cycle_of_a_flow_has_a_basin():
    found = basins(sf.FunctionFlow(around, dim=2), (-1.5, 1.5), 14)
    assert [one.is_limit_cycle for one in found.attractors] == [False, True]
    on_it = np.linalg.norm(found.attractors[1].points, axis=1)
    np.testing.assert_allclose(on_it, OUTER, rtol=1e-5)  # chords of 0.002
    beyond = (found.starts**2).sum(axis=1) > (1 - np.sqrt(0.6)) / 2
    np.testing.assert_array_equal(found.labels, beyond)


def test_the_region_of_a_limit_cycle_is_a_thin_tube():
    flow = sf.FunctionFlow(around, dim=2)
    cycle = limit_cycles._attractor(flow, np.array([OUTER, 0.0]), 2 * np.pi)
    turn = np.linspace(0, 2 * np.pi, 1001)[:, None]
    circle = OUTER * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
    assert cycle.region.holds(circle).all()
    assert cycle.region.holds(1.001 * circle).all()
    assert not cycle.region.holds(1.005 * circle).any()
    assert not cycle.region.holds(0.0 * circle).any()
    assert str(cycle) == "limit cycle in [-0.942, 0.942] × [-0.942, 0.942]"


@pytest.mark.parametrize("scale", ["0.000001", "1000000"])
def test_basins_of_a_flow_do_not_depend_on_the_unit_of_time(scale):
    found = basins(sf.Flow(sf.loss(f"{scale}*(x**2/2 - y**2/2 + y**4/4)"), sf.GD()), BOX, 4)
    assert np.bincount(found.labels).tolist() == [8, 8]
