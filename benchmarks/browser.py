"""A page of `samflow explore` in headless Chromium, for tests and for benchmarks."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome")


def found() -> str | None:
    """Return the path of a browser; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Server(NamedTuple):
    """A server that runs: its link, and the number of its process."""

    url: str
    pid: int

    def cpu(self) -> float:
        """Return the CPU seconds of the server so far, without the processes that it started."""
        return _cpu(self.pid)


def cpu_of_children(without: int) -> float:
    """Return the CPU seconds so far of all that this process has started, as the browser.

    A process is left out, with what it has started. For Linux; elsewhere NaN.
    """
    others = {without, *_descendants(without)}
    started = [pid for pid in _descendants(os.getpid()) if pid not in others]
    return sum(map(_cpu, started)) if started else float("nan")


def _descendants(pid: int) -> list[int]:
    try:
        text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    children = [int(each) for each in text.split()]
    return children + [each for child in children for each in _descendants(child)]


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[Server]:
    """Run `samflow explore`."""
    command = [sys.executable, "-m", "samflow", "explore", "--no-browser", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


@contextlib.contextmanager
def opened() -> Iterator[Any]:
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not run as root, as in a container; the pages are our own.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page of the explorer, looked at through its models."""

    def __init__(self, tab: Any, link: str) -> None:
        """Open a link."""
        self.tab = tab
        self.answer = tab.goto(link)

    def data(self, name: str) -> dict[str, list[Any]]:
        """Return the columns of a source."""
        return self.tab.evaluate(_DATA, name)

    def text(self, name: str) -> str:
        """Return one of the texts, without its tags."""
        return self.tab.evaluate(_TEXT, name)

    def when(self, condition: str, *, seconds: float = 120) -> Any:
        """Wait until a condition in JavaScript holds, of `doc`, `data(name)` and `text(name)`."""
        self.tab.wait_for_function(_WHEN % condition, timeout=1000 * seconds)

    def settle(self, seconds: float = 120) -> None:
        """Wait until fixed points and chart are those of what is shown."""
        self.when(_SETTLED, seconds=seconds)

    def set_slider(self, name: str, value: float) -> None:
        """Move a slider, as its handle does."""
        self.tab.evaluate(
            "([name, value]) => { Bokeh.documents[0].get_model_by_name(name).value = value }",
            [name, value],
        )

    def place(self, figure: str, x: float, y: float) -> tuple[float, float]:
        """Return where a point of a figure is on the screen."""
        return tuple(self.tab.evaluate(_PLACE, [figure, x, y]))

    def drag(self, figure: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the mouse from one point of a figure to another, in its coordinates."""
        mouse = self.tab.mouse
        here, there = self.place(figure, *start), self.place(figure, *end)
        mouse.move(*here)
        mouse.down()
        mouse.move(*there, steps=8)
        mouse.up()

    def click(self, figure: str, x: float, y: float) -> None:
        """Click at a point of a figure."""
        self.tab.mouse.click(*self.place(figure, x, y))

    def mark(self, x: float, y: float) -> tuple[str, float] | None:
        """Return kind and opacity of the mark at a point; None where there is none."""
        found = self.data("marks")
        for i, place in enumerate(zip(found["x"], found["y"], strict=True)):
            if max(abs(place[0] - x), abs(place[1] - y)) < 1e-6:
                return found["kind"][i], found["alpha"][i]
        return None


_DATA = """name => {
  const data = Bokeh.documents[0].get_model_by_name(name).data
  const listed = v => v != null && typeof v == "object" && v.length != null
  const plain = v => listed(v) ? Array.from(v, plain) : v
  const entries = data instanceof Map ? [...data.entries()] : Object.entries(data)
  return Object.fromEntries(entries.map(([key, column]) => [key, plain(column)]))
}"""
_TEXT = """name => {
  const part = document.createElement("div")
  part.innerHTML = Bokeh.documents[0].get_model_by_name(name).text
  return part.textContent
}"""
_WHEN = """() => {
  if (typeof Bokeh == "undefined" || Bokeh.documents.length == 0) return false
  const data = %s
  const text = %s
  return %%s
}""" % (_DATA, _TEXT)  # noqa: UP031
_SETTLED = """text("list").includes("fixed point") && !text("list").includes("not yet proved")
  && data("cells").alpha[0] == 1"""
_PLACE = """([name, x, y]) => {
  const find = view => {
    if (view.model.name == name && view.frame != null) return view
    for (const child of view.child_views ?? []) {
      const inner = find(child)
      if (inner != null) return inner
    }
    return null
  }
  const views = Object.values(Bokeh.index.roots ?? Bokeh.index)
  const view = views.map(find).find(each => each != null)
  const box = view.canvas_view.el.getBoundingClientRect()
  return [box.left + view.frame.x_scale.compute(x), box.top + view.frame.y_scale.compute(y)]
}"""
