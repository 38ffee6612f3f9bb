"""Conditions on what holds orbits about a point at which SAM jumps."""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samflow import theory
from samflow.attractors.charts.curves import Condition
from samflow.attractors.charts.plane import Plane
from samflow.attractors.charts.smooth import edge_condition, flip
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import AbstractEagerLoss
from samflow.proofs import certify_sliding
from samflow.rules.critical import Ascent
from samflow.systems import Flow

_LONGEST = 8
"""The longest period of a cycle whose ends are drawn."""
_BLOCK = 4096
_STEPS = 40

Slack = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conditions(
    plane: Plane, point: np.ndarray, curvature: np.ndarray, gradient_norm: float | None
) -> list[Condition]:
    """Return what theory knows of a rule without a Jacobian at a critical point.

    The end of the flow's hold in rho, proved on the loss; for SAM the limits of the 2-cycle of
    the quadratic part, its edge of stability at a gradient norm, and, on losses of one weight,
    where cycles begin and end on the loss itself.
    """
    if not plane.is_known():
        return []
    found = _flow_end(plane, point)
    if plane.system.rule.ascent is not Ascent.unit:
        return found
    if gradient_norm is not None:
        found.append(edge_condition(plane, float(curvature.max()), gradient_norm))
    found += _quadratic_part(plane, curvature)
    loss = plane.system.loss
    one_line = loss.dim == 1 and curvature[0] != 0 and not isinstance(loss, AbstractEagerLoss)
    if one_line and plane.system.momentum is None:
        found += _cycles(plane, point, float(np.sign(curvature[0])))
    return found


def _flow_end(plane: Plane, point: np.ndarray) -> list[Condition]:
    if "rho" not in plane.names:
        return []
    flow = Flow(plane.system.loss, plane.system.rule)
    end = certify_sliding(flow, point, near=False, radius=False).rho_end
    if end is None or not 0 < end[0] <= end[1] < np.inf:
        return []
    middle = (end[0] + end[1]) / 2
    slack: Slack = lambda x, y: np.broadcast_to(  # noqa: E731
        middle - plane.numbers(x, y)["rho"], np.shape(x + y)
    )
    return [Condition("the flow lets go", "the flow lets go", slack)]


def _quadratic_part(plane: Plane, curvature: np.ndarray) -> list[Condition]:
    """Return 0 < x < κ across the 2-cycle along the largest eigenvalue, and ηλ < κ along it."""
    values = np.unique([float(f"{each:.12g}") for each in curvature])
    if not values[-1] > 0:
        return []
    top, others = float(values[-1]), values[:-1]
    along = f"2-cycle along λ = {top:.6g} (quadratic part)"

    def condition(name: str, slack: Callable[[dict[str, Any], Any], Any]) -> Condition:
        def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            at = plane.numbers(x, y)
            return np.broadcast_to(slack(at, flip(plane, at)), np.shape(x + y))

        return Condition(name, along, of)

    found = [condition(f"{along} ends", lambda at, kappa: kappa - at["lr"] * top)]
    for other in others.tolist():
        across: Callable[[dict[str, Any], Any], Any] = lambda at, kappa, other=other: (  # noqa: E731
            at["lr"] * other + (other / top) ** 2 * (kappa - at["lr"] * top)
        )
        name = f"{along}, across λ = {other:.6g}"
        found.append(condition(f"{name} passes +1", across))
        found.append(condition(f"{name} flips", lambda at, kappa, of=across: kappa - of(at, kappa)))
    return found


class _Line(NamedTuple):
    """Gradient and its derivative along a loss of one weight, at offsets from a point."""

    gradient: Callable[[np.ndarray], np.ndarray]
    curvature: Callable[[np.ndarray], np.ndarray]


def _line(loss: AbstractLoss, point: np.ndarray) -> _Line:
    at = jnp.asarray(point)

    def along(z: Any) -> Any:
        return loss.gradient(at + z[None])[0]

    return _Line(*(_in_blocks(jax.jit(jax.vmap(f))) for f in (along, jax.grad(along))))


