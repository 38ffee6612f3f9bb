"""What the page says, as HTML; everything that a person typed is escaped."""

from collections.abc import Sequence
from html import escape

from samflow._status import Kind
from samflow.explorer import glyphs
from samflow.explorer.slow import ChartPicture, Landscape, Points, Regions
from samflow.explorer.state import State, names_of_weights
from samflow.plots import _chart
from samflow.plots.colours import COLOURS
from samflow.plots.marks import LABELS

_SHOWN = 40
"""Fixed points that are listed."""
_LONGEST = 110
"""Characters of what is said of one; the rest is seen where the pointer rests."""
STYLE = """
:host { font: 13px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1d2329; }
.title { font-weight: 650; margin: 0 0 2px; }
.soft { color: #5d646a; }
.error { color: #8a1f11; background: #fdecea; border: 1px solid #f2b8b0; border-radius: 4px;
  padding: 6px 8px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td { padding: 3px 6px 3px 0; vertical-align: top; border-top: 1px solid #e7eaec; }
tr.more td { border: 0; padding-top: 0; font-size: 12px; color: #5d646a; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { vertical-align: middle; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend span { white-space: nowrap; }
.swatch { display: inline-block; width: 12px; height: 12px; border: 1px solid #8a8f94;
  vertical-align: -2px; margin-right: 5px; }
.scroll { max-height: 310px; overflow-y: auto; }
.proved { color: #00664a; white-space: nowrap; }
.open { color: #9a5b00; }
a { color: #0072b2; margin-right: 14px; }
"""
_PROVED = "✓: that it exists, alone in its neighbourhood, is proved by ball arithmetic or algebra."
_HALLUCINATED = "Hallucinated: the rule stands still there, but the loss has a gradient."
COMPILING = '<div class="title">Compiling for this loss and rule: some seconds …</div>'
PROVING = "not yet proved for these values …"


def note(message: str) -> str:
    """Return a line that says what is under way, or why something is missing."""
    return f'<div class="open">{escape(message)}</div>' if message else ""


def title(state: State) -> str:
    """Return what the portrait is of."""
    return f'<div class="title">{escape(state.system().describe())}</div>'


def fixed_points(found: Points | None, *, stale: bool, failure: str = "") -> str:
    """Return the list of fixed points, each with its mark and whether it is proved."""
    if failure:
        return f'<div class="title">Fixed points</div><div class="error">{escape(failure)}</div>'
    if found is None:
        return '<div class="title">Fixed points</div><span class="open">… proving</span>'
    head = escape(found.headline.split("\n")[0])
    if stale:
        head = f'Fixed points: <span class="open">{PROVING}</span>'
    rows = []
    for i, (w, kind) in enumerate(zip(found.w.tolist(), found.kinds, strict=True)):
        if i == _SHOWN:
            rows.append(f"<tr><td></td><td>and {len(found.w) - _SHOWN} more</td></tr>")
            break
        critical = bool(found.critical[i])
        proved = bool(found.proved[i]) and not stale
        sign = '<span class="proved">✓ proved</span>' if proved else '<span class="open">?</span>'
        where = f"({_short(w[0])}, {_short(w[1])})"
        beyond = "" if critical else ", hallucinated"
        said = found.said[i].removeprefix(str(kind)).lstrip(",: ").split(", margin")[0]
        brief = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
        rows.append(
            f"<tr><td>{glyphs.icon(kind, critical=critical, pale=stale)}</td>"
            f'<td class="number">{where}</td><td>{kind}{beyond}</td><td>{sign}</td></tr>'
            f'<tr class="more"><td></td><td colspan="3" title="{escape(said)}">'
            f"{escape(brief)}</td></tr>"
        )
    more = "".join(
        f'<div class="soft">{escape(line)}</div>' for line in found.headline.split("\n")[1:]
    )
    body = f'<div class="scroll"><table>{"".join(rows)}</table></div>'
    notes = [_PROVED] if found.proved.any() else []
    notes += [] if found.critical.all() else [_HALLUCINATED]
    foot = f'<div class="soft">{" ".join(notes)}</div>'
    return f'<div class="title">{head}</div>{more}{body}{foot}'


def legend(state: State, points: Points | None, regions: Regions | None, left_out: int) -> str:
    """Return a legend of what is drawn."""
    names, entries = names_of_weights(state), []
    if "levels" in state.layers:
        entries.append((_line("levels"), "level set of the loss"))
    if "motion" in state.layers:
        rest = " from rest" if state.momentum else ""
        what = "direction of the flow" if state.flow else f"direction of a step{rest}"
        entries.append((_ARROW, what))
    if "nullclines" in state.layers:
        entries.append((_line("first nullcline", "6 4"), f"{names[0]}-nullcline"))
        entries.append((_line("second nullcline", "2 3"), f"{names[1]}-nullcline"))
    if "directions" in state.layers:
        entries.append((_line("stable", width=3.5), "stable eigen-direction"))
        entries.append((_line("unstable", width=3.5), "unstable eigen-direction"))
    if "manifolds" in state.layers:
        entries.append((_line("stable curve"), "stable curve"))
        entries.append((_line("unstable curve", "6 4"), "unstable curve"))
        if left_out:
            entries.append(("", f"({left_out} curves not resolved: left out)"))
    if state.starts:
        entries.append((_line("orbits"), "orbit (dot: start, ring: end)"))
    if points is not None:
        for kind in LABELS:
            for critical in (True, False):
                found = zip(points.kinds, points.critical.tolist(), strict=True)
                if (kind, critical) in set(found):
                    beyond = "" if critical else ", not critical"
                    entries.append((glyphs.icon(kind, critical=critical), LABELS[kind] + beyond))
    if regions is not None:
        for colour, hatch, name in regions.legend:
            entries.append((_swatch(colour, hatch), name))
    parts = "".join(f"<span>{sign} {escape(text)}</span>" for sign, text in entries)
    return f'<div class="legend">{parts}</div>'


