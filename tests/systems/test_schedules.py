"""Systems that change with the step, against loops in NumPy and optax's own SGD."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import samflow as sf
from samflow import _random, _schedule
from samflow._checks import ArgumentError
from samflow._status import Status
from tests.losses.test_eager import INSIDE, OUTSIDE, W
from tests.rules.cases import CASES

BEALE = sf.losses.beale()
START = [1.0, 1.0]
NUM = 60
LR = optax.cosine_decay_schedule(0.02, NUM)  # 0 at step NUM
SWITCH = 20


def switched_on(k):
    return jnp.where(k < SWITCH, 0.0, 0.05)


def growing(k):
    return 0.3 + 0.01 * k


def decay(k):
    return 1e-3 * (k % 3)


class Table(eqx.Module):
    """A value for each step."""

    values: jax.Array

    def __call__(self, k):
        """Return the value at step k."""
        return self.values[k]


def test_an_orbit_follows_its_schedules():
    """Of the step size, the radius, the momentum and the weight decay, all at once."""
    system = sf.Map(BEALE, sf.SAM(switched_on), lr=LR, momentum=growing, weight_decay=decay)
    orbit = sf.iterate(system, START, num_steps=NUM, keep_every=1)
    g, w, v = jax.jit(BEALE.gradient), np.array(START), np.zeros(2)
    path = [w]
    for k in range(NUM):
        here = np.asarray(g(w))
        there = np.asarray(g(w + float(switched_on(k)) * here / np.linalg.norm(here)))
        v = growing(k) * v + there + decay(k) * w
        w = w - 0.01 * (1 + np.cos(np.pi * k / NUM)) * v
        path.append(w)
    np.testing.assert_allclose(orbit.w, path, rtol=1e-12)  # rounding; the orbit contracts
    assert system.elementwise  # on the fast kernel
    assert int(orbit.status) == Status.out_of_steps


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_are_those_of_optax(nesterov):
    """Optax multiplies the momentum's vector by the step size of the step, as this map does."""
    sgd = optax.sgd(LR, momentum=0.7, nesterov=nesterov)
    w = jnp.array(START)
    state, path = sgd.init(w), [w]
    for _ in range(10):
        updates, state = sgd.update(BEALE.gradient(w), state)
        w = optax.apply_updates(w, updates)
        path.append(w)
    system = sf.Map(BEALE, sf.GD(), lr=LR, momentum=0.7, nesterov=nesterov)
    orbit = sf.iterate(system, START, num_steps=10, keep_every=1)
    np.testing.assert_allclose(orbit.w, path, rtol=1e-14)  # rounding


@pytest.mark.parametrize("momentum", [None, 0.5])
def test_a_constant_schedule_changes_no_bit(momentum):
    plain = sf.Map(BEALE, sf.SAM(0.05), lr=0.01, momentum=momentum)
    constant = lambda value: lambda k: value + 0 * k  # noqa: E731
    beta = None if momentum is None else constant(momentum)
    system = sf.Map(BEALE, sf.SAM(constant(0.05)), lr=constant(0.01), momentum=beta)
    orbits = [sf.iterate(each, START, num_steps=300, keep_every=7) for each in (plain, system)]
    np.testing.assert_array_equal(orbits[0].states, orbits[1].states)


def test_a_map_at_a_step_is_a_map():
    system = sf.Map(BEALE, sf.SAM(switched_on), lr=LR, momentum=growing)
    fixed = system.at(SWITCH)
    assert fixed.describe() == "map of sam(rho=0.05) on beale, lr=0.015, momentum=0.5"
    assert fixed.at(3) is fixed
    text = system.describe()
    assert "rho=schedule switched_on from 0)" in text
    assert "lr=schedule cosine_decay_schedule.schedule from 0.02," in text
    two = sf.iterate(system, START, num_steps=SWITCH, keep_every=1).states[-2:]
    np.testing.assert_allclose(system.at(SWITCH - 1).step(two[0]), two[1], rtol=1e-14)


