"""Ensembles of flows (K4): `samflow.integrate` beside a C loop compiled here, and diffrax.

USAM's flow from many starts to t = 50 at a relative tolerance of 1e-8. C does the same as samflow:
Tsitouras' 5/4 method, a step size for every solution, in blocks. Diffrax runs in the form that is
fastest of those known: `jax.vmap`, the state a tuple of coordinates, no reverse mode, only the end
saved. Prints CPU times for one solution, and both ratios: more than 1 is faster than the peer.

    python benchmarks/flows.py [--points 10048] [--runs 5] [--no-flags] [--json]
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import peers

RHO, END, RTOL, ATOL = 0.01, 50.0, 1e-8, 1e-10
BOXES = {"quartic": ((-1, 0.1), (1, 0.9)), "beale": ((2.5, 0.3), (3.5, 0.6))}


def diffrax_peer(loss: Any, starts: np.ndarray) -> Callable[[], np.ndarray]:
    """Return the run of diffrax."""
    import diffrax
    import jax
    import jax.numpy as jnp

    import samflow as sf
    from samflow._components import Components

    flow = sf.Flow(loss, sf.USAM(rho=RHO))

    @jax.jit
    def run(x: Any, y: Any) -> tuple[Any, Any]:
        def one(x: Any, y: Any) -> tuple[Any, Any]:
            found = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, z, args: flow.velocity(Components(*z)).parts),
                diffrax.Tsit5(),
                0.0,
                END,
                None,
                (x, y),
                stepsize_controller=diffrax.PIDController(RTOL, ATOL),
                max_steps=100_000,
                adjoint=diffrax.ForwardMode(),
            )
            assert found.ys is not None
            return found.ys[0][-1], found.ys[1][-1]

        return jax.vmap(one)(x, y)

    columns = [jnp.asarray(column) for column in starts.T]
    return lambda: np.stack([np.asarray(part) for part in run(*columns)], axis=1)


def measure(library: Any, name: str, points: int, runs: int) -> dict[str, Any]:
    """Time all three, check that they agree."""
    import samflow as sf

    loss, (low, high) = sf.losses.ZOO[name](), BOXES[name]
    starts = np.random.default_rng(0).uniform(low, high, (points, 2))
    flow = sf.Flow(loss, sf.USAM(rho=RHO))

    def theirs() -> np.ndarray:
        x, y = (np.ascontiguousarray(column) for column in starts.T)
        peers.call(library, f"{name}_usam", x, y, points, END, RHO, RTOL, ATOL)
        return np.stack([x, y], axis=1)

    def ours() -> np.ndarray:
        found = sf.integrate(flow, starts, t1=END, num_times=2, rtol=RTOL, atol=ATOL)
        return np.asarray(found.states)[:, -1]

    other = diffrax_peer(loss, starts)
    first, mine = peers.first_call(ours)
    other()
    timing = peers.interleaved(runs, peer=theirs, samflow=ours, diffrax=other)
    times = {key: 1e6 * value / points for key, value in timing.seconds.items()}
    return {
        "case": name,
        **{f"{key}_us": round(value, 2) for key, value in times.items()},
        "ratio": round(timing.ratio, 2),
        "ratio_diffrax": round(times["diffrax"] / times["samflow"], 1),
        "first_call_s": round(first, 2),
        "largest_difference": float(
            max(np.abs(mine - other).max() for other in timing.results.values())
        ),
    }


def main(
    points: Annotated[int, typer.Option(help="Starts; rounded up to a multiple of 64.")] = 10_048,
    runs: peers.Runs = 5,
    flags: peers.Flags = True,
    as_json: peers.AsJson = False,
) -> None:
    """Print the ratios."""
    peers.set_up(flags)
    points += -points % 64
    with tempfile.TemporaryDirectory() as folder:
        compiled = peers.compile_c(Path(__file__).with_suffix(".c"), Path(folder), best=True)
        if compiled is None:
            raise SystemExit("This benchmark needs a C compiler: cc, gcc or clang.")
        rows = [measure(compiled[1], name, points, runs) for name in BOXES]
    peers.report(
        peers.about(compiled[0], flags, points=points, end=END, rtol=RTOL),
        rows,
        as_json=as_json,
        header="case      C/us  samflow/us  diffrax/us  ratio to C  to diffrax  first call/s  "
        "largest difference",
        line=lambda row: (
            f"{row['case']:8} {row['peer_us']:5.2f} {row['samflow_us']:11.2f} "
            f"{row['diffrax_us']:11.2f} {row['ratio']:11.2f} {row['ratio_diffrax']:11.1f} "
            f"{row['first_call_s']:13.2f} {row['largest_difference']:19.1e}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
