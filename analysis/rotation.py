"""SAM along one normal direction on the loss: a contracted rotation, with and without momentum."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow import theory

NAME = "rotation"
TITLE = "A third derivative turns SAM's 2-cycle into a rotation with a devil's staircase"
_study = Study(NAME, "derived in docs/theory, rotation.md")

SMALL_SIZE = (
    "60 step sizes for each momentum, and 60 radii, instead of 400; a quarter of the steps."
)

RHO = 0.1
BETAS = (0.0, 0.5, 0.9)
_STARTS = (1e-3, -1e-3, 0.02, -0.015, 0.05)
_COUNTS = {Size.full: 400, Size.small: 60}
_SETTLE = {Size.full: 40_000, Size.small: 10_000}
_WINDOW = 2048
_MAX_PERIOD = 64
LRS = (0.005, 0.6)
RHOS = (0.005, 0.42)
"""Up to where g′(−ρ) = 0."""
RHO_LR = 0.05
_PERIODS = {0.05: 7, 0.1: 7, 0.15: 7, 0.17: 9, 0.18: 9, 0.19: 9, 0.2: 2, 0.3: 2}
_BOTH = 0.0581
"""With β = 0.9 a step size at which two cycles attract."""
_BENT_RHO = 0.01
_SMALL_LR = 1e-3
_GOLDEN = 5**0.5 - 2
"""κρ of x²/2 + κx³/3, with which a/(a + b) is the golden mean, the least rational number."""
_RATIOS = (0.2, 0.5, 0.9, 1.3, 2.0)
_REPEATS = 1e-9


def slope(e: Any) -> Any:
    """Return the gradient of ¼y⁴ − ½y² at y = 1 + e."""
    return (1 + e) ** 3 - (1 + e)


def bend(e: Any) -> Any:
    """Return its derivative."""
    return 3 * (1 + e) ** 2 - 1


A, B = slope(RHO), -slope(-RHO)
LIMIT = A / (A + B)
"""The share of steps on the negative side as lr → 0."""


class Sweep(NamedTuple):
    """What orbits do over lr, or over rho.

    Attributes:
        lr: the step sizes.
        rho: the radii, one for each step size.
        share: of steps on the negative side, by lr and start: over whole periods if there are any.
        period: by lr and start; 0 where it is above 64.
        theory: p/q without momentum; None where q > 64 or f does not increase.

    """

    lr: np.ndarray
    rho: np.ndarray
    share: np.ndarray
    period: np.ndarray
    theory: tuple[Fraction | None, ...] = ()

    def agrees(self) -> list[bool]:
        """Say for each place where theory has p/q whether every orbit has this period and share."""
        return [
            bool((self.period[i] == share.denominator).all())
            and np.allclose(self.share[i], float(share), rtol=1e-12)
            for i, share in enumerate(self.theory)
            if share is not None
        ]


class Record(NamedTuple):
    """What theory and orbits say.

    Attributes:
        sweeps: over lr, by momentum.
        over_rho: at lr = 0.05, without momentum.
        named: at the step sizes with known periods.
        at_threshold: at 0.999 and 1.001 of the lr above which the 2-cycle exists.
        both: where two cycles attract.
        affine: ends of intervals beside which orbits do as the formula says, of how many.
        bent: lr above which the 2-cycle exists at a small rho, over ρL‴/λ².
        across: growth across the rotation, by λ₂.
        unstable: multiplier across the 2-cycle of the quartic, and the period of its orbits.
        limit: a/(a + b).

    """

    sweeps: dict[float, Sweep]
    over_rho: Sweep
    named: Sweep
    at_threshold: Sweep
    both: Sweep
    affine: tuple[int, int]
    bent: float
    across: dict[float, float]
    unstable: tuple[float, int]
    limit: float = LIMIT

    @property
    def limits(self) -> np.ndarray:
        """Return a/(a + b) for each rho of `over_rho`."""
        rho = self.over_rho.rho
        return slope(rho) / (slope(rho) - slope(-rho))


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow orbits of SAM's map from several starts over a range of lr, for each momentum."""
    sweeps = {}
    for beta in BETAS:
        progress(f"momentum {beta:g}")
        sweeps[beta] = sweep(np.geomspace(*LRS, _COUNTS[size]), beta, _SETTLE[size])
    sweeps[0.0] = _with_theory(sweeps[0.0])
    settle = _SETTLE[size]
    rhos = np.linspace(*RHOS, _COUNTS[size])
    over_rho = _with_theory(sweep(np.full(len(rhos), RHO_LR), 0.0, settle, rhos))
    threshold = threshold_on_the_loss()
    progress("both ends of the intervals, several dimensions")
    return Record(
        sweeps=sweeps,
        over_rho=over_rho,
        named=sweep(np.array(list(_PERIODS)), 0.0, settle),
        at_threshold=sweep(threshold * np.array([0.999, 1.001]), 0.0, settle),
        both=sweep(np.array([_BOTH]), 0.9, settle),
        affine=_affine_ends(),
        bent=_bent_threshold(),
        across={ratio: _growth_across(ratio) for ratio in _RATIOS},
        unstable=_across_the_two_cycle(0.2),
    )


