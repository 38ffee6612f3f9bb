"""Moving portraits: orbits that run, or a parameter that changes, as MP4 or GIF."""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.figure import Figure

from samflow import _checks
from samflow._types import ArrayLike
from samflow.orbits._integrate import Trajectory
from samflow.orbits._iterate import Orbit
from samflow.plots import style
from samflow.plots._basins import shared_regions
from samflow.plots._portrait import name_of
from samflow.plots.colours import Palette
from samflow.plots.contents import Contents, Look, draw_contents, gather, make_look
from samflow.records import write_whole
from samflow.systems import AbstractSystem
from samflow.systems.base import check_system

ENDINGS = (".mp4", ".gif")


def film_path(path: str | os.PathLike[str]) -> Path:
    """Return the path with its ending, if such a film can be written here.

    Raises:
        ArgumentError: for another ending than .mp4 and .gif, .mp4 without ffmpeg, and a path that
            cannot be written.

    """
    path, found = Path(path), shutil.which("ffmpeg") is not None
    if not path.suffix[1:2].isalpha():  # none, or part of a stem as in rho=0.5
        path = path.with_name(path.name + (".mp4" if found else ".gif"))
    path = _checks.writable("path", path, ENDINGS)
    if path.suffix == ".mp4" and not found:
        raise _checks.ArgumentError(
            "Argument `path` ends in .mp4, which ffmpeg writes, but no ffmpeg is on the PATH. "
            "Install ffmpeg, or write .gif."
        )
    return path


