"""Any analysis over a grid of hyperparameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._schedule import check_steps
from samflow._types import ArrayLike
from samflow.attractors.sweep import functions, measures
from samflow.attractors.sweep.measures import Cells, Options
from samflow.attractors.sweep.records import Sweep
from samflow.orbits._iterate import start_states
from samflow.records import provenance
from samflow.records.variables import Variables
from samflow.systems import AbstractMap, AbstractSystem
from samflow.systems.base import check_fixed, check_system
from samflow.systems.leaves import Leaf, Varied, check_values, find_leaf


@_checks.untraced(None)
def sweep(
    system: AbstractSystem,
    grid: Mapping[str, ArrayLike],
    of: str | Callable[[Any], Any] = "orbit",
    *,
    w0: ArrayLike | None = None,
    num_steps: int = 1000,
    escape_radius: float = 1e6,
    max_period: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Run an analysis at every point of a grid of hyperparameters.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> saddle = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)
    >>> found = sf.sweep(saddle, {"rho": [0.03, 0.05], "lr": [0.01, 0.04]}, "classify",
    ...                  w0=[0.0, 1.0])
    >>> found["kind"].tolist()
    [['saddle', 'repelling'], ['attracting', 'saddle']]

    ===========  ===================================================================
    `of`         what is returned
    ===========  ===================================================================
    "orbit"      final, status, stopped_at of the orbit from `w0`
    "escaped"    whether it left the ball of `escape_radius`, status, stopped_at
    "sharpness"  the Hessian's largest eigenvalue where it ends, status
    "period"     of what it ends in, 0 for none up to `max_period`, status
    "exponent"   the largest Lyapunov exponent over `num_steps`, status
    "classify"   kind, margin and status of the point `w0`
    "fate"       outcome and period of orbits that begin near `w0`
    a function   what it returns of the system: a number, text, array, record, or dict of these
    ===========  ===================================================================

    Args:
        system: the system whose numbers are replaced. A map may have schedules for "orbit",
            "escaped", "sharpness" and "period"; step k is that of `system.at(k)`.
        grid: the values of each parameter, a row of numbers by its name: "rho", "lr", or any
            other number of the system. The grid is their product.
        of: the analysis.
        w0: the start or the point, one for all; may be left out for a function.
        num_steps: steps of orbits.
        escape_radius: as in `iterate`.
        max_period: as above.
        progress: is called with how many cells are done, of how many.

    Returns:
        A `Sweep`; what fails in a cell is its status. All analyses but "fate" run the grid in one
        compiled program, and so does a function that JAX can trace. Another function, as one that
        calls `classify`, is called cell by cell; `compiled` says which. Of a record there are the
        variables of its Dataset; where cells have different numbers of items, as of fixed points,
        the rest is NaN or an empty word.

    Raises:
        ArgumentError: for an unknown analysis or parameter, values out of the parameter's range
            or not finite, an analysis of maps for a flow, a schedule where one system is meant
            or in the grid, and a start that is refused by `iterate`.

    """
    _checks.double_precision("`sweep`")
    check_system(system, changing=True)
    leaves, axes = _axes(system, grid)
    cells = _cells(system, leaves, axes, w0)
    if isinstance(of, str):
        measure = measures.known(of)
        if measure.maps and not isinstance(system, AbstractMap):
            raise _checks.ArgumentError(
                f'Argument `of` of a flow must be "classify", "fate" or a function, but is {of!r}.'
            )
        if w0 is None:
            raise _checks.ArgumentError(f'Argument `w0` must be given for "{of}".')
        options = Options(
            _checks.count("num_steps", num_steps),
            _checks.positive("escape_radius", escape_radius),
            _checks.count("max_period", max_period),
        )
        if measure.changing:
            last = options.num_steps + (options.max_period if of == "period" else 0)
            _check_schedules(cells, last)
        else:
            check_fixed(system)
        run = lambda part: functions.named(measure.function(part, options))  # noqa: E731
        name, block, compiled = of, measure.block, measure.compiled
    elif callable(of):
        check_fixed(system)
        compiled = functions.is_traceable(of, cells)
        apply = functions.together if compiled else functions.cell_by_cell
        run = lambda part: apply(of, part)  # noqa: E731
        name, block = getattr(of, "__name__", type(of).__name__), functions.BLOCK if compiled else 1
    else:
        raise _checks.ArgumentError(
            f"Argument `of` must be the name of an analysis ({', '.join(measures.MEASURES)}) or a "
            f"function of the system, but is {_checks.excerpt(of)}."
        )
    found = _in_blocks(run, cells, block, progress)
    shape = tuple(len(values) for values in axes.values())
    shaped = {
        name: each.values.reshape(*shape, *each.values.shape[1:]) for name, each in found.items()
    }
    dims = {name: each.dims[1:] for name, each in found.items()}
    units = {
        name: each.attributes["units"] for name, each in found.items() if "units" in each.attributes
    }
    settings = {"of": name, "num_steps": num_steps, "w0": None if w0 is None else np.asarray(w0)}
    where = provenance(system.describe(), **settings)
    return Sweep(axes, shaped, name, compiled, where, dims, units)


