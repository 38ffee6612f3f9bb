"""Stochastic SAM at a saddle: its time there against that of its SDE, and whether it is held."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow._types import Scalar
from samflow.noise import EscapeTimes
from samflow.systems import EulerMaruyama

NAME = "compagnoni"
TITLE = "Stochastic SAM is attracted to a saddle where the noise is below .63 ρ|λ₋|; its SDE agrees"
_PAPER = "Compagnoni, Biggio, Orvieto, Proske, Kersting, Lucchi 2023, arXiv 2301.08203"
_HERE = "derived in docs/theory, section 8"
_study = Study(NAME, _PAPER)
SMALL_SIZE = "paths of the SDE are left out."

_LAMS = (1.0, -1.0)
_RHO, _RADIUS = 0.3, 1.0
_SLOPE = math.sqrt(math.pi / 2) / 2
"""E[ξ̂·]: with two weights E (g + ξ)/‖g + ξ‖ = ½√(π/2) g/σ to first order in g."""
_THRESHOLD = _SLOPE * _RHO
_LR = 0.1
_FACTORS = {Size.full: (1.1, 1.3, 2.0), Size.small: ()}
_PATHS = 1000

_FINE = 0.05
_SIDES = (0.5, 2.0)
_HELD_PATHS, _HELD_STEPS = 500, 4000


class Mean(NamedTuple):
    """A mean time, its standard error, and how many of the paths left."""

    time: float
    error: float
    left: int


class Record(NamedTuple):
    """The drift at the saddle, times of map and SDE by noise, and times on both sides."""

    slopes: dict[float, float]
    pairs: dict[float, tuple[Mean, Mean]]
    sides: dict[tuple[str, float], EscapeTimes]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow paths of SAM and of its SDE out of a ball about the saddle."""
    slopes = {factor: float(_slope(_model(factor))) for factor in _SIDES}
    pairs = {}
    for factor in _FACTORS[size]:
        progress(f"noise of {factor:g} times the threshold")
        own = _map(sf.SAM(rho=_RHO), factor, _LR)
        model = EulerMaruyama(_model(factor), dt=_LR)
        times = [
            _mean(_times(system, jr.key(i), _PATHS, 5000)) for i, system in enumerate((own, model))
        ]
        pairs[factor] = times[0], times[1]
    progress("both sides of the threshold")
    sides = {
        (name, factor): _times(
            _map(sf.rule(name, rho=_RHO), factor, _FINE), jr.key(2), _HELD_PATHS, _HELD_STEPS
        )
        for name in ("sam", "gd")
        for factor in _SIDES
    }
    return Record(slopes, pairs, sides)


