"""A training after a switch: what decides it, and how it is made and observed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.networks.pytorch.loss import TorchLoss
from samflow.networks.training.loop import How, Trained, run
from samflow.networks.training.states import Store, TrainState, digest
from samflow.switching.motion import Motion, stepwise_averages, stepwise_projection
from samflow.switching.observables import Observer, measure, series

_COMPARED_EXAMPLES = 512
"""Of a module of PyTorch, whose data may be on disk."""


class Plan(NamedTuple):
    """What decides a run, besides the file that it is kept in.

    Attributes:
        how: how its steps are made.
        start: the state at the switch, kicked.
        epochs: at which it is measured, from the start on; the last is its end.
        test: held-out data, or None.
        key: of what is drawn for measurements.
        progress: told what is being done.

    """

    how: How
    start: TrainState
    epochs: set[int]
    test: AbstractLoss | None
    key: PRNGKeyArray
    progress: Callable[[str], None]

    @property
    def until(self) -> int:
        """The epoch at which it ends."""
        return self.start.epoch + max(self.epochs)

    def settings(self) -> dict[str, str]:
        """Return what a saved run must have besides the settings of its steps."""
        start = self.start
        held_out: Any = () if self.test is None else (self.test.name, loss_digest(self.test))
        return {
            "start": f"{digest(start.z, jr.key_data(start.key))} at {start.epoch}, {start.step}",
            "measured epochs": str(sorted(self.epochs)),
            "test": str(held_out),
        }

    def measure(self, w: Point) -> tuple[float, ...]:
        """Return a row of the table."""
        loss, attack = self.how.system.loss, self.how.attack
        return measure(loss, w, test=self.test, attack=attack, key=self.start.key)


def loss_digest(loss: AbstractLoss) -> str:
    """Return a digest of a loss's arrays: data, and what else is no weight, as frozen ones."""
    held = [leaf for leaf in jax.tree.leaves(loss) if hasattr(leaf, "dtype")]
    return digest(*held, *(_of_module(loss) if isinstance(loss, TorchLoss) else ()))


def _of_module(loss: TorchLoss) -> list[NumpyArray]:
    """Return examples of a module of PyTorch, some of many, its buffers and frozen weights."""
    network, examples = loss.problem.network, loss.problem.examples
    n = len(examples)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _COMPARED_EXAMPLES)).astype(int))
    weights = {name for names in network.aliases for name in names}
    others = [t for name, t in sorted(network.state().items()) if name not in weights]
    tensors = [t for t in (*jax.tree.leaves(examples.part(chosen)), *others) if hasattr(t, "dtype")]
    return [np.array(n), *(tensor.detach().double().cpu().numpy() for tensor in tensors)]


def observed(plan: Plan, v: NumpyArray, store: Store | None) -> tuple[Observer, Trained]:
    """Make the run, or the rest of it."""
    observer = Observer(plan.how, plan.start, jnp.asarray(v), plan.measure, plan.epochs)
    state = plan.start
    if store is not None:
        store = store._replace(arrays=observer.arrays)
        if store.path.exists():
            state, arrays = store.read()
            observer.restore(arrays)
            plan.progress(f"going on from epoch {state.epoch}, step {state.step}")
    plan.progress("following the run after the switch")
    return observer, run(
        plan.how, state, plan.until, store=store, on_step=observer.observe, progress=plan.progress
    )


def motion_of(plan: Plan, observer: Observer, status: Status) -> Motion:
    """Return what was seen of a run; what else is asked for is had by making it again."""
    return Motion(
        series(observer.steps, 0),
        series(observer.steps, 1),
        series(observer.bends, 0),
        series(observer.bends, 1),
        status,
        functools.partial(stepwise_projection, plan.how, plan.start),
        functools.partial(stepwise_averages, plan.how, plan.start),
    )
