"""What becomes of orbits that begin near a point: seen, not derived."""

import dataclasses
from collections import Counter
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._status import Kind
from samflow._types import ArrayLike
from samflow.equilibria._units import ascent_length
from samflow.equilibria.agreement import disagreement
from samflow.equilibria.following import WINDOW, About, follow_flow, follow_map
from samflow.equilibria.lengths import natural_length
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.equilibria.stability import classify
from samflow.losses.quadratic import is_quadratic
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Flow, Map
from samflow.systems.base import check_system

_PART = 1e-3
"""Distance of the starts, in units of the system's length."""
_TIMES = 50.0
"""How long a flow is followed, in units of the time in which its length is crossed."""
_LEAPS = 200


class Fate(AbstractRecord):
    """What became of the orbits from a sphere around a point.

    Attributes:
        outcome: the common fate of all starts, or "mixed".
        fates: of each start: "attractor" (came to the point), "slides" (a flow: came to it in
            finite time and is held), "cycle" (of a map), "limit cycle" (of a flow; `find_cycles`
            gives its period), "trap" (stays near without period), "elsewhere" (rests near, not at
            the point), "leaves", "undecided" (it moved still, and where to was not seen), or
            "undefined" (met another point where the rule is not defined, or overflowed).
        period: of the cycle; 0 where there is none.
        nearest: least distance from the point in the last states.
        farthest: largest distance in the last states.
        radius: distance of the starts.
        leave_radius: an orbit whose last states are all farther than this has left.
        leaps: how many leaps each orbit took, see `fate`.
        disagreement: what theory says, where orbits do otherwise; else empty.
        provenance: system, settings and versions.

    """

    rows: ClassVar[Names] = ("start",)
    outcome: str = eqx.field(static=True)
    fates: tuple[str, ...] = eqx.field(
        static=True, metadata=axes("start", rename={"fates": "fate"})
    )
    period: Int[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    nearest: Float[np.ndarray, " starts"] = eqx.field(metadata=axes("start", units="weight"))
    farthest: Float[np.ndarray, " starts"] = eqx.field(metadata=axes("start", units="weight"))
    radius: float = eqx.field(metadata=axes(units="weight"))
    leave_radius: float = eqx.field(metadata=axes(units="weight"))
    leaps: Int[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    disagreement: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def count(self) -> dict[str, int]:
        """Return how many starts met each fate, the most common first."""
        return dict(Counter(self.fates).most_common())

    def __str__(self) -> str:
        """Return one line, as `cycle of period 2 (32 of 32), 0.00526 to 0.00526 away`."""
        return f"{self.seen()}; {self.disagreement}" if self.disagreement else self.seen()

    def seen(self) -> str:
        """Return the line without what theory says."""
        parts = []
        for name, many in self.count().items():
            chosen = np.array([fate == name for fate in self.fates])
            periods = sorted(set(self.period[chosen].tolist()))
            of = f" of period {', '.join(map(str, periods))}" if name == "cycle" else ""
            parts.append(f"{name}{of} ({many} of {len(self.fates)})")
        text = "; ".join(parts)
        stays = ("cycle", "limit cycle", "trap", "elsewhere")
        stayed = np.array([f in stays for f in self.fates])
        if stayed.any():
            near, far = self.nearest[stayed].min(), self.farthest[stayed].max()
            text += f", {near:.3g} to {far:.3g} away"
        return text

    def beside(self, kind: Kind, local: Nonsmooth | None) -> "Fate":
        """Return the same, with what `classify` says where orbits do otherwise."""
        far = self.farthest
        text = disagreement(kind, local, self.fates, self.period, far)
        return dataclasses.replace(self, disagreement=text)


@_checks.untraced('"fate", w0=w')
def fate(
    system: AbstractSystem,
    w: ArrayLike,
    *,
    num_starts: int = 32,
    radius: float | None = None,
    leave_radius: float | None = None,
    num_steps: int = 20_000,
    t1: float | None = None,
    leaps: int = _LEAPS,
    compare: bool = True,
    key: Array | None = None,
) -> Fate:
    """Follow orbits from random points of a small sphere around `w`, and say what becomes of them.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> print(fate(sf.Map(sf.losses.saddle((1.0, -0.5)), sf.SAM(rho=0.1), lr=0.1), [0.0, 0.0]))
    cycle of period 2 (32 of 32), 0.00526 to 0.00526 away

    An observation of finitely many orbits for a finite time, no proof: `classify` says what theory
    knows. On maps a rule's memory begins as `lift` makes it, with velocity 0.

    What still moves at the end is not at rest, however slow it is. It is followed on in leaps: the
    interpolating flow ż = V(z), V the displacement by a step (or by p, on a nearly periodic orbit),
    is solved by Euler's implicit method with steps of a tenth of the distance from `w`, and between
    two leaps 256 steps are made. So `x**2/2 - y**4/4` is seen to be left, which takes 10⁷ steps.

    Args:
        system: a map or a flow.
        w: the point, shape (dim,), as a rule a critical point.
        num_starts: number of starts.
        radius: their distance from `w`; by default rho/1000, or 1/1000 of the system's own length
            for a rule whose rho is no length: the distance from `w` at which the motion changes
            its form. Where there is none, as on quadratic losses, (1 + ‖w‖)/1000.
        leave_radius: beyond this an orbit has left; by default 5 rho, or 100 times `radius`.
        num_steps: steps of a map, at least 512; rounded down to a multiple of 256.
        t1: time for a flow; by default 50 times that in which it would cross rho, or `radius`, at
            the speed at which the fastest start begins.
        leaps: how many to make at most; 0 for none. None are made in more than 64 dimensions, of a
            loss that Python computes, or by a flow that slides.
        compare: whether to hold what is seen against `classify`.
        key: for the starts; by default a fixed one.

    Returns:
        A `Fate`; an orbit that overflows or meets an undefined point is counted, not raised. It is
        the same whatever the units of weights and of the loss. Where `classify` knows the point by
        the quadratic part of the loss alone, and orbits do otherwise, it says so.

    Not guaranteed: a leap has an error of some per cent of the distance, so that an orbit next to
    the border of two basins may be followed across.

    Raises:
        ArgumentError: for a wrong shape or settings out of range, or in single precision.

    """
    _checks.double_precision("`fate`")
    check_system(system)
    w = _checks.point("w", w, system.dim)
    num_starts = _checks.count("num_starts", num_starts)
    num_steps = _checks.count("num_steps", num_steps, minimum=2 * WINDOW)
    leaps = _checks.count("leaps", leaps, minimum=0)
    length = ascent_length(system, w)
    if radius is None:
        radius = _PART * (length or _own_length(system, w))
    radius = _checks.positive("radius", radius)
    far = 5 * length if length else 100 * radius
    leave = _checks.positive("leave_radius", far if leave_radius is None else leave_radius)
    directions = jr.normal(jr.key(0) if key is None else key, (num_starts, system.dim))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    starts = w + radius * directions
    about = About(np.asarray(w), radius, leave)
    if isinstance(system, AbstractFlow):
        time = _time(system, starts, length or radius) if t1 is None else t1
        seen, leapt = follow_flow(system, starts, about, float(time), leaps)
    else:
        assert isinstance(system, AbstractMap)
        seen, leapt = follow_map(system, starts, about, num_steps, leaps)
    fates, period, nearest, farthest = zip(*seen, strict=True)
    outcome = fates[0] if len(set(fates)) == 1 else "mixed"
    found = Fate(
        outcome,
        tuple(fates),
        np.array(period),
        np.array(nearest),
        np.array(farthest),
        radius,
        leave,
        leapt,
        "",
        provenance(system.describe(), w=np.asarray(w).tolist(), num_starts=num_starts),
    )
    if not (compare and _needs_comparison(system, w)):
        return found
    known = classify(system, w, measure=False)
    return found.beside(known.kind, known.local)


def _needs_comparison(system: AbstractSystem, w: Array) -> bool:
    """Return whether `classify` knows the point by the quadratic part of the loss alone.

    A rule with infinite singularity has a Jacobian everywhere, from which `classify` answers.
    """
    if not isinstance(system, (Map, Flow)) or is_quadratic(system.loss):
        return False
    return bool(np.isfinite(float(_singularity(system, system.lift(w)))))


@eqx.filter_jit
def _singularity(system: AbstractSystem, z: Array) -> Array:
    return jnp.asarray(system.singularity(z))


def _own_length(system: AbstractSystem, w: Array) -> float:
    length = natural_length(system, w)
    return length if np.isfinite(length) else 1 + float(jnp.linalg.norm(w))


@eqx.filter_jit
def _speeds(system: AbstractFlow, starts: Array) -> Array:
    return jnp.linalg.norm(jax.vmap(system.velocity)(starts), axis=1)


def _time(system: AbstractFlow, starts: Array, length: float) -> float:
    """Return the time for which to follow a flow that nobody gave a time for."""
    speeds = np.asarray(_speeds(system, starts))
    known = speeds[np.isfinite(speeds) & (speeds > 0)]
    return _TIMES * length / float(known.max()) if len(known) else _TIMES
