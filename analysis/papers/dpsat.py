"""DP-SAT beside DP-SGD: at a saddle, at a minimum, and where a network ends.

DP-SAT ascends along the private gradient of the step before. Where noise is longer than the
gradient, that direction is mostly old noise, and the mean ascent is that of USAM with the radius
ρₑ = ρκ/s, along the mean direction of the step before (docs/theory, Proposition N6). Theory then
has a closed form for the time at a saddle and for the loss that noise adds at a minimum.

Of the networks the radii were chosen after a first table of five seeds, with other noise and
smaller C among the settings: with rho up to 0.2 λ_max changed by about 1 % or less, and at C = 1
rho = 2 made the test error 2 points larger. The two radii between are kept, with twenty seeds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.papers.digits import Ends, measured, problem, trained_weights
from analysis.size import Size
from analysis.statistics import Interval, Mean, interval, mean_of
from samflow._status import Status
from samflow.losses.network import NetworkLoss
from samflow.noise import ClippedBatch, isotropic_noise, sample_paths
from samflow.rules import DPSAT
from samflow.theory import diffusion
from samflow.theory import previous_direction as theory

NAME = "dpsat"
TITLE = "DP-SAT and DP-SGD: clipped gradients and Gaussian noise at a saddle and at the end"
SMALL_SIZE = (
    "5,000 paths instead of 40,000; the networks on digits are left out, and with them where "
    "training ends."
)
PAPER = "Park, Kim, Choi, Lee 2023, arXiv 2306.05651"
_study = Study(NAME, f"{PAPER}; derived in docs/theory, section 6")

RHO, LR, TIME, DEVIATION = 0.2, 1e-3, 1.5, 1.0
"""Of the quadratics ½(x² ± y²); the noise has variance 1 along each weight."""
FLAT_AND_SHARP = (0.1, 1.0)
RADIUS = 0.3
"""Within which ‖g‖ is below a third of the noise."""
NUM_PATHS = {Size.full: 40_000, Size.small: 5_000}
PULL, CLIPS = 2.0, (0.5, 1.0, 1.9, 2.1, 4.0)
RHOS, NUM_SEEDS, NUM_STEPS = (0.5, 1.0), 20, 1000
BATCH_SIZE, CLIP, SIGMA, NET_LR, HIDDEN = 100, 1.0, 1.0, 0.5, 16


class Moments(NamedTuple):
    """E y² along one eigenvalue at the end of the paths, by its rho."""

    lam: float
    measured: dict[float, Mean]


class Nets(NamedTuple):
    """Where networks end, by rho, and the share of training examples that are clipped there."""

    ends: dict[float, Ends]
    clipped: dict[float, np.ndarray]


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        moments: at a saddle and at a minimum.
        exits: steps until paths leave the ball about the saddle, by rho, times lr.
        growth: of y in a step at the saddle under clipping without noise, by clip.
        excess: what noise adds to the loss at minima of two curvatures, early and in the end.
        nets: None in the small size.

    """

    moments: tuple[Moments, ...]
    exits: dict[float, Mean]
    growth: dict[float, float]
    excess: tuple[tuple[float, float], tuple[float, float]]
    nets: Nets | None


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow paths at a saddle and at a minimum; train networks in the full size."""
    paths = NUM_PATHS[size]
    progress("second moments")
    moments = tuple(_moments(lam, paths) for lam in (-1.0, 1.0))
    progress("exit times")
    exits = {rho: _exit_time(rho, paths // 5) for rho in (0.0, RHO)}
    progress("clipping alone")
    growth = {clip: _growth(clip) for clip in CLIPS}
    progress("noise at minima")
    excess = _excess(1000), _excess(200_000)
    nets = _nets(progress) if size is Size.full else None
    return Record(moments, exits, growth, excess, nets)


def private(lam: float, rho: float) -> sf.StochasticMap:
    """Return DP-SAT, or DP-SGD with rho = 0, on ½(x² + λy²), where nothing is clipped."""
    loss = sf.losses.mean([sf.losses.Quadratic((1.0, lam))])
    step = sf.Map(loss, DPSAT(rho=rho), lr=LR)  # pyright: ignore[reportCallIssue]
    return sf.StochasticMap(step, ClippedBatch(1, clip=100 * DEVIATION, sigma=0.01))


def _moments(lam: float, num_paths: int) -> Moments:
    found, memory = {}, np.random.default_rng(0).standard_normal((num_paths, 2))
    for rho in (0.0, RHO):
        paths = sample_paths(
            private(lam, rho),
            np.concatenate([0 * memory, memory], axis=1),
            key=jr.key(1),
            num_paths=num_paths,
            num_steps=round(TIME / LR),
        )
        found[rho] = mean_of(np.asarray(paths.w[:, -1, 1]) ** 2)
    return Moments(lam, found)


def _exit_time(rho: float, num_paths: int) -> Mean:
    found = sf.noise.escape_time(
        private(-1.0, rho),
        [0, 0],
        radius=RADIUS,
        start=[0, 0, 1, 0],
        key=jr.key(2),
        num_paths=num_paths,
        max_steps=30_000,
    )
    lost = np.asarray(found.status) != Status.escaped
    return mean_of(np.where(lost, np.nan, LR * np.asarray(found.times)))


def _growth(clip: float) -> float:
    """Return |y| after a step over |y| before, both examples of ½(x² − y²) ± PULL x clipped."""
    parts = [sf.loss(f"(x**2 - y**2)/2 + ({sign * PULL})*x") for sign in (1, -1)]
    step = sf.Map(sf.losses.mean(parts), sf.GD(), lr=LR)  # pyright: ignore[reportCallIssue]
    system = sf.StochasticMap(step, ClippedBatch(2, clip=clip, sigma=0))
    paths = sample_paths(system, [0, 1e-6], key=jr.key(0), num_paths=1, num_steps=1000)
    return float(paths.w[0, -1, 1] / 1e-6) ** (1 / 1000)


def _excess(num_steps: int) -> tuple[float, float]:
    """Return ½λE w² of DP-SGD without clipping for a flat and a sharp direction, exactly."""
    loss = sf.losses.Quadratic(FLAT_AND_SHARP)
    step = sf.Map(loss, sf.GD(), lr=LR)  # pyright: ignore[reportCallIssue]
    system = sf.StochasticMap(step, isotropic_noise(2, sigma=DEVIATION))
    second = sf.noise.second_moment(system, [0, 0], num_steps=num_steps).second[-1]
    flat, sharp = (0.5 * lam * float(second[i, i]) for i, lam in enumerate(FLAT_AND_SHARP))
    return flat, sharp


def _nets(progress: Callable[[str], None]) -> Nets:
    made, ends, shares = problem(NUM_SEEDS, hidden=HIDDEN), {}, {}
    for rho in (0.0, *RHOS):
        progress(f"digits, rho = {rho:g}")
        step = sf.Map(made.loss, DPSAT(rho=rho), lr=NET_LR)  # pyright: ignore[reportCallIssue]
        noise = ClippedBatch(BATCH_SIZE, clip=CLIP, sigma=SIGMA)
        ws = trained_weights(made, sf.StochasticMap(step, noise), NUM_STEPS)
        ends[rho] = measured(made, ws)
        shares[rho] = np.array([float(_clipped_share(made.loss, w)) for w in ws])
    return Nets(ends, shares)


@eqx.filter_jit
def _clipped_share(loss: NetworkLoss, w: Any) -> Any:
    one = lambda i: jnp.linalg.norm(loss.batch(i[None]).gradient(w))  # noqa: E731
    lengths = jax.lax.map(one, jnp.arange(loss.num_examples), batch_size=100)
    return jnp.mean(~(lengths <= CLIP))


def judge(record: Record) -> list[Claim]:
    """Compare with closed forms, and DP-SAT with DP-SGD seed by seed."""
    claims = [_moment(each, rho) for each in record.moments for rho in each.measured]
    claims += [_exit(rho, found) for rho, found in record.exits.items()]
    claims += [_stays(record), _never_holds(), *_clipped(record), *_softened(record)]
    if record.nets is not None:
        for rho in RHOS:
            claims += _ends(record.nets, rho)
    return claims


def formula(lam: float, rho: float, time: float) -> float:
    """Return theory's E y² for two weights."""
    expression = theory.previous_direction_moment().subs(theory.num_weights, 2)
    noise = DEVIATION**2
    return diffusion.put(expression, lam=lam, rho=rho, lr=LR, noise=noise, time=time)


