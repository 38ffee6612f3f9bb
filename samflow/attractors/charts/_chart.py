"""What critical points are over a plane of two numbers, and what theory says of them."""

import os
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from samflow import _checks
from samflow._types import ArrayLike
from samflow.attractors.charts import everywhere, point
from samflow.attractors.charts.plane import make_plane
from samflow.attractors.charts.records import AttractorChart, Chart
from samflow.attractors.charts.stored import Place, in_chunks
from samflow.attractors.chunks import of_array
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule

Progress = Callable[[int, int], None]


@overload
def stability_chart(
    loss: AbstractLoss, rule: AbstractRule, w: ArrayLike, **numbers: Any
) -> Chart: ...


@overload
def stability_chart(
    loss: AbstractLoss, rule: AbstractRule, w: None = None, **numbers: Any
) -> AttractorChart: ...


@_checks.untraced(None)
def stability_chart(
    loss: AbstractLoss,
    rule: AbstractRule,
    w: ArrayLike | None = None,
    *,
    lr: ArrayLike,
    rho: ArrayLike | None = None,
    momentum: ArrayLike = 0.0,
    box: Any = None,
    num_steps: int = 2000,
    num_starts: int = 16,
    seed: int = 0,
    gradient_norm: float | None = None,
    progress: Progress = lambda done, total: None,
    store: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    chunk_cells: int | None = None,
    **numbers: ArrayLike,
) -> Chart | AttractorChart:
    """Say what critical points are for the map of a rule, over a grid of two numbers.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> chart = stability_chart(sf.losses.beale(), sf.USAM(rho=0.1), [0.0, 1.0],
    ...                         rho=[0.02, 0.05, 0.3], lr=[0.01, 0.04])
    >>> chart.what.tolist()
    [['saddle', 'saddle'], ['attracting', 'saddle'], ['repelling', 'repelling']]
    >>> print(chart.binding[2, 0])
    λ = 27.75 flips

    A rule with a Jacobian at the point is classified by it, and `binding` names the condition that
    fails, or that is nearest to. One without, as SAM, is followed from beside the point, and
    "leaves" where orbits from both sides end farther away than five steps are long.

    Without `w` the critical points of a box are found, each is decided in this way, and random
    starts are followed to see whether orbits end elsewhere:

    >>> quartic = sf.loss("x**2/2 - y**2/2 + y**4/4")
    >>> usam, box = sf.USAM(rho=0.1), (-2, 2)
    >>> chart = stability_chart(quartic, usam, box=box, rho=[0.5, 2.0], lr=[0.1, 0.3])
    >>> chart.what.tolist()
    [['2 minima only', '2 minima only'], ['2 minima and saddle', 'saddle only']]

    Theory's curves (`boundaries`) are 0 = ηU(λ) and ηU(λ) = κ for each eigenvalue of a rule with a
    Jacobian. Of one without there is the rho at which its flow lets go, proved on the loss; of SAM
    also the limits of the 2-cycle of the quadratic part, and on losses of one weight where cycles
    of up to 8 steps begin and end on the loss itself (docs/theory, rotation). All are drawn where
    both numbers are among rho, lr, momentum and eps.

    Args:
        loss: the loss.
        rule: a rule; its own numbers hold for what is not given.
        w: the critical point. By default all in the box.
        lr: step size, > 0. Two of lr, rho, momentum and `numbers` are rows of values.
        rho: the rule's rho.
        momentum: of the map, heavy ball.
        box: without `w`: a pair (low, high) for each weight, or one for all. By default the
            domain of the loss.
        num_steps: of orbits.
        num_starts: without `w`: random starts in the box.
        seed: of these.
        gradient_norm: at which to draw SAM's edge of stability (Long and Bartlett 2024).
        progress: with a store: is called with how many cells are done, of how many.
        store: a folder for chunks of the plane, each written when it is done (zarr), as of `sweep`.
            The same call goes on where it was stopped.
        part: with a store: (i, n) computes the i-th, from 1, of n parts of the chunks.
        chunk_cells: with a store: cells of a chunk at most.
        **numbers: other numbers of the rule, or of the loss, by name.

    Returns:
        A `Chart`; without `w` an `AttractorChart`. In cells that are not in the store yet the word
        is "missing", whole numbers are −1, and others NaN.

    Not guaranteed: orbits decide after `num_steps`. What leaves more slowly "stays", and an
    attractor away from the points that no random start comes to is missed.

    Raises:
        ArgumentError: for a point that is not critical, no box, other than two rows, unknown
            numbers, values out of range, or a store that `sweep` would refuse.
        ImportError: for a store where zarr is not installed.

    """
    _checks.double_precision("`stability_chart`")
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` to make one.")
    _checks.instance("rule", rule, AbstractRule, "Use an instance, such as `sf.USAM(rho=0.1)`.")
    _checks.count("num_steps", num_steps)
    if gradient_norm is not None:
        _checks.positive("gradient_norm", gradient_norm)
    plane = make_plane(loss, rule, {"rho": rho, **numbers, "momentum": momentum, "lr": lr})
    settings = {"num_steps": str(num_steps), "gradient_norm": str(gradient_norm)}
    to = Place(store, part, chunk_cells, progress, settings)
    if w is not None:
        where = point.critical_point("w", loss, w)
        cells = in_chunks(
            plane,
            lambda part: point.of_cells(part, where, num_steps, gradient_norm),
            to.about(point=of_array(where.w)),
        )
        return point.chart(plane, where, cells, num_steps, gradient_norm)
    domain = loss.domain if box is None else box
    if domain is None:
        raise _checks.ArgumentError(
            f"Argument `box` must be given without `w`, because {loss.name} has no domain of its "
            "own."
        )
    sides = np.asarray(_checks.box("box", domain, loss.dim))
    starts = everywhere.Starts(sides, _checks.count("num_starts", num_starts, minimum=0), seed)
    found = everywhere.find_points(plane, starts)
    cells = in_chunks(
        plane,
        lambda part: everywhere.of_cells(part, starts, found, num_steps),
        to.about(box=of_array(sides), starts=f"{num_starts} of seed {seed}"),
    )
    return everywhere.chart(plane, starts, found, cells, num_steps, gradient_norm)
