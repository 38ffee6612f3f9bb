"""The tree of pages: it is added to pages as they are read, so that they stay plain Markdown."""

import zlib
from typing import Any

TREES = {
    "index": (
        ("Start", ("start", "choose", "reproduce", "generated/gallery/index")),
        (
            "Tour",
            (
                "tour/commands",
                "tour/systems",
                "tour/own-rule",
                "tour/fixed-points",
                "tour/normalised-sam",
                "tour/orbits",
                "tour/bifurcations",
                "tour/flows",
                "tour/global-dynamics",
                "tour/large-runs",
                "tour/noise",
                "tour/kept-minima",
                "tour/two-phases",
                "tour/landscapes",
                "tour/pictures",
                "tour/explorer",
                "tour/records",
                "tour/networks",
                "tour/watching-training",
            ),
        ),
        (
            "Tutorials",
            (
                "tutorials/pytorch",
                "tutorials/jax",
                "tutorials/watch-your-training",
                "tutorials/edge-of-sam",
            ),
        ),
        ("Reference", ("theory/index", "generated/api/index", "theory/glossary")),
        ("Project", ("limits", "benchmarks/README", "design", "releasing")),
    ),
    "theory/index": (
        (
            "",
            (
                "critical-points",
                "degenerate-points",
                "normalised-sam",
                "sliding",
                "hallucinated-points",
                "practical-sam",
                "rotation",
                "valleys-and-late-switching",
                "relatives",
                "noise",
                "interpolation",
                "diffusions",
                "escape-times",
                "network-saddles",
                "checkpoints",
                "central-flows",
                "adaptive-bases",
                "landscapes",
                "papers",
            ),
        ),
    ),
}
"""For each page that has others under it: captions, and the pages under each."""


def add_trees(app: Any, page: str, source: list[str]) -> None:
    """Append the trees of a page to what was read of it, unseen on the page itself."""
    for caption, pages in TREES.get(page, ()):
        title = f":caption: {caption}\n" if caption else ""
        listed = "\n".join(pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n{title}\n{listed}\n```\n"


def setup(app: Any) -> dict[str, int]:
    """Connect with Sphinx."""
    app.connect("source-read", add_trees)
    version = zlib.crc32(repr(TREES).encode())  # pages are read again where the trees change
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
