"""One arm of an unstable curve of a map, grown from a fundamental domain.

The curve is the union of the images of a short piece D = [z, F(z)] beside the saddle, which lies on
the eigenvector up to the square of its length. Points are put into D until neighbours on all
images are near enough and turn little (after Hobson 1993).
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow.attractors.manifolds.records import Arm, End
from samflow.orbits import iterate
from samflow.systems import AbstractMap

_FIRST = 128
"""Points in D to begin with."""
_TURN = 0.2
"""Largest angle between neighbouring pieces, in radians, unless these are very short."""
_FINE = 0.02
"""Pieces shorter than this part of the longest allowed may turn as they like."""
_ROUNDS = 14
_STILL = 1e-3
"""An arm converges where the last image of D is no longer than this part of the spacing."""
_RUN = 64
"""Points looked at together at first, when the next point to keep is looked for."""


class Limits(NamedTuple):
    """How far an arm is followed.

    Attributes:
        low: lower corner of the box.
        high: upper corner.
        length: along the curve.
        spacing: of neighbouring points.
        num_points: how many points there may be.
        num_images: how many images of D to make at most.

    """

    low: np.ndarray
    high: np.ndarray
    length: float
    spacing: float
    num_points: int
    num_images: int


@np.errstate(over="ignore", invalid="ignore")  # images that run away; none is kept
def grow(system: AbstractMap, saddle: np.ndarray, start: np.ndarray, limits: Limits) -> Arm:
    """Return the arm that begins at `saddle` and goes through `start`, which is beside it."""
    image = np.asarray(_step(system, jnp.asarray(start)))
    if not np.isfinite(image).all():
        return Arm(np.vstack([saddle, start]), 0.0, End.no_inverse)
    shares = np.linspace(0.0, 1.0, _FIRST, endpoint=False)
    images = _images(system, _domain(start, image, shares), limits)
    curve = _curve(saddle, images, limits)
    wanted, error = np.arange(_FIRST), np.inf
    for _ in range(_ROUNDS):
        beyond = np.append(shares[1:], 1.0)
        new = 0.5 * (shares[wanted] + beyond[wanted])
        made = _images(system, _domain(start, image, new), limits)
        error = _error(images, made, wanted, len(curve.points) - 1)
        order = np.argsort(np.concatenate([shares, new]), kind="stable")
        shares = np.concatenate([shares, new])[order]
        images = np.concatenate([images, made])[order]
        curve = _curve(saddle, images, limits)
        wanted = np.unique(curve.place[_rough(curve.points, limits)])
        if not len(wanted):
            return _arm(curve, error, curve.end, limits)
        if images.shape[0] * images.shape[1] > limits.num_points:
            break
    return _arm(curve, error, End.budget, limits)


def within(points: np.ndarray, limits: Limits) -> np.ndarray:
    """Say of points (..., 2) whether they lie in the box."""
    return np.all((points >= limits.low) & (points <= limits.high), axis=-1)


@eqx.filter_jit
def _step(system: AbstractMap, z: Array) -> Array:
    return system.step(z)


def _domain(start: np.ndarray, image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return start + shares[:, None] * (image - start)


def _images(system: AbstractMap, points: np.ndarray, limits: Limits) -> np.ndarray:
    """Return D and its images, shape (points, images, 2).

    The number of points is padded to one of few sizes, which are compiled.
    """
    size = _FIRST * 4 ** max(0, int(np.ceil(np.log2(len(points) / _FIRST) / 2)))
    padded = np.concatenate([points, np.broadcast_to(points[-1], (size - len(points), 2))])
    found = iterate(system, padded, num_steps=limits.num_images, keep_every=1, escape_radius=1e12)
    states = np.array(found.states)
    rests = np.asarray(found.status) == Status.converged  # what follows is the same, and not kept
    states[rests] = np.where(
        np.isnan(states[rests]), np.asarray(found.final)[rests][:, None], states[rests]
    )
    return states[: len(points)]


class _Curve(NamedTuple):
    """The images of D one after the other, up to the end of the arm.

    Attributes:
        points: shape (points, 2), the saddle first.
        place: of each point in D.
        end: why it ends.

    """

    points: np.ndarray
    place: np.ndarray
    end: End


def _curve(saddle: np.ndarray, images: np.ndarray, limits: Limits) -> _Curve:
    number = images.shape[0]
    points = np.vstack([saddle, images.transpose(1, 0, 2).reshape(-1, 2)])
    place = np.append(0, np.tile(np.arange(number), images.shape[1]))
    known = np.all(np.isfinite(points), axis=1)
    steps = np.linalg.norm(np.diff(np.where(known[:, None], points, 0.0), axis=0), axis=1)
    length = np.append(0.0, np.cumsum(steps))
    stops = {
        End.no_inverse: np.flatnonzero(~known),
        End.left: np.flatnonzero(known & ~within(points, limits)),
        End.length: np.flatnonzero(length > limits.length),
    }
    first = {end: found[0] for end, found in stops.items() if len(found)}
    if not first:
        last = length[-1] - length[-1 - number]
        still = last <= _STILL * limits.spacing
        return _Curve(points, place, End.converged if still else End.slow)
    end = min(first, key=lambda reason: first[reason])
    # The point outside is kept: the curve reaches the edge of the box.
    cut = first[end] if end is End.no_inverse else first[end] + 1
    return _Curve(points[:cut], place[:cut], end)


def _rough(curve: np.ndarray, limits: Limits) -> np.ndarray:
    """Return after which points of the curve another is wanted."""
    pieces = np.diff(curve, axis=0)
    lengths = np.linalg.norm(pieces, axis=1)
    rough = np.append(lengths > limits.spacing, False)
    directions = pieces / np.maximum(lengths, 1e-300)[:, None]
    cosines = np.clip((directions[1:] * directions[:-1]).sum(axis=1), -1, 1)
    turns = np.arccos(cosines) > _TURN
    long = lengths > _FINE * limits.spacing
    rough[1:-1] |= turns & long[1:]
    rough[:-2] |= turns & long[:-1]
    return np.flatnonzero(rough)


def _error(images: np.ndarray, made: np.ndarray, wanted: np.ndarray, used: int) -> float:
    """Return how far new points lie from the lines between their neighbours, on the arm."""
    beyond = np.concatenate([images, np.roll(images[:1], -1, axis=1)])
    left, right = images[wanted], beyond[wanted + 1]
    chord = right - left
    share = ((made - left) * chord).sum(axis=2) / np.maximum((chord**2).sum(axis=2), 1e-300)
    foot = left + np.clip(share, 0, 1)[..., None] * chord
    gaps = np.linalg.norm(made - foot, axis=2)
    order = len(images) * np.arange(images.shape[1]) + wanted[:, None]
    counted = (order < used - 1) & np.isfinite(gaps)
    counted[:, -1] = False  # the last image has no right end
    return float(gaps[counted].max()) if counted.any() else np.inf


def _arm(curve: _Curve, error: float, end: End, limits: Limits) -> Arm:
    """Return the arm, thinned; what that moves the line is added to its error."""
    kept = _kept(curve.points, limits)
    points = curve.points[kept]
    piece = np.clip(np.searchsorted(kept, np.arange(len(curve.points)), "right") - 1, 0, None)
    piece = np.minimum(piece, len(points) - 2)
    left, chord = points[piece], (points[1:] - points[:-1])[piece]
    share = ((curve.points - left) * chord).sum(axis=1) / np.maximum((chord**2).sum(axis=1), 1e-300)
    gaps = np.linalg.norm(curve.points - left - np.clip(share, 0, 1)[:, None] * chord, axis=1)
    return Arm(points, float(error + gaps.max()), end)


def _kept(points: np.ndarray, limits: Limits) -> np.ndarray:
    """Return which points to keep: at half the spacing, or where the curve turns.

    Each depends on the one kept before. The next is looked for in runs of points that double.
    """
    ahead = np.diff(points, axis=0)
    sizes = np.hypot(*ahead.T)
    kept, first, run = [0], 1, _RUN
    while first < len(points) - 1:
        here = slice(first, min(first + run, len(points) - 1))
        x, y = (points[here] - points[kept[-1]]).T
        lengths = np.hypot(x, y)
        sine = np.abs(x * ahead[here, 1] - y * ahead[here, 0])
        turned = sine > 0.25 * _TURN * lengths * sizes[here]
        keep = lengths >= 0.5 * limits.spacing
        keep |= turned & (lengths > _FINE * limits.spacing)
        if keep.any():
            first += int(keep.argmax())
            kept.append(first)
            first, run = first + 1, _RUN
        else:
            first, run = here.stop, 2 * run
    return np.array([*kept, len(points) - 1])
