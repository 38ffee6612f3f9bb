"""Other libraries (extra `peers`) beside samflow: numba, pynamicalsys and scipy, where installed.

    python benchmarks/others.py [--runs 3] [--no-flags] [--json]

An ensemble of USAM on the quartic, both exponents of Hénon's map along one orbit, and a flow. The
numba loop is written in blocks for wide vectors, as the C peers are. Prints CPU times and peer over
samflow: more than 1 is faster than the peer. A library that is not installed is named as absent.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import typer

from benchmarks import ensembles, lyapunov, peers

Run = Callable[[], Any]
_END = 50.0


def numba_ensemble(x: np.ndarray, y: np.ndarray, steps: int) -> Run:
    """Return numba's loop over blocks of 64 points."""
    import numba  # pyright: ignore[reportMissingImports]

    @numba.njit(fastmath=True)
    def run(x: np.ndarray, y: np.ndarray, steps: int, rho: float, lr: float) -> None:
        u, v = np.empty(64), np.empty(64)
        for start in range(0, len(x), 64):
            u[:] = x[start : start + 64]
            v[:] = y[start : start + 64]
            for _ in range(steps):
                for i in range(64):
                    p, q = u[i] + rho * u[i], v[i] + rho * (v[i] * v[i] * v[i] - v[i])
                    u[i] -= lr * p
                    v[i] -= lr * (q * q * q - q)
            x[start : start + 64] = u
            y[start : start + 64] = v

    return lambda: run(x.copy(), y.copy(), steps, ensembles.RHO, ensembles.LR)


def pynamicalsys_ensemble(x: np.ndarray, y: np.ndarray, steps: int) -> Run:
    """Return the run of a map of one's own, compiled by numba, one point after another."""
    import numba  # pyright: ignore[reportMissingImports]
    from pynamicalsys import DiscreteDynamicalSystem  # pyright: ignore[reportMissingImports]

    rho, lr = ensembles.RHO, ensembles.LR

    @numba.njit
    def step(z: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        p, q = z[0] + rho * z[0], z[1] + rho * (z[1] ** 3 - z[1])
        return np.array([z[0] - lr * p, z[1] - lr * (q**3 - q)])

    system = DiscreteDynamicalSystem(mapping=step, system_dimension=2, number_of_parameters=0)
    starts = np.stack([x, y], axis=1)
    return lambda: system.trajectory(starts, steps, transient_time=steps - 1)


def pynamicalsys_exponents(steps: int) -> Run:
    """Return the run of the library's own Hénon map."""
    from pynamicalsys import DiscreteDynamicalSystem  # pyright: ignore[reportMissingImports]

    system = DiscreteDynamicalSystem(model="henon map")
    return lambda: system.lyapunov([0.1, 0.1], steps, parameters=[1.4, 0.3])


def scipy_flow(starts: np.ndarray) -> Run:
    """Return DOP853 for one start after another, at the same tolerance."""
    from scipy.integrate import solve_ivp

    def field(_: float, w: np.ndarray) -> list[float]:
        p, q = w[0] + ensembles.RHO * w[0], w[1] + ensembles.RHO * (w[1] ** 3 - w[1])
        return [-p, q - q**3]

    settings = {"method": "DOP853", "rtol": 1e-8, "atol": 1e-10}
    return lambda: [solve_ivp(field, (0, _END), w, **settings) for w in starts]


def cases() -> list[tuple[str, str, float, Run, Callable[[], Run], float]]:
    """Return case, library, what a time is divided by (samflow, peer), and both runs."""
    import jax

    import samflow as sf

    points, steps = 40_960, 1000
    x, y = ensembles.starts("quartic", points)
    starts = np.stack([x, y], axis=1)
    usam = sf.USAM(rho=ensembles.RHO)
    system = sf.Map(sf.losses.quartic(), usam, lr=ensembles.LR)
    henon, flow = lyapunov.system_of("henon_one"), sf.Flow(sf.losses.quartic(), usam)

    def ensemble() -> Any:
        return jax.block_until_ready(sf.iterate(system, starts, num_steps=steps).final)

    def spectrum() -> Any:
        found = sf.lyapunov_spectrum(henon, [0.1, 0.1], num_steps=10**6)
        return jax.block_until_ready(found.exponents)

    def solved() -> Any:
        found = sf.integrate(flow, starts[:10_000], t1=_END, num_times=2)
        return jax.block_until_ready(found.states)

    each, few = points * steps, 2048
    return [
        ("ensemble", "numba", each, ensemble, lambda: numba_ensemble(x, y, steps), each),
        (
            "ensemble",
            "pynamicalsys",
            each,
            ensemble,
            lambda: pynamicalsys_ensemble(x[:few], y[:few], steps),
            few * steps,
        ),
        ("exponents", "pynamicalsys", 1e6, spectrum, lambda: pynamicalsys_exponents(10**6), 1e6),
        ("flow", "scipy", 1e4, solved, lambda: scipy_flow(starts[:20]), 20),
    ]


def main(runs: peers.Runs = 3, flags: peers.Flags = True, as_json: peers.AsJson = False) -> None:
    """Print the ratios."""
    peers.set_up(flags)
    rows = []
    for case, library, mine, ours, make, theirs in cases():
        row = {"case": case, "peer": library, "peer_ns": None, "samflow_ns": None, "ratio": None}
        if importlib.util.find_spec(library) is not None:
            peer = make()
            ours()
            peer()
            timing = peers.interleaved(runs, peer=peer, samflow=ours)
            row["peer_ns"] = round(1e9 * timing.seconds["peer"] / theirs, 3)
            row["samflow_ns"] = round(1e9 * timing.seconds["samflow"] / mine, 3)
            row["ratio"] = round(row["peer_ns"] / row["samflow_ns"], 2)
        rows.append(row)
    peers.report(
        peers.about("libraries", flags),
        rows,
        as_json=as_json,
        header="case       peer             peer/ns  samflow/ns    ratio",
        line=lambda row: (
            f"{row['case']:10} {row['peer']:13} "
            + (
                f"{row['peer_ns']:10.2f} {row['samflow_ns']:11.2f} {row['ratio']:8.2f}"
                if row["ratio"]
                else "absent: pip install 'samflow[peers]'"
            )
        ),
    )


if __name__ == "__main__":
    typer.run(main)
