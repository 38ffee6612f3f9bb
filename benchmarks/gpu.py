"""Networks of the size that people train, on a GPU if there is one: curvature, [K]'s table, limits.

    python benchmarks/gpu.py --size full -o docs/benchmarks/gpu.json
    python benchmarks/gpu.py --size small          # the same on a CPU, in four minutes

In parts: a ResNet-18 and a vision transformer, trained briefly on MNIST, with their curvature and
diagnosis; [K]'s table of batch size, momentum and rho; the largest transformer whose
Hessian-vector product fits; products with the data across all devices; ensembles of orbits by one
kernel with the loop over steps inside. Along training, on a convolutional network and MNIST: what a
monitor costs; the edge of stability of each rule; the central flow on digits; the time to a first
answer about a checkpoint; landscapes. After each part the file is written anew, whole. To go on
after an interruption, name the parts that are missing:

    python benchmarks/gpu.py --size full -o docs/benchmarks/gpu.json --only table --only largest

Times are wall times until the device is done, medians of runs after one that compiles.
"""

import datetime
import json
import os
import platform
import sys
import time
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.size import Size
from benchmarks.gpu_parts import PARTS
from benchmarks.gpu_scales import SCALES


def about(size: str, command: str) -> dict[str, Any]:
    """Return on what this runs, when, and how."""
    import jax

    import samflow

    devices = jax.devices()
    return {
        "size": size,
        "device": devices[0].device_kind,
        "platform": jax.default_backend(),
        "devices": len(devices),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "python": platform.python_version(),
        "samflow": samflow.__version__,
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "precision": "networks in float32 without TF32, weights and Lanczos in float64",
    }


class Part(StrEnum):
    """What `--only` takes."""

    resnet = "resnet"
    transformer = "transformer"
    table = "table"
    largest = "largest"
    sharded = "sharded"
    orbits = "orbits"
    monitor = "monitor"
    edges = "edges"
    central = "central"
    checkpoint = "checkpoint"
    landscapes = "landscapes"


def main(
    size: Annotated[Size, typer.Option(help="How large everything is.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A JSON file; otherwise print it.")
    ] = None,
    only: Annotated[
        list[Part] | None,
        typer.Option(help="A part, to be repeated for several; the file keeps the others."),
    ] = None,
) -> None:
    """Run the parts and write what they find."""
    # Most of the memory, for the largest network; without this JAX takes three quarters.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    import jax

    jax.config.update("jax_enable_x64", True)
    # TF32 has ten bits of mantissa, and Lanczos would see its rounding for curvature.
    jax.config.update("jax_default_matmul_precision", "highest")
    command = " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    chosen = [str(part) for part in only or PARTS]
    found = run(str(size), chosen, output, keep=only is not None, command=command)
    if output is None:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))


def run(
    size: str, parts: list[str], output: Path | None, *, keep: bool, command: str
) -> dict[str, Any]:
    """Run some parts and return the summary; write it to `output` after each.

    Args:
        size: a name in `SCALES`.
        parts: names in `PARTS`.
        output: the file; None for none.
        keep: whether the file's other parts are kept: they must be of the same size and device.
        command: how this was called.

    """
    from samflow.records import plain, write_whole

    found: dict[str, Any] = {"about": about(size, command), "parts": {}}
    if keep and output is not None and output.exists():
        found["parts"] = _kept(output, found["about"])
    for place, name in enumerate(parts):
        told = lambda message, name=name: print(f"{name}: {message}", file=sys.stderr)  # noqa: E731
        told("begins")
        try:
            began = time.perf_counter()
            part = PARTS[name](SCALES[size], told)
            seconds = time.perf_counter() - began
        except BaseException:
            print(_how_to_go_on(size, parts[place:], output), file=sys.stderr)
            raise
        made = {"date": found["about"]["date"], "command": command, "total_seconds": seconds}
        found["parts"][name] = plain({**made, **part})
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_whole(output, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    return found


def _kept(output: Path, here: dict[str, Any]) -> dict[str, Any]:
    """Return the parts in the file; refuse to mix them with those of another size or device."""
    before = json.loads(output.read_text())
    for name in ("size", "device", "devices"):
        if before["about"][name] != here[name]:
            raise typer.BadParameter(
                f"{output} holds parts with {name} {before['about'][name]!r}, but here it is "
                f"{here[name]!r}. Name another file with -o."
            )
    return before["parts"]


def _how_to_go_on(size: str, left: list[str], output: Path | None) -> str:
    if output is None:
        return "Nothing was written: name a file with -o to keep the parts that were done."
    rest = " ".join(f"--only {name}" for name in left)
    return (
        f"The parts that were done are in {output}. To go on: python benchmarks/gpu.py --size "
        f"{size} -o {output} {rest}"
    )


if __name__ == "__main__":
    typer.run(main)
