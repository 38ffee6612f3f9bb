"""Who is let in: this machine's own browser, under this server's name, with the token of its URL.

Every request passes here before any other code sees it: pages, the websocket, files.
"""

import functools
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bokeh.server.tornado import BokehTornado
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform, RequestHandler

from samflow._checks import ArgumentError
from samflow.explorer.state import LONGEST_QUERY, State, from_pairs

MOST_SESSIONS = 16
"""Pages at once."""
_LONGEST = 4 * LONGEST_QUERY
"""Characters of the URL of a request: a state's query with its signs escaped, and a token."""
_OWN = ("token", "bokeh-protocol-version", "bokeh-session-id", "bokeh-autoload-element")
_OWN += ("bokeh-app-path", "bokeh-absolute-url", "resources")
"""Arguments that belong to the server, and are no part of a state."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; "
    "form-action 'none'; base-uri 'none'",
}
"""Of every answer: nothing is loaded from elsewhere, or kept."""


class Headers(OutputTransform):
    """Adds the headers to every answer, also to those of Bokeh's own handlers."""

    def __init__(self, request: HTTPServerRequest, framed_by: str) -> None:
        """Take whose pages may show the answer inside of them."""
        policy = f"{_HEADERS['Content-Security-Policy']}; frame-ancestors {framed_by}"
        self._headers = {**_HEADERS, "Content-Security-Policy": policy}

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add them."""
        for name, value in self._headers.items():
            headers[name] = value
        return status_code, headers, chunk

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        """Return the chunk."""
        return chunk


class Refusal(RequestHandler):
    """Says in one line why a request is refused."""

    def initialize(self, status: int, reason: str) -> None:
        """Hold what is said."""
        self._refusal = status, reason

    def prepare(self) -> None:
        """Answer, whatever the method."""
        status, reason = self._refusal
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{reason}\n")

    def check_xsrf_cookie(self) -> None:
        """Check nothing: all is refused."""


class Door(BokehTornado):
    """Bokeh's server, which lets in requests for its own name with its token only.

    A page of another site can make a browser send requests to 127.0.0.1, under a name of its own
    that it lets point there. The names in `Host` and `Origin` give it away.
    """

    def __init__(self, *args: Any, token: str, framed_by: str, **kwargs: Any) -> None:
        transforms = [functools.partial(Headers, framed_by=framed_by)]
        super().__init__(*args, transforms=transforms, **kwargs)
        self._token = token
        self._names: frozenset[str] = frozenset()

    def open_for(self, port: int) -> None:
        """Take the names under which the server is reached; without them all is refused."""
        self._names = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))
        self._websocket_origins = set(self._names)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what answers a request, or what refuses it."""
        refused = self.refused(request)
        if refused is not None:
            status, reason = refused
            given = {"status": status, "reason": reason}
            return self.get_handler_delegate(request, Refusal, given)
        return super().find_handler(request, **kwargs)

    def refused(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        """Return the status and the reason for which a request is refused; None: it is not."""
        host = request.headers.get_list("Host")
        if len(host) != 1 or host[0].lower() not in self._names:
            return 403, "Refused: this server answers to 127.0.0.1 only, under its own port."
        origin = request.headers.get("Origin")
        websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        if origin is None and websocket:
            return 403, "Refused: a websocket must come from a page of this server."
        if origin is not None and not self._is_own(origin):
            return 403, "Refused: the request comes from a page of another server."
        if request.method not in ("GET", "HEAD"):
            return 405, "Refused: there is nothing to post here."
        if len(request.uri or "") > _LONGEST:
            return 414, f"Refused: the address has more than {_LONGEST} characters."
        path = urlsplit(request.uri or "").path
        if path.startswith("/static/") or path == "/favicon.ico":
            return None  # Bokeh's own scripts, the same for everybody
        given = request.query_arguments.get("token", [])
        if len(given) != 1 or not hmac.compare_digest(given[0], self._token.encode()):
            return 403, "Refused: the token is missing or wrong. Use the link that was printed."
        if path == "/":
            return self._page_refused(request)
        return None

    def _is_own(self, origin: str) -> bool:
        parts = urlsplit(origin)
        return parts.scheme == "http" and parts.netloc.lower() in self._names

    def _page_refused(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        if sum(len(self.get_sessions(path)) for path in self.app_paths) >= MOST_SESSIONS:
            return 503, f"Refused: {MOST_SESSIONS} pages are open. Close one and try again."
        try:
            state_of(request.query_arguments)
        except ArgumentError as error:
            return 400, f"Error: this link cannot be restored. {error}"
        return None


def state_of(arguments: dict[str, list[bytes]], default: State | None = None) -> State:
    """Return the state that a request's arguments spell; `default` where they spell none.

    Raises:
        ArgumentError: where they cannot be read.

    """
    try:
        pairs = [
            (name, value.decode())
            for name, values in arguments.items()
            if name not in _OWN
            for value in values
        ]
    except UnicodeDecodeError as error:
        raise ArgumentError("The query of the link is not text in UTF-8.") from error
    return default if default is not None and not pairs else from_pairs(pairs)


class FileHandler(RequestHandler):
    """Sends what is made of a state as a file."""

    def initialize(self, make: Callable[[State], Any], kind: str, name: str) -> None:
        """Hold how it is made, its type, and the name to save it under."""
        self._make, self._kind, self._name = make, kind, name

    async def get(self) -> None:
        """Send it."""
        try:
            content = await self._make(state_of(self.request.query_arguments))
        except Exception as error:
            known = isinstance(error, ArgumentError)
            self.set_status(400 if known else 500)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"Error: {error}\n")
            return
        self.set_header("Content-Type", self._kind)
        self.set_header("Content-Disposition", f'attachment; filename="{self._name}"')
        self.finish(content)
