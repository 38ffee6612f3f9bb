"""Rules that ascend by ρMz/‖Nz‖, z = H(w − w*), near a critical point w*.

SAM with M = N = I, ASAM with M = T², N = T, GCSAM with a projection: section 5 of docs/theory.
"""

from typing import NamedTuple

import numpy as np

from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import shards
from samflow.rules import ASAM, DNSAM, GCSAM, MSAM, NSAM, SAM, AbstractRule, PenalisedGradientNorm

EQUAL = 1e-9
"""Relative: an eigenvalue this small is 0, a multiplier this near to the unit circle neutral."""


class LinearAscent(NamedTuple):
    """An ascent step ρMz/‖Nz‖ near a critical point.

    Attributes:
        rho: ρ.
        spread: M.
        measure: N.

    """

    rho: float
    spread: np.ndarray
    measure: np.ndarray


def linear_ascent(rule: AbstractRule, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
    """Return a rule's ascent near the critical point `w`; None where it is not of that form."""
    identity = np.eye(len(w))
    if isinstance(rule, (DNSAM, SAM, NSAM)):
        return LinearAscent(float(rule.rho), identity, identity)
    if isinstance(rule, PenalisedGradientNorm):  # (1 − α)z + αH(w + ρẑ) = H(w + αρẑ)
        return LinearAscent(float(rule.alpha * rule.rho), identity, identity)
    if isinstance(rule, MSAM) and len(shards(loss, rule.shard_size)) == 1:
        return LinearAscent(float(rule.rho), identity, identity)
    if isinstance(rule, ASAM):
        scale = np.abs(w) + float(rule.shift)
        if scale.min() <= EQUAL * scale.max():
            return None  # a weight of 0 is not moved: the ascent is no such form
        return LinearAscent(float(rule.rho), np.diag(scale**2), np.diag(scale))
    if isinstance(rule, GCSAM):
        projection = identity - block_means(rule, len(w))
        centred = rule.norm.name == "centralised"
        return LinearAscent(float(rule.rho), projection, projection if centred else identity)
    return None


def block_means(rule: GCSAM, dim: int) -> np.ndarray:
    """Return the projection on vectors that are constant in every block."""
    sizes = (dim,) if rule.blocks is None else rule.blocks
    block = np.repeat(np.arange(len(sizes)), sizes)
    return (block[:, None] == block) / np.asarray(sizes)[block]
