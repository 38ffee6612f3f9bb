"""How long a person waits: whole commands, beside a process that imports JAX and sympy alone.

    python benchmarks/startup.py [--runs 5] [--json]

Prints the CPU time of each command, the first time and again with the programs that the first time
compiled, and both as ratios to `python -c "import jax, sympy"`, run in turn with it. CPU time is
user and system of the whole process; medians over the runs. Bytecode is compiled beforehand.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.peers import AsJson, about, report

BASE = ["-c", "import jax, sympy"]
CLI = ["-m", "samflow"]
STEP = ["--rho", "0.05", "--lr", "0.01"]
COMMANDS: dict[str, tuple[float, list[str]]] = {
    "--help": (0.3, ["--help"]),
    "losses": (1.3, ["losses"]),
    "rules": (1.3, ["rules"]),
    "saddle, Beale": (2.5, ["saddle", "--loss", "beale", *STEP]),
    "portrait, quartic": (
        4.0,
        ["portrait", "--loss", "quartic", "--rule", "usam", "--rho", "2", "--flow", "-o"],
    ),
    "two-phase, valley": (
        5.0,
        ["two-phase", "--loss", "valley", "--rho", "0.2", "--lr", "0.3", "--start", "2,0"],
    ),
    "stability, 12 by 3": (5.0, ["stability", "--random", "12,3", "--rho", "0.1", "--lr", "0.1"]),
    "escape, quartic": (
        5.0,
        ["escape", "--loss", "quartic", "--rule", "usam", "--rho", "0.5", "--lr", "0.05"],
    ),
}
"""What is run, and the ratio that it should not exceed the first time."""


def seconds(arguments: list[str], cache: Path) -> float:
    """Return the CPU time of a fresh process, children included; raises if it fails."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    settings["XDG_CACHE_HOME"] = str(cache)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=settings)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> list[dict[str, Any]]:
    """Run each command in turn with the base, with an empty cache and with its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        seconds(BASE, Path(folder))
        for name, (limit, arguments) in COMMANDS.items():
            command = [*CLI, *arguments]
            if command[-1] == "-o":
                command.append(str(Path(folder) / "figure.pdf"))
            base, first, again = [], [], []
            for run in range(runs):
                cache = Path(folder) / f"{name} {run}"
                base.append(seconds(BASE, cache))
                first.append(seconds(command, cache))
                again.append(seconds(command, cache))
            middle = [statistics.median(times) for times in (base, first, again)]
            rows.append(
                {
                    "command": name,
                    "base/s": middle[0],
                    "first/s": middle[1],
                    "again/s": middle[2],
                    "first/base": middle[1] / middle[0],
                    "again/base": middle[2] / middle[0],
                    "at most": limit,
                }
            )
    return rows


def main(
    runs: Annotated[int, typer.Option(help="Runs of each, interleaved.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Print the times of each command and their ratios to the imports alone."""
    report(
        about("python -c 'import jax, sympy'", True, runs=runs),
        measure(runs),
        as_json=as_json,
        header=f"{'command':20} {'base/s':>8} {'first/s':>8} {'again/s':>8} {'first/base':>11} "
        f"{'again/base':>11} {'at most':>8}",
        line=lambda row: (
            f"{row['command']:20} {row['base/s']:8.2f} {row['first/s']:8.2f} {row['again/s']:8.2f} "
            f"{row['first/base']:11.2f} {row['again/base']:11.2f} {row['at most']:8.1f}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
