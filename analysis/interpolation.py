"""Minima that fit every example: exact stability thresholds of SGD and USAM, against bounds."""

from collections.abc import Callable
from typing import NamedTuple

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.statistics import Mean, redrawn
from samflow import noise

NAME = "interpolation"
TITLE = "Interpolating minima: exact mean-square thresholds against the bounds of [Z]"
_study = Study(NAME, "derived in docs/theory, section 7")
_Z = "[Z], after Wu, Wang, Su 2022"

EXAMPLES, WEIGHTS, PROBLEMS = 6, 3, 8
RHO = 0.2
BATCHES = (1, 2, EXAMPLES)
ORBITS = 300_000
DRAWN_EXAMPLES, DRAWN_WEIGHTS, DRAWN_BATCHES = 12, 4, (1, 3, 12)
"""Of the figure."""
_ROWS = 4
"""Of the example without replacement."""


def rows(seed: int) -> np.ndarray:
    """Return Gaussian rows of unequal lengths, one per example."""
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


class Thresholds(NamedTuple):
    """The largest lr, exact and by the bound: one entry a problem, or a value of rho."""

    exact: np.ndarray
    bound: np.ndarray


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        growth: log of the growth of the mean of ‖w‖² over simulated orbits, with its error.
        growth_steps: of how many steps.
        rate: the operator's rate there, a step.
        typical: the typical rate of another problem, with its error.
        mean_square: the mean-square rate of that problem.
        radius: of the operator for batches of one under USAM.
        dense: the same by a matrix of E[J⊗J] without the library.
        problems: thresholds of random problems by rho (0 or `RHO`) and batch size.
        stops: the bound over the exact threshold, without replacement, of orthogonal equal rows.
        rhos: of the figure's curves.
        curves: thresholds over `rhos`, by batch size.

    """

    growth: Mean
    growth_steps: int
    rate: float
    typical: Mean
    mean_square: float
    radius: float
    dense: float
    problems: dict[tuple[float, int], Thresholds]
    stops: float
    rhos: np.ndarray
    curves: dict[int, Thresholds]


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow orbits, and compute rates, thresholds and bounds."""
    w = np.zeros(WEIGHTS)
    progress("operator against simulation")
    growth, steps, rate = _simulated()
    progress("typical rate")
    made = system(rows(0), RHO, lr=0.12, batch_size=2)
    typical = sf.typical_rate(made, w, key=jr.key(0), num_steps=1000)
    progress("thresholds and bounds")
    problems = {(rho, size): _thresholds(rho, size) for rho in (0.0, RHO) for size in BATCHES}
    progress("curves over rho")
    examples, rhos = drawn_rows(), np.linspace(0, 2, 33)
    return Record(
        growth=growth,
        growth_steps=steps,
        rate=rate,
        typical=Mean(typical.rate, typical.standard_error),
        mean_square=sf.mean_square_rate(made, w).rate,
        radius=sf.mean_square_rate(system(rows(1), RHO), w).radius,
        dense=dense_radius(rows(1), RHO, lr=0.1),
        problems=problems,
        stops=_without_replacement(),
        rhos=rhos,
        curves={size: _over_rho(examples, size, rhos) for size in DRAWN_BATCHES},
    )


def _thresholds(rho: float, batch_size: int) -> Thresholds:
    made = [system(rows(seed), rho, batch_size=batch_size) for seed in range(PROBLEMS)]
    return _both(made, WEIGHTS)


def _both(made: list[sf.StochasticMap], dim: int) -> Thresholds:
    w = np.zeros(dim)
    exact = [noise.stability_threshold(each, w).value for each in made]
    return Thresholds(np.array(exact), np.array([noise.alignment_bound(m, w).lr for m in made]))


def drawn_rows() -> np.ndarray:
    """Return the examples of the figure, one per row, of mean squared length 1."""
    generator = np.random.default_rng(1)
    lengths = np.exp(0.3 * generator.normal(size=(DRAWN_EXAMPLES, 1)))
    made = generator.normal(size=(DRAWN_EXAMPLES, DRAWN_WEIGHTS)) * lengths
    return made / np.sqrt((made**2).sum(axis=1).mean())


def _over_rho(examples: np.ndarray, batch_size: int, rhos: np.ndarray) -> Thresholds:
    loss = noise.least_squares(examples)
    made = [
        sf.StochasticMap(
            sf.Map(loss, sf.USAM(rho=float(rho)), lr=0.1),  # pyright: ignore
            noise.MiniBatch(batch_size, True),  # pyright: ignore[reportCallIssue]
        )
        for rho in rhos
    ]
    return _both(made, DRAWN_WEIGHTS)


