"""How far noise carries SGD and USAM from a saddle: exact moments, sample paths, three models."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import sympy

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from analysis.statistics import Mean, mean_of, redrawn
from samflow.noise import AdditiveNoise, sample_paths, second_moment
from samflow.theory import diffusion

NAME = "noise-moments"
TITLE = "Second moments at a saddle: exact recursion, sample paths, and the formulas of [K]"
SMALL_SIZE = (
    "20,000 sample paths in the place of 100,000, and three radii below 1/|λ| in the place of "
    "seven."
)
_study = Study(NAME, "[K] theorems 2 and 3; derived in docs/theory.md, section 6")

LAM = -1.0
LR = 0.01
NUM_PATHS = {Size.small: 20_000, Size.full: 100_000}
RHOS, MOMENTA, BATCHES = (0.0, 0.4, 1.6), (0.0, 0.9), (1.0, 10.0, 100.0)
"""rho below and above 1/|λ| = 1; batch sizes over two decades."""
BELOW = {Size.small: (0.1, 0.5, 0.9), Size.full: (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)}
"""rho below 1/|λ|, compared with SGD."""
ORDERED_MOMENTA = (0.0, 0.3, 0.6, 0.9)
ORDERED_BATCHES = (1.0, 4.0, 32.0, 100.0)
DRAWN_RHOS = (0.0, 0.1, 0.5, 1.6)
SMALL_RHO = 0.001
"""For the leading difference, in the figure."""
BATCH = 32.0
_KEPT = 10
"""Steps between two times at which paths are looked at, as a part of all: ten times."""
_CURVE = 100
"""Points of an exact curve, besides the start."""
NEEDED = 4.0


class Setting(NamedTuple):
    """USAM at the saddle ½(x² + λy²), or SGD with rho = 0, with noise |H|/B."""

    rho: float
    momentum: float = 0.0
    batch_size: float = BATCH
    lr: float = LR
    lam: float = LAM


class Compared(NamedTuple):
    """Sample paths beside the recursion: the largest distance in standard errors, of how many."""

    momentum: float
    worst: float
    numbers: int
    paths: int


class Model(NamedTuple):
    """E y² at t = 2 and [K]'s formula: of limits, recursion, paths, and [K]'s own update."""

    rho: float
    update: float
    kim: float
    exact: float
    paths: Mean
    composed: Mean


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        compared: paths and recursion, one a momentum.
        nearer: SGD less USAM by momentum: y² path by path, one mean a radius and time.
        momenta: y² with each of `ORDERED_MOMENTA` less with the one before, likewise.
        batches: B y² with each of `ORDERED_BATCHES` less with the first, over its mean.
        below: the radii compared with SGD.
        models: one a radius.
        leading: the measured constants of SGD − SAM for small rho and t.
        with_momentum: [K]'s formula with momentum over the exact moment, and its prediction, by
            radius.
        time: of the exact curves.
        curves: E y² by radius.
        one_batch: SGD less USAM of `SMALL_RHO`, one batch for ascent and descent.
        two_batches: the same with a second batch for the descent.
        sampled_time: of the points.
        sampled: E y² of paths by radius.
        formulas: [K]'s E y² by radius at `time` but the first.
        num_paths: of each sample.

    """

    compared: tuple[Compared, ...]
    nearer: dict[float, list[Mean]]
    momenta: list[Mean]
    batches: list[Mean]
    below: tuple[float, ...]
    models: tuple[Model, ...]
    leading: tuple[float, float]
    with_momentum: dict[float, tuple[float, float]]
    time: np.ndarray
    curves: dict[float, np.ndarray]
    one_batch: np.ndarray
    two_batches: np.ndarray
    sampled_time: np.ndarray
    sampled: dict[float, np.ndarray]
    formulas: dict[float, np.ndarray]
    num_paths: int


def noisy(setting: Setting, *, fresh: bool = False) -> Any:
    """Return the random map; all settings share one compiled program, momentum 0 among them."""
    rho, momentum, batch_size, lr, lam = setting
    loss = sf.losses.Quadratic((1.0, lam))
    step = sf.Map(loss, sf.USAM(rho=rho), lr=lr, momentum=0.5)  # pyright: ignore
    step = eqx.tree_at(lambda s: s.momentum, step, jnp.asarray(momentum))
    noise = AdditiveNoise(np.diag([1.0, abs(lam)]), batch_size)
    return sf.StochasticMap(step, noise, fresh)


def exact(setting: Setting, num_steps: int, *, fresh: bool = False) -> np.ndarray:
    """Return E y² along the unstable direction after 0, 1/100, 2/100, ... of the steps."""
    found = second_moment(
        noisy(setting, fresh=fresh), [0, 0], num_steps=num_steps, keep_every=num_steps // _CURVE
    )
    return np.asarray(found.second[:, 1, 1])


