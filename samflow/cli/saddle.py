"""`samflow saddle`: every critical point, what it is for each rule, and what is proved."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow._status import Status
from samflow.cli import options
from samflow.cli.output import (
    TEXT_SUFFIXES,
    checked_path,
    deliver,
    indented,
    progress,
    say,
    table_of,
)

if TYPE_CHECKING:
    from samflow.equilibria.saddle_records import (
        Behaviour,
        Number,
        Range,
        Survey,
        SurveyedPoint,
        Threshold,
    )

_DEFAULT = ("gd", "usam", "sam")
_EVERY = "all"
_SHOWN = 3
"""Degenerate points without proof are samples of a curve, as a rule: so many are printed."""

Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="A name of `samflow rules`, may be repeated; or all, which also follows orbits. "
        "By default gd, usam and sam.",
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate",
        help="Also follow orbits from near each critical point: a second or two a rule.",
    ),
]
All = Annotated[
    bool,
    typer.Option(
        "--all", help="Also fixed points of USAM and SAM that are no critical points. Can be slow."
    ),
]


def command(
    loss: options.Loss,
    rule: Rules = None,
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    box: options.BoxText = None,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    every: All = False,
    simulate: Simulate = False,
    json: options.AsJson = False,
    output: options.Output = None,
) -> int:
    """Print every critical point: eigenvalues, multipliers, thresholds in rho and lr, proofs."""
    path = checked_path(output, TEXT_SUFFIXES)
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    from samflow._status import Verdict
    from samflow.equilibria.saddle_report import survey
    from samflow.rules import RULES, known_rule

    names = [known_rule(name, _EVERY) for name in rule or _DEFAULT]
    compare = _EVERY in names
    rules = list(RULES) if compare else names
    place = options.make_box(box, made)
    simulate = simulate or compare
    found = survey(
        made,
        place,
        rules=rules,
        rho=rho,
        lr=lr,
        momentum=momentum,
        hallucinated=every,
        simulate=simulate,
        progress=progress if simulate else lambda name: None,
    )
    deliver(render(found), found.to_json(), as_json=json, path=path)
    if not found.points and found.verdict is not Verdict.proved:
        say("No critical point was found, nor a proof that there is none.")
        return 1
    return 0


def render(found: "Survey") -> list[RenderableType]:
    """Return a survey as it is printed: a heading, a table a point, a summary."""
    settings = f"rho {found.rho:g}, lr {found.lr:g}, momentum {found.momentum:g}"
    parts: list[RenderableType] = [
        Text(f"{found.loss}: {settings}", style="bold"),
        Text(_census(found)),
    ]
    parts += [
        Text(f"not decided in {options.show_box(part.box)}: {part.reason}")
        for part in found.undecided
    ]
    samples = [p for p in found.points if p.shape == "degenerate" and not p.proved]
    left_out = samples[_SHOWN:]
    parts += [part for p in found.points if p not in left_out for part in _point(p)]
    if left_out:
        parts.append(
            Text(f"\n... and {len(left_out)} more degenerate points: --json lists them all")
        )
    parts.append(Text())
    parts += [Text(line) for line in _summary(found)]
    if found.hallucinated is not None:
        parts += _hallucinated(found)
    return parts


def _census(found: "Survey") -> str:
    count, proved = len(found.points), sum(point.proved for point in found.points)
    noun = "critical point" if count == 1 else "critical points"
    where = f"in {options.show_box(found.box)}"
    if found.verdict == "proved":
        return f"exactly {count} {noun} {where}: proved" if count else f"no {noun} {where}: proved"
    if not count:
        return f"no critical point found {where}; there may be some. {found.note}"
    return f"{count} {noun} {where}, {proved} proved; there may be more. {found.note}"


def _point(point: "SurveyedPoint") -> list[RenderableType]:
    proof = "proved to exist" if point.proved else "not proved to exist"
    heading = Text(f"\n{options.show_point(point.w)}  ", style="bold")
    heading.append(f"{point.shape}, loss {point.loss:.6g}, {proof}", style="not bold")
    eigenvalues = ", ".join(f"{lam:.6g}" for lam in point.eigenvalues)
    seen = any(behaviour.fate is not None for behaviour in point.behaviours)
    table = _compared(point) if seen else _classified(point)
    lines = [f"Hessian eigenvalues: {eigenvalues}", "", table]
    thresholds = _thresholds(point)
    lines += ["", *thresholds] if thresholds else []
    return [heading, *(indented(line) for line in lines)]


def _classified(point: "SurveyedPoint") -> RenderableType:
    """Return a table of what the point is for each rule's map, with what is proved."""
    table = table_of("rule", "multipliers", "kind", "attractor", "proved")
    for behaviour in point.behaviours:
        proof = "yes" if behaviour.verdict == "proved" else "no"
        table.add_row(
            behaviour.rule.upper(),
            _multipliers(behaviour),
            str(behaviour.kind),
            _attractor(behaviour),
            proof if behaviour.local is None else "quadratic part",
        )
    return table


