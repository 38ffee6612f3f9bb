"""Decentralised SGD on a loss with third derivatives, beside average-direction SAM."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.claims import Claim, Study
from analysis.size import Size
from analysis.statistics import Mean, mean_of
from samflow import theory

NAME = "decentralised"
TITLE = "Decentralised SGD drifts as average-direction SAM with the covariance of its workers"
SMALL_SIZE = "2,000 ensembles of workers, 600 steps instead of 4,000 and 1,500."
PAPER = "Zhu, He, Chen, Song, Tao 2023, arXiv 2306.02913"
_study = Study(NAME, "derived in docs/theory, Proposition 25")

WORKERS, SHARE, LR, NOISE = 8, 1 / 3, 0.1, 0.5
"""A ring: each worker takes a third of either neighbour. Gradient noise of covariance NOISE² I."""
HESSIAN = np.array([[1.0, 0.3], [0.3, 0.5]])
CUBIC = (1.0, 0.7)
"""L = ½wᵀHw + a x³/6 + b xy²/2."""
NUM_ENSEMBLES = {Size.full: 4000, Size.small: 2000}
NUM_STEPS = {Size.full: 1500, Size.small: 600}
BURNED = 200
"""Steps that are not counted: the slowest mode of the mean shrinks by e⁻⁷ in them."""
_MORE = (8, 16, 64)


class Record(NamedTuple):
    """Means over steps, one row per ensemble of workers.

    Attributes:
        spread: (1/n) Σ (x_i − x̄)(x_i − x̄)ᵀ, its entries xx, xy, yy.
        drift: (1/n) Σ g(x_i) − g(x̄), two coordinates.
        mean: x̄ of decentralised SGD.
        average: of w⁺ = w − η(E g(w + ε) + the mean of the same noise), ε ~ N(0, Ξ).
        plain: of SGD with that noise.

    """

    spread: np.ndarray
    drift: np.ndarray
    mean: np.ndarray
    average: np.ndarray
    plain: np.ndarray


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Simulate workers on a ring, and beside them one worker with their mean noise."""
    progress("workers on a ring")
    rng, count, steps = np.random.default_rng(0), NUM_ENSEMBLES[size], NUM_STEPS[size]
    mix = ring(WORKERS)
    constant = third(covariances()[0])
    x, average, plain = np.zeros((count, WORKERS, 2)), np.zeros((count, 2)), np.zeros((count, 2))
    sums = [np.zeros((count, 3)), *(np.zeros((count, 2)) for _ in range(4))]
    for k in range(steps):
        g = gradient(x)
        if k >= BURNED:
            middle = x.mean(axis=1)
            away = x - middle[:, None]
            products = [away[..., i] * away[..., j] for i, j in ((0, 0), (0, 1), (1, 1))]
            sums[0] += np.stack([p.mean(axis=1) for p in products], axis=1)
            sums[1] += g.mean(axis=1) - gradient(middle)
            for total, w in zip(sums[2:], (middle, average, plain), strict=True):
                total += w
        noise = NOISE * rng.standard_normal(x.shape)
        x = np.einsum("ij,pjk->pik", mix, x) - LR * (g + noise)
        shared = noise.mean(axis=1)
        average = average - LR * (gradient(average) + constant + shared)
        plain = plain - LR * (gradient(plain) + shared)
    return Record(*(total / (steps - BURNED) for total in sums))


def judge(record: Record) -> list[Claim]:
    """Compare spread, drift and stationary mean with closed forms; decide the paper's claims."""
    spread, own = covariances()
    drift = third(spread)
    shift = -np.linalg.solve(HESSIAN, third(spread + own))
    entries = ((0, "xx", spread[0, 0]), (2, "yy", spread[1, 1]))
    claims = [
        _study.sampled(
            f"spread of the workers, {name}",
            f"the stationary covariance of {WORKERS} workers on a ring about their mean, η = {LR}",
            predicted=float(value),
            measured=(found := mean_of(record.spread[:, i])).mean,
            error=found.error,
            bias=0.01 * float(value),
            reason="four standard errors over independent ensembles, plus 1 %: the Hessian changes "
            "along the orbit, by a relative variance of that order",
        )
        for i, name, value in entries
    ]
    claims += [
        _study.sampled(
            "drift of the mean",
            "what the spread adds to the mean's gradient, (1/n) Σ g(x_i) − g(x̄), in x: "
            "½∇³L[Ξ], the drift of average-direction SAM with ε ~ N(0, Ξ)",
            predicted=float(drift[0]),
            measured=(found := mean_of(record.drift[:, 0])).mean,
            error=found.error,
            bias=0.01 * float(drift[0]),
            reason="as the spread; for a cubic loss the identity itself is exact",
        )
    ]
    claims += [
        _study.sampled(
            f"stationary mean, {name}",
            "E x̄ = −½H⁻¹∇³L[Ξ + V], V the covariance of SGD with the noise of all workers",
            predicted=float(shift[i]),
            measured=(found := mean_of(record.mean[:, i])).mean,
            error=found.error,
            bias=0.1 * abs(float(shift[i])),
            reason="four standard errors, plus a tenth: the next order in η",
        )
        for i, name in enumerate("xy")
    ]
    return [*claims, _equivalence(record), *_batches()]


