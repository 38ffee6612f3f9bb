"""First passage out of a ball: against exact chains, quadrature, and orbits followed by hand."""

import json
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import noise
from samflow._checks import ArgumentError
from samflow.noise import escape
from samflow.noise.survival import kaplan_meier
from samflow.systems import EulerMaruyama
from tests.references import DOUBLE_WELL_PASSAGE

KEY = jr.key(3)
LINE = sf.losses.saddle((-1.0,))
PLANE = sf.losses.quartic()


def system(loss=LINE, rule=None, *, lr=0.1, sigma=0.5, batch_size=1, momentum=None):
    rule = sf.GD() if rule is None else rule
    white = noise.isotropic_noise(loss.dim, sigma=sigma, batch_size=batch_size)
    return sf.StochasticMap(sf.Map(loss, rule, lr=lr, momentum=momentum), white)


def run(made, w=(0.0,), **settings):
    chosen = {"radius": 0.4, "key": KEY, "num_paths": 4000, "max_steps": 2000} | settings
    return sf.escape_time(made, w, **chosen)


# --- the time itself ---


@pytest.mark.parametrize("momentum", [None, 0.8])
@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(0.3), sf.SAM(0.2)], ids=lambda r: r.name)
def test_times_are_those_of_the_paths_that_are_kept(rule, momentum):
    """`sample_paths` makes the same paths and keeps every state."""
    made = system(PLANE, rule, momentum=momentum)
    steps = 60 if momentum is None else 12
    found = run(made, (0.0, 0.0), num_paths=600, max_steps=steps)
    kept = noise.sample_paths(
        made, [0.0, 0.0], key=KEY, num_paths=600, num_steps=steps, keep_every=1
    )
    outside = np.linalg.norm(kept.w, axis=-1) > 0.4
    expected = np.where(outside.any(axis=1), outside.argmax(axis=1), steps)
    np.testing.assert_array_equal(found.times, expected)
    status = np.where(outside.any(axis=1), sf.Status.escaped, sf.Status.still_inside)
    np.testing.assert_array_equal(found.status, status)
    assert len(found.count()) == 2  # both happen, so that the test is one


def test_states_as_arrays_and_as_components_give_the_same_times():
    """A loss that is no formula runs one state an array; rounding differs, times do not."""
    plain = sf.loss(lambda w: (w[0] ** 2 - w[1] ** 2) / 2 + w[1] ** 4 / 4, dim=2)
    assert not plain.elementwise
    found = [run(system(loss), (0.0, 0.0), num_paths=150, max_steps=80) for loss in (plain, PLANE)]
    np.testing.assert_array_equal(found[0].times, found[1].times)
    np.testing.assert_array_equal(found[0].status, found[1].status)


def test_a_path_depends_on_the_key_and_its_number_alone(monkeypatch):
    few, many = run(system(), num_paths=70), run(system(), num_paths=1100)
    np.testing.assert_array_equal(few.times, many.times[:70])
    monkeypatch.setattr(escape, "BLOCK", 96)
    monkeypatch.setattr(escape, "_AT_ONCE", 5000)
    other = run(system(), num_paths=1100)
    np.testing.assert_array_equal(other.times, many.times)
    assert (np.asarray(run(system(), num_paths=70, key=jr.key(4)).times) != few.times).any()


def test_more_steps_only_add_to_what_is_known():
    short, long = run(system(), max_steps=15), run(system(), max_steps=2000)
    np.testing.assert_array_equal(short.times, np.minimum(long.times, 15))
    assert 0.1 < short.share < 0.9
    assert long.share == 1


# --- against what is known exactly ---


