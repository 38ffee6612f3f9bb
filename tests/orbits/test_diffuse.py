"""Solutions of Itô equations: diffrax, Euler and Maruyama's map, and closed forms."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.systems import EulerMaruyama

KEY = jr.key(7)
MU, NU = 0.5, 0.8


@functools.cache
def geometric():
    """Return dX = μX dt + νX dB: X = X₀ exp((μ − ν²/2)t + νB)."""
    return sf.FunctionDiffusion(
        lambda z: (MU * z[0],), lambda z: ((NU * z[0],),), dim=1, elementwise=True
    )


@functools.cache
def ornstein_uhlenbeck(theta=1.0, sigma=2**0.5):
    """Return dX = −θX dt + σ dB."""
    return sf.FunctionDiffusion(
        lambda z: (-theta * z[0],), lambda z: ((sigma,),), dim=1, name="ou", elementwise=True
    )


def motion(num_steps, t1=1.0, member=0):
    """Return the Brownian motion of a member at num_steps + 1 times, as `integrate` makes it."""
    tree = diffrax.VirtualBrownianTree(
        0.0, t1, tol=t1 / num_steps / 2, shape=(1,), key=jr.fold_in(KEY, member)
    )
    return jax.vmap(tree.evaluate)(jnp.linspace(0.0, t1, num_steps + 1))


def test_diffrax_and_the_map_agree_on_the_same_increments():
    system, n = geometric(), 64
    solved = sf.integrate(system, [1.3], t1=1.0, key=KEY, dt=1 / n, num_times=n + 1)
    stepped = EulerMaruyama(system, dt=1 / n)
    noise = jnp.diff(motion(n), axis=0) * jnp.sqrt(n)
    step = lambda z, xi: (stepped.move(z, xi),) * 2  # noqa: E731
    _, by_map = jax.lax.scan(step, jnp.array([1.3]), noise)
    # Rounding of 64 steps.
    np.testing.assert_allclose(solved.states[1:], by_map, rtol=1e-12)
    assert sf.Status(int(solved.status)) is sf.Status.reached_end


def test_one_key_is_one_motion_at_every_number_of_steps():
    brownian = sf.FunctionDiffusion(lambda z: 0 * z, lambda z: jnp.eye(1), dim=1)
    ends = [
        sf.integrate(brownian, [0.0], t1=1.0, key=KEY, dt=1 / n, num_times=5).states
        for n in (16, 64)
    ]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-13)
    np.testing.assert_allclose(ends[0], motion(4), atol=1e-13)


def test_the_stochastic_integral_is_that_of_ito():
    """X = X₀ exp((μ − ν²/2)t + νB); Stratonovich's would be exp(μt + νB), 1.38 times as much."""
    n = 2**12
    solved = sf.integrate(geometric(), [1.0], t1=1.0, key=KEY, dt=1 / n, num_times=2)
    b = float(motion(1)[-1, 0])
    exact = np.exp((MU - NU**2 / 2) + NU * b)
    # Strong error ν² √dt / 2 ≈ .005, thrice that.
    assert float(solved.states[-1, 0]) == pytest.approx(exact, rel=0.015)


@pytest.mark.parametrize(("kind", "order"), [("geometric", 0.5), ("ou", 1.0)])
def test_strong_order(kind, order):
    """½ for noise that multiplies, 1 for additive: the mean over 4000 paths of |error| at t = 1."""
    system = geometric() if kind == "geometric" else ornstein_uhlenbeck()
    finest, levels = 2**12, (16, 32, 64, 128)
    noise = np.random.default_rng(0).normal(size=(4000, finest)) / finest**0.5

    @jax.jit
    def end(increments):
        stepped = EulerMaruyama(system, dt=1 / increments.shape[1])
        scaled = increments * jnp.sqrt(increments.shape[1])
        one = lambda xi: jax.lax.scan(  # noqa: E731
            lambda z, x: (stepped.move(z, x[None]), None), jnp.ones(1), xi
        )[0]
        return jax.vmap(one)(scaled)[:, 0]

    if kind == "geometric":
        exact = np.exp(MU - NU**2 / 2 + NU * noise.sum(axis=1))
    else:  # ∫ e^(s−1) dB, with midpoints on the finest grid: strong error 1e-4 of the coarsest's
        s = (np.arange(finest) + 0.5) / finest
        exact = np.exp(-1) + 2**0.5 * noise @ np.exp(s - 1)
    errors = [
        np.abs(np.asarray(end(noise.reshape(4000, n, -1).sum(axis=2))) - exact).mean()
        for n in levels
    ]
    slope = np.polyfit(np.log(levels), np.log(errors), 1)[0]
    # Standard error 2%, and the next order at dt = 1/16.
    assert -slope == pytest.approx(order, abs=0.06)


def test_weak_order_is_one():
    """E X_k = X₀(1 + μ dt)^k and E X_k² = X₀²((1 + μ dt)² + ν² dt)^k, against many paths."""
    n, size = 16, 40_000
    found = sf.noise.sample_moments(
        EulerMaruyama(geometric(), dt=1 / n), [1.0], key=KEY, num_paths=size, num_steps=n
    )
    first, second = (1 + MU / n) ** n, ((1 + MU / n) ** 2 + NU**2 / n) ** n
    assert abs(float(found.mean[-1, 0]) - first) < 4 * float(found.mean_error[-1, 0])
    assert abs(float(found.second[-1, 0, 0]) - second) < 4 * float(found.second_error[-1, 0, 0])
    errors = [abs((1 + MU / k) ** k - np.exp(MU)) for k in (64, 128)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)


