"""The mouse in the portrait and in the chart, and orbits that are drawn step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import DoubleTap, Pan, PanEnd, PanStart, Tap

from samflow.explorer import quick, slow
from samflow.explorer.panels import SIDE
from samflow.explorer.state import State
from samflow.explorer.view import Page

Change = Callable[..., Any]
"""Takes other values of the state, by name."""

_NEAR = 14
"""Pixels from a start within which it is taken hold of."""
_FRAME = 60
"""Milliseconds between the pictures of orbits that run."""
_FASTER = 1.06
"""The number of steps drawn grows by this factor from one picture to the next."""


class Mouse:
    """Clicks launch orbits, drags move a start or the view, and the chart's cross is dragged."""

    def __init__(self, page: Page, state: Callable[[], State], change: Change) -> None:
        self._state, self._change = state, change
        self._grip: Any = None
        plot, chart = page.portrait.plot, page.chart.plot
        acts = {Tap: self.tap, DoubleTap: self.tap_again, PanStart: self.take, Pan: self.drag}
        for event, act in acts.items():
            plot.on_event(event, act)
        plot.on_event(PanEnd, self.release)
        for event in (Tap, DoubleTap, PanStart, Pan):
            chart.on_event(event, self.move_cross)

    def tap(self, event: Any) -> None:
        """Launch an orbit."""
        self._change(starts=(*self._state().starts, (event.x, event.y)))

    def tap_again(self, event: Any) -> None:
        """Launch an orbit by a quick second click, unless it is on the start of the first."""
        if self._near(event) is None:
            self.tap(event)

    def take(self, event: Any) -> None:
        """Take hold of a start, or of the whole view."""
        self._grip = self._near(event), (event.sx, event.sy), self._state().box

    def drag(self, event: Any) -> None:
        """Move what is held."""
        if self._grip is None:
            return
        held, (sx, sy), ((left, right), (bottom, top)) = self._grip
        state = self._state()
        if held is None:  # on the screen, since the view moves under the pointer; y points down
            across, up = (np.array([sx - event.sx, event.sy - sy]) * _pixel(state)).tolist()
            self._change(box=((left + across, right + across), (bottom + up, top + up)))
        elif held < len(state.starts):
            starts = [*state.starts]
            starts[held] = (event.x, event.y)
            self._change(starts=tuple(starts))

    def _near(self, event: Any) -> int | None:
        """Return the number of the start that is under the pointer."""
        state = self._state()
        starts = np.array(state.starts).reshape(-1, 2)
        away = np.linalg.norm((starts - (event.x, event.y)) / _pixel(state), axis=1)
        return int(away.argmin()) if len(away) and away.min() <= _NEAR else None

    def release(self, event: Any) -> None:
        """Let go."""
        self._grip = None

    def move_cross(self, event: Any) -> None:
        """Set rho and lr, within the chart."""
        state = self._state()
        if state.rho_max is None or state.lr_max is None or not state.has_chart:
            return
        rho = min(max(event.x, 0.0), state.rho_max)
        lr = min(max(event.y, state.lr_max / slow.CELLS), state.lr_max)
        self._change(rho=float(f"{rho:.5g}"), lr=float(f"{lr:.5g}"))


class Runner:
    """Step, run, reset: how many steps of the orbits are drawn."""

    def __init__(
        self, document: Document, page: Page, state: Callable[[], State], change: Change
    ) -> None:
        self._document, self._state, self._change = document, state, change
        self._button = page.buttons["run"]
        self._timer: Any = None
        for name, act in (("step", self.step), ("run", self.run), ("reset", self.reset)):
            page.buttons[name].on_click(act)

    @property
    def runs(self) -> bool:
        """Whether the orbits grow."""
        return self._timer is not None

    def step(self) -> None:
        """Draw one step more, from the starts on where all are drawn."""
        self._draw(max(self._state().steps, 0) + self._every)

    def run(self) -> None:
        """Let the orbits grow from where they are, or stop them."""
        if self.runs:
            self._halt()
            return
        if self._state().steps in (-1, self._state().ticks):
            self._draw(0)
        self._button.label = "Pause"
        self._timer = self._document.add_periodic_callback(self.grow, _FRAME)

    def reset(self) -> None:
        """Draw the starts alone."""
        self._halt()
        self._draw(0)

    def grow(self) -> None:
        """Draw some steps more; halt where all are drawn."""
        steps = max(self._state().steps, 0)
        self._draw(int(max(steps + self._every, steps * _FASTER)))
        if self._state().steps == self._state().ticks or not self._state().starts:
            self._halt()

    @property
    def _every(self) -> int:
        return self._state().ticks // quick.KEPT

    def _draw(self, steps: int) -> None:
        self._change(steps=min(steps, self._state().ticks))

    def _halt(self) -> None:
        if self.runs:
            self._document.remove_periodic_callback(self._timer)
            self._timer = None
            self._button.label = "Run"


def _pixel(state: State) -> np.ndarray:
    """Return how wide and how high a pixel of the portrait is."""
    return np.ptp(np.array(state.box), axis=1) / SIDE