@pytest.mark.parametrize(
    ("rule", "multiplier", "scale"),
    [
        (sf.GD(), 1.1, 1.0),
        (sf.USAM(0.4), 1 + 0.1 * 0.6, 0.6),  # 1 − lr λ(1 + ρλ), noise lr |1 + ρλ| σ
        (sf.USAM(1.5), 1 - 0.1 * 0.5, 0.5),  # past 1/|λ|: attracting, and left in the end
    ],
)
def test_linear_chain_has_the_exact_mean_and_survival(rule, multiplier, scale):
    """Nyström's solution, to 4 standard errors; and S(k) within its band's width at 9 steps."""
    settings = {"noise": 0.1 * scale * 0.5, "radius": 0.15}
    found = run(system(LINE, rule), radius=0.15, num_paths=20_000, max_steps=5000)
    exact = noise.chain_exit_time(multiplier, **settings)
    assert found.share == 1
    curve = found.survival
    assert abs(curve.mean - exact) < 4 * curve.mean_error
    survival = noise.chain_survival(multiplier, num_steps=2000, **settings)
    steps = np.linspace(1, 2 * exact, 9).astype(int)
    error = np.sqrt(survival[steps] * (1 - survival[steps]) / 20_000)
    assert (np.abs(curve.at(steps) - survival[steps]) < 4 * error + 1e-12).all()
    median = np.argmax(survival <= 0.5)
    assert curve.median_low <= median <= curve.median_high
    # Not so for another rho: the test could fail.
    wrong = noise.chain_exit_time(multiplier + 0.02, **settings)
    assert abs(curve.mean - wrong) > 4 * curve.mean_error


def test_small_steps_tend_to_the_diffusion_with_its_overshoot():
    """dx = x dt + √lr σ dB; 4 standard errors and 1 % for what is O(lr)."""
    lr, sigma, radius = 0.01, 1.0, 0.08
    found = run(system(lr=lr, sigma=sigma), radius=radius, num_paths=20_000, max_steps=20_000)
    settings = {"intensity": lr * sigma**2, "radius": radius}
    curve = found.survival
    corrected = noise.linear_exit_time(1.0, dt=lr, **settings) / lr
    allowed = 4 * curve.mean_error + 0.01 * corrected
    assert abs(curve.mean - corrected) < allowed
    assert abs(curve.mean - noise.linear_exit_time(1.0, **settings) / lr) > allowed


def test_brownian_motion_from_off_the_centre():
    """(L² − x²)/σ², the boundary moved by the overshoot; what is left is O(dt), below 1 %."""
    flat = sf.FunctionDiffusion(lambda z: (0 * z[0],), lambda z: ((1.0,),), dim=1, elementwise=True)
    dt, start = 1e-3, 0.5
    found = run(EulerMaruyama(flat, dt=dt), radius=1.0, start=[start], max_steps=50_000)
    exact = noise.linear_exit_time(0, intensity=1, radius=1, start=start, dt=dt) / dt
    assert exact == pytest.approx(((1 + noise.passage.OVERSHOOT * dt**0.5) ** 2 - 0.25) / dt)
    assert abs(found.survival.mean - exact) < 4 * found.survival.mean_error + 0.01 * exact


def test_a_shallow_double_well_has_the_passage_time_of_the_quadrature():
    """As below, with the end moved by the overshoot .58 √(2D dt), in a tenth of the time."""
    dt, d = 0.01, 0.15
    step = sf.Map(sf.losses.double_well(), sf.GD(), lr=dt)
    langevin = sf.StochasticMap(step, noise.AdditiveNoise([2 * d / dt]))
    found = run(langevin, (-9.0,), radius=10.0, start=[-1.0], num_paths=400, max_steps=100_000)
    well, end = lambda x: x**4 / 4 - x**2 / 2, 1 + noise.passage.OVERSHOOT * math.sqrt(2 * d * dt)
    exact = noise.mean_passage_time(well, diffusivity=d, start=-1, target=end)
    mean, error = found.survival.mean * dt, found.survival.mean_error * dt
    assert abs(mean - exact) < 4 * error + 0.02 * exact  # the step is of weak order 1
    assert error < 0.06 * mean