def sweep(lr: np.ndarray, beta: float, settle: int, rho: np.ndarray | None = None) -> Sweep:
    """Return what the map on ¼y⁴ − ½y² does near y = 1."""
    system = sf.Map(sf.loss("y**4/4 - y**2/2"), sf.SAM(rho=RHO), lr=1.0, momentum=0.5)
    rho = np.full(len(lr), RHO) if rho is None else rho
    places, starts = (jnp.asarray(lr), jnp.asarray(rho)), jnp.array(_STARTS)
    paths = np.asarray(_paths(system, places, jnp.asarray(beta), starts, settle))
    period = np.zeros(paths.shape[:2], dtype=int)
    size = np.ptp(paths, axis=2)
    for q in range(_MAX_PERIOD, 0, -1):
        gap = np.abs(paths[..., q:] - paths[..., :-q]).max(axis=2)
        period[gap <= _REPEATS * size] = q
    whole = np.where(period > 0, period, _WINDOW)[..., None]
    counted = np.arange(_WINDOW) < whole
    return Sweep(lr, rho, ((paths < 0) & counted).sum(axis=2) / whole[..., 0], period)


def _with_theory(found: Sweep) -> Sweep:
    places = zip(found.lr.tolist(), found.rho.tolist(), strict=True)
    return found._replace(theory=tuple(rotation(lr, rho) for lr, rho in places))


@eqx.filter_jit
def _paths(
    system: Any, places: tuple[Array, Array], beta: Array, starts: Array, settle: int
) -> Array:
    def one(place: tuple[Array, Array], start: Array) -> Array:
        lr, rho = place
        named = lambda s: (s.lr, s.rule.rho, s.momentum)  # noqa: E731
        moved = eqx.tree_at(named, system, (lr, rho, beta))
        z = jnp.array([1.0 + start, 0.0])
        z = lax.fori_loop(0, settle, lambda _, z: moved.step(z), z)
        return lax.scan(lambda z, _: (moved.step(z), z[0] - 1), z, length=_WINDOW)[1]

    return jax.vmap(lambda place: jax.vmap(lambda start: one(place, start))(starts))(places)


def rotation(lr: float, rho: float = RHO) -> Fraction | None:
    """Return theory's rotation number on the loss itself, without momentum."""
    if not lr * bend(rho - lr * slope(-rho)) < 1:
        return None  # f does not increase on the whole of J
    found = theory.rotation_number(
        lambda z: z - lr * slope(z + rho), lambda z: z - lr * slope(z - rho), max_period=_MAX_PERIOD
    )
    return found if isinstance(found, Fraction) else None


def threshold_on_the_loss() -> float:
    """Return the lr above which the 2-cycle exists: f(−ηa) = 0, or −g(−ηa − ρ) = a, where a > b."""
    low, high = -0.5, -RHO
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if -slope(middle) > A else (low, middle)
    return (-low - RHO) / A


