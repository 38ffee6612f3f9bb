"""The verdict of higher order at a fixed point where linearisation does not decide."""

from typing import Annotated, NamedTuple

import numpy as np

from samflow._axes import axes
from samflow._status import Verdict

ATTRACTING, REPELLING, SADDLE = "attracting", "repelling", "saddle"
SEMI_STABLE, UNDECIDED = "semi-stable", "undecided"


class HigherOrder(NamedTuple):
    """What decides at a fixed point with neutral multipliers.

    Attributes:
        verdict: attracting, repelling, saddle; semi-stable (half of the neighbourhood is
            attracted and half is not, as at a saddle-node); or undecided.
        directions: how many neutral multipliers there are.
        multiplier: the neutral one; of a flow the eigenvalue. 1 (of a flow 0) where several.
        order: of the term that decides; the last one looked at where none does.
        coefficient: of that term, along a direction of length 1: a in s⁺ = s + a sᵏ or ṡ = a sᵏ;
            b in s⁺ = −s + b sᵏ; the real part of the first Lyapunov coefficient for a complex pair;
            NaN where there is none.
        direction: the neutral direction; of a semi-stable point the side that is attracted. () for
            a pair or several directions.
        evidence: proved in exact rational arithmetic, or unsupported: in floating point.
        reason: why it is undecided; else how it was decided where no coefficient says it.

    """

    verdict: str
    directions: int
    multiplier: complex
    order: int
    coefficient: float
    direction: Annotated[tuple[float, ...], axes("component")]
    evidence: Verdict
    reason: str = ""

    @property
    def decided(self) -> bool:
        """Whether there is a verdict."""
        return self.verdict != UNDECIDED

    @property
    def brief(self) -> str:
        """The verdict and its order, in a few words."""
        return f"{self.verdict} at order {self.order}" if self.decided else self.verdict

    def __str__(self) -> str:
        """Return the verdict, the order, and what it rests on."""
        if self.verdict == UNDECIDED:
            return f"undecided: {self.reason}"
        text = f"{self.verdict} at order {self.order}"
        if np.isfinite(self.coefficient):
            text += f", coefficient {self.coefficient:.6g}"
        if self.direction:
            text += f" along ({', '.join(f'{x + 0.0:.4g}' for x in self.direction)})"
        text += f" ({self.reason})" if self.reason else ""
        return text + (", proved" if self.evidence is Verdict.proved else ", in floating point")
