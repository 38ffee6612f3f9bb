"""Every relative of SAM at a saddle, a maximum and a minimum: theory against orbits."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import rules

NAME = "relatives"
TITLE = "The relatives of SAM at a saddle, at a maximum and at a minimum"
_study = Study(NAME, "docs/theory, section 5")
_RHO, _LR = 0.1, 0.05
NUM_STARTS = 12
POINTS: dict[str, tuple[float, ...]] = {
    "saddle": (1.0, -0.5),
    "maximum": (-1.0, -1.0),
    "minimum": (1.0, 0.4),
}
TABLE = {
    "gd": ("leaves", "leaves", "attractor"),
    "usam": ("leaves", "leaves", "attractor"),
    "sam": ("cycle", "trap", "cycle"),
    "practical-sam": ("cycle", "trap", "cycle"),
    "two-step-usam": ("leaves", "leaves", "attractor"),
    "hessian-usam": ("leaves", "leaves", "attractor"),
    "unified-sam": ("cycle", "trap", "cycle"),
    "monge-sam": ("cycle", "trap", "cycle"),
    "multistep-sam": ("cycle", "trap", "cycle"),
    "ssam": ("attractor", "attractor", "attractor"),
    "pgn": ("cycle", "trap", "cycle"),
    "lookahead-sam": ("cycle", "trap", "cycle"),
    "optimistic-sam": ("cycle", "trap", "cycle"),
    "gcsam": ("cycle", "leaves", "cycle"),
    "average-sam": ("leaves", "leaves", "attractor"),
    "m-sam": ("cycle", "trap", "cycle"),
    "n-sam": ("cycle", "trap", "cycle"),
    "dnsam": ("cycle", "trap", "cycle"),
    "f-sam": ("leaves", "leaves", "cycle"),
    "vasso": ("cycle", "trap", "cycle"),
    "dp-sat": ("leaves", "leaves", "trap"),
}
"""What docs/theory, section 5, says of orbits near each of `POINTS`, in their order.

At rho = .1, lr = .05, other settings by default. USAM attracts a saddle for rho > 1/|λ₋| = 2.
GCSAM's flow leaves this saddle (1ᵀH⁻¹1 = −1); what holds its map is the 2-cycle of Proposition 13.
ASAM is left out: at a weight of 0 it has no scale."""


class Seen(NamedTuple):
    """What became of the orbits, and how far from the point they are in the end."""

    fates: tuple[str, ...]
    distances: tuple[tuple[float, float], ...]
    """The nearest and the farthest of each orbit."""

    @property
    def outcome(self) -> str:
        """The fate of all, or the fates that there are."""
        return " and ".join(sorted(set(self.fates)))


def measure(
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, dict[str, Seen]]:
    """Follow orbits of every rule from near the three points."""
    record = {}
    for name in TABLE:
        progress(name)
        record[name] = {place: see(name, place) for place in POINTS}
    return record


def judge(record: dict[str, dict[str, Seen]]) -> list[Claim]:
    """Compare fates with the table, and the size of three rules' cycles with closed forms."""
    claims = [
        _study.fact(
            rules.RULES[name].name,
            "the fates of orbits that start near a saddle (λ = 1, −.5), near a maximum "
            "(λ = −1, −1) and near a minimum (λ = 1, .4)",
            predicted=", ".join(TABLE[name]),
            measured=", ".join(seen.outcome for seen in places.values()),
            reason=f"{NUM_STARTS} random starts at distance rho/1000, 12,000 steps; all orbits "
            "must have the same fate",
            evidence=Evidence.numerical,
        )
        for name, places in record.items()
    ]
    for name, cycles in CYCLES.items():
        for place in ("saddle", "minimum"):
            known = cycles(POINTS[place])
            found = record[name][place].distances
            on_one = sum(any(np.allclose(pair, c, rtol=1e-6) for c in known) for pair in found)
            claims.append(
                _study.every(
                    f"{rules.RULES[name].name}: cycles at the {place}",
                    f"the smallest and the largest distance from the {place} on the cycle that "
                    "each orbit ends on: "
                    + " or ".join(f"{near:.6g} and {far:.6g}" for near, far in known),
                    holding=on_one,
                    of=NUM_STARTS,
                    what="orbits",
                    reason=f"{' '.join(str(cycles.__doc__).split())} Compared to 1e-6: the slowest "
                    "multiplier to the power 12,000 is smaller",
                    evidence=Evidence.numerical,
                )
            )
    return claims


def see(name: str, place: str) -> Seen:
    """Return what becomes of orbits of the rule called `name` near one of `POINTS`."""
    system = sf.Map(sf.losses.Quadratic(POINTS[place]), rules.rule(name, rho=_RHO), lr=_LR)  # pyright: ignore[reportCallIssue]
    found = sf.fate(system, [0.0, 0.0], num_starts=NUM_STARTS, num_steps=12_000)
    pairs = zip(found.nearest.tolist(), found.farthest.tolist(), strict=True)
    return Seen(found.fates, tuple(pairs))


Distances = tuple[tuple[float, float], ...]


def lookahead_cycles(lams: tuple[float, ...]) -> Distances:
    """Along λ > 0 the lookahead point of c is 0, and about c a step is like SAM's about 0.

    There d = λ(1 − αλ)(w − c) + λρ sign(w − c).
    """
    lam, alpha = max(lams), float(rules.LookaheadSAM(rho=_RHO).lookahead)
    rest = alpha * _RHO * lam / (1 - alpha * lam)
    swing = _LR * _RHO * lam / (2 - _LR * lam * (1 - alpha * lam))
    return ((rest - swing, rest + swing),)


def centralised_cycles(lams: tuple[float, ...]) -> Distances:
    """By Proposition 13 HPHu = ν(2I − ηH)u, ν = ‖Hu‖/(ηρ), where P has rank one in the plane."""
    h = np.diag(lams)
    across = h @ np.array([1.0, -1.0]) / np.sqrt(2)
    u = np.linalg.solve(2 * np.eye(2) - _LR * h, across)
    radius = float(across @ u * _LR * _RHO * np.linalg.norm(u) / np.linalg.norm(h @ u))
    return ((radius, radius),)


def suppressed_cycles(lams: tuple[float, ...]) -> Distances:
    """There are SAM's 2-cycle (Proposition 20) and a 4-cycle w₀, w₁, −w₀, −w₁.

    On the 4-cycle the ascent has the signs + + − −: with a = ηλ, w₁ = (1 − a)w₀ − aρ and
    −w₀ = (1 − a)w₁ − aρ.
    """
    a = _LR * max(lams)
    alone = a * _RHO / (2 - a)
    far = a * _RHO * (2 - a) / (1 + (1 - a) ** 2)
    near = a * _RHO - (1 - a) * far
    return (alone, alone), (near, far)


CYCLES: dict[str, Callable[[tuple[float, ...]], Distances]] = {
    "lookahead-sam": lookahead_cycles,
    "gcsam": centralised_cycles,
    "vasso": suppressed_cycles,
}
"""The cycles of rules for which the table alone would say little."""
