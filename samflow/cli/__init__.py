"""The command line: `samflow saddle`, `two-phase`, `checkpoint`, `portrait` and others.

Results go to stdout, messages to stderr. Exit codes: 0 success; 1 the numerics or a claim failed,
or an internal error; 2 misuse; 130 interrupted; 141 the reader of stdout went away.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from samflow.cli import checkpoint, escape, losses, portrait, rules, saddle, stability, two_phase
from samflow.cli.output import say
from samflow.cli.process import heed_interrupts, prepare

app = typer.Typer(
    name="samflow",
    help="The dynamics of sharpness-aware minimisation: fixed points, proofs, phase portraits.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("saddle")(saddle.command)
app.command("two-phase")(two_phase.command)
app.command("stability")(stability.command)
app.command("escape")(escape.command)
app.command("portrait")(portrait.command)
app.command("checkpoint")(checkpoint.command)
app.command("losses")(losses.command)
app.command("rules")(rules.command)

_TRACEBACK = "SAMFLOW_TRACEBACK"
"""An environment variable: set to 1, an internal error shows where it came from."""


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from samflow import __version__

        typer.echo(f"samflow {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Set this process up, run the command line, and exit with its code."""
    prepare()
    heed_interrupts()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal without it must not be an error
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing but a bug's traceback is raised.

    The traceback of an internal error is raised if the environment says SAMFLOW_TRACEBACK=1.
    """
    try:
        code = _invoke(list(arguments))
        sys.stdout.flush()
        return code
    except typer.Exit as leave:
        return leave.exit_code
    except BrokenPipeError:
        _silence(sys.stdout)
        return 141
    except (KeyboardInterrupt, typer.Abort):
        say("Interrupted.")
        return 130
    except Exception as error:
        message = _misuse(error)
        if message is not None:
            say(f"Error: {message}")
            return 2
        if os.environ.get(_TRACEBACK) == "1":
            raise
        text = " ".join(str(error).split()) or "no message"
        say(f"Error: internal: {type(error).__name__}: {text} ({_TRACEBACK}=1 shows where)")
        return 1


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    # `command.main` has handlers of its own, with boxes around errors; this is what it calls.
    with command.make_context("samflow", arguments) as context:
        code = command.invoke(context)
    return code if isinstance(code, int) else 0


def _misuse(error: Any) -> str | None:
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


def _silence(stream: Any) -> None:
    """Send what is still in the buffer nowhere, so that Python's exit finds nothing to flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


__all__ = ["app", "main", "run"]
