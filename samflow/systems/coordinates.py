"""Whether a rule runs on `Components`, one array per coordinate, as fast kernels have it.

A rule written in plain jax.numpy, with `jnp.linalg.norm(g)`, needs arrays of shape (dim,). Nothing
is promised: the rule is traced once on arrays of many members, and runs on them if it can be, and
if no member's numbers go into another's.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from samflow._components import Components
from samflow._schedule import at
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule

_MEMBERS = 1009
"""How many members are traced: unlike every number of weights that has this layout."""
_ACROSS = {"sort", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "rev", "fft"}
"""Operations that can mix members and keep their number."""


def runs_by_coordinates(rule: AbstractRule, loss: AbstractLoss) -> bool:
    """Say whether `rule` on `loss` takes one array per coordinate.

    If not, for whatever reason, arrays of shape (dim,) serve; an error of the rule itself comes out
    there.
    """
    if not loss.elementwise:
        return False
    rule = at(rule, 0)
    leaves, structure = jax.tree.flatten((rule, loss))
    kinds = tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        if isinstance(leaf, (jax.Array, np.ndarray))
        else leaf
        for leaf in leaves
    )
    try:
        hash((structure, kinds))
    except TypeError:
        return _traces(structure, kinds)
    return _remembered(structure, kinds)


def _traces(structure: Any, kinds: Sequence[Any]) -> bool:
    rule, loss = jax.tree.unflatten(structure, kinds)
    is_array = [isinstance(kind, jax.ShapeDtypeStruct) for kind in kinds]
    length = loss.dim * (1 + rule.num_memories)

    def run(arrays: Sequence[Any], parts: Sequence[Any]) -> Any:
        left = iter(arrays)
        leaves = [next(left) if a else kind for a, kind in zip(is_array, kinds, strict=True)]
        rule, loss = jax.tree.unflatten(structure, leaves)
        w, memory = Components(*parts[: loss.dim]), Components(*parts[loss.dim :])
        d, after = rule.step(loss, w, memory)
        first, distance = rule.init(loss, w), rule.singularity(loss, w, memory)
        same = [len(made) == len(v) for made, v in ((d, w), (after, memory), (first, memory))]
        if not all(isinstance(made, Components) for made in (d, after, first)) or not all(same):
            raise TypeError("not in the layout of `w`")
        return d, after, first, distance

    arrays = [kind for kind, a in zip(kinds, is_array, strict=True) if a]
    parts = [jax.ShapeDtypeStruct((_MEMBERS,), jnp.result_type(float))] * length
    try:
        program, made = jax.make_jaxpr(run, return_shape=True)(arrays, parts)
    except Exception:  # whatever it is, it is met again on an array if it is the rule's own
        return False
    shaped = all(leaf.shape in ((), (_MEMBERS,)) for leaf in jax.tree.leaves(made))
    return shaped and _keeps_apart(program.jaxpr, [False] * len(arrays) + [True] * length)


_remembered = functools.lru_cache(maxsize=256)(_traces)


def _keeps_apart(program: Jaxpr, of_members: Sequence[bool]) -> bool:
    """Say whether everything made of the members has one entry for each of them."""
    known = {v for v, of in zip(program.invars, of_members, strict=True) if of}
    for equation in program.eqns:
        of = [not isinstance(v, Literal) and v in known for v in equation.invars]
        if not any(of):
            continue
        made: Any = equation.outvars
        looped = equation.primitive.name in ("scan", "while")
        if looped:  # its counter is of no member; what else is, the inside shows
            made = [v for v in made if _of_members(v)]
        if equation.primitive.name in _ACROSS or not all(map(_of_members, made)):
            return False
        for inner in equation.params.values():
            inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            if not isinstance(inner, Jaxpr):
                continue
            # What goes around a loop may be of the members although it begins as a constant.
            same = not looped and len(inner.invars) == len(of)
            if not _keeps_apart(inner, of if same else [_of_members(v) for v in inner.invars]):
                return False
        known.update(made)
    return True


def _of_members(variable: Any) -> bool:
    """Say whether an array has an axis as long as there are members."""
    return _MEMBERS in variable.aval.shape
