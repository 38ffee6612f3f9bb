"""The diagnosis of a checkpoint."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import NumpyArray
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.checkpoints import Checkpoint
from samflow.networks.conventions import Convention, checked, make_loss, make_rule
from samflow.networks.diagnosis.judgement import (
    nearness,
    negative_values,
    neutral_values,
    rule_stability,
)
from samflow.networks.diagnosis.measurements import (
    Curvature,
    Effort,
    Measurements,
    measure,
)
from samflow.networks.diagnosis.preconditioned import (
    Preconditioned,
    check_moments,
    preconditioned,
)
from samflow.networks.diagnosis.progress import Interrupted, Tell
from samflow.networks.diagnosis.records import AS_IMPLEMENTED, DEFAULT_RULES
from samflow.networks.diagnosis.report import Diagnosis, loss_notes, neutral_note
from samflow.networks.live import live_checkpoint
from samflow.networks.moments import SecondMoment
from samflow.records import provenance
from samflow.rules import AbstractRule, rule
from samflow.spectra.directions import without_memory
from samflow.systems import Map, MiniBatch


def diagnose(
    checkpoint: Any,
    dataloader: Any = None,
    loss_fn: Any = None,
    *,
    rho: float,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    batch_size: int | None = None,
    rules: Sequence[str | AbstractRule] = DEFAULT_RULES,
    convention: str | Convention | None = None,
    effort: Effort | None = None,
    moments: SecondMoment | None = None,
    key: PRNGKeyArray | None = None,
    by_layer: bool = False,
    progress: Tell = lambda message: None,
    answer: Callable[[Diagnosis], None] = lambda found: None,
    **live: Any,
) -> Diagnosis:
    """Say how near trained weights are to a critical point, and what each rule would do there.

    The verdicts are about small perturbations of the weights, to first order. Each rule's direction
    d(w) is differentiated along the eigenvectors v of the most negative and of the largest
    eigenvalues of the Hessian H. With D the derivative, U = vᵀDv gives the multipliers of the map
    along v. At a critical point U is the closed form U(λ), which is reported beside it.

    Args:
        checkpoint: weights with their loss; or a model, as it is in a training loop, with the
            loader of its examples and its loss function: see `live_checkpoint`.
        dataloader: of a model.
        loss_fn: of a model.
        rho: radius, > 0; in units of weights for practical SAM, of weights over gradient for USAM.
        lr: step size.
        momentum: of the map, in [0, 1).
        nesterov: which of the two forms of momentum.
        weight_decay: of the optimiser: a part of the step, not of the loss.
        batch_size: of mini-batches; None leaves them out.
        rules: rules without a memory, or their names.
        convention: a convention, or a name in `CONVENTIONS`. The rule that this implementation
            runs takes the place of practical SAM, on the loss that it descends, with its weight
            decay and its form of momentum.
        effort: how many eigenpairs, products, probes and batches; None: `Effort()`.
        moments: of Adam, AdamW or RMSprop that trained the weights (`torch_moment`,
            `optax_moment`): then each rule is also judged with that optimiser, by the eigenvalues
            of P⁻¹D, which is P⁻¹H for GD. `momentum` and `weight_decay` are not of that optimiser.
        key: of trace, density and batches; None: key(0).
        by_layer: whether to measure the diagonal block of each layer, too, as `block_spectra`
            does: some 20 to 100 products per layer.
        progress: called with a message when something begins, and every few seconds with the
            number of Hessian-vector products made and an estimate of the time that is left.
        answer: called with what is known after each stage but the last. Of more than 200 weights
            the first has one eigenvalue at each end, with residuals of at most 5 % of its size
            after at most 60 products; each later stage continues the same Lanczos. `stage` of the
            record says which it is, `pairs.residuals` how far each eigenvalue may be off.
        live: of a model, further arguments of `live_checkpoint`, such as mode="eval".

    Returns:
        A `Diagnosis`; `print` shows its report. An eigenvalue with too large a residual says so in
        `pairs.status`.

    An interrupt raises `samflow.networks.Interrupted` with what is known by then.

    Not guaranteed: anything about large perturbations, and about directions between the two ends
    of the spectrum. `index` counts the eigenvalues looked at. Otherwise as `extreme_eigenpairs`.

    Raises:
        ArgumentError: in single precision; for weights that are not finite or do not fit; for
            numbers out of range, unknown rules, and rules with a memory.

    Source: docs/theory, sections 1, 2, 7 and 11.

    """
    _checks.double_precision("Diagnosing a checkpoint")
    checkpoint = _taken(checkpoint, dataloader, loss_fn, live)
    _checks.instance(
        "checkpoint.loss",
        checkpoint.loss,
        AbstractNetworkLoss,
        "Make it by `sf.losses.NetworkLoss`, or give a model with its `dataloader`; of any other "
        "loss `sf.spectra.extreme_eigenpairs` has the eigenvalues.",
    )
    loss, chosen = checkpoint.loss, None if convention is None else checked(convention)
    if chosen is not None:
        loss, rules, nesterov, weight_decay = _as_implemented(
            chosen, loss, rules, rho, weight_decay
        )
    w = _checks.point("w", checkpoint.w, loss.dim)
    rho = _checks.positive("rho", rho, "SAM without an ascent step is GD.")
    effort = Effort() if effort is None else effort
    _checks.instance("effort", effort, Effort, "Use `sf.networks.Effort(...)`.")
    if moments is not None:
        check_moments(moments, loss)
    if loss.dim < 2:
        raise _checks.ArgumentError(
            "Argument `checkpoint` must have at least 2 weights, one for each end of the "
            "spectrum, but has 1."
        )
    common = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    systems = [Map(loss, _made(each, rho), **common) for each in rules]
    for system in systems:
        without_memory(system)
    changing = [schedule.name for system in systems for schedule in system.schedules]
    if changing:
        raise _checks.ArgumentError(
            f"Argument `{changing[0]}` must be a number for a report on given weights, but is a "
            "function of the step. Give its value at one step."
        )
    if batch_size is not None:
        MiniBatch(batch_size).check(loss)
        if getattr(loss, "by_batch", False):
            raise _checks.ArgumentError(
                f"Argument `batch_size` must be None for {loss.name}, a loss of whole batches: of "
                "other batches it is another loss, not a part of this one."
            )
    settings = {"rho": rho, **common, "batch_size": batch_size, "convention": convention}
    settings |= {"effort": effort}
    origin = provenance(loss.name, **settings, source=checkpoint.source, **_options(loss))
    sources = checkpoint.notes if chosen is None else (*checkpoint.notes, *_sources(chosen))
    if moments is not None:
        sources = (*sources, moments.described(lr))
    measured = Measurements(loss, w, _checks.positive("lr", lr), systems)
    key = jr.key(0) if key is None else key

    def answered() -> None:
        answer(_diagnosis(measured, origin, sources))

    try:
        measure(
            measured,
            effort,
            batch_size=batch_size,
            key=key,
            by_layer=by_layer,
            tell=progress,
            answered=answered,
        )
        if moments is not None:
            found = _with_moments(measured, moments, effort, key, progress)
            return dataclasses.replace(_diagnosis(measured, origin, sources), adaptive=found)
    except KeyboardInterrupt as stop:
        left = tuple(measured.left)
        found = getattr(stop, "found", measured.pairs)
        if measured.curvature is not None:
            stopped = f"Stopped before: {', '.join(left)}."
            found = _diagnosis(measured, origin, (stopped, *sources))
        raise Interrupted(found, left) from stop
    return _diagnosis(measured, origin, sources)


def _with_moments(
    measured: Measurements, moments: SecondMoment, effort: Effort, key: PRNGKeyArray, tell: Tell
) -> Preconditioned:
    """Return what each rule does with the optimiser that has these moments."""
    assert measured.curvature is not None
    return preconditioned(
        measured.loss,
        measured.w,
        moments,
        [system.rule for system in measured.systems],
        lr=measured.lr,
        gradient_norm=float(np.linalg.norm(measured.curvature.gradient)),
        effort=effort,
        key=key,
        tell=tell,
    )


def _taken(held: Any, dataloader: Any, loss_fn: Any, live: dict[str, Any]) -> Checkpoint:
    """Return a checkpoint as it is, or that of a model."""
    if dataloader is not None and not isinstance(held, Checkpoint):
        return live_checkpoint(held, dataloader, loss_fn, **live)
    remedy = "Use `sf.networks.Checkpoint(loss, w)`, or give a model with its `dataloader`."
    _checks.instance("checkpoint", held, Checkpoint, remedy)
    given = {"dataloader": dataloader, "loss_fn": loss_fn, **live}
    more = [name for name, value in given.items() if value is not None]
    if more:
        raise _checks.ArgumentError(
            f"Argument `{more[0]}` is for a model: a checkpoint has its loss. Leave it out."
        )
    return held


def _made(each: str | AbstractRule, rho: float) -> AbstractRule:
    return rule(each, rho=rho) if isinstance(each, str) else each


def _as_implemented(
    convention: Convention,
    loss: AbstractNetworkLoss,
    rules: Sequence[str | AbstractRule],
    rho: float,
    weight_decay: float,
) -> tuple[Any, list[str | AbstractRule], bool, float]:
    """Return loss, rules, form of momentum and the step's weight decay under a convention."""
    descended = make_loss(convention, loss, weight_decay=weight_decay)
    own = make_rule(convention, descended, rho=rho)
    kept = [each for each in rules if each != AS_IMPLEMENTED]
    decay = weight_decay if convention.weight_decay == "step" else 0.0
    return descended, [*kept, own], convention.nesterov, decay


