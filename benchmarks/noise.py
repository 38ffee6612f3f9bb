"""Noisy ensembles with second moments (K3): `samflow.noise.sample_moments` beside a C loop.

Prints, for USAM with additive noise on three losses, the CPU time of both for one step of one
member in nanoseconds, and their ratio, C over samflow: 1 is parity, more is faster than C. The
random numbers are the same, so that the moments agree to rounding.

    python benchmarks/noise.py [--paths 40960] [--steps 1000] [--runs 7] [--json]

Without a C compiler the peer is NumPy with its own generator, and moments agree to the statistical
error.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import peers

RHO, LR, SIGMA = 0.05, 1e-3, (0.3, 0.2)
STARTS = {"saddle": (0.0, 0.0), "quartic": (0.0, 0.0), "beale": (3.0, 0.5)}
KEEP = 10
"""How many times moments are taken."""
_LANES = 64


def numpy_peer(loss: str, paths: int, steps: int) -> np.ndarray:
    """Return the moments (kept, 3) of an ensemble in NumPy."""
    gradients: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
        "saddle": lambda x, y: (x, -y),
        "quartic": lambda x, y: (x, y**3 - y),
        "beale": _beale,
    }
    gradient, generator = gradients[loss], np.random.default_rng(0)
    x, y = (np.full(paths, value) for value in STARTS[loss])
    rows = []
    for k in range(steps):
        n, m = generator.standard_normal((2, paths)) * np.array(SIGMA)[:, None]
        p, q = gradient(x, y)
        p, q = gradient(x + RHO * (p + n), y + RHO * (q + m))
        x, y = x - LR * (p + n), y - LR * (q + m)
        if (k + 1) % (steps // KEEP) == 0:
            a, b = x - STARTS[loss][0], y - STARTS[loss][1]
            rows.append([np.mean(a * a), np.mean(a * b), np.mean(b * b)])
    return np.array(rows)


def _beale(x: Any, y: Any) -> tuple[Any, Any]:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    gx = 2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1))
    return gx, 2 * x * (a + 2 * y * b + 3 * y**2 * c)


def measure(compiled: Any, loss: str, paths: int, steps: int, runs: int) -> dict[str, Any]:
    """Time both on one loss and compare their moments."""
    import jax

    import samflow as sf
    from samflow._random import key_words

    key = jax.random.key(7)
    start, every = STARTS[loss], steps // KEEP
    system = sf.StochasticMap(
        sf.Map(sf.losses.ZOO[loss](), sf.USAM(rho=RHO), lr=LR),  # pyright: ignore[reportCallIssue]
        sf.noise.AdditiveNoise(np.square(SIGMA)),
    )

    def ours() -> np.ndarray:
        found = sf.noise.sample_moments(
            system,
            start,
            key=key,
            num_paths=paths,
            num_steps=steps,
            keep_every=every,
            about=start,
        )
        second = np.asarray(jax.block_until_ready(found.second))[1:]
        return np.stack([second[:, 0, 0], second[:, 0, 1], second[:, 1, 1]], axis=1)

    def c() -> np.ndarray:
        sums = np.zeros((KEEP, 3))
        words = [int(word) for word in np.asarray(key_words(key))]
        numbers = (paths, steps, every, *words, *start, *SIGMA, RHO, LR)
        peers.call(compiled[1], loss, sums, *numbers)
        return sums

    first, _ = peers.first_call(ours)
    peer = c if compiled else (lambda: numpy_peer(loss, paths, steps))
    timing = peers.interleaved(runs, peer=peer, samflow=ours)
    theirs, mine = timing.results["peer"], timing.results["samflow"]
    per_step = 1e9 / (paths * steps)
    return {
        "case": loss,
        "peer_ns": round(timing.seconds["peer"] * per_step, 2),
        "samflow_ns": round(timing.seconds["samflow"] * per_step, 2),
        "ratio": round(timing.ratio, 2),
        "first_call_s": round(first, 2),
        "largest_difference": float(np.abs(mine / theirs - 1).max()),
    }


def main(
    paths: Annotated[int, typer.Option(help="Members; rounded up to a multiple of 64.")] = 40_960,
    steps: Annotated[int, typer.Option(help="Steps; rounded up to a multiple of 10.")] = 1000,
    runs: peers.Runs = 7,
    flags: peers.Flags = True,
    as_json: peers.AsJson = False,
) -> None:
    """Print the ratios."""
    peers.set_up(flags)
    paths, steps = paths + -paths % _LANES, steps + -steps % KEEP
    with tempfile.TemporaryDirectory() as folder:
        compiled = peers.compile_c(Path(__file__).with_suffix(".c"), Path(folder), best=True)
        name = compiled[0] if compiled else "numpy"
        rows = [measure(compiled, loss, paths, steps, runs) for loss in STARTS]
    peers.report(
        peers.about(name, flags, paths=paths, steps=steps),
        rows,
        as_json=as_json,
        header="case       peer/ns  samflow/ns  ratio  first call/s  largest relative difference",
        line=lambda row: (
            f"{row['case']:9} {row['peer_ns']:8.2f} {row['samflow_ns']:11.2f} {row['ratio']:6.2f} "
            f"{row['first_call_s']:13.2f} {row['largest_difference']:28.1e}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
