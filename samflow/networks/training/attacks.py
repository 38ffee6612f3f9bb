"""Attacks on a network's inputs, for adversarial training and for adversarial errors."""

from collections.abc import Iterator
from typing import TypeGuard

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from samflow import _checks
from samflow._types import ArrayLike, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.chunked import ChunkedLoss
from samflow.losses.evaluation import misclassified
from samflow.losses.network import NetworkLoss

_REACH = 2.5
"""All default steps together reach so many times epsilon, as in the authors' code."""


def _interval(value: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if value is None else _checks.box("bounds", [value], 1)[0]


class PGD(eqx.Module):
    """Projected gradient ascent on each example's loss within ‖x′ − x‖_∞ ≤ epsilon.

    x′ ← clip(x′ + step_size · sign ∂ℓ/∂x′, x − epsilon, x + epsilon), `num_steps` times, from x or
    from a point drawn evenly from that box; within `bounds` throughout. The last iterate is
    taken, not the worst. With num_steps=1, step_size=epsilon and no random start it is FGSM.

    Attributes:
        epsilon: radius of the box, ≥ 0, in the units of the inputs as the loss holds them.
        step_size: > 0; by default 2.5 epsilon/num_steps.
        num_steps: how many gradients with respect to the inputs.
        bounds: (low, high) between which inputs lie, as pixels in (0, 1); None for none.
        random_start: whether the first point is drawn.

    Raises:
        ArgumentError: for numbers out of range.

    Source: Madry, Makelov, Schmidt, Tsipras, Vladu 2018 (arXiv 1706.06083).

    """

    epsilon: Scalar = eqx.field(converter=lambda v: _checks.nonnegative_array("epsilon", v))
    step_size: Scalar | None = eqx.field(
        default=None,
        converter=lambda v: None if v is None else _checks.positive_array("step_size", v),
    )
    num_steps: int = eqx.field(
        static=True, default=10, converter=lambda v: _checks.count("num_steps", v)
    )
    bounds: tuple[float, float] | None = eqx.field(
        static=True, default=(0.0, 1.0), converter=_interval
    )
    random_start: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        _checks.instance("random_start", self.random_start, bool)

    def perturb(self, loss: AbstractLoss, w: Point, x: Array, key: PRNGKeyArray) -> Array:
        """Return inputs x′, in the shape and type of `x`, on which `loss` is larger.

        The ascent is on the mean loss; since only signs are used, that is the ascent on each
        example's, unless examples see each other, as through batch norm in training mode.

        Args:
            loss: a `NetworkLoss`; its targets are those of `x`.
            w: weights, shape (dim,).
            x: inputs, one example a row; within `bounds`.
            key: of the random start.

        Raises:
            ArgumentError: for a loss that JAX does not compute, inputs that are no real numbers,
                and inputs beyond the bounds.

        """
        loss = _attackable(loss)
        x = jnp.asarray(x)
        self.check_inputs(x)
        return self._perturbed(loss, w, x, key)

    def check_inputs(self, x: Array) -> None:
        """Check that inputs are real numbers within the bounds.

        Raises:
            ArgumentError: if they are not.

        """
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise _checks.ArgumentError(
                f"Argument `x` must be real numbers to be attacked, but is {x.dtype.name}."
            )
        if self.bounds is None:
            return
        least, most = self.bounds
        found = float(x.min()), float(x.max())
        if not (least <= found[0] and found[1] <= most):
            raise _checks.ArgumentError(
                f"Argument `x` must lie within the attack's bounds ({least:g}, {most:g}), but is "
                f"in [{found[0]:g}, {found[1]:g}]. Give `bounds` in the units of the inputs, or "
                "None."
            )

    def _perturbed(self, loss: NetworkLoss, w: Point, x: Array, key: PRNGKeyArray) -> Array:
        low, high, moved = _begun(self, x, key)
        step = _REACH * self.epsilon / self.num_steps if self.step_size is None else self.step_size
        for _ in range(self.num_steps):
            moved = _ascended(loss, w, moved, low, high, step)
        return moved

    def describe(self) -> str:
        """Say what the attack is, with numbers that tell any two apart."""
        size = "2.5 epsilon/num_steps" if self.step_size is None else repr(float(self.step_size))
        return (
            f"PGD, L-infinity: epsilon={float(self.epsilon)!r}, step_size={size}, "
            f"num_steps={self.num_steps}, bounds={self.bounds}, random_start={self.random_start}"
        )


@eqx.filter_jit
def _begun(attack: PGD, x: Array, key: PRNGKeyArray) -> tuple[Array, Array, Array]:
    """Return the ends of what x′ may be, and the first x′."""
    epsilon = attack.epsilon.astype(x.dtype)
    low, high = x - epsilon, x + epsilon
    if attack.bounds is not None:
        low, high = jnp.maximum(low, attack.bounds[0]), jnp.minimum(high, attack.bounds[1])
    if not attack.random_start:
        return low, high, x
    shift = jr.uniform(key, x.shape, x.dtype, -1.0, 1.0) * epsilon
    return low, high, jnp.clip(x + shift, low, high)


@eqx.filter_jit
def _drawn(x: Array, y: Array, chosen: ArrayLike) -> tuple[Array, Array]:
    return x[chosen], y[chosen]


# One step is one program, driven from Python: XLA runs convolutions in loops slowly on a CPU.
@eqx.filter_jit
def _ascended(
    loss: NetworkLoss, w: Point, x: Array, low: Array, high: Array, step: Scalar
) -> Array:
    uphill = jnp.sign(jax.grad(loss.value_on, argnums=1)(w, x))
    return jnp.clip(x + step.astype(x.dtype) * uphill, low, high)


def attacked(loss: AbstractLoss, w: Point, attack: PGD, key: PRNGKeyArray) -> NetworkLoss:
    """Return `loss` on the inputs that the attack finds at the weights `w`, and keeps there."""
    loss = _attackable(loss)
    return loss.on(attack.perturb(loss, w, loss.x, key), loss.y, loss.whole)


def attacked_batch(
    loss: NetworkLoss, chosen: ArrayLike, w: Point, attack: PGD, key: PRNGKeyArray
) -> NetworkLoss:
    """Return the loss of the examples `chosen`, attacked; `check_inputs` was called of them all."""
    batch = loss.on(*_drawn(loss.x, loss.y, chosen), None)
    return loss.on(attack._perturbed(batch, w, batch.x, key), batch.y, loss)


def adversarial_error(
    loss: AbstractLoss, w: ArrayLike, attack: PGD, *, key: PRNGKeyArray | None = None
) -> Scalar:
    """Return the share of examples misclassified on attacked inputs.

    Args:
        loss: a `NetworkLoss`, which may go `in_chunks`.
        w: weights, shape (dim,).
        attack: how inputs are perturbed.
        key: of random starts; None: key(0).

    Not guaranteed: that no other perturbation within epsilon is worse; the share is a lower bound.

    Raises:
        ArgumentError: as `PGD.perturb`, and for weights of the wrong shape or not finite.

    """
    w = _checks.point("w", w, loss.dim)
    key = jr.key(0) if key is None else key
    shares = [
        share * misclassified(attacked(part, w, attack, jr.fold_in(key, i)), w)
        for i, (share, part) in enumerate(_parts(loss))
    ]
    return jnp.sum(jnp.stack(shares))


def _parts(loss: AbstractLoss) -> Iterator[tuple[float, AbstractLoss]]:
    if isinstance(loss, ChunkedLoss):
        return loss.chunks(loss.chunk_size)
    return iter([(1.0, loss)])


def in_memory(loss: AbstractLoss) -> TypeGuard[NetworkLoss]:
    """Say whether a loss is one to be attacked whose inputs are arrays of JAX."""
    return isinstance(loss, NetworkLoss) and not isinstance(loss.x, np.memmap)


def _attackable(loss: AbstractLoss) -> NetworkLoss:
    if isinstance(loss, NetworkLoss):
        if not in_memory(loss):
            raise _checks.ArgumentError(
                f"Argument `loss` must hold its inputs in memory to be attacked as a whole, but "
                f"{loss.name} has them on disk. Give `batch_size`."
            )
        return loss
    if isinstance(loss, ChunkedLoss):
        remedy = "Give `batch_size`, so that a batch is attacked at once."
    else:
        remedy = "Use `sf.losses.network` or `sf.losses.network_function`."
    raise _checks.ArgumentError(
        f"Argument `loss` must be a NetworkLoss to be attacked, whose inputs JAX differentiates, "
        f"but is {type(loss).__name__}. {remedy}"
    )