def animate(
    system: AbstractSystem | Sequence[AbstractSystem],
    box: Any,
    path: str | os.PathLike[str],
    *,
    starts: ArrayLike | None = None,
    length: float | None = None,
    orbits: Orbit | Trajectory | None = None,
    basins: bool = False,
    manifolds: bool = False,
    levels: int | Sequence[float] = 14,
    layers: Collection[str] | None = None,
    colours: Palette | None = None,
    titles: Sequence[str] | None = None,
    size: tuple[float, float] | None = None,
    legend: str = "below",
    frames: int = 60,
    per_second: float = 15.0,
    dots_per_inch: float = 150.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a film of a portrait and return its path.

    Of one system, orbits run over its portrait. Of several, such as one rule at many rho, each is
    a frame: fixed points move, and change their kinds.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> loss = sf.losses.beale()
    >>> systems = [sf.Flow(loss, sf.USAM(rho=rho)) for rho in (0.03, 4 / 111, 0.045)]
    >>> box = ((-1.2, 3.8), (-0.3, 1.9))
    >>> path = sf.plots.animate(systems, box, "beale.gif")  # doctest: +SKIP

    Args:
        system: one map or flow with two weights, or a list of them, one for each frame.
        box: as for `portrait`.
        path: a file that ends in .mp4, which ffmpeg writes, or in .gif; without an ending it is
            .mp4 where ffmpeg is on the PATH, and .gif elsewhere.
        starts: of orbits: those that run, or those in each frame.
        length: of the orbits.
        orbits: a record to run along, in the place of `starts`; of one system.
        basins: whether to compute and draw basins: with several systems, for each frame.
        manifolds: whether to compute and draw invariant curves: likewise.
        levels: as for `portrait`.
        layers: as for `portrait`.
        colours: as for `portrait`.
        titles: one for each frame; by default the name of the system, and with running orbits the
            step or the time.
        size: width and height in inches; one column of a journal by default.
        legend: "below", "right" or "none"; it names what is in any frame, and does not move.
        frames: number of frames for running orbits, at most one for each point of them.
        per_second: frames a second.
        dots_per_inch: of the pictures.
        progress: is called after each frame with how many are drawn, of how many.

    Returns:
        The path. The file is written whole or not at all.

    Raises:
        ArgumentError: for a path without a known ending or that cannot be written, .mp4 without
            ffmpeg, one system without orbits, and as `portrait`.
        OSError: where ffmpeg fails, or the file cannot be written.

    """
    target = film_path(path)
    single = isinstance(system, AbstractSystem)
    systems = [system] if single else list(system)
    for each in systems:
        check_system(each)
    _check_motion(systems, single, starts, orbits)
    legend = _checks.known("legend", legend, style.LEGENDS)
    rate = _checks.positive("per_second", per_second)
    dots = _checks.positive("dots_per_inch", dots_per_inch)
    number = _checks.count("frames", frames)
    look = make_look(layers, levels, colours, basins=basins, manifolds=manifolds)
    computed: Any = {"length": length, "fixed_points": None, "basins": basins}
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 3.6))
        shown = [
            gather(each, box, starts=starts, manifolds=manifolds, **computed) for each in systems
        ]
        if single:
            record: Any = shown[0].orbits if orbits is None else orbits
            numbers = _frames(record, number)
            film = _running(figure, shown[0], look, record, numbers, titles)
        else:
            numbers = np.arange(len(shown))
            film = _changing(figure, shown, look, titles)
        if titles is not None and len(titles) != len(numbers):
            raise _checks.ArgumentError(
                f"Argument `titles` must have one entry for each of {len(numbers)} frames, but "
                f"has {len(titles)}."
            )
        next(film)
        style.place_legend(figure, figure.axes, legend, columns=2)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # nothing moves that does not move in the system
        _write(target, figure, film, rate, dots, len(numbers), progress)
    return target


def _check_motion(systems: list[Any], single: bool, starts: Any, orbits: Any) -> None:
    if not systems:
        raise _checks.ArgumentError(
            "Argument `system` must be a system or a list of systems, but is an empty list."
        )
    if single and (starts is None) == (orbits is None):
        raise _checks.ArgumentError(
            "Argument `starts` or `orbits`, one of them, must say what moves over the portrait of "
            "one system. Or give a list of systems."
        )
    if not single and orbits is not None:
        raise _checks.ArgumentError(
            "Argument `orbits` is for one system, but there is a list of systems. Give `starts`."
        )
    if orbits is not None and not isinstance(orbits, Orbit | Trajectory):
        _checks.instance("orbits", orbits, Orbit, "Give what `iterate` or `integrate` returns.")


def _frames(record: Orbit | Trajectory, frames: int) -> np.ndarray:
    """Return which point of the orbits each frame ends with."""
    points = np.asarray(record.w).shape[-2]
    if points < 2:
        raise _checks.ArgumentError(
            "Argument `orbits` must hold more than its end. Give `keep_every` to `iterate`."
        )
    return np.unique(np.linspace(0, points - 1, frames).round().astype(int))


def _running(
    figure: Figure,
    shown: Contents,
    look: Look,
    record: Orbit | Trajectory,
    numbers: np.ndarray,
    titles: Sequence[str] | None,
) -> Iterator[None]:
    """Draw the portrait, and then let the orbits run, a frame each time."""
    ax = figure.add_subplot()
    draw_contents(ax, shown._replace(orbits=None), look)
    paths = np.asarray(record.w).reshape(-1, *record.w.shape[-2:])
    colour = look.colours["orbits"]
    tails = [ax.plot(*p.T, color=colour, zorder=4, label="orbit", gid="orbit")[0] for p in paths]
    head: Any = {"color": colour, "markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 8}
    heads = [ax.plot(*p[0], marker="o", markersize=4.5, gid="head", **head)[0] for p in paths]
    when = record.steps if isinstance(record, Orbit) else record.times
    word = "step {:d}" if isinstance(record, Orbit) else "time {:.3g}"
    name = name_of(shown.system)
    ax.set_title(titles[0] if titles else name)
    yield
    for i, number in enumerate(numbers):
        for path, tail, end in zip(paths, tails, heads, strict=True):
            tail.set_data(*path[: number + 1].T)
            end.set_data(*path[number : number + 1].T)
        at = np.asarray(when)[number]
        ax.set_title(titles[i] if titles else f"{name}, {word.format(at)}")
        yield


def _changing(
    figure: Figure, shown: Sequence[Contents], look: Look, titles: Sequence[str] | None
) -> Iterator[None]:
    """Draw all portraits at one place, and then show one after the other."""
    records = [each.basins for each in shown if each.basins is not None]
    regions = iter(shared_regions(records, look.colours))
    panels = [figure.add_subplot() for _ in shown]
    for i, (ax, each) in enumerate(zip(panels, shown, strict=True)):
        draw_contents(ax, each, look, None if each.basins is None else next(regions))
        ax.set_title(titles[i] if titles else name_of(each.system))
    yield
    for ax in panels:
        ax.set_visible(False)
    for ax in panels:
        ax.set_visible(True)
        yield
        ax.set_visible(False)


def _write(
    target: Path,
    figure: Figure,
    film: Iterator[None],
    rate: float,
    dots: float,
    total: int,
    progress: Callable[[int, int], None],
) -> None:
    makes: Any = {".mp4": FFMpegWriter, ".gif": PillowWriter}
    writer: AbstractMovieWriter = makes[target.suffix](fps=rate)
    with TemporaryDirectory() as folder:
        made = Path(folder) / f"film{target.suffix}"
        try:
            with writer.saving(figure, str(made), dots):
                for done, _ in enumerate(film, start=1):
                    writer.grab_frame(facecolor="white")
                    progress(done, total)
        except (subprocess.CalledProcessError, BrokenPipeError) as error:
            told = getattr(error, "stderr", None) or str(error)
            text = " ".join(str(told).split())[-300:]
            raise OSError(f"ffmpeg could not write the film: {text}") from error
        if not made.is_file():
            raise OSError("ffmpeg ended without an error, but wrote no film")
        write_whole(target, made.read_bytes())
