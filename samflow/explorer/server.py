"""The server of the explorer: on this machine only, for who has the link that it prints."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from samflow._checks import ArgumentError, count
from samflow.explorer import code, slow
from samflow.explorer.compiled import compiling
from samflow.explorer.door import Door, FileHandler, state_of
from samflow.explorer.jobs import Workers
from samflow.explorer.session import Session
from samflow.explorer.state import State, from_query
from samflow.explorer.view import TEMPLATE
from samflow.explorer.workers import Worker

ADDRESS = "127.0.0.1"
_MESSAGE = 2**20
"""Bytes of a message from the page at most; the longest has the starts of some orbits."""
_LIMIT = 180.0
"""Seconds that a file may take."""


class Explorer:
    """A server of pages, each with a session of its own; they share the processes that compute.

    Attributes:
        url: the link that opens a page.

    """

    def __init__(self, state: State, *, port: int = 0, framed_by: str = "'none'") -> None:
        """Listen on 127.0.0.1, at a free port unless one is given.

        Args:
            state: what a page shows whose link says nothing else.
            port: 0 for one that is free.
            framed_by: whose pages may show a page inside of them, as `frame-ancestors` of a Content
                Security Policy has it.

        Raises:
            ArgumentError: for a port that is no port, or is taken.

        """
        count("port", port, minimum=0, maximum=2**16 - 1)
        logging.getLogger("bokeh").setLevel(logging.ERROR)
        logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # it would log the token
        self.state, self.token = state, secrets.token_urlsafe(32)
        self.workers = Workers(*(Worker(slow.__name__) for _ in Workers._fields))
        listening = _listening(port)
        self.port = listening.getsockname()[1]
        self.url = f"http://{ADDRESS}:{self.port}/?token={self.token}"
        self._door = Door(
            {"/": Application(FunctionHandler(self._open))},
            token=self.token,
            framed_by=framed_by,
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],
            include_cookies=[],
            use_index=False,
            extra_patterns=[
                (r"/portrait\.pdf", FileHandler, _file(self._pdf, "application/pdf", "pdf")),
                (r"/portrait\.py", FileHandler, _file(self._code, "text/x-python", "py")),
            ],
            websocket_max_message_size_bytes=_MESSAGE,
            unused_session_lifetime_milliseconds=5_000,
            check_unused_sessions_milliseconds=1_000,
            keep_alive_milliseconds=20_000,
        )
        self._door.open_for(self.port)
        http = HTTPServer(self._door)
        http.add_sockets([listening])
        self._server = BaseServer(IOLoop.current(), self._door, http)
        self._server.start()

    def prepare(self) -> None:
        """Begin to compile what the first page needs, and start the processes that compute."""
        compiling(self.state)
        self.workers.proofs.submit(slow.fixed_points, self.state, limit=_LIMIT)
        self.workers.regions.submit(slow.landscape, self.state, limit=_LIMIT)

    def link(self, state: State) -> str:
        """Return the link that opens a page with a state."""
        return f"{self.url}&{state.query()}"

    def close(self) -> None:
        """Stop the server, and the processes that compute."""
        self._server.stop(wait=False)
        self.workers.close()

    def _open(self, document: Document) -> None:
        context: Any = document.session_context
        arguments = {} if context is None else context.request.arguments
        document.template = TEMPLATE  # pyright: ignore[reportAttributeAccessIssue]
        Session(document, state_of(arguments, self.state), self.workers, self.token)

    async def _pdf(self, state: State) -> bytes:
        future = self.workers.curves.submit(slow.picture, state, limit=_LIMIT)
        return await asyncio.wrap_future(future)

    async def _code(self, state: State) -> str:
        return code.source(state)


def serve(state: State, *, port: int = 0, opened: Callable[[str], None]) -> None:
    """Serve pages until this process is interrupted.

    Args:
        state: what a page shows whose link says nothing else.
        port: at 127.0.0.1; 0 for one that is free.
        opened: is called with the link when the server is there.

    Raises:
        ArgumentError: for a port that is taken.

    """

    async def run() -> None:
        explorer = Explorer(state, port=port)
        try:
            explorer.prepare()
            opened(explorer.url)
            await asyncio.Event().wait()
        finally:
            explorer.close()

    asyncio.run(run())


def state_of_link(link: str) -> State:
    """Return the state of a link that a page gave, whichever server it was of.

    Raises:
        ArgumentError: where it cannot be read.

    """
    query = link.partition("?")[2] if "?" in link else link
    parts = [part for part in query.split("&") if part and not part.startswith("token=")]
    return from_query("&".join(parts))


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ADDRESS, port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise ArgumentError(
            f"Argument `port` must be free, but {port} cannot be had ({error.strerror}). Leave it "
            "out to get one that is."
        ) from error
    made.setblocking(False)
    return made


def _file(make: Any, kind: str, ending: str) -> dict[str, Any]:
    return {"make": make, "kind": kind, "name": f"portrait.{ending}"}
