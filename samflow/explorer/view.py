"""The page: figures, sliders and texts. It shows what it is given and decides nothing."""

from html import escape
from pathlib import Path
from typing import Any

from bokeh.models import (
    AutocompleteInput,
    Button,
    CheckboxGroup,
    Column,
    ColumnDataSource,
    CustomJS,
    Div,
    InlineStyleSheet,
    RadioButtonGroup,
    Row,
    Select,
    Slider,
    TextInput,
    UIElement,
)

from samflow import losses, rules
from samflow.explorer import texts
from samflow.explorer.panels import SIDE, ChartPanel, Portrait
from samflow.explorer.state import LAYERS, LENGTHS, TIMES, State

TEMPLATE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
_LEFT = 250
_MIDDLE = SIDE + 55
_RIGHT = 360
_BETWEEN = 22
"""Pixels of the columns, and between them."""
_LAYER_NAMES = {
    "levels": "level sets of the loss",
    "motion": "direction of motion",
    "nullclines": "nullclines",
    "directions": "eigen-directions",
    "basins": "basins of attraction",
    "manifolds": "stable and unstable curves",
}
_SLIDERS = {"rho": "ρ, ascent radius", "lr": "η, step size", "momentum": "β, momentum"}
_BUTTONS = {
    "step": ("Step", 3),
    "run": ("Run", 3),
    "reset": ("Reset", 3),
    "clear": ("Clear orbits", 2),
    "home": ("Reset view", 2),
    "copy": ("Copy link to this picture", 1),
}
"""What is on each button, and how many share a row."""
BY_FORMULA = "by formula"
"""Among the names of rules: the text box below says which."""
EXAMPLE = "g(w + rho*g)"
_POSITIONS = 600
"""Of a slider."""


