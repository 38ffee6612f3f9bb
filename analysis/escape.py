"""Escape from saddles: first passage out of a ball under SGD, USAM and SAM, with censoring."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow import noise

NAME = "escape"
TITLE = "Escape from saddles: rho, momentum and batch size, SGD against USAM and SAM"
_study = Study(NAME, "[K] Kim et al., arXiv 2301.06308, theorems 2 and 3")

MOMENTA = (0.0, 0.9)
BATCHES = (8.0, 32.0, 128.0)
WITHIN = (0.25, 0.5, 0.75)
"""rho·|λ| below 1, where [K] has SAM slower and yet not attracted."""
BEYOND = 1.25
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

_PAIRED = (
    f"the mean of min(T, {MAX_STEPS}), path by path on the same random numbers, differs by more "
    "than three standard errors"
)

Cell = tuple[float, float, float]
"""rho·|λ|, momentum, batch size."""
_swept: dict[tuple[str, str, float, Cell], noise.EscapeTimes] = {}
"""What was followed in this process, by saddle, rule, step size and cell."""


def sweep(
    saddle: Saddle,
    rule: str,
    cells: list[Cell],
    *,
    lr: float | None = None,
) -> dict[Cell, noise.EscapeTimes]:
    """Return the escape times of a rule for every cell; rho = 0 is SGD.

    Those of a cell are computed once a process, for the study and the figure of them.
    """
    keys = {cell: (saddle.name, rule, lr or saddle.lr, cell) for cell in cells}
    missing = [cell for cell, key in keys.items() if key not in _swept]
    if missing:
        found = _follow(saddle, rule, missing, lr or saddle.lr)
        _swept.update({keys[cell]: times for cell, times in zip(missing, found, strict=True)})
    return {cell: _swept[key] for cell, key in keys.items()}


def _follow(
    saddle: Saddle, rule: str, cells: list[Cell], lr: float
) -> tuple[noise.EscapeTimes, ...]:
    loss = saddle.loss()
    step = sf.Map(loss, sf.rule(rule, rho=0.1), lr=lr, momentum=0.5)  # pyright: ignore
    return noise.escape_times(
        sf.StochasticMap(step, noise.hessian_noise(loss, saddle.w, batch_size=1)),
        saddle.w,
        where=lambda s: (s.map.rule.rho, s.map.momentum, s.noise.batch_size),
        values=[(r / saddle.curvature, m, b) for r, m, b in cells],
        radius=saddle.radius,
        key=jax.random.key(0),
        num_paths=PATHS,
        max_steps=MAX_STEPS,
    )


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Compare with what is known exactly, then check [K]'s claims cell by cell."""
    progress("double well")
    claims = _known()
    for saddle in SADDLES:
        progress(saddle.name)
        claims += _compared(saddle)
    progress("models")
    return claims + _models()


def _known() -> list[Claim]:
    well, d, dt = sf.losses.double_well(), 0.05, 0.02
    passage = noise.mean_passage_time(
        lambda x: x**4 / 4 - x**2 / 2, diffusivity=d, start=-1, target=1
    )
    langevin = sf.StochasticMap(sf.Map(well, sf.GD(), lr=dt), noise.AdditiveNoise([2 * d / dt]))
    found = sf.escape_time(
        langevin, [-9.0], radius=10, start=[-1.0], key=jax.random.key(0), num_paths=500,
        max_steps=2_000_000,
    ).survival  # fmt: skip
    return [
        _study.close(
            "double well",
            "mean passage from −1 to 1 of dx = (x − x³) dt + √(2D) dB, D = .05, by quadrature",
            predicted=729.67,
            measured=passage,
            absolute=0.005,
            reason="the digits of the reference",
            source="Gardiner 2009, section 5.5",
        ),
        _study.close(
            "double well, Kramers",
            "2π/√(V''(−1)|V''(0)|) exp(ΔV/D)",
            predicted=659.38,
            measured=noise.kramers_time(0.25, diffusivity=d, well_curvature=2, top_curvature=-1),
            absolute=0.005,
            reason="the digits of the reference",
            source="Kramers 1940",
        ),
        _study.close(
            "double well, simulated",
            "the same passage of 500 Langevin paths, dt = .02, out of the ball (−19, 1)",
            predicted=passage,
            measured=found.mean * dt,
            absolute=4 * found.mean_error * dt + 0.03 * passage,
            reason="four standard errors, and 3 % for dt",
            source="quadrature",
        ),
        _study.close(
            "Brownian motion",
            "the exact chain of steps dt = 1/400 leaves (−1, 1) from x = ½ after (L² − x²)/σ², "
            "with L moved by the overshoot .5826 σ√dt",
            predicted=noise.linear_exit_time(0, intensity=1, radius=1, start=0.5, dt=1 / 400),
            measured=noise.chain_exit_time(1, noise=1 / 20, radius=1, start=0.5) / 400,
            rel=2e-3,
            reason="the correction leaves O(dt)",
            source="Siegmund 1979",
        ),
    ]


