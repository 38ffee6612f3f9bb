"""Grids in chunks on disk: the same bits as in memory, in any parts, of one request only."""

import json
import os
import re
import sys
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors import Ending, chunks
from samflow.attractors.basins import _basins
from samflow.attractors.basins.starts import make_starts
from samflow.attractors.chunks import filling
from samflow.attractors.chunks.fingerprint import of_function, of_system
from samflow.attractors.sweep import _sweep
from tests.tiers import slow

pytest.importorskip("zarr")

WELL = sf.Map(sf.loss("-y**2/2 + y**4/4"), sf.SAM(rho=0.1), lr=0.1)
GRID = {"rho": np.linspace(0.05, 0.4, 5), "lr": np.linspace(0.05, 0.5, 6)}
QUARTIC = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.GD(), lr=0.05)
BOX = [(-2.0, 2.0)] * 2


def swept(store=None, **settings):
    given = {"num_steps": 60, "w0": [1.001], **settings}
    return sf.sweep(WELL, GRID, "orbit", **given, **({} if store is None else {"store": store}))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 9), (4, 1, 6), (2, 3, 5)])
@pytest.mark.parametrize("cells", [1, 4, 5, 11, 1000])
def test_chunks_are_boxes_whose_cells_follow_one_another(shape, cells):
    made = chunks.layout(shape, cells)
    numbers = np.arange(made.total).reshape(shape)
    seen = []
    for k in range(made.count):
        begin, end = made.range(k)
        assert 0 < end - begin <= min(cells, made.cells)
        assert numbers[made.place(k)].ravel().tolist() == list(range(begin, end))
        seen += range(begin, end)
    assert seen == list(range(made.total))


def test_a_stored_sweep_is_the_sweep(tmp_path):
    whole, stored = swept(), swept(tmp_path / "s.zarr", chunk_cells=7)
    assert stored.chunks.layout.count == 5
    assert stored.missing == ()
    assert str(stored) == str(whole)
    assert stored.load().to_dataset().identical(whole.to_dataset())
    assert stored["status"][2, ::2].tolist() == whole["status"][2, ::2].tolist()
    np.testing.assert_array_equal(stored["final"][..., 0], whole["final"][..., 0])
    np.testing.assert_array_equal(stored["final"][-1, 2], whole["final"][-1, 2])
    with xarray.open_zarr(tmp_path / "s.zarr", chunks=None) as data:  # without samflow
        chosen = data["final"].sel(rho=GRID["rho"][3])
        assert chosen.dims == ("lr", "final_0")
        np.testing.assert_array_equal(chosen, whole["final"][3])
        assert data.attrs["system"] == WELL.describe()
    again = sf.open_store(tmp_path / "s.zarr")
    assert again.load().to_dataset().identical(whole.to_dataset())


def test_parts_make_the_whole_and_say_what_is_missing(tmp_path):
    path, calls = tmp_path / "s.zarr", []
    first = swept(path, chunk_cells=7, part=(2, 3))
    assert first.missing == (0, 2, 3)  # every third chunk from the second on
    assert str(first).splitlines()[1].startswith("3 of 5 chunks are missing: the same call with")
    with pytest.raises(ArgumentError, match=r"^3 of the 5 chunks asked for .* not computed yet"):
        first["final"][:]
    np.testing.assert_array_equal(first["final"][1], swept()["final"][1])
    assert np.isnan(first.to_dataset()["final"].values[0]).all()
    with pytest.raises(ArgumentError, match="not computed yet"):
        first.load()
    swept(path, part=(1, 3))
    rest = swept(path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(24, 30), (30, 30)]  # four of five chunks of six were there
    assert rest.load().to_dataset().identical(swept().to_dataset())
    swept(path, progress=lambda done, total: calls.append((done, total)))
    assert calls[2:] == [(30, 30)]


