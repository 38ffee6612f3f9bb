"""The monitor in a loop of optax: `monitor(params, opt_state)`, the state read as it is."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._types import NumpyArray
from samflow.losses.network import NetworkLoss
from samflow.networks.monitoring._monitor import Monitor
from samflow.networks.monitoring.calls import CalledMonitor
from samflow.networks.monitoring.measurement import Row
from samflow.networks.monitoring.optimisers import Read, adaptive, descent, nothing
from samflow.networks.monitoring.records import TrainingRecord
from samflow.rules import AbstractRule

_KNOWN = ("sgd", "adam", "adamw", "rmsprop")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": None, "nesterov": False},
    "adam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "nesterov": False},
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "nesterov": False}
    | {"weight_decay": 1e-4, "mask": None},
    "rmsprop": {"decay": 0.9, "eps": 1e-8, "eps_in_sqrt": True, "centered": False}
    | {"momentum": None, "nesterov": False, "bias_correction": False},
}
"""Those of optax's functions, as far as an edge depends on them."""


class OptaxMonitor(CalledMonitor):
    """Looks at a training loop in JAX with optax every k calls.

        monitor = sf.networks.OptaxMonitor(loss, "adam", {"learning_rate": 1e-3}, every=50)
        for ...:
            monitor(params, opt_state)
            ...  # the step, as ever

    A state of optax holds moments, but neither a learning rate nor which function made it. These
    are told, as they were told to optax; numbers that `optax.inject_hyperparams` keeps in the
    state are taken from there.
    """

    def __init__(
        self,
        loss: NetworkLoss,
        optimiser: str | None = None,
        hyperparams: Mapping[str, float | Callable[[Any], Any]] | None = None,
        *,
        rule: AbstractRule | None = None,
        **settings: Any,
    ) -> None:
        """Prepare a monitor; nothing is computed yet.

        Args:
            loss: of the network on all of the data, by `sf.losses.network`; the loss that is
                trained.
            optimiser: "sgd", "adam", "adamw" or "rmsprop", the function of optax; None for any
                other, whose edge is unknown.
            hyperparams: the arguments of that function by name, of which the learning rate may be
                a schedule of the count; what is left out has optax's default.
            rule: as for `TorchMonitor`.
            settings: of a `Monitor`.

        Raises:
            ArgumentError: for another optimiser, and arguments that it does not have.

        Not guaranteed: that transformations without a state, as clipping, are noticed.

        """
        _checks.instance("loss", loss, NetworkLoss, "Use `sf.losses.network`.")
        self._loss, self._rule, self._optimiser = loss, rule, optimiser
        if rule is not None:
            _checks.instance("rule", rule, AbstractRule, "Use an instance, such as `sf.SAM(0.05)`.")
        if optimiser is not None:
            _checks.known("optimiser", optimiser, _KNOWN)
            for name in hyperparams or {}:
                _checks.known("hyperparams", name, ("learning_rate", *_DEFAULTS[optimiser]))
        self._told = dict(hyperparams or {})
        self._monitor = Monitor(**settings)
        self._calls = 0

    @property
    def record(self) -> TrainingRecord:
        """All rows so far."""
        return self._monitor.record

    def __call__(self, params: Any, opt_state: Any) -> Row | None:
        """Count a step, and make a row if one is due; return it, or None.

        Args:
            params: the model, or the tree of its arrays, with the weights of now.
            opt_state: the state of now.

        Raises:
            ArgumentError: for a model or a state that is not built like the network of the loss,
                and for a state that `optimiser` did not make.

        """
        step, self._calls = self._calls, self._calls + 1
        if not self._monitor.near(step):
            return None
        loss, w = self._loss, self._loss.flatten(params)
        self._monitor.note(w, step)
        if step % self._monitor.every:
            return None
        read = read_state(loss, self._optimiser, self._told, opt_state, step, self._rule)
        system = read.system
        z = None if system is None else system.lift(w)
        return self._monitor.look(loss, w, read.update, step=step, system=system, z=z)


