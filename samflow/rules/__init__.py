"""Rules: how a step's direction is made from gradients."""

import inspect
from collections.abc import Callable
from typing import Any

from samflow import _checks
from samflow._checks import ArgumentError, known
from samflow._text import is_formula
from samflow.rules._common import radius
from samflow.rules.ascent import ASAM, GCSAM, MultiStepSAM
from samflow.rules.average import AverageSAM
from samflow.rules.base import (
    AbstractMemorylessRule,
    AbstractNormalisedRule,
    AbstractRule,
    is_normalised,
)
from samflow.rules.between import MongeSAM, UnifiedSAM
from samflow.rules.combined import SSAM, LookaheadSAM, OptimisticSAM, PenalisedGradientNorm
from samflow.rules.critical import Ascent
from samflow.rules.formula import (
    Formula,
    FormulaRule,
    NormalisedFormulaRule,
    formula_rule,
    read_formula,
)
from samflow.rules.function import FunctionRule
from samflow.rules.memory import DPSAT, FSAM, VaSSO
from samflow.rules.practical import PracticalFSAM, PracticalSAM, TensorSAM
from samflow.rules.sam import GD, SAM, USAM
from samflow.rules.shards import DNSAM, MSAM, NSAM
from samflow.rules.unnormalised import HessianUSAM, TwoStepUSAM

RULES: dict[str, type[AbstractRule]] = {
    rule.name: rule
    for rule in (
        GD,
        USAM,
        SAM,
        PracticalSAM,
        TwoStepUSAM,
        HessianUSAM,
        UnifiedSAM,
        MongeSAM,
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


def rule(rule: str | Callable[..., Any], *, rho: float | None = None, **options: Any) -> Any:
    """Return the rule of this name, of this formula, or that a function makes of gradients.

    >>> rule("multistep-sam", rho=0.1, num_steps=3).num_steps
    3
    >>> rule("g(w + rho*g/(norm(g) + eps))", rho=0.1, eps=1e-3).smooth
    True
    >>> rule(lambda g, w: g(w + 0.1 * g(w)), name="my-usam").name
    'my-usam'

    Args:
        rule: a name in `RULES`; or a formula in the language of `samflow.rules.read_formula`, which
            is parsed and never evaluated as code; or function(g, w), which returns the direction d
            at the weights w, shape (dim,), with g the function that returns the gradient of the
            loss at any weights. The rule of a function is taken to be smooth everywhere: write a
            formula or a class for one that is not, as docs/tour/own-rule.md shows.
        rho: radius of the ascent step, by default 0; GD checks it and takes no notice of it, and so
            does a formula without `rho`. A function has its own numbers.
        options: what else the rule takes; each has a default. Of a formula its numbers by name,
            which have none unless the text gives them ("...; eps = 0.1"). Of a formula or a
            function also `name`, what the rule is called.

    Returns:
        An `AbstractRule`; one with memories (`num_memories`) is for maps only.

    Raises:
        ArgumentError: for an unknown name (the nearest are given), a formula that is not one (the
            message shows the place), an option that the rule does not take, or a value out of
            range.

    """
    if callable(rule):
        return _of_function(rule, rho, **options)
    if is_formula(rule):
        return _of_formula(rule, rho, **options)
    kind = RULES[known_rule(rule)]
    rho = 0.0 if rho is None else rho
    taken = [option for option in inspect.signature(kind).parameters if option != "rho"]
    for option in options:
        if option not in taken:
            raise ArgumentError(
                f"Argument `{option}` is not an option of {kind.name}, which takes "
                f"{', '.join(['rho', *taken]) if taken else 'rho only'}."
            )
    if kind is GD:
        radius(rho)
        return GD()
    return kind(rho=rho, **options)  # pyright: ignore[reportCallIssue]


def _of_function(
    function: Callable[..., Any], rho: float | None, name: str | None = None, **options: Any
) -> FunctionRule:
    if isinstance(function, type):
        raise ArgumentError(
            "Argument `rule` must be a name or a function of (g, w), but is the class "
            f"{function.__name__}. Call it to make a rule."
        )
    unknown = [*options] if rho is None else ["rho", *options]
    if unknown:
        raise ArgumentError(
            f"Argument `{unknown[0]}` is not an option of a rule from a function, which takes "
            "`name` only. Put numbers into the function, as in lambda g, w: g(w + 0.1 * g(w))."
        )
    found = getattr(function, "__name__", "function")
    called = ("function" if found == "<lambda>" else found) if name is None else name
    _checks.instance("name", called, str)
    return FunctionRule(function, called)


def _of_formula(text: str, rho: float | None, **options: Any) -> Any:
    parsed = read_formula(text)
    if "rho" not in parsed.names:
        radius(0.0 if rho is None else rho)
    elif rho is not None:
        options["rho"] = rho
    elif "rho" not in parsed.given:
        options["rho"] = 0.0
    return formula_rule(text, **options)


_MEANT = {"sgd": "gd", "gradient-descent": "gd", "vanilla": "gd"}
"""Rules by the names that others have for them."""
_BASES = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "lion": "Lion"}
"""Optimisers that are no rules: they make steps of a rule's directions."""
_OTHERS = ("nadam", "adamax", "adagrad", "adadelta", "lars")
_OTHERS += ("lamb", "sophia", "shampoo", "muon", "lbfgs", "adafactor")
"""Optimisers that are no rules here; some are spelt like one."""


def known_rule(name: str, *others: str) -> str:
    """Return the name of a rule in lower case; for another suggest what is meant or spelt alike.

    Args:
        name: as it was given. A formula is returned as it is.
        others: words that are taken as well.

    Raises:
        ArgumentError: for an unknown name, and for a formula that is not one or lacks a number.

    """
    if is_formula(name):
        _of_formula(name, None)
        return name
    name = name.lower() if isinstance(name, str) else name
    if name in (*RULES, *others):
        return name
    every = f"There are {', '.join(RULES)}."
    if name in _MEANT:
        raise ArgumentError(f"Unknown rule `{name}`. Did you mean {_MEANT[name]}? {every}")
    if name in _BASES:
        raise ArgumentError(
            f"Argument `rule` must be a rule, but `{name}` makes steps of a rule's directions. In "
            f"Python, `sf.AdaptiveMap(loss, rule, lr=..., base=sf.{_BASES[name]}())` has both. "
            f"{every}"
        )
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
    "Formula",
    "FormulaRule",
    "FunctionRule",
    "HessianUSAM",
    "LookaheadSAM",
    "MongeSAM",
    "MultiStepSAM",
    "NormalisedFormulaRule",
    "OptimisticSAM",
    "PenalisedGradientNorm",
    "PracticalFSAM",
    "PracticalSAM",
    "TensorSAM",
    "TwoStepUSAM",
    "UnifiedSAM",
    "VaSSO",
    "is_normalised",
    "known_rule",
    "read_formula",
    "rule",
]
