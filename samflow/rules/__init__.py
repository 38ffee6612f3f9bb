"""Rules: how a step's direction is made from gradients."""

from samflow._checks import known, nonnegative
from samflow.rules.base import AbstractMemoryRule, AbstractNormalisedRule, AbstractRule, Rule
from samflow.rules.sam import GD, SAM, USAM

RULES: dict[str, type[AbstractRule]] = {rule.name: rule for rule in (GD, USAM, SAM)}
"""Every rule by the name that the command line takes."""


def rule(name: str, *, rho: float = 0.0) -> AbstractRule:
    """Return the rule called `name`; GD checks `rho` and takes no notice of it.

    Raises:
        ArgumentError: for an unknown name (the nearest are given) or rho < 0.

    """
    kind = RULES[known("rule", name.lower(), RULES)]
    if kind is GD:
        nonnegative("rho", rho)
        return GD()
    return kind(rho=rho)  # pyright: ignore[reportCallIssue]


__all__ = [
    "GD",
    "RULES",
    "SAM",
    "USAM",
    "AbstractMemoryRule",
    "AbstractNormalisedRule",
    "AbstractRule",
    "Rule",
    "rule",
]
