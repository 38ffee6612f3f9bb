"""What an optimiser of another library states of its update, from its numbers and its state."""

from typing import Any, NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.losses.base import AbstractLoss
from samflow.rules import GD, AbstractRule
from samflow.systems import Map
from samflow.systems.edges import Update, adaptive_edge, update_of


class Read(NamedTuple):
    """What was read of an optimiser.

    Attributes:
        update: its update.
        system: a map that has its direction; None where none is known.

    """

    update: Update
    system: Map | None


def nothing(name: str, why: str, lr: float = np.nan) -> Read:
    """Return what is known of an optimiser whose edge is unknown, with the reason in its name."""
    return Read(Update.unknown(f"{name} (edge unknown: {why})", lr), None)


def descent(
    loss: AbstractLoss,
    rule: AbstractRule | None,
    lr: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float | NumpyArray = 0.0,
    preconditioner: NumpyArray | None = None,
) -> Read:
    """Return that of SGD, with or without a rule of samflow around it.

    With a preconditioner, as of RMSprop, and momentum the edge is that of heavy ball.
    """
    rule = GD() if rule is None else rule
    decay = 0.0 if preconditioner is not None else weight_decay
    ahead = nesterov and momentum > 0
    numbers: dict[str, Any] = {"momentum": momentum, "nesterov": ahead, "weight_decay": decay}
    system = Map(loss, rule, lr=lr, **numbers)
    update = update_of(system)
    if preconditioner is None:
        return Read(update, system)
    if rule.effective_rho(1.0) != 0.0:  # it ascends
        return nothing(update.name, "the rule's ascent is not divided by P", lr)
    return Read(update._replace(preconditioner=preconditioner, decay=weight_decay), system)


def adaptive(
    loss: AbstractLoss,
    name: str,
    lr: float,
    *,
    beta1: float,
    preconditioner: NumpyArray,
    weight_decay: float | NumpyArray = 0.0,
    decoupled: bool = False,
) -> Read:
    """Return that of Adam and its relatives, whose steps are lr · m/P with an average m of g."""
    edge = adaptive_edge(lr, beta1, decoupled_decay=float(weight_decay) if decoupled else 0.0)
    update = Update(
        f"{name} with beta1 {beta1:g}",
        lr,
        lambda gradient_norm: edge,
        preconditioner,
        0.0 if decoupled else weight_decay,
    )
    return Read(update, Map(loss, GD(), lr=lr))
