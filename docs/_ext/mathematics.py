"""MathJax on the site itself, so that formulas are read offline.

It is taken from the package sphinx-mathjax-offline, of which one script and its fonts are needed.
"""

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

_SCRIPT = "tex-mml-chtml.js"
_FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app: Any, error: Exception | None) -> None:
    """Copy the script and its fonts into the built site."""
    if error or app.builder.format != "html":
        return
    package = distribution("sphinx-mathjax-offline")
    there = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    here = Path(app.outdir) / "_static" / "mathjax"
    shutil.copytree(there / _FONTS, here / _FONTS, dirs_exist_ok=True)
    shutil.copy(there / _SCRIPT, here / _SCRIPT)


def setup(app: Any) -> dict[str, bool]:
    """Connect with Sphinx."""
    app.config.mathjax_path = f"mathjax/{_SCRIPT}"
    # Neither a menu nor speech: both would fetch further files.
    app.config.mathjax3_config = {"options": {"enableMenu": False}}
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
