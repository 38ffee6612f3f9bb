"""The monitor in a loop of PyTorch: `monitor(model, batch)`, the optimiser read as it is."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._extras import optional
from samflow._types import NumpyArray
from samflow.losses.pytorch import TorchLoss, torch_network
from samflow.losses.pytorch.live import drops_in_training
from samflow.networks.moments import squares
from samflow.networks.monitoring._monitor import Monitor
from samflow.networks.monitoring.calls import CalledMonitor
from samflow.networks.monitoring.measurement import Row
from samflow.networks.monitoring.optimisers import Read, adaptive, descent, nothing
from samflow.networks.monitoring.records import TrainingRecord
from samflow.rules import AbstractRule

_SHOWN = 3


class TorchMonitor(CalledMonitor):
    """Looks at a training loop of PyTorch every k calls; module and optimiser are only read.

        monitor = sf.networks.TorchMonitor(optimizer, loss="cross_entropy", every=50)
        for x, y in loader:
            monitor(model, (x, y))
            ...  # the step, as ever

    lr, momentum, weight decay, betas and second moments are read from the optimiser at each row.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        loss: str | Callable[[Any, Any], Any] | None = None,
        rule: AbstractRule | None = None,
        dropout: str = "refuse",
        forward: Callable[[Any, Any], Any] | None = None,
        chunk_size: int | None = None,
        **settings: Any,
    ) -> None:
        """Prepare a monitor; nothing is computed yet.

        Args:
            optimizer: of torch.optim: SGD, Adam, AdamW or RMSprop. Of any other the edge is
                unknown, and the rest is recorded.
            loss: as for `sf.losses.torch_network`: what the loop minimises, a mean over examples.
            rule: the rule of which `optimizer` takes the steps, where a wrapper of yours makes
                the ascent: `sf.SAM(rho=0.05)`, with the wrapper's base optimiser.
            dropout: "refuse" a module with dropout in training mode; or "off": look at the loss
                without dropout, which is not the one that is trained.
            forward: as for `torch_network`.
            chunk_size: as for `torch_network`.
            settings: of a `Monitor`.

        Raises:
            ArgumentError: for what is no optimiser, and as `Monitor`.
            ImportError: where PyTorch is not installed.

        """
        torch = optional("torch", "A monitor of PyTorch")
        _checks.instance("optimizer", optimizer, torch.optim.Optimizer)
        if rule is not None:
            _checks.instance("rule", rule, AbstractRule, "Use an instance, such as `sf.SAM(0.05)`.")
        self._dropout = _checks.known("dropout", dropout, ("refuse", "off"))
        self._torch, self._optimizer, self._rule = torch, optimizer, rule
        self._made = {"loss": loss, "forward": forward, "chunk_size": chunk_size}
        self._monitor = Monitor(**settings)
        self._calls = 0
        self._last: tuple[Any, Any, Any, TorchLoss] | None = None
        self._trained: list[tuple[str, Any]] = []

    @property
    def record(self) -> TrainingRecord:
        """All rows so far."""
        return self._monitor.record

    def __call__(self, model: Any, batch: Any) -> Row | None:
        """Count a step, and make a row if one is due; return it, or None.

        Args:
            model: the module, with its weights of now.
            batch: (x, y), the examples on which curvature and loss are measured: all of the data,
                or a large part. The same examples in each row make rows comparable; a new batch
                at each adds its noise.

        Raises:
            ArgumentError: for an optimiser that has not the weights of `model`, a module in
                training mode with dropout, and what `torch_network` refuses.

        """
        step, self._calls = self._calls, self._calls + 1
        if step % self._monitor.every:
            last = self._last
            if last is not None and last[0] is _module(model) and self._monitor.near(step):
                self._monitor.note(last[3].flatten(), step)
            return None
        network = self._network(model, batch)
        read = read_optimiser(self._torch, self._optimizer, model, network, self._rule)
        w = jnp.asarray(network.flatten(), dtype=float)
        self._monitor.note(w, step)
        system = read.system
        z = None if system is None else system.lift(w)
        return self._monitor.look(network, w, read.update, step=step, system=system, z=z)

    def _network(self, model: Any, batch: Any) -> TorchLoss:
        """Return the loss of the module on a batch, anew where something may have changed."""
        module = _module(model)
        _checks.instance("model", module, self._torch.nn.Module)
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise _checks.ArgumentError(
                f"Argument `batch` must be a pair (x, y), but is {type(batch).__name__}. Give "
                "inputs as a tuple or mapping in the place of x."
            )
        network = self._made_of(module, *batch)
        if self._dropout == "refuse":
            _refuse_dropout(self._torch, module, network)
        return network

    def _made_of(self, module: Any, x: Any, y: Any) -> TorchLoss:
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        same = len(trained) == len(self._trained) and all(
            name == before and p is held
            for (name, p), (before, held) in zip(trained, self._trained, strict=True)
        )
        if not same and self._trained:  # vectors of other weights lead nowhere
            self._monitor.forget_vectors()
        self._trained, old = trained, self._last if same else None
        if old and old[0] is module and old[1] is x and old[2] is y and not [*module.buffers()]:
            return old[3]
        norms = self._torch.nn.modules.batchnorm._BatchNorm
        training = any(m.training for m in module.modules() if isinstance(m, norms))
        batch_norm = "train" if training else "eval"
        network = torch_network(module, x, y, batch_norm=batch_norm, **self._made)
        self._last = module, x, y, network
        return network


