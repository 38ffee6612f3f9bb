"""The rules of formulas: one that has a Jacobian at critical points, one that jumps there."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx

from samflow import _checks
from samflow._checks import ArgumentError
from samflow._schedule import hyperparameter
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import radius
from samflow.rules.base import AbstractMemorylessRule, AbstractNormalisedRule
from samflow.rules.critical import Ascent
from samflow.rules.formula import critical
from samflow.rules.formula.evaluation import Values
from samflow.rules.formula.parser import Formula, read_formula
from samflow.rules.sam import GD, SAM, USAM


class AbstractFormulaRule(AbstractMemorylessRule):
    """A rule whose direction is the value of a formula, as "g(w + rho*g)".

    Attributes:
        formula: the text.
        numbers: those that it names, each also an attribute: `rule.rho`.
        name: what the rule is called.

    """

    formula: str = eqx.field(static=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    numbers: dict[str, Scalar]
    name: str = eqx.field(static=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    source: ClassVar[str] = "given by the user"

    def __init__(
        self,
        formula: str,
        numbers: Mapping[str, Any] | None = None,
        name: str | None = None,
        **named: Any,
    ) -> None:
        """Take a formula and its numbers; see `samflow.rule`, which chooses the class.

        Args:
            formula: the text, see `samflow.rules.read_formula`.
            numbers: some of its numbers, by name.
            name: what to call the rule; by default its formula.
            named: more numbers, in the place of those in `numbers` and in the text.

        """
        parsed = read_formula(formula)
        called = parsed.text if name is None else name
        _checks.instance("name", called, str)
        values = {**parsed.given, **(numbers or {}), **named}
        _check_names(self, parsed, values)
        self.formula, self.name = parsed.text, called
        self.numbers = {each: _number(each, values[each]) for each in parsed.names}

    def __getattr__(self, name: str) -> Any:
        """Return a number of the formula."""
        numbers = self.__dict__.get("numbers", {})
        if name in numbers:
            return numbers[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}.")

    @property
    def ascent(self) -> Ascent:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of GD, USAM or SAM where the formula is theirs, with a number `rho`."""
        return critical.ascent_of(self._root)

    @property
    def by_gradients(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether no Hessian is in the formula."""
        return all(node.kind != "H" for node in self._root.inside)

    @property
    def closed_forms(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of GD, USAM or SAM where the formula is theirs."""
        return next(
            (each.closed_forms for each in (GD, USAM, SAM) if each.ascent is self.ascent), ""
        )

    @property
    def has_second_derivative(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether no norm is in the formula that vanishes at critical points."""
        return not critical.harmless(self._root)

    @property
    def _root(self) -> Any:
        return read_formula(self.formula).root

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return the value of the formula; NaN or infinite where it is not defined."""
        return self._values(loss, w)(self._root)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the least norm that matters, and 0 where anything else that divides vanishes."""
        return critical.singularity(self._root, self._values(loss, w), self.numbers)

    def _values(self, loss: AbstractLoss, w: Any) -> Values:
        return Values(loss, w, self.numbers, critical.harmless(self._root))


class FormulaRule(AbstractFormulaRule):
    """The rule d(w) of a formula that has a Jacobian at critical points, as "g(w + rho*g)".

    A norm that may vanish elsewhere, and what may divide by 0, count as `singularity`.
    """

    smooth: ClassVar[bool] = True

    def ascent_length(self, w: Any) -> float:
        """Return 0: that a number of the formula is a length is not known."""
        return 0.0


class NormalisedFormulaRule(AbstractFormulaRule, AbstractNormalisedRule):
    """The rule d(w) of a formula without a Jacobian at critical points, as with g/norm(g).

    Its limits there follow from the formula: every term to leading order in g = t·e, t → 0. They
    are NaN where d grows without bound, and where terms of leading order cancel and are divided by.
    A number `rho` counts as a length where it multiplies in a displacement of w, unless it is a
    gradient that it multiplies.
    """

    smooth: ClassVar[bool] = False

    @property
    def vanishes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the order of d in g is positive."""
        return critical.order(self._root) > 0

    def ascent_length(self, w: Any) -> float:
        """Return `rho` where it counts as a length, else 0."""
        return self._rho if critical.rho_is_length(self._root) else 0.0

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return lim d as g → 0 with g/‖g‖ → e."""
        return critical.Limit(loss, w, e, self.numbers).of(self._root)


def formula_rule(text: str, **options: Any) -> FormulaRule | NormalisedFormulaRule:
    """Return the rule of a formula, of the class that the formula needs."""
    kind = NormalisedFormulaRule if critical.jumps(read_formula(text).root) else FormulaRule
    return kind(text, **options)


def _check_names(rule: AbstractFormulaRule, parsed: Formula, values: Mapping[str, Any]) -> None:
    jumps = critical.jumps(parsed.root)
    if jumps != isinstance(rule, AbstractNormalisedRule):
        has = "no Jacobian" if jumps else "a Jacobian"
        raise ArgumentError(
            f"Argument `formula` has {has} at critical points, so that it is not for "
            f"{type(rule).__name__}: {parsed.text}. Use `sf.rule`, which chooses the class."
        )
    for name in parsed.names:
        fields = NormalisedFormulaRule.__dataclass_fields__
        if hasattr(NormalisedFormulaRule, name) or name in fields:
            raise ArgumentError(
                f"Cannot read the rule {_checks.excerpt(parsed.text)}: `{name}` means something "
                "else of a rule. Choose another name."
            )
        if name not in values:
            raise ArgumentError(
                f"Argument `{name}` is missing: the rule {parsed.text} has it. Give a number, as "
                f'`sf.rule(..., {name}=0.1)`, or write it after the formula: "...; {name} = 0.1".'
            )
    for name in values:
        if name not in parsed.names:
            has = ", ".join(parsed.names) or "none"
            raise ArgumentError(
                f"Argument `{name}` is no number of the rule {parsed.text}, which has {has}."
            )


def _number(name: str, value: Any) -> Any:
    return radius(value) if name == "rho" else hyperparameter(name, value, _checks.REAL)