def test_an_orbit_continues_where_its_first_part_ends():
    system = sf.Map(BEALE, sf.SAM(switched_on), lr=LR, momentum=growing)
    whole = sf.iterate(system, START, num_steps=NUM, keep_every=5)
    first = sf.iterate(system, START, num_steps=25, keep_every=5)
    rest = sf.iterate(
        system, first.final, num_steps=NUM - 25, keep_every=5, first_step=int(first.stopped_at)
    )
    np.testing.assert_array_equal(whole.states[5:], rest.states)
    np.testing.assert_array_equal(whole.steps[5:], rest.steps)
    assert int(rest.stopped_at) == NUM
    wrong = sf.iterate(system, first.final, num_steps=NUM - 25)
    assert not np.allclose(wrong.final, whole.final)


def test_a_radius_of_0_is_gradient_descent_until_it_is_switched_on():
    """The late switch of two maps, one after the other, has the same orbit."""
    lr, rho = 0.01, 0.05
    late = sf.Map(BEALE, sf.SAM(lambda k: jnp.where(k < SWITCH, 0.0, rho)), lr=lr)
    orbit = sf.iterate(late, START, num_steps=NUM, keep_every=SWITCH)
    before = sf.iterate(sf.Map(BEALE, sf.GD(), lr=lr), START, num_steps=SWITCH)
    after = sf.iterate(sf.Map(BEALE, sf.SAM(rho), lr=lr), before.final, num_steps=NUM - SWITCH)
    np.testing.assert_allclose(orbit.states[1], before.final, rtol=1e-14)  # rounding
    np.testing.assert_allclose(orbit.final, after.final, rtol=1e-12)


def test_a_loss_outside_of_jax_follows_schedules():
    outside = sf.Map(OUTSIDE, sf.SAM(switched_on), lr=LR)
    inside = sf.Map(INSIDE, sf.SAM(switched_on), lr=LR)
    ends = [sf.iterate(each, W, num_steps=30).final for each in (outside, inside)]
    np.testing.assert_allclose(*ends, rtol=1e-12)


def test_a_rule_by_its_name_takes_a_schedule():
    assert sf.rule("sam", rho=switched_on).rho.function is switched_on
    assert isinstance(sf.rule("gd", rho=switched_on), sf.GD)


def test_an_lr_of_0_for_a_while_stops_no_orbit():
    """The state does not change by a bit for 100 steps, and moves on after them."""
    waiting = sf.Map(BEALE, sf.GD(), lr=lambda k: jnp.where(k < 100, 0.0, 0.01))
    orbit = sf.iterate(waiting, START, num_steps=150, check_every=10)
    after = sf.iterate(sf.Map(BEALE, sf.GD(), lr=0.01), START, num_steps=50)
    np.testing.assert_allclose(orbit.final, after.final, rtol=1e-13)
    with pytest.raises(ArgumentError, match="`tol` must be 0 for a map with schedules"):
        sf.iterate(waiting, START, num_steps=150, tol=1e-9)


def test_an_orbit_that_diverges_under_a_schedule_says_at_which_step():
    """On x²/2 with lr = 4 from step 30 on, x⁺ = −3x: beyond 100 from 1 after five steps."""
    steep = sf.Map(sf.loss("x**2/2"), sf.GD(), lr=lambda k: jnp.where(k < 30, 2.0, 4.0))
    orbit = sf.iterate(steep, [1.0], num_steps=60, escape_radius=100.0)
    assert (int(orbit.status), int(orbit.stopped_at)) == (Status.diverged, 35)
    assert float(orbit.final[0]) == -243.0
    part = sf.iterate(steep, [1.0], num_steps=60, escape_radius=100.0, first_step=28)
    assert int(part.stopped_at) == 35


def test_tables_are_leaves():
    """One program for many schedules, by vmap; each is that of its own run."""
    tables = jnp.stack([jnp.linspace(0.01, 0.0, 20), jnp.linspace(0.0, 0.01, 20)])
    system = sf.Map(BEALE, sf.GD(), lr=Table(tables[0]))

    @eqx.filter_vmap
    def finals(table):
        each = eqx.tree_at(lambda s: s.lr.function.values, system, table)
        return sf.iterate(each, START, num_steps=20).final

    for final, table in zip(finals(tables), tables, strict=True):
        w = np.array(START)
        for lr in np.asarray(table):
            w = w - lr * np.asarray(BEALE.gradient(w))
        np.testing.assert_allclose(final, w, rtol=1e-13)


