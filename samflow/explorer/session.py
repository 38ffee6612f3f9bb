"""One page: what is done on it changes a state, and what the state shows is computed and drawn.

Orbits and motion are drawn at once, in this process. Proofs, charts, basins and curves come from
processes of their own; until they come, what is shown of them is pale and said to be of other
values.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bokeh.document import Document
from bokeh.events import DocumentReady

from samflow._checks import ArgumentError
from samflow._text import is_formula
from samflow.explorer import quick, results, slow, texts
from samflow.explorer.compiled import compiling, is_compiled, program
from samflow.explorer.hands import Mouse, Runner
from samflow.explorer.jobs import Jobs, Workers
from samflow.explorer.quick import Quick
from samflow.explorer.state import LAYERS, State, default_box, number
from samflow.explorer.view import BY_FORMULA, EXAMPLE, Page

_SOON = 4
"""Milliseconds after a change until it is drawn: what comes in between is drawn with it."""
_QUIET = 300
"""Milliseconds without a change until long work begins, and the link is written."""


class Session:
    """A page with its state."""

    def __init__(self, document: Document, state: State, workers: Workers, token: str = "") -> None:
        """Put the page into a document, and begin to compute what it shows.

        Args:
            document: of Bokeh.
            state: what the page shows at first.
            workers: the processes for what takes long.
            token: of the server, for links to files.

        """
        self.document, self.state = document, state
        self._token = token
        self.page = Page(state)
        self.jobs = Jobs(workers, lambda: self.state, self._later, self._arrived)
        self.mouse = Mouse(self.page, lambda: self.state, self.change)
        self.runner = Runner(document, self.page, lambda: self.state, self.change)
        self._drawn = state
        """The last state whose loss and rule could be computed."""
        self._levels: Any = None
        """What the level sets are of that are drawn."""
        self._pending = self._setting = self._closed = False
        self._timer: Any = None
        self._connect()
        document.add_root(self.page.root)
        document.title = "samflow explorer"
        document.on_session_destroyed(self._close)
        # Before they are on the screen, sliders of Bokeh take no other values.
        document.on_event(DocumentReady, lambda event: self._soon())

    def change(self, **fields: Any) -> None:
        """Take other values, or say on the page why they are refused."""
        self._taken(**fields)

    def _taken(self, **fields: Any) -> bool:
        """Take other values, and say whether they were taken."""
        try:
            state = self.state.changed(**fields)
        except ArgumentError as error:
            self.page.say_error(str(error))
            return False
        self.page.say_error("")
        if state != self.state:
            self.state = state
            self._soon()
        return True

    def _choose(self, **fields: Any) -> None:
        """Take a choice; where it is refused show the one before, which still holds."""
        if not self._taken(**fields):
            self._set(lambda: self.page.set_inputs(self.state))

    # What a person does, besides the mouse in the figures and the steps of orbits.

    def _connect(self) -> None:
        page, plot = self.page, self.page.portrait.plot
        self._on(page.loss, lambda text: self.change(loss=text.strip()))
        self._on(page.rule, self._choose_rule)
        self._on(page.formula, self._type_rule)
        self._on(page.motion, lambda active: self._choose(flow=active == 1), "active")
        self._on(page.length, lambda text: self.change(length=float(text), steps=-1))
        self._on(page.point, self._choose_point)
        self._on(page.layers, self._choose_layers, "active")
        for name in page.sliders:
            self._on(page.sliders[name], lambda to, name=name: self.change(**{name: float(to)}))
            self._on(page.fields[name], lambda text, name=name: self._type(name, text))
        for side in (plot.x_range, plot.y_range):
            for end in ("start", "end"):
                self._on(side, lambda value: self._zoom(), end)
        page.buttons["clear"].on_click(lambda: self.change(starts=(), steps=-1))
        page.buttons["home"].on_click(self._reset_view)

    def _on(self, model: Any, act: Callable[[Any], Any], attribute: str = "value") -> None:
        """Do something where a person changes a value, and not where this class does."""

        def changed(attr: str, old: Any, new: Any) -> None:
            if not self._setting:
                act(new)

        model.on_change(attribute, changed)

    def _type(self, name: str, text: str) -> None:
        try:
            value = number(name, text)
        except ArgumentError as error:
            self.page.say_error(str(error))
            return
        fields: dict[str, Any] = {name: value}
        end = getattr(self.state, f"{name}_max", None)
        if end is not None and value > end:
            fields[f"{name}_max"] = slow.nice(1.2 * value)
        self.change(**fields)
        self._set(lambda: self.page.set_ranges(self.state))

    def _choose_rule(self, name: str) -> None:
        if name != BY_FORMULA:
            self._choose(rule=name)
        elif not is_formula(self.state.rule):
            self.change(rule=EXAMPLE)

    def _type_rule(self, text: str) -> None:
        if text.strip():
            self.change(rule=text.strip())
        else:
            self._set(lambda: self.page.set_inputs(self.state))

    def _choose_layers(self, active: list[int]) -> None:
        self.change(layers=tuple(LAYERS[i] for i in active))

    def _choose_point(self, text: str) -> None:
        x, _, y = text.partition(",")
        self.change(point=(float(x), float(y)))

    def _zoom(self) -> None:
        x, y = self.page.portrait.plot.x_range, self.page.portrait.plot.y_range
        self.change(box=((x.start, x.end), (y.start, y.end)))

    def _reset_view(self) -> None:
        self.change(box=default_box(self.state.system().loss))

    # What is drawn at once.

    def _soon(self) -> None:
        if not self._pending:
            self._pending = True
            self.document.add_timeout_callback(self._draw, _SOON)

    def _draw(self) -> None:
        self._pending = False
        state = self.state
        if not is_compiled(state):
            self._compile(state)
            return
        try:
            found = quick.quick(state)
        except Exception as error:  # whatever it is, a person must see it and not an old picture
            known = isinstance(error, ArgumentError)
            self.page.say_error(str(error) if known else f"{type(error).__name__}: {error}")
            return
        self._drawn = state
        self._work(quiet=False)  # first, so that no mark of other values is taken for one of these
        self._show(state, found)
        self._when_quiet()

    def _compile(self, state: State) -> None:
        self.page.say("title", texts.COMPILING)

        def compiled(future: "Future[None]") -> None:
            error = future.exception()
            if error is not None and program(self.state) == program(state):
                self.page.say_error(str(error))
                if not is_compiled(self._drawn):
                    self.page.say("title", "")
                    return
                self.state = self._drawn
            self._soon()

        compiling(state).add_done_callback(lambda future: self._later(lambda: compiled(future)))
        if not state.momentum and not state.flow:  # before the slider asks for it
            compiling(state.changed(momentum=0.5))

    def _show(self, state: State, found: Quick) -> None:
        """Draw what moves first, and then what says what it is."""
        page, portrait = self.page, self.page.portrait
        portrait.show_orbits(found.orbits.shown(state.steps), state.starts)
        results.show_cross(page, state, self.jobs)
        self._set(lambda: (page.set_inputs(state), portrait.set_frame(state)))
        portrait.show_arrows(found.arrows, state)
        for name, lines in zip(("first", "second"), found.nullclines, strict=True):
            portrait.show_lines(name, lines)
        levels = state.loss, state.box, "levels" in state.layers
        if levels != self._levels:
            self._levels = levels
            portrait.show_lines("levels", quick.level_lines(state, found.field))
        page.say("title", texts.title(state))
        page.say("runs", texts.runs(found.orbits.said, state))
        results.show_legend(page, state, self.jobs)

    def _set(self, act: Callable[[], Any]) -> None:
        """Change what is on the page, without taking that for what a person does."""
        self._setting = True
        try:
            act()
        finally:
            self._setting = False

    def _when_quiet(self) -> None:
        if self._timer is not None:
            self.document.remove_timeout_callback(self._timer)

        def quiet() -> None:
            self._timer = None
            query = self.state.query()
            self.page.link.data = {"query": [query]}
            self.page.say("files", texts.files(f"token={self._token}&{query}"))
            self._work(quiet=True)

        self._timer = self.document.add_timeout_callback(quiet, _QUIET)

    # What takes longer.

    def _work(self, *, quiet: bool) -> None:
        for name in self.jobs.begin(quiet=quiet):
            results.show(name, self.page, self.state, self.jobs)

    def _arrived(self, name: str) -> None:
        if name == "landscape" and self.jobs.fresh(name):
            self._take_landscape(self.jobs[name].value)
        results.show(name, self.page, self.state, self.jobs)
        results.show_legend(self.page, self.state, self.jobs)
        results.show_cross(self.page, self.state, self.jobs)
        self._work(quiet=self._timer is None)

    def _take_landscape(self, found: slow.Landscape | None) -> None:
        """Give the sliders their ends, and the chart a point, unless the state has them."""
        if found is not None:
            self.state = slow.with_chart_ranges(self.state, found)
        options, value = texts.points_of_charts(found, self.state.point)

        def show() -> None:
            self.page.set_ranges(self.state)
            self.page.point.update(options=options, value=value)

        self._set(show)
        self._when_quiet()

    def _later(self, act: Callable[[], None]) -> None:
        """Do something in the thread of the page; nothing after it was closed."""
        if not self._closed:
            self.document.add_next_tick_callback(act)

    def _close(self, context: Any) -> None:
        self._closed = True
