"""What a command leaves behind: a table or JSON on stdout, or a file; messages on stderr."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table

from samflow._text import printable, printable_json
from samflow.cli.messages import progress, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from samflow.records import AbstractRecord

_WIDTH = 100
"""Of text that goes to a file or a pipe, where there is no terminal to ask."""

FORMS = ("text", "json", "csv", "latex", "bibtex")
"""Of what is printed; all but text and JSON need a record."""
TEXT_SUFFIXES = (".json", ".txt")
RECORD_SUFFIXES = (*TEXT_SUFFIXES, ".csv", ".tex", ".nc")
"""Of a command whose result is one record."""
PICTURE_SUFFIXES = (".pdf", ".svg", ".png", ".eps", ".pgf")
FILM_SUFFIXES = (".mp4", ".gif")
PICTURES_AND_RECORDS = (*PICTURE_SUFFIXES, *RECORD_SUFFIXES)
"""Of a command that draws a record."""


class Meter:
    """Tells a person who waits what is being done, how much of it is, and when the rest will be.

    The estimate takes what is left to go as fast as what is done.
    """

    def __init__(self, total: int, *, at_most: bool = False) -> None:
        """Begin with nothing of `total` done; `at_most`: it may end earlier."""
        self._total, self._at_most, self._calls = total, at_most, -1
        self._began = time.monotonic()

    def __call__(self, message: str, done: int | None = None) -> None:
        """Say what comes next; `done` is by default one more at each call, from 0 on."""
        self._calls += 1
        done = self._calls if done is None else done
        most = "at most " if self._at_most else ""
        text = f"{message} ({done} of {most}{self._total} done"
        if 0 < done < self._total:
            left = (time.monotonic() - self._began) * (self._total - done) / done
            text += f", {most or 'about '}{left:.0f} s left"
        progress(f"{text})")


def checked_path(output: str | None, suffixes: Sequence[str]) -> Path | None:
    """Return the path given with -o if a file can be made there: ask before any work is done.

    PGF is refused here where there is no LaTeX, and .mp4 where there is no ffmpeg.
    """
    from samflow import _checks

    if output is None and sys.stdout is None:
        raise _checks.ArgumentError(
            "Argument `-o` must be given if stdout is closed, because the result would be lost."
        )
    if output is None:
        return None
    path = _checks.writable("-o", output, suffixes)
    if path.suffix == ".pgf":
        from samflow.plots.files import check_latex

        check_latex()
    elif path.suffix == ".mp4":
        from samflow.plots import film_path

        film_path(path)
    return path


def checked_paths(output: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Return the paths given with -o, each once, if pictures or other files can be made there."""
    paths = [checked_path(name, suffixes) for name in dict.fromkeys(output)]
    return [path for path in paths if path is not None]


def deliver_all(
    content: Sequence[RenderableType],
    result: "AbstractRecord",
    draw: "Callable[[], Figure]",
    *,
    form: str,
    paths: Sequence[Path],
    journal: str | None = None,
) -> None:
    """Write a record and its picture to all paths; print the result where no path is for it.

    The picture is for a journal of `samflow.plots.JOURNALS`, if one is given.
    """
    pictures = [path for path in paths if path.suffix in PICTURE_SUFFIXES]
    if pictures:
        from samflow import plots

        with plots.journal(journal):
            figure = draw()
        for path in pictures:
            with writing(path):
                plots.save(figure, path)
    others = [path for path in paths if path not in pictures]
    for path in others:
        deliver(content, result, form="text", path=path)
    if form != "text" or not others:
        deliver(content, result, form=form, path=None)


def deliver(
    content: Sequence[RenderableType],
    result: "str | AbstractRecord",
    *,
    form: str,
    path: Path | None,
) -> None:
    """Write the result to `path`, in the format of its suffix, or print it in one of `FORMS`.

    Of a result that is one record `result` is the record, else its JSON text.
    """
    if not isinstance(result, str) and form not in ("text", "json"):
        print(_as_record(result, form), end="")
        if path is None:
            return
    if not isinstance(result, str) and path is not None and path.suffix not in TEXT_SUFFIXES:
        write = {".csv": result.to_csv, ".tex": result.to_latex, ".nc": result.save}[path.suffix]
        with writing(path):
            write(path)
        return
    json_text = result if isinstance(result, str) else result.to_json()
    json_text = printable_json(json_text)
    if path is not None:
        from samflow.records import write_whole

        text = json_text + "\n" if path.suffix == ".json" else _text(content, io.StringIO())
        with writing(path):
            write_whole(path, text)
    elif form == "json":
        print(json_text)
    else:
        # In one piece: rich has an exit of its own for a reader who goes away.
        sys.stdout.write(_text(content, sys.stdout))


def form_of(as_json: bool, form: str | None = None) -> str:
    """Return which of `FORMS` is to be printed; `as_json` is what --json says."""
    from samflow import _checks

    if form is None:
        return "json" if as_json else "text"
    form = _checks.known("format", form.strip().lower(), FORMS)
    if as_json and form != "json":
        raise _checks.ArgumentError(f"--json and --format {form} contradict: give one of them.")
    return form


def _as_record(result: "AbstractRecord", form: str) -> str:
    if form == "bibtex":
        return result.cite("bibtex")
    return result.to_csv() if form == "csv" else result.to_latex()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say that a file was written, or, as misuse, why it could not be."""
    from samflow import _checks

    try:
        yield
    except OSError as error:
        raise _checks.ArgumentError(
            f"Argument `-o` must be a file that can be written, but {str(path)!r} cannot "
            f"({error.strerror or error}). Choose another path."
        ) from error
    say(f"Wrote {path}")


def table_of(*names: str) -> Table:
    """Return an empty table without lines, whose cells are folded where they are too long."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="underline")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def indented(part: RenderableType) -> RenderableType:
    """Return `part` two columns further to the right."""
    return Padding(part, (0, 0, 0, 2))


class _Printable:
    """A part whose text is laid out, and then made printable, whatever names are in it."""

    def __init__(self, part: RenderableType) -> None:
        self.part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for piece in console.render(self.part, options):
            yield piece if piece.control else Segment(printable(piece.text), piece.style)


def _text(content: Sequence[RenderableType], file: Any) -> str:
    """Return `content` as text with the width and the colours that `file` takes."""
    width = None if file.isatty() else _WIDTH
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        for part in content:
            console.print(_Printable(part))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


__all__ = [
    "PICTURES_AND_RECORDS",
    "PICTURE_SUFFIXES",
    "RECORD_SUFFIXES",
    "TEXT_SUFFIXES",
    "checked_path",
    "checked_paths",
    "deliver",
    "deliver_all",
    "form_of",
    "indented",
    "progress",
    "say",
    "table_of",
    "writing",
]
