"""Whether a warm start by gradient descent keeps SAM from hallucinated fixed points.

A hallucinated fixed point has g(w + ρĝ) = 0 and g(w) ≠ 0. By Proposition H6 of docs/theory it
depends on the minimum that gradient descent finds: where SAM keeps it at this ρ, a warm start that
has come near enough helps for certain; where SAM leaves it, no warm start helps, however long. In
one dimension the share of starts that end at a hallucinated point follows from the signs of g.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow._types import Box

NAME = "warm-start"
TITLE = "A warm start by gradient descent, and the hallucinated fixed points of SAM"
SMALL_SIZE = "500 starts instead of 4,000, and four of the seven toys."
PAPER = "Park, Jang, Ryu, Yang 2025, arXiv 2509.21818"
_study = Study(NAME, f"{PAPER}; docs/theory, Proposition H6")

NUM_STARTS = {Size.full: 4000, Size.small: 500}
LEVEL = 1 - 1e-4
"""Of the intervals that theory is held against: of seven at 95 % one missed in a first run."""
NUM_STEPS = 6000
APART = 1e-6
"""Weights are moved by so much after the warm start: SAM has no direction at g = 0."""
NEAR = 1e-3
"""An orbit has ended at a point that is no farther."""


class Toy(NamedTuple):
    """A loss, a box of starts, the radius of SAM, lr, and lengths of warm starts."""

    name: str
    loss: Any
    box: Box
    rho: float
    lr: float
    warm: tuple[int, ...]


_WELLS = "w**4/4 - 3*w**3/2 + 5*w**2/2"
"""Minima at 0 and 2.5, a maximum at 2: g = w (w − 2)(w − 2.5)."""


def toys(size: Size = Size.full) -> list[Toy]:
    """Return the toys, with radii at which SAM keeps all of their minima, some, or none."""
    wells, double = sf.loss(_WELLS), sf.losses.double_well()
    himmelblau, camel = sf.losses.himmelblau(), sf.losses.six_hump_camel()
    wide, hump = ((-5, 5), (-5, 5)), ((-2, 2), (-1.2, 1.2))
    found = [
        Toy("two wells", wells, ((-1, 3),), 1.0, 5e-3, (0, 100, 3000)),
        Toy("two wells", wells, ((-1, 3),), 2.2, 5e-3, (0, 3000)),
        Toy("double well", double, ((-2, 2),), 1.5, 1e-2, (0, 3000)),
        Toy("Himmelblau", himmelblau, wide, 1.5, 2e-3, (0, 10, 3000)),
    ]
    if size is Size.full:
        found += [
            Toy("Himmelblau", himmelblau, wide, 2.0, 2e-3, (0, 10, 3000)),
            Toy("Himmelblau", himmelblau, wide, 4.0, 2e-3, (0, 3000)),
            Toy("six-hump camel", camel, hump, 0.5, 5e-3, (0, 10, 3000)),
        ]
    return found


class Outcome(NamedTuple):
    """What became of the starts of one toy.

    Attributes:
        toy: its name and rho.
        hallucinated: by the length of the warm start, which orbits end at a hallucinated point.
        predicted: by the same, the share that theory predicts; in one dimension only.
        kept: whether the longest warm start came to a minimum that SAM keeps, one per start.
        lost: orbits that were not finite.
        attracting: how many hallucinated points attract, proved to be all in reach.

    """

    toy: str
    hallucinated: dict[int, np.ndarray]
    predicted: dict[int, float]
    kept: np.ndarray
    lost: int
    attracting: int

    def share(self, steps: int) -> str:
        """Return the share after so many steps of GD with Clopper and Pearson's interval."""
        ended = self.hallucinated[steps]
        low, high = binomial(int(ended.sum()), ended.size)
        return f"{100 * ended.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def binomial(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval for a probability."""
    found = scipy.stats.binomtest(count, of).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> list[Outcome]:
    """Follow orbits of SAM from the starts, and from where GD has brought them."""
    found = []
    for toy in toys(size):
        progress(f"{toy.name}, rho = {toy.rho:g}")
        found.append(outcome(toy, NUM_STARTS[size]))
    return found


