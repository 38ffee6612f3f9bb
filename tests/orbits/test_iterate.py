"""Orbits against loops in NumPy, and every way in which one can end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.orbits.blocks import _MOST_COMPONENTS
from samflow.orbits.map_loop import _BLOCK
from samflow.orbits.one_orbit import _AT_ONCE


def numpy_orbit(direction, w, lr, num_steps, momentum=0.0):
    """Iterate heavy ball in plain NumPy: the independent twin."""
    path, v = [w], np.zeros_like(w)
    for _ in range(num_steps):
        v = momentum * v + direction(w)
        w = w - lr * v
        path.append(w)
    return np.array(path)


def himmelblau_gradient(w):
    x, y = w
    a, b = x**2 + y - 11, x + y**2 - 7
    return np.array([4 * x * a + 2 * b, 2 * a + 4 * y * b])


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("rule", ["gd", "usam", "sam"])
def test_orbits_agree_with_a_numpy_loop(rule, momentum):
    rho, lr, g = 0.01, 0.005, himmelblau_gradient
    direction = {
        "gd": g,
        "usam": lambda w: g(w + rho * g(w)),
        "sam": lambda w: g(w + rho * g(w) / np.linalg.norm(g(w))),
    }[rule]
    system = sf.Map(sf.losses.himmelblau(), sf.rule(rule, rho=rho), lr=lr, momentum=momentum)
    orbit = sf.iterate(system, [0.5, 1.5], num_steps=20, keep_every=1)
    twin = numpy_orbit(direction, np.array([0.5, 1.5]), lr, 20, momentum)
    # Rounding, while the orbit contracts; nearer to its minimum SAM magnifies it by 1/‖g‖.
    np.testing.assert_allclose(orbit.w, twin, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(orbit.steps, np.arange(21))


def test_an_ensemble_is_its_members():
    """Blocks, and the padding of the last one, change nothing."""
    system = sf.Map(sf.losses.beale(), sf.USAM(rho=0.02), lr=0.005)
    starts = jnp.stack([jnp.linspace(0.1, 1.0, _BLOCK + 3), jnp.linspace(0.2, 0.8, _BLOCK + 3)], 1)
    together = sf.iterate(system, starts, num_steps=200, keep_every=50)
    assert together.w.shape == (_BLOCK + 3, 5, 2)
    for i in (0, 1, _BLOCK - 1, _BLOCK, _BLOCK + 2):
        alone = sf.iterate(system, starts[i], num_steps=200, keep_every=50)
        np.testing.assert_allclose(together.w[i], alone.w, rtol=1e-12)
        assert int(together.status[i]) == int(alone.status)


def test_a_member_does_not_depend_on_those_beside_it():
    """One leaves the ball for one step and comes back; the other leaves it for good."""

    def leap(z):
        there_and_back = jnp.where(z > 1e7, 0.5, jnp.where((z > 2) & (z < 3), 2e7, z + 0.02))
        return jnp.where((z >= 3) & (z < 1e7), 2 * z, there_and_back)

    def two_kinds(z):  # the second coordinate says which
        return jnp.array([jnp.where(z[1] > 0, 2 * z[0], leap(z[0])), z[1]])

    system = sf.FunctionMap(two_kinds, dim=2)
    alone = sf.iterate(system, [0.5, 0.0], num_steps=90)
    beside = sf.iterate(system, [[0.5, 0.0], [3e-17, 1.0]], num_steps=90)
    assert beside.count() == {"out of steps": 1, "diverged": 1}
    assert int(alone.status) == int(beside.status[0])
    np.testing.assert_array_equal(alone.final, beside.final[0])


def test_kept_states_do_not_depend_on_how_often_they_are_kept_or_checked():
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.005)
    every = sf.iterate(system, [0.5, 0.5], num_steps=103, keep_every=1)
    for keep, check in ((10, 50), (25, 7), (103, 1), (50, 1000)):
        some = sf.iterate(system, [0.5, 0.5], num_steps=103, keep_every=keep, check_every=check)
        assert some.steps.tolist() == list(range(0, 104, keep))
        np.testing.assert_array_equal(some.w, every.w[::keep])
        np.testing.assert_array_equal(some.final_w, every.final_w)


def test_states_do_not_depend_on_how_many_steps_follow():
    """The steps of a body end before, at and after the last one asked for."""
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.005)
    every = sf.iterate(system, [0.5, 0.5], num_steps=103, keep_every=1)
    for number in (1, _AT_ONCE - 1, _AT_ONCE, _AT_ONCE + 1, 57, 103):
        orbit = sf.iterate(system, [0.5, 0.5], num_steps=number)
        np.testing.assert_array_equal(orbit.final_w, every.w[number])
        np.testing.assert_array_equal(orbit.w, every.w[np.array([0, number])])


def test_one_orbit_ends_as_it_does_beside_another():
    """The loop over one orbit and the loop over a block, at every way to end and at every step."""
    saddle = sf.losses.saddle((1.0, -1.0))
    gd, sam = (sf.Map(saddle, rule, lr=0.1) for rule in (sf.GD(), sf.SAM(rho=0.1)))
    grows = sf.FunctionMap(lambda z: 3.0 * z * z, dim=1, elementwise=True)
    cases = [
        *((gd, [0.0, 1.1 ** (1.5 - k) * 1e6], 0.0) for k in range(1, 2 * _AT_ONCE + 2)),
        (gd, [1.0, 0.0], 1e-4),  # converges
        (sam, [0.0, 0.0], 0.0),  # is undefined at once
        (gd, [0.3, 1e-4], 0.0),  # runs out of steps
        (grows, [1e155], 0.0),  # is not finite after one step
        (grows, [0.33], 0.0),  # falls to 0 and stays there
    ]
    endings = set()
    for check in (7, 50):
        for system, start, tol in cases:
            settings = {"num_steps": 90, "keep_every": 8, "check_every": check, "tol": tol}
            settings["escape_radius"] = 1e150 if system is grows else 1e6
            one = sf.iterate(system, start, **settings)
            pair = sf.iterate(system, [start, start], **settings)
            endings.add(sf.Status(int(one.status)).label)
            assert (int(one.status), int(one.stopped_at)) == (pair.status[0], pair.stopped_at[0])
            # Two programs, which differ by the rounding of 90 steps.
            np.testing.assert_allclose(one.states, pair.states[0], rtol=1e-13)
            np.testing.assert_allclose(one.final, pair.final[0], rtol=1e-13)
    assert endings == {"diverged", "converged", "undefined", "not finite", "out of steps"}


def test_divergence_is_found_at_its_step():
    """x₂ grows by 1.1 a step: it exceeds R first at step ⌈log R / log 1.1⌉."""
    system = sf.Map(sf.losses.saddle((1.0, -1.0)), sf.GD(), lr=0.1)
    first = int(np.ceil(np.log(1e6) / np.log(1.1)))
    for check in (1, 50, 1000):
        orbit = sf.iterate(system, [0.0, 1.0], num_steps=1000, keep_every=20, check_every=check)
        assert sf.Status(int(orbit.status)) is sf.Status.diverged
        assert int(orbit.stopped_at) == first
        assert 1e6 < float(orbit.final[1]) <= 1.1e6
        kept = np.isfinite(np.asarray(orbit.w)).all(axis=1)
        assert kept.tolist() == [20 * i <= first for i in range(51)]  # nothing is padded
    inside = sf.iterate(system, [0.0, 1.0], num_steps=first - 1)
    assert sf.Status(int(inside.status)) is sf.Status.out_of_steps


def test_each_ending_has_its_own_status():
    saddle = sf.losses.saddle((1.0, -1.0))
    gd, sam = sf.Map(saddle, sf.GD(), lr=0.1), sf.Map(saddle, sf.SAM(rho=0.1), lr=0.1)
    overflow = sf.FunctionMap(lambda z: jnp.exp(1000.0 * z), dim=1)
    endings = {
        sf.Status.converged: sf.iterate(gd, [1.0, 0.0], num_steps=20_000),
        sf.Status.out_of_steps: sf.iterate(gd, [1.0, 0.0], num_steps=10),
        sf.Status.diverged: sf.iterate(gd, [1.0, 0.1], num_steps=1000),
        sf.Status.undefined: sf.iterate(sam, [0.0, 0.0], num_steps=10),
        sf.Status.not_finite: sf.iterate(overflow, [1.0], num_steps=10),
    }
    for status, orbit in endings.items():
        assert sf.Status(int(orbit.status)) is status
    assert int(endings[sf.Status.undefined].stopped_at) == 1
    assert int(endings[sf.Status.not_finite].stopped_at) == 1


def test_one_bad_member_hides_no_good_one():
    system = sf.Map(sf.losses.saddle((1.0, -1.0)), sf.SAM(rho=0.1), lr=0.1)
    orbit = sf.iterate(system, [[0.0, 0.0], [0.05, 0.001], [0.0, 5.0]], num_steps=3000)
    kinds = [sf.Status(int(code)) for code in orbit.status]
    assert kinds == [sf.Status.undefined, sf.Status.out_of_steps, sf.Status.diverged]
    assert orbit.count() == {"out of steps": 1, "diverged": 1, "undefined": 1}
    assert np.isfinite(orbit.final_w[1]).all()


def test_default_convergence_is_exact_and_tol_is_honoured():
    system = sf.Map(sf.losses.saddle((1.0,)), sf.GD(), lr=0.5)
    exact = sf.iterate(system, [1.0], num_steps=5000)
    assert sf.Status(int(exact.status)) is sf.Status.converged
    assert float(system.step(exact.final)[0]) == float(exact.final[0])
    loose = sf.iterate(system, [1.0], num_steps=5000, tol=1e-6, check_every=1)
    # The update at step k is 2^-k: at most 1e-6 first at k = 20.
    assert int(loose.stopped_at) == 20


def test_momentum_and_full_states():
    system = sf.Map(sf.losses.himmelblau(), sf.GD(), lr=0.001, momentum=0.9)
    orbit = sf.iterate(system, [1.0, 1.0], num_steps=40, keep_every=20)
    assert orbit.states.shape == (3, 4)
    assert orbit.w.shape == (3, 2)
    again = sf.iterate(system, orbit.states[1], num_steps=20)  # goes on with its velocity
    np.testing.assert_allclose(again.final, orbit.final, rtol=1e-13)


def test_large_states_run_as_arrays():
    dim = _MOST_COMPONENTS + 2
    quadratic = sf.loss(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, dim + 1) * w**2), dim=dim)
    orbit = sf.iterate(sf.Map(quadratic, sf.GD(), lr=0.05), np.ones(dim), num_steps=30)
    np.testing.assert_allclose(orbit.final_w, (1 - 0.05 * np.arange(1, dim + 1)) ** 30, rtol=1e-12)


def test_henon_is_a_map_like_any_other():
    henon = sf.FunctionMap(lambda z: jnp.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), dim=2)
    orbit = sf.iterate(henon, [0.1, 0.1], num_steps=20, keep_every=1)
    x, y = 0.1, 0.1
    for state in np.asarray(orbit.w)[1:]:
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
        # Chaos multiplies rounding by e^0.42 a step: 4e3 in 20 steps.
        np.testing.assert_allclose(state, [x, y], rtol=1e-11)


def test_other_numbers_need_no_new_program(caplog):
    """One compile serves every lr, rho, number of steps and start."""
    first = sf.Map(sf.losses.beale(), sf.USAM(rho=0.02), lr=0.005)
    sf.iterate(first, [0.5, 0.5], num_steps=100)
    second = sf.Map(sf.losses.beale(), sf.USAM(rho=0.01), lr=0.001)
    with jax.log_compiles():
        sf.iterate(second, [0.1, 0.5], num_steps=321)
    messages = [record.getMessage() for record in caplog.records]
    assert not [text for text in messages if "Compiling" in text and "_run" in text]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"w0": [1.0, 2.0, 3.0]}, r"shape \(2,\) or \(N, 2\), but has shape \(3,\)"),
        ({"w0": [np.nan, 0.0]}, "must be finite"),
        ({"w0": ["a", "b"]}, "must be numbers"),
        ({"w0": [9.0, 0.0]}, r"loss's domain \[-4.5, 4.5\]"),
        ({"num_steps": 0}, "at least 1, but is 0"),
        ({"num_steps": 1.5}, "whole number"),
        ({"keep_every": -1}, "at least 1"),
        ({"tol": -1.0}, "at least 0"),
        ({"escape_radius": 0.0}, "greater than 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.01)
    with pytest.raises(ArgumentError, match=words):
        sf.iterate(system, **({"w0": [0.0, 0.0], "num_steps": 10} | arguments))


def test_records_become_datasets_and_json(tmp_path):
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.01)
    orbit = sf.iterate(system, [[4.0, 4.0], [0.5, 0.5]], num_steps=100, keep_every=50)
    data = orbit.to_dataset()
    assert data["states"].dims == ("batch_0", "kept", "state")
    assert "lr=0.01" in data.attrs["system"]
    data.to_netcdf(tmp_path / "orbit.nc", engine="h5netcdf")
    assert '"status"' in orbit.to_json()
    assert "NaN" not in orbit.to_json()  # valid JSON: null in its place


def test_an_orbit_says_how_many_there_are_and_how_they_ended():
    system = sf.Map(sf.losses.saddle((1.0, -1.0)), sf.GD(), lr=0.5)
    found = sf.iterate(system, [[0.0, 1.0], [0.5, 0.0]], num_steps=100, keep_every=50)
    assert str(found) == "2 orbits, 3 states kept of each: 1 out of steps, 1 diverged"
    assert str(sf.iterate(system, [0.5, 0.0], num_steps=10)).startswith("1 orbit, 2 states kept: 1")
