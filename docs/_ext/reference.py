"""The reference: a page for each public subpackage, with each name of its `__all__`.

samflow and its subpackages import lazily, so each name is asked for, by `getattr`, once.
"""

import ast
import functools
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias
from typing import Any

import samflow

ROOMS = tuple(name for name in samflow.__all__ if inspect.ismodule(getattr(samflow, name)))
"""The public subpackages, in alphabetical order."""


def names_of(room: str) -> Iterator[tuple[str, Any]]:
    """Go through the public names of a subpackage, with what they name."""
    module = importlib.import_module(f"samflow.{room}")
    for name in sorted(module.__all__, key=lambda name: (name.lower(), name)):
        yield name, getattr(module, name)


def homes() -> dict[int, str]:
    """Return where each class and function is documented, by its identity.

    Several subpackages may have it; its home is the one whose code defines it, or the first.
    """
    found: dict[int, str] = {}
    for room in ROOMS:
        for name, thing in names_of(room):
            if not _is_code(thing):
                continue
            own = getattr(thing, "__module__", "").startswith(f"samflow.{room}")
            if own or id(thing) not in found:
                found[id(thing)] = f"samflow.{room}.{name}"
    return found


def _is_code(thing: Any) -> bool:
    return callable(thing) and not isinstance(thing, GenericAlias)


def entry(full: str, thing: Any) -> str:
    """Return the lines that document a name at its home."""
    if inspect.ismodule(thing):
        return f".. py:module:: {full}\n   :no-typesetting:\n"
    if not _is_code(thing):
        told = "\n".join(f"   {line}" for line in converted(_told_below(*full.split(".")[1:])))
        return f".. py:data:: {full}\n\n{told}\n"
    if inspect.isclass(thing):
        return f".. autoclass:: {full}\n   :members:\n   :show-inheritance:\n"
    return f".. autofunction:: {full}\n"


def _told_below(room: str, name: str) -> list[str]:
    """Return the string under the assignment of a constant, in whichever module that stands."""
    found = {path: told[name] for path, told in _constants().items() if name in told}
    inside = [text for path, text in found.items() if room in path.parts]
    return next(iter(inside or found.values()), "").splitlines()


@functools.cache
def _constants() -> dict[Path, dict[str, str]]:
    """Return, for each module, its assignments that have a string below them."""
    found: dict[Path, dict[str, str]] = {}
    for path in sorted(Path(samflow.__file__).parent.rglob("*.py")):
        for first, then in itertools.pairwise(ast.parse(path.read_text()).body):
            match first, then:
                case (
                    ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)),
                    ast.Expr(ast.Constant(str(told))),
                ):
                    found.setdefault(path, {})[name] = inspect.cleandoc(told)
    return found


def page(room: str, home: dict[int, str]) -> str:
    """Return the page of a subpackage, in reStructuredText."""
    module = importlib.import_module(f"samflow.{room}")
    title = f"samflow.{room}"
    lines = [title, "=" * len(title), "", f".. py:module:: {title}", ""]
    lines += ["\n".join(converted((module.__doc__ or "").splitlines())), ""]
    own, others = [], []
    for name, thing in names_of(room):
        full = f"{title}.{name}"
        place = home.get(id(thing), full)
        if place == full:
            own.append(entry(full, thing))
        else:
            others.append(f"- ``{name}``: :py:obj:`{place}`")
    if others:
        own += ["Names of other subpackages, also found here:", "", *others, ""]
    return "\n".join(lines + own)


def index(home: dict[int, str]) -> str:
    """Return the page of the top level: what is in `samflow` itself, and the subpackages."""
    title = "API reference"
    lines = [title, "=" * len(title), "", ".. py:module:: samflow", ""]
    lines += [
        "``import samflow as sf`` loads none of these; each is imported at its first use.",
        "",
    ]
    things = {name: getattr(samflow, name) for name in samflow.__all__ if name not in ROOMS}
    rows = {
        f":py:obj:`sf.{name} <{home.get(id(thing), f'samflow.{name}')}>`": thing
        for name, thing in things.items()
    }
    lines += _table("Top level", rows)
    rooms = {f":doc:`sf.{room} <{room}>`": getattr(samflow, room) for room in ROOMS}
    lines += _table("Subpackages", rooms)
    lines += _heading("Words of verdicts")
    for name in (name for name, thing in things.items() if id(thing) not in home):
        lines += [f".. autoclass:: samflow.{name}\n   :members:\n   :undoc-members:\n"]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in ROOMS), ""]
    return "\n".join(lines)


def _heading(title: str) -> list[str]:
    return ["", title, "-" * len(title), ""]


def _table(title: str, rows: dict[str, Any]) -> list[str]:
    """Return a section with a table: links, and the first line of the docstring of each."""
    lines = [*_heading(title), ".. list-table::", "   :widths: 34 66", ""]
    for link, thing in rows.items():
        lines += [f"   * - {link}", f"     - {_first_line(thing)}"]
    return lines


def _first_line(thing: Any) -> str:
    return converted([(inspect.getdoc(thing) or "").partition("\n")[0]])[0]


def converted(lines: list[str]) -> list[str]:
    """Return a docstring in reStructuredText: in ours a bar is a bar, and indented text is code.

    Single backticks stay: code is the default role. "Returns:" becomes a field here, since
    napoleon would take what stands before a colon for a type.
    """
    found: list[str] = []
    example = table = code = returned = False
    for place, line in enumerate(lines):
        text, before = line.strip(), lines[place - 1].strip() if place else ""
        if re.fullmatch(r"=+( +=+)+", text):
            table = not table or bool(lines[place + 1 : place + 2] and lines[place + 1].strip())
            found.append(line)
            continue
        example = text.startswith(">>>") or (example and bool(text))
        inside = line.startswith("    ") and bool(text)
        if inside and not before and not code and place and not _section(lines, place):
            found += ["::", ""]
            code = True
        code = code and (inside or not text)
        if line == "Returns:":
            returned = True
            continue
        if returned and text:
            first = not found or not found[-1].startswith((":returns:", "    "))
            returned = inside
            if inside:
                found.append((":returns: " if first else "    ") + _marked(text))
                continue
        found.append(line if example or code else _marked(line, table))
    return found


def _section(lines: list[str], place: int) -> bool:
    """Return whether the nearest line above without an indent is the title of a section."""
    above = (line for line in reversed(lines[:place]) if line and not line.startswith(" "))
    return re.fullmatch(r"[A-Z][a-z]+:", next(above, "")) is not None


def _marked(line: str, table: bool = False) -> str:
    parts = re.split(r"(`+[^`]*`+)", line)
    for place in range(0, len(parts), 2):
        # In a table nothing may change its place: a bar of another kind then.
        part = parts[place].replace("|", "∣") if table else parts[place]
        parts[place] = part if table else re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part)
    return "".join(parts)


def _convert(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines)


def _signature(
    app: Any, what: str, name: str, thing: Any, options: Any, args: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Write the types of arrays as the source does."""
    return tuple(each and each.replace("jaxlib._jax.Array", "Array") for each in (args, result))  # type: ignore[return-value]


def _skip(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out fields, which the docstring of the class explains."""
    code = inspect.isroutine(thing) or isinstance(thing, property | classmethod | staticmethod)
    return None if code or what != "class" else True


def write(app: Any) -> None:
    """Write the pages, those only whose text changed."""
    folder = Path(app.srcdir) / "generated" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    home = homes()
    pages = {"index": index(home)} | {room: page(room, home) for room in ROOMS}
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Connect with Sphinx."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", _convert, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
