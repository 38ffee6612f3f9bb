"""Maps with noise: batches, additive noise, one draw or two, and their contract."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow._random import Words, key_words, words
from samflow.noise import AdditiveNoise, MiniBatch, data_noise, hessian_noise, isotropic_noise
from samflow.rules import FSAM

KEY = key_words(jr.key(4))
PARTS = [sf.loss(t) for t in ("x**2 + x*y", "y**2 - x", "x*y + x**4", "2*y - x**2", "x + y**2")]
MEAN = sf.losses.mean(PARTS)
W = jnp.array([0.3, -0.7])


def step_words(system, member=0, k=0):
    return words(KEY, member, k, system.num_words)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_every_batch_is_as_likely(size, replacement):
    noise, count = MiniBatch(size, replacement), 20_000
    drawn = noise.indices(5, words(KEY, jnp.arange(count), 0, size))
    rows = np.stack([np.asarray(i) for i in drawn], axis=1)
    if not replacement:
        assert all(len(set(row)) == size for row in rows.tolist())
        kinds = [tuple(sorted(row)) for row in rows.tolist()]
        possible = list(itertools.combinations(range(5), size))
    else:
        kinds = [tuple(row) for row in rows.tolist()]
        possible = list(itertools.product(range(5), repeat=size))
    found = {kind: kinds.count(kind) for kind in set(kinds)}
    assert set(found) == set(possible) or len(possible) > 500
    for kind in possible[:50]:
        p = 1 / len(possible)  # five standard errors of a binomial count
        assert abs(found.get(kind, 0) - count * p) <= 5 * np.sqrt(count * p * (1 - p)) + 1e-9


def test_a_batch_is_the_mean_of_its_examples():
    noise = MiniBatch(3)
    drawn = words(KEY, 7, 0, 3)
    chosen = np.asarray(noise.indices(5, drawn))
    batch = noise.sample(MEAN, drawn)
    by_hand = sf.losses.mean([PARTS[i] for i in chosen])
    for name in ("__call__", "gradient", "hessian"):
        got, expected = getattr(batch, name)(W), getattr(by_hand, name)(W)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)
    twice = MEAN.batch(jnp.array([1, 1, 4]))
    expected = (2 * PARTS[1].gradient(W) + PARTS[4].gradient(W)) / 3
    np.testing.assert_allclose(twice.gradient(W), expected, rtol=1e-13)


def test_a_batch_of_a_network_is_that_of_its_examples():
    model = eqx.nn.Linear(2, 1, key=jr.key(0))
    x, y = np.arange(8.0).reshape(4, 2) / 8, np.arange(4.0)[:, None]
    loss = sf.losses.network(model, x, y)
    w = loss.flatten(model)
    chosen = jnp.array([3, 0, 3])
    direct = sf.losses.network(model, x[[3, 0, 3]], y[[3, 0, 3]])
    np.testing.assert_allclose(loss.batch(chosen).gradient(w), direct.gradient(w), rtol=1e-13)
    all_at_once = StochasticStep(loss, MiniBatch(4)).step(w, words(KEY, 0, 0, 4))
    np.testing.assert_allclose(all_at_once, sf.Map(loss, sf.GD(), lr=0.1).step(w), rtol=1e-12)


def StochasticStep(loss, noise, rule=None, **options):
    return sf.StochasticMap(sf.Map(loss, rule or sf.GD(), lr=0.1), noise, **options)


def test_additive_noise_has_its_covariance():
    sigma = np.array([[2.0, 0.6], [0.6, 1.0]])
    system = StochasticStep(sf.losses.saddle(), AdditiveNoise(sigma, batch_size=8))
    count = 100_000
    steps = jax.vmap(lambda i: system.step(W, step_words(system, i)))(jnp.arange(count))
    kick = (steps - sf.Map(system.loss, sf.GD(), lr=0.1).step(W)) / -0.1
    # Five standard errors: a product of two entries has a variance of at most 2 Σ₁₁² a draw.
    np.testing.assert_allclose(kick.mean(axis=0), 0, atol=5 * np.sqrt(0.25 / count))
    np.testing.assert_allclose(np.cov(kick.T), sigma / 8, atol=5 * 0.25 * np.sqrt(2 / count))
    np.testing.assert_allclose(system.noise.covariance, sigma / 8, rtol=1e-12)


def test_one_batch_serves_ascent_and_descent_unless_fresh():
    """On ½λw² the noise of USAM is (1 + ρλ)ξ with one draw, ρλξ + ξ′ with two."""
    lam, rho, count, at_0 = -2.0, 0.2, 50_000, jnp.zeros(1)
    loss = sf.losses.saddle((lam,))
    for fresh, expected in ((False, (1 + rho * lam) ** 2), (True, 1 + (rho * lam) ** 2)):
        system = StochasticStep(loss, isotropic_noise(1, sigma=1), sf.USAM(rho=rho), fresh=fresh)
        step = jax.vmap(lambda i, s=system: s.step(at_0, step_words(s, i)))
        kicks = np.asarray(step(jnp.arange(count))) / -0.1
        assert kicks.var() == pytest.approx(expected, abs=5 * expected * np.sqrt(2 / count))


def test_fresh_takes_the_second_batch_away_from_w():
    system = StochasticStep(MEAN, MiniBatch(1), sf.SAM(rho=0.1), fresh=True)
    drawn = step_words(system, 2)
    first, second = drawn.split(1)
    i, j = (int(MiniBatch(1).indices(5, part)[0]) for part in (first, second))
    assert i != j
    g = PARTS[i].gradient(W)
    expected = W - 0.1 * PARTS[j].gradient(W + 0.1 * g / jnp.linalg.norm(g))
    np.testing.assert_allclose(system.step(W, drawn), expected, rtol=1e-13)


@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(rho=0.1), sf.SAM(rho=0.1)])
@pytest.mark.parametrize(
    "noise", [MiniBatch(2), MiniBatch(2, True), AdditiveNoise([[2, 1], [1, 2]])]
)
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("momentum", [0, 0.7])
def test_components_are_points(rule, noise, fresh, momentum):
    system = sf.StochasticMap(sf.Map(MEAN, rule, lr=0.05, momentum=momentum), noise, fresh)
    ids = jnp.arange(20)
    zs = jax.vmap(system.lift)(W + 0.01 * jnp.arange(40.0).reshape(20, 2))
    one_by_one = jax.vmap(lambda z, i: system.step(z, step_words(system, i)))(zs, ids)
    columns = Components(*(zs[:, i] for i in range(zs.shape[1])))
    together = jnp.stack(system.step(columns, step_words(system, ids)).parts, axis=-1)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12, atol=1e-13)


def test_hyperparameters_are_leaves():
    traces = []

    @eqx.filter_jit
    def run(system):
        traces.append(None)
        return system.step(W, step_words(system))

    for rho, lr, size in ((0.1, 0.1, 8), (0.2, 0.05, 32)):
        run(sf.StochasticMap(sf.Map(MEAN, sf.USAM(rho=rho), lr=lr), AdditiveNoise([1, 1], size)))
    assert len(traces) == 1


def test_models_of_noise():
    loss = sf.losses.saddle((3.0, -2.0))
    np.testing.assert_allclose(
        hessian_noise(loss, [0, 0], batch_size=4).covariance, np.diag([0.75, 0.5])
    )
    np.testing.assert_allclose(isotropic_noise(2, sigma=3, batch_size=9).covariance, np.eye(2))
    gradients = np.stack([np.asarray(part.gradient(W)) for part in PARTS])
    for replacement in (False, True):
        pairs = itertools.product if replacement else itertools.permutations
        draws = list(pairs(gradients, **({"repeat": 2} if replacement else {"r": 2})))
        means = np.mean(draws, axis=1)
        exact = data_noise(MEAN, W, batch_size=2, replacement=replacement).covariance
        np.testing.assert_allclose(exact, np.cov(means.T, bias=True), rtol=1e-10, atol=1e-14)
    whole = data_noise(MEAN, W, batch_size=5).covariance
    np.testing.assert_allclose(whole, 0, atol=1e-15)


def test_singular_and_rounded_covariances_are_taken():
    factor = np.array([[1.0], [1e-3]])
    system = AdditiveNoise(factor @ factor.T)  # rank 1: its least eigenvalue is rounding
    np.testing.assert_allclose(system.covariance, factor @ factor.T, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdditiveNoise([[1, 2], [0, 1]]), "symmetric, but entries differ by 2"),
        (lambda: AdditiveNoise([[1, 2], [2, 1]]), "semidefinite, but has the eigenvalue -1"),
        (lambda: AdditiveNoise([1, -0.1]), "semidefinite, but has the eigenvalue -0.1"),
        (lambda: AdditiveNoise([[1, float("nan")], [0, 1]]), "must be finite"),
        (lambda: AdditiveNoise(np.ones((2, 3))), r"shape \(2, 3\)"),
        (lambda: AdditiveNoise(1.0), r"shape \(\)"),
        (lambda: MiniBatch(2, "yes"), "`replacement` must be a bool"),
        (lambda: AdditiveNoise([1, 1], batch_size=0), "`batch_size` must be"),
        (lambda: isotropic_noise(2, sigma=-1), "`sigma` must be"),
        (lambda: MiniBatch(0), "`batch_size` must be a whole number of at least 1"),
        (lambda: MiniBatch(2.5), "`batch_size` must be a whole number"),
        (lambda: StochasticStep(MEAN, MiniBatch(6)), "at most the number of examples, 5, but is 6"),
        (lambda: StochasticStep(PARTS[0], MiniBatch(1)), "not a mean over examples"),
        (lambda: StochasticStep(MEAN, AdditiveNoise([1, 1, 1])), "covariance for 2 weights"),
        (lambda: StochasticStep(MEAN, "noise"), "`noise` must be a Noise"),
        (lambda: sf.StochasticMap(MEAN, MiniBatch(1)), "`map` must be a Map"),
        (
            lambda: StochasticStep(MEAN, MiniBatch(1), FSAM(rho=0.1), fresh=True),
            "must be False for",
        ),
        (lambda: data_noise(MEAN, W, batch_size=9), "at most the number of examples"),
        (lambda: sf.iterate(StochasticStep(MEAN, MiniBatch(1)), W, num_steps=3), "must be a Map"),
    ],
)
def test_bad_input_is_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_words_split():
    drawn = Words(jnp.arange(5), jnp.arange(5) + 10)
    first, rest = drawn.split(2)
    assert (len(first), len(rest), int(rest.low[0])) == (2, 3, 12)
