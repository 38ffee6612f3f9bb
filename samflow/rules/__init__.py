"""Rules: how a step's direction is made from gradients."""

import inspect
from typing import Any

from samflow._checks import ArgumentError, known, nonnegative
from samflow.rules.ascent import ASAM, GCSAM, MultiStepSAM
from samflow.rules.average import AverageSAM
from samflow.rules.base import (
    AbstractMemorylessRule,
    AbstractNormalisedRule,
    AbstractRule,
    is_normalised,
)
from samflow.rules.combined import SSAM, LookaheadSAM, OptimisticSAM, PenalisedGradientNorm
from samflow.rules.critical import Ascent
from samflow.rules.memory import DPSAT, FSAM, VaSSO
from samflow.rules.practical import PracticalFSAM, PracticalSAM, TensorSAM
from samflow.rules.sam import GD, SAM, USAM
from samflow.rules.shards import DNSAM, MSAM, NSAM

RULES: dict[str, type[AbstractRule]] = {
    rule.name: rule
    for rule in (
        GD,
        USAM,
        SAM,
        PracticalSAM,
        ASAM,
        MultiStepSAM,
        SSAM,
        PenalisedGradientNorm,
        LookaheadSAM,
        GCSAM,
        AverageSAM,
        MSAM,
        NSAM,
        DNSAM,
        OptimisticSAM,
        FSAM,
        VaSSO,
        DPSAT,
    )
}
"""Every rule by the name that the command line takes."""


def rule(name: str, *, rho: float = 0.0, **options: Any) -> Any:
    """Return the rule called `name`; GD checks `rho` and takes no notice of it.

    >>> rule("multistep-sam", rho=0.1, num_steps=3).num_steps
    3

    Args:
        name: a name in `RULES`.
        rho: radius of the ascent step.
        options: what else the rule takes; each has a default.

    Returns:
        An `AbstractRule`; one with memories (`num_memories`) is for maps only.

    Raises:
        ArgumentError: for an unknown name (the nearest are given), an option that the rule does
            not take, or a value out of range.

    """
    kind = RULES[known_rule(name)]
    taken = [option for option in inspect.signature(kind).parameters if option != "rho"]
    for option in options:
        if option not in taken:
            raise ArgumentError(
                f"Argument `{option}` is no option of {kind.name}, which takes "
                f"{', '.join(['rho', *taken]) if taken else 'rho only'}."
            )
    if kind is GD:
        nonnegative("rho", rho)
        return GD()
    return kind(rho=rho, **options)  # pyright: ignore[reportCallIssue]


_MEANT = {"sgd": "gd", "gradient-descent": "gd", "vanilla": "gd"}
"""Rules by the names that others have for them."""
_OTHERS = ("adam", "adamw", "nadam", "adamax", "adagrad", "adadelta", "rmsprop", "lion", "lars")
_OTHERS += ("lamb", "sophia", "shampoo", "muon", "lbfgs", "adafactor")
"""Optimisers that are no rules here; some are spelt like one."""


def known_rule(name: str, *others: str) -> str:
    """Return the name of a rule in lower case; for another suggest what is meant or spelt alike.

    Args:
        name: as it was given.
        others: words that are taken as well.

    Raises:
        ArgumentError: for an unknown name.

    """
    name = name.lower() if isinstance(name, str) else name
    if name in (*RULES, *others):
        return name
    every = f"There are {', '.join(RULES)}."
    if name in _MEANT:
        raise ArgumentError(f"Unknown rule `{name}`. Did you mean {_MEANT[name]}? {every}")
    if name in _OTHERS:
        raise ArgumentError(
            f"Unknown rule `{name}`: samflow has no such optimiser, only gradient descent and the "
            f"SAM family. {every}"
        )
    return known("rule", name, [*RULES, *others])


__all__ = [
    "ASAM",
    "DNSAM",
    "DPSAT",
    "FSAM",
    "GCSAM",
    "GD",
    "MSAM",
    "NSAM",
    "RULES",
    "SAM",
    "SSAM",
    "USAM",
    "AbstractMemorylessRule",
    "AbstractNormalisedRule",
    "AbstractRule",
    "Ascent",
    "AverageSAM",
    "LookaheadSAM",
    "MultiStepSAM",
    "OptimisticSAM",
    "PenalisedGradientNorm",
    "PracticalFSAM",
    "PracticalSAM",
    "TensorSAM",
    "VaSSO",
    "is_normalised",
    "known_rule",
    "rule",
]