def test_hermite_moments_decay_at_the_rates_n():
    """The spectrum of dX = −X dt + √2 dB is −n: E He_n(X_t) = e^(−nt) He_n(x₀)."""
    t1, num_steps, x0, size = 0.5, 200, 1.5, 40_000
    sampled = sf.noise.sample_paths(
        EulerMaruyama(ornstein_uhlenbeck(), dt=t1 / num_steps),
        [x0],
        key=KEY,
        num_paths=size,
        num_steps=num_steps,
    )
    x = np.asarray(sampled.w[:, -1, 0])
    for n in range(1, 5):
        values = np.polynomial.hermite_e.hermeval(x, np.eye(n + 1)[n])
        expected = np.exp(-n * t1) * np.polynomial.hermite_e.hermeval(x0, np.eye(n + 1)[n])
        # Four standard errors, and n dt/2 ≲ .5% of what decayed, for the method's own error.
        allowed = 4 * values.std() / size**0.5 + 0.01 * (1 + abs(expected))
        assert abs(values.mean() - expected) < allowed
        assert abs(values.mean() - np.exp(-(n + 1) * t1) * expected / np.exp(-n * t1)) > allowed


def test_members_depend_on_the_key_and_their_number_alone():
    system = ornstein_uhlenbeck()
    starts = np.array([[0.0], [1.0], [2.0]])
    run = lambda w0, key: sf.integrate(system, w0, t1=0.5, key=key, dt=0.05, num_times=3)  # noqa: E731
    three, two = run(starts, KEY), run(starts[:2], KEY)
    np.testing.assert_array_equal(three.states[:2], two.states)
    single = run(starts[0], KEY)
    assert single.states.shape == (3, 1)
    np.testing.assert_allclose(single.states, three.states[0], rtol=1e-14)
    assert np.abs(run(starts, jr.key(8)).states[:, -1] - three.states[:, -1]).min() > 1e-3


def test_a_solution_that_escapes_says_when_and_does_not_stop_others():
    cubic = sf.FunctionDiffusion(lambda z: z**3, lambda z: 0.01 * jnp.eye(1), dim=1)
    solved = sf.integrate(cubic, [[2.0], [0.1]], t1=1.0, key=KEY, num_times=11, escape_radius=100.0)
    # ẋ = x³ from 2 is infinite at t = 1/8; the noise moves it by a few per cent.
    assert [sf.Status(int(s)) for s in solved.status] == [
        sf.Status.diverged,
        sf.Status.reached_end,
    ]
    assert float(solved.stopped_at[0]) == pytest.approx(0.125, rel=0.05)
    assert np.isfinite(solved.states[0, :2]).all()
    assert np.isnan(solved.states[0, 2:]).all()
    assert np.isfinite(solved.states[1]).all()


def test_a_start_where_the_model_is_not_defined():
    noise = sf.noise.isotropic_noise(1, sigma=0.0)
    system = sf.Diffusion(sf.loss("x**2"), sf.SAM(rho=0.1), lr=0.1, noise=noise)
    solved = sf.integrate(system, [0.0], t1=1.0, key=KEY, dt=0.1, num_times=3)
    assert sf.Status(int(solved.status)) is sf.Status.undefined
    assert np.isnan(solved.states[1:]).all()


@pytest.mark.slow
def test_without_noise_it_is_the_flow():
    noise = sf.noise.isotropic_noise(2, sigma=0.0)
    loss, rule = sf.losses.himmelblau(), sf.USAM(rho=1e-3)
    system = sf.Diffusion(loss, rule, lr=0.1, noise=noise, moments="exact")
    start = [2.0, 1.0]
    flow = sf.integrate(sf.Flow(loss, rule), start, t1=0.02, num_times=3)
    drifted = sf.integrate(system, start, t1=0.02, num_times=3, key=KEY)
    # Euler's error, dt t1 times a second derivative of some 1e4.
    np.testing.assert_allclose(drifted.w, flow.w, atol=5e-3)
    assert np.abs(np.asarray(flow.w[-1]) - start).max() > 0.3


def test_keys_and_steps_are_asked_for_and_refused():
    flow, system = sf.Flow(sf.losses.saddle(), sf.GD()), ornstein_uhlenbeck()
    cases = [
        (lambda: sf.integrate(system, [0.0], t1=1.0), "`key` must be given for a diffusion"),
        (lambda: sf.integrate(system, [0.0], t1=1.0, key=3), "`key` must be a key"),
        (lambda: sf.integrate(flow, [0.1, 0.1], t1=1.0, key=KEY), "`key` must be left out"),
        (lambda: sf.integrate(flow, [0.1, 0.1], t1=1.0, dt=0.1), "`dt` must be left out"),
        (lambda: sf.integrate(system, [0.0], t1=1.0, key=KEY, dt=-1), "`dt` must be finite"),
        (
            lambda: sf.integrate(system, [0.0], t1=1.0, key=KEY, dt=1e-7),
            "`max_steps` must be at least the number of steps, 10000000, but is 100000",
        ),
        (lambda: sf.integrate(system, [0.0, 1.0], t1=1.0, key=KEY), "`w0` must have shape"),
    ]
    for run, message in cases:
        with pytest.raises(ArgumentError, match=message):
            run()
