"""Return maps and crossings against closed forms and Floquet multipliers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from tests.references import VAN_DER_POL

CONTRACTION = np.exp(-4 * np.pi)


def circle(z):
    """r′ = r(1 − r²), θ′ = 1."""
    radial = 1 - z[0] ** 2 - z[1] ** 2
    return jnp.array([radial * z[0] - z[1], radial * z[1] + z[0]])


CIRCLE = sf.FunctionFlow(circle, dim=2, name="circle")
DIAGONAL = sf.Section(normal=[-1.0, 1.0], point=[0.0, 0.0])


def radius_after(r):
    """Solve r′ = r(1 − r²) over 2π: 1/r² relaxes to 1 at the rate 2."""
    return (1 + (r**-2 - 1) * CONTRACTION) ** -0.5


def slope_after(r):
    return CONTRACTION * (radius_after(r) / r) ** 3


def test_the_return_map_of_a_normal_form():
    """Tolerances of 1e-10 a step, and what the slope makes of them."""
    returns = sf.poincare_map(CIRCLE, DIAGONAL, max_time=20.0)

    @jax.jit
    def at(u):
        found = returns.solve(u)
        return returns.project(found.z), found.time, found.status, returns.jacobian(u)

    for r in (0.01, 0.5, 1.0, 2.0):
        u, time, status, slope = at(jnp.array([r]))
        assert status == Status.reached_end
        assert float(u[0]) == pytest.approx(radius_after(r), abs=1e-9)
        assert float(time) == pytest.approx(2 * np.pi, abs=1e-9)
        assert float(slope[0, 0]) == pytest.approx(slope_after(r), rel=1e-7)
    assert at(jnp.array([0.0]))[2] == Status.no_return  # at rest
    z = returns.embed(jnp.array([0.7]))
    assert float(DIAGONAL.height(z)) == pytest.approx(0, abs=1e-15)
    assert float(returns.project(z)[0]) == pytest.approx(0.7, abs=1e-15)


@pytest.mark.slow
def test_crossings():
    """The angle grows by 1: every half turn in both directions, each turn in one."""
    for direction, first in ((1, 1.75), (-1, 0.75), (0, 0.75)):
        section = sf.Section(normal=[0.0, 1.0], point=[0.0, 0.0], direction=direction)
        start = [0.5, 0.5]  # at an angle of π/4
        found = sf.poincare_section(CIRCLE, start, section, num_crossings=3, max_time=20.0)
        between = 1 if direction == 0 else 2
        times = np.pi * (first + between * np.arange(3))
        assert np.asarray(found.times) == pytest.approx(times, abs=1e-9)
        assert np.asarray(found.points[:, 1]) == pytest.approx(0, abs=1e-12)
        assert int(found.number) == 3


def decaying(z, speed):
    return jnp.array([-z[0], speed * jnp.ones_like(z[1]) - z[1]])


@pytest.mark.slow
def test_orbits_that_do_not_come_back():
    """ẋ = −x: one that comes to rest, and one that crosses once and never again."""
    flow = sf.FunctionFlow(Partial(decaying, speed=1.0), dim=2)
    section = sf.Section(normal=[0.0, 1.0], point=[0.0, 0.5])
    starts = [[1.0, 0.0], [1.0, 2.0], [0.0, 1.0]]
    found = sf.poincare_section(flow, starts, section, num_crossings=2, max_time=30.0)
    assert found.status.tolist() == [Status.no_return] * 3
    assert found.number.tolist() == [1, 0, 0]
    assert float(found.times[0, 0]) == pytest.approx(np.log(2), abs=1e-9)
    assert np.isnan(found.points[0, 1]).all()


@pytest.mark.slow
def test_iterate_says_why_there_is_no_image():
    flow = sf.FunctionFlow(Partial(decaying, speed=1.0), dim=2)
    section = sf.Section(normal=[0.0, 1.0], point=[0.0, 0.5])
    returns = sf.poincare_map(flow, section, max_time=30.0)
    orbit = sf.iterate(returns, [1.0], num_steps=2)
    assert orbit.status == Status.no_return
    assert orbit.stopped_at == 1


def test_what_is_refused():
    with pytest.raises(ArgumentError, match="must be in 2 dimensions"):
        sf.poincare_map(CIRCLE, sf.Section([1.0, 0, 0], [0.0, 0, 0]), max_time=1.0)
    with pytest.raises(ArgumentError, match="finite and not 0"):
        sf.Section([0.0, 0.0], [0.0, 0.0])
    with pytest.raises(ArgumentError, match="`direction` must be 1, -1 or 0"):
        sf.Section([0.0, 1.0], [0.0, 0.0], direction=2)
    driven = sf.FunctionFlow(lambda t, z: jnp.cos(t) * z, dim=2, period=2 * np.pi)
    with pytest.raises(ArgumentError, match="stroboscopic_map"):
        sf.poincare_map(driven, DIAGONAL, max_time=1.0)
    turning = sf.FunctionFlow(circle, dim=2, angles=((0, 1), None))
    with pytest.raises(ArgumentError, match="across one angle or across none"):
        sf.poincare_map(turning, DIAGONAL, max_time=1.0)


@pytest.mark.slow
def test_multipliers_are_floquets():
    """Of van der Pol's cycle: the return map has them without the 1."""
    flow = sf.FunctionFlow(lambda z: (z[1], (1 - z[0] ** 2) * z[1] - z[0]), dim=2)
    section = sf.Section(normal=[0.0, 1.0], point=[0.0, 0.0])
    returns = sf.poincare_map(flow, section, max_time=50.0)
    points = sf.find_fixed_points(returns, (-4, -1), num_starts=8)
    assert points.kinds == (Kind.attracting,)
    cycle = sf.find_cycles(flow, (-4, 4), num_starts=4)
    there = points.stability[0].multipliers
    assert there == pytest.approx(cycle.multipliers[0, 1:], abs=1e-10)
    assert returns.return_time(points.w[0]) == pytest.approx(VAN_DER_POL[1.0], abs=1e-8)
    # On a section that is no axis, they are the same.
    tilted = sf.poincare_map(flow, sf.Section([0.3, 1.0], [0.0, 0.0]), max_time=50.0)
    end = sf.iterate(tilted, tilted.project(jnp.array([[-2.0, 0.6]]))[0], num_steps=12).final
    assert sf.classify(tilted, end).multipliers == pytest.approx(there, abs=1e-9)
    # To second order, against differences of the first.
    second = jax.jit(jax.jacfwd(returns.jacobian))(points.w[0] + 0.3)
    sides = [returns.jacobian(points.w[0] + 0.3 + s * 1e-4) for s in (1, -1)]
    np.testing.assert_allclose(second[0], (sides[0] - sides[1]) / 2e-4, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_across_an_angle():
    """θ′ = v, v′ = −(v − 2)/2: a turn of v = 2 takes π, and one that turns back passes twice."""
    rotor = sf.FunctionFlow(
        lambda z: jnp.array([z[1], -0.5 * (z[1] - 2)]), dim=2, angles=((-np.pi, np.pi), None)
    )
    section = sf.Section(normal=[1.0, 0.0], point=[0.3, 0.0])
    returns = sf.poincare_map(rotor, section, max_time=30.0)
    assert returns.return_time(jnp.array([2.0])) == pytest.approx(np.pi, abs=1e-9)
    # From v = −2 it comes back to the same angle without a turn: 2t = 8(1 − exp(−t/2)).
    back = returns.solve(jnp.array([-2.0]))
    t = float(back.time)
    assert 2 * t == pytest.approx(8 * (1 - np.exp(-t / 2)), abs=1e-8)
    assert float(back.z[0]) == pytest.approx(0.3, abs=1e-9)
    assert returns.dim == 1
    down = sf.poincare_map(rotor, sf.Section([1.0, 0.0], [0.3, 0.0], direction=-1), max_time=9.0)
    assert down.step_status(jnp.array([2.0])) == Status.no_return


def circle_of(z, square):
    """r′ = r(square − r²), θ′ = 1."""
    radial = square - z[0] ** 2 - z[1] ** 2
    return jnp.array([radial * z[0] - z[1], radial * z[1] + z[0]])


@pytest.mark.slow
def test_cycles_of_a_flow_are_followed_as_fixed_points():
    """The radius is the root of the parameter."""
    flow = sf.FunctionFlow(Partial(circle_of, square=jnp.asarray(1.0)), dim=2)
    returns = sf.poincare_map(flow, DIAGONAL, max_time=20.0)
    branch = sf.continue_branch(returns, [1.0], "square", (0.5, 2.0))
    assert branch.states[:, 0] ** 2 == pytest.approx(branch.parameter, abs=1e-7)
    assert set(branch.kinds) == {Kind.attracting}
    assert [str(end) for end in branch.ends] == ["reached bound"] * 2


@pytest.mark.parametrize(
    ("direction", "way"), [(1, "along (-1, 1)"), (-1, "against (-1, 1)"), (0, "in both directions")]
)
def test_a_return_map_is_printed_with_its_section(direction, way):
    section = sf.Section(normal=[-1.0, 1.0], point=[0.5, 0.0], direction=direction)
    returns = sf.poincare_map(CIRCLE, section, max_time=20.0)
    said = f"Poincaré map of flow circle, section (-1, 1)·(z − (0.5, 0)) = 0 {way}"
    assert str(returns) == returns.describe() == said
    assert repr(returns).startswith("PoincareMap(")  # all fields, as of every module


def test_a_traced_section_is_printed_as_such():
    said = []

    def described(point):
        said.append(str(sf.Section(normal=[0.0, 1.0], point=point)))
        return point

    jax.eval_shape(described, jnp.zeros(2))
    assert "(z − traced)" in said[0]
