"""The command line: `samflow saddle`, `two-phase`, `checkpoint`, `portrait` and others.

Results go to stdout, messages to stderr. Exit codes: 0 success; 1 the numerics or a claim failed,
or an internal error; 2 misuse, or a result that cannot be written; 130 interrupted; 141 the reader
of stdout went away.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from samflow.cli.messages import say
from samflow.cli.process import (
    finish,
    heed_interrupts,
    interrupted,
    keep_descriptors,
    prepare,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What writing to stdout raises, without the name of a file."""
_TRACEBACK = "SAMFLOW_TRACEBACK"
"""An environment variable: set to 1, an internal error shows where it came from."""


def main() -> NoReturn:
    """Set this process up, run the command line, and exit with its code."""
    heed_interrupts()
    keep_descriptors()
    prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal without it must not be an error
            stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    finish(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing but a bug's traceback is raised.

    The traceback of an internal error is raised if the environment says SAMFLOW_TRACEBACK=1.
    """
    misuse: Any = None
    try:
        # Imported here, since an interrupt may come while it is.
        from samflow.cli.app import invoke, misuse

        code = invoke(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence(sys.stdout)
        return 141
    except KeyboardInterrupt as interrupt:
        say(" ".join(["Interrupted.", *getattr(interrupt, "__notes__", ())]))
        return 130
    except Exception as error:
        if interrupted():  # modules in C make other errors of an interrupt while they are imported
            say("Interrupted.")
            return 130
        message = _unprinted(error) or (misuse(error) if misuse is not None else None)
        if message is not None:
            say(f"Error: {message}")
            return 2
        if os.environ.get(_TRACEBACK) == "1":
            raise
        text = " ".join(str(error).split()) or "no message"
        say(f"Error: internal: {type(error).__name__}: {text} ({_TRACEBACK}=1 shows where)")
        return 1


def _unprinted(error: Exception) -> str | None:
    """Return one line about a result that stdout did not take; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _FULL or error.filename is not None:
        return None
    _silence(sys.stdout)
    return f"The result cannot be printed: {error.strerror}. Make room, or give -o FILE."


def _silence(stream: Any) -> None:
    """Send what is still in the buffer nowhere, so that Python's exit finds nothing to flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


__all__ = ["main", "run"]
