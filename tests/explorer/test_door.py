"""Who is let in: the token, the names in Host and Origin, the number of pages."""

import asyncio
import json
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.websocket import websocket_connect

from samflow._checks import ArgumentError
from samflow.explorer import door, server
from samflow.explorer.state import State

ANOTHER = "http://evil.example"


class Context:
    """Stands for a connection."""

    remote_ip = "127.0.0.1"
    protocol = "http"


class Connection:
    """Stands for a connection."""

    context = Context()

    def set_close_callback(self, callback):
        pass


def request(uri, host, *, method="GET", **headers):
    given = HTTPHeaders({"Host": host})
    for name, value in headers.items():
        given[name] = value
    line = RequestStartLine(method, uri, "HTTP/1.1")
    return HTTPServerRequest(headers=given, connection=Connection(), start_line=line)


@pytest.fixture(scope="module")
def made():
    """A server that is not run, and its name."""

    async def make():
        return server.Explorer(State())

    loop = asyncio.new_event_loop()
    explorer = loop.run_until_complete(make())
    yield explorer
    loop.run_until_complete(asyncio.to_thread(explorer.workers.close))
    loop.call_soon(explorer._server.stop)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def refused(made, uri, host=None, **more):
    name = f"127.0.0.1:{made.port}" if host is None else host
    found = made._door.refused(request(uri, name, **more))
    return None if found is None else found[0]


def test_the_token_opens_the_page_the_websocket_and_the_files(made):
    own = f"http://127.0.0.1:{made.port}"
    for path in ("/", "/portrait.pdf", "/portrait.py", "/metadata", "/autoload.js"):
        assert refused(made, f"{path}?token={made.token}") is None
        for wrong in ("", "?token=", f"?token={made.token[:-1]}", "?token=%ff", "?other=1"):
            assert refused(made, path + wrong) == 403
        assert refused(made, f"{path}?token={made.token}&token={made.token}") == 403
    upgrade = {"Upgrade": "websocket", "Origin": own}
    assert refused(made, f"/ws?token={made.token}", **upgrade) is None
    assert refused(made, "/ws?token=x", **upgrade) == 403
    assert refused(made, "/ws", **upgrade) == 403
    assert len(made.token) >= 43  # 32 bytes


def test_another_host_is_refused_whatever_it_knows(made):
    uri = f"/?token={made.token}"
    for host in ("evil.example", f"evil.example:{made.port}", "127.0.0.1", "127.0.0.1:1", ""):
        assert refused(made, uri, host) == 403
    assert refused(made, uri, f"localhost:{made.port}") is None
    for origin in (ANOTHER, "null", f"https://127.0.0.1:{made.port}", "http://127.0.0.1:1"):
        assert refused(made, uri, Origin=origin) == 403
        upgrade = {"Upgrade": "websocket", "Origin": origin}
        assert refused(made, f"/ws?token={made.token}", **upgrade) == 403
    assert refused(made, f"/ws?token={made.token}", Upgrade="websocket") == 403  # no origin


def test_other_methods_and_long_addresses_are_refused(made):
    assert refused(made, f"/?token={made.token}", method="POST") == 405
    assert refused(made, f"/?token={made.token}&loss={'x' * 50_000}") == 414


def test_a_link_is_checked_at_the_door(made):
    assert refused(made, f"/?token={made.token}&rho=-1") == 400
    assert refused(made, f"/?token={made.token}&loss=__import__") == 400
    assert refused(made, f"/?token={made.token}&rho=0.1") is None


def test_pages_are_limited(made, monkeypatch):
    monkeypatch.setattr(made._door, "get_sessions", lambda path: [None] * door.MOST_SESSIONS)
    assert refused(made, f"/?token={made.token}") == 503
    assert refused(made, f"/portrait.py?token={made.token}") is None


def test_over_the_network():
    """The server listens on 127.0.0.1 alone, answers with its code, and says why it refuses."""

    async def visit():
        explorer = server.Explorer(State())
        sockets = explorer._server._http._sockets.values()
        assert [each.getsockname() for each in sockets] == [("127.0.0.1", explorer.port)]
        client = AsyncHTTPClient()

        async def get(path, **headers):
            base = f"http://127.0.0.1:{explorer.port}"
            return await client.fetch(HTTPRequest(base + path, headers=headers), raise_error=False)

        state = State(loss="x**2 + y**2", rho=0.25)
        own = f"token={explorer.token}"
        found = await get(f"/portrait.py?{own}&{state.query()}")
        assert found.code == 200
        assert b"sf.loss('x**2 + y**2')" in found.body
        assert "attachment" in found.headers["Content-Disposition"]
        wrong = await get("/?token=wrong")
        assert (wrong.code, b"token" in wrong.body) == (403, True)
        bad = await get(f"/?{own}&loss=<script>alert(1)</script>")
        assert bad.code == 400
        assert bad.headers["Content-Type"].startswith("text/plain")
        script = await get("/static/js/bokeh.min.js")  # of Bokeh's own handlers
        assert script.code == 200
        for each in (found, wrong, bad, script):
            assert each.headers["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors 'none'" in each.headers["Content-Security-Policy"]
        stranger = await get(f"/?{own}", Host="evil.example")
        assert stranger.code == 403
        for headers, query in (
            ({"Origin": ANOTHER}, own),
            ({"Origin": f"http://127.0.0.1:{explorer.port}"}, "token=wrong"),
        ):
            url = f"ws://127.0.0.1:{explorer.port}/ws?{query}"
            with pytest.raises(Exception, match="403"):
                await websocket_connect(HTTPRequest(url, headers=headers))
        client.close()
        explorer.close()

    asyncio.run(visit())


def test_a_port_that_is_taken_is_said():
    async def twice():
        first = server.Explorer(State())
        try:
            with pytest.raises(ArgumentError, match="free"):
                server.Explorer(State(), port=first.port)
        finally:
            first.close()

    asyncio.run(twice())


def test_a_link_of_an_earlier_run_gives_its_state():
    state = State(rho=0.25, starts=((1.0, 2.0),))
    link = f"http://127.0.0.1:1234/?token=old&{state.query()}"
    assert server.state_of_link(link) == state
    assert server.state_of_link("http://127.0.0.1:1234/?token=old") == State()
    with pytest.raises(ArgumentError, match="`rho`"):
        server.state_of_link("http://127.0.0.1:1234/?rho=-1")


def test_what_the_page_loads_is_on_this_server():
    """No address of another host is in what the page is made of."""
    folder = Path(door.__file__).parent
    for path in (*folder.glob("*.py"), *folder.glob("*.html")):
        text = path.read_text()
        assert "https://" not in text
        assert json.dumps(text).count("http://") == text.count("http://{ADDRESS}")
