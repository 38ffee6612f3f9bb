"""What a rule does at critical points, over a plane of two numbers, such as rho and lr."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from samflow.records import AbstractRecord, Names, Provenance, axes, dataset_of

if TYPE_CHECKING:
    import xarray

_SHOWN = 6
"""Words that are printed with their share."""


class Boundary(NamedTuple):
    """A curve of theory, on which a condition of stability begins or ends to hold.

    Attributes:
        name: the condition, as "λ = 27.75 flips".
        group: of all conditions that a legend has one entry for; the name, if it is alone.
        x: along the curve, in the units of the first axis; NaN between its parts.
        y: likewise.

    """

    name: str
    group: str
    x: Annotated[np.ndarray, axes("along")]
    y: Annotated[np.ndarray, axes("along")]


class _OverPlane(eqx.Module):
    """Of a record with a cell for each pair of two numbers, whose names are its axes."""

    @property
    def rows(self) -> Names:
        """A row for each cell."""
        return tuple(_axis_names(self).values())

    def to_dataset(self) -> "xarray.Dataset":
        """Return an xarray Dataset with both numbers as coordinates."""
        record: Any = self
        return dataset_of(record).rename(_axis_names(record))


class Chart(_OverPlane, AbstractRecord):
    """Stability of a critical point over two numbers, such as rho and lr.

    Attributes:
        names: what the two numbers are called. In a Dataset they are the axes, unless another
            variable has such a name.
        x: the values of the first, shape (x,).
        y: of the second, shape (y,).
        what: what the point is, a word for each cell: attracting, saddle, ... by the Jacobian;
            where there is none, by orbits that begin beside it: "cycle of period p", "stays",
            "leaves", or how the orbit ended. "not a fixed point" where it is none.
        binding: the condition that fails, or that is nearest to failing; empty where there is
            none.
        period: of the orbit from beside the point; 0 where none was found.
        exponent: the largest Lyapunov exponent of that orbit; NaN where it is lost.
        sharpness: the largest eigenvalue of the Hessian where that orbit ends; NaN likewise.
        boundaries: theory's curves.
        point: the critical point.
        by_jacobian: whether `what` was decided by the Jacobian.

    """

    basis: ClassVar[Names] = (
        "effective curvature",
        "multipliers",
        "verdicts",
        "sam cycle",
        "sam saddle",
    )
    x: Float[np.ndarray, " x"] = eqx.field(metadata=axes("x"))
    y: Float[np.ndarray, " y"] = eqx.field(metadata=axes("y"))
    what: np.ndarray = eqx.field(metadata=axes("x", "y"))
    binding: np.ndarray = eqx.field(metadata=axes("x", "y"))
    period: np.ndarray = eqx.field(metadata=axes("x", "y"))
    exponent: np.ndarray = eqx.field(metadata=axes("x", "y"))
    sharpness: np.ndarray = eqx.field(metadata=axes("x", "y", units="loss/weight^2"))
    boundaries: tuple[Boundary, ...] = eqx.field(metadata=axes("boundary"))
    point: tuple[float, ...] = eqx.field(static=True, metadata=axes("weight", units="weight"))
    by_jacobian: bool = eqx.field(static=True)
    names: tuple[str, str] = eqx.field(static=True, metadata=axes("axis"))
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return one line: how many cells are what."""
        return _shares(self.what)


class AttractorChart(_OverPlane, AbstractRecord):
    """Which critical points of a box attract, over two numbers, and whether anything else does.

    Attributes:
        names: what the two numbers are called. In a Dataset they are the axes, unless another
            variable has such a name.
        x: the values of the first, shape (x,).
        y: of the second, shape (y,).
        what: which points attract, in words: "minimum only", "minimum and saddle", "none"; with
            "elsewhere" where orbits end in an attractor that is about none of the points.
        number: how many points attract.
        elsewhere: the share of the random starts whose orbits end on a fixed point or a cycle that
            is about none of the points.
        lost: the share that diverge, or meet numbers that are not finite or undefined.
        unsettled: the share without a period up to 64 after `num_steps`, away from the points.
        at_points: what each point is, as in `Chart.what`, shape (point, x, y).
        points: the critical points.
        shapes: of each: minimum, saddle, maximum or degenerate.
        complete: whether the list of critical points is proved to be complete in the box.
        boundaries: theory's curves, of all points.
        by_jacobian: whether the points were decided by the Jacobian.

    """

    basis: ClassVar[Names] = (
        "effective curvature",
        "multipliers",
        "verdicts",
        "sam cycle",
        "sam saddle",
    )
    x: Float[np.ndarray, " x"] = eqx.field(metadata=axes("x"))
    y: Float[np.ndarray, " y"] = eqx.field(metadata=axes("y"))
    what: np.ndarray = eqx.field(metadata=axes("x", "y"))
    number: np.ndarray = eqx.field(metadata=axes("x", "y"))
    elsewhere: np.ndarray = eqx.field(metadata=axes("x", "y"))
    lost: np.ndarray = eqx.field(metadata=axes("x", "y"))
    unsettled: np.ndarray = eqx.field(metadata=axes("x", "y"))
    at_points: np.ndarray = eqx.field(metadata=axes("point", "x", "y"))
    points: Float[np.ndarray, "point weight"] = eqx.field(
        metadata=axes("point", "weight", units="weight")
    )
    shapes: tuple[str, ...] = eqx.field(metadata=axes("point"))
    boundaries: tuple[Boundary, ...] = eqx.field(metadata=axes("boundary"))
    complete: bool = eqx.field(static=True)
    by_jacobian: bool = eqx.field(static=True)
    names: tuple[str, str] = eqx.field(static=True, metadata=axes("axis"))
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return one line: how many cells are what."""
        found = f"{len(self.points)} critical points" + ("" if self.complete else ", perhaps more")
        return f"{found}; {_shares(self.what)}"


def _axis_names(record: Any) -> dict[str, str]:
    """Return the axes' names in a Dataset: x and y where a number is called as another variable."""
    data = dataset_of(record)
    taken = set(data.variables) | set(data.dims)
    free = [name for name in record.names if name.isidentifier() and name not in taken]
    whole = len(free) == len(set(free)) == len(("x", "y"))
    return dict(zip(("x", "y"), free if whole else ("x", "y"), strict=True))


def _shares(words: np.ndarray) -> str:
    counts = Counter(words.ravel().tolist()).most_common()
    shown = [f"{word} {many / words.size:.1%}" for word, many in counts[:_SHOWN]]
    return "; ".join([*shown, f"{len(counts) - _SHOWN} others"][: len(counts)])
