"""Notebooks of tutorials: `python docs/_ext/notebooks.py` makes and executes docs/notebooks/.

A notebook has what its page has: the text, and the examples as cells. What an example should print
is left out; the executed notebook has what it did print.
"""

import ast
import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
NAMES = ("edge-of-sam", "watch-your-training")
"""The tutorials that are notebooks, too."""
_BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)\.md")
_NOTE = (
    "*Made from [a page](../tutorials/{name}.md) of samflow's documentation, to which links lead.*"
)
_SELF = " It is [a notebook](../notebooks/{name}.ipynb), too."
"""What a page says of its notebook, and the notebook does not."""


def page(name: str) -> str:
    """Return the text of a tutorial."""
    return (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8")


def path(name: str) -> Path:
    """Return where the notebook of a tutorial is kept."""
    return DOCS / "notebooks" / f"{name}.ipynb"


def notebook(name: str, text: str) -> dict[str, Any]:
    """Return the notebook of a page, not executed, as its JSON has it (format 4.5)."""
    title, _, rest = text.replace(_SELF.format(name=name), "").partition("\n")
    cells = list(_cells(f"{title}\n\n{_NOTE.format(name=name)}\n{rest}"))
    for number, cell in enumerate(cells):
        cell["id"] = f"{name}-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cells(text: str) -> Iterator[dict[str, Any]]:
    for place, part in enumerate(_BLOCK.split(text)):
        if place % 2:
            for source, _ in code(part):
                more: Any = {"execution_count": None, "outputs": []}
                yield {"cell_type": "code", "metadata": {}, "source": source, **more}
        elif part.strip():
            moved = _LINK.sub(_moved, part.strip())
            yield {"cell_type": "markdown", "metadata": {}, "source": moved}


def links(text: str) -> list[str]:
    """Return the files that a text in Markdown links to, without those of other hosts."""
    return re.findall(r"\]\((?!\w+:|#)([^)#]+)", text)


def _moved(link: "re.Match[str]") -> str:
    """Return a link from docs/tutorials/ as one from docs/notebooks/."""
    target = link[1]
    if "/" in target:
        return f"]({target}.md"
    return f"]({target}.ipynb" if target in NAMES else f"](../tutorials/{target}.md"


def code(block: str) -> list[tuple[str, str]]:
    """Return the cells of a block of examples: the code of each, and what it should print.

    A cell ends where something is printed or drawn, since it shows its last value only. What is
    called `figure` is shown.
    """
    found: list[tuple[str, str]] = []
    lines: list[str] = []
    for example in doctest.DocTestParser().get_examples(block):
        lines.append(example.source.rstrip("\n"))
        drawn = _assigns(example.source, "figure")
        if drawn:
            lines.append("figure")
        if example.want or drawn:
            found.append(("\n".join(lines), example.want))
            lines = []
    return found + ([("\n".join(lines), "")] if lines else [])


def wanted(text: str) -> list[str]:
    """Return what each cell of code of a page should print."""
    return [want for block in _BLOCK.findall(text) for _, want in code(block)]


def printed(cell: Any) -> str:
    """Return what a cell printed, and its value, as text; a figure is no text."""
    texts = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" not in data:
            texts.append("".join(output.get("text", "")) or "".join(data.get("text/plain", "")))
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in texts if text)


def _assigns(source: str, name: str) -> bool:
    last = ast.parse(source).body[-1]
    return isinstance(last, ast.Assign) and ast.unparse(last.targets[0]) == name


def executed(name: str) -> Any:
    """Return the notebook of a tutorial with what its cells print, from a kernel of its own.

    Raises:
        CellExecutionError: where a cell fails.

    """
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.from_dict(notebook(name, page(name)))
    nbformat.validate(made)
    NotebookClient(made, timeout=600, record_timing=False).execute()
    made.metadata["language_info"] = {"name": "python"}  # without the version, which is of no use
    return made


def write(name: str) -> None:
    """Execute the notebook of a tutorial and keep it."""
    path(name).parent.mkdir(exist_ok=True)
    text = json.dumps(executed(name), indent=1, ensure_ascii=False, sort_keys=True)
    path(name).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    for each in sys.argv[1:] or NAMES:
        write(each)
        print(path(each).relative_to(DOCS.parent))
