"""Checks of arguments at the door, in one wording: what, requirement, value received, remedy."""

import difflib
import functools
import math
import numbers
import os
import reprlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from samflow._text import printable
from samflow._types import Box

_LONGEST_NAME = 255
"""Bytes of a name that file systems take."""
_LONGEST_MESSAGE = 3_000
_LONGEST_EXCERPT = 160
_LARGEST_COUNT = 2**53


class ArgumentError(ValueError):
    """A value that the caller gave is not usable; the message says what to do.

    The command line turns it into one line and exit code 2. Characters that a terminal would obey,
    as in names of a file, are escaped, and what is very long is cut in the middle.
    """

    def __init__(self, message: str) -> None:
        """Hold the message in characters that print."""
        half = _LONGEST_MESSAGE // 2
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__(printable(message))


def excerpt(value: Any) -> str:
    """Return what a message quotes of a value: its `repr`, cut where that is long."""
    if isinstance(value, np.generic):
        value = value.item()  # 0.1, not np.float64(0.1)
    short = reprlib.Repr()
    short.maxstring = short.maxother = _LONGEST_EXCERPT
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 8
    try:
        return " ".join(short.repr(value).split())
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return f"a very large {type(value).__name__}"


def is_traced(value: Any) -> bool:
    """Say whether `value` is known only at run time, inside a transformation of JAX."""
    return isinstance(value, Tracer)


@jax.jit
def _nothing() -> Any:
    return 0.0


def inside_jit() -> bool:
    """Say whether JAX traces what calls this, to compile it: no array made there is concrete.

    A compiled function that returns a number is called: the cheapest way to see it.
    """
    return is_traced(_nothing())


_P = ParamSpec("_P")
_R = TypeVar("_R")


def untraced(of: str | None = "") -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function refuse what JAX traces, and say what to call instead.

    Args:
        of: what stands for the function in `sweep`: by default a function that calls it. None if
            it has no place there.

    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        name = function.__name__
        called = of or f"lambda system: sf.{name}(system, ...)"
        remedy = (
            "Call it with numbers, in a Python loop."
            if of is None
            else f'Use `sf.sweep(system, {{"rho": [...]}}, of={called})` for a grid of '
            "hyperparameters, and a Python loop for other arguments."
        )

        @functools.wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if _holds_traced((args, kwargs)):
                raise ArgumentError(
                    f"`{name}` decides with numbers, but a JAX transformation such as vmap, jit "
                    f"or grad traces some of its arguments. {remedy}"
                )
            return function(*args, **kwargs)

        return checked

    return decorate


def _holds_traced(structure: Any, depth: int = 3) -> bool:
    """Say whether a number in `structure`, or one that a function in it refers to, is traced."""
    try:
        leaves = jax.tree.leaves(structure)
    except (TypeError, ValueError):  # keys of a user's dict that have no order
        return False
    for leaf in leaves:
        if is_traced(leaf):
            return True
        for cell in (getattr(leaf, "__closure__", None) or ()) if depth else ():
            try:
                inside = cell.cell_contents
            except ValueError:  # it is not assigned yet
                continue
            if _holds_traced(inside, depth - 1):
                return True
    return False


Requirement = tuple[Callable[[Any], Any], str]
"""A condition, and how a message says it."""


def _number(name: str, value: Any, requirement: Requirement, hint: str) -> float:
    if is_traced(value):
        raise ArgumentError(
            f"Argument `{name}` must be a concrete number, but is traced by a JAX transformation "
            "such as jit, grad or vmap. Set it outside the transformed function."
        )
    holds, text = requirement
    try:
        array = real_numbers(value)
        if array.ndim:
            raise TypeError(f"it has shape {array.shape}")
    except TypeError as error:
        message = f"Argument `{name}` must be a number, but is {excerpt(value)}."
        raise ArgumentError(message) from error
    number = float(array)
    if not (math.isfinite(number) and holds(number)):
        raise ArgumentError(
            f"Argument `{name}` must be {text}, but is {excerpt(value)}. {hint}".rstrip()
        )
    return number


def scalar_array(name: str, value: Any, requirement: Requirement, hint: str) -> Any:
    """Return `value` as a scalar array, also of traced numbers, which a run then checks."""
    if not is_traced(value):
        number = _number(name, value, requirement, hint)
        return jnp.asarray(value if isinstance(value, jax.Array) else number, dtype=float)
    holds, text = requirement
    array = jnp.asarray(value, dtype=float)
    bad = ~(jnp.isfinite(array) & holds(array))
    return eqx.error_if(array, bad, f"Argument `{name}` must be {text}. {hint}".rstrip())


