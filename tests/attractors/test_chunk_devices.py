"""A grid on two devices, and in two processes: the same bits as on one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import samflow as sf
from samflow.attractors.chunks import share
from tests.attractors.test_chunks import BOX, QUARTIC, WELL
from tests.tiers import slow

pytest.importorskip("zarr")

ROOT = str(Path(__file__).parents[2])
ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": ROOT}
GRID = {"rho": np.linspace(0.05, 0.4, 40), "lr": np.linspace(0.05, 0.5, 40)}
SIDE = 40
USAM = sf.Map(WELL.loss, sf.USAM(rho=0.1), lr=0.1)
"""With a Jacobian at the minimum: one program linearises all cells."""
POINT = np.array([0.5])


def step(system):
    return system.step(POINT)


SWEEPS = {
    "orbit": {"w0": [1.001], "num_steps": 60},
    "exponent": {"w0": [1.001], "num_steps": 60},
    "sharpness": {"w0": [1.001], "num_steps": 60},
    "classify": {"w0": [1.0]},
    "function": {},
}


def grids(names):
    """Return what sweeps and basins find, as lists."""
    found = {}
    for name in names:
        if name == "basins":
            made = sf.basins(QUARTIC, BOX, SIDE)
            found[name] = [made.labels.tolist(), made.steps.tolist()]
        else:
            system = USAM if name == "classify" else WELL
            made = sf.sweep(system, GRID, step if name == "function" else name, **SWEEPS[name])
            found[name] = [np.asarray(made[each]).tolist() for each in sorted(made.values)]
    return found


SHARED = """
import json, sys
import jax
counted, shard_map = [], jax.shard_map
def counting(*args, **settings):
    counted.append(settings["mesh"].size)
    return shard_map(*args, **settings)
jax.shard_map = counting
from tests.attractors.test_chunk_devices import grids
found = grids(sys.argv[1:])
print(json.dumps({"devices": len(jax.devices()), "counted": counted, "found": found}))
"""


@pytest.mark.parametrize(
    "names", [["orbit"], slow(["exponent", "sharpness", "classify", "function", "basins"])]
)
def test_two_devices_share_a_grid_and_find_the_same_bits(names):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SHARED, *names],
        env={**ENVIRONMENT, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["devices"] == 2
    assert len(made["counted"]) >= len(names)  # a program of each kind
    assert set(made["counted"]) == {2}
    # NaN is itself here: repr tells all bits of a float.
    assert repr(made["found"]) == repr(json.loads(json.dumps(grids(names))))


def test_processes_share_the_chunks_of_a_part(monkeypatch):
    """Part 2 of 3 in two processes: every sixth chunk, from the third and the fourth on."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    taken = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        taken.append(list(share(20, (2, 3))))
        taken.append(list(share(20, None)))
    assert taken == [[2, 8, 14], list(range(0, 20, 2)), [3, 9, 15], list(range(1, 20, 2))]


PROCESS = """
import sys, jax
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import samflow as sf
from tests.attractors.test_chunk_devices import BOX, GRID, QUARTIC, SIDE, SWEEPS, WELL
folder = sys.argv[3]
sweep = sf.sweep(WELL, GRID, "orbit", **SWEEPS["orbit"], store=f"{folder}/s", chunk_cells=200)
basins = sf.basins(QUARTIC, BOX, SIDE, store=f"{folder}/b", chunk_cells=200)
here = [each.chunks.done()[jax.process_index()::2].all() for each in (sweep, basins)]
print(jax.process_count(), all(here))
"""


@pytest.mark.slow
def test_two_processes_of_jax_write_one_store(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(i), str(tmp_path)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out.split() == ["2", "True"]
    sweep, basins = (sf.open_store(tmp_path / name) for name in "sb")
    whole = grids(["orbit", "basins"])
    assert whole["orbit"] == [np.asarray(sweep[each]).tolist() for each in sorted(sweep.names)]
    assert whole["basins"] == [np.ravel(basins[each]).tolist() for each in ("labels", "steps")]