def read_state(
    loss: NetworkLoss,
    optimiser: str | None,
    told: Mapping[str, Any],
    opt_state: Any,
    step: int,
    rule: AbstractRule | None,
) -> Read:
    """Return what a state of optax and the arguments of its function state of the update."""
    found = _parts(opt_state)
    if optimiser is None:
        return nothing("optax", "which optimiser it is was not told")
    numbers: dict[str, Any] = {**_DEFAULTS[optimiser], **told}
    numbers |= {key: each for key, each in found.get("hyperparams", {}).items()}
    moments, trace = found.get("nu"), found.get("trace")
    wanted = {"sgd": None, "rmsprop": "rms"}.get(optimiser, "adam")
    if found.get("kind") != wanted or (trace is None) != (not numbers.get("momentum")):
        raise _checks.ArgumentError(
            f"Argument `opt_state` must be that of optax.{optimiser} with the arguments told, but "
            f"has {found['told'] or 'no moments'}. Tell the optimiser and its momentum as they are."
        )
    for tree in (moments, trace):
        if tree is not None:
            _of_loss(loss, tree)
    count = int(found.get("count", step))
    rate = numbers.get("learning_rate", np.nan)
    lr = float(rate(count) if callable(rate) else rate)  # pyright: ignore[reportArgumentType]
    if not lr > 0:
        return nothing(optimiser, "no learning rate > 0 is known", lr)
    if optimiser == "sgd":
        momentum = float(numbers["momentum"] or 0.0)
        return descent(loss, rule, lr, momentum=momentum, nesterov=bool(numbers["nesterov"]))
    if rule is not None:
        return nothing(optimiser, "the rule's ascent is not divided by P", lr)
    if numbers["nesterov"] or numbers.get("centered") or numbers.get("mask") is not None:
        return nothing(optimiser, "one of its variants", lr)
    square = _of_loss(loss, moments)
    if optimiser == "rmsprop":
        if numbers["bias_correction"]:
            return nothing(optimiser, "one of its variants", lr)
        inside = numbers["eps_in_sqrt"]
        eps = float(numbers["eps"])
        p = np.sqrt(square + eps) if inside else np.sqrt(square) + eps
        momentum = float(numbers["momentum"] or 0.0)
        read = descent(loss, None, lr, momentum=momentum, preconditioner=p)
        return read._replace(update=read.update._replace(name=optimiser))
    if not count:
        return nothing(optimiser, "it has made no step", lr)
    b1, b2, eps, root = (float(numbers[name]) for name in ("b1", "b2", "eps", "eps_root"))
    p = (np.sqrt(square / (1 - b2**count) + root) + eps) * (1 - b1**count)
    decay = float(numbers.get("weight_decay", 0.0))
    how = {"beta1": b1, "preconditioner": p, "weight_decay": decay, "decoupled": True}
    return adaptive(loss, optimiser, lr, **how)


def _parts(opt_state: Any) -> dict[str, Any]:
    """Return the moments, counts and numbers in a state, wherever they are in it."""
    found: dict[str, Any] = {}
    names: list[str] = []

    def visit(node: Any) -> None:
        fields = getattr(node, "_fields", ())
        if fields:
            names.append(type(node).__name__)
        if "hyperparams" in fields:
            found["hyperparams"] = {
                key: float(each) for key, each in node.hyperparams.items() if jnp.ndim(each) == 0
            }
            visit(node.inner_state)
        elif {"mu", "nu", "count"} == set(fields) and type(node).__name__ == "ScaleByAdamState":
            found.update(kind="adam", nu=node.nu, count=node.count)
        elif fields == ("nu",):
            found.update(kind="rms", nu=node.nu)
        elif fields == ("trace",):
            found["trace"] = node.trace
        elif fields == ("count",):
            found["count"] = node.count
        elif isinstance(node, tuple) and not fields:
            for each in node:
                visit(each)
        elif fields:
            found["kind"] = "other"

    visit(opt_state)
    told = [name for name in names if name != "EmptyState"]
    return {**found, "told": ", ".join(dict.fromkeys(told))}


def _of_loss(loss: NetworkLoss, tree: Any) -> NumpyArray:
    """Return moments in the order of the weights; refuse those of another model."""
    try:
        return np.asarray(loss.flatten(tree))
    except _checks.ArgumentError as error:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
        raise _checks.ArgumentError(
            "Argument `opt_state` must be of the network of the loss, with arrays "
            f"{list(loss.weight_shapes)}, but holds moments of shapes {shapes}: it is the state of "
            "another model."
        ) from error
