"""How long proofs about SAM on the loss itself take, beside importing JAX and sympy.

    python benchmarks/proofs.py [--runs 3] [--json]

Prints CPU seconds of each proof, the first time in a process, with its formulas differentiated, and
again, medians over the runs; and the first as a ratio to `python -c "import jax, sympy"` in a
process of its own. Whole commands are in startup.py.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.peers import AsJson, about, report, set_up
from benchmarks.startup import BASE, seconds

RHO = 0.05


def sliding(loss: str, w: list[float], **options: Any) -> Callable[[], Any]:
    """Return the proof that a critical point holds SAM's flow."""

    def run() -> Any:
        import samflow as sf

        made: Any = sf.losses.rosenbrock(len(w)) if len(w) > 2 else sf.loss(loss)
        only = {"end": False, "near": False, "radius": False} | options
        return sf.certify_sliding(sf.Flow(made, sf.SAM(rho=RHO)), w, **only)

    return run


def trap(lr: Any, rho: Any = RHO) -> Callable[[], Any]:
    """Return the proof that Beale's saddle holds SAM's map, at one rho and lr or for ranges."""

    def run() -> Any:
        import samflow as sf

        beale: Any = sf.losses.beale()
        system: Any = sf.Map(beale, sf.SAM(rho=RHO), lr=0.01)
        return sf.certify_trap(system, [0.0, 1.0], rho=rho, lr=lr)

    return run


CASES: dict[str, tuple[float, Callable[[], Any]]] = {
    "least S, Beale (0, 1)": (0.5, sliding("beale", [0.0, 1.0])),
    "end in rho, Beale (0, 1)": (0.5, sliding("beale", [0.0, 1.0], end=True)),
    "radius, Beale (0, 1)": (1.0, sliding("beale", [0.0, 1.0], radius=True)),
    "least S, Rosenbrock in 3": (1.0, sliding("rosenbrock", [1.0] * 3)),
    "least S, Rosenbrock in 4": (1.0, sliding("rosenbrock", [1.0] * 4)),
    "trap, Beale (0, 1)": (2.0, trap(0.01)),
    "trap, ranges of rho and lr": (4.0, trap((0.008, 0.012), (0.045, 0.055))),
}
"""What is proved, and the ratio that the first call should not exceed."""


def measure(runs: int) -> list[dict[str, Any]]:
    """Run each proof twice in a process, in turn with the imports alone."""
    with tempfile.TemporaryDirectory() as folder:
        seconds(BASE, Path(folder))
        base = statistics.median(seconds(BASE, Path(folder)) for _ in range(runs))
    rows = []
    for name, (limit, prove) in CASES.items():
        times: dict[str, list[float]] = {"first": [], "again": []}
        for _ in range(runs):
            _forget()
            for times_of in times.values():
                began = time.process_time()
                prove()
                times_of.append(time.process_time() - began)
        first, again = (statistics.median(values) for values in times.values())
        rows.append(
            {
                "proof": name,
                "base/s": base,
                "first/s": first,
                "again/s": again,
                "first/base": first / base,
                "at most": limit,
            }
        )
    return rows


def _forget() -> None:
    """Forget formulas that were differentiated before."""
    from sympy.core.cache import clear_cache

    from samflow.losses import _tape
    from samflow.proofs import _sliding_search as proofs

    clear_cache()
    _tape.tape.cache_clear()
    proofs.derivatives.cache_clear()


def main(
    runs: Annotated[int, typer.Option(help="Runs of each.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Print the times of each proof and their ratios to the imports alone."""
    set_up(False)
    report(
        about("python -c 'import jax, sympy'", False, runs=runs),
        measure(runs),
        as_json=as_json,
        header=f"{'proof':28} {'base/s':>8} {'first/s':>8} {'again/s':>8} {'first/base':>11} "
        f"{'at most':>8}",
        line=lambda row: (
            f"{row['proof']:28} {row['base/s']:8.2f} {row['first/s']:8.2f} {row['again/s']:8.2f} "
            f"{row['first/base']:11.2f} {row['at most']:8.1f}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
