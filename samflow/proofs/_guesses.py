"""Floating-point guesses of what can be proved: which ellipsoid or box is kept, which orbit leaves.

Nothing here is a proof. NumPy runs the map on many weights at once.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sympy

from samflow.losses._tape import FUNCTIONS, tape
from samflow.proofs._gauges import AbstractGauge, Ellipsoid, Parallelepiped
from samflow.proofs.balls import Span

_LEVELS = 140
_LOWEST = 1e-5
_DIRECTIONS = {1: 2, 2: 256, 3: 1200}
_MANY_DIRECTIONS = 3000
_STARTS = {1: 2, 2: 48, 3: 96}
_MANY_STARTS = 160
_TINY = 1e-9
_BAND_LEVELS = 7
_POINTS = 3000
_ROUNDS = 60
_RETURNS = (1, 2, 3, 4, 6)


class NumericMap:
    """Steps of SAM on a formula, on offsets x = w − w* of shape (many, dim)."""

    def __init__(self, gradient: Sequence[sympy.Expr], symbols: Sequence[sympy.Symbol], centre):
        """Take w* as doubles."""
        self._tape = tape(tuple(gradient), tuple(symbols))
        self.centre = np.asarray(centre, dtype=float)
        self.dim = len(self.centre)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return g(w* + x); NaN outside the domain."""
        coordinates = list(np.moveaxis(self.centre + x, -1, 0))
        values = self._tape.run(coordinates, _ALGEBRA)
        return np.stack([np.broadcast_to(v, x.shape[:-1]) for v in values], axis=-1)

    def step(self, x: np.ndarray, rho: float, lr: float) -> np.ndarray:
        """Return the offsets after a step; NaN where g = 0."""
        g = self.gradient(x)
        return self.along(x, g / np.linalg.norm(g, axis=-1, keepdims=True), rho, lr)

    def along(self, x: np.ndarray, e: np.ndarray, rho: float, lr: float) -> np.ndarray:
        """Return the offsets after a step with the direction `e` of the ascent."""
        return x - lr * self.gradient(x + rho * e)


class Leaving(NamedTuple):
    """An orbit that leaves: from the offset `direction` times a tiny number, within `num_steps`."""

    direction: np.ndarray
    num_steps: int


class Orbits(NamedTuple):
    """Orbits from tiny offsets: the one that leaves first, or where all of them have been."""

    leaving: Leaving | None
    low: np.ndarray
    high: np.ndarray


Pairs = Sequence[tuple[float, float]]
"""(rho, lr) at which a guess should hold."""


def directions(dim: int, number: int | None = None) -> np.ndarray:
    """Return unit vectors, evenly spread in two dimensions, at random in more."""
    number = number or _DIRECTIONS.get(dim, _MANY_DIRECTIONS)
    if dim == 1:
        return np.array([[1.0], [-1.0]])
    if dim == 2:
        turn = 2 * np.pi * (np.arange(number) + 0.5) / number
        return np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    x = np.random.default_rng(0).standard_normal((number, dim))
    axes = np.concatenate([np.eye(dim), -np.eye(dim)])
    return np.concatenate([axes, x / np.linalg.norm(x, axis=-1, keepdims=True)])


def ellipsoid_levels(
    numeric: NumericMap, gauge: Ellipsoid, pairs: Pairs, top: float
) -> tuple[float, float] | None:
    """Return the least and the largest level s that are kept, those between them too; or None."""
    levels = top * np.geomspace(_LOWEST, 1.0, _LEVELS)
    inverse = np.linalg.inv(gauge.rows)
    q = directions(numeric.dim)
    # A minimum and a saddle bind along eigenvectors: they are among the directions.
    q = np.concatenate([q, *_axes(gauge.rows)])
    x = levels[:, None, None] * (q @ inverse.T)
    reached = np.zeros(_LEVELS)
    for rho, lr in pairs:
        image = gauge.level(numeric.step(x, rho, lr) @ gauge.rows.T)
        reached = np.maximum(reached, image.max(axis=1))
    reached = np.where(np.isnan(reached), np.inf, reached)
    so_far = np.maximum.accumulate(reached)
    kept = so_far <= levels
    if not kept.any():
        return None
    first = int(np.argmax(kept))
    after = reached[first:] < levels[first:]
    last = first + (len(after) if after.all() else int(np.argmin(after))) - 1
    return float(so_far[first]), float(levels[last])


def least_fall(
    numeric: NumericMap, gauge: AbstractGauge, band: Span, pairs: Pairs, num_returns: int
) -> float:
    """Return by how much the level falls at least within `num_returns` steps, of samples."""
    levels = np.linspace(*band, _BAND_LEVELS)
    start = levels[:, None, None] * (_surface(gauge) @ np.linalg.inv(gauge.rows).T)
    least = np.inf
    for rho, lr in pairs:
        x, lowest = start, np.inf
        for _ in range(num_returns):
            x = numeric.step(x, rho, lr)
            lowest = np.fmin(lowest, gauge.level(x @ gauge.rows.T))
        least = min(least, float((levels[:, None] - lowest).min()))
    return least if least > 0 else 0.0


