"""The explorer in a notebook: a server in a thread of its own, and what a cell shows of it."""

import asyncio
import threading
from concurrent.futures import Future
from html import escape
from typing import TYPE_CHECKING, Any

from samflow import _checks
from samflow._extras import optional

if TYPE_CHECKING:
    from samflow.explorer.server import Explorer
    from samflow.explorer.state import State

_FRAMED_BY = "127.0.0.1:* localhost:*"
"""Whose pages may show the explorer inside of them: notebooks that this machine serves."""
_HEIGHT = 940
"""Pixels of the frame in a notebook."""
_FRAME = (
    '<p><a href="{url}" target="_blank" rel="noopener">Open the explorer in its own tab</a></p>'
    '<iframe src="{url}" title="{title}" width="100%" height="{height}" allow="clipboard-write" '
    'style="border: 1px solid #dfe3e6"></iframe>'
)
_CLOSED = "This page of the explorer was closed. Run its cell again."


class Serving:
    """A server of pages, which runs until it is closed, in a thread of its own."""

    def __init__(self, state: "State") -> None:
        """Return when the server is there, or raise why it is not."""
        ready: Future[Explorer] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(state, ready), name="samflow-explorer", daemon=True
        )
        self._thread.start()
        self.explorer = ready.result()

    @property
    def runs(self) -> bool:
        """Whether pages are served."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop the server and the processes that compute; return when its port is free."""
        if self.runs:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _run(self, state: "State", ready: "Future[Explorer]") -> None:
        try:
            asyncio.run(self._serve(state, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, state: "State", ready: "Future[Explorer]") -> None:
        from samflow.explorer.server import Explorer

        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        explorer = Explorer(state, framed_by=_FRAMED_BY)
        try:
            explorer.prepare()
            ready.set_result(explorer)
            await self._end.wait()
        finally:
            explorer.close()


_lock = threading.Lock()
_serving: Serving | None = None
"""One for all pages of this process: a cell that is run again starts nothing new."""


def _served(state: "State") -> Serving:
    global _serving
    with _lock:
        if _serving is None or not _serving.runs:
            _serving = Serving(state)
        return _serving


class Exploration:
    """A page of the explorer, as the last value of a cell shows it.

    Attributes:
        url: the link that opens the page. It has a token: who has the link, on this machine, sees
            the page while it is served.

    """

    def __init__(self, serving: Serving, state: "State") -> None:
        """Take the server, and what the page shows at first."""
        self._serving = serving
        self._title = f"samflow explorer: {state.loss} under {state.rule}"
        self.url = serving.explorer.link(state)

    def close(self) -> None:
        """Stop the server, with all pages of this process, and free its port and processes."""
        self._serving.close()

    def _repr_html_(self) -> str:
        if not self._serving.runs:
            return f"<p>{_CLOSED}</p>"
        url, title = escape(self.url), escape(self._title)
        return _FRAME.format(url=url, title=title, height=_HEIGHT)

    def __repr__(self) -> str:
        return f"{self._title}, {self.url if self._serving.runs else 'closed'}"


@_checks.untraced(None)
def explore(loss: str | None = None, *, link: str | None = None, **shown: Any) -> Exploration:
    """Open the explorer in a notebook: the interactive portrait of `samflow explore`, in a cell.

    The first call starts a server on 127.0.0.1, in a thread; the next ones add pages to it. It ends
    with Python, or with `close()`. Outside of a notebook the link `url` opens the same page. In a
    script, call it under `if __name__ == "__main__":`, as it starts processes.

    Args:
        loss: a name of the zoo or a formula, of two weights; Beale's function by default.
        link: what "Copy link to this picture" gave on a page: its state is shown again.
        shown: other values than those of the link, or than the defaults: `rule` (a name or a
            formula), `rho`, `lr`, `momentum`, `flow`, `box`, `starts` of orbits, `length` of an
            orbit in steps, `steps` of it that are drawn, `layers`, `point` of the chart, and
            `rho_max` and `lr_max`, the ends of the sliders.

    Raises:
        ArgumentError: for names that are not known, values that `samflow explore` refuses, and in
            single precision.
        ImportError: without Bokeh, which the extra `explorer` brings.

    """
    optional("bokeh", "`sf.explore`")
    from samflow.explorer.server import state_of_link
    from samflow.explorer.state import State

    _checks.double_precision("The explorer")
    state = State() if link is None else state_of_link(link)
    given = {} if loss is None else {"loss": _text("loss", loss)}
    for name, value in shown.items():
        _checks.known("argument", name, State.__dataclass_fields__)
        given[name] = _text(name, value) if name == "rule" else _plain(value)
    state = state.changed(**given)
    return Exploration(_served(state), state)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be text, a name or a formula as in the page, but is "
            f"{_checks.excerpt(value)}."
        )
    return value


def _plain(value: Any) -> Any:
    """Return a number or an array as Python's own numbers, of which a link is made."""
    return value.tolist() if hasattr(value, "tolist") else value
