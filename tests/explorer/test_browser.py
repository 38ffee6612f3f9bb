"""The explorer in headless Chromium: what a person does with the mouse, and sees."""

import importlib.util
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from matplotlib.colors import to_rgb

import samflow as sf
from benchmarks import browser
from samflow.explorer import texts
from samflow.explorer.server import state_of_link
from samflow.explorer.slow import fixed_points
from samflow.explorer.state import State

DRIVEN = importlib.util.find_spec("playwright") is not None
NO_BROWSER = "no Chromium is installed: apt-get install chromium"
NO_DRIVER = "playwright is not installed: pip install playwright"
needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.found() is None, reason=NO_BROWSER),
    pytest.mark.skipif(not DRIVEN, reason=NO_DRIVER),
]
BELOW, ABOVE = 0.0355, 0.0366
"""Of 4/111 = 0.036036, from where on USAM is attracted by Beale's saddle (0, 1)."""


def with_browser(test):
    for mark in needs_browser:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def link():
    """The link of a server of Beale's function under USAM."""
    with browser.served("--loss", "beale", "--rho", str(ABOVE)) as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium():
    """A browser for all tests here."""
    with browser.opened() as made:
        yield made


@pytest.fixture
def tab(chromium):
    """An empty page of it, in which no script may fail."""
    failures = []
    made = chromium.new_page(viewport={"width": 1366, "height": 900})
    made.on("pageerror", lambda error: failures.append(str(error)))
    made.on("dialog", lambda dialog: failures.append(dialog.message))
    yield made
    made.close()
    assert failures == []


def test_the_list_says_of_both_sides_what_is_proved():
    """The quick relative of the tests below: what they read on the page."""
    for rho, kind in ((BELOW, "saddle"), (ABOVE, "attracting")):
        html = texts.fixed_points(fixed_points(State(rho=rho)), stale=False)
        row = next(row for row in html.split("<tr>") if "(0, 1)" in row)
        assert f"<td>{kind}</td>" in row
        assert "✓ proved" in row
    assert "✓ proved" not in texts.fixed_points(fixed_points(State(rho=ABOVE)), stale=True)
    hostile = "<img src=x onerror=alert(1)>"
    assert "<img" not in texts.fixed_points(None, stale=False, failure=hostile)


@with_browser
def test_rho_is_dragged_across_4_111_and_the_mark_changes(link, tab):
    page = browser.Page(tab, link)
    page.settle()
    assert page.mark(0, 1) == ("attracting", 1)
    page.drag("chart", (ABOVE, 0.01), (0.02, 0.01))  # farther than a mouse trembles
    page.when("text('verdict').includes('saddle')")
    page.settle()
    assert page.mark(0, 1) == ("saddle", 1)
    for rho, kind in ((BELOW, "saddle"), (ABOVE, "attracting"), (BELOW, "saddle")):
        page.set_slider("rho", rho)
        page.when(f"text('title').includes('rho={rho}')")
        page.settle()
        assert page.mark(0, 1) == (kind, 1)


@with_browser
def test_the_colour_under_the_cross_is_that_of_classify(link, tab):
    page = browser.Page(tab, link)
    page.settle()
    for rho, lr in ((0.01, 0.01), (0.05, 0.01), (0.05, 0.04), (0.15, 0.05)):
        page.click("chart", rho, lr)
        page.when(f"Math.abs(data('cross').x[0] - {rho}) < 1e-3")
        cross, cells = page.data("cross"), page.data("cells")
        rho, lr = cross["x"][0], cross["y"][0]
        system = sf.Map(sf.losses.beale(), sf.USAM(rho=rho), lr=lr)
        kind = sf.classify(system, [0.0, 1.0]).kind
        assert cross["colour"] == [texts.colour_of(kind)]
        column = int((rho - cells["x"][0]) / cells["dw"][0] * 60)
        row = int((lr - cells["y"][0]) / cells["dh"][0] * 60)
        flat = cells["image"][0]
        pixel = flat[row][column] if isinstance(flat[0], list) else flat[60 * row + column]
        shown = [(pixel >> shift & 255) / 255 for shift in (0, 8, 16)]
        assert shown == pytest.approx(to_rgb(texts.colour_of(kind)), abs=1 / 255)


@with_browser
def test_a_click_adds_an_orbit_and_a_drag_moves_its_start(link, tab):
    page = browser.Page(tab, link)
    page.settle()
    assert page.data("starts")["x"] == []
    page.click("portrait", -1.0, 1.0)
    page.when("data('starts').x.length == 1")
    page.when("text('runs').includes('orbit 1 from (−1, 1)')")
    page.drag("portrait", (-1.0, 1.0), (2.0, 0.5))
    page.when("text('runs').includes('from (2, 0.5)')")
    assert len(page.data("starts")["x"]) == 1
    x = page.data("orbits")["x"]
    assert abs(x[-2] - 3) < 0.1  # near the minimum (3, 0.5), before the gap at the end
    tab.get_by_role("button", name="Reset", exact=True).click()
    page.when("data('orbits').x.filter(x => !isNaN(x)).length == 1")
    tab.get_by_role("button", name="Step").click()
    page.when("data('orbits').x.filter(x => !isNaN(x)).length == 2")
    tab.get_by_role("button", name="Run").click()
    page.when("data('orbits').x.filter(x => !isNaN(x)).length > 20")