def _sources(convention: Convention) -> tuple[str, ...]:
    return (f"Conventions as in {convention.source}.", *convention.notes)


def _options(loss: AbstractNetworkLoss) -> dict[str, Any]:
    return {f"loss {name}": value for name, value in loss.options._asdict().items()}


def _diagnosis(
    measured: Measurements,
    origin: tuple[tuple[str, str], ...],
    more: tuple[str, ...],
) -> Diagnosis:
    """Judge what is measured; rules that were not reached are left out."""
    loss, curvature = measured.loss, measured.curvature
    assert isinstance(curvature, Curvature)
    pairs, silent, near = curvature.pairs, curvature.silent, nearness(curvature)
    negative, neutral = negative_values(pairs), neutral_values(pairs, loss.precision)
    shares = np.stack([_shares(loss, v) for v in np.asarray(pairs.vectors)])
    notes = neutral_note(loss, pairs, neutral, shares)
    return Diagnosis(
        stage=measured.stage,
        criterion=loss.criterion,
        nearness=near,
        lr=measured.lr,
        dim=loss.dim,
        num_examples=loss.num_examples,
        index=int(negative.sum()),
        neutral=int(neutral.sum()),
        rho_threshold=-1 / float(pairs.values[0]) if negative[0] else float("nan"),
        rules=tuple(
            rule_stability(system, pairs, along, near)
            for system, along in zip(measured.systems, measured.along, strict=False)
        ),
        mean_square=tuple(measured.mean_square),
        layers=loss.weight_names,
        mismatch=curvature.difference.mismatch,
        without_gradient=(*silent.cut, *silent.idle),
        notes=(
            *notes,
            *loss_notes(loss, curvature.difference),
            *silent.statements(),
            *more,
        ),
        provenance=origin,
        pairs=pairs,
        trace=measured.trace,
        density=measured.density,
        blocks=measured.blocks,
        loss=jnp.asarray(curvature.loss),
        error=jnp.asarray(curvature.error),
        top_shares=jnp.asarray(shares[-1]),
        bottom_shares=jnp.asarray(shares[0]),
    )


def _shares(loss: AbstractNetworkLoss, v: NumpyArray) -> NumpyArray:
    """Return the share of each weight array in the squared length of `v`."""
    ends = np.cumsum([math.prod(shape) for shape in loss.weight_shapes])[:-1]
    return np.array([float(np.sum(part**2)) for part in np.split(v, ends)])
