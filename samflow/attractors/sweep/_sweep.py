"""Any analysis over a grid of hyperparameters."""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._schedule import check_steps
from samflow._types import ArrayLike
from samflow.attractors import chunks
from samflow.attractors.sweep import functions, measures
from samflow.attractors.sweep.measures import Cells, Found, Options
from samflow.attractors.sweep.records import Sweep
from samflow.attractors.sweep.stored import StoredSweep
from samflow.orbits._iterate import start_states
from samflow.records import Provenance, provenance
from samflow.records.variables import Variables
from samflow.systems import AbstractMap, AbstractSystem
from samflow.systems.base import check_fixed, check_system
from samflow.systems.leaves import Leaf, Varied, check_values, find_leaf


class _Analysis(NamedTuple):
    """What is done with a block of cells: its name, the function, and how many cells at once.

    Attributes:
        name: of the analysis, or of the user's function.
        run: of a block.
        block: how many cells.
        compiled: whether a block is one program.
        steps: of the orbit of a cell.
        settings: what a store of the same sweep must agree in.
        needed: bytes that the result takes at least, as far as they are known before.

    """

    name: str
    run: Callable[[Cells], Variables]
    block: int
    compiled: bool
    steps: int
    settings: dict[str, str]
    needed: int = 0


@overload
def sweep(
    system: AbstractSystem,
    grid: Mapping[str, ArrayLike],
    of: str | Callable[[Any], Any] = ...,
    *,
    w0: ArrayLike | None = ...,
    num_steps: int = ...,
    escape_radius: float = ...,
    max_period: int = ...,
    progress: Callable[[int, int], None] = ...,
    store: None = ...,
    part: None = ...,
    chunk_cells: None = ...,
) -> Sweep: ...


