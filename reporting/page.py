"""The report: one self-contained page, the claims as JSON, the figures beside them."""

import base64
import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax

import samflow
from analysis.claims import Claim
from analysis.size import Size
from reporting.drawing import Drawn
from reporting.tally import tally
from reporting.work import Checked, Lost
from samflow.records import write_whole

_COLUMNS = ("claim", "source", "predicted", "measured", "tolerance", "reason", "verdict")

_STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.8rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; line-height: 1.35; }
th { text-align: left; border-bottom: 2px solid #444; padding: .3rem .5rem; }
td { vertical-align: top; border-bottom: 1px solid #ddd; padding: .35rem .5rem; }
td.number { font-family: ui-monospace, monospace; font-size: .78rem; overflow-wrap: anywhere; }
td.holds { color: #00664f; } td.fails { color: #fff; background: #b3261e; font-weight: bold; }
td.disagrees, td.undecided { color: #7a5200; font-weight: bold; }
td small { color: #555; display: block; font-weight: normal; } td.fails small { color: #fff; }
figure { margin: 2rem 0; } figure img { max-width: 100%; }
figcaption { font-size: .88rem; color: #333; max-width: 48rem; }
.fails-banner { background: #b3261e; color: #fff; padding: .6rem 1rem; }
.holds-banner { border-left: 5px solid #00664f; padding: .3rem 1rem; background: #f1f7f5; }
.fails-banner p, .holds-banner p { margin: .3rem 0; }
.fails-banner ul, .holds-banner ul { margin: .2rem 0; padding-left: 1.2rem; font-size: .9rem; }
"""


class Report(NamedTuple):
    """What was found: studies and figures in the order of the page, and what stopped."""

    studies: Sequence[Checked]
    figures: Sequence[Drawn]
    lost: Sequence[Lost]
    size: Size
    seconds: float

    @property
    def claims(self) -> list[Claim]:
        """The claims of all studies."""
        return [claim for study in self.studies for claim in study.claims]

    @property
    def reduced(self) -> dict[str, str]:
        """What the size reduced, by study and figure."""
        studies = {study.name: study.reduced for study in self.studies if study.reduced}
        return studies | {f"figure {one.name}": one.reduced for one in self.figures if one.reduced}


def write_report(folder: Path, report: Report) -> Path:
    """Write claims.json and index.html into `folder`, which exists; return the page's path."""
    about = {
        "samflow": samflow.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "size": str(report.size),
        "seconds": round(report.seconds, 1),
    }
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
        "about": about,
        "summary": summary,
        "stopped": {lost.name: lost.why for lost in report.lost},
        "reduced": report.reduced,
        "claims": [_plain(claim) for claim in report.claims],
    }
    write_whole(folder / "claims.json", json.dumps(content, indent=2, ensure_ascii=False))
    return write_whole(folder / "index.html", _page(report, about))


def _plain(claim: Claim) -> dict[str, object]:
    """Return a claim as JSON has it, which knows no NaN."""
    fields = asdict(claim)
    return {**fields, "used": claim.used if math.isfinite(claim.used) else None}


def _page(report: Report, about: dict[str, object]) -> str:
    sections = "".join(
        f"<h2>{html.escape(study.title)}</h2>{_reduction(study.reduced)}{_table(study.claims)}"
        for study in report.studies
    )
    drawn = "".join(_figure(figure) for figure in report.figures)
    facts = ", ".join(f"{name} {value}" for name, value in about.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>samflow: claims</title><style>{_STYLE}</style></head><body>"
        "<h1>The dynamics of sharpness-aware minimisation: claims and checks</h1>"
        "<p>[K]: Kim, Park, Choi, Lee, <i>Stability Analysis of Sharpness-Aware Minimization</i>, "
        "arXiv 2301.06308. [Z]: Zhou, Wang, Mao, Li, Yan, <i>SAM Efficiently Selects Flatter "
        "Minima Late in Training</i>, arXiv 2410.10373. Derivations: docs/theory.</p>"
        f"{_banner(report)}{sections}<h2>Figures</h2>{drawn}"
        f"<p><small>{html.escape(facts)}</small></p></body></html>"
    )


def _reduction(reduced: str) -> str:
    return f"<p><small>Small size: {html.escape(reduced)}</small></p>" if reduced else ""


def _banner(report: Report) -> str:
    claims, count = report.claims, tally(report.claims)
    failed = [f"{claim.study}: {claim.name}" for claim in claims if claim.fails]
    failed += [f"{lost.name} stopped by {lost.why}" for lost in report.lost]
    rows = [
        f"{name}: {hold} hold" + (f", {fail} fail" if fail else "") + (f" ({note})" if note else "")
        for name, hold, fail, note in count.rows
    ]
    if count.disagree:
        rows.append(f"disagreement with a paper: {count.disagree}")
    if count.undecided:
        rows.append(f"undecided: {count.undecided}")
    listed = "".join(f"<li>{html.escape(row)}</li>" for row in rows)
    names = f"<p>Failed: {html.escape('; '.join(failed))}</p>" if failed else ""
    return (
        f'<div class="{"fails" if failed else "holds"}-banner"><p><b>{count.holding} of '
        f"{len(claims)} claims hold.</b></p><ul>{listed}</ul>{names}</div>"
    )


def _table(claims: Sequence[Claim]) -> str:
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    return f"<table><tr>{head}</tr>{''.join(_row(claim) for claim in claims)}</table>"


def _row(claim: Claim) -> str:
    verdict = str(claim.verdict)
    used = f"<small>{claim.used:.0%} used</small>" if claim.used > 0 else ""
    plain = (claim.source, claim.predicted, claim.measured, claim.tolerance, claim.reason)
    source, predicted, measured, tolerance, reason = (html.escape(text) for text in plain)
    return (
        f"<tr><td><b>{html.escape(claim.name)}</b><small>{html.escape(claim.statement)}</small>"
        f'</td><td>{source}</td><td class="number">{predicted}</td>'
        f'<td class="number">{measured}</td><td class="number">{tolerance}{used}</td>'
        f'<td>{reason}</td><td class="{verdict}">{verdict}<small>{claim.evidence}</small></td></tr>'
    )


def _figure(figure: Drawn) -> str:
    png = next(path for path in figure.paths if path.suffix == ".png")
    data = base64.b64encode(png.read_bytes()).decode()
    name, caption = html.escape(figure.name), html.escape(figure.caption)
    return (
        f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
        f"<figcaption><b>{name}.</b> {caption}{_reduction(figure.reduced)}</figcaption></figure>"
    )
