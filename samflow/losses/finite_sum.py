"""The mean of several losses; splitting losses into shards of examples."""

import abc
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import equinox as eqx

from samflow import _checks
from samflow._types import Box, Matrix, Point, Scalar, V
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import ExpressionLoss

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


@runtime_checkable
class FiniteSum(Protocol):
    """A loss that is a mean over examples."""

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        ...

    def shards(self, m: int) -> tuple[AbstractLoss, ...]:
        """Return the losses of m examples each, whose mean is the loss."""
        ...

    def batch(self, indices: Any) -> AbstractLoss:
        """Return the mean loss of the examples at `indices`, which may be traced."""
        ...


class AbstractSumLoss(AbstractLoss):
    """A linear combination of losses of the same weights."""

    parts: AbstractVar[tuple[AbstractLoss, ...]]
    """The losses Lᵢ."""

    @abc.abstractmethod
    def combine(self, values: Sequence[V]) -> V:
        """Return the combination of one value a part."""

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.parts[0].dim

    @property
    def elementwise(self) -> bool:
        """Whether every part takes one array per coordinate."""
        return all(part.elementwise for part in self.parts)

    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""
        return self.combine([part(w) for part in self.parts])

    def gradient(self, w: V) -> V:
        """Return g(w) in the layout of `w`."""
        return self.combine([part.gradient(w) for part in self.parts])

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), shape (dim, dim)."""
        return self.combine([part.hessian(w) for part in self.parts])


class FiniteSumLoss(AbstractSumLoss):
    """The mean of losses of the same weights, L(w) = (1/n) Σᵢ Lᵢ(w): each is an example.

    The program grows with the number of parts; many examples of one network are better held by
    `network`. `mean` makes one and checks it.

    Attributes:
        parts: the losses Lᵢ.
        name: what the loss is called.
        domain: where all parts are meant to be used.

    """

    parts: tuple[AbstractLoss, ...]
    name: str = eqx.field(static=True, default="mean")
    domain: Box | None = eqx.field(static=True, default=None)

    @property
    def num_examples(self) -> int:
        """Number n of parts."""
        return len(self.parts)

    @property
    def formula(self) -> ExpressionLoss | None:
        """The same loss as one formula, for symbols and proofs; None if a part has none.

        In the variables of the first part; those of the others are matched by their order.
        """
        first = self.parts[0]
        if not isinstance(first, ExpressionLoss):
            return None
        terms = []
        for part in self.parts:
            if not isinstance(part, ExpressionLoss):
                return None
            names = list(zip(part.symbols, first.symbols, strict=True))
            terms.append(part.expression.subs(names, simultaneous=True))
        expression = sum(terms[1:], terms[0]) / len(terms)
        return ExpressionLoss(expression, first.symbols, self.name, self.domain)

    def shards(self, m: int) -> tuple[AbstractLoss, ...]:
        """Return the losses of m parts each, in their order; L is their mean.

        Raises:
            ArgumentError: if m does not divide the number of parts.

        """
        starts = range(0, self.num_examples, shard_size(m, self.num_examples))
        if m == 1:
            return self.parts
        return tuple(FiniteSumLoss(self.parts[i : i + m], self.name, self.domain) for i in starts)

    def batch(self, indices: Any) -> "WeightedSumLoss":
        """Return the mean loss of the parts at `indices`, repeated ones counted as often.

        Every part is evaluated and weighted by how often it is drawn, so that `indices`, an array
        or a tuple of numbers or of arrays of one shape, may be known at run time only.
        """
        counts = [sum(index == i for index in indices) for i in range(self.num_examples)]
        weights = tuple(count / len(indices) for count in counts)
        return WeightedSumLoss(self.parts, weights, self.name, self.domain, self)

    def combine(self, values: Sequence[V]) -> V:
        """Return the mean of values of the parts."""
        return functools.reduce(lambda a, b: a + b, values) / len(values)


class WeightedSumLoss(AbstractSumLoss):
    """A weighted sum of losses of the same weights, L(w) = Σᵢ cᵢ Lᵢ(w).

    Attributes:
        parts: the losses Lᵢ.
        weights: the numbers cᵢ; arrays of one shape, one entry per point, for `Components`.
        name: what the loss is called.
        domain: where all parts are meant to be used.
        whole: the loss from which this one was drawn, as a batch; None if it was not drawn.

    """

    parts: tuple[AbstractLoss, ...]
    weights: tuple[Any, ...]
    name: str = eqx.field(static=True, default="sum")
    domain: Box | None = eqx.field(static=True, default=None)
    whole: FiniteSumLoss | None = None

    def combine(self, values: Sequence[V]) -> V:
        """Return the weighted sum of values of the parts."""
        terms = [c * value for c, value in zip(self.weights, values, strict=True)]
        return functools.reduce(lambda a, b: a + b, terms)


def mean(losses: Sequence[AbstractLoss], *, name: str | None = None) -> FiniteSumLoss:
    """Return the mean of losses of the same weights, each one example.

    >>> import samflow as sf
    >>> both = mean([sf.loss("(x - 1)**2"), sf.loss("(x + 1)**2")])
    >>> both.num_examples, both.formula.expression.expand()
    (2, x**2 + 1)

    Args:
        losses: at least one, all of the same number of weights.
        name: what to call it.

    Raises:
        ArgumentError: for no losses, losses of different dim, and domains without a common part.

    """
    parts = tuple(losses)
    if not parts:
        raise _checks.ArgumentError("Argument `losses` must hold at least one loss, but is empty.")
    for part in parts:
        _checks.instance("losses", part, AbstractLoss, "Use `sf.loss` to make each.")
    dims = [part.dim for part in parts]
    if len(set(dims)) > 1:
        raise _checks.ArgumentError(
            f"Argument `losses` must all have the same number of weights, but have {dims}."
        )
    domain = None
    boxes = [part.domain for part in parts if part.domain is not None]
    if boxes:
        lows, highs = zip(*(zip(*box, strict=True) for box in boxes), strict=True)
        ends = zip(map(max, *lows, lows[0]), map(min, *highs, highs[0]), strict=True)
        domain = _checks.box("losses, the common domain,", list(ends), dims[0])
    return FiniteSumLoss(parts, name or f"mean of {len(parts)} losses", domain)


def whole(loss: AbstractLoss) -> AbstractLoss:
    """Return the loss that `loss` was drawn from, as a batch is; `loss` if it was not drawn."""
    found = getattr(loss, "whole", None)
    return loss if found is None else found


def shards(loss: AbstractLoss, m: int) -> tuple[AbstractLoss, ...]:
    """Return the losses of `m` examples each; a loss that is no mean counts as one example."""
    if isinstance(loss, FiniteSum):
        return loss.shards(m)
    shard_size(m, 1)
    return (loss,)


def shard_size(m: int, num_examples: int) -> int:
    """Return `m` if shards of so many examples use up all; refuse it otherwise."""
    m = _checks.count("shard_size", m)
    if num_examples % m:
        raise _checks.ArgumentError(
            f"Argument `shard_size` must divide the number of examples, {num_examples}, but is {m}."
        )
    return m
