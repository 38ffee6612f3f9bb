"""Training under any rule, full batch or in mini-batches, that stops and goes on bit for bit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._schedule import at, check_steps
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point, Scalar, V
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled, is_eager
from samflow.losses.finite_sum import FiniteSum
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.monitoring import Monitor
from samflow.networks.training.attacks import PGD, attacked, attacked_batch, in_memory
from samflow.networks.training.states import (
    Store,
    TrainState,
    check_state,
    saved_monitor,
    step_settings,
)
from samflow.rules import Ascent
from samflow.systems import AdaptiveMap, Map

_ESCAPE = 1e6
"""A training has diverged when ‖w‖ exceeds this times ‖w‖ at the start of the call."""
_TOLD_EVERY = 100


class Trained(NamedTuple):
    """How a training ended.

    Attributes:
        state: the last state before that; to go on from.
        status: out of steps (all epochs were made), diverged (‖w‖ is a million times what it was at
            the start of the call, or after its first step from w = 0), or not finite.
        failed_at: (epoch, step) of the step that failed; None if none did.

    """

    state: TrainState
    status: Status
    failed_at: tuple[int, int] | None = None


def first_state(
    system: Map | AdaptiveMap, w: ArrayLike, *, key: PRNGKeyArray | None = None
) -> TrainState:
    """Return the state before the first step: weights `w`, velocity 0, the rule's first memory.

    Args:
        system: the map.
        w: weights, shape (dim,).
        key: of the order of examples and of random attacks; None: key(0).

    Raises:
        ArgumentError: for weights of the wrong shape or not finite, and for what is no key.

    """
    _check_map(system)
    w = _checks.point("w", w, system.dim)
    key = jr.key(0) if key is None else key
    key_words(key)
    return TrainState(system.at(0).lift(w), key)


def switch(
    state: TrainState,
    before: Map | AdaptiveMap,
    after: Map | AdaptiveMap,
    *,
    momentum: str = "keep",
) -> TrainState:
    """Return the state with which `after` goes on where `before` has come to.

    Weights, key, epoch and step are kept. The velocity v is in units of gradients, so that it is
    kept as it is though lr may change. A rule's memory is kept if both rules are of one kind, and
    otherwise begins anew at the weights.

    Args:
        state: of `before`.
        before: the map so far.
        after: the map from now on, of as many weights.
        momentum: "keep", as one optimiser whose rule changes; or "zero", as two optimisers, which
            is what the code of Zhou et al. 2024 does. The memory of the rule goes with it. The
            moments of a base are kept as the velocity is, if both maps have a base of one kind.

    Raises:
        ArgumentError: for maps of different numbers of weights, and a state that is not of
            `before`.

    """
    check_state(state, before)
    _checks.known("momentum", momentum, ("keep", "zero"))
    if before.dim != after.dim:
        raise _checks.ArgumentError(
            f"Argument `after` must have {before.dim} weights, as `before`, but has {after.dim}."
        )
    dim = after.dim
    z = after.lift(before.position(state.z))
    if momentum == "keep" and _of_one_kind(before, after):
        z = z.at[dim : _plain_dim(after)].set(state.z[dim : _plain_dim(before)])
    if momentum == "keep" and type(before.rule) is type(after.rule):
        z = jnp.concatenate([z[: _plain_dim(after)], state.z[_plain_dim(before) :]])
    return state._replace(z=z)


def _plain_dim(system: Map | AdaptiveMap) -> int:
    """Return the length of the state without the rule's memory."""
    if isinstance(system, AdaptiveMap):
        return system.dim + system.base.size(system.dim)
    return system.dim if system.momentum is None else 2 * system.dim


def _of_one_kind(before: Map | AdaptiveMap, after: Map | AdaptiveMap) -> bool:
    """Say whether both remember a velocity, or the same moments of one base."""
    if isinstance(before, AdaptiveMap) and isinstance(after, AdaptiveMap):
        alike = type(before.base) is type(after.base)
        return alike and before.base.num_powers == after.base.num_powers
    if isinstance(before, AdaptiveMap) or isinstance(after, AdaptiveMap):
        return False
    return before.momentum is not None and after.momentum is not None


def _check_map(system: Any) -> None:
    if not isinstance(system, AdaptiveMap):
        _checks.instance("system", system, Map, "Use `sf.Map(loss, rule, lr=...)`.")


