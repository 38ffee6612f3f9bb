"""Coordinates on circles: what differs by whole turns is one."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.systems.angles import rebased, shortest
from tests.references import LYAPUNOV_CAT, LYAPUNOV_STANDARD

PI = np.pi
TORUS = ((0.0, 1.0), (0.0, 1.0))


def pendulum(z, damping):
    return jnp.array([z[1], -jnp.sin(z[0]) - damping * z[1]])


PENDULUM = sf.FunctionFlow(Partial(pendulum, damping=0.2), dim=2, angles=((-PI, PI), None))


def kicked(z, kick):
    p = z[1] + kick * jnp.sin(z[0])
    return z[0] + p, p


def standard(kick):
    leaf = Partial(kicked, kick=jnp.asarray(kick))
    return sf.FunctionMap(leaf, dim=2, elementwise=True, angles=((-PI, PI), (-PI, PI)))


@pytest.mark.slow
def test_a_pendulum_rests_at_two_points():
    """Below and above, each once, wherever the box begins; without angles 0, ±π and no end."""
    below = sf.find_fixed_points(PENDULUM, [(-PI, PI), (-3, 3)], num_starts=24)
    assert sorted(np.abs(below.w[:, 0])) == pytest.approx([0, PI], abs=1e-9)
    assert sorted(below.kinds) == [Kind.attracting, Kind.saddle]
    shifted = sf.find_fixed_points(PENDULUM, [(1, 1 + 2 * PI), (-3, 3)], num_starts=24)
    assert sorted(shifted.w[:, 0]) == pytest.approx([PI, 2 * PI], abs=1e-9)
    assert sf.classify(PENDULUM, [PI, 0.0]).kind is Kind.saddle


def test_exponents_of_maps_of_the_torus():
    """The cat map's are exact, the standard map's known to three digits at K = 10."""
    cat = sf.FunctionMap(
        lambda z: (2 * z[0] + z[1], z[0] + z[1]), dim=2, elementwise=True, angles=TORUS
    )
    found = sf.lyapunov_spectrum(cat, [0.3, 0.4], num_steps=2000)
    expected = [LYAPUNOV_CAT, -LYAPUNOV_CAT]
    assert np.asarray(found.exponents) == pytest.approx(expected, abs=1e-3)  # 1/2000 at first
    found = sf.lyapunov_spectrum(standard(10.0), [1.0, 1.0], num_steps=100_000)
    error = 4 * float(found.standard_error[0]) + 1e-3  # of the formula, 1/K⁴ and more
    assert float(found.exponents[0]) == pytest.approx(LYAPUNOV_STANDARD, abs=error)


def test_images_keep_to_their_ranges():
    orbit = sf.iterate(standard(10.0), [[1.0, 1.0], [3.0, -3.0]], num_steps=200, keep_every=1)
    states = np.asarray(orbit.states)
    assert ((states >= -PI) & (states <= PI)).all()
    assert np.ptp(states) > PI  # and are not held in place by that
    free = standard(10.0).unwrapped().step(jnp.array([3.0, 3.0]))
    turned = standard(10.0).step(jnp.array([3.0, 3.0]))
    assert abs(float(free[0])) > PI
    assert np.asarray(free - turned) / (2 * PI) == pytest.approx(
        np.rint((free - turned) / (2 * PI))
    )


@pytest.mark.slow
def test_a_solution_keeps_its_turns():
    """Over the top: the angle grows by 2π and comes to rest; `wrapped` brings it back."""
    path = sf.integrate(PENDULUM, [0.0, 2.5], t1=60.0, escape_radius=5.0)
    assert path.states[-1, 0] == pytest.approx(2 * PI, abs=1e-2)
    assert sf.systems.wrapped(PENDULUM, path.states)[-1, 0] == pytest.approx(0, abs=1e-2)
    # The radius of escape bounds what is no angle.
    fast = sf.integrate(PENDULUM, [0.0, 9.0], t1=60.0, escape_radius=5.0)
    assert sf.Status(int(fast.status)) is sf.Status.diverged


def test_differences_go_the_shorter_way():
    near = np.array([[3.0, 1.0]]) - np.array([[-3.0, -9.0]])
    assert shortest(PENDULUM, near) == pytest.approx(np.array([[6 - 2 * PI, 10.0]]))
    assert rebased(PENDULUM, np.array([-1.0, 5.0]), ((0, 7), (0, 1))) == pytest.approx(
        [2 * PI - 1, 5.0]
    )
    plain = sf.FunctionMap(lambda z: z, dim=2)
    assert shortest(plain, near) is near


@pytest.mark.parametrize("wrong", [((0, 1),), 3, ((1, 0), None), ("a", None), ((0, np.inf), None)])
def test_wrong_ranges_are_refused(wrong):
    for make in (sf.FunctionMap, sf.FunctionFlow):
        with pytest.raises(ArgumentError, match="`angles` must"):
            make(lambda z: z, dim=2, angles=wrong)


@pytest.mark.slow
def test_cycles_that_wind():
    """K = 0.5, by symmetry p = π: θ goes 0, π, 2π: one turn in two steps."""
    found = sf.find_cycles(standard(0.5), (-PI, PI), period=2, num_starts=48)
    turning = [i for i, each in enumerate(found.points) if np.allclose(np.abs(each[:, 1]), PI)]
    assert len(turning) == 1
    assert abs(found.winding[turning[0], 0]) == 1
    assert np.all(found.residual < 1e-9)
    # It is no fixed point's: rest is at 0 and π alone.
    rest = sf.find_fixed_points(standard(0.5), (-PI, PI), num_starts=48)
    assert sorted(np.abs(rest.w[:, 0])) == pytest.approx([0, PI], abs=1e-9)
    branch = sf.continue_branch(
        standard(0.5), found.points[turning[0], 0], "kick", (0.1, 1.0), period=2
    )
    assert {str(end) for end in branch.ends} == {"reached bound"}


def towards_the_seam(z):
    return (z[0] + 0.5 * jnp.sin(z[0]),)


@pytest.mark.slow
def test_an_attractor_at_the_end_of_a_range():
    """θ = π attracts from both sides; the damped pendulum's bottom attracts all, over the top."""
    seam = sf.FunctionMap(towards_the_seam, dim=1, angles=((-PI, PI),))
    found = sf.basins(seam, (-PI, PI), 20)
    assert len(found.attractors) == 1
    assert (found.labels == 0).all()
    down = sf.basins(PENDULUM, [(-PI, PI), (-3, 3)], 10)
    assert len(down.attractors) == 1
    assert (down.labels == 0).all()
    curves = sf.manifolds(standard(0.5).unwrapped(), [0.0, 0.0], (-1, 1))
    wrapped = sf.manifolds(standard(0.5), [0.0, 0.0], (-1, 1))
    np.testing.assert_allclose(wrapped.unstable[0].points, curves.unstable[0].points)