def outcome(toy: Toy, num_starts: int) -> Outcome:
    """Return what becomes of starts drawn evenly from the box."""
    low, high = np.array(toy.box, float).T
    starts = np.random.default_rng(0).uniform(low, high, (num_starts, len(low)))
    reach = [(a - toy.rho, b + toy.rho) for a, b in toy.box]
    proof = sf.certify_fixed_points(sf.Flow(toy.loss, sf.SAM(rho=toy.rho)), reach)  # pyright: ignore
    if proof.verdict is not sf.Verdict.proved:
        raise RuntimeError(f"The hallucinated points of {toy.name} are not proved to be all.")
    resting = np.array(
        [
            point.midpoint
            for point in proof.points
            if point.origin == "hallucinated" and point.kind is sf.Kind.attracting
        ]
    ).reshape(-1, len(low))
    ended, predicted, lost, kept = {}, {}, 0, np.zeros(num_starts, bool)
    for steps in toy.warm:
        warmed = _after(toy, sf.GD(), starts, steps)
        kept = _near_kept(toy, warmed)
        last = _after(toy, sf.SAM(rho=toy.rho), warmed + APART, NUM_STEPS)  # pyright: ignore
        lost += int((~np.isfinite(last).all(axis=1)).sum())
        distance = np.linalg.norm(last[:, None] - resting, axis=2)
        ended[steps] = (distance <= NEAR).any(axis=1)
        if len(low) == 1:
            grid = np.linspace(low, high, 4001)
            predicted[steps] = predicted_share(toy, _after(toy, sf.GD(), grid, steps)[:, 0])
    return Outcome(f"{toy.name}, rho = {toy.rho:g}", ended, predicted, kept, lost, len(resting))


def _after(toy: Toy, rule: Any, starts: np.ndarray, steps: int) -> np.ndarray:
    if not steps:
        return starts
    step = sf.Map(toy.loss, rule, lr=toy.lr)  # pyright: ignore[reportCallIssue]
    return np.asarray(sf.iterate(step, starts, num_steps=steps).final_w)


def _near_kept(toy: Toy, ws: np.ndarray) -> np.ndarray:
    """Say which weights are at a minimum that SAM keeps: S(e) = eᵀH g(m + ρe) > 0 for unit e."""
    minima = critical(toy.loss, toy.box)[1]
    holding = [m for m in minima if _keeps(toy.loss, m, toy.rho)]
    if not holding:
        return np.zeros(len(ws), bool)
    return (np.linalg.norm(ws[:, None] - np.array(holding), axis=2) <= NEAR).any(axis=1)


def _keeps(loss: Any, m: np.ndarray, rho: float) -> bool:
    angles = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    units = jnp.asarray(circle if len(m) == 2 else [[1.0], [-1.0]])
    ascended = jax.vmap(loss.gradient)(jnp.asarray(m) + rho * units)
    return bool(jnp.min(jnp.sum((units @ loss.hessian(jnp.asarray(m))) * ascended, axis=1)) > 0)


