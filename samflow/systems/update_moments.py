"""Mean and covariance of an optimiser's direction d_γ(w) over the draws γ of its noise.

Batches are enumerated; additive Gaussian noise is integrated, in closed form where the direction
is taken to first order in rho. This is what the models of `samflow.systems.diffusion` stand on.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._types import Matrix, NumpyArray, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import FiniteSum
from samflow.rules._common import everywhere, over
from samflow.rules.base import AbstractRule, is_normalised
from samflow.rules.critical import Ascent
from samflow.systems.gradient_noise import AbstractNoise, AdditiveNoise, MiniBatch, TiltedLoss

MOST_BATCHES = 4096
"""How many different batches are enumerated at most."""
NODES, MOST_WEIGHTS = 16, 3
"""Gauss-Hermite nodes a weight, and up to how many weights: 16³ gradients an evaluation."""
_AT_ONCE = 64
_REACH, _SPACING = 80.0, 0.25
"""The trapezoidal rule in log t: e^−40 is left out, and its error is e^(−π²/spacing)."""


class Moments(NamedTuple):
    """The mean (dim,) of a direction and a factor (dim, k) of its covariance FFᵀ."""

    mean: Array
    factor: Array


class _Draws(NamedTuple):
    """Losses with their probabilities: `make(argument)` for each row of `arguments`."""

    weights: NumpyArray
    arguments: Any
    make: Callable[[Any], AbstractLoss]


def check(loss: AbstractLoss, rule: AbstractRule, noise: AbstractNoise, exact: bool) -> None:
    """Refuse what has no moments here, and say what to do instead."""
    noise.check(loss)
    if isinstance(noise, MiniBatch):
        assert isinstance(loss, FiniteSum)
        found = noise.num_batches(loss.num_examples)
        if found > MOST_BATCHES:
            raise _checks.ArgumentError(
                f"Argument `noise` must have at most {MOST_BATCHES} different batches, which are "
                f"enumerated, but has {found}. Use batch_size=1, or `sf.noise.data_noise`."
            )
    elif not isinstance(noise, AdditiveNoise):
        raise _checks.ArgumentError(
            f"Argument `noise` must be a MiniBatch or AdditiveNoise, but is {noise.describe()}."
        )
    elif exact and (is_normalised(rule) or loss.dim > MOST_WEIGHTS):
        raise _checks.ArgumentError(
            "Argument `moments` must be 'leading' for additive noise where the rule divides by a "
            f"gradient or there are more than {MOST_WEIGHTS} weights, but is 'exact', for "
            f"{rule.name} with {loss.dim}: quadrature would not converge."
        )
    elif not exact and rule.ascent is Ascent.other:
        raise _checks.ArgumentError(
            "Argument `rule` must be GD, USAM, DNSAM, SAM or NSAM for additive noise, but is "
            f"{rule.name}. Use moments='exact', or mini-batches."
        )


def num_noises(loss: AbstractLoss, noise: AbstractNoise) -> int:
    """Return k, the number of columns of the factor."""
    if isinstance(noise, MiniBatch):
        assert isinstance(loss, FiniteSum)
        found = noise.num_batches(loss.num_examples)
        return min(found, loss.dim)
    return loss.dim


def exact_moments(
    loss: AbstractLoss, rule: AbstractRule, noise: AbstractNoise, w: Point
) -> Moments:
    """Return the moments of d_γ(w) at the rule's own rho."""
    draws = _draws(loss, noise)
    return _moments(draws, _each(lambda drawn: _direction(rule, drawn, w), draws))


def leading_moments(
    loss: AbstractLoss, rule: AbstractRule, noise: AbstractNoise, w: Point
) -> Moments:
    """Return the moments of d_γ(w) to first order in rho, of g_γ + rho H_γ u_γ for SAM's kind."""
    if isinstance(noise, AdditiveNoise):
        if rule.ascent is Ascent.unit:
            mean, (first, cross, last), rho = _sam_moments(loss, rule, noise, w)
            return Moments(mean, root(first + rho * cross + rho**2 * last))
        # The direction is affine in ξ.
        tilted = lambda shift: _linearised(rule, TiltedLoss(loss, shift), w)[2]  # noqa: E731
        mean, move = jax.linearize(tilted, jnp.zeros_like(w))
        return Moments(mean, jax.vmap(move, in_axes=1, out_axes=1)(_columns(noise)))
    draws = _draws(loss, noise)
    return _moments(draws, _each(lambda drawn: _linearised(rule, drawn, w)[2], draws))


