"""Discrete systems with noise: the update of an optimiser on a loss drawn at each step."""

import abc
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx

from samflow import _checks
from samflow._random import Words
from samflow._types import Matrix, Point, Scalar, V, Vector
from samflow.losses.base import AbstractDerivedLoss, AbstractLoss
from samflow.losses.finite_sum import whole
from samflow.rules.base import AbstractRule
from samflow.systems.base import AbstractSystem
from samflow.systems.gradient_noise import AbstractNoise
from samflow.systems.map import Map

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractStochasticMap(AbstractSystem):
    """A random discrete system z⁺ = F(z, ξ), with ξ drawn independently at each step.

    What is random comes in as words: `step` is a function, and gives the same for the same words.
    """

    num_words: AbstractVar[int]
    """How many random words a step takes."""

    @abc.abstractmethod
    def step(self, z: V, words: Words) -> V:
        """Return F(z, ξ), in the layout of `z`, which `words` must be in; NaN where undefined."""


class StochasticMap(AbstractStochasticMap):
    """The map of an optimiser whose loss is drawn anew at each step.

    >>> import samflow as sf
    >>> loss = sf.losses.saddle()
    >>> step = sf.Map(loss, sf.USAM(rho=0.1), lr=0.01, momentum=0.9)
    >>> sf.StochasticMap(step, sf.noise.hessian_noise(loss, [0, 0], batch_size=32)).describe()
    'map of usam(rho=0.1) on saddle, lr=0.01, momentum=0.9; additive Gaussian noise, batch_size=32'

    Attributes:
        map: the rule, lr, momentum and weight decay, on the whole loss.
        noise: how the loss of a step is drawn.
        fresh: whether gradients away from w, as SAM's of descent, come from a second draw. By
            default one batch serves the whole step, as implementations of SAM have it.

    Raises:
        ArgumentError: for a noise that does not fit the loss, as a batch larger than the data, and
            for a rule with a memory where `fresh`.

    """

    map: Map
    noise: AbstractNoise
    fresh: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        remedy = "Use `sf.Map(loss, rule, lr=...)`; `sf.networks.train` takes an AdaptiveMap, too."
        _checks.instance("map", self.map, Map, remedy)
        _checks.instance("noise", self.noise, AbstractNoise, "Use `sf.noise.MiniBatch(32)`.")
        _checks.instance("fresh", self.fresh, bool)
        self.noise.check(self.map.loss)
        if self.fresh and self.map.rule.num_memories:
            raise _checks.ArgumentError(
                f"Argument `fresh` must be False for {self.map.rule.name}, whose memory uses one "
                "draw per step."
            )

    @property
    def loss(self) -> AbstractLoss:
        """The whole loss."""
        return self.map.loss

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.map.dim

    @property
    def state_dim(self) -> int:
        """Length of a state, as of the map."""
        return self.map.state_dim

    @property
    def elementwise(self) -> bool:
        """Whether the map takes one array a coordinate."""
        return self.map.elementwise

    @property
    def num_words(self) -> int:
        """How many random words a step takes."""
        return (1 + self.fresh) * self.noise.num_words(self.loss)

    def step(self, z: V, words: Words) -> V:
        """Return the next state, on the loss that `words` draw."""
        return self.drawn(words).step(z)

    def drawn(self, words: Words) -> Map:
        """Return the map of one step: the rule on the loss that `words` draw."""
        first, second = words.split(self.noise.num_words(self.loss))
        here = self.noise.sample(self.loss, first)
        return self.on(here, self.noise.sample(self.loss, second)) if self.fresh else self.on(here)

    def on(self, here: AbstractLoss, elsewhere: AbstractLoss | None = None) -> Map:
        """Return the map on the drawn loss `here`, or with gradients away from w of another."""
        drawn = eqx.tree_at(lambda m: m.loss, self.map, here)
        if elsewhere is None:
            return drawn
        return eqx.tree_at(lambda m: m.rule, drawn, _OnTwoDraws(self.map.rule, elsewhere))

    def lift(self, w: V) -> V:
        """Return the state at rest at the weights `w`."""
        return self.map.lift(w)

    def position(self, z: V) -> V:
        """Return the weights of the state `z`."""
        return self.map.position(z)

    def singularity(self, z: Vector) -> Scalar:
        """Return the distance of the map without noise from where it has no Jacobian."""
        return self.map.singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        text = f"{self.map.describe()}; {self.noise.describe()}"
        return f"{text}, a second draw away from w" if self.fresh else text


class _OnTwoDraws(AbstractRule):
    """A rule whose gradients away from w come from another loss than those at w."""

    rule: AbstractRule
    elsewhere: AbstractLoss
    num_memories: ClassVar[int] = 0
    name: ClassVar[str] = "on two draws"
    formula: ClassVar[str] = "that of the rule"
    source: ClassVar[str] = "that of the rule"

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return the rule's empty memory."""
        return self.rule.init(loss, w)

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return the rule's direction."""
        return self.rule.step(_TwoDraws(loss, self.elsewhere, w), w, memory)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return the rule's distance from where it is not smooth."""
        return self.rule.singularity(_TwoDraws(loss, self.elsewhere, w), w, memory)


class _TwoDraws(AbstractDerivedLoss):
    """One loss at the weights `origin`, told by being the same object, and another elsewhere."""

    loss: AbstractLoss
    elsewhere: AbstractLoss
    origin: Vector

    @property
    def whole(self) -> AbstractLoss:
        """The loss that both were drawn from."""
        return whole(self.loss)

    def __call__(self, w: Point) -> Scalar:
        """Return the value of the loss for `w`."""
        return self._at(w)(w)

    def gradient(self, w: V) -> V:
        """Return the gradient of the loss for `w`."""
        return self._at(w).gradient(w)

    def hessian(self, w: Point) -> Matrix:
        """Return the Hessian of the loss for `w`."""
        return self._at(w).hessian(w)

    def _at(self, w: Vector) -> AbstractLoss:
        return self.loss if w is self.origin else self.elsewhere