def _affine_ends() -> tuple[int, int]:
    """Count the ends p/q, q ≤ 8, of c₊ = c₋ = 0.9 beside which orbits do as the formula says."""
    c, beside, right, of = 0.9, 1e-7, 0, 0
    for share in sorted({Fraction(p, q) for q in range(2, 9) for p in range(1, q)}):
        low, high = (float(end) for end in theory.equal_slopes_interval(share, c))
        thetas = np.array([low - beside, low + beside, high - beside, high + beside])
        z, negative = np.full(4, 1e-3), np.zeros(4)
        steps = share.denominator * (2000 // share.denominator)
        for k in range(2000 + steps):
            negative += (z < 0) * (k >= 2000)
            z = np.where(z > 0, c * z - thetas, c * z + 1 - thetas)
        inside = negative == steps * share
        right += int((inside == [False, True, True, False]).sum())
        of += 4
    return right, of


def _bent_threshold() -> float:
    """Return the lr above which the 2-cycle exists on the loss, over ρL‴/λ², at a small ρ."""
    rho = _BENT_RHO
    target, low, high = slope(rho), -0.5, -rho
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if -slope(middle) > target else (low, middle)
    return ((-low - rho) / target) / (rho * 6 / 4)


def _growth_across(ratio: float, num_steps: int = 100_000) -> float:
    """Return the mean log of the factor across x²/2 + κx³/3 + ratio·y²/2, on its line y = 0."""
    loss = sf.loss(f"x**2/2 + {_GOLDEN / RHO}*x**3/3 + {ratio}*y**2/2")
    system = sf.Map(loss, sf.SAM(rho=RHO), lr=_SMALL_LR)

    def step(x: Array, _: None) -> tuple[Array, Array]:
        z = jnp.stack([x, jnp.zeros(())])
        image, moved = jax.jvp(system.step, (z,), (jnp.array([0.0, 1.0]),))
        return image[0], jnp.log(jnp.abs(moved[1]))

    start = jnp.asarray(1e-5)
    return float(jax.jit(lambda x: lax.scan(step, x, length=num_steps)[1].mean())(start))


def _across_the_two_cycle(lr: float) -> tuple[float, int]:
    """Return the multiplier across the 2-cycle of y on the quartic, and the period of orbits."""
    loss = sf.losses.quartic()
    z, points = 1e-3, []
    for k in range(20_002):
        if k >= 20_000:
            points.append(z)
        z = z - lr * slope(z + RHO * np.sign(z))
    # Across, g = x: the ascent turns by x/|g(z)|, and the second derivative there is 1.
    factors = [1 - lr * (1 + RHO / abs(slope(z))) for z in points]
    found = sf.classify(sf.Map(loss, sf.SAM(rho=RHO), lr=lr), [0.0, 1.0]).local
    assert found is not None
    assert found.on_loss is not None
    return float(np.prod(factors)), found.on_loss.cycles[0].period


def judge(record: Record) -> list[Claim]:
    """Compare with the rotation numbers, thresholds and limits of theory."""
    well = "¼y⁴ − ½y² at y = 1, rho = 0.1"
    plain = record.sweeps[0.0]
    right = plain.agrees() + record.over_rho.agrees()
    threshold = threshold_on_the_loss()
    named = record.named.period
    claims = [
        _study.every(
            "periods",
            f"every orbit near {well}, has period 7 at lr = .05, .1, .15, 9 at .17, .18, .19 and 2 "
            "at .2, .3; the quadratic part has a 2-cycle at each",
            holding=int((named == np.array(list(_PERIODS.values()))[:, None]).sum()),
            of=named.size,
            what="agree",
            reason=f"{len(_STARTS)} starts; the states repeat to {_REPEATS:g} of the cycle's size",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "the staircase",
            f"the period and the share of steps at y < 1 of every orbit near {well}, over lr, and "
            f"at lr = {RHO_LR:g} over rho, are theory's p/q wherever q ≤ {_MAX_PERIOD} and f "
            "increases",
            holding=sum(right),
            of=len(right),
            what="agree",
            reason="proved, R1 to R3; theory's search takes the map's two branches and makes no "
            "orbits",
            evidence=Evidence.numerical,
        ),
        _study.close(
            "lr → 0",
            f"share of steps at y < 1 at the smallest lr, {plain.lr[0]:g}: a/(a + b)",
            predicted=LIMIT,
            measured=float(plain.share[0].mean()),
            absolute=2e-3,
            reason="the share is within lr·g′·|a − b|/(a + b) = 1.9e-3, and is counted over 2,048 "
            "steps",
        ),
        _study.fact(
            "the 2-cycle begins",
            f"period 2 above lr = {threshold:.6f}, where f(−lr·a) = 0, and not below: at 0.999 and "
            "1.001 times that",
            predicted=[False, True],
            measured=(record.at_threshold.period == 2).all(axis=1).tolist(),
            reason="an orbit comes to the one cycle there is; beside the threshold it is known "
            "which",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "known intervals",
            "the map 0.9z ± with θ = a/(a + b): orbits turn by p/q just inside both ends of the "
            "interval of p/q, and not just outside, for every q ≤ 8",
            holding=record.affine[0],
            of=record.affine[1],
            what="agree",
            reason="1e-7 from the end: just outside, an orbit leaves the word of p/q every 150 "
            "steps or so, as 0.9^150 = 1e-7, and it is followed for 2,000",
            evidence=Evidence.numerical,
            source="Bugeaud, Conze 1999; Laurent, Nogueira 2018, arXiv 1704.05130",
        ),
        _study.close(
            "small rho",
            f"the lr above which the 2-cycle exists, over rho·L‴/λ², at rho = {_BENT_RHO:g}",
            predicted=1.0,
            measured=record.bent,
            rel=3 * _BENT_RHO,
            reason="the next term is of relative order rho",
        ),
    ]
    for beta in BETAS[1:]:
        found = record.sweeps[beta]
        claims.append(
            _study.close(
                f"lr → 0, momentum {beta:g}",
                f"share of steps at y < 1 at lr = {found.lr[0]:g} with heavy ball {beta:g}: "
                "a/(a + b) as well",
                predicted=LIMIT,
                measured=float(found.share[0].mean()),
                rel=float(bend(RHO) * found.lr[0] / (1 - beta) / 10),
                reason="the share is a/(a + b) to O(lr·g′/(1 − β)), of which a tenth is allowed",
            )
        )
    claims.append(
        _study.fact(
            "momentum: more than one cycle",
            f"with heavy ball 0.9 at lr = {_BOTH:g} orbits come to cycles of different periods, by "
            "their start: the rotation number is no number of the map",
            predicted=True,
            measured=len(set(record.both.period.ravel().tolist())) > 1,
            reason=f"periods {sorted(set(record.both.period.ravel().tolist()))}",
            evidence=Evidence.numerical,
        )
    )
    exponents = {ratio: _exponent(ratio) for ratio in _RATIOS}
    claims += [
        _study.close(
            f"across, λ₂ = {ratio:g}",
            f"growth a step across x²/2 + κx³/3 + {ratio:g}y²/2 from the rotation along x, at lr = "
            f"{_SMALL_LR:g}: "
            + ("decay" if exponents[ratio] < 0 else "growth: the line repels, as |λ₂| > λ₁"),
            predicted=exponents[ratio],
            measured=record.across[ratio],
            absolute=0.01,
            reason="theory is for lr → 0. At this lr the orbit is a cycle of some hundred points "
            "q, whose mean of a logarithm is off by about log(q)/q",
        )
        for ratio in _RATIOS
    ]
    multiplier, period = record.unstable
    return [
        *claims,
        _study.fact(
            "several dimensions",
            "on the quartic at lr = 0.2 the 2-cycle along y has a point so near to the minimum "
            f"that it repels across, with multiplier {multiplier:.3g}; orbits are on another cycle",
            predicted=True,
            measured=abs(multiplier) > 1 and period != 2,
            reason=f"the orbits' period is {period}",
            evidence=Evidence.numerical,
        ),
    ]


def _exponent(ratio: float) -> float:
    a, b = RHO * (1 + _GOLDEN), RHO * (1 - _GOLDEN)
    pull = RHO * ratio**2  # ρ λ₂ h₂/λ₁ with h₂ = λ₂ everywhere
    return float(theory.transverse_rotation_exponent(a, b, plus=pull, minus=pull))
