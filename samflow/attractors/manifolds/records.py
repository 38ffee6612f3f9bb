"""Invariant curves of a saddle."""

import enum
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from samflow.records import AbstractRecord, Names, Provenance, axes


class End(enum.StrEnum):
    """Why a branch of an invariant curve is not followed further."""

    left = "left the box"
    length = "reached the length asked for"
    converged = "converges to another point"
    no_inverse = "the map has no inverse there"
    slow = "moves on too slowly to be followed"
    budget = "needs more points than allowed"


class Arm(eqx.Module):
    """One of the two branches of an invariant curve, from the saddle outwards.

    Attributes:
        points: shape (points, 2).
        error: largest distance of a point that the last refinement put in from the line before; of
            a map with what leaving out points on nearly straight parts moved the line. Where the
            curve is resolved, the line through `points` is nearer to it than this.
        end: why it ends.

    """

    points: Float[np.ndarray, "points 2"] = eqx.field(
        metadata=axes("along", "weight", units="weight")
    )
    error: float = eqx.field(metadata=axes(units="weight"))
    end: End = eqx.field(static=True)


class Manifolds(AbstractRecord):
    """Stable and unstable curves of a saddle with two weights.

    Attributes:
        saddle: the point, shape (2,).
        stable: two arms; orbits on them end in the saddle. They separate basins.
        unstable: two arms; orbits on them come from the saddle.
        spectrum: both multipliers (map) or eigenvalues (flow), the stable one first.

    """

    rows: ClassVar[Names] = ("arm",)
    printed: ClassVar[Names] = (
        "arm",
        "stable_error",
        "stable_end",
        "unstable_error",
        "unstable_end",
    )
    saddle: Float[np.ndarray, " 2"] = eqx.field(metadata=axes("weight", units="weight"))
    stable: tuple[Arm, Arm] = eqx.field(metadata=axes("arm", rename={"along": "stable_along"}))
    unstable: tuple[Arm, Arm] = eqx.field(metadata=axes("arm", rename={"along": "unstable_along"}))
    spectrum: Float[np.ndarray, " 2"] = eqx.field(metadata=axes("mode"))
    provenance: Provenance = eqx.field(static=True)

    @property
    def error(self) -> float:
        """The largest error of an arm."""
        return max(arm.error for arm in (*self.stable, *self.unstable))

    def __str__(self) -> str:
        """Return one line a curve: its points, its error and how its arms end."""
        lines = []
        for name, arms in (("stable", self.stable), ("unstable", self.unstable)):
            number = sum(len(arm.points) for arm in arms)
            ends = ", ".join(dict.fromkeys(str(arm.end) for arm in arms))
            error = max(arm.error for arm in arms)
            lines.append(f"{name}: {number} points, error {error:.1e}, {ends}")
        return "\n".join(lines)