def response(lam: float, rho: float) -> float:
    """Return ρₑλ, of two weights."""
    radius = theory.noisy_radius().subs(theory.num_weights, 2)
    return lam * diffusion.put(radius, rho=rho, noise=DEVIATION**2)


def _moment(found: Moments, rho: float) -> Claim:
    mean, r = found.measured[rho], response(found.lam, rho)
    predicted = formula(found.lam, rho, TIME)
    place = "saddle" if found.lam < 0 else "minimum"
    share = 2 * TIME * r**2 + 0.01
    return _study.sampled(
        f"E y² at the {place}, {_called(rho)}",
        f"the second moment along λ = {found.lam:g} at t = {TIME:g}, with noise of variance 1 on "
        f"each gradient. Without rho it would be {formula(found.lam, 0.0, TIME):.4g}",
        predicted=predicted,
        measured=mean.mean,
        error=mean.error,
        bias=share * predicted,
        reason="four standard errors; besides, the linear answer neglects (ρₑλ)² in the rate, "
        f"{200 * TIME * r**2:.1f} % at this time, and terms of order lr and ‖g‖²/s², 1 %",
        source="derived in docs/theory, section 6",
    )


def _exit(rho: float, mean: Mean) -> Claim:
    predicted, r = predicted_exit(rho), response(-1.0, rho)
    share = 2 * r**2 + RADIUS**2 / 4
    return _study.sampled(
        f"time at the saddle, {_called(rho)}",
        f"the mean time until ‖w‖ > {RADIUS:g}, in units of lr times steps, against the exit time "
        "of the diffusion with the drift and the noise of Proposition N6",
        predicted=predicted,
        measured=mean.mean,
        error=mean.error,
        bias=share * predicted,
        reason=f"four standard errors; besides 2(ρₑλ)² = {200 * r**2:.1f} % for the linear answer, "
        f"and {100 * RADIUS**2 / 4:.1f} % for ‖g‖² against the noise at the rim",
        source="derived in docs/theory, section 6",
    )


