"""[K]'s toy network: how many seeds leave the saddle under SGD and under SAM."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.statistics import Mean, mean_of, redrawn
from samflow.noise import MiniBatch, sample_paths

NAME = "toy-network"
TITLE = "A network of one neuron, f(x) = v(ux)²: seeds that leave the saddle under SGD and SAM"
_study = Study(NAME, "[K], its experiment after Ziyin et al.; the data are ours")

NUM_SEEDS, NUM_STEPS, LR = 1000, 1000, 0.01
RHOS, MOMENTA, BATCHES = (0.0, 0.05, 0.1, 0.2, 0.5), (0.0, 0.5, 0.9), (1, 8)
NUM_EXAMPLES = 8


NEEDED = 3.0
"""Standard errors that decide a difference between two cells, seed by seed."""

Cell = tuple[int, float, float]
"""Batch size, momentum, rho."""


class Ends(NamedTuple):
    """How every seed ended: whether it came down from the saddle, and its loss."""

    down: np.ndarray
    loss: np.ndarray


def loss() -> sf.losses.FiniteSumLoss:
    """Return the squared loss of v(ux)² on 8 examples of y = x² and noise.

    Every point (0, v) is critical; with v > 0 the curvature across is −2v mean(x²y), a saddle.
    """
    generator = np.random.default_rng(0)
    x = generator.uniform(-1.5, 1.5, NUM_EXAMPLES).round(4)
    y = (x**2 + 0.2 * generator.standard_normal(NUM_EXAMPLES)).round(4)
    texts = [
        f"(v*(u*({a!r}))**2 - ({b!r}))**2/2" for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    return sf.losses.mean([sf.loss(text, variables=["u", "v"]) for text in texts])


def starts(num_seeds: int = NUM_SEEDS) -> np.ndarray:
    """Return starts near the saddle at the origin: N(0, .1²), v made positive."""
    w = 0.1 * np.random.default_rng(1).standard_normal((num_seeds, 2))
    return np.stack([w[:, 0], np.abs(w[:, 1])], axis=1)


def ends(rho: float, momentum: float, batch_size: int, num_seeds: int = NUM_SEEDS) -> Ends:
    """Return which seeds have at the end a loss nearer the minimum's than the saddle's.

    An orbit that is not finite has not come down.
    """
    whole = loss()
    # With rho = 0 SAM is SGD, and runs the same compiled program as with any other; so does
    # momentum 0 where it is put in the place of another, and the state keeps its velocity.
    step = sf.Map(whole, sf.SAM(rho=rho), lr=LR, momentum=0.5)  # pyright: ignore
    step = eqx.tree_at(lambda s: s.momentum, step, jnp.asarray(momentum))
    system = sf.StochasticMap(step, MiniBatch(batch_size))
    paths = sample_paths(
        system, starts(num_seeds), key=jr.key(0), num_paths=num_seeds, num_steps=NUM_STEPS
    )
    values = np.asarray(jax.vmap(whole)(paths.w[:, -1]))
    return Ends(values < 0.5 * (float(whole(jnp.zeros(2))) + _least(whole)), values)


def _least(whole: sf.losses.FiniteSumLoss) -> float:
    """Return the least loss: f depends on vu² alone, and L on that quadratically."""
    at_0, at_1, at_2 = (float(whole(jnp.array([1.0, a]))) for a in (0.0, 1.0, 2.0))
    curvature = at_2 - 2 * at_1 + at_0
    slope = at_1 - at_0 - curvature / 2
    return at_0 - slope**2 / (2 * curvature)


def measure(progress: Callable[[str], None] = lambda message: None) -> dict[Cell, Ends]:
    """Follow every seed over rho, momentum and batch size."""
    found = {}
    for size, momentum, rho in itertools.product(BATCHES, MOMENTA, RHOS):
        progress(f"B = {size}, momentum = {momentum:g}, rho = {rho:g}")
        found[size, momentum, rho] = ends(rho, momentum, size)
    return found


def judge(record: dict[Cell, Ends]) -> list[Claim]:
    """Count seeds, and compare cells seed by seed."""
    claims = []
    for size in BATCHES:
        row = [record[size, 0.0, rho] for rho in RHOS]
        pairs = list(itertools.pairwise(row))
        claims += [
            _decided(
                f"share, B = {size}",
                f"without momentum, the share of {NUM_SEEDS} seeds that leave the saddle falls as "
                f"rho grows from 0 to {RHOS[-2]:g}; for rho = {_radii()} it is {_listed(row)}. A "
                "seed has left if its final loss is nearer the minimum's than the saddle's",
                [_fewer(a, b) for a, b in pairs[:-1]],
                "pairs of neighbouring rho",
            ),
            _decided(
                f"loss, B = {size}",
                f"the mean final loss rises as rho grows from 0 to {RHOS[-2]:g}; for rho = "
                f"{_radii()} it is " + ", ".join(f"{each.loss.mean():.3f}" for each in row),
                [mean_of(b.loss - a.loss) for a, b in pairs[:-1]],
                "pairs of neighbouring rho",
            ),
            _decided(
                f"momentum, B = {size}",
                f"at rho = .1 more seeds leave the saddle with momentum {MOMENTA[-1]:g} than "
                f"without; for momentum {', '.join(f'{m:g}' for m in MOMENTA)} the share is "
                + _listed([record[size, m, 0.1] for m in MOMENTA]),
                [_fewer(record[size, MOMENTA[-1], 0.1], record[size, 0.0, 0.1])],
                "pair",
            ),
        ]
    return [*claims, _batch_size(record)]


def _fewer(a: Ends, b: Ends) -> Mean:
    """Return by how much more seeds come down in `a`, as a share, seed by seed."""
    return mean_of(a.down.astype(float) - b.down)


def _decided(name: str, statement: str, means: list[Mean], what: str) -> Claim:
    least = min(mean.z for mean in means)
    return _study.every(
        name,
        statement,
        holding=sum(mean.z > NEEDED for mean in means),
        of=len(means),
        what=what,
        reason=f"paired by seed, each difference is larger than {NEEDED:g} standard errors (the "
        f"smallest: {least:.1f})",
        evidence=Evidence.statistical,
        error_probability=redrawn(means, NEEDED),
    )


def _batch_size(record: dict[Cell, Ends]) -> Claim:
    """Say that the noise of a batch vanishes at this saddle: every example has it."""
    alone, whole = (record[size, 0.0, 0.1] for size in BATCHES)
    bound = 0.05
    apart = _fewer(alone, whole)
    room = Mean(bound, apart.error)
    return _study.fact(
        "batch size",
        "without momentum, at rho = .1, the batch size hardly matters: for B = "
        f"{' and '.join(map(str, BATCHES))} the shares are {_listed([alone, whole])}, a difference "
        f"of {100 * apart.mean:+.1f} ± {300 * apart.error:.1f} points, while momentum "
        f"{MOMENTA[-1]:g} adds {100 * _fewer(record[1, MOMENTA[-1], 0.1], alone).mean:.0f} points. "
        "The point is a saddle of each example's loss, so that the noise vanishes there",
        predicted=f"within ±{100 * bound:g} points",
        measured=f"{'' if abs(apart.mean) + 3 * apart.error < bound else 'not '}within "
        f"±{100 * bound:g} points",
        reason="three standard errors, paired by seed. [K] finds that small batches help, at "
        "saddles where the noise does not vanish",
        evidence=Evidence.statistical,
        error_probability=redrawn([room], NEEDED, of=2),
    )


def _radii() -> str:
    return ", ".join(f"{rho:g}" for rho in RHOS)


def _listed(cells: list[Ends]) -> str:
    return ", ".join(f"{each.down.mean():.3f}" for each in cells)
