"""Alignment of gradient noise with the Hessian, and the bounds on stability that follow from it."""

import math
from typing import ClassVar

import equinox as eqx
import numpy as np
from scipy.linalg import eigh

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.noise.interpolation import batch_jacobians
from samflow.noise.interpolation.batch_moments import BatchMoments
from samflow.noise.interpolation.batch_operator import batches, has_closed_form
from samflow.noise.interpolation.linearisation import Linearisation, linearise
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_fixed
from samflow.systems.stochastic_map import StochasticMap


class AlignmentBound(AbstractRecord):
    """The bound of Zhou et al. for a minimum and a way to draw batches.

    Attributes:
        alignment: γ, the least of tr(Σ(w)H)/(2L(w)‖H‖²) over the weights w near the minimum.
        hessian_norm: ‖H‖_F of the mean Hessian.
        noise_share: p, 1/B as printed; (n − B)/(B(n − 1)) where `corrected` is asked for.
        value: η²pγ‖H‖²(1 + ρ²pγ‖H‖²); by the bound it is at most 1 for a stable minimum.
        violated: whether it is more than 1.
        lr: the step size at which the value is 1; infinite where γ or p is 0.
        gradient_norm: largest ‖gᵢ(w)‖ over the examples.
        status: located; not_finite where the value is not finite, so that nothing follows; or
            not_a_fixed_point where `w` does not fit every example.

    """

    basis: ClassVar[Names] = ("alignment",)
    rows: ClassVar[Names] = ()
    alignment: float = eqx.field(static=True, metadata=axes(units="1"))
    hessian_norm: float = eqx.field(static=True, metadata=axes(units="loss/weight^2"))
    noise_share: float = eqx.field(static=True)
    value: float = eqx.field(static=True)
    violated: bool = eqx.field(static=True)
    lr: float = eqx.field(static=True)
    gradient_norm: float = eqx.field(static=True, metadata=axes(units="loss/weight"))
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return the bound's verdict with its numbers on one line."""
        said = "unstable" if self.violated else "nothing said"
        return (
            f"{said}: {self.value:.6g} {'>' if self.violated else '≤'} 1, alignment "
            f"{self.alignment:.6g}, ‖H‖ {self.hessian_norm:.6g}, violated for lr > {self.lr:.6g}"
        )


@_checks.untraced()
def alignment_bound(
    system: StochasticMap, w: ArrayLike, *, corrected: bool = False
) -> AlignmentBound:
    """Evaluate the bound of [Z] on the stability of an interpolating minimum `w` for SGD or USAM.

        SGD stable  ⇒ ‖H‖² ≤ B/(η²γ);   USAM stable ⇒ ‖H‖² (1 + (ρ²γ/B)‖H‖²) ≤ B/(η²γ).

    γ is the loss-scaled alignment tr(ΣH)/(2L‖H‖²) of Wu, Wang and Su 2022, with Σ(w) the
    covariance of one example's gradient. We take the least value over all w near the minimum, which
    is how we read the theorem's condition. With w − w* in the span of the examples
    it is the least eigenvalue of the pencil (mean HᵢHHᵢ − H³, ‖H‖²H).

    The printed bounds take the noise of a batch to be Σ/B, that of draws with replacement. Without,
    a batch of B > 1 has less, and a minimum that breaks the printed bound can be stable.

    Args:
        system: the map of GD or USAM without momentum on mini-batches.
        w: the minimum, shape (dim,).
        corrected: use (n − B)/(B(n − 1)) instead of 1/B where draws are without replacement.

    Raises:
        ArgumentError: in single precision, for another rule, momentum or weight decay, and as
            `linearise`.

    Source: Wu, Wang, Su 2022 (arXiv 2207.02628); Zhou et al. 2024 (arXiv 2410.10373);
    docs/theory, section 7.

    """
    _checks.double_precision("Evaluating an alignment bound")
    _checks.instance("system", system, StochasticMap, "Use `sf.StochasticMap(map, noise)`.")
    check_fixed(system)
    noise = batches(system)
    batch_jacobians.check_smooth(system)
    plain = system.map.momentum is None and system.map.weight_decay is None
    if not (has_closed_form(system) and plain):
        raise _checks.ArgumentError(
            "Argument `system` must be GD or USAM without momentum and weight decay for the bound, "
            f"but is the {system.map.describe()}."
        )
    data = linearise(system.loss, w)
    n, size = data.num_examples, noise.batch_size
    share = 1 / size
    if corrected and not noise.replacement:
        share = (n - size) / (size * (n - 1)) if n > 1 else 0.0
    gamma, norm = least_alignment(data)
    rho = system.map.rule.effective_rho()
    level = share * gamma * norm**2
    per_square = level * (1 + rho**2 * level)
    value = float(system.map.lr) ** 2 * per_square
    status = Status.located if data.interpolates else Status.not_a_fixed_point
    return AlignmentBound(
        alignment=gamma,
        hessian_norm=norm,
        noise_share=share,
        value=value,
        violated=value > 1,
        lr=math.inf if per_square <= 0 else 1 / math.sqrt(per_square),
        gradient_norm=data.gradient_norm,
        status=Status.not_finite if math.isnan(value) else status,
        provenance=provenance(system.describe(), corrected=corrected),
    )


def least_alignment(data: Linearisation) -> tuple[float, float]:
    """Return γ and ‖H‖_F; γ is 0 where H is singular on the span, or not positive."""
    moments = BatchMoments(data, 1, True)
    h = moments.hessian
    norm = float(np.linalg.norm(h))
    noise = moments.pair(h) - h @ h @ h
    lowest = np.linalg.eigvalsh(h)[0]
    if lowest <= np.finfo(float).eps * len(h) * norm:
        return 0.0, norm
    least = float(eigh(noise, h, eigvals_only=True, subset_by_index=(0, 0))[0])
    return max(least, 0.0) / norm**2, norm
