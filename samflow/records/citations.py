"""What a record rests on: formulas with their derivations, and the papers that stated them."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from samflow import _checks

STYLES = ("text", "bibtex")
_ACCENTS = {"\u0301": "'", "\u0302": "^"}


class Paper(NamedTuple):
    """A paper as a reader cites it; `published` is a venue, or "" for a preprint."""

    authors: str
    title: str
    year: int
    arxiv: str
    published: str = ""


class Formula(NamedTuple):
    """One statement that records rest on, its derivation in docs/theory, and its papers."""

    says: str
    page: str
    """The page's name in docs/theory."""
    number: str
    """The statement's number there, such as "Proposition 2" or "section 11"."""
    papers: tuple[str, ...] = ()
    """Keys of `PAPERS`; none where the statement and its derivation are samflow's own."""


PAPERS = {
    "foret2021": Paper(
        "Foret, Pierre and Kleiner, Ariel and Mobahi, Hossein and Neyshabur, Behnam",
        "Sharpness-Aware Minimization for Efficiently Improving Generalization",
        2021, "2010.01412", "International Conference on Learning Representations",
    ),
    "kim2023": Paper(
        "Kim, Hoki and Park, Jinseong and Choi, Yujin and Lee, Jaewook",
        "Stability Analysis of Sharpness-Aware Minimization", 2023, "2301.06308",
    ),
    "zhou2024": Paper(
        "Zhou, Zhanpeng and Wang, Mingze and Mao, Yuchen and Li, Bingrui and Yan, Junchi",
        "Sharpness-Aware Minimization Efficiently Selects Flatter Minima Late in Training",
        2024, "2410.10373",
    ),
    "bartlett2022": Paper(
        "Bartlett, Peter L. and Long, Philip M. and Bousquet, Olivier",
        "The Dynamics of Sharpness-Aware Minimization: Bouncing Across Ravines and Drifting "
        "Towards Wide Minima",
        2022, "2210.01513",
    ),
    "wen2023": Paper(
        "Wen, Kaiyue and Ma, Tengyu and Li, Zhiyuan",
        "How Does Sharpness-Aware Minimization Minimize Sharpness?", 2023, "2211.05729",
    ),
    "cohen2024": Paper(
        "Cohen, Jeremy M. and Damian, Alex and Talwalkar, Ameet and Kolter, J. Zico and "
        "Lee, Jason D.",
        "Understanding Optimization in Deep Learning with Central Flows", 2024, "2410.24206",
    ),
    "long2024": Paper(
        "Long, Philip M. and Bartlett, Peter L.",
        "Sharpness-Aware Minimization and the Edge of Stability", 2024, "2309.12488",
    ),
    "compagnoni2023": Paper(
        "Compagnoni, Enea Monzio and Biggio, Luca and Orvieto, Antonio and Proske, Frank Norbert "
        "and Kersting, Hans and Lucchi, Aurelien",
        "An SDE for Modeling SAM: Theory and Insights", 2023, "2301.08203",
        "International Conference on Machine Learning",
    ),
    "bolte2025": Paper(
        "Bolte, Jérôme and Le, Quoc-Tung and Pauwels, Edouard",
        "Convergence of optimizers implies eigenvalues filtering at equilibrium",
        2025, "2510.09034",
    ),
    "park2025": Paper(
        "Park, Chanwoong and Jang, Uijeong and Ryu, Ernest K. and Yang, Insoon",
        "Sharpness-Aware Minimization Can Hallucinate Minimizers", 2025, "2509.21818",
    ),
    "epperly2024": Paper(
        "Epperly, Ethan N. and Tropp, Joel A. and Webber, Robert J.",
        "XTrace: Making the Most of Every Sample in Stochastic Trace Estimation",
        2024, "2301.07825", "SIAM Journal on Matrix Analysis and Applications",
    ),
}  # fmt: skip

