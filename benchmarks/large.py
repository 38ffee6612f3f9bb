"""Ten million points under two gigabytes: time and peak memory of streamed basins and sweeps.

    python -m benchmarks.large [--side 3200]

Each case runs in a process of its own, whose peak is that of its whole life, imports included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_MEASURED = """
import json, sys, time
sys.path.insert(0, {root!r})
from samflow.cli import process
process.prepare()
import numpy as np
import samflow as sf
from benchmarks.large import peak_memory
side, path, case = {side}, {path!r}, {case!r}
begun = time.perf_counter()
quartic = sf.loss("x**2/2 - y**2/2 + y**4/4")
if case == "basins":
    system = sf.Map(quartic, sf.USAM(rho=0.1), lr=0.05)
    found = sf.basins(system, [(-2, 2), (-2, 2)], side, store=path)
else:
    system = sf.Map(quartic, sf.SAM(rho=0.1), lr=0.05)
    grid = {{"rho": np.linspace(0.01, 0.5, side), "lr": np.linspace(0.01, 0.6, side)}}
    found = sf.sweep(system, grid, "period", w0=[0.0, 1.001], num_steps=1000, store=path)
made = time.perf_counter() - begun
text = str(found)
if {draw}:
    sf.plots.save(sf.plots.basins(found), path + ".png")
peak = peak_memory()
print(json.dumps({{"seconds": made, "peak": peak, "text": text}}))
"""


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes.

    On Linux `ru_maxrss` begins with what the parent had, so the kernel's high-water mark is read.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(case: str, side: int, *, draw: bool = False) -> dict:
    """Return seconds, bytes at the peak, and what was found, of a grid of side × side points."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "found.zarr")
        code = _MEASURED.format(root=str(_ROOT), side=side, path=path, case=case, draw=draw)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        size = sum(each.stat().st_size for each in Path(path).rglob("*") if each.is_file())
    return {**json.loads(done.stdout.splitlines()[-1]), "disk": size}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=3200)
    parser.add_argument("--case", choices=("basins", "sweep"))
    side = parser.parse_args().side
    case = parser.parse_args().case
    for each in [case] if case else ("basins", "sweep"):
        found = measure(each, side, draw=each == "basins")
        print(
            f"{each}: {side**2:.3g} points in {found['seconds']:.0f} s, peak "
            f"{found['peak'] / 1e9:.2f} GB of memory, {found['disk'] / 1e6:.0f} MB on disk",
            flush=True,
        )


if __name__ == "__main__":
    main()
