"""Hessian-vector products held against differences of gradients, which see what they leave out."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import gradient
from samflow.spectra.products import Remembered, hessian_product

_FINER = 8
_EXPECTED = 10
"""In steps h = ∛ε. Rounding of w, by ε‖w‖, makes ε‖w‖/h = ‖w‖ h² of a mismatch."""


class Difference(NamedTuple):
    """A Hessian-vector product beside a difference of gradients.

    Attributes:
        mismatch: ‖(g(w + hv) − g(w − hv))/2h − Hv‖/‖Hv‖; infinite where Hv = 0 alone, NaN where a
            gradient is not finite.
        step: h.
        expected: how large the mismatch may be by rounding and by the third derivative.

    """

    mismatch: float
    step: float
    expected: float

    @property
    def agrees(self) -> bool:
        """Whether the mismatch is one to be expected; False where it is NaN."""
        return self.mismatch <= self.expected

    def statement(self, kinks: tuple[str, ...]) -> str:
        """Say by how much they differ and why, of a loss with these kinks."""
        why = "a second derivative is wrong or missing"
        if kinks:
            why = (
                f"kinks ({', '.join(kinks)}) lie within this distance, or a gradient is passed "
                "straight through them"
            )
        return (
            f"Along the sharpest direction v, Hv and a difference of gradients over "
            f"{self.step:.2g} differ by {self.mismatch:.2g} of Hv: {why}."
        )


def gradient_difference(
    loss: AbstractLoss, w: Point, v: Point, *, remembered: Remembered | None = None
) -> Difference:
    """Compare Hv, ‖v‖ = 1, with a central difference of gradients over h = ∛ε or an eighth of it.

    ε is the rounding of the float type that the loss computes in. A difference sees what second
    derivatives leave out: kinks that lie within h, and operations whose second derivative is wrong,
    as that of rounding with a gradient passed straight through. That of the two steps is returned
    which is nearer: a large third derivative spoils the larger one, rounding the smaller one.
    """
    step = float(np.cbrt(loss.precision))
    if remembered is None:
        image, slope = hessian_product(loss, w)(np.asarray(v)), lambda w: gradient(loss, w)
    else:
        image, slope = remembered.image(w, np.asarray(v)), remembered.gradient
    tried = [_difference(loss, slope, w, v, image, h) for h in (step, step / _FINER)]
    return min(tried, key=lambda each: (math.isnan(each.mismatch), each.mismatch))


def _difference(
    loss: AbstractLoss,
    slope: Callable[[Point], Any],
    w: Point,
    v: Point,
    image: NumpyArray,
    step: float,
) -> Difference:
    ahead, behind = (np.asarray(slope(w + s * step * v)) for s in (1, -1))
    gap = np.linalg.norm((ahead - behind) / (2 * step) - image)
    with np.errstate(divide="ignore"):
        mismatch = float(gap / np.linalg.norm(image)) if gap else 0.0
    return Difference(mismatch, step, _EXPECTED * float(np.cbrt(loss.precision)))
