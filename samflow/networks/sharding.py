"""A network's data across devices, each with a part of the examples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from samflow import _checks
from samflow.losses.network import NetworkLoss

AXIS = "examples"
"""Name of the one axis of the mesh of devices."""


def shard_data(loss: NetworkLoss, devices: Sequence[Any] | None = None) -> NetworkLoss:
    """Return the same loss with its examples across devices, equally many on each.

    L = (1/n) Σᵢ ℓᵢ: every device computes the sum over its own examples, of values, gradients and
    products alike, and one sum over all devices makes the result. Weights are on every device. No
    other function needs to know: XLA follows the data.

    Args:
        loss: of a network that JAX computes.
        devices: which of `jax.devices()`; None for all of them.

    Returns:
        A loss that agrees with `loss` to rounding: sums are taken in another order.

    Not guaranteed: weights that were put on one device by `jax.device_put` cannot meet data on
    several; those made as usual can. `in_chunks` and mini-batches (`batch`) pick examples across
    devices, which takes communication: shard what was picked instead.

    Raises:
        ArgumentError: for another kind of loss, for no devices, for a device named twice, and for
            a number of examples that the number of devices does not divide.

    """
    _checks.instance("loss", loss, NetworkLoss, "Use `sf.losses.network(model, x, y)`.")
    chosen = list(jax.devices() if devices is None else devices)
    if not chosen or len({device.id for device in chosen}) < len(chosen):
        raise _checks.ArgumentError(
            f"Argument `devices` must be one or more different devices, but is {chosen}."
        )
    n, left = loss.num_examples, loss.num_examples % len(chosen)
    if left:
        remedy = (
            f"Leave {left} out with `loss.batch(range({n - left}))`"
            if n > left
            else f"Use at most {n} devices"
        )
        raise _checks.ArgumentError(
            f"Argument `loss` must have a multiple of {len(chosen)} examples to be divided among "
            f"{len(chosen)} devices, but {loss.name} has {n}. {remedy}."
        )
    mesh = Mesh(np.array(chosen), (AXIS,))
    parts, whole = (NamedSharding(mesh, PartitionSpec(*names)) for names in ((AXIS,), ()))
    return dataclasses.replace(
        loss,
        x=jax.device_put(loss.x, parts),
        y=jax.device_put(loss.y, parts),
        fixed=_put(loss.fixed, whole),
        state=_put(loss.state, whole),
        whole=None if loss.whole is None else _put(loss.whole, whole),
    )


def _put(tree: Any, place: NamedSharding) -> Any:
    """Return the tree with its arrays on every device."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.device_put(arrays, place), rest)
