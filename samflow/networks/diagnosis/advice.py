"""The first line of a report: on which side of the edge each rule is, and what is safe."""

import math
from collections.abc import Sequence

import numpy as np

from samflow._types import NumpyArray
from samflow.networks.diagnosis.records import Nearness, RuleStability
from samflow.spectra.spectrum import Eigenpairs


def advice(lr: float, rules: Sequence[RuleStability], pairs: Eigenpairs, nearness: Nearness) -> str:
    """Return one sentence on what to do, from the directions measured.

    Safe is said only where no direction measured may repel, which no lr prevents.
    The edge is that of directions of positive curvature U: below it lr·U < κ for each, with U as
    large as its residuals allow, and past it lr·U > κ for one, with U as small as they allow.
    """
    if not rules:
        return "No rule was measured."
    values, residuals = np.asarray(pairs.values), np.asarray(pairs.residuals)
    if not values.any():
        return f"At lr {lr:g} nothing follows from a Hessian of 0."
    sides: dict[str, list[str]] = {}
    for each in rules:
        sides.setdefault(_side(each, lr, residuals), []).append(each.rule)
    said = [f"{listed(names)} {_are(names)} {side}" for side, names in sides.items()]
    text = f"At lr {lr:g} {', '.join(said)}"
    bounds = [_largest_lr(each, residuals) for each in rules]
    known = [bound for bound in bounds if math.isfinite(bound)]
    repelled = [each.rule for each in rules if each.num_repelling]
    if known:
        whom = "" if len(rules) == 1 else " for each"
        radius = _largest_rho(rules, lr, values + residuals, residuals)
        bound, other = f"lr < {floored(min(known))}", ""
        if math.isfinite(radius):
            other = f", or rho < {floored(radius)} at this lr"
        if repelled or any(each.num_open for each in rules):
            comma = "," if other else ""
            text += f"; {bound}{other}{comma} keeps every direction of positive curvature stable"
            text += whom
        else:
            text += f"; {bound} is safe{whom}{other}"
    if repelled:
        whom = "" if len(repelled) == len(rules) else f" {listed(repelled)}"
        text += f"; directions of negative curvature repel{whom} at every lr, so train on to leave"
        text += " them"
    if nearness.level == "far":
        text += "; the weights still move"
    return f"{text}."


def _side(each: RuleStability, lr: float, residuals: NumpyArray) -> str:
    reach = each.residual + residuals
    if not np.isfinite(each.measured).all():
        return "without a measured curvature"
    if (lr * (each.measured - reach) > each.limit).any():
        return "past the edge"
    if (lr * (each.measured + reach) < each.limit).all():
        return "below the edge"
    return "too near the edge to tell"


def _largest_lr(each: RuleStability, residuals: NumpyArray) -> float:
    """Return κ/max U with U as large as its residual allows; infinite where none is positive."""
    largest = float(np.max(each.measured + each.residual + residuals))
    return each.limit / largest if largest > 0 else math.inf


def _largest_rho(
    rules: Sequence[RuleStability], lr: float, largest: NumpyArray, residuals: NumpyArray
) -> float:
    """Return the rho below which rules past the edge are below it, by λ(1 + ρλ); else infinity.

    For rules of that form alone, and where a smaller rho helps: where lr·λ itself is below.
    """
    sharpest, found = float(largest[-1]), math.inf
    for each in rules:
        if _side(each, lr, residuals) == "below the edge":
            continue
        decay = float(each.closed_form[-1]) - _curvature(each, float(largest[-1] - residuals[-1]))
        room = each.limit / lr - decay - sharpest
        ascends = math.isfinite(each.effective_rho) and each.effective_rho > 0
        if not (ascends and room > 0 and sharpest > 0):
            return math.inf
        found = min(found, room / sharpest**2 * each.rho / each.effective_rho)
    return found


def _curvature(each: RuleStability, value: float) -> float:
    return value * (1 + each.effective_rho * value)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def listed(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def floored(value: float) -> str:
    """Return three digits of a positive number, rounded down: a bound must not be rounded up."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / unit * (1 + 1e-9)) * unit:.3g}"
