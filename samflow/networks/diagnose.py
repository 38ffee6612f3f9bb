"""Where a checkpoint sits, and what SAM and its relatives will do to it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import NumpyArray
from samflow.equilibria.products import hessian_product
from samflow.equilibria.spectrum import Eigenpairs, extreme_eigenpairs
from samflow.losses.calls import error_share, gradient, value
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.checkpoints import Checkpoint
from samflow.networks.conventions import Convention, checked, make_loss, make_rule
from samflow.networks.curvature import trace
from samflow.networks.density import spectral_density
from samflow.networks.diagnosis import DEFAULT_RULES, Diagnosis, Place
from samflow.networks.directions import Difference, gradient_difference, without_memory
from samflow.networks.verdicts import negative_values, rule_verdict
from samflow.noise.along import MeanSquareAlong, mean_square_along
from samflow.noise.mean_square import MeanSquareRate, mean_square_rate
from samflow.records import provenance
from samflow.rules import PracticalSAM, Rule, rule
from samflow.systems import Map, MiniBatch, StochasticMap

_CRITICAL = 1e-10
"""‖g‖ up to this times (1 + max|λ|)(1 + ‖w‖) counts as 0."""
_CHANGE = 0.1
_STEADY = 100.0
"""A checkpoint is near a critical point where the sharpness takes so many steps to change."""
_EXACT_DIRECTIONS = 400
"""Up to so many outputs over all examples the mean-square operator is worked out exactly."""


def diagnose(
    checkpoint: Checkpoint,
    *,
    rho: float,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    batch_size: int | None = None,
    rules: Sequence[str | Rule] = DEFAULT_RULES,
    like: str | Convention | None = None,
    k: int = 4,
    tol: float | None = None,
    max_products: int = 400,
    trace_products: int = 60,
    density_probes: int = 0,
    num_batches: int = 16,
    key: PRNGKeyArray | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Diagnosis:
    """Say where trained weights sit on their loss, and what each rule would do to them.

    Verdicts are about perturbations of the weights to first order: along the eigenvectors of the
    k largest and the k most negative eigenvalues of H, each rule's direction d(w) is
    differentiated, and U = vᵀDv gives the multipliers of the map. At a critical point U is the
    closed form U(λ), which stands beside. Of a larger distance, and of directions between the two
    ends of the spectrum, nothing is said.

    Args:
        checkpoint: weights with their loss.
        rho: radius, > 0; in units of weights for practical SAM, of weights over gradient for USAM.
        lr: step size.
        momentum: of the map, in [0, 1).
        nesterov: which of the two forms of momentum.
        weight_decay: of the optimiser, as a part of the step; not of the loss.
        batch_size: of mini-batches; None leaves them out.
        rules: rules without a memory, or their names.
        like: a convention, or a name in `CONVENTIONS`: the rule that an implementation runs stands
            in the place of practical SAM, on the loss that it descends, with its weight decay and
            form of momentum.
        k: how many eigenvalues at either end, half of the weights at most: all of them then.
        tol: largest accepted residual of an eigenvalue, as a part of max|λ|.
        max_products: where the search for eigenvalues gives up.
        trace_products: products for the trace, at least 6.
        density_probes: probes for the spectral density; 0 leaves it out.
        num_batches: drawn for the mean square of mini-batches, where it is a bound.
        key: of trace, density and batches; None: key(0).
        progress: told what is being done.

    Returns:
        A `Diagnosis`. An eigenvalue with too large a residual says so in `pairs.status`.

    Not guaranteed: as `extreme_eigenpairs`; and `index` counts the eigenvalues looked at.

    Raises:
        ArgumentError: in single precision; for weights that are not finite or do not fit; for
            numbers out of range, unknown rules, and rules with a memory.

    Source: docs/theory.md, sections 1, 2, 7 and 10.

    """
    _checks.double_precision("Diagnosing a checkpoint")
    _checks.kind("checkpoint", checkpoint, Checkpoint, "Use `sf.networks.Checkpoint(loss, w)`.")
    loss, convention = checkpoint.loss, None
    if like is not None:
        convention = checked(like)
        loss, rules, nesterov, weight_decay = _as_implemented(
            convention, loss, rules, rho, weight_decay
        )
    w = _checks.point("w", checkpoint.w, loss.dim)
    rho = float(_checks.positive("rho", rho, "SAM without an ascent step is GD."))
    if loss.dim < 2:
        raise _checks.ArgumentError(
            "Argument `checkpoint` must have at least 2 weights, one for each end of the "
            "spectrum, but has 1."
        )
    k = min(_checks.count("k", k), loss.dim // 2)
    _checks.count("density_probes", density_probes, minimum=0)
    key = jr.key(0) if key is None else key
    systems = [
        Map(  # pyright: ignore[reportCallIssue]
            loss, rule(each, rho=rho) if isinstance(each, str) else each, lr=lr,
            momentum=momentum, nesterov=nesterov, weight_decay=weight_decay,
        )
        for each in rules
    ]  # fmt: skip
    for system in systems:
        without_memory(system)
    if batch_size is not None:
        MiniBatch(batch_size).check(loss)  # pyright: ignore[reportCallIssue]
    progress("gradient and extreme eigenvalues")
    g = np.asarray(gradient(loss, w))
    pairs = extreme_eigenpairs(loss, w, k=k, tol=tol, max_products=max_products)
    _check_finite(loss, g, np.asarray(pairs.values))
    place = _place(loss, w, g, pairs, float(lr))
    difference = gradient_difference(loss, w, jnp.asarray(pairs.vectors[-1]))
    values = np.asarray(pairs.values)
    negative = negative_values(pairs)
    verdicts = []
    for system in systems:
        progress(f"{system.rule.name} along {len(values)} eigenvectors")
        verdicts.append(rule_verdict(system, w, pairs, place))
    progress("trace")
    found_trace = trace(loss, w, num_products=trace_products, key=jr.fold_in(key, 0))
    density = None
    if density_probes:
        progress("spectral density")
        density = spectral_density(loss, w, key=jr.fold_in(key, 1), num_probes=density_probes)
    mean_square: list[Any] = []
    for system in systems if batch_size is not None else ():
        progress(f"mean square of {system.rule.name} in mini-batches")
        draws = (batch_size, num_batches, jr.fold_in(key, 2))
        mean_square.append(_mean_square(system, w, pairs, *draws))
    shares = [_shares(loss, np.asarray(v)) for v in (pairs.vectors[-1], pairs.vectors[0])]
    settings = {"rho": rho, "lr": lr, "momentum": momentum, "nesterov": nesterov}
    settings |= {"weight_decay": weight_decay, "batch_size": batch_size, "k": k, "like": like}
    options = {f"loss {name}": value for name, value in loss.options._asdict().items()}
    return Diagnosis(
        place=place,
        dim=loss.dim,
        num_examples=loss.num_examples,
        index=int(negative.sum()),
        rho_threshold=-1 / float(values[0]) if negative[0] else math.nan,
        verdicts=tuple(verdicts),
        mean_square=tuple(mean_square),
        layers=loss.weight_names,
        mismatch=difference.mismatch,
        notes=_notes(loss, difference) + (() if convention is None else _sources(convention)),
        provenance=provenance(loss.name, **settings, source=checkpoint.source, **options),
        pairs=pairs,
        trace=found_trace,
        density=density,
        loss=jnp.asarray(value(loss, w)),
        error=jnp.asarray(error_share(loss, w)),
        top_shares=shares[0],
        bottom_shares=shares[1],
    )


def _check_finite(loss: AbstractNetworkLoss, g: NumpyArray, values: NumpyArray) -> None:
    if not (np.isfinite(g).all() and np.isfinite(values).all()):
        what = "Hessian" if np.isfinite(g).all() else "gradient"
        raise _checks.ArgumentError(
            f"Argument `checkpoint` must have weights at which {loss.name} is twice "
            f"differentiable, but its {what} there is not finite."
        )


def _as_implemented(
    convention: Convention,
    loss: AbstractNetworkLoss,
    rules: Sequence[str | Rule],
    rho: float,
    weight_decay: float,
) -> tuple[Any, list[str | Rule], bool, float]:
    """Return loss, rules, form of momentum and the step's weight decay under a convention."""
    loss = make_loss(convention, loss, weight_decay=weight_decay)  # pyright: ignore
    own = make_rule(convention, loss, rho=rho)
    kept = [each for each in rules if each != PracticalSAM.name]
    decay = weight_decay if convention.weight_decay == "step" else 0.0
    return loss, [*kept, own], convention.nesterov, decay