def _module(model: Any) -> Any:
    """Return the module inside one that torch.compile made."""
    return getattr(model, "_orig_mod", model)


def _refuse_dropout(torch: Any, module: Any, network: TorchLoss) -> None:
    found = drops_in_training(torch, module, network)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise _checks.ArgumentError(
            "Argument `model` must not have dropout in training mode, because then each gradient "
            f"is that of another random loss, but has {', '.join(found[:_SHOWN])}{more}. Pass "
            '`dropout="off"` to look at the loss without dropout.'
        )


def read_optimiser(
    torch: Any, optimizer: Any, model: Any, network: TorchLoss, rule: AbstractRule | None
) -> Read:
    """Return what an optimiser of torch.optim states of its update; unknown is said, not guessed.

    Raises:
        ArgumentError: for an optimiser that has not the weights of `model`.

    """
    module, name = _module(model), type(optimizer).__name__.lower()
    weights = _weights(optimizer, module, network)
    groups = [optimizer.param_groups[i] for i in dict.fromkeys(i for _, i in weights)]
    numbers = {key: [group.get(key) for group in groups] for key in groups[0] if key != "params"}
    lrs = [float(lr) for lr in numbers["lr"]]
    differ = [key for key, values in numbers.items() if any(v != values[0] for v in values[1:])]
    lr = lrs[0] if "lr" not in differ else np.nan
    decays = [float(optimizer.param_groups[i].get("weight_decay", 0)) for _, i in weights]
    differ = [key for key in differ if key != "weight_decay"]
    known = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
    if type(optimizer) not in known:
        return nothing(name, "no optimiser that samflow knows", lr)
    if differ:
        return nothing(name, f"its groups differ in {', '.join(differ)}", lr)
    group = groups[0]
    if group.get("maximize"):
        return nothing(name, "it maximises", lr)
    # Of groups with several weight decays, as where biases have none, the edge is that of the
    # largest; decay that is divided by P is a part of the curvature, of each weight its own.
    decay = max(decays)
    each = decay if min(decays) == decay else _spread(decays, weights)
    if type(optimizer) is torch.optim.SGD:
        momentum = float(group["momentum"])
        if momentum:  # v⁺ = momentum v + (1 − dampening) d
            lr *= 1 - float(group["dampening"])
        if lr <= 0:
            return nothing(name, "its lr is 0", lr)
        nesterov = bool(group["nesterov"])
        return descent(network, rule, lr, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    if rule is not None:
        return nothing(name, "the rule's ascent is not divided by P", lr)
    states = [optimizer.state.get(p) for p, _ in weights]
    if lr <= 0 or not all(states):
        return nothing(name, "it has made no step", lr)
    if type(optimizer) is torch.optim.RMSprop:
        p = np.concatenate([np.sqrt(squares(group, s)).ravel() for s in states])
        p += float(group["eps"])
        momentum = float(group["momentum"])
        read = descent(network, None, lr, momentum=momentum, weight_decay=each, preconditioner=p)
        return read._replace(update=read.update._replace(name=name))
    beta1, beta2 = (float(beta) for beta in group["betas"])
    pieces = []
    for state in states:
        step = float(state["step"])
        root = np.sqrt(squares(group, state).ravel() / (1 - beta2**step))
        pieces.append((root + float(group["eps"])) * (1 - beta1**step))
    p, decoupled = np.concatenate(pieces), type(optimizer) is torch.optim.AdamW
    decoupled = bool(group.get("decoupled_weight_decay", decoupled))
    how = {"beta1": beta1, "preconditioner": p, "decoupled": decoupled}
    how["weight_decay"] = decay if decoupled else each
    return adaptive(network, name, lr, **how)


def _spread(decays: list[float], weights: list[tuple[Any, int]]) -> NumpyArray:
    """Return the weight decay of each number."""
    return np.repeat(decays, [p.numel() for p, _ in weights])


def _weights(optimizer: Any, module: Any, network: TorchLoss) -> list[tuple[Any, int]]:
    """Return the weights in the order of the loss, each with the number of its group."""
    of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    named = dict(module.named_parameters(remove_duplicate=False))
    weights = [named[name] for name in network.weight_names]
    missing = [n for n, p in zip(network.weight_names, weights, strict=True) if id(p) not in of]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise _checks.ArgumentError(
            f"Argument `optimizer` must have all weights of `model`, but {len(missing)} of "
            f"{len(weights)} are not among its parameters: {shown}. Pass the optimiser of this "
            "model; freeze what is not trained by requires_grad_(False)."
        )
    return [(p, of[id(p)]) for p in weights]
