"""The page of a report as HTML: one file that needs nothing else, on wide screens and narrow."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from analysis.claims import Claim, Verdict
from reporting import headlines
from reporting.drawing import Drawn
from reporting.report import Report
from reporting.tally import tally
from reporting.work import Checked

_MARKS = {Verdict.holds: "✓", Verdict.fails: "✗", Verdict.disagrees: "≠", Verdict.undecided: "?"}
_SHOWN = {
    Verdict.holds: "holds",
    Verdict.fails: "fails",
    Verdict.disagrees: "disagrees with a paper",
    Verdict.undecided: "undecided",
}
_HERE = Path(__file__).parent


def page(report: Report, about: Mapping[str, object], control: Claim) -> str:
    """Return the page of a report; `control` is the claim that is wrong on purpose."""
    placed, others = _places(report)
    images = {figure.name: _image(figure) for figure in report.figures}
    sections = "".join(_study(study, placed[study.name], images) for study in report.studies)
    rest = "".join(_figure(figure, images) for figure in others)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>samflow: claims</title><style>{_text('page.css')}</style></head><body>"
        "<h1>The dynamics of sharpness-aware minimisation: claims and checks</h1>"
        f"{_card(report, about, control)}{_headlines(report, images)}{_contents(report, others)}"
        f"{_filter()}<main>{sections}{_section('figures', 'Other figures', rest)}</main>"
        f"{_sources()}<script>{_text('page.js')}</script></body></html>"
    )


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _card(report: Report, about: Mapping[str, object], control: Claim) -> str:
    claims, count = report.claims, tally(report.claims)
    failed = [_link(claim) for claim in claims if claim.fails]
    failed += [html.escape(f"{lost.name} stopped by {lost.why}") for lost in report.lost]
    rows = [
        f"{name}: {hold} hold" + (f", {fail} fail" if fail else "") + (f" ({note})" if note else "")
        for name, hold, fail, note in count.rows
    ]
    listed = "".join(f"<li>{html.escape(row)}</li>" for row in rows)
    for verdict, title in (
        (Verdict.disagrees, f"disagreement with a paper: {count.disagree}"),
        (Verdict.undecided, f"undecided: {count.undecided}"),
    ):
        named = [claim for claim in claims if claim.verdict is verdict]
        if named:
            listed += f"<li><details><summary>{title}</summary>{_named(named)}</details></li>"
    names = f"<p>Failed: {'; '.join(failed)}</p>" if failed else ""
    reduced = "".join(
        f"<li>{html.escape(name)}. Small size: {html.escape(text)}</li>"
        for name, text in report.reduced.items()
    )
    reductions = (
        f"<details><summary>Reduced or left out: {len(report.reduced)}</summary><ul>{reduced}</ul>"
        "</details>"
        if reduced
        else ""
    )
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
        for name, value in about.items()
    )
    return (
        f'<div class="card {"fails" if failed else "holds"}-banner">'
        f'<p class="verdict">{count.holding} of {len(claims)} claims hold.</p>'
        f"<ul>{listed}</ul>{names}{reductions}"
        f"<p>A claim that is wrong on purpose, to show that a check can fail:</p>{_row(control)}"
        f'<dl class="facts">{facts}</dl></div>'
    )


def _named(claims: Iterable[Claim]) -> str:
    rows = (
        f"<li>{_link(claim)}, {html.escape(claim.source)}: {html.escape(claim.predicted)}; found "
        f"{html.escape(claim.measured)}</li>"
        for claim in claims
    )
    return f"<ul>{''.join(rows)}</ul>"


def _headlines(report: Report, images: Mapping[str, str]) -> str:
    parts = []
    for headline in headlines.HEADLINES:
        claim = headlines.found(headline, report.claims)
        if claim is None or headline.figure not in images:
            continue
        parts.append(
            f"<section><h3>{html.escape(headline.title)}</h3>{images[headline.figure]}"
            f'<p class="{claim.verdict}"><span class="mark">{_MARKS[claim.verdict]}</span> '
            f"{html.escape(claim.statement)}: {html.escape(claim.measured)} ({_link(claim)})</p>"
            "</section>"
        )
    return f'<div class="headlines">{"".join(parts)}</div>' if parts else ""


def _contents(report: Report, others: Sequence[Drawn]) -> str:
    items = "".join(
        f'<li><a href="#{study.name}">{html.escape(study.title)}</a> '
        f"<small>{sum(claim.holds for claim in study.claims)} of {len(study.claims)}</small></li>"
        for study in report.studies
    )
    rest = '<li><a href="#figures">Other figures</a></li>' if others else ""
    return f"<nav><h2>Contents</h2><ol>{items}{rest}</ol></nav>"


def _filter() -> str:
    boxes = "".join(
        f'<label><input type="checkbox" value="{verdict}" checked> {_SHOWN[verdict]}</label>'
        for verdict in Verdict
    )
    return (
        '<form class="filter" id="filter" hidden onsubmit="return false">'
        '<input type="search" id="words" placeholder="Show claims with these words" '
        f'aria-label="Show claims with these words">{boxes}<small id="left"></small></form>'
    )


def _study(study: Checked, figures: Sequence[Drawn], images: Mapping[str, str]) -> str:
    drawn = "".join(_figure(figure, images) for figure in figures)
    rows = "".join(_row(claim) for claim in study.claims)
    body = f"{_reduction(study.reduced)}{drawn}{rows}"
    return _section(study.name, study.title, body, "study")


def _section(name: str, title: str, body: str, kind: str = "") -> str:
    if not body:
        return ""
    return f'<section class="{kind}"><h2 id="{name}">{html.escape(title)}</h2>{body}</section>'


def _row(claim: Claim) -> str:
    used = f", {claim.used:.0%} used" if claim.used > 0 else ""
    facts = {
        "predicted": claim.predicted,
        "measured": claim.measured,
        "tolerance": f"{claim.tolerance}{used}",
        "reason": claim.reason,
        "source": claim.source,
        "evidence": str(claim.evidence),
    }
    rows = "".join(
        f"<dt>{name}</dt><dd{_class_of(name)}>{html.escape(text)}</dd>"
        for name, text in facts.items()
        if text
    )
    opened = " open" if claim.fails and claim.study != "control" else ""
    return (
        f'<details class="claim {claim.verdict}" data-verdict="{claim.verdict}" '
        f'data-study="{claim.study}" id="{_anchor(claim)}"{opened}><summary>'
        f'<span class="mark">{_MARKS[claim.verdict]}</span>'
        f'<span><b>{html.escape(claim.name)}</b><span class="says">{html.escape(claim.statement)}'
        f'</span></span><span class="word">{_SHOWN[claim.verdict]} '
        f'<small>{claim.evidence}</small></span></summary><dl class="row">{rows}</dl></details>'
    )


def _class_of(name: str) -> str:
    return ' class="number"' if name in ("predicted", "measured", "tolerance") else ""


def _anchor(claim: Claim) -> str:
    words = "".join(c if c.isalnum() else "-" for c in f"{claim.study}--{claim.name}")
    return html.escape(words)


def _link(claim: Claim) -> str:
    return f'<a href="#{_anchor(claim)}">{html.escape(claim.name)}</a>'


def _places(report: Report) -> tuple[dict[str, list[Drawn]], list[Drawn]]:
    """Return the figures of each study, and those of none that was checked."""
    placed: dict[str, list[Drawn]] = {study.name: [] for study in report.studies}
    others: list[Drawn] = []
    for figure in report.figures:
        placed.get(figure.study, others).append(figure)
    return placed, others


def _figure(figure: Drawn, images: Mapping[str, str]) -> str:
    name, caption = html.escape(figure.name), html.escape(figure.caption)
    return (
        f"<figure>{images[figure.name]}<figcaption><b>{name}.</b> {caption}"
        f"{_reduction(figure.reduced)}</figcaption></figure>"
    )


def _image(figure: Drawn) -> str:
    png = next(path for path in figure.paths if path.suffix == ".png")
    data = base64.b64encode(png.read_bytes()).decode()
    return f'<img alt="{html.escape(figure.alt)}" src="data:image/png;base64,{data}">'


def _reduction(reduced: str) -> str:
    return f"<p><small>Small size: {html.escape(reduced)}</small></p>" if reduced else ""


def _sources() -> str:
    return (
        "<p><small>[K]: Kim, Park, Choi, Lee, <i>Stability Analysis of Sharpness-Aware "
        "Minimization</i>, arXiv 2301.06308. [Z]: Zhou, Wang, Mao, Li, Yan, <i>SAM Efficiently "
        "Selects Flatter Minima Late in Training</i>, arXiv 2410.10373. Derivations: "
        "docs/theory.</small></p>"
    )