def squares(setting: Setting, num_steps: int, num_paths: int, key: int = 2) -> np.ndarray:
    """Return y² of sample paths at ten times, a row a path; the same key, the same noise."""
    return displacements(setting, num_steps, num_paths, key)[..., 1] ** 2


def displacements(setting: Setting, num_steps: int, num_paths: int, key: int) -> np.ndarray:
    """Return the weights of sample paths at ten times after the start."""
    found = sample_paths(
        noisy(setting),
        [0, 0],
        key=jr.key(key),
        num_paths=num_paths,
        num_steps=num_steps,
        keep_every=num_steps // _KEPT,
    )
    return np.asarray(found.w[:, 1:])


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Run recursion and paths, and evaluate the formulas."""
    paths, below = NUM_PATHS[size], BELOW[size]
    progress("paths beside the recursion")
    compared = tuple(_paths(momentum, paths) for momentum in MOMENTA)
    progress("comparing SAM with SGD")
    nearer = {momentum: _nearer(momentum, below, paths) for momentum in MOMENTA}
    momenta, batches = _orders(paths)
    progress("three models of the leading difference")
    models = tuple(_model(rho, paths) for rho in (0.1, 0.5))
    progress("curves")
    steps = 3 * _CURVE
    time = LR * steps / _CURVE * np.arange(_CURVE + 1)
    sgd = exact(Setting(0.0), steps)
    close = Setting(SMALL_RHO)
    return Record(
        compared=compared,
        nearer=nearer,
        momenta=momenta,
        batches=batches,
        below=below,
        models=models,
        leading=_leading(),
        with_momentum={rho: _momentum(rho) for rho in (0.0, 0.5)},
        time=time,
        curves={rho: exact(Setting(rho), steps) for rho in DRAWN_RHOS},
        one_batch=sgd - exact(close, steps),
        two_batches=sgd - exact(close, steps, fresh=True),
        sampled_time=LR * steps / _KEPT * np.arange(1, _KEPT + 1),
        sampled={rho: squares(Setting(rho), steps, paths).mean(axis=0) for rho in DRAWN_RHOS},
        formulas={rho: _kim(rho, time[1:]) for rho in DRAWN_RHOS if rho},
        num_paths=paths,
    )


def _paths(momentum: float, num_paths: int) -> Compared:
    worst, numbers, steps = 0.0, 0, 40 if momentum else 200
    for rho, size in itertools.product(RHOS, BATCHES):
        setting = Setting(rho, momentum, size)
        w = displacements(setting, steps, num_paths, key=2)
        recursion = second_moment(
            noisy(setting), [0, 0], num_steps=steps, keep_every=steps // _KEPT
        ).second
        for i, j in ((0, 0), (0, 1), (1, 1)):
            products = w[..., i] * w[..., j]
            error = products.std(axis=0, ddof=1) / np.sqrt(num_paths)
            apart = np.abs(products.mean(axis=0) - np.asarray(recursion[1:, i, j])) / error
            worst, numbers = float(np.maximum(worst, apart.max())), numbers + apart.size
    return Compared(momentum, worst, numbers, num_paths)


def _nearer(momentum: float, below: Sequence[float], num_paths: int) -> list[Mean]:
    sgd = squares(Setting(0.0, momentum), 300, num_paths)
    found = (squares(Setting(rho, momentum), 300, num_paths) for rho in below)
    return [mean_of(apart) for usam in found for apart in (sgd - usam).T]


def _orders(num_paths: int) -> tuple[list[Mean], list[Mean]]:
    rows = [squares(Setting(0.4, momentum), 200, num_paths) for momentum in ORDERED_MOMENTA]
    momenta = [mean_of(apart) for a, b in itertools.pairwise(rows) for apart in (b - a).T]
    # Seeds of their own: with the same ones paths would scale exactly, and decide nothing.
    rows = [
        size * squares(Setting(0.4, batch_size=size), 200, num_paths, key=10 + i)
        for i, size in enumerate(ORDERED_BATCHES)
    ]
    first = [mean_of(each) for each in rows[0].T]
    batches = []
    for row in rows[1:]:
        for a, b in zip(first, map(mean_of, row.T), strict=True):
            batches.append(Mean(b.mean / a.mean - 1, float(np.hypot(a.error, b.error)) / a.mean))
    return momenta, batches


def _model(rho: float, num_paths: int) -> Model:
    values = {"lam": LAM, "lr": LR, "noise": 1 / BATCH, "rho": rho, "time": 2.0, "momentum": 0}
    update, kim = (
        diffusion.put(diffusion.second_moment_limit(m), **values) for m in ("update", "kim")
    )
    # Descent on w ↦ L(w + ρg(w)) with additive noise |λ|/B.
    loss = sf.losses.Quadratic((1.0, LAM * (1 + rho * LAM) ** 2))
    composed = eqx.tree_at(lambda s: s.map.loss, noisy(Setting(0.0)), loss)
    found = sample_paths(
        composed, [0, 0], key=jr.key(4), num_paths=num_paths, num_steps=200, keep_every=20
    )
    return Model(
        rho,
        update=update,
        kim=kim,
        exact=float(exact(Setting(rho), 200)[-1]),
        paths=mean_of(squares(Setting(rho), 200, num_paths, key=3)[:, -1]),
        composed=mean_of(np.asarray(found.w[:, -1, 1]) ** 2),
    )


def _leading() -> tuple[float, float]:
    """Return the constants of SGD − SAM for small rho and t, from the exact recursion."""
    rho, lr, steps = 1e-4, 1e-5, 2000
    t = lr * steps
    usam = float(exact(Setting(rho, lr=lr), steps)[-1])
    difference = float(exact(Setting(0.0, lr=lr), steps)[-1]) - usam
    sgd = diffusion.put(
        diffusion.exact_second_moment(), lam=LAM, rho=0, lr=lr, noise=1 / BATCH, num_steps=steps
    )
    # The same drift with SGD's noise: the update's moment over (1 + ρλ)².
    descent = usam / (1 + rho * LAM) ** 2
    unit = lr * abs(LAM) * rho / BATCH
    return difference / (unit * t * abs(LAM)), (sgd - descent) / (unit * t**2 * LAM**2)


def _momentum(rho: float) -> tuple[float, float]:
    """Return [K]'s formula with momentum over the exact moment, and what that should be."""
    lr, momentum, t = 2e-5, 0.9, 0.1
    values = {"lam": LAM, "rho": rho, "lr": lr, "momentum": momentum, "noise": 1 / BATCH}
    kim = diffusion.put(diffusion.kim_momentum_second_moment(), time=t, **values)
    update, other = (
        diffusion.put(diffusion.second_moment_limit(m), time=t / (1 - momentum), **values)
        for m in ("update", "kim")
    )
    found = exact(Setting(rho, momentum, lr=lr), round(t / lr))[-1]
    return kim / float(found), other / update


