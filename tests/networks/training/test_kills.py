"""A process that is killed leaves the last whole file behind, and a run goes on from it."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.networks import first_state, load_state, save_state
from samflow.records import write_whole
from samflow.switching import sweep_switch

KILLS = 20
ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1"}


def killed(program, delay, **settings):
    """Run a program, kill it `delay` seconds after it said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
        **settings,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.kill()
    process.stdout.close()
    assert process.wait(timeout=60) == -signal.SIGKILL


WRITER = """
    import os, random, signal, sys, time
    from samflow.records import write_whole
    path, size = {path!r}, 2**20
    write_whole(path, b"a" * size)
    for kill in range({kills}):
        child = os.fork()
        if not child:
            while True:
                for letter in (b"b", b"c"):
                    write_whole(path, letter * size)
        time.sleep(0.002 + 0.02 * random.Random(kill).random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        content = open(path, "rb").read()
        assert len(content) == size and len(set(content)) == 1, kill
    print(set(content))
"""


def test_a_file_is_whole_after_every_kill(tmp_path):
    program = textwrap.dedent(WRITER.format(path=str(tmp_path / "f.bin"), kills=KILLS))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    others = [each.name for each in tmp_path.iterdir() if each.name != "f.bin"]
    assert all(name.startswith(".f.bin.") for name in others)  # as `write_whole` says


def system_of_ten():
    loss = sf.losses.mean([sf.loss(f"(x - {i})**2/2 + y**4/{i + 1}") for i in range(10)])
    return sf.Map(loss, sf.USAM(rho=0.1), lr=0.1, momentum=0.5)


SAVER = """
    import sys
    sys.path.insert(0, {root!r})
    import jax.random as jr
    from samflow.networks import first_state, save_state
    from tests.networks.training.test_kills import system_of_ten
    system = system_of_ten()
    save_state({path!r}, first_state(system, [1.0, 1.0]), system)
    print("ready", flush=True)
    while True:
        for x in (1.0, 2.0):
            save_state({path!r}, first_state(system, [x, 1.0]), system)
"""
ROOT = str(pathlib.Path(__file__).parents[3])


@pytest.mark.slow
def test_a_state_is_whole_after_every_kill(tmp_path):
    path, system = tmp_path / "state.npz", system_of_ten()
    for kill in range(KILLS):
        delay = 0.05 * random.Random(kill).random()
        killed(SAVER.format(root=ROOT, path=str(path)), delay)
        assert load_state(path, system).z[0] in (1.0, 2.0)


REPORTER = """
    import sys
    sys.path.insert(0, {root!r})
    from samflow.records import write_whole
    import json
    claims = json.dumps([{{"name": str(i), "holds": True}} for i in range(20_000)])
    print("ready", flush=True)
    while True:
        write_whole({folder!r} + "/claims.json", claims)
        write_whole({folder!r} + "/index.html", "<html>" + claims + "</html>")
"""


@pytest.mark.slow
def test_a_report_is_whole_after_every_kill(tmp_path):
    """It is two files, each written by `write_whole`, as `reporting.page` does."""
    for kill in range(KILLS):
        delay = 0.02 + 0.05 * random.Random(kill).random()
        killed(REPORTER.format(root=ROOT, folder=str(tmp_path)), delay)
        if (tmp_path / "claims.json").exists():
            assert len(json.loads((tmp_path / "claims.json").read_text())) == 20_000
        if (tmp_path / "index.html").exists():
            assert (tmp_path / "index.html").read_text().endswith("</html>")
    assert (tmp_path / "index.html").exists()


def small_sweep(folder, progress=lambda message: None):
    before = system_of_ten()
    after = sf.Map(before.loss, sf.USAM(rho=0.5), lr=0.1, momentum=0.5)
    return sweep_switch(
        before,
        after,
        jnp.array([[1.0, 1.0], [2.0, -1.0]]),
        total_epochs=4,
        switch_epochs=[1, 2, 3],
        batch_size=3,
        save_to=folder,
        save_every=1,
        progress=progress,
    )


SWEEPER = """
    import sys
    sys.path.insert(0, {root!r})
    from tests.networks.training.test_kills import small_sweep
    print("ready", flush=True)
    small_sweep({folder!r})
"""


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    whole = small_sweep(None)
    for kill in range(KILLS):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(SWEEPER.format(root=ROOT, folder=str(tmp_path))),
            ],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1 + 8 * random.Random(kill).random())
        process.kill()
        process.stdout.close()
        process.wait(timeout=60)
    again = small_sweep(tmp_path)
    for name in ("status", "sharpness", "train_loss", "barrier", "switch_epochs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_a_state_behind_a_pipe_and_one_of_packed_zeros_are_refused(tmp_path):
    system = system_of_ten()
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ArgumentError, match="is a folder, a pipe or a device"):
        load_state(tmp_path / "pipe.npz", system)
    with pytest.raises(ArgumentError, match="is a pipe or a device"):
        save_state(tmp_path / "pipe.npz", first_state(system, [1.0, 1.0]), system)
    path = save_state(tmp_path / "state.npz", first_state(system, [1.0, 1.0]), system)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez_compressed(tmp_path / "zeros.npz", **arrays, **{"beside.z": np.zeros(2**20)})
    with pytest.raises(ArgumentError, match=r"it is compressed, with \d+ bytes inside"):
        load_state(tmp_path / "zeros.npz", system)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, whom only root can become")
def test_another_user_is_refused_where_nothing_may_be_written(monkeypatch):
    system = system_of_ten()
    state = first_state(system, [1.0, 1.0])
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = pathlib.Path(name)
        path = save_state(folder / "state.npz", state, system)
        path.chmod(0o666)  # the file may be written to, but not replaced
        os.seteuid(65534)
        try:
            for place in (path, folder / "new.npz"):
                with pytest.raises(ArgumentError, match="must be writable, but"):
                    save_state(place, state, system)
            with pytest.raises(PermissionError):
                write_whole(path, b"other")
            assert load_state(path, system).epoch == 0
        finally:
            os.seteuid(0)
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(ArgumentError, match=r"as one: .*Permission denied"):
                load_state(path, system)
        finally:
            os.seteuid(0)
        assert [each.name for each in folder.iterdir()] == ["state.npz"]


def test_a_folder_that_becomes_read_only_says_so_and_keeps_the_last_state(tmp_path, monkeypatch):
    system = system_of_ten()
    path = save_state(tmp_path / "state.npz", first_state(system, [1.0, 1.0]), system)

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.open", read_only)
    with pytest.raises(OSError, match="Read-only file system"):
        save_state(path, first_state(system, [2.0, 1.0]), system)
    monkeypatch.undo()
    assert load_state(path, system).z[0] == 1.0
