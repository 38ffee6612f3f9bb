"""The documentation site: `make docs` builds it, with warnings as errors, to be read offline.

The pages are plain Markdown, which a git host shows as well. What only the site has is added here:
the navigation, links from names of functions, tests and files, the reference and the gallery.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

# The gallery's programs are compiled as those of the quick tests are, and kept nowhere.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "0")
os.environ.setdefault("MPLBACKEND", "agg")
from samflow.cli import process  # noqa: E402  (before JAX)

process.compile_quickly()

import names  # noqa: E402

import samflow  # noqa: E402

project = "samflow"
author = "The samflow developers"
release = version = samflow.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.linkcode",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "navigation",
    "reference",
    "names",
    "mathematics",
]
exclude_patterns = ["_build", "_ext", "gallery"]
language = "en"
nitpicky = False  # names of types in signatures are those of other libraries

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "config.cache"]

autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has them
default_role = "code"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "pictures.Order",
    "abort_on_example_error": True,
    "run_stale_examples": True,  # samflow may have changed, where a script has not
    "image_scrapers": "pictures.take_figure",
    "last_notebook_cell": "figure",  # what a notebook of a script shows
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1,
    "write_computation_times": False,
}

linkcode_resolve = names.resolve

html_theme = "furo"
html_title = f"samflow {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