def _sources(convention: Convention) -> tuple[str, ...]:
    return (f"Conventions as in {convention.source}.", *convention.notes)


def _place(loss: AbstractNetworkLoss, w: Any, g: NumpyArray, pairs: Eigenpairs, lr: float) -> Place:
    values, v = np.asarray(pairs.values), np.asarray(pairs.vectors[-1])
    size, length = float(np.linalg.norm(g)), float(np.linalg.norm(w))
    scale = float(np.abs(values).max())
    later = hessian_product(loss, w - lr * jnp.asarray(g))(v)
    change, sharpness = float(v @ later - values[-1]), abs(float(values[-1]))
    drift = change / sharpness if sharpness else (math.inf if change else 0.0)
    length_scale = size / scale if scale else (math.inf if size else 0.0)
    steady = math.inf if drift == 0 else _CHANGE / abs(drift)
    if size <= _CRITICAL * (1 + scale) * (1 + length):
        level, meaning = "critical", "verdicts are those of a critical point"
    elif steady >= _STEADY:
        level = "near"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself; verdicts about what "
            f"happens within {steady:.3g} steps hold to first order, the slower ones do not"
        )
    else:
        level = "far"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself, a tenth in "
            f"{steady:.3g} steps: verdicts are about perturbations of a moving point, not about "
            "whether it stays"
        )
    names = {"critical": "At", "near": "Near", "far": "Not near"}
    return Place(
        level,
        size,
        length_scale,
        drift,
        steady,
        f"{names[level]} a critical point: ‖g‖ = {size:.3g}, ‖g‖/max|λ| = {length_scale:.3g}; "
        f"{meaning}.",
    )