def _compared(saddle: Saddle) -> list[Claim]:
    cells = list(itertools.product((0.0, *WITHIN, BEYOND), MOMENTA, BATCHES))
    usam = sweep(saddle, "usam", cells)
    sam = sweep(saddle, "sam", [cell for cell in cells if cell[0]])
    sgd = {cell: found for cell, found in usam.items() if not cell[0]}
    claims = [_slower(saddle, name, found, sgd) for name, found in (("USAM", usam), ("SAM", sam))]
    both = {("usam", *cell): found for cell, found in usam.items()}
    both |= {("sam", *cell): found for cell, found in sam.items()}
    within = {cell: found for cell, found in both.items() if cell[1] <= max(WITHIN)}
    pairs = [
        (within[rule, r, 0.9, b], found)
        for (rule, r, m, b), found in within.items()
        if m == 0.0 and found.share > 0.5
    ]
    claims.append(
        _study.fact(
            f"{saddle.name}: momentum",
            f"at the same lr, momentum .9 escapes sooner, by a factor of {_range(pairs)} in "
            "the median",
            predicted=f"{len(pairs)} of {len(pairs)} cells",
            measured=f"{sum(_before(a, b) for a, b in pairs)} of {len(pairs)} cells",
            reason=_PAIRED,
        )
    )
    pairs = [
        (found, within[rule, r, m, 128.0])
        for (rule, r, m, b), found in within.items()
        if b == 8.0 and found.share > 0.5
    ]
    claims.append(
        _study.fact(
            f"{saddle.name}: batch size",
            f"batches of 8 escape sooner than batches of 128, by a factor of {_range(pairs)} "
            "in the median",
            predicted=f"{len(pairs)} of {len(pairs)} cells",
            measured=f"{sum(_before(a, b) for a, b in pairs)} of {len(pairs)} cells",
            reason=_PAIRED,
        )
    )
    return [*claims, *_rescaled(saddle, sgd), _beyond(saddle, usam, sam)]


def _slower(saddle: Saddle, name: str, found: dict[Cell, noise.EscapeTimes], sgd: dict) -> Claim:
    pairs = [(sgd[0.0, m, b], times) for (r, m, b), times in found.items() if r in WITHIN]
    return _study.fact(
        f"{saddle.name}: {name} against SGD",
        f"{name} escapes more slowly for rho|λ| = ¼, ½, ¾ ({_range(pairs)} times the "
        f"median of SGD; in {sum(math.isnan(t.median) for _, t in pairs)} cells not reached). "
        f"At rho|λ| = ½, β = 0, B = 32: {_shown(found[0.5, 0.0, 32.0])}; SGD "
        f"{_shown(sgd[0.0, 0.0, 32.0])}",
        predicted=f"{len(pairs)} of {len(pairs)} cells",
        measured=f"{sum(_before(a, b) for a, b in pairs)} of {len(pairs)} cells",
        reason=_PAIRED,
    )


def _rescaled(saddle: Saddle, sgd: dict[Cell, noise.EscapeTimes]) -> list[Claim]:
    cells = [(0.0, 0.9, b) for b in BATCHES]
    slowed = sweep(saddle, "usam", cells, lr=saddle.lr / 10)
    later = sum(_before(sgd[0.0, 0.0, b], slowed[0.0, 0.9, b]) for b in BATCHES)
    medians = "; ".join(
        f"B = {b:g}: {_shown(slowed[0.0, 0.9, b])} against {_shown(sgd[0.0, 0.0, b])}"
        for b in BATCHES
    )
    return [
        _study.fact(
            f"{saddle.name}: momentum at the same lr/(1 − β)",
            f"SGD with momentum .9 and lr/10 escapes later than without: what helps at the "
            f"same lr is the larger effective step (medians {medians})",
            predicted="3 of 3 cells later",
            measured=f"{later} of 3 cells later",
            reason=_PAIRED,
            source="derived in docs/theory.md, section 9; not said in [K]",
        )
    ]


