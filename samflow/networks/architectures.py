"""Small networks for images, smooth and without batch norm unless asked otherwise."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from samflow import _checks
from samflow.networks.convolutions import convolved

Activation = Callable[[Array], Array]


class Convolutional(eqx.Module):
    """Convolutions that halve the image each, then one hidden layer: images to class scores.

    Attributes:
        convolutions: kernels of 3 by 3 with stride 2.
        hidden: the hidden layer.
        last: to the scores.
        activation: after every layer but the last.

    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear
    activation: Activation = eqx.field(static=True)

    def __call__(self, image: Float[Array, "channels side side"]) -> Float[Array, " classes"]:
        """Return the scores of one image."""
        image = jnp.moveaxis(image, 0, -1)
        for convolution in self.convolutions:
            image = self.activation(convolved(convolution, image))
        flat = jnp.ravel(jnp.moveaxis(image, -1, 0))
        return self.last(self.activation(self.hidden(flat)))


def convolutional(
    key: PRNGKeyArray,
    *,
    side: int = 28,
    in_channels: int = 1,
    channels: Sequence[int] = (16, 32),
    hidden: int = 64,
    num_classes: int = 10,
    activation: Activation = jnp.tanh,
) -> Convolutional:
    """Return a convolutional network with equinox's default initialisation.

    The default, for images of 28 by 28, has 105,866 weights.

    Args:
        key: of the weights.
        side: of the square images, in pixels.
        in_channels: of the images.
        channels: of each convolution's output.
        hidden: units of the hidden layer.
        num_classes: how many scores.
        activation: smooth ones, as tanh, have a Hessian everywhere; ReLU has kinks.

    """
    keys = jr.split(key, len(channels) + 2)
    sizes = [in_channels, *(_checks.count("channels", c) for c in channels)]
    convolutions = tuple(
        eqx.nn.Conv2d(a, b, 3, stride=2, padding=1, key=k)
        for a, b, k in zip(sizes, sizes[1:], keys, strict=False)
    )
    for _ in convolutions:
        side = (side + 1) // 2
    flat = sizes[-1] * side * side
    return Convolutional(
        convolutions,
        eqx.nn.Linear(flat, _checks.count("hidden", hidden), key=keys[-2]),
        eqx.nn.Linear(hidden, num_classes, key=keys[-1]),
        activation,
    )


class Block(eqx.Module):
    """x ↦ σ(s(x) + C₂ σ(C₁ x)), s the identity or a convolution of 1 by 1 where sizes change.

    Images have their channels last.
    """

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    shortcut: eqx.nn.Conv2d | None
    activation: Activation = eqx.field(static=True)

    def __call__(self, image: Array) -> Array:
        """Return the block's output for one image."""
        kept = image if self.shortcut is None else convolved(self.shortcut, image)
        inner = self.activation(convolved(self.first, image))
        return self.activation(kept + convolved(self.second, inner))


class Residual(eqx.Module):
    """A residual network without batch norm: a convolution, stages of blocks, a linear layer."""

    first: eqx.nn.Conv2d
    blocks: tuple[Block, ...]
    last: eqx.nn.Linear
    activation: Activation = eqx.field(static=True)

    def __call__(self, image: Float[Array, "channels side side"]) -> Float[Array, " classes"]:
        """Return the scores of one image."""
        image = self.activation(convolved(self.first, jnp.moveaxis(image, 0, -1)))
        for block in self.blocks:
            image = block(image)
        return self.last(jnp.mean(image, axis=(0, 1)))


def residual(
    key: PRNGKeyArray,
    *,
    in_channels: int = 1,
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks_per_stage: int = 2,
    num_classes: int = 10,
    activation: Activation = jax.nn.relu,
) -> Residual:
    """Return a residual network; the default widths and depth are those of ResNet-18.

    Its first convolution is of 3 by 3 with stride 1, as for small images. Without batch norm the
    signal would grow from block to block: kernels have He's variance 2/fan-in, and the second of
    each block that over the number of blocks.

    Args:
        key: of the weights.
        in_channels: of the images.
        widths: channels of each stage; every stage but the first halves the image.
        blocks_per_stage: how many blocks.
        num_classes: how many scores.
        activation: ReLU by default, which has kinks.

    Source: He et al. 2016 (arXiv 1512.03385) for the layout; Zhang et al. 2019 (arXiv 1901.09321)
    for residual branches scaled down in place of normalisation.

    """
    _checks.count("blocks_per_stage", blocks_per_stage)
    first_key, last_key, *keys = jr.split(key, 2 + len(widths) * blocks_per_stage)
    scale = (len(widths) * blocks_per_stage) ** -0.5
    blocks, size = [], widths[0]
    for i, block_key in enumerate(keys):
        width = widths[i // blocks_per_stage]
        halves = i >= blocks_per_stage and i % blocks_per_stage == 0
        blocks.append(_block(block_key, size, width, 2 if halves else 1, scale, activation))
        size = width
    return Residual(
        _he(eqx.nn.Conv2d(in_channels, widths[0], 3, padding=1, key=first_key), first_key, 1.0),
        tuple(blocks),
        eqx.nn.Linear(size, num_classes, key=last_key),
        activation,
    )


def _block(
    key: PRNGKeyArray, size: int, width: int, stride: int, scale: float, activation: Activation
) -> Block:
    a, b, c = jr.split(key, 3)
    first = eqx.nn.Conv2d(size, width, 3, stride=stride, padding=1, key=a)
    second = eqx.nn.Conv2d(width, width, 3, padding=1, key=b)
    changes = size != width or stride != 1
    shortcut = eqx.nn.Conv2d(size, width, 1, stride=stride, key=c) if changes else None
    return Block(
        _he(first, a, 1.0),
        _he(second, b, scale),
        None if shortcut is None else _he(shortcut, c, 0.5**0.5),
        activation,
    )


def _he(layer: eqx.nn.Conv2d, key: PRNGKeyArray, scale: float) -> eqx.nn.Conv2d:
    """Return the layer with normal kernels of variance 2 scale²/fan-in and biases 0."""
    shape = layer.weight.shape
    fan_in = shape[1] * shape[2] * shape[3]
    weight = jr.normal(key, shape) * scale * (2 / fan_in) ** 0.5
    assert layer.bias is not None
    return eqx.tree_at(lambda s: (s.weight, s.bias), layer, (weight, 0 * layer.bias))