def _kim(rho: float, time: np.ndarray) -> np.ndarray:
    symbols = (diffusion.lam, diffusion.lr, diffusion.noise, diffusion.rho, diffusion.beta)
    values = zip(symbols, (LAM, LR, abs(LAM) / BATCH, rho, 0), strict=True)
    formula = sf.theory.second_moment_limit("kim").subs(list(values))
    return sympy.lambdify(diffusion.time, formula)(time)


def judge(record: Record) -> list[Claim]:
    """Compare recursion, paths and formulas."""
    claims = [_beside_recursion(compared) for compared in record.compared]
    claims += [_stays_nearer(momentum, found, record) for momentum, found in record.nearer.items()]
    claims += [_carries_farther(record), _falls_with_batches(record)]
    for model in record.models:
        claims += _of_model(model, record.num_paths)
    return [*claims, *_constants(record), *_theorem_three(record)]


def _beside_recursion(compared: Compared) -> Claim:
    bound = 5.0
    beyond = redrawn([Mean(bound, 1.0)], 0.0, of=2 * compared.numbers)
    return _study.fact(
        f"paths, momentum {compared.momentum:g}",
        f"{compared.paths} sample paths have the recursion's second moments at ten times, for "
        "rho below and above 1/|λ| and B over two decades: the largest distance is "
        f"{compared.worst:.2f} standard errors",
        predicted=f"below {bound:g}",
        measured=f"{'' if compared.worst < bound else 'not '}below {bound:g}",
        reason=f"of {compared.numbers} numbers one is {bound:g} standard errors off with "
        f"probability {beyond:.1g}",
        evidence=Evidence.statistical,
        error_probability=beyond,
        source="derived in docs/theory.md, section 6",
    )


def _ordered(name: str, statement: str, means: list[Mean], what: str, source: str) -> Claim:
    least = min((mean.z for mean in means), default=float("nan"))
    return _study.every(
        name,
        statement,
        holding=sum(mean.z > NEEDED for mean in means),
        of=len(means),
        what=what,
        reason=f"path by path on the same random numbers, each by more than {NEEDED:g} standard "
        f"errors (least {least:.1f})",
        evidence=Evidence.statistical,
        error_probability=redrawn(means, NEEDED),
        source=source,
    )


