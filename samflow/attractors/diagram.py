"""What orbits of a map end in, along a parameter: the diagram by brute force."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors.sweep.measures import ESCAPE_RADIUS, Cells, Options, iterated
from samflow.orbits._iterate import start_states
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractMap
from samflow.systems.base import check_system
from samflow.systems.leaves import Leaf, Selector, Varied, check_values, find_leaf


class OrbitDiagram(AbstractRecord):
    """The last states of orbits at many values of a parameter.

    Attributes:
        values: of the parameter, shape (values,).
        states: the last states of each orbit, shape (values, starts, kept, state); NaN where an
            orbit ended before.
        status: converged, out of steps, diverged, not finite or undefined, shape (values, starts).
        leaf: the parameter.

    """

    rows: ClassVar[Names] = ("value", "start", "kept")
    values: Float[np.ndarray, " values"] = eqx.field(metadata=axes("value"))
    states: Float[np.ndarray, "values starts kept state"] = eqx.field(
        metadata=axes("value", "start", "kept", "state")
    )
    status: Int[np.ndarray, "values starts"] = eqx.field(
        metadata=axes("value", "start", words=Status)
    )
    leaf: Leaf = eqx.field(static=True, metadata=axes(prefix="parameter_"))
    provenance: Provenance = eqx.field(static=True)

    @property
    def name(self) -> str:
        """What the parameter is called."""
        return self.leaf.name

    def points(self) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points state"]]:
        """Return the values and the states of all that was kept, one row each, without NaN."""
        values = np.broadcast_to(self.values[:, None, None], self.states.shape[:3])
        finite = np.isfinite(self.states).all(axis=-1)
        return values[finite], self.states[finite]


@_checks.untraced()
def orbit_diagram(
    system: AbstractMap,
    w0: ArrayLike,
    parameter: Selector,
    values: ArrayLike,
    *,
    num_transient: int = 1000,
    num_kept: int = 64,
) -> OrbitDiagram:
    """Follow orbits at every value of a parameter, all in one program; keep their last states.

    Args:
        system: the map.
        w0: starts, as for `iterate`: one or several, the same for every value.
        parameter: as for `continue_branch`.
        values: of the parameter, shape (values,).
        num_transient: steps before the first state that is kept.
        num_kept: how many states to keep, one after each step.

    Raises:
        ArgumentError: for a flow, a parameter that the system has not, values that are not
            finite or that its constructor refuses, or starts that `iterate` refuses.

    """
    check_system(
        system, AbstractMap, "Of a flow make one: `sf.stroboscopic_map` or `sf.poincare_map`."
    )
    leaf = find_leaf(system, parameter)
    before = _checks.count("num_transient", num_transient, minimum=0)
    kept = _checks.count("num_kept", num_kept)
    try:
        grid = np.atleast_1d(_checks.real_numbers(values))
    except TypeError as error:
        raise _checks.ArgumentError(f"Argument `values` must be numbers: {error}.") from error
    if grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all():
        raise _checks.ArgumentError(
            "Argument `values` must be finite numbers in one row, but is "
            f"{_checks.excerpt(values)}."
        )
    check_values(system, leaf, (grid.min(), grid.max()))
    starts = jnp.atleast_2d(start_states(system, w0))
    shape = (len(grid), len(starts))
    dtype = jnp.asarray(leaf.value(system)).dtype
    varied = Varied((leaf.index,), (jnp.repeat(jnp.asarray(grid, dtype), shape[1]),))
    cells = Cells(system, varied, jnp.tile(starts, (len(grid), 1)))
    states, statuses = _last_states(cells, before, kept)
    where = provenance(system.describe(), num_transient=before, num_kept=kept)
    return OrbitDiagram(
        grid, states.reshape(*shape, *states.shape[1:]), statuses.reshape(shape), leaf, where
    )


def _last_states(cells: Cells, before: int, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `kept` states after `before` steps of all orbits, and how each ended."""
    status = np.full(len(cells.starts), int(Status.out_of_steps))
    if before:
        _, final, ended, _ = iterated(cells, Options(before, ESCAPE_RADIUS, 1))
        cells, status = cells._replace(starts=final), np.asarray(ended)
    lost = ~np.isin(status, [Status.converged, Status.out_of_steps])
    found, _, ended, _ = iterated(cells, Options(before, ESCAPE_RADIUS, 1), kept=kept)
    states = np.array(found[:, 1:])
    states[lost] = np.nan  # it ended before; what it would do from there is not its own
    return states, np.where(lost, status, np.asarray(ended))