def test_nothing_is_computed_of_a_finished_store(tmp_path, monkeypatch):
    swept(tmp_path / "s.zarr")
    monkeypatch.setattr(_sweep, "_in_blocks", None)
    assert swept(tmp_path / "s.zarr").missing == ()


def other_loss():
    return sf.Map(sf.loss("-y**2/2 + y**4/4 + 0"), sf.SAM(rho=0.1), lr=0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_steps": 61}, r"it has num_steps 60, not 61\."),
        ({"w0": [1.002]}, r"it has w0 \[1\.001\], not \[1\.002\]\."),
        ({"escape_radius": 5.0}, "escape_radius 1000000.0, not 5.0"),
        ({"chunk_cells": 3}, r"chunks of shape \(1, 6\), not \(1, 3\)"),
    ],
)
def test_the_store_of_another_sweep_is_refused_by_what_differs(change, words, tmp_path):
    swept(tmp_path / "s.zarr", chunk_cells=7)
    with pytest.raises(ArgumentError, match=words):
        swept(tmp_path / "s.zarr", **change)
    swept(tmp_path / "s.zarr", chunk_cells=7)


def test_another_grid_analysis_system_or_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    swept(path)
    lr = {**GRID, "lr": GRID["lr"] * 1.5}
    for system, grid, of, words in [
        (WELL, lr, "orbit", r"lr 6 from 0\.05 to 0\.5 \(.*\), not 6 from 0\.075 to 0\.75"),
        (WELL, GRID, "escaped", "of orbit, not escaped"),
        (sf.Map(WELL.loss, sf.USAM(rho=0.1), lr=0.1), GRID, "orbit", "map of sam.*not map of usam"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            sf.sweep(system, grid, of, w0=[1.001], num_steps=60, store=path)
    with pytest.raises(ArgumentError, match=r"it has system .*; no box"):
        sf.basins(QUARTIC, BOX, 4, store=path)
    made = re.escape(sf.__version__)
    monkeypatch.setattr("samflow.__version__", "0.0.9")
    with pytest.raises(ArgumentError, match=rf"samflow {made}, not 0\.0\.9"):
        swept(path)


def test_a_system_is_known_by_its_formulas_and_numbers_not_by_its_name():
    def of(function, **numbers):
        return of_system(sf.Map(sf.loss(function, dim=1, name="f"), sf.USAM(rho=0.1), **numbers))

    one = of(lambda w: jnp.sum(w**2), lr=0.1)
    assert one == of(lambda v: jnp.sum(v**2), lr=0.1)
    for other in (of(lambda w: jnp.sum(w**4), lr=0.1), of(lambda w: 2 * jnp.sum(w**2), lr=0.1)):
        assert other["system"] == one["system"]
        assert other["formulas of the system"] != one["formulas of the system"]
    data = np.arange(3.0)
    assert of(lambda w: jnp.sum((w - data) ** 2), lr=0.1) != of(
        lambda w: jnp.sum((w - (data + 1)) ** 2), lr=0.1
    )
    assert of(lambda w: jnp.sum(w**2), lr=0.1 + 1e-12)["system"] == one["system"]
    assert of(lambda w: jnp.sum(w**2), lr=0.1 + 1e-12) != one
    line = sf.Map(sf.loss("w**2"), sf.GD(), lr=lambda k: 0.1 / (1 + k))
    drop = sf.Map(sf.loss("w**2"), sf.GD(), lr=lambda k: 0.2 / (1 + k))
    assert of_system(line)["formulas of the system"] != of_system(drop)["formulas of the system"]


def test_functions_are_known_by_their_code(tmp_path):
    assert of_function(lambda s: s.lr + 1) == of_function(lambda s: s.lr + 1)
    assert of_function(lambda s: s.lr + 1) != of_function(lambda s: s.lr + 2)
    assert of_function(lambda s: [x + 1 for x in s]) != of_function(lambda s: [x + 2 for x in s])
    point = jnp.array([0.5])
    grid = {"rho": [0.05, 0.2], "lr": [0.1, 0.3]}

    def step(system):
        return {"step": system.step(point), "twice": 2 * system.lr}

    def word(system):
        return "large" if float(system.lr) > 0.2 else "small"

    def orbit(system):
        return sf.iterate(system, point, num_steps=3)

    for of, name in ((step, "a.zarr"), (word, "b.zarr"), (orbit, "c.zarr")):
        whole = sf.sweep(WELL, grid, of)
        found = sf.sweep(WELL, grid, of, store=tmp_path / name, chunk_cells=2)
        assert found.compiled == whole.compiled
        assert found.load().to_dataset().identical(whole.to_dataset())
    with pytest.raises(ArgumentError, match="code of the function"):
        sf.sweep(WELL, grid, lambda s: s.lr, store=tmp_path / "a.zarr")


def test_what_a_function_returns_must_be_of_one_kind(tmp_path):
    def mixed(system):
        return 1 if float(system.lr) < 0.2 else 1.5

    with pytest.raises(ArgumentError, match="'value' is int64 in some and float64 in others"):
        sf.sweep(WELL, {"lr": [0.1, 0.3]}, mixed, store=tmp_path / "s.zarr")

    def longer(system):
        return np.zeros(1 if float(system.lr) < 0.2 else 2)

    with pytest.raises(ArgumentError, match=r"has \(1,\) in some and \(2,\) in others"):
        sf.sweep(WELL, {"lr": [0.1, 0.3]}, longer, store=tmp_path / "t.zarr", chunk_cells=1)


def test_stored_basins_are_the_basins(tmp_path):
    whole = sf.basins(QUARTIC, BOX, 12)
    stored = sf.basins(QUARTIC, BOX, 12, store=tmp_path / "b.zarr", chunk_cells=50, part=(1, 2))
    assert stored.missing == (1,)
    assert sum(stored.counts().values()) == 96  # two of three chunks of four rows
    partly = stored.load()
    assert (partly.labels == Ending.missing).sum() == 48
    assert partly.names()[Ending.missing] == "missing"
    assert "1 of 3 chunks are missing" in str(stored)
    stored = sf.basins(QUARTIC, BOX, 12, store=tmp_path / "b.zarr", part=(2, 2))
    assert str(stored) == str(whole)
    assert stored.load().to_dataset().identical(whole.to_dataset())
    assert stored.shares() == whole.shares()
    np.testing.assert_array_equal(stored["labels"][3:5], whole.grid[3:5])
    thin = stored.load(every=3)
    np.testing.assert_array_equal(
        thin.starts, whole.starts.reshape(12, 12, 2)[1::3, 1::3].reshape(-1, 2)
    )
    np.testing.assert_array_equal(thin.grid, whole.grid[1::3, 1::3])
    data = sf.open_store(tmp_path / "b.zarr").to_dataset()
    assert data["labels"].sel(w1=0.1, w2=1.0, method="nearest") == whole.grid[6, 8]
    assert "0: attracting at (0, -1)" in data["labels"].attrs["meaning"]


def test_attractors_are_looked_for_once(tmp_path, monkeypatch):
    path = tmp_path / "b.zarr"
    before = sf.basins(QUARTIC, BOX, 12, store=path, chunk_cells=50, part=(1, 2)).attractors
    for name in ("find", "label", "fixed_points"):
        monkeypatch.setattr(_basins.Search, name, None)
    after = sf.basins(QUARTIC, BOX, 12, store=path, part=(2, 2)).attractors
    for one, other in zip(before, after, strict=True):
        assert str(one) == str(other)
        np.testing.assert_array_equal(one.region.metrics, other.region.metrics)


def test_a_sample_can_be_made_in_parts():
    sides = np.array([(-2.0, 2.0), (0.0, 1.0), (5.0, 7.0)])
    made = make_starts(sides, None, 101, seed=3)
    random = np.random.default_rng(3).random((101, 3))
    whole = sides[:, 0] + (sides[:, 1] - sides[:, 0]) * random
    np.testing.assert_array_equal(made.range(0, 101), whole)
    np.testing.assert_array_equal(made.range(40, 77), whole[40:77])
    np.testing.assert_array_equal(made.at(np.array([0, 5, 100])), whole[[0, 5, 100]])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ((3, 2), "there is no part 3 of 2"),
        ((0, 2), "at least 1"),
        ((1, 2, 3), "must be .i, n."),
        ("1/2", "must be .i, n."),
        ((1, 31), "at most 30 parts, since there are 30 chunks"),
    ],
)
def test_a_part_that_is_none(part, words, tmp_path):
    with pytest.raises(ArgumentError, match=words):
        swept(tmp_path / "s.zarr", chunk_cells=1, part=part)
    assert not (tmp_path / "s.zarr").exists()


