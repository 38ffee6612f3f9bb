"""Rules that differ from SAM in where the ascent leads."""

import enum
import functools
import itertools
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._components import concatenate, mean, norm, unit
from samflow._status import Kind
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import at_least_0, flag, kink_distance, least, member, radius
from samflow.rules.base import AbstractNormalisedRule
from samflow.rules.critical import EQUAL, AlignedCycle, AscentStep, Attraction, LinearAscent


class ASAM(AbstractNormalisedRule):
    """Adaptive SAM: d(w) = g(w + rho T²g/‖T g‖), g = g(w), T = diag(|w| + shift).

    T measures the ascent in units of each weight: without shift, scaling the weights one by one,
    and the loss with them, takes ascent points to ascent points. `rho` is a number then; `shift`
    has the unit of a weight.

    Undefined where T g = 0: at critical points and, without shift, also where every weight that
    has a gradient is 0. With shift, |w| leaves a kink where a weight passes 0 and its gradient
    does not vanish: defined, and without a Jacobian.
    Source: Kwon et al. 2021 (arXiv 2102.11600). The authors' code shifts weights by 0.01 and puts
    1 for biases; davda54/sam has no shift. Here one shift serves all; `TensorSAM` makes those.
    """

    rho: Scalar = eqx.field(converter=radius)
    shift: Scalar = eqx.field(default=0.0, converter=at_least_0("shift"))
    name: ClassVar[str] = "asam"
    formula: ClassVar[str] = "g(w + rho T²g/‖T g‖), T = diag(|w| + shift)"
    source: ClassVar[str] = "Kwon, Kim, Park, Choi 2021, arXiv 2102.11600"
    closed_forms: ClassVar[str] = "sliding of the flow; 2-cycles (no weight is 0)"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho T²g/‖T g‖); NaN where T g = 0."""
        return self.limit(loss, w, loss.gradient(w))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho T²e/‖T e‖), which takes no notice of the length of `e`.

        NaN where T e = 0: there the limit depends on more than e. (At w = 0 without shift all of
        T vanishes, and d → g(0) from every side, at a rate linear in w.)
        """
        t = abs(w) + self.shift
        return loss.gradient(w + self.rho * (t * unit(t * e)))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖T g‖, or with shift the distance to a kink times ‖g‖ if that is less."""
        g = loss.gradient(w)
        nearest = kink_distance(self.shift, w, g)
        return least(norm((abs(w) + self.shift) * g), nearest * norm(g))

    def ascent_length(self, w: Any) -> float:
        """Return rho times the largest of T."""
        return float(self.rho * (jnp.max(jnp.abs(jnp.asarray(w))) + self.shift))

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return the ascent with M = T², N = T; None where a weight of 0 is not moved."""
        scale = np.abs(w) + float(self.shift)
        if scale.min() <= EQUAL * scale.max():
            return None
        return LinearAscent(float(self.rho), np.diag(scale**2), np.diag(scale))

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return the step with T = diag(|w| + shift)."""
        shift = float(self.shift)
        return AscentStep(float(self.rho), scale=lambda w: [abs(x) + shift for x in w])


class MultiStepSAM(AbstractNormalisedRule):
    """SAM with several ascent steps: wᵢ₊₁ = wᵢ + (rho/k) g(wᵢ)/‖g(wᵢ)‖, w₀ = w, k = num_steps.

    d(w) = g(wₖ), or with `average` the mean of g(w₁), ..., g(wₖ): of the gradients at the points
    that the ascent reaches, not at w itself. `rho` is the length of the whole path in weight
    space; nothing is projected, so that the end lies within rho of w. With one step it is SAM.

    Undefined where a gradient on the way vanishes: g(wᵢ) = 0 for an i < k.
    Source: Foret et al. 2021 and Andriushchenko and Flammarion 2022 (arXiv 2206.06232) compare
    one step with several; Kim et al. 2023 (arXiv 2302.10181) is about their number. Conventions
    differ: optax.contrib.sam makes k = sync_period − 1 steps of rho each, so that its rho is rho/k
    here; others project onto the ball after each step. Which points a published average runs
    over was not compared.
    """

    rho: Scalar = eqx.field(converter=radius)
    num_steps: int = eqx.field(
        static=True, default=2, converter=lambda v: _checks.count("num_steps", v)
    )
    average: bool = eqx.field(static=True, default=False, converter=flag("average"))
    name: ClassVar[str] = "multistep-sam"
    formula: ClassVar[str] = "g(wₖ), wᵢ₊₁ = wᵢ + (rho/k) g(wᵢ)/‖g(wᵢ)‖, w₀ = w, k = num_steps"
    source: ClassVar[str] = (
        "Andriushchenko, Flammarion 2022, arXiv 2206.06232; Kim et al. 2023, arXiv 2302.10181"
    )
    closed_forms: ClassVar[str] = "2-cycles; sliding of the flow in one dimension"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g at the last point, or the mean over the points; NaN where undefined."""
        return self.limit(loss, w, unit(loss.gradient(w)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return d with the first step along `e`."""
        gradients = self._ascend(loss, w, e)
        if not self.average:
            return gradients[-1]
        return sum(gradients[1:], gradients[0]) / self.num_steps

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the least of ‖g(w₀)‖, ..., ‖g(wₖ₋₁)‖."""
        g = loss.gradient(w)
        later = self._ascend(loss, w, unit(g))[:-1]
        return least(norm(g), *map(norm, later))

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return the 2-cycle along λ > 0; along λ < 0 the ascent turns round."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        about = {"lr": lr, "num_steps": self.num_steps, "average": self.average}
        if lam < 0 or lr * lam >= 2:
            return None
        across = [1 - float(theory.multistep_curvature(lam, other, **about)) for other in others]
        radius = theory.multistep_cycle_radius(lam, rho=float(self.rho), **about)
        return AlignedCycle(float(radius), [1 - lr * lam, *across])

    def _ascend(self, loss: AbstractLoss, w: V, e: V) -> list[V]:
        """Return g(w₁), ..., g(wₖ)."""
        gradients = []
        for _ in range(self.num_steps):
            w = w + (self.rho / self.num_steps) * e
            gradients.append(loss.gradient(w))
            e = unit(gradients[-1])
        return gradients


class Norm(enum.IntEnum):
    """What GCSAM divides the centralised gradient by."""

    raw = 0
    """‖g‖"""
    centralised = 1
    """‖P g‖"""


def _blocks(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)):
        raise _checks.ArgumentError(
            f"Argument `blocks` must be the sizes of the blocks, such as (6, 3), but is {value!r}."
        )
    return tuple(_checks.count("blocks", size) for size in value)


class GCSAM(AbstractNormalisedRule):
    """SAM along the centralised gradient: d(w) = g(w + rho P g/‖g‖), g = g(w).

    P takes from each coordinate the mean over its block: P = I − 11ᵀ/n on a block of n weights.

    =============  ===============================================================
    "raw"          ascent rho P g/‖g‖, no longer than rho; undefined where g = 0
    "centralised"  ascent rho P g/‖P g‖, as long as rho; undefined where P g = 0
    =============  ===============================================================

    P g = 0 also where all gradients of a block are equal. On a block of one weight P = 0: there
    is no ascent along it. A loss of one weight is thus descended by GD where g ≠ 0 with "raw",
    and nowhere with "centralised". `rho` is a length in weight space; the result depends on the
    coordinates, and turning them changes it.

    The descent takes g as it is.
    Source: Hassan et al. 2025 (arXiv 2501.11584). "raw" is what the authors' code does, row by row
    of every tensor with two axes or more and with biases left as they are, which `TensorSAM`
    makes; "centralised" is what a summary of the paper prints, which also centralises the gradient
    of the descent, and was not compared with the original.

    Attributes:
        rho: length of the ascent step.
        norm: "raw" or "centralised".
        blocks: sizes of the blocks in their order, together as many as there are weights, as
            `[math.prod(s) for s in loss.weight_shapes]` for a network; by default one block.

    """

    rho: Scalar = eqx.field(converter=radius)
    norm: Norm = eqx.field(static=True, default=Norm.raw, converter=member("norm", Norm))
    blocks: tuple[int, ...] | None = eqx.field(static=True, default=None, converter=_blocks)
    name: ClassVar[str] = "gcsam"
    formula: ClassVar[str] = "g(w + rho P g/‖g‖), P = I − 11ᵀ/n on each block of n weights"
    source: ClassVar[str] = "Hassan, Vakanski, Zhang, Xian 2025, arXiv 2501.11584"
    closed_forms: ClassVar[str] = "attraction of the flow; 2-cycles"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho P g/‖g‖), or with ‖P g‖; NaN where that is 0."""
        return self.limit(loss, w, unit(loss.gradient(w)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho P e), or g(w + rho P e/‖P e‖), then NaN where P e = 0."""
        ascent = self._centralised(e)
        if self.norm is Norm.centralised:
            ascent = unit(ascent)
        return loss.gradient(w + self.rho * ascent)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖g‖, or ‖P g‖."""
        g = loss.gradient(w)
        return norm(g if self.norm is Norm.raw else self._centralised(g))

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return the ascent with M = P, and N = I or P."""
        identity = np.eye(len(w))
        projection = identity - self._block_means(len(w))
        measure = projection if self.norm is Norm.centralised else identity
        return LinearAscent(float(self.rho), projection, measure)

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return what the flow does along the directions that it does not ascend in."""
        import scipy.linalg  # slow to import, and seldom needed

        basis = scipy.linalg.orth(self._block_means(len(w)))
        form = np.linalg.eigvalsh(basis.T @ np.linalg.inv(hessian) @ basis)
        if np.abs(form).min() <= EQUAL * np.abs(form).max():
            return Attraction(Kind.nonhyperbolic)
        return Attraction(Kind.attracting if form[0] > 0 else Kind.saddle)

    def _block_means(self, dim: int) -> np.ndarray:
        """Return I − P, the projection on vectors that are constant in every block."""
        sizes = (dim,) if self.blocks is None else self.blocks
        block = np.repeat(np.arange(len(sizes)), sizes)
        return (block[:, None] == block) / np.asarray(sizes)[block]

    def _centralised(self, v: V) -> V:
        """Return P v."""
        sizes = (len(v),) if self.blocks is None else self.blocks
        if sum(sizes) != len(v):
            raise _checks.ArgumentError(
                f"Argument `blocks` must add up to the number of weights, {len(v)}, but is {sizes}."
            )
        ends = [0, *itertools.accumulate(sizes)]
        parts = [v[begin:end] for begin, end in itertools.pairwise(ends)]
        return functools.reduce(concatenate, (part - mean(part) for part in parts))
