"""A curve or surface of fixed points, with what lies across it."""

from itertools import groupby
from typing import Annotated, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Complex, Float

from samflow._status import Kind
from samflow.records import AbstractRecord, Names, Provenance, axes
from samflow.theory.windows import Event

_NAMES = {1: "curve", 2: "surface"}


class Change(NamedTuple):
    """Where the kind across a continuum changes.

    Attributes:
        w: the weights.
        arc: how far along the curve; NaN on a surface.
        before: the kind on the side from which `arc` comes, of a surface on one side.
        after: the kind on the other.
        event: what a multiplier, or eigenvalue, across it does there.
        error: the length of the bracket in which it was bisected.

    """

    w: Annotated[tuple[float, ...], axes("weight", units="weight")]
    arc: Annotated[float, axes(units="weight")]
    before: Kind
    after: Kind
    event: Event
    error: Annotated[float, axes(units="weight")]


class SingularPoint(NamedTuple):
    """A point where a continuum crosses another or itself, or is degenerate across.

    Attributes:
        w: the weights.
        what: "crossing" where another continuum passes or the curve passes itself; "singular"
            where its equations have no regular solution, as at a cusp; "degenerate" where an
            eigenvalue across it vanishes.
        proved: whether it is exact algebra that found it.

    """

    w: Annotated[tuple[float, ...], axes("weight", units="weight")]
    what: str
    proved: bool


