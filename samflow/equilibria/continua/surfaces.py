"""Samples of surfaces of zeros: which are verified, and which lie on one piece."""

import numpy as np

from samflow.equilibria.continua.zeros import Zeros

_WALK = (0.01, 0.02, 0.04, 0.06)
"""How far to go from a sample along the surface, both ways, in units of the box."""
_NEIGHBOURS = 6
_OFF = 0.35
"""A chord with its ends on one surface lies at most this part of its length from it."""


def verified(zeros: Zeros, u: np.ndarray, dimension: int, seed: int = 0) -> bool:
    """Say whether the zeros continue from `u` in every direction of its tangent space.

    They must be met at several distances both ways, to machine precision, unless the box ends
    there: beside an isolated zero, degenerate or not, the equations grow. A region, of the full
    dimension, is one only where the equations are exactly 0.
    """
    if dimension == len(u):
        ball = u + _WALK[-1] * np.random.default_rng(seed).uniform(-1, 1, size=(32, len(u)))
        return bool((zeros.value(ball[zeros.inside(ball)]) == 0).all())
    frame = zeros.frame(u, dimension)
    if not frame.regular:
        return False
    mixed = np.random.default_rng(seed).normal(size=(dimension, dimension))
    directions = np.concatenate([frame.along, frame.along @ mixed], axis=1)
    directions /= np.linalg.norm(directions, axis=0)
    steps = np.array([sign * s for s in _WALK for sign in (1, -1)])
    guesses = (u + steps[:, None, None] * directions.T).reshape(-1, len(u))
    planes = np.repeat(frame.along[None], len(guesses), axis=0)
    ends, solved = zeros.solve(guesses, planes, len(u) - dimension)
    moved = np.linalg.norm(ends - guesses, axis=1)
    held = solved & (moved <= np.repeat(np.abs(steps), directions.shape[1]))
    return bool((held | ~zeros.inside(guesses)).all() and held.sum() >= 2)


def pieces(zeros: Zeros, u: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each sample, equal on one piece, and the pairs that were joined.

    Neighbours are joined if the surface follows the chord between them. Pieces that are one may be
    told apart where samples are few.
    """
    count = len(u)
    label = np.arange(count)
    if count < 2:
        return label, np.zeros((0, 2), dtype=int)
    gaps = np.linalg.norm(u[:, None] - u, axis=2)
    near = np.argsort(gaps, axis=1, kind="stable")[:, 1 : 1 + _NEIGHBOURS]
    chosen = {(min(i, j), max(i, j)) for i, row in enumerate(near.tolist()) for j in row}
    pairs = np.array(sorted(chosen))
    a, b = u[pairs[:, 0]], u[pairs[:, 1]]
    guesses = np.concatenate([a + share * (b - a) for share in (0.25, 0.5, 0.75)])
    nothing = np.zeros((len(guesses), u.shape[1], 0))
    ends, solved = zeros.solve(guesses, nothing, u.shape[1] - dimension)
    lengths = np.tile(np.linalg.norm(b - a, axis=1), 3)
    close = solved & (np.linalg.norm(ends - guesses, axis=1) <= _OFF * lengths)
    joined = pairs[close.reshape(3, -1).all(axis=0)]
    for i, j in joined:
        low, high = sorted((label[i], label[j]))
        label[label == high] = low
    return label, joined
