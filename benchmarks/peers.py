"""What the scripts share: a C peer beside a script, fair timing, and what is said about a run.

Scripts import this as `benchmarks.peers`, which needs the checkout installed in place
(`pip install -e .`), as `make` does. A script x.py has its peer in x.c, whose functions take
pointers, longs and doubles:

    set_up(flags)                                     # before JAX computes anything
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_c(Path(__file__).with_suffix(".c"), Path(folder), best=True)
        name, library = compiled if compiled else ("numpy", None)
        call(library, "some_case", x, len(x), 0.05)   # x is changed in place
        timing = interleaved(runs, peer=theirs, samflow=ours)
        ratio = timing.seconds["peer"] / timing.seconds["samflow"]
"""

import ctypes
import json
import math
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


class Library:
    """A C program, compiled in one way or in several, of which each function takes its fastest."""

    def __init__(self, made: dict[str, ctypes.CDLL]) -> None:
        self.made = made
        self.fastest: dict[str, str] = {}

    def call(self, function: str, *arguments: np.ndarray | int | float) -> None:
        """Call `function`; the first call tries all ways in which it was compiled, twice."""
        if function not in self.fastest:
            times = {name: math.inf for name in self.made}
            for name in [*self.made, *self.made] if len(self.made) > 1 else []:
                copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
                start = time.process_time()
                _call(self.made[name], function, copies)
                times[name] = min(times[name], time.process_time() - start)
            self.fastest[function] = min(times, key=times.__getitem__)
        _call(self.made[self.fastest[function]], function, arguments)


_WIDTHS = (8, 16, 32, 64)
"""Members of a block in C, of which the best is taken."""


def compile_c(
    source: Path, folder: Path, *, best: bool = False, options: Sequence[str] = OPTIMISED
) -> tuple[str, Library] | None:
    """Compile and load `source`; return how it was compiled, too. None without a compiler.

    Args:
        source: the program.
        folder: where the library goes.
        best: compile it in several ways, with blocks of several widths and, where the compiler
            has them, the widest vectors: each function is called in its fastest way.
        options: of the compiler.

    """
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        return None
    ways = {"": ()}
    if best:
        wide = ("-mprefer-vector-width=512",)
        ways = {f"{w}": (f"-DWIDTH={w}",) for w in _WIDTHS}
        ways |= {f"{w} wide": (f"-DWIDTH={w}", *wide) for w in _WIDTHS}
    made = {}
    for name, added in ways.items():
        stem = folder / f"{source.stem}{name.replace(' ', '')}"
        flags = [*options, *added, "-fPIC", "-c", str(source), "-o", f"{stem}.o"]
        # A compiler without one of the options leaves this way out.
        if subprocess.run([compiler, *flags], capture_output=bool(name)).returncode == 0:
            # Linked without -ffast-math, which would flush this whole process's small numbers to 0.
            link = [compiler, "-shared", f"{stem}.o", "-o", f"{stem}.so", "-lm", "-lpthread"]
            subprocess.run(link, check=True)
            made[name] = ctypes.CDLL(f"{stem}.so")
    return " ".join([compiler, *options]), Library(made)


def call(library: Library, function: str, *arguments: np.ndarray | int | float) -> None:
    """Call a C function: arrays become pointers to their doubles, integers longs."""
    library.call(function, *arguments)


def _call(library: ctypes.CDLL, function: str, arguments: Sequence[Any]) -> None:
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
