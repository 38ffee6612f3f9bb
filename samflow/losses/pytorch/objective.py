"""Value, gradient and curvature of a PyTorch module's loss, part by part of its examples."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samflow._checks import ArgumentError
from samflow.losses.network_base import NetworkOptions
from samflow.losses.pytorch.autograd import cut, explained, first_line, second_derivative
from samflow.losses.pytorch.criteria import Criterion
from samflow.losses.pytorch.data import Examples
from samflow.losses.pytorch.outputs import tensor_of
from samflow.losses.pytorch.stateless import Stateless


class Part(NamedTuple):
    """Some of the examples: their share of those asked for, where they are, and how many."""

    share: float
    chosen: slice | np.ndarray
    size: int


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Objective:
    """A module, its examples and its criterion; one of a kind, so that programs may be kept for it.

    Arrays come from JAX or NumPy and go to JAX. Each part's derivatives are summed in the float
    type of the weights that came.

    Attributes:
        module: the user's own, which is only read.
        network: its function of the weights.
        examples: all of them.
        criterion: what compares outputs with targets.
        options: what else decides the loss.
        name: what to call it.
        output_shape: of one example.
        kinks: operations whose slope jumps.
        unused: names of weights on which a few examples' loss does not depend.
        mass: what each example counts in the mean, shape (n,); None where all count the same.
        left_out: how many targets are ignored, and of how many.
        sizes: of the batches that the criterion is a function of, one after another; None where
            it is a mean over examples.

    """

    module: Any
    network: Stateless
    examples: Examples
    criterion: Criterion
    options: NetworkOptions
    name: str
    output_shape: tuple[int, ...] = ()
    kinks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    mass: np.ndarray | None = None
    left_out: tuple[int, int] = (0, 0)
    sizes: tuple[int, ...] | None = None

    def value(self, w: Any, parts: Iterable[Part]) -> float:
        """Return L(w)."""
        means = self._passes(w, _that_count(parts), lambda f, y: float(self.mean(f, y)))
        total = sum(part.share * mean for part, mean in means)
        flat = received(self.network.torch, w)
        return total + 0.5 * self.options.weight_decay * float(flat @ flat)

    def gradient(self, w: Any, parts: Iterable[Part]) -> jax.Array:
        """Return g(w)."""
        flat = received(self.network.torch, w)
        total = self.options.weight_decay * flat.to(self.network.device)
        for part in _that_count(parts):
            with self.network.exact(), self._explained(part):
                leaves = self.network.leaves(flat)
                grads = self.first_order(leaves, part.chosen, create_graph=False)
                total += part.share * self.network.flat(grads, flat)
        return returned(total, w)

    def product(self, w: Any, parts: Sequence[Part]) -> Callable[[Any], jax.Array]:
        """Return v ↦ H(w)v.

        Of a single part the gradient's graph is kept as long as the function that is returned,
        and a product is one pass back through it. Of several no graph is kept: each product
        makes them again, one at a time.
        """
        torch = self.network.torch
        flat = received(torch, w).clone()  # the caller may reuse the memory of a NumPy array
        parts = _that_count(parts)
        kept = [self._linearised(flat, parts[0])] if len(parts) == 1 else None

        def product(v: Any) -> jax.Array:
            made = received(torch, v)
            total = self.options.weight_decay * made.to(self.network.device)
            lines = kept or (self._linearised(flat, part) for part in parts)
            for part, apply in zip(parts, lines, strict=True):
                total += part.share * apply(made)
            return returned(total, w)

        return product

    def _linearised(self, flat: Any, part: Part) -> Callable[[Any], Any]:
        """Return v ↦ H_c v for the loss L_c of a part, between tensors."""
        network = self.network
        with network.exact(), self._explained(part):
            leaves = network.leaves(flat)
            grads = self.first_order(leaves, part.chosen, create_graph=True)
        if cut(grads):
            raise second_derivative(self.name, "a backward pass of it is once_differentiable")
        live = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]

        def apply(v: Any) -> Any:
            with network.exact(), self._explained(part):
                pieces = network.pieces(v.to(device=network.device, dtype=network.dtype))
                images: Sequence[Any] = [None] * len(leaves)
                if live:
                    images = network.torch.autograd.grad(
                        [grads[i] for i in live],
                        leaves,
                        [pieces[i] for i in live],
                        retain_graph=True,
                        allow_unused=True,
                    )
                return network.flat(images, v)

        return apply

    def first_order(self, leaves: Any, chosen: Any, *, create_graph: bool) -> Sequence[Any]:
        """Return the derivatives of a part's mean loss, None for what it does not depend on."""
        x, y = self.examples.part(chosen)
        value = self.mean(self.network(leaves, x), y)
        if not value.requires_grad:
            return [None] * len(leaves)
        return self.network.torch.autograd.grad(
            value, leaves, create_graph=create_graph, allow_unused=True
        )

    def outputs(self, w: Any, parts: Iterable[Part]) -> jax.Array:
        """Return f_w(xᵢ), one example a row."""
        torch = self.network.torch
        rows = [f for _, f in self._passes(w, parts, lambda f, y: tensor_of(torch, f)[0])]
        if rows[0].ndim == 0:
            raise ArgumentError(
                f"Argument `loss` must have outputs per example, but {self.name} returns the loss "
                "of a batch alone."
            )
        return returned(torch.cat(rows).to(received(torch, w).dtype), w)

    def misclassified(self, w: Any, parts: Iterable[Part]) -> float:
        """Return the share of examples whose largest output is not the class of y."""
        wrongs = lambda f, y: self.criterion.wrong(tensor_of(self.network.torch, f)[0], y)  # noqa: E731
        found = [counts for _, counts in self._passes(w, parts, wrongs)]
        wrong, counted = map(sum, zip(*found, strict=True))
        return wrong / counted if counted else float("nan")

    def statistics(self, w: Any, parts: Iterable[Part]) -> dict[str, np.ndarray]:
        """Return the running statistics of batch norm at w, the mean over parts of each's own."""
        learning, flat = self.network.learning(), received(self.network.torch, w)
        totals: dict[str, Any] = {}
        shares: dict[str, float] = {}  # a norm that some parts do not reach has less than 1
        for part in parts:
            with learning.exact(gradients=False), self._explained(part), _several(part):
                x, _ = self.examples.part(part.chosen)
                for name, value in learning.statistics(learning.leaves(flat), x).items():
                    totals[name] = totals.get(name, 0) + part.share * value
                    shares[name] = shares.get(name, 0) + part.share
        return {name: (total / shares[name]).cpu().numpy() for name, total in totals.items()}

    def _passes(
        self, w: Any, parts: Iterable[Part], use: Callable[[Any, Any], Any]
    ) -> Iterator[tuple[Part, Any]]:
        """Yield what `use` makes of the outputs and targets of each part, without derivatives."""
        flat = received(self.network.torch, w)
        for part in parts:
            with self.network.exact(gradients=False), self._explained(part):
                x, y = self.examples.part(part.chosen)
                made = use(self.network(self.network.leaves(flat), x), y)
            yield part, made

    def mean(self, f: Any, y: Any) -> Any:
        """Return the mean loss of outputs against targets; NaN where none of these counts."""
        criterion = self.criterion
        if criterion.function is not None:
            each = criterion.function(f, y)
            return each.mean() if each.ndim else each
        total = criterion.total(self.network.torch, f, y, self.options.label_smoothing)
        return total / float(criterion.mass(y).sum())

    def counted(self, chosen: slice | np.ndarray, size: int) -> float:
        """Return what the examples `chosen`, `size` many, count in the mean."""
        return float(size) if self.mass is None else float(self.mass[chosen].sum())

    def _explained(self, part: Part) -> Any:
        return explained(self.network.torch, self.name, part.size, whole=self.sizes is not None)


