"""How much memory a file may ask for, and whether it stayed what it was while it was read."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samflow import _checks
from samflow._checks import ArgumentError

_ALWAYS = 2**28
"""Bytes that any file may fill: small files are let be."""
_TIMES = 8
"""Bytes for each byte of the file: more than compression gains on trained weights."""


class Budget:
    """Bytes that the tensors of a file may take together; each asks before memory is taken."""

    def __init__(self, path: Path, size: int, most: int | None) -> None:
        self.path, self.size = path, size
        self.most = _ALWAYS + _TIMES * size if most is None else _checks.count("max_bytes", most)
        self.taken = 0

    def take(self, what: str, needed: int) -> None:
        """Count `needed` bytes for `what`; refuse them where they are too many."""
        self.taken += needed
        self.check(what, self.taken)

    def check(self, what: str, needed: int) -> None:
        """Refuse what needs more than all that may be taken."""
        if needed > self.most:
            raise ArgumentError(
                f"Argument `path` must fill at most {self.most} bytes of memory, but with {what} "
                f"{str(self.path)!r}, a file of {self.size} bytes, fills {needed}. If you trust "
                f"it, give max_bytes={needed} or more."
            )


def plain_files(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted; refuse pipes and devices, which may never end.

    Links to files are followed, as the caches of hubs have them, and links to folders are refused.
    """
    found = []
    for place, folders, names in os.walk(folder, onerror=_failed):
        for name in (*folders, *names):
            path = Path(place, name)
            kind = path.stat().st_mode
            if stat.S_ISREG(kind):
                found.append(path)
            elif not stat.S_ISDIR(kind) or path.is_symlink():
                what = "a link to a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
                raise ArgumentError(
                    f"Argument `path` must be a folder of files, but {str(path)!r} is {what}."
                )
    return sorted(found)


def _failed(error: OSError) -> None:
    raise error


def states(files: Iterable[Path]) -> list[tuple[Any, ...]]:
    """Return what changes when a file is written to, or another takes its place."""
    seen = [(str(file), os.stat(file)) for file in files]
    return [(name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in seen]


def size_of(states: Sequence[tuple[Any, ...]]) -> int:
    """Return the bytes of all files."""
    return sum(state[2] for state in states)


def changed(path: Path) -> ArgumentError:
    """Return the error for a file that did not stay what it was."""
    return ArgumentError(
        f"Argument `path` must not change while it is read, but {str(path)!r} changed. Read it "
        "again when it is completely written."
    )
