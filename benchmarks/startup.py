"""How long a person waits: `import samflow` beside `import jax`, and whole commands.

    python benchmarks/startup.py [--runs 5]

Wall time, the median of runs after one that fills the disk's cache.
"""

import statistics
import subprocess
import sys
import time
from typing import Annotated

import typer

COMMANDS = {
    "import jax": ["-c", "import jax"],
    "import samflow (with jax)": ["-c", "import jax, samflow"],
    "samflow --help": ["-m", "samflow.cli", "--help"],
    "samflow saddle, Beale": [
        *("-m", "samflow.cli", "saddle", "--loss", "beale"),
        *("--rho", "0.05", "--lr", "0.01"),
    ],
}


def seconds(arguments: list[str], runs: int) -> float:
    """Return the median wall time of a fresh process."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main(runs: Annotated[int, typer.Option(help="Runs of each.")] = 5) -> None:
    """Print the times and the price of `import samflow` over `import jax`."""
    times = {name: seconds(arguments, runs) for name, arguments in COMMANDS.items()}
    for name, value in times.items():
        print(f"{name:28} {value:6.2f} s")
    more = times["import samflow (with jax)"] - times["import jax"]
    print(f"{'samflow over jax':28} {more:6.2f} s")


if __name__ == "__main__":
    typer.run(main)
