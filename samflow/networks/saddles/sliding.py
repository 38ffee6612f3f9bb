"""Does SAM hold at a point, on the loss itself? Sampled over directions, for networks too.

S(e) = eᵀH g(w + rho e) decides it at a critical point: docs/theory, "Sliding". `certify_sliding`
proves its sign for formulas; here it is sampled and minimised, and nothing is proved.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._types import ArrayLike, NumpyArray
from samflow.losses.base import AbstractLoss
from samflow.networks.saddles.sliding_sample import SlidingSample
from samflow.networks.saddles.sphere import Sphere, first_change
from samflow.records import provenance
from samflow.spectra.spectrum import Eigenpairs, extreme_eigenpairs

_RANGE, _SCAN = 32.0, 21
"""Of the search in rho, both ways, and how many values it tries."""
_WIDTH = 2e-3
_FOLLOWING = 15
"""Steps of a search that begins where one for a rho nearby ended."""
_STARTS = 4
_NEUTRAL = 1e-6
"""An eigenvector counts as curved from this part of max|λ| on."""
_ROUNDINGS = 100.0


@_checks.untraced(of=None)
def sample_sliding(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    rho: float,
    k: int = 4,
    num_random: int = 16,
    end: bool = True,
    pairs: Eigenpairs | None = None,
    key: PRNGKeyArray | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> SlidingSample:
    """Sample the function S(e) that decides whether SAM holds at `w`, and search for its ends.

        S(e) = eᵀH g(w + rho e),   d‖g‖/dt = −S(g/‖g‖) at w,

    along SAM's flow. Where S > 0 for all unit vectors e at a critical point with a regular Hessian,
    solutions from nearby arrive in finite time and stay (Proposition S1). It is computed on the
    loss itself, at finite rho, along the gradient, eigenvectors and random directions, and is then
    minimised and maximised by L-BFGS: in the span of the eigenvectors that have curvature, and on
    the whole sphere.

    >>> import samflow as sf
    >>> found = sf.networks.sample_sliding(sf.losses.quartic(), [0.0, 0.0], rho=0.5)
    >>> found.verdict, round(found.least, 6)            # rho (1 − rho²)
    ('held', 0.375)
    >>> round(found.window[1], 2), round(found.usam_threshold, 6)
    (1.0, 1.0)

    Args:
        loss: any loss; of a formula, `certify_sliding` proves what this samples.
        w: weights, shape (dim,): a critical point, or near one.
        rho: SAM's radius, > 0, in units of weight.
        k: how many eigenvectors at each end.
        num_random: random directions in the span, and as many on the whole sphere.
        end: whether to look for the window of rho.
        pairs: of `extreme_eigenpairs` at `w`, in place of a search.
        key: of random directions; None: key(0).
        progress: called with a message for what is being done.

    Returns:
        A `SlidingSample`; `print` gives the answer. A direction in which S is not finite has NaN.

    Not guaranteed: that S is nowhere below the least found. The window is scanned at 21 values of
    rho over a factor of 32 to each side of `rho`, with a search at each that begins at the last
    one's end: a gap between two is missed. At ‖g‖ > 0 nothing is said of whether there is a
    critical point nearby.

    Raises:
        ArgumentError: in single precision; for arguments out of range, and where gradient or
            Hessian are not finite or the Hessian is 0.

    Source: docs/theory, "Sliding", Propositions S1 and S2.

    """
    _checks.double_precision("Sampling over directions")
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` or `checkpoint.loss`.")
    w = np.asarray(_checks.point("w", w, loss.dim))
    rho = _checks.positive("rho", rho, "SAM without an ascent step is GD.")
    k = min(_checks.count("k", k), max(1, loss.dim // 2))
    num_random = _checks.count("num_random", num_random)
    progress("eigenvectors")
    if pairs is None:
        which: Any = "both" if loss.dim > 1 else "largest"
        pairs = extreme_eigenpairs(loss, w, k=k, which=which, compare=False)
    sphere, g = _sphere(loss, w, pairs)
    size = float(np.linalg.norm(g))
    progress("S along directions")
    kinds, directions = _directions(sphere, g, num_random, numpy_generator(key))
    first = [sphere.rate(e, rho) for e in directions]
    inside = [i for i, kind in enumerate(kinds) if kind in ("eigenvector", "random in the span")]
    searched: dict[str, Any] = {}
    for name, sign in (("least", 1), ("greatest", -1)):
        progress(f"the {name} S")
        order = sorted(range(len(first)), key=lambda i, sign=sign: sign * first[i])
        starts = [directions[i] for i in order if i in inside][:_STARTS]
        found = sphere.extreme(starts, rho, sign, span=True)
        searched[f"{name} in the span"] = found
        if len(sphere.values) < loss.dim:
            outside = [directions[i] for i in order if i not in inside][:2]
            found = sphere.extreme([found.direction, *outside], rho, sign, span=False)
        searched[f"{name} on the sphere"] = found
    kinds += tuple(searched)
    directions = np.stack([*directions, *(each.direction for each in searched.values())])
    images = np.stack([sphere.image(e) for e in directions])
    grid = np.geomspace(rho / _RANGE, rho * _RANGE, _SCAN)
    progress("along each direction in rho")
    rows = zip(kinds, directions, images, strict=True)
    table = [
        _along(sphere, e, he, rho, g, grid if kind != "random" else None) for kind, e, he in rows
    ]
    columns = dict(zip(_COLUMNS, np.array(table).T, strict=True))
    least = kinds.index("least in the span")
    value, doubt = float(columns["rates"][least]), float(columns["doubts"][least])
    rounding = _ROUNDINGS * loss.precision * float(np.abs(columns["rates"]).max())
    window = (float("nan"), float("nan"))
    if end:
        progress("the window of rho")
        window = _window(sphere, searched["least in the span"].direction, grid)
    threshold, quadratic = _usam(sphere, pairs, g)
    return SlidingSample(
        kinds=kinds,
        verdict="held"
        if value > doubt + rounding
        else "not held"
        if value < -doubt - rounding
        else "open",
        num_curved=len(sphere.values),
        num_gradients=sphere.num_gradients,
        provenance=provenance(loss.name, rho=rho, k=k, num_random=num_random, key=key),
        **columns,
        directions=directions,
        least=value,
        greatest=float(columns["rates"][kinds.index("greatest in the span")]),
        least_doubt=doubt,
        least_rest=float(columns["rests"][least]),
        least_anywhere=min(searched["least on the sphere"].value, value),
        greatest_anywhere=searched["greatest on the sphere"].value,
        window=window,
        tried=(float(grid[0]), float(grid[-1])),
        usam_threshold=threshold,
        usam_quadratic=quadratic,
        rho=rho,
        gradient_norm=size,
    )


def _sphere(loss: AbstractLoss, w: NumpyArray, pairs: Eigenpairs) -> tuple[Sphere, NumpyArray]:
    _checks.instance("pairs", pairs, Eigenpairs, "Use `sf.spectra.extreme_eigenpairs`.")
    values = np.abs(np.asarray(pairs.values))
    if not np.isfinite(values).all():
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} is twice differentiable, but its "
            "Hessian there is not finite."
        )
    curved = values > max(_NEUTRAL, _ROUNDINGS * loss.precision) * values.max()
    if not curved.any():
        raise _checks.ArgumentError(
            "Argument `w` must be weights with curvature, but the Hessian there is 0: S is 0 in "
            "every direction."
        )
    sphere = Sphere(loss, w, pairs, curved)
    g = sphere.gradient_at(w)
    if not np.isfinite(g).all():
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} has a gradient, but it is not "
            "finite there."
        )
    return sphere, g


def _directions(
    sphere: Sphere, g: NumpyArray, count: int, generator: np.random.Generator
) -> tuple[tuple[str, ...], NumpyArray]:
    kinds, rows = ["eigenvector"] * 2 * len(sphere.basis), [*sphere.basis, *-sphere.basis]
    if np.linalg.norm(g) > 0:
        kinds, rows = ["gradient", *kinds], [g, *rows]
    inside = generator.standard_normal((count, len(sphere.basis))) @ sphere.basis
    rows += [*inside, *generator.standard_normal((count, len(g)))]
    kinds += ["random in the span"] * count + ["random"] * count
    directions = np.stack(rows)
    return tuple(kinds), directions / np.linalg.norm(directions, axis=1, keepdims=True)


_COLUMNS = (
    "rates",
    "quadratic",
    "doubts",
    "curvatures",
    "rests",
    "begins",
    "begins_quadratic",
    "ends",
)


def _along(
    sphere: Sphere,
    e: NumpyArray,
    image: NumpyArray,
    rho: float,
    g: NumpyArray,
    grid: NumpyArray | None,
) -> tuple[float, ...]:
    """Return the row of one direction, in the order of `_COLUMNS`."""
    rate, strength = sphere.rate(e, rho, image), float(image @ image)
    pull = sphere.image(sphere.gradient_at(sphere.w + rho * e))
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = float(np.linalg.norm(pull - rate * e) / np.linalg.norm(pull))
        quadratic = max(0.0, float(-(image @ g) / strength))
    begins, ends = float("nan"), float("nan")
    if grid is not None:
        begins, ends = first_change(lambda r: sphere.rate(e, r, image) > 0, grid, _WIDTH)
    doubt = float(np.sqrt(strength) * np.linalg.norm(g))
    curvature = float(e @ image)
    return rate, rho * strength, doubt, curvature, rest, begins, quadratic, ends


def _window(sphere: Sphere, start: NumpyArray, grid: NumpyArray) -> tuple[float, float]:
    """Return where the least S in the span begins and ends to be positive, in rho."""
    last = [start]
    strongest = sphere.basis[[0, -1]]

    def positive(rho: float) -> bool:
        starts = sorted([*last, *strongest, *-strongest], key=lambda e: sphere.rate(e, rho))
        found = sphere.extreme(starts[:2], rho, 1, span=True, steps=_FOLLOWING)
        last[0] = found.direction
        return found.value > 0

    return first_change(positive, grid, _WIDTH)


def _usam(sphere: Sphere, pairs: Eigenpairs, g: NumpyArray) -> tuple[float, float]:
    """Return the rho from which USAM holds along the weakest negative curvature, and 1/|λ₋|."""
    negative = np.flatnonzero(sphere.values < 0)
    if not len(negative):
        return float("nan"), float("nan")
    weakest = negative[np.argmin(np.abs(sphere.values[negative]))]
    lam, v = float(sphere.values[weakest]), sphere.basis[weakest]

    def held(rho: float) -> bool:
        return float(v @ sphere.product_at(sphere.w + rho * g, v * (1 + rho * lam))) > 0

    grid = -1 / lam * np.geomspace(1 / _RANGE, _RANGE, _SCAN + 1)  # 1/|λ₋| lies between two
    begins, _ = first_change(held, grid, 1e-9)
    return (begins if 0 < begins < np.inf else float("nan")), -1 / lam
