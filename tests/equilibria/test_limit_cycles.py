"""Limit cycles of flows against closed forms, quadrature and published periods."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.integrate import solve_ivp

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from samflow.equilibria.limit_cycles.floquet import multipliers
from tests.references import LORENZ_CYCLE, VAN_DER_POL


def planar(z, mu, sign, share, growth):
    """Van der Pol's oscillator, and r′ = r(growth − r²), θ′ = 1: one program for all."""
    x, y = z
    radial = growth - x**2 - y**2
    circle = jnp.array([radial * x - y, radial * y + x])
    pol = jnp.array([y, mu * (1 - x**2) * y - x])
    return sign * (share * circle + (1 - share) * pol)


def plane(mu=1.0, sign=1.0, share=0.0, growth=1.0):
    leaves = {"mu": mu, "sign": sign, "share": share, "growth": growth}
    leaves = {name: jnp.asarray(value) for name, value in leaves.items()}
    return sf.FunctionFlow(Partial(planar, **leaves), dim=2, name="planar")


def cycles(flow, box=(-4, 4), **settings):
    return sf.find_cycles(flow, box, num_starts=4, **settings)


STIFF = [pytest.param(mu, marks=pytest.mark.slow) for mu in VAN_DER_POL if mu > 1]


@pytest.mark.parametrize("mu", [1.0, *STIFF])
def test_van_der_pol(mu):
    """The period is published; the multiplier is exp ∮ mu(1 − x²) dt, here by the trapezium rule.

    The rule converges as fast as the cycle is smooth: 120 points give 1e-12 at mu = 1, and not
    one digit at mu = 10, where Liouville's formula is tested by the integral that is solved for.
    """
    found = cycles(plane(mu))
    assert found.kinds == (Kind.attracting,)
    assert found.status.tolist() == [Status.located]
    assert found.period[0] == pytest.approx(VAN_DER_POL[mu], abs=1e-8)  # the solver's 1e-9
    assert abs(found.period[0] - VAN_DER_POL[mu]) <= found.period_error[0] + 1e-10
    assert found.trivial_error[0] < 1e-9
    size = abs(found.divergence[0])
    assert found.liouville_error[0] <= 1e-8 * size  # over 30 segments, 1e-12 each and stretched
    assert found.exponents[0, 1] * found.period[0] == pytest.approx(found.divergence[0], rel=1e-8)
    if mu == 1:
        mean = np.mean(1 - found.points[0, :, 0] ** 2)
        assert np.log(found.multipliers[0, 1].real) == pytest.approx(mean * found.period[0], 1e-9)


@pytest.mark.slow
def test_a_cycle_that_repels_is_found_backwards_in_time():
    found = cycles(plane(sign=-1.0))
    assert found.kinds == (Kind.repelling,)
    assert found.period[0] == pytest.approx(VAN_DER_POL[1.0], abs=1e-8)
    mean = np.mean(found.points[0, :, 0] ** 2 - 1)  # of div f, by the trapezium rule
    expected = np.exp(mean * found.period[0])
    assert found.multipliers[0].real == pytest.approx([expected, 1], rel=1e-8)
    assert found.margin[0] == pytest.approx(1 - expected, rel=1e-8)


@pytest.mark.slow
def test_a_normal_form():
    """r′ = r(1 − r²), θ′ = 1: the unit circle, 2π, and exp(−2·2π)."""
    found = cycles(plane(share=1.0))
    assert found.period == pytest.approx([2 * np.pi], abs=1e-10)
    assert found.multipliers[0].real == pytest.approx([1, np.exp(-4 * np.pi)], abs=1e-12)
    assert np.linalg.norm(found.points[0], axis=1) == pytest.approx(1.0, abs=1e-10)
    assert found.error[0] < 1e-8
    assert "1 attracting; period 6.283185" in str(found)


def test_beside_the_hopf_point_there_is_none():
    """At growth < 0 the circle is gone, and orbits that spiral in come back nearly."""
    found = cycles(plane(share=1.0, growth=-0.01))
    assert len(found) == 0
    assert not found.complete


