"""What sphinx-gallery is told: the order of the scripts, and how a figure is taken from one."""

from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

ORDER = (
    "portrait",
    "beale",
    "crossing",
    "threshold",
    "separatrices",
    "saddle_cycles",
    "staircase",
    "chart",
    "branches",
    "hallucinated",
    "two_phases",
    "central_flow",
    "interpolation",
    "noise_moments",
    "escape",
    "weak_order",
    "landscape",
    "training",
    "watched_switch",
    "noisy_switch",
    "late_attack",
    "batch_momentum",
    "symmetry_saddles",
)
"""The scripts of docs/gallery, in their order on the page."""


class Order:
    """The key by which the scripts are sorted."""

    def __init__(self, folder: str) -> None:
        """Take the folder, of which there is one."""

    def __call__(self, name: str) -> int:
        """Return the place of a script; one that is not listed is an error."""
        return ORDER.index(name.removesuffix(".py"))


def take_figure(block: Any, variables: dict[str, Any], conf: dict[str, Any]) -> str:
    """Save what a script calls `figure`, once. pyplot, where others are looked for, has none."""
    figure = variables["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = next(variables["image_path_iterator"])
    figure.savefig(path, dpi=200)
    return figure_rst([path], conf["src_dir"], _alternative(variables))


def _alternative(variables: dict[str, Any]) -> str:
    """Return the title of a script, for who does not see the picture."""
    text = Path(variables["src_file"]).read_text()
    return next(line for line in text.splitlines()[1:] if line)
