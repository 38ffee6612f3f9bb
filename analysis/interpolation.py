"""Minima that fit every example: what batches of SGD and of USAM keep, exactly, against bounds."""

from collections.abc import Callable

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import noise

NAME = "interpolation"
TITLE = "Interpolating minima: exact mean-square thresholds against the bounds of [Z]"
_study = Study(NAME, "derived in docs/theory.md, section 7")
_Z = "[Z], after Wu, Wang, Su 2022"

EXAMPLES, WEIGHTS, PROBLEMS = 6, 3, 8
RHO = 0.2


def rows(seed: int) -> np.ndarray:
    """Return Gaussian rows of unequal lengths, one an example."""
    generator = np.random.default_rng(seed)
    lengths = np.exp(0.5 * generator.normal(size=(EXAMPLES, 1)))
    return generator.normal(size=(EXAMPLES, WEIGHTS)) * lengths


def system(
    a: np.ndarray, rho: float, *, lr: float = 0.1, batch_size: int = 1, replacement: bool = True
) -> sf.StochasticMap:
    """Return USAM, or SGD where rho is 0, on batches of least squares."""
    rule = sf.USAM(rho=rho) if rho else sf.GD()  # pyright: ignore[reportCallIssue, reportArgumentType]
    step = sf.Map(noise.least_squares(a), rule, lr=lr)  # pyright: ignore
    return sf.StochasticMap(step, noise.MiniBatch(batch_size, replacement))  # pyright: ignore


def ratios(rho: float, batch_size: int, replacement: bool) -> np.ndarray:
    """Return the largest lr that the printed bound allows over the exact one, a problem each."""
    w, found = np.zeros(WEIGHTS), []
    for seed in range(PROBLEMS):
        made = system(rows(seed), rho, batch_size=batch_size, replacement=replacement)
        found.append(noise.alignment_bound(made, w).lr / noise.stability_threshold(made, w).value)
    return np.array(found)


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Check the operator against simulation, Jensen, batches of one, and the bounds."""
    w = np.zeros(WEIGHTS)
    progress("operator against simulation")
    claims = [_simulated()]
    progress("typical rate")
    made = system(rows(0), RHO, lr=0.12, batch_size=2)
    typical = sf.typical_rate(made, w, key=jr.key(0), num_steps=1000)
    mean_square = sf.mean_square_rate(made, w)
    claims.append(
        _study.below(
            "Jensen",
            "twice the typical rate (lower end of its 95 % interval) is at most the mean-square "
            "rate",
            bound=mean_square.rate,
            measured=2 * typical.interval[0],
            reason="log is concave; strictly so where steps differ",
        )
    )
    progress("batches of one")
    a = rows(1)
    longer = a * np.sqrt(1 + RHO * (a**2).sum(axis=1, keepdims=True))
    claims.append(
        _study.close(
            "batches of one",
            "USAM is SGD on rows longer by √(1 + ρ‖a‖²): the same spectral radius",
            predicted=sf.mean_square_rate(system(longer, 0.0), w).radius,
            measured=sf.mean_square_rate(system(a, RHO), w).radius,
            rel=1e-12,
            reason="an identity; rounding",
        )
    )
    progress("thresholds")
    largest = max(_relative_thresholds())
    claims.append(
        _study.below(
            "USAM below SGD",
            f"largest USAM/SGD ratio of thresholds in lr, {PROBLEMS} problems, B = 1, 2, 6",
            bound=1.0,
            measured=largest,
            reason="proved for equal lengths and for one weight; no counter-example is known",
        )
    )
    progress("bounds")
    return [*claims, *_bounds(), _without_replacement()]


def _simulated() -> Claim:
    """Compare the radius with the growth of the mean of ‖w‖² over simulated orbits."""
    a, lr, steps, orbits = rows(2), 0.1, 12, 300_000
    generator = np.random.default_rng(0)
    jacobians = [np.eye(WEIGHTS) - lr * (1 + RHO * r @ r) * np.outer(r, r) for r in a]
    p = np.eye(WEIGHTS)
    for _ in range(300):
        p = np.mean([j @ p @ j for j in jacobians], axis=0)
        p = p / np.trace(p)
    # From the leading mode the mean of ‖w‖² grows by exactly the radius at every step.
    points = generator.normal(size=(orbits, WEIGHTS)) @ np.linalg.cholesky(p).T
    first = (points**2).sum(axis=1)
    for _ in range(steps):
        row = a[generator.integers(len(a), size=orbits)]
        step = lr * (1 + RHO * (row**2).sum(axis=1)) * (points * row).sum(axis=1)
        points = points - step[:, None] * row
    last = (points**2).sum(axis=1)
    error = float(last.std() / last.mean() + first.std() / first.mean()) / np.sqrt(orbits)
    return _study.close(
        "operator",
        f"E‖w‖² over {orbits:,} orbits of USAM, B = 1: log of its growth over {steps} steps",
        predicted=steps * sf.mean_square_rate(system(a, RHO, lr=lr), np.zeros(WEIGHTS)).rate,
        measured=float(np.log(last.mean() / first.mean())),
        absolute=4 * error,
        reason="four standard errors of the two means; seed fixed",
    )


def _relative_thresholds() -> list[float]:
    w, found = np.zeros(WEIGHTS), []
    for seed in range(PROBLEMS):
        for batch_size in (1, 2, EXAMPLES):
            usam, sgd = (
                noise.stability_threshold(system(rows(seed), rho, batch_size=batch_size), w).value
                for rho in (RHO, 0.0)
            )
            found.append(usam / sgd)
    return found


def _bounds() -> list[Claim]:
    claims = []
    for rho, rule in ((0.0, "SGD"), (RHO, "USAM")):
        for batch_size in (1, 2, EXAMPLES):
            found = ratios(rho, batch_size, replacement=True)
            claims.append(
                _study.below(
                    f"bound of {rule}, B = {batch_size}",
                    "with replacement what breaks the bound is unstable: exact over bounding lr "
                    f"(bound/exact: median {np.median(found):.3g}, largest {found.max():.3g})",
                    bound=1 + 1e-8,
                    measured=float((1 / found).max()),
                    reason="the bound is a necessary condition; width of a bracket",
                    source=_Z,
                )
            )
    return claims


def _without_replacement() -> Claim:
    n = 4
    made = system(2 * np.eye(n), 0.0, batch_size=n, replacement=False)
    bound = noise.alignment_bound(made, np.zeros(n)).lr
    return _study.close(
        "without replacement",
        "the printed bound is no necessary condition: orthogonal equal rows, all in one batch, are "
        "stable up to η = 2/λ, and the bound stops at this part of it, √(n/(n − 1))/2",
        predicted=float(np.sqrt(n / (n - 1)) / 2),
        measured=bound / noise.stability_threshold(made, np.zeros(n)).value,
        rel=1e-8,
        reason="width of a bracket",
        source="derived in docs/theory.md, section 7; differs from [Z]",
    )


__all__ = ["NAME", "TITLE", "ratios", "rows", "run", "system"]