def test_flows_that_have_none_by_a_theorem():
    found = sf.find_cycles(sf.Flow(sf.losses.beale(), sf.GD()))
    assert found.complete
    assert len(found) == 0
    assert "the loss falls" in str(found)
    line = sf.find_cycles(sf.FunctionFlow(lambda z: z - z**3, dim=1), (-2, 2))
    assert line.complete
    assert "monotone" in line.note


def test_what_is_refused():
    driven = sf.FunctionFlow(lambda t, z: jnp.cos(t) - z, dim=1, period=2 * np.pi)
    with pytest.raises(ArgumentError, match=r"stroboscopic_map\(system\)"):
        sf.find_cycles(driven, (-1, 1))
    with pytest.raises(ArgumentError, match="`period` must be left out for a flow"):
        sf.find_cycles(plane(), (-1, 1), period=2)
    with pytest.raises(ArgumentError, match="`box` must be given"):
        sf.find_cycles(plane())


def solid(z, c, turn):
    """A circle with its normal direction: z′ = c z + x; and a rotor, θ′ = v, v′ = −c(v − 2)."""
    x, y, u = z
    radial = 1 - x**2 - y**2
    return jnp.array([radial * x - y, radial * y + x, c * u + x])


@pytest.mark.slow
@pytest.mark.parametrize("c", [-0.5, 0.1])
def test_in_three_dimensions(c):
    """The multipliers are 1, exp(−4π) and exp(2πc): attracting, or a saddle."""
    flow = sf.FunctionFlow(Partial(solid, c=jnp.asarray(c), turn=0.0), dim=3)
    found = sf.find_cycles(flow, [(-2, 2), (-2, 2), (-3, 3)])
    assert found.kinds == (Kind.attracting if c < 0 else Kind.saddle,)
    expected = sorted([1, np.exp(2 * np.pi * c), np.exp(-4 * np.pi)], reverse=True)
    assert found.multipliers[0].real == pytest.approx(expected, abs=1e-9)
    assert found.liouville_error[0] < 1e-9


def lorenz(z, r):
    return jnp.array([10 * (z[1] - z[0]), z[0] * (r - z[2]) - z[1], z[0] * z[1] - 8 / 3 * z[2]])


@pytest.mark.slow
def test_lorenz():
    """At r = 10 all orbits come to rest; at r = 28 the shortest cycle is a saddle."""
    box = [(-20, 20), (-20, 20), (0, 50)]
    none = sf.find_cycles(sf.FunctionFlow(Partial(lorenz, r=jnp.asarray(10.0)), dim=3), box)
    assert len(none) == 0
    chaotic = sf.FunctionFlow(Partial(lorenz, r=jnp.asarray(28.0)), dim=3)
    found = sf.find_cycles(chaotic, box, num_starts=16)
    assert set(found.kinds) == {Kind.saddle}
    assert found.period[0] == pytest.approx(LORENZ_CYCLE, abs=1e-9)
    assert found.divergence == pytest.approx(-41 / 3 * found.period, rel=1e-9)  # div f = −41/3
    assert np.all(found.liouville_error < 1e-7)


@pytest.mark.slow
def test_a_cycle_that_winds():
    """θ′ = v, v′ = −(v − 2)/2: v = 2, one turn in π, and exp(−π/2)."""
    rotor = sf.FunctionFlow(
        lambda z: jnp.array([z[1], -0.5 * (z[1] - 2)]), dim=2, angles=((-np.pi, np.pi), None)
    )
    found = sf.find_cycles(rotor, [(-np.pi, np.pi), (-3, 3)])
    assert found.winding.tolist() == [[1, 0]]
    assert found.period == pytest.approx([np.pi], abs=1e-10)
    assert found.multipliers[0].real == pytest.approx([1, np.exp(-np.pi / 2)], abs=1e-10)
    assert np.abs(found.points[0, :, 0]).max() <= np.pi


