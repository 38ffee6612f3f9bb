"""A checkpoint that goes on under another rule, checked against the theory of late SAM."""

import os
from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import Point
from samflow.equilibria._units import bending_along
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import few_outputs, same_outputs
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.checkpoints import Checkpoint
from samflow.networks.training.attacks import PGD
from samflow.networks.training.loop import How, first_state, how_to_train
from samflow.networks.training.states import Store, TrainState, check_state, step_settings
from samflow.records import provenance
from samflow.spectra.curvature import Trace, trace
from samflow.switching.connectivity import Barrier, path_barrier
from samflow.switching.modes import leading_mode
from samflow.switching.orbit_analysis import (
    FEWEST_STEPS,
    MAPS_ALONE,
    NUM_STEPS,
    Study,
    analyse,
    analyse_noisy,
)
from samflow.switching.perturbations import kick_size
from samflow.switching.records import LateSwitch
from samflow.switching.training_runs import TrainingRun, loss_digest
from samflow.systems import Map
from samflow.systems.base import check_fixed

_ROWS = 20

Recompute = Callable[[Point], AbstractLoss]
"""Weights to the training loss with batch norm's statistics recomputed at these weights."""


@_checks.untraced()
def late_switch(
    system: Map,
    checkpoint: Checkpoint,
    *,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    drop_last: bool = False,
    attack: PGD | None = None,
    start: TrainState | None = None,
    key: PRNGKeyArray | None = None,
    displacement: float | None = None,
    test: AbstractLoss | None = None,
    measure_every: int | None = None,
    trace_products: int = 0,
    recompute: Recompute | None = None,
    num_points: int = 101,
    save_to: str | os.PathLike[str] | None = None,
    save_every: int = 1000,
    progress: Callable[[str], None] = lambda message: None,
) -> LateSwitch:
    """Go on from trained weights under `system`, and check the theory of late SAM (P1 to P4).

    P1: the motion along the leading eigenvector v grows by log|μ| a step, μ the leading
    multiplier at the effective curvature U = vᵀDv of the rule's direction, measured; where the
    rule does not leave the start, that motion does not grow. P2: no barrier on the straight line
    from start to end. P3: it ends flatter, below the rule's edge of stability. P4: the motion
    dies out by log|μ| a step, at the end. P1 and P4 are claimed for the full batch, and for rules
    that are differentiable at a critical point (GD, USAM); otherwise numbers stand beside each
    other, and "not claimed". `two_phase` is the same study from a minimum that GD finds.

    Args:
        system: the map from the switch on, on the checkpoint's loss; other `options`, as
            `make_map` may set them, are told in `notes`.
        checkpoint: weights with their loss; the switch happens there.
        num_epochs: epochs after the switch, needed in mini-batches; of the full batch an epoch is
            one step, there must be 50, and None is 2000.
        batch_size: examples a step; None for all of them.
        drop_last: as for `train`.
        attack: for adversarial training from the switch on.
        start: the state to go on from, as `switch` makes it: with a velocity, and with the order
            of examples that the training before had. None: velocity 0, `key`, epoch 0.
        key: of the order of examples, of attacks and of the trace; None: key(0).
        displacement: length of a kick along v at the switch: a minimum is a fixed point. None: for
            the full batch 1e-7 ‖w‖, or less, so that an escape at the predicted rate takes 14 steps
            in the linear regime; for w = 0 the distance over which the Hessian changes takes the
            place of ‖w‖. In mini-batches 0.
        test: the loss on held-out data, for its value and its error.
        measure_every: epochs between two rows of the table; None: 20 rows.
        trace_products: products for each of two traces, at least 6; 0 leaves them out.
        recompute: takes weights and returns the training loss with batch norm's statistics of
            the data at these weights, for the barrier. None: `with_statistics` of the loss, where
            it `has_statistics`.
        num_points: points of the barrier's line.
        save_to: an .npz file for the state and all that was seen. If it is there, from the same
            call, the run goes on from it, with the same bits.
        save_every: steps.
        progress: called with a sentence before each stage and about every 100 steps.

    Returns:
        A `LateSwitch`. P1 and P4 are "not measured", with the reason, where there is no exponential
        stretch, where the predicted rate changes along it by more than a tenth, or where the fit's
        interval is wider than the tolerance. P2 to P4 are "not measured" for an orbit without an
        end: one that diverged, or, of the full batch, one that has not settled.

    To fit P4 and the drift of λ within the windows of P1 and P4, a full-batch run is made up to
    three times more, so that only the weights at the ends and in the middle of windows are held.

    Not guaranteed: that a minimum is under the start; `diagnose` says how near one is. A barrier
    narrower than the spacing of the points can be missed.

    Raises:
        ArgumentError: in single precision; for weights, states and losses that do not fit each
            other, as those of other data, buffers or frozen weights, numbers out of range, what
            `train` refuses, and a file of other settings.

    Source: Zhou et al. 2024 (arXiv 2410.10373), with the exact rates of docs/theory.

    """
    _checks.double_precision("`late_switch`")
    _checks.instance("system", system, Map, MAPS_ALONE)
    how = how_to_train(system, batch_size, drop_last, attack)
    check_fixed(system)
    num_epochs = _epochs(num_epochs, how)
    _check(checkpoint, system, test)
    num_points = _checks.count("num_points", num_points, minimum=3)
    _checks.count("trace_products", trace_products, minimum=0)
    every = _checks.count("save_every", save_every)
    path = None if save_to is None else _checks.writable("save_to", save_to, (".npz",))
    if displacement is not None:
        displacement = _checks.nonnegative("displacement", displacement)
    key = jr.key(0) if key is None else key
    start = _first(checkpoint, system, start, key)
    progress("curvature at the switch")
    w = system.position(start.z)
    here = leading_mode(system, w)
    v = jnp.asarray(here.v)
    length = float(jnp.linalg.norm(w)) or bending_along(system.loss, w, v) or 1.0
    if displacement is None:
        quick = kick_size(np.asarray(w), here.v, length, here.growth)
        displacement = quick if how.deterministic else 0.0
    if displacement:
        start = start._replace(z=start.z.at[: system.dim].add(displacement * v))
    made = TrainingRun(how, start, here.v, _measured_epochs(num_epochs, measure_every), test)
    store = None
    if path is not None:
        settings = step_settings(system, batch_size, drop_last, attack) | made.settings()
        store = Store(path, settings, every, system)
    ended = made.make(store, progress)
    motion, epochs = made.motion(ended.status), sorted(made.epochs)
    measured = np.array([made.epochs[epoch] for epoch in epochs])
    if how.deterministic:
        found, losses = analyse(system, here, motion, length, progress), motion.losses
    else:
        found = analyse_noisy(system, motion, system.position(ended.state.z))
        losses = measured[:, 0]
    barriers = _barriers(system.loss, w, found.end, recompute, num_points)
    progress("traces" if trace_products else "done")
    study = Study(how, w, here, motion, losses, found, barriers, key)
    return study.record(
        failed_at=ended.failed_at,
        notes=_notes(system.loss, barriers) + _changed_options(checkpoint.loss, system.loss),
        provenance=provenance(
            system.describe(), source=checkpoint.source, num_epochs=num_epochs,
            displacement=displacement, batch_size=batch_size, drop_last=drop_last,
            num_points=num_points, attack=None if attack is None else attack.describe(),
            **made.settings(),
        ),
        trace=_traces(system.loss, (w, found.end), trace_products, key),
        epochs=np.array(epochs),
        measured=measured,
    )  # fmt: skip