@pytest.mark.slow
def test_double_well_has_the_passage_time_of_the_quadrature():
    """From −1 to 1: out of the ball (−19, 1), with Langevin's step as GD with noise 2D/dt."""
    dt, d = 0.01, 0.05
    step = sf.Map(sf.losses.double_well(), sf.GD(), lr=dt)
    langevin = sf.StochasticMap(step, noise.AdditiveNoise([2 * d / dt]))
    found = run(langevin, (-9.0,), radius=10.0, start=[-1.0], num_paths=1000, max_steps=2_000_000)
    assert found.share == 1
    mean, error = found.survival.mean * dt, found.survival.mean_error * dt
    # 4 standard errors, some 13 %, and 2 % for dt: the end lies √(2D dt)·.58 = .018 further out,
    # and the step is of weak order 1.
    assert abs(mean - DOUBLE_WELL_PASSAGE) < 4 * error + 0.02 * DOUBLE_WELL_PASSAGE
    assert error < 0.035 * mean
    # The law is almost exponential: the median is log 2 times the mean.
    assert found.median * dt == pytest.approx(math.log(2) * mean, rel=0.1)


def test_beyond_the_threshold_paths_leave_through_the_stable_direction():
    """USAM at rho = 1.25/|λ|, momentum .9, B = 8: the stable direction alone is left soon, the
    other, λ = −1, not once, though it is the one that SGD leaves by.
    """
    share = {}
    for lam, rho in ((1.0, 1.25), (-1.0, 1.25), (1.0, 0.0), (-1.0, 0.0)):
        made = system(
            sf.losses.saddle((lam,)), sf.USAM(rho), lr=0.05, sigma=1, batch_size=8, momentum=0.9
        )
        share[lam, rho] = run(made, radius=0.5, num_paths=300, max_steps=150).share
    assert share[1.0, 1.25] > 0.8
    assert share[-1.0, 1.25] == 0
    assert share[-1.0, 0.0] == 1
    assert share[1.0, 0.0] < share[1.0, 1.25]


def test_momentum_grows_faster_at_the_same_lr_and_slower_at_the_same_effective_lr():
    """Proposition E3, on Jacobians of the map, and on medians: 4000 paths, intervals apart."""
    lr = 0.05

    def growth(lr, beta):
        step = sf.Map(LINE, sf.USAM(0.3), lr=lr, momentum=beta)
        return np.abs(np.linalg.eigvals(step.jacobian(step.lift(jnp.zeros(1))))).max()

    plain = growth(lr, None)
    for beta in (0.1, 0.5, 0.9, 0.99):
        assert growth(lr * (1 - beta), beta) < plain < growth(lr, beta)
    settings = {"loss": LINE, "rule": sf.USAM(0.3), "sigma": 0.3}
    found = run(system(lr=lr, **settings))
    same, rescaled = (run(system(lr=x, momentum=0.9, **settings)) for x in (lr, lr / 10))
    assert same.interval[1] < found.interval[0]
    assert found.interval[1] < rescaled.interval[0]


def test_sweep_is_one_by_one_and_compiles_once():
    made = system(PLANE, sf.USAM(0.1), momentum=0.5)
    where = lambda s: (s.map.rule.rho, s.map.momentum, s.noise.batch_size)  # noqa: E731
    values = [(0.1, 0.5, 1), (0.5, 0.5, 1), (0.1, 0.9, 1), (0.1, 0.5, 16)]
    settings = {"radius": 0.3, "key": KEY, "num_paths": 500, "max_steps": 300}
    found = noise.escape_times(made, [0, 0], where=where, values=values, **settings)
    for (rho, momentum, size), times in zip(values, found, strict=True):
        one = system(PLANE, sf.USAM(rho), momentum=momentum, batch_size=size)
        np.testing.assert_array_equal(times.times, sf.escape_time(one, [0, 0], **settings).times)
    base, larger_rho, more_momentum, larger_batch = (times.median for times in found)
    assert more_momentum < base < larger_batch
    assert base < larger_rho
    traced = 0

    class Counted(eqx.Module):
        def __call__(self, w):
            nonlocal traced
            traced += 1
            return (w[0] ** 2 - w[1] ** 2) / 2

    counting = system(sf.loss(Counted(), dim=2))
    sweep = lambda values: noise.escape_times(  # noqa: E731
        counting, [0, 0], where=lambda s: s.noise.batch_size, values=values, **settings
    )
    sweep([1.0])
    before = traced
    sweep([2.0, 3.0, 4.0])
    assert traced == before


