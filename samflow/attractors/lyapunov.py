"""Lyapunov exponents of maps and flows."""

import functools
from typing import Any, ClassVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors import _map_growth
from samflow.attractors._map_growth import Growth
from samflow.orbits._iterate import start_states
from samflow.orbits.blocks import devices_for, gathered
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import AbstractFlow, AbstractMap, check_fixed, check_system
from samflow.systems.leaves import Varied


class Lyapunov(AbstractRecord):
    """Lyapunov exponents; for an ensemble every array has a leading axis of members.

    Attributes:
        exponents: descending; per step of a map, per unit of time of a flow. All NaN unless the
            status is `reached end`. A stretch of exactly 0 on the way gives −inf.
        standard_error: of each exponent as a mean over 20 batches of the orbit that are taken for
            independent: √(Σ(mᵢ − m)²/(20·19)). No bound: correlations between batches, a
            transient that is still in the average and the finite length of the orbit can all
            make the error larger. NaN for a single step and where an exponent is −inf.
        kaplan_yorke: the dimension j + (λ₁ + ... + λⱼ)/|λⱼ₊₁| of Kaplan and Yorke, with j the
            largest number for which that sum is not negative; the dimension of the states if all
            of them are not negative, NaN if the exponents computed do not reach that far. It
            jumps by 1 where λ₁ passes 0: where an exponent is 0 in theory (a cycle of a flow),
            rounding decides.
        sum: of the exponents computed; of all of them, the mean of log |det DF| or of div f.
        status: reached end, diverged, not finite or undefined, for a flow also out of steps and
            step size vanished; one per orbit.
        stopped_at: steps made or time reached, with the transient; for an orbit that failed the
            step or time at which it did.
        length: the number of steps, or the time, that is averaged over.

    """

    rows: ClassVar[Names] = ("exponent",)
    exponents: Float[Array, "*batch exponent"] = eqx.field(metadata=axes("exponent"))
    standard_error: Float[Array, "*batch exponent"] = eqx.field(metadata=axes("exponent"))
    kaplan_yorke: Float[Array, "*batch"] = eqx.field(metadata=axes())
    sum: Float[Array, "*batch"] = eqx.field(metadata=axes())
    status: Int[Array, "*batch"] = eqx.field(metadata=axes(words=Status))
    stopped_at: Array = eqx.field(metadata=axes())
    length: float = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def count(self) -> dict[str, int]:
        """Return how many orbits ended in each way."""
        codes = jnp.ravel(self.status).tolist()
        return {status.label: codes.count(status) for status in Status if status in codes}

    def __str__(self) -> str:
        over = f"per {self.unit}, over {self.length:g}"
        if self.status.ndim:
            ends = ", ".join(f"{number} {label}" for label, number in self.count().items())
            return f"Lyapunov exponents of {self.status.size} orbits {over}: {ends}"
        status = Status(int(self.status))
        if status is not Status.reached_end:
            where = f"{self.unit.split()[-1]} {float(self.stopped_at):g}"
            return f"no Lyapunov exponents: {status.label} at {where}"
        pairs = zip(self.exponents.tolist(), self.standard_error.tolist(), strict=True)
        shown = ", ".join(f"{value:.6g} ± {error:.1g}" for value, error in pairs)
        dimension = f"Kaplan–Yorke dimension {float(self.kaplan_yorke):.5g}"
        return f"Lyapunov exponents {shown} {over}; {dimension}"


@overload
def lyapunov_spectrum(
    system: AbstractMap,
    w0: ArrayLike,
    *,
    num_steps: int,
    num_transient: int = ...,
    num_exponents: int | None = ...,
    escape_radius: float = ...,
) -> Lyapunov: ...


@overload
def lyapunov_spectrum(
    system: AbstractFlow,
    w0: ArrayLike,
    *,
    t1: float,
    t_transient: float = ...,
    num_exponents: int | None = ...,
    escape_radius: float = ...,
    rtol: float = ...,
    atol: float = ...,
    max_steps: int = ...,
) -> Lyapunov: ...


