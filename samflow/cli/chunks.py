"""Options and messages of commands whose results are kept in chunks on disk."""

import shlex
import time
from typing import Annotated, Any

import typer

from samflow.cli import options
from samflow.cli.output import progress, say

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder for chunks of the grid, each written when it is done (zarr). The same command "
        "resumes where it was stopped.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        "--part",
        help="With --store: i/n computes part i, from 1, of n parts, so that n commands, on any "
        "machines that see the folder, share the work.",
    ),
]
ChunkCells = Annotated[
    int | None,
    options.whole_option(
        "--chunk-cells",
        help="With --store: at most so many points per chunk; by default some seconds of work.",
    ),
]

_SHOWN = 8
"""Parts that are named one by one."""


def make_part(text: str | None) -> tuple[int, int] | None:
    """Return (i, n) of i/n."""
    from samflow import _checks

    if text is None:
        return None
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise _checks.ArgumentError(
            f"Argument `--part` must be i/n, such as 2/8, but is {text!r}."
        ) from error
    if not 1 <= i <= n:
        raise _checks.ArgumentError(
            f"Argument `--part` must be i/n with i from 1 to n, but is {text!r}."
        )
    return i, n


def arguments(store: str | None, part: str | None, chunk_cells: int | None) -> dict[str, Any]:
    """Return the arguments of the library for these options; say what is there already."""
    from samflow import _checks

    if store is None:
        if part is not None or chunk_cells is not None:
            raise _checks.ArgumentError(
                "Arguments `--part` and `--chunk-cells` need a `--store`: give a folder."
            )
        return {}
    from samflow.attractors.chunks import progress_of

    given = {"store": store, "part": make_part(part), "chunk_cells": chunk_cells}
    there = progress_of(store)
    if there is not None and there[0]:
        say(f"{there[0]} of {there[1]} chunks were there in {store}")
    return given


class Meter:
    """Tells a person who waits how much is done, and about when the rest will be."""

    def __init__(self, what: str) -> None:
        """Begin; `what` is counted."""
        self._what, self._began = what, time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Say how many are done; the first call counts what was there before."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        text = f"{done} of {total} {self._what}"
        if self._first < done < total:
            left = (now - self._began) * (total - done) / (done - self._first)
            text += f", about {left:.0f} s left"
        progress(text)


def say_missing(context: typer.Context, store: str | None) -> None:
    """Say how many chunks are missing, of which parts, and which commands compute them."""
    from samflow.attractors.chunks import done_in, progress_of

    there = None if store is None else progress_of(store)
    if there is None or there[0] == there[1]:
        return
    assert store is not None
    done, count = there
    given: list[str] = list(context.find_root().obj or ())
    plain, parts = _without_part(given)
    command = shlex.join(["samflow", *plain])
    text = f"{count - done} of {count} chunks are missing. They are computed by: {command}"
    if parts is not None:
        missing = sorted({k % parts + 1 for k in range(count) if not done_in(store)[k]})
        shown = ", ".join(f"{i}/{parts}" for i in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} others" if len(missing) > _SHOWN else ""
        text += f", or with --part {shown}{more}"
    say(text)


def _without_part(given: list[str]) -> tuple[list[str], int | None]:
    """Return the arguments of a command without --part, and of how many parts it was."""
    plain, parts, words = [], None, iter(given)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--part":
            parts = make_part(value if equals else next(words, None))
        else:
            plain.append(word)
    return plain, None if parts is None else parts[1]