def critical(loss: Any, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return the critical points in a box twice as large, and the minima among them, as rows."""
    wide = [(a - (b - a) / 2, b + (b - a) / 2) for a, b in box]
    proof = sf.certify_fixed_points(sf.Map(loss, sf.GD(), lr=1e-3), wide)  # pyright: ignore
    points = [(point.midpoint, point.index == 0) for point in proof.points]
    every = np.array([w for w, _ in points])
    return every, every[[minimum for _, minimum in points]]


def predicted_share(toy: Toy, ws: np.ndarray) -> float:
    """Return the share of `ws` from which SAM's flow in one dimension ends hallucinated.

    The velocity −g(w + ρ sign g(w)) has one sign between neighbours among the critical points c
    and the points c ± ρ, so that the flow goes from one to the next until they meet head-on.
    """
    marks = np.sort(critical(toy.loss, toy.box)[0][:, 0])
    stops = np.unique(np.concatenate([marks, marks - toy.rho, marks + toy.rho]))
    middles = np.concatenate([[stops[0] - 1], (stops[1:] + stops[:-1]) / 2, [stops[-1] + 1]])
    g = lambda w: np.asarray(jax.vmap(toy.loss.gradient)(jnp.asarray(w)[:, None]))[:, 0]  # noqa: E731
    upwards = -g(middles + toy.rho * np.sign(g(middles))) > 0
    # interval i lies between stops i − 1 and i
    ended = np.empty(len(middles), bool)
    for start in range(len(middles)):
        i = start
        while True:
            after = i + 1 if upwards[i] else i - 1
            if upwards[after] != upwards[i]:
                stop = stops[min(i, after)]
                ended[start] = np.min(np.abs(marks - stop)) > NEAR
                break
            i = after
    return float(ended[np.searchsorted(stops, ws)].mean())


def judge(found: list[Outcome]) -> list[Claim]:
    """Compare shares with theory, and the longest warm start with none."""
    claims = []
    for each in found:
        claims += [_share(each, steps) for steps in each.predicted]
        claims.append(_helps(each))
        if each.kept.any():
            claims.append(_kept(each))
    return claims


def _share(each: Outcome, steps: int) -> Claim:
    ended, predicted = each.hallucinated[steps], each.predicted[steps]
    low, high = binomial(int(ended.sum()), ended.size, LEVEL)
    inside = bool(low <= predicted <= high)
    return _study.fact(
        f"{each.toy}, after {steps} steps",
        f"the share of {ended.size} starts that end at a hallucinated point after {steps} steps of "
        f"GD: {100 * ended.mean():.1f} %, with an interval from {100 * low:.1f} to "
        f"{100 * high:.1f}; predicted {100 * predicted:.1f} %",
        predicted="in the interval",
        measured="in the interval" if inside else "not in the interval",
        reason="theory counts a grid of 4,001 starts by the signs of g, Proposition H6; the "
        f"interval is Clopper and Pearson's of {100 * LEVEL:g} %, starts drawn evenly",
        evidence=Evidence.statistical,
        error_probability=1 - LEVEL,
        source="docs/theory, Proposition H6",
    )


def _helps(each: Outcome) -> Claim:
    cold, warm = (each.hallucinated[k] for k in (min(each.hallucinated), max(each.hallucinated)))
    saved, spoiled = int((cold & ~warm).sum()), int((~cold & warm).sum())
    p = scipy.stats.binomtest(saved, saved + spoiled).pvalue if saved + spoiled else 1.0
    agrees = saved > spoiled if p < 0.01 else None
    if not saved and cold.any():
        agrees = False
    shares = "; ".join(f"{k} steps {each.share(k)}" for k in each.hallucinated)
    return _study.beside(
        f"{each.toy}: warm start",
        f"shares of {cold.size} starts that end at one of {each.attracting} attracting "
        f"hallucinated points, by the length of the warm start: {shares}. SAM keeps the minimum "
        f"that GD comes to for {100 * each.kept.mean():.0f} % of the starts",
        paper="a short warm start by SGD mitigates hallucinated minimisers",
        found=f"{saved} starts are saved by the longest warm start, {spoiled} are spoiled; "
        f"{int(warm.sum())} still end hallucinated",
        agrees=agrees,
        reason="it helps if more starts are saved than spoiled (binomial test of the discordant "
        "pairs at 1 %), and does not if none is saved. In one dimension it cannot where SAM leaves "
        "the minimum that GD found (Proposition H6)",
        error_probability=0.01,
        source=PAPER,
    )


def _kept(each: Outcome) -> Claim:
    warm = each.hallucinated[max(each.hallucinated)]
    return _study.every(
        f"{each.toy}: kept",
        "no orbit ends hallucinated that begins at a minimum which SAM keeps, S(e) > 0 for every "
        "unit vector e",
        holding=int((each.kept & ~warm).sum()),
        of=int(each.kept.sum()),
        what="starts",
        reason="‖g‖ falls along the flow wherever S > 0, and such a minimum is reached in finite "
        "time; S is taken at 1,440 directions, lr is small",
        evidence=Evidence.numerical,
        source="docs/theory, section 3",
    )
