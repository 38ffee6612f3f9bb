"""Output on the terminal: one line per study, failed claims in full, a summary at the end."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.claims import Claim, Verdict
from analysis.size import Size
from reporting.report import Report
from reporting.tally import tally
from reporting.work import Checked, Done, Lost, Task

Line = tuple[str, str]
"""A line of text and its style, as rich names it."""
_MARKS = {Verdict.holds: "✓", Verdict.fails: "✗", Verdict.disagrees: "≠", Verdict.undecided: "?"}
_STYLES = {Verdict.fails: "bold red", Verdict.disagrees: "yellow", Verdict.undecided: "yellow"}


def heading(width: int) -> str:
    """Return the line above the studies."""
    text = f"  {'study':<16} {'claims':>8} {'time':>8} {'left':>6}  tolerance used, tightest claim"
    return text[:width]


def lines(done: Done, left: float, width: int, *, verbose: bool) -> Iterator[Line]:
    """Return the lines about a finished task; `left` is the estimated number of seconds left."""
    for study in done.checked:
        yield from _study(study, left, width, verbose=verbose)
    for figure in done.drawn:
        yield _row("✓", figure.name, "figure", figure.seconds, left), "dim"
    for lost in done.lost:
        yield from _lost(lost, width)


def card(report: Report, page: Path, width: int) -> Iterator[Line]:
    """Return the summary: claims by class, what was reduced, the time, where the report is."""
    count = tally(report.claims)
    yield "", ""
    claims = len(report.claims)
    yield f"{count.holding} of {claims} claims hold, in {duration(report.seconds)}.", "bold"
    for name, hold, fail, note in count.rows:
        text = f"  {name:<12} {hold:>4} hold"
        text += (f", {fail} fail" if fail else "") + (f" ({note})" if note else "")
        yield from _wrapped(text, "bold red" if fail else "", width, 15)
    if count.disagree:
        yield f"  {'disagreement':<12} {count.disagree:>4} with a paper", "yellow"
    if count.undecided:
        yield f"  {'undecided':<12} {count.undecided:>4}", "yellow"
    for lost in report.lost:
        yield from _lost(lost, width)
    if report.reduced:
        text = f"  Reduced or left out (the report says what): {', '.join(report.reduced)}."
        yield from _wrapped(text, "", width, 2)
    yield f"  Report: {page}", ""


def duration(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60} s"


def time_left(todo: Sequence[Task], done: Sequence[Done], elapsed: float, jobs: int) -> float:
    """Estimate the seconds to go from the costs of the tasks and the time of those done."""
    taken = sum(one.seconds for one in done)
    # Ten seconds are counted as on schedule, so that the first task alone does not decide.
    pace = (taken + 10) / (sum(one.task.cost for one in done) + 10)
    return max(0.0, pace * sum(task.cost for task in todo) / jobs - elapsed)


def how_to_go_on(names: Sequence[str], done: Sequence[Done], size: Size) -> str:
    """Return the message after an interrupt: what is done, and how to run the rest."""
    finished = {study.name for one in done for study in one.checked}
    rest = [name for name in names if name not in finished]
    command = f"python -m analysis --size {size}" + "".join(f" --only {name}" for name in rest)
    return (
        f"Interrupted after {len(finished)} of {len(names)} studies; no report was written. "
        f"Run the same command again, or only the remaining studies:\n  {command}"
    )


def _study(study: Checked, left: float, width: int, *, verbose: bool) -> Iterator[Line]:
    failed = [claim for claim in study.claims if claim.fails]
    holding = sum(claim.holds for claim in study.claims)
    beside = any(claim.verdict is Verdict.disagrees for claim in study.claims)
    row = _row(
        "✗" if failed else "≠" if beside else "✓",
        study.name,
        f"{holding} of {len(study.claims)}",
        study.seconds,
        left,
    )
    row = f"{row}  {_tightest(study.claims)}".rstrip()
    yield row if len(row) <= width else row[: width - 1] + "…", "bold red" if failed else ""
    if verbose:
        yield from _wrapped(f"    {study.title}", "bold", width, 4)
        if study.reduced:
            yield from _wrapped(f"    Small size: {study.reduced}", "dim", width, 4)
    for claim in study.claims:
        if verbose or claim.fails:
            yield from _full(claim, width)
        elif claim.verdict is Verdict.disagrees:
            beside = f"{claim.predicted}; found {claim.measured}"
            text = f"  ≠ {claim.name}: disagrees with {claim.source}: {beside}"
            yield from _wrapped(text, "yellow", width, 4)
        elif claim.verdict is Verdict.undecided:
            beside = f"{claim.predicted}; found {claim.measured}"
            text = f"  ? {claim.name}: undecided about {claim.source}: {beside}"
            yield from _wrapped(text, "yellow", width, 4)


def _row(mark: str, name: str, what: str, seconds: float, left: float) -> str:
    clock = f"{round(left) // 60}:{round(left) % 60:02}"
    return f"{mark} {name:<16} {what:>8} {duration(seconds):>8} {clock:>6}"


def _tightest(claims: Sequence[Claim]) -> str:
    used = [claim for claim in claims if claim.holds and claim.used > 0]
    if not used:
        return ""
    claim = max(used, key=lambda claim: claim.used)
    return f"{_share(claim.used):>5} {claim.name}"


def _share(used: float) -> str:
    return f"{100 * used:.0f} %" if used >= 0.005 else "< 1 %"


def _full(claim: Claim, width: int) -> Iterator[Line]:
    says = "FAILS" if claim.fails else str(claim.verdict)
    style = _STYLES.get(claim.verdict, "")
    head = f"  {_MARKS[claim.verdict]} {claim.name}: {says} ({claim.evidence})"
    yield from _wrapped(head, style or "bold", width, 4)
    yield from _wrapped(f"    {claim.statement}", "", width, 4)
    tolerance = claim.tolerance
    if math.isfinite(claim.used) and claim.used:
        tolerance += f", {_share(claim.used)} used"
    if claim.error_probability:
        chance = f"a true claim fails with probability {claim.error_probability:.1g}"
        tolerance = f"{tolerance}; {chance}" if tolerance else chance
    rows = {
        "predicted": claim.predicted,
        "measured": claim.measured,
        "tolerance": tolerance,
        "reason": claim.reason,
        "source": claim.source,
    }
    for name, text in rows.items():
        if text:
            yield from _wrapped(f"    {name:<10} {text}", "", width, 15)


def _lost(lost: Lost, width: int) -> Iterator[Line]:
    yield from _wrapped(f"✗ {lost.name}: stopped by {lost.why}", "bold red", width, 4)


def _wrapped(text: str, style: str, width: int, indent: int) -> Iterator[Line]:
    # A number of many digits is longer than no line; only a path might be.
    for line in textwrap.wrap(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    ):
        yield line, style