def test_parts_are_of_a_store():
    with pytest.raises(ArgumentError, match="are of a `store`"):
        swept(part=(1, 2))
    with pytest.raises(ArgumentError, match="are of a `store`"):
        sf.basins(QUARTIC, BOX, 4, chunk_cells=4)


def test_a_place_where_no_store_can_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArgumentError, match=r"must be a folder, but .* is a file"):
        swept(tmp_path / "file")
    with pytest.raises(ArgumentError, match="holds something else"):
        swept(tmp_path)
    with pytest.raises(ArgumentError, match="folder that exists"):
        swept(tmp_path / "none" / "s.zarr")
    for path, words in [("file", "is a file"), (".", "of something else"), ("no", "not exist")]:
        with pytest.raises(ArgumentError, match=words):
            sf.open_store(tmp_path / path)
    (tmp_path / "new").mkdir()
    assert swept(tmp_path / "new").missing == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, whom only root can become")
def test_a_folder_in_which_nothing_may_be_written():
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        swept(f"{name}/half.zarr", chunk_cells=7, part=(1, 2))
        swept(f"{name}/whole.zarr")
        os.seteuid(65534)
        try:
            assert swept(f"{name}/whole.zarr").missing == ()
            for store in ("new.zarr", "half.zarr"):
                with pytest.raises(ArgumentError, match="must be writable"):
                    swept(f"{name}/{store}")
            assert sf.open_store(f"{name}/half.zarr").missing == (1, 3)
        finally:
            os.seteuid(0)


