"""Mean first passage in one dimension: by quadrature, by asymptotics, and exactly for a chain.

Simulated escape times are tested against these functions. None of them uses JAX.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from samflow import _checks
from samflow._types import NumpyArray

OVERSHOOT = 0.5825971579390107
"""−ζ(1/2)/√(2π), the mean overshoot of a Gaussian walk in units of its step (Chernoff 1965)."""
_RTOL = 1e-8
"""Largest relative error that a quadrature may say it has."""
_MOST_NODES = 4000
_MOST_EXPONENT = 700.0
"""e to more than this is too near the largest double for an integral of it."""
_MOST_STEPS = 1e10
"""A mean exit time beyond this is ill-conditioned: about its relative rounding error is left."""


def mean_passage_time(
    potential: Callable[[float], float],
    *,
    diffusivity: float,
    start: float,
    target: float,
    reflect: float = -math.inf,
) -> float:
    """Return the mean time in which dx = −V'(x) dt + √(2D) dB moves from `start` to `target`.

    T = (1/D) ∫ₓ₀^b dy ∫ₐ^y dz exp((V(y) − V(z))/D) with b = target > x₀ = start, a = reflect.

    >>> well = lambda x: x**4 / 4 - x**2 / 2
    >>> round(mean_passage_time(well, diffusivity=0.05, start=-1, target=1), 2)
    729.67

    Args:
        potential: V, any Python function of one number.
        diffusivity: D > 0.
        start: where the motion begins; best where V is least on the way, at which the inner
            integral is split.
        target: where it ends, to the right of `start`. For a target to the left, reflect V.
        reflect: a wall to the left of `start`; by default none, and V must confine the motion.

    Returns:
        The time. NaN where the quadrature says that it is not good to 1e-8, as where V does not
        confine the motion and the mean is infinite, and where V rises by more than 700 D. A peak
        much narrower than the interval can be missed by any quadrature.

    Raises:
        ArgumentError: for a diffusivity that is not positive, and ends in the wrong order.

    Source: Gardiner 2009, Stochastic Methods, section 5.5; Kramers 1940.

    """
    d = _checks.positive("diffusivity", diffusivity)
    start, target = _number("start", start), _number("target", target)
    if not (reflect <= start < target):
        raise _checks.ArgumentError(
            f"Argument `target` must be to the right of `start`, and `reflect` to its left, but "
            f"they are {target:g}, {start:g} and {reflect:g}."
        )
    errors: list[float] = []

    def inner(y: float) -> float:
        top = potential(y)

        def weight(z: float) -> float:
            height = (top - potential(z)) / d
            if height > _MOST_EXPONENT:
                errors.append(math.inf)  # what is returned instead must not count
            return math.exp(min(height, _MOST_EXPONENT))

        return _quad(weight, reflect, start, errors) + _quad(weight, start, y, errors)

    return _checked(_quad(inner, start, target, errors) / d, errors)


def kramers_time(
    barrier: float, *, diffusivity: float, well_curvature: float, top_curvature: float
) -> float:
    """Return Kramers' mean time over a barrier, 2π/√(V''(well)|V''(top)|) exp(ΔV/D).

    It is the time to the other side's well; to the top it is half as long. Relative error O(D/ΔV).

    >>> round(kramers_time(0.25, diffusivity=0.05, well_curvature=2, top_curvature=-1), 2)
    659.38

    Args:
        barrier: ΔV = V(top) − V(well) > 0.
        diffusivity: D of dx = −V'(x) dt + √(2D) dB, > 0.
        well_curvature: V'' at the well, > 0.
        top_curvature: V'' at the top, < 0.

    Raises:
        ArgumentError: for a sign that is not as it must be.

    Source: Kramers 1940.

    """
    barrier = _checks.positive("barrier", barrier)
    d = _checks.positive("diffusivity", diffusivity)
    well = _checks.positive("well_curvature", well_curvature)
    top = _number("top_curvature", top_curvature)
    if not top < 0:
        raise _checks.ArgumentError(f"Argument `top_curvature` must be below 0, but is {top:g}.")
    return 2 * math.pi / math.sqrt(-well * top) * math.exp(barrier / d)


def linear_exit_time(
    rate: float, *, intensity: float, radius: float, start: float = 0.0, dt: float = 0.0
) -> float:
    """Return the mean time in which dx = rate·x dt + √intensity dB leaves |x| < radius.

    rate > 0 is a saddle's unstable direction, rate = 0 Brownian motion, for which it is
    (radius² − start²)/intensity, and rate < 0 a stable direction (Ornstein and Uhlenbeck). With
    s = x√(|rate|/intensity), it is (2/|rate|) ∫ F(s) ds from |start| to radius, F Dawson's
    function for rate > 0 and e^(s²) ∫₀ˢ e^(−u²) du for rate < 0.

    A chain of steps dt leaves later, as it overshoots. With dt > 0 the radius is moved outwards by
    0.5826 √(intensity·dt), which leaves a relative error O(dt) instead of O(√dt).

    >>> linear_exit_time(0, intensity=2, radius=3, start=1)
    4.0

    Args:
        rate: of growth, any sign.
        intensity: > 0.
        radius: half the interval, > 0.
        start: with |start| ≤ radius.
        dt: time a step of the chain that the motion approximates; 0 for the motion itself.

    Returns:
        The time, infinite where it passes what doubles hold; NaN where the quadrature fails.

    Raises:
        ArgumentError: for arguments out of range.

    Source: Gardiner 2009; the overshoot: Chernoff 1965, Siegmund 1979, Broadie, Glasserman and
    Kou 1997.

    """
    rate, start = _number("rate", rate), abs(_number("start", start))
    q = _checks.positive("intensity", intensity)
    radius = _checks.positive("radius", radius)
    dt = _checks.nonnegative("dt", dt)
    _inside(start, radius)
    radius += OVERSHOOT * math.sqrt(q * dt)
    if rate == 0:
        return (radius**2 - start**2) / q
    from scipy import special

    scale = math.sqrt(abs(rate) / q)
    if rate < 0 and (scale * radius) ** 2 > _MOST_EXPONENT:
        return math.inf
    growing = lambda s: math.sqrt(math.pi) / 2 * math.exp(s * s) * special.erf(s)  # noqa: E731
    errors: list[float] = []
    area = _quad(special.dawsn if rate > 0 else growing, scale * start, scale * radius, errors)
    return _checked(2 / abs(rate) * area, errors)


def chain_exit_time(multiplier: float, *, noise: float, radius: float, start: float = 0.0) -> float:
    """Return the mean number of steps in which x⁺ = multiplier·x + noise·ξ leaves |x| ≤ radius.

    ξ is standard normal. The mean solves T(x) = 1 + ∫ T(y) φ((y − multiplier·x)/noise)/noise dy
    over the interval, here by Nyström's method with Gauss and Legendre's nodes: exact to rounding,
    about 1e-10 relative, for times below 1e5 steps; beyond, the equation is ill-conditioned, and
    for times above 1e10 steps, or infinite ones, the answer is NaN.

    Args:
        multiplier: of a step, any sign: 1 − ηU for an eigen-direction of USAM.
        noise: standard deviation of a step's noise, > 0; η|1 + ρλ|σ for USAM.
        radius: half the interval, > 0.
        start: with |start| ≤ radius.

    Raises:
        ArgumentError: for arguments out of range, and for noise so small against the radius that
            more than 4000 nodes would be needed: there the diffusion's `linear_exit_time` is good.

    """
    inside, leave = _chain(multiplier, noise, radius, start)
    times = np.linalg.solve(np.eye(len(inside)) - inside, np.ones(len(inside)))
    found = float(1 + leave @ times)
    return found if 1 <= found <= _MOST_STEPS else math.nan


def chain_survival(
    multiplier: float, *, noise: float, radius: float, num_steps: int, start: float = 0.0
) -> NumpyArray:
    """Return P(T > k) for k = 0 .. num_steps, T the exit of `chain_exit_time`.

    Raises:
        ArgumentError: as `chain_exit_time`.

    """
    num_steps = _checks.count("num_steps", num_steps, minimum=0)
    inside, leave = _chain(multiplier, noise, radius, start)
    survival, ahead = [1.0], np.ones(len(inside))
    for _ in range(num_steps):
        survival.append(float(leave @ ahead))
        ahead = inside @ ahead
    return np.array(survival)


def _chain(
    multiplier: float, noise: float, radius: float, start: float
) -> tuple[NumpyArray, NumpyArray]:
    """Return the transition kernel between nodes, with weights, and that from the start."""
    multiplier, start = _number("multiplier", multiplier), _number("start", start)
    s = _checks.positive("noise", noise)
    radius = _checks.positive("radius", radius)
    _inside(start, radius)
    size = 60 + math.ceil(8 * radius / s)  # several nodes within one standard deviation
    if size > _MOST_NODES:
        raise _checks.ArgumentError(
            f"Argument `noise` must be at least {8 * radius / (_MOST_NODES - 60):.3g} for this "
            f"radius, but is {s:g}. Use `linear_exit_time`, which is accurate for small noise."
        )
    nodes, weights = np.polynomial.legendre.leggauss(size)
    nodes, weights = radius * nodes, radius * weights

    def density(x: Any) -> NumpyArray:
        gap = (nodes - multiplier * np.asarray(x)[..., None]) / s
        return weights * np.exp(-(gap**2) / 2) / (s * math.sqrt(2 * math.pi))

    return density(nodes), density(start)


def _quad(function: Any, low: float, high: float, errors: list[float]) -> float:
    from scipy import integrate

    value, error, *_ = integrate.quad(
        function, low, high, epsabs=0, epsrel=1e-10, limit=200, full_output=1
    )
    # Every integrand here is positive: a negative value means that the integral diverges.
    errors.append(error / value if value > 0 else 0.0 if value == 0 else math.inf)
    return value


def _checked(value: float, errors: list[float]) -> float:
    return value if max(errors) <= _RTOL else math.nan


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a number, but is {value!r}."
        ) from error
    if not math.isfinite(number):
        raise _checks.ArgumentError(f"Argument `{name}` must be finite, but is {number}.")
    return number


def _inside(start: float, radius: float) -> None:
    if not abs(start) <= radius:
        raise _checks.ArgumentError(
            f"Argument `start` must be in [-{radius:g}, {radius:g}], but is {start:g}."
        )
