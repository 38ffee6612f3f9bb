"""A claim: what theory predicts, what was measured, the tolerance and why, the verdict."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Claim:
    """One line of the report.

    Attributes:
        study: which study checked it.
        name: short, unique within the study.
        source: where it is claimed: [K], [Z], another paper, or derived in docs/theory.md.
        statement: what is claimed, one sentence.
        predicted: theory's number or fact.
        measured: what was found.
        tolerance: how far they may be apart; empty where the comparison is exact.
        reason: why this tolerance.
        holds: the verdict.

    """

    study: str
    name: str
    source: str
    statement: str
    predicted: str
    measured: str
    tolerance: str
    reason: str
    holds: bool


@dataclass(frozen=True)
class Study:
    """What the claims of one study have in common."""

    name: str
    source: str

    def close(
        self,
        name: str,
        statement: str,
        *,
        predicted: float,
        measured: float,
        rel: float = 0.0,
        absolute: float = 0.0,
        reason: str,
        source: str | None = None,
    ) -> Claim:
        """Claim that a number is as predicted; NaN on either side fails."""
        allowed = max(absolute, rel * abs(predicted))
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"{predicted:.10g}",
            f"{measured:.10g}",
            f"±{allowed:.2g}" if allowed else "exact",
            reason,
            holds=bool(abs(measured - predicted) <= allowed),
        )

    def below(
        self,
        name: str,
        statement: str,
        *,
        bound: float,
        measured: float,
        reason: str,
        source: str | None = None,
    ) -> Claim:
        """Claim that a number is less than a bound; NaN fails."""
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"< {bound:.10g}",
            f"{measured:.10g}",
            "none",
            reason,
            holds=bool(math.isfinite(measured) and measured < bound),
        )

    def fact(
        self,
        name: str,
        statement: str,
        *,
        predicted: object,
        measured: object,
        reason: str,
        source: str | None = None,
    ) -> Claim:
        """Claim that a fact or a count is exactly as predicted."""
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            _shown(predicted),
            _shown(measured),
            "exact",
            reason,
            holds=bool(measured == predicted),
        )


def _shown(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