# --- censoring, and paths that are lost ---


def test_without_noise_at_the_saddle_nobody_leaves_and_nothing_is_claimed():
    found = run(system(sigma=0.0), num_paths=10, max_steps=30)
    assert found.count() == {"still inside": 10}
    assert math.isnan(found.median)
    assert all(map(math.isnan, found.interval))
    assert "the survival curve ends at 1, above 1/2" in found.survival.reason
    assert found.survival.mean == 30  # restricted to the steps made
    assert json.loads(found.to_json())["survival"]["median"] is None


def test_a_path_that_becomes_undefined_has_not_escaped():
    """SAM without noise at the saddle divides 0 by 0 at its first step."""
    found = run(system(PLANE, sf.SAM(0.1), sigma=0.0), (0.0, 0.0), num_paths=5, max_steps=9)
    assert found.count() == {"undefined": 5}
    assert found.times.tolist() == [0] * 5
    assert (found.survival.escaped, found.survival.censored) == (0, 5)
    assert math.isnan(found.median)


def _blows_up(threshold):
    """Return Brownian steps of .1 that become NaN above `threshold`."""
    drift = lambda z: (jnp.where(z[0] > threshold, jnp.nan, 0.0),)  # noqa: E731
    walk = sf.FunctionDiffusion(drift, lambda z: ((0.1,),), dim=1, elementwise=True)
    return EulerMaruyama(walk, dt=1.0)


def test_a_path_that_is_no_number_has_not_escaped():
    """It is censored where it was seen last, and the estimate is of those that could leave."""
    found = run(_blows_up(0.2), num_paths=2000, max_steps=400)
    count = found.count()
    assert set(count) == {"escaped", "not finite"}
    assert found.share == count["escaped"] / 2000
    assert found.survival.censored == count["not finite"]
    kept = noise.sample_paths(
        _blows_up(math.inf), [0.0], key=KEY, num_paths=2000, num_steps=400, keep_every=1
    ).w[..., 0]
    above, outside = np.asarray(kept > 0.2), np.asarray(np.abs(kept) > 0.4)
    first = lambda seen: np.where(seen.any(axis=1), seen.argmax(axis=1), 1000)  # noqa: E731
    # A step from above .2 is no number; a jump over both ends lies beyond any chance.
    lost = first(above) < first(outside)
    np.testing.assert_array_equal(found.status == sf.Status.not_finite, lost)
    np.testing.assert_array_equal(found.times, np.where(lost, first(above), first(outside)))


def test_a_jump_too_large_to_square_is_an_escape_and_an_overflow_is_none():
    for factor, name in ((1e200, "escaped"), (1e308, "not finite")):
        jump = sf.FunctionDiffusion(
            lambda z, f=factor: (f * 10 + 0 * z[0],), lambda z: ((0.0,),), dim=1, elementwise=True
        )
        found = run(EulerMaruyama(jump, dt=1.0), num_paths=2, max_steps=3)
        assert found.count() == {name: 2}


# --- the estimate ---


