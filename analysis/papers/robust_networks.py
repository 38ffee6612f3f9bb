"""Many small networks trained side by side, and measures of each beside its robust errors."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.papers.digits import problem
from samflow import networks
from samflow.networks.training.attacks import attacked, attacked_batch
from samflow.spectra import extreme_eigenpairs, layer_traces

NUM_TRAIN, HIDDEN = 500, 16
BATCH_SIZE, MOMENTUM, NUM_STEPS, EPSILON = 50, 0.9, 400, 0.1
NUM_PRODUCTS = 60


AXES = ("lr", "rho", "weight decay", "attack", "seed")
MEASURES = (
    "λ_max",
    "tr H",
    "‖w‖",
    "margin",
    "input gradient",
    "clean index",
    "index",
)
"""Of the training set. The index is Σ √(‖W‖² tr H_W) over the layers' matrices W, H the Hessian of
the loss on attacked images; the clean index has that of the images as they are."""


class Settings(NamedTuple):
    """In what the networks differ: each combination is trained from each seed."""

    lrs: tuple[float, ...] = (0.05, 0.2)
    rhos: tuple[float, ...] = (0.0, 0.1, 0.3)
    decays: tuple[float, ...] = (0.0, 1e-3, 5e-3)
    epsilons: tuple[float, ...] = (0.0, EPSILON)
    num_seeds: int = 3
    measures: tuple[str, ...] = MEASURES

    def rows(self) -> np.ndarray:
        """Return lr, rho, weight decay, the attack of training and the seed, a row a network."""
        axes = (self.lrs, self.rhos, self.decays, self.epsilons, range(self.num_seeds))
        return np.array(list(itertools.product(*axes)), float)


class Networks(NamedTuple):
    """What was measured of each network.

    Attributes:
        rows: its settings, as of `Settings.rows`.
        measures: by the names of `MEASURES`, one entry per network.
        train_error: share of training images misclassified under PGD.
        test_error: of test images.

    """

    rows: np.ndarray
    measures: dict[str, np.ndarray]
    train_error: np.ndarray
    test_error: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """The robust generalisation gap."""
        return self.test_error - self.train_error


def trained_networks(settings: Settings, progress: Callable[[str], None]) -> Networks:
    """Train all networks in one program, and measure each."""
    loss, test, firsts = problem(settings.num_seeds, hidden=HIDDEN, num_train=NUM_TRAIN)
    rows = settings.rows()
    starts = firsts[rows[:, -1].astype(int)]
    progress(f"training {len(rows)} networks")
    step = sf.Map(loss, sf.SAM(rho=0.1), lr=0.1, momentum=MOMENTUM, weight_decay=1e-3)  # pyright: ignore
    fgsm = networks.PGD(EPSILON, num_steps=1, step_size=EPSILON)
    ws = _trained(step, fgsm, jnp.asarray(rows[:, :4]), starts)
    measures: dict[str, list[float]] = {name: [] for name in settings.measures}
    errors: tuple[list[float], list[float]] = [], []
    attack = networks.PGD(EPSILON)
    progress("measuring them")
    for w in ws:
        for part, found in zip((loss, test), errors, strict=True):
            found.append(float(networks.adversarial_error(part, w, attack)))
        for name, values in measures.items():
            values.append(_measured(name, loss, w))
    return Networks(
        rows,
        {name: np.array(values) for name, values in measures.items()},
        np.array(errors[0]),
        np.array(errors[1]),
    )


@eqx.filter_jit
def _trained(step: Any, fgsm: networks.PGD, hyper: Any, starts: Any) -> Any:
    """Return the last weights; a training attack of 0 leaves the images as they are."""

    def one(numbers: Any, w: Any) -> Any:
        lr, rho, decay, epsilon = numbers
        where = lambda s: (s.lr, s.rule.rho, s.weight_decay)  # noqa: E731
        system = eqx.tree_at(where, step, (lr, rho, decay))
        attack = eqx.tree_at(lambda a: (a.epsilon, a.step_size), fgsm, (epsilon, 1.25 * epsilon))

        def next_state(z: Any, k: Any) -> tuple[Any, None]:
            key = jr.fold_in(jr.key(1), k)
            chosen = jr.randint(key, (BATCH_SIZE,), 0, NUM_TRAIN)
            batch = attacked_batch(step.loss, chosen, system.position(z), attack, key)
            return eqx.tree_at(lambda s: s.loss, system, batch).step(z), None

        last, _ = jax.lax.scan(next_state, system.lift(w), jnp.arange(NUM_STEPS))
        return system.position(last)

    return jax.vmap(one)(hyper, starts)


def _measured(name: str, loss: Any, w: Any) -> float:
    if name == "λ_max":
        found = extreme_eigenpairs(loss, w, which="largest", compare=False, tol=1e-2)
        return float(found.values[-1])
    if name in ("margin", "input gradient"):
        return float(_of_examples(loss, w)[name == "input gradient"])
    if name == "‖w‖":
        return float(jnp.linalg.norm(w))
    if name == "index":
        loss = attacked(loss, w, networks.PGD(EPSILON), jr.key(0))
    found = layer_traces(loss, w, num_products=NUM_PRODUCTS, key=jr.key(0), by="array")
    traces = np.asarray(found.values)
    return float(traces.sum()) if name == "tr H" else _index(loss, w, traces)


def _index(loss: Any, w: Any, traces: np.ndarray) -> float:
    """Return Σ √(‖W‖² tr H_W) over the matrices; NaN where a trace is below 0."""
    with np.errstate(invalid="ignore"):
        roots = [
            float(jnp.linalg.norm(array)) * np.sqrt(each)
            for array, each in zip(loss.split(w), traces, strict=True)
            if array.ndim == 2
        ]
    return float(sum(roots))


@eqx.filter_jit
def _of_examples(loss: Any, w: Any) -> tuple[Any, Any]:
    """Return the mean margin fᵧ − max fⱼ, and the mean ‖∂ℓ/∂x‖₁, the slope against L∞ attacks."""
    outputs, right = loss.predict(w), loss.y > 0.5
    others = jnp.max(jnp.where(right, -jnp.inf, outputs), axis=1)
    margins = jnp.sum(jnp.where(right, outputs, 0.0), axis=1) - others
    # the gradient of the mean is that of each example over n
    slopes = len(loss.x) * jnp.abs(jax.grad(loss.value_on, argnums=1)(w, loss.x))
    return jnp.mean(margins), jnp.mean(jnp.sum(slopes, axis=1))