def _beyond(saddle: Saddle, usam: dict, sam: dict) -> Claim:
    """Say what happens where the flow is attracted: the noise can still win.

    With momentum and small batches paths leave through the stable direction, where USAM takes
    the noise times 1 + ρλ: that is no escape from the saddle, but it is one from the ball.
    """
    texts = []
    for name, found in (("USAM", usam), ("SAM", sam)):
        for m, b in ((0.0, 128.0), (0.9, 8.0)):
            times = found[BEYOND, m, b]
            texts.append(f"{name}, β = {m:g}, B = {b:g}: {_shown(times)}, {times.share:.0%} left")
    stuck = usam[BEYOND, 0.0, 128.0].count().get(sf.Status.still_inside.label, 0)
    return _study.fact(
        f"{saddle.name}: beyond 1/|λ|",
        f"at rho|λ| = {BEYOND:g} no path of USAM without momentum, B = 128, leaves in "
        f"{MAX_STEPS} steps; medians: {'; '.join(texts)}",
        predicted=f"{PATHS} inside",
        measured=f"{stuck} inside",
        reason="a count; a path that is lost is not inside",
    )


def _models() -> list[Claim]:
    """Compare simulation, the exact chain and [K]'s model in one dimension."""
    lr, rho, batch, radius = 0.05, 0.5, 32, 0.5
    loss = sf.losses.Quadratic((-1.0,))
    made = sf.StochasticMap(
        sf.Map(loss, sf.USAM(rho=rho), lr=lr), noise.hessian_noise(loss, [0.0], batch_size=batch)
    )
    found = sf.escape_time(
        made, [0.0], radius=radius, key=jax.random.key(1), num_paths=5000, max_steps=10_000
    ).survival
    spread = lr / math.sqrt(batch)
    exact = noise.chain_exit_time(1 + lr * (1 - rho), noise=spread * (1 - rho), radius=radius)
    printed = noise.chain_exit_time(1 + lr * (1 - rho) ** 2, noise=spread, radius=radius)
    return [
        _study.close(
            "USAM at a maximum",
            "mean escape from |w| ≤ ½ at λ = −1, rho = ½, lr = .05, B = 32: the integral equation "
            "of w⁺ = (1 − ηU)w − η(1 + ρλ)ξ, U = λ(1 + ρλ)",
            predicted=exact,
            measured=found.mean,
            absolute=4 * found.mean_error,
            reason="four standard errors",
            source="derived in docs/theory.md, section 9",
        ),
        _study.fact(
            "the printed model",
            f"[K] prints the drift λ(1 + ρλ)² and unchanged noise, whose mean escape is "
            f"{printed:.5g} steps: it does not describe this update",
            predicted="more than 10 standard errors from the simulation",
            measured=("more" if abs(printed - found.mean) > 10 * found.mean_error else "not more")
            + " than 10 standard errors from the simulation",
            reason="its drift is that of descent on w ↦ L(w + ρg(w))",
        ),
    ]


def _before(a: noise.EscapeTimes, b: noise.EscapeTimes) -> bool:
    """Say whether `a` is left sooner: path by path, on the same random numbers.

    Where paths were lost nothing is known: one that stops being a number is not out.
    """
    known = {sf.Status.escaped.label, sf.Status.still_inside.label}
    if not known.issuperset(a.count()) or not known.issuperset(b.count()):
        return False
    longer = np.asarray(b.times, float) - np.asarray(a.times)
    return bool(longer.mean() > 3 * longer.std() / math.sqrt(longer.size))


def _shown(times: noise.EscapeTimes) -> str:
    """Return a median with its interval."""
    low, high = times.interval
    if math.isnan(times.median):
        return "median not reached"
    return f"{times.median:g} ({low:g} to {'?' if math.isnan(high) else f'{high:g}'})"


def _range(pairs: list) -> str:
    """Return the least and the largest ratio of medians, of those that are known."""
    ratios = np.array([b.median / a.median for a, b in pairs])
    ratios = ratios[np.isfinite(ratios)]
    return f"{ratios.min():.3g} to {ratios.max():.3g}" if ratios.size else "unknown"
