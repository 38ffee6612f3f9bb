"""Data across devices: the same numbers, and every device computes its own part."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest

from samflow import losses
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks.sharding import shard_data
from tests.tiers import slow

CODE = """
import json, re, sys
import jax, jax.numpy as jnp, jax.random as jr, numpy as np
jax.config.update("jax_enable_x64", True)
from samflow import networks
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.losses import network
from samflow.networks.sharding import shard_data

images, one_hot = networks.load_digits(16)
if sys.argv[1] == "residual":
    model = networks.residual(jr.key(0), widths=(3,), blocks_per_stage=1, activation=jnp.tanh)
    images = images.reshape(-1, 1, 8, 8)
else:
    model = networks.perceptron(jr.key(0))
one = network(model, images, jnp.argmax(one_hot, axis=1), loss="cross_entropy")
across, w = shard_data(one), one.flatten(model)
v = np.random.default_rng(0).normal(size=one.dim)
far = lambda a, b: float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a)))
slope = jax.jit(lambda loss, w: loss.gradient(w))
value = jax.jit(lambda loss, w: loss(w))
product = jax.jit(lambda loss, w, v: loss.hvp(w, v))
text = product.lower(across, w, jnp.asarray(v)).compile().as_text()
pairs = [extreme_eigenpairs(loss, w, k=1) for loss in (one, across)]
print(json.dumps({
    "devices": len(across.x.sharding.device_set),
    "rows": sorted(part.data.shape[0] for part in across.x.addressable_shards),
    "result": len(product(across, w, jnp.asarray(v)).sharding.device_set),
    "value": far(value(one, w), value(across, w)),
    "gradient": far(slope(one, w), slope(across, w)),
    "fresh": far(product(one, w, jnp.asarray(v)), product(across, w, jnp.asarray(v))),
    "kept": far(hessian_product(one, w)(v), hessian_product(across, w)(v)),
    "eigenvalues": far(pairs[0].values, pairs[1].values),
    "words": sorted(set(re.findall(r"all-[a-z]+|collective-[a-z]+", text))),
    "shapes": sorted(set(re.findall(r"f64\\[(?:8|16),(?:1,8,8|64)\\]", text))),
}))
"""


IMAGES = {"perceptron": "64", "residual": "1,8,8"}
"""Shape of an image."""


@pytest.fixture(scope="module", params=["perceptron", slow("residual")])
def found(request):
    pytest.importorskip("sklearn")
    # Only a process that has not begun can be told that its CPU is two devices.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", CODE, request.param],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"images": IMAGES[request.param], **json.loads(done.stdout)}


def test_each_device_has_half_of_the_examples_and_all_of_the_result(found):
    assert (found["devices"], found["rows"], found["result"]) == (2, [8, 8], 2)


@pytest.mark.parametrize("quantity", ["value", "gradient", "fresh", "kept", "eigenvalues"])
def test_sharded_data_give_the_same_to_rounding(found, quantity):
    # Sums over 16 examples in another order; eigenvalues, by other starts of rounding, as exact.
    assert found[quantity] < 1e-12


def test_a_product_sums_over_devices_and_never_gathers_the_images(found):
    assert found["words"] == ["all-reduce"]
    # The program of each device knows images of its own half only.
    assert found["shapes"] == [f"f64[8,{found['images']}]"]


def linear(images):
    x = np.arange(2.0 * images).reshape(images, 2)
    return network(eqx.nn.Linear(2, 1, key=jr.key(0)), x, np.ones((images, 1)), name="line")


def test_one_device_is_enough():
    loss = linear(3)
    w = loss.flatten(eqx.nn.Linear(2, 1, key=jr.key(0)))
    np.testing.assert_array_equal(shard_data(loss)(w), loss(w))


def test_examples_that_do_not_divide_are_refused_with_what_fits():
    devices = [SimpleNamespace(id=i) for i in range(4)]
    with pytest.raises(ArgumentError, match=r"multiple of 4 .* has 7\. Leave 3 out .*range\(4\)"):
        shard_data(linear(7), devices)  # pyright: ignore
    with pytest.raises(ArgumentError, match="Use at most 3 devices"):
        shard_data(linear(3), devices)  # pyright: ignore


def test_what_cannot_be_sharded_is_refused():
    with pytest.raises(ArgumentError, match="different devices"):
        shard_data(linear(4), [])
    with pytest.raises(ArgumentError, match="different devices"):
        shard_data(linear(4), [jax.devices()[0]] * 2)
    with pytest.raises((ArgumentError, TypeError), match=r"losses\.network"):
        shard_data(losses.quartic())  # pyright: ignore
