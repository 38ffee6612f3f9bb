"""The typical rate near an interpolating minimum: the top Lyapunov exponent of a random product."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import t as student

from samflow import _checks
from samflow._random import key_words, words
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.noise.interpolation import batch_jacobians
from samflow.noise.interpolation.batch_operator import batches, has_closed_form, update
from samflow.noise.interpolation.linearisation import linearise
from samflow.noise.paths import check_draws
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_fixed
from samflow.systems.stochastic_map import StochasticMap

_DIRECTION_KEY = 0xFFFFFFFF
"""The number that no step has."""
_NOTHING = 1e-15
"""A unit vector of which no more is left after a step has become 0, up to rounding."""
_TRANSIENT = 0.1
"""Part of the steps after which a vector is taken to have turned to the leading direction."""


class TypicalRate(AbstractRecord):
    """The rate at which almost every run leaves an interpolating minimum, or returns to it.

    Attributes:
        rate: λ = lim (1/k) log‖J_k ⋯ J_1 z‖, a step: the mean over the chains. −inf where the
            product became 0; NaN where it is not finite.
        standard_error: of `rate`, from the spread of independent chains.
        interval: the 95 % interval of Student's t, (low, high).
        stability: "stable" (the interval is below 0), "unstable" (above 0) or "undecided".
        chains: the rate of each chain, shape (num_chains,).
        num_steps: steps per chain, without the transient.
        gradient_norm: largest ‖gᵢ(w)‖ over the examples, 0 at an interpolating minimum.
        misfit: the same as a part of max ‖Hᵢ‖ ‖w‖.
        status: reached_end; not_finite; or not_a_fixed_point where `w` does not fit every
            example; the noise that acts at `w` itself is then left out.

    """

    basis: ClassVar[Names] = ("interpolation",)
    rows: ClassVar[Names] = ()
    rate: float = eqx.field(static=True, metadata=axes(units="1/step"))
    standard_error: float = eqx.field(static=True, metadata=axes(units="1/step"))
    interval: tuple[float, float] = eqx.field(static=True, metadata=axes("end", units="1/step"))
    stability: str = eqx.field(static=True)
    num_steps: int = eqx.field(static=True, metadata=axes(units="step"))
    gradient_norm: float = eqx.field(static=True, metadata=axes(units="loss/weight"))
    misfit: float = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    chains: Float[Array, " chain"] = eqx.field(metadata=axes("chain", units="1/step"))

    def __str__(self) -> str:
        """Return rate, interval and verdict on one line."""
        low, high = self.interval
        text = f"{self.stability}: typical rate {self.rate:.4g} per step ({low:.4g} to {high:.4g})"
        return text if self.status is Status.reached_end else f"{text}; {self.status.label}"


@_checks.untraced()
def typical_rate(
    system: StochasticMap,
    w: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_steps: int = 2000,
    num_chains: int = 32,
) -> TypicalRate:
    """Measure the top Lyapunov exponent of the product of random Jacobians at `w`.

    By Jensen's inequality twice this rate is at most the mean-square rate. Almost every run can
    return to a minimum while the mean square, dominated by rare runs, grows without bound.

    Chain i depends on (key, i) alone. A transient of a tenth of the steps is run first and not
    counted.

    Args:
        system: the map of an optimiser on mini-batches; GD and USAM with any momentum, at any size;
            other smooth rules where the state is small.
        w: the minimum, shape (dim,).
        key: of the batches and of the first directions.
        num_steps: steps per chain that are counted.
        num_chains: independent chains, at least 2.

    Not guaranteed: that a chain is long enough for its transient; longer ones show it.

    Raises:
        ArgumentError: as `mean_square_rate`.

    Source: Furstenberg and Kesten 1960; docs/theory, section 7.

    """
    _checks.double_precision("Measuring a typical rate")
    _checks.instance("system", system, StochasticMap, "Use `sf.StochasticMap(map, noise)`.")
    check_fixed(system)
    num_steps = _checks.count("num_steps", num_steps)
    num_chains = _checks.count("num_chains", num_chains, minimum=2)
    noise = batches(system)
    batch_jacobians.check_smooth(system)
    key_words(key)
    data = linearise(system.loss, w)
    transient = int(_TRANSIENT * num_steps) + 1
    counts = jnp.asarray([transient, num_steps])
    keys = jax.vmap(lambda i: jr.fold_in(key, i))(jnp.arange(num_chains))
    if has_closed_form(system):
        step = update(system)
        chains = _on_rows(
            (jnp.asarray(data.rows), jnp.asarray(data.signs)),
            (jnp.asarray(step.still), jnp.asarray(step.moved), jnp.asarray(step.rho)),
            keys,
            counts,
            (noise.batch_size, noise.replacement, system.fresh),
        )
    else:
        check_draws(system, transient + num_steps, num_chains)
        batch_jacobians.sampled(system, w, key=key, num_samples=min(64, 4 * system.state_dim))
        # The span of all examples: draws could miss a direction that one example alone has.
        basis = np.kron(np.eye(system.state_dim // system.dim), data.basis)
        z = system.lift(_checks.point("w", w, system.dim))
        chains = _on_steps(system, z, jnp.asarray(basis), key_words(key), keys, counts)
    found = np.asarray(chains)
    rate = float(found.mean())
    error = float(found.std(ddof=1) / np.sqrt(num_chains)) if np.isfinite(rate) else 0.0
    reach = float(student.ppf(0.975, num_chains - 1)) * error
    interval = (rate - reach, rate + reach)
    status = Status.reached_end if data.interpolates else Status.not_a_fixed_point
    return TypicalRate(
        rate=rate,
        standard_error=error,
        interval=interval,
        stability="stable" if interval[1] < 0 else "unstable" if interval[0] > 0 else "undecided",
        num_steps=num_steps,
        gradient_norm=data.gradient_norm,
        misfit=data.misfit,
        status=Status.not_finite if np.isnan(rate) else status,
        provenance=provenance(system.describe(), num_steps=num_steps, num_chains=num_chains),
        chains=jnp.asarray(found),
    )


def _growth(step: Callable[[Array, Array], Array], x: Array, counts: Array) -> Array:
    """Return the mean of log‖z⁺‖/‖z‖ over the second count of steps, after the first."""

    def advance(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        z, total = carry
        image = step(i, z)
        size = jnp.linalg.norm(image)
        size = jnp.where(jnp.isfinite(size), size, jnp.nan)  # image/∞ would pass for a 0
        gone = size <= _NOTHING
        z = jnp.where(gone, z, image / jnp.where(gone, 1.0, size))
        growth = jnp.where(gone, -jnp.inf, jnp.log(size))
        return z, total + jnp.where(i >= counts[0], growth, 0.0)

    total = lax.fori_loop(0, counts.sum(), advance, (x / jnp.linalg.norm(x), jnp.zeros(())))[1]
    return total / counts[1]


@eqx.filter_jit
def _on_rows(
    examples: tuple[Array, Array],
    update: tuple[Array, Array, Array],
    keys: PRNGKeyArray,
    counts: Array,
    drawing: tuple[int, bool, bool],
) -> Array:
    """Return the growth of each chain for GD and USAM, from the rows of the Hessians."""
    (rows, signs), (still, moved, rho) = examples, update
    (n, _, m), (size, replacement, fresh) = rows.shape, drawing

    def batch(key: PRNGKeyArray) -> Callable[[Array], Array]:
        if size == n and not replacement:
            chosen = jnp.arange(n)
        else:
            chosen = jr.choice(key, n, (size,), replace=replacement)
        a, s = rows[chosen], signs[chosen]
        return lambda x: jnp.einsum("ika,ik->a", a, s * jnp.einsum("ika,a->ik", a, x)) / size

    def chain(key: PRNGKeyArray) -> Array:
        def step(i: Array, z: Array) -> Array:
            first = jr.fold_in(key, i)
            here = batch(first)
            there = batch(jr.fold_in(first, 1)) if fresh else here
            x = z[0]
            return still @ z + moved[:, None] * there(x + rho * here(x))

        direction = jr.normal(jr.fold_in(key, _DIRECTION_KEY), (len(moved), m))
        return _growth(step, direction, counts)

    return jax.vmap(chain)(keys)


@eqx.filter_jit
def _on_steps(
    system: StochasticMap, z: Array, basis: Array, key: Array, keys: PRNGKeyArray, counts: Array
) -> Array:
    """Return the growth of each chain for any smooth rule, across the directions none moves."""

    def chain(member: Array, own: PRNGKeyArray) -> Array:
        def step(i: Array, x: Array) -> Array:
            drawn_map = system.drawn(words(key, member, i, system.num_words))
            return basis @ jax.jvp(drawn_map.step, (z,), (basis.T @ x,))[1]

        return _growth(step, jr.normal(own, (len(basis),)), counts)

    return jax.vmap(chain)(jnp.arange(len(keys)), keys)
