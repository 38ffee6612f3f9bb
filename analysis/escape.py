"""Escape from saddles: first passage out of a ball under SGD, USAM and SAM, with censoring."""

import math

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.passages import (
    BATCHES,
    BEYOND,
    MAX_STEPS,
    MOMENTA,
    PATHS,
    WITHIN,
    Cell,
    Record,
    Saddle,
    Swept,
    Times,
    measure,
)
from analysis.statistics import Mean, mean_of, redrawn
from samflow import noise

NAME = "escape"
TITLE = "Escape from saddles: rho, momentum and batch size, SGD against USAM and SAM"
SMALL_SIZE = "only the radii that the claims need; two more radii of the figure are left out."
_study = Study(NAME, "[K] Kim et al., arXiv 2301.06308, theorems 2 and 3")

NEEDED = 3.0
"""Standard errors that decide which of two cells is left sooner."""
HIGHEST = 50.0
"""Barriers above, in units of the noise, are not asked about: e⁵⁰ is out of every reach."""

Pair = tuple[str, noise.EscapeTimes, noise.EscapeTimes]
"""A name, what should be left sooner, and what later."""

__all__ = ["NAME", "SMALL_SIZE", "TITLE", "judge", "later", "measure"]


def judge(record: Record) -> list[Claim]:
    """Compare with what is known exactly, then check [K]'s claims cell by cell."""
    claims = _known(record)
    for swept in record.swept:
        claims += _compared(swept)
    return claims + _models(record)


def _known(record: Record) -> list[Claim]:
    found, dt = record.langevin.survival, record.langevin_dt
    return [
        _study.close(
            "double well",
            "mean passage time from −1 to 1 of dx = (x − x³) dt + √(2D) dB with D = .05, by "
            "quadrature",
            predicted=729.67,
            measured=record.passage,
            absolute=0.005,
            reason="half of the last digit that the reference prints",
            source="Gardiner 2009, section 5.5",
        ),
        _study.close(
            "double well, Kramers",
            "Kramers' formula for the same time: 2π/√(V''(−1)|V''(0)|) exp(ΔV/D)",
            predicted=659.38,
            measured=record.kramers,
            absolute=0.005,
            reason="half of the last digit that the reference prints",
            source="Kramers 1940",
        ),
        _study.sampled(
            "double well, simulated",
            f"the same mean passage time over {len(record.langevin.times)} Langevin paths with "
            f"dt = {dt}, as the escape time from the ball (−19, 1)",
            predicted=record.passage,
            measured=found.mean * dt,
            error=found.mean_error * dt,
            bias=0.03 * record.passage,
            reason="four standard errors, plus 3 % for the discretisation in time",
            source="quadrature",
        ),
        _study.close(
            "Brownian motion",
            "mean time to leave (−1, 1) from x = ½ for Brownian motion in steps of dt = 1/400, "
            "computed exactly: (L² − x²)/σ², with L = 1 increased by the mean overshoot .5826 σ√dt",
            predicted=record.corrected,
            measured=record.chain,
            rel=2e-3,
            reason="an error of order dt remains after the correction",
            source="Siegmund 1979",
        ),
    ]


def _compared(swept: Swept) -> list[Claim]:
    within = {
        (rule, *cell): times
        for rule, found in (("USAM", swept.usam), ("SAM", swept.sam))
        for cell, times in found.items()
        if cell[0] in (0.0, *WITHIN)
    }
    first, last = MOMENTA[0], MOMENTA[-1]
    momentum = [((rule, r, last, b), (rule, r, first, b)) for rule, r, m, b in within if m == first]
    few, many = BATCHES[0], BATCHES[-1]
    batches = [((rule, r, m, few), (rule, r, m, many)) for rule, r, m, b in within if b == few]
    name = swept.saddle.name
    return [
        _slower(swept, "USAM", swept.usam),
        _slower(swept, "SAM", swept.sam),
        _asked(
            swept,
            f"{name}: momentum",
            f"at the same lr, paths with momentum {last:g} escape sooner than paths without",
            within,
            momentum,
        ),
        _asked(
            swept,
            f"{name}: batch size",
            f"paths with batches of {few:g} escape sooner than paths with batches of {many:g}",
            within,
            batches,
        ),
        _rescaled(swept),
        _beyond(swept),
    ]