def expanded_covariance(
    loss: AbstractLoss, rule: AbstractRule, noise: AbstractNoise, w: Point
) -> Matrix:
    """Return Σ + rho (S + Sᵀ), the covariance without its terms in rho²: perhaps indefinite."""
    if isinstance(noise, AdditiveNoise) and rule.ascent is Ascent.unit:
        _, (first, cross, _), rho = _sam_moments(loss, rule, noise, w)
        return first + rho * cross
    if isinstance(noise, AdditiveNoise):
        parts = lambda shift: _linearised(rule, TiltedLoss(loss, shift), w)[:2]  # noqa: E731
        _, move = jax.linearize(parts, jnp.zeros_like(w))
        values, slopes = jax.vmap(move, in_axes=1, out_axes=1)(_columns(noise))
        return values @ values.T + values @ slopes.T + slopes @ values.T
    draws = _draws(loss, noise)
    values, slopes, _ = _each(lambda drawn: _linearised(rule, drawn, w), draws)
    values, slopes = (_moments(draws, rows, reduce=False).factor for rows in (values, slopes))
    return values @ values.T + values @ slopes.T + slopes @ values.T


def singularity(loss: AbstractLoss, rule: AbstractRule, noise: AbstractNoise, w: Point) -> Scalar:
    """Return 0 exactly where a moment has no Jacobian."""
    if isinstance(noise, MiniBatch):
        draws = _draws(loss, noise)
        return jnp.min(_each(lambda drawn: rule.singularity(drawn, w, w[:0]), draws))
    if rule.ascent is Ascent.unit:
        # Noise in every direction smooths the jump.
        assert isinstance(noise, AdditiveNoise)
        lengths = jnp.linalg.norm(_columns(noise), axis=0)
        noisy = jnp.min(lengths) > 1e-7 * jnp.max(lengths)
        return jnp.where(noisy, everywhere(w), rule.singularity(loss, w, w[:0]))
    return rule.singularity(loss, w, w[:0])


def root(covariance: Array) -> Array:
    """Return the symmetric square root of a positive semidefinite matrix, which may be singular.

    Negative eigenvalues, as rounding makes them, count as 0.
    """
    if covariance.shape[0] == 1:
        return jnp.sqrt(jnp.maximum(covariance, 0))
    if covariance.shape[0] == 2:  # by Cayley and Hamilton, at a tenth of the price
        determinant = covariance[0, 0] * covariance[1, 1] - covariance[0, 1] ** 2
        s = jnp.sqrt(jnp.maximum(determinant, 0))
        t = jnp.sqrt(jnp.maximum(jnp.trace(covariance) + 2 * s, 0))
        whole = (covariance + s * jnp.eye(2)) / jnp.where(t > 0, t, 1)
        return jnp.where(jnp.isfinite(t), whole, jnp.nan)
    values, vectors = jnp.linalg.eigh(covariance)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T


def gaussian_direction(
    mean: Float[Array, " dim"], covariance: Float[Array, "dim dim"]
) -> tuple[Array, Array]:
    """Return E[y/‖y‖], shape (dim,), and E[y yᵀ/‖y‖²], (dim, dim), for y ~ N(mean, covariance).

    From 1/‖y‖ = π^−½ ∫ t^−½ e^(−t‖y‖²) dt and 1/‖y‖² = ∫ e^(−t‖y‖²) dt the expectations under the
    integral are Gaussian, and one quadrature in log t is left for every dim: 1e-12 in double
    precision unless eigenvalues that are not 0 differ by more than 1e12. NaN for y = 0.
    """
    values, vectors = jnp.linalg.eigh(covariance)
    values, m = jnp.maximum(values, 0), vectors.T @ mean
    scale = 1 / (m @ m + jnp.sum(values))
    log_t = jnp.arange(-_REACH, _REACH + _SPACING, _SPACING)
    t = (scale * jnp.exp(log_t))[:, None]
    stretch = 1 + 2 * t * values
    weight = jnp.prod(stretch**-0.5, axis=1) * jnp.exp(-jnp.sum(t * m**2 / stretch, axis=1))
    centre, spread = m / stretch, values / stretch
    once = _SPACING * jnp.sqrt(t[:, 0] / jnp.pi) * weight
    twice = _SPACING * t[:, 0] * weight
    second = jnp.einsum("t,ti,tj->ij", twice, centre, centre) + jnp.diag(twice @ spread)
    return vectors @ (once @ centre), vectors @ second @ vectors.T


