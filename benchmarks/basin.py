"""A basin of a million points: samflow beside plain C on two threads, compiled on this machine.

USAM on the quartic from a grid of starts, 1000 steps. C is a scalar loop (-O2, no fast-math), half
of the points on either thread. `iterate` makes all steps, unless a block of orbits has come to rest
bit for bit; `basins` also finds the attractors and labels every start. Prints CPU times, threads
added up, and C over samflow: more than 1 is faster than C.

    python benchmarks/basin.py [--side 1000] [--steps 1000] [--runs 3] [--no-flags] [--json]
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import peers

RHO, LR = 0.05, 0.1
BOX = ((-2.0, 2.0), (-2.0, 2.0))


def measure(library: Any, side: int, steps: int, runs: int) -> list[dict[str, Any]]:
    """Time all three and check that they end at the same minima."""
    import jax

    import samflow as sf

    system = sf.Map(sf.losses.quartic(), sf.USAM(rho=RHO), lr=LR)
    axes = [np.linspace(low, high, side) for low, high in BOX]
    x, y = (part.ravel() for part in np.meshgrid(*axes, indexing="ij"))
    starts = np.stack([x, y], axis=1)

    def theirs() -> np.ndarray:
        u, v = x.copy(), y.copy()
        peers.call(library, "quartic_usam", u, v, len(u), steps, RHO, LR)
        return v

    def iterated() -> np.ndarray:
        return np.asarray(sf.iterate(system, starts, num_steps=steps).final)[:, 1]

    def labelled() -> Any:
        return jax.block_until_ready(sf.basins(system, BOX, resolution=side, max_steps=steps))

    iterated()
    labelled()
    timing = peers.interleaved(runs, peer=theirs, iterate=iterated, basins=labelled)
    known, mine = timing.results["peer"], timing.results["iterate"]
    return [
        {
            "case": name,
            "peer_s": round(timing.seconds["peer"], 2),
            "samflow_s": round(timing.seconds[name], 3),
            "ratio": round(timing.seconds["peer"] / timing.seconds[name], 1),
            "largest_difference": float(np.abs(known - mine).max()),
        }
        for name in ("iterate", "basins")
    ]


def main(
    side: Annotated[int, typer.Option(help="Points along a side of the grid.")] = 1000,
    steps: Annotated[int, typer.Option(help="Steps of the map.")] = 1000,
    runs: peers.Runs = 3,
    flags: peers.Flags = True,
    as_json: peers.AsJson = False,
) -> None:
    """Print the ratios."""
    peers.set_up(flags)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(__file__).with_suffix(".c")
        compiled = peers.compile_c(source, Path(folder), options=("-O2",))
        if compiled is None:
            raise SystemExit("This benchmark needs a C compiler: cc, gcc or clang.")
        rows = measure(compiled[1], side, steps, runs)
    peers.report(
        peers.about(compiled[0], flags, points=side * side, steps=steps),
        rows,
        as_json=as_json,
        header="case      C/s  samflow/s  ratio  largest difference",
        line=lambda row: (
            f"{row['case']:8} {row['peer_s']:5.2f} {row['samflow_s']:9.3f} {row['ratio']:6.1f} "
            f"{row['largest_difference']:18.1e}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
