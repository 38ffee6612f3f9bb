"""Computations for the study of second moments: recursion, sample paths, formulas."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import sympy

import samflow as sf
from analysis.size import Size
from analysis.statistics import Mean, mean_of
from samflow.noise import AdditiveNoise, sample_paths, second_moment
from samflow.theory import diffusion

LAM = -1.0
LR = 0.01
NUM_PATHS = {Size.small: 20_000, Size.full: 100_000}
RHOS, MOMENTA, BATCHES = (0.0, 0.4, 1.6), (0.0, 0.9), (1.0, 10.0, 100.0)
"""rho below and above 1/|λ| = 1; batch sizes over two decades."""
BELOW = {Size.small: (0.1, 0.5, 0.9), Size.full: (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)}
"""rho below 1/|λ|, compared with SGD."""
ORDERED_MOMENTA = (0.0, 0.3, 0.6, 0.9)
ORDERED_BATCHES = (1.0, 4.0, 32.0, 100.0)
DRAWN_RHOS = (0.0, 0.1, 0.5, 1.6)
SMALL_RHO = 0.001
"""For the leading difference, in the figure."""
BATCH = 32.0
_KEPT = 10
"""Steps between two times at which paths are looked at, as a part of all: ten times."""
_CURVE = 100
"""Points of an exact curve, besides the start."""


class Setting(NamedTuple):
    """USAM at the saddle ½(x² + λy²), or SGD with rho = 0, with noise |H|/B."""

    rho: float
    momentum: float = 0.0
    batch_size: float = BATCH
    lr: float = LR
    lam: float = LAM


class Compared(NamedTuple):
    """Sample paths beside the recursion: the largest distance in standard errors, of how many."""

    momentum: float
    worst: float
    numbers: int
    paths: int


class Model(NamedTuple):
    """E y² at t = 2 and [K]'s formula: of limits, recursion, paths, and [K]'s own update."""

    rho: float
    update: float
    kim: float
    exact: float
    paths: Mean
    composed: Mean


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        compared: paths and recursion, one a momentum.
        nearer: SGD less USAM by momentum: y² path by path, one mean a radius and time.
        momenta: y² with each of `ORDERED_MOMENTA` less with the one before, likewise.
        batches: B y² with each of `ORDERED_BATCHES` less with the first, over its mean.
        below: the radii compared with SGD.
        models: one a radius.
        leading: the measured constants of SGD − SAM for small rho and t.
        with_momentum: [K]'s formula with momentum over the exact moment, and its prediction, by
            radius.
        time: of the exact curves.
        curves: E y² by radius.
        one_batch: SGD less USAM of `SMALL_RHO`, one batch for ascent and descent.
        two_batches: the same with a second batch for the descent.
        sampled_time: of the points.
        sampled: E y² of paths by radius.
        formulas: [K]'s E y² by radius at `time` but the first.
        num_paths: of each sample.

    """

    compared: tuple[Compared, ...]
    nearer: dict[float, list[Mean]]
    momenta: list[Mean]
    batches: list[Mean]
    below: tuple[float, ...]
    models: tuple[Model, ...]
    leading: tuple[float, float]
    with_momentum: dict[float, tuple[float, float]]
    time: np.ndarray
    curves: dict[float, np.ndarray]
    one_batch: np.ndarray
    two_batches: np.ndarray
    sampled_time: np.ndarray
    sampled: dict[float, np.ndarray]
    formulas: dict[float, np.ndarray]
    num_paths: int


def noisy(setting: Setting, *, fresh: bool = False) -> Any:
    """Return the random map; all settings share one compiled program, momentum 0 among them."""
    rho, momentum, batch_size, lr, lam = setting
    loss = sf.losses.Quadratic((1.0, lam))
    step = sf.Map(loss, sf.USAM(rho=rho), lr=lr, momentum=0.5)  # pyright: ignore
    step = eqx.tree_at(lambda s: s.momentum, step, jnp.asarray(momentum))
    noise = AdditiveNoise(np.diag([1.0, abs(lam)]), batch_size)
    return sf.StochasticMap(step, noise, fresh)