def judge(record: Record) -> list[Claim]:
    """Compare the drift with its closed form, map with SDE, and SAM with SGD."""
    told = "on ½(x² − y²) with isotropic noise σ in the gradient, rho = .3"
    claims = [
        _study.close(
            f"drift at the saddle, σ = {factor:g} σ*",
            f"∂(drift)/∂y of SAM's SDE at the saddle {told}: −λ₋ − ½√(π/2) rho λ₋²/σ, as of USAM "
            "with the radius ½√(π/2) rho/σ: the noise makes SAM smooth. It changes sign at "
            f"σ* = ½√(π/2) rho|λ₋| = {_THRESHOLD:.4g}",
            predicted=1 - 1 / factor,
            measured=slope,
            rel=1e-6,
            reason="closed form of a Gaussian mean, computed by quadrature in the model",
            source=_HERE,
        )
        for factor, slope in record.slopes.items()
    ]
    claims += [
        _study.sampled(
            f"map and SDE, σ = {factor:g} σ*",
            f"mean number of steps until ‖w‖ > 1 from the saddle, {told}, lr = .1: of SAM, "
            f"measured, and of its SDE in steps of dt = lr, {_PATHS} paths of each, all "
            "of which left",
            predicted=model.time,
            measured=own.time if own.left == model.left == _PATHS else math.nan,
            error=math.hypot(own.error, model.error),
            bias=_LR**2 * model.time,
            reason="standard errors of both; a step of either has the same mean and covariance, "
            "and what differs in its higher moments is of relative order lr² at a saddle, where "
            "odd ones vanish",
        )
        for factor, (own, model) in record.pairs.items()
    ]
    low, high = _SIDES
    held, left = record.sides["sam", low], record.sides["sam", high]
    sgd = {factor: record.sides["gd", factor] for factor in _SIDES}
    attracted = held.share == 0 and left.share == 1
    return [
        *claims,
        _study.fact(
            "held and left",
            f"share of {_HELD_PATHS} paths that leave within {_HELD_STEPS:,} steps at lr = .05, "
            f"for σ = {low:g} σ* and {high:g} σ*: of SAM none and all, of SGD all and all",
            predicted="SAM 0 and 1, SGD 1 and 1",
            measured=f"SAM {held.share:g} and {left.share:g}, "
            f"SGD {sgd[low].share:g} and {sgd[high].share:g}",
            reason="below σ* a barrier of 30 times lr·Var/2 stands around the saddle: by Kramers' "
            "formula all paths together leave with a chance of about 1e-9",
            evidence=Evidence.statistical,
            error_probability=1e-6,
            source=_HERE,
        ),
        _study.fact(
            "later than SGD",
            f"at {high:g} σ*, where SAM is not attracted, it leaves later than SGD all the same: "
            "its drift from the saddle has half the rate. The intervals of the medians do not meet",
            predicted="SAM later",
            measured="SAM later" if left.interval[0] > sgd[high].interval[1] else "not later",
            reason=f"medians {left.median:g} and {sgd[high].median:g} steps; both intervals of 95 "
            "% would have to miss by ten widths",
            evidence=Evidence.statistical,
            error_probability=1e-6,
            source=_HERE,
        ),
        _study.beside(
            "the paper in words",
            f"whether a saddle attracts stochastic SAM, {told}: condition found from the drift, "
            "and both sides of it from paths",
            paper="SAM is attracted to saddle points under some realistic conditions",
            found="attracted below σ* and not above; with σ = σ₁/√B this is a batch size above "
            "(σ₁/(.63 rho|λ₋|))²"
            if attracted
            else "not as the drift says",
            agrees=True if attracted else None,
            reason="both claims on the sides of σ*; the full batch is σ = 0, where every saddle "
            "attracts the flow",
            error_probability=2e-6,
            source=_PAPER,
        ),
    ]


@eqx.filter_jit
def _slope(model: sf.Diffusion) -> Scalar:
    """Return the derivative of the drift along λ₋ at the saddle."""
    along = jnp.array([0.0, 1.0])
    return jax.jvp(model.drift, (jnp.zeros(2),), (along,))[1][1]


def _noise(factor: float) -> sf.noise.AdditiveNoise:
    return sf.noise.isotropic_noise(2, sigma=factor * _THRESHOLD)


def _model(factor: float) -> sf.Diffusion:
    loss = sf.losses.saddle(_LAMS)
    return sf.Diffusion(loss, sf.SAM(rho=_RHO), lr=_LR, noise=_noise(factor))


def _map(rule: Any, factor: float, lr: float) -> sf.StochasticMap:
    return sf.StochasticMap(sf.Map(sf.losses.saddle(_LAMS), rule, lr=lr), _noise(factor))


def _times(system: Any, key: Any, num_paths: int, max_steps: int) -> EscapeTimes:
    return sf.escape_time(
        system, [0.0, 0.0], radius=_RADIUS, key=key, num_paths=num_paths, max_steps=max_steps
    )


def _mean(found: EscapeTimes) -> Mean:
    times = np.asarray(found.times)
    left = round(found.share * times.size)
    return Mean(float(times.mean()), float(times.std(ddof=1) / math.sqrt(times.size)), left)
