"""What Adam, AdamW or RMSprop remembers at a checkpoint, from the states of torch and optax."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._text import printable
from samflow._types import NumpyArray
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.files.optimiser_files import read_optimiser
from samflow.systems import AbstractMoments, Adam, AdamW, RMSprop

_SECOND = {"exp_avg_sq": "Adam or AdamW", "square_avg": "RMSprop"}
"""What torch calls the second moment, and of which optimisers."""
_KEPT = {
    "exp_avg_sq": {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "square_avg": {"step", "square_avg", "momentum_buffer", "grad_avg"},
}
"""What these keep of an array, by their second moment; another optimiser keeps more."""
_OPTIONS = {"exp_avg_sq": ("betas", "eps", "amsgrad"), "square_avg": ("alpha", "eps", "centered")}
"""Options that they have; RAdam keeps what Adam does, and has no amsgrad."""
_SWITCHES = ("decoupled_weight_decay", "amsgrad", "centered")
"""Options that are on or off, alike in all groups."""
_UNSUPPORTED = {"maximize": False, "momentum": 0}
"""Options of torch that make another optimiser of it, and the values that do not."""


@dataclasses.dataclass(frozen=True)
class SecondMoment:
    """The second moment of an optimiser at trained weights, after so many steps.

    Attributes:
        base: the optimiser, with its numbers.
        v: the second moment as the optimiser keeps it, without bias correction, shape (dim,).
        step: how many steps were made, at least 1.
        weight_decay: that the optimiser adds to gradients, as torch.optim.Adam; the decoupled one
            of AdamW is a number of the base.
        lr: the step size of the last step; None: unknown.
        source: where it came from: a path, or a word.

    Raises:
        ArgumentError: for a base without second moment, a v with entries that are negative or not
            finite, a step below 1.

    """

    base: AbstractMoments
    v: NumpyArray
    step: int
    weight_decay: float = 0.0
    lr: float | None = None
    source: str = "given"

    def __post_init__(self) -> None:
        """Check each part."""
        remedy = "Use `sf.Adam()`, `sf.AdamW()` or `sf.RMSprop()`."
        _checks.instance("base", self.base, AbstractMoments, remedy)
        v = np.asarray(_checks.point("v", self.v, np.size(self.v)))
        if not (v >= 0).all():
            raise _checks.ArgumentError(
                f"Argument `v` must be at least 0, but has an entry {v.min():g}. Give the second "
                "moment: `exp_avg_sq` of torch, `nu` of optax."
            )
        object.__setattr__(self, "v", v)
        _checks.count("step", self.step)
        _checks.nonnegative("weight_decay", self.weight_decay)

    def described(self, lr: float) -> str:
        """Return a line about the state, for a verdict at `lr`."""
        text = f"Second moments: {self.base.name} after {self.step} steps ({self.source})"
        if self.lr is not None and self.lr != lr:
            text += f"; its last lr was {self.lr:g}, and the verdict is for {lr:g}"
        return f"{text}."

    @property
    def preconditioner(self) -> NumpyArray:
        """The diagonal of P, bias corrections included, shape (dim,)."""
        base, dim = self.base, len(self.v)
        state = base.init(jnp.zeros(dim))
        first = dim if base.beta1 is not None else 0
        state = state.at[first : first + dim].set(jnp.asarray(self.v))
        rates = [rate for rate in (base.beta1, base.beta2) if rate is not None]
        for i in range(base.num_powers):
            state = state.at[first + dim + i].set(rates[i] ** self.step)
        return np.asarray(base.preconditioner(state, dim))


def torch_moment(
    loss: AbstractNetworkLoss, state_dict: Mapping[str, Any], *, names: Sequence[str] | None = None
) -> SecondMoment:
    """Return the second moment in `optimizer.state_dict()` of torch's Adam, AdamW or RMSprop.

    Args:
        loss: of the network, whose arrays are in the order of `weight_names`.
        state_dict: with "state" and "param_groups".
        names: of the parameters in the order in which the optimiser was given them, where this is
            not that of `weight_names`; None: the names in the state, if it has any, as of an
            optimiser that was given `named_parameters()`.

    Raises:
        ArgumentError: for the state of another optimiser or of another model (number, names or
            shapes of arrays), with options that are not supported, as momentum, before the first
            step, and where groups differ in what P is made of.

    """
    groups, state = _torch_parts(state_dict)
    ids = [number for group in groups for number in group["params"]]
    wanted, shapes = loss.weight_names, loss.weight_shapes
    if len(set(ids)) < len(ids):
        raise _checks.ArgumentError(
            "Argument `state_dict` must have each array once, but has some twice: "
            f"{_checks.excerpt(ids)}."
        )
    if len(ids) != len(wanted):
        raise _checks.ArgumentError(
            f"Argument `state_dict` must be of the model at hand, with {len(wanted)} arrays, but "
            f"its optimiser has {len(ids)}."
        )
    if names is None and all(isinstance(group.get("param_names"), list) for group in groups):
        names = [str(name) for group in groups for name in group["param_names"]]
    given = list(wanted if names is None else names)
    if sorted(given) != sorted(wanted):
        other = sorted(set(given) ^ set(wanted))
        raise _checks.ArgumentError(
            "Argument `state_dict` must be of the model at hand, but these names are not in both: "
            f"{_checks.excerpt(other)}."
        )
    entries = {name: state.get(number) or {} for name, number in zip(given, ids, strict=True)}
    missing = [name for name in wanted if not entries[name]]
    if missing:
        raise _checks.ArgumentError(
            "Argument `state_dict` must have a moment of each array, but has none of "
            f"{_checks.excerpt(missing)}: no step was made, no gradient reached them, or the "
            "optimiser keeps none, as SGD."
        )
    kind = next((kind for kind in _SECOND if kind in entries[wanted[0]]), None)
    if kind is None or not all(
        {kind, "step"} <= set(entries[name]) <= _KEPT[kind] for name in wanted
    ):
        raise _checks.ArgumentError(
            "Argument `state_dict` must be of Adam, AdamW or RMSprop, but its state has "
            f"{_checks.excerpt(sorted(map(str, set().union(*entries.values()))))}."
        )
    for group in groups:
        if missing := [name for name in _OPTIONS[kind] if name not in group]:
            raise _checks.ArgumentError(
                f"Argument `state_dict` must be of {_SECOND[kind]} of torch, but its options lack "
                f"{_checks.excerpt(missing)}, as those of another optimiser, such as RAdam."
            )
    parts = []
    for name, shape in zip(wanted, shapes, strict=True):
        found = _shape(entries[name][kind])
        if found != shape:  # before a copy is made: a file can repeat one number any times
            raise _checks.ArgumentError(
                f"Argument `state_dict` must be of the model at hand, whose {name} has shape "
                f"{shape}, but its moment has {found}. If the order is another, give `names`."
            )
        parts.append(squares(groups[0], entries[name]).ravel())
    steps = {_number("step", entries[name]["step"]) for name in wanted}
    if len(steps) > 1:
        raise _checks.ArgumentError(
            f"Argument `state_dict` must have one number of steps, but has {sorted(steps)}."
        )
    base, decay = _torch_base(groups, kind)
    lr = _number("lr", groups[0]["lr"]) if "lr" in groups[0] else None
    (step,) = steps
    if step != int(step):
        raise _checks.ArgumentError(
            f"Argument `state_dict` must have a whole number of steps, but has {step:g}."
        )
    return SecondMoment(base, np.concatenate(parts), int(step), decay, lr)


def load_moment(
    path: str | os.PathLike[str],
    loss: AbstractNetworkLoss,
    *,
    entry: str | None = None,
    names: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> SecondMoment:
    """Return the second moment in a file of `torch.save`, read without running code of the file.

    The file is `optimizer.state_dict()`, or a checkpoint that has it as an entry, as
    `optimizer_state_dict` or the `optimizer_states` of Lightning.

    Args:
        path: the file, which may be the one with the weights.
        loss: of the network.
        entry: where in the file the state is, as "optimizer_states.0"; None: the only one there.
        names: as for `torch_moment`.
        max_bytes: of memory that the file's tensors may fill, as for `read_tensors`.

    Raises:
        ArgumentError: for a file that cannot be read or has no such state, or several; and as
            `torch_moment`.
        ImportError: where PyTorch is not installed.

    """
    state = read_optimiser(path, entry=entry, max_bytes=max_bytes)
    found = torch_moment(loss, state, names=names)
    return dataclasses.replace(found, source=printable(os.fspath(path)))


def optax_moment(
    loss: AbstractNetworkLoss, opt_state: Any, base: AbstractMoments, *, step: int | None = None
) -> SecondMoment:
    """Return the second moment in a state of optax, as of adam, adamw or rmsprop.

    Args:
        loss: of the network, built like the parameters of the optimiser.
        opt_state: anywhere in it a state with `nu`, as `ScaleByAdamState`.
        base: the optimiser with its numbers, which optax does not keep in the state.
        step: how many steps were made; None: the `count` beside `nu`.

    Raises:
        ArgumentError: where there is no such state or more than one, and for that of another model.

    """
    has = lambda node: hasattr(node, "nu")  # noqa: E731
    found = [node for node in jax.tree.leaves(opt_state, is_leaf=has) if has(node)]
    if len(found) != 1:
        raise _checks.ArgumentError(
            "Argument `opt_state` must have one state with a second moment `nu`, as of "
            f"optax.adam, but has {len(found)}."
        )
    flatten: Any = getattr(loss, "flatten", None)
    nu = found[0].nu
    flat = jnp.shape(nu) == (loss.dim,) if hasattr(nu, "shape") else False
    v = np.asarray(nu if flat or flatten is None else flatten(nu), dtype=float)
    if step is None:
        if not hasattr(found[0], "count"):
            raise _checks.ArgumentError(
                "Argument `step` must be given: this state of optax has no count of steps."
            )
        step = int(found[0].count)
    return SecondMoment(base, v, step)


def squares(group: Mapping[str, Any], state: Mapping[str, Any]) -> NumpyArray:
    """Return of one array of weights what torch's Adam or RMSprop divides steps by, squared.

    That is without bias correction and eps: the second moment, of amsgrad the largest so far, of a
    centred RMSprop the variance.

    Args:
        group: the optimiser's numbers.
        state: of this array: `exp_avg_sq` or `square_avg`, and what belongs to them.

    """
    if "square_avg" in state:
        square = _numbers(state["square_avg"], "square_avg")
        centered = bool(group.get("centered"))
        return square - _numbers(state["grad_avg"], "grad_avg") ** 2 if centered else square
    name = "max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"
    return _numbers(state[name], name)


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(array.shape if hasattr(array, "shape") else np.shape(array))


def _numbers(array: Any, name: str) -> NumpyArray:
    if hasattr(array, "detach"):  # a tensor, also of a type that NumPy lacks, as bfloat16
        array = array.detach()
        array = array.double() if array.is_floating_point() else array
    try:
        return _checks.real_numbers(array.cpu() if hasattr(array, "cpu") else array)
    except (TypeError, NotImplementedError) as error:  # the second for a tensor without data
        raise _checks.ArgumentError(
            f"Argument `state_dict` must have real numbers as {name}, but: {error}."
        ) from error


def _number(name: str, value: Any) -> float:
    """Return a number of a group or of a state, which torch may keep as a tensor."""
    one = math.prod(_shape(value)) == 1
    found = _numbers(value if one else math.nan, name)
    if not np.isfinite(found).all():
        raise _checks.ArgumentError(
            f"Argument `state_dict` must have a finite number as {name}, but has "
            f"{_checks.excerpt(value)}."
        )
    return float(found.reshape(()))


def _torch_parts(state_dict: Any) -> tuple[list[Any], Mapping[Any, Any]]:
    good = isinstance(state_dict, Mapping) and {"state", "param_groups"} <= set(state_dict)
    if not good:
        raise _checks.ArgumentError(
            "Argument `state_dict` must be what `optimizer.state_dict()` of torch returns, with "
            f"`state` and `param_groups`, but is {_checks.excerpt(type(state_dict).__name__)}."
        )
    groups, state = state_dict["param_groups"], state_dict["state"]
    of_groups = isinstance(groups, (list, tuple)) and all(
        isinstance(group, Mapping)
        and isinstance(group.get("params"), (list, tuple))
        and all(isinstance(number, (int, str)) for number in group["params"])
        for group in groups
    )
    of_state = isinstance(state, Mapping) and all(isinstance(v, Mapping) for v in state.values())
    if not (of_groups and of_state and groups):
        raise _checks.ArgumentError(
            "Argument `state_dict` must have `param_groups`, a list of dictionaries with `params`, "
            "and `state`, a dictionary of dictionaries, as torch has them."
        )
    return list(groups), state


def _torch_base(groups: Sequence[Mapping[str, Any]], kind: str) -> tuple[AbstractMoments, float]:
    """Return the base of the groups, and the decay that is a part of the gradient."""
    for name, plain in _UNSUPPORTED.items():
        set_to = [group.get(name, plain) for group in groups]
        numbers = [int(value) if isinstance(value, bool) else value for value in set_to]
        odd = [v for v, n in zip(set_to, numbers, strict=True) if _number(name, n) != plain]
        if odd:
            raise _checks.ArgumentError(
                f"Argument `state_dict` must be of an optimiser without `{name}`, but has "
                f"{name}={odd[0]}: its preconditioner or its momentum is another."
            )
    decay = max(_number("weight_decay", group.get("weight_decay", 0.0)) for group in groups)
    says = [group.get("decoupled_weight_decay") for group in groups]
    if kind == "exp_avg_sq" and decay and None in says:
        raise _checks.ArgumentError(
            "Argument `state_dict` must say in its groups whether `decoupled_weight_decay` is True "
            "(AdamW) or False (Adam), because it has weight decay. Older versions of torch do not "
            "write it: set it in each of `param_groups`."
        )
    decoupled = any(says)
    same = ["eps", "beta1", "beta2"] if kind == "exp_avg_sq" else ["eps", "alpha"]
    same += ["lr", *([] if decoupled else ["weight_decay"])]
    each = [
        _numbers_of(group) | {name: bool(group.get(name)) for name in _SWITCHES} for group in groups
    ]
    for name in [*same, *_SWITCHES]:
        if len({numbers.get(name) for numbers in each}) > 1:
            raise _checks.ArgumentError(
                f"Argument `state_dict` must have one {name} in all groups, but has "
                f"{[numbers.get(name) for numbers in each]}."
            )
    first = each[0]
    if kind == "square_avg":
        return RMSprop(beta2=first["alpha"], eps=first["eps"]), decay
    numbers = {name: first[name] for name in ("beta1", "beta2", "eps")}
    if decoupled and decay:  # the largest of the groups, with the lowest edge
        return AdamW(**numbers, weight_decay=decay), 0.0
    return Adam(**numbers), 0.0 if decoupled else decay


def _numbers_of(group: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a group, with both of `betas` by name."""
    found = {
        name: _number(name, group[name])
        for name in ("lr", "eps", "alpha", "weight_decay")
        if name in group
    }
    if "betas" in group:
        betas = group["betas"]
        if not isinstance(betas, (list, tuple)) or len(betas) != 2:
            raise _checks.ArgumentError(
                f"Argument `state_dict` must have two betas, but has {_checks.excerpt(betas)}."
            )
        found |= {f"beta{i}": _number("betas", beta) for i, beta in enumerate(betas, 1)}
    return found
