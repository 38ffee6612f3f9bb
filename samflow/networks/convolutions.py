"""Convolutions of images with channels last: as matrix products on a CPU."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def convolved(
    layer: eqx.nn.Conv2d, image: Float[Array, "height width channels"]
) -> Float[Array, "height_out width_out channels_out"]:
    """Return what the layer makes of one image, channels last on both sides.

    On a CPU XLA's convolutions in double precision and those with a stride are slow, their
    derivatives more so. There the patches under the kernel are laid out as rows of a matrix, which
    costs as many times the memory as the kernel has pixels. Dilation and groups are not looked at.
    """
    slow = image.dtype == jnp.float64 or max(layer.stride) > 1
    convolve = by_patches if slow and jax.default_backend() == "cpu" else by_xla
    made = convolve(layer, image)
    return made if layer.bias is None else made + layer.bias.reshape(-1)


def by_patches(layer: eqx.nn.Conv2d, image: Array) -> Array:
    """Convolve as a product of the patches, a row each, with the kernel as a matrix."""
    (rows, columns), (down, right) = layer.kernel_size, layer.stride
    padding: Any = layer.padding  # a pair per axis, as our architectures have it
    image = jnp.pad(image, (*padding, (0, 0)))
    height = (image.shape[0] - rows) // down + 1
    width = (image.shape[1] - columns) // right + 1
    shifted = [
        image[i : i + down * (height - 1) + 1 : down, j : j + right * (width - 1) + 1 : right]
        for i, j in itertools.product(range(rows), range(columns))
    ]
    patches = jnp.concatenate(shifted, axis=-1).reshape(height * width, -1)
    kernel = jnp.transpose(layer.weight, (2, 3, 1, 0)).reshape(patches.shape[1], -1)
    return (patches @ kernel).reshape(height, width, -1)


def by_xla(layer: eqx.nn.Conv2d, image: Array) -> Array:
    """Convolve by XLA, and so by the library of the accelerator."""
    return jax.lax.conv_general_dilated(
        image[None],
        layer.weight,
        layer.stride,
        layer.padding,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )[0]
