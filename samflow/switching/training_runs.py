"""A training after a switch: made, observed, and kept on disk with what was seen."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import error_share, fixed_arrays, value
from samflow.networks.training.attacks import PGD, adversarial_error
from samflow.networks.training.loop import How, Trained, run
from samflow.networks.training.states import Store, TrainState, digest
from samflow.switching.motion import Motion, bend, stepwise_averages, stepwise_projection

Row = tuple[float, ...]


class TrainingRun:
    """A run from the switch on; a state seen twice, as after a resumption, changes nothing.

    Attributes:
        steps: by step the training loss, v·(w − w₀), and of the last three weights v·Δ²w and
            ‖Δ²w‖; in mini-batches NaN, except for v·(w − w₀).
        epochs: `records.COLUMNS` by epoch from the first state on.

    """

    def __init__(
        self,
        how: How,
        start: TrainState,
        v: NumpyArray,
        measured_epochs: set[int],
        test: AbstractLoss | None,
    ) -> None:
        """Prepare a run from `start` to the last of `measured_epochs`, seen along `v`."""
        self._how, self._start, self._v = how, start, jnp.asarray(v)
        self._measured_epochs, self._test = measured_epochs, test
        self._recent: dict[int, Array] = {}
        self.steps: dict[int, Row] = {}
        self.epochs: dict[int, Row] = {}

    def settings(self) -> dict[str, str]:
        """Return what a saved run must have besides the settings of its steps."""
        start, test = self._start, self._test
        held_out: Any = () if test is None else (test.name, loss_digest(test))
        return {
            "start": f"{digest(start.z, jr.key_data(start.key))} at {start.epoch}, {start.step}",
            "measured epochs": str(sorted(self._measured_epochs)),
            "test": str(held_out),
        }

    def make(self, store: Store | None, progress: Callable[[str], None]) -> Trained:
        """Make the run, or the rest of it."""
        state, until = self._start, self._start.epoch + max(self._measured_epochs)
        if store is not None:
            store = store._replace(arrays=self._arrays)
            if store.path.exists():
                state, arrays = store.read()
                self._restore(arrays)
                progress(f"continuing from epoch {state.epoch}, step {state.step}")
        progress("following the run after the switch")
        return run(self._how, state, until, store=store, on_step=self._see, progress=progress)

    def motion(self, status: Status) -> Motion:
        """Return what was seen; what else is asked for is had by making the run again."""
        losses, along, escaping, bends = np.array([self.steps[k] for k in sorted(self.steps)]).T
        first = 2 if self._how.deterministic else len(bends)  # a second difference has three points
        return Motion(
            losses,
            along,
            escaping[first:],
            bends[first:],
            status,
            functools.partial(stepwise_projection, self._how, self._start),
            functools.partial(stepwise_averages, self._how, self._start),
        )

    def _see(self, state: TrainState) -> None:
        how, start = self._how, self._start
        k, epoch = how.taken(state) - how.taken(start), state.epoch - start.epoch
        w, w0 = (how.system.position(each.z) for each in (state, start))
        loss = along_bend = size = np.nan
        if how.deterministic:
            loss = float(value(how.system.loss, w))
            self._recent = {i: each for i, each in self._recent.items() if i >= k - 2} | {k: w}
            if len(self._recent) == 3:
                last = tuple(self._recent[i] for i in (k - 2, k - 1, k))
                along_bend, size = map(float, bend(last, self._v))
        self.steps[k] = (loss, float(_along(w, w0, self._v)), along_bend, size)
        due = epoch in self._measured_epochs and epoch not in self.epochs
        if due and (state.step == 0 or k == 0):
            loss, key = how.system.loss, start.key
            self.epochs[epoch] = measure(loss, w, test=self._test, attack=how.attack, key=key)

    def _arrays(self) -> dict[str, NumpyArray]:
        """Return all that was seen as arrays."""
        kept = {"steps": self.steps, "epochs": self.epochs}
        return {
            **{name: np.array([(k, *row) for k, row in kept[name].items()]) for name in kept},
            "recent_at": np.array(list(self._recent), dtype=int),
            "recent": np.array([np.asarray(w) for w in self._recent.values()]),
        }

    def _restore(self, arrays: Mapping[str, NumpyArray]) -> None:
        """Take up what `_arrays` returned."""
        steps, epochs = (arrays[name].tolist() for name in ("steps", "epochs"))
        self.steps, self.epochs = (
            {int(k): tuple(row) for k, *row in rows} for rows in (steps, epochs)
        )
        recent = zip(arrays["recent_at"].tolist(), arrays["recent"], strict=True)
        self._recent = {k: jnp.asarray(w) for k, w in recent}


@jax.jit
def _along(w: Array, w0: Array, v: Array) -> Array:
    return v @ (w - w0)


def measure(
    loss: AbstractLoss,
    w: Point,
    *,
    test: AbstractLoss | None,
    attack: PGD | None,
    key: PRNGKeyArray,
) -> Row:
    """Return `records.COLUMNS` at the weights `w`."""
    held_out = loss if test is None else test
    return (
        float(value(loss, w)),
        error_share(loss, w),
        np.nan if test is None else float(value(test, w)),
        np.nan if test is None else error_share(test, w),
        np.nan
        if attack is None
        else float(adversarial_error(held_out, w, attack, key=jr.fold_in(key, 2**31 - 1))),
    )


def loss_digest(loss: AbstractLoss) -> str:
    """Return a digest of a loss's arrays: data, and what else is no weight, as frozen ones."""
    return digest(*fixed_arrays(loss))
