"""Interface of the losses of networks, in JAX and in other libraries."""

import abc
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._checks import ArgumentError
from samflow._types import NumpyArray, Point, Scalar
from samflow.losses.base import AbstractLoss

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class NetworkOptions(NamedTuple):
    """Settings of the loss of a network, besides its weights and data.

    Attributes:
        criterion: the name of ℓ in `CRITERIA`, or of a function of the user's.
        label_smoothing: the share s of (1 − s) y + s/K for K classes.
        weight_decay: what multiplies ½‖w‖² within the loss; 0 where weight decay is not counted.
        batch_norm: where batch norm takes its statistics from, in `BATCH_NORM`; or "none" for a
            network without batch norm, as far as is known.
        dtype: float type in which the network computes.

    """

    criterion: str
    label_smoothing: float
    weight_decay: float
    batch_norm: str
    dtype: str


BATCH_NORM = ("eval", "train")
"""The running statistics of batch norm; those of the batch at hand."""


class AbstractNetworkLoss(AbstractLoss):
    """The mean loss of a network over its data, as a function of the flat vector of weights.

    L(w) = (1/n) Σᵢ ℓ(f_w(xᵢ), yᵢ) + ½ weight_decay ‖w‖², the second term only where `options` count
    weight decay. The weights w, shape (dim,), are the network's trainable
    arrays, each flattened row by row, one after another in the order of `weight_names`.
    """

    weight_names: AbstractVar[tuple[str, ...]]
    """One name per array, as "layers.0.weight"."""

    weight_shapes: AbstractVar[tuple[tuple[int, ...], ...]]
    """Their shapes."""

    options: AbstractVar["NetworkOptions"]
    """The settings of the loss, besides weights and data."""

    @property
    def precision(self) -> float:
        """Unit of rounding of the network's float type."""
        return float(jnp.finfo(self.options.dtype).eps)

    @property
    @abc.abstractmethod
    def criterion(self) -> str:
        """One line that names the loss: what it compares, and over what the mean is taken."""

    @property
    def class_axis(self) -> int:
        """Which axis of the outputs has the classes where targets are such."""
        return -1

    def __str__(self) -> str:
        """Return what `repr` says, which is short."""
        return repr(self)

    def __repr__(self) -> str:
        """Return the criterion, and then the name and the size of the network."""
        o = self.options
        decay = f", ½·{o.weight_decay:g}·‖w‖² counted" if o.weight_decay else ""
        smooth = f", labels smoothed by {o.label_smoothing:g}" if o.label_smoothing else ""
        norm = f", batch norm {o.batch_norm}" if o.batch_norm != "none" else ""
        head = f"{type(self).__name__} {self.name}: {self.dim} weights, {o.dtype}"
        return f"{self.criterion}\n{head}{smooth}{decay}{norm}"

    @property
    @abc.abstractmethod
    def num_examples(self) -> int:
        """Number n of examples."""

    @abc.abstractmethod
    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example, one per row."""

    @abc.abstractmethod
    def misclassified(self, w: Point) -> Scalar:
        """Return the share of examples whose largest output is not the class of y."""

    @abc.abstractmethod
    def batch(self, indices: Any) -> "AbstractNetworkLoss":
        """Return the mean loss of the examples at `indices`, repeated ones counted as often."""

    @abc.abstractmethod
    def chunks(self, chunk_size: int) -> "Iterator[tuple[float, AbstractNetworkLoss]]":
        """Yield the losses L_c of `chunk_size` examples each with their shares, L = Σ share L_c."""

    @property
    @abc.abstractmethod
    def has_classes(self) -> bool:
        """Whether targets are classes, so that outputs can be right or wrong."""

    @property
    @abc.abstractmethod
    def kinks(self) -> tuple[str, ...]:
        """Operations of the network with kinks, where the Hessian is that of the smooth pieces."""

    @abc.abstractmethod
    def with_options(self, **changes: Any) -> "AbstractNetworkLoss":
        """Return the same loss with other `options`, by their names.

        Raises:
            ArgumentError: for an option that cannot be changed any more.

        """

    @property
    @abc.abstractmethod
    def extra_names(self) -> tuple[str, ...]:
        """Names of arrays that are not weights and that a checkpoint may hold, such as buffers."""

    @property
    @abc.abstractmethod
    def extras(self) -> dict[str, NumpyArray]:
        """The arrays of `extra_names` that are numbers and no weight's, by name: copies."""

    @property
    def tied(self) -> dict[str, str]:
        """The first name of an array by each of its other names; none where names are unique."""
        return {}

    @abc.abstractmethod
    def with_extras(self, extras: Mapping[str, Any]) -> "AbstractNetworkLoss":
        """Return the loss with other arrays under these of the `extra_names`.

        Raises:
            ArgumentError: for an array of another shape.

        """

    @property
    @abc.abstractmethod
    def fixed_arrays(self) -> list[Any]:
        """The examples, or a sample of many, and all arrays that decide L and are no weights."""

    @property
    @abc.abstractmethod
    def has_statistics(self) -> bool:
        """Whether batch norm takes running statistics, and `statistics` can compute them anew."""

    @abc.abstractmethod
    def statistics(self, w: Point) -> dict[str, Any]:
        """Return batch norm's running statistics of all examples at w, by their `extra_names`."""

    def with_statistics(self, w: Point) -> Self:
        """Return the same loss with batch norm's running statistics recomputed at w.

        They are those of this loss's own examples, of a batch those of the batch, as `statistics`
        says. This loss and the user's network stay as they are.

        Raises:
            ArgumentError: for a loss without running statistics, or with none that are known of
                (`has_statistics`), as one with batch_norm="train", which takes those of the
                examples at hand already; and what `statistics` raises.

        Source: Izmailov et al. 2018 (arXiv 1803.05407), for averaged weights; Jordan et al. 2023
        (arXiv 2211.08403), for the points of a line between two networks.

        """
        if not self.has_statistics:
            raise ArgumentError(
                "Argument `loss` must have running statistics of batch norm that can be "
                f"recomputed, but {self.name}, with batch_norm={self.options.batch_norm!r}, has "
                "none. For a function in JAX compute them yourself and pass them to `with_extras`, "
                "or pass `recompute` to `late_switch`."
            )
        return self.with_extras(self.statistics(w))  # pyright: ignore[reportReturnType]

    def split(self, w: Point) -> list[Array]:
        """Return the network's arrays in the order of `weight_names`."""
        ends = np.cumsum([math.prod(shape) for shape in self.weight_shapes])
        pieces = jnp.split(w, ends[:-1])
        return [p.reshape(s) for p, s in zip(pieces, self.weight_shapes, strict=True)]


def array_leaves(loss: AbstractLoss) -> list[Any]:
    """Return the arrays that a loss holds as leaves."""
    return [leaf for leaf in jax.tree.leaves(loss) if hasattr(leaf, "dtype")]
