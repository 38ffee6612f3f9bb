"""The user's own code, which a command runs: what it raises is not a fault of ours."""

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from samflow import _checks

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_DOORS = {"_each", "_all", "each", "together", "forward", "<lambda>"}
"""Our functions that call a network: what lies deeper is the network's, also in a library."""
_LONGEST = 300


@contextlib.contextmanager
def own_code(what: str) -> Iterator[None]:
    """Say of an error raised in the user's code that it was, with its message and the place.

    Args:
        what: the code, as "--model my_models:make".

    Raises:
        ArgumentError: in its place; errors of our own code, and of misuse, are raised as they are.

    """
    try:
        yield
    except (_checks.ArgumentError, MemoryError, ImportError, OSError):
        raise
    except Exception as error:
        place = _place(error)
        if place is None:
            raise
        text = " ".join(str(error).split())[:_LONGEST] or "no message"
        raise _checks.ArgumentError(
            f"The code of {what} raised {type(error).__name__}: {text.rstrip('.')} ({place})."
        ) from error


def _place(error: Exception) -> str | None:
    """Return the call that raised if it is the user's, as "in forward, line 12 of models.py"."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((_OURS, *_LIBRARIES, "<"))]
    if own:
        return f"in {own[-1].name}, line {own[-1].lineno} of {Path(own[-1].filename).name}"
    doors = [f for f in frames if f.filename.startswith(_OURS) and f.name in _DOORS]
    if doors and not frames[-1].filename.startswith(_OURS):
        return f"in {frames[-1].name}, line {frames[-1].lineno} of {Path(frames[-1].filename).name}"
    return None