def predicted_exit(rho: float) -> float:
    """Return the mean exit time of dw = −a w dt + √q dB, in units of lr times steps."""
    r = response(-1.0, rho)
    kappa = float(theory.unit_response().subs(theory.num_weights, 2))
    intensity = LR * (DEVIATION**2 + rho**2 * (0.5 - kappa**2)) / (1 - r) ** 2
    return sf.noise.linear_exit_time(1 / (1 - r), intensity=intensity, radius=RADIUS, dt=LR)


def _stays(record: Record) -> Claim:
    longer = record.exits[RHO].mean / record.exits[0.0].mean
    return _study.beside(
        "stays at the saddle",
        f"DP-SAT with rho = {RHO:g} needs {longer:.2f} times as long as DP-SGD to leave the saddle "
        f"at the same noise; predicted {predicted_exit(RHO) / predicted_exit(0.0):.2f}",
        paper="SAM escapes from saddles more slowly than SGD ([K]); of DP-SAT nothing is said",
        found=f"{longer:.2f} times as long",
        agrees=_above_one(record.exits[RHO], record.exits[0.0]),
        reason="the ratio less four standard errors is above 1",
        error_probability=6.3e-5,
        source="[K] for SAM",
    )


def _above_one(slow: Mean, fast: Mean) -> bool | None:
    error = float(np.hypot(slow.error, fast.error))
    if slow.mean - fast.mean > 4 * error:
        return True
    return False if fast.mean - slow.mean > 4 * error else None


def _never_holds() -> Claim:
    rhos = np.geomspace(1e-2, 1e2, 41)
    rates = [1 / (1 - response(-1.0, rho)) for rho in rhos]
    return _study.every(
        "no saddle attracts the mean",
        "the mean of DP-SAT leaves the saddle at the rate |λ|/(1 + ρₑ|λ|), which is above 0 for "
        "each rho from 0.01 to 100; USAM at rho = ρₑ would be attracted from ρₑ = 1/|λ| on",
        holding=sum(rate > 0 for rate in rates),
        of=len(rhos),
        what="radii",
        reason="a formula; p is the direction d of the step before, and d answers to its own "
        "ascent, so that 1 + ρₑλ of USAM becomes 1/(1 − ρₑλ)",
        evidence=Evidence.exact,
        source="derived in docs/theory, section 6",
    )