def train(
    system: Map | AdaptiveMap,
    state: TrainState,
    *,
    until: int,
    batch_size: int | None = None,
    drop_last: bool = False,
    attack: PGD | None = None,
    save_to: str | os.PathLike[str] | None = None,
    save_every: int = 1000,
    on_step: Callable[[TrainState], None] | None = None,
    monitor: Monitor | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Trained:
    """Go on from `state` until so many epochs are made in all.

    In epoch e the examples are taken in an order that (key, e) alone decide, `batch_size` at a
    time; of the full batch an epoch is one step. All gradients of a step are those of its batch.
    A run that was stopped, saved and loaded, within an epoch or at its end, goes through the same
    bits as one that was not.

    A map with schedules changes with the step, which is counted from the start of training on,
    through all epochs and calls.

    With an attack the inputs of a step's batch are perturbed once, at the weights before the
    step, and all gradients of the step are taken on these inputs: SAM's ascent, too, and its
    second gradient. A rule that takes the whole loss besides sees it unperturbed.

    Args:
        system: the map, on the whole loss; it may have schedules.
        state: from `first_state`, `switch`, `load_state` or an earlier call.
        until: epochs from the start of training, not of this call.
        batch_size: examples a step; None for all of them.
        drop_last: whether the examples that are left at the end of an epoch, fewer than a batch,
            are left out; otherwise they make a batch of their own, whose mean counts as much.
        attack: for adversarial training.
        save_to: an .npz file for the state: written every `save_every` steps, at the end, and
            when the run is interrupted or fails; the message then says how to go on.
        save_every: steps.
        on_step: called with the first state and with that after every step.
        monitor: looks at the training every k steps; `monitor.record` has its rows. In `save_to` it
            is saved with the state, so that `load_state(..., monitor=monitor)` resumes both.
        progress: called about every 100 steps and at the end of an epoch.

    Returns:
        A `Trained`; a run that diverges, or is not finite, ends at the step that does, and says
        so.

    Not guaranteed: the same bits on another machine, with other versions of JAX, or with a module
    of PyTorch whose operations are not deterministic.

    Raises:
        ArgumentError: for a state that is not of the system or is beyond `until`, a batch larger
            than the data, a loss without examples where there is a batch size, a loss that cannot
            be attacked, a file that cannot be written, and a schedule out of range at a step up to
            `until`.

    """
    how = how_to_train(system, batch_size, drop_last, attack)
    check_state(state, system)
    until = _checks.count("until", until)
    every = _checks.count("save_every", save_every)
    store = None
    if save_to is not None:
        path = _checks.writable("save_to", save_to, (".npz",))
        store = Store(path, step_settings(system, batch_size, drop_last, attack), every, system)
    if monitor is None:
        return run(how, state, until, store=store, on_step=on_step, progress=progress)
    _checks.instance("monitor", monitor, Monitor, "Use `sf.networks.Monitor(every=...)`.")
    if store is not None:
        store = store._replace(arrays=lambda: saved_monitor(monitor))
    try:
        seen = _watched(how, monitor, on_step)
        return run(how, state, until, store=store, on_step=seen, progress=progress)
    finally:
        monitor.write()


def _watched(
    how: "How", monitor: Monitor, on_step: Callable[[TrainState], None] | None
) -> Callable[[TrainState], None]:
    """Return `on_step` after the monitor has seen the state."""

    def seen(state: TrainState) -> None:
        monitor.see(how.system, state.z, step=how.taken(state), epoch=state.epoch)
        if on_step is not None:
            on_step(state)

    return seen


class How(NamedTuple):
    """How a step is made, in the terms of `train`; `how_to_train` checks it."""

    system: Map | AdaptiveMap
    batch_size: int | None
    drop_last: bool
    attack: PGD | None

    @property
    def num_batches(self) -> int:
        """Steps an epoch."""
        if self.batch_size is None:
            return 1
        n = _examples(self.system.loss)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    @property
    def deterministic(self) -> bool:
        """Whether every step is the same map."""
        return self.batch_size is None and self.attack is None and not self.system.schedules

    def taken(self, state: TrainState) -> int:
        """Return the number of steps from the start of training on."""
        return state.epoch * self.num_batches + state.step

    def order(self, state: TrainState) -> NumpyArray | None:
        """Return the order of the examples in the state's epoch; None for the full batch."""
        if self.batch_size is None:
            return None
        key = jr.split(jr.fold_in(state.key, state.epoch))[0]
        return np.asarray(jr.permutation(key, _examples(self.system.loss)))

    def step(self, state: TrainState, order: NumpyArray | None) -> tuple[TrainState, Scalar]:
        """Return the next state and the norm of its weights, NaN unless all of it is finite."""
        z, size = self._moved(state, order)
        step = state.step + 1
        if step == self.num_batches:
            return TrainState(z, state.key, state.epoch + 1, 0), size
        return TrainState(z, state.key, state.epoch, step), size

    def _moved(self, state: TrainState, order: NumpyArray | None) -> tuple[Point, Scalar]:
        system = at(self.system, self.taken(state), AbstractLoss)  # to bind a method takes longer
        begin = state.step * (self.batch_size or 0)
        chosen = None if order is None else order[begin : begin + (self.batch_size or 0)]
        if chosen is not None and self.attack is None and not is_eager(system.loss):
            return _step_on_batch(system, state.z, chosen)
        if self.attack is None:
            loss = system.loss if chosen is None else _batch(system, chosen)
        else:
            loss = self._attacked(self.attack, state, chosen)
        return _step(_on(system, loss), state.z)

    def _attacked(self, attack: PGD, state: TrainState, chosen: NumpyArray | None) -> AbstractLoss:
        system, keys = self.system, jr.split(jr.fold_in(state.key, state.epoch))
        w, key = system.position(state.z), jr.fold_in(keys[1], state.step)
        if chosen is None:
            return attacked(system.loss, w, attack, key)
        if in_memory(system.loss):
            return attacked_batch(system.loss, chosen, w, attack, key)
        return attacked(_batch(system, chosen), w, attack, key)


def how_to_train(
    system: Map | AdaptiveMap, batch_size: int | None, drop_last: bool, attack: PGD | None
) -> How:
    """Check the settings of a step."""
    _check_map(system)
    _checks.instance("drop_last", drop_last, bool)
    if attack is not None:
        _checks.instance("attack", attack, PGD, "Use `sf.networks.PGD(epsilon)`.")
        if in_memory(system.loss):
            attack.check_inputs(system.loss.x)
    if batch_size is not None:
        batch_size = _checks.count("batch_size", batch_size)
        n = _examples(system.loss)
        if batch_size > n:
            raise _checks.ArgumentError(
                f"Argument `batch_size` must be at most the number of examples, {n}, but is "
                f"{batch_size}."
            )
    return How(system, batch_size, drop_last, attack)


def _examples(loss: AbstractLoss) -> int:
    if not isinstance(loss, (FiniteSum, AbstractNetworkLoss)):
        raise _checks.ArgumentError(
            f"Argument `batch_size` must be None for {loss.name}, which is not a mean over "
            "examples."
        )
    return loss.num_examples


def _batch(system: Map | AdaptiveMap, chosen: NumpyArray) -> AbstractLoss:
    """Return the loss of a batch as arrays that are there, without data on disk behind it."""
    loss: Any = system.loss
    drawn = loss.batch(chosen)
    if not is_eager(loss) or system.rule.ascent is Ascent.over_whole or is_eager(drawn):
        return drawn
    return eqx.tree_at(lambda s: s.whole, drawn, None, is_leaf=lambda leaf: leaf is None)


def _on(system: Any, loss: AbstractLoss) -> Any:
    return eqx.tree_at(lambda s: s.loss, system, loss)


# The data are arguments of these programs, and no program holds a loop of steps.
@eqx.filter_jit
def _step_on_batch(system: Map | AdaptiveMap, z: V, chosen: Any) -> tuple[V, Scalar]:
    loss: Any = system.loss
    return _moved(_on(system, loss.batch(chosen)), z)


@compiled
def _step(system: Map | AdaptiveMap, z: V) -> tuple[V, Scalar]:
    return _moved(system, z)


def _moved(system: Map | AdaptiveMap, z: V) -> tuple[V, Scalar]:
    z = system.step(z)
    # A velocity is in other units than weights: it counts only where it is not finite.
    finite = jnp.isfinite(jnp.linalg.norm(z))
    return z, jnp.where(finite, jnp.linalg.norm(system.position(z)), jnp.nan)


def run(
    how: How,
    state: TrainState,
    until: int,
    *,
    store: Store | None = None,
    on_step: Callable[[TrainState], None] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Trained:
    """Do what `train` does, with settings that are checked and a place to save that is made."""
    if state.epoch > until or (state.epoch == until and state.step > 0):
        raise _checks.ArgumentError(
            f"Argument `until` must be at least the state's epoch, {state.epoch}, but is {until}."
        )
    first = how.taken(state)
    check_steps(how.system.schedules, first, until * how.num_batches - first)
    now = [state]
    try:
        ended = _follow(how, now, until, store, on_step, progress)
    except BaseException as error:
        if store is not None:
            store.write(now[0])
            error.add_note(_how_to_go_on(now[0], store.path))
        raise
    if store is not None:
        store.write(ended.state)
    return ended


def _follow(
    how: How,
    now: list[TrainState],
    until: int,
    store: Store | None,
    on_step: Callable[[TrainState], None] | None,
    progress: Callable[[str], None],
) -> Trained:
    """Make the steps; `now` always holds the last state that is complete."""
    order, made = how.order(now[0]), 0
    length = float(jnp.linalg.norm(how.system.position(now[0].z)))
    if on_step is not None:
        on_step(now[0])
    while now[0].epoch < until:
        here = now[0]
        after, size = how.step(here, order)
        length = length or float(size)
        if not float(size) <= _ESCAPE * length:
            status = Status.diverged if np.isfinite(float(size)) else Status.not_finite
            progress(f"{status.label} at epoch {here.epoch}, step {here.step}")
            return Trained(here, status, (here.epoch, here.step))
        now[0], made = after, made + 1
        if after.epoch != here.epoch:
            order = how.order(after)
        if on_step is not None:
            on_step(after)
        if made % _TOLD_EVERY == 0 or (how.num_batches > 1 and after.step == 0):
            progress(f"epoch {after.epoch} of {until}, step {after.step} of {how.num_batches}")
        if store is not None and made % store.every == 0:
            store.write(after)
    return Trained(now[0], Status.out_of_steps)


def _how_to_go_on(state: TrainState, path: Path) -> str:
    return (
        f"The state after epoch {state.epoch}, step {state.step} is in {str(path)!r}. To continue, "
        "load it with `load_state` and call `train` again; or repeat the call that wrote it, if "
        "that call resumes by itself."
    )
