"""The cells of the tables of `samflow saddle`: one rule at one critical point."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from samflow._status import Status
from samflow.cli import options

if TYPE_CHECKING:
    from samflow.equilibria.saddle_records import Behaviour, Number, SurveyedPoint

_NOTHING = 1e-12

_FLOWS = {"attracting": "attractor", "sliding": "slides", "undefined": "not known"}
HOLD = {"cycle", "rotation", "trap", "chaotic trap"}
"""Kinds of points that hold orbits of a map without attracting them."""


def classified_row(behaviour: "Behaviour") -> list[str]:
    """Return multipliers, kind, attractor, and what that rests on."""
    local = behaviour.local
    proof = "yes" if behaviour.verdict == "proved" else "no"
    if local is not None and has_no_jacobian(behaviour):
        proof = "in theory" if local.exact else "quadratic part"
        if local.decided_on_loss or (local.on_loss is not None and behaviour.kind == "undefined"):
            proof = "located" if local.cycles_on_loss else "observed"
    kind, higher = str(behaviour.kind), behaviour.higher
    if higher is not None:
        kind += f"\n{higher.brief}"
        proof = "yes" if higher.evidence == "proved" else "no"
    return [_multipliers(behaviour), kind, _attractor(behaviour), proof]


def flow_word(behaviour: "Behaviour") -> str:
    """Return what the point is for the flow, and what that rests on where the flow jumps."""
    flow, sliding = behaviour.flow, behaviour.sliding
    if flow is None:
        return "–"
    text = _FLOWS.get(flow, str(flow))
    if sliding is None or sliding.evidence.name == "exact":
        return text
    if sliding.evidence.name == "proved":
        return text if flow == "undefined" else f"{text}, proved"
    return f"{text}\n{sliding.evidence}"


def by_theory(behaviour: "Behaviour") -> str:
    """Return what theory says of the map."""
    if behaviour.status == Status.not_a_fixed_point:
        return "not at rest here"
    if behaviour.kind in HOLD:
        return _attractor(behaviour)
    if behaviour.local is not None and behaviour.local.two_cycle is not None:
        return "no attracting cycle located"
    names = {"attracting": "attractor", "undefined": "not known"}
    kind = names.get(behaviour.kind, str(behaviour.kind))
    if behaviour.higher is not None:
        kind = f"{kind}: {behaviour.higher.brief}"
    cycles = () if behaviour.local is None else behaviour.local.cycles_on_loss
    return "\n".join([f"{kind}, and about it", *map(str, cycles)]) if cycles else kind


def has_no_jacobian(behaviour: "Behaviour") -> bool:
    """Say whether the rule jumps at the point."""
    return behaviour.status == Status.not_differentiable


def is_held(behaviour: "Behaviour") -> bool:
    """Say whether all orbits from near the point are proved to stay there."""
    return behaviour.trap is not None and behaviour.trap.verdict == "proved"


def is_let_go(behaviour: "Behaviour") -> bool:
    """Say whether orbits from arbitrarily near are proved to leave."""
    return behaviour.trap is not None and behaviour.trap.escape is not None


def _multipliers(behaviour: "Behaviour") -> str:
    if behaviour.status == Status.not_differentiable:
        return "no Jacobian"
    if behaviour.status == Status.not_a_fixed_point:
        return "not at rest"
    return ", ".join(map(number, behaviour.multipliers))


def _attractor(behaviour: "Behaviour") -> str:
    if behaviour.status != Status.not_differentiable:
        higher = behaviour.higher
        if higher is not None and not higher.decided:
            return "undecided"
        kind = behaviour.kind if higher is None else higher.verdict
        return "yes" if kind == "attracting" else "from one side" if kind == "semi-stable" else "no"
    local = behaviour.local
    if local is None:
        return "undecided"
    if local.on_loss is not None and local.decided_on_loss:
        turning = ",\n".join(filter(None, [local.on_loss.turning, local.on_loss.measured]))
        return "\n".join(map(str, local.cycles_on_loss)) or turning
    known = local.two_cycle is not None or local.trap is not None
    if local.on_loss is not None and known and behaviour.kind == "undefined":
        return f"no cycle located on the loss: {local.on_loss.without}"
    for cycle in local.cycles:
        if cycle.attracts:
            several = f" ({cycle.multiplicity}-fold)" if cycle.multiplicity > 1 else ""
            text = f"2-cycle ±{cycle.radius:.6g} along λ = {cycle.curvature:.6g}{several}"
            return _of(text, local.whose)
    if local.trap is not None and local.trap.exponent is not None:
        exponent = local.trap.exponent
        inside = f"‖g‖ ≤ {local.trap.radius:.6g}, Lyapunov exponent {exponent:.6g}"
        measured = "" if local.on_loss is None else local.on_loss.measured
        text = _of(f"chaotic trap, {inside}", local.whose)
        return f"{text}\n{measured}" if measured else text
    if local.trap is not None:
        return _of(f"trap, ‖g‖ ≤ {local.trap.radius:.6g}", local.whose)
    return "no 2-cycle attracts" if local.cycles else "not known"


def _of(text: str, whose: str) -> str:
    """Say of what a claim is true in its own field, in a line of its own for the table's width."""
    return f"{text}\n{whose.strip()}" if whose else text


def number(z: "Number") -> str:
    """Return a number, with its imaginary part if it has one."""
    return f"{z.real:.6g}" if z.imag == 0 else f"{z.real:.6g}{z.imag:+.6g}i"


def loss_of(point: "SurveyedPoint") -> str:
    """Return the loss, 0 where it is that to rounding."""
    return "0" if abs(point.loss) <= point.loss_error else f"{point.loss:.6g}"


def places(points: Sequence["SurveyedPoint"], named: int) -> str:
    """Return where the points are, so many of them at most."""
    shown = [options.show_point(_rounded(point)) for point in points]
    if len(shown) > named:
        return f"{', '.join(shown[: named - 1])}, ..."
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _rounded(point: "SurveyedPoint") -> list[float]:
    """Return the coordinates; of one that is not proved, 0 where that is so to rounding."""
    least = 0.0 if point.proved else _NOTHING * max(map(abs, point.w))
    return [x if abs(x) > least else 0.0 for x in point.w]


def is_followed(point: "SurveyedPoint") -> bool:
    """Say whether orbits from near the point were followed."""
    return any(behaviour.fate is not None for behaviour in point.behaviours)


def outcomes_of(behaviour: "Behaviour") -> dict[str, int]:
    """Return how many orbits met each fate, cycles by their period."""
    fate = behaviour.fate
    if fate is None:
        return {}
    names = [
        f"cycle of period {period}" if name == "cycle" else name
        for name, period in zip(fate.fates, fate.period.tolist(), strict=True)
    ]
    return dict(Counter(names).most_common())
