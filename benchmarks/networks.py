"""Curvature of a network: Hessian-vector products, and the top five eigenvalues beside peers.

Prints the cost of a product over that of a gradient, in JAX and in PyTorch, and the CPU time of the
five largest eigenvalues of one convolutional network, the same weights and images in both, by
samflow and by curvlinops, hessian-eigenthings and PyHessian, as far as they are installed. Each
contestant runs with the loosest of its settings that brings all five to a relative error of 1e-4.
The ratio is the peer's time over samflow's: 1 is parity, more is faster than the peer.

    python benchmarks/networks.py [--images 1000] [--double] [--peer NAME] [--runs 5]
        [--no-flags] [--json]
"""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.peers import AsJson, Flags, Runs, about, interleaved, report, set_up

K = 5
ERROR = 1e-4
"""Largest relative error of an eigenvalue that counts as equal accuracy."""
_THREADS = 1
_REFERENCE_TOL = {"float64": 1e-10, "float32": 1e-5}


class Peer(StrEnum):
    """What `--peer` takes."""

    curvlinops = "curvlinops"
    hessian_eigenthings = "hessian-eigenthings"
    pyhessian = "PyHessian"


class Contestant(NamedTuple):
    """A way to find the eigenvalues: settings from cheap to dear, and a run with one of them."""

    settings: tuple[Any, ...]
    run: Callable[[Any], np.ndarray]


def main(
    images: Annotated[int, typer.Option(help="Images of MNIST.")] = 1000,
    double: Annotated[bool, typer.Option(help="In double precision.")] = False,
    peer: Annotated[
        list[Peer] | None, typer.Option(help="Repeat for several; by default all.")
    ] = None,
    runs: Runs = 5,
    flags: Flags = True,
    as_json: AsJson = False,
) -> None:
    """Measure, and print ratios."""
    if flags:  # one thread for each side: eigen's pool would count on one side only
        single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {single}".strip()
    set_up(flags=False)
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(_THREADS)
    threadpool_limits(_THREADS)  # of the BLAS behind NumPy, whose idle threads spin
    dtype = "float64" if double else "float32"
    problem = _problem(images, dtype)
    rows = [
        *_product_rows(problem, runs),
        *_eigenvalue_rows(problem, peer or list(Peer), runs, dtype),
    ]
    settings = {"images": images, "weights": problem.jax_loss.dim, "dtype": dtype}
    report(
        about("PyTorch packages", flags, **settings, torch=torch.__version__, threads=_THREADS),
        rows,
        as_json=as_json,
        header=f"{'case':34}{'samflow s':>11}{'peer s':>11}{'ratio':>8}  settings, error",
        line=lambda r: (
            f"{r['case']:34}{r['samflow']:11.4f}{r['peer']:11.4f}{r['ratio']:8.2f}  {r['note']}"
        ),
    )


class Problem(NamedTuple):
    """One network in both libraries, with the same weights and images."""

    jax_loss: Any
    w: Any
    torch_loss: Any
    module: Any
    x: Any
    y: Any


def _problem(images: int, dtype: str) -> Problem:
    import jax.random as jr
    import torch

    from samflow import losses, networks
    from samflow.losses.pytorch import torch_network

    x, y = networks.load_mnist(images)
    model = networks.convolutional(jr.key(0))
    loss = losses.network(model, x, y, loss="cross_entropy", dtype=dtype, name="mnist")
    w = _trained(loss, loss.flatten(model))
    module = _torch_twin().to(getattr(torch, dtype))
    tensors = [
        torch.tensor(np.asarray(part), dtype=getattr(torch, dtype)) for part in loss.split(w)
    ]
    with torch.no_grad():
        for parameter, tensor in zip(module.parameters(), tensors, strict=True):
            parameter.copy_(tensor.reshape(parameter.shape))
    tx, ty = torch.tensor(np.asarray(x), dtype=getattr(torch, dtype)), torch.tensor(np.asarray(y))
    return Problem(loss, w, torch_network(module, tx, ty.long()), module, tx, ty.long())


def _trained(loss: Any, w: Any) -> Any:
    """Return weights after a few steps of momentum, so that the spectrum is a network's."""
    import equinox as eqx

    import samflow as sf

    system = sf.Map(loss, sf.GD(), lr=0.1, momentum=0.9)  # pyright: ignore[reportCallIssue]
    step = eqx.filter_jit(lambda system, z: system.step(z))
    z = system.lift(w)
    for _ in range(30):
        z = step(system, z)
    return system.position(z)


def _torch_twin() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(32 * 49, 64),
        nn.Tanh(),
        nn.Linear(64, 10),
    )


def _product_rows(problem: Problem, runs: int) -> Iterator[dict[str, Any]]:
    """Yield a row a library: the time of a product (samflow) beside that of a gradient (peer)."""
    import equinox as eqx

    from samflow.spectra.products import hessian_product

    v = np.random.default_rng(0).normal(size=problem.jax_loss.dim)
    gradient = eqx.filter_jit(lambda loss, w: loss.gradient(w))
    for name, loss in (("JAX", problem.jax_loss), ("PyTorch", problem.torch_loss)):
        product = hessian_product(loss, problem.w)
        slope = gradient if name == "JAX" else (lambda loss, w: loss.gradient(w))
        product(v)
        np.asarray(slope(loss, problem.w))
        timing = interleaved(
            runs,
            samflow=lambda product=product: product(v),
            peer=lambda slope=slope, loss=loss: np.asarray(slope(loss, problem.w)),
        )
        cost = 1 / timing.ratio
        yield _row(
            f"product over gradient, {name}", timing, f"a product costs {cost:.2f} gradients"
        )


