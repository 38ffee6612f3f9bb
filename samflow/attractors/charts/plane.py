"""The plane of a chart: the system whose two numbers are varied, and what theory calls them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.systems import Map, find_leaf

KNOWN = ("rho", "lr", "momentum", "eps")
"""The numbers that theory's conditions are made of."""
_ANY_MOMENTUM = 0.5
"""What a map is made with whose momentum is varied: with 0 it would have none."""


class Plane(NamedTuple):
    """Two numbers of a map that are varied.

    Attributes:
        system: the map, with any values of the two.
        grid: the values of both, by name.

    """

    system: Map
    grid: dict[str, np.ndarray]

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""
        first, second = self.grid
        return first, second

    @property
    def x(self) -> np.ndarray:
        """The values of the first."""
        return self.grid[self.names[0]]

    @property
    def y(self) -> np.ndarray:
        """The values of the second."""
        return self.grid[self.names[1]]

    @property
    def shape(self) -> tuple[int, int]:
        """How many values each has."""
        return len(self.x), len(self.y)

    def is_known(self) -> bool:
        """Say whether both are numbers that theory's conditions are made of."""
        return set(self.names) <= set(KNOWN)

    def numbers(self, x: Any, y: Any) -> dict[str, Any]:
        """Return the numbers of theory's conditions at points (x, y), by name."""
        system, rule = self.system, self.system.rule
        own = {
            "rho": float(getattr(rule, "rho", 0.0)),
            "eps": float(getattr(rule, "eps", 1.0)),
            "lr": float(system.lr),
            "momentum": 0.0 if system.momentum is None else float(system.momentum),
        }
        return own | dict(zip(self.names, (x, y), strict=True))

    def over_cells(self) -> dict[str, Any]:
        """Return the numbers of theory's conditions in all cells, shape (x, y) or one number."""
        return self.numbers(self.x[:, None], self.y[None, :])


def make_plane(loss: AbstractLoss, rule: AbstractRule, given: Mapping[str, Any]) -> Plane:
    """Return the plane of the two numbers that are given as rows; the others are fixed.

    Args:
        loss: the loss.
        rule: the rule, whose own numbers hold for what is not given.
        given: numbers and rows by name, in the order of the axes; None for what is not given.

    Raises:
        ArgumentError: unless two are rows, or for values that are no numbers.

    """
    system, rows = map_with_rows(loss, rule, given)
    if len(rows) != 2:
        shown = ", ".join(rows) or "none"
        raise _checks.ArgumentError(
            "Arguments of a chart must have a row of values for two numbers, as in "
            f"`rho=[0.0, 0.1], lr=[0.01, 0.02]`, but the rows are: {shown}."
        )
    return Plane(system, rows)


def map_with_rows(
    loss: AbstractLoss, rule: AbstractRule, given: Mapping[str, Any]
) -> tuple[Map, dict[str, np.ndarray]]:
    """Return the map with the numbers given, and the rows of those that are varied; as above."""
    rows, fixed = {}, {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            array = _checks.real_numbers(value)
        except TypeError as error:
            raise _checks.ArgumentError(
                f"Argument `{name}` must be a number or a row of numbers, but: {error}."
            ) from error
        if array.ndim:
            rows[name] = array
        else:
            fixed[name] = float(array)
    of_map = {name: fixed.pop(name, None) for name in ("lr", "momentum")}
    if of_map["lr"] is None:
        of_map["lr"] = float(np.max(rows["lr"])) if "lr" in rows else 0.0
    if "momentum" in rows:
        of_map["momentum"] = _ANY_MOMENTUM
    if "rho" in {**rows, **fixed} and not hasattr(rule, "rho"):
        raise _checks.ArgumentError(
            f"Argument `rule` must have a rho, but is {rule.name}. Use `sf.USAM(rho=0.1)`, or "
            "leave rho out."
        )
    if "rho" in rows and np.ndim(rows["rho"]) == 1 and len(rows["rho"]):
        fixed["rho"] = float(
            np.max(rows["rho"])
        )  # the length of the ascent that starts are made of
    own = {name: fixed.pop(name) for name in list(fixed) if _is_field(rule, name)}
    if own:
        rule = dataclasses.replace(rule, **own)
    system = Map(loss, rule, **of_map)
    for name, value in fixed.items():
        leaf = find_leaf(system, name, name)
        system = leaf.replaced(system, leaf.value(system) * 0 + value)
    return system, rows


def _is_field(rule: AbstractRule, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(rule)}