def barrier(rule: str, cell: Cell, saddle: Saddle) -> float:
    """Return the height of SAM's barrier around a saddle over the noise's diffusivity.

    SAM's flow along λ₋ is ẏ = |λ₋|(y − ρ sign y): its potential falls to both sides only from
    |y| = ρ on, |λ₋|ρ²/2 above the saddle. Steps of covariance η²|λ₋|/B, in time η/(1 − β), have
    the diffusivity η|λ₋|/(2B(1 − β)); the quotient is ρ²B(1 − β)/η. The flows of SGD and USAM
    have no barrier.
    """
    r, momentum, batch = cell
    if rule != "SAM":
        return 0.0
    return (r / saddle.curvature) ** 2 * batch * (1 - momentum) / saddle.lr


def _asked(swept: Swept, name: str, statement: str, within: dict, couples: list) -> Claim:
    """Compare pairs of cells; those behind too high a barrier are left out by theory alone."""
    asked = [
        (sooner, later)
        for sooner, later in couples
        if barrier(sooner[0], sooner[1:], swept.saddle) <= HIGHEST
    ]
    omitted = [_named(sooner) for sooner, later in couples if (sooner, later) not in asked]
    left_out = ""
    if omitted:
        left_out = (
            f". {len(omitted)} of {len(couples)} pairs of settings were left out before anything "
            "was simulated, because even in the faster one the potential barrier over the noise, "
            f"ρ²B(1 − β)/η, is above {HIGHEST:g}: {', '.join(omitted)}"
        )
    pairs = [(_named(later), within[sooner], within[later]) for sooner, later in asked]
    return _sooner(
        name, f"{statement}: by a factor of {_range(pairs)} in the median{left_out}", pairs
    )


def _named(cell: tuple[str, float, float, float]) -> str:
    rule, r, momentum, batch = cell
    if not r:
        return f"SGD β = {momentum:g} B = {batch:g}"
    return f"{rule} ρ|λ| = {r:g} β = {momentum:g} B = {batch:g}"


def _sooner(
    name: str,
    statement: str,
    pairs: list[Pair],
    *,
    what: str = "pairs of settings",
    source: str | None = None,
) -> Claim:
    """Claim that the first of each pair is left sooner; cells with censored paths are named."""
    apart = [later(a, b) for _, a, b in pairs]
    censored = [f"{text} ({b.survival.censored})" for text, _, b in pairs if b.survival.censored]
    note = ""
    if censored:
        note = f". Slower settings with right-censored paths, and how many: {', '.join(censored)}"
    return _study.every(
        name,
        statement,
        holding=sum(mean.z > NEEDED for mean in apart),
        of=len(pairs),
        what=what,
        reason="both settings use the same random numbers; in each pair the means of "
        f"min(T, {MAX_STEPS}) differ by more than {NEEDED:g} standard errors (the smallest "
        f"difference: {_least(apart):.1f}){note}",
        evidence=Evidence.statistical,
        error_probability=redrawn(apart, NEEDED),
        source=source,
    )


def _least(apart: list[Mean]) -> float:
    return float(min((mean.z for mean in apart), default=math.nan))


def _slower(swept: Swept, name: str, found: Times) -> Claim:
    sgd = swept.usam
    pairs = [
        (_named((name, r, m, b)), sgd[0.0, m, b], times)
        for (r, m, b), times in found.items()
        if r in WITHIN
    ]
    middle = (0.5, 0.0, 32.0)
    unknown = sum(math.isnan(times.median) for _, _, times in pairs)
    not_reached = f" (in {unknown} settings its median is not reached)" if unknown else ""
    return _sooner(
        f"{swept.saddle.name}: {name} against SGD",
        f"{name} escapes more slowly than SGD for ρ|λ| = ¼, ½, ¾: its median time is "
        f"{_range(pairs)} times SGD's{not_reached}. At ρ|λ| = ½, β = 0, B = 32 the median for "
        f"{name} is {_shown(found[middle])}, for SGD {_shown(sgd[0.0, 0.0, 32.0])}",
        pairs,
    )


def _rescaled(swept: Swept) -> Claim:
    pairs = [
        (f"B = {b:g}", swept.usam[0.0, 0.0, b], times) for (_, _, b), times in swept.slowed.items()
    ]
    medians = "; ".join(f"{text}: {_shown(b)} against {_shown(a)}" for text, a, b in pairs)
    return _sooner(
        f"{swept.saddle.name}: momentum at the same lr/(1 − β)",
        "SGD with momentum .9 and lr/10, and so with the same lr/(1 − β), escapes later than SGD "
        "without momentum. At the same lr momentum helps because the effective step is longer. "
        f"Medians with and without: {medians}",
        pairs,
        what="batch sizes",
        source="derived in docs/theory, section 9; not said in [K]",
    )


