"""The documentation site: what it has entries for, what it links to, and what it may not load."""

import ast
import re
import sys
from pathlib import Path

import pytest

import samflow as sf
from reporting.registry import FIGURES, STUDIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))

import check  # noqa: E402
import navigation  # noqa: E402
import reference  # noqa: E402

names = pytest.importorskip("names", reason="docutils is not installed: pip install '.[docs]'")


def pages():
    skipped = ("generated", "_build", "gallery")
    found = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    return {str(path.with_suffix("")) for path in found if path.parts[0] not in skipped}


def test_every_page_is_in_the_navigation_once():
    listed = ["index"]
    for page, trees in navigation.TREES.items():
        folder = page.rpartition("/")[0]
        for _, under in trees:
            listed += [f"{folder}/{name}" if folder else name for name in under]
    written = [name for name in listed if not name.startswith("generated/")]
    assert sorted(written) == sorted(pages())


def test_every_public_name_has_an_entry_in_the_reference():
    home = reference.homes()
    text = {room: reference.page(room, home) for room in reference.ROOMS}
    entries = "\n".join([reference.index(home), *text.values()])
    for full, place in names.places().items():
        kind = r"(auto(class|function)|py:(data|module))"
        assert re.search(rf"^\.\. {kind}:: {re.escape(place)}$", entries, re.M), full
        room, _, name = full.removeprefix("samflow.").rpartition(".")
        if room:  # where a user looks for it, there is the entry or a link to it
            assert full == place or f"- ``{name}``: :py:obj:`{place}`" in text[room], full
        elif name not in reference.ROOMS:
            assert f":py:obj:`sf.{name} <{place}>`" in entries, full


def test_a_constant_has_the_text_below_it():
    assert reference.entry("samflow.rules.RULES", sf.rules.RULES).startswith(".. py:data::")
    assert "every rule" in reference.entry("samflow.rules.RULES", sf.rules.RULES).lower()


@pytest.mark.parametrize(
    ("text", "page", "entry"),
    [
        ("flip_threshold", "theory/critical-points", "samflow.theory.flip_threshold"),
        ("multipliers", "theory/critical-points", "samflow.theory.multipliers"),
        ("effective_curvature(rule)", "theory/noise", "samflow.theory.effective_curvature"),
        ("sf.SAM", "choose", "samflow.rules.SAM"),
        ("sf.find_fixed_points(system, box)", "choose", "samflow.equilibria.find_fixed_points"),
        ("sf.losses.beale()", "start", "samflow.losses.beale"),
        ("find_cycles", "tour/flows", "samflow.equilibria.find_cycles"),
        ("multipliers", "tour/flows", None),  # a field of records as well
        ("loss", "tour/flows", None),
        ("sf.no_such_thing", "choose", None),
        ("rho = 0.1", "tour/flows", None),
    ],
)
def test_code_is_linked_to_what_it_names(text, page, entry):
    assert names.entry_of(text, page) == entry


def test_tests_and_files_are_linked_to_their_source():
    path, line = names.source_of("test_code_is_linked_to_what_it_names")
    assert ROOT / path == Path(__file__)
    assert "def test_code_is_linked" in Path(__file__).read_text().splitlines()[line - 1]
    assert names.source_of("analysis/noise_moments.py") == ("analysis/noise_moments.py", 0)
    assert names.source_of("analysis/no_such_study.py") is None
    assert names.source_of("test_no_such_test") is None


def test_a_docstring_keeps_bars_stars_and_code():
    told = [
        "|λ| at w*, `a|b`:",
        "",
        "    x = 1",
        "",
        "Returns:",
        "    the sum: of `x`",
        "    and y",
    ]
    assert reference.converted(told) == [
        r"\|λ\| at w\*, `a|b`:",
        "",
        "::",
        "",
        "    x = 1",
        "",
        ":returns: the sum: of `x`",
        "    and y",
    ]


@pytest.mark.parametrize("page", ["start", "choose", "reproduce"])
def test_each_call_of_a_page_exists(page):
    text = (DOCS / f"{page}.md").read_text()
    for full in set(re.findall(r"`sf\.([\w.]+)", text)):
        assert names.entry_of(f"sf.{full}", page) or full == "networks", full


def test_reproduced_figures_studies_and_scripts_exist():
    text = (DOCS / "reproduce.md").read_text()
    for kind, known in (("figures?", FIGURES), ("stud(?:y|ies)", STUDIES)):
        lists = re.findall(rf"\b{kind} ((?:`[\w-]+`(?: \([^)]*\))?(?:, )?)+)", text)
        named = {name for each in lists for name in re.findall(r"`([\w-]+)`", each)}
        assert len(named) >= 10
        assert named <= set(known)
    for path in re.findall(r"\]\((gallery/\w+\.py)\)", text):
        assert (DOCS / path).is_file()


def test_the_gallery_is_listed_and_drawn_from_the_public_library():
    order = ast.parse((DOCS / "_ext" / "pictures.py").read_text())
    listed = next(
        ast.literal_eval(node.value)
        for node in order.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ORDER"
    )
    scripts = sorted((DOCS / "gallery").glob("*.py"))
    assert sorted(listed) == [path.stem for path in scripts]
    for path in scripts:
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) < 50, path
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert modules <= {"jax", "jax.numpy", "jax.random", "numpy", "samflow"}, path
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)], path
        assert any(
            isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "figure"
            for n in ast.walk(tree)
        ), path


def site(folder, body, style=""):
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "site.css").write_text(style)
    return list(check.faults(folder))


def test_a_sound_site_has_no_faults(tmp_path):
    body = '<link rel="stylesheet" href="site.css"><h1 id="top">x</h1><a href="#top">up</a>'
    assert site(tmp_path, body + '<a href="https://arxiv.org/abs/2301.06308">[K]</a>') == []


@pytest.mark.parametrize(
    ("body", "style", "fault"),
    [
        ('<script src="https://cdn.example/a.js"></script>', "", "from another host"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "", "from another host"),
        ('<img src="http://cdn.example/a.png">', "", "from another host"),
        ("", "@font-face { src: url(https://cdn.example/a.woff) }", "from another host"),
        ('<a href="gone.html">x</a>', "", "leads nowhere"),
        ('<a href="#gone">x</a>', "", "no such anchor"),
        ('<img src="gone.png">', "", "leads nowhere"),
    ],
)
def test_a_fault_of_a_site_is_seen(tmp_path, body, style, fault):
    (found,) = site(tmp_path, body, style)
    assert fault in found


def test_an_empty_site_is_a_fault(tmp_path):
    assert list(check.faults(tmp_path)) == [f"{tmp_path}: no pages"]