def test_a_traced_schedule_out_of_range_is_refused_by_the_run():
    system = sf.Map(BEALE, sf.GD(), lr=Table(jnp.full(20, 0.01)))

    @eqx.filter_jit
    def final(table):
        each = eqx.tree_at(lambda s: s.lr.function.values, system, table)
        return sf.iterate(each, START, num_steps=20).final

    final(jnp.full(20, 0.01))
    with pytest.raises(Exception, match="`lr` must be finite and at least 0 at every step of"):
        final(jnp.full(20, 0.01).at[7].set(-0.01)).block_until_ready()


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_number_of_every_rule_takes_a_schedule(name):
    """At step 3 each is the number that the function has there."""
    rule = CASES[name].rule
    for field, value in vars(rule).items():
        if isinstance(value, jax.Array) and not value.ndim:
            others = {other: v for other, v in vars(rule).items() if other != field}
            made = type(rule)(**others, **{field: lambda k, v=value: v * (4 - k)})
            assert [each.name for each in _schedule.schedules(made)] == [field]
            assert float(getattr(_schedule.at(made, 3), field)) == float(value)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (lambda k: 0.1 - 0.01 * k, r"lr` must be finite and at least 0.* -0.01 at step 11\."),
        (lambda k: jnp.where(k == 5000, jnp.nan, 0.1), r"returns nan at step 5000\."),
        (lambda k: jnp.where(k == 7000, jnp.inf, 0.1), r"returns inf at step 7000\."),
        (lambda k: jnp.ones(3), r"returns an array of float64 of shape \(3,\)\."),
        (lambda k: [0.1, 0.2], r"returns an array of float64 of shape \(2,\)\."),
        (lambda k: 0.1j, "returns an array of complex128"),
        (lambda k: k > 3, "returns an array of bool"),
        (lambda k: 1 / 0, "raises ZeroDivisionError at every step: division by zero"),
        (lambda k: 0.1 if k < 3 else 0.2, "TracerBoolConversionError .* `jnp.where`"),
        (float, "`lr` must be a number or a function in JAX of the step, but float raises"),
    ],
)
def test_a_schedule_out_of_range_is_refused_before_the_run(schedule, words):
    with pytest.raises(ArgumentError, match=words):
        sf.iterate(sf.Map(BEALE, sf.GD(), lr=schedule), START, num_steps=9000)


def test_each_hyperparameter_has_its_own_range():
    """And only the steps of the run count: here they end before the value is out of range."""
    rise = lambda k: 0.1 * k  # noqa: E731  (1 at step 10)
    fall = lambda k: 1.0 - 0.1 * k  # noqa: E731  (−0.1 at step 11)
    for setting, words in (
        ({"momentum": rise}, r"`momentum` must be in \[0, 1\) at every step, .* 1 at step 10\."),
        ({"weight_decay": fall}, r"`weight_decay` must be finite and at least 0 .* at step 11\."),
        ({"rule": sf.SAM(fall)}, r"`rho` must be finite and at least 0 .* at step 11\."),
        ({"rule": sf.rules.VaSSO(0.1, theta=rise)}, r"`theta` must be in \[0, 1\] .* step 11\."),
        ({"rule": sf.rules.PracticalSAM(0.1, eps=fall)}, "`eps` must be finite and greater than 0"),
    ):
        system = sf.Map(BEALE, **({"rule": sf.GD(), "lr": 1e-3} | setting))
        sf.iterate(system, START, num_steps=10)
        with pytest.raises(ArgumentError, match=words):
            sf.iterate(system, START, num_steps=12)
        with pytest.raises(ArgumentError, match=r"at step 11\."):
            sf.iterate(system, START, num_steps=1, first_step=11)


