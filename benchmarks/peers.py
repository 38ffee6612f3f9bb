"""What the scripts share: a C peer beside a script, fair timing, and what is said about a run.

Scripts import this as `benchmarks.peers`, which needs the checkout installed in place
(`pip install -e .`), as `make` does. A script x.py has its peer in x.c, whose functions take
pointers, longs and doubles:

    set_up(flags)                                     # before JAX computes anything
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_c(Path(__file__).with_suffix(".c"), Path(folder))
        name, library = compiled if compiled else ("numpy", None)
        call(library, "some_case", x, len(x), 0.05)   # x is changed in place
        timing = interleaved(runs, peer=theirs, samflow=ours)
        ratio = timing.seconds["peer"] / timing.seconds["samflow"]
"""

import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from samflow.cli import process

OPTIMISED = ("-O3", "-march=native", "-ffast-math")

Runs = Annotated[int, typer.Option(help="Runs of each, interleaved.")]
Flags = Annotated[bool, typer.Option(help="Set XLA's flags for this process.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def set_up(flags: bool) -> None:
    """Set XLA's flags for this process if asked to, as the command line does, and turn on x64."""
    if flags:
        process.add_flags(process.XLA_FLAGS)
        process.compile_quickly()
    import jax

    jax.config.update("jax_enable_x64", True)


def compile_c(source: Path, folder: Path) -> tuple[str, ctypes.CDLL] | None:
    """Compile and load `source`; return how it was compiled, too. None without a compiler."""
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        return None
    library, middle = str(folder / f"{source.stem}.so"), str(folder / f"{source.stem}.o")
    subprocess.run([compiler, *OPTIMISED, "-fPIC", "-c", str(source), "-o", middle], check=True)
    # Linked without -ffast-math, which would flush this whole process's small numbers to 0.
    subprocess.run([compiler, "-shared", middle, "-o", library, "-lm"], check=True)
    return " ".join([compiler, *OPTIMISED]), ctypes.CDLL(library)


def call(library: ctypes.CDLL, function: str, *arguments: np.ndarray | int | float) -> None:
    """Call a C function: arrays become pointers to their doubles, integers longs."""
    getattr(library, function)(*map(_converted, arguments))


def _converted(value: np.ndarray | int | float) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return value.ctypes.data_as(ctypes.c_void_p)
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_double(value)


class Timing(NamedTuple):
    """What `interleaved` returns, by name.

    Attributes:
        seconds: CPU time of the whole process, the median of the runs.
        results: what the last run returned.

    """

    seconds: dict[str, float]
    results: dict[str, Any]

    @property
    def ratio(self) -> float:
        """CPU time of `peer` over that of `samflow`: more than 1 is faster than the peer."""
        return self.seconds["peer"] / self.seconds["samflow"]


def interleaved(runs: int, **sides: Callable[[], Any]) -> Timing:
    """Run all sides in turn, so that other programs disturb each alike; threads are counted.

    Each must be warm, and return only when its work is done (`jax.block_until_ready`).
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    results = {}
    for _ in range(runs):
        for name, run in sides.items():
            start = time.process_time()
            results[name] = run()
            times[name].append(time.process_time() - start)
    return Timing({name: statistics.median(values) for name, values in times.items()}, results)


def first_call(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall time of a first call, compilation included, and what it returned."""
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def about(peer: str, flags: bool, **settings: Any) -> dict[str, Any]:
    """Return what is needed to run it again, and on what it ran."""
    import jax

    machine = {"jax": jax.__version__, "machine": platform.machine(), "cores": os.cpu_count()}
    return {"peer": peer, **settings, "flags": flags, **machine}


def report(
    about: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    *,
    as_json: bool,
    header: str,
    line: Callable[[dict[str, Any]], str],
) -> None:
    """Print a table, or JSON with `about` and `rows`."""
    if as_json:
        json.dump({"about": about, "rows": list(rows)}, sys.stdout, indent=2)
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(header)
    for row in rows:
        print(line(row))
