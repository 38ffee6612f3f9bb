"""A checkpoint that goes on under another rule, checked against the theory of late SAM."""

import math
import os
from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._status import Status
from samflow._types import Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import few_outputs, gradient_norm, same_outputs
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.checkpoints import Checkpoint
from samflow.networks.switching import phases
from samflow.networks.switching.orbit import Found, Plan, analysed, followed, loss_digest, losses
from samflow.networks.switching.phases import Local, local
from samflow.networks.switching.records import LateSwitch, SwitchPhase
from samflow.networks.switching.watch import Watch, series
from samflow.networks.training.attacks import PGD
from samflow.networks.training.loop import How, first_state, how_to_train
from samflow.networks.training.states import Store, TrainState, check_state, step_settings
from samflow.records import provenance
from samflow.spectra.curvature import Trace, trace
from samflow.systems import Map
from samflow.valleys.connectivity import Barrier, path_barrier
from samflow.valleys.kicks import kick_size

_FEWEST_STEPS = 50
"""Of the full batch, as `two_phase` has it."""
_ROWS = 20

Recompute = Callable[[Point], AbstractLoss]
"""Weights to the training loss with batch norm's statistics recomputed at these weights."""


def late_switch(
    checkpoint: Checkpoint,
    system: Map,
    *,
    num_epochs: int,
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
    other, and "not claimed". Where no rate can be fitted, or none that decides, they are "not
    measured".

    Args:
        checkpoint: weights with their loss; the switch happens there.
        system: the map from the switch on, on the checkpoint's loss; other `options`, as
            `make_map` may set them, are told in `notes`.
        num_epochs: epochs after the switch; of the full batch an epoch is one step, and there
            must be 50.
        batch_size: examples a step; None for all of them.
        drop_last: as for `train`.
        attack: for adversarial training from the switch on.
        start: the state to go on from, as `switch` makes it: with a velocity, and with the order
            of examples that the training before had. None: velocity 0, `key`, epoch 0.
        key: of the order of examples, of attacks and of the trace; None: key(0).
        displacement: length of a kick along v at the switch: a minimum is a fixed point. None: for
            the full batch 1e-7 ‖w‖, or less, so that an escape at the predicted rate takes 14 steps
            in the linear regime; 0 in mini-batches.
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
        A `LateSwitch`. A run that diverges gives a record whose phases do not hold.

    To fit P4 and the drift of λ within the windows of P1 and P4, a full-batch run is made up to
    three times more, so that no weights but a few have to be held.

    Not guaranteed: that a minimum is under the start; `diagnose` says how near one is. A barrier
    narrower than the spacing of the points can be missed.

    Raises:
        ArgumentError: in single precision; for weights, states and losses that do not fit each
            other, as those of other data, buffers or frozen weights, numbers out of range, what
            `train` refuses, and a file of other settings.

    Source: Zhou et al. 2024 (arXiv 2410.10373), with the exact rates of docs/theory.

    """
    _checks.double_precision("`late_switch`")
    how = how_to_train(system, batch_size, drop_last, attack)
    _check(checkpoint, system, test, num_epochs, how)
    num_points = _checks.count("num_points", num_points, minimum=3)
    _checks.count("trace_products", trace_products, minimum=0)
    every = _checks.count("save_every", save_every)
    path = None if save_to is None else _checks.writable("save_to", save_to, (".npz",))
    if displacement is not None:
        displacement = float(_checks.nonnegative("displacement", displacement))
    key = jr.key(0) if key is None else key
    start = _first(checkpoint, system, start, key)
    plan = Plan(how, start, _epochs(num_epochs, measure_every), test, key, progress)
    progress("curvature at the switch")
    here = local(system, system.loss, system.position(start.z))
    kick = _kick(how, start, here) if displacement is None else displacement
    plan = plan._replace(start=_kicked(system, start, here, kick))
    store = None
    if path is not None:
        settings = step_settings(system, batch_size, drop_last, attack) | plan.settings()
        store = Store(path, settings, every, system)
    watch, ended = followed(plan, here, store)
    found = analysed(plan, watch, ended, here)
    w = system.position(plan.start.z)
    barriers = _barriers(system.loss, w, found.end, recompute, num_points)
    made = _phases(plan, watch, found, here, barriers)
    progress("traces" if trace_products else "done")
    return LateSwitch(
        phases=made,
        status=found.status,
        failed_at=ended.failed_at,
        settled_at=found.settled_at,
        sharpness=(here.sharpness, found.there.sharpness),
        sharpness_residual=(here.residual, found.there.residual),
        edge=phases.edge(system),
        effective_curvature=here.curvature,
        gradient_norm=tuple(float(gradient_norm(system.loss, each)) for each in (w, found.end)),  # pyright: ignore[reportArgumentType]
        peak=float(np.max(losses(plan, watch))),
        escape=found.escape,
        convergence=found.convergence,
        notes=_notes(system.loss, barriers) + _changed_options(checkpoint.loss, system.loss),
        provenance=provenance(
            system.describe(), source=checkpoint.source, num_epochs=num_epochs, kick=kick,
            batch_size=batch_size, drop_last=drop_last, num_points=num_points,
            attack=None if attack is None else attack.describe(), **plan.settings(),
        ),
        trace=_traces(system.loss, (w, found.end), trace_products, key),
        barrier=barriers[0],
        barrier_recomputed=barriers[1],
        start=w,
        end=found.end,
        epochs=np.array(sorted(watch.epochs)),
        measured=np.array([watch.epochs[epoch] for epoch in sorted(watch.epochs)]),
        step_loss=series(watch.steps, 0) if how.deterministic else np.zeros(0),
        along=series(watch.steps, 1),
        escaping=series(watch.bends, 0),
        settling=found.settling,
    )  # fmt: skip


def _check(
    checkpoint: Checkpoint, system: Map, test: AbstractLoss | None, num_epochs: int, how: How
) -> None:
    _checks.kind("checkpoint", checkpoint, Checkpoint, "Use `sf.networks.Checkpoint(loss, w)`.")
    _checks.count("num_epochs", num_epochs, minimum=_FEWEST_STEPS if how.deterministic else 1)
    for name, loss in (("checkpoint", checkpoint.loss), ("test", test)):
        if loss is not None and loss.dim != system.dim:
            raise _checks.ArgumentError(
                f"Argument `{name}` must be of {system.dim} weights, as the system's loss, but is "
                f"of {loss.dim}."
            )
    differ = _differences(checkpoint.loss, system.loss, checkpoint.w)
    if differ:
        raise _checks.ArgumentError(
            f"Argument `system` must have the checkpoint's loss, {checkpoint.loss.name}, but its "
            f"loss, {system.loss.name}, has other {' and '.join(differ)}. Make the map of "
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
        found.append("data or arrays beside the weights, as running statistics")
    if not found and not same_outputs(other, few_outputs(one, w), few_outputs(other, w)):
        found.append("outputs, as by another activation")
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
            "Argument `start` must have the checkpoint's weights, but has others."
        )
    return start


def _epochs(num_epochs: int, measure_every: int | None) -> set[int]:
    every = max(1, num_epochs // _ROWS) if measure_every is None else measure_every
    every = _checks.count("measure_every", every)
    return {*range(0, num_epochs, every), num_epochs}


def _kick(how: How, start: TrainState, here: Local) -> float:
    """Return the length of a kick from which the rate log|μ| can be fitted; 0 in mini-batches."""
    if not how.deterministic:
        return 0.0
    w = np.asarray(how.system.position(start.z))
    return kick_size(w, here.v, float(np.linalg.norm(w)) or 1.0, here.growth)


def _kicked(system: Map, start: TrainState, here: Local, kick: float) -> TrainState:
    if kick == 0:
        return start
    return start._replace(z=start.z.at[: system.dim].add(kick * jnp.asarray(here.v)))


def _barriers(
    loss: AbstractLoss, start: Point, end: Point, recompute: Recompute | None, num_points: int
) -> tuple[Barrier, Barrier | None]:
    """Return the barrier as the loss is, and with batch norm's statistics recomputed."""
    if not np.isfinite(np.asarray(end)).all():
        return Barrier(math.nan, math.nan, np.full(num_points, np.nan)), None
    plain = path_barrier(lambda w: loss, start, end, num_points)
    if recompute is None and isinstance(loss, AbstractNetworkLoss) and loss.has_statistics:
        recompute = loss.with_statistics
    if recompute is None:
        return plain, None
    return plain, path_barrier(recompute, start, end, num_points)


def _phases(
    plan: Plan,
    watch: Watch,
    found: Found,
    here: Local,
    barriers: tuple[Barrier, Barrier | None],
) -> tuple[SwitchPhase, ...]:
    how, system = plan.how, plan.how.system
    known = phases.has_closed_form(system)
    if not how.deterministic:
        w = system.position(plan.start.z)
        first = phases.noisy_escape(how, here, w, found.escape, jr.fold_in(plan.key, 1))
    elif known:
        escaping = series(watch.bends, 0)
        first = phases.escape_phase(how, here, found.escape, found.while_escaping, escaping)
    else:
        first = phases.nonsmooth_escape(here, found.escape)
    # A rule that ends on a cycle, and one with noise, goes on moving.
    finite = math.isfinite(found.there.sharpness)
    settled = finite and (found.status is Status.converged or not (how.deterministic and known))
    barrier, again = barriers
    return (
        first,
        phases.valley_phase(
            how,
            losses(plan, watch),
            barrier if again is None else again,
            settled=settled,
            recomputed=again is not None,
        ),
        phases.flatter_phase(how, here, found.there, settled=settled),
        phases.convergence_phase(
            how,
            found.there,
            found.convergence,
            found.while_settling,
            settled=found.status is Status.converged,
        ),
    )


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
