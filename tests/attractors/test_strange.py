"""Strange attractors, invariant circles and long cycles in basins, found and kept apart."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import samflow as sf
from samflow import Kind
from samflow.attractors import Ending, basins
from samflow.attractors.basins.strange import wanderers
from tests.tiers import slow


class Henon(eqx.Module):
    """(x, y) ↦ (1 − a x² + y, 0.3 y); a is a leaf, so that one program serves all."""

    a: Array

    def __call__(self, z):
        return 1 - self.a * z[0] ** 2 + z[1], 0.3 * z[0]


class Logistic(eqx.Module):
    r: Array

    def __call__(self, z):
        return (self.r * z[0] * (1 - z[0]),)


class Delayed(eqx.Module):
    r: Array

    def __call__(self, z):
        return self.r * z[0] * (1 - z[1]), z[0]


def system(family, value):
    function = family(jnp.asarray(value))
    return sf.FunctionMap(function, 1 if family is Logistic else 2, "test", elementwise=True)


def largest_x(a, starts):
    """The largest x after 20,000 steps of Hénon's map, by NumPy; NaN: it left."""
    x, y = starts.T
    with np.errstate(all="ignore"):
        for _ in range(20_000):
            x, y = 1 - a * x**2 + y, 0.3 * x
        largest = x
        for _ in range(500):
            x, y = 1 - a * x**2 + y, 0.3 * x
            largest = np.maximum(largest, x)
    return np.where(np.isfinite(x), largest, np.nan)


def test_henons_attractor():
    """λ = .419 (known-answers); its basin is the set of starts that NumPy's orbits do not leave."""
    found = basins(system(Henon, 1.4), [(-2, 2)] * 2, 40)
    (only,) = found.attractors
    assert only.kind is Kind.chaotic
    assert abs(only.exponent - 0.419) < 0.005  # of 5e5 steps, whose own error is 1e-3
    x = only.points[:, 0]  # one of the points in each cell of a 400th of the extent
    assert abs(x.max() - 1.273) < 0.01
    assert abs(x.min() + 1.285) < 0.01
    np.testing.assert_array_equal(found.labels == 0, largest_x(1.4, found.starts) < 2)
    assert set(found.labels) == {0, int(Ending.diverged)}


@pytest.mark.parametrize(
    ("a", "tops", "kinds"),
    [
        (1.072, (1.263, 1.266, 1.309), {Kind.cycle: 2, Kind.chaotic: 1}),
        slow(1.08, (1.265, 1.308), {Kind.chaotic: 2}),
    ],
)
def test_attractors_side_by_side_are_kept_apart(a, tops, kinds):
    """Which attractor a start has come to shows in its largest x: NumPy's says the same.

    At a = 1.072 a 12-cycle lies between the strands of a chaotic attractor.
    """
    found = basins(system(Henon, a), [(-1, 1), (-0.3, 0.3)], 20)
    kind = [attractor.kind for attractor in found.attractors]
    assert {k: kind.count(k) for k in kind} == kinds
    top = largest_x(a, found.starts)
    for i in range(len(kind)):
        assert np.ptp(top[found.labels == i]) < 0.002  # 500 steps come so near to the largest
    means = sorted(top[found.labels == i].mean() for i in range(len(kind)))
    np.testing.assert_allclose(means, tops, atol=0.002)
    assert (found.labels >= 0).all()


def test_a_chaotic_transient_is_no_attractor():
    """At a = 1.43, beyond the crisis at 1.427, all orbits leave in the end."""
    found = basins(system(Henon, 1.43), [(-2, 2)] * 2, 20)
    assert found.attractors == ()
    assert set(found.labels) == {int(Ending.diverged)}


@pytest.mark.parametrize("r", [1.99, 2.1])
def test_an_invariant_circle_is_born_at_the_neimark_sacker_bifurcation(r):
    """Delayed logistic map: at r = 2. Below, the point 1 − 1/r attracts, however slowly."""
    found = basins(system(Delayed, r), [(0.3, 0.7)] * 2, 12)
    (only,) = found.attractors
    assert (found.labels == 0).all()
    if r < 2:
        assert only.kind is Kind.attracting
        np.testing.assert_allclose(only.points[0], 1 - 1 / r, atol=1e-9)
        # det DF = r w there, and the pair of multipliers is complex.
        assert only.exponent == pytest.approx(0.5 * np.log(r - 1), abs=1e-9)
        return
    assert only.kind is Kind.quasiperiodic
    assert abs(only.exponent) < 1e-3
    angles = np.sort(np.arctan2(*(only.points - (1 - 1 / r)).T))
    assert np.diff(angles).max() < 0.2  # all around, with no gap


