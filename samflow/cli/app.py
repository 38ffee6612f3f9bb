"""The commands, each with its options; parsing and the errors of it."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from samflow.cli import (
    basins,
    bifurcation,
    chart,
    checkpoint,
    escape,
    explore,
    landscape,
    losses,
    portrait,
    rules,
    saddle,
    stability,
    sweep,
    train,
    two_phase,
)

_COMPLETE = "_SAMFLOW_COMPLETE"
"""Set by the scripts of `samflow --install-completion`."""

app = typer.Typer(
    name="samflow",
    help="The dynamics of sharpness-aware minimisation (SAM): fixed points, stability, proofs, "
    "phase portraits.",
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.command("saddle")(saddle.command)
app.command("two-phase")(two_phase.command)
app.command("stability")(stability.command)
app.command("escape")(escape.command)
app.command("portrait")(portrait.command)
app.command("basins")(basins.command)
app.command("bifurcation")(bifurcation.command)
app.command("chart")(chart.command)
app.command("sweep")(sweep.command)
app.command("train")(train.command)
app.command("checkpoint")(checkpoint.command)
app.command("landscape")(landscape.command)

app.command("explore")(explore.command)
app.command("losses")(losses.command)
app.command("rules")(rules.command)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from samflow import __version__

        typer.echo(f"samflow {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong is raised."""
    command = typer.main.get_command(app)
    if _COMPLETE in os.environ:  # the shell asks what may come next, and reads stdout
        command.main(list(arguments), prog_name="samflow")
    # `command.main` has handlers of its own, with boxes around errors; this is what it calls.
    try:
        with command.make_context("samflow", list(arguments), obj=tuple(arguments)) as context:
            code = command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


def misuse(error: Any) -> str | None:
    """Return one line about a mistake of the caller; None for any other error."""
    if hasattr(error, "format_message"):  # of click, or of the copy that newer typers carry
        text = " ".join(error.format_message().split())
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "samflow"
        text = text.rstrip(".")
        return f"{text}{'' if text.endswith('?') else '.'} See `{path} --help`."
    if isinstance(error, ImportError) and "samflow[" in str(error):  # an extra is missing
        return " ".join(str(error).split())
    checks = sys.modules.get("samflow._checks")
    if checks is not None and isinstance(error, checks.ArgumentError):
        return " ".join(str(error).split())
    return None
