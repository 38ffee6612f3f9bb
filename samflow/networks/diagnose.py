"""Where a checkpoint sits, and what SAM and its relatives will do to it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import NumpyArray
from samflow.losses.evaluation import error_share, gradient, value
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.checkpoints import Checkpoint
from samflow.networks.conventions import Convention, checked, make_loss, make_rule
from samflow.networks.diagnosis import AS_IMPLEMENTED, DEFAULT_RULES, Diagnosis, Place, RuleVerdict
from samflow.networks.place import place_of
from samflow.networks.progress import Interrupted, Tell, stage
from samflow.networks.silent import Silent, silent_weights
from samflow.networks.verdicts import negative_values, neutral_values, rule_verdict
from samflow.noise.interpolation.directional import MeanSquareAlong, mean_square_along
from samflow.noise.interpolation.mean_square import MeanSquareRate, mean_square_rate
from samflow.records import provenance
from samflow.rules import AbstractRule, rule
from samflow.spectra.curvature import Trace, trace
from samflow.spectra.density import NUM_STEPS, SpectralDensity, spectral_density
from samflow.spectra.differences import Difference, gradient_difference
from samflow.spectra.directions import without_memory
from samflow.spectra.spectrum import DENSE_DIM, Eigenpairs, extreme_eigenpairs
from samflow.systems import Map, MiniBatch, StochasticMap

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
    rules: Sequence[str | AbstractRule] = DEFAULT_RULES,
    like: str | Convention | None = None,
    k: int = 4,
    tol: float | None = None,
    max_products: int = 400,
    trace_products: int = 60,
    density_probes: int = 0,
    density_steps: int = NUM_STEPS,
    num_batches: int = 16,
    key: PRNGKeyArray | None = None,
    progress: Tell = lambda message: None,
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
        density_steps: of Lanczos for each of them, one product a step.
        num_batches: drawn for the mean square of mini-batches, where it is a bound.
        key: of trace, density and batches; None: key(0).
        progress: told what is being done and, of what takes over two seconds, how many products H v
            of how many are made and about how long the rest takes.

    Returns:
        A `Diagnosis`. An eigenvalue with too large a residual says so in `pairs.status`.

    An interrupt raises `samflow.networks.Interrupted` with what is known by then.

    Not guaranteed: as `extreme_eigenpairs`; and `index` counts the eigenvalues looked at.

    Raises:
        ArgumentError: in single precision; for weights that are not finite or do not fit; for
            numbers out of range, unknown rules, and rules with a memory.

    Source: docs/theory, sections 1, 2, 7 and 10.

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
    rho = _checks.positive("rho", rho, "SAM without an ascent step is GD.")
    if loss.dim < 2:
        raise _checks.ArgumentError(
            "Argument `checkpoint` must have at least 2 weights, one for each end of the "
            "spectrum, but has 1."
        )
    k = min(_checks.count("k", k), loss.dim // 2)
    _checks.count("density_probes", density_probes, minimum=0)
    _checks.count("density_steps", density_steps)
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
    work = _Work(loss, w, systems, key, [system.rule.name for system in systems])
    plan = _Plan(
        k, tol, max_products, trace_products, density_probes, density_steps, batch_size, num_batches
    )
    settings = {"rho": rho, "lr": lr, "momentum": momentum, "nesterov": nesterov}
    settings |= {"weight_decay": weight_decay, "batch_size": batch_size, "k": k, "like": like}
    settings |= {"source": checkpoint.source}
    sources = () if convention is None else _sources(convention)
    try:
        _measure(work, plan, float(lr), progress)
    except KeyboardInterrupt as stop:
        left = tuple(work.left)
        found = getattr(stop, "found", None)
        if work.ready:
            found = _diagnosis(work, settings, (f"Stopped before: {', '.join(left)}.", *sources))
        raise Interrupted(found, left) from stop
    return _diagnosis(work, settings, sources)


class _Plan(NamedTuple):
    """How much of everything is to be computed, as `diagnose` has it."""

    k: int
    tol: float | None
    max_products: int
    trace_products: int
    density_probes: int
    density_steps: int
    batch_size: int | None
    num_batches: int


@dataclasses.dataclass
class _Work:
    """What is known of a checkpoint so far, so that a stop in the middle loses nothing of it."""

    loss: AbstractNetworkLoss
    w: Any
    systems: list[Map]
    key: PRNGKeyArray
    left: list[str]
    pairs: Eigenpairs | None = None
    place: Place | None = None
    difference: Difference | None = None
    silent: Silent | None = None
    numbers: tuple[float, float] | None = None
    verdicts: list[RuleVerdict] = dataclasses.field(default_factory=list)
    trace: Trace | None = None
    density: SpectralDensity | None = None
    mean_square: list[Any] = dataclasses.field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether all is known that a diagnosis needs."""
        return self.numbers is not None


