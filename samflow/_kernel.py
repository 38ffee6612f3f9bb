"""How XLA on a CPU compiles a loop over blocks: as one function, each intermediate result once.

Left to itself XLA calls one compiled function per output and step, from a scheduler that costs
more than a step of a small block. `fused` marks a computation so that all of it, loops included,
becomes one function of machine code. Inside of it XLA still makes one loop over the block for each
output, and computes again in each whatever that output needs: a gradient with n coordinates is
computed n times. `stored` stops this for the values that it is given. tests/test_kernel.py
counts both in compiled programs. On other devices the three functions here change nothing.

What is computed is the same in any case, to rounding: XLA contracts a·b + c where it sees both.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.extend
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata

from samflow import _checks

_APART = "inlineable"
"""Attribute of a call: "false" keeps it a call, whose arguments and results are in memory."""
_ONE_FUNCTION = "xla_cpu_small_call"
"""Attribute of a call: "true" compiles it as one function."""
_OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""The widest vectors there are; the older emitter of loops, which compiles faster."""
_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type
    copy copy_p cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le
    log log1p logistic lt max min mul ne neg nextafter not or pow rem round rsqrt select_n
    shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient
    sub tan tanh xor
    bitcast_convert_type broadcast_in_dim concatenate dynamic_slice dynamic_update_slice expand_dims
    iota reshape reshard slice split squeeze stack transpose
    reduce_and reduce_max reduce_min reduce_or reduce_sum
    complex real imag
    closed_call cond custom_jvp_call custom_vjp_call jit pjit scan while
"""
_KNOWN = frozenset(_ELEMENTWISE.split())
"""Primitives that XLA can compile within one function, also after `vmap`; no library is called."""
_REDUCTIONS = frozenset({"reduce_max", "reduce_min", "reduce_sum"})
_LIBRARY_FROM = 4096
"""Entries from which on XLA leaves these reductions to a library, and cannot compile them within
one function."""


T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def fused(function: F) -> F:
    """Return `function`, compiled as one function of machine code where that is possible."""
    if not on_cpu():
        return function

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        run = jax.jit(_inside(jax.extend.core.jaxpr_as_fun(closed)))
        leaves = jax.tree.leaves(args)
        if _can_be_one(closed.jaxpr):
            with set_xla_metadata(**{_APART: "false", _ONE_FUNCTION: "true"}):
                results = run(*leaves)
        else:
            results = run(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call  # pyright: ignore[reportReturnType]


def apart(function: F) -> F:
    """Return `function`, whose results are kept in memory: what uses them computes none again."""
    if not on_cpu():
        return function

    run = jax.jit(_inside(function))

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with set_xla_metadata(**{_APART: "false"}):
            return run(*args)

    return call  # pyright: ignore[reportReturnType]


def stored(values: T) -> T:
    """Return `values`, kept in memory: what uses them does not compute them again."""
    return apart(_identity)(values)


def operations(function: Callable[..., Any], *args: Any) -> float:
    """Return the number of operations of `function`, infinity where a library may be called."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _count(jaxpr) if _can_be_one(jaxpr) else math.inf


def tuned(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled by `eqx.filter_jit`, with options for loops over blocks.

    JAX takes options for a whole program only: inside of another one there are none. `alone()` of
    what is returned is the function that has them.
    """
    plain = eqx.filter_jit(function)

    @functools.cache
    def alone() -> Callable[..., Any]:
        options: Any = {"compiler_options": _OPTIONS} if _takes_options() else {}
        return eqx.filter_jit(function, **options) if options else plain

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return (plain if _checks.inside_jit() else alone())(*args)

    call.alone = alone  # pyright: ignore[reportAttributeAccessIssue]
    return call


def numbers(settings: T) -> T:
    """Return settings of which each is an array: Python's numbers would be constants of a program.

    They are NumPy's arrays, which cost nothing to make.
    """
    array = lambda value: value if isinstance(value, jax.Array) else np.asarray(value)  # noqa: E731
    return jax.tree.map(array, settings)


def on_cpu() -> bool:
    """Say whether programs are compiled for a CPU."""
    return jax.default_backend() == "cpu"


@functools.cache
def _takes_options() -> bool:
    """Say whether this version of XLA knows the options: it fails for those that it does not."""
    if not on_cpu():
        return False
    try:
        jax.jit(_identity, compiler_options=_OPTIONS).lower(0.0).compile()
    except Exception:  # of jaxlib, of a class that depends on the version
        return False
    return True


def _identity(values: Any) -> Any:
    return values


def _inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` without the attributes that the call of it has."""

    def plain(*args: Any) -> Any:
        with set_xla_metadata(**{_APART: None, _ONE_FUNCTION: None}):
            return function(*args)

    return plain


def _can_be_one(jaxpr: Any) -> bool:
    """Say whether all primitives, also those of loops and branches, are of the known ones."""
    return all(
        equation.primitive.name in _KNOWN
        and not _left_to_a_library(equation)
        and all(map(_can_be_one, jax.extend.core.jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def _left_to_a_library(equation: Any) -> bool:
    many = any(math.prod(v.aval.shape) >= _LIBRARY_FROM for v in equation.invars)
    return equation.primitive.name in _REDUCTIONS and many


def _count(jaxpr: Any) -> int:
    """Return the number of operations in a program, those of a loop once."""
    inner = (list(jax.extend.core.jaxprs_in_params(e.params)) for e in jaxpr.eqns)
    return sum(sum(map(_count, programs)) if programs else 1 for programs in inner)
