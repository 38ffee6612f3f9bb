"""Links from code to what it names: functions to the reference, tests and files to their source.

A page writes `flip_threshold`, `sf.find_cycles(...)`, `test_jury_conditions` or
`analysis/noise_moments.py`, as a git host shows it. Here each becomes a link, if it names
something. The files that are named become pages of the site. If the environment has
SAMFLOW_SOURCE_URL, such as https://example.org/samflow/blob/main, they are linked there instead.
"""

import functools
import inspect
import operator
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference
from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

import samflow

ROOT = Path(__file__).parents[2]
_FOLDERS = ("samflow", "tests", "analysis", "figures", "reporting", "benchmarks")
_NAME = re.compile(r"(?:sf\.|samflow\.)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
_FILE = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w/-]+\.(?:py|json)")
_PAGES, _SCHEME = "source", "source:"
_SOURCE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{path}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{up}_static/pygments.css">
<link rel="stylesheet" href="{up}_static/site.css"></head>
<body class="source"><h1>{path}</h1><p><a href="{up}index.html">samflow</a></p>{code}</body></html>
"""
"""The page of a file: without the navigation, which would take most of the time of the build."""


@functools.cache
def tests() -> dict[str, tuple[str, int]]:
    """Return the file and the line of each test, by name."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := re.match(r"\s*def (test_\w+)\(", line):
                found.setdefault(match[1], (str(path.relative_to(ROOT)), number))
    return found


@functools.cache
def places() -> dict[str, str]:
    """Return the entry in the reference of each public name, by all of its dotted names."""
    home = reference.homes()
    found = {f"samflow.{room}": f"samflow.{room}" for room in reference.ROOMS}
    for room in reference.ROOMS:
        for name, thing in reference.names_of(room):
            full = f"samflow.{room}.{name}"
            found[full] = home.get(id(thing), full)
    for name in samflow.__all__:
        thing = getattr(samflow, name)
        if not inspect.ismodule(thing):
            found[f"samflow.{name}"] = home.get(id(thing), f"samflow.{name}")
    return found


def entry_of(text: str, page: str) -> str | None:
    """Return the entry in the reference that a piece of code on a page names, if it does.

    A bare word may be anything, as an argument, except on the pages of theory, where it is a
    function of `samflow.theory`. Elsewhere it must look like a name: with an underscore, a
    capital or arguments.
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        return None
    name, arguments = match[1], match[2]
    known = places()
    if text.startswith(("sf.", "samflow.")):
        return known.get(f"samflow.{name}") or _method(f"samflow.{name}")
    own = None
    if page.startswith("theory/"):
        own = known.get(f"samflow.theory.{name}")
    elif page.startswith("generated/api/"):
        own = known.get(f"samflow.{page.rpartition('/')[2]}.{name}")
    plain = name.islower() and "_" not in name and arguments is None
    if own or plain:
        return own if not (plain and not page.startswith("theory/")) else None
    if f"samflow.{name}" in known:
        return known[f"samflow.{name}"]
    ends = {entry for full, entry in known.items() if full.endswith(f".{name}")}
    return ends.pop() if len(ends) == 1 else None


def _method(full: str) -> str | None:
    """Return the entry of the class or the function before the last dot, with the rest."""
    head, _, last = full.rpartition(".")
    entry = places().get(head)
    return f"{entry}.{last}" if entry else None


def source_of(text: str) -> tuple[str, int] | None:
    """Return the file and the line that a piece of code names: a test's or a path."""
    if text in tests():
        return tests()[text]
    if _FILE.fullmatch(text) and (ROOT / text).is_file():
        return text, 0
    return None


def resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return where the source of an entry of the reference is, for `sphinx.ext.linkcode`.

    `add_links` makes an address of it, which depends on the page.
    """
    try:
        thing = operator.attrgetter(info["fullname"])(sys.modules[info["module"]])
        code = inspect.unwrap(getattr(thing, "fget", None) or thing)
        path = Path(inspect.getsourcefile(code) or "").relative_to(ROOT)
        line = inspect.getsourcelines(code)[1]
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None  # a constant, or nothing that Python wrote
    return f"{_SCHEME}{path}#{line}"


def add_links(app: Any, doctree: nodes.document, page: str) -> None:
    """Make links of the names on a page."""
    if app.builder.format != "html":
        return
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith(_SCHEME):
            path, _, line = link["refuri"].removeprefix(_SCHEME).partition("#")
            link["refuri"] = _source_uri(app, page, path, int(line))
    objects = app.env.domaindata["py"]["objects"]
    for literal in list(doctree.findall(nodes.literal)):
        if any(isinstance(up, nodes.reference | nodes.title) for up in _above(literal)):
            continue
        text = literal.astext()
        if source := source_of(text):
            uri = _source_uri(app, page, *source)
        else:
            entry = entry_of(text, page)
            if entry not in objects:
                continue
            uri = app.builder.get_relative_uri(page, objects[entry].docname)
            uri += f"#{objects[entry].node_id}"
        literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=uri, internal=True))


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while node := node.parent:
        yield node


def _source_uri(app: Any, page: str, path: str, line: int) -> str:
    anchor = f"#L{line}" if line else ""
    if url := os.environ.get("SAMFLOW_SOURCE_URL"):
        return f"{url}/{path}{anchor}"
    return app.builder.get_relative_uri(page, f"{_PAGES}/{path}") + anchor


def named_files(app: Any) -> list[str]:
    """Return the files to which pages link: those that they name, and all of samflow."""
    texts = [path.read_text() for path in Path(app.srcdir).rglob("*.md")]
    named = {name for text in texts for name in re.findall(r"`([^`\n]+)`", text)}
    paths = {source[0] for name in named if (source := source_of(name))}
    own = (str(path.relative_to(ROOT)) for path in (ROOT / "samflow").rglob("*.py"))
    return sorted(paths.union(own))


def write_sources(app: Any, error: Exception | None) -> None:
    """Make a page of each file that is linked to, with an anchor for each line."""
    if error or app.builder.format != "html" or os.environ.get("SAMFLOW_SOURCE_URL"):
        return
    form = HtmlFormatter(lineanchors="L", cssclass="highlight")
    for path in named_files(app):
        page, source = Path(app.outdir) / _PAGES / f"{path}.html", ROOT / path
        if page.exists() and page.stat().st_mtime > source.stat().st_mtime:
            continue
        code = highlight(source.read_text(), get_lexer_for_filename(path), form)
        code = code.replace('id="L-', 'id="L').replace('name="L-', 'name="L')
        code = re.sub(r' href="#L-\d+"', "", code)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_SOURCE.format(path=path, code=code, up="../" * (path.count("/") + 1)))


def setup(app: Any) -> dict[str, bool]:
    """Connect with Sphinx."""
    app.connect("doctree-resolved", add_links)
    app.connect("build-finished", write_sources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
