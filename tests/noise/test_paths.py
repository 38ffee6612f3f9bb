"""Ensembles: reproducible, the same as a loop, honest about memory and lost paths."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._random import key_words, words
from samflow.noise import AdditiveNoise, MiniBatch, hessian_noise, sample_moments, sample_paths
from samflow.noise.paths import _moments

KEY = jr.key(11)
LOSS = sf.losses.quartic()


def noisy(momentum=0.0, rule=None, loss=LOSS, noise=None, lr=0.05):
    noise = noise or AdditiveNoise([0.04, 0.09])
    return sf.StochasticMap(sf.Map(loss, rule or sf.USAM(rho=0.2), lr=lr, momentum=momentum), noise)


def by_hand(system, w0, members, num_steps, every):
    """Loop in Python, one member and one step at a time."""
    key = key_words(KEY)
    step = jax.jit(lambda z, i, k: system.step(z, words(key, i, k, system.num_words)))
    out = []
    for i in members:
        z = system.lift(jnp.asarray(w0, float))
        kept = [z]
        for k in range(num_steps):
            z = step(z, i, k)
            if (k + 1) % every == 0:
                kept.append(z)
        out.append(np.stack(kept))
    return np.stack(out)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_paths_are_those_of_a_plain_loop(momentum):
    system = noisy(momentum)
    found = sample_paths(system, [0.1, 0.0], key=KEY, num_paths=700, num_steps=25, keep_every=10)
    members = (0, 1, 511, 512, 699)  # both blocks
    expected = by_hand(system, [0.1, 0.0], members, 25, 10)
    assert found.steps.tolist() == [0, 10, 20]
    np.testing.assert_allclose(found.states[np.array(members)], expected, rtol=1e-11, atol=1e-13)


def test_a_larger_ensemble_has_the_smaller_first():
    options = {"key": KEY, "num_steps": 30, "keep_every": 15}
    small = sample_paths(noisy(), [0, 0], num_paths=100, **options)
    large = sample_paths(noisy(), [0, 0], num_paths=1500, **options)
    # The same operations in blocks of another size: rounding, magnified over thirty steps.
    np.testing.assert_allclose(large.states[:100], small.states, rtol=1e-10, atol=1e-13)
    other = sample_paths(noisy(), [0, 0], num_paths=100, **options | {"key": jr.key(12)})
    assert (np.abs(other.states[:, -1] - small.states[:, -1]) > 1e-6).all(axis=1).sum() > 95


def test_each_path_may_have_its_own_start():
    starts = np.random.default_rng(0).uniform(-0.2, 0.2, (600, 2))
    found = sample_paths(noisy(), starts, key=KEY, num_paths=600, num_steps=8)
    np.testing.assert_array_equal(found.w[:, 0], starts)
    for i in (0, 599):
        alone = by_hand(noisy(), starts[i], (i,), 8, 8)[0]
        np.testing.assert_allclose(found.states[i], alone, rtol=1e-11)


@pytest.mark.parametrize("paths", [2, 511, 1300])
def test_moments_are_those_of_the_paths(paths):
    options = {"key": KEY, "num_steps": 20, "keep_every": 5, "num_paths": paths}
    about = np.array([0.02, -0.01])
    moments = sample_moments(noisy(), [0, 0], about=about, **options)
    x = np.asarray(sample_paths(noisy(), [0, 0], **options).w) - about
    products = x[..., :, None] * x[..., None, :]
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(moments.second, products.mean(axis=0), rtol=1e-9, atol=1e-13)
    for name, sample in (("mean_error", x), ("second_error", products)):
        error = sample.std(axis=0, ddof=1) / np.sqrt(paths)
        # The record's variance comes from sums of squares: cancellation on a fixed start.
        np.testing.assert_allclose(getattr(moments, name), error, rtol=1e-5, atol=1e-9)
    assert moments.lost.tolist() == [0] * 5


def test_networks_and_functions_run_as_arrays():
    loss = sf.losses.mean([sf.loss(lambda w, a=a: jnp.sum((w - a) ** 2), dim=3) for a in range(4)])
    system = noisy(loss=loss, noise=MiniBatch(2), rule=sf.SAM(rho=0.1))
    found = sample_paths(system, [1.0, 2.0, 3.0], key=KEY, num_paths=40, num_steps=6)
    expected = by_hand(system, [1.0, 2.0, 3.0], (0, 39), 6, 6)
    np.testing.assert_allclose(found.states[np.array([0, 39])], expected, rtol=1e-11)


def test_parts_add_up(monkeypatch):
    options = {"key": KEY, "num_paths": 3000, "num_steps": 10}
    whole = sample_moments(noisy(), [0, 0], **options)
    monkeypatch.setattr("samflow.noise.paths._AT_ONCE", 10_240)
    seen = []
    parts = sample_moments(
        noisy(), [0, 0], progress=lambda done, of: seen.append((done, of)), **options
    )
    np.testing.assert_allclose(parts.second, whole.second, rtol=1e-11, atol=1e-16)
    assert seen == [(1024, 3000), (2048, 3000), (3000, 3000)]


def test_parts_of_a_large_ensemble_are_compiled_once(monkeypatch):
    """The last part is shorter, and so a program of its own."""
    monkeypatch.setattr("samflow.noise.paths._AT_ONCE", 10_240)
    before = _moments.alone()._cached._cache_size()
    sample_moments(noisy(), [0, 0], key=KEY, num_paths=5000, num_steps=11)
    assert _moments.alone()._cached._cache_size() - before <= 2


def test_moments_of_many_weights_need_no_product_a_path():
    loss = sf.losses.Quadratic((1.0,) * 300)
    system = sf.StochasticMap(
        sf.Map(loss, sf.GD(), lr=0.1), sf.noise.isotropic_noise(300, sigma=1.0)
    )
    found = sample_moments(system, np.zeros(300), key=KEY, num_paths=600, num_steps=1)
    # E xᵢ² = lr²; the mean of 300 independent means of 600 squares, to five standard errors.
    assert np.diag(found.second[-1]).mean() == pytest.approx(0.01, rel=5 * (2 / 180_000) ** 0.5)


def test_moments_that_would_not_fit_are_refused():
    loss = sf.losses.Quadratic((1.0,) * 300)
    system = sf.StochasticMap(
        sf.Map(loss, sf.GD(), lr=0.1), sf.noise.isotropic_noise(300, sigma=1.0)
    )
    options = {"key": KEY, "num_paths": 10, "num_steps": 1000, "keep_every": 1}
    with pytest.raises(ArgumentError, match=r"1001 second moments of 300 weights take 2\.68 GiB"):
        sample_moments(system, np.zeros(300), **options)


def test_lost_paths_are_counted_and_spoil_the_moments():
    system = noisy(loss=sf.loss("-x**4 - y**4"), lr=0.5, noise=AdditiveNoise([1, 1]))
    found = sample_moments(system, [0, 0], key=KEY, num_paths=100, num_steps=40, keep_every=10)
    assert found.lost[0] == 0
    assert found.lost[-1] == 100
    assert not np.isfinite(found.second[-1]).any()


def test_memory_is_asked_for_first():
    with pytest.raises(ArgumentError, match=r"10000000 paths of 1001 states take 149 GiB.*stream"):
        sample_paths(noisy(), [0, 0], key=KEY, num_paths=10**7, num_steps=1000, keep_every=1)


@pytest.mark.parametrize(
    ("change", "words_"),
    [
        ({"num_paths": 1}, "`num_paths` must be a whole number of at least 2"),
        ({"num_steps": 0}, "`num_steps` must be a whole number of at least 1"),
        ({"num_steps": -5}, "`num_steps` must be"),
        (
            {"num_steps": 2**31},
            "`num_steps` must be below 2147483648, the number of steps that one key can serve",
        ),
        ({"num_paths": 2**33}, "`num_paths` must be below"),
        ({"keep_every": 0}, "`keep_every` must be"),
        ({"key": 3}, "`key` must be a key"),
        ({"about": [0, 0, 0]}, r"`about` must have shape \(2,\)"),
        ({"w0": np.zeros((5, 2))}, "one row for each of the 10 paths, but has shape"),
        ({"w0": [0, float("nan")]}, "`w0` must be finite"),
        ({"system": sf.Map(LOSS, sf.GD(), lr=0.1)}, "`system` must be a StochasticMap"),
    ],
)
def test_bad_input_is_refused(change, words_):
    options = {"system": noisy(), "w0": [0, 0], "key": KEY, "num_paths": 10, "num_steps": 10}
    options |= change
    with pytest.raises(ArgumentError, match=words_):
        sample_moments(options.pop("system"), options.pop("w0"), **options)


def test_records_turn_into_datasets():
    system = noisy(noise=hessian_noise(LOSS, [0, 0]))
    found = sample_moments(system, [0, 0], key=KEY, num_paths=10, num_steps=4, keep_every=2)
    data = found.to_dataset()
    assert dict(data.sizes) == {"kept": 3, "weight": 2, "weight_2": 2}
    paths = sample_paths(system, [0, 0], key=KEY, num_paths=10, num_steps=4, keep_every=2)
    assert paths.to_dataset()["states"].dims == ("path", "kept", "state")
