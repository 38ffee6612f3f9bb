"""The figures of the documentation and the report: one module per figure.

Each module has a `NAME`; `STUDIES`, the names of the studies whose records it draws (none, if it
computes its own); `draw(*records)`, which returns a matplotlib Figure; and `caption(*records)`,
which says what is seen there, with numbers and source. One with `SMALL_SIZE` takes a size
(`analysis.size`) as the last argument of both. No figure imports a study.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from analysis.modules import Modules
from analysis.size import Size, reduction, sized

FIGURES = Modules(
    "figures",
    (
        "portrait",
        "beale",
        "crossing",
        "threshold",
        "saddle-cycles",
        "hallucinated",
        "two_phases",
        "interpolation",
        "noise-moments",
        "weak-order",
        "escape",
        "noisy-switch",
        "late-attack",
        "batch-momentum",
        "symmetry-saddles",
    ),
)
"""Every figure by name, in the order of the report."""


class Drawn(NamedTuple):
    """A figure on disk: its files as PDF and PNG, what is seen, what its size reduced."""

    name: str
    caption: str
    reduced: str
    paths: tuple[Path, ...]
    seconds: float


def studies_of(figure: ModuleType) -> tuple[str, ...]:
    """Return the names of the studies whose records a figure draws."""
    return figure.STUDIES


def save(folder: str | os.PathLike[str], name: str, records: Sequence[Any], *, size: Size) -> Drawn:
    """Draw the figure called `name` from the records of its studies, and write it to `folder`."""
    from samflow import plots

    begun = time.perf_counter()
    figure = FIGURES[name]
    Path(folder).mkdir(parents=True, exist_ok=True)
    arguments = (*records, *sized(figure, size))
    paths = plots.save(figure.draw(*arguments), Path(folder) / name)
    caption = figure.caption(*arguments)
    seconds = time.perf_counter() - begun
    return Drawn(name, caption, reduction(figure, size), tuple(paths), seconds)
