"""Ensembles of maps (K1): `samflow.iterate` beside a C loop compiled on this machine.

Prints, for each loss and rule, the CPU time of both and their ratio, C over samflow: 1 is parity,
more is faster than C. CPU time is that of the whole process, the median of interleaved runs, so
that threads are counted and other programs disturb little. Without a C compiler the peer is NumPy.

    python benchmarks/ensembles.py [--points 163840] [--steps 1000] [--runs 7] [--json]

XLA's flags are set for this process alone, as the command line does; `--no-flags` shows what a
program gets that sets none.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.peers import (
    AsJson,
    Flags,
    Runs,
    about,
    call,
    compile_c,
    first_call,
    interleaved,
    report,
    set_up,
)

RHO, LR = 0.05, 1e-3
CASES = [(loss, rule) for loss in ("quartic", "beale") for rule in ("usam", "sam")]
Peer = Callable[[str, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def compile_peer(folder: Path, *, best: bool = False) -> tuple[str, Peer]:
    """Return the C loop, or NumPy where there is no compiler."""
    compiled = compile_c(Path(__file__).with_suffix(".c"), folder, best=best)
    if compiled is None:
        return "numpy", numpy_peer
    name, library = compiled

    def peer(case: str, x: np.ndarray, y: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        u, v = x.copy(), y.copy()
        call(library, case, u, v, len(u), steps, RHO, LR)
        return u, v

    return name, peer


def numpy_peer(
    case: str, x: np.ndarray, y: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Iterate the whole ensemble in NumPy."""

    def quartic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x, y**3 - y

    def beale(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
        gx = 2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1))
        return gx, 2 * x * (a + 2 * y * b + 3 * y**2 * c)

    loss, rule = case.split("_")
    gradient = {"quartic": quartic, "beale": beale}[loss]
    for _ in range(steps):
        p, q = gradient(x, y)
        scale = RHO if rule == "usam" else RHO / np.sqrt(p * p + q * q)
        h, k = gradient(x + scale * p, y + scale * q)
        x, y = x - LR * h, y - LR * k
    return x, y


def starts(loss: str, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return starts from which no orbit diverges: C does not look, and samflow does."""
    rng = np.random.default_rng(0)
    if loss == "beale":
        return rng.uniform(2.8, 3.2, points), rng.uniform(0.4, 0.6, points)
    return rng.uniform(-1, 1, points), rng.uniform(0.2, 0.8, points)


def measure(peer: Peer, loss: str, rule: str, points: int, steps: int, runs: int) -> dict:
    """Time both on one case and check that they computed the same."""
    import jax

    import samflow as sf

    x, y = starts(loss, points)
    system = sf.Map(sf.losses.ZOO[loss](), sf.rule(rule, rho=RHO), lr=LR)
    w0 = np.stack([x, y], axis=1)

    def ours() -> np.ndarray:
        return np.asarray(jax.block_until_ready(sf.iterate(system, w0, num_steps=steps).final))

    def theirs() -> np.ndarray:
        return np.stack(peer(f"{loss}_{rule}", x, y, steps), axis=1)

    first, mine = first_call(ours)
    difference = float(np.abs(mine - theirs()).max())
    timing = interleaved(runs, peer=theirs, samflow=ours)
    return {
        "case": f"{loss} {rule}",
        "peer_s": round(timing.seconds["peer"], 4),
        "samflow_s": round(timing.seconds["samflow"], 4),
        "ratio": round(timing.ratio, 2),
        "first_call_s": round(first, 2),
        "largest_difference": difference,
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    return (
        f"{row['case']:14} {row['peer_s']:7.3f} {row['samflow_s']:10.3f} {row['ratio']:6.2f} "
        f"{row['first_call_s']:13.2f} {row['largest_difference']:19.1e}"
    )


def main(
    points: Annotated[int, typer.Option(help="Starts; rounded up to a multiple of 64.")] = 163_840,
    steps: Annotated[int, typer.Option(help="Steps of the map.")] = 1000,
    runs: Runs = 7,
    flags: Flags = True,
    as_json: AsJson = False,
) -> None:
    """Print the ratios."""
    set_up(flags)
    points += -points % 64
    with tempfile.TemporaryDirectory() as folder:
        name, peer = compile_peer(Path(folder), best=True)
        rows = [measure(peer, loss, rule, points, steps, runs) for loss, rule in CASES]
    header = "case            peer/s  samflow/s  ratio  first call/s  largest difference"
    settings = about(name, flags, points=points, steps=steps)
    report(settings, rows, as_json=as_json, header=header, line=line)


if __name__ == "__main__":
    typer.run(main)
