"""Small perceptrons on digits, all seeds of an arm trained side by side in one program."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.compiling import initialised
from samflow import networks
from samflow.losses import network
from samflow.noise import sample_paths
from samflow.spectra import extreme_eigenpairs

NUM_TRAIN, NUM_TEST = 1000, 797
_ORDER = 1
"""Of the key for the batches: member i sees the same ones in every arm."""


class Problem(NamedTuple):
    """The losses on the training and on the test images, and the first weights of each seed."""

    loss: Any
    test: Any
    starts: Any


class Ends(NamedTuple):
    """How the seeds of one arm ended, one entry per seed.

    Attributes:
        error: share of the test images misclassified.
        loss: on all training images.
        sharpness: λ_max of the Hessian of that loss.

    """

    error: np.ndarray
    loss: np.ndarray
    sharpness: np.ndarray


def problem(num_seeds: int, *, hidden: int = 32, num_train: int = NUM_TRAIN) -> Problem:
    """Make the network, in single precision, with cross-entropy."""
    x, y = networks.load_digits(num_train + NUM_TEST)
    models = initialised(
        lambda key: networks.perceptron(key, hidden=hidden), list(jr.split(jr.key(0), num_seeds))
    )
    loss, test = (
        network(models[0], x[part], y[part], loss="cross_entropy", dtype="float32", name="digits")
        for part in (slice(num_train), slice(num_train, None))
    )
    return Problem(loss, test, jnp.stack([loss.flatten(model) for model in models]))


def trained(made: Problem, system: sf.StochasticMap, num_steps: int) -> Ends:
    """Train every seed and measure where it ends; what is not finite stays so."""
    return measured(made, trained_weights(made, system, num_steps))


def trained_weights(made: Problem, system: sf.StochasticMap, num_steps: int) -> Any:
    """Train every seed and return the last weights, one row per seed."""
    num_seeds = len(made.starts)
    found = sample_paths(
        system, made.starts, key=jr.key(_ORDER), num_paths=num_seeds, num_steps=num_steps
    )
    return found.w[:, -1]


def measured(made: Problem, ws: Any) -> Ends:
    """Measure weights, one row per seed."""
    loss, error = _values(made.loss, made.test, ws)
    return Ends(
        np.asarray(error), np.asarray(loss), np.array([sharpness(made.loss, w) for w in ws])
    )


def sharpness(loss: Any, w: Any) -> float:
    """Return λ_max to one part in a thousand; NaN for weights that are not finite."""
    if not bool(jnp.isfinite(w).all()):
        return float("nan")
    found = extreme_eigenpairs(loss, w, which="largest", compare=False, tol=1e-3)
    return float(found.values[-1])


@eqx.filter_jit
def _values(loss: Any, test: Any, ws: Any) -> tuple[Any, Any]:
    return jax.vmap(loss)(ws), jax.vmap(test.misclassified)(ws)