@pytest.mark.slow
def test_nested_cycles_and_a_centre():
    """r′ = 0.3 r(1 − r)(2 − r)(3 − r): log multipliers 2π d/dr; and a continuum of circles."""

    def nested(z, strength):
        r = jnp.linalg.norm(z)
        radial = strength * (1 - r) * (2 - r) * (3 - r)
        return jnp.array([radial * z[0] - z[1], radial * z[1] + z[0]])

    flow = sf.FunctionFlow(Partial(nested, strength=jnp.asarray(0.3)), dim=2)
    found = sf.find_cycles(flow, (-4, 4))
    radii = np.linalg.norm(found.points[:, 0], axis=1)
    order = np.argsort(radii)
    assert radii[order] == pytest.approx([1, 2, 3], abs=1e-9)
    kinds = [found.kinds[i] for i in order]
    assert kinds == [Kind.attracting, Kind.repelling, Kind.attracting]
    others = (found.exponents * found.period[:, None]).sum(axis=1)[order]
    assert others == pytest.approx(2 * np.pi * 0.3 * np.array([-2, 2, -6]), rel=1e-8)
    centre = sf.FunctionFlow(Partial(nested, strength=jnp.asarray(0.0)), dim=2)
    assert set(sf.find_cycles(centre, (-4, 4), num_starts=4).kinds) == {Kind.nonhyperbolic}


def test_multipliers_of_a_product_that_has_no_digits_left():
    """Segments Pᵢ₊₁ D Pᵢ⁻¹ have the multipliers of Dᵐ, whatever the Pᵢ, down to 1e-120."""
    random = np.random.default_rng(0)
    frames = [np.linalg.qr(random.normal(size=(4, 4)))[0] + 0.1 * np.eye(4) for _ in range(10)]
    d = np.zeros((4, 4))
    d[:2, :2] = 1.2 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    d[2, 2], d[3, 3] = -1.0, 1e-12
    segments = np.array([frames[(i + 1) % 10] @ d @ np.linalg.inv(frames[i]) for i in range(10)])
    values, logs = multipliers(segments)
    pair = 1.2**10 * np.exp(3j)
    assert sorted(values[:2].imag) == pytest.approx(sorted([pair.imag, -pair.imag]), rel=1e-10)
    assert values[2] == pytest.approx(1, abs=1e-10)
    # In Pᵢ₊₁DPᵢ⁻¹ an eigenvalue of 1e-12 has four digits left.
    assert logs[3] == pytest.approx(10 * np.log(1e-12), abs=1e-2)
    odd = np.array([[[-0.5]], [[2.0]], [[3.0]]])
    assert multipliers(odd)[0] == pytest.approx([-3.0])
    assert np.isnan(multipliers(np.full((2, 2, 2), np.nan))[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("mu", VAN_DER_POL)
def test_published_periods_are_those_of_another_solver(mu):
    """Half a period lies between two maxima of |x|, by symmetry."""

    def field(t, z):
        return [z[1], mu * (1 - z[0] ** 2) * z[1] - z[0]]

    def turns(t, z):
        return z[1]

    turns.direction = -1
    path = solve_ivp(field, (0, 200), [2.0, 0.1], "DOP853", rtol=1e-12, atol=1e-13, events=turns)
    assert np.diff(path.t_events[0])[-1] == pytest.approx(VAN_DER_POL[mu], abs=1e-8)


def scaled(z, length, time):
    """Van der Pol's oscillator in other units of length and time."""
    x, y = z / length
    return length / time * jnp.array([y, (1 - x**2) * y - x])


@pytest.mark.slow
def test_units_do_not_matter():
    for length, time in ((1e-6, 1e3), (1e6, 1e-3)):
        leaf = Partial(scaled, length=jnp.asarray(length), time=jnp.asarray(time))
        found = cycles(sf.FunctionFlow(leaf, dim=2), (-4 * length, 4 * length))
        assert found.kinds == (Kind.attracting,)
        assert found.period[0] / time == pytest.approx(VAN_DER_POL[1.0], abs=1e-8)
        assert found.status.tolist() == [Status.located]
