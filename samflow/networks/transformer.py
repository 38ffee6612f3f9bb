"""A small vision transformer, smooth throughout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from samflow import _checks
from samflow.networks.architectures import Activation

_POSITION_SCALE = 0.02
_EPSILON = 1e-5
"""What keeps a norm finite where all units of a token are equal; PyTorch's default."""


class Norm(eqx.Module):
    """t ↦ a (t − mean t)/√(var t + ε) + b, for every token; equinox's has a kink in its variance.

    Attributes:
        scale: a, one number a unit.
        shift: b.

    """

    scale: Float[Array, " width"]
    shift: Float[Array, " width"]

    def __call__(self, tokens: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Return the new tokens of one image."""
        centred = tokens - jnp.mean(tokens, axis=1, keepdims=True)
        variance = jnp.mean(centred**2, axis=1, keepdims=True)
        return self.scale * centred / jnp.sqrt(variance + _EPSILON) + self.shift


class Attention(eqx.Module):
    """Every token becomes means of what others offer, Σⱼ softmax_j(qᵢ·kⱼ/√d) vⱼ, head by head.

    Attributes:
        offers: queries, keys and values of a token, one after another.
        last: from the heads, one after another, to the token.
        heads: how many.

    """

    offers: eqx.nn.Linear
    last: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __call__(self, tokens: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Return the new tokens of one image."""
        count, width = tokens.shape
        offers = jax.vmap(self.offers)(tokens).reshape(count, 3, self.heads, width // self.heads)
        q, k, v = jnp.unstack(offers, axis=1)
        logits = jnp.einsum("ihd,jhd->hij", q, k) / (width // self.heads) ** 0.5
        mixed = jnp.einsum("hij,jhd->ihd", jax.nn.softmax(logits), v)
        return jax.vmap(self.last)(mixed.reshape(count, width))


class Layer(eqx.Module):
    """x ↦ y + m(n₂(y)) with y = x + a(n₁(x)): a attention, m a perceptron, n norms of a token."""

    attention: Attention
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear
    norms: tuple[Norm, Norm]
    activation: Activation = eqx.field(static=True)

    def __call__(self, tokens: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Return the new tokens of one image."""
        tokens = tokens + self.attention(self.norms[0](tokens))
        return tokens + jax.vmap(self._perceptron)(self.norms[1](tokens))

    def _perceptron(self, token: Array) -> Array:
        return self.last(self.activation(self.hidden(token)))


class VisionTransformer(eqx.Module):
    """Patches of an image as tokens, layers of attention, and scores of the mean token.

    Attributes:
        embedding: from the pixels of a patch to a token.
        position: what is added to each token.
        layers: of attention.
        norm: before the scores.
        last: to the scores.
        patch: side of a patch, in pixels.

    """

    embedding: eqx.nn.Linear
    position: Float[Array, "tokens width"]
    layers: tuple[Layer, ...]
    norm: Norm
    last: eqx.nn.Linear
    patch: int = eqx.field(static=True)

    def __call__(self, image: Float[Array, "channels side side"]) -> Float[Array, " classes"]:
        """Return the scores of one image."""
        tokens = jax.vmap(self.embedding)(self.patches(image)) + self.position
        for layer in self.layers:
            tokens = layer(tokens)
        return self.last(jnp.mean(self.norm(tokens), axis=0))

    def patches(self, image: Float[Array, "channels side side"]) -> Float[Array, "tokens pixels"]:
        """Return the pixels of each patch, patches row by row."""
        channels, side, _ = image.shape
        count, patch = side // self.patch, self.patch
        cut = image.reshape(channels, count, patch, count, patch)
        return jnp.transpose(cut, (1, 3, 0, 2, 4)).reshape(count * count, -1)


def vision_transformer(
    key: PRNGKeyArray,
    *,
    side: int = 28,
    patch: int = 7,
    in_channels: int = 1,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    num_classes: int = 10,
    activation: Activation = jax.nn.gelu,
) -> VisionTransformer:
    """Return a vision transformer without dropout, whose layers normalise before they act.

    The default, for images of 28 by 28, has 204,938 weights. Perceptrons have 4 · `width` units.
    There is no token of its own for the class.

    Args:
        key: of the weights.
        side: of the square images, in pixels.
        patch: side of a patch; it divides `side`.
        in_channels: of the images.
        width: length of a token.
        depth: how many layers.
        heads: of attention, a divisor of `width`.
        num_classes: how many scores.
        activation: of the perceptrons; GELU, the default, is smooth.

    Raises:
        ArgumentError: for a patch that does not divide the side, and heads that do not divide the
            width.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929).

    """
    _divides("patch", _checks.count("patch", patch), "side", _checks.count("side", side))
    _divides("heads", _checks.count("heads", heads), "width", _checks.count("width", width))
    first, place, last, *keys = jr.split(key, 3 + _checks.count("depth", depth))
    tokens = (side // patch) ** 2
    return VisionTransformer(
        eqx.nn.Linear(in_channels * patch * patch, width, key=first),
        _POSITION_SCALE * jr.normal(place, (tokens, width)),
        tuple(_layer(layer_key, width, heads, activation) for layer_key in keys),
        _norm(width),
        eqx.nn.Linear(width, num_classes, key=last),
        patch,
    )


def _layer(key: PRNGKeyArray, width: int, heads: int, activation: Activation) -> Layer:
    a, b, c, d = jr.split(key, 4)
    return Layer(
        Attention(
            eqx.nn.Linear(width, 3 * width, key=a), eqx.nn.Linear(width, width, key=b), heads
        ),
        eqx.nn.Linear(width, 4 * width, key=c),
        eqx.nn.Linear(4 * width, width, key=d),
        (_norm(width), _norm(width)),
        activation,
    )


def _norm(width: int) -> Norm:
    return Norm(jnp.ones(width), jnp.zeros(width))


def _divides(name: str, part: int, whole_name: str, whole: int) -> None:
    if whole % part:
        raise _checks.ArgumentError(
            f"Argument `{name}` must divide `{whole_name}`, {whole}, but is {part}."
        )
