"""Lookahead-SAM and optimistic SAM at saddles: which saddles hold them, and for how long."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.stats
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow import rules, theory

NAME = "lookahead"
TITLE = "Lookahead-SAM is held by weaker saddles than SAM; optimistic SAM by stronger ones"
SMALL_SIZE = "escape times with noise are left out."
PAPER = "Yu, Zhang, Kwok 2024, Improving Sharpness-Aware Minimization by Lookahead (ICML)"
_study = Study(NAME, "derived in docs/theory, Propositions 17 and 20")

RHO, LAM = 0.1, 1.0
STEPS, NUM_STARTS = 6000, 200
BESIDE = ((0.05, 0.05), (0.3, 0.3), (0.3, 0.05), (0.2, 0.4))
"""(lr, lookahead) of the cycles that orbits are followed beside."""
LR = AHEAD = 0.3
SIDES = (0.85, 1.15)
"""|λ₋| over a bound."""
BETWEEN, ABOVE, BELOW = 0.145, 0.4, 0.06
"""|λ₋| between the weak bounds of lookahead-SAM and SAM, of SAM and optimistic SAM, below all."""
STRONG = 3.0
"""|λ₋| with η|λ₋| = .9, which still traps SAM."""
NAMES = {"sam": "SAM", "lookahead": "Lookahead-SAM", "optimistic": "optimistic SAM"}
_BEALE: dict[str, Any] = {"loss": "beale", "lr": 0.01, "rho": 0.05}
_BEALE_POINTS = {"saddle": (0.0, 1.0), "minimum": (3.0, 0.5)}
_BEALE_AHEAD = (0.05, 0.001)
"""αλ = 1.39 and 2.4 at the saddle and the minimum, and .03 and .05."""
_ERROR = 1e-6
SIGMA, NUM_PATHS = 0.03, 400
"""Standard deviation of the noise added to the gradient, and paths from the saddle itself."""


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        cycles: how many cycles are left by orbits beside them as predicted, of how many.
        bounds: |λ₋| and how many starts each rule is held from there, at both sides of both bounds.
        times: steps that each rule takes to leave from each start, by |λ₋|; `STEPS` if it does not.
        beale: what becomes of orbits near Beale's points, by lookahead; of SAM by 0.
        noisy: escape times of each rule from the saddle with |λ₋| = `ABOVE`, with noise; empty in
            the small size.

    """

    cycles: tuple[int, int]
    bounds: dict[str, dict[float, int]]
    times: dict[float, dict[str, np.ndarray]]
    beale: dict[float, tuple[str, str]]
    noisy: dict[str, np.ndarray]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow orbits beside the cycles, and from random starts near saddles."""
    progress("cycles")
    grid = [(*pair, m) for pair in BESIDE for m in np.geomspace(0.01, 1.6, 15).tolist()]
    predicted = [_predicted(*each) for each in grid]
    clear = [abs(abs(mu) - 1) > 0.01 for mu in predicted]
    agree = [
        _returns(*each) == (abs(mu) < 1)
        for each, mu, far in zip(grid, predicted, clear, strict=True)
        if far
    ]
    progress("random starts near saddles")
    return Record(
        (sum(agree), sum(clear)),
        {
            name: {share: int((_times(name, share * bound) == STEPS).sum()) for share in SIDES}
            for name, bound in weak_bounds().items()
        },
        {m: {name: _times(name, m) for name in NAMES} for m in (BELOW, BETWEEN, ABOVE, STRONG)},
        {ahead: _on_beale(ahead) for ahead in (0.0, *_BEALE_AHEAD)},
        {} if size is Size.small else {name: _escapes(name) for name in NAMES},
    )


def judge(record: Record) -> list[Claim]:
    """Compare with the bounds, and decide the paper's claim saddle by saddle."""
    bounds = weak_bounds()
    claims = [
        _study.every(
            "cycles of lookahead-SAM",
            "an orbit beside its 2-cycle returns iff the multiplier across has modulus below 1, "
            f"over |λ₋| from .01 to 1.6 and {len(BESIDE)} pairs of lr and lookahead",
            holding=record.cycles[0],
            of=record.cycles[1],
            what="cycles",
            reason="saddles with a multiplier within .01 of 1 are left out beforehand",
            evidence=Evidence.numerical,
        )
    ]
    claims += [
        _study.fact(
            f"{NAMES[name]}: weak bound",
            f"of {NUM_STARTS} random starts near a saddle with |λ₋| = {SIDES[0]} and {SIDES[1]} "
            f"times {bounds[name]:.4g}, so many are held",
            predicted=f"0 and {NUM_STARTS}",
            measured=" and ".join(str(count) for count in held.values()),
            reason=f"η = α = {LR}, λ₁ = 1, {STEPS:,} steps",
            evidence=Evidence.numerical,
        )
        for name, held in record.bounds.items()
    ]
    claims += [_paper(record, name, m) for m in record.times for name in NAMES if name != "sam"]
    if record.noisy:
        claims += [_with_noise(record, name) for name in NAMES if name != "sam"]
    plain, *ahead = (f"{'; '.join(fates)}" for fates in record.beale.values())
    lams = (27.75, 48.98)
    return [
        *claims,
        _study.fact(
            "Beale's function",
            "orbits of SAM, of lookahead-SAM with α = .05 and with α = .001 near the saddle and "
            f"near the minimum (λ = {lams[0]} and {lams[1]}; ρ = .05, η = .01): αλ > 1 lets "
            "lookahead-SAM leave both; with αλ < 1 it stays at both, as SAM",
            predicted="stays; stays | leaves; leaves | stays; stays",
            measured=" | ".join((plain, *ahead)),
            reason="fates of 16 orbits from nearby, which must all be the same",
            evidence=Evidence.numerical,
        ),
    ]


