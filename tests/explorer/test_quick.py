"""What answers a slider at once: right, and without a new compilation."""

import jax
import numpy as np
import pytest

import samflow as sf
from samflow._status import Kind
from samflow.explorer.compiled import program
from samflow.explorer.quick import KEPT, at_point, level_lines, orbits, quick, warm
from samflow.explorer.state import MOST_STARTS, State

BOWL = State(
    loss="x**2/2 + y**2", rule="gd", rho=0.0, lr=0.1, box=((-2, 2), (-1, 1)), starts=((1.0, 0.5),)
)
"""GD: x is multiplied by 0.9 and y by 0.8 in each step."""


@pytest.fixture(scope="module")
def bowl():
    """All that is computed at once of the bowl."""
    return quick(BOWL)


def test_orbits_are_those_of_the_closed_form(bowl):
    k = np.arange(KEPT + 1)
    exact = np.stack([0.9**k, 0.5 * 0.8**k], axis=1)
    np.testing.assert_allclose(bowl.orbits.w[0], exact, rtol=1e-12, atol=1e-300)  # rounding


def test_steps_cut_an_orbit_and_longer_ones_keep_every_tenth(bowl):
    (path,) = bowl.orbits.shown(3)
    np.testing.assert_array_equal(path, bowl.orbits.w[0][:4])
    assert len(bowl.orbits.shown(0)[0]) == 1
    longer = orbits(BOWL.changed(length=10_000))
    np.testing.assert_allclose(longer.w[0][3], [0.9**30, 0.5 * 0.8**30], rtol=1e-12)
    assert len(longer.shown(25)[0]) == 3  # steps 0, 10, 20


def test_solutions_of_a_flow_are_those_of_the_closed_form():
    found = orbits(BOWL.changed(flow=True))
    t = np.linspace(0, 10, KEPT + 1)
    exact = np.stack([np.exp(-t), 0.5 * np.exp(-2 * t)], axis=1)
    np.testing.assert_allclose(found.w[0], exact, atol=1e-7)  # the solver's, 1e-8 a step
    assert found.said[0].startswith("is at (4.5")  # e^-10 = 4.54e-5
    assert found.said[0].endswith("at time 10")
    (path,) = found.shown(250)
    assert len(path) == 251
    assert abs(path[-1, 0] - np.exp(-2.5)) < 1e-7
    state = BOWL.changed(flow=True, length=0.1)
    assert abs(orbits(state).w[0, -1, 0] - np.exp(-0.1)) < 1e-7


def test_what_stands_still_is_drawn_once_and_what_diverges_to_its_end():
    found = orbits(BOWL.changed(starts=((0.0, 0.0), (1.0, 0.0)), lr=3.0))
    still, gone = found.shown(-1)
    assert still.tolist() == [[0, 0]]
    assert found.said[0].startswith("stands still at (0, 0)")
    assert found.said[1].startswith("diverged at step")  # multiplier −2
    np.testing.assert_allclose(gone[:5, 0], [1, -2, 4, -8, 16])


def test_the_other_starts_do_not_change_an_orbit(bowl):
    many = orbits(BOWL.changed(starts=((1.0, 0.5), *(((0.1, 0.2),) * (MOST_STARTS - 1)))))
    np.testing.assert_array_equal(many.w[0], bowl.orbits.w[0])
    assert len(many.w) == MOST_STARTS


def test_arrows_point_down_the_gradient_and_nullclines_are_the_axes(bowl):
    x, y, dx, dy = bowl.arrows
    np.testing.assert_allclose(dx, -0.1 * x, atol=1e-15)  # rounding of w⁺ − w
    np.testing.assert_allclose(dy, -0.2 * y, atol=1e-15)
    (first,), (second,) = bowl.nullclines
    assert np.abs(first[:, 0]).max() < 1e-12
    assert np.abs(second[:, 1]).max() < 1e-12


def test_level_lines_are_level(bowl):
    lines = level_lines(BOWL, bowl.field)
    assert lines
    for line in lines:
        values = line[:, 0] ** 2 / 2 + line[:, 1] ** 2
        # Linear interpolation on 160 points a side: h²/8 times the curvature, twice.
        assert np.ptp(values) < 2 * ((4 / 159) ** 2 / 8 + 2 * (2 / 159) ** 2 / 8)


def test_moving_a_slider_or_a_start_compiles_nothing():
    state = BOWL.changed(rule="usam", layers=("motion", "nullclines"))
    formula = "g(w + rho*g/sqrt(dot(g, g) + eps)); eps = %s"
    flow = state.changed(rule=formula % 0.5, flow=True)
    seen = []
    for momentum in (0.0, 0.5):
        warm(state.changed(momentum=momentum))
    warm(flow)
    quick(state)
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, duration, **kwargs: seen.append(name)
    )
    try:
        for rho in (0.0, 0.03, 0.2):
            moved = state.changed(rho=rho, lr=0.05 + rho, starts=((1.0, rho), (0.3, 0.2)))
            quick(moved)
            quick(moved.changed(momentum=0.1 + rho))
            other = flow.changed(rho=rho, length=100, rule=formula % (1 + rho))
            assert program(other) == program(flow)
            quick(other)
        compiled = [name for name in seen if "backend_compile" in name]
        assert not compiled
        jax.jit(lambda x: x * 3.25)(1.5)  # the listener hears what is compiled
        assert any("backend_compile" in name for name in seen)
    finally:
        jax.monitoring.clear_event_listeners()


@pytest.mark.parametrize(("rho", "kind"), [(0.036, Kind.saddle), (0.0361, Kind.attracting)])
def test_the_cross_says_what_classify_says_on_both_sides_of_the_threshold(rho, kind):
    state = State(rho=rho)  # 4/111 = 0.036036
    assert at_point(state, (0.0, 1.0)) is kind
    assert sf.classify(state.system(), [0.0, 1.0]).kind is kind
    assert at_point(state, (1.0, 1.0)) is None  # no fixed point


def test_where_there_is_no_jacobian_the_cross_says_nothing():
    assert at_point(State(rule="sam"), (0.0, 1.0)) is None
