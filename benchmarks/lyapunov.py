"""Lyapunov exponents (K5): `samflow.lyapunov_spectrum` beside a C loop compiled on this machine.

Prints, for one orbit of Hénon's map and for ensembles, the CPU time of both and their ratio, C over
samflow: 1 is parity, more is faster than C. Medians of interleaved runs, as in ensembles.py. The
loop of one orbit is a chain of dependent operations: nothing is gained there by wide vectors.
Without a C compiler the peer is NumPy.

    python benchmarks/lyapunov.py [--steps 1000000] [--points 16384] [--runs 9] [--no-flags]
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
CASES = ("henon_one", "henon_many", "beale_usam_many")
Peer = Callable[[str, np.ndarray, int], np.ndarray]


def compile_peer(folder: Path, *, best: bool = False) -> tuple[str, Peer]:
    """Return the C loop, or NumPy where there is no compiler."""
    compiled = compile_c(Path(__file__).with_suffix(".c"), folder, best=best)
    if compiled is None:
        return "numpy", numpy_peer
    name, library = compiled

    def peer(case: str, starts: np.ndarray, steps: int) -> np.ndarray:
        x, y, out = starts[:, 0].copy(), starts[:, 1].copy(), np.empty_like(starts)
        call(library, case, x, y, len(starts), steps, RHO, LR, out)
        return out

    return name, peer


def numpy_peer(case: str, starts: np.ndarray, steps: int) -> np.ndarray:
    """Do the same in NumPy, with frames that are made orthonormal at every step."""
    x, y = starts.T
    one = np.ones_like(x)
    u, v, sums = (0.6 * one, 0.8 * one), (-0.8 * one, 0.6 * one), np.zeros_like(starts)
    for _ in range(steps):
        (x, y), (a, b, c, d) = (_henon if "henon" in case else _beale_usam)(x, y)
        u, v = ((a * p + b * q, c * p + d * q) for p, q in (u, v))
        first = np.hypot(*u)
        u = u[0] / first, u[1] / first
        share = u[0] * v[0] + u[1] * v[1]
        v = v[0] - share * u[0], v[1] - share * u[1]
        second = np.hypot(*v)
        v = v[0] / second, v[1] / second
        sums += np.log(np.stack([first, second], axis=1))
    return sums / steps


def _henon(x: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, ...], ...]:
    one = np.ones_like(x)
    return (1 - 1.4 * x * x + y, 0.3 * x), (-2.8 * x, one, 0.3 * one, 0 * one)


def _beale_usam(x: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, ...], ...]:
    def derivatives(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        p, q, r = y - 1, y**2 - 1, y**3 - 1
        a, b, c = 1.5 + x * p, 2.25 + x * q, 2.625 + x * r
        slope = 2 * (a + 2 * y * b + 3 * y**2 * c)
        mixed = slope + 2 * x * (p + 2 * y * q + 3 * y**2 * r)
        last = 2 * x * (x + 2 * b + 4 * y**2 * x + 6 * y * c + 9 * y**4 * x)
        return 2 * (a * p + b * q + c * r), x * slope, 2 * (p * p + q * q + r * r), mixed, last

    gx, gy, hxx, hxy, hyy = derivatives(x, y)
    dx, dy, kxx, kxy, kyy = derivatives(x + RHO * gx, y + RHO * gy)
    a, b, c = 1 + RHO * hxx, RHO * hxy, 1 + RHO * hyy
    upper = 1 - LR * (kxx * a + kxy * b), -LR * (kxx * b + kxy * c)
    lower = -LR * (kxy * a + kyy * b), 1 - LR * (kxy * b + kyy * c)
    return (x - LR * dx, y - LR * dy), (*upper, *lower)


def system_of(case: str) -> Any:
    """Return the system as samflow takes it at full speed."""
    import samflow as sf

    def henon(z: Any) -> tuple[Any, Any]:
        return 1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]

    if "henon" in case:
        return sf.FunctionMap(henon, dim=2, name="henon", elementwise=True)
    return sf.Map(sf.losses.beale(), sf.USAM(rho=RHO), lr=LR)


def starts_of(case: str, points: int) -> np.ndarray:
    """Return starts from which no orbit diverges: C does not look, and samflow does."""
    if case == "henon_one":
        return np.array([[0.1, 0.1]])
    low, high = ([0, 0], [0.1, 0.1]) if case == "henon_many" else ([2.8, 0.4], [3.2, 0.6])
    return np.random.default_rng(0).uniform(low, high, (points, 2))


def measure(peer: Peer, case: str, points: int, steps: int, runs: int) -> dict[str, Any]:
    """Time both on one case; return times for one step of one orbit, and mean exponents."""
    import samflow as sf

    starts, system = starts_of(case, points), system_of(case)
    steps = steps if case == "henon_one" else max(1, steps // 1000)

    def ours() -> np.ndarray:
        found = sf.lyapunov_spectrum(system, starts, num_steps=steps)
        return np.asarray(found.exponents)

    first, _ = first_call(ours)
    timing = interleaved(runs, peer=lambda: peer(case, starts, steps), samflow=ours)
    per_step = {name: 1e9 * value / steps / len(starts) for name, value in timing.seconds.items()}
    return {
        "case": case.replace("_", " "),
        "peer_ns": round(per_step["peer"], 2),
        "samflow_ns": round(per_step["samflow"], 2),
        "ratio": round(timing.ratio, 2),
        "first_call_s": round(first, 2),
        "exponents": {k: values.mean(axis=0).tolist() for k, values in timing.results.items()},
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    means = ", ".join("{:.5f} {:.5f}".format(*pair) for pair in row["exponents"].values())
    return (
        f"{row['case']:15} {row['peer_ns']:8.2f} {row['samflow_ns']:11.2f} "
        f"{row['ratio']:6.2f} {row['first_call_s']:13.2f}  {means}"
    )


def main(
    steps: Annotated[int, typer.Option(help="Steps of the one orbit; ensembles: 1/1000.")] = 10**6,
    points: Annotated[int, typer.Option(help="Starts; rounded up to a multiple of 64.")] = 16_384,
    runs: Runs = 9,
    flags: Flags = True,
    as_json: AsJson = False,
) -> None:
    """Print the ratios."""
    set_up(flags)
    points += -points % 64
    with tempfile.TemporaryDirectory() as folder:
        name, peer = compile_peer(Path(folder), best=True)
        rows = [measure(peer, case, points, steps, runs) for case in CASES]
    header = (
        "case             peer ns  samflow ns  ratio  first call/s  mean exponents: peer, samflow"
    )
    settings = about(name, flags, steps=steps, points=points)
    report(settings, rows, as_json=as_json, header=header, line=line)


if __name__ == "__main__":
    typer.run(main)