@pytest.mark.parametrize(
    ("r", "kind", "period", "exponent"),
    [
        (3.5699, Kind.cycle, 128, None),  # 128 from 3.569891 to 3.569934
        (3.83, Kind.cycle, 3, None),  # after a chaotic transient
        (4.0, Kind.chaotic, 0, np.log(2)),
    ],
)
def test_cycles_and_chaos_of_the_logistic_map(r, kind, period, exponent):
    found = basins(system(Logistic, r), [(0, 1)], 60)
    assert [(one.kind, one.period) for one in found.attractors] == [(kind, period)]
    assert (found.labels == 0).all()
    if exponent is not None:
        assert abs(found.attractors[0].exponent - exponent) < 0.005


def test_a_map_that_keeps_areas_has_no_attractors():
    """The standard map at K = 0.9: invariant circles and chaos everywhere, and nothing attracts."""

    def standard(z):
        p = (z[1] + 0.9 * jnp.sin(z[0])) % (2 * jnp.pi)
        return (z[0] + p) % (2 * jnp.pi), p

    kept = sf.FunctionMap(standard, dim=2, name="standard", elementwise=True)
    found = basins(kept, [(0, 6.28)] * 2, 12, max_steps=4000)
    assert found.attractors == ()
    assert set(found.labels) == {int(Ending.unresolved)}


class Mixed(eqx.Module):
    """Lorenz's flow of r = 28 where chaos = 1, a rotation of x and y that grows by `rate`, else."""

    chaos: Array
    rate: Array

    def __call__(self, z):
        x, y, w = z
        lorenz = 10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w
        growth = self.rate * (1 - x**2 - y**2)
        turning = 5 * (growth * x - y), 5 * (growth * y + x), -w
        return tuple(
            self.chaos * a + (1 - self.chaos) * b for a, b in zip(lorenz, turning, strict=True)
        )


def flow(chaos, rate):
    function = Mixed(jnp.asarray(chaos), jnp.asarray(rate))
    return sf.FunctionFlow(function, 3, "test", elementwise=True)


@pytest.mark.parametrize(
    ("chaos", "rate", "start", "found"),
    [
        (1.0, 0.0, [1.0, 1.0, 25.0], [Kind.chaotic]),
        (0.0, 1.0, [1.0, 0.0, 0.0], []),  # a limit cycle, for which `find_cycles` is
        slow(0.0, 0.0, [1.0, 0.0, 0.0], []),  # a centre
        slow(0.0, 1e-3, [1e-3, 0.0, 0.0], []),  # it turns away slowly
    ],
)
def test_of_flows_chaos_alone_is_a_strange_attractor(chaos, rate, start, found):
    """Lorenz's λ = 0.9056 (known-answers); along every orbit the exponent is 0."""
    states = np.asarray(start) * np.array([[1.0], [1.01]])
    seen = wanderers(flow(chaos, rate), states, 40.0, [], 40.0)
    assert [one.kind for one in seen] == found
    for one in seen:
        assert abs(one.exponent - 0.9056) < 0.02  # of 8 orbits in 320 units of time: 2e-3
        x, _, w = one.points.T
        assert w.min() > 0  # above the stable line of the saddle at 0
        assert abs(x.max() - 19) < 2


@pytest.mark.slow
def test_lorenz_attractor_has_the_whole_box_for_its_basin():
    """At r = 28 the origin and both spirals are saddles: orbits come to nothing else."""
    found = basins(flow(1.0, 0.0), [(-20, 20), (-20, 20), (0, 40)], num_samples=20, t1=100.0)
    (only,) = found.attractors
    assert only.kind is Kind.chaotic
    assert abs(only.exponent - 0.9056) < 0.02
    assert (found.labels == 0).all()
    assert found.names()[0].startswith("chaotic in [-1")
