"""The pages of docs/theory name tests, rules, sections and statuses that exist."""

import builtins
import operator
import re
from pathlib import Path

import samflow.equilibria
from samflow import theory
from samflow._status import Verdict
from samflow.rules import RULES

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs" / "theory").glob("*.md"))}
TEXT = "\n".join(PAGES.values())


def test_the_contents_send_every_section_to_the_page_that_has_it():
    index = PAGES["index.md"]
    sent = dict(re.findall(r"^\| (\d+)\. [^|]*\| \[[^]]*\]\(([\w-]+\.md)\)", index, re.M))
    held = {
        number: name
        for name, text in PAGES.items()
        for number in re.findall(r"^## (\d+)\.", text, re.M)
    }
    assert sent == held
    assert sorted(map(int, held)) == list(range(1, 14))


def test_every_numbered_proposition_is_stated_once():
    stated = re.findall(r"^\*\*Proposition ([A-Z]?[\d.]*\d)", TEXT, re.M)
    assert len(stated) == len(set(stated)) == 25 + 6 + 6 + 5 + 4 + 3 + 8 + 3 + 3 + 7 + 6 + 5


def test_every_link_between_pages_leads_somewhere():
    anchors = {
        name: {_anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.M)}
        for name, text in PAGES.items()
    }
    links = [
        (name, *link)
        for name, text in PAGES.items()
        for link in re.findall(r"\]\(([\w-]+\.md)#?([^)]*)\)", text)
    ]
    assert len(links) > 60
    wrong = [
        (name, page, anchor)
        for name, page, anchor in links
        if page not in PAGES or (anchor and anchor not in anchors[page])
    ]
    assert wrong == []


def _anchor(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_glossary_has_every_status_kind_and_verdict():
    terms = set(re.findall(r"^- \*\*([^*]+)\*\*", PAGES["glossary.md"], re.M))
    wanted = {status.label for status in samflow.Status}
    wanted |= {scheme.value for scheme in samflow.Kind} | {verdict.value for verdict in Verdict}
    assert wanted - terms == set()


def test_every_test_that_the_document_names_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 60
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_rule_has_a_row_in_the_table_and_an_entry_in_theory():
    table = TEXT[TEXT.index("| rule | at a critical point |") :]
    rows = table[: table.index("\n\n")].splitlines()[2:]
    first = [row.split("|")[1].strip() for row in rows]
    called = {
        "gd": "GD",
        "usam": "USAM",
        "sam": "SAM",
        "two-step-usam": "two-step USAM",
        "hessian-usam": "Hessian USAM",
        "unified-sam": "Unified SAM",
        "monge-sam": "Monge SAM",
        "practical-sam": "SAM with ε",
        "asam": "ASAM, no weight 0",
        "multistep-sam": "multi-step, $k$ steps",
        "ssam": "SSAM",
        "pgn": "penalised gradient norm",
        "lookahead-sam": "lookahead-SAM",
        "optimistic-sam": "optimistic SAM",
        "gcsam": "GCSAM",
        "average-sam": "average-direction SAM",
        "m-sam": "m-SAM, shards share $w_*$",
        "n-sam": "n-SAM",
        "dnsam": "DNSAM",
        "f-sam": "F-SAM",
        "vasso": "VaSSO",
        "dp-sat": "DP-SAT, no noise",
    }
    assert set(called) == set(RULES)
    assert all(rule.closed_forms for rule in RULES.values())
    assert set(called.values()) <= set(first)


def test_every_name_that_the_document_writes_as_code_exists():
    # `name`, `name.attribute` or `name(arguments)`, in theory, in samflow, or a word of theirs.
    named = set(re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`\n]*\))?`", TEXT))
    ours = {name for name in named if not name.startswith(("test_", "torch."))}
    assert len(ours) > 50
    homes = [
        theory,
        samflow,
        theory.Event,
        samflow.equilibria,
        samflow.noise,
        samflow.orbits,
        samflow.networks,
        samflow.spectra,
        samflow.Kind,
        builtins,
    ]
    assert {name for name in ours if not any(_resolves(name, home) for home in homes)} == set()


def _resolves(name, home):
    try:
        operator.attrgetter(name.removeprefix("samflow."))(home)
    except AttributeError:
        parts = name.split(".")
        fields = getattr(getattr(home, parts[0], None), "__dataclass_fields__", {})
        return parts[1:] != [] and parts[1] in fields
    return True
