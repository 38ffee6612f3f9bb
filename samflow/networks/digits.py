"""A small real network: handwritten digits and a perceptron with one hidden layer."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from samflow import _checks
from samflow._extras import optional
from samflow._types import Point
from samflow.losses.models import network
from samflow.losses.network import NetworkLoss

NUM_PIXELS, NUM_CLASSES = 64, 10
_GREYEST = 16.0
_NUM_AVAILABLE = 1797


def load_digits(num_images: int = 300) -> tuple[Float[Array, "n 64"], Float[Array, "n 10"]]:
    """Return the first `num_images` of scikit-learn's digits and their one-hot labels.

    An image is 8×8 pixels, row by row; grey values 0..16 are divided by 16 and not centred. The
    order is the package's: it is not shuffled, and every class occurs in the first 100.

    Raises:
        ArgumentError: for more images than the 1,797 that there are.
        ImportError: where scikit-learn is not installed; the message names the extra.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (test set).

    """
    num_images = _checks.count("num_images", num_images)
    if num_images > _NUM_AVAILABLE:
        raise _checks.ArgumentError(
            f"Argument `num_images` must be at most {_NUM_AVAILABLE}, but is {num_images}."
        )
    data = optional("sklearn.datasets", "Loading the digits").load_digits()
    x = data.data[:num_images] / _GREYEST
    y = np.eye(NUM_CLASSES)[data.target[:num_images]]
    return jnp.asarray(x, dtype=float), jnp.asarray(y, dtype=float)


def perceptron(key: PRNGKeyArray, *, hidden: int = 32) -> eqx.nn.MLP:
    """Return the network f(x) = W₂ tanh(W₁x + b₁) + b₂ with `hidden` units.

    Weights and biases are uniform on ±1/√(fan-in), equinox's and PyTorch's default.
    """
    hidden = _checks.count("hidden", hidden)
    return eqx.nn.MLP(NUM_PIXELS, NUM_CLASSES, hidden, 1, activation=jnp.tanh, key=key)


def digits_loss(
    key: PRNGKeyArray, *, num_images: int = 300, hidden: int = 32
) -> tuple[NetworkLoss, Point]:
    """Return the squared loss of a perceptron on the digits, and its random weights.

    The defaults have 2,410 weights and 3,000 residuals: the fit is not perfect, and minima of the
    loss are isolated at best in directions that are very nearly flat.

    Raises:
        ArgumentError: for sizes out of range.
        ImportError: where scikit-learn is not installed.

    """
    x, y = load_digits(num_images)
    model = perceptron(key, hidden=hidden)
    loss = network(model, x, y, name=f"digits({num_images} images, {hidden} hidden units)")
    return loss, loss.flatten(model)
