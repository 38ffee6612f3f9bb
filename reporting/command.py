"""The command that checks every claim, draws every figure and writes the report."""

import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.size import Size
from samflow.cli.process import heed_interrupts, leave, prepare

_WIDTH = 80
"""Of lines that go to no terminal."""
_MOST_JOBS = 4
"""By default: each process compiles for itself and takes about 1 GB."""
QUICK = ("beale-threshold", "sam-cycle", "valley-phases")
"""What --quick checks: a saddle that attracts, SAM's cycle, the two phases of a late switch."""


def main(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Name of a study to run. Repeat the option for several."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for the report; it is created if it is missing."
        ),
    ] = Path("report"),
    figures: Annotated[
        bool | None,
        typer.Option(help="Draw the figures too. The default is yes, but no with --only."),
    ] = None,
    size: Annotated[
        Size,
        typer.Option(
            help='"small" reduces or omits long computations and lists them; "full" runs all.'
        ),
    ] = Size.full,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Run three studies and draw one figure, in the small size."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Number of parallel processes; by default the number of cores, at most 4.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every claim, not only those that fail.")
    ] = False,
) -> None:
    """Check the claims of the two papers. Exit code 1: a claim fails. 2: wrong arguments."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal without it must not be an error
            stream.reconfigure(errors="replace")
    code = _run(only, output, figures, size, quick, jobs, verbose)
    raise typer.Exit(code)


def _run(
    only: Sequence[str] | None,
    output: Path,
    figures: bool | None,
    size: Size,
    quick: bool,
    jobs: int | None,
    verbose: bool,
) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # so that this process can be copied
    prepare()
    heed_interrupts()
    try:
        from samflow._checks import ArgumentError
    except KeyboardInterrupt:
        _interrupted("Interrupted before anything was checked.")
    try:
        if quick and only:
            raise ArgumentError(
                "Options --quick and --only exclude each other: give only one of them."
            )
        chosen = QUICK if quick else only
        draw = quick or (not only if figures is None else figures)
        size = Size.small if quick else size
        return verify(chosen, output, draw=draw, size=size, jobs=_number_of(jobs), verbose=verbose)
    except ArgumentError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        _interrupted(str(stopped))


def _interrupted(message: str) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    leave(130)


def verify(
    only: Sequence[str] | None,
    output: Path,
    *,
    draw: bool = True,
    size: Size = Size.full,
    jobs: int = 1,
    verbose: bool = False,
) -> int:
    """Run studies, say what each found, write the report; return the exit code."""
    from reporting import show, work
    from reporting.page import write_report
    from reporting.registry import FIGURES, STUDIES
    from reporting.report import Report
    from samflow._checks import known

    names = list(dict.fromkeys(known("study", name, STUDIES) for name in only or STUDIES))
    _make(output)
    began = time.perf_counter()
    todo = work.tasks(names, _figures(names, every=only is None) if draw else ())
    width = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else _WIDTH
    console = Console(width=width, highlight=False, markup=False, soft_wrap=True)
    console.print(show.heading(width), style="dim")
    done: list[work.Done] = []
    try:
        with _status(console) as tell:
            jobs = min(jobs, len(todo))
            for one in work.all_done(todo, output / "figures", size=size, jobs=jobs, progress=tell):
                done.append(one)
                left = show.time_left(todo, done, time.perf_counter() - began, jobs)
                for text, style in show.lines(one, left, width, verbose=verbose):
                    console.print(text, style=style)
                tell(f"{len(done)} of {len(todo)} done")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(show.how_to_go_on(names, done, size)) from None
    found = {study.name: study for one in done for study in one.checked}
    drawn = {figure.name: figure for one in done for figure in one.drawn}
    report = Report(
        [found[name] for name in names if name in found],
        [drawn[name] for name in FIGURES if name in drawn],
        [lost for one in done for lost in one.lost],
        size,
        time.perf_counter() - began,
    )
    page = write_report(output, report)
    for text, style in show.card(report, page, width):
        console.print(text, style=style)
    return 1 if report.lost or any(claim.fails for claim in report.claims) else 0


def _figures(studies: Sequence[str], *, every: bool) -> list[str]:
    """Return the figures of all studies, or those that show one of `studies` alone."""
    from reporting.registry import FIGURES, studies_of

    return [name for name in FIGURES if every or set(studies_of(FIGURES[name])) & set(studies)]


def _number_of(jobs: int | None) -> int:
    from samflow._checks import count

    return min(os.cpu_count() or 1, _MOST_JOBS) if jobs is None else count("jobs", jobs)


def _make(folder: Path) -> None:
    from samflow._checks import ArgumentError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"Argument `output` must be a folder that can be created, but creating "
            f"{str(folder)!r} failed: {error.strerror}. Give another path."
        ) from error


@contextmanager
def _status(console: Console) -> Iterator[Callable[[str], None]]:
    """Keep a line at the bottom of a terminal; elsewhere say nothing.

    Without rich's own thread: a process that has one cannot be copied.
    """
    if not console.is_terminal:
        yield lambda message: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda message: live.update(Text(f"  {message} …", style="dim"), refresh=True)


def run() -> None:
    """Run the command with the arguments of this process."""
    typer.run(main)