def _stays_nearer(momentum: float, means: list[Mean], record: Record) -> Claim:
    return _ordered(
        f"SAM stays nearer, momentum {momentum:g}",
        f"the mean of y² of {record.num_paths} paths of USAM is below SGD's at each of ten times "
        f"up to step 300, for rho = {', '.join(f'{rho:g}' for rho in record.below)} < 1/|λ|",
        means,
        "radii and times",
        "[K] theorem 2",
    )


def _carries_farther(record: Record) -> Claim:
    return _ordered(
        "momentum carries farther",
        f"the mean of y² of {record.num_paths} paths grows with momentum, "
        f"{', '.join(f'{m:g}' for m in ORDERED_MOMENTA)}, at each of ten times",
        record.momenta,
        "momenta and times",
        "[K] theorem 3",
    )


def _falls_with_batches(record: Record) -> Claim:
    bound = 4.5
    away = max(abs(mean.z) for mean in record.batches)
    beyond = redrawn([Mean(bound, 1.0)], 0.0, of=2 * len(record.batches))
    low, high = (float(f(mean.mean for mean in record.batches)) for f in (min, max))
    return _study.every(
        "large batches stay nearer",
        f"the mean of y² of {record.num_paths} paths falls as 1/B: over that of B = "
        f"{ORDERED_BATCHES[0]:g}, for B = {', '.join(f'{b:g}' for b in ORDERED_BATCHES[1:])} at "
        f"ten times, B times it is 1 {low:+.3f} to {high:+.3f}",
        holding=sum(abs(mean.z) < bound for mean in record.batches),
        of=len(record.batches),
        what="batch sizes and times",
        reason=f"independent paths; each within {bound:g} standard errors (largest {away:.1f})",
        evidence=Evidence.statistical,
        error_probability=beyond,
        source="[K] theorem 2",
    )


def _of_model(model: Model, num_paths: int) -> list[Claim]:
    rho = model.rho
    ratio = model.kim / model.paths.mean
    return [
        _study.close(
            f"update, rho = {rho:g}",
            "E y² of the update at t = 2 in the diffusion limit, drift U and the batch's noise "
            "in the ascent, against the exact recursion",
            predicted=model.update,
            measured=model.exact,
            rel=0.03,
            reason="the limit leaves out terms of relative size lr·t·U², at most 2 %",
            source="derived in docs/theory.md, section 6",
        ),
        _study.sampled(
            f"[K] on this update, rho = {rho:g}",
            "[K]'s formula over the measured E y² of the update: predicted from the two limits",
            predicted=model.kim / model.update,
            measured=ratio,
            error=ratio * model.paths.error / model.paths.mean,
            bias=0.03 * model.kim / model.update,
            reason="the limit, as above, and four standard errors: [K]'s drift λ(1 + ρλ)² is "
            "not this update's",
            source="[K] theorem 2",
        ),
        _study.sampled(
            f"[K] on its update, rho = {rho:g}",
            "[K]'s formula against descent along the derivative of w ↦ L(w + ρg(w)) with "
            f"SGD's noise, {num_paths} paths",
            predicted=model.kim,
            measured=model.composed.mean,
            error=model.composed.error,
            bias=0.03 * model.kim,
            reason="the limit, as above, and four standard errors: it describes this update",
            source="[K] theorem 2",
        ),
    ]


def _constants(record: Record) -> list[Claim]:
    linear, quadratic = record.leading
    return [
        _study.close(
            "leading difference, one batch",
            "SGD − SAM over η·t·λ²·ρ/B for small ρ and t, the batch's noise in ascent and descent: "
            "linear in t",
            predicted=2.0,
            measured=linear,
            rel=0.04,
            reason="the next term in t is 3/2·t|λ| = 3 %",
            source="derived in docs/theory.md; [K]'s corollary has t²",
        ),
        _study.close(
            "leading difference, noise in the descent alone",
            "SGD − SAM over η·t²·|λ|³·ρ/B for small ρ and t: [K]'s corollary has 2, from its drift",
            predicted=1.0,
            measured=quadratic,
            rel=0.04,
            reason="the next term in t is 4/3·t|λ| = 2.7 %",
            source="derived in docs/theory.md; [K] prints 2",
        ),
    ]


def _theorem_three(record: Record) -> list[Claim]:
    return [
        _study.close(
            f"[K] with momentum, rho = {rho:g}",
            "theorem 3 over the exact E y² at momentum .9, η = 2e-5, t = ηk = .1; predicted "
            "from the limits of its drift and of the update's",
            predicted=predicted,
            measured=measured,
            rel=0.03,
            reason="the limit leaves out a few η/(1 − β)² = .2 %; C₂ is taken as t/η",
            source="[K] theorem 3",
        )
        for rho, (measured, predicted) in record.with_momentum.items()
    ]
