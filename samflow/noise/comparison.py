"""Escape times of several rules beside each other."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, NamedTuple

import equinox as eqx

from samflow._status import Status
from samflow.noise.escape import EscapeTimes
from samflow.records import AbstractRecord, Names, Provenance, axes


class RuleEscape(NamedTuple):
    """How one rule leaves the ball.

    Attributes:
        name: of the rule.
        median: in steps; NaN where it is not reached.
        interval: of 95 % for the median.
        share: of all paths that were seen to escape.
        mean: E min(T, horizon), and mean_error its standard error.
        mean_error: the standard error of the mean.
        escaped: how many paths did.
        still_inside: how many were at the end.
        lost: how many met numbers that are not finite or undefined.
        times: of every path, with the estimate of their distribution.

    """

    name: str
    median: Annotated[float, axes(units="step")]
    interval: Annotated[tuple[float, float], axes("end", units="step")]
    share: Annotated[float, axes(units="1")]
    mean: Annotated[float, axes(units="step")]
    mean_error: Annotated[float, axes(units="step")]
    escaped: int
    still_inside: int
    lost: int
    times: Annotated[EscapeTimes, axes(prefix="all_")]


class EscapeComparison(AbstractRecord):
    """Escape times of several rules from one ball.

    Attributes:
        rules: each rule.
        loss: the loss.
        point: the centre of the ball.
        radius: of the ball.
        max_steps: how long a path was followed.

    """

    basis: ClassVar[Names] = ("passage",)
    rows: ClassVar[Names] = ("rule",)
    printed: ClassVar[Names] = (
        "rule", "median", "interval", "mean", "mean_error", "escaped", "still_inside", "lost",
    )  # fmt: skip
    rules: tuple[RuleEscape, ...] = eqx.field(
        metadata=axes("rule", prefix="", rename={"name": "rule"})
    )
    loss: str = eqx.field(static=True)
    point: tuple[float, ...] = eqx.field(static=True, metadata=axes("weight", units="weight"))
    radius: float = eqx.field(static=True, metadata=axes(units="weight"))
    max_steps: int = eqx.field(static=True, metadata=axes(units="step"))
    provenance: Provenance = eqx.field(static=True)


def compare_escape(
    times: Mapping[str, EscapeTimes], *, loss: str, point: Sequence[float]
) -> EscapeComparison:
    """Return escape times of several rules as one record.

    Args:
        times: of each rule, by its name, from one ball.
        loss: the name of the loss.
        point: the centre of the ball.

    """
    rules = []
    for name, found in times.items():
        counts = found.count()
        escaped = counts.get(Status.escaped.label, 0)
        inside = counts.get(Status.still_inside.label, 0)
        mean, error = found.survival.mean, found.survival.mean_error
        lost = len(found.times) - escaped - inside
        ends = (found.median, found.interval, found.share, mean, error)
        rules.append(RuleEscape(name, *ends, escaped, inside, lost, found))
    first = rules[0].times
    return EscapeComparison(
        tuple(rules), loss, tuple(point), first.radius, first.max_steps, first.provenance
    )