@overload
def sweep(
    system: AbstractSystem,
    grid: Mapping[str, ArrayLike],
    of: str | Callable[[Any], Any] = ...,
    *,
    w0: ArrayLike | None = ...,
    num_steps: int = ...,
    escape_radius: float = ...,
    max_period: int = ...,
    progress: Callable[[int, int], None] = ...,
    store: str | os.PathLike[str],
    part: tuple[int, int] | None = ...,
    chunk_cells: int | None = ...,
) -> StoredSweep: ...


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
    store: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    chunk_cells: int | None = None,
) -> Sweep | StoredSweep:
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
        store: a folder for chunks of the grid, each written when it is done (zarr). The same call
            goes on where it was stopped, and ends with the same bits.
        part: with a store: (i, n) computes the i-th, from 1, of n parts of the chunks, so that n
            calls, at any time and place, share the work. Where JAX runs in several processes
            (`jax.distributed`), they share it without being told.
        chunk_cells: with a store: cells of a chunk at most; by default some seconds' work.

    Returns:
        A `Sweep`, or with `store` a `StoredSweep`, which reads what it is asked for. What fails in
        a cell is its status. All analyses but "fate" run the grid in one compiled program, and so
        does a function that JAX can trace. Another function, as one that calls `classify`, is
        called cell by cell; `compiled` says which. Of a record there are the variables of its
        Dataset; where cells have different numbers of items, as of fixed points, the rest is NaN
        or an empty word. A store takes one number of items alone.

    Raises:
        ArgumentError: for an unknown analysis or parameter, values out of the parameter's range
            or not finite, an analysis of maps for a flow, a schedule where one system is meant
            or in the grid, a start that is refused by `iterate`, a result that does not fit into
            memory (before anything runs, unless its size is not known by then), the store of
            another request (which says in what it differs), a store that cannot be written, and a
            part that is none.
        ImportError: for a store where zarr is not installed.

    Not guaranteed: that a store knows a change of what a function that JAX cannot trace reads from
    outside of itself.

    """
    _checks.double_precision("`sweep`")
    check_system(system, changing=True)
    leaves, axes = _axes(system, grid)
    cells = _cells(system, leaves, axes, w0)
    options = Options(
        _checks.count("num_steps", num_steps),
        _checks.positive("escape_radius", escape_radius),
        _checks.count("max_period", max_period),
    )
    found = _analysis(system, cells, of, w0, options)
    settings = {"of": found.name, "num_steps": num_steps}
    settings["w0"] = None if w0 is None else np.asarray(w0)
    where = provenance(system.describe(), **settings)
    if store is None:
        if part is not None or chunk_cells is not None:
            raise _checks.ArgumentError(
                "Arguments `part` and `chunk_cells` are of a `store`: give its path."
            )
        chunks.check_memory(found.needed, cells.total, "cells")
        return _in_memory(found, axes, _in_blocks(found.run, cells, found.block, progress), where)
    size = chunks.chunk_cells(
        cells.total, chunk_cells, steps=found.steps, width=system.state_dim, together=found.compiled
    )
    plan = chunks.layout(cells.shape, size)
    request = {
        **chunks.of_system(system),
        **{name: chunks.of_array(row) for name, row in axes.items()},
        "w0": chunks.of_array(cells.start),
        **found.settings,
        **{name: dict(where)[name] for name in ("samflow", "jax")},
    }
    cut = chunk_cells is not None
    first: Variables = {}

    def details() -> dict[str, Any]:
        return {"quantity": found.name, "compiled": found.compiled, "units": _units(first)}

    job = chunks.Job(
        store, "Sweep", request, plan, cut, axes, tuple(axes), details, where,
        more_dims=lambda: {name: each.dims[1:] for name, each in first.items()},
    )  # fmt: skip

    def compute(store: Any, plan: chunks.Layout, begin: int, end: int) -> Found:
        nothing: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
        size = min(found.block, plan.cells)
        variables = _in_blocks(found.run, cells, size, nothing, begin, end)
        first.update(variables if not first else {})
        return {name: each.values for name, each in variables.items()}

    return StoredSweep(chunks.run(job, compute, part, progress))


def _in_memory(
    analysis: _Analysis, axes: dict[str, np.ndarray], found: Variables, where: Provenance
) -> Sweep:
    """Return the sweep of what was found in all cells."""
    shape = tuple(len(values) for values in axes.values())
    shaped, dims = {}, {}
    for name, each in found.items():
        shaped[name] = each.values.reshape(*shape, *each.values.shape[1:])
        dims[name] = each.dims[1:]
    return Sweep(axes, shaped, analysis.name, analysis.compiled, where, dims, _units(found))


def _units(found: Variables) -> dict[str, str]:
    return {name: v.attributes["units"] for name, v in found.items() if "units" in v.attributes}


def _analysis(
    system: AbstractSystem,
    cells: "_Grid",
    of: str | Callable[[Any], Any],
    w0: ArrayLike | None,
    options: Options,
) -> _Analysis:
    """Return what is done with blocks of cells."""
    if isinstance(of, str):
        measure = measures.known(of)
        if measure.maps and not isinstance(system, AbstractMap):
            raise _checks.ArgumentError(
                f'Argument `of` of a flow must be "classify", "fate" or a function, but is {of!r}.'
            )
        if w0 is None:
            raise _checks.ArgumentError(f'Argument `w0` must be given for "{of}".')
        if measure.changing:
            last = options.num_steps + (options.max_period if of == "period" else 0)
            _check_schedules(cells, last)
        else:
            check_fixed(system)
        settings = {"of": of, **{name: str(value) for name, value in options._asdict().items()}}
        return _Analysis(
            of,
            lambda part: functions.named(measure.function(part, options)),
            measure.block,
            measure.compiled,
            options.num_steps if measure.steps else 1,
            settings,
            measure.bytes_of(cells.total, system.state_dim),
        )
    if callable(of):
        check_fixed(system)
        return _function(of, cells)
    raise _checks.ArgumentError(
        f"Argument `of` must be the name of an analysis ({', '.join(measures.MEASURES)}) or a "
        f"function of the system, but is {_checks.excerpt(of)}."
    )


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


def _check_schedules(cells: "_Grid", num_steps: int) -> None:
    """Refuse schedules that are out of range; of every cell, if their own numbers are varied."""
    marks = [object() for _ in cells.indices]
    inside = jax.tree.leaves(Varied(cells.indices).given(cells.system, marks).schedules)
    differ = any(leaf is mark for leaf in inside for mark in marks)
    for i in range(cells.total if differ else 1):
        check_steps(cells.block(np.array([i])).one(0).schedules, 0, num_steps)


class _Grid(NamedTuple):
    """The cells of a grid, which are made when they are asked for.

    Attributes:
        system: the system.
        indices: the leaves that are varied.
        rows: the values of each.
        start: of all cells, a state.

    """

    system: AbstractSystem
    indices: tuple[int, ...]
    rows: tuple[Array, ...]
    start: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each parameter has."""
        return tuple(len(row) for row in self.rows)

    @property
    def total(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    def block(self, numbers: np.ndarray) -> Cells:
        """Return the cells of these numbers, the last parameter running fastest."""
        at = np.unravel_index(numbers, self.shape)
        values = tuple(row[i] for row, i in zip(self.rows, at, strict=True))
        starts = jnp.broadcast_to(self.start, (len(numbers), len(self.start)))
        return Cells(self.system, Varied(self.indices, values), starts)


def _cells(
    system: AbstractSystem, leaves: list[Leaf], axes: dict[str, np.ndarray], w0: ArrayLike | None
) -> _Grid:
    kinds = [jnp.asarray(leaf.value(system)).dtype for leaf in leaves]
    rows = tuple(jnp.asarray(row, dtype) for row, dtype in zip(axes.values(), kinds, strict=True))
    start = jnp.zeros(system.state_dim) if w0 is None else start_states(system, w0)
    if start.ndim != 1:
        raise _checks.ArgumentError(
            f"Argument `w0` must be one point, but has shape {start.shape}."
        )
    return _Grid(system, tuple(leaf.index for leaf in leaves), rows, start)


def _in_blocks(
    run: Callable[[Cells], Variables],
    cells: _Grid,
    block: int,
    progress: Callable[[int, int], None],
    first: int = 0,
    beyond: int | None = None,
) -> Variables:
    """Run blocks of one size over a range of cells, the last one filled; join what they return."""
    beyond = cells.total if beyond is None else beyond
    block = min(block, cells.total)
    whole = functions.Joined(beyond - first)
    for begin in range(first, beyond, block):
        part = run(cells.block(np.minimum(np.arange(begin, begin + block), beyond - 1)))
        whole.add(part, min(block, beyond - begin))
        progress(whole.done, whole.total)
    return whole.variables()


def _function(of: Callable[[Any], Any], cells: _Grid) -> _Analysis:
    """Return what calls a function in all cells of a block, in one program if JAX can trace it."""
    name = getattr(of, "__name__", type(of).__name__)
    one = cells.block(np.array([0]))
    values = [value[0] for value in one.varied.values]
    try:
        program = chunks.of_program(lambda v: of(one.varied.given(cells.system, v)), values)
    except functions.NOT_TRACEABLE:
        settings = {"of": name, "code of the function": chunks.of_function(of)}
        return _Analysis(name, partial(functions.cell_by_cell, of), 1, False, 1, settings)
    settings = {"of": name, "code of the function": program}
    block, run = functions.BLOCK, partial(functions.together, of)
    needed = functions.bytes_of(of, one, cells.total) if cells.total > block else 0
    return _Analysis(name, run, block, True, 1000, settings, needed)
