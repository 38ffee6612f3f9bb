"""Floquet multipliers from the derivatives of a flow over the segments of a cycle.

The product of the derivatives is not formed: its entries can differ by more powers of ten than
numbers have digits. An orthonormal frame is pushed around the cycle until it spans the invariant
subspaces (simultaneous iteration), and each multiplier is read off the factors of one round.
"""

import itertools

import numpy as np

_ROUNDS = 40
_COUPLED = 1e-13
"""Directions of the frame that mix by more than this in a round have a common block."""


def multipliers(segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the multipliers, largest first, and the logarithms of their moduli.

    Args:
        segments: the derivatives over the segments in their order, shape (segments, n, n).

    Returns:
        Both of shape (n,); NaN where an entry is not finite. The logarithms are accurate where the
        moduli differ too much for the product's own eigenvalues.

    """
    n = segments.shape[1]
    if not np.isfinite(segments).all():
        return np.full(n, np.nan + 0j), np.full(n, np.nan)
    frame = np.eye(n)
    for _ in range(_ROUNDS):
        start = frame
        frame, rounds = _around(segments, start)
    turned = start.T @ frame
    logs = np.log(np.abs(np.diagonal(rounds, axis1=1, axis2=2))).sum(axis=0)
    values, sizes = [], []
    for block in _blocks(turned):
        scale = logs[block].mean()
        product = np.eye(len(block))
        for triangle in rounds[:, block[0] : block[-1] + 1, block[0] : block[-1] + 1]:
            product = triangle @ product * np.exp(-scale / len(rounds))
        found = np.linalg.eigvals(turned[np.ix_(block, block)] @ product).astype(complex)
        values += list(found * np.exp(scale))
        sizes += list(np.log(np.abs(found)) + scale)
    order = np.argsort(-np.array(sizes), kind="stable")
    return np.array(values)[order], np.array(sizes)[order]


def _around(segments: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame after a round, and the triangular factor of each segment."""
    factors = []
    for segment in segments:
        q, r = np.linalg.qr(segment @ frame)
        signs = np.where(np.diagonal(r) < 0, -1.0, 1.0)
        frame = q * signs
        factors.append(signs[:, None] * r)
    return frame, np.array(factors)


def _blocks(turned: np.ndarray) -> list[np.ndarray]:
    """Return the runs of directions that mix with one another in a round."""
    n = len(turned)
    mixes = [np.abs(turned[i + 1 :, : i + 1]).max() > _COUPLED for i in range(n - 1)]
    ends = [0, *(i + 1 for i in range(n - 1) if not mixes[i]), n]
    return [np.arange(a, b) for a, b in itertools.pairwise(ends)]
