"""Directions in which a loss is looked at: eigenvectors, of a trajectory, random, one's own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.spectra.spectrum import extreme_eigenpairs

_HIGHEST = ("sharpest", "second sharpest")
_LOWEST = ("lowest", "second lowest")
_PRINCIPAL = ("first principal", "second principal")
AXES = (*_HIGHEST, *_LOWEST, "line", *_PRINCIPAL, "random")
"""Names of directions."""
_PAIRS = {"eigenvectors": ("sharpest", "lowest"), "trajectory": _PRINCIPAL}
_TOL = 1e-6
"""Residual of an eigenvector, as a part of max|λ|: a picture needs no more."""
_PARALLEL = 1e-6


class Axis(NamedTuple):
    """A direction: its name, its unit vector, and a length that belongs to it; NaN for none."""

    name: str
    vector: NumpyArray
    length: float


def axes_along(
    loss: AbstractLoss, states: NumpyArray, along: Any, key: PRNGKeyArray | None, max_products: int
) -> list[Axis]:
    """Return the directions that `along` names or holds, through the last of the states.

    Of exactly two, which span a plane, the second is made orthogonal to the first.
    """
    wanted = _wanted(along, states)
    for each in wanted:
        if isinstance(each, str):
            _check_name(each, len(states), loss.dim)
    names = [each for each in wanted if isinstance(each, str)]
    known = _eigenvectors(loss, states[-1], names, max_products) | _of_states(states, names)
    generator = numpy_generator(key)
    found = []
    for i, each in enumerate(wanted):
        if not isinstance(each, str):
            found.append(_given(each, loss.dim, i, len(wanted)))
        elif each == "random":
            number = 1 + sum(axis.name.startswith("random") for axis in found)
            name = each if names.count(each) == 1 else f"random {number}"
            found.append(_random(loss, states[-1], generator, name))
        else:
            found.append(known[each])
    return _orthogonal(*found) if len(found) == 2 else found


def _wanted(along: Any, states: NumpyArray) -> list[Any]:
    if along is None:
        along = {1: "eigenvectors", 2: "line"}.get(len(states), "trajectory")
        if along == "eigenvectors" and states.shape[1] == 1:
            along = "sharpest"
    if isinstance(along, str):
        return list(_PAIRS.get(along, (along,)))
    if not isinstance(along, Sequence) or not any(isinstance(each, str) for each in along):
        array = np.asarray(along)
        return list(array) if array.ndim == 2 else [array]
    return list(along)


def _check_name(name: str, num_states: int, dim: int) -> None:
    _checks.known("direction", name, (*AXES, *_PAIRS))
    if name in _PAIRS:
        raise _checks.ArgumentError(
            f"Argument `along` must be {name!r} alone, because that names two directions, but is a "
            f"list with it. Give {' and '.join(map(repr, _PAIRS[name]))} instead."
        )
    least = {"line": 2, "first principal": 2, "second principal": 3}.get(name, 1)
    if num_states < least:
        raise _checks.ArgumentError(
            f"Argument `w` must have at least {least} states for along={name!r}, shape (n, dim), "
            f"but has {num_states}."
        )
    if name.startswith("second") and dim < 2:
        raise _checks.ArgumentError(
            f"Argument `along` must be one direction for a loss of one weight, but is {name!r}."
        )


def _eigenvectors(
    loss: AbstractLoss, w: NumpyArray, names: list[str], max_products: int
) -> dict[str, Axis]:
    counts = [max((i + 1 for i, n in enumerate(end) if n in names), default=0) for end in _ENDS]
    if not any(counts):
        return {}
    which = "both" if all(counts) else "largest" if counts[1] else "smallest"
    k = min(max(counts), loss.dim // 2 if which == "both" else loss.dim)
    if k < max(counts):
        raise _checks.ArgumentError(
            f"Argument `along` must ask for no more eigenvectors than there are, but is {names} "
            f"for {loss.dim} weights."
        )
    found = extreme_eigenpairs(
        loss, w, k=k, which=which, tol=_TOL, max_products=max_products, compare=False
    )
    vectors = np.asarray(found.vectors)
    if not np.isfinite(vectors).all():
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} is twice differentiable, but its "
            "Hessian there is not finite. Give directions of your own, or 'random'."
        )
    places = dict(zip(_LOWEST, (0, 1), strict=True)) | dict(zip(_HIGHEST, (-1, -2), strict=True))
    return {n: Axis(n, vectors[places[n]], np.nan) for n in names if n in places}


_ENDS = (_LOWEST, _HIGHEST)


def _of_states(states: NumpyArray, names: list[str]) -> dict[str, Axis]:
    """Return the line from the first state to the last, and the principal axes about the last."""
    found = {}
    moved = states[:-1] - states[-1]
    if "line" in names:
        length = float(np.linalg.norm(moved[0]))
        if not length > 0:
            raise _checks.ArgumentError(
                "Argument `w` must begin and end in different weights for along='line', but both "
                "are the same."
            )
        found["line"] = Axis("line", -moved[0] / length, length)
    if any(name in names for name in _PRINCIPAL):
        scale = float(np.abs(moved).max())
        if not scale > 0:
            raise _checks.ArgumentError(
                "Argument `w` must have states that differ for principal axes, but all are the "
                "same."
            )
        _, sizes, vectors = np.linalg.svd(moved / scale, full_matrices=False)
        for i, name in enumerate(_PRINCIPAL):
            if name in names and not (i < len(sizes) and sizes[i] > _PARALLEL * sizes[0]):
                raise _checks.ArgumentError(
                    "Argument `w` must have states off one line for along='second principal', but "
                    "all are on one line. Use along='first principal'."
                )
            if name in names:  # so that the trajectory comes from the left
                v = vectors[i] * (-1.0 if moved[0] @ vectors[i] > 0 else 1.0)
                found[name] = Axis(name, v, np.nan)
    return found


def _given(vector: Any, dim: int, i: int, count: int) -> Axis:
    v = np.asarray(_checks.point("along", vector, dim))
    size = float(np.linalg.norm(v))
    if not size > 0:
        raise _checks.ArgumentError("Argument `along` must be directions, but one of them is 0.")
    return Axis("direction" if count == 1 else f"direction {i + 1}", v / size, np.nan)


def _random(loss: AbstractLoss, w: NumpyArray, generator: np.random.Generator, name: str) -> Axis:
    v = generator.standard_normal(loss.dim)
    if isinstance(loss, AbstractNetworkLoss):
        v = filter_normalised(loss, jnp.asarray(v), jnp.asarray(w))
    else:
        v = v * (np.linalg.norm(w) / np.linalg.norm(v))
    size = float(np.linalg.norm(v))
    if not size > 0:  # at weights of 0 no length is distinguished
        v, size = generator.standard_normal(loss.dim), np.nan
    return Axis(name, v / np.linalg.norm(v), size)


def filter_normalised(loss: AbstractNetworkLoss, v: Point, w: Point) -> NumpyArray:
    """Return `v` with each filter as long as the filter of `w`, and 0 for biases and scales.

    A filter is a row of an array of two or more axes: the weights of one unit or channel.
    Source: Li et al. 2018 (arXiv 1712.09913), section 4.
    """
    parts = []
    for d, a in zip(loss.split(v), loss.split(w), strict=True):
        d, a = np.asarray(d), np.asarray(a)
        if a.ndim < 2:
            parts.append(np.zeros(a.size))
            continue
        rows, filters = d.reshape(len(d), -1), a.reshape(len(a), -1)
        scale = np.linalg.norm(filters, axis=1) / np.linalg.norm(rows, axis=1)
        parts.append((rows * scale[:, None]).ravel())
    return np.concatenate(parts)


def _orthogonal(first: Axis, second: Axis) -> list[Axis]:
    common = float(first.vector @ second.vector)
    v = second.vector - common * first.vector
    size = float(np.linalg.norm(v))
    if not size > _PARALLEL:
        raise _checks.ArgumentError(
            f"Argument `along` must be two directions that span a plane, but {first.name!r} and "
            f"{second.name!r} are parallel."
        )
    v = v / size
    v = v - (first.vector @ v) * first.vector
    bent = abs(common) > _PARALLEL
    name = f"{second.name}, orthogonal part" if bent else second.name
    return [first, Axis(name, v / np.linalg.norm(v), second.length)]


def random_walk_shares(num_states: int, count: int = 2) -> NumpyArray:
    """Return what the first principal axes hold of a random walk in many dimensions.

    Of the squared distances of m = n − 1 states from the last one the k-th axis about the last
    state holds, in the limit of many dimensions,

        1/(4 sin²((2k − 1)π/(4m + 2))) / (m(m + 1)/2),

    which is 8/(π²(2k − 1)²) for many states: 81 %, 9 %, ... So a plane that holds 90 % of a
    trajectory says nothing by that alone.

    Args:
        num_states: n, at least 2.
        count: how many axes; those beyond m hold 0.

    Source: the Gram matrix min(i, j) has these eigenvalues; for axes about the mean, Antognini and
    Sohl-Dickstein 2018 (arXiv 1806.08805).

    """
    m = _checks.count("num_states", num_states, minimum=2) - 1
    k = np.arange(1, _checks.count("count", count) + 1)
    values = 1 / (4 * np.sin((2 * np.minimum(k, m) - 1) * np.pi / (4 * m + 2)) ** 2)
    return np.where(k <= m, values / (m * (m + 1) / 2), 0.0)
