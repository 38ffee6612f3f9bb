"""Detection of operations that are not twice differentiable everywhere, such as ReLU."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

KINKED = {
    "abs": "abs",
    "clamp": "clip",
    "max": "maximum",
    "min": "minimum",
    "reduce_window_max": "max-pooling",
    "round": "rounding",
    "floor": "rounding",
    "ceil": "rounding",
    "sign": "sign",
    "sort": "sorting",
}
"""Operations of JAX with kinks or jumps, with their usual names.

The largest of many, `reduce_max`, is left out: softmax subtracts it, and loses it again."""

_NAMED = ("relu", "hard_tanh", "hard_sigmoid", "relu6", "leaky_relu")
"""Functions of JAX with a name of their own in a program."""


def kinks(function: Callable[..., Any], *arguments: Any) -> tuple[str, ...]:
    """Return the operations of `function` that have kinks, each once; empty if none is known.

    The Hessian of a function with kinks is that of its smooth pieces. It does not describe what
    happens where a unit switches. An operation in the list need not depend on the weights.

    >>> import jax.numpy as jnp
    >>> kinks(lambda x: jax.nn.relu(jnp.abs(jnp.tanh(x))), 1.0)
    ('abs', 'relu')
    """
    found = sorted({name for name in _names(jax.make_jaxpr(function)(*arguments).jaxpr)})
    return tuple(found)


def _names(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        name = str(equation.params.get("name", ""))
        if name in _NAMED:
            yield name
            continue  # what it is made of is known
        if equation.primitive.name in KINKED and not _is_against_infinity(equation):
            yield KINKED[equation.primitive.name]
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from _names(inner)


def _is_against_infinity(equation: Any) -> bool:
    """Whether one side is infinite, as in JAX's softmax: then nothing ever switches."""
    return any(np.any(np.isinf(getattr(v, "val", 0.0))) for v in equation.invars)
