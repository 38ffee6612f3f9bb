"""What a request is: texts that agree only where the results would.

A system is known by what it says of itself, by its numbers, and by the program that JAX makes of
one step: two functions of one name are not one loss.
"""

import hashlib
import re
from collections.abc import Callable
from types import CodeType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samflow.systems import AbstractMap, AbstractSystem

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_LENGTH = 12
_NUMBERS = (int, float, complex, np.ndarray, np.generic, jax.Array)


def of_system(system: AbstractSystem) -> dict[str, str]:
    """Return what a system is: its text, and digests of its program and of its numbers."""

    def motion(z: Any, k: Any) -> Any:
        here: Any = system.at(k)
        return here.step(z) if isinstance(here, AbstractMap) else here.velocity(z)

    return {
        "system": system.describe(),
        "formulas of the system": of_program(motion, jnp.zeros(system.state_dim), 0.0),
        "numbers of the system": _digest(*jax.tree.leaves(system)),
    }


def of_program(function: Callable[..., Any], *arguments: Any) -> str:
    """Return a digest of what JAX makes of a function, with the arrays that it holds."""
    program = jax.make_jaxpr(function)(*arguments)
    return _digest(_ADDRESS.sub("", str(program)), *program.consts)


def of_function(function: Callable[..., Any]) -> str:
    """Return a digest of a function that JAX cannot trace: of its own code.

    What it reads from elsewhere, as global names, is not in it.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(type(function).__call__, "__code__", None)
    return _digest(*_parts(code)) if code is not None else _digest(repr(type(function)))


def of_array(array: Any) -> str:
    """Return a text of numbers: all of them if they are few, else the ends and a digest."""
    array = np.asarray(array)
    if array.size <= 4:
        return str(array.tolist())
    return f"{array.size} from {array.min():.6g} to {array.max():.6g} ({_digest(array)})"


def _parts(code: CodeType) -> list[Any]:
    """Return what a function computes: its instructions, names and constants."""
    found: list[Any] = [code.co_code.hex(), str(code.co_names)]
    for constant in code.co_consts:
        found += _parts(constant) if isinstance(constant, CodeType) else [repr(constant)]
    return found


def _digest(*values: Any) -> str:
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, _NUMBERS):
            array = np.ascontiguousarray(value)
            total.update(f"{np.shape(value)} {array.dtype.name} ".encode())
            total.update(array.tobytes())
        else:
            total.update((value if isinstance(value, str) else type(value).__qualname__).encode())
        total.update(b";")
    return total.hexdigest()[:_LENGTH]
