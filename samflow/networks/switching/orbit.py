"""A run after a late switch: made, followed, and its rates fitted."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import fixed_arrays
from samflow.networks.switching.phases import Local, local
from samflow.networks.switching.watch import Watch, again, bend, measure, series
from samflow.networks.training.loop import How, Trained, run
from samflow.networks.training.states import Store, TrainState, digest
from samflow.spectra.directions import roots
from samflow.valleys import Rate, fit_rate
from samflow.valleys.rates import NO_RATE
from samflow.valleys.settling import LEAST_TAIL, final_rate, settle

_SMALL = 0.03
"""Up to this part of its peak the motion is taken to be linear: no weights are kept to see it."""


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
    return digest(*fixed_arrays(loss))


class Found(NamedTuple):
    """What the orbit shows: how it ended, where, and the rates."""

    status: Status
    settled_at: int
    end: Point
    there: Local
    escape: Rate
    while_escaping: tuple[float, ...] = ()
    convergence: Rate = NO_RATE
    while_settling: tuple[float, ...] = ()
    settling: NumpyArray = np.zeros(0)


def followed(plan: Plan, here: Local, store: Store | None) -> tuple[Watch, Trained]:
    """Make the run, or the rest of it."""
    watch = Watch(plan.how, plan.start, jnp.asarray(here.v), plan.measure, plan.epochs)
    state = plan.start
    if store is not None:
        store = store._replace(arrays=watch.arrays)
        if store.path.exists():
            state, arrays = store.read()
            watch.restore(arrays)
            plan.progress(f"going on from epoch {state.epoch}, step {state.step}")
    plan.progress("following the run after the switch")
    ended = run(plan.how, state, plan.until, store=store, on_step=watch.see, progress=plan.progress)
    return watch, ended


def losses(plan: Plan, watch: Watch) -> NumpyArray:
    """Return the training loss at every step, or where it was measured."""
    return series(watch.steps, 0) if plan.how.deterministic else series(watch.epochs, 0)


def analysed(plan: Plan, watch: Watch, ended: Trained, here: Local) -> Found:
    """Return where the run ended and how fast it left and settled."""
    if plan.how.deterministic:
        return _of_one_map(plan, watch, ended, here)
    return _of_noisy_steps(plan, watch, ended, here)


def _of_noisy_steps(plan: Plan, watch: Watch, ended: Trained, here: Local) -> Found:
    system, failed = plan.how.system, ended.status is not Status.out_of_steps
    moved = np.abs(series(watch.steps, 1))
    end = system.position(ended.state.z) * (jnp.nan if failed else 1.0)
    return Found(
        status=ended.status,
        settled_at=len(moved) - 1,
        end=end,
        there=_nowhere(here) if failed else local(system, system.loss, end),
        escape=fit_rate(moved, growing=True),
    )


def _of_one_map(plan: Plan, watch: Watch, ended: Trained, here: Local) -> Found:
    system, failed = plan.how.system, ended.status is not Status.out_of_steps
    escaping, bends = series(watch.bends, 0), series(watch.bends, 1)
    status, settled = ended.status, max(len(bends) - 1, 0)
    if not failed:
        typical = here.sharpness * float(np.linalg.norm(system.position(plan.start.z))) ** 2
        status, settled = settle(series(watch.steps, 0)[: len(bends)], bends, typical)
    top = int(np.argmax(bends)) if len(bends) else 0
    escape = _escape(np.abs(escaping[: top + 1]))
    plan.progress("curvature along the way")
    wanted = _window(escape) + ([] if failed else [settled])
    places = _filtered(plan, wanted)
    expected = _along_window(plan, escape, places)
    if failed:
        nowhere = system.position(plan.start.z) * jnp.nan
        return Found(status, settled, nowhere, _nowhere(here), escape, expected)
    end = places[settled]
    plan.progress("curvature at the end")
    there = local(system, system.loss, end)
    rate, settling = _convergence(plan, status, there, top, settled, len(bends))
    later = _along_window(plan, rate, _filtered(plan, _window(rate)))
    return Found(status, settled, end, there, escape, expected, rate, later, settling)


def _escape(moved: NumpyArray) -> Rate:
    """Return the rate of growth while the motion is small, or, if that is too short, of it all."""
    large = np.flatnonzero(~(moved <= _SMALL * moved.max(initial=0.0)))
    rate = fit_rate(moved[: large[0]] if large.size else moved, growing=True)
    return rate if rate.found else fit_rate(moved, growing=True)


def _nowhere(here: Local) -> Local:
    nan = math.nan
    return Local(nan, nan, here.v * nan, nan, nan, nan, nan)


def _convergence(
    plan: Plan, status: Status, there: Local, top: int, settled: int, count: int
) -> tuple[Rate, NumpyArray]:
    """Return the rate of P4, and the motion along the leading eigenvector at the end."""
    needed = min(count, max(settled + 1, top + LEAST_TAIL))
    settling = _along_bends(plan, there.v, needed)
    if status is not Status.converged or not math.isfinite(there.curvature):
        return NO_RATE, settling
    modes = roots(plan.how.system, there.curvature)
    moved = np.abs(settling[top:])
    small = top + int(np.argmax(moved <= _SMALL * moved.max(initial=0.0))) if moved.size else top
    late = final_rate(settling, small, settled, modes)
    return (late if late.found else final_rate(settling, top, settled, modes)), settling


def _along_bends(plan: Plan, v: NumpyArray, count: int) -> NumpyArray:
    found, recent = [], []
    for w in again(plan.how, plan.start, count + 2):
        recent = [*recent[-2:], w]
        if len(recent) == 3:
            found.append(float(bend(tuple(recent), jnp.asarray(v))[0]))
    return np.array(found)


def _window(rate: Rate) -> list[int]:
    return [rate.start, (rate.start + rate.stop) // 2, rate.stop] if rate.found else []


def _filtered(plan: Plan, steps: Iterable[int]) -> dict[int, Point]:
    """Return (w[k] + 2w[k+1] + w[k+2])/4 at each of `steps`."""
    wanted, found, recent = set(steps), {}, []
    for k, w in enumerate(again(plan.how, plan.start, max(wanted, default=-3) + 3)):
        recent = [*recent[-2:], w]
        if k - 2 in wanted:
            found[k - 2] = (recent[0] + 2 * recent[1] + recent[2]) / 4
    return found


def _along_window(plan: Plan, rate: Rate, places: dict[int, Point]) -> tuple[float, ...]:
    """Return log|μ| at the curvature measured at a window's first step, middle and last step."""
    system = plan.how.system
    points = [places[k] for k in _window(rate)]
    if not all(np.isfinite(np.asarray(w)).all() for w in points):
        return (math.inf,) * 3
    return tuple(local(system, system.loss, w).growth for w in points)