def _in_blocks(function: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Apply a compiled function to arrays of any shape, a block of one size at a time."""

    def apply(z: np.ndarray) -> np.ndarray:
        flat = np.ravel(z)
        filled = np.resize(flat, (-(-flat.size // _BLOCK), _BLOCK))
        return np.concatenate([np.asarray(function(row)) for row in filled])[: flat.size].reshape(
            np.shape(z)
        )

    return apply


def _cycles(plane: Plane, point: np.ndarray, side: float) -> list[Condition]:
    """Return both ends of each cycle p/q of the rotation on the loss, and the 2-cycle's stability.

    f(z) = z − ηg(z ± sρ) for ±z > 0, with s the sign of λ. A cycle ends where one of its points
    is 0. Where f increases and contracts, rotation number p/q means that the words from the
    largest negative and from the smallest positive point send 0 to F∧(0) ≤ 0 ≤ F∨(0)
    (Proposition R3, on the loss itself). That f does so is tested at the ends of both sides.
    """
    line = _line(plane.system.loss, point)
    shares = sorted({Fraction(p, q) for q in range(2, _LONGEST + 1) for p in range(1, q)})
    found = []
    for share in shares:
        p, q = share.numerator, share.denominator
        group = "2-cycle on the loss" if q == 2 else f"cycles of period 3 to {_LONGEST}"
        for rank, sign, end in ((p - 1, -1.0, "low"), (p, 1.0, "high")):
            word = theory.rotation_word(share, rank)
            slack = functools.partial(_word_slack, plane, line, side, word, sign)
            found.append(Condition(f"cycle {share}, {end} end", group, slack))
    stable = functools.partial(_two_cycle_slack, plane, line, side)
    found.append(Condition("2-cycle loses stability", "2-cycle on the loss", stable))
    return found


def _word_slack(
    plane: Plane, line: _Line, side: float, word: str, sign: float, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    rho, lr = _rho_and_lr(plane, x, y)
    z = np.zeros(np.shape(rho))
    for letter in word:
        z = z - lr * line.gradient(z + (side if letter == "+" else -side) * rho)
    return np.where(_rotates(line, side, rho, lr), sign * z, np.nan)


def _rotates(line: _Line, side: float, rho: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """Say where both sides move towards 0, increase and contract, at their ends."""
    down, up = -lr * line.gradient(side * rho), -lr * line.gradient(-side * rho)
    slopes = [
        1 - lr * line.curvature(z + sign * side * rho)
        for z, sign in ((0 * up, 1), (up, 1), (0 * down, -1), (down, -1))
    ]
    inside = np.all([(slope > 0) & (slope < 1) for slope in slopes], axis=0)
    return inside & (down < 0) & (up > 0)


def _two_cycle_slack(
    plane: Plane, line: _Line, side: float, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return 1 − |multiplier| of the 2-cycle z₊ > 0 > z₋, by Newton's method; NaN without one."""
    rho, lr = _rho_and_lr(plane, x, y)

    def step(z: np.ndarray, sign: float) -> tuple[np.ndarray, np.ndarray]:
        ascent = z + sign * side * rho
        return z - lr * line.gradient(ascent), 1 - lr * line.curvature(ascent)

    z = -0.5 * lr * line.gradient(-side * rho)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            middle, first = step(z, 1.0)
            image, second = step(middle, -1.0)
            z = z - (image - z) / (first * second - 1)
        middle, first = step(z, 1.0)
        image, second = step(middle, -1.0)
        found = (z > 0) & (middle < 0) & (np.abs(image - z) <= 1e-9 * (np.abs(z) + np.abs(middle)))
        return np.where(found, 1 - np.abs(first * second), np.nan)


def _rho_and_lr(plane: Plane, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = plane.numbers(x, y)
    rho, lr = np.broadcast_arrays(at["rho"], at["lr"], np.zeros(np.shape(x + y)))[:2]
    return rho, lr
