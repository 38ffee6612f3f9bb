"""A function of a system, over a block of cells: in one program if JAX can trace it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.errors import ConcretizationTypeError, TracerArrayConversionError
from jaxtyping import Array

from samflow import _checks
from samflow.attractors.chunks import check_memory
from samflow.attractors.sweep.measures import PER_DEVICE, Cells, in_cells
from samflow.orbits.blocks import Devices, devices_for
from samflow.records import AbstractRecord
from samflow.records.variables import Variable, Variables, as_array, stacked, variables_of

CELL = "cell"
"""The name of the axis of cells, before they are put in the shape of the grid."""
BLOCK = 1024
"""Cells of a function that are computed together."""
_AT_ONCE = 64
NOT_TRACEABLE = (ConcretizationTypeError, TracerArrayConversionError, _checks.ArgumentError)
NOT_TRACEABLE += (TypeError,)  # it returns texts
"""What a function raises that JAX cannot trace; if it is wrong, it raises it again with numbers."""

Function = Callable[[Any], Any]


def together(of: Function, cells: Cells) -> Variables:
    """Return what a function finds in the cells of a block, computed in one program."""
    devices = devices_for(cells.starts, PER_DEVICE)
    found = jax.tree.map(np.asarray, _all_at_once(of, cells, devices))
    if not _has_record(found):
        return named({name: each.values for name, each in variables(found).items()})
    one = lambda i: jax.tree.map(lambda array: array[i], found)  # noqa: E731
    return stacked([variables(one(i)) for i in range(len(cells.starts))], CELL)


@eqx.filter_jit
def _all_at_once(of: Function, cells: Cells, devices: Devices) -> Any:
    def one(values: Any, _: Array) -> Any:
        return of(cells.varied.given(cells.system, values))

    return in_cells(one, cells.varied, cells.starts, devices, _AT_ONCE)


def bytes_of(of: Function, cells: Cells, number: int) -> int:
    """Return the bytes that a function's results in so many cells take, by its shapes alone."""
    one = [value[0] for value in cells.varied.values]
    shapes = eqx.filter_eval_shape(lambda values: of(cells.varied.given(cells.system, values)), one)
    arrays = [leaf for leaf in jax.tree.leaves(shapes) if hasattr(leaf, "dtype")]
    return number * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in arrays)


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


class Joined:
    """The variables of all cells, filled block by block."""

    def __init__(self, total: int) -> None:
        """Wait for `total` cells."""
        self.total, self.done = total, 0
        self._whole: Variables = {}
        self._rows: list[Variables] | None = None

    def add(self, part: Variables, used: int) -> None:
        """Add the first cells of a block.

        Raises:
            ArgumentError: where all cells would not fit into memory.

        """
        if not self._whole:
            size = sum(each.values.nbytes / len(each.values) for each in part.values())
            check_memory(size * self.total, self.total, "cells")
            for name, each in part.items():
                values = np.empty((self.total, *each.values.shape[1:]), each.values.dtype)
                self._whole[name] = each._replace(values=values)
        if self._rows is None and _layout(part) != _layout(self._whole):
            self._rows = _split(self._whole, self.done)
        if self._rows is not None:
            self._rows += _split(part, used)
        else:
            for name, each in part.items():
                old = self._whole[name].values
                wide = old.astype(np.result_type(old, each.values), copy=False)  # a longer word
                wide[self.done : self.done + used] = each.values[:used]
                self._whole[name] = each._replace(values=wide)
        self.done += used

    def variables(self) -> Variables:
        """Return them; what some cells have more of than others is filled."""
        return self._whole if self._rows is None else stacked(self._rows, CELL)


def _layout(found: Variables) -> dict[str, tuple[Any, ...]]:
    return {name: (each.dims, each.values.shape[1:]) for name, each in found.items()}


def _split(found: Variables, number: int) -> list[Variables]:
    """Return the variables of each of the first cells."""
    return [
        {name: Variable(v.dims[1:], v.values[i], *v[2:]) for name, v in found.items()}
        for i in range(number)
    ]


def named(found: Mapping[str, np.ndarray]) -> Variables:
    """Return arrays over cells as variables."""
    return {
        name: Variable((CELL, *axis_names(name, array.ndim - 1)), array, {}, {})
        for name, array in found.items()
    }