def lyapunov_spectrum(
    system: AbstractMap | AbstractFlow,
    w0: ArrayLike,
    *,
    num_steps: int | None = None,
    num_transient: int | None = None,
    t1: float | None = None,
    t_transient: float | None = None,
    num_exponents: int | None = None,
    escape_radius: float = 1e6,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int | None = None,
) -> Lyapunov:
    """Compute Lyapunov exponents: the mean logarithmic stretch of tangent vectors along an orbit.

    An orthonormal frame is pushed along the orbit by DF (of a flow: by V̇ = Df(z) V) and made
    orthogonal again after every step; λᵢ is the mean log of the stretch of its i-th vector.

    The average has a limit, the same for almost every start, if the orbit follows an ergodic
    measure (Oseledets). This is not tested. Otherwise the result is a finite-time value for the
    one orbit followed, which may still be approaching an attractor (use a transient), or be near an
    unstable orbit that it has not yet left. In floating point an orbit can also end where typical
    orbits do not, as orbits of the doubling map end at 0.

    Args:
        system: a map or a flow.
        w0: weights (dim,) or (N, dim); or states of length `state_dim` where this differs.
        num_steps: for a map: the number of steps averaged over.
        num_transient: for a map: steps made before, with the frame, and not counted; default 0.
        t1: for a flow: the time averaged over.
        t_transient: for a flow: the time followed before and not counted; default 0.
        num_exponents: how many, from the largest; by default all.
        escape_radius: an orbit has diverged when ‖z‖ exceeds this. Of a map, a ball left and
            entered again within 1024 steps is not noticed.
        rtol: for a flow: relative tolerance of each step of Tsit5, state and frame; default 1e-8.
        atol: for a flow: absolute tolerance of the same; default 1e-10.
        max_steps: for a flow: steps after which the solver gives up; default 1,000,000.

    Returns:
        A `Lyapunov`. Nothing is raised for an orbit that fails: its exponents are NaN and its
        status says why, `undefined` where it meets a state at which the system has no Jacobian,
        as normalised SAM at a critical point. A flow can instead end near such a point with
        a vanished step size or out of steps; it is not followed beyond, unlike in `integrate`.

        A stretch counts as 0, and the exponent is −inf, when it is under 1e-146 in a step or
        when Gram–Schmidt leaves nothing but rounding. A Jacobian that is singular only up to
        rounding can give some large negative number instead, around −36 a step.

        A vector that contraction draws onto an invariant line to the last digit stays on it, as
        on the diagonal of a symmetric map, also where the line repels later. The exponents are the
        same in number and size, but with `num_exponents` below `state_dim` the largest may be
        missing.

        In single precision the sums have five or six digits and a stretch under 3e-16 counts
        as 0. There a chaotic orbit becomes periodic after some 1e4 steps by rounding. Its average
        is then that of the cycle, which the standard error does not show.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, settings out of range, or settings of a map given for a flow.

    Source: Benettin, Galgani, Giorgilli, Strelcyn 1980; Shimada, Nagashima 1979; for the
    dimension Kaplan, Yorke 1979.

    >>> import samflow as sf
    >>> trap = sf.Map(sf.losses.saddle((-1.0,)), sf.SAM(rho=0.1), lr=0.1)
    >>> print(sf.lyapunov_spectrum(trap, [0.003], num_steps=1000))
    Lyapunov exponents 0.0953102 ± ... per step, over 1000; Kaplan–Yorke dimension 1

    """
    of_flow = {"t1": t1, "t_transient": t_transient, "rtol": rtol, "atol": atol}
    of_flow["max_steps"] = max_steps
    of_map = {"num_steps": num_steps, "num_transient": num_transient}
    radius = _checks.positive_array("escape_radius", escape_radius)
    if isinstance(system, AbstractFlow):
        check_fixed(system)
        _refuse(of_map, "flow", "`t1` and `t_transient`")
        return _of_flow(system, w0, num_exponents, {"escape_radius": radius} | of_flow)
    check_system(system, AbstractMap, "Use a map or a flow.")
    _refuse(of_flow, "map", "`num_steps` and `num_transient`")
    return _of_map(system, w0, num_exponents, {"escape_radius": radius} | of_map)


def _of_map(
    system: AbstractMap, w0: ArrayLike, num_exponents: int | None, given: dict[str, Any]
) -> Lyapunov:
    num_steps = _checks.count("num_steps", given["num_steps"])
    before = _checks.count("num_transient", given["num_transient"] or 0, minimum=0)
    counts = jnp.asarray(num_steps), jnp.asarray(before)
    settings = _map_growth.MapSettings(*counts, given["escape_radius"])
    z0, k = start_states(system, w0), _how_many(num_exponents, system.state_dim)
    batch = jnp.atleast_2d(z0)
    devices = devices_for(batch, _map_growth.PER_DEVICE)
    growth = _map_growth.map_growth(system, batch, k, settings, Varied(), devices)
    growth = gathered(growth, devices)
    where = provenance(system.describe(), num_steps=num_steps, num_transient=before)
    return _record(growth, z0, float(num_steps), "step", where)