@pytest.mark.parametrize("num_steps", [10, 50])
def test_rounding_below_0_counts_as_0(num_steps):
    """`optax` computes (a − 0)·(1 − k/n) + 0, compiled with a fused product, a little below 0."""
    linear = optax.linear_schedule(0.01, 0.0, num_steps)
    assert -1e-17 < float(jax.jit(linear)(num_steps)) < 0
    settings = [{"lr": linear}, {"rule": sf.SAM(linear)}]
    settings += [{"lr": optax.polynomial_schedule(0.01, 0.0, 2, num_steps)}]
    for setting in settings:
        system = sf.Map(BEALE, **({"rule": sf.GD(), "lr": 1e-3} | setting))
        assert not any(np.signbit(each.at(num_steps)) for each in system.schedules)
        last = sf.iterate(system, START, num_steps=num_steps + 3)
        on = sf.iterate(system, START, num_steps=num_steps)
        # The steps after the last have lr 0, also if the run begins there.
        on = sf.iterate(system, on.final, num_steps=3, first_step=num_steps)
        np.testing.assert_array_equal(on.final, last.final)


def test_what_rounding_cannot_make_is_refused():
    """64 roundings of single precision, 7.6e-6 of the largest value, are the bound."""
    for share, fine in ((1e-6, True), (2e-5, False)):
        for scale in (1e-9, 1.0):
            lr = lambda k, s=scale, c=share: s * jnp.where(k < 5, 1e-3, -1e-3 * c)  # noqa: E731
            system = sf.Map(BEALE, sf.GD(), lr=lr)
            if fine:
                sf.iterate(system, START, num_steps=9)
                assert float(system.at(7).lr) == 0
                continue
            with pytest.raises(ArgumentError, match=r"at least 0 at every step, .* at step 5\."):
                sf.iterate(system, START, num_steps=9)
            with pytest.raises(ArgumentError, match=r"at step 7\."):
                system.at(7)
    step = {  # the first at which a + (b − a)·s(k) < 0: s = k/50, or 1 − (1 − k/50)²
        optax.linear_schedule(0.01, -0.0001, 50): 50,
        optax.linear_schedule(0.01, -0.01, 50): 26,
        optax.polynomial_schedule(0.01, -0.01, 2, 50): 15,
    }
    for made, first in step.items():
        with pytest.raises(ArgumentError, match=rf"at step {first}\."):
            sf.iterate(sf.Map(BEALE, sf.GD(), lr=made), START, num_steps=60)


def test_a_message_ends_with_a_whole_word():
    with pytest.raises(ArgumentError, match=r"array with shape bool\[\]\. JAX has `jnp.where`"):
        sf.Map(BEALE, sf.GD(), lr=lambda k: 0.1 if k < 3 else 0.2)


def test_a_step_size_of_0_is_a_step_of_a_schedule_and_no_step_size():
    assert float(LR(NUM)) == 0
    sf.iterate(sf.Map(BEALE, sf.GD(), lr=LR), START, num_steps=NUM + 1)
    with pytest.raises(ArgumentError, match="`lr` must be finite and greater than 0"):
        sf.Map(BEALE, sf.GD(), lr=0.0)


@pytest.mark.parametrize(
    "use",
    [
        lambda: sf.Map(BEALE, sf.GD(), lr=LR).step(jnp.ones(2)),
        lambda: sf.SAM(LR).direction(BEALE, jnp.ones(2)),
        lambda: float(sf.Map(BEALE, sf.GD(), lr=LR).lr),
        lambda: sf.Flow(BEALE, sf.USAM(LR)).velocity(jnp.ones(2)),
    ],
)
def test_a_schedule_refuses_to_be_a_number(use):
    with pytest.raises(ArgumentError, match=r"changes with the step. Use `system.at\(k\)`"):
        use()


