"""A rule or base optimiser in a few words, with its hyperparameters."""

import enum
from typing import Any

import jax.numpy as jnp

from samflow import _checks
from samflow._schedule import Schedule


def describe_rule(rule: Any) -> str:
    """Return the name of a rule or base with its hyperparameters, as `usam(rho=0.05)`.

    A formula has them in brackets: `g(w + rho*g) [rho=0.05]`.
    """
    fields = {
        name: value
        for name, value in vars(rule).get("numbers", vars(rule)).items()
        if not (value is None or callable(value) or name.startswith("_"))
    }
    text = ", ".join(f"{name}={shown(value)}" for name, value in fields.items())
    if not text:
        return rule.name
    is_word = rule.name.replace("-", "").replace("_", "").isalnum()
    return f"{rule.name}({text})" if is_word else f"{rule.name} [{text}]"


def shown(value: Any) -> str:
    """Return a hyperparameter as descriptions have it."""
    if isinstance(value, Schedule):
        return value.describe()
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (bool, str, tuple)):
        return str(value)
    return "traced" if _checks.is_traced(value) or jnp.ndim(value) else f"{float(value):g}"
