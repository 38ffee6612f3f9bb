"""The loss along directions through given weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import ArrayLike, NumpyArray
from samflow.landscapes.directions import Axis, axes_along, random_walk_shares
from samflow.landscapes.records import Landscape
from samflow.landscapes.values import Parabola, departure, extents, values
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import gradient, value
from samflow.records import provenance
from samflow.spectra.products import hessian_product

_BEYOND = 2.5
"""A slice goes so many times as far as the parabola holds."""
_MARGIN = 0.2
_FARTHEST = 4.0


@_checks.untraced(of=None)
def landscape(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    along: str | Sequence[Any] | ArrayLike | None = None,
    extent: Any = None,
    num_points: int = 51,
    tol: float = 0.1,
    max_products: int = 400,
    key: PRNGKeyArray | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Landscape:
    """Compute the loss along directions through weights, and on the plane of two directions.

    >>> import samflow as sf
    >>> found = sf.landscape(sf.loss("x**2 - y**2/2 + y**4/4"), [0.0, 0.0])
    >>> found.names, found.curvatures.round(6).tolist(), found.plane.shape
    (('sharpest', 'lowest'), [2.0, -1.0], (51, 51))
    >>> found.departs[1].round(4).tolist()      # y⁴/4 is a tenth of y²/2 at y = √0.2
    [-0.4472, 0.4472]

    Args:
        loss: any loss, of a formula, a function, or a network of JAX or PyTorch.
        w: weights, shape (dim,); or the states of a trajectory, shape (n, dim), such as the
            weights before and after: the last one is the centre.
        along: names of `AXES`, vectors of shape (dim,), or a list of them. "sharpest", "second
            sharpest", "lowest", "second lowest" are eigenvectors of the Hessian at the centre;
            "line" leads from the first state to the last; "first principal" and "second
            principal" are the principal axes of the states about the last one; "random" is filter
            normalised (Li et al. 2018). "eigenvectors" is the sharpest and the lowest,
            "trajectory" both principal axes. By default "eigenvectors" for one state, "line" for
            two and "trajectory" for more. Two directions make a plane, in which the second is made
            orthogonal to the first.
        extent: how far to go, in units of weight: a number, or for each direction a number or a
            pair (low, high). By default over all states with a margin; else 2.5 times as far as
            the parabola holds, in the plane with curvature terms of one size; along random
            directions as far as the filters are long.
        num_points: along each direction.
        tol: up to which the parabola "holds", as a part of its curvature term.
        max_products: Hessian-vector products after which the search for eigenvectors gives up;
            `residuals` show how far it came.
        key: of random directions and of Lanczos; None: key(0).
        progress: called with a message for what is being done.

    Returns:
        A `Landscape`; `print` gives its caption, `sf.plots.landscape` draws it. The loss is
        computed at every point; what is not finite stays so and is counted.

    Not guaranteed: anything between the points, and in other directions. The parabola is compared
    at 48 distances in equal factors and bisected: a departure and return between two is missed.

    Raises:
        ArgumentError: in single precision; for weights of another shape or not finite, unknown or
            parallel directions, an empty range, fewer states than a direction needs, and weights
            where gradient or Hessian is not finite.

    Source: Goodfellow et al. 2015 (arXiv 1412.6544), lines; Li et al. 2018 (arXiv 1712.09913),
    filter normalisation and principal axes.

    """
    _checks.double_precision("Computing a landscape")
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` or `sf.losses.network`.")
    states = np.atleast_2d(np.asarray(_checks.point("w", w, loss.dim, batched=True)))
    num_points = _checks.count("num_points", num_points, minimum=3)
    tol, centre = _checks.positive("tol", tol), states[-1]
    progress("directions")
    axes = axes_along(loss, states, along, key, _checks.count("max_products", max_products))
    given = None if extent is None else extents(extent, len(axes))
    v = np.stack([axis.vector for axis in axes])
    at = jnp.asarray(centre)
    g, product = np.asarray(gradient(loss, at)), hessian_product(loss, at)
    images = np.stack([np.asarray(product(each)) for each in v])
    _check_finite(loss, g, images)
    curvatures = np.sum(images * v, axis=1)
    height, slopes = float(value(loss, at)), v @ g
    if not np.isfinite(height):
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} is finite, but it is {height}."
        )
    lines = [Parabola(height, *pair) for pair in zip(slopes, curvatures, strict=True)]
    path = (states - centre) @ v.T if len(states) > 1 else None
    progress("how far the parabola holds")
    if given is None:
        reach = np.array(
            [_FARTHEST * _length(loss, at, *pair) for pair in zip(axes, lines, strict=True)]
        )
    else:
        reach = np.abs(given).max(axis=1)
    departs = np.stack(
        [
            [
                sign
                * departure(
                    _on(loss, centre, u),
                    line,
                    sign=sign,
                    length=far,
                    tol=tol,
                    precision=loss.precision,
                )
                for sign in (-1, 1)
            ]
            for u, line, far in zip(v, lines, reach, strict=True)
        ]
    )
    ranges = given or [
        _default(axis, ends, far, None if path is None else path[:, i])
        for i, (axis, ends, far) in enumerate(zip(axes, departs, reach, strict=True))
    ]
    offsets = np.stack([np.linspace(low, high, num_points) for low, high in ranges])
    slices = np.stack([_on(loss, centre, u)(a) for u, a in zip(v, offsets, strict=True)])
    grid = plane = None
    if len(axes) == 2:
        grid = offsets if given or path is not None else _equalised(offsets, axes, curvatures)
        plane = _plane(loss, centre, v, grid, progress)
    drawn = slices.size + (0 if plane is None else plane.size)
    undefined = int(np.sum(~np.isfinite(slices))) + (
        0 if plane is None else int(np.sum(~np.isfinite(plane)))
    )
    moved = states - centre
    principal = all(axis.name.endswith("principal") for axis in axes)
    return Landscape(
        names=tuple(axis.name for axis in axes),
        name=loss.name,
        kinks=tuple(getattr(loss, "kinks", ())),
        tol=tol,
        num_values=drawn,
        num_undefined=undefined,
        provenance=provenance(
            loss.name,
            along=" and ".join(axis.name for axis in axes),
            num_points=num_points,
            tol=tol,
            states=len(states),
            key=key,
        ),
        offsets=offsets,
        slices=slices,
        parabola=np.stack([line.at(a) for line, a in zip(lines, offsets, strict=True)]),
        plane=plane,
        grid=grid,
        departs=departs,
        slopes=slopes,
        curvatures=curvatures,
        residuals=np.linalg.norm(images - curvatures[:, None] * v, axis=1),
        mixed=float(images[0] @ v[1]) if len(axes) == 2 else float("nan"),
        directions=v,
        shares=_shares(moved, v),
        walk_share=float(random_walk_shares(len(states), len(axes)).sum())
        if principal and len(states) > 1
        else float("nan"),
        path=path,
        path_distances=None if path is None else np.linalg.norm(moved - path @ v, axis=1),
        path_losses=None if path is None else _values(loss, states),
        path_below=None if path is None else _values(loss, centre + path @ v),
        w=at,
        loss=height,
        gradient_norm=float(np.linalg.norm(g)),
        reach=reach,
    )


def _check_finite(loss: AbstractLoss, g: NumpyArray, images: NumpyArray) -> None:
    if not (np.isfinite(g).all() and np.isfinite(images).all()):
        what = "Hessian" if np.isfinite(g).all() else "gradient"
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} is twice differentiable, but its "
            f"{what} there is not finite."
        )


def _values(loss: AbstractLoss, points: NumpyArray) -> NumpyArray:
    return values(loss, lambda i, j: points[i:j], len(points))


def _on(
    loss: AbstractLoss, centre: NumpyArray, v: NumpyArray
) -> Callable[[NumpyArray], NumpyArray]:
    """Return a ↦ L(w + av) for many a."""
    return lambda a: values(loss, lambda i, j: centre + a[i:j, None] * v, len(a))


def _plane(
    loss: AbstractLoss, centre: NumpyArray, v: NumpyArray, offsets: NumpyArray, tell: Any
) -> NumpyArray:
    """Return the loss on the grid, the second offset first; no array of all weights is made."""
    n = offsets.shape[1]

    def points(i: int, j: int) -> NumpyArray:
        second, first = np.divmod(np.arange(i, j), n)
        return centre + offsets[0][first, None] * v[0] + offsets[1][second, None] * v[1]

    return values(loss, points, n * n, tell).reshape(n, n)


def _length(loss: AbstractLoss, w: Any, axis: Axis, line: Parabola) -> float:
    """Return a length along a direction: its own, else ‖w‖ + √(2|L|/|c|), else of the domain."""
    if axis.length > 0:
        return axis.length
    length = float(np.linalg.norm(w))
    length += np.sqrt(2 * abs(line.height / line.curvature)) if line.curvature else 0.0
    if length > 0:
        return length
    return 1.0 if loss.domain is None else max(high - low for low, high in loss.domain)


def _default(
    axis: Axis, departs: NumpyArray, reach: float, path: NumpyArray | None
) -> tuple[float, float]:
    """Return the range along a direction: over all states, or 2.5 times to where it departs."""
    low = high = 0.0
    if path is not None:
        low, high = float(path.min()), float(path.max())
        margin = _MARGIN * (high - low)
        low, high = low - margin, high + margin
        if axis.name == "line" or axis.name.endswith("principal"):
            return low, high
    if axis.length > 0:
        far = axis.length
    else:
        known = np.abs(departs[np.isfinite(departs) & (departs != 0)])
        far = _BEYOND * float(known.max()) if len(known) else reach / _FARTHEST
    return min(low, -far), max(high, far)


def _equalised(offsets: NumpyArray, axes: list[Axis], curvatures: NumpyArray) -> NumpyArray:
    """Return ranges of a plane along which the curvature changes the loss by as much.

    Those of two slices may differ by so much that level sets are lines.
    """
    if any(axis.length > 0 for axis in axes) or not curvatures.all():
        return offsets
    rises = np.abs(curvatures) * offsets[:, -1] ** 2
    return offsets * np.sqrt(rises.min() / rises)[:, None]


def _shares(moved: NumpyArray, v: NumpyArray) -> NumpyArray:
    """Return the part of Σ‖wᵢ − w‖² that each direction holds; NaN of a single state."""
    size = float(np.abs(moved).max())
    if not size > 0:
        return np.full(len(v), np.nan)
    moved = moved / size
    return np.sum((moved @ v.T) ** 2, axis=0) / np.sum(moved**2)