def _measure(work: _Work, plan: _Plan, lr: float, tell: Tell) -> None:
    """Compute everything in turn, the cheap and important first."""
    loss, w, key = work.loss, work.w, work.key
    mini_batches = [] if plan.batch_size is None else ["mini-batches"]
    density = ["spectral density"] if plan.density_probes else []
    work.left = ["eigenvalues", *work.left, "trace", *density, *mini_batches]
    dense = loss.dim <= DENSE_DIM
    with stage(tell, "gradient and extreme eigenvalues", loss.dim if dense else plan.max_products):
        g = np.asarray(gradient(loss, w))
        settings = {"k": plan.k, "tol": plan.tol, "max_products": plan.max_products}
        pairs = extreme_eigenpairs(loss, w, compare=False, **settings)
        _check_finite(loss, g, np.asarray(pairs.values))
        work.pairs, work.place = pairs, place_of(loss, w, g, pairs, lr)
        work.difference = gradient_difference(loss, w, jnp.asarray(pairs.vectors[-1]))
        work.silent = silent_weights(loss, w, g)
        work.numbers = float(value(loss, w)), error_share(loss, w)
    work.left.remove("eigenvalues")
    count = len(pairs.values)
    for system in work.systems:
        with stage(tell, f"{system.rule.name} along {count} eigenvectors", 2 * count):
            work.verdicts.append(rule_verdict(system, w, pairs, work.place))
        work.left.remove(system.rule.name)
    with stage(tell, "trace", min(plan.trace_products, loss.dim)):
        work.trace = trace(loss, w, num_products=plan.trace_products, key=jr.fold_in(key, 0))
    work.left.remove("trace")
    if plan.density_probes:
        probes, steps = plan.density_probes, plan.density_steps
        with stage(tell, "spectral density", probes * min(steps, loss.dim)):
            work.density = spectral_density(
                loss, w, key=jr.fold_in(key, 1), num_probes=probes, num_steps=steps
            )
        work.left.remove("spectral density")
    if plan.batch_size is not None:
        for system in work.systems:
            tell(f"mean square of {system.rule.name} in mini-batches")
            draws = (plan.batch_size, plan.num_batches, jr.fold_in(key, 2))
            work.mean_square.append(_mean_square(system, w, pairs, *draws))
        work.left.remove("mini-batches")


def _diagnosis(work: _Work, settings: dict[str, Any], more: tuple[str, ...]) -> Diagnosis:
    """Put together what is known."""
    loss, pairs, place, numbers = work.loss, work.pairs, work.place, work.numbers
    difference, silent = work.difference, work.silent
    assert pairs is not None
    assert place is not None
    assert numbers is not None
    assert difference is not None
    assert silent is not None
    negative, neutral = negative_values(pairs), neutral_values(pairs, loss.precision)
    shares = [_shares(loss, np.asarray(v)) for v in (pairs.vectors[-1], pairs.vectors[0])]
    options = {f"loss {name}": value for name, value in loss.options._asdict().items()}
    return Diagnosis(
        criterion=loss.criterion,
        place=place,
        dim=loss.dim,
        num_examples=loss.num_examples,
        index=int(negative.sum()),
        neutral=int(neutral.sum()),
        rho_threshold=-1 / float(pairs.values[0]) if negative[0] else math.nan,
        verdicts=tuple(work.verdicts),
        mean_square=tuple(work.mean_square),
        layers=loss.weight_names,
        mismatch=difference.mismatch,
        without_gradient=(*silent.cut, *silent.idle),
        notes=(
            *_neutral_notes(loss, pairs, neutral),
            *_notes(loss, difference),
            *silent.statements(),
            *more,
        ),
        provenance=provenance(loss.name, **settings, **options),
        pairs=pairs,
        trace=work.trace,
        density=work.density,
        loss=jnp.asarray(numbers[0]),
        error=jnp.asarray(numbers[1]),
        top_shares=shares[0],
        bottom_shares=shares[1],
    )


def _neutral_notes(
    loss: AbstractNetworkLoss, pairs: Eigenpairs, neutral: NumpyArray
) -> tuple[str, ...]:
    """Name the directions in which H is 0 to rounding, by where most of them lies."""
    if not neutral.any():
        return ()
    vectors, values = np.asarray(pairs.vectors)[neutral], np.asarray(pairs.values)[neutral]
    shares = np.stack([np.asarray(_shares(loss, v)) for v in vectors])
    where = sorted({loss.weight_names[i] for i in shares.argmax(axis=1)})
    count, all_ = int(neutral.sum()), len(neutral)
    text = (
        f"{count} of {all_} directions looked at {'is' if count == 1 else 'are'} neutral, with "
        f"λ = 0 to rounding (|λ| ≤ {np.abs(values).max():.2g}), most in {', '.join(where)}: to "
        "first order nothing grows or dies out along them, and whether they hold is open."
    )
    if loss.has_classes and not loss.options.label_smoothing:
        text += " A softmax has such: adding one number to all scores changes nothing."
    return (text,)


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
    rules: Sequence[str | AbstractRule],
    rho: float,
    weight_decay: float,
) -> tuple[Any, list[str | AbstractRule], bool, float]:
    """Return loss, rules, form of momentum and the step's weight decay under a convention."""
    loss = make_loss(convention, loss, weight_decay=weight_decay)  # pyright: ignore
    own = make_rule(convention, loss, rho=rho)
    kept = [each for each in rules if each != AS_IMPLEMENTED]
    decay = weight_decay if convention.weight_decay == "step" else 0.0
    return loss, [*kept, own], convention.nesterov, decay


def _sources(convention: Convention) -> tuple[str, ...]:
    return (f"Conventions as in {convention.source}.", *convention.notes)


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
    outputs = loss.predict(w).size
    small = loss.options.criterion == "squared" and outputs <= _EXACT_DIRECTIONS
    if small and system.rule.ascent.is_linear:
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
    if not difference.agrees:
        notes.append(difference.statement(loss.kinks))
    return tuple(notes)
