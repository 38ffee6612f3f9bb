"""One long orbit (K2): `samflow.iterate` beside a C loop compiled on this machine.

Every 100th state is kept. Prints the CPU time for a step of both and their ratio, C over samflow:
more than 1 is faster than C. The loop is a chain of dependent operations: wide vectors gain
nothing. The quartic has a step size past the edge of stability, so that its orbit does not rest.
On Hénon's map chaos has magnified rounding to the size of the attractor by step 100.

    python benchmarks/orbits.py [--steps 4000000] [--runs 7] [--no-flags] [--json]
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import peers

EVERY = 100
STARTS = {"henon": (0.1, 0.1), "quartic": (0.5, 0.3)}


def system_of(case: str) -> Any:
    """Return the map."""
    import samflow as sf

    if case == "henon":

        def henon(z: Any) -> tuple[Any, Any]:
            # In Hénon's own order y + 1 − a x². XLA adds in the order that is written, C reorders.
            return z[1] + 1 - 1.4 * z[0] ** 2, 0.3 * z[0]

        return sf.FunctionMap(henon, dim=2, name="henon", elementwise=True)
    return sf.Map(sf.losses.quartic(), sf.USAM(rho=0.05), lr=1.1)


def measure(library: Any, case: str, steps: int, runs: int) -> dict[str, Any]:
    """Time both; return times for one step, and how far the first kept states are apart."""
    import samflow as sf

    system = system_of(case)

    def theirs() -> np.ndarray:
        kept = np.empty((steps // EVERY, 2))
        peers.call(library, case, np.array(STARTS[case]), steps, EVERY, kept)
        return kept

    def ours() -> np.ndarray:
        orbit = sf.iterate(system, STARTS[case], num_steps=steps, keep_every=EVERY)
        return np.asarray(orbit.states)[1:]

    first, _ = peers.first_call(ours)
    timing = peers.interleaved(runs, peer=theirs, samflow=ours)
    near = [rows[:1] for rows in timing.results.values()]
    return {
        "case": case,
        "peer_ns": round(1e9 * timing.seconds["peer"] / steps, 2),
        "samflow_ns": round(1e9 * timing.seconds["samflow"] / steps, 2),
        "ratio": round(timing.ratio, 2),
        "first_call_s": round(first, 2),
        "difference_at_100": float(np.abs(near[0] - near[1]).max()),
    }


def main(
    steps: Annotated[int, typer.Option(help="Steps of the orbit.")] = 4 * 10**6,
    runs: peers.Runs = 7,
    flags: peers.Flags = True,
    as_json: peers.AsJson = False,
) -> None:
    """Print the ratios."""
    peers.set_up(flags)
    with tempfile.TemporaryDirectory() as folder:
        compiled = peers.compile_c(Path(__file__).with_suffix(".c"), Path(folder))
        if compiled is None:
            raise SystemExit("This benchmark needs a C compiler: cc, gcc or clang.")
        rows = [measure(compiled[1], case, steps, runs) for case in STARTS]
    peers.report(
        peers.about(compiled[0], flags, steps=steps),
        rows,
        as_json=as_json,
        header="case      peer/ns  samflow/ns  ratio  first call/s  difference at step 100",
        line=lambda row: (
            f"{row['case']:8} {row['peer_ns']:8.2f} {row['samflow_ns']:11.2f} {row['ratio']:6.2f} "
            f"{row['first_call_s']:13.2f} {row['difference_at_100']:23.1e}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