def _equivalence(record: Record) -> Claim:
    effect = mean_of(record.mean[:, 0] - record.plain[:, 0])
    gap = mean_of(record.mean[:, 0] - record.average[:, 0])
    share, error = gap.mean / effect.mean, gap.error / abs(effect.mean)
    near = abs(share) + 4 * error < 0.2
    return _study.beside(
        "equivalence",
        "E x of decentralised SGD, of average-direction SAM with ε ~ N(0, Ξ) and of SGD, all with "
        f"the same mean noise: {_shown(record.mean)}, {_shown(record.average)} and "
        f"{_shown(record.plain)}",
        paper="decentralised SGD is asymptotically average-direction SAM",
        found=f"they differ by {share:.4f} ± {error:.4f} of what the spread of the workers adds",
        agrees=True if near else False if abs(share) - 4 * error > 0.2 else None,
        reason="equal to leading order in η. A fifth is allowed for the next order (Ξ changes with "
        "the Hessian along the orbit); four standard errors",
        error_probability=6e-5,
        source=PAPER,
    )


def _batches() -> list[Claim]:
    """Set the closed form of Ξ beside the claim on large batches, in its two readings."""
    base = np.trace(covariances(WORKERS)[0])
    more = {n: float(np.trace(covariances(n)[0]) / base) for n in _MORE}
    smaller = float(np.trace(covariances(WORKERS, NOISE / 2)[0]) / base)
    said = "the regularisation does not decrease as the total batch increases"
    about = {"paper": said, "source": PAPER, "error_probability": 1e-12}
    return [
        _study.beside(
            "large total batch: more workers",
            f"tr Ξ on rings of {', '.join(map(str, _MORE))} workers, over that of {WORKERS}, each "
            "worker's batch fixed",
            found=", ".join(f"{value:.3g}" for value in more.values()),
            agrees=all(value >= 1 for value in more.values()),
            reason="closed form, no sample; the noise of the mean falls in proportion to 1/n",
            **about,
        ),
        _study.beside(
            "large total batch: larger batches",
            f"tr Ξ of {WORKERS} workers with four times as many examples each, over that before",
            found=f"{smaller:.3g}",
            agrees=smaller >= 1,
            reason="closed form, no sample: for gradient noise of covariance Σ/b, independent "
            "between workers that share one loss, Ξ is in proportion to 1/b",
            **about,
        ),
    ]


def ring(n: int) -> np.ndarray:
    """Return W: each worker keeps a part of its weights and takes `SHARE` of either neighbour's."""
    one = np.eye(n)
    return (1 - 2 * SHARE) * one + SHARE * (np.roll(one, 1, axis=0) + np.roll(one, -1, axis=0))


def gradient(w: np.ndarray) -> np.ndarray:
    """Return ∇L at each w, shape (..., 2)."""
    (a, b), (x, y) = CUBIC, (w[..., 0], w[..., 1])
    return w @ HESSIAN + np.stack([a / 2 * x**2 + b / 2 * y**2, b * x * y], axis=-1)


def third(covariance: np.ndarray) -> np.ndarray:
    """Return ½∇³L[C]: E g(w + ε) − g(w) for ε of covariance C."""
    a, b = CUBIC
    c = covariance
    return np.array([a / 2 * c[0, 0] + b / 2 * c[1, 1], b * c[0, 1]])


def covariances(n: int = WORKERS, noise: float = NOISE) -> tuple[np.ndarray, np.ndarray]:
    """Return Ξ and V in the coordinates of w, from closed forms."""
    lams, q = np.linalg.eigh(HESSIAN)
    about = {"eigenvalues": lams.tolist(), "noise": (noise**2 * np.eye(2)).tolist(), "lr": LR}
    gossip = [float(value) for value in theory.ring_gossip(n, share=SHARE)]
    spread = theory.consensus_covariance(gossip=gossip, **about)
    own = theory.mean_covariance(num_workers=n, **about)
    first, second = (q @ np.array(found, dtype=float) @ q.T for found in (spread, own))
    return first, second


def _shown(rows: np.ndarray) -> str:
    found: Mean = mean_of(rows[:, 0])
    return f"{found.mean:.5f} ± {found.error:.5f}"
