"""What a record cites: each formula is where it says, and each paper is named once."""

import re
from pathlib import Path

import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.records.citations import FORMULAS, PAPERS, citations

THEORY = Path(__file__).parents[1] / "docs" / "theory"


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_is_derived_where_the_citation_says(name):
    formula = FORMULAS[name]
    page = (THEORY / f"{formula.page}.md").read_text()
    kind, number = formula.number.split()
    mark = (
        rf"\*\*Proposition {re.escape(number)}\b" if kind == "Proposition" else rf"^## {number}\. "
    )
    assert re.search(mark, page, re.MULTILINE), formula
    assert set(formula.papers) <= PAPERS.keys()


def test_paper_is_named_in_the_theory_by_its_number_on_arxiv():
    text = "".join(page.read_text() for page in THEORY.glob("*.md"))
    text += Path(sf.spectra.curvature.__file__).read_text()
    for key in sorted({key for formula in FORMULAS.values() for key in formula.papers}):
        paper = PAPERS[key]
        assert re.search(rf"{re.escape(paper.arxiv)}|Epperly, Tropp, Webber", text), key


def test_each_paper_is_cited_once_and_samflow_always():
    text = citations(("effective curvature", "multipliers"), "0.9")
    assert text.count("arXiv 2301.06308") == 1
    assert "Proposition 1 of docs/theory/critical-points.md [kim2023, bolte2025]" in text
    assert citations((), "0.9") == "[samflow] The samflow developers, samflow 0.9.\n"


def test_bibtex_is_balanced_and_in_letters_that_bibtex_takes():
    text = citations(FORMULAS, "0.9", "bibtex")
    entries = re.findall(r"^@(\w+)\{(\w+),$", text, re.MULTILINE)
    assert len(entries) == len({key for each in FORMULAS.values() for key in each.papers}) + 1
    assert text.count("{") == text.count("}")
    assert text.isascii()
    assert r"J{\'e}r{\^o}me" in text


def test_other_styles_are_refused():
    with pytest.raises(ArgumentError, match="Known: text, bibtex"):
        citations((), "0.9", "ris")


def test_point_without_a_jacobian_cites_other_formulas():
    saddle = sf.losses.Quadratic([2.0, -1.0])
    smooth = sf.classify(sf.Map(saddle, sf.USAM(rho=0.1), lr=0.1), [0.0, 0.0])
    cycle = sf.classify(sf.Map(saddle, sf.SAM(rho=0.1), lr=0.1), [0.0, 0.0])
    sliding = sf.classify(sf.Flow(saddle, sf.SAM(rho=0.1)), [0.0, 0.0])
    assert smooth.formulas_used() == ("effective curvature", "multipliers", "verdicts")
    assert "Bouncing Across Ravines" in cycle.cite()
    assert "Proposition 4" in sliding.cite()
    assert "Bouncing" not in smooth.cite()
