"""The parts for a GPU run on a CPU at the small size, and their summary makes physical sense."""

import json

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import pytest
import typer

from benchmarks import ensembles, gpu, gpu_parts

pytest.importorskip("mlxtend")
# Less even than small: tests are for fields and signs.
TINY = gpu.SCALES["small"]._replace(
    images=20,
    epochs=1,
    batch_size=20,
    resnet={"widths": (2,), "blocks_per_stage": 1},
    transformer={"patch": 14, "width": 8, "depth": 1, "heads": 2},
    k=2,
    runs=2,
    growth=(8, 16, 32),
    growth_images=2,
    orbits=(128, 5),
    convolutional={"channels": (2,), "hidden": 4},
    watched_images=20,
    watched_steps=60,
    edge_steps=60,
    edge_every=2,
    central_steps=10,
    landscape_points=5,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(gpu.SCALES, "small", TINY)


def test_a_network_is_trained_measured_and_diagnosed(tmp_path, monkeypatch):
    flat = eqx.nn.Lambda(jnp.ravel)
    small = eqx.nn.MLP(784, 10, 4, 1, activation=jnp.tanh, key=jr.key(0))
    model = eqx.nn.Sequential([flat, small])  # the compiler is quicker with it than with the two
    part = lambda scale, progress: gpu_parts._network("transformer", model, scale, progress)  # noqa: E731
    monkeypatch.setitem(gpu.PARTS, "transformer", part)
    path = tmp_path / "made" / "gpu.json"
    gpu.run("small", ["transformer"], path, keep=False, command="test")
    written = json.loads(path.read_text())
    about, part = written["about"], written["parts"]["transformer"]
    assert about["size"] == "small"
    assert {"device", "date", "command", "jax", "precision"} <= set(about)
    assert part["training"]["status"] == "out of steps"
    assert 0 < part["loss"] < 10
    assert 0 <= part["error"] <= 1
    assert part["products"]["kept_over_gradient"] > 0
    assert part["products"]["fresh_over_gradient"] > 0
    found = part["eigenvalues"]
    values = found["bottom"] + found["top"]
    assert values == sorted(values)
    assert set(found["status"]) == {"located"}
    assert max(found["residuals"]) <= TINY.tol * max(map(abs, values))
    low, high = part["trace"]["interval"]
    assert low <= part["trace"]["value"] <= high
    assert 0 <= part["density"]["share_below"]["value"] <= 1
    shown = part["density"]["quantiles"]
    assert list(shown.values()) == sorted(shown.values())
    rules = part["diagnosis"]["rules"]
    assert set(rules) == {"gd", "practical-sam"}
    # Heavy ball leaves a minimum at lr·λ = 2(1 + momentum); GD sees the curvature itself.
    assert rules["gd"]["limit"] == pytest.approx(3.8)
    assert rules["gd"]["scaled_curvature"] == pytest.approx(0.02 * values[-1], rel=1e-3)


@pytest.mark.slow
def test_parts_are_added_to_the_file_of_the_same_size_only(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    gpu.run("small", ["sharded"], path, keep=False, command="first")
    gpu.run("small", ["largest"], path, keep=True, command="second")
    parts = json.loads(path.read_text())["parts"]
    assert [parts[name]["command"] for name in ("sharded", "largest")] == ["first", "second"]
    assert parts["sharded"]["devices"] >= 1
    assert parts["sharded"]["speed_up"] > 0
    assert parts["sharded"]["relative_difference"] < 1e-5  # float32, summed in another order
    tried = parts["largest"]["tried"]
    assert [row["width"] for row in tried] == [8, 16]  # bounded where there is no GPU
    assert parts["largest"]["largest"] == tried[-1]["weights"] > tried[0]["weights"]
    assert not parts["largest"]["limit_reached"]
    content = json.loads(path.read_text())
    content["about"]["device"] = "another"
    path.write_text(json.dumps(content))
    with pytest.raises(typer.BadParameter, match="Name another file"):
        gpu.run("small", ["sharded"], path, keep=True, command="third")


def test_a_network_that_does_not_fit_ends_the_search(monkeypatch):
    measure, calls = gpu_parts._seconds, []

    def starved(run, runs):
        calls.append(run)
        if len(calls) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")
        return measure(run, runs)

    monkeypatch.setattr(gpu_parts, "_seconds", starved)
    found = gpu_parts.largest(TINY, lambda message: None)
    assert [row["fits"] for row in found["tried"]] == [True, False]
    assert "Memory ran out on a transformer of width 16" in found["tried"][1]["message"]
    assert found["limit_reached"]
    assert found["largest"] == found["tried"][0]["weights"]


def test_an_interruption_keeps_what_is_done_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(scale, progress):
        raise KeyboardInterrupt

    monkeypatch.setitem(gpu.PARTS, "resnet", lambda scale, progress: {"weights": 1})
    monkeypatch.setitem(gpu.PARTS, "table", interrupted)
    path = tmp_path / "gpu.json"
    with pytest.raises(KeyboardInterrupt):
        gpu.run("small", ["resnet", "table", "largest"], path, keep=False, command="test")
    assert list(json.loads(path.read_text())["parts"]) == ["resnet"]
    assert "--size small -o" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_the_table_has_a_row_a_cell_with_its_interval():
    settings = TINY.table._replace(
        num_train=40, num_test=40, batch_sizes=(20,), rhos=(0.0,), epochs=1
    )
    found = gpu_parts.kim_table(TINY._replace(table=settings), lambda message: None)
    rows = found["cells"]
    assert len(rows) == 2 + 1
    for row in rows:
        assert len(row["accuracy"]["seeds"]) == settings.num_seeds
        assert 0 <= row["accuracy"]["mean"] <= 1
        assert row["loss"]["half"] >= 0
        assert set(row["status"]) == {"out of steps"}
    # The control's step is the table's times 1 − momentum.
    assert rows[-1]["lr"] == pytest.approx(settings.lr * (1 - rows[-1]["momentum"]))


def test_orbits_run_in_the_interpreted_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "CASES", [("quartic", "sam")])
    path = tmp_path / "gpu.json"
    gpu.run("small", ["orbits"], path, keep=False, command="test")
    part = json.loads(path.read_text())["parts"]["orbits"]
    assert (part["points"], part["steps"]) == TINY.orbits
    (row,) = part["cases"]
    assert row["case"] == "quartic sam"
    assert not row["compiled"]
    assert min(row["picoseconds"].values()) > 0
    assert row["largest_difference"] < 1e-12  # rounding, over five steps of lr 1e-3


def test_a_first_answer_is_timed_before_the_whole():
    found = gpu_parts.PARTS["checkpoint"](TINY, lambda message: None)
    assert [row["stage"] for row in found["stages"]] == ["first answer", "ends", "whole"]
    seconds = [row["seconds"] for row in found["stages"]]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    first, _, whole = found["stages"]
    for end in ("lowest", "largest"):
        assert first[end] == pytest.approx(whole[end], rel=0.05)  # what a first answer promises


@pytest.mark.slow
def test_the_parts_along_training_are_consistent(tmp_path):
    path, names = tmp_path / "gpu.json", ["monitor", "edges", "central", "landscapes"]
    gpu.run("small", names, path, keep=False, command="test")
    parts = json.loads(path.read_text())["parts"]
    for row in parts["monitor"]["rules"]:
        assert row["overhead"] == pytest.approx(row["watched_seconds"] / row["plain_seconds"] - 1)
        assert row["products_of_a_row"] < 10
    found = parts["edges"]
    start = found["sharpness_at_the_start"]
    for name in ("GD", "heavy ball", "USAM"):
        assert found["rules"][name]["edge"][0] == pytest.approx(1.3 * start)
        assert found["rules"][name]["sharpness"][0] == pytest.approx(start, rel=0.01)
    # SAM's is that of USAM at the norm of the first gradient.
    assert found["rules"]["SAM"]["edge"][0] == pytest.approx(1.3 * start, rel=1e-3)
    assert parts["central"]["status"] == "reached end"
    assert parts["central"]["mean_distance"] < parts["central"]["mean_distance_of_gradient_flow"]
    both = parts["landscapes"]
    assert both["trajectory"]["values"] > both["trajectory"]["undefined"] == 0
    assert both["eigenvectors"]["curvatures"][0] > both["eigenvectors"]["curvatures"][1]


def test_every_part_can_be_chosen():
    assert {str(part) for part in gpu.Part} == set(gpu_parts.PARTS)
