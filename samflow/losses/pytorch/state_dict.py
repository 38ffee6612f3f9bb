"""Weights and buffers of a PyTorch module as a flat vector of JAX, and back as a state_dict."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._checks import ArgumentError
from samflow._types import Point
from samflow.losses.pytorch.objective import returned
from samflow.losses.pytorch.stateless import Stateless


def flat_weights(network: Stateless, source: Any) -> Point:
    """Return the weights of a module, or of a mapping of names to tensors, as one vector: a copy.

    Raises:
        ArgumentError: if a weight is missing or has another shape.

    """
    torch = network.torch
    if isinstance(source, torch.nn.Module):
        source = getattr(source, "_orig_mod", source)
        source = dict(source.named_parameters(remove_duplicate=False))
    if not isinstance(source, Mapping):
        raise ArgumentError(
            "Argument `source` must be a module or a mapping of names to tensors, but is "
            f"{type(source).__name__}."
        )
    flat = []
    for names, shape in zip(network.aliases, network.shapes, strict=True):
        found = next((torch.as_tensor(source[n]) for n in names if n in source), None)
        if found is None or tuple(found.shape) != shape:
            has = "none" if found is None else f"one of shape {tuple(found.shape)}"
            raise ArgumentError(
                f"Argument `source` must hold {names[0]!r} of shape {shape}, but has {has}."
            )
        flat.append(found.detach().reshape(-1).to(device="cpu", dtype=torch.float64))
    w = jnp.zeros(())
    return returned(torch.cat(flat).to(getattr(torch, w.dtype.name)), w)


def state_dict(network: Stateless, arrays: Sequence[Array]) -> dict[str, Any]:
    """Return what `load_state_dict` of the module takes, with these weights: all in copies."""
    state = network.state()
    state = {n: t.clone() if network.torch.is_tensor(t) else t for n, t in state.items()}
    for names, array in zip(network.aliases, arrays, strict=True):
        made = network.torch.tensor(np.asarray(array))
        made = made.to(device=network.device, dtype=network.dtype)
        state.update(dict.fromkeys(names, made))
    return state
