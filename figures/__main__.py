"""`python -m figures`: draw every figure, or one."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from samflow.cli.process import prepare

app = typer.Typer(add_completion=False)


@app.command()
def main(
    only: Annotated[
        str | None, typer.Option(help="Name of a figure to draw; by default all.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder to write the figures to.")] = Path(
        "report/figures"
    ),
) -> None:
    """Draw the figures, as PDF and PNG, and print their paths."""
    prepare()
    from reporting.work import draw_all
    from samflow._checks import ArgumentError

    columns = SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        try:
            drawn = draw_all(
                output,
                only,
                lambda name, place, count: bar.update(
                    task, description=name, completed=place, total=count
                ),
            )
        except ArgumentError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        except OSError as error:
            print(f"Error: cannot write to {output}: {error.strerror}.", file=sys.stderr)
            raise typer.Exit(2) from error
    for figure in drawn:
        for path in figure.paths:
            typer.echo(path)


if __name__ == "__main__":
    app()
