"""The explorer in a notebook: what a cell shows, who may frame it, and that it ends."""

import functools
import http.server
import re
import socket
import threading
import urllib.error
import urllib.request
from html import unescape
from urllib.parse import urlsplit

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from benchmarks import browser
from samflow._checks import ArgumentError
from samflow.explorer import notebook, server
from samflow.explorer.server import Explorer, state_of_link
from samflow.explorer.state import State
from tests.explorer.test_browser import with_browser


@pytest.fixture
def view(monkeypatch):
    """A page of a server that computes nothing before a browser asks."""
    monkeypatch.setattr(Explorer, "prepare", lambda self: None)
    made = sf.explore("x**2 - y**2", rule="SAM", rho=np.float64(0.3), starts=jnp.array([[0.5, 1]]))
    yield made
    made.close()


def get(url, **headers):
    asked = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_a_cell_shows_the_page_of_what_was_asked(view):
    html = view._repr_html_()
    (source,) = re.findall(r'<iframe src="([^"]*)"', html)
    assert unescape(source) == view.url
    assert re.findall(r'<a href="([^"]*)"', html) == [source]
    assert "<script" not in html
    assert urlsplit(view.url).hostname == "127.0.0.1"
    shown = State(loss="x**2 - y**2", rule="sam", rho=0.3, starts=((0.5, 1.0),))
    assert state_of_link(view.url) == shown
    status, _, page = get(view.url)
    assert (status, "samflow explorer" in page) == (200, True)
    assert repr(view).endswith(view.url)


def test_pages_of_this_machine_may_frame_it_and_only_who_has_the_token_gets_it(view):
    _, headers, _ = get(view.url)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"].split() == ["127.0.0.1:*", "localhost:*"]
    assert policy["default-src"].startswith("'self'")
    bare = view.url.partition("?")[0]
    for url in (bare, f"{bare}?token=wrong", view.url.replace("token=", "token=x")):
        assert get(url)[0] == 403
    assert get(view.url, Host="evil.example")[0] == 403
    assert get(view.url, Origin="http://evil.example")[0] == 403


def test_one_server_for_all_cells_and_closing_frees_its_port(view):
    again = sf.explore(link=view.url, rho=0.5)
    assert urlsplit(again.url).port == urlsplit(view.url).port
    assert state_of_link(again.url) == state_of_link(view.url).changed(rho=0.5)
    port = urlsplit(view.url).port
    again.close()
    again.close()  # nothing more to do
    with pytest.raises(urllib.error.URLError):
        get(view.url)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
    assert "<iframe" not in view._repr_html_() + again._repr_html_()
    assert view.url not in repr(view)
    anew = sf.explore()
    assert get(anew.url)[0] == 200
    assert urlsplit(anew.url).query != urlsplit(view.url).query  # another token
    anew.close()


def test_the_title_is_text():
    """A formula that is none never comes so far; a name with signs of HTML is shown as text."""

    class Serving:
        runs = True
        explorer = type("E", (), {"link": staticmethod(lambda state: 'http://h/?a="b"&c')})

    state = type("S", (), {"loss": 'x < y"><script>', "rule": "sam"})
    html = notebook.Exploration(Serving(), state)._repr_html_()
    assert "<script>" not in html
    assert 'src="http://h/?a=&quot;b&quot;&amp;c"' in html


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sf.explore("beale", roh=0.1), "Did you mean rho"),
        (lambda: sf.explore("beale", rule="samm"), "samm"),
        (lambda: sf.explore("beale", rho=-1.0), "`rho`"),
        (lambda: sf.explore("__import__"), "__import__"),
        (lambda: sf.explore(sf.losses.beale()), "`loss` must be text"),  # pyright: ignore
        (lambda: sf.explore("beale", rule=sf.SAM(rho=0.1)), "`rule` must be text"),
        (lambda: sf.explore(link="http://127.0.0.1:1/?rho=-1"), "`rho`"),
    ],
)
def test_what_is_wrong_is_said_before_a_server_is_there(call, said):
    with pytest.raises(ArgumentError, match=re.escape(said)):
        call()
    assert notebook._serving is None or not notebook._serving.runs


def test_a_server_that_cannot_begin_says_why(monkeypatch):
    def full(port):
        raise ArgumentError("Argument `port` must be free.")

    monkeypatch.setattr(server, "_listening", full)
    with pytest.raises(ArgumentError, match="free"):
        sf.explore()


@with_browser
def test_the_frame_of_a_page_of_this_machine_shows_the_portrait(tmp_path):
    """In Chromium: framed by 127.0.0.1 it is drawn and proved, framed by a file it is refused."""
    view = sf.explore("x**2/2 - y**2/2 + y**4/4", rho=0.5, lr=0.1)
    (tmp_path / "index.html").write_text(view._repr_html_())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    made = functools.partial(Handler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), made) as notebooks:
        threading.Thread(target=notebooks.serve_forever, daemon=True).start()
        with browser.opened() as chromium:
            tab = chromium.new_page(viewport={"width": 1000, "height": 1000})
            tab.goto(f"http://127.0.0.1:{notebooks.server_port}/")
            frame = tab.frame_locator("iframe")
            frame.get_by_text("3 fixed points (all, proved)").wait_for(timeout=120_000)
            tab.goto((tmp_path / "index.html").as_uri())
            tab.wait_for_timeout(2_000)
            assert frame.get_by_text("samflow explorer").count() == 0
        notebooks.shutdown()
    view.close()


@pytest.mark.slow  # a kernel
def test_a_kernel_shows_records_figures_and_the_explorer():
    nbformat = pytest.importorskip("nbformat", reason="not installed: pip install '.[docs]'")
    client = pytest.importorskip("nbclient", reason="not installed: pip install '.[docs]'")
    cells = (
        'import jax; jax.config.update("jax_enable_x64", True); import samflow as sf',
        'system = sf.Map(sf.loss("x**2 - y**2"), sf.USAM(rho=1.0), lr=0.1)',
        "sf.find_fixed_points(system, (-1, 1))",
        "sf.plots.new_figure()",
        'page = sf.explore("x**2 - y**2")\npage',
        "page.close()\npage",
    )
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(made, timeout=300, kernel_name="python3").execute()
    shown = [[each.get("data", {}) for each in cell["outputs"]] for cell in made.cells]
    assert shown[:2] == [[], []]
    assert "1 fixed point" in shown[2][0]["text/html"]
    assert shown[3][0]["image/png"]
    assert '<iframe src="http://127.0.0.1:' in shown[4][0]["text/html"]
    assert "was closed" in shown[5][0]["text/html"]
