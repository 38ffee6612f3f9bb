"""The report: one self-contained page, the claims as JSON, the figures beside them."""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax

import samflow
from analysis.claims import Claim
from analysis.size import Size
from samflow.records import write_whole

_COLUMNS = ("claim", "source", "predicted", "measured", "tolerance", "why", "verdict")

_STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.8rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; line-height: 1.35; }
th { text-align: left; border-bottom: 2px solid #444; padding: .3rem .5rem; }
td { vertical-align: top; border-bottom: 1px solid #ddd; padding: .35rem .5rem; }
td.number { font-family: ui-monospace, monospace; font-size: .78rem; overflow-wrap: anywhere; }
td.holds { color: #00664f; } td.fails { color: #fff; background: #b3261e; font-weight: bold; }
td small { color: #555; display: block; }
figure { margin: 2rem 0; } figure img { max-width: 100%; }
figcaption { font-size: .88rem; color: #333; max-width: 48rem; }
.fails-banner { background: #b3261e; color: #fff; padding: .6rem 1rem; }
.holds-banner { border-left: 5px solid #00664f; padding: .3rem 1rem; background: #f1f7f5; }
"""


class Heading(NamedTuple):
    """What stands above the claims of a study: its name and title, and what it reduced."""

    study: str
    title: str
    reduced: str


def write_report(
    folder: Path,
    claims: Sequence[Claim],
    headings: Sequence[Heading],
    figures: Sequence[dict[str, Any]],
    size: Size,
    seconds: float,
) -> Path:
    """Write claims.json and index.html into `folder`; return the page's path.

    Args:
        folder: where; must exist.
        claims: in the order in which they are shown.
        headings: one a study, in the order of the page.
        figures: name, caption, files and reductions of each figure, as `figures.draw_all` returns
            them; the PNG is embedded in the page.
        size: that of the studies and figures.
        seconds: how long the studies took.

    """
    about = {
        "samflow": samflow.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "size": str(size),
        "seconds": round(seconds, 1),
    }
    reduced = {heading.study: heading.reduced for heading in headings if heading.reduced}
    reduced |= {
        f"figure {figure['name']}": figure["reduced"] for figure in figures if figure["reduced"]
    }
    failed = sum(claim.fails for claim in claims)
    summary = {"claims": len(claims), "failed": failed}
    shown = [asdict(claim) for claim in claims]
    content = {"about": about, "summary": summary, "reduced": reduced, "claims": shown}
    write_whole(folder / "claims.json", json.dumps(content, indent=2, ensure_ascii=False))
    return write_whole(folder / "index.html", _page(claims, headings, figures, about))


def _page(
    claims: Sequence[Claim],
    headings: Sequence[Heading],
    figures: Sequence[dict[str, Any]],
    about: dict[str, object],
) -> str:
    sections = "".join(
        f"<h2>{html.escape(title)}</h2>{_reduction(reduced)}"
        f"{_table([claim for claim in claims if claim.study == study])}"
        for study, title, reduced in headings
    )
    drawn = "".join(_figure(figure) for figure in figures)
    facts = ", ".join(f"{name} {value}" for name, value in about.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>samflow: claims</title><style>{_STYLE}</style></head><body>"
        "<h1>The dynamics of sharpness-aware minimisation: claims, checked</h1>"
        "<p>[K]: Kim, Park, Choi, Lee, <i>Stability Analysis of Sharpness-Aware Minimization</i>, "
        "arXiv 2301.06308. [Z]: Zhou, Wang, Mao, Li, Yan, <i>SAM Efficiently Selects Flatter "
        "Minima Late in Training</i>, arXiv 2410.10373. Derivations: docs/theory.md.</p>"
        f"{_banner(claims)}{sections}<h2>Figures</h2>{drawn}"
        f"<p><small>{html.escape(facts)}</small></p></body></html>"
    )


def _reduction(reduced: str) -> str:
    return f"<p><small>Small size: {html.escape(reduced)}</small></p>" if reduced else ""


def _banner(claims: Sequence[Claim]) -> str:
    failed = [claim for claim in claims if claim.fails]
    if not failed:
        return f'<p class="holds-banner">All {len(claims)} claims hold.</p>'
    names = "; ".join(html.escape(f"{claim.study}: {claim.name}") for claim in failed)
    return f'<p class="fails-banner">{len(failed)} of {len(claims)} claims fail: {names}</p>'


def _table(claims: Sequence[Claim]) -> str:
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    return f"<table><tr>{head}</tr>{''.join(_row(claim) for claim in claims)}</table>"


def _row(claim: Claim) -> str:
    verdict = str(claim.verdict)
    plain = (claim.source, claim.predicted, claim.measured, claim.tolerance, claim.reason)
    source, predicted, measured, tolerance, reason = (html.escape(text) for text in plain)
    return (
        f"<tr><td><b>{html.escape(claim.name)}</b><small>{html.escape(claim.statement)}</small>"
        f'</td><td>{source}</td><td class="number">{predicted}</td>'
        f'<td class="number">{measured}</td><td class="number">{tolerance}</td>'
        f'<td>{reason}</td><td class="{verdict}">{verdict}</td></tr>'
    )


def _figure(figure: dict[str, Any]) -> str:
    name, caption = figure["name"], figure["caption"]
    png = next(path for path in figure["paths"] if path.suffix == ".png")
    data = base64.b64encode(png.read_bytes()).decode()
    return (
        f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        f"<figcaption><b>{html.escape(name)}.</b> {html.escape(caption)}"
        f"{_reduction(figure['reduced'])}</figcaption></figure>"
    )
