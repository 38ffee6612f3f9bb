"""What `samflow checkpoint` costs: CPU and wall time of whole processes, beside SciPy's eigsh.

Networks of PyTorch and of JAX with 6,000, 18,000 and 100,000 weights, trained for a moment on 300
images of MNIST. Each command runs in a process of its own with an empty cache of compiled programs:
whole, with its figure, and with --quick. Beside them a process that imports the same, makes the
same loss and asks SciPy's ARPACK for the four eigenvalues at each end, on samflow's product: no
rules, no trace, no figure. The ratio is the peer's CPU time over that of the whole command. Wall
times say something on an idle machine alone.

    python benchmarks/checkpoints.py [--only torch-6k] [--json]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.peers import AsJson, about, report

_IMAGES = 300
_STEPS = 60
_EIGENVALUES = 4
_TOL = 1e-8
_CHANNELS = {"6k": (8, 8, 12), "18k": (16, 16, 20), "100k": (32, 32, 60)}
"""Of the two convolutions, and the hidden units."""
NETWORKS = tuple(f"{kind}-{size}" for kind in ("torch", "jax") for size in _CHANNELS)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return the images and their classes."""
    from samflow.networks.mnist import load_mnist

    x, y = load_mnist(_IMAGES)
    return np.asarray(x, dtype=np.float32), np.asarray(y)


def make() -> Any:
    """Return the network that the environment names, as `--model` asks for it."""
    kind, size = os.environ["SAMFLOW_BENCHMARK"].split("-")
    return {"torch": _torch_network, "jax": _jax_network}[kind](*_CHANNELS[size])


def _torch_network(first: int, second: int, hidden: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    flat = second * 7 * 7
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(first, second, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(flat, hidden), nn.Tanh(), nn.Linear(hidden, 10)),
    )


def _jax_network(first: int, second: int, hidden: int) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    keys, tanh = jr.split(jr.key(0), 4), eqx.nn.Lambda(jnp.tanh)
    flat = second * 7 * 7
    return eqx.nn.Sequential(
        [
            *(eqx.nn.Conv2d(1, first, 3, padding=1, key=keys[0]), tanh, eqx.nn.AvgPool2d(2, 2)),
            *(eqx.nn.Conv2d(first, second, 3, padding=1, key=keys[1]), tanh),
            *(eqx.nn.AvgPool2d(2, 2), eqx.nn.Lambda(jax.numpy.ravel)),
            *(eqx.nn.Linear(flat, hidden, key=keys[2]), tanh),
            eqx.nn.Linear(hidden, 10, key=keys[3]),
        ]
    )


def _loss() -> Any:
    from samflow.cli.models import LossSettings, make_loss

    settings = LossSettings("cross_entropy")
    return make_loss("benchmarks.checkpoints:make", "benchmarks.checkpoints:data", None, settings)


def train(path: str) -> None:
    """Train the network by Adam and save its weights."""
    import optax

    from samflow import networks
    from samflow.losses.evaluation import gradient

    loss, model = _loss(), make()
    w = loss.flatten() if hasattr(model, "state_dict") else loss.flatten(model)
    optimiser = optax.adam(3e-3)
    state = optimiser.init(w)
    for _ in range(_STEPS):
        change, state = optimiser.update(gradient(loss, w), state)
        w = w + change
    networks.save_checkpoint(path, loss, w)


def peer(path: str) -> None:
    """Ask SciPy for the ends of the spectrum."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    from samflow import networks
    from samflow.spectra.products import hessian_product

    found = networks.load_checkpoint(path, _loss())
    product, made = hessian_product(found.loss, found.w), [0]

    def counted(v: Any) -> Any:
        made[0] += 1
        return product(v)

    size = found.loss.dim
    operator: Any = LinearOperator((size, size), matvec=counted, dtype=float)  # pyright: ignore[reportCallIssue]
    start = np.random.default_rng(0).normal(size=size)
    for which in ("LA", "SA"):
        eigsh(operator, k=_EIGENVALUES, which=which, tol=_TOL, v0=start)  # pyright: ignore[reportArgumentType]
    print(json.dumps({"pairs": {"num_products": made[0]}, "dim": size}))


def main(
    only: Annotated[list[str] | None, typer.Option(help="Networks, as torch-6k.")] = None,
    as_json: AsJson = False,
) -> None:
    """Time each network, the command and the peer in turn."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in only or NETWORKS:
            rows += list(_rows(name, Path(folder)))
    report(
        about("scipy eigsh, 4 at each end, same product", True, images=_IMAGES),
        rows,
        as_json=as_json,
        header=f"{'case':24}{'weights':>8}{'products':>10}{'CPU/s':>8}{'wall/s':>8}{'peer/CPU':>10}",
        line=lambda r: (
            f"{r['case']:24}{r['dim']:>8}{r['products']:>10}{r['cpu']:>8.1f}{r['wall']:>8.1f}"
            f"{r['ratio']:>10.2f}"
        ),
    )


def _rows(name: str, folder: Path) -> list[dict[str, Any]]:
    weights = str(folder / f"{name}.safetensors")
    own = "from samflow.cli import process; process.prepare(); from benchmarks.checkpoints import "
    python = [sys.executable, "-c"]
    _timed([*python, f"{own}train; train({weights!r})"], name, folder)
    model = ["--model", "benchmarks.checkpoints:make", "--data", "benchmarks.checkpoints:data"]
    command = [sys.executable, "-m", "samflow", "checkpoint", weights, *model]
    command += ["--loss", "cross_entropy", "--json"]
    runs = {
        "eigsh": [*python, f"{own}peer; peer({weights!r})"],
        "whole, with figure": [*command, "-o", str(folder / "figure.png")],
        "--quick": [*command, "--quick"],
    }
    found = {case: _timed(line, name, folder) for case, line in runs.items()}
    base = found["eigsh"][0]
    return [
        {
            "case": f"{name} {case}",
            "dim": made["dim"],
            "products": made["pairs"]["num_products"],
            "cpu": cpu,
            "wall": wall,
            "ratio": base / cpu,
        }
        for case, (cpu, wall, made) in found.items()
    ]


def _timed(line: list[str], name: str, folder: Path) -> tuple[float, float, Any]:
    """Return CPU and wall seconds of a process, and the JSON that it printed."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        more = {"SAMFLOW_BENCHMARK": name, "XDG_CACHE_HOME": cache}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(line, env=os.environ | more, capture_output=True, text=True)
        wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{name}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, json.loads(done.stdout) if done.stdout.strip() else None


if __name__ == "__main__":
    typer.run(main)