def test_a_grid_that_does_not_fit_says_how_much_it_takes(monkeypatch):
    monkeypatch.setattr("samflow.attractors.chunks.memory.available", lambda: 1e5)
    with pytest.raises(ArgumentError, match=r"10,000 starts takes .* MB .* 100 kB .*`store="):
        sf.basins(QUARTIC, BOX)
    grid = {"rho": np.linspace(0.1, 0.2, 100), "lr": np.linspace(0.1, 0.2, 100)}
    with pytest.raises(ArgumentError, match=r"10,000 cells takes .* kB of memory, but 100 kB"):
        sf.sweep(WELL, grid, lambda s: s.lr * jnp.ones(8))
    assert sf.sweep(WELL, GRID, lambda s: s.lr)["value"].shape == (5, 6)


@pytest.mark.parametrize("of", ["orbit", "period", lambda s: s.lr * jnp.ones(8)])
def test_a_sweep_that_cannot_fit_is_refused_before_it_begins(monkeypatch, of):
    """An orbit has its end, 8 bytes, a step and a word of 4 letters; what just fits is begun."""
    grid = {"rho": np.linspace(0.1, 0.2, 100), "lr": np.linspace(0.1, 0.2, 100)}
    size = {"orbit": 32, "period": 24}.get(of, 64) if isinstance(of, str) else 64

    def begun(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_sweep, "_in_blocks", begun)
    ask = lambda: sf.sweep(WELL, grid, of, w0=[1.001], num_steps=9)  # noqa: E731
    for part, error in ((0.99, ArgumentError), (1.01, KeyboardInterrupt)):
        free = part * 1e4 * size / 0.8
        monkeypatch.setattr("samflow.attractors.chunks.memory.available", lambda free=free: free)
        with pytest.raises(error):
            ask()