def exact(setting: Setting, num_steps: int, *, fresh: bool = False) -> np.ndarray:
    """Return E y² along the unstable direction after 0, 1/100, 2/100, ... of the steps."""
    found = second_moment(
        noisy(setting, fresh=fresh), [0, 0], num_steps=num_steps, keep_every=num_steps // _CURVE
    )
    return np.asarray(found.second[:, 1, 1])


def squares(setting: Setting, num_steps: int, num_paths: int, key: int = 2) -> np.ndarray:
    """Return y² of sample paths at ten times, a row a path; the same key, the same noise."""
    return displacements(setting, num_steps, num_paths, key)[..., 1] ** 2


def displacements(setting: Setting, num_steps: int, num_paths: int, key: int) -> np.ndarray:
    """Return the weights of sample paths at ten times after the start."""
    found = sample_paths(
        noisy(setting),
        [0, 0],
        key=jr.key(key),
        num_paths=num_paths,
        num_steps=num_steps,
        keep_every=num_steps // _KEPT,
    )
    return np.asarray(found.w[:, 1:])


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Run recursion and paths, and evaluate the formulas."""
    paths, below = NUM_PATHS[size], BELOW[size]
    progress("paths beside the recursion")
    compared = tuple(_paths(momentum, paths) for momentum in MOMENTA)
    progress("comparing SAM with SGD")
    nearer = {momentum: _nearer(momentum, below, paths) for momentum in MOMENTA}
    momenta, batches = _orders(paths)
    progress("three models of the leading difference")
    models = tuple(_model(rho, paths) for rho in (0.1, 0.5))
    progress("curves")
    steps = 3 * _CURVE
    time = LR * steps / _CURVE * np.arange(_CURVE + 1)
    sgd = exact(Setting(0.0), steps)
    close = Setting(SMALL_RHO)
    return Record(
        compared=compared,
        nearer=nearer,
        momenta=momenta,
        batches=batches,
        below=below,
        models=models,
        leading=_leading(),
        with_momentum={rho: _momentum(rho) for rho in (0.0, 0.5)},
        time=time,
        curves={rho: exact(Setting(rho), steps) for rho in DRAWN_RHOS},
        one_batch=sgd - exact(close, steps),
        two_batches=sgd - exact(close, steps, fresh=True),
        sampled_time=LR * steps / _KEPT * np.arange(1, _KEPT + 1),
        sampled={rho: squares(Setting(rho), steps, paths).mean(axis=0) for rho in DRAWN_RHOS},
        formulas={rho: _kim(rho, time[1:]) for rho in DRAWN_RHOS if rho},
        num_paths=paths,
    )


def _paths(momentum: float, num_paths: int) -> Compared:
    worst, numbers, steps = 0.0, 0, 40 if momentum else 200
    for rho, size in itertools.product(RHOS, BATCHES):
        setting = Setting(rho, momentum, size)
        w = displacements(setting, steps, num_paths, key=2)
        recursion = second_moment(
            noisy(setting), [0, 0], num_steps=steps, keep_every=steps // _KEPT
        ).second
        for i, j in ((0, 0), (0, 1), (1, 1)):
            products = w[..., i] * w[..., j]
            error = products.std(axis=0, ddof=1) / np.sqrt(num_paths)
            apart = np.abs(products.mean(axis=0) - np.asarray(recursion[1:, i, j])) / error
            worst, numbers = float(np.maximum(worst, apart.max())), numbers + apart.size
    return Compared(momentum, worst, numbers, num_paths)


def _nearer(momentum: float, below: Sequence[float], num_paths: int) -> list[Mean]:
    sgd = squares(Setting(0.0, momentum), 300, num_paths)
    found = (squares(Setting(rho, momentum), 300, num_paths) for rho in below)
    return [mean_of(apart) for usam in found for apart in (sgd - usam).T]


def _orders(num_paths: int) -> tuple[list[Mean], list[Mean]]:
    rows = [squares(Setting(0.4, momentum), 200, num_paths) for momentum in ORDERED_MOMENTA]
    momenta = [mean_of(apart) for a, b in itertools.pairwise(rows) for apart in (b - a).T]
    # Seeds of their own: with the same ones paths would scale exactly, and decide nothing.
    rows = [
        size * squares(Setting(0.4, batch_size=size), 200, num_paths, key=10 + i)
        for i, size in enumerate(ORDERED_BATCHES)
    ]
    first = [mean_of(each) for each in rows[0].T]
    batches = []
    for row in rows[1:]:
        for a, b in zip(first, map(mean_of, row.T), strict=True):
            batches.append(Mean(b.mean / a.mean - 1, float(np.hypot(a.error, b.error)) / a.mean))
    return momenta, batches


def _model(rho: float, num_paths: int) -> Model:
    values = {"lam": LAM, "lr": LR, "noise": 1 / BATCH, "rho": rho, "time": 2.0, "momentum": 0}
    update, kim = (
        diffusion.put(diffusion.second_moment_limit(m), **values) for m in ("update", "kim")
    )
    # Descent on w ↦ L(w + ρg(w)) with additive noise |λ|/B.
    loss = sf.losses.Quadratic((1.0, LAM * (1 + rho * LAM) ** 2))
    composed = eqx.tree_at(lambda s: s.map.loss, noisy(Setting(0.0)), loss)
    found = sample_paths(
        composed, [0, 0], key=jr.key(4), num_paths=num_paths, num_steps=200, keep_every=20
    )
    return Model(
        rho,
        update=update,
        kim=kim,
        exact=float(exact(Setting(rho), 200)[-1]),
        paths=mean_of(squares(Setting(rho), 200, num_paths, key=3)[:, -1]),
        composed=mean_of(np.asarray(found.w[:, -1, 1]) ** 2),
    )


def _leading() -> tuple[float, float]:
    """Return the constants of SGD − SAM for small rho and t, from the exact recursion."""
    rho, lr, steps = 1e-4, 1e-5, 2000
    t = lr * steps
    usam = float(exact(Setting(rho, lr=lr), steps)[-1])
    difference = float(exact(Setting(0.0, lr=lr), steps)[-1]) - usam
    sgd = diffusion.put(
        diffusion.exact_second_moment(), lam=LAM, rho=0, lr=lr, noise=1 / BATCH, num_steps=steps
    )
    # The same drift with SGD's noise: the update's moment over (1 + ρλ)².
    descent = usam / (1 + rho * LAM) ** 2
    unit = lr * abs(LAM) * rho / BATCH
    return difference / (unit * t * abs(LAM)), (sgd - descent) / (unit * t**2 * LAM**2)


def _momentum(rho: float) -> tuple[float, float]:
    """Return [K]'s formula with momentum over the exact moment, and what that should be."""
    lr, momentum, t = 2e-5, 0.9, 0.1
    values = {"lam": LAM, "rho": rho, "lr": lr, "momentum": momentum, "noise": 1 / BATCH}
    kim = diffusion.put(diffusion.kim_momentum_second_moment(), time=t, **values)
    update, other = (
        diffusion.put(diffusion.second_moment_limit(m), time=t / (1 - momentum), **values)
        for m in ("update", "kim")
    )
    found = exact(Setting(rho, momentum, lr=lr), round(t / lr))[-1]
    return kim / float(found), other / update


def _kim(rho: float, time: np.ndarray) -> np.ndarray:
    symbols = (diffusion.lam, diffusion.lr, diffusion.noise, diffusion.rho, diffusion.beta)
    values = zip(symbols, (LAM, LR, abs(LAM) / BATCH, rho, 0), strict=True)
    formula = sf.theory.second_moment_limit("kim").subs(list(values))
    return sympy.lambdify(diffusion.time, formula)(time)
