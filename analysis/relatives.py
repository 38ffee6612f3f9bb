"""Every relative of SAM at a saddle, a maximum and a minimum: what theory says, what orbits do."""

from collections.abc import Callable

import samflow as sf
from analysis.claims import Claim, Study
from samflow import rules

NAME = "relatives"
TITLE = "The relatives of SAM at a saddle, at a maximum and at a minimum"
_study = Study(NAME, "docs/theory.md, section 5")
_RHO, _LR = 0.1, 0.05
POINTS: dict[str, tuple[float, ...]] = {
    "saddle": (1.0, -0.5),
    "maximum": (-1.0, -1.0),
    "minimum": (1.0, 0.4),
}
HELD = "held"
TABLE = {
    "gd": ("leaves", "leaves", "attractor"),
    "usam": ("leaves", "leaves", "attractor"),
    "sam": ("cycle", "trap", "cycle"),
    "practical-sam": ("cycle", "trap", "cycle"),
    "multistep-sam": ("cycle", "trap", "cycle"),
    "ssam": ("attractor", "attractor", "attractor"),
    "pgn": ("cycle", "trap", "cycle"),
    "lookahead-sam": (HELD, "trap", HELD),
    "optimistic-sam": ("cycle", "trap", "cycle"),
    "gcsam": (HELD, "leaves", HELD),
    "average-sam": ("leaves", "leaves", "attractor"),
    "m-sam": ("cycle", "trap", "cycle"),
    "n-sam": ("cycle", "trap", "cycle"),
    "dnsam": ("cycle", "trap", "cycle"),
    "f-sam": ("leaves", "leaves", "cycle"),
    "vasso": (HELD, "trap", HELD),
    "dp-sat": ("leaves", "leaves", "trap"),
}
"""What docs/theory.md, section 5, says of orbits near each of `POINTS`, in their order.

At rho = .1, lr = .05, other settings by default. "held": cycle or trap, theory does not say
which. USAM attracts a saddle for rho > 1/|λ₋| = 2. GCSAM's flow leaves this saddle
(1ᵀH⁻¹1 = −1); what holds its map is the 2-cycle of Proposition 14's last remark. ASAM is left out:
at a weight of 0 it has no scale."""


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Follow orbits of every rule from near the three points."""
    claims = []
    for name, expected in TABLE.items():
        progress(name)
        claims.append(
            _study.fact(
                rules.RULES[name].name,
                "orbits from next to a saddle (λ = 1, −.5), a maximum (λ = −1, −1) and a minimum "
                "(λ = 1, .4)",
                predicted=", ".join(expected),
                measured=", ".join(seen(name, place) for place in POINTS),
                reason="12 random starts at rho/1000, 12,000 steps; all must agree",
            )
        )
    return claims


def seen(name: str, place: str) -> str:
    """Return what becomes of orbits of the rule called `name` near one of `POINTS`.

    In the words of `TABLE`: where that says "held", a cycle and a trap are both "held".
    """
    index = list(POINTS).index(place)
    system = sf.Map(sf.losses.Quadratic(POINTS[place]), rules.rule(name, rho=_RHO), lr=_LR)  # pyright: ignore[reportCallIssue]
    fates = set(sf.fate(system, [0.0, 0.0], num_starts=12, num_steps=12_000).fates)
    if TABLE[name][index] == HELD and fates <= {"cycle", "trap"}:
        return HELD
    return " and ".join(sorted(fates))