def _epochs(num_epochs: int | None, how: How) -> int:
    if num_epochs is None and not how.deterministic:
        raise _checks.ArgumentError(
            "Argument `num_epochs` is missing. With mini-batches, or under attack, give the number "
            "of epochs after the switch."
        )
    least = FEWEST_STEPS if how.deterministic else 1
    asked = NUM_STEPS if num_epochs is None else num_epochs
    return _checks.count("num_epochs", asked, minimum=least)


def _check(checkpoint: Checkpoint, system: Map, test: AbstractLoss | None) -> None:
    _checks.instance("checkpoint", checkpoint, Checkpoint, "Use `sf.networks.Checkpoint(loss, w)`.")
    for name, loss in (("checkpoint", checkpoint.loss), ("test", test)):
        if loss is not None and loss.dim != system.dim:
            raise _checks.ArgumentError(
                f"Argument `{name}` must have {system.dim} weights, as the system's loss, but has "
                f"{loss.dim}."
            )
    differ = _differences(checkpoint.loss, system.loss, checkpoint.w)
    if differ:
        raise _checks.ArgumentError(
            f"Argument `system` must have the checkpoint's loss, {checkpoint.loss.name}, but its "
            f"loss, {system.loss.name}, has different {' and '.join(differ)}. Make the map of "
            "`checkpoint.loss`."
        )


