"""Analyses that a sweep knows by name. Each takes a block of cells and returns arrays over it.

A cell is a start and a value for each leaf that is varied; a block of them runs in one program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._status import Kind, Status
from samflow.attractors import _map_growth
from samflow.equilibria import classify, fate
from samflow.equilibria.nearness import EIGENVALUE_ERROR
from samflow.orbits.blocks import Devices, devices_for, over_devices
from samflow.orbits.map_loop import MapSettings, run_map
from samflow.systems import AbstractMap, AbstractSystem
from samflow.systems.leaves import Varied

PER_DEVICE = 64
"""Cells from which on it is worth to use another device."""
_HYPERBOLIC = 1e-9
"""As in `classify`."""
_NEAR = 1e-6
"""As `tol` of `classify`: how near to a fixed point a point must be."""


ESCAPE_RADIUS = 1e6
"""As in `iterate`."""


class Options(NamedTuple):
    """Settings of the named analyses.

    Attributes:
        num_steps: steps before anything is looked at.
        escape_radius: as in `iterate`.
        max_period: the longest period looked for.

    """

    num_steps: int
    escape_radius: float
    max_period: int


class Cells(NamedTuple):
    """A block of cells: the system, what differs, and the start of each, shape (cells, state)."""

    system: Any
    varied: Varied
    starts: Array

    def one(self, i: int) -> Any:
        """Return the system of one cell."""
        return self.varied.given(self.system, [value[i] for value in self.varied.values])


Found = dict[str, np.ndarray]


def iterated(
    cells: Cells, options: Options, kept: int = 0, first: int = 0
) -> tuple[Array, Array, Array, Array]:
    """Return states kept, final states, statuses and step counts; the first step has a number."""
    settings = MapSettings(
        kept or options.num_steps,
        1 if kept else options.num_steps,
        50,
        0.0,
        options.escape_radius,
        first,
    )
    settings = jax.tree.map(jnp.asarray, settings)
    devices = devices_for(cells.starts, PER_DEVICE)
    found = run_map(cells.system, cells.starts, settings, kept + 1, cells.varied, devices)
    states, final, status, stopped_at = found
    # Not on one device, so that what is done with them next is shared, too.
    return states, jnp.asarray(np.asarray(final)), status, stopped_at


def in_cells(
    one: Callable[[Any, Array], Any], varied: Varied, states: Array, devices: Devices, at_once: int
) -> Any:
    """Return what a function of the values of a cell, and of a state, returns in all cells."""

    def run(states: Array, *values: Array) -> Any:
        return jax.lax.map(lambda cell: one(*cell), (values, states), batch_size=at_once)

    return over_devices(run, (states, *varied.values), devices)


def words(codes: Any) -> np.ndarray:
    """Return statuses as words."""
    labels, codes = np.array([status.label for status in Status]), np.ravel(codes)
    longest = max(len(labels[code]) for code in np.unique(codes))
    return labels.astype(f"U{longest}")[codes]


def orbit(cells: Cells, options: Options) -> Found:
    """The last state of the orbit, how it ended and after how many steps."""
    _, final, status, stopped = iterated(cells, options)
    return {
        "final": np.asarray(final),
        "status": words(status),
        "stopped_at": np.asarray(stopped),
    }


def escaped(cells: Cells, options: Options) -> Found:
    """Whether the orbit left the ball of the escape radius, and at which step."""
    _, _, status, stopped = iterated(cells, options)
    gone = np.asarray(status) == Status.diverged
    return {"escaped": gone, "status": words(status), "stopped_at": np.asarray(stopped)}


def sharpness(cells: Cells, options: Options) -> Found:
    """The largest eigenvalue of the loss's Hessian where the orbit ends; NaN where it is lost."""
    _, final, status, _ = iterated(cells, options)
    devices = devices_for(cells.starts, PER_DEVICE)
    values = np.array(_sharpness(cells.system, cells.varied, final, devices))
    lost = ~np.isin(np.asarray(status), [Status.converged, Status.out_of_steps])
    values[lost] = np.nan
    return {"sharpness": values, "status": words(status)}


@eqx.filter_jit
def _sharpness(system: Any, varied: Varied, final: Array, devices: Devices) -> Array:
    def one(values: Any, z: Array) -> Array:
        here = varied.given(system, values)
        return jnp.linalg.eigvalsh(here.loss.hessian(here.position(z)))[-1]

    return in_cells(one, varied, final, devices, 64)


def period(cells: Cells, options: Options) -> Found:
    """The least period up to `max_period` of what the orbit ends in; 0 where there is none."""
    _, final, status, _ = iterated(cells, options)
    after = cells._replace(starts=final)
    more = iterated(after, options, kept=options.max_period, first=options.num_steps)
    states, _, later, _ = map(np.asarray, more)
    last = states[:, -1:]
    size = np.abs(last).max(axis=(1, 2)) + np.ptp(states, axis=1).max(axis=1)
    gaps = np.abs(states[:, -2::-1] - last).max(axis=2)
    near = gaps <= _PERIODIC * size[:, None]
    well = np.isin(np.asarray(status), [Status.converged, Status.out_of_steps])
    # An orbit that no longer moves at all has ended, and its later states are not kept.
    rests = well & ((np.asarray(status) == Status.converged) | (later == Status.converged))
    found = np.where(rests, 1, np.where(near.any(axis=1) & well, 1 + near.argmax(axis=1), 0))
    return {"period": found, "status": words(status)}