@with_browser
def test_the_link_restores_the_state(link, tab, chromium):
    page = browser.Page(tab, link)
    page.settle()
    page.click("portrait", -1.0, 1.0)
    page.set_slider("rho", 0.06)
    tab.get_by_label("nullclines").uncheck()
    page.when("data('starts').x.length == 1 && window.location.search.includes('starts')")
    page.when("/layers=levels%2Cmotion%2Cdirections&/.test(window.location.search)")
    page.when("window.location.search.includes('rho=0.06&')")
    state = state_of_link(tab.url)
    assert state.rho == 0.06
    assert "nullclines" not in state.layers
    again = chromium.new_page()
    other = browser.Page(again, tab.url)
    other.settle()
    assert other.data("starts") == page.data("starts")
    assert other.mark(0, 1) == ("attracting", 1)
    assert state_of_link(again.url) == state
    again.close()


@with_browser
def test_a_hostile_formula_does_nothing(link, tab, tmp_path):
    page = browser.Page(tab, link)
    page.settle()
    target = tmp_path / "made"
    field = tab.get_by_label("Loss: a name, or a formula")
    for formula in (
        f"__import__('pathlib').Path('{target}').touch()",
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "x**9**9**9**9",
        "exp(exp(exp(99)))*x + y",
    ):
        field.fill(formula)
        field.press("Enter")
        page.when("text('error').length > 10")
        assert tab.locator("img[src=x]").count() == 0
        field.fill("beale")
        field.press("Enter")
        page.when("text('error') == ''")
    assert not target.exists()
    assert page.mark(0, 1) == ("attracting", 1)
    field.fill("x**2/2 - y**2/2 + y**4/4")
    field.press("Enter")
    page.when("text('title').includes('y**4/4')")
    page.settle()
    assert page.mark(0, -1) == ("attracting", 1)


@with_browser
def test_a_flow_of_a_formula_changes_its_mark_and_a_wrong_one_is_said(link, tab):
    """The flow of USAM, typed as a formula: its saddle attracts from 1/27.75 = 4/111 on, too."""
    page = browser.Page(tab, link)
    page.settle()
    tab.get_by_role("button", name="Flow", exact=True).click()
    field = tab.get_by_label("or its formula in w and g")
    field.fill("g(w + rho)")
    field.press("Enter")
    page.when("text('error').includes('have no sum')")
    field.fill("g(w + rho*g)")
    field.press("Enter")
    page.when("text('error') == '' && text('title').includes('flow of g(w + rho*g)')")
    proved = "data('marks').alpha.length > 4 && data('marks').alpha.every(each => each == 1)"
    for rho, kind in ((ABOVE, "attracting"), (BELOW, "saddle")):
        page.set_slider("rho", rho)
        page.when(f"text('title').includes('rho={rho}')")
        page.when(f"!text('list').includes('not yet') && {proved}")
        assert page.mark(0, 1) == (kind, 1)
    page.click("portrait", -1.0, 1.0)
    page.when("data('orbits').x.length > 1000")
    assert tab.get_by_text("η, step size").is_hidden()
    page.when("window.location.search.includes('flow=1')")
    state = state_of_link(tab.url)
    assert (state.flow, state.rule) == (True, "g(w + rho*g)")


@with_browser
def test_another_host_and_a_wrong_token_are_refused(link, tab, chromium):
    port = urlsplit(link).port
    assert tab.goto(link[:-1]).status == 403
    assert tab.goto(f"http://127.0.0.1:{port}/").status == 403
    assert tab.goto(link.replace("127.0.0.1", "localhost")).status == 200
    # A page of another name that points to this machine: Chromium resolves *.localhost to it.
    stranger = link.replace("127.0.0.1", "evil.localhost")
    assert tab.goto(stranger).status == 403
    own = link.replace("http:", "ws:").replace("/?", "/ws?")
    refused = tab.evaluate(
        "url => new Promise(done => { const s = new WebSocket(url, ['bokeh', 'x']);"
        "s.onopen = () => done('open'); s.onerror = () => done('refused') })",
        own,
    )
    assert refused == "refused"


@with_browser
def test_the_picture_and_its_code_are_saved(link, tab, tmp_path):
    page = browser.Page(tab, link)
    page.settle()
    page.when("text('files').includes('PDF')")
    for name, begin in (("Save PDF", b"%PDF"), ("Save Python code", b"import jax")):
        with tab.expect_download(timeout=120_000) as download:
            tab.get_by_role("link", name=name).click()
        assert Path(download.value.path()).read_bytes().startswith(begin)


@with_browser
def test_orbits_answer_a_slider_within_a_second(link, tab):
    """A loose bound, for machines that do other work; benchmarks/explorer.py measures."""
    page = browser.Page(tab, link)
    page.settle()
    page.click("portrait", -1.0, 1.0)
    page.when("data('starts').x.length == 1")
    before = page.data("orbits")["x"]
    began = time.monotonic()
    page.set_slider("rho", 0.08)
    page.when(f"data('orbits').x[2] != {before[2]!r}", seconds=20)
    assert time.monotonic() - began < 20