class Continuum(AbstractRecord):
    """A connected set of fixed points of dimension d ≥ 1, and the spectrum across it.

    Its d tangential multipliers are 1 (of a flow: d eigenvalues are 0) and say nothing. `kinds`
    go by the others: attracting means that orbits come to the set from the side.

    Attributes:
        dimension: d.
        w: samples, shape (samples, dim): of a curve in order along it, the last the first again if
            it is closed; of a surface in no order.
        tangents: orthonormal tangent vectors at each, shape (samples, d, dim).
        arc: length along the curve from its first sample; NaN for surfaces.
        closed: whether a curve returns; of a surface False: it is not known.
        ends: why the curve ends at its first and its last sample: "the box", "a singular point",
            "too long", or "closed"; empty words for surfaces.
        equations: polynomials whose zeros it is made of, as text; () where they are not known.
            Other pieces of the same zeros are listed as continua of their own, if they were found.
        parametrisation: formulas for the weights in parameters t, or s and t, as text; "" where
            none was found. They solve g = 0 exactly.
        proved: whether it is proved that the set has this dimension where it is regular, and
            that all of it is fixed. Else it was followed in floating point.
        loss: L on it, where L is constant along critical points; NaN without a loss, or off them.
        curvature: eigenvalues of the loss's Hessian across it, ascending; NaN without a loss.
        spectrum: multipliers, or a flow's eigenvalues, across it, largest first; NaN where the
            system has no Jacobian, as SAM at critical points.
        kinds: of each sample, across. Of SAM `cycle` and `sliding` are meant across as well,
            by the quadratic part of the loss.
        lr_window: lr for which each sample attracts across, all else as it is; NaN where not known.
        rho_window: the same for rho.
        lr_edges: the least and the largest upper end of `lr_window` along a curve, located between
            samples to some 8 digits; of a surface those of its samples; NaN where not known.
        rho_edges: the same for rho.
        changes: where the kind changes along it; of a surface some such points.
        singular: crossings and degenerate points.
        number: of the continuum in the list; different rules of a survey share it.
        rule: of the system.
        discrete: whether the system is a map.

    """

    basis: ClassVar[Names] = ("continua",)
    rows: ClassVar[Names] = ("sample",)
    printed: ClassVar[Names] = ("arc", "w", "kinds", "spectrum")
    dimension: int = eqx.field(static=True)
    w: Float[np.ndarray, "samples dim"] = eqx.field(
        metadata=axes("sample", "weight", units="weight")
    )
    tangents: Float[np.ndarray, "samples d dim"] = eqx.field(
        metadata=axes("sample", "tangent", "weight")
    )
    arc: Float[np.ndarray, " samples"] = eqx.field(metadata=axes("sample", units="weight"))
    closed: bool = eqx.field(static=True)
    ends: tuple[str, str] = eqx.field(
        static=True, metadata=axes("end_of_curve", labels={"end_of_curve": ("first", "last")})
    )
    equations: tuple[str, ...] = eqx.field(static=True, metadata=axes("equation"))
    parametrisation: str = eqx.field(static=True)
    proved: bool = eqx.field(static=True)
    loss: float = eqx.field(metadata=axes(units="loss"))
    curvature: Float[np.ndarray, "samples across"] = eqx.field(
        metadata=axes("sample", "eigenvalue_across", units="loss/weight^2")
    )
    spectrum: Complex[np.ndarray, "samples modes"] = eqx.field(
        metadata=axes("sample", "mode_across")
    )
    kinds: tuple[Kind, ...] = eqx.field(
        static=True, metadata=axes("sample", rename={"kinds": "kind"})
    )
    lr_window: Float[np.ndarray, "samples end"] = eqx.field(metadata=axes("sample", "end"))
    rho_window: Float[np.ndarray, "samples end"] = eqx.field(metadata=axes("sample", "end"))
    lr_edges: tuple[float, float] = eqx.field(static=True, metadata=axes("end"))
    rho_edges: tuple[float, float] = eqx.field(static=True, metadata=axes("end"))
    changes: tuple[Change, ...] = eqx.field(static=True, metadata=axes("change", prefix="change_"))
    singular: tuple[SingularPoint, ...] = eqx.field(
        static=True, metadata=axes("singular_point", prefix="singular_")
    )
    number: int = eqx.field(static=True)
    rule: str = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.w)

    @property
    def stretches(self) -> tuple[tuple[float, float, Kind], ...]:
        """Return the parts of a curve of one kind each: from arc, to arc, kind; () for surfaces.

        A single sample on a threshold between two of one kind divides nothing.
        """
        if self.dimension > 1:
            return ()
        edges = [0.0, *(change.arc for change in self.changes), float(self.arc[-1])]
        if not self.changes:
            names = [kind for kind in self.kinds if kind is not Kind.nonhyperbolic]
            return ((edges[0], edges[-1], names[0] if names else Kind.nonhyperbolic),)
        kinds = [self.changes[0].before, *(change.after for change in self.changes)]
        return tuple(zip(edges[:-1], edges[1:], kinds, strict=True))

    @property
    def noun(self) -> str:
        """Return what it is called: closed curve, curve, surface, or set of dimension d."""
        name = _NAMES.get(self.dimension, f"set of dimension {self.dimension}")
        return f"closed {name}" if self.closed else name

    def describe(self) -> str:
        """Say what it is, without its system: dimension, equations, and how sure."""
        text = f"{self.noun} of fixed points"
        if self.parametrisation:
            text += f" {self.parametrisation}"
        elif self.equations:
            text += f" {', '.join(f'{part} = 0' for part in self.equations)}"
        else:
            text += f" through ({', '.join(f'{x:.4g}' for x in self.w[len(self) // 2])})"
        return text + (" (proved)" if self.proved else " (followed numerically)")

    def across(self) -> str:
        """Say what lies across it: kinds, where they change, and crossings."""
        if self.changes and self.dimension == 1:
            parts = [str(kind) for kind, _ in groupby(part[2] for part in self.stretches)]
            text = f"across it {', '.join(parts)}, changing at "
            text += ", ".join(self._shown(change.w) for change in self.changes[:4])
            text += ", ..." if len(self.changes) > 4 else ""
        else:
            names = [kind for kind in self.kinds if kind is not Kind.nonhyperbolic] or self.kinds
            counts = {kind: names.count(kind) for kind in dict.fromkeys(names)}
            text = "across it " + ", ".join(
                str(kind) if len(counts) == 1 else f"{kind} at {many} of {len(names)} samples"
                for kind, many in counts.items()
            )
        for name, (low, high) in (("lr", self.lr_edges), ("rho", self.rho_edges)):
            if np.isfinite([low, high]).all():
                where = "" if self.dimension == 1 or low == high else " at samples"
                text += f"; {name} edge {_range(low, high)}{where}"
        named: dict[str, list[str]] = {}
        for point in self.singular:
            named.setdefault(point.what, []).append(self._shown(point.w))
        for what, places in named.items():
            verb = "crosses at" if what == "crossing" else f"{what} at"
            text += f"; {verb} {', '.join(places[:4])}" + (", ..." if len(places) > 4 else "")
        return text

    def __str__(self) -> str:
        """Return one line: what it is, what lies across it, and where that changes."""
        return f"{self.describe()}: {self.across()}"

    def _shown(self, w: tuple[float, ...]) -> str:
        """Return a point; what is 0 to rounding, by the size of the continuum, as 0."""
        least = 1e-9 * float(np.abs(self.w).max())
        return f"({', '.join(f'{x if abs(x) > least else 0.0:.6g}' for x in w)})"


def _range(low: float, high: float) -> str:
    return f"{low:.6g}" if high - low <= 1e-8 * high else f"{low:.4g} to {high:.4g}"
