"""Drawing one figure of the report from the records of its studies."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.size import Size
from reporting.registry import FIGURES, home, reduction, sized


class Drawn(NamedTuple):
    """A figure on disk: its files as PDF and PNG, what is seen, what its size reduced.

    `study` is the one beside which it stands, `alt` its text for who does not see it.
    """

    name: str
    study: str
    caption: str
    alt: str
    reduced: str
    paths: tuple[Path, ...]
    seconds: float


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
    beside = home(figure)
    return Drawn(name, beside, caption, figure.ALT, reduction(figure, size), tuple(paths), seconds)
