"""A function of a system, over a block of cells: in one program if JAX can trace it."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.errors import ConcretizationTypeError, TracerArrayConversionError

from samflow import _checks
from samflow.attractors.sweep.measures import Cells
from samflow.records import AbstractRecord
from samflow.records.variables import Variable, Variables, as_array, stacked, variables_of
from samflow.systems.leaves import Varied

CELL = "cell"
"""The name of the axis of cells, before they are put in the shape of the grid."""
BLOCK = 1024
"""Cells of a function that are computed together."""
_AT_ONCE = 64
_NOT_TRACEABLE = (ConcretizationTypeError, TracerArrayConversionError, _checks.ArgumentError)
_NOT_TRACEABLE += (TypeError,)  # it returns texts

Function = Callable[[Any], Any]


def is_traceable(of: Function, cells: Cells) -> bool:
    """Say whether JAX can trace a function of the system, and what it returns is arrays."""
    first = [value[0] for value in cells.varied.values]
    try:
        jax.eval_shape(lambda values: of(cells.varied.given(cells.system, values)), first)
    except _NOT_TRACEABLE:
        return False
    return True


def together(of: Function, cells: Cells) -> Variables:
    """Return what a function finds in the cells of a block, computed in one program."""
    found = jax.tree.map(np.asarray, _all_at_once(of, cells.system, cells.varied))
    if not _has_record(found):
        return named({name: each.values for name, each in variables(found).items()})
    one = lambda i: jax.tree.map(lambda array: array[i], found)  # noqa: E731
    return stacked([variables(one(i)) for i in range(len(cells.starts))], CELL)


@eqx.filter_jit
def _all_at_once(of: Function, system: Any, varied: Varied) -> Any:
    def one(values: Any) -> Any:
        return of(varied.given(system, values))

    return jax.lax.map(one, varied.values, batch_size=_AT_ONCE)


def _has_record(found: Any) -> bool:
    parts = jax.tree.leaves(found, is_leaf=lambda part: isinstance(part, AbstractRecord))
    return any(isinstance(part, AbstractRecord) for part in parts)


def variables(found: Any) -> Variables:
    """Return what a function returned as variables: of a record, by name, or `value`."""
    if isinstance(found, AbstractRecord):
        return variables_of(found)
    if hasattr(found, "_asdict"):
        found = found._asdict()
    if not isinstance(found, Mapping):
        found = {"value": found}
    made: Variables = {}
    for name, value in found.items():
        if isinstance(value, AbstractRecord):
            made |= {f"{name}_{part}": each for part, each in variables_of(value).items()}
        else:
            array = as_array(value)
            made[name] = Variable(axis_names(name, array.ndim), array, {}, {})
    return made


def axis_names(name: str, number: int) -> tuple[str, ...]:
    """Return names for the axes of an array that has none."""
    return tuple(f"{name}_{i}" for i in range(number))


def cell_by_cell(of: Function, cells: Cells) -> Variables:
    """Return what a function finds in the cells of a block, called for each."""
    return stacked([variables(of(cells.one(i))) for i in range(len(cells.starts))], CELL)


def joined(parts: list[Variables]) -> Variables:
    """Return the variables of all blocks; what some cells have more of than others is filled."""
    shapes = [{name: (each.dims, each.values.shape[1:]) for name, each in p.items()} for p in parts]
    if all(shape == shapes[0] for shape in shapes):
        return {
            name: first._replace(values=np.concatenate([part[name].values for part in parts]))
            for name, first in parts[0].items()
        }
    rows = [
        {name: Variable(v.dims[1:], v.values[i], *v[2:]) for name, v in part.items()}
        for part in parts
        for i in range(len(next(iter(part.values())).values))
    ]
    return stacked(rows, CELL)


def named(found: Mapping[str, np.ndarray]) -> Variables:
    """Return arrays over cells as variables."""
    return {
        name: Variable((CELL, *axis_names(name, array.ndim - 1)), array, {}, {})
        for name, array in found.items()
    }
