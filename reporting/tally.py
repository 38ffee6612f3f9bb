"""Counts of claims by class, and the probability that a true claim fails."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from analysis.claims import Claim, Evidence, Verdict

_CLASSES = (Evidence.exact, Evidence.numerical, Evidence.statistical)


class Row(NamedTuple):
    """The claims of one class that were decided."""

    name: str
    hold: int
    fail: int
    note: str


class Tally(NamedTuple):
    """How many claims there are of each class and verdict."""

    hold: dict[Evidence, int]
    fail: dict[Evidence, int]
    disagree: int
    undecided: int
    error_probability: float
    """Bound on the probability that a statistical claim fails although true: the sum over all."""

    @property
    def holding(self) -> int:
        """Number of claims that hold."""
        return sum(self.hold.values())

    @property
    def failing(self) -> int:
        """Number of claims that fail."""
        return sum(self.fail.values())

    @property
    def rows(self) -> list[Row]:
        """The classes that there are, with what there is to say of each."""
        chance = f"if all are true, the probability that one fails is {self.error_probability:.2g}"
        notes = {Evidence.statistical: f"{chance} or less"} if self.error_probability else {}
        return [
            Row(str(evidence), self.hold[evidence], self.fail[evidence], notes.get(evidence, ""))
            for evidence in _CLASSES
            if self.hold[evidence] + self.fail[evidence]
        ]


def tally(claims: Sequence[Claim]) -> Tally:
    """Count claims by class and verdict."""

    def number(evidence: Evidence, verdict: Verdict) -> int:
        return sum(claim.evidence is evidence and claim.verdict is verdict for claim in claims)

    decided = [claim for claim in claims if claim.holds or claim.fails]
    return Tally(
        {evidence: number(evidence, Verdict.holds) for evidence in _CLASSES},
        {evidence: number(evidence, Verdict.fails) for evidence in _CLASSES},
        sum(claim.verdict is Verdict.disagrees for claim in claims),
        sum(claim.verdict is Verdict.undecided for claim in claims),
        math.fsum(claim.error_probability for claim in decided),
    )
