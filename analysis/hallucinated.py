"""Fixed points of normalised SAM that are no critical points: how many, where, of which kind."""

from collections.abc import Callable

import numpy as np

import samflow as sf
from analysis.claims import Claim, Study

NAME = "hallucinated"
TITLE = "Normalised SAM stands still where the loss does not: every such point of a box, proved"
_study = Study(NAME, "arXiv 2509.21818; docs/theory.md, Propositions H1 to H3")
_CASES = {
    "beale": (0.02, ((-1, 4), (-4, 2)), 4),
    "himmelblau": (0.05, ((-5, 5), (-5, 5)), 12),
    "six_hump_camel": (0.02, ((-2, 2), (-1.2, 1.2)), 22),
}
"""rho, box, and twice the sum of the indices of its critical points."""


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Prove the counts for small rho; follow orbits at the double well's attracting points."""
    claims = []
    for name, (rho, box, count) in _CASES.items():
        progress(name)
        system = sf.Map(sf.losses.ZOO[name](), sf.SAM(rho=rho), lr=1e-3)  # pyright: ignore
        proof = sf.certify_fixed_points(system, box)
        found = [point for point in proof.points if point.origin == "hallucinated"]
        some = any(point.kind == "attracting" for point in found)
        claims.append(
            _study.fact(
                f"count on {name}",
                f"at rho = {rho:g} there are two for each negative eigenvalue of a critical point, "
                "and none of them attracts",
                predicted=f"{count}, none attracts, proved",
                measured=f"{len(found)}, {'some attract' if some else 'none attracts'}, "
                f"{proof.verdict}",
                reason="exhaustive search with proof",
            )
        )
    progress("double well")
    return [*claims, _double_well()]


def _double_well() -> Claim:
    """On ¼(w² − 1)² the points ±(rho − 1) attract for 1 < rho < 2, across the hill."""
    system = sf.Map(sf.losses.double_well(), sf.SAM(rho=1.5), lr=0.1)  # pyright: ignore
    orbit = sf.iterate(system, [[0.45], [-0.55], [0.8]], num_steps=2000)
    return _study.fact(
        "an attracting one",
        "on the double well at rho = 1.5 orbits end at ±.5, where |g| = .375 and the ascent point "
        "is the minimum across the hill",
        predicted="0.5, -0.5, 0.5",
        measured=", ".join(f"{w:.12g}" for w in np.asarray(orbit.final_w)[:, 0]),
        reason="the multiplier is GD's at the other minimum, .8; 2000 steps",
    )