def _that_count(parts: Iterable[Part]) -> list[Part]:
    """Leave out parts whose targets are all ignored: of them the mean is 0/0."""
    return [part for part in parts if part.share != 0]


@contextlib.contextmanager
def _several(part: Part) -> Iterator[None]:
    """Say of what batch norm raises that the variance of one number is not to be had."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        raise ArgumentError(
            "Arguments `x` and `chunk_size` must give batch norm more than one number per channel, "
            f"but {part.size} at once do not: {first_line(error)}."
        ) from error


def received(torch: Any, array: Any) -> Any:
    """Return an array as a tensor, in the same memory where that can be: to be read only."""
    shared = array if hasattr(array, "__dlpack__") else np.asarray(array)
    try:
        return torch.from_dlpack(shared)
    except (RuntimeError, BufferError, AssertionError):  # on a device that PyTorch cannot reach
        return torch.tensor(np.asarray(array))


def returned(tensor: Any, target: Any) -> jax.Array:
    """Return a tensor as an array of JAX where `target` is, sharing storage if possible.

    The tensor must be one that nobody writes any more.
    """
    devices = target.devices() if isinstance(target, jax.Array) else set(jax.devices("cpu")[:1])
    near = {device.platform for device in devices} != {"cpu"} and tensor.is_cuda
    made = jnp.from_dlpack(tensor.contiguous() if near else tensor.cpu().contiguous())
    return made if made.devices() == devices else jax.device_put(made, min(devices, key=str))