def weak_bounds() -> dict[str, float]:
    """Return the |λ₋| from which the 2-cycle of each rule attracts."""
    return {
        "sam": float(theory.saddle_cycle_bounds(LAM, lr=LR)[0]),
        "lookahead": float(theory.lookahead_weak_bound(LAM, lr=LR, lookahead=AHEAD)),
        "optimistic": float(theory.optimistic_cycle_bounds(LAM, lr=LR, lookahead=AHEAD)[0]),
    }


def _sooner(own: np.ndarray, sam: np.ndarray) -> bool | None:
    """Say whether the rule leaves sooner than SAM (True) or later; None if ranks do not decide."""
    sides = ("less", "greater")
    less, greater = (
        float(scipy.stats.mannwhitneyu(own, sam, alternative=side).pvalue) for side in sides
    )
    return True if less < _ERROR else False if greater < _ERROR else None


def _with_noise(record: Record, name: str) -> Claim:
    own, sam = record.noisy[name], record.noisy["sam"]
    return _study.beside(
        f"{NAMES[name]} with noise, λ₋ = −{ABOVE:g}",
        f"steps until paths from the saddle leave the ball of radius 10 ρ, with noise of standard "
        f"deviation {SIGMA:g} on the gradient, beside SAM's (λ₁ = 1, ρ = {RHO}, η = α = {LR}). "
        "Without noise SAM and lookahead-SAM are held there",
        paper="less prone to saddle points",
        found=f"median {np.median(own):.0f} steps; SAM {np.median(sam):.0f} steps",
        agrees=_sooner(own, sam),
        reason=f"rank test of Mann and Whitney at {_ERROR:g} over {NUM_PATHS} paths each",
        error_probability=_ERROR,
        source=PAPER,
    )


def _paper(record: Record, name: str, m: float) -> Claim:
    """Say which of the rule and SAM leaves the saddle sooner."""
    own, sam = record.times[m][name], record.times[m]["sam"]
    return _study.beside(
        f"{NAMES[name]} at λ₋ = −{m:g}",
        f"steps until orbits from {NUM_STARTS} random starts near a saddle (λ₁ = 1, ρ = {RHO}, "
        f"η = α = {LR}) leave, beside SAM's. Here {_why(name, m)}",
        paper="less prone to saddle points",
        found=f"median {_median(own)}; SAM {_median(sam)}",
        agrees=_sooner(own, sam),
        reason=f"rank test of Mann and Whitney at {_ERROR:g}. The rule is the extragradient on "
        "SAM's direction, or the optimistic gradient; the text of the paper could not be had",
        error_probability=_ERROR,
        source=PAPER,
    )


def _why(name: str, m: float) -> str:
    bound = weak_bounds()
    if m == STRONG:
        return "SAM is trapped within ρ of the saddle, and steps of the rule reach beyond ρ"
    if m > bound[name]:
        return f"the rule is held from |λ₋| = {bound[name]:.3g} on, SAM from {bound['sam']:.3g} on"
    if m > bound["sam"]:
        return f"SAM is held from |λ₋| = {bound['sam']:.3g} on, the rule from {bound[name]:.3g} on"
    return "no 2-cycle attracts"


