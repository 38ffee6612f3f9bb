"""One number of a system, found by name or by a function, to be replaced by others."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow import _checks
from samflow.systems.base import AbstractSystem

Selector = str | Callable[[Any], Any]
"""A name, as "rho", or a function of the system that returns it, as `lambda s: s.rule.rho`."""


class Leaf(NamedTuple):
    """A leaf of a system, known by its place among all leaves.

    Attributes:
        name: what the user calls it, or where it lies in the system.
        index: its place in `jax.tree.leaves(system)`: a number, so that two equal functions that
            select it do not compile two programs.

    """

    name: str
    index: int

    def value(self, system: Any) -> Any:
        """Return the leaf."""
        return jax.tree.leaves(system)[self.index]

    def replaced(self, system: Any, value: Any) -> Any:
        """Return the system with another value; the checks of its constructor do not run."""
        leaves, structure = jax.tree.flatten(system)
        leaves[self.index] = value
        return jax.tree.unflatten(structure, leaves)


class Varied(NamedTuple):
    """Leaves of a system that have another value for each member of an ensemble.

    Attributes:
        indices: their places, as in `Leaf`.
        values: one array (members,) for each.

    """

    indices: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()

    def given(self, system: Any, values: Sequence[Any]) -> Any:
        """Return the system with `values`, numbers or arrays, in the place of the leaves."""
        leaves, structure = jax.tree.flatten(system)
        for index, value in zip(self.indices, values, strict=True):
            leaves[index] = value
        return jax.tree.unflatten(structure, leaves)


def find_leaf(system: AbstractSystem, selector: Selector, argument: str = "parameter") -> Leaf:
    """Return the leaf that `selector` names.

    Args:
        system: the system.
        selector: a name is looked for in the system, then in its rule, its base and its loss.
        argument: the name of the argument in errors.

    Raises:
        ArgumentError: for a name that the system has not, or a function that does not return
            one of its numbers.

    """
    paths = {
        jax.tree_util.keystr(path): index
        for index, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(system))
        if isinstance(leaf, float) or (eqx.is_inexact_array(leaf) and jnp.ndim(leaf) == 0)
    }
    if not paths:
        raise _checks.ArgumentError(
            f"Argument `{argument}` must name a number of the system, but {system.describe()} has "
            "none. Give your function its numbers as leaves, as in "
            "`sf.FunctionMap(jax.tree_util.Partial(lambda z, r: r * z * (1 - z), r=3.0), dim=1)`."
        )
    if isinstance(selector, str):
        for place in (
            f".{selector}",
            *(f".{part}.{selector}" for part in ("rule", "base", "loss")),
        ):
            if place in paths:
                return Leaf(selector, paths[place])
        ends = {_short(path): index for path, index in paths.items()}
        return Leaf(selector, ends[_checks.known(argument, selector, ends)])
    if not callable(selector):
        raise _checks.ArgumentError(
            f'Argument `{argument}` must be a name, as "rho", or a function of the system, as '
            f"`lambda s: s.rule.rho`, but is {_checks.excerpt(selector)}."
        )
    mark = _Mark()
    try:
        marked = jax.tree.leaves(eqx.tree_at(selector, system, mark))
        index = next(i for i, leaf in enumerate(marked) if leaf is mark)
    except Exception as error:  # whatever the function of a user raises
        raise _checks.ArgumentError(
            f"Argument `{argument}` must return one number that the system keeps, but failed: "
            f"{error}. There are {', '.join(paths)}."
        ) from error
    for path, place in paths.items():
        if place == index:
            return Leaf(_short(path), index)
    raise _checks.ArgumentError(
        f"Argument `{argument}` must return one number that the system keeps, but returned "
        f"{_checks.excerpt(selector(system))}. There are {', '.join(paths)}."
    )


def check_values(system: AbstractSystem, leaf: Leaf, values: Iterable[Any]) -> None:
    """Refuse values of a leaf that the constructor of the system or of its rule refuses.

    Raises:
        ArgumentError: of that constructor.

    """
    mark = _Mark()
    marked: Any = leaf.replaced(system, mark)
    for holds, owner in (
        (marked, system),
        (getattr(marked, "rule", None), getattr(system, "rule", None)),
        (getattr(marked, "base", None), getattr(system, "base", None)),
    ):
        if owner is not None and getattr(holds, leaf.name, None) is mark:
            for value in values:
                dataclasses.replace(owner, **{leaf.name: float(value)})


def _short(path: str) -> str:
    """Return the last name in a path of fields and keys, as `r` of `.function.kwargs['r']`."""
    names = re.findall(r"[A-Za-z_]\w*", path.replace("flat index", ""))
    return names[-1] if names else path


class _Mark:
    """What stands in the place of a leaf that is looked for."""
