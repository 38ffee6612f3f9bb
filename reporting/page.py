"""The files of a report: one self-contained page, and the claims as JSON."""

import json
import math
from dataclasses import asdict
from pathlib import Path

from analysis.claims import Claim
from reporting.about import about
from reporting.control import control
from reporting.layout import page
from reporting.report import Report
from reporting.tally import tally
from samflow.records import write_whole


class ControlHeld(RuntimeError):
    """The claim that is wrong on purpose held: the checks do not check."""


def write_report(folder: Path, report: Report) -> Path:
    """Write claims.json and index.html into `folder`, which exists; return the page's path.

    Raises:
        ControlHeld: where the claim that is wrong on purpose does not fail.

    """
    wrong = control()
    if not wrong.fails:
        raise ControlHeld(f"A claim that is wrong on purpose held: {wrong}")
    facts = about(str(report.size), report.seconds)
    count = tally(report.claims)
    summary = {
        "claims": len(report.claims),
        "failed": count.failing,
        "hold": {str(evidence): number for evidence, number in count.hold.items()},
        "fail": {str(evidence): number for evidence, number in count.fail.items()},
        "disagreements": count.disagree,
        "undecided": count.undecided,
        "error_probability": count.error_probability,
    }
    content = {
        "about": facts,
        "summary": summary,
        "stopped": {lost.name: lost.why for lost in report.lost},
        "reduced": report.reduced,
        "control": _plain(wrong),
        "claims": [_plain(claim) for claim in report.claims],
    }
    write_whole(folder / "claims.json", json.dumps(content, indent=2, ensure_ascii=False))
    return write_whole(folder / "index.html", page(report, facts, wrong))


def _plain(claim: Claim) -> dict[str, object]:
    """Return a claim as JSON has it, which knows no NaN."""
    fields = asdict(claim)
    return {**fields, "used": claim.used if math.isfinite(claim.used) else None}
