"""`python -m analysis`: check every claim, draw every figure, write the report."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from analysis.claims import Claim
from analysis.report import Heading, write_report
from analysis.size import Size, reduction
from analysis.work import Task, all_done, leave, tasks
from samflow._checks import ArgumentError, count, known
from samflow.cli.process import heed_interrupts

_PIPE_WIDTH = 120
_MOST_JOBS = 4
"""By default: each process compiles for itself and takes about 1 GB."""
_COLUMNS = {"claim": 5, "predicted": 3, "measured": 4, "tolerance": 2, "why": 6, "verdict": 2}


def main(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A study by name; repeat for several.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the report; made if missing.")
    ] = Path("report"),
    figures: Annotated[
        bool | None,
        typer.Option(help="Draw the figures, too; by default with all studies, not with --only."),
    ] = None,
    size: Annotated[
        Size, typer.Option(help="Small leaves out or reduces what takes long, and says what.")
    ] = Size.full,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", help="Processes that work side by side; by default the cores, up to 4."
        ),
    ] = None,
) -> None:
    """Check the claims of the two papers; exit code 1 if one fails, 2 for misuse."""
    heed_interrupts()
    jax.config.update("jax_enable_x64", True)
    try:
        draw = not only if figures is None else figures
        code = verify(only, output, draw=draw, size=size, jobs=_number_of(jobs))
    except ArgumentError as error:
        print(f"Error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"Interrupted: nothing was written to {output}. Run again.", file=sys.stderr)
        leave(130)
    raise typer.Exit(code)


def verify(
    only: Sequence[str] | None,
    output: Path,
    *,
    draw: bool = True,
    size: Size = Size.full,
    jobs: int = 1,
) -> int:
    """Run studies, print the table, write the report; return the exit code."""
    from analysis import STUDIES
    from figures import FIGURES

    names = [known("study", name, STUDIES) for name in only or STUDIES]
    _make(output)
    began = time.perf_counter()
    todo = tasks(names, draw=draw)
    found: dict[Task, list[Any]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("starting", total=len(todo))

        def show(message: str) -> None:
            progress.update(bar, description=message)

        for done in all_done(
            todo, output / "figures", size=size, jobs=min(jobs, len(todo)), progress=show
        ):
            found[done.task] = done.result
            progress.update(bar, advance=1, description=f"{done.task.kind} {done.task.name} done")
    claims = [claim for name in names for claim in found[Task("study", name)]]
    drawn = [entry for name in FIGURES for entry in found.get(Task("figure", name), ())]
    headings = [
        Heading(name, STUDIES[name].TITLE, reduction(STUDIES[name], size)) for name in names
    ]
    _print(claims, headings)
    page = write_report(output, claims, headings, drawn, size, time.perf_counter() - began)
    failed = [claim for claim in claims if claim.fails]
    print(f"{size} size: {len(claims) - len(failed)} of {len(claims)} claims hold; report: {page}")
    return 1 if failed else 0


def _number_of(jobs: int | None) -> int:
    return min(os.cpu_count() or 1, _MOST_JOBS) if jobs is None else count("jobs", jobs)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"Argument `output` must be a folder that can be made, but {str(folder)!r} cannot: "
            f"{error.strerror}."
        ) from error


def _print(claims: Sequence[Claim], headings: Sequence[Heading]) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    for study, title, reduced in headings:
        caption = f"Small size: {reduced}" if reduced else None
        table = Table(
            title=f"{study}: {title}",
            title_justify="left",
            caption=caption,
            caption_justify="left",
            expand=True,
        )
        for column, ratio in _COLUMNS.items():
            table.add_column(column, overflow="fold", ratio=ratio)
        for claim in (claim for claim in claims if claim.study == study):
            verdict = "[bold red]FAILS[/]" if claim.fails else str(claim.verdict)
            texts = (claim.name, claim.predicted, claim.measured, claim.tolerance, claim.reason)
            table.add_row(*(escape(text) for text in texts), verdict)
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