def _draws(loss: AbstractLoss, noise: AbstractNoise) -> _Draws:
    if isinstance(noise, MiniBatch):
        assert isinstance(loss, FiniteSum)
        batches, weights = noise.all_batches(loss.num_examples)
        return _Draws(weights, batches, loss.batch)
    assert isinstance(noise, AdditiveNoise)
    x, p = np.polynomial.hermite_e.hermegauss(NODES)
    grid = np.stack(np.meshgrid(*[x] * loss.dim, indexing="ij"), axis=-1).reshape(-1, loss.dim)
    weights = functools.reduce(np.multiply.outer, [p / p.sum()] * loss.dim).reshape(-1)
    return _Draws(weights, grid @ _columns(noise).T, lambda shift: TiltedLoss(loss, shift))


def _each(function: Callable[[AbstractLoss], Any], draws: _Draws) -> Any:
    """Return function(loss) for each draw, along a new leading axis."""
    one = lambda argument: function(draws.make(argument))  # noqa: E731
    arguments = jnp.asarray(draws.arguments)
    return jax.vmap(one)(arguments) if len(arguments) <= _AT_ONCE else over(one, arguments)


def _moments(draws: _Draws, rows: Array, reduce: bool = True) -> Moments:
    """Return the moments of a direction given for each draw; a factor of at most dim columns."""
    weights = jnp.asarray(draws.weights)
    mean = weights @ rows
    columns = (jnp.sqrt(weights)[:, None] * (rows - mean)).T
    wide = columns.shape[1] > columns.shape[0]
    return Moments(mean, root(columns @ columns.T) if wide and reduce else columns)


def _direction(rule: AbstractRule, loss: AbstractLoss, w: Point) -> Array:
    """Return d(w) of a rule without a memory."""
    return rule.step(loss, w, w[:0])[0]


def _linearised(rule: AbstractRule, loss: AbstractLoss, w: Point) -> tuple[Array, Array, Array]:
    """Return d at rho = 0, rho times its derivative there, and the sum of both."""
    rho = getattr(rule, "rho", None)
    if rho is None:
        d = _direction(rule, loss, w)
        return d, jnp.zeros_like(d), d

    def at(value: Array) -> Array:
        return _direction(eqx.tree_at(lambda r: r.rho, rule, value), loss, w)

    value, slope = jax.jvp(at, (jnp.zeros_like(rho),), (jnp.asarray(rho),))
    return value, slope, value + slope


def _sam_moments(
    loss: AbstractLoss, rule: Any, noise: AdditiveNoise, w: Point
) -> tuple[Array, tuple[Array, Array, Array], Scalar]:
    """Return E d, and Cov d by powers of rho, of d = y + rho H y/‖y‖ with y = g + ξ."""
    g, hessian, sigma = loss.gradient(w), loss.hessian(w), noise.covariance
    u, second = gaussian_direction(g, sigma)
    # E[ξ uᵀ] = Σ E[∂u/∂y] (Stein).
    slope = jax.jacfwd(lambda mean: gaussian_direction(mean, sigma)[0])(g)
    cross = sigma @ slope @ hessian
    last = hessian @ (second - jnp.outer(u, u)) @ hessian
    return g + rule.rho * hessian @ u, (sigma, cross + cross.T, last), rule.rho


def _columns(noise: AdditiveNoise) -> Array:
    """Return a factor (dim, dim) of the covariance of ξ."""
    factor = jnp.diag(noise.factor) if noise.factor.ndim == 1 else noise.factor
    return factor / jnp.sqrt(noise.batch_size)
