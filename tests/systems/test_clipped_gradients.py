"""Clipped gradients with noise: a twin in NumPy, the bias of clipping, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow._random import key_words, normals, words
from samflow.noise import ClippedBatch
from samflow.rules import DPSAT

KEY = key_words(jr.key(4))
MATRICES = np.random.default_rng(0).normal(size=(5, 2, 2))
MATRICES = MATRICES + MATRICES.transpose(0, 2, 1)
SHIFTS = np.random.default_rng(1).normal(size=(5, 2))
MEAN = sf.losses.mean(
    [
        sf.loss(
            f"({float(a[0, 0])!r})*x**2/2 + ({float(a[0, 1])!r})*x*y + ({float(a[1, 1])!r})*y**2/2"
            f" + ({float(s[0])!r})*x + ({float(s[1])!r})*y"
        )
        for a, s in zip(MATRICES, SHIFTS, strict=True)
    ]
)
W = np.array([0.3, -0.7])


def gd(loss, noise, lr=0.1):
    return sf.StochasticMap(sf.Map(loss, sf.GD(), lr=lr), noise)


def twin(gradients, clip):
    """Return the mean of gradients, each shortened to `clip` if it is longer."""
    total = np.zeros(len(gradients[0]))
    for g in gradients:
        length = float(np.sqrt((g**2).sum()))
        total += g if length <= clip else g / length * clip
    return total / len(gradients)


@pytest.mark.parametrize("replacement", [False, True])
def test_a_draw_is_its_twins(replacement):
    """Examples clipped and not, at three thresholds; the noise is sigma C/B times normal words."""
    noise = ClippedBatch(3, clip=1.0, sigma=0.7, replacement=replacement)
    drawn = words(KEY, 2, 0, noise.num_words(MEAN))
    batch, rest = drawn.split(3)
    chosen = [int(i) for i in noise.batch.indices(5, batch)]
    each = [MATRICES[i] @ W + SHIFTS[i] for i in chosen]
    lengths = np.linalg.norm(each, axis=1)
    for clip in (0.5 * lengths.min(), lengths.mean(), 2 * lengths.max()):
        some = eqx.tree_at(lambda n: n.clip, noise, jnp.asarray(clip))
        expected = twin(each, clip) + 0.7 * clip / 3 * np.asarray(normals(rest))[:2]
        got = some.sample(MEAN, drawn).gradient(jnp.asarray(W))
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)


def test_a_network_is_clipped_example_by_example():
    model = eqx.nn.Linear(2, 1, key=jr.key(0))
    x, y = np.arange(8.0).reshape(4, 2) / 8, 3 * np.arange(4.0)[:, None]
    loss = sf.losses.network(model, x, y)
    w = loss.flatten(model)
    residuals = x @ np.asarray(w)[:2] + float(w[2]) - y[:, 0]
    each = [r * np.array([*row, 1.0]) for r, row in zip(residuals, x, strict=True)]
    lengths = np.linalg.norm(each, axis=1)
    clip = float(np.median(lengths))
    assert 0 < np.sum(lengths > clip) < 4
    noise = ClippedBatch(4, clip=clip, sigma=0)
    got = noise.sample(loss, words(KEY, 0, 0, noise.num_words(loss))).gradient(w)
    np.testing.assert_allclose(got, twin(each, clip), rtol=1e-12)


def test_the_noise_has_its_deviation():
    noise = ClippedBatch(2, clip=3.0, sigma=0.5)
    system, count = gd(sf.losses.mean([sf.losses.saddle()] * 2), noise), 20_000
    at_0 = jnp.zeros(2)
    kicks = jax.vmap(lambda i: system.step(at_0, words(KEY, i, 0, system.num_words)))
    found = np.asarray(kicks(jnp.arange(count))) / -0.1
    assert float(noise.deviation) == 0.75
    # five standard errors of a variance
    np.testing.assert_allclose(
        np.cov(found.T), 0.75**2 * np.eye(2), atol=5 * 0.75**2 * np.sqrt(2 / count)
    )


@pytest.mark.parametrize(
    ("clip", "rest"), [(0.5, 0.25), (1.9, 0.95), (2.0, 1.0), (2.1, 1.0), (50.0, 1.0)]
)
def test_clipping_moves_the_fixed_point_below_the_longest_gradient_only(clip, rest):
    """Of (w² + w² + (w − 3)²)/6 the minimum is 1, where gradients are 1, 1, −2: C/2 for C < 2."""
    loss = sf.losses.mean([sf.loss("x**2/2"), sf.loss("x**2/2"), sf.loss("(x - 3)**2/2")])
    noise = ClippedBatch(3, clip=clip, sigma=0)
    step = noise.sample(loss, words(KEY, 0, 0, noise.num_words(loss))).gradient
    assert float(step(jnp.array([rest]))[0]) == pytest.approx(0, abs=1e-15)  # rounding
    above, below = (float(step(jnp.array([rest + d]))[0]) for d in (0.01, -0.01))
    assert above > 0 > below


def test_an_even_pull_has_no_bias_but_less_curvature():
    """Two examples ½(x² − y²) ± 2x at (0, y): each gradient is (±2, −y), of length near 2.

    With C below it the mean has C/‖g‖ of the pull, and the Jacobian along y is −C/2 at y = 0.
    """
    pair = sf.losses.mean([sf.loss(f"(x**2 - y**2)/2 + {s}*x") for s in ("2", "(-2)")])
    for clip, expected in ((0.5, -0.25), (1.0, -0.5), (2.5, -1.0)):
        noise = ClippedBatch(2, clip=clip, sigma=0)
        drawn = noise.sample(pair, words(KEY, 0, 0, noise.num_words(pair)))
        hessian = np.asarray(drawn.hessian(jnp.zeros(2)))
        np.testing.assert_allclose(drawn.gradient(jnp.zeros(2)), 0, atol=1e-15)
        assert hessian[1, 1] == pytest.approx(expected, rel=1e-13)
        # along x both examples are at their clip, and only the length of the pull would change
        assert hessian[0, 0] == pytest.approx(0 if clip < 2 else 1, abs=1e-13)


def test_an_example_without_a_gradient_has_a_jacobian():
    flat = sf.losses.mean([sf.losses.saddle()])
    noise = ClippedBatch(1, clip=1.0, sigma=0)
    drawn = noise.sample(flat, words(KEY, 0, 0, noise.num_words(flat)))
    np.testing.assert_allclose(drawn.hessian(jnp.zeros(2)), np.diag([1.0, -1.0]))


@pytest.mark.parametrize(("rule", "fresh"), [(sf.SAM(rho=0.1), True), (DPSAT(rho=0.1), False)])
def test_components_are_points(rule, fresh):
    step = sf.Map(MEAN, rule, lr=0.05, momentum=0.7)
    system = sf.StochasticMap(step, ClippedBatch(2, clip=1.0, sigma=0.3), fresh)
    ids = jnp.arange(6)
    zs = jax.vmap(system.lift)(W + 0.01 * jnp.arange(12.0).reshape(6, 2))
    one_by_one = jax.vmap(lambda z, i: system.step(z, words(KEY, i, 0, system.num_words)))(zs, ids)
    columns = Components(*(zs[:, i] for i in range(zs.shape[1])))
    together = system.step(columns, words(KEY, ids, 0, system.num_words))
    np.testing.assert_allclose(
        jnp.stack(together.parts, axis=-1), one_by_one, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClippedBatch(2, clip=0), "`clip` must be"),
        (lambda: ClippedBatch(2, clip=float("inf")), "`clip` must be"),
        (lambda: ClippedBatch(2, clip=1, sigma=-1), "`sigma` must be"),
        (lambda: ClippedBatch(0, clip=1), "`batch_size` must be"),
        (lambda: gd(MEAN, ClippedBatch(6, clip=1)), "at most the number of examples, 5"),
        (lambda: gd(sf.losses.saddle(), ClippedBatch(1, clip=1)), "not a mean over examples"),
        (
            lambda: sf.noise.second_moment(
                gd(sf.losses.mean([sf.losses.saddle()]), ClippedBatch(1, clip=1)),
                [0, 0],
                num_steps=2,
            ),
            "MiniBatch or AdditiveNoise for exact moments",
        ),
        (
            lambda: sf.Diffusion(MEAN, sf.GD(), lr=0.1, noise=ClippedBatch(1, clip=1)),
            "must be a MiniBatch or AdditiveNoise, but is mini-batches of 1 without replacement, "
            "gradients clipped to 1, noise multiplier 1",
        ),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()


def test_losses_without_gradients_of_examples_are_refused():
    model = eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jr.key(0))])
    x, y = np.ones((4, 2)), np.ones((4, 2))
    loss = sf.losses.network(model, x, y)
    with pytest.raises(ArgumentError, match="which JAX does not compute"):
        gd(loss.in_chunks(2), ClippedBatch(1, clip=1))
    seen = eqx.tree_at(lambda s: s.x, loss, loss.x)
    object.__setattr__(seen, "options", loss.options._replace(batch_norm="train"))
    with pytest.raises(ArgumentError, match="an example alone has none"):
        gd(seen, ClippedBatch(1, clip=1))
