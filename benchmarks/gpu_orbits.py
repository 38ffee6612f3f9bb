"""The part `orbits` of benchmarks/gpu.py: ensembles of maps by one kernel, the loop inside it."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import ensembles
from benchmarks.gpu_scales import Scale

Progress = Callable[[str], None]
_CHECKED = 256
"""Orbits that are compared with the loop of XLA."""


def orbits(scale: Scale, progress: Progress, seconds: Callable[..., float]) -> dict[str, Any]:
    """Time the kernel, beside the same map as a loop of XLA, which launches a kernel a step.

    On a CPU, and on a GPU for which Pallas does not compile, a few orbits are interpreted: that
    tests the kernel, and its time means nothing.

    Args:
        scale: how many points and steps.
        progress: is told which case is next.
        seconds: returns the median wall time of a function.

    """
    import jax

    points, steps = scale.orbits
    rows = []
    for loss, rule in ensembles.CASES:
        progress(f"{rule} on {loss}, {points} orbits")
        compiled, starts, kernel, usual, loop = _sides(loss, rule, points, steps)
        few = starts[:_CHECKED]
        apart = float(jax.numpy.abs(kernel(few)[1] - loop(few)).max())
        sides = {"kernel": kernel, "iterate": usual, "loop_of_XLA": loop}
        taken = {
            name: seconds(functools.partial(side, starts), scale.runs)
            for name, side in sides.items()
        }
        rows.append(
            {
                "case": f"{loss} {rule}",
                "compiled": compiled,
                "picoseconds": {
                    name: 1e12 * value / points / steps for name, value in taken.items()
                },
                "largest_difference": apart,
            }
        )
    return {"points": points, "steps": steps, "cases": rows}


def _sides(loss: str, rule: str, points: int, steps: int) -> tuple[Any, ...]:
    """Return whether the kernel is compiled, the starts, and what is timed."""
    import jax
    import jax.numpy as jnp

    import samflow as sf
    from samflow.orbits import _gpu
    from samflow.orbits.map_loop import LOOP, MapSettings, run_map
    from samflow.systems.leaves import Varied

    system = sf.Map(sf.losses.ZOO[loss](), sf.rule(rule, rho=ensembles.RHO), lr=ensembles.LR)
    compiled = _gpu.can_run(system)
    starts = jnp.asarray(np.stack(ensembles.starts(loss, points), axis=1))
    settings = jax.tree.map(jnp.asarray, MapSettings(steps, steps, 50, 0.0, 1e6, 0))
    given = (settings, 2, Varied())
    kernel = jax.jit(lambda z: _gpu.run_blocks(LOOP, system, z, *given, interpret=not compiled))
    usual = lambda z: run_map(system, z, *given)  # noqa: E731
    # Without samflow's checks: what a program gets that writes the loop down.
    step = lambda _, z: jax.vmap(system.step)(z)  # noqa: E731
    loop = jax.jit(lambda z: jax.lax.fori_loop(0, steps, step, z))
    return compiled, starts, kernel, usual, loop