def _beyond(swept: Swept) -> Claim:
    """Say what happens where the flow is attracted: the noise can still win.

    With momentum and small batches paths leave through the stable direction, where USAM takes
    the noise times 1 + ρλ: that is no escape from the saddle, but it is one from the ball.
    """
    texts = []
    for name, found in (("USAM", swept.usam), ("SAM", swept.sam)):
        for m, b in ((0.0, 128.0), (0.9, 8.0)):
            times = found[BEYOND, m, b]
            texts.append(f"{name}, β = {m:g}, B = {b:g}: {_shown(times)}, {times.share:.0%}")
    inside = swept.usam[BEYOND, 0.0, 128.0].count().get(sf.Status.still_inside.label, 0)
    away = swept.saddle.radius / (math.sqrt(2) * _spread(swept).max())
    return _study.every(
        f"{swept.saddle.name}: beyond 1/|λ|",
        f"at ρ|λ| = {BEYOND:g} no path of USAM without momentum and with B = 128 escapes in "
        f"{MAX_STEPS} steps. Median time, and share of the paths that escape: {'; '.join(texts)}",
        holding=inside,
        of=PATHS,
        what="inside",
        reason="a count; a path that becomes infinite or NaN does not count as inside. To escape, "
        f"a coordinate must reach {away:.3g} standard deviations of the linearised map",
        evidence=Evidence.statistical,
        error_probability=redrawn([Mean(away, 1.0)], 0.0, of=4 * PATHS * MAX_STEPS),
    )


def _spread(swept: Swept) -> np.ndarray:
    """Return the standard deviation along each eigenvector of USAM beyond 1/|λ|, once stationary.

    Linearised, without momentum, with the largest batch: w⁺ = aw − η(1 + ρλ)ξ, a = 1 − ηλ(1 + ρλ),
    ξ of variance |λ|/B.
    """
    lam, lr = swept.eigenvalues, swept.saddle.lr
    longer = 1 + BEYOND / swept.saddle.curvature * lam
    a = 1 - lr * lam * longer
    return np.sqrt(lr**2 * longer**2 * np.abs(lam) / BATCHES[-1] / (1 - a**2))


def _models(record: Record) -> list[Claim]:
    found = record.maximum.survival
    apart = Mean(abs(record.printed - found.mean), found.mean_error)
    return [
        _study.sampled(
            "USAM at a maximum",
            "mean time to escape from |w| ≤ ½ at λ = −1, ρ = ½, lr = .05, B = 32, against the "
            "integral equation for w⁺ = (1 − ηU)w − η(1 + ρλ)ξ, U = λ(1 + ρλ)",
            predicted=record.update,
            measured=found.mean,
            error=found.mean_error,
            reason="four standard errors",
            source="derived in docs/theory, section 9",
        ),
        _study.fact(
            "the printed model",
            "the model printed in [K], with drift λ(1 + ρλ)² and SGD's noise, does not describe "
            f"USAM's update: its mean escape time is {record.printed:.5g} steps",
            predicted="more than 10 standard errors from the simulation",
            measured=("more" if apart.z > 10 else "not more")
            + " than 10 standard errors from the simulation",
            reason="the printed drift is that of gradient descent on w ↦ L(w + ρg(w))",
            evidence=Evidence.statistical,
            error_probability=redrawn([apart], 10.0),
        ),
    ]


def later(a: noise.EscapeTimes, b: noise.EscapeTimes) -> Mean:
    """Return by how much `b` is left later than `a`, path by path on the same random numbers.

    Of times that are censored at the same step this is the difference of restricted means. Where
    paths were lost nothing is known, NaN: one that stops being a number is not out.
    """
    known = {sf.Status.escaped.label, sf.Status.still_inside.label}
    if not known.issuperset(a.count()) or not known.issuperset(b.count()):
        return Mean(math.nan, math.nan)
    return mean_of(np.asarray(b.times, float) - np.asarray(a.times))


def _shown(times: noise.EscapeTimes) -> str:
    """Return a median with its interval."""
    low, high = times.interval
    if math.isnan(times.median):
        return "not reached"
    return f"{times.median:g} ({low:g} to {'∞' if math.isnan(high) else f'{high:g}'})"


def _range(pairs: list[Pair]) -> str:
    """Return the least and the largest ratio of medians, of those that are known."""
    ratios = np.array([b.median / a.median for _, a, b in pairs])
    ratios = ratios[np.isfinite(ratios)]
    return f"{ratios.min():.3g} to {ratios.max():.3g}" if ratios.size else "unknown"