def test_memory_that_is_free_is_that_of_this_machine():
    assert 2**25 < chunks.memory.available() < 2**50


def test_an_interrupt_says_how_to_go_on(tmp_path):
    def interrupt(done, total):
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        swept(tmp_path / "s.zarr", chunk_cells=7, progress=interrupt)
    assert caught.value.__notes__ == [
        f"2 of 5 chunks are in {str(tmp_path / 's.zarr')!r}. The same call or command computes "
        "the others."
    ]
    assert swept(tmp_path / "s.zarr").load().to_dataset().identical(swept().to_dataset())


def test_a_full_disk_is_one_sentence_and_what_is_there_stays(tmp_path, monkeypatch):
    write = chunks.Chunks.write

    def full(store, number, found):
        if number == 3:
            raise OSError(28, "No space left on device")
        write(store, number, found)

    monkeypatch.setattr(chunks.Chunks, "write", full)
    with pytest.raises(ArgumentError, match=r"cannot .No space left on device.\. Chunks that are"):
        swept(tmp_path / "s.zarr", chunk_cells=7)
    monkeypatch.undo()
    assert sf.open_store(tmp_path / "s.zarr").missing == (3, 4)
    assert swept(tmp_path / "s.zarr").load().to_dataset().identical(swept().to_dataset())


def test_a_missing_zarr_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"needs zarr, .* pip install 'samflow\[scale\]'"):
        swept(tmp_path / "s.zarr")


def test_a_store_that_was_made_meanwhile_is_taken(tmp_path, monkeypatch):
    """Another process makes the store while this one computes its first chunk."""
    path, create = tmp_path / "s.zarr", filling.Job.create

    def late(job, arrays):
        monkeypatch.undo()
        swept(path, chunk_cells=7)
        return create(job, arrays)

    monkeypatch.setattr(filling.Job, "create", late)
    found = swept(path, chunk_cells=7)
    assert found.load().to_dataset().identical(swept().to_dataset())
    assert [each.name for each in tmp_path.iterdir()] == ["s.zarr"]


def test_the_dataset_of_a_store_is_saved_as_netcdf(tmp_path):
    data = swept(tmp_path / "s.zarr").to_dataset()
    data["final"].to_netcdf(tmp_path / "final.nc", engine="h5netcdf")
    assert json.loads(data.attrs["store"])["shape"] == [5, 6]


@pytest.mark.parametrize("about", [slow({"w": [0.0, 1.0]}), {"box": (-2, 2), "num_starts": 2}])
def test_a_chart_in_chunks_is_the_chart(about, tmp_path):
    given = {"rho": [0.5, 2.0, 3.0], "lr": [0.1, 0.3], "num_steps": 60, **about}
    usam = sf.USAM(rho=0.1)
    whole = sf.stability_chart(QUARTIC.loss, usam, **given)
    path = tmp_path / "c.zarr"
    half = sf.stability_chart(QUARTIC.loss, usam, **given, store=path, chunk_cells=2, part=(1, 2))
    assert (half.what[1] == "missing").all()  # the second of three rows
    np.testing.assert_array_equal(half.what[::2], whole.what[::2])
    again = sf.stability_chart(QUARTIC.loss, usam, **given, store=path)
    assert again.to_dataset().equals(whole.to_dataset())
    assert sf.open_store(path)["what" if "w" in about else "at_points"].shape[:2] == (3, 2)
    with pytest.raises(ArgumentError, match="num_steps 60, not 61"):
        sf.stability_chart(QUARTIC.loss, usam, **given | {"num_steps": 61}, store=path)
