"""Notebooks of tutorials: text and code of the page, executed, with the answers it promises."""

import base64
import doctest
import json
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS / "_ext"))

import notebooks  # noqa: E402

PAGE = """# A page

Text, see [one](edge-of-sam.md), [two](jax.md#top), [three](../tour/flows.md) and
[four](https://example.org/a.md). It is [a notebook](../notebooks/own.ipynb), too.

```python
>>> a = 1
>>> def twice(x):
...     return 2 * x
>>> twice(a)
2
>>> print("a line")
a line
>>> figure = a
>>> b = 3

```

The end.
"""
COMPARE = doctest.OutputChecker().check_output
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def cells(made, kind):
    return [cell for cell in made["cells"] if cell["cell_type"] == kind]


def kept(name):
    return json.loads(notebooks.path(name).read_text())


def without_outputs(made):
    cleared = {"execution_count": None, "outputs": []}
    plain = [{**cell, **cleared} if "outputs" in cell else cell for cell in made["cells"]]
    return {**made, "cells": plain}


def check(made, text):
    """Compare what each cell printed with the page, and return the pictures."""
    codes = cells(made, "code")
    pictures = []
    for number, (cell, want) in enumerate(zip(codes, notebooks.wanted(text), strict=True), 1):
        assert cell["execution_count"] == number
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "execute_result")
            assert output.get("name") != "stderr"  # no warnings
            pictures += [output["data"][kind] for kind in output.get("data", ()) if "png" in kind]
        got = notebooks.printed(cell)
        assert COMPARE(want, got, FLAGS), (cell["source"], want, got)
    return pictures


def test_a_cell_ends_where_something_is_shown():
    made = notebooks.notebook("own", PAGE)
    sources = [cell["source"] for cell in cells(made, "code")]
    assert sources == [
        "a = 1\ndef twice(x):\n    return 2 * x\ntwice(a)",
        'print("a line")',
        "figure = a\nfigure",
        "b = 3",
    ]
    assert notebooks.wanted(PAGE) == ["2\n", "a line\n", "", ""]
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])


def test_links_lead_from_the_folder_of_notebooks():
    first, last = (cell["source"] for cell in cells(notebooks.notebook("own", PAGE), "markdown"))
    assert first.startswith("# A page\n\n*Made from [a page](../tutorials/own.md)")
    for link in ("edge-of-sam.ipynb", "../tutorials/jax.md#top", "../tour/flows.md"):
        assert f"]({link})" in first
    assert first.endswith("[four](https://example.org/a.md).")  # and not what it is itself
    assert last == "The end."


def test_another_answer_is_seen():
    """The comparison below can fail: a missing answer, another one, and a warning."""
    cell = {"cell_type": "code", "source": "", "execution_count": 1}
    said = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    page = "```python\n>>> print(1)\n1\n\n```\n"
    assert check({"cells": [{**cell, "outputs": said}]}, page) == []
    for wrong in ([], [{**said[0], "text": "2\n"}], [*said, {**said[0], "name": "stderr"}]):
        with pytest.raises(AssertionError):
            check({"cells": [{**cell, "outputs": wrong}]}, page)


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_the_kept_notebook_is_that_of_its_page_executed(name):
    """After a change of the page, `make notebooks` makes it anew."""
    text, made = notebooks.page(name), kept(name)
    assert without_outputs(made) == notebooks.notebook(name, text)
    (picture,) = check(made, text)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    for cell in cells(made, "markdown"):
        for link in notebooks.links(cell["source"]):
            assert (notebooks.path(name).parent / link).is_file(), link
    assert f"](../notebooks/{name}.ipynb)" in text


@pytest.mark.slow  # a kernel, and two tutorials
@pytest.mark.parametrize("name", notebooks.NAMES)
def test_a_notebook_runs_and_answers_as_its_page(name):
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[docs]'")
    assert len(check(notebooks.executed(name), notebooks.page(name))) == 1
