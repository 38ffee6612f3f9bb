"""The pages of docs/theory name tests and rules that exist."""

import builtins
import operator
import re
from pathlib import Path

import samflow.equilibria
import samflow.spectra
from samflow import theory
from samflow.rules import RULES

ROOT = Path(__file__).parents[2]
TEXT = "\n".join(p.read_text() for p in sorted((ROOT / "docs" / "theory").glob("*.md")))


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
    assert set(called) == set(RULES) == set(theory.CLOSED_FORMS)
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
        samflow.spectra,
        samflow.noise,
        samflow.networks,
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
