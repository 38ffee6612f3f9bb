"""Large batches without replacement are drawn in a loop, and are those of the unrolled one."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._random import key_words, words
from samflow.noise import MiniBatch
from samflow.systems import gradient_noise


@pytest.mark.parametrize("size", [9])
def test_a_loop_draws_the_batches_that_the_unrolled_one_draws(size, monkeypatch):
    key, noise, n, steps = key_words(jr.key(0)), MiniBatch(size), 12, jnp.arange(40)
    draw = lambda k: noise.indices(n, words(key, 0, k, size))  # noqa: E731
    looped = np.asarray(jax.vmap(draw)(steps))
    monkeypatch.setattr(gradient_noise, "_UNROLLED", size)
    assert np.array_equal(looped, np.asarray(jax.vmap(draw)(steps)))
    assert all(len(set(batch)) == size for batch in looped.tolist())
    assert looped.min() == 0
    assert looped.max() == n - 1