def test_without_censoring_the_curve_is_the_empirical_one():
    found = run(system())
    times = np.asarray(found.times)
    curve = found.survival
    for t in (1, 5, 20, 60):
        assert float(curve.at(t)) == pytest.approx((times > t).mean(), abs=1e-12)
    assert found.median == np.sort(times)[len(times) // 2 - 1]
    assert curve.mean == pytest.approx(times.mean(), rel=1e-6)  # summed in single precision
    assert curve.mean_error == pytest.approx(times.std() / math.sqrt(times.size), rel=1e-6)


def test_kaplan_meier_of_a_textbook():
    """Conover, page 91, ten fan belts; Greenwood's band by hand at the first time."""
    found = kaplan_meier([77, 47, 81, 56, 80, 62, 60, 43, 71, 37], [True] * 5 + [False] * 5)
    expected = [1, 7 / 8, 0.75, 0.75, 0.5, 0.25, 0]
    np.testing.assert_allclose(found.at([46, 47, 56, 76, 77, 80, 81]), expected)
    at = int(np.flatnonzero(np.asarray(found.times) == 47)[0])
    assert int(found.at_risk[at]) == 8
    spread = 1.959964 * math.sqrt(1 / (8 * 7)) / abs(math.log(7 / 8))
    assert float(found.low[at]) == pytest.approx((7 / 8) ** math.exp(spread), rel=1e-6)
    assert float(found.high[at]) == pytest.approx((7 / 8) ** math.exp(-spread), rel=1e-6)
    assert found.mean == pytest.approx(47 + 9 * 7 / 8 + 21 * 0.75 + 3 * 0.5 + 0.25)


def test_censoring_does_not_bias_the_estimate_but_leaving_it_out_does():
    """Exponential times of mean 1, each followed for a uniform time: S(t) = e^(−t)."""
    rng = np.random.default_rng(1)
    true, followed = rng.exponential(size=20_000), rng.uniform(0, 3, 20_000)
    found = kaplan_meier(np.minimum(true, followed), true <= followed)
    t = np.array([0.3, 0.7, 1.5])
    # Those at risk are fewer than all, by half or more: 4 standard errors of a third of them.
    error = np.sqrt(np.exp(-t) * (1 - np.exp(-t)) / (20_000 / 3))
    assert (np.abs(found.at(t) - np.exp(-t)) < 4 * error).all()
    assert found.median_low < math.log(2) < found.median_high
    naive = np.median(true[true <= followed])
    assert naive < 0.9 * math.log(2) < found.median


def test_the_interval_of_the_median_covers_it_nineteen_times_in_twenty():
    """1000 samples of 60 with censoring: binomial, 4 standard errors are 2.8 %."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        true, followed = rng.exponential(size=60), rng.exponential(3.0, size=60)
        found = kaplan_meier(np.minimum(true, followed), true <= followed)
        covered += found.median_low <= math.log(2) <= found.median_high
    assert 0.95 - 0.028 < covered / 1000 <= 1


def test_the_mean_restricted_to_a_horizon():
    """E min(T, h) = 1 − e^(−h) for exponential times; its error by Greenwood, 4 of them."""
    rng = np.random.default_rng(4)
    true = rng.exponential(size=5000)
    found = kaplan_meier(np.minimum(true, 0.8), true <= 0.8)
    assert found.horizon == 0.8
    assert abs(found.mean - (1 - math.exp(-0.8))) < 4 * found.mean_error
    spread = np.minimum(true, 0.8).std() / math.sqrt(5000)
    assert found.mean_error == pytest.approx(spread, rel=1e-3)  # n against n − 1
    assert np.isnan(found.at(0.81))


def test_a_median_at_the_edge_says_which_end_is_missing():
    found = kaplan_meier([1, 2, 3, 4, 4, 4], [True] * 3 + [False] * 3)
    assert found.median == 3
    assert math.isnan(found.median_high)
    assert found.reason.startswith("the interval's upper end")


# --- at the door ---

REFUSED = [
    ({"radius": 0}, "`radius` must be finite and greater than 0, but is 0"),
    ({"radius": -1}, "`radius` .* -1"),
    ({"radius": math.nan}, "`radius` .*nan"),
    ({"max_steps": 0}, "`max_steps` must be a whole number of at least 1, but is 0"),
    ({"max_steps": -5}, "`max_steps` .* -5"),
    ({"max_steps": 2**31}, "`max_steps` must be below"),
    ({"num_paths": 0}, "`num_paths`"),
    ({"start": [0.5]}, "`start` must be in the ball of radius 0.4, but is at distance 0.5"),
    ({"start": [math.nan]}, "`start` must be finite"),
    ({"start": [[0.1], [0.2]]}, "`start` must be one point"),
    ({"start": [0.1, 0.2]}, "`start` must have shape"),
    ({"w": [math.nan]}, "`w` must be finite"),
    ({"w": [0.0, 0.0]}, r"`w` must have shape \(1,\)"),
    ({"key": 3}, "`key` must be a key"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_misuse(settings, message):
    with pytest.raises(ArgumentError, match=message):
        run(system(), settings.pop("w", [0.0]), **settings)


def test_misuse_of_systems_sweeps_and_estimates():
    with pytest.raises(ArgumentError, match="`system` must be a StochasticMap"):
        run(sf.Map(LINE, sf.GD(), lr=0.1))
    where = lambda s: s.map.lr  # noqa: E731
    for values, message in (([], "`values`"), ([(1, 2)], "one row of 1"), ([math.nan], "finite")):
        with pytest.raises(ArgumentError, match=message):
            noise.escape_times(system(), [0.0], where=where, values=values, radius=1)
    for times, escaped, message in (
        ([-1.0], [True], "at least 0, but has -1"),
        ([math.nan], [True], "nan"),
        ([], [], "N at least 1"),
        ([1.0], [1], "one bool"),
        ([1.0, 2.0], [True], "one bool"),
    ):
        with pytest.raises(ArgumentError, match=message):
            kaplan_meier(times, np.asarray(escaped))
    for horizon in (2, "a", math.nan):
        with pytest.raises(ArgumentError, match="`horizon`"):
            kaplan_meier([3.0], [True], horizon=horizon)
    with pytest.raises(ArgumentError, match="`times` must be numbers"):
        kaplan_meier(["a"], [True])
    with pytest.raises(ArgumentError, match="`values` must be numbers"):
        noise.escape_times(system(), [0.0], where=where, values=["a"], radius=1)
    with pytest.raises(ArgumentError, match=r"`where` .* None"):
        noise.escape_times(system(), [0.0], where=lambda s: s.map.momentum, values=[0.5], radius=1)
    with pytest.raises(ArgumentError, match=r"4000000000 paths take .* GiB"):
        run(system(), num_paths=4_000_000_000)


def test_a_hyperparameter_out_of_range_in_a_sweep_is_seen_in_the_status():
    (found,) = noise.escape_times(
        system(), [0.0], where=lambda s: s.noise.batch_size, values=[-1.0], radius=0.4, key=KEY,
        num_paths=3, max_steps=5,
    )  # fmt: skip
    assert found.count() == {"not finite": 3}


# --- the record, and what one sees meanwhile ---


def test_progress_counts_the_paths_that_have_ended_and_can_interrupt():
    seen = []
    run(system(), progress=lambda made, total: seen.append((made, total)))
    assert seen[-1] == (4000, 4000)
    assert seen == sorted(seen)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(system(), progress=interrupt)


def test_record_turns_into_json_and_a_dataset():
    found = run(system(), num_paths=50)
    plain = json.loads(found.to_json())
    assert plain["radius"] == 0.4
    assert plain["survival"]["median"] == found.median
    assert dict(found.provenance)["num_paths"] == "50"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found.to_dataset()["times"].shape == (50,)
    assert sf.Status.escaped.message == "The path left the ball."


def test_single_precision_keeps_whole_steps():
    with jax.enable_x64(False):
        white = noise.isotropic_noise(1, sigma=0.5)
        made = sf.StochasticMap(sf.Map(LINE, sf.GD(), lr=0.1), white)
        found = sf.escape_time(
            made, [0.0], radius=0.4, key=jr.key(0), num_paths=2000, max_steps=900
        )
    exact = noise.chain_exit_time(1.1, noise=0.05, radius=0.4)
    assert abs(found.survival.mean - exact) < 4 * found.survival.mean_error
