"""Basins of attraction: which start ends where."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from samflow._status import Kind
from samflow._types import Box
from samflow.attractors.basins.refinement import Refinement
from samflow.records import AbstractRecord, Names, Provenance, axes

_FEW = 64
"""So many ellipsoids are tried one by one."""
_ZERO = 1e-9
"""Part of its reach below which a coordinate of an attractor is printed as 0."""


class Ending(enum.IntEnum):
    """What became of a start that came to no attractor; attractors count from 0 on."""

    unresolved = -1
    """It still moved after the last step, or rests where no attractor was found."""
    diverged = -2
    not_finite = -3
    undefined = -4
    """It met a point where the loss or the system is not defined, as log x at x ≤ 0."""
    missing = -5
    """It is in a chunk of a store that is not computed yet."""
    outside = -6
    """It begins outside the domain that the loss declares, and is not followed."""
    solver_out_of_steps = -7
    """The solver of a flow gave up: the solution is too stiff, or turns too often."""

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")


class Region(NamedTuple):
    """A union of ellipsoids (z − centre)ᵀ metric (z − centre) ≤ 1: an orbit in it has come.

    Attributes:
        centres: shape (ellipsoids, state).
        metrics: shape (ellipsoids, state, state).
        stays: how many steps an orbit must be in it at each of them, where nothing says that it
            does not leave; 0 where the map or flow keeps the region.
        every: how many steps, or how much time of a flow, lie between these.

    """

    centres: Annotated[np.ndarray, axes("ellipsoid", "state")]
    metrics: Annotated[np.ndarray, axes("ellipsoid", "row", "state")]
    stays: int
    every: float

    def holds(self, states: np.ndarray) -> np.ndarray:
        """Say of states (N, state) whether they lie in it."""
        inside = np.zeros(len(states), bool)
        if len(self.centres) > _FEW and not np.ptp(self.metrics, axis=0).any():
            from scipy.spatial import KDTree  # slow to import, and seldom needed

            known = np.isfinite(states).all(axis=1)
            root = np.linalg.cholesky(self.metrics[0])  # zᵀPz = ‖rootᵀ z‖²
            tree = KDTree(self.centres @ root)
            away = tree.query(states[known] @ root, distance_upper_bound=1.0)[0]
            inside[known] = np.isfinite(away)
            return inside
        for centre, metric in zip(self.centres, self.metrics, strict=True):
            away = states - centre
            inside |= np.einsum("ni,ij,nj->n", away, metric, away) <= 1
        return inside

    def about(self, points: np.ndarray) -> "Region":
        """Return the region of the first ellipsoid's form about other points."""
        shape = (len(points), *self.metrics.shape[1:])
        return self._replace(centres=points, metrics=np.broadcast_to(self.metrics[0], shape))

    @property
    def reach(self) -> float:
        """The least radius of the largest balls in the ellipsoids."""
        return float(1 / np.sqrt(np.linalg.eigvalsh(self.metrics)[:, -1].max()))


class Attractor(NamedTuple):
    """What orbits come to.

    Attributes:
        kind: attracting (a fixed point), cycle, quasiperiodic or chaotic, or a continuum of fixed
            points; about a critical point of normalised SAM also rotation, trap, chaotic trap or
            sliding.
        points: the fixed point, or all points of the cycle, shape (period, state); of a
            quasiperiodic or chaotic attractor, a limit cycle or a continuum, points on it; of a
            trap, a
            rotation or sliding the critical point about which it lies.
        period: of a cycle of a map; 1 for a fixed point, 0 where there is none.
        reach: orbits within this distance of a point of it, in the units of `points`, count as
            having come to it.
        found: "fixed point" or "orbit": how it was found.
        exponent: the largest Lyapunov exponent, per step (flow: per unit of time); NaN where there
            is no Jacobian.
        proved: of a fixed point or a continuum whether it is proved to exist; of what holds orbits
            about a critical point whether orbits in `region` are proved to come to it and to stay.
        region: orbits in it have come to the attractor.

    """

    kind: Kind
    points: Annotated[np.ndarray, axes("cycle_point", "state")]
    period: int
    reach: float
    found: str
    exponent: float
    proved: bool
    region: Annotated[Region, axes(hidden=True)]

    @property
    def is_limit_cycle(self) -> bool:
        """Whether it is a limit cycle of a flow; its points are some on it."""
        return self.kind is Kind.cycle and not self.period and len(self.points) > 1

    @property
    def is_many(self) -> bool:
        """Whether `points` are some of infinitely many, on a curve or a strange attractor."""
        strange = self.kind in (Kind.chaotic, Kind.quasiperiodic, Kind.continuum)
        return strange or self.is_limit_cycle

    def __str__(self) -> str:
        """Return kind, period and the first point, or where and how chaotic it is."""
        if self.is_many:
            ends = zip(self.points.min(axis=0), self.points.max(axis=0), strict=True)
            where = " × ".join(f"[{low:.3g}, {high:.3g}]" for low, high in ends)
            if self.is_limit_cycle:
                return f"limit cycle in {where}"
            if self.kind is Kind.continuum:
                return f"continuum of fixed points in {where}"
            return f"{self.kind} in {where}, exponent {self.exponent:.3g}"
        at = ", ".join(f"{x if abs(x) > _ZERO * self.reach else 0:.4g}" for x in self.points[0])
        of = f" of period {self.period}" if self.period > 1 else ""
        return f"{self.kind}{of} at ({at})"


