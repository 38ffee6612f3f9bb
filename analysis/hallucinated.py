"""Fixed points of normalised SAM that are no critical points: how many, where, of which kind."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow._types import Box

NAME = "hallucinated"
TITLE = "Hallucinated fixed points of normalised SAM: all of those in a box, proved"
_study = Study(NAME, "arXiv 2509.21818; docs/theory, Propositions H1 to H3")
_CASES = {
    "beale": (0.02, ((-1, 4), (-4, 2))),
    "himmelblau": (0.05, ((-5, 5), (-5, 5))),
    "six_hump_camel": (0.02, ((-2, 2), (-1.2, 1.2))),
}
"""rho, and a box that holds all critical points."""
_INDEX = {"minimum": 0, "saddle": 1, "maximum": 2}
_RADII = tuple(0.05 + i / 10 for i in range(91))
_EVERY = {Size.full: 1, Size.small: 3}
_WIDE = ((-15, 15), (-15, 15))
SMALL_SIZE = "only every third of the 91 radii at which Himmelblau's function is searched."


class Found(NamedTuple):
    """The hallucinated points that an exhaustive search found, by kind, and its verdict."""

    kinds: Counter[str]
    verdict: sf.Verdict

    @property
    def number(self) -> int:
        """How many there are."""
        return self.kinds.total()

    def __str__(self) -> str:
        """Say how many, whether one attracts, and whether that is proved."""
        some = "some attract" if self.kinds["attracting"] else "none attracts"
        return f"{self.number}, {some}, {self.verdict}"


class Record(NamedTuple):
    """What the search found: at small radii, over all radii, and beside the last of them."""

    small: dict[str, Found]
    radii: tuple[float, ...]
    counts: list[Found]
    last: tuple[Found, Found]
    """Himmelblau's at .999 and at 1.001 times the largest distance of two critical points."""
    rest: np.ndarray


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Prove the counts over the radii; follow orbits at the double well's attracting points."""
    small = {}
    for name, (rho, box) in _CASES.items():
        progress(name)
        small[name] = search(name, rho, box)
    progress("radii")
    radii = _RADII[:: _EVERY[size]]
    counts = [search("himmelblau", rho, _WIDE) for rho in radii]
    inside, outside = (search("himmelblau", f * _farthest(), _WIDE) for f in (0.999, 1.001))
    progress("double well")
    return Record(small, radii, counts, (inside, outside), _double_well())


def judge(record: Record) -> list[Claim]:
    """Compare the counts with the critical points of the loss, and orbits with the closed form."""
    claims = [
        _study.fact(
            f"count on {name}",
            f"the flow at rho = {_CASES[name][0]:g} has two hallucinated fixed points for each "
            "negative eigenvalue of a critical point, and none of them attracts",
            predicted=f"{2 * _sum_of_indices(name)}, none attracts, proved",
            measured=str(found),
            reason="exhaustive search with proof; the critical points are from the literature",
        )
        for name, found in record.small.items()
    ]
    inside, outside = record.last
    return [
        *claims,
        _study.every(
            "counts over the radius",
            "on Himmelblau's function the list of hallucinated points is proved to be complete at "
            f"each radius from {record.radii[0]:g} to {record.radii[-1]:g}",
            holding=sum(found.verdict is sf.Verdict.proved for found in record.counts),
            of=len(record.radii),
            what="proved",
            reason="ball arithmetic proves the list, or says that it cannot",
            evidence=Evidence.exact,
        ),
        _study.fact(
            "largest radius",
            "Himmelblau's function has hallucinated points up to rho = "
            f"{_farthest():.6g}, the largest distance between two critical points, and none "
            "beyond; checked at .999 and 1.001 times this radius",
            predicted="some, none; proved, proved",
            measured=", ".join("some" if found.number else "none" for found in record.last)
            + f"; {inside.verdict}, {outside.verdict}",
            reason="exhaustive search with proof",
        ),
        _study.below(
            "an attracting one",
            "on the double well at rho = 1.5 three orbits converge to ±.5, where |g| = .375 and "
            "the ascent point is the opposite minimum: largest final distance from ±.5",
            bound=1e-12,
            measured=float(np.abs(record.rest - [0.5, -0.5, 0.5]).max()),
            reason="the multiplier is that of GD at the opposite minimum, .8, so that only "
            "rounding remains after 2000 steps",
        ),
    ]


def search(name: str, rho: float, box: Box) -> Found:
    """Search a box for the hallucinated points of SAM's flow on a loss of the zoo."""
    proof = sf.certify_fixed_points(sf.Flow(sf.losses.ZOO[name](), sf.SAM(rho=rho)), box)
    points = [point for point in proof.points if point.origin == "hallucinated"]
    return Found(Counter(str(point.kind) for point in points), proof.verdict)


def _sum_of_indices(name: str) -> int:
    return sum(_INDEX[point.shape] for point in sf.losses.ZOO[name]().critical_points)


def _farthest() -> float:
    """Return the largest distance between two critical points of Himmelblau's function."""
    points = np.array([point.w for point in sf.losses.himmelblau().critical_points])
    return float(np.linalg.norm(points[:, None] - points, axis=2).max())


def _double_well() -> np.ndarray:
    """Return where orbits end on ¼(w² − 1)²: ±(rho − 1) attract for 1 < rho < 2."""
    system = sf.Map(sf.losses.double_well(), sf.SAM(rho=1.5), lr=0.1)
    orbit = sf.iterate(system, [[0.45], [-0.55], [0.8]], num_steps=2000)
    return np.asarray(orbit.final_w)[:, 0]
