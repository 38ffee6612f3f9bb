"""Grids in chunks do not take more memory where they are larger."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.large import measure

pytest.importorskip("zarr")

ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

GROWING = """
import jax.numpy as jnp
import numpy as np
import samflow as sf
from benchmarks.large import peak_memory
system = sf.Map(sf.loss("w**2"), sf.USAM(rho=0.1), lr=0.1)
for number in (4, 40):
    grid = {{"rho": np.linspace(0, 1, 5000), "lr": np.linspace(0.1, 1, number)}}
    path = {folder!r} + f"/{{number}}"
    found = sf.sweep(system, grid, lambda s: s.lr * jnp.ones(64), store=path, chunk_cells=4096)
    print(peak_memory())
"""


def test_ten_times_the_cells_take_no_more_memory(tmp_path):
    """The larger result is 102 MB, of which a chunk has 2."""
    done = subprocess.run(
        [sys.executable, "-c", GROWING.format(folder=str(tmp_path))],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    small, large = map(int, done.stdout.split())
    assert large - small < 30e6  # what allocators keep


@pytest.mark.slow
@pytest.mark.parametrize("case", ["basins", "sweep"])
def test_a_million_points_take_little_more_memory_than_ten_thousand(case):
    """At ten million the bound is 2 GB, most of which is what a process takes for any grid."""
    small, large = measure(case, 100), measure(case, 1000)
    assert large["peak"] < small["peak"] + 0.1e9
    assert large["peak"] < 1e9