def _clipped(record: Record) -> list[Claim]:
    return [
        _study.close(
            f"clipping slows escape, C = {clip:g}",
            f"with two examples ½(x² − y²) ± {PULL:g}x, no noise, and gradients clipped to C, y "
            "grows by this factor in a step: 1 + lr|λ| min(1, C/‖gᵢ‖)",
            predicted=1 + LR * min(1.0, clip / PULL),
            measured=found,
            absolute=1e-9,
            reason="y is at most 3e-6, and clipping changes by (y/‖gᵢ‖)² = 2e-12; the root of a "
            "thousand factors rounds",
            source="derived in docs/theory, section 6",
        )
        for clip, found in record.growth.items()
    ]


def _softened(record: Record) -> list[Claim]:
    (flat_early, sharp_early), (flat_late, sharp_late) = record.excess
    flat, sharp = FLAT_AND_SHARP
    return [
        _study.close(
            "a flat minimum softens noise early",
            f"½λE w² of DP-SGD for λ = {flat:g}, over that for λ = {sharp:g}, at t = 1",
            predicted=(1 - np.exp(-2 * flat)) / (1 - np.exp(-2 * sharp)),
            measured=flat_early / sharp_early,
            rel=2 * LR,
            reason="the limit neglects terms of order lr λ",
            source=PAPER,
        ),
        _study.close(
            "a flat minimum does not soften noise in the end",
            "the same at t = 200, where both are stationary: each direction then costs lr s²/"
            "(2(2 − lr λ)), the same for every λ far below the edge 2/lr",
            predicted=(2 - LR * sharp) / (2 - LR * flat),
            measured=flat_late / sharp_late,
            rel=1e-9,
            reason="exact but for e^(−2λt) and rounding",
            source="derived; the paper says that flat minima reduce the harm of noise",
        ),
    ]


def _ends(nets: Nets, rho: float) -> list[Claim]:
    sat, sgd = nets.ends[rho], nets.ends[0.0]
    flatter = interval(np.log(sat.sharpness / sgd.sharpness))
    better = interval(sat.error - sgd.error)
    share = interval(nets.clipped[rho] - nets.clipped[0.0])
    with_rho = f"DP-SAT with rho = {rho:g} against DP-SGD"
    return [
        _net_claim(
            f"flatter, rho = {rho:g}",
            f"{with_rho}: λ_max is {sat.sharpness.mean():.3f} and {sgd.sharpness.mean():.3f}",
            "DP-SAT finds flatter minima",
            f"log of the ratio {flatter}, {flatter.sign}",
            flatter,
        ),
        _net_claim(
            f"more accurate, rho = {rho:g}",
            f"{with_rho}: test errors {100 * sat.error.mean():.2f} % and "
            f"{100 * sgd.error.mean():.2f} %; training losses {sat.loss.mean():.4f} and "
            f"{sgd.loss.mean():.4f}",
            "DP-SAT is more accurate",
            f"difference {better.points} points, {better.sign}",
            better,
        ),
        _net_claim(
            f"less is clipped, rho = {rho:g}",
            f"{with_rho}: {100 * nets.clipped[rho].mean():.2f} % and "
            f"{100 * nets.clipped[0.0].mean():.2f} % of the training examples have a gradient "
            "beyond C at the end",
            "flat minima soften clipping",
            f"difference {share.points} points, {share.sign}",
            share,
        ),
    ]


def _net_claim(name: str, statement: str, paper: str, found: str, gap: Interval) -> Claim:
    about = (
        f"a perceptron (64–{HIDDEN}–10) on digits, batches of {BATCH_SIZE}, C = {CLIP:g}, noise "
        f"multiplier {SIGMA:g}, lr {NET_LR:g}, {NUM_STEPS} steps"
    )
    return _study.beside(
        name,
        f"{statement} ({about})",
        paper=paper,
        found=found,
        agrees={"lower": True, "higher": False}.get(gap.sign),
        reason=f"95 % interval over {NUM_SEEDS} paired seeds",
        error_probability=0.025,
        source=PAPER,
    )


def _called(rho: float) -> str:
    return f"DP-SAT with rho = {rho:g}" if rho else "DP-SGD"