def _median(times: np.ndarray) -> str:
    held = int((times == STEPS).sum())
    if held == len(times):
        return "held from every start"
    return f"{np.median(times):.0f} steps" + (f" ({held} held)" if held else "")


def _predicted(lr: float, ahead: float, m: float) -> float:
    return float(theory.lookahead_multiplier(LAM, -m, rho=RHO, lr=lr, lookahead=ahead))


def _returns(lr: float, ahead: float, m: float) -> bool:
    """Say whether what is across the cycle shrinks."""
    cycle = theory.lookahead_cycle(LAM, rho=RHO, lr=lr, lookahead=ahead)
    assert cycle is not None  # for every pair in BESIDE
    size = float(sum(cycle))
    rule = rules.LookaheadSAM(rho=RHO, lookahead=ahead)  # pyright: ignore[reportCallIssue]
    system = sf.Map(sf.losses.Quadratic((LAM, -m)), rule, lr=lr)  # pyright: ignore[reportCallIssue]
    w = jnp.array([[size, 1e-6 * size]])
    return bool(abs(float(_end(system, w)[0, 1])) < 1e-6 * size)


def _map(name: str, m: float) -> sf.Map:
    about = {"rho": RHO} if name == "sam" else {"rho": RHO, "lookahead": AHEAD}
    full = name if name == "sam" else f"{name}-sam"
    loss = sf.losses.Quadratic((LAM, -m))
    return sf.Map(loss, rules.rule(full, **about), lr=LR)  # pyright: ignore[reportCallIssue]


def _escapes(name: str) -> np.ndarray:
    """Return escape times from the saddle with noise; all paths must escape, or they are NaN."""
    noisy = sf.StochasticMap(_map(name, ABOVE), sf.noise.AdditiveNoise(SIGMA**2 * np.eye(2)))
    about = {"key": jr.key(0), "num_paths": NUM_PATHS, "max_steps": 100_000}
    found = sf.escape_time(noisy, [0.0, 0.0], radius=10 * RHO, **about)
    times = np.asarray(found.times, dtype=float)
    return times if found.share == 1 else np.full_like(times, np.nan)


def _times(name: str, m: float) -> np.ndarray:
    """Return the first step at which |w| > 10 rho, for each start; `STEPS` if there is none."""
    system = _map(name, m)
    turns = np.random.default_rng(0).normal(size=(NUM_STARTS, 2))
    starts = 1e-3 * RHO * turns / np.linalg.norm(turns, axis=1)[:, None]
    return np.asarray(_left(system, jnp.asarray(starts)))


@eqx.filter_jit
def _end(system: Any, starts: Array) -> Array:
    def end(w: Array) -> Array:
        return lax.fori_loop(0, STEPS, lambda _, w: system.step(w), w)

    return jax.vmap(end)(starts)


@eqx.filter_jit
def _left(system: Any, starts: Array) -> Array:
    def one(w: Array) -> Array:
        def step(state: Any) -> Any:
            k, z = state
            return k + 1, system.step(z)

        def inside(state: Any) -> Array:
            k, z = state
            return (k < STEPS) & (jnp.abs(system.position(z)).max() < 10 * RHO)

        return lax.while_loop(inside, step, (jnp.asarray(0), system.lift(w)))[0]

    return jax.vmap(one)(starts)


def _on_beale(ahead: float) -> tuple[str, str]:
    """Return whether orbits near the saddle and near the minimum stay; SAM for 0."""
    rho = _BEALE["rho"]
    rule = rules.LookaheadSAM(rho=rho, lookahead=ahead) if ahead else sf.SAM(rho=rho)  # pyright: ignore
    system = sf.Map(sf.losses.beale(), rule, lr=_BEALE["lr"])  # pyright: ignore
    fates = [
        set(sf.fate(system, point, num_starts=16, num_steps=4000).fates)
        for point in _BEALE_POINTS.values()
    ]
    first, last = ("leaves" if seen == {"leaves"} else _stays(seen) for seen in fates)
    return first, last


def _stays(fates: set[str]) -> str:
    return " and ".join(sorted(fates)) if "leaves" in fates else "stays"
