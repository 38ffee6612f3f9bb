"""Chunks whose process is killed at any moment: what goes on from there ends with the same bits."""

import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import samflow as sf
from tests.attractors.test_chunks import BOX, GRID, QUARTIC, WELL

pytest.importorskip("zarr")

ROOT = str(Path(__file__).parents[2])
ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": ROOT}

WRITER = """
    import os, random, signal, sys, time
    import numpy as np
    import zarr, xarray  # once, not in every child
    from samflow.attractors import chunks, open_store

    plan = chunks.layout((40, 6), 4)

    def compute(store, plan, begin, end):
        time.sleep(0.01)
        words = np.array([f"cell {{k}}" for k in range(begin, end)])
        return {{"value": np.sqrt(np.arange(begin, end)), "word": words}}

    def run(path):
        coordinates = {{"a": np.arange(40.0), "b": np.arange(6.0)}}
        details = lambda: {{"quantity": "q", "compiled": False}}
        job = chunks.Job(
            path, "Sweep", {{"of": "q"}}, plan, False, coordinates, ("a", "b"), details, ()
        )
        return chunks.run(job, compute, None, lambda done, total: None)

    whole, path, dead = {folder!r} + "/whole", {folder!r} + "/killed", 0
    begun, child = time.monotonic(), os.fork()
    if not child:
        run(whole)
        os._exit(0)
    os.waitpid(child, 0)
    takes = time.monotonic() - begun
    for kill in range({kills}):
        child = os.fork()
        if not child:
            run(path)
            os._exit(0)
        time.sleep(0.4 * takes * random.Random(kill).random())
        os.kill(child, signal.SIGKILL)
        dead += os.waitpid(child, 0)[1] == signal.SIGKILL
    run(path)
    left, right = (open_store(each).load().to_dataset() for each in (whole, path))
    assert left.identical(right)
    partly = [name for name in os.listdir({folder!r}) if name not in ("whole", "killed")]
    assert all(name.startswith(".killed.") for name in partly), partly
    print(takes, dead)
"""


def test_a_store_whose_writer_is_killed_again_and_again_is_whole_in_the_end(tmp_path):
    code = textwrap.dedent(WRITER.format(folder=str(tmp_path), kills=12))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 2, done.stdout  # most were killed before their end


CALLS = """
import samflow as sf
from tests.attractors.test_chunks import BOX, GRID, QUARTIC, WELL
print("ready", flush=True)
sf.sweep(WELL, GRID, "period", w0=[1.001], num_steps=600, store={folder!r} + "/s", chunk_cells=1)
sf.basins(QUARTIC, BOX, 64, store={folder!r} + "/b", chunk_cells=64)
"""


@pytest.mark.slow
def test_sweeps_and_basins_that_are_killed_end_with_the_same_bits(tmp_path):
    for kill in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", CALLS.format(folder=str(tmp_path))],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1 + 12 * random.Random(kill).random())
        process.kill()
        process.stdout.close()
        process.wait(timeout=60)
    whole = {
        "s": sf.sweep(
            WELL, GRID, "period", w0=[1.001], num_steps=600, store=tmp_path / "t", chunk_cells=1
        ),
        "b": sf.basins(QUARTIC, BOX, 64, store=tmp_path / "c", chunk_cells=64),
    }
    again = {
        "s": sf.sweep(WELL, GRID, "period", w0=[1.001], num_steps=600, store=tmp_path / "s"),
        "b": sf.basins(QUARTIC, BOX, 64, store=tmp_path / "b"),
    }
    for name, found in whole.items():
        assert again[name].missing == ()
        for each in found.chunks.names:
            np.testing.assert_array_equal(found[each][...], again[name][each][...])