def setting(name: str, value: Any, requirement: Requirement) -> Any:
    """Return `value` as `scalar_array` does; of a number NumPy's array, which costs less to make.

    For what a compiled function takes, and nothing else.
    """
    if is_traced(value):
        return scalar_array(name, value, requirement, "")
    return np.asarray(_number(name, value, requirement, ""))


def real_numbers(value: Any) -> np.ndarray:
    """Return `value` as an array of doubles, if it is real numbers and nothing else.

    NumPy makes numbers of booleans, of texts of digits and of dates, and drops masks.

    Raises:
        TypeError: for those, for complex numbers, for ragged lists, for numbers too large for a
            double, and for tensors that require a gradient.

    """
    _refuse_others(value)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            for each in array.flat:
                _refuse_others(each)
                if not (isinstance(each, numbers.Real) or hasattr(each, "__float__")):
                    raise TypeError(f"{type(each).__name__} is not a number")
        elif array.dtype.kind not in "iuf" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{array.dtype} is not a type of real numbers")
        return array.astype(float)
    except (ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(str(error)) from error


def _refuse_others(value: Any) -> None:
    """Refuse what NumPy would take for numbers, also in lists."""
    if isinstance(value, (str, bytes, bytearray, bool, np.bool_)):
        raise TypeError(f"{type(value).__name__} is not a number")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError("some entries are masked")
    if isinstance(value, (list, tuple)):
        for each in value:
            if not isinstance(each, float):
                _refuse_others(each)


REAL: Requirement = (lambda v: True, "finite")
NONNEGATIVE: Requirement = (lambda v: v >= 0, "finite and at least 0")
POSITIVE: Requirement = (lambda v: v > 0, "finite and greater than 0")
FRACTION: Requirement = (lambda v: (v >= 0) & (v < 1), "in [0, 1)")
WEIGHT: Requirement = (lambda v: (v >= 0) & (v <= 1), "in [0, 1]")


def nonnegative(name: str, value: Any, hint: str = "") -> float:
    """Return `value` as a float; refuse NaN, infinities and negative numbers."""
    return _number(name, value, NONNEGATIVE, hint)


def positive(name: str, value: Any, hint: str = "") -> float:
    """Return `value` as a float; refuse NaN, infinities and numbers not above 0."""
    return _number(name, value, POSITIVE, hint)


def fraction(name: str, value: Any, hint: str = "") -> float:
    """Return `value` as a float; refuse what is not in [0, 1)."""
    return _number(name, value, FRACTION, hint)


def nonnegative_array(name: str, value: Any, hint: str = "") -> Any:
    """Return `value` as a scalar array, also of traced numbers, which a run then checks."""
    return scalar_array(name, value, NONNEGATIVE, hint)


def positive_array(name: str, value: Any, hint: str = "") -> Any:
    """Return `value` as a scalar array, as `nonnegative_array` does."""
    return scalar_array(name, value, POSITIVE, hint)


def fraction_array(name: str, value: Any, hint: str = "") -> Any:
    """Return `value` as a scalar array, as `nonnegative_array` does."""
    return scalar_array(name, value, FRACTION, hint)


def instance(name: str, value: Any, wanted: type, hint: str = "") -> None:
    """Refuse an object that is not an instance of `wanted`."""
    if not isinstance(value, wanted):
        made = value.__name__ if isinstance(value, type) else excerpt(value)
        shown = made if isinstance(value, (str, type)) else type(value).__name__
        article = wanted.__name__.removeprefix("Abstract")
        raise ArgumentError(
            f"Argument `{name}` must be a {article}, but is {shown}. {hint}".strip()
        )


def count(name: str, value: Any, *, minimum: int = 1, maximum: int = _LARGEST_COUNT) -> int:
    """Return `value` as an int of at least `minimum` and at most `maximum`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
    if not whole or value < minimum:
        raise ArgumentError(
            f"Argument `{name}` must be a whole number of at least {minimum}, but is "
            f"{excerpt(value)}."
        )
    if value > maximum:
        shown = "2⁵³" if maximum == _LARGEST_COUNT else maximum
        raise ArgumentError(
            f"Argument `{name}` must be a whole number of at most {shown}, but is {excerpt(value)}."
        )
    return int(value)


def point(name: str, value: Any, dim: int, *, batched: bool = False) -> Any:
    """Return `value` as a float array of shape (dim,), or also (N, dim) where `batched`."""
    try:
        array = value if is_traced(value) else real_numbers(value)
        if is_traced(value) and jnp.iscomplexobj(value):
            raise TypeError("they are complex")
    except TypeError as error:
        raise ArgumentError(
            f"Argument `{name}` must be numbers of shape ({dim},), but is {excerpt(value)}"
            f"{_because(error)}."
        ) from error
    shapes = f"({dim},)" + (f" or (N, {dim})" if batched else "")
    if array.ndim not in ((1, 2) if batched else (1,)) or array.shape[-1] != dim or not array.size:
        raise ArgumentError(
            f"Argument `{name}` must have shape {shapes}, but has shape {array.shape}."
        )
    if not is_traced(array) and not np.isfinite(array).all():
        raise ArgumentError(f"Argument `{name}` must be finite, but is {_short(array)}.")
    return jnp.asarray(array, dtype=float)


def box(name: str, value: Any, dim: int) -> Box:
    """Return `value` as a box: `dim` pairs (low, high), low < high, all finite; or one for all."""
    try:
        array = real_numbers(value)
    except TypeError as error:
        raise ArgumentError(
            f"Argument `{name}` must be {dim} pairs (low, high), or one pair for all weights, but "
            f"is {excerpt(value)}{_because(error)}."
        ) from error
    if array.shape == (2,):
        array = np.tile(array, (dim, 1))
    if array.shape != (dim, 2):
        raise ArgumentError(
            f"Argument `{name}` must be {dim} pairs (low, high), or one pair for all weights, but "
            f"has shape {array.shape}."
        )
    for low, high in array:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ArgumentError(
                f"Argument `{name}` must have low < high, both finite, in every pair, "
                f"but has ({low:g}, {high:g}): the box is empty or unbounded."
            )
    return tuple((float(low), float(high)) for low, high in array)


def inside(name: str, value: Any, domain: Box | None) -> None:
    """Refuse a point outside the domain of its loss."""
    if domain is None or is_traced(value):
        return
    array = np.asarray(value)
    low, high = np.asarray(domain).T
    if not ((array >= low) & (array <= high)).all():
        shown = " × ".join(f"[{a:g}, {b:g}]" for a, b in domain)
        raise ArgumentError(
            f"Argument `{name}` must lie in the loss's domain {shown}, but is {_short(array)}."
        )


def known(name: str, value: str, names: Iterable[str]) -> str:
    """Return `value` if it is one of `names`; otherwise refuse it and name the nearest."""
    names = list(names)
    if isinstance(value, str) and value in names:
        return value
    near = difflib.get_close_matches(str(excerpt(value)).strip("'"), names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    shown = value if isinstance(value, str) and len(value) <= _LONGEST_EXCERPT else excerpt(value)
    raise ArgumentError(f"Unknown {name} `{shown}`. {hint}")


def double_precision(task: str) -> None:
    """Refuse to do in single precision what single precision cannot resolve."""
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ArgumentError(
            f"{task} needs double precision, but JAX is in single precision. Call "
            '`jax.config.update("jax_enable_x64", True)` before you make the system.'
        )


def writable(name: str, path: str | os.PathLike[str], suffixes: Sequence[str] = ()) -> Path:
    """Return `path` if a file can be made there; say why not before any work is done."""
    path = Path(path)
    if suffixes and path.suffix not in suffixes:
        raise ArgumentError(
            f"Argument `{name}` must end in {' or '.join(suffixes)}, but is {str(path)!r}."
        )
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise ArgumentError(
            f"Argument `{name}` must have a name of at most {_LONGEST_NAME} bytes, but is "
            f"{str(path)!r}."
        )
    if path.is_dir():
        raise ArgumentError(f"Argument `{name}` must be a file, but {str(path)!r} is a folder.")
    if path.exists() and not path.is_file():
        raise ArgumentError(
            f"Argument `{name}` must be a file, but {str(path)!r} is a pipe or a device, which "
            "would be replaced. Give a file, or print to stdout and redirect that."
        )
    folder = path.parent
    if not folder.is_dir():
        raise ArgumentError(
            f"Argument `{name}` must be in a folder that exists, but is {str(path)!r}. "
            f"Make {str(folder)!r} first."
        )
    # It is replaced by a file that is made beside it, or beside what it is a link to.
    real = Path(os.path.realpath(path))
    if not (_access(real.parent) and (_access(real) or not real.exists())):
        raise ArgumentError(
            f"Argument `{name}` must be writable, but {str(path)!r} is not. Choose another path."
        )
    return path


def _access(place: Path) -> bool:
    """Say whether this process may write there, by the rights that it has at the moment."""
    rights = os.W_OK | os.X_OK if place.is_dir() else os.W_OK
    return os.access(place, rights, effective_ids=os.access in os.supports_effective_ids)


def _because(error: TypeError) -> str:
    """Return a reason for the end of a sentence."""
    reason = " ".join(str(error).split())
    return f" ({reason[:_LONGEST_EXCERPT]})" if reason else ""


def _short(array: np.ndarray) -> str:
    return np.array2string(array, precision=6, threshold=8, separator=", ")