def _mean_square(
    system: Map,
    w: Any,
    pairs: Eigenpairs,
    batch_size: int | None,
    num_batches: int,
    key: PRNGKeyArray,
) -> MeanSquareRate | MeanSquareAlong | None:
    assert batch_size is not None
    loss: Any = system.loss
    outputs = loss.num_examples * loss.predict(w).shape[-1]
    small = loss.options.criterion == "squared" and outputs <= _EXACT_DIRECTIONS
    if small and system.rule.name in ("gd", "usam"):
        noisy = StochasticMap(system, MiniBatch(batch_size))  # pyright: ignore[reportCallIssue]
        return mean_square_rate(noisy, w)
    if system.momentum is not None:
        return None
    along = {"batch_size": batch_size, "num_batches": num_batches, "key": key}
    return mean_square_along(system, w, pairs.vectors[-1], **along)


def _shares(loss: AbstractNetworkLoss, v: NumpyArray) -> Any:
    return jnp.asarray([float(jnp.sum(part**2)) for part in loss.split(jnp.asarray(v))])


def _notes(loss: AbstractNetworkLoss, difference: Difference) -> tuple[str, ...]:
    """Return what decides the loss besides weights and data, said aloud."""
    options = loss.options
    decay = f"½·{options.weight_decay:g}·‖w‖² is" if options.weight_decay else "no weight decay is"
    notes = [f"The loss is {options.criterion}; {decay} part of it."]
    if options.label_smoothing:
        notes.append(f"Labels are smoothed by {options.label_smoothing:g}.")
    if options.batch_norm != "none":
        whence = {"eval": "its running statistics", "train": "the statistics of the data at hand"}
        notes.append(f"Batch norm takes {whence[options.batch_norm]}.")
    if options.dtype != "float64":
        notes.append(f"The network computes in {options.dtype}: residuals are limited by that.")
    if loss.kinks:
        notes.append(
            f"Kinks ({', '.join(loss.kinks)}): the Hessian is that of the smooth pieces, and what "
            "happens where a unit switches is not in it."
        )
    if not difference.mismatch <= difference.expected:
        why = "kinks are that near" if loss.kinks else "a second derivative is wrong or missing"
        notes.append(
            f"Along the sharpest direction v, Hv and a difference of gradients over "
            f"{difference.step:.2g} differ by {difference.mismatch:.2g} of Hv: {why}."
        )
    return tuple(notes)
