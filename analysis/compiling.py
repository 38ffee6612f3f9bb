"""Compile without optimisation what runs a few times: for such programs compiling is the cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


def quickly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` of arrays, compiled for each of their shapes but not optimised."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def initialised(make: Callable[[Any], Any], keys: list[Any]) -> list[Any]:
    """Return the models that `make` returns for keys, by one program in the place of dozens."""
    arrays = quickly(lambda key: eqx.filter(make(key), eqx.is_array))
    rest = eqx.filter(eqx.filter_eval_shape(make, keys[0]), _is_struct, inverse=True)
    return [eqx.combine(arrays(key), rest) for key in keys]


def _is_struct(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)
