"""The reference: a page for each public subpackage, with each name of its `__all__`.

samflow and its subpackages import lazily, so each name is asked for, by `getattr`, once.
"""

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
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
    return inspect.isclass(thing) or callable(thing)


def entry(room: str, name: str, thing: Any, home: dict[int, str]) -> str:
    """Return the lines that document a name."""
    full = f"samflow.{room}.{name}"
    if inspect.ismodule(thing):
        return f".. py:module:: {full}\n   :no-typesetting:\n"
    if not _is_code(thing):
        told = "\n".join(f"   {line}" for line in converted(_told_below(room, name)))
        return f".. py:data:: {full}\n\n{told}\n"
    if home[id(thing)] != full:
        kind = "class" if inspect.isclass(thing) else "function"
        call = "" if inspect.isclass(thing) else "(...)"
        return f".. py:{kind}:: {full}{call}\n\n   The same as :py:obj:`{home[id(thing)]}`.\n"
    if inspect.isclass(thing):
        return f".. autoclass:: {full}\n   :members:\n   :show-inheritance:\n"
    return f".. autofunction:: {full}\n"


def _told_below(room: str, name: str) -> list[str]:
    """Return the string under the assignment of a constant, in whichever module that stands."""
    folder = Path(samflow.__file__).parent
    for path in sorted(
        {*folder.glob(f"{room}/**/*.py"), *folder.glob("**/*.py")}, key=_inside(room)
    ):
        body = ast.parse(path.read_text()).body
        for first, then in itertools.pairwise(body):
            names = {getattr(each, "id", "") for each in getattr(first, "targets", [])}
            names.add(getattr(getattr(first, "target", None), "id", ""))
            if (
                name in names
                and isinstance(then, ast.Expr)
                and isinstance(then.value, ast.Constant)
            ):
                return inspect.cleandoc(str(then.value.value)).splitlines()
    return []


def _inside(room: str) -> Callable[[Path], tuple[bool, str]]:
    return lambda path: (room not in path.parts, str(path))


def page(room: str, home: dict[int, str]) -> str:
    """Return the page of a subpackage, in reStructuredText."""
    module = importlib.import_module(f"samflow.{room}")
    title = f"samflow.{room}"
    lines = [title, "=" * len(title), "", f".. py:module:: {title}", ""]
    lines += ["\n".join(converted((module.__doc__ or "").splitlines())), ""]
    lines += [entry(room, name, thing, home) for name, thing in names_of(room)]
    return "\n".join(lines)


def index(home: dict[int, str]) -> str:
    """Return the page of the top level: what is in `samflow` itself, and the subpackages."""
    title = "API reference"
    lines = [title, "=" * len(title), "", ".. py:module:: samflow", ""]
    lines += [
        "``import samflow as sf`` loads none of these; each is imported at its first use.",
        "",
    ]
    lines += ["Top level", "---------", "", ".. list-table::", "   :widths: 34 66", ""]
    for name in samflow.__all__:
        thing = getattr(samflow, name)
        if inspect.ismodule(thing):
            continue
        where = home.get(id(thing))
        link = (
            f":py:obj:`sf.{name} <{where}>`" if where else f":py:obj:`sf.{name} <samflow.{name}>`"
        )
        lines += [f"   * - {link}", f"     - {_first_line(thing)}"]
    lines += ["", "Subpackages", "-----------", "", ".. list-table::", "   :widths: 34 66", ""]
    for room in ROOMS:
        lines += [
            f"   * - :doc:`sf.{room} <{room}>`",
            f"     - {_first_line(getattr(samflow, room))}",
        ]
    lines += ["", "Words of verdicts", "-----------------", ""]
    for name in samflow.__all__:
        thing = getattr(samflow, name)
        if not inspect.ismodule(thing) and id(thing) not in home:
            lines += [f".. autoclass:: samflow.{name}\n   :members:\n   :undoc-members:\n"]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in ROOMS), ""]
    return "\n".join(lines)


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
    return next(above, "").endswith(":")


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
