"""Compilation without optimisation, for programs that run only a few times."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


def quickly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, compiled as by `eqx.filter_jit` but not optimised; its values are arrays.

    Arrays among the arguments are traced, all else is part of the program.
    """

    @functools.partial(
        jax.jit,
        static_argnums=(0, 1),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    def call(leaves: tuple[Any, ...], structure: Any, arrays: Any) -> Any:
        return function(*eqx.combine(arrays, jax.tree.unflatten(structure, leaves)))

    @functools.wraps(function)
    def compiled(*arguments: Any) -> Any:
        arrays, rest = eqx.partition(arguments, eqx.is_array)
        leaves, structure = jax.tree.flatten(rest)
        return call(tuple(leaves), structure, arrays)

    return compiled


def initialised(make: Callable[[Any], Any], keys: list[Any]) -> list[Any]:
    """Return the models that `make` returns for keys, by one program in the place of dozens."""
    arrays = quickly(lambda key: eqx.filter(make(key), eqx.is_array))
    rest = eqx.filter(eqx.filter_eval_shape(make, keys[0]), _is_struct, inverse=True)
    return [eqx.combine(arrays(key), rest) for key in keys]


def _is_struct(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)
