"""What implementations of SAM do differently, said aloud: whole sets of conventions by name."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses.base import AbstractLoss
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.rules import ASAM, FSAM, SAM, SSAM, AbstractRule, MultiStepSAM, PracticalSAM
from samflow.rules.practical import PracticalFSAM, TensorSAM
from samflow.systems import Map

_CHOICES = {
    "ascent": ("sam", "asam", "gcsam", "ssam", "fsam"),
    "first_memory": ("blended", "gradient"),
    "placement": ("outside", "inside"),
    "norm_scope": ("all", "each"),
    "scaled": ("all", "weights"),
    "weight_decay": ("step", "loss"),
    "momentum_at_switch": ("keep", "zero"),
    "smoothing_over": ("all", "others"),
}


class Convention(NamedTuple):
    """What a paper leaves open and an implementation decides; `_replace` changes one of them.

    The defaults are the common ones: those of davda54/sam, which most code descends from.

    >>> CONVENTIONS["davda54"]._replace(eps=1e-8, norm_scope="each").weight_decay
    'step'

    Attributes:
        ascent: "sam"; "asam", scaled by T = diag(|w| + shift); "gcsam", along the gradient less
            the mean of each row; "ssam", SAM with the length of the descent gradient restored;
            "fsam", along g − sigma m with a moving mean m of gradients.
        eps: ≥ 0, what a norm is increased by before it divides.
        placement: "outside", ‖g‖ + eps; or "inside", √(‖g‖² + eps²).
        norm_scope: "all", one norm over all tensors; or "each", a norm a tensor.
        num_steps: ascent steps, of rho each.
        shift: of T.
        scaled: what T scales: "all", or "weights", the tensors with "weight" in their name.
        sigma: of F-SAM, the part of m that is taken off.
        decay: of F-SAM, m⁺ = decay m + (1 − decay) g.
        first_memory: of F-SAM, what m is after the first step: "gradient", g; or "blended",
            (1 − decay) g.
        nesterov: which form of momentum.
        weight_decay: "step", the optimiser adds weight_decay · w to the direction; or "loss", it is
            a part of the loss, ½ weight_decay ‖w‖², and so steers the ascent.
        momentum_at_switch: "keep" or "zero", as `switch` takes it: where SAM is a second optimiser
            its momentum begins at 0.
        batch_norm: "train", statistics of the batch, or "eval", the running ones, in all passes of
            a step; None: as the loss has it.
        label_smoothing: s; None: as the loss has it.
        smoothing_over: whom s goes to: "all" K classes alike, (1 − s) y + s/K; or the K − 1
            "others", which is the first with s K/(K − 1).
        source: repository, file and function that it was read in.
        notes: what else that code does, and what is not expressed here.

    """

    ascent: str = "sam"
    eps: float = 1e-12
    placement: str = "outside"
    norm_scope: str = "all"
    num_steps: int = 1
    shift: float = 0.0
    scaled: str = "all"
    sigma: float = 1.0
    decay: float = 0.6
    first_memory: str = "gradient"
    nesterov: bool = False
    weight_decay: str = "step"
    momentum_at_switch: str = "keep"
    batch_norm: str | None = None
    label_smoothing: float | None = None
    smoothing_over: str = "all"
    source: str = ""
    notes: tuple[str, ...] = ()


_ROWS = "Names are those of PyTorch, (out, in) and OIHW: a kernel (in, out) has inputs for rows."

CONVENTIONS: dict[str, Convention] = {
    "google": Convention(
        eps=0.0,
        nesterov=True,
        weight_decay="loss",
        batch_norm="train",
        label_smoothing=0.0,
        source="google-research/sam, sam_jax/training_utils/flax_training.py: train_step",
        notes=(
            "On several devices each ascends along the gradient of its own share of the batch, "
            "unless --sync_perturbations is set: `MSAM` is that rule.",
            "The averaged descent gradient is clipped to norm 5 by default; here it is not.",
            "Weight decay is on all parameters, unless --no_weight_decay_on_bn is set.",
        ),
    ),
    "davda54": Convention(
        source="davda54/sam, sam.py: SAM",
        notes=(
            "Batch norm and label smoothing are the caller's; the repository's example trains with "
            'batch_norm="train", label_smoothing=0.1, smoothing_over="others", and adaptive=True.',
        ),
    ),
    "optax": Convention(
        eps=0.0,
        source="optax, contrib/_sam.py: sam, with chain(normalize(), sgd(rho))",
        notes=(
            "num_steps is sync_period − 1.",
            "A gradient of 0 makes NaN; with opaque_mode=False also where the ascent ends.",
        ),
    ),
    "late-sam": Convention(
        momentum_at_switch="zero",
        batch_norm="train",
        label_smoothing=0.1,
        smoothing_over="others",
        source="zzp1012/SAM-in-Late-Phase, script/ERM_to_SAM.py: train; src/utils/SAM.py: SAM",
        notes=(
            "Sharpness is measured on 5,000 examples without label smoothing, in train mode "
            "(script/flatness.py).",
            "script/escape.py computes SAM's gradient and never takes the descent step; only the "
            "running statistics of batch norm change there.",
        ),
    ),
    "asam-davda54": Convention(
        ascent="asam",
        source="davda54/sam, sam.py: SAM(adaptive=True)",
    ),
    "asam": Convention(
        ascent="asam",
        eps=1e-16,
        shift=0.01,
        scaled="weights",
        batch_norm="train",
        label_smoothing=0.1,
        source="SamsungLabs/ASAM, asam.py: ASAM; example_cifar.py",
        notes=("shift is the default of the class; the example's own default is 0.",),
    ),
    "gcsam": Convention(
        ascent="gcsam",
        batch_norm="train",
        label_smoothing=0.0,
        source="Mohamed-Hassan22/GCSAM, cifar10_gcsam_resnet50.py: GCSAM",
        notes=("The script's optimiser of the descent is Adam; here it is SGD.", _ROWS),
    ),
    "ssam": Convention(
        ascent="ssam",
        eps=0.0,
        source="Tan et al. 2024, arXiv 2401.07250",
        notes=("The authors' code was not compared: this is the formula.",),
    ),
    "f-sam": Convention(
        ascent="fsam",
        source="nblt/F-SAM, utils.py: FriendlySAM; decay as in run.sh",
        notes=("The class has decay 0.9 by default, the script 0.95; run.sh sets 0.6.",),
    ),
}
"""Known sets by the name that `--like` takes."""


def make_map(
    convention: Convention | str,
    loss: AbstractLoss,
    *,
    rho: Any,
    lr: Any,
    momentum: Any = 0.0,
    weight_decay: Any = 0.0,
) -> Map:
    """Return the update that an implementation makes, as a map.

    >>> import samflow as sf
    >>> make_map("optax", sf.losses.beale(), rho=0.05, lr=0.01, momentum=0.9).describe()
    'map of sam(rho=0.05) on beale, lr=0.01, momentum=0.9'

    Its loss is that of `make_loss`: of a checkpoint, measure `map.loss`.

    Args:
        convention: a convention, or a name in `CONVENTIONS`.
        loss: the loss; of a network wherever the convention speaks of tensors, batch norm or
            labels, or puts weight decay into the loss.
        rho: radius of each ascent step.
        lr: step size.
        momentum: in [0, 1).
        weight_decay: ≥ 0. A leaf of the map where it belongs to the step; static where to the loss.

    Raises:
        ArgumentError: for an unknown name, values out of range, choices that exclude each other,
            and a loss that does not admit what the convention asks for; the message says which.

    """
    convention = checked(convention)
    made = make_loss(convention, loss, weight_decay=weight_decay)
    return Map(
        made,
        make_rule(convention, made, rho=rho),
        lr=lr,
        momentum=momentum,
        nesterov=convention.nesterov,
        weight_decay=weight_decay if convention.weight_decay == "step" else None,
    )


def make_rule(convention: Convention | str, loss: AbstractLoss, *, rho: Any) -> AbstractRule:
    """Return the rule of a convention: the simplest that is the same on `loss`.

    Args:
        convention: a convention, or a name in `CONVENTIONS`.
        loss: tells the tensors.
        rho: radius of each ascent step.

    Raises:
        ArgumentError: as `make_map`.

    """
    c = checked(convention)
    bare = _plain_zero(c.eps)
    if c.ascent == "ssam":
        return SSAM(rho)
    if c.ascent == "fsam":
        return _friendly(c, rho)
    if c.num_steps > 1:
        return MultiStepSAM(_times(c.num_steps, rho), num_steps=c.num_steps)
    if c.norm_scope == "all" and c.ascent == "sam":
        return SAM(rho) if bare else PracticalSAM(rho, c.eps, c.placement)
    everything = c.norm_scope == "all" and c.ascent == "asam" and c.scaled == "all"
    if everything and bare:
        return ASAM(rho, c.shift)
    scaled: Any = c.ascent == "asam"
    if scaled and c.scaled == "weights":
        scaled = _weights(_network(c, loss))
    return TensorSAM(
        rho,
        c.eps,
        c.placement,
        tensors=None if everything else _network(c, loss).weight_shapes,
        norm_scope=c.norm_scope,
        scaled=scaled,
        shift=c.shift,
        centred=c.ascent == "gcsam",
    )


def _times(number: int, rho: Any) -> Any:
    """Return number · rho, also of a schedule."""
    function: Any = rho
    return (lambda k: number * function(k)) if callable(rho) else number * rho


def make_loss(
    convention: Convention | str, loss: AbstractLoss, *, weight_decay: Any = 0.0
) -> AbstractLoss:
    """Return the loss that an implementation descends: with its weight decay, labels, batch norm.

    Weight decay that the loss counts already is kept where it belongs to the loss.

    Args:
        convention: a convention, or a name in `CONVENTIONS`.
        loss: any loss; one that is not of a network is returned as it is.
        weight_decay: ≥ 0; enters the loss if the convention says so.

    Raises:
        ArgumentError: as `make_map`.

    """
    c = checked(convention)
    inside = c.weight_decay == "loss"
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` to make one.")
    if inside and _checks.is_traced(weight_decay):
        raise ArgumentError(
            "Argument `weight_decay` must be a plain number if it is part of the loss, but is "
            'traced. Use `convention._replace(weight_decay="step")` to sweep it.'
        )
    if inside:
        weight_decay = _checks.nonnegative("weight_decay", weight_decay)
    if not isinstance(loss, AbstractNetworkLoss):
        if inside and weight_decay:
            _network(c, loss)
        return loss
    has, changes = loss.options, {}
    if has.weight_decay and not inside:
        raise ArgumentError(
            "Argument `loss` must not include weight decay, because the convention puts it into "
            f"the step, but includes {has.weight_decay:g}. Use "
            '`convention._replace(weight_decay="loss")`.'
        )
    if has.weight_decay and weight_decay not in (0, has.weight_decay):
        raise ArgumentError(
            f"Argument `weight_decay` must be that of the loss, {has.weight_decay:g}, or left out, "
            f"but is {weight_decay:g}."
        )
    if inside and weight_decay:
        changes["weight_decay"] = weight_decay
    if c.batch_norm is not None and has.batch_norm != "none":
        changes["batch_norm"] = c.batch_norm
    if c.label_smoothing is not None:
        changes["label_smoothing"] = _smoothing(c, loss)
    changes = {name: value for name, value in changes.items() if value != getattr(has, name)}
    return loss.with_options(**changes) if changes else loss


def checked(convention: Convention | str) -> Convention:
    """Return a convention, by its name or as it is, after a look at its values.

    Raises:
        ArgumentError: for an unknown name, values out of range, and choices that exclude each
            other.

    """
    if isinstance(convention, str):
        return CONVENTIONS[_checks.known("convention", convention, CONVENTIONS)]
    _checks.instance("convention", convention, Convention, "Use a name in `CONVENTIONS`.")
    for field, choices in _CHOICES.items():
        _checks.known(field, str(getattr(convention, field)), choices)
    if convention.batch_norm is not None:
        _checks.known("batch_norm", str(convention.batch_norm), ("eval", "train"))
    _checks.count("num_steps", convention.num_steps)
    _checks.instance("nesterov", convention.nesterov, bool)
    _checks.nonnegative_array("eps", convention.eps)  # may be traced: they are leaves of a rule
    _checks.nonnegative_array("shift", convention.shift)
    if convention.label_smoothing is not None:
        _checks.fraction("label_smoothing", convention.label_smoothing)
    several = convention.num_steps > 1
    if several and convention.ascent != "sam":
        raise ArgumentError(
            'Argument `num_steps` must be 1 unless ascent is "sam", but is '
            f'{convention.num_steps} for "{convention.ascent}".'
        )
    _checks.nonnegative_array("sigma", convention.sigma)
    _checks.fraction_array("decay", convention.decay)
    if several or convention.ascent in ("ssam", "fsam"):
        why = "several ascent steps" if several else f'ascent "{convention.ascent}"'
        if convention.ascent != "fsam" and not _plain_zero(convention.eps):
            raise ArgumentError(f"Argument `eps` must be 0 for {why}, but is {convention.eps}.")
        if convention.norm_scope != "all":
            raise ArgumentError(f'Argument `norm_scope` must be "all" for {why}, but is "each".')
    if convention.ascent != "asam" and not _plain_zero(convention.shift):
        raise ArgumentError(
            f'Argument `shift` must be 0 unless ascent is "asam", but is {convention.shift}.'
        )
    return convention


def _friendly(c: Convention, rho: Any) -> AbstractRule:
    if _plain_zero(c.eps) and c.first_memory == "blended":
        return FSAM(rho, c.sigma, c.decay)
    if _plain_zero(c.eps):
        raise ArgumentError(
            'Argument `eps` must be above 0 for first_memory "gradient", but is 0. Use '
            '`convention._replace(first_memory="blended")`.'
        )
    return PracticalFSAM(rho, c.sigma, c.decay, c.eps, c.placement, c.first_memory)


def _plain_zero(value: Any) -> bool:
    """Say whether `value` is known to be 0; one that is traced is taken to be above."""
    return not _checks.is_traced(value) and float(value) == 0


def _network(convention: Convention, loss: AbstractLoss) -> AbstractNetworkLoss:
    if isinstance(loss, AbstractNetworkLoss):
        return loss
    raise ArgumentError(
        f'Argument `loss` must be of a network for ascent "{convention.ascent}", norm_scope '
        f'"{convention.norm_scope}" and weight_decay "{convention.weight_decay}", but is '
        f"{type(loss).__name__}, which does not know its tensors. Use `sf.losses.network`."
    )


def _weights(loss: AbstractNetworkLoss) -> tuple[bool, ...]:
    """Return which tensors are weights by their name, as the code of ASAM has it."""
    flags = tuple("weight" in name for name in loss.weight_names)
    if not any(flags):
        raise ArgumentError(
            "Argument `loss` must have tensors with `weight` in their name for scaled "
            f'"weights", but has {", ".join(loss.weight_names)}. Use scaled "all".'
        )
    return flags


def _smoothing(convention: Convention, loss: AbstractNetworkLoss) -> float:
    """Return s as the loss takes it, shared by all classes alike."""
    s = float(convention.label_smoothing or 0.0)
    if s and loss.options.criterion != "cross_entropy":
        raise ArgumentError(
            f"Argument `label_smoothing` must be 0 unless the loss is cross_entropy, but is {s:g} "
            f"for {loss.options.criterion}. Use `convention._replace(label_smoothing=None)`."
        )
    if not s or convention.smoothing_over == "all":
        return s
    w: Any = jax.ShapeDtypeStruct((loss.dim,), jnp.zeros(()).dtype)
    shape = eqx.filter_eval_shape(loss.batch(np.array([0])).predict, w).shape
    classes = shape[loss.class_axis]
    return _checks.fraction("label_smoothing", s * classes / (classes - 1))