def _surface(gauge: AbstractGauge) -> np.ndarray:
    """Return points y with V(y) = 1."""
    q = directions(len(gauge.rows))
    return q / gauge.level(q)[:, None]


def follow(
    numeric: NumericMap, axes: np.ndarray, pair: tuple[float, float], within: float, steps: int
) -> Orbits:
    """Follow orbits from tiny offsets; say which leaves the distance `within` first.

    `axes` are the rows of an orthonormal basis: where orbits have been is said in it.
    """
    rho, lr = pair
    starts = directions(numeric.dim, _STARTS.get(numeric.dim, _MANY_STARTS))
    starts = np.concatenate([starts, axes, -axes])[: None if numeric.dim > 1 else 2]
    x = _TINY * within * starts
    low = np.full(numeric.dim, np.inf)
    high = -low
    for i in range(1, steps + 1):
        x = numeric.step(x, rho, lr)
        distance = np.linalg.norm(x, axis=-1)
        gone = ~(distance <= within)
        if gone.any():
            return Orbits(Leaving(starts[int(np.argmax(gone))], i), low, high)
        y = x @ axes.T
        low, high = np.minimum(low, y.min(axis=0)), np.maximum(high, y.max(axis=0))
    return Orbits(None, low, high)


def box_kept(
    numeric: NumericMap, axes: np.ndarray, low, high, pairs: Pairs, room: float
) -> tuple[Parallelepiped, int] | None:
    """Return a box in the coordinates of `axes` to which points return, and within how many steps.

    It begins with where orbits have been, and grows by what leaves it; None: it never ends.
    """
    scale = max(np.abs(low).max(), np.abs(high).max())
    low, high = np.minimum(low, -1e-3 * scale), np.maximum(high, 1e-3 * scale)
    begin = high - low
    for _ in range(_ROUNDS):
        extra = room * (high - low)
        gauge = _box(axes, low - extra, high + extra)
        if gauge is None or not np.all(high - low < 64 * begin):
            return None
        away, new_low, new_high = _excursion(numeric, gauge, axes, pairs)
        if away:
            return gauge, away
        low, high = np.minimum(low, new_low), np.maximum(high, new_high)
    return None


def _box(axes: np.ndarray, low: np.ndarray, high: np.ndarray) -> Parallelepiped | None:
    half = 0.5 * (high - low)
    if not np.isfinite(half).all():
        return None
    return Parallelepiped(axes / half[:, None], 0.5 * (high + low) / half)


def _excursion(
    numeric: NumericMap, gauge: Parallelepiped, axes: np.ndarray, pairs: Pairs
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return within how many steps points of the box return (0: some do not), and one image."""
    x = _points(gauge.shift, numeric.dim) @ np.linalg.inv(gauge.rows).T
    low, high, needed = np.full(numeric.dim, np.inf), np.full(numeric.dim, -np.inf), 0
    for rho, lr in pairs:
        out, image = np.ones(len(x), dtype=bool), x
        returned = 0
        for i in range(1, max(_RETURNS) + 1):
            image = numeric.step(image, rho, lr)
            if i == 1:
                y = image @ axes.T
                low = np.minimum(low, y.min(axis=0))
                high = np.maximum(high, y.max(axis=0))
            out &= ~(gauge.level(image @ gauge.rows.T) <= 1 - 1e-9)
            if not out.any():
                returned = i
                break
        if not returned:
            return 0, low, high
        needed = max(needed, returned)
    return needed, low, high


def _points(shift: np.ndarray, dim: int) -> np.ndarray:
    """Return points of |y − c|∞ ≤ 1: on many levels, faces and edges among them."""
    if dim == 1:
        levels = np.linspace(1e-6, 1.0, 400)
        return np.concatenate([levels * (shift + 1), levels * (shift - 1)])[:, None]
    random = np.random.default_rng(0)
    u = random.uniform(-1, 1, (_POINTS, dim))
    u = np.where(random.random(u.shape) < 0.3, np.sign(u), u)
    u /= np.abs(u).max(axis=-1, keepdims=True)
    levels = np.where(random.random(_POINTS) < 0.5, 1.0, random.random(_POINTS))
    return levels[:, None] * (shift + u)


def _axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of the singular vectors of A, in y."""
    left = np.linalg.svd(rows)[0].T
    return left, -left


def _power(base, exponent: sympy.Rational):
    if exponent.is_Integer and exponent > 0:
        return base ** int(exponent)
    return base ** float(exponent)


_NUMPY = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_ALGEBRA = {name: getattr(np, _NUMPY.get(name, name)) for name in FUNCTIONS}
_ALGEBRA |= {"constant": functools.lru_cache(maxsize=4096)(float), "power": _power}
