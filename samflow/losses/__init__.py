"""Losses: expressions, functions, and a zoo of toy losses with known critical points."""

import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import sympy

from samflow import _checks
from samflow._types import Box, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import CriticalPoint, ExpressionLoss
from samflow.losses.finite_sum import FiniteSumLoss, mean
from samflow.losses.function import FunctionLoss
from samflow.losses.models import network, network_function
from samflow.losses.network import NetworkLoss
from samflow.losses.parser import parse, read
from samflow.losses.pytorch import TorchLoss, torch_network
from samflow.losses.quadratic import Quadratic
from samflow.losses.zoo import (
    ZOO,
    beale,
    curved_valley,
    double_well,
    goldstein_price,
    himmelblau,
    matrix_factorisation,
    mccormick,
    quartic,
    rastrigin,
    rosenbrock,
    saddle,
    six_hump_camel,
    styblinski_tang,
    valley,
)


def loss(
    source: str | Callable[[Point], Scalar],
    *,
    dim: int | None = None,
    variables: Sequence[str] | None = None,
    domain: Box | None = None,
    name: str | None = None,
) -> AbstractLoss:
    """Make a loss from a name of the zoo, a formula, or a function in JAX.

    >>> loss("x**2 - y**2").dim
    2

    Args:
        source: a name of the zoo ("beale"), a formula ("x**2 - y**2", parsed and never
            evaluated as code), or a function of an array (dim,) that returns a scalar.
        dim: number of weights; required for a function, checked for a formula.
        variables: order of a formula's variables; by default x, y, x2, x10 in natural order.
            A variable that does not occur in the formula may be listed. The loss is flat along
            it, as along y in "x**2 + 0*y".
        domain: where the loss is meant to be used; starts outside it are refused.
        name: what to call it; by default its text, or the function's name.

    Raises:
        ArgumentError: for a formula that is not one (the message shows the place), an unknown
            name (the nearest are given), or a wrong dim.

    """
    if isinstance(source, str):
        made = _from_text(source, variables, domain, name)
        if dim is not None and dim != made.dim:
            raise _checks.ArgumentError(
                f"Argument `dim` must be {made.dim} for {_checks.excerpt(source)}, but is "
                f"{_checks.excerpt(dim)}."
            )
        return made
    if not callable(source):
        raise _checks.ArgumentError(
            "Argument `source` must be a formula as text, or a function, but is "
            f"{_checks.excerpt(source)}."
        )
    if dim is None:
        raise _checks.ArgumentError("Argument `dim` must be given if the loss is a function.")
    dim = _checks.count("dim", dim)
    box = None if domain is None else _checks.box("domain", domain, dim)
    shape = jax.eval_shape(source, jax.ShapeDtypeStruct((dim,), jnp.zeros(()).dtype))
    if getattr(shape, "shape", None) != ():
        raise _checks.ArgumentError(
            f"Argument `source` must return a scalar for weights of shape ({dim},), but returns "
            f"{shape}."
        )
    return FunctionLoss(source, dim, name or getattr(source, "__name__", "function"), box)


def _from_text(
    text: str, variables: Sequence[str] | None, domain: Box | None, name: str | None
) -> ExpressionLoss:
    word = text.strip()
    name_of_zoo = word.replace("-", "_")  # "six-hump-camel", which is no difference of variables
    single = re.fullmatch(r"[A-Za-z_]\w+", word)
    if variables is None and (single or name_of_zoo in ZOO):
        return ZOO[_checks.known("loss", name_of_zoo, ZOO)]()
    expression, names = read(text)
    found = {str(symbol): symbol for symbol in expression.free_symbols}
    if variables is None:
        order = sorted(names, key=_natural)  # with those that cancel
    else:
        if isinstance(variables, str) or not isinstance(variables, Sequence):
            raise _checks.ArgumentError(
                "Argument `variables` must be a list of names, but is "
                f"{_checks.excerpt(variables)}."
            )
        order = list(variables)
        missing = sorted(set(found) - set(order))
        if missing or len(set(order)) != len(order):
            raise _checks.ArgumentError(
                f"Argument `variables` must list each of {sorted(found)} once, but is "
                f"{_checks.excerpt(order)}."
            )
    if not order or (variables is None and not found):
        why = ": all that it names cancel" if names else ""
        raise _checks.ArgumentError(f"The expression {_checks.excerpt(word)} has no variable{why}.")
    parsed = [parse(v) for v in order]
    symbols = tuple(symbol for symbol in parsed if isinstance(symbol, sympy.Symbol))
    if [symbol.name for symbol in symbols] != order:
        raise _checks.ArgumentError(
            f"Argument `variables` must be names, but is {_checks.excerpt(order)}."
        )
    box = None if domain is None else _checks.box("domain", domain, len(symbols))
    return ExpressionLoss(expression, symbols, name or word, box)


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", name)
    ]


__all__ = [
    "ZOO",
    "AbstractLoss",
    "CriticalPoint",
    "ExpressionLoss",
    "FiniteSumLoss",
    "FunctionLoss",
    "NetworkLoss",
    "Quadratic",
    "TorchLoss",
    "beale",
    "curved_valley",
    "double_well",
    "goldstein_price",
    "himmelblau",
    "loss",
    "matrix_factorisation",
    "mccormick",
    "mean",
    "network",
    "network_function",
    "parse",
    "quartic",
    "rastrigin",
    "rosenbrock",
    "saddle",
    "six_hump_camel",
    "styblinski_tang",
    "torch_network",
    "valley",
]