class Share(NamedTuple):
    """The part of the starts that ended in one way, with a 95 % interval (Wilson 1927)."""

    fraction: float
    low: float
    high: float


class Outcome(NamedTuple):
    """A way in which starts end: its label, what that means, and the `Share` of the starts."""

    label: int
    name: str
    fraction: float
    low: float
    high: float


class Basins(AbstractRecord):
    """Where the orbits from the points of a box end.

    Attributes:
        starts: the weights of each start, shape (starts, dim).
        labels: the number of its attractor, or a negative `Ending`, shape (starts,).
        steps: after how many steps (or which time) it was seen to be there; -1 if never, or if
            the start was not followed.
        attractors: in the order of their numbers.
        shape: of the grid, one number a weight; empty where the starts are a random sample.
        box: the box; a weight that is held has the same number twice.
        refinement: how the grid was refined; None where every start was followed.
        system_name: what was followed.

    """

    rows: ClassVar[Names] = ("outcome",)
    starts: Float[np.ndarray, "starts dim"] = eqx.field(
        metadata=axes("start", "weight", units="weight")
    )
    labels: Int[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    steps: Float[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    attractors: tuple[Attractor, ...] = eqx.field(metadata=axes("attractor"))
    shape: tuple[int, ...] = eqx.field(static=True, metadata=axes("weight"))
    box: Box = eqx.field(static=True, metadata=axes("weight", "end", units="weight"))
    provenance: Provenance = eqx.field(static=True)
    refinement: Refinement | None = eqx.field(default=None, metadata=axes())

    @property
    def grid(self) -> Int[np.ndarray, " *shape"]:
        """The labels on the grid, one axis a weight that varies."""
        varies = [low < high for low, high in self.box]
        return self.labels.reshape([n for n, each in zip(self.shape, varies, strict=True) if each])

    def names(self) -> dict[int, str]:
        """Return what each label that occurs means."""
        return names_of(self.attractors, np.unique(self.labels).tolist())

    def shares(self) -> dict[int, Share]:
        """Return the share of each label that occurs.

        The interval takes the starts as independent, which those of a grid are not: it is then
        too wide.
        """
        n = len(self.labels)
        return {label: wilson(int((self.labels == label).sum()), n) for label in self.names()}

    @property
    def outcomes(self) -> Annotated[tuple[Outcome, ...], axes("outcome", prefix="outcome_")]:
        """Each attractor and each ending that occurs, with its share of the starts."""
        names = self.names()
        return tuple(Outcome(label, names[label], *each) for label, each in self.shares().items())

    def to_dict(self) -> dict[str, Any]:
        """Return counts and attractors, and labels as a list."""
        made = super().to_dict()
        made["attractors"] = [
            {name: value for name, value in one.items() if name != "region"}
            for one in made["attractors"]
        ]
        made["shares"] = {self.names()[k]: v._asdict() for k, v in self.shares().items()}
        return made

    def __str__(self) -> str:
        """Return one line for each attractor and ending, with its share."""
        values, times = np.unique(self.labels, return_counts=True)
        counts = dict(zip(values.tolist(), times.tolist(), strict=True))
        first, *rest = told(len(self.labels), self.attractors, counts).split("\n")
        how = "" if self.refinement is None else f"; {self.refinement}"
        return "\n".join([first + how, *rest])


def names_of(attractors: Sequence[Attractor], present: Iterable[int]) -> dict[int, str]:
    """Return what each attractor, and each ending that is present, is called, in their order."""
    made = {i: str(attractor) for i, attractor in enumerate(attractors)}
    made |= {int(ending): ending.label for ending in Ending}
    shown = set(map(int, present)) | set(range(len(attractors)))
    return {label: made[label] for label in sorted(shown, key=_order)}


def told(starts: int, attractors: Sequence[Attractor], counts: Mapping[int, int]) -> str:
    """Return one line for each attractor and ending, with its share."""
    number = len(attractors)
    lines = [f"{starts} starts, {number} attractor{'' if number == 1 else 's'}"]
    total = sum(counts.values())
    for label, name in names_of(attractors, counts).items():
        part = wilson(counts.get(label, 0), total)
        lines.append(f"  {name}: {part.fraction:.2%} [{part.low:.2%}, {part.high:.2%}]")
    return "\n".join(lines)


def _order(label: int) -> tuple[bool, int]:
    return label < 0, abs(label)


def wilson(count: int, n: int) -> Share:
    """Return a share with its interval; of nothing, NaN."""
    from scipy.stats import binomtest  # slow to import, and seldom needed

    if not n:
        return Share(np.nan, np.nan, np.nan)
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return Share(count / n, float(interval.low), float(interval.high))
