"""Orbits of maps, for one start or an ensemble."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._kernel import numbers
from samflow._schedule import check_steps
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.orbits import one_orbit
from samflow.orbits.blocks import devices_for, gathered
from samflow.orbits.map_loop import PER_DEVICE, MapSettings, run_map
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import AbstractMap, check_system
from samflow.systems.leaves import Varied


class Orbit(AbstractRecord):
    """Orbits of a map; for an ensemble every array has a leading axis of members.

    Attributes:
        states: the states kept, NaN after an orbit has ended (see `stopped_at`).
        steps: the step number of each kept state, `first_step` for the start.
        final: the last state reached; for a diverged orbit the first one outside the ball.
        status: converged, out of steps, diverged, not finite or undefined, one per orbit; of a map
            that a flow makes also why the integration of a step failed.
        stopped_at: the step number of `final`: for `diverged`, `not finite` and `undefined` the
            step at which it happened, for `converged` the step at which it was seen.

    """

    rows: ClassVar[Names] = ("kept",)
    states: Float[Array, "*batch kept state"] = eqx.field(metadata=axes("kept", "state"))
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))
    final: Float[Array, "*batch state"] = eqx.field(metadata=axes("state"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes(words=Status))
    stopped_at: Int[Array, "*batch"] = eqx.field(metadata=axes(units="step"))
    dim: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    @property
    def w(self) -> Float[Array, "*batch kept dim"]:
        """The weights of the kept states."""
        return self.states[..., : self.dim]

    @property
    def final_w(self) -> Float[Array, "*batch dim"]:
        """The weights of the last state."""
        return self.final[..., : self.dim]

    def count(self) -> dict[str, int]:
        """Return how many orbits ended in each way."""
        return endings(self.status)

    def __str__(self) -> str:
        """Return one line, as `2 orbits, 11 states kept of each: 2 out of steps`."""
        return said(self, "orbit", self.states.shape[-2])


def endings(status: Array) -> dict[str, int]:
    """Return how many orbits ended in each way."""
    codes = np.ravel(status).tolist()
    return {status.label: codes.count(status) for status in Status if status in codes}


def said(record: Any, noun: str, kept: int) -> str:
    """Return one line that says how many orbits there are, and how they ended."""
    if _checks.is_traced(record.status):
        return repr(record)
    counts = endings(record.status)
    number = sum(counts.values())
    ended = ", ".join(f"{many} {label}" for label, many in counts.items())
    each = " of each" if number > 1 else ""
    return f"{number} {noun}{'s' * (number != 1)}, {kept} states kept{each}: {ended}"


def iterate(
    system: AbstractMap,
    w0: ArrayLike,
    *,
    num_steps: int,
    keep_every: int | None = None,
    tol: float = 0.0,
    escape_radius: float = 1e6,
    check_every: int = 50,
    first_step: int = 0,
    anywhere: bool = False,
) -> Orbit:
    """Iterate a map from weights (velocity 0) or full states, one start or an ensemble.

    A map with schedules changes with the step: step k, counted from 0, is that of `system.at(k)`.

    Args:
        system: the map.
        w0: weights (dim,) or (N, dim); or states of length `state_dim` where this differs.
        num_steps: number of steps, at least 1.
        keep_every: keep the states at steps 0, k, 2k, ... up to num_steps; by default the first
            and the last only. Memory: N · (1 + num_steps // k) · state_dim numbers.
        tol: an orbit has converged when ‖z⁺ − z‖ ≤ tol. The default 0 means that the state no
            longer changes at all, after which no step ever changes it. A map with schedules makes
            all steps and takes no other tolerance: where lr is small for a time, so is the update.
        escape_radius: an orbit has diverged when ‖z‖ exceeds this. A ball left and entered again
            between two checks is not noticed.
        check_every: steps between checks.
        first_step: the number of the first step, for a map with schedules. An orbit is continued
            from `final` and `stopped_at` of its first part.
        anywhere: take starts outside the loss's domain, too, as an orbit that has left it.

    Returns:
        An `Orbit`. Nothing is raised for an orbit that fails: its status says what happened.

    The states of one start are the same to the last bit however often they are kept or checked, and
    however many steps follow. In an ensemble, inside a transformation of JAX, or on another device
    another program computes them, which agrees to rounding; chaos magnifies the difference.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, numbers of steps below 1, and a schedule that is out of range at one of the
            steps.

    """
    check_system(system, AbstractMap, "Use `integrate` for a flow.", changing=True)
    num_steps = _checks.count("num_steps", num_steps)
    keep_every = _checks.count("keep_every", num_steps if keep_every is None else keep_every)
    check_every = _checks.count("check_every", check_every)
    tol = _checks.nonnegative_array("tol", tol)
    escape_radius = _checks.positive_array("escape_radius", escape_radius)
    first_step = _checks.count("first_step", first_step, minimum=0)
    changes = bool(system.schedules)
    if changes and not (_checks.is_traced(tol) or tol == 0):
        raise _checks.ArgumentError(
            f"Argument `tol` must be 0 for a map with schedules, but is {float(tol):g}: a small "
            "update may come from a small lr."
        )
    z0 = start_states(system.at(first_step), w0, anywhere=anywhere)
    first = check_steps(system.schedules, first_step, num_steps)
    settings = numbers(
        MapSettings(num_steps, min(keep_every, num_steps), check_every, tol, escape_radius, first)
    )
    kept = 1 + num_steps // keep_every
    begun = {"first_step": first_step} if first_step else {}
    transformed = any(map(_checks.is_traced, jax.tree.leaves((system, z0, settings))))
    if one_orbit.can_run(system, z0, transformed):
        ended = one_orbit.run_one(system, z0, settings, kept)
    else:
        batch = jnp.atleast_2d(z0)
        devices = devices_for(batch, PER_DEVICE)
        ended = run_map(system, batch, settings, kept, Varied(), devices, transformed)
        ended = [array[0] if z0.ndim == 1 else array for array in gathered(ended, devices)]
    states, final, status, stopped_at = ended
    return Orbit(
        states,
        jnp.asarray(first_step + keep_every * np.arange(kept)),
        final,
        status,
        first_step + stopped_at if first_step else stopped_at,
        system.dim,
        provenance(system.describe(), num_steps=num_steps, keep_every=keep_every, **begun),
    )


def start_states(
    system: Any, w0: ArrayLike, name: str = "w0", *, anywhere: bool = False
) -> Float[Array, "*batch state"]:
    """Return `w0` as states: weights are lifted to rest, full states are taken as they are."""
    width = _width(w0)
    domain = None if anywhere else getattr(getattr(system, "loss", None), "domain", None)
    if width == system.state_dim != system.dim:
        z0 = _checks.point(name, w0, system.state_dim, batched=True)
        _checks.inside(name, z0[..., : system.dim], domain)
        return z0
    w0 = _checks.point(name, w0, system.dim, batched=True)
    _checks.inside(name, w0, domain)
    if width == system.state_dim:  # the state is the weights
        return w0
    return jax.vmap(system.lift)(w0) if w0.ndim == 2 else system.lift(w0)


def _width(w0: ArrayLike) -> int:
    """Return the length of the last axis; 0 where there is none, as in a ragged list."""
    try:
        return np.shape(w0)[-1]
    except (IndexError, ValueError):
        return 0
