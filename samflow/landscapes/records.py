"""What a landscape is, with the sentences that say what it shows and what it does not."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from samflow._checks import ArgumentError
from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Names, Provenance, axes

_ROUNDING = 1e-9
_PLANE_AXES = {"plane_axis": ("first", "second")}


class Landscape(AbstractRecord):
    """The loss on lines and a plane through given weights, with what it says.

    Offsets are lengths in weight space from the weights, along unit vectors. Values are those of
    the loss itself: NaN and infinities are left as they are, and `num_undefined` counts them.

    Attributes:
        names: of the directions, in `AXES`, or "direction".
        offsets: along each of them, shape (axes, n); 0 is the weights.
        slices: the loss there, shape (axes, n).
        parabola: L + (g·v)a + ½(vᵀHv)a², shape (axes, n).
        plane: the loss in the plane of two directions, shape (n, n), the second one first; None
            for one direction or more than two.
        grid: the offsets of the plane along both directions, shape (2, n); None without.
        departs: how far the parabola holds along each direction, (low, high): the loss is off it by
            at most `tol` of ½|vᵀHv|a² within. 0 where it holds nowhere, ±infinite where it holds as
            far as `reach`, NaN where vᵀHv = 0.
        slopes: g·v.
        curvatures: vᵀHv.
        residuals: ‖Hv − (vᵀHv)v‖: 0 along an eigenvector, and then vᵀHv is the eigenvalue.
        mixed: uᵀHv of a plane; NaN without.
        directions: the unit vectors, shape (axes, dim).
        shares: the part that each direction holds of Σ‖wᵢ − w‖² over the states of a trajectory
            with the end w; NaN without a trajectory.
        walk_share: what as many principal axes hold of a random walk of as many states; NaN unless
            all directions are principal ones.
        path: the states, projected on the directions, shape (states, axes); None without.
        path_distances: how far each state is from the line or the plane; None without.
        path_losses: the loss at each state itself; None without.
        path_below: the loss where it is projected to; None without.
        w: the weights.
        loss: L(w).
        gradient_norm: ‖g(w)‖.
        reach: to which distance the parabola was compared, along each direction.
        tol: of `departs`.
        num_values: how many values of slices and plane there are.
        num_undefined: how many of them are not finite.
        name: of the loss.
        kinks: operations of a network with kinks, where slope and curvature are those of the
            smooth piece at the weights.

    """

    rows: ClassVar[Names] = ("axis",)
    names: tuple[str, ...] = eqx.field(static=True, metadata=axes("axis"))
    name: str = eqx.field(static=True)
    kinks: tuple[str, ...] = eqx.field(static=True, metadata=axes("kink"))
    tol: float = eqx.field(static=True)
    num_values: int = eqx.field(static=True)
    num_undefined: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    offsets: Float[NumpyArray, "axes n"] = eqx.field(
        metadata=axes("axis", "offset", units="weight")
    )
    slices: Float[NumpyArray, "axes n"] = eqx.field(metadata=axes("axis", "offset", units="loss"))
    parabola: Float[NumpyArray, "axes n"] = eqx.field(metadata=axes("axis", "offset", units="loss"))
    plane: Float[NumpyArray, "n n"] | None = eqx.field(
        metadata=axes("offset_second", "offset_first", units="loss")
    )
    grid: Float[NumpyArray, "2 n"] | None = eqx.field(
        metadata=axes("plane_axis", "offset", units="weight", labels=_PLANE_AXES)
    )
    departs: Float[NumpyArray, "axes 2"] = eqx.field(metadata=axes("axis", "end", units="weight"))
    slopes: Float[NumpyArray, " axes"] = eqx.field(metadata=axes("axis", units="loss/weight"))
    curvatures: Float[NumpyArray, " axes"] = eqx.field(metadata=axes("axis", units="loss/weight^2"))
    residuals: Float[NumpyArray, " axes"] = eqx.field(metadata=axes("axis", units="loss/weight^2"))
    mixed: float = eqx.field(metadata=axes(units="loss/weight^2"))
    directions: Float[NumpyArray, "axes dim"] = eqx.field(metadata=axes("axis", "weight"))
    shares: Float[NumpyArray, " axes"] = eqx.field(metadata=axes("axis", units="1"))
    walk_share: float = eqx.field(metadata=axes(units="1"))
    path: Float[NumpyArray, "states axes"] | None = eqx.field(
        metadata=axes("state", "axis", units="weight")
    )
    path_distances: Float[NumpyArray, " states"] | None = eqx.field(
        metadata=axes("state", units="weight")
    )
    path_losses: Float[NumpyArray, " states"] | None = eqx.field(
        metadata=axes("state", units="loss")
    )
    path_below: Float[NumpyArray, " states"] | None = eqx.field(
        metadata=axes("state", units="loss")
    )
    w: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    loss: float = eqx.field(metadata=axes(units="loss"))
    gradient_norm: float = eqx.field(metadata=axes(units="loss/weight"))
    reach: Float[NumpyArray, " axes"] = eqx.field(metadata=axes("axis", units="weight"))

    def __str__(self) -> str:
        """Return the caption, a sentence a line."""
        return "\n".join(self.sentences())

    @property
    def caption(self) -> str:
        """What the picture shows, what it is evidence of, and what it does not say."""
        return " ".join(self.sentences())

    def plane_parabola(self) -> NumpyArray:
        """Return the second-order part of the loss on the grid of `plane`."""
        if self.grid is None:
            raise ArgumentError("This landscape has no plane. Give two directions.")
        a, b = self.grid[0][None, :], self.grid[1][:, None]
        form = self.curvatures[0] * a * a + self.curvatures[1] * b * b + 2 * self.mixed * a * b
        return self.loss + self.slopes[0] * a + self.slopes[1] * b + 0.5 * form

    def sentences(self) -> list[str]:
        """Return what is said of the picture, one fact a sentence."""
        count, dim = len(self.names), self.directions.shape[1]
        where = "in the plane of" if self.plane is not None else "along"
        texts = [
            f"Loss of {self.name} {where} {_and([_named(name) for name in self.names])} at weights "
            f"with L = {self.loss:.4g} and ‖g‖ = {self.gradient_norm:.2g}: {self.num_values} exact "
            "values."
        ]
        if dim > count:
            are = "This is 1" if count == 1 else f"These are {count}"
            texts.append(
                f"{are} of {dim} directions: nothing follows for the others. A minimum in the "
                "picture may be a saddle."
            )
        texts += [_curvature(self, i) for i in range(count)]
        if self.kinks:
            texts.append(
                f"The loss has kinks ({', '.join(self.kinks)}): slope and curvature are those of "
                "the smooth piece at the weights."
            )
        if self.path is not None:
            texts += _trajectory(self)
        if any(name.startswith("random") for name in self.names):
            texts.append(
                "Random directions are weak evidence: they are nearly orthogonal to the few sharp "
                "ones, and show about the mean curvature; filter normalisation fixes their scale, "
                "not that."
            )
        if self.num_undefined:
            texts.append(
                f"{self.num_undefined} of {self.num_values} values are not finite and are hatched, "
                "or left out of lines."
            )
        return texts


def _curvature(found: Landscape, i: int) -> str:
    name, curvature, residual = found.names[i], found.curvatures[i], found.residuals[i]
    is_eigen = residual <= 1e-3 * abs(curvature)
    what = "λ" if is_eigen else "v·Hv"
    text = f"Along {_named(name)} {what} = {curvature:.4g}"
    if not is_eigen:
        text += " (no eigenvalue; it lies between the least and the largest)"
    low, high = found.departs[i]
    within = f"within {100 * found.tol:g} % of its curvature term"
    if np.isnan(low) or np.isnan(high):
        return f"{text}; no parabola was compared."
    if low == 0 or high == 0:
        return f"{text}; the loss leaves the parabola at once."
    if np.isinf(low) and np.isinf(high):
        return f"{text}; the parabola holds {within} as far as {found.reach[i]:.3g}."
    return f"{text}; the parabola holds {within} from {_end(low)} to {_end(high)}."


def _end(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "beyond what was compared"


def _trajectory(found: Landscape) -> list[str]:
    assert found.path is not None
    assert found.path_distances is not None
    assert found.path_losses is not None
    assert found.path_below is not None
    where = "plane" if found.plane is not None else "line"
    total = float(found.shares.sum())
    parts = " + ".join(f"{100 * share:.3g} %" for share in found.shares)
    text = f"The {where} holds {100 * total:.3g} %"
    text += f" ({parts})" if len(found.shares) > 1 else ""
    text += f" of the squared distances of {len(found.path_distances)} states from the last one"
    if np.isfinite(found.walk_share):
        text += (
            f"; of a random walk in many dimensions it would hold {100 * found.walk_share:.3g} %"
        )
    far = int(np.argmax(found.path_distances))
    gap = np.abs(found.path_losses - found.path_below)
    apart = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    return [
        f"{text}.",
        *_barrier(found),
        *(
            [
                "States are drawn where they project to; they lie up to "
                f"{found.path_distances[far]:.3g} off the {where}, and their own loss differs from "
                f"the one drawn beneath by up to {gap[apart]:.3g}."
            ]
            if found.path_distances[far] > _ROUNDING * float(np.abs(found.path).max())
            else []
        ),
    ]


def _barrier(found: Landscape) -> list[str]:
    """Say how high the loss rises on a line between two weights."""
    assert found.path is not None
    assert found.path_losses is not None
    if found.names != ("line",):
        return []
    offsets, heights = found.offsets[0], found.slices[0]
    between = heights[(offsets > found.path[0, 0]) & (offsets < 0)]
    if not len(between) or not np.isfinite(between).all():
        return []
    apart = f"the {len(between)} points drawn, {float(np.diff(offsets).max()):.3g} apart"
    rise = float(between.max() - max(found.path_losses[0], found.loss))
    ends = f"Its ends have L = {found.path_losses[0]:.4g} and {found.loss:.4g};"
    if rise > 0:
        return [
            f"{ends} between them the loss rises by at least {rise:.3g} above the higher one, at "
            f"{apart}."
        ]
    return [
        f"{ends} no value between them is above the higher one: no barrier was seen at {apart}."
    ]


def _named(name: str) -> str:
    """Return the name of a direction as a sentence has it."""
    first, comma, rest = name.partition(",")
    kinds = {"sharpest": "eigenvector", "lowest": "eigenvector", "principal": "axis"}
    kind = kinds.get(first.split()[-1])
    if first == "line":
        return f"the line between both ends{comma}{rest}"
    return name if kind is None else f"the {first} {kind}{comma}{rest}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