def _differences(one: AbstractLoss, other: AbstractLoss, w: Point) -> list[str]:
    """Return in what two losses differ besides their options; their outputs are compared at w."""
    if one is other:
        return []
    if isinstance(one, AbstractNetworkLoss) and isinstance(other, AbstractNetworkLoss):
        alike = one.weight_names == other.weight_names and one.weight_shapes == other.weight_shapes
        found = [] if alike else ["weights"]
    else:
        found = [] if one.name == other.name else ["values"]
    if loss_digest(one) != loss_digest(other):
        found.append("data or arrays beside the weights, such as running statistics")
    if not found and not same_outputs(other, few_outputs(one, w), few_outputs(other, w)):
        found.append("outputs, as with another activation")
    return found


def _changed_options(before: AbstractLoss, after: AbstractLoss) -> tuple[str, ...]:
    if not (isinstance(before, AbstractNetworkLoss) and isinstance(after, AbstractNetworkLoss)):
        return ()
    old, new = before.options._asdict(), after.options._asdict()
    return tuple(
        f"The checkpoint's loss has {name}={old[name]!r}, that of the map {new[name]!r}."
        for name in old
        if old[name] != new[name]
    )


def _first(
    checkpoint: Checkpoint, system: Map, start: TrainState | None, key: PRNGKeyArray
) -> TrainState:
    if start is None:
        return first_state(system, checkpoint.w, key=key)
    check_state(start, system, "start")
    if not np.array_equal(system.position(start.z), checkpoint.w):
        raise _checks.ArgumentError(
            "Argument `start` must have the checkpoint's weights, but has different ones."
        )
    return start


def _measured_epochs(num_epochs: int, measure_every: int | None) -> set[int]:
    every = max(1, num_epochs // _ROWS) if measure_every is None else measure_every
    every = _checks.count("measure_every", every)
    return {*range(0, num_epochs, every), num_epochs}


def _barriers(
    loss: AbstractLoss, start: Point, end: Point, recompute: Recompute | None, num_points: int
) -> tuple[Barrier, Barrier | None]:
    """Return the barrier as the loss is, and with batch norm's statistics recomputed."""
    plain = path_barrier(lambda w: loss, start, end, num_points)
    if recompute is None and isinstance(loss, AbstractNetworkLoss) and loss.has_statistics:
        recompute = loss.with_statistics
    if recompute is None:
        return plain, None
    return plain, path_barrier(recompute, start, end, num_points)


def _traces(
    loss: AbstractLoss, points: tuple[Point, Point], num_products: int, key: PRNGKeyArray
) -> tuple[Trace, Trace] | None:
    if not num_products or not all(np.isfinite(np.asarray(w)).all() for w in points):
        return None
    # The same probes at both ends: their differences are less random than they.
    probes = jr.fold_in(key, 0)
    return tuple(trace(loss, w, num_products=num_products, key=probes) for w in points)  # pyright: ignore[reportReturnType]


def _notes(loss: AbstractLoss, barriers: tuple[Barrier, Barrier | None]) -> tuple[str, ...]:
    if not isinstance(loss, AbstractNetworkLoss) or loss.options.batch_norm == "none":
        return ()
    if loss.options.batch_norm == "train" and not loss.has_statistics:
        return ("Batch norm takes the statistics of all the data at every point of the line.",)
    if barriers[1] is None and not loss.has_statistics:
        return (
            "Batch norm's statistics were not recomputed along the line: give `recompute` to have "
            "the barrier without their mismatch.",
        )
    return ()