def runs(said: Sequence[str], state: State) -> str:
    """Return a line for each orbit, and one about how many steps are drawn."""
    if not state.starts:
        return '<div class="soft">No orbits: click in the portrait to launch one.</div>'
    rows = "".join(
        f"<div>orbit {i + 1} from ({_short(w[0])}, {_short(w[1])}) {escape(text)}</div>"
        for i, (w, text) in enumerate(zip(state.starts, said, strict=True))
    )
    drawn = "All" if state.steps < 0 else f"{state.steps:,} of"
    head = f"{drawn} {state.ticks:,} steps are drawn"
    if state.flow:
        share = 1.0 if state.steps < 0 else state.steps / state.ticks
        head = f"Drawn up to time {share * (state.length or 0):.4g}"
        head += "" if share == 1 else f" of {state.length:,}"
    return f'<div class="title">{head}</div><div class="soft">{rows}</div>'


def chart_legend(found: ChartPicture | None, styles: dict[str, tuple[str, str]]) -> str:
    """Return the words of a chart by colour, and the names of theory's curves."""
    if found is None:
        return ""
    words = "".join(
        f"<span>{_swatch(colour)}{escape(word)}</span>" for word, colour in found.colours.items()
    )
    lines = "".join(
        f"<span>{_stroke(colour, _DASHES[dash])} {escape(group)}</span>"
        for group, (dash, colour) in styles.items()
    )
    return f'<div class="legend">{words}{lines}</div>'


def verdict(state: State, what: str, colour: str | None, note: str) -> str:
    """Return what the chart's point is under the cross, and how that is known."""
    if not note:
        return ""
    if state.point is None:
        return f'<div class="soft">{escape(note)}</div>'
    sign = "" if colour is None else _swatch(colour)
    where = f"ρ = {_short(state.rho)}, η = {_short(state.lr)}"
    known = f'<span class="soft">{escape(note)}</span>'
    return f"<div>{sign}<b>{escape(what)}</b> at {where} {known}</div>"


def points_of_charts(
    found: Landscape | None, chosen: tuple[float, float] | None
) -> tuple[list[tuple[str, str]], str]:
    """Return the critical points that a chart can be of, and which is chosen.

    Each is a value and what is shown; one that is chosen is among them, also out of the box.
    """
    points = [] if found is None else found.points
    options = [(_value(w), f"({_short(w[0])}, {_short(w[1])}), {shape}") for w, shape in points]
    if chosen is None:
        return options, ""
    if _value(chosen) not in [value for value, _ in options]:
        options.append((_value(chosen), f"({_short(chosen[0])}, {_short(chosen[1])})"))
    return options, _value(chosen)


def files(query: str) -> str:
    """Return the links that save the picture and its code."""
    safe = escape(query, quote=True)
    return (
        f'<a href="portrait.pdf?{safe}" download="portrait.pdf">Save PDF</a>'
        f'<a href="portrait.py?{safe}" download="portrait.py">Save Python code</a>'
    )


def colour_of(kind: Kind) -> str:
    """Return the colour that a chart gives a kind."""
    return _chart.KINDS.get(str(kind), "#FFFFFF")


_ARROW = (
    f'<svg width="24" height="12"><path d="M3,6L20,6M14,2L20,6L14,10" fill="none" '
    f'stroke="{COLOURS["motion"]}" stroke-width="1.3"/></svg>'
)
_STRIPES = "repeating-linear-gradient(%ddeg,#8a8f94 0 1px,transparent 1px 4px)"
_HATCHES = {
    "/": _STRIPES % 135,
    "\\": _STRIPES % 45,
    "|": _STRIPES % 90,
    "-": _STRIPES % 0,
    "x": f"{_STRIPES % 45},{_STRIPES % 135}",
    "+": f"{_STRIPES % 0},{_STRIPES % 90}",
    ".": "radial-gradient(#8a8f94 1px,transparent 1.5px) 0 0/4px 4px",
}
_DASHES = {"-": "", "--": "6 3", ":": "2 2", "-.": "6 2 2 2"}


def _value(w: tuple[float, float]) -> str:
    return f"{w[0]!r},{w[1]!r}"


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _line(name: str, dashes: str = "", width: float = 2.0) -> str:
    return _stroke(str(COLOURS[name]), dashes, width)


def _stroke(colour: str, dashes: str, width: float = 2.0) -> str:
    return (
        f'<svg width="24" height="10"><path d="M0,5L24,5" stroke="{colour}" fill="none" '
        f'stroke-width="{width}" stroke-dasharray="{dashes}"/></svg>'
    )


def _swatch(colour: str, hatch: str = "") -> str:
    lines = _HATCHES.get(hatch[:1], "")
    look = f"background:{lines}{',' if lines else ''}linear-gradient({colour},{colour})"
    return f'<span class="swatch" style="{escape(look, quote=True)}"></span>'
