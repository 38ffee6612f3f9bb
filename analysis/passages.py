"""Computations for the study of escape: first passages out of a ball, for each cell."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import samflow as sf
from analysis.size import Size
from samflow import noise

MOMENTA = (0.0, 0.9)
BATCHES = (8.0, 32.0, 128.0)
WITHIN = (0.25, 0.5, 0.75)
"""rho·|λ| below 1, where [K] has SAM slower and yet not attracted."""
BEYOND = 1.25
RADII = {Size.small: (*WITHIN, BEYOND), Size.full: (0.02, *WITHIN, 1.0, BEYOND)}
"""rho·|λ| of USAM and SAM."""
PATHS = 500
MAX_STEPS = 3000


class Saddle(NamedTuple):
    """A saddle, |λ₋| there, the ball, and a step size."""

    name: str
    loss: Callable[[], sf.losses.AbstractLoss]
    w: tuple[float, float]
    curvature: float
    radius: float
    lr: float


SADDLES = (
    Saddle("quartic", sf.losses.quartic, (0.0, 0.0), 1.0, 0.5, 0.05),
    Saddle("Beale", sf.losses.beale, (0.0, 1.0), 27.75, 0.2, 1e-3),
)

Cell = tuple[float, float, float]
"""rho·|λ|, momentum, batch size."""
Times = dict[Cell, noise.EscapeTimes]


class Swept(NamedTuple):
    """What was followed at one saddle.

    Attributes:
        saddle: which.
        usam: escape times of USAM; rho = 0 is SGD.
        sam: those of SAM.
        slowed: those of SGD with the largest momentum and the lr/(1 − β) of none.
        eigenvalues: of the Hessian there.

    """

    saddle: Saddle
    usam: Times
    sam: Times
    slowed: Times
    eigenvalues: np.ndarray


class Record(NamedTuple):
    """What the study measured, and the settings with which it did.

    Attributes:
        swept: one a saddle.
        radii: rho·|λ| of USAM and SAM.
        momenta: of the sweeps.
        batches: their batch sizes.
        paths: how many a cell.
        max_steps: how long they are followed.
        passage: the double well's mean passage time by quadrature.
        kramers: Kramers' estimate of it.
        langevin: escape times of Langevin paths there.
        langevin_dt: their step.
        chain: Brownian motion's mean exit time by the integral equation of its steps.
        corrected: the same by the formula, with Siegmund's correction.
        maximum: escape times of USAM at a maximum in one dimension.
        update: their mean by the integral equation.
        printed: the mean of the model that [K] prints.

    """

    swept: tuple[Swept, ...]
    radii: tuple[float, ...]
    momenta: tuple[float, ...]
    batches: tuple[float, ...]
    paths: int
    max_steps: int
    passage: float
    kramers: float
    langevin: noise.EscapeTimes
    langevin_dt: float
    chain: float
    corrected: float
    maximum: noise.EscapeTimes
    update: float
    printed: float


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow all cells at both saddles, and what is known exactly."""
    progress("double well")
    well, d, dt = sf.losses.double_well(), 0.05, 0.02
    step = sf.Map(well, sf.GD(), lr=dt)  # pyright: ignore[reportCallIssue]
    langevin = sf.escape_time(
        sf.StochasticMap(step, noise.AdditiveNoise([2 * d / dt])), [-9.0], radius=10,
        start=[-1.0], key=jax.random.key(0), num_paths=PATHS, max_steps=2_000_000,
    )  # fmt: skip
    swept = []
    for saddle in SADDLES:
        progress(saddle.name)
        swept.append(_sweep(saddle, RADII[size]))
    progress("a maximum in one dimension")
    maximum, update, printed = _maximum()
    return Record(
        swept=tuple(swept),
        radii=RADII[size],
        momenta=MOMENTA,
        batches=BATCHES,
        paths=PATHS,
        max_steps=MAX_STEPS,
        passage=noise.mean_passage_time(
            lambda x: x**4 / 4 - x**2 / 2, diffusivity=d, start=-1, target=1
        ),
        kramers=noise.kramers_time(0.25, diffusivity=d, well_curvature=2, top_curvature=-1),
        langevin=langevin,
        langevin_dt=dt,
        chain=noise.chain_exit_time(1, noise=1 / 20, radius=1, start=0.5) / 400,
        corrected=noise.linear_exit_time(0, intensity=1, radius=1, start=0.5, dt=1 / 400),
        maximum=maximum,
        update=update,
        printed=printed,
    )


def _sweep(saddle: Saddle, radii: tuple[float, ...]) -> Swept:
    cells = list(itertools.product(radii, MOMENTA, BATCHES))
    sgd = [(0.0, *rest) for rest in itertools.product(MOMENTA, BATCHES)]
    slow = [(0.0, MOMENTA[-1], b) for b in BATCHES]
    # With rho = 0 USAM is SGD, and runs the same compiled program.
    usam, loss = _system(saddle, "usam"), saddle.loss()
    found = _follow(saddle, usam, [*sgd, *cells], saddle.lr)
    return Swept(
        saddle,
        usam=found,
        sam=_follow(saddle, _system(saddle, "sam"), cells, saddle.lr),
        slowed=_follow(saddle, usam, slow, saddle.lr * (1 - MOMENTA[-1])),
        eigenvalues=np.linalg.eigvalsh(loss.hessian(saddle.w)),  # pyright: ignore
    )


def _system(saddle: Saddle, rule: str) -> sf.StochasticMap:
    loss = saddle.loss()
    step = sf.Map(loss, sf.rule(rule, rho=0.1), lr=saddle.lr, momentum=0.5)  # pyright: ignore
    return sf.StochasticMap(step, noise.hessian_noise(loss, saddle.w, batch_size=1))


def _follow(saddle: Saddle, system: sf.StochasticMap, cells: list[Cell], lr: float) -> Times:
    found = noise.escape_times(
        system,
        saddle.w,
        where=lambda s: (s.map.lr, s.map.rule.rho, s.map.momentum, s.noise.batch_size),
        values=[(lr, r / saddle.curvature, m, b) for r, m, b in cells],
        radius=saddle.radius,
        key=jax.random.key(0),
        num_paths=PATHS,
        max_steps=MAX_STEPS,
    )
    return dict(zip(cells, found, strict=True))


def _maximum() -> tuple[noise.EscapeTimes, float, float]:
    """Return simulation, the exact chain and [K]'s model in one dimension."""
    lr, rho, batch, radius = 0.05, 0.5, 32, 0.5
    loss = sf.losses.Quadratic((-1.0,))
    step = sf.Map(loss, sf.USAM(rho=rho), lr=lr)  # pyright: ignore[reportCallIssue]
    found = sf.escape_time(
        sf.StochasticMap(step, noise.hessian_noise(loss, [0.0], batch_size=batch)), [0.0],
        radius=radius, key=jax.random.key(1), num_paths=5000, max_steps=10_000,
    )  # fmt: skip
    spread = lr / math.sqrt(batch)
    exact = noise.chain_exit_time(1 + lr * (1 - rho), noise=spread * (1 - rho), radius=radius)
    printed = noise.chain_exit_time(1 + lr * (1 - rho) ** 2, noise=spread, radius=radius)
    return found, exact, printed