_PERIODIC = 1e-8
"""Relative to the size of the state: how nearly an orbit repeats itself."""


def exponent(cells: Cells, options: Options) -> Found:
    """The largest Lyapunov exponent of a map, as `lyapunov_spectrum`, without a transient."""
    settings = _map_growth.MapSettings(options.num_steps, 0, options.escape_radius)
    settings = jax.tree.map(jnp.asarray, settings)
    devices = devices_for(cells.starts, PER_DEVICE)
    growth = _map_growth.map_growth(cells.system, cells.starts, 1, settings, cells.varied, devices)
    sums = np.asarray(jnp.sum(growth.logs, axis=-2))[:, 0] / options.num_steps
    well = np.asarray(growth.status) == Status.reached_end
    return {"exponent": np.where(well, sums, np.nan), "status": words(growth.status)}


def stability(cells: Cells, options: Options) -> Found:
    """What `classify` says of the start: kind, margin and status.

    Where there is a Jacobian all cells are linearised in one program; elsewhere `classify` is
    asked cell by cell.
    """
    devices = devices_for(cells.starts, PER_DEVICE)
    made = _linearised(cells.system, cells.varied, cells.starts, devices)
    motion, jacobian, singular = map(np.asarray, made)
    known, kinds, margins = _clear(motion, jacobian, isinstance(cells.system, AbstractMap))
    known &= ~np.isfinite(singular)
    statuses = np.full(len(motion), Status.located.label, dtype=object)
    for i in np.flatnonzero(~known).tolist():
        found = classify(cells.one(i), cells.starts[i], measure=False)
        kinds[i], margins[i] = str(found.kind), found.margin
        statuses[i] = found.status.label
    return {"kind": kinds.astype(str), "margin": margins, "status": statuses.astype(str)}


def _clear(
    motion: np.ndarray, jacobian: np.ndarray, discrete: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which points are exactly and clearly what they are, and kind and margin of each."""
    known = np.asarray(~motion.any(axis=1) & np.isfinite(jacobian).all(axis=(1, 2)))
    jacobian = np.where(known[:, None, None], jacobian, 0.0)
    values = np.linalg.eigvals(jacobian)
    growth = np.abs(values) - 1 if discrete else np.real(values)
    norm = np.linalg.norm(jacobian, 2, axis=(1, 2))
    neutral = _HYPERBOLIC + EIGENVALUE_ERROR * norm if discrete else _HYPERBOLIC * norm
    known &= (np.abs(growth) > _CLEARLY * neutral[:, None]).all(axis=1)
    stable = growth < 0
    kinds = np.full(len(motion), str(Kind.repelling), dtype=object)
    kinds[stable.any(axis=1)] = str(Kind.saddle)
    kinds[stable.all(axis=1)] = str(Kind.attracting)
    return known, kinds, -growth.max(axis=1)


_CLEARLY = 1e3


@eqx.filter_jit
def _linearised(
    system: AbstractSystem, varied: Varied, starts: Array, devices: Devices
) -> tuple[Array, ...]:
    def one(values: Any, z: Array) -> tuple[Array, ...]:
        here: Any = varied.given(system, values)
        motion = here.step(z) - z if isinstance(here, AbstractMap) else here.velocity(z)
        return motion, here.jacobian(z), here.singularity(z)

    return in_cells(one, varied, starts, devices, 256)


def fates(cells: Cells, options: Options) -> Found:
    """What `fate` says of the start, cell by cell: outcome and period."""
    found = [
        fate(cells.one(i), cells.system.position(cells.starts[i]), compare=False)
        for i in range(len(cells.starts))
    ]
    outcomes = np.array([one.outcome for one in found])
    periods = np.array([int(np.max(one.period)) for one in found])
    return {"outcome": outcomes, "period": periods}


_NUMBER = 8
_WORD = 16
"""Bytes of a status, kind or outcome at least: four letters."""


class Measure(NamedTuple):
    """A named analysis.

    Attributes:
        function: of a block of cells.
        block: how many cells at once: one program, and one report of progress.
        maps: whether it is of maps alone.
        compiled: whether a block is one program.
        changing: whether the map may have schedules.
        steps: whether it makes `num_steps` steps in each cell.
        least: bytes that the result of a cell takes at least, without states.
        states: how many states it has.

    """

    function: Callable[[Cells, Options], Found]
    block: int = 4096
    maps: bool = True
    compiled: bool = True
    changing: bool = False
    steps: bool = True
    least: int = _NUMBER + _WORD
    states: int = 0

    def bytes_of(self, cells: int, state_dim: int) -> int:
        """Return the bytes that a result takes at least."""
        return cells * (self.least + self.states * state_dim * _NUMBER)


MEASURES = {
    "orbit": Measure(orbit, changing=True, states=1),
    "escaped": Measure(escaped, changing=True, least=1 + _NUMBER + _WORD),
    "sharpness": Measure(sharpness, changing=True),
    "period": Measure(period, changing=True),
    "exponent": Measure(exponent),
    "classify": Measure(stability, maps=False, steps=False, least=_NUMBER + 2 * _WORD),
    "fate": Measure(fates, block=1, maps=False, compiled=False),
}
"""Every analysis that `sweep` knows by name."""


def known(name: str) -> Measure:
    """Return the analysis of that name.

    Raises:
        ArgumentError: for an unknown one.

    """
    return MEASURES[_checks.known("analysis", name, MEASURES)]