class Page:
    """All models of one page."""

    def __init__(self, state: State) -> None:
        self.portrait, self.chart = Portrait(state), ChartPanel()
        sheet = InlineStyleSheet(css=texts.STYLE)
        widths = {
            **dict.fromkeys(("error", "files"), _LEFT),
            **dict.fromkeys(("title", "legend", "runs"), _MIDDLE),
            **dict.fromkeys(("verdict", "chart legend", "list"), _RIGHT),
        }
        self.texts = {
            name: Div(
                name=name, width=width, margin=0, stylesheets=[sheet], visible=name != "error"
            )
            for name, width in widths.items()
        }
        self._add_inputs(state)
        self.link = ColumnDataSource(data={"query": [""]}, name="link")
        shown = CustomJS(args={"link": self.link}, code=_LINK)
        self.texts["files"].js_on_change("text", shown)  # which has the query, too
        self.root = self._layout()

    def _add_inputs(self, state: State) -> None:
        common: Any = {"stylesheets": [InlineStyleSheet(css=_WIDGET)], "margin": 0}
        wide: Any = {"width": _LEFT, **common}
        self.loss = AutocompleteInput(
            title="Loss: a name, or a formula",
            value=state.loss,
            completions=[name for name, make in losses.ZOO.items() if make().dim == 2],
            restrict=False,
            case_sensitive=False,
            min_characters=1,
            name="loss",
            **wide,
        )
        self.rule = Select(title="Rule", options=[*rules.RULES, BY_FORMULA], name="rule", **wide)
        self.formula = TextInput(
            title="… or its formula in w and g", placeholder=EXAMPLE, name="formula", **wide
        )
        self.motion = RadioButtonGroup(
            labels=["Map", "Flow"], active=int(state.flow), name="motion", **wide
        )
        self.sliders = {
            name: Slider(
                title=title, start=0, end=1, value=0, name=name, show_value=False,
                width=_LEFT - 81, **common
            )
            for name, title in _SLIDERS.items()
        }  # fmt: skip
        self.fields = {
            name: TextInput(name=f"{name} field", width=76, align="end", **common)
            for name in _SLIDERS
        }
        self.set_ranges(state)
        self.buttons = {
            name: Button(label=label, name=name, width=(_LEFT - 5 * (n - 1)) // n, **common)
            for name, (label, n) in _BUTTONS.items()
        }
        self.buttons["copy"].js_on_event("button_click", CustomJS(code=_COPY))
        self.length = Select(name="length", **wide)
        self.layers = CheckboxGroup(
            labels=[_LAYER_NAMES[name] for name in LAYERS],
            active=[LAYERS.index(name) for name in state.layers],
            name="layers",
            **wide,
        )
        self.point = Select(title="Chart of the critical point", width=_RIGHT, **common)

    def _layout(self) -> UIElement:
        step, run, reset, clear, home, copy = self.buttons.values()
        text = self.texts
        pairs = {
            name: Row(children=[self.sliders[name], self.fields[name]], spacing=5)
            for name in _SLIDERS
        }
        self.of_maps = [pairs["lr"], pairs["momentum"], self.point, self.chart.plot]
        left = [
            *(self.loss, self.rule, self.formula, self.motion, text["error"], *pairs.values()),
            Row(children=[step, run, reset], spacing=5),
            Row(children=[clear, home], spacing=5),
            *(self.length, self.layers, copy, text["files"]),
        ]
        middle = [text["title"], self.portrait.plot, text["legend"], text["runs"]]
        right = [self.point, self.chart.plot, text["verdict"], text["chart legend"], text["list"]]
        columns: Any = [
            Column(children=left, spacing=8, width=_LEFT),
            Column(children=middle, spacing=4),
        ]
        both = Row(children=columns, spacing=_BETWEEN)
        last = Column(children=right, spacing=4, width=_RIGHT)
        # In a narrow window, as a notebook's, the last column stands under the others.
        return Row(children=[both, last], spacing=_BETWEEN, styles={"flex-wrap": "wrap"})

    def set_ranges(self, state: State) -> None:
        """Set the ends of sliders, and where there is no end yet one beyond the value."""
        for name, least in (("rho", 0.3), ("lr", 0.05)):
            value = getattr(state, name)
            end = max(getattr(state, f"{name}_max") or max(least, 2 * value), value)
            step = float(f"{end / _POSITIONS:.3g}")
            start = step if name == "lr" else 0.0
            self.sliders[name].update(start=start, end=end, step=step, value=value)
        self.sliders["momentum"].update(end=0.99, step=0.005, value=state.momentum)

    def set_inputs(self, state: State) -> None:
        """Show a state on the sliders and in the fields."""
        for name, slider in self.sliders.items():
            slider.value = getattr(state, name)
            self.fields[name].value = f"{getattr(state, name):.6g}"
        self.loss.value = state.loss
        named = state.rule in rules.RULES
        self.rule.value = state.rule if named else BY_FORMULA
        self.formula.value = "" if named else state.rule
        self.motion.active = int(state.flow)
        lengths: Any = [(str(n), f"{n:,}") for n in (TIMES if state.flow else LENGTHS)]
        title = "Time of a solution" if state.flow else "Steps of an orbit"
        self.length.update(title=title, options=lengths, value=str(state.length))
        for model in self.of_maps:
            model.visible = not state.flow

    def say(self, name: str, html: str) -> None:
        """Put HTML into one of the texts; without any it takes no room."""
        self.texts[name].update(text=html, visible=bool(html))

    def say_error(self, message: str) -> None:
        """Show one line about a mistake, as text; an empty one removes it."""
        shown = f'<div class="error" role="alert">{escape(message)}</div>' if message else ""
        self.say("error", shown)


_WIDGET = """
:host { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.bk-input { font-size: 13px; }
.bk-btn { font-size: 13px; padding-left: 4px; padding-right: 4px; }
"""
_LINK = """
const token = new URLSearchParams(window.location.search).get("token")
const own = token == null ? "" : "token=" + encodeURIComponent(token) + "&"
const query = own + link.get_column("query")[0]
window.history.replaceState(null, "", window.location.pathname + "?" + query)
"""
_COPY = "navigator.clipboard.writeText(window.location.href)"
