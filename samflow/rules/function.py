"""A rule given by any function."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx

from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import everywhere
from samflow.rules.base import AbstractMemorylessRule


class FunctionRule(AbstractMemorylessRule):
    """The rule d(w) = function(g, w), taken to be smooth everywhere.

    Attributes:
        function: takes g, the function that returns the gradient of the loss at any weights, and
            weights w of shape (dim,); returns a direction. It may be an equinox module; its arrays
            are then leaves of the rule.

    """

    function: Callable[[Callable[[Vector], Vector], Vector], Any]
    _name: str = eqx.field(static=True, default="function")
    formula: ClassVar[str] = "function(g, w)"
    source: ClassVar[str] = "given by the user"
    smooth: ClassVar[bool] = True
    by_gradients: ClassVar[bool] = True

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the rule is called."""
        return self._name

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return function(g, w)."""
        return self.function(loss.gradient, w)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity."""
        return everywhere(w)
