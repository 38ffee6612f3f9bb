"""The four claims that a reader came for, each with the figure that shows it."""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.claims import Claim


class Headline(NamedTuple):
    """A claim in a few words: the study and the beginning of the claim's name, and a figure."""

    title: str
    study: str
    claim: str
    figure: str


HEADLINES = (
    Headline(
        "A saddle of the loss attracts USAM from ρ = 4/111 on",
        "beale-threshold",
        "certificate at 1.001",
        "portrait",
    ),
    Headline(
        "SAM stays at saddles in 2-cycles, where theory says so",
        "saddle-cycles",
        "grid of",
        "saddle-cycles",
    ),
    Headline(
        "SAM that is switched on late escapes exponentially fast",
        "valley-phases",
        "valley: P1",
        "two_phases",
    ),
    Headline(
        "Noise drives SAM out of a saddle more slowly than SGD",
        "escape",
        "quartic: SAM against SGD",
        "escape",
    ),
)


def found(headline: Headline, claims: Sequence[Claim]) -> Claim | None:
    """Return the claim of a headline, if it was checked."""
    return next(
        (
            claim
            for claim in claims
            if claim.study == headline.study and claim.name.startswith(headline.claim)
        ),
        None,
    )
