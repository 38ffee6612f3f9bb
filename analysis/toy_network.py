"""[K]'s toy network: how many seeds leave the saddle under SGD and under SAM."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy.stats import binomtest

import samflow as sf
from analysis.claims import Claim, Study
from samflow.noise import MiniBatch, sample_paths

NAME = "toy-network"
TITLE = "A network of one neuron, f(x) = v(ux)²: seeds that leave the saddle under SGD and SAM"
_study = Study(NAME, "[K], its experiment after Ziyin et al.; the data are ours")

NUM_SEEDS, NUM_STEPS, LR = 1000, 1000, 0.01
RHOS, MOMENTA, BATCHES = (0.0, 0.05, 0.1, 0.2, 0.5), (0.0, 0.5, 0.9), (1, 8)
NUM_EXAMPLES = 8


class Share(NamedTuple):
    """How many seeds came down from the saddle, and the mean loss at the end."""

    low: float
    share: float
    high: float
    loss: float


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


def share(rho: float, momentum: float, batch_size: int, num_seeds: int = NUM_SEEDS) -> Share:
    """Return the share of seeds whose loss at the end is nearer the minimum's than the saddle's.

    With a Wilson interval of 95 %. An orbit that is not finite has not come down.
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
    down = values < 0.5 * (float(whole(jnp.zeros(2))) + _least(whole))
    found = binomtest(int(down.sum()), num_seeds).proportion_ci(method="wilson")
    return Share(found.low, float(down.mean()), found.high, float(values.mean()))


def _least(whole: sf.losses.FiniteSumLoss) -> float:
    """Return the least loss: f depends on vu² alone, and L on that quadratically."""
    at_0, at_1, at_2 = (float(whole(jnp.array([1.0, a]))) for a in (0.0, 1.0, 2.0))
    curvature = at_2 - 2 * at_1 + at_0
    slope = at_1 - at_0 - curvature / 2
    return at_0 - slope**2 / (2 * curvature)


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Count seeds over rho, momentum and batch size."""
    found = {}
    for size, momentum, rho in itertools.product(BATCHES, MOMENTA, RHOS):
        progress(f"B = {size}, momentum = {momentum:g}, rho = {rho:g}")
        found[size, momentum, rho] = share(rho, momentum, size)
    claims = []
    for size in BATCHES:
        row = [found[size, 0.0, rho] for rho in RHOS]
        claims += [
            _study.fact(
                f"share, B = {size}",
                "without momentum, the share of 1000 seeds that come down falls with rho; "
                f"measured: {_listed(row)}",
                predicted=True,
                measured=row[0].low > row[1].high
                and all(
                    a.low > b.high or a.share == b.share == 0 for a, b in itertools.pairwise(row)
                ),
                reason="the 95 % intervals of neighbours do not meet, but where both are 0",
            ),
            _study.fact(
                f"loss, B = {size}",
                "the mean loss at the end rises with rho up to .2; measured: "
                + ", ".join(f"{s.loss:.3f}" for s in row),
                predicted=True,
                measured=all(a.loss < b.loss for a, b in itertools.pairwise(row[:-1])),
                reason="an inequality, the same seeds for each rho",
            ),
            _study.fact(
                f"momentum, B = {size}",
                "at rho = .1 momentum .9 brings down more seeds than none; measured: "
                + _listed([found[size, m, 0.1] for m in MOMENTA]),
                predicted=True,
                measured=found[size, 0.9, 0.1].low > found[size, 0.0, 0.1].high,
                reason="the 95 % intervals do not meet",
            ),
        ]
    alone, whole = (found[size, 0.0, 0.1] for size in BATCHES)
    claims.append(
        _study.fact(
            "batch size",
            "without momentum the batch size does not matter at rho = .1, as the saddle is one of "
            "every example's loss and its noise vanishes there; measured: "
            + _listed([alone, whole]),
            predicted=True,
            measured=alone.low <= whole.high and whole.low <= alone.high,
            reason="the 95 % intervals meet; [K] finds that small batches help, where noise does "
            "not vanish",
        )
    )
    return claims


def _listed(shares: list[Share]) -> str:
    return ", ".join(f"{s.share:.3f} ({s.low:.3f} to {s.high:.3f})" for s in shares)