FORMULAS = {
    "effective curvature": Formula(
        "the Jacobian of GD and USAM at a critical point, and the window of rho",
        "critical-points", "Proposition 1", ("kim2023", "bolte2025"),
    ),
    "multipliers": Formula(
        "multipliers with momentum, and the flip threshold",
        "critical-points", "Proposition 2", ("kim2023", "bolte2025"),
    ),
    "verdicts": Formula(
        "which fixed points attract, repel or are saddles",
        "critical-points", "Proposition 3", ("kim2023",),
    ),
    "continua": Formula(
        "the spectrum across a continuum of critical points", "degenerate-points", "Proposition Z1"
    ),
    "higher order": Formula(
        "the verdict at a degenerate point, on its centre manifold",
        "degenerate-points", "Proposition Z4",
    ),
    "sam flow": Formula(
        "the flow of SAM near a critical point: arrival in finite time, sliding",
        "normalised-sam", "Proposition 4",
    ),
    "sam cycle": Formula(
        "the 2-cycle of SAM about a critical point",
        "normalised-sam", "Proposition 5", ("bartlett2022",),
    ),
    "sam saddle": Formula(
        "which 2-cycles of SAM attract at a saddle", "normalised-sam", "Proposition 8", ("kim2023",)
    ),
    "sam ball": Formula(
        "the ball that SAM's map does not leave", "normalised-sam", "Proposition 10"
    ),
    "trap": Formula("what keeps orbits on the loss itself", "normalised-sam", "Proposition T1"),
    "practical": Formula("SAM with eps in the denominator", "practical-sam", "Proposition 11"),
    "rotation": Formula("the rotation number of SAM's cycles", "rotation", "Proposition R1"),
    "sliding": Formula("sliding at an isolated critical point", "sliding", "Proposition S1"),
    "hallucinated": Formula(
        "fixed points of a rule at which the loss has a gradient",
        "hallucinated-points", "Proposition H1", ("park2025",),
    ),
    "escape": Formula(
        "the escape of a late switch, exponentially fast",
        "valleys-and-late-switching", "section 4", ("zhou2024",),
    ),
    "drift": Formula(
        "the drift of SAM along a valley",
        "valleys-and-late-switching", "Proposition 9", ("bartlett2022", "wen2023"),
    ),
    "moments": Formula(
        "the second moment under additive noise and mini-batches",
        "noise", "Proposition N2", ("kim2023",),
    ),
    "interpolation": Formula(
        "the mean-square operator at a minimum that interpolates",
        "interpolation", "Proposition 7.1", ("zhou2024",),
    ),
    "alignment": Formula(
        "bounds by the alignment of the noise", "interpolation", "Proposition 7.5", ("zhou2024",)
    ),
    "diffusion": Formula(
        "diffusion models of weak order 1", "diffusions", "Proposition D2", ("compagnoni2023",)
    ),
    "passage": Formula("mean times of escape from a saddle", "escape-times", "Proposition E2"),
    "network saddles": Formula(
        "saddles that symmetry makes in networks, and what holds SAM there",
        "network-saddles", "section 10", ("kim2023",),
    ),
    "checkpoint": Formula(
        "what curvature at trained weights says of GD, USAM and SAM",
        "checkpoints", "section 11", ("long2024",),
    ),
    "trace": Formula("the trace and its error", "checkpoints", "section 11", ("epperly2024",)),
    "central flow": Formula(
        "the time average of a rule at its edge of stability",
        "central-flows", "Proposition C1", ("cohen2024",),
    ),
    "sam edge": Formula(
        "the central flow of SAM, and its edge", "central-flows", "Proposition C6", ("long2024",)
    ),
}  # fmt: skip
"""Statements by the names under which records give them, in `AbstractRecord.basis`."""


def citations(names: Iterable[str], version: str, style: str = "text") -> str:
    """Return what to cite for the formulas of these names, and samflow itself.

    Args:
        names: keys of `FORMULAS`.
        version: that of the samflow which made the record.
        style: "text", a line for each formula and each paper; or "bibtex".

    Raises:
        ArgumentError: another style.

    """
    style = _checks.known("style", style, STYLES)
    formulas = [FORMULAS[name] for name in names]
    papers = {key: PAPERS[key] for each in formulas for key in each.papers}
    if style == "bibtex":
        entries = [_bibtex(key, paper) for key, paper in papers.items()]
        return "\n\n".join([*entries, _software(version)]) + "\n"
    lines = [
        f"{_capital(each.says)}: {each.number} of docs/theory/{each.page}.md" for each in formulas
    ]
    lines = [line + _by(each.papers) for line, each in zip(lines, formulas, strict=True)]
    lines += [_text(key, paper) for key, paper in papers.items()]
    return "\n".join([*lines, f"[samflow] The samflow developers, samflow {version}."]) + "\n"


def _by(keys: tuple[str, ...]) -> str:
    return f" [{', '.join(keys)}]" if keys else ""


def _text(key: str, paper: Paper) -> str:
    names = [name.split(",")[0] for name in paper.authors.split(" and ")]
    where = f"{paper.published}, " if paper.published else ""
    return f"[{key}] {', '.join(names)}, {paper.title}, {where}{paper.year}, arXiv {paper.arxiv}."


def _bibtex(key: str, paper: Paper) -> str:
    kind, venue = "misc", None
    if paper.published:
        journal = paper.published.startswith("SIAM")
        kind, venue = ("article", "journal") if journal else ("inproceedings", "booktitle")
    fields = {
        "author": paper.authors,
        "title": f"{{{paper.title}}}",
        **({venue: paper.published} if venue else {}),
        "year": str(paper.year),
        "eprint": paper.arxiv,
        "archivePrefix": "arXiv",
    }
    return _entry(kind, key, fields)


def _software(version: str) -> str:
    fields = {
        "author": "{The samflow developers}",
        "title": "samflow: the dynamics of sharpness-aware minimisation",
        "year": "2026",
        "version": version,
    }
    return _entry("software", "samflow", fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    width = max(map(len, fields))
    lines = [f"  {name:{width}} = {{{_tex(value)}}}" for name, value in fields.items()]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _tex(text: str) -> str:
    """Return a text as BibTeX takes it: accents as commands."""
    parts = unicodedata.normalize("NFD", text)
    return re.sub(r"(.)([\u0301\u0302])", lambda m: f"{{\\{_ACCENTS[m[2]]}{m[1]}}}", parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