def test_a_flow_follows_a_radius_that_is_a_function_of_time():
    """On x²/2 USAM's flow is ẋ = −(1 + rho(t)) x, so x(t) = exp(−t − ∫rho); rho = t here."""
    flow = sf.Flow(sf.loss("x**2/2"), sf.USAM(lambda t: t))
    found = sf.integrate(flow, [1.0], t1=2.0, num_times=5)
    t = np.asarray(found.times)
    np.testing.assert_allclose(found.w[:, 0], np.exp(-t - t**2 / 2), rtol=1e-6)  # rtol 1e-8 a step
    with pytest.raises(ArgumentError, match=r"`rho` must be .* at every time, .* at time 1\.002"):
        sf.integrate(sf.Flow(sf.loss("x**2/2"), sf.USAM(lambda t: 1 - t)), [1.0], t1=2.0)


def test_a_flow_that_jumps_has_no_schedule():
    flow = sf.Flow(sf.loss("x**2/2"), sf.SAM(lambda t: t))
    with pytest.raises(ArgumentError, match=r"rho of this system changes with the time. Use `sys"):
        sf.integrate(flow, [1.0], t1=2.0)
    assert sf.integrate(flow.at(0.5), [1.0], t1=2.0).stopped_at == 2.0


def test_the_step_size_of_a_diffusion_is_a_function_of_time():
    """On x²/2 with noise σ, dX = −X dt + √lr(t) σ dB: Var X(t) = σ² ∫ lr(s) exp(−2(t − s)) ds.

    With lr(s) = a exp(−2s) this is a σ² t exp(−2t). 1,000 paths: the variance has a relative
    standard error of √(2/1000) = 0.045, of which 4; Euler's bias at dt 0.04 is 0.04. With lr = a
    it is 3.2 times as large.
    """
    noise = sf.noise.isotropic_noise(1, sigma=1.0)
    lr = lambda t: 0.1 * jnp.exp(-2 * t)  # noqa: E731
    model = sf.Diffusion(sf.loss("x**2/2"), sf.GD(), lr=lr, noise=noise)
    found = sf.integrate(model, jnp.zeros((1000, 1)), t1=1.0, num_times=2, dt=0.04, key=jr.key(0))
    assert float(jnp.var(found.w[:, -1])) == pytest.approx(0.1 * np.exp(-2.0), rel=0.22)
    with pytest.raises(ArgumentError, match="`diffusion` must not change, but the lr of"):
        sf.systems.EulerMaruyama(model, dt=0.01)


@pytest.fixture(scope="module")
def noisy():
    rule, noise = sf.USAM(switched_on), sf.noise.isotropic_noise(2, sigma=0.1)
    return sf.StochasticMap(sf.Map(BEALE, rule, lr=LR, momentum=growing), noise)


def test_paths_with_noise_follow_their_schedules(noisy):
    """Each step is that of the map at this step, with the words of the step."""
    paths = sf.noise.sample_paths(
        noisy, START, key=jr.key(3), num_paths=2, num_steps=30, keep_every=1
    )
    plain = sf.StochasticMap(sf.Map(BEALE, sf.USAM(0.05), lr=LR(25), momentum=0.55), noisy.noise)
    key = _random.key_words(jr.key(3))
    drawn = _random.words(key, jnp.asarray(1, jnp.uint32), 25, plain.num_words)
    after = plain.step(paths.states[1, 25], drawn)
    np.testing.assert_allclose(paths.states[1, 26], after, rtol=1e-12)
    moments = sf.noise.sample_moments(noisy, START, key=jr.key(3), num_paths=2, num_steps=30)
    np.testing.assert_allclose(moments.mean[-1], paths.w[:, -1].mean(axis=0), rtol=1e-12)


def test_escape_times_follow_their_schedules(noisy):
    """With lr = 0 for 40 steps no path has left the ball before."""
    late = sf.Map(sf.losses.saddle(), sf.GD(), lr=lambda k: jnp.where(k < 40, 0.0, 0.2))
    system = sf.StochasticMap(late, sf.noise.isotropic_noise(2, sigma=0.3))
    settings = {"radius": 0.5, "num_paths": 20, "max_steps": 400}
    found = sf.escape_time(system, [0, 0], key=jr.key(0), **settings)
    assert found.share == 1.0
    assert int(found.times.min()) > 40
    with pytest.raises(ArgumentError, match=r"`momentum` must be in .* 1 at step 70\."):
        sf.escape_time(noisy, START, key=jr.key(0), **settings)
