"""A survey of critical points as `samflow saddle` prints it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from samflow._status import Status
from samflow._text import shown_name
from samflow.cli import options
from samflow.cli.output import indented, table_of
from samflow.cli.saddle_cells import (
    HOLD,
    by_theory,
    classified_row,
    flow_word,
    has_no_jacobian,
    is_followed,
    is_held,
    is_let_go,
    loss_of,
    number,
    outcomes_of,
    places,
)
from samflow.cli.saddle_continua import distinct_sets, render_continua, render_samples

if TYPE_CHECKING:
    from samflow.equilibria.saddle_records import Behaviour, Survey, SurveyedPoint
    from samflow.proofs.traps import TrapClaim

_NAMED = 4
"""Of points that are alike so many are named."""
_COLUMNS = 4
"""Points beside each other in the comparison of rules: more go below."""
_STAYS = {"attractor", "cycle", "trap"}
_PLURALS = {"minimum": "minima", "maximum": "maxima"}


def render(found: "Survey") -> list[RenderableType]:
    """Return a survey as it is printed.

    A heading; where orbits were followed, what became of them, rule by point; a table for each
    point, points that are alike once; the samples of curves; a summary.
    """
    settings = f"rho {found.rho:g}, lr {found.lr:g}, momentum {found.momentum:g}"
    parts: list[RenderableType] = [
        Text(f"{found.loss}: {settings}", style="bold"),
        Text(_census(found)),
    ]
    parts += [
        Text(f"not decided in {options.show_box(part.box)}: {part.reason}")
        for part in (() if found.complete else found.undecided)
    ]
    groups = _groups([point for point in found.points if not point.sampled])
    samples = [point for point in found.points if point.sampled]
    if any(b.fate is not None for point in found.points for b in point.behaviours):
        parts += _comparison(found, groups)
    for group in groups:
        parts += _point(group)
    parts += render_continua(found, samples)
    if samples and not found.continua:
        parts += render_samples(samples)
    parts.append(Text())
    parts += [Text(line) for line in _summary(found)]
    if found.hallucinated is not None:
        parts += _hallucinated(found)
    return parts


def _census(found: "Survey") -> str:
    proved = sum(point.proved for point in found.points)
    samples = sum(point.sampled for point in found.points)
    count = len(found.points) - samples
    noun = "critical point" if count == 1 else "critical points"
    where = f"in {options.show_box(found.box)}"
    if found.verdict == "proved":
        return f"exactly {count} {noun} {where}: proved" if count else f"no {noun} {where}: proved"
    if not count and not samples and found.complete:
        return f"no critical point {where}: proved, by exact algebra"
    if not count and not samples:
        return f"no critical point found {where}; there may be some. {found.note}"
    more = "all, by exact algebra. " if found.complete else "there may be more. "
    text = f"{count} {noun} {where}, {proved} proved; {more}"
    if samples:
        sets = Counter(one.noun for one in distinct_sets(found))
        what = " and ".join(
            f"{many} {noun}{'s' if many > 1 else ''}" for noun, many in sets.items()
        )
        what = f"{what} of critical points" if what else "a curve or surface of critical points"
        apart = f"{count} isolated {noun}, {proved} of them proved, and {what}"
        text = f"{apart if count else what} {where}; {more}"
        if not sets:
            sampled = f"of which {samples} samples were found"
            text = f"{apart if count else what} {where}, {sampled}; {more}"
    return text.strip() if found.complete else text + found.note


def _groups(points: Sequence["SurveyedPoint"]) -> list[list["SurveyedPoint"]]:
    """Return the points in groups that print alike: as a rule they are symmetric."""
    groups: dict[object, list[SurveyedPoint]] = {}
    for point in points:
        outcomes = [
            None if b.fate is None else frozenset(outcomes_of(b).items()) for b in point.behaviours
        ]
        rows = tuple(tuple(classified_row(b)) for b in point.behaviours)
        place = tuple(sorted(f"{abs(x):.6g}" for x in point.w))
        shown = (place, _facts(point), _eigenvalues(point), rows, tuple(outcomes))
        groups.setdefault(shown, []).append(point)
    return list(groups.values())


def _facts(point: "SurveyedPoint") -> str:
    if point.enclosure is not None:
        proof = "proved to exist"
    else:
        proof = "proved to exist by exact substitution" if point.exact else "not proved to exist"
    return f"loss {loss_of(point)}, {proof}"


def _eigenvalues(point: "SurveyedPoint") -> str:
    return ", ".join(f"{lam:.6g}" for lam in point.eigenvalues)


def _point(group: Sequence["SurveyedPoint"]) -> list[RenderableType]:
    point = group[0]
    heading = Text(f"\n{places(group, _NAMED)}  ", style="bold")
    shape = point.shape
    if len(group) > 1:
        noun = _PLURALS.get(shape, "saddles" if shape == "saddle" else "degenerate points")
        shape = f"{len(group)} {noun} alike"
    heading.append(f"{shape}, {_facts(point)}", style="not bold")
    table = _compared(point) if is_followed(point) else _classified(point)
    lines = [f"Hessian eigenvalues: {_eigenvalues(point)}", "", table]
    said: dict[str, list[str]] = {}
    for b in point.behaviours:
        if b.fate is not None and b.fate.disagreement:
            said.setdefault(b.fate.disagreement, []).append(shown_name(b.rule))
    differ = [f"{', '.join(rules)}: {text}." for text, rules in said.items()]
    thresholds = _thresholds(point)
    lines += ["", *differ] if differ else []
    lines += ["", *thresholds] if thresholds else []
    return [heading, *(indented(line) for line in lines)]


def _comparison(
    found: "Survey", groups: Sequence[Sequence["SurveyedPoint"]]
) -> list[RenderableType]:
    """Return what became of the orbits, a row for each rule, a column for each point."""
    parts: list[RenderableType] = [Text()]
    differ = False
    for begin in range(0, len(groups), _COLUMNS):
        shown = groups[begin : begin + _COLUMNS]
        heads = [
            f"{options.show_point(group[0].w)}{f' ×{len(group)}' if len(group) > 1 else ''}\n"
            f"{group[0].shape}"
            for group in shown
        ]
        table = table_of("orbits", *heads)
        for i, rule in enumerate(found.rules):
            behaviours = [group[0].behaviours[i] for group in shown]
            stars = [bool(b.fate is not None and b.fate.disagreement) for b in behaviours]
            differ |= any(stars)
            cells = [
                _outcome(b) + (" *" if star else "")
                for b, star in zip(behaviours, stars, strict=True)
            ]
            table.add_row(shown_name(rule), *cells)
        parts += [table, Text()]
    if differ:
        return [*parts, Text("* differs from theory, see below")]
    return parts[:-1] if groups else []


def _outcome(behaviour: "Behaviour") -> str:
    outcomes = outcomes_of(behaviour)
    if len(outcomes) == 1:
        return next(iter(outcomes))
    return ", ".join(f"{name} ({many})" for name, many in outcomes.items())


def _classified(point: "SurveyedPoint") -> RenderableType:
    """Return a table of what the point is for each rule's map, with what is proved."""
    table = table_of("rule", "multipliers", "kind", "attractor", "proved")
    for behaviour in point.behaviours:
        table.add_row(shown_name(behaviour.rule), *classified_row(behaviour))
    return table