def dense_radius(a: np.ndarray, rho: float, *, lr: float) -> float:
    """Return the spectral radius of E[J⊗J] for batches of one, as a matrix, by NumPy alone.

    On one example ½(aᵀw)² USAM is J = I − η(1 + ρ‖a‖²)aaᵀ, and E wwᵀ goes to E[J wwᵀ Jᵀ].
    """
    unit = np.eye(a.shape[1])
    jacobians = [unit - lr * (1 + rho * row @ row) * np.outer(row, row) for row in a]
    operator = np.mean([np.kron(j, j) for j in jacobians], axis=0)
    return float(np.abs(np.linalg.eigvals(operator)).max())


def judge(record: Record) -> list[Claim]:
    """Check the operator against simulation and a dense twin, Jensen, and the bounds."""
    below, apart = record.typical, record.mean_square - 2 * record.typical.mean
    room = Mean(apart, 2 * below.error)
    largest = max(
        float((record.problems[RHO, size].exact / record.problems[0.0, size].exact).max())
        for size in BATCHES
    )
    return [
        _study.sampled(
            "operator",
            f"log of the growth of E‖w‖² over {record.growth_steps} steps of USAM with B = 1: "
            f"{ORBITS:,} simulated orbits against the exact mean-square operator",
            predicted=record.growth_steps * record.rate,
            measured=record.growth.mean,
            error=record.growth.error,
            reason="four standard errors of the two means; the seed is fixed",
        ),
        _study.fact(
            "Jensen",
            f"twice the typical rate, {2 * below.mean:.4f} ± {4 * below.error:.4f}, is below the "
            f"mean-square rate, {record.mean_square:.4f}",
            predicted="below, by more than 3 standard errors",
            measured=f"{'' if room.z > 3 else 'not '}below, by more than 3 standard errors",
            reason="Jensen's inequality is strict, since the steps differ; the gap is "
            f"{room.z:.1f} standard errors",
            evidence=Evidence.statistical,
            error_probability=redrawn([room], 3.0),
        ),
        _study.close(
            "batches of one",
            "the spectral radius of USAM's mean-square operator, computed matrix-free, against "
            "that of the matrix E[J⊗J] with J = I − η(1 + ρ‖a‖²)aaᵀ",
            predicted=record.dense,
            measured=record.radius,
            rel=1e-9,
            reason="the error of the power method is the square of its last step; rounding",
        ),
        _study.below(
            "USAM below SGD",
            "the threshold in lr is smaller for USAM than for SGD: the largest ratio over "
            f"{PROBLEMS} problems and B = {', '.join(map(str, BATCHES))}",
            bound=1.0,
            measured=largest,
            reason="proved for examples of equal length and for one weight; no counterexample is "
            "known",
        ),
        *_bounds(record),
        _study.close(
            "without replacement",
            "without replacement the printed bound is not necessary for stability: orthogonal "
            "examples of equal length, all in one batch, are stable up to η = 2/λ, but the bound "
            "allows only √(n/(n − 1))/2 of it",
            predicted=float(np.sqrt(_ROWS / (_ROWS - 1)) / 2),
            measured=record.stops,
            rel=1e-8,
            reason="the width of the bracket that locates the threshold",
            source="derived in docs/theory, section 7; differs from [Z]",
        ),
    ]


def _simulated() -> tuple[Mean, int, float]:
    """Return the log-growth of the mean of ‖w‖² over orbits, of how many steps, and the rate."""
    a, lr, steps, orbits = rows(2), 0.1, 12, ORBITS
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
    growth = float(np.log(last.mean() / first.mean()))
    rate = sf.mean_square_rate(system(a, RHO, lr=lr), np.zeros(WEIGHTS)).rate
    return Mean(growth, error), steps, rate


def _bounds(record: Record) -> list[Claim]:
    claims = []
    for (rho, batch_size), (exact, bound) in record.problems.items():
        found = bound / exact
        claims.append(
            _study.below(
                f"bound of {'USAM' if rho else 'SGD'}, B = {batch_size}",
                "with replacement every lr above the bound is unstable: the exact threshold "
                f"divided by the bound, largest over {len(exact)} problems. The bound itself is "
                f"loose: it is {np.median(found):.3g} times the threshold in the median, at most "
                f"{found.max():.3g} times",
                bound=1 + 1e-8,
                measured=float((1 / found).max()),
                reason="the bound is necessary for stability; 1e-8 is the width of the bracket "
                "that locates the threshold",
                source=_Z,
            )
        )
    return claims


def _without_replacement() -> float:
    """Return the bound over the exact threshold of orthogonal equal rows in one batch."""
    made = system(2 * np.eye(_ROWS), 0.0, batch_size=_ROWS, replacement=False)
    w = np.zeros(_ROWS)
    return noise.alignment_bound(made, w).lr / noise.stability_threshold(made, w).value
