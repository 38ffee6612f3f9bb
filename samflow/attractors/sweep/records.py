"""What a sweep returns: one array a quantity, over named axes."""

from typing import Any

import equinox as eqx
import numpy as np

from samflow.records import AbstractRecord, Names, Provenance, as_array, attributes


class Sweep(AbstractRecord):
    """An analysis over a grid of hyperparameters.

    Attributes:
        axes: the values of each parameter, by its name; the grid is their product.
        values: what was found, by name: arrays whose first axes are those of the grid. Kinds and
            statuses are words.
        quantity: what was swept: the name of an analysis, or of a function.
        compiled: whether the whole grid ran in one program; else cell by cell.
        dims: the names of further axes of the values, by name.
        units: of values that have one, by name.

    """

    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    quantity: str = eqx.field(static=True)
    compiled: bool = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    dims: dict[str, tuple[str, ...]] = eqx.field(default_factory=dict)
    units: dict[str, str] = eqx.field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each parameter has."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def rows(self) -> Names:
        """A row for each cell of the grid."""
        return tuple(self.axes)

    def to_dataset(self) -> Any:
        """Return an xarray Dataset with the parameters as coordinates."""
        import xarray

        variables: dict[str, Any] = {"quantity": self.quantity, "compiled": self.compiled}
        for name, array in self.values.items():
            number = array.ndim - len(self.axes)
            more = self.dims.get(name) or tuple(f"{name}_{i}" for i in range(number))
            units = {"units": self.units[name]} if name in self.units else {}
            variables[name] = ((*self.axes, *more), as_array(array), units)
        return xarray.Dataset(variables, coords=dict(self.axes), attrs=attributes(self))

    def __str__(self) -> str:
        """Return one line: what over which axes, and what is in it."""
        axes = " × ".join(f"{name} ({len(values)})" for name, values in self.axes.items())
        return f"{self.quantity} over {axes}: {', '.join(self.values)}"
