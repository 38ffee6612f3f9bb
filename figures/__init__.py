"""The figures of the documentation and the report: one module a figure.

Each module has a `NAME`, a `CAPTION` that says what is seen, with numbers and source, and
`draw()`, which computes records with samflow and returns a matplotlib Figure. One with `SMALL_SIZE`
takes a size (`analysis.size`); its caption is that of the full one.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from analysis.size import Size, reduction, sized
from figures import (
    batch_momentum,
    beale,
    crossing,
    escape,
    hallucinated,
    interpolation,
    late_attack,
    noise_moments,
    noisy_switch,
    portrait,
    saddle_cycles,
    symmetry_saddles,
    threshold,
    two_phases,
    weak_order,
)
from samflow import _checks, plots

FIGURES: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        portrait,
        beale,
        crossing,
        threshold,
        saddle_cycles,
        hallucinated,
        two_phases,
        interpolation,
        noise_moments,
        weak_order,
        escape,
        noisy_switch,
        late_attack,
        batch_momentum,
        symmetry_saddles,
    )
}
"""Every figure by name, in the order in which they are drawn."""


def draw_all(
    folder: str | os.PathLike[str],
    only: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    size: Size = Size.full,
) -> list[dict[str, Any]]:
    """Draw every figure, or `only` one, and write it to `folder` as PDF and PNG.

    Args:
        folder: where to write; made if missing.
        only: a name in `FIGURES`.
        progress: called with a figure's name, its place from 0 on, and how many there are, before
            it is drawn.
        size: of the computations behind the figures.

    Returns:
        A dict a figure: name, caption, paths (PDF, PNG), seconds, and what its size reduced.

    Raises:
        ArgumentError: for an unknown name (the nearest are given) or a folder that is a file.

    """
    names = list(FIGURES) if only is None else [_checks.known("figure", only, FIGURES)]
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise _checks.ArgumentError(
            f"Argument `folder` must be a folder, but {str(folder)!r} is a file."
        )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for place, name in enumerate(names):
        if progress is not None:
            progress(name, place, len(names))
        begun = time.perf_counter()
        module = FIGURES[name]
        paths = plots.save(module.draw(*sized(module, size)), folder / name)
        seconds = time.perf_counter() - begun
        entry = {"name": name, "caption": module.CAPTION, "reduced": reduction(module, size)}
        drawn.append({**entry, "paths": paths, "seconds": seconds})
    return drawn
