"""What a rule does at a critical point, over a plane of rho and lr."""

from collections import Counter
from typing import Annotated, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from samflow.records import AbstractRecord, Names, Provenance, axes

_SHOWN = 6
"""Words that are printed with their share."""


class Boundary(NamedTuple):
    """A curve of theory, on which a condition of stability begins or ends to hold.

    Attributes:
        name: the condition, as "λ = 27.75 flips".
        rho: along the curve.
        lr: along the curve.

    """

    name: str
    rho: Annotated[np.ndarray, axes("along")]
    lr: Annotated[np.ndarray, axes("along")]


class Chart(AbstractRecord):
    """Stability of a critical point over rho and lr.

    Attributes:
        rho: shape (rho,).
        lr: shape (lr,).
        what: what the point is, a word for each (rho, lr): attracting, saddle, ... by the
            Jacobian; where there is none, by orbits that begin beside it: "cycle of period p",
            "stays", "leaves", or how the orbit ended.
        binding: the condition that fails, or that is nearest to failing; empty where there is
            none.
        period: of the orbit from beside the point; 0 where none was found.
        exponent: the largest Lyapunov exponent of that orbit; NaN where it is lost.
        sharpness: the largest eigenvalue of the Hessian where that orbit ends; NaN likewise.
        boundaries: theory's curves.
        point: the critical point.
        by_jacobian: whether `what` was decided by the Jacobian.

    """

    rows: ClassVar[Names] = ("rho", "lr")
    rho: Float[np.ndarray, " rho"] = eqx.field(metadata=axes("rho"))
    lr: Float[np.ndarray, " lr"] = eqx.field(metadata=axes("lr"))
    what: np.ndarray = eqx.field(metadata=axes("rho", "lr"))
    binding: np.ndarray = eqx.field(metadata=axes("rho", "lr"))
    period: np.ndarray = eqx.field(metadata=axes("rho", "lr"))
    exponent: np.ndarray = eqx.field(metadata=axes("rho", "lr"))
    sharpness: np.ndarray = eqx.field(metadata=axes("rho", "lr", units="loss/weight^2"))
    boundaries: tuple[Boundary, ...] = eqx.field(metadata=axes("boundary"))
    point: tuple[float, ...] = eqx.field(static=True, metadata=axes("weight", units="weight"))
    by_jacobian: bool = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return one line: how many cells are what."""
        counts = Counter(self.what.ravel().tolist()).most_common()
        shown = [f"{what} {many / self.what.size:.1%}" for what, many in counts[:_SHOWN]]
        return ", ".join([*shown, f"{len(counts) - _SHOWN} others"][: len(counts)])
