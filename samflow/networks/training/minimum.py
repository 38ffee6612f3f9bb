"""Training to a small gradient by full-batch gradient descent."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from samflow import _checks
from samflow._components import norm
from samflow._status import Status
from samflow._types import ArrayLike, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.orbits._iterate import iterate
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import GD
from samflow.spectra.spectrum import Eigenpairs, extreme_eigenpairs
from samflow.systems import Map

_CHUNK = 1000
"""Steps between two calls of `progress`."""

Progress = Callable[[int, int, float], None]
"""Called with the steps made, the most steps there can be, and the norm of the gradient."""


class Training(AbstractRecord):
    """Where training ended.

    Attributes:
        w: the last weights, shape (dim,).
        loss: L(w).
        gradient_norm: ‖g(w)‖.
        num_steps: steps made with each lr.
        lrs: the step sizes.
        sharpness: the largest eigenvalue of H(w), with its vector and residual.
        status: converged, out_of_steps, diverged or not_finite.

    """

    rows: ClassVar[Names] = ()
    sharpness: Eigenpairs
    status: Status = eqx.field(static=True)
    num_steps: tuple[int, ...] = eqx.field(static=True, metadata=axes("stage", units="step"))
    lrs: tuple[float, ...] = eqx.field(static=True, metadata=axes("stage", rename={"lrs": "lr"}))
    provenance: Provenance = eqx.field(static=True)
    w: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    loss: Scalar = eqx.field(metadata=axes(units="loss"))
    gradient_norm: Scalar = eqx.field(metadata=axes(units="loss/weight"))


def train_to_minimum(
    loss: AbstractLoss,
    w0: ArrayLike,
    *,
    lrs: Sequence[float] = (0.1, 0.05),
    num_steps: Sequence[int] = (40_000, 20_000),
    tol: float = 8e-4,
    progress: Progress | None = None,
) -> Training:
    """Run gradient descent w⁺ = w − lr g(w), one lr after another, until ‖g(w)‖ ≤ tol.

    A large lr first brings the sharpness to the edge of stability 2/lr and holds it there while
    the loss falls; the smaller one then settles, since its edge is farther up. The defaults are
    for `digits_loss`.

    Args:
        loss: any loss.
        w0: first weights, shape (dim,).
        lrs: step sizes in their order.
        num_steps: most steps for each of them.
        tol: norm of the gradient at which to stop, in units of loss over weight; tested every
            50 steps.
        progress: called every 1,000 steps.

    Returns:
        The last weights, whatever the status. `converged` says that ‖g‖ ≤ tol and no more: with
        nearly flat directions w is still far from a critical point, H has eigenvalues a little
        below 0, and the sharpness goes on growing at a rate that falls with ‖g‖.

    Not guaranteed: the same digits on another machine. At the edge of stability rounding errors
    grow, so that weights agree to few digits there; sharpness and loss agree much better.

    Raises:
        ArgumentError: in single precision, for arguments out of range, and for lists of different
            lengths.

    Source: Cohen et al. 2021 (arXiv 2103.00065), the edge of stability.

    """
    _checks.double_precision("Training to a minimum")
    w = _checks.point("w0", w0, loss.dim)
    lrs = tuple(_checks.positive("lrs", lr) for lr in lrs)
    limits = tuple(_checks.count("num_steps", n) for n in num_steps)
    tol = _checks.positive("tol", tol)
    if len(lrs) != len(limits) or not lrs:
        raise _checks.ArgumentError(
            f"Argument `num_steps` must have one entry per lr, {len(lrs)}, but has {len(limits)}."
        )
    made, status = [0] * len(lrs), Status.out_of_steps
    value, gradient_norm = _measure(loss, w)
    for i, (lr, limit) in enumerate(zip(lrs, limits, strict=True)):
        system = Map(loss, GD(), lr=lr)
        while gradient_norm > tol and made[i] < limit and status == Status.out_of_steps:
            chunk = min(_CHUNK, limit - made[i])
            orbit = iterate(system, w, num_steps=chunk, tol=lr * tol)
            w, made[i] = orbit.final, made[i] + int(orbit.stopped_at)
            if orbit.status not in (Status.converged, Status.out_of_steps):
                status = Status(int(orbit.status))
            value, gradient_norm = _measure(loss, w)
            if progress is not None:
                progress(sum(made), sum(limits), float(gradient_norm))
    return Training(
        w=w,
        loss=value,
        gradient_norm=gradient_norm,
        num_steps=tuple(made),
        lrs=lrs,
        sharpness=extreme_eigenpairs(loss, w, which="largest", compare=False),
        status=Status.converged if gradient_norm <= tol else status,
        provenance=provenance(loss.name, lrs=lrs, num_steps=limits, tol=tol),
    )


@eqx.filter_jit
def _measure(loss: AbstractLoss, w: Point) -> tuple[Scalar, Scalar]:
    return loss(w), norm(loss.gradient(w))