def _of_flow(
    system: AbstractFlow, w0: ArrayLike, num_exponents: int | None, given: dict[str, Any]
) -> Lyapunov:
    from samflow.attractors import _flow_growth  # diffrax: those with maps need not wait

    defaults = {"t_transient": 0.0, "rtol": 1e-8, "atol": 1e-10, "max_steps": 1_000_000}
    given = defaults | {name: value for name, value in given.items() if value is not None}
    if "t1" not in given:
        raise ArgumentError("Argument `t1` must be a number, but is None. Give the final time.")
    settings = _flow_growth.FlowSettings(
        _checks.positive_array("t1", given["t1"]),
        _checks.nonnegative_array("t_transient", given["t_transient"]),
        _checks.positive_array("rtol", given["rtol"]),
        _checks.positive_array("atol", given["atol"]),
        given["escape_radius"],
        jnp.asarray(_checks.count("max_steps", given["max_steps"])),
    )
    z0, k = start_states(system, w0), _how_many(num_exponents, system.state_dim)
    growth = _flow_growth.flow_growth(system, jnp.atleast_2d(z0), k, settings)
    shown = {name: float(given[name]) for name in ("t1", "t_transient", "rtol", "atol")}
    where = provenance(system.describe(), **shown, solver="Tsit5")
    return _record(growth, z0, float(given["t1"]), "unit of time", where)


def _refuse(settings: dict[str, Any], kind: str, remedy: str) -> None:
    for name, value in settings.items():
        if value is not None:
            raise ArgumentError(
                f"Argument `{name}` must be left out for a {kind}, but is {value!r}. Use {remedy}."
            )


def _how_many(num_exponents: int | None, dim: int) -> int:
    number = _checks.count("num_exponents", dim if num_exponents is None else num_exponents)
    if number > dim:
        raise ArgumentError(
            f"Argument `num_exponents` must be at most {dim}, the dimension of a state, but is "
            f"{number}."
        )
    return number


def _record(growth: Growth, z0: Array, length: float, unit: str, where: Provenance) -> Lyapunov:
    exponents, error, dimension, total, status, stopped_at = _averages(
        growth, length, z0.shape[-1], z0.ndim == 1
    )
    return Lyapunov(exponents, error, dimension, total, status, stopped_at, length, unit, where)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _averages(growth: Growth, length: float, dim: int, single: bool) -> tuple[Array, ...]:
    """Turn the growth in batches into means, with NaN for the orbits that failed."""
    well = (growth.status == Status.reached_end)[:, None]
    exponents = (_over_batches(growth.logs) / length).astype(growth.logs.dtype)
    error = _standard_error(growth.logs, growth.lengths, exponents)
    exponents, error = jnp.where(well, exponents, jnp.nan), jnp.where(well, error, jnp.nan)

    def ordered() -> tuple[Array, Array]:
        order = jnp.argsort(-exponents, axis=-1)
        along = lambda values: jnp.take_along_axis(values, order, axis=-1)  # noqa: E731
        return along(exponents), along(error)

    # Gram–Schmidt's order is another where a vector has been drawn onto an invariant line exactly.
    other = jnp.any(exponents[:, 1:] > exponents[:, :-1])
    exponents, error = lax.cond(other, ordered, lambda: (exponents, error))
    dimension, total = _dimension(exponents, dim), jnp.sum(exponents, axis=-1)
    arrays = exponents, error, dimension, total, growth.status, growth.stopped_at
    return tuple(a[0] for a in arrays) if single else arrays


def _standard_error(logs: Array, lengths: Array, exponents: Array) -> Array:
    """Return √(Σ(mᵢ − m)²/(B(B − 1))) for B batches, weighted where their lengths differ."""
    batches = jnp.sum(lengths > 0)
    deviations = logs - lengths[:, None] * exponents[..., None, :]
    inflation = batches / jnp.where(batches > 1, batches - 1, jnp.nan)
    return jnp.sqrt(inflation * _over_batches(deviations**2)) / jnp.sum(lengths)


def _over_batches(values: Array) -> Array:
    """Return the sum over the last axis but one, in a tenth of the time that `jnp.sum` takes."""
    return functools.reduce(jnp.add, (values[..., i, :] for i in range(values.shape[-2])))


def kaplan_yorke(exponents: Array, dim: int) -> Array:
    """Return the dimension j + (λ₁ + ... + λⱼ)/|λⱼ₊₁| from exponents (..., k) of `dim`.

    NaN where an exponent is, and where k < dim of them have a sum that is not negative.
    """
    return _dimension(-jnp.sort(-exponents, axis=-1), dim)


def _dimension(falling: Array, dim: int) -> Array:
    """Return the dimension from exponents that fall."""
    sums = jnp.cumsum(falling, axis=-1)
    j = jnp.sum(sums >= 0, axis=-1)
    known = falling.shape[-1]
    place = jnp.arange(known)
    at = lambda i, values: jnp.sum(jnp.where(place == i[..., None], values, 0.0), axis=-1)  # noqa: E731
    ahead = at(jnp.minimum(j, known - 1), falling)
    upto = at(jnp.maximum(j - 1, 0), sums)
    inside = jnp.where(j == 0, 0.0, j + upto / jnp.abs(ahead))
    whole = jnp.asarray(dim if known == dim else jnp.nan, falling.dtype)
    dimension = jnp.where(j == known, whole, inside)
    return jnp.where(jnp.any(jnp.isnan(falling), axis=-1), jnp.nan, dimension)
