"""What is seen of a training while it runs, and kept with its state on disk."""

from collections.abc import Callable, Iterator, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import error_share, value
from samflow.networks.training.attacks import PGD, adversarial_error
from samflow.networks.training.loop import How
from samflow.networks.training.states import TrainState

Row = tuple[float, ...]


class Watch:
    """Looks at each state of a run; seeing one twice, as after a resumption, changes nothing.

    Attributes:
        steps: the training loss (NaN in mini-batches) and v·(w − w₀), by step.
        bends: v·Δ²w and ‖Δ²w‖ by step, of a deterministic run.
        epochs: `switch_records.COLUMNS` by epoch from the first state on.

    """

    def __init__(
        self,
        how: How,
        start: TrainState,
        v: Array,
        measure: Callable[[Point], Row],
        measured_epochs: set[int],
    ) -> None:
        """Look at a run from `start` on, along the unit vector `v`."""
        self._how, self._start, self._v = how, start, v
        self._w0 = how.system.position(start.z)
        self._measure, self._measured_epochs = measure, measured_epochs
        self._recent: dict[int, Array] = {}
        self.steps: dict[int, Row] = {}
        self.bends: dict[int, Row] = {}
        self.epochs: dict[int, Row] = {}

    def see(self, state: TrainState) -> None:
        """Look at the next state."""
        k = self._how.taken(state) - self._how.taken(self._start)
        epoch = state.epoch - self._start.epoch
        w = self._how.system.position(state.z)
        loss = np.nan
        if self._how.deterministic:
            loss = float(value(self._how.system.loss, w))
            self._bend(k, w)
        self.steps[k] = (loss, float(_along(w, self._w0, self._v)))
        due = epoch in self._measured_epochs and epoch not in self.epochs
        if due and (state.step == 0 or k == 0):
            self.epochs[epoch] = self._measure(w)

    def _bend(self, k: int, w: Array) -> None:
        self._recent = {i: each for i, each in self._recent.items() if i >= k - 2} | {k: w}
        if len(self._recent) == 3:
            last = (self._recent[i] for i in (k - 2, k - 1, k))
            self.bends[k - 2] = tuple(float(each) for each in bend(tuple(last), self._v))

    def arrays(self) -> dict[str, NumpyArray]:
        """Return all that was seen as arrays."""
        recent = list(self._recent.items())
        return {
            **_columns("steps", self.steps),
            **_columns("bends", self.bends),
            **_columns("epochs", self.epochs),
            "recent_at": np.array([k for k, _ in recent], dtype=int),
            "recent": np.array([np.asarray(w) for _, w in recent]),
        }

    def restore(self, arrays: Mapping[str, NumpyArray]) -> None:
        """Take up what `arrays` returned."""
        self.steps, self.bends, self.epochs = (
            _rows(arrays, name) for name in ("steps", "bends", "epochs")
        )
        recent = zip(arrays["recent_at"].tolist(), arrays["recent"], strict=True)
        self._recent = {k: jnp.asarray(w) for k, w in recent}


def _columns(name: str, rows: Mapping[int, Row]) -> dict[str, NumpyArray]:
    return {
        f"{name}_at": np.array(list(rows), dtype=int),
        name: np.array(list(rows.values()), dtype=float),
    }


def _rows(arrays: Mapping[str, NumpyArray], name: str) -> dict[int, Row]:
    return {
        k: tuple(row)
        for k, row in zip(arrays[f"{name}_at"].tolist(), arrays[name].tolist(), strict=True)
    }


def series(rows: Mapping[int, Row], column: int) -> NumpyArray:
    """Return one column in the order of the steps."""
    return np.array([rows[k][column] for k in sorted(rows)], dtype=float)


def again(how: How, start: TrainState, count: int) -> Iterator[Point]:
    """Yield the first `count` weights of a deterministic run, which is made once more."""
    state = start
    for k in range(count):
        yield how.system.position(state.z)
        state = how.step(state, None)[0] if k + 1 < count else state


def measure(
    loss: AbstractLoss,
    w: Point,
    *,
    test: AbstractLoss | None,
    attack: PGD | None,
    key: PRNGKeyArray,
) -> Row:
    """Return `switch_records.COLUMNS` at the weights `w`."""
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


@jax.jit
def _along(w: Array, w0: Array, v: Array) -> Array:
    return v @ (w - w0)


@eqx.filter_jit
def bend(last: tuple[Array, ...], v: Array) -> tuple[Array, Array]:
    """Return v·Δ²w and ‖Δ²w‖ of three weights in sequence."""
    first, second, third = last
    change = third - 2 * second + first
    return v @ change, jnp.linalg.norm(change)
