"""When to switch: one rule, then another, from several starts, at several epochs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.networks.training.attacks import PGD
from samflow.networks.training.loop import How, Trained, first_state, how_to_train, run, switch
from samflow.networks.training.states import Store, TrainState, digest, step_settings
from samflow.records import provenance
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.switching.connectivity import path_barrier
from samflow.switching.sweep_records import QUANTITIES, SwitchSweep
from samflow.switching.training_runs import loss_digest, measure
from samflow.systems import Map
from samflow.systems.base import check_fixed

_MEASURED = "measured"


@_checks.untraced(None)
def sweep_switch(
    before: Map,
    after: Map,
    w0: ArrayLike,
    *,
    total_epochs: int,
    switch_epochs: Sequence[int],
    batch_size: int | None = None,
    drop_last: bool = False,
    attack: PGD | None = None,
    attack_before: PGD | None = None,
    momentum: str = "keep",
    key: PRNGKeyArray | None = None,
    test: AbstractLoss | None = None,
    sharpness_tol: float = 1e-3,
    num_points: int = 51,
    save_to: str | os.PathLike[str] | None = None,
    save_every: int = 1000,
    progress: Callable[[str], None] = lambda message: None,
) -> SwitchSweep:
    """Train under `before`, go on under `after` from several epochs on, and compare the ends.

    `after` all along and `before` all along are always among the arms. Of each start the part
    under `before` is made once. The examples come in the same order at the same epochs in all
    arms of a seed; seed i takes fold_in(key, i).

    Args:
        before: the map up to the switch.
        after: the map from the switch on, of the same loss. The same map with an `attack` is
            adversarial training switched on late.
        w0: first weights, shape (num_seeds, dim); a single start, (dim,), is one seed.
        total_epochs: epochs in all.
        switch_epochs: epochs at which to switch, each from 0 to `total_epochs`.
        batch_size: as for `train`.
        drop_last: as for `train`.
        attack: from the switch on.
        attack_before: up to the switch.
        momentum: what becomes of the velocity at the switch, as for `switch`.
        key: None: key(0).
        test: the loss on held-out data.
        sharpness_tol: largest accepted residual of an eigenvalue, as a part of it.
        num_points: points of the line from switch to end.
        save_to: a folder for states and results, made if it is not there. What is in it from the
            same sweep is not made again, and a run that was stopped goes on, with the same bits;
            a sweep of another `total_epochs` takes another folder.
            `load_state` takes the end of seed 1 under `after` from epoch 20 on from
            seed1/after_00020.npz.
        save_every: steps.
        progress: called with a sentence before each run and about every 100 steps.

    Returns:
        A `SwitchSweep`. A run that diverges says so in `status`, and its results are NaN, as are
        those of arms that would switch after that.

    Raises:
        ArgumentError: in single precision; for weights and maps that do not fit each other, epochs
            out of range, what `train` refuses, a folder that cannot be written, and a folder with
            files of other settings.

    Source: Zhou et al. 2024 (arXiv 2410.10373), section 3, for the question.

    """
    _checks.double_precision("`sweep_switch`")
    hows = (
        how_to_train(before, batch_size, drop_last, attack_before),
        how_to_train(after, batch_size, drop_last, attack),
    )
    check_fixed(before, "before")
    check_fixed(after, "after")
    starts = jnp.atleast_2d(_checks.point("w0", w0, before.dim, batched=True))
    if before.dim != after.dim:
        raise _checks.ArgumentError(
            f"Argument `after` must have {before.dim} weights, as `before`, but has {after.dim}."
        )
    total = _checks.count("total_epochs", total_epochs)
    epochs = _arms(switch_epochs, total)
    _checks.known("momentum", momentum, ("keep", "zero"))
    key = jr.key(0) if key is None else key
    tol = _checks.positive("sharpness_tol", sharpness_tol)
    num_points = _checks.count("num_points", num_points, minimum=3)
    every, folder = _checks.count("save_every", save_every), _folder(save_to)
    plan = _Plan(hows, total, epochs, momentum, test, tol, num_points, folder, every, progress)
    made = []
    for i, w in enumerate(starts):
        start = first_state(before, w, key=jr.fold_in(key, i))
        made.append(_seed(plan, i, start))
    results = np.array([[results for results, _ in seed] for seed in made])  # (seed, arm, quantity)
    columns = {name: results[:, :, j].T for j, name in enumerate(QUANTITIES)}
    return SwitchSweep(
        total_epochs=total,
        before=_told(before, attack_before),
        after=_told(after, attack),
        provenance=provenance(
            before.describe(), after=after.describe(), momentum=momentum, batch_size=batch_size,
            drop_last=drop_last, attack=_shown(attack), attack_before=_shown(attack_before),
            key=key_words(key).tolist(), starts=digest(starts), sharpness_tol=sharpness_tol,
            num_points=num_points,
        ),
        switch_epochs=np.array(epochs),
        status=np.array([[int(status) for _, status in seed] for seed in made]).T,
        **columns,
    )  # fmt: skip


class _Plan(NamedTuple):
    hows: tuple[How, How]
    total: int
    epochs: list[int]
    momentum: str
    test: AbstractLoss | None
    tol: float
    num_points: int
    folder: Path | None
    every: int
    progress: Callable[[str], None]

    def store(self, seed: int, name: str, how: How, start: TrainState, **more: str) -> Store | None:
        """Return where a run is kept; `start` is the first state of its seed or arm."""
        if self.folder is None:
            return None
        folder = self.folder / f"seed{seed}"
        folder.mkdir(exist_ok=True)
        settings = step_settings(how.system, how.batch_size, how.drop_last, how.attack)
        settings["start"] = f"{digest(start.z, jr.key_data(start.key))} at {start.epoch}"
        return Store(folder / f"{name}.npz", settings | more, self.every, how.system)


def _arms(switch_epochs: Sequence[int], total: int) -> list[int]:
    epochs = {_checks.count("switch_epochs", epoch, minimum=0) for epoch in switch_epochs}
    if max(epochs, default=0) > total:
        raise _checks.ArgumentError(
            f"Argument `switch_epochs` must be at most `total_epochs`, {total}, but holds "
            f"{max(epochs)}."
        )
    return sorted(epochs | {0, total})


def _folder(path: str | os.PathLike[str] | None) -> Path | None:
    if path is None:
        return None
    path = Path(path)
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise _checks.ArgumentError(
                f"Argument `save_to` must be a folder that is writable, but {str(path)!r} is not."
            )
        return path
    _checks.writable("save_to", path)
    if path.exists():
        raise _checks.ArgumentError(
            f"Argument `save_to` must be a folder, but {str(path)!r} is a file."
        )
    path.mkdir()
    return path


def _told(system: Map, attack: PGD | None) -> str:
    return system.describe() if attack is None else f"{system.describe()}, under attack"


def _shown(attack: PGD | None) -> str | None:
    return None if attack is None else attack.describe()


def _seed(plan: _Plan, seed: int, start: TrainState) -> list[tuple[list[float], Status]]:
    """Return the results of every arm of a seed, and how its run ended."""
    before, after = plan.hows
    trunk, made = Trained(start, Status.out_of_steps), []
    for epoch in plan.epochs:
        plan.progress(f"seed {seed}: {before.system.rule.name} up to epoch {epoch}")
        if trunk.status is Status.out_of_steps:
            store = plan.store(seed, f"before_{epoch:05d}", before, start)
            trunk, _ = _made(plan, before, trunk.state, epoch, store)
        if trunk.status is not Status.out_of_steps:
            made.append(([float("nan")] * len(QUANTITIES), trunk.status))
            continue
        plan.progress(f"seed {seed}: {after.system.rule.name} from epoch {epoch}")
        here = trunk.state
        how = before if epoch == plan.total else after
        if how is after:
            here = switch(here, before.system, after.system, momentum=plan.momentum)
        made.append(_arm(plan, seed, epoch, how, here))
    return made


def _arm(
    plan: _Plan, seed: int, epoch: int, how: How, here: TrainState
) -> tuple[list[float], Status]:
    """Go on from the switch, and measure the end, or take both from disk."""
    # The results beside the state are those of its end.
    name, total = f"after_{epoch:05d}", str(plan.total)
    store = plan.store(seed, name, how, here, total_epochs=total)
    ended, arrays = _made(plan, how, here, plan.total, store)
    if ended.status is not Status.out_of_steps:
        return [float("nan")] * len(QUANTITIES), ended.status
    settings = f"{plan.tol} {plan.num_points} {_told_test(plan)}"
    if _MEASURED in arrays and str(arrays["measured with"]) == settings:
        return arrays[_MEASURED].tolist(), ended.status
    w, switched = how.system.position(ended.state.z), how.system.position(here.z)
    results = _measured(plan, w, switched, ended.state.key)
    if store is not None:
        beside = {_MEASURED: np.array(results), "measured with": np.array(settings)}
        store._replace(arrays=lambda: beside).write(ended.state)
    return results, ended.status


def _told_test(plan: _Plan) -> str:
    attacks = " ".join(str(_shown(how.attack)) for how in plan.hows)
    return f"{attacks} none" if plan.test is None else f"{attacks} {loss_digest(plan.test)}"


def _made(
    plan: _Plan, how: How, state: TrainState, until: int, store: Store | None
) -> tuple[Trained, dict[str, NumpyArray]]:
    """Make a run, or the rest of it, or nothing where its end is on disk."""
    arrays: dict[str, NumpyArray] = {}
    if store is not None and store.path.exists():
        state, arrays = store.read()
        store = store._replace(arrays=lambda: arrays)
        if state.epoch == until:
            return Trained(state, Status.out_of_steps), arrays
    return run(how, state, until, store=store, progress=plan.progress), arrays


def _measured(plan: _Plan, w: Point, switched: Point, key: PRNGKeyArray) -> list[float]:
    """Return `QUANTITIES` of a run that ended at `w`."""
    before, after = plan.hows
    loss = before.system.loss
    plan.progress("sharpness and errors")
    attack = after.attack or before.attack
    errors = measure(loss, w, test=plan.test, attack=attack, key=key)
    at_switch = _sharpness(loss, switched, plan.tol)[0]
    barrier = path_barrier(lambda w: loss, switched, w, plan.num_points).height
    return [*_sharpness(loss, w, plan.tol), at_switch, *errors, barrier]


def _sharpness(loss: AbstractLoss, w: Point, tol: float) -> tuple[float, float]:
    found = extreme_eigenpairs(loss, w, which="largest", tol=tol, compare=False)
    return float(found.values[-1]), float(found.residuals[-1])
