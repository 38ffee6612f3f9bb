"""A grid on two devices, and in two processes: the same bits as on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import samflow as sf
from tests.attractors.test_chunks import BOX, QUARTIC, WELL

pytest.importorskip("zarr")

ROOT = str(Path(__file__).parents[2])
ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": ROOT}
GRID = {"rho": np.linspace(0.05, 0.4, 40), "lr": np.linspace(0.05, 0.5, 40)}
SIDE = 40
POINT = np.array([0.5])


def step(system):
    return system.step(POINT)


def grids(**store):
    """Return one array of each kind: orbits, exponents, Jacobians, a function, basins."""

    def sweep(of, **given):
        found = sf.sweep(WELL, GRID, of, **given, **settings(of))
        return {name: np.asarray(found[name]).tolist() for name in names(of)}

    def settings(of):
        return {key: f"{value}/{getattr(of, '__name__', of)}" for key, value in store.items()}

    def names(of):
        return {"exponent": ["exponent"], "period": ["period", "status"]}.get(of, ["value"])

    basins = sf.basins(QUARTIC, BOX, SIDE, **settings("basins"))
    labels, steps = (
        (basins.labels, basins.steps) if not store else (basins["labels"], basins["steps"])
    )
    return {
        "period": sweep("period", w0=[1.001], num_steps=200),
        "exponent": sweep("exponent", w0=[1.001], num_steps=200),
        "function": sweep(step),
        "labels": np.ravel(labels).tolist(),
        "steps": np.ravel(steps).tolist(),
    }


SHARED = """
import json, sys
import jax
counted, shard_map = [], jax.shard_map
def counting(*args, **settings):
    counted.append(settings["mesh"].size)
    return shard_map(*args, **settings)
jax.shard_map = counting
from tests.attractors.test_chunk_devices import grids
print(json.dumps({"devices": len(jax.devices()), "counted": counted, "found": grids()}))
"""


def test_two_devices_share_a_grid_and_find_the_same_bits():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SHARED],
        env={**ENVIRONMENT, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["devices"] == 2
    assert len(made["counted"]) >= 4  # a program of each kind
    assert set(made["counted"]) == {2}
    assert made["found"] == json.loads(json.dumps(grids()))