def _eigenvalue_rows(
    problem: Problem, peers: list[Peer], runs: int, dtype: str
) -> Iterator[dict[str, Any]]:
    reference = _samflow(problem.jax_loss, problem.w)(_REFERENCE_TOL[dtype])
    ours = {
        "samflow on JAX": _samflow(problem.jax_loss, problem.w),
        "samflow on PyTorch": _samflow(problem.torch_loss, problem.w),
    }
    tols = (1e-1, 7e-2, 5e-2, 3e-2, 2e-2, 1e-2, 7e-3, 5e-3, 3e-3, 1e-3, 1e-4)
    chosen = {name: _loosest(Contestant(tols, run), reference) for name, run in ours.items()}
    for peer, contestant in _installed(problem, peers).items():
        setting, error = _loosest(contestant, reference)
        for name, (tol, own_error) in chosen.items():
            timing = interleaved(
                runs,
                samflow=lambda name=name, tol=tol: ours[name](tol),
                peer=lambda contestant=contestant, setting=setting: contestant.run(setting),
            )
            note = f"tol {tol:g}, {own_error:.0e}; peer {setting}, {error:.0e}"
            yield _row(f"{name} by {peer}", timing, note)


def _row(case: str, timing: Any, note: str) -> dict[str, Any]:
    seconds = timing.seconds
    return {
        "case": case,
        "samflow": seconds["samflow"],
        "peer": seconds["peer"],
        "ratio": timing.ratio,
        "note": note,
    }


def _loosest(contestant: Contestant, reference: np.ndarray) -> tuple[Any, float]:
    """Return the first setting that is accurate enough, or the dearest, with its error."""
    error, setting = np.inf, None
    for setting in contestant.settings:
        found = np.sort(contestant.run(setting))
        error = float(np.max(np.abs(found - reference) / np.abs(reference)))
        if error <= ERROR:
            break
    return setting, error


def _samflow(loss: Any, w: Any) -> Callable[[float], np.ndarray]:
    from samflow.spectra.spectrum import extreme_eigenpairs

    def run(tol: float) -> np.ndarray:
        return np.asarray(extreme_eigenpairs(loss, w, k=K, which="largest", tol=tol).values)

    return run


def _installed(problem: Problem, peers: list[Peer]) -> dict[str, Contestant]:
    found = {}
    for name in peers:
        try:
            found[name] = _PEERS[name](problem)
        except ImportError:
            print(f"{name} is not installed: pip install 'samflow[peers]'")
    return found


def _curvlinops(problem: Problem) -> Contestant:
    import torch
    from scipy.sparse.linalg import eigsh

    operator = (
        importlib.import_module("curvlinops")
        .HessianLinearOperator(
            problem.module,
            torch.nn.CrossEntropyLoss(),
            list(problem.module.parameters()),
            [(problem.x, problem.y)],
            check_deterministic=False,
        )
        .to_scipy()
    )

    def run(setting: tuple[int, float]) -> np.ndarray:
        vectors, tol = setting
        found: Any = eigsh(operator, k=K, which="LA", ncv=vectors, tol=tol)  # pyright: ignore[reportArgumentType]
        return np.asarray(found[0])

    # The default is 20 vectors between restarts.
    cheap = [(vectors, 1e-1) for vectors in range(2 * K, 20)]
    return Contestant((*cheap, *((20, tol) for tol in (1e-1, 3e-2, 1e-2, 1e-3, 1e-4))), run)


def _eigenthings(problem: Problem) -> Contestant:
    import torch

    package = importlib.import_module("hessian_eigenthings")
    loss = package.supervised_loss(torch.nn.CrossEntropyLoss())
    operator = package.HessianOperator(problem.module, [(problem.x, problem.y)], loss)

    def run(steps: int) -> np.ndarray:
        found = package.lanczos(
            operator, k=K, max_iter=steps, which="LA", reorthogonalize=True, seed=0, tol=1e-8
        )
        return np.asarray(found.eigenvalues)

    return Contestant((*range(10, 20), 20, 25, 30, 40, 60), run)


def _pyhessian(problem: Problem) -> Contestant:
    from torch import nn

    hessian = importlib.import_module("pyhessian").hessian

    def run(tol: float) -> np.ndarray:
        made = hessian(
            problem.module, nn.CrossEntropyLoss(), data=(problem.x, problem.y), cuda=False
        )
        return np.array(made.eigenvalues(maxIter=500, tol=tol, top_n=K)[0])

    return Contestant((1e-2, 1e-3, 1e-4, 1e-5, 1e-6), run)


_PEERS = {
    Peer.curvlinops: _curvlinops,
    Peer.hessian_eigenthings: _eigenthings,
    Peer.pyhessian: _pyhessian,
}


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
    typer.run(main)