def _compared(point: "SurveyedPoint") -> RenderableType:
    """Return a table of theory's word on map and flow, beside what orbits of the map did.

    Rules of which the same is said share a row.
    """
    rows: dict[tuple[str, str, str], list[str]] = {}
    for behaviour in point.behaviours:
        row = (
            by_theory(behaviour),
            flow_word(behaviour),
            "–" if behaviour.fate is None else behaviour.fate.seen(),
        )
        rows.setdefault(row, []).append(shown_name(behaviour.rule))
    table = table_of("rule", "map, by theory", "flow, by theory", "orbits of the map")
    for row, rules in rows.items():
        table.add_row("\n".join(rules), *row)
    return table


def _thresholds(point: "SurveyedPoint") -> list[str]:
    """Return the windows of each rule, and what is known of flows that jump at the point."""
    lines = [
        f"{shown_name(behaviour.rule)}: {window.describe()}"
        for behaviour in point.behaviours
        for window in (behaviour.rho_window, behaviour.lr_window)
        if window is not None and (window.decided or behaviour.higher is None)
    ]
    beyond: dict[str, list[str]] = {}
    for behaviour in point.behaviours:
        if behaviour.higher is not None:
            beyond.setdefault(str(behaviour.higher), []).append(shown_name(behaviour.rule))
    lines += [f"{', '.join(rules)}: {text}" for text, rules in beyond.items()]
    flows: dict[str, list[str]] = {}
    for behaviour in point.behaviours:
        if behaviour.sliding is not None and str(behaviour.sliding):
            flows.setdefault(str(behaviour.sliding), []).append(shown_name(behaviour.rule))
    maps: dict[str, list[str]] = {}
    for behaviour in point.behaviours:
        if behaviour.trap is not None:
            maps.setdefault(_trap(behaviour.trap), []).append(shown_name(behaviour.rule))
    lines += [f"{', '.join(rules)}, map: {text}" for text, rules in maps.items()]
    return lines + [f"{', '.join(rules)}, flow: {text}" for text, rules in flows.items()]


def _trap(found: "TrapClaim") -> str:
    """Say what a short search proves of orbits near the point."""
    if found.verdict == "proved":
        begin, end = f"{found.entered_from:.3g}", f"{found.radius:.3g}"
        how = "come to" if found.entered_from > found.radius else "stay"
        stay = " and stay" if how == "come to" else ""
        return f"orbits from within {begin} of the point {how} within {end} of it{stay}: proved"
    if found.escape is not None:
        how = (
            "reach weights where the map is undefined"
            if found.escape.undefined
            else f"go farther away than {found.within:.3g}"
        )
        return f"orbits from arbitrarily near {how}: proved"
    return f"nothing proved by a short search ({found.why()}); `sf.certify_trap` searches longer"


