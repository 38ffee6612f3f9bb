"""GD and USAM on a formula in exact arithmetic: one step, or the velocity, of power series."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from flint import fmpq

from samflow.losses._tape import tape
from samflow.losses.expression import ExpressionLoss
from samflow.proofs.series import FLOATS, RATIONALS, NotRational, Scalar, Series
from samflow.rules import Ascent
from samflow.systems import AbstractSystem, Flow, Map

_DENOMINATORS = (1, 2, 4, 6, 12, 60, 1000, 2**20)


class Motion(NamedTuple):
    """A map or flow of GD or USAM on a formula, over one kind of numbers.

    Attributes:
        loss: the formula.
        rho: 0 for GD.
        lr: None for the flow.
        momentum: None where the state is w alone.
        nesterov: which of the two forms.
        decay: of the weights, 0 for none.
        exact: whether the numbers are rationals; else doubles.

    """

    loss: ExpressionLoss
    rho: Scalar
    lr: Scalar | None
    momentum: Scalar | None
    nesterov: bool
    decay: Scalar
    exact: bool

    @property
    def discrete(self) -> bool:
        """Whether it is a map."""
        return self.lr is not None

    def number(self, value: float) -> Scalar:
        """Return a double as a number of this kind."""
        return _fraction(Fraction(value)) if self.exact else float(value)

    def advance(self, state: list[Series]) -> list[Series]:
        """Return the next state, of a flow the velocity.

        Raises:
            NotRational: where a function of the loss has no rational value.

        """
        n = self.loss.dim
        w = state[:n]
        d = self._gradient(w)
        if self.rho != 0:
            d = self._gradient([x + g * self.rho for x, g in zip(w, d, strict=True)])
        if self.decay != 0:
            d = [g + x * self.decay for x, g in zip(w, d, strict=True)]
        if self.lr is None:
            return [-g for g in d]
        if self.momentum is None:
            return [x - g * self.lr for x, g in zip(w, d, strict=True)]
        v = [u * self.momentum + g for u, g in zip(state[n:], d, strict=True)]
        along = v
        if self.nesterov:
            along = [g + u * self.momentum for g, u in zip(d, v, strict=True)]
        return [x - u * self.lr for x, u in zip(w, along, strict=True)] + v

    def _gradient(self, w: Sequence[Series]) -> list[Series]:
        parts = tape(self.loss.gradient_formula, self.loss.symbols)
        zero = 0 * w[0]
        return [zero + part for part in parts.run(w, RATIONALS if self.exact else FLOATS)]

    def residual(self, point: Sequence[Scalar]) -> list[Scalar]:
        """Return F(z) − z, of a flow the velocity."""
        image = [x.c[0] for x in self.advance([Series([x]) for x in point])]
        return [x - y for x, y in zip(image, point, strict=True)] if self.discrete else image

    def jacobian(self, point: Sequence[Scalar]) -> list[list[Scalar]]:
        """Return the Jacobian at a point, rows."""
        one, columns = self.number(1.0), []
        for i in range(len(point)):
            tangent = [Series([x, one * (i == j)]) for j, x in enumerate(point)]
            columns.append([x.c[1] for x in self.advance(tangent)])
        return [list(row) for row in zip(*columns, strict=True)]

    def rational_point(self, z: Sequence[float], reach: Sequence[float]) -> list[Scalar] | None:
        """Return the simplest rational fixed point within `reach` of the state `z`; None: none."""
        for largest in _DENOMINATORS:
            parts = [Fraction(float(x)).limit_denominator(largest) for x in z]
            near = zip(parts, z, reach, strict=True)
            if any(abs(part - Fraction(float(x))) > Fraction(r) for part, x, r in near):
                continue
            point = [_fraction(part) for part in parts]
            if all(value == 0 for value in self.residual(point)):
                return point
        return None


def _fraction(value: Fraction) -> Any:
    return fmpq(value.numerator, value.denominator)


def motion_of(system: AbstractSystem, *, exact: bool) -> Motion | None:
    """Return a system of GD or USAM on a formula; None for another.

    Hyperparameters are taken as the binary numbers that they are.
    """
    if not isinstance(system, (Map, Flow)) or not isinstance(system.loss, ExpressionLoss):
        return None
    rule = system.rule
    if rule.ascent not in (Ascent.none, Ascent.gradient):
        return None

    def number(value: Any) -> Any:
        return _fraction(Fraction(float(value))) if exact else float(value)

    rho = number(getattr(rule, "rho", 0.0)) if rule.ascent is Ascent.gradient else number(0.0)
    if isinstance(system, Flow):
        return Motion(system.loss, rho, None, None, False, number(0.0), exact)
    momentum = None if system.momentum is None else number(system.momentum)
    decay = number(0.0 if system.weight_decay is None else system.weight_decay)
    return Motion(system.loss, rho, number(system.lr), momentum, system.nesterov, decay, exact)


__all__ = ["Motion", "NotRational", "motion_of"]
