"""Claims: prediction, measurement, tolerance with its reason, verdict."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.stats


class Evidence(StrEnum):
    """What carries a claim's verdict.

    exact: a proof, an identity, or a count that theory fixes; nothing is tolerated but rounding.
    numerical: a number beside theory's, within a tolerance that is derived.
    statistical: a sample; the claim names the probability that it fails although it is true.
    disagreement: a paper says otherwise than what was found. It never holds.
    """

    exact = "exact"
    numerical = "numerical"
    statistical = "statistical"
    disagreement = "disagreement"


class Verdict(StrEnum):
    """What was found.

    holds, fails: as predicted, or not.
    disagrees: a paper's statement is decided against; what is derived here is not in doubt.
    undecided: the sample decides a paper's statement neither way.
    """

    holds = "holds"
    fails = "fails"
    disagrees = "disagrees"
    undecided = "undecided"


@dataclass(frozen=True)
class Claim:
    """One line of the report.

    Attributes:
        study: which study checked it.
        name: short, unique within the study.
        source: where it is claimed: [K], [Z], another paper, or derived in docs/theory.
        statement: what is claimed, one sentence.
        predicted: theory's number or fact.
        measured: what was found.
        tolerance: how far they may be apart; empty where the comparison is exact.
        reason: why this tolerance.
        evidence: what carries the verdict.
        verdict: what was found.
        used: the share of the tolerance that the difference takes; NaN where none is defined.
        error_probability: of a statistical claim, how likely it fails although it is true; of
            any other 0.

    """

    study: str
    name: str
    source: str
    statement: str
    predicted: str
    measured: str
    tolerance: str
    reason: str
    evidence: Evidence
    verdict: Verdict
    used: float = math.nan
    error_probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a claim without a class of its own: a sample always errs sometimes."""
        statistical = self.evidence is Evidence.statistical
        if statistical != (0 < self.error_probability < 1):
            raise ValueError(
                f"Claim {self.name!r}: a statistical claim, and no other, has an error probability "
                f"between 0 and 1; received {self.error_probability!r} with {self.evidence}."
            )
        if (self.verdict is Verdict.disagrees) != (self.evidence is Evidence.disagreement):
            raise ValueError(
                f"Claim {self.name!r}: a disagreement with a paper disagrees, and nothing else "
                f"does; received {self.verdict} with {self.evidence}."
            )

    @property
    def holds(self) -> bool:
        """Say whether it is as predicted."""
        return self.verdict is Verdict.holds

    @property
    def fails(self) -> bool:
        """Say whether it speaks against what samflow predicts: the exit code is then 1."""
        return self.verdict is Verdict.fails


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
        """Claim that a number is as predicted, within a tolerance that is derived.

        It fails for NaN and infinity on either side, and where the tolerance is not less than
        the prediction: zero, or the other sign, would hold as well. Without a tolerance the
        claim is exact.
        """
        allowed = max(absolute, rel * abs(predicted))
        used, holds = _compared(predicted, measured, allowed)
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"{predicted:.10g}",
            f"{measured:.10g}",
            f"±{allowed:.2g}" if allowed else "exact",
            reason,
            Evidence.numerical if allowed else Evidence.exact,
            _verdict(holds),
            used,
        )

    def sampled(
        self,
        name: str,
        statement: str,
        *,
        predicted: float,
        measured: float,
        error: float,
        num_errors: float = 4.0,
        bias: float = 0.0,
        freedom: float = math.inf,
        reason: str,
        source: str | None = None,
    ) -> Claim:
        """Claim that a sample's mean is as predicted.

        Args:
            name: short, unique within the study.
            statement: what is claimed.
            predicted: theory's number.
            measured: the sample's.
            error: the standard error of `measured`.
            num_errors: how many of them are allowed; the probability to fail although true is
                that of Student's t beyond, or of a normal deviate.
            bias: allowed besides, for what is not noise (a step size, say); the reason says why.
            freedom: degrees of freedom of `error` where it comes from a few values.
            reason: why this tolerance.
            source: where it is claimed, if not where the study says.

        """
        allowed = num_errors * error + bias
        used, holds = _compared(predicted, measured, allowed)
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"{predicted:.10g}",
            f"{measured:.10g}",
            f"±{allowed:.2g}",
            reason,
            Evidence.statistical,
            _verdict(holds and error > 0),
            used,
            float(2 * scipy.stats.t.sf(num_errors, freedom)),
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
        """Claim that a number is less than a bound; NaN and infinity fail."""
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"< {bound:.10g}",
            f"{measured:.10g}",
            "none",
            reason,
            Evidence.numerical,
            _verdict(math.isfinite(measured) and measured < bound),
        )

    def fact(
        self,
        name: str,
        statement: str,
        *,
        predicted: object,
        measured: object,
        reason: str,
        evidence: Evidence = Evidence.exact,
        error_probability: float = 0.0,
        source: str | None = None,
    ) -> Claim:
        """Claim that a fact is exactly as predicted.

        `evidence` is exact for what is proved or counted without chance, numerical where orbits
        or iterations decide within their own tolerances, statistical where a sample does.
        """
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            _shown(predicted),
            _shown(measured),
            "exact",
            reason,
            evidence,
            _verdict(bool(measured == predicted)),
            error_probability=error_probability,
        )

    def every(
        self,
        name: str,
        statement: str,
        *,
        holding: int,
        of: int,
        what: str,
        reason: str,
        evidence: Evidence,
        error_probability: float = 0.0,
        source: str | None = None,
    ) -> Claim:
        """Claim that all of several cases do as predicted; none at all fails.

        `of` is the number of cases that were chosen before anything was measured.
        """
        return Claim(
            self.name,
            name,
            source or self.source,
            statement,
            f"{of} of {of} {what}",
            f"{holding} of {of} {what}",
            "exact",
            reason,
            evidence,
            _verdict(holding == of > 0),
            error_probability=error_probability,
        )

    def beside(
        self,
        name: str,
        statement: str,
        *,
        paper: str,
        found: str,
        agrees: bool | None,
        reason: str,
        error_probability: float,
        source: str,
    ) -> Claim:
        """Set what a paper states beside what a sample here says of it.

        Args:
            name: short, unique within the study.
            statement: what was done, one sentence.
            paper: what the paper says.
            found: what was found.
            agrees: whether the sample decides for the paper (holds) or against it (disagrees);
                None if it decides neither.
            reason: how it decides.
            error_probability: how likely it decides against a paper that is right.
            source: the paper.

        """
        verdict = {True: Verdict.holds, False: Verdict.disagrees, None: Verdict.undecided}[agrees]
        against = verdict is Verdict.disagrees
        return Claim(
            self.name,
            name,
            source,
            statement,
            paper,
            found,
            "",
            reason,
            Evidence.disagreement if against else Evidence.statistical,
            verdict,
            error_probability=0.0 if against else error_probability,
        )


def _compared(predicted: float, measured: float, allowed: float) -> tuple[float, bool]:
    """Return the share of the tolerance that is used, and whether the claim holds."""
    finite = all(map(math.isfinite, (predicted, measured, allowed)))
    difference = abs(measured - predicted) if finite else math.nan
    telling = predicted == 0 or allowed < abs(predicted)
    used = difference / allowed if allowed else (math.nan if difference else 0.0)
    return float(used), bool(telling and difference <= allowed)


def _verdict(holds: bool) -> Verdict:
    return Verdict.holds if holds else Verdict.fails


def _shown(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