def _summary(found: "Survey") -> list[str]:
    lines = _held(found) + _arriving(found)
    if lines:
        lines.insert(0, "Of these critical points, by rule:")
    singular = [b.local for p in found.points for b in p.behaviours if has_no_jacobian(b)]
    if any(local is not None for local in singular):
        exact = all(local.exact for local in singular if local is not None)
        lines.append(
            "Normalised SAM has no Jacobian where the gradient vanishes, and so no multipliers. "
            "What is said about its map is exact for the quadratic part of the loss"
            + (
                "."
                if exact
                else "; of the loss itself only what is marked as proved is a proof. The cycles of "
                "maps are located on the loss itself, from orbits that start next to the point."
            )
        )
    from samflow.equilibria.saddle_report import hallucinating

    ascents = [shown_name(rule) for rule in hallucinating(found.rules)]
    if ascents and found.hallucinated is None:
        lines.append(
            f"{' and '.join(ascents)} can have other fixed points; --all searches for them too."
        )
    return lines


def _isolated(found: "Survey") -> list["SurveyedPoint"]:
    """Return the points that count: of a curve that was followed no sample does."""
    return [point for point in found.points if not (point.sampled and found.continua)]


def _held(found: "Survey") -> list[str]:
    """Say of how many points each rule is held; rules of which the same is said share a line."""
    said: dict[str, list[str]] = {}
    points = _isolated(found)
    for i, rule in enumerate(found.rules if points else ()):
        behaviours = [point.behaviours[i] for point in points]
        fates = [set(b.fate.fates) for b in behaviours if b.fate is not None]
        if fates:
            text = f"orbits stay near {sum(seen <= _STAYS for seen in fates)} of {len(fates)}"
            gone = sum(map(is_let_go, behaviours))
            text += f", let go by {gone} (proved)" * bool(gone)
        elif all(b.status == Status.not_differentiable for b in behaviours):
            text = _by_theory_or_proof(behaviours)
        else:
            held = sum(
                (b.kind if b.higher is None else b.higher.verdict) == "attracting"
                for b in behaviours
            )
            text = f"attracted to {held} of {len(behaviours)}"
        said.setdefault(text, []).append(shown_name(rule))
    return [f"{', '.join(rules)}: {text}" for text, rules in said.items()]


def _by_theory_or_proof(behaviours: Sequence["Behaviour"]) -> str:
    """Say near how many points a rule without a Jacobian is held: a proof overrules the kind."""
    proved, gone = sum(map(is_held, behaviours)), sum(map(is_let_go, behaviours))
    rest = [b for b in behaviours if not (is_held(b) or is_let_go(b))]
    held = proved + sum(b.kind in HOLD for b in rest)
    text = f"held near {held} of {len(behaviours)}"
    text += f" ({proved} proved)" if proved else ""
    text += f", let go by {gone} (proved)" if gone else ""
    if not all(b.local is not None and b.local.decided_on_loss for b in rest):
        text += (
            f"{'; the rest' if proved or gone else ','} by the quadratic part of the loss or by "
        )
        text += "cycles located on it"
    return text


def _arriving(found: "Survey") -> list[str]:
    """Say to how many points the flows come that jump there, and what that rests on."""
    said: dict[str, list[str]] = {}
    points = _isolated(found)
    for i, rule in enumerate(found.rules if points else ()):
        behaviours = [point.behaviours[i] for point in points]
        known = [b for b in behaviours if b.sliding is not None]
        if not known:
            continue
        comes = [b for b in known if b.flow in ("sliding", "attracting")]
        text = f"the flow comes to {len(comes)} of {len(behaviours)}"
        grounds = sorted({str(b.sliding.evidence) for b in comes if b.sliding is not None})
        text += f": {', '.join(grounds)}" if grounds else ""
        said.setdefault(text, []).append(shown_name(rule))
    return [f"{', '.join(rules)}: {text}" for text, rules in said.items()]


def _hallucinated(found: "Survey") -> list[RenderableType]:
    points = found.hallucinated or ()
    heading = Text("\nFixed points that are no critical points: ", style="bold")
    heading.append("none found" if not points else str(len(points)), style="not bold")
    note = Text(found.hallucinated_note)
    if not points:
        return [heading, note]
    table = table_of("rule", "point", "its ascent point", "multipliers", "kind", "proved")
    for point in points:
        table.add_row(
            shown_name(point.rule),
            options.show_point(point.w),
            options.show_point(point.ascent),
            ", ".join(map(number, point.multipliers)),
            "undecided" if point.kind is None else str(point.kind),
            "yes" if point.verdict == "proved" else "no",
        )
    return [heading, note, Text(), indented(table)]