def _compared(point: "SurveyedPoint") -> RenderableType:
    """Return a table of theory's word on map and flow, beside what orbits of the map did."""
    table = table_of("rule", "map, by theory", "flow, by theory", "orbits of the map")
    for behaviour in point.behaviours:
        table.add_row(
            behaviour.rule.upper(),
            _by_theory(behaviour),
            "–" if behaviour.flow is None else _FLOWS.get(behaviour.flow, str(behaviour.flow)),
            str(behaviour.fate),
        )
    return table


_FLOWS = {"attracting": "attractor", "sliding": "slides", "undefined": "not known"}
_STAYS = {"attractor", "cycle", "trap", "elsewhere"}


def _by_theory(behaviour: "Behaviour") -> str:
    if behaviour.status == Status.not_a_fixed_point:
        return "not at rest here"
    if behaviour.kind in ("cycle", "trap", "chaotic trap"):
        return _attractor(behaviour)
    names = {"attracting": "attractor", "undefined": "not known"}
    return names.get(behaviour.kind, str(behaviour.kind))


def _multipliers(behaviour: "Behaviour") -> str:
    if behaviour.status == Status.not_differentiable:
        return "no Jacobian"
    if behaviour.status == Status.not_a_fixed_point:
        return "not at rest"
    return ", ".join(map(_number, behaviour.multipliers))


def _attractor(behaviour: "Behaviour") -> str:
    if behaviour.status != Status.not_differentiable:
        return "yes" if behaviour.kind == "attracting" else "no"
    local = behaviour.local
    if local is None:
        return "undecided"
    for cycle in local.cycles:
        if cycle.attracts:
            several = f" ({cycle.multiplicity}-fold)" if cycle.multiplicity > 1 else ""
            return f"2-cycle ±{cycle.radius:.6g} along λ = {cycle.curvature:.6g}{several}"
    if local.trap is not None and local.trap.exponent is not None:
        exponent = local.trap.exponent
        return f"chaotic trap, ‖g‖ ≤ {local.trap.radius:.6g}, Lyapunov exponent {exponent:.6g}"
    if local.trap is not None:
        return f"trap, ‖g‖ ≤ {local.trap.radius:.6g}"
    return "no 2-cycle attracts" if local.cycles else "not known"


def _thresholds(point: "SurveyedPoint") -> list[str]:
    return [
        f"{behaviour.rule.upper()} {_range(name, window)}"
        for behaviour in point.behaviours
        for name, window in (("rho", behaviour.rho_window), ("lr", behaviour.lr_window))
        if window is not None
    ]


def _range(name: str, window: "Range") -> str:
    if window.empty is None:
        return f"attracts for {name} that are undecided: {window.reason}"
    if window.empty:
        return f"attracts for no {name}: {window.reason}"
    low = "" if window.low is None else f"{_threshold(window.low)} < "
    high = "" if window.high is None else f" < {_threshold(window.high)}"
    return f"attracts for {low}{name}{high}" if low or high else f"attracts for every {name}"


def _threshold(end: "Threshold") -> str:
    event = {"plus_one": "passes +1", "flip": "flips"}[end.event]
    return f"{end.value:.6g} (λ = {end.eigenvalue:.6g} {event})"


def _summary(found: "Survey") -> list[str]:
    lines = []
    for i, rule in enumerate(found.rules if found.points else ()):
        behaviours = [point.behaviours[i] for point in found.points]
        fates = [set(b.fate.fates) for b in behaviours if b.fate is not None]
        if fates:
            stays = sum(seen <= _STAYS for seen in fates)
            lines.append(f"{rule.upper()}: orbits stay near {stays} of {len(fates)}")
        elif all(b.status == Status.not_differentiable for b in behaviours):
            held = sum(b.kind in ("cycle", "trap", "chaotic trap") for b in behaviours)
            lines.append(
                f"{rule.upper()}: held near {held} of {len(behaviours)}, as far as their quadratic "
                "parts go"
            )
        else:
            held = sum(b.kind == "attracting" for b in behaviours)
            lines.append(f"{rule.upper()}: attracted to {held} of {len(behaviours)}")
    if any(b.local is not None for point in found.points for b in point.behaviours):
        lines.append(
            "Normalised SAM has no Jacobian where the gradient vanishes, so no multipliers. What "
            "is said of it is exact for the quadratic part of the loss there; for the loss it is "
            "no proof."
        )
    ascents = [rule.upper() for rule in ("usam", "sam") if rule in found.rules]
    if ascents and found.hallucinated is None:
        lines.append(f"{' and '.join(ascents)} can stand still elsewhere; --all looks there too.")
    return lines


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
            point.rule.upper(),
            options.show_point(point.w),
            options.show_point(point.ascent),
            ", ".join(map(_number, point.multipliers)),
            "undecided" if point.kind is None else str(point.kind),
            "yes" if point.verdict == "proved" else "no",
        )
    return [heading, note, Text(), indented(table)]


def _number(z: "Number") -> str:
    return f"{z.real:.6g}" if z.imag == 0 else f"{z.real:.6g}{z.imag:+.6g}i"
