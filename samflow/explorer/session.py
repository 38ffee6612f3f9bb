"""One page: what is done on it changes a state, and what the state shows is computed and drawn.

Orbits and motion are drawn at once, in this process. Proofs, charts, basins and curves come from
processes of their own, one piece after the other; until they come, what is shown of them is pale
and says that it is of other values.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from bokeh.document import Document
from bokeh.events import Pan, PanEnd, PanStart, Tap

from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.explorer import quick, slow, texts
from samflow.explorer.panels import SIDE
from samflow.explorer.quick import Quick
from samflow.explorer.state import LAYERS, State, default_box, number
from samflow.explorer.view import Page
from samflow.explorer.workers import Stopped, Worker

_SOON = 4
"""Milliseconds after a change until it is drawn: what comes in between is drawn with it."""
_QUIET = 300
"""Milliseconds without a change until long work begins, and the link is written."""
_NEAR = 14
"""Pixels from a start within which it is taken hold of."""
_FRAME = 60
"""Milliseconds between the pictures of orbits that run."""
_FASTER = 1.06
"""The number of steps drawn grows by this factor from one picture to the next."""
_LIMITS = {"landscape": 30.0, "points": 30.0, "chart": 60.0, "basins": 120.0, "curves": 180.0}
"""Seconds that a piece of work may take."""

_ready: set[tuple[str, str, bool]] = set()
"""What programs are compiled for, see `quick.program`."""
_compiling = ThreadPoolExecutor(1, thread_name_prefix="samflow-compile")


def compiling(state: State) -> "Future[None]":
    """Compile the programs of a state in another thread, unless that was done."""

    def compile_once() -> None:
        if quick.program(state) not in _ready:
            quick.warm(state)
            _ready.add(quick.program(state))

    return _compiling.submit(compile_once)


class Workers(NamedTuple):
    """Processes for proofs, for charts and basins, and for curves and files."""

    proofs: Worker
    regions: Worker
    curves: Worker

    def close(self) -> None:
        """End all of them."""
        for worker in self:
            worker.close()


class _Job:
    """One kind of long work: what is wanted, what is shown, and whether it is under way."""

    def __init__(self, function: Callable[[State], Any], worker: Worker, *, quiet: bool) -> None:
        self.function, self.worker, self.quiet = function, worker, quiet
        self.shown: Any = None
        self.value: Any = None
        self.failure = ""
        self.running = False


class Session:
    """A page with its state."""

    def __init__(self, document: Document, state: State, workers: Workers, token: str = "") -> None:
        self.document, self.state = document, state
        self._token = token
        self.page = Page(state)
        self.jobs = {
            "landscape": _Job(slow.landscape, workers.regions, quiet=False),
            "points": _Job(slow.fixed_points, workers.proofs, quiet=False),
            "chart": _Job(slow.chart, workers.regions, quiet=True),
            "basins": _Job(slow.basins, workers.regions, quiet=True),
            "curves": _Job(slow.curves, workers.curves, quiet=True),
        }
        self.now: Quick | None = None
        self._drawn = state
        """The last state whose loss and rule could be computed."""
        self._levels: Any = None
        self._pending = self._setting = self._closed = False
        self._timer: Any = None
        self._runner: Any = None
        self._grip: Any = None
        self._connect()
        document.add_root(self.page.root)
        document.title = "samflow explorer"
        document.on_session_destroyed(self._close)
        self._soon()

    # What a person does.

    def change(self, **fields: Any) -> bool:
        """Take other values, or say on the page why they are refused."""
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

    def _connect(self) -> None:
        page, plot = self.page, self.page.portrait.plot

        def on(model: Any, change: Callable[[Any], Any], attribute: str = "value") -> None:
            def changed(attr: str, old: Any, new: Any) -> None:
                if not self._setting:
                    change(new)

            model.on_change(attribute, changed)

        on(page.loss, lambda text: self.change(loss=text.strip()))
        on(page.rule, lambda name: self.change(rule=name))
        on(page.length, lambda text: self.change(length=int(text), steps=-1))
        on(page.point, self._choose_point)
        on(
            page.layers,
            lambda active: self.change(layers=tuple(LAYERS[i] for i in active)),
            "active",
        )
        for name in page.sliders:
            on(page.sliders[name], lambda value, name=name: self.change(**{name: float(value)}))
            on(page.fields[name], lambda text, name=name: self._type(name, text))
        on(plot.x_range, lambda value: self._zoom(), "start")
        on(plot.x_range, lambda value: self._zoom(), "end")
        on(plot.y_range, lambda value: self._zoom(), "start")
        on(plot.y_range, lambda value: self._zoom(), "end")
        actions = {
            "step": self.step,
            "run": self.run,
            "reset": self.reset,
            "clear": lambda: self.change(starts=(), steps=-1),
            "home": lambda: self.change(box=default_box(self.state.system().loss)),
        }
        for name, act in actions.items():
            page.buttons[name].on_click(act)
        plot.on_event(Tap, self._tap)
        plot.on_event(PanStart, self._take)
        plot.on_event(Pan, self._drag)
        plot.on_event(PanEnd, self._release)
        for event in (Tap, PanStart, Pan):
            page.chart.plot.on_event(event, self._move_cross)

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

    def _choose_layers(self, active: list[int]) -> None:
        self.change(layers=tuple(LAYERS[i] for i in active))

    def _choose_point(self, text: str) -> None:
        x, _, y = text.partition(",")
        self.change(point=(float(x), float(y)))

    def _zoom(self) -> None:
        x, y = self.page.portrait.plot.x_range, self.page.portrait.plot.y_range
        self.change(box=((x.start, x.end), (y.start, y.end)))

    def _tap(self, event: Any) -> None:
        self.change(starts=(*self.state.starts, (event.x, event.y)))

    def _take(self, event: Any) -> None:
        """Take hold of a start, or of the whole view."""
        self._grip = None, (event.sx, event.sy), self.state.box
        starts = np.array(self.state.starts).reshape(-1, 2)
        away = np.linalg.norm((starts - (event.x, event.y)) / self._pixel, axis=1)
        if len(away) and away.min() <= _NEAR:
            self._grip = int(away.argmin()), (event.sx, event.sy), self.state.box

    def _drag(self, event: Any) -> None:
        if self._grip is None:
            return
        held, (sx, sy), ((left, right), (bottom, top)) = self._grip
        if held is None:  # on the screen, since the view moves under the pointer; y points down
            across, up = (sx - event.sx, event.sy - sy) * self._pixel
            self.change(box=((left + across, right + across), (bottom + up, top + up)))
        elif held < len(self.state.starts):
            starts = [*self.state.starts]
            starts[held] = (event.x, event.y)
            self.change(starts=tuple(starts))

    @property
    def _pixel(self) -> np.ndarray:
        """How wide and how high a pixel of the portrait is."""
        return np.ptp(np.array(self.state.box), axis=1) / SIDE

    def _release(self, event: Any) -> None:
        self._grip = None

    def _move_cross(self, event: Any) -> None:
        state = self.state
        if state.rho_max is None or state.lr_max is None or not self._has_chart():
            return
        rho = min(max(event.x, 0.0), state.rho_max)
        lr = min(max(event.y, state.lr_max / slow.CELLS), state.lr_max)
        self.change(rho=float(f"{rho:.5g}"), lr=float(f"{lr:.5g}"))

    def step(self) -> None:
        """Draw one step more, from the starts on where all are drawn."""
        every = self.state.length // quick.KEPT
        steps = 0 if self.state.steps < 0 else self.state.steps
        self._draw_steps(min(steps + every, self.state.length))

    def run(self) -> None:
        """Let the orbits grow from where they are, or stop them."""
        if self._runner is not None:
            self._halt()
            return
        if self.state.steps in (-1, self.state.length):
            self._draw_steps(0)
        self.page.buttons["run"].label = "Pause"
        self._runner = self.document.add_periodic_callback(self._grow, _FRAME)

    def reset(self) -> None:
        """Draw the starts alone."""
        self._halt()
        self._draw_steps(0)

    def _grow(self) -> None:
        every = self.state.length // quick.KEPT
        steps = max(self.state.steps, 0)
        self._draw_steps(min(int(max(steps + every, steps * _FASTER)), self.state.length))
        if self.state.steps == self.state.length or not self.state.starts:
            self._halt()

    def _halt(self) -> None:
        if self._runner is not None:
            self.document.remove_periodic_callback(self._runner)
            self._runner = None
            self.page.buttons["run"].label = "Run"

    def _draw_steps(self, steps: int) -> None:
        """Show another part of orbits that are known."""
        self.change(steps=steps)

    def _close(self, context: Any) -> None:
        self._closed = True

    # What is drawn at once.

    def _soon(self) -> None:
        if not self._pending:
            self._pending = True
            self.document.add_timeout_callback(self._draw, _SOON)

    def _draw(self) -> None:
        self._pending = False
        state = self.state
        if quick.program(state) not in _ready:
            self._compile(state)
            return
        try:
            self.now = quick.quick(state)
        except ArgumentError as error:
            self.page.say_error(str(error))
            return
        self._drawn = state
        self._show_quick(state, self.now)
        self._show_cross()
        self._ask()
        self._when_quiet()

    def _compile(self, state: State) -> None:
        self.page.say("title", texts.COMPILING)

        def compiled(future: Future[None]) -> None:
            error = future.exception()
            if error is not None and quick.program(self.state) == quick.program(state):
                self.page.say_error(str(error))
                if quick.program(self._drawn) not in _ready:
                    self.page.say("title", "")
                    return
                self.state = self._drawn
            self._soon()

        future = compiling(state)
        future.add_done_callback(lambda future: self._in_document(lambda: compiled(future)))
        if not state.momentum:  # before the slider asks for it
            compiling(state.changed(momentum=0.5))

    def _in_document(self, act: Callable[[], None]) -> None:
        """Do something later on, in the thread of the page; nothing after it was closed."""
        if not self._closed:
            self.document.add_next_tick_callback(act)

    def _show_quick(self, state: State, found: Quick) -> None:
        page, portrait = self.page, self.page.portrait
        self._set(lambda: (page.set_inputs(state), portrait.set_frame(state)))
        page.say("title", texts.title(state))
        portrait.show_arrows(found.arrows, state)
        for name, lines in zip(("first", "second"), found.nullclines, strict=True):
            portrait.show_lines(name, lines)
        portrait.show_orbits(found.orbits.shown(state.steps), state.starts)
        drawn = "All" if state.steps < 0 else f"{state.steps:,} of"
        note = f"{drawn} {state.length:,} steps are drawn"
        page.say("runs", texts.runs(found.orbits.said, state.starts, note))
        self._show_levels(state, found)
        self._show_legend()

    def _set(self, act: Callable[[], Any]) -> None:
        """Change what is on the page, without taking that for what a person does."""
        self._setting = True
        try:
            act()
        finally:
            self._setting = False

    def _show_levels(self, state: State, found: Quick) -> None:
        key = (state.loss, state.box, "levels" in state.layers)
        if key != self._levels:
            self._levels = key
            wanted = quick.level_lines(state, found.field) if key[-1] else []
            self.page.portrait.show_lines("levels", wanted)

    def _show_legend(self) -> None:
        points, regions, curves = (self.jobs[name] for name in ("points", "basins", "curves"))
        shown = regions.value if "basins" in self.state.layers else None
        left_out = 0 if curves.value is None else curves.value.left_out
        self.page.say("legend", texts.legend(self.state, points.value, shown, left_out))

    def _when_quiet(self) -> None:
        if self._timer is not None:
            self.document.remove_timeout_callback(self._timer)

        def quiet() -> None:
            self._timer = None
            self._write_link()
            self._ask(quiet=True)

        self._timer = self.document.add_timeout_callback(quiet, _QUIET)

    def _write_link(self) -> None:
        query = self.state.query()
        self.page.link.data = {"query": [query]}
        self.page.say("files", texts.files(f"token={self._token}&{query}"))

    # What takes longer.

    def _key(self, name: str) -> Any:
        """Return what a piece of work depends on; None where it is not wanted."""
        state = self.state
        motion = (state.loss, state.rule, state.rho, state.lr, state.momentum, state.box)
        if name == "landscape":
            return state.loss, state.rule, state.box
        if name == "points":
            return motion
        if name == "basins":
            return motion if "basins" in state.layers else None
        if name == "curves":
            return motion if "manifolds" in state.layers else None
        if state.point is None or state.rho_max is None or not self._has_chart():
            return None
        return state.loss, state.rule, state.momentum, state.point, state.rho_max, state.lr_max

    def _has_chart(self) -> bool:
        return hasattr(self.state.system().rule, "rho")

    def _ask(self, *, quiet: bool = False) -> None:
        """Begin what is wanted and not known; show as pale what is known of other values."""
        for name, job in self.jobs.items():
            key = self._key(name)
            if key != job.shown:
                self._show(name, stale=True)
                if key is not None and not job.running and (quiet or not job.quiet):
                    self._begin(name, job, key)

    def _begin(self, name: str, job: _Job, key: Any) -> None:
        job.running = True
        future = job.worker.submit(job.function, self.state, limit=_LIMITS[name])
        future.add_done_callback(
            lambda future: self._in_document(lambda: self._arrived(name, job, key, future))
        )

    def _arrived(self, name: str, job: _Job, key: Any, future: Future[Any]) -> None:
        job.running = False
        error = future.exception()
        job.shown, job.failure = key, ""
        if error is None:
            job.value = future.result()
        else:
            job.value = None
            known = isinstance(error, ArgumentError | Stopped)
            job.failure = str(error) if known else f"{type(error).__name__}: {error}"
        if name == "landscape" and key == self._key(name):
            self._take_landscape(job.value)
        self._show(name, stale=key != self._key(name))
        self._ask(quiet=self._timer is None)

    def _take_landscape(self, found: slow.Landscape | None) -> None:
        options = texts.points_of_charts(found)
        if found is not None:
            self.state = slow.with_chart_ranges(self.state, found)
        chosen = self.state.point
        value = "" if chosen is None else f"{chosen[0]!r},{chosen[1]!r}"
        if value and value not in [each for each, _ in options]:
            options.append((value, f"({chosen[0]:.4g}, {chosen[1]:.4g})"))  # pyright: ignore

        def show() -> None:
            self.page.set_ranges(self.state)
            self.page.point.update(options=options, value=value)

        self._set(show)
        self._show_cross()
        self._when_quiet()

    def _show(self, name: str, *, stale: bool) -> None:
        job = self.jobs[name]
        show = {
            "points": self._show_points,
            "chart": self._show_chart,
            "basins": self._show_basins,
            "curves": self._show_curves,
        }.get(name)
        if show is not None:
            show(job, stale)
        if name in ("points", "basins", "curves"):
            self._show_legend()

    def _show_points(self, job: _Job, stale: bool) -> None:
        said = texts.fixed_points(job.value, stale=stale, failure=job.failure)
        self.page.say("list", said)
        directions = "directions" in self.state.layers
        self.page.portrait.show_points(job.value, directions=directions, stale=stale)
        self._show_cross()

    def _show_chart(self, job: _Job, stale: bool) -> None:
        found = job.value if self._has_chart() else None
        looks = self.page.chart.show(found, stale=stale)
        self.page.say("chart legend", texts.chart_legend(found, looks))
        self._show_cross()

    def _show_cross(self) -> None:
        """Put the cross where the sliders are, in the colour of what the point is there."""
        state, chart = self.state, self.jobs["chart"]
        if state.point is None or not self._has_chart():
            note = (
                f"A chart is over ρ and η; {state.rule} has no ρ."
                if not self._has_chart()
                else "No isolated critical point in the box, of which a chart could be."
                if self.jobs["landscape"].value is not None
                else "Looking for critical points …"
            )
            self.page.chart.show_cross(state.rho, state.lr, None)
            self.page.say("verdict", texts.verdict(state, "", None, note))
            return
        kind = quick.at_point(state, state.point)
        cells: Any = chart.value if chart.shown == self._key("chart") else None
        word = None if cells is None else cells.word_at(state.rho, state.lr)
        if kind is not None:
            colour, what, note = texts.colour_of(kind), str(kind), self._proof_of(kind)
        elif word is not None:
            colour, what = cells.colours[word], word
            note = "(an orbit from beside the point, in this cell of the chart)"
        else:
            colour, what, note = "#FFFFFF", "…", chart.failure or "computing the chart"
        self.page.chart.show_cross(state.rho, state.lr, colour)
        self.page.say("verdict", texts.verdict(state, what, colour, note))

    def _proof_of(self, kind: Kind) -> str:
        """Say whether the list of fixed points proves what the chart's point is."""
        job = self.jobs["points"]
        if job.value is None or job.shown != self._key("points"):
            return "(by its multipliers; not yet proved)"
        width = np.ptp(np.array(self.state.box), axis=1)
        for w, listed, proved in zip(job.value.w, job.value.kinds, job.value.proved, strict=True):
            near = (np.abs(w - np.array(self.state.point)) < 1e-6 * width).all()
            if near and proved and listed is kind:
                return "(by its multipliers; that it exists is proved)"
        return "(by its multipliers)"

    def _show_basins(self, job: _Job, stale: bool) -> None:
        wanted = "basins" in self.state.layers
        if job.failure and wanted:
            self.page.say_error(job.failure)
        found = job.value if wanted else None
        box = job.shown[-1] if job.shown else None
        self.page.portrait.show_regions(found, box, stale=stale)

    def _show_curves(self, job: _Job, stale: bool) -> None:
        found, wanted = job.value, "manifolds" in self.state.layers
        if job.failure and wanted:
            self.page.say_error(job.failure)
        for name in ("stable", "unstable"):
            drawn = getattr(found, name) if found is not None and wanted else []
            self.page.portrait.show_lines(name, drawn, stale=stale)
