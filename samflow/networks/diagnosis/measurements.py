"""What is measured of a checkpoint, in the order of importance: an interrupt keeps the rest."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import NumpyArray, Point
from samflow.losses.evaluation import error_share
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.diagnosis.progress import Tell, stage
from samflow.networks.diagnosis.records import ENDS, FIRST, WHOLE
from samflow.networks.diagnosis.silent import Silent, silent_weights
from samflow.networks.scales import problem_length
from samflow.noise.interpolation.directional import MeanSquareAlong, mean_square_along
from samflow.noise.interpolation.mean_square import MeanSquareRate, mean_square_rate
from samflow.spectra.blocks import BlockSpectra, block_spectra
from samflow.spectra.curvature import (
    FEWEST_PRODUCTS,
    Trace,
    deflated_trace,
    exact_trace,
    trace,
)
from samflow.spectra.density import NUM_STEPS, SpectralDensity, spectral_density
from samflow.spectra.differences import Difference, gradient_difference
from samflow.spectra.directions import Along, measured_along
from samflow.spectra.layers import layers
from samflow.spectra.products import Remembered
from samflow.spectra.spectrum import DENSE_DIM, Eigenpairs, EndsSearch, tolerance
from samflow.systems import Map, MiniBatch, StochasticMap

FIRST_TOL = 0.05
"""Residual of each end in the first answer, as a part of its own |λ|."""
FIRST_PRODUCTS = 60
"""After so many the first answer is given with the residuals that there are."""
_EXACT_DIRECTIONS = 400
"""Up to so many outputs over all examples the mean-square operator is worked out exactly."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much `diagnose` computes.

    Attributes:
        num_eigenpairs: how many eigenpairs of the Hessian at each end of the spectrum; half of the
            weights at most, which is all of them.
        tol: largest accepted residual of an eigenvalue, as a part of max|λ|; None: 1e-8, or what
            the float type of the loss allows.
        max_products: Hessian-vector products after which the search for eigenvalues gives up. So
            many vectors of the length of the weights are held in memory.
        trace_products: Hessian-vector products for the trace, at least 6, beside those of the
            search for eigenvalues, which serve it too. From as many as weights on it is exact.
        density_probes: probes for the spectral density; 0 leaves it out.
        density_steps: Lanczos steps for each probe, with one product per step.
        num_batches: mini-batches that are drawn where the mean square is bounded, at least 2.
        quick: whether to stop after the first answer, of which both ends of the spectrum have a
            residual of at most 5 % of their own size.

    Raises:
        ArgumentError: for numbers out of range.

    """

    num_eigenpairs: int = 4
    tol: float | None = None
    max_products: int = 400
    trace_products: int = 16
    density_probes: int = 0
    density_steps: int = NUM_STEPS
    num_batches: int = 16
    quick: bool = False

    def __post_init__(self) -> None:
        """Check each number before any work starts."""
        _checks.count("num_eigenpairs", self.num_eigenpairs)
        if self.tol is not None:
            _checks.positive("tol", self.tol)
        _checks.count("max_products", self.max_products)
        _checks.count("trace_products", self.trace_products, minimum=FEWEST_PRODUCTS)
        _checks.count("density_probes", self.density_probes, minimum=0)
        _checks.count("density_steps", self.density_steps)
        _checks.count("num_batches", self.num_batches, minimum=2)


class Curvature(NamedTuple):
    """The loss, its gradient and its curvature at the weights.

    Attributes:
        w: the weights.
        loss: L(w).
        length: of the problem, ‖w‖ + √(|L|/max|λ|).
        error: share of examples misclassified; NaN for targets that are no classes.
        gradient: g(w).
        pairs: the extreme eigenpairs of H(w).
        next_sharpness: vᵀH(w − lr g)v, with v the eigenvector of the largest eigenvalue.
        difference: Hv against a difference of gradients along v.
        silent: weights that no gradient reaches.

    """

    w: Point
    loss: float
    length: float
    error: float
    gradient: NumpyArray
    pairs: Eigenpairs
    next_sharpness: float
    difference: Difference
    silent: Silent


@dataclasses.dataclass
class Measurements:
    """What is measured so far of the weights w of a loss, for maps that differ in their rules.

    `left` names what is not measured yet. `along` and `mean_square` have one entry per map, in
    their order; `mean_square` stays empty without a batch size. `stage` is that of
    the record, empty before the first answer. `pairs` may be ahead of it, by an interrupt.
    """

    loss: AbstractNetworkLoss
    w: Point
    lr: float
    systems: list[Map]
    left: list[str] = dataclasses.field(default_factory=list)
    stage: str = ""
    pairs: Eigenpairs | None = None
    curvature: Curvature | None = None
    along: list[Along] = dataclasses.field(default_factory=list)
    trace: Trace | None = None
    density: SpectralDensity | None = None
    blocks: BlockSpectra | None = None
    mean_square: list[MeanSquareRate | MeanSquareAlong | None] = dataclasses.field(
        default_factory=list
    )


def measure(
    into: Measurements,
    effort: Effort,
    *,
    batch_size: int | None,
    key: PRNGKeyArray,
    by_layer: bool = False,
    tell: Tell,
    answered: Callable[[], None],
) -> None:
    """Measure everything, the cheap and important first.

    Args:
        into: gains what is measured, so that an interrupt loses nothing of it.
        effort: how much is computed.
        batch_size: of mini-batches; None leaves them out.
        key: of random numbers.
        by_layer: whether to measure the block of each layer.
        tell: is told what is being done.
        answered: is called when a stage is done.

    Raises:
        ArgumentError: where the gradient or the Hessian is not finite.
        Stopped: for an interrupt in the first search for eigenvalues, with those found by then.

    """
    loss, w, systems = into.loss, into.w, into.systems
    density = ["spectral density"] if effort.density_probes else []
    batches = [] if batch_size is None else ["mini-batches"]
    blocks = ["layers"] if by_layer else []
    into.left = [
        "eigenvalues",
        *(s.rule.name for s in systems),
        "trace",
        *blocks,
        *density,
        *batches,
    ]
    k = min(effort.num_eigenpairs, loss.dim // 2)
    held = Remembered(loss)
    search = EndsSearch(
        loss,
        w,
        max_products=max(effort.max_products, 2 * k),
        product=lambda v: held.fresh_product(w)(v),
    )
    if loss.dim > DENSE_DIM:
        tell(_costs(loss, effort, k, len(systems)))
        with stage(tell, "first answer, the ends to 5 %", FIRST_PRODUCTS, search):
            pairs = search.pairs(1, tol=FIRST_TOL, own=True, most=FIRST_PRODUCTS)
        into.pairs = pairs
        _judge(into, held, pairs, tell)
        into.stage = FIRST
        answered()
        if effort.quick:
            return
    most = loss.dim if loss.dim <= DENSE_DIM else effort.max_products
    with stage(tell, f"{k} eigenvalues at each end", most, search):
        pairs = search.pairs(k, tol=tolerance(loss, effort.tol))
    into.pairs = pairs
    _judge(into, held, pairs, tell)
    for done in ("eigenvalues", *(s.rule.name for s in systems)):
        into.left.remove(done)
    into.stage = ENDS
    answered()
    if effort.quick:
        return
    into.trace = _trace(held, w, search, effort.trace_products, jr.fold_in(key, 0), tell)
    into.left.remove("trace")
    if by_layer:
        products = effort.max_products * len(layers(loss))
        with stage(tell, "blocks of the layers", loss.dim if loss.dim <= DENSE_DIM else products):
            into.blocks = block_spectra(
                loss, w, max_products=effort.max_products, key=jr.fold_in(key, 3)
            )
        into.left.remove("layers")
    if effort.density_probes:
        probes, steps = effort.density_probes, effort.density_steps
        free = int(search.krylov is not None and len(search.krylov.basis) >= steps)
        with stage(tell, "spectral density", (probes - free) * min(steps, loss.dim)):
            into.density = spectral_density(
                loss,
                w,
                key=jr.fold_in(key, 1),
                num_probes=probes,
                num_steps=steps,
                product=held.fresh_product(w),
                krylov=search.krylov,
            )
        into.left.remove("spectral density")
    if batch_size is not None:
        for system in systems:
            tell(f"mean square of {system.rule.name} in mini-batches")
            draws = (batch_size, effort.num_batches, jr.fold_in(key, 2))
            into.mean_square.append(_mean_square(system, w, pairs, *draws))
        into.left.remove("mini-batches")
    into.stage = WHOLE


def _judge(into: Measurements, held: Remembered, pairs: Eigenpairs, tell: Tell) -> None:
    """Measure the loss and each rule along eigenvectors, and put it in the place of what was."""
    vectors = np.asarray(pairs.vectors)
    curvature, along = _curvature(held, into.w, pairs, into.lr), []
    for system in into.systems:
        with stage(tell, f"{system.rule.name} along {len(vectors)} eigenvectors", 2 * len(vectors)):
            along.append(measured_along(system, into.w, vectors, remembered=held))
    into.curvature, into.along = curvature, along


def _costs(loss: AbstractNetworkLoss, effort: Effort, k: int, rules: int) -> str:
    """Return how many products H v are to come."""
    along = 2 * k * rules
    density = effort.density_probes * min(effort.density_steps, loss.dim)
    if effort.quick:
        return f"{loss.dim} weights: at most {FIRST_PRODUCTS + 2 * rules} products H v"
    parts = [
        f"at most {FIRST_PRODUCTS} products H v for a first answer",
        f"then, stopped by Ctrl-C with the answer so far, at most {effort.max_products} for "
        f"{2 * k} eigenvalues",
        f"{along} for the rules",
        f"{effort.trace_products} for the trace",
        *([f"{density} for the density"] if density else []),
    ]
    return f"{loss.dim} weights: {', '.join(parts)}"


def _trace(
    held: Remembered, w: Point, search: EndsSearch, count: int, key: PRNGKeyArray, tell: Tell
) -> Trace:
    loss = held.loss
    if search.hessian is not None:
        return exact_trace(loss, search.hessian, key=key)
    with stage(tell, "trace", min(count, loss.dim)):
        if search.krylov is None or count >= loss.dim:
            return trace(loss, w, num_products=count, key=key)
        product = held.fresh_product(w)
        return deflated_trace(loss, search.krylov, num_products=count, key=key, product=product)


def _curvature(held: Remembered, w: Point, pairs: Eigenpairs, lr: float) -> Curvature:
    loss: Any = held.loss
    g = held.gradient(w)
    _check_finite(loss, g, np.asarray(pairs.values))
    v, height = np.asarray(pairs.vectors[-1]), held.value(w)
    for each in np.asarray(pairs.vectors):
        held.image(w, each)  # while what products at w need is at hand
    sharpest = float(np.abs(np.asarray(pairs.values)).max())
    length = problem_length(float(np.linalg.norm(w)), height, sharpest)
    return Curvature(
        w=w,
        loss=height,
        length=length,
        error=error_share(loss, w),
        gradient=g,
        pairs=pairs,
        next_sharpness=float(v @ held.image(w - lr * jnp.asarray(g), v)),
        difference=gradient_difference(loss, w, jnp.asarray(v), remembered=held),
        silent=silent_weights(loss, w, g, length, held.gradient),
    )


def _check_finite(loss: AbstractNetworkLoss, g: NumpyArray, values: NumpyArray) -> None:
    if not (np.isfinite(g).all() and np.isfinite(values).all()):
        what = "Hessian" if np.isfinite(g).all() else "gradient"
        raise _checks.ArgumentError(
            f"Argument `checkpoint` must have weights at which {loss.name} is twice "
            f"differentiable, but its {what} there is not finite."
        )


def _mean_square(
    system: Map, w: Any, pairs: Eigenpairs, batch_size: int, num_batches: int, key: PRNGKeyArray
) -> MeanSquareRate | MeanSquareAlong | None:
    loss: Any = system.loss
    squared = loss.options.criterion == "squared"
    small = squared and loss.predict(w).size <= _EXACT_DIRECTIONS
    if small and system.rule.ascent.is_linear:
        noisy = StochasticMap(system, MiniBatch(batch_size))
        return mean_square_rate(noisy, w)
    if system.momentum is not None:
        return None
    along = {"batch_size": batch_size, "num_batches": num_batches, "key": key}
    return mean_square_along(system, w, pairs.vectors[-1], **along)
