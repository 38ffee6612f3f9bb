"""All limit cycles of a flow that orbits show, forwards and backwards in time."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow._types import Box
from samflow.equilibria._units import box_width
from samflow.equilibria.limit_cycles.floquet import multipliers
from samflow.equilibria.limit_cycles.near_returns import Guess, near_returns
from samflow.equilibria.limit_cycles.records import LimitCycles
from samflow.equilibria.limit_cycles.shooting import SEGMENTS, Shot, shoot
from samflow.equilibria.nearness import kind_of
from samflow.equilibria.newton import unit_points
from samflow.records import Provenance, provenance
from samflow.rules import Ascent
from samflow.systems import AbstractFlow, Flow
from samflow.systems.angles import angles_of, rebased, shortest

_AT_ONCE = 4
_MOST = 12
"""Guesses that are solved from, in each direction of time."""
_ACCURATE = 1e-6
"""The largest error with which a cycle counts as found, relative to its extent."""
_COLLAPSED = 1e-4
"""A solution smaller than this part of its guess is a fixed point."""
_AGAIN = 1e-4
"""A cycle whose points one part of the period apart agree to this part was gone around often."""
_SAME = 1e-5
_HYPERBOLIC = 1e-7
"""The least log |multiplier| that is known not to be 0, beside the error along the cycle."""


def find_limit_cycles(
    flow: AbstractFlow,
    box: Box,
    num_starts: int,
    tol: float,
    key: Array | None,
) -> LimitCycles:
    """Find and classify the limit cycles of a smooth autonomous flow; see `find_cycles`."""
    where = provenance(flow.describe(), box=box, num_starts=num_starts, tol=tol)
    theorem = _excluded(flow)
    if theorem:
        return _record(flow, None, np.arange(0), box, theorem, True, tol, where)
    low, high = np.array(box).T
    random = unit_points(num_starts, flow.dim, jr.key(0) if key is None else key)
    starts, width = low + (high - low) * np.asarray(random), box_width(box)
    found = [near_returns(flow, starts, width, sign) for sign in (1.0, -1.0)]
    guesses = [guess for one in found for guess in one.guesses[:_MOST]]
    words = [
        f"{when} in time {one.resting} of {num_starts} orbits came to rest, {one.lost} left, "
        f"{one.coming_back} came back to where they had been"
        for when, one in zip(("Forwards", "backwards"), found, strict=True)
    ]
    note = "; ".join(words) + f". Newton's method from {len(guesses)} of these returns"
    if not guesses:
        return _record(flow, None, np.arange(0), box, note + ".", False, tol, where)
    shot = _shot(flow, guesses)
    repeats = [_repeats(flow, z) for z in np.asarray(shot.points)]
    if max(repeats) > 1:
        shot = _shot(flow, [_shortened(shot, i, q) for i, q in enumerate(repeats)])
    chosen, outside, none = _select(flow, shot, guesses, box)
    note += f" came to {len(chosen)} cycles in the box, {outside} times to one outside it, {none} "
    note += "times to none."
    return _record(flow, shot, chosen, box, note, False, tol, where)


def _excluded(flow: AbstractFlow) -> str:
    """Return the theorem by which the flow has no periodic orbits; empty where there is none."""
    if isinstance(flow, Flow) and flow.rule.ascent is Ascent.none:
        return "the loss falls along every solution of its gradient flow that is not at rest."
    if flow.dim == 1 and angles_of(flow) is None:
        return "solutions on a line are monotone."
    return ""


def _shot(flow: AbstractFlow, guesses: list[Guess]) -> Shot:
    """Solve from guesses, some at a time: one program serves any number."""
    size, made = -(-len(guesses) // _AT_ONCE) * _AT_ONCE, []
    padded = [guesses[min(i, len(guesses) - 1)] for i in range(size)]
    for begin in range(0, size, _AT_ONCE):
        some = padded[begin : begin + _AT_ONCE]
        points = jnp.asarray(np.stack([guess.points for guess in some]))
        made.append(shoot(flow, points, jnp.asarray([guess.period for guess in some])))
    joined = (np.concatenate(parts)[: len(guesses)] for parts in zip(*made, strict=True))
    return Shot(*joined)  # pyright: ignore


def _repeats(flow: AbstractFlow, points: np.ndarray) -> int:
    """Return how many times a solution goes around a shorter cycle."""
    extent = np.abs(shortest(flow, points - points[0])).max()
    found = 1
    for q in range(2, SEGMENTS // 2 + 1):
        if SEGMENTS % q == 0:
            apart = shortest(flow, points - np.roll(points, SEGMENTS // q, axis=0))
            if np.abs(apart).max() <= _AGAIN * extent:
                found = q
    return found


def _shortened(shot: Shot, index: int, times: int) -> Guess:
    """Return a guess of the cycle that a solution goes around `times` times."""
    along, period = shot.along[index], float(shot.period[index])
    phases = np.arange(SEGMENTS) / SEGMENTS / times * len(along)
    places = np.arange(len(along))
    points = np.stack([np.interp(phases, places, np.asarray(x)) for x in along.T], axis=1)
    return Guess(points, period / times, 0.0)


def _select(
    flow: AbstractFlow, shot: Shot, guesses: list[Guess], box: Box
) -> tuple[np.ndarray, int, int]:
    """Return which solutions are cycles in the box, each once, and how many are not."""
    along = rebased(flow, np.asarray(shot.along), box)
    extents = np.abs(shortest(flow, shot.along - shot.along[:, :1])).max(axis=(1, 2))
    before = np.array([guess.extent for guess in guesses])
    with np.errstate(invalid="ignore"):
        well = (shot.moved <= _ACCURATE * extents) & (shot.residual <= _ACCURATE * extents)
        well &= (extents > _COLLAPSED * before) & (shot.period > 0)
        well &= np.isfinite(along).all(axis=(1, 2))
    low, high = np.array(box).T
    inside = ((along >= low) & (along <= high)).all(axis=2).any(axis=1)
    chosen: list[int] = []
    for i in sorted(
        np.flatnonzero(well & inside).tolist(), key=lambda i: shot.moved[i] / extents[i]
    ):
        if not any(_alike(flow, shot, i, j, float(extents[j])) for j in chosen):
            chosen.append(i)
    return np.array(chosen, int), int((well & ~inside).sum()), int((~well).sum())


def _alike(flow: AbstractFlow, shot: Shot, i: int, j: int, extent: float) -> bool:
    """Say whether two solutions are one cycle, up to the phase."""
    if abs(shot.period[i] - shot.period[j]) > _SAME * shot.period[j]:
        return False
    other = shot.along[j]
    begin = shortest(flow, shot.along[i][0] - other)
    piece = shortest(flow, np.roll(other, -1, axis=0) - other)
    length = np.maximum((piece**2).sum(axis=1), 1e-300)
    share = np.clip((begin * piece).sum(axis=1) / length, 0, 1)
    gap = np.linalg.norm(begin - share[:, None] * piece, axis=1).min()
    bulge = np.linalg.norm(piece, axis=1).max() ** 2 / extent  # of the arc beyond its chord
    return bool(gap <= 2 * bulge + _SAME * extent)


def _record(
    flow: AbstractFlow,
    shot: Shot | None,
    chosen: np.ndarray,
    box: Box,
    note: str,
    complete: bool,
    tol: float,
    where: Provenance,
) -> LimitCycles:
    n, number = flow.dim, len(chosen)
    if shot is None:
        shot = Shot(*(np.zeros(shape) for shape in _empty(n)))  # pyright: ignore
    picked = Shot(*(np.asarray(part)[chosen] for part in shot))  # pyright: ignore
    order = np.argsort(picked.period, kind="stable")
    _, period, residual, moved, period_moved, derivatives, divergence, along, turns = (
        np.asarray(part)[order] for part in picked
    )
    values, logs = np.full((number, n), np.nan + 0j), np.full((number, n), np.nan)
    kinds, trivial, margin = [], np.full(number, np.nan), np.full(number, np.nan)
    for i in range(number):
        values[i], logs[i] = multipliers(derivatives[i])
        along_cycle = int(np.argmin(np.abs(values[i] - 1)))
        trivial[i] = abs(values[i][along_cycle] - 1)
        others = np.delete(logs[i], along_cycle)
        margin[i] = -np.expm1(others.max(initial=-np.inf))
        kinds.append(kind_of(others, _HYPERBOLIC + 10 * float(trivial[i])))
        along[i] = _from_the_least(rebased(flow, along[i], box))
    extents = np.ptp(along, axis=1).max(axis=1) if number else np.zeros(0)
    total = divergence.sum(axis=1)
    lengths = [np.inf if one is None else one[1] - one[0] for one in angles_of(flow) or [None] * n]
    small = (residual <= tol * extents) & (trivial <= np.sqrt(tol))
    return LimitCycles(
        points=along,
        period=period,
        multipliers=values,
        exponents=logs / period[:, None],
        trivial_error=trivial,
        divergence=total,
        liouville_error=np.abs(logs.sum(axis=1) - total),
        kinds=tuple(kinds),
        margin=margin,
        winding=np.rint(turns / np.array(lengths)).astype(int),
        residual=residual,
        error=moved,
        period_error=period_moved,
        status=np.where(small, Status.located, Status.residual_too_large),
        complete=complete,
        note=note,
        box=box,
        provenance=where,
    )


def _empty(n: int) -> list[tuple[int, ...]]:
    m = SEGMENTS
    return [(0, m, n), (0,), (0,), (0,), (0,), (0, m, n, n), (0, m), (0, 4 * m, n), (0, n)]


def _from_the_least(points: np.ndarray) -> np.ndarray:
    """Begin with the least point in lexicographic order."""
    return np.roll(points, -int(np.lexsort(points.T[::-1])[0]), axis=0)