def _axes(
    system: AbstractSystem, grid: Mapping[str, ArrayLike]
) -> tuple[list[Leaf], dict[str, np.ndarray]]:
    """Return the leaves, and the values of each, which the system's own checks have passed."""
    if not isinstance(grid, Mapping) or not grid:
        raise _checks.ArgumentError(
            'Argument `grid` must have the values of each parameter by its name, as in {"rho": '
            f"[0, 0.1]}}, but is {_checks.excerpt(grid)}."
        )
    leaves, axes = [], {}
    scheduled = {schedule.name for schedule in system.schedules}
    for name, values in grid.items():
        if name in scheduled:
            raise _checks.ArgumentError(
                f"Argument `grid` must name numbers of the system, but its {name} is a schedule."
            )
        if name in ("momentum", "weight_decay") and getattr(system, name, 0.0) is None:
            raise _checks.ArgumentError(
                f"Argument `grid` must name numbers of the system, but it has no {name}. Make it "
                f"with any value but 0, as {name}=0.5. The grid replaces it, also by 0."
            )
        leaf = find_leaf(system, name, "grid")
        try:
            row = np.atleast_1d(_checks.real_numbers(values))
        except TypeError as error:
            raise _checks.ArgumentError(
                f"Argument `grid` must have numbers for {name}, but: {error}."
            ) from error
        if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
            raise _checks.ArgumentError(
                f"Argument `grid` must have a row of finite numbers for {name}, but has "
                f"{_checks.excerpt(values)}."
            )
        check_values(system, leaf, (row.min(), row.max()))
        leaves.append(leaf)
        axes[name] = row
    return leaves, axes


def _check_schedules(cells: Cells, num_steps: int) -> None:
    """Refuse schedules that are out of range; of every cell, if their own numbers are varied."""
    marks = [object() for _ in cells.varied.indices]
    inside = jax.tree.leaves(cells.varied.given(cells.system, marks).schedules)
    differ = any(leaf is mark for leaf in inside for mark in marks)
    for i in range(len(cells.starts) if differ else 1):
        check_steps(cells.one(i).schedules, 0, num_steps)


def _cells(
    system: AbstractSystem, leaves: list[Leaf], axes: dict[str, np.ndarray], w0: ArrayLike | None
) -> Cells:
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    kinds = [jnp.asarray(leaf.value(system)).dtype for leaf in leaves]
    values = tuple(
        jnp.asarray(each.ravel(), dtype) for each, dtype in zip(mesh, kinds, strict=True)
    )
    varied = Varied(tuple(leaf.index for leaf in leaves), values)
    start = jnp.zeros(system.state_dim) if w0 is None else start_states(system, w0)
    if start.ndim != 1:
        raise _checks.ArgumentError(
            f"Argument `w0` must be one point, but has shape {start.shape}."
        )
    return Cells(system, varied, jnp.broadcast_to(start, (mesh[0].size, len(start))))


def _in_blocks(
    run: Callable[[Cells], Variables],
    cells: Cells,
    block: int,
    progress: Callable[[int, int], None],
) -> Variables:
    """Run blocks of cells of one size, the last one filled, and join what they return."""
    total = len(cells.starts)
    size = min(block, total)
    parts: list[Variables] = []
    for begin in range(0, total, size):
        chosen = np.minimum(np.arange(begin, begin + size), total - 1)
        values = tuple(value[chosen] for value in cells.varied.values)
        part = Cells(cells.system, cells.varied._replace(values=values), cells.starts[chosen])
        used = min(size, total - begin)
        found = run(part)
        parts.append(
            {name: each._replace(values=each.values[:used]) for name, each in found.items()}
        )
        progress(begin + used, total)
    return functions.joined(parts)
