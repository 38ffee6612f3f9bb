"""What a critical point is over rho and lr, and what theory says of it."""

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks, theory
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors.charts.records import Boundary, Chart
from samflow.attractors.sweep import Sweep, sweep
from samflow.equilibria import classify
from samflow.losses.base import AbstractLoss
from samflow.records import provenance
from samflow.rules import GD
from samflow.rules.base import AbstractRule
from samflow.systems import Flow, Map

_BESIDE = 1e-3
"""How far from the point orbits begin, in units of the ascent length, else of 1 + ‖w‖."""
_LEFT = 5.0
"""An orbit that ends farther away than so many steps are long has left."""


@_checks.untraced(None)
def stability_chart(
    loss: AbstractLoss,
    rule: AbstractRule,
    w: ArrayLike,
    *,
    rho: ArrayLike,
    lr: ArrayLike,
    momentum: float = 0.0,
    num_steps: int = 2000,
) -> Chart:
    """Say what a critical point is for the map of a rule, over a grid of rho and lr.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> chart = stability_chart(sf.losses.beale(), sf.USAM(rho=0.1), [0.0, 1.0],
    ...                         rho=[0.02, 0.05, 0.3], lr=[0.01, 0.04])
    >>> chart.what.tolist()
    [['saddle', 'saddle'], ['attracting', 'saddle'], ['repelling', 'repelling']]
    >>> print(chart.binding[2, 0])
    λ = 27.75 flips

    A rule with a Jacobian at the point is classified by it, and `binding` names the condition that
    fails, or that is nearest to. One without, as SAM, is followed from beside the point.

    Args:
        loss: the loss.
        rule: a rule with a `rho`; its own value plays no part.
        w: the critical point.
        rho: values of rho, a row.
        lr: values of lr, a row, all > 0.
        momentum: of the map.
        num_steps: of the orbits for period, exponent and sharpness.

    Raises:
        ArgumentError: for a rule without rho, a point that is not critical, or values out of
            range.

    """
    _checks.double_precision("`stability_chart`")
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` to make one.")
    _checks.instance("rule", rule, AbstractRule, "Use an instance, such as `sf.USAM(rho=0.1)`.")
    if not hasattr(rule, "rho"):
        raise _checks.ArgumentError(
            f"Argument `rule` must have a rho, but is {rule.name}. Use `sf.USAM(rho=0.1)`, or "
            "`sf.sweep` for other numbers."
        )
    at_point = classify(Flow(loss, GD()), w)
    if at_point.status is not Status.located or at_point.curvature is None:
        raise _checks.ArgumentError(
            f"Argument `w` must be a critical point, but {_checks.excerpt(w)} is about "
            f"{at_point.distance:.3g} away from one. Use `find_fixed_points`."
        )
    curvature = np.asarray(at_point.curvature)
    point = np.asarray(at_point.state)
    system = Map(loss, rule, lr=0.1, momentum=momentum)
    grid = {"rho": rho, "lr": lr}
    length = rule.ascent_length(point) or float(1 + np.linalg.norm(point))
    start = point + _BESIDE * length * np.ones(len(point)) / np.sqrt(len(point))
    periods = sweep(system, grid, "period", w0=start, num_steps=num_steps)
    growth = sweep(system, grid, "exponent", w0=start, num_steps=num_steps)
    ends = sweep(system, grid, "sharpness", w0=start, num_steps=num_steps)
    rhos, lrs = periods.axes["rho"], periods.axes["lr"]
    linear = rule.has_closed_form
    if linear:
        what = sweep(system, grid, "classify", w0=point)["kind"]
        binding = _binding(system, curvature, rhos, lrs)
    else:
        final = sweep(system, grid, "orbit", w0=start, num_steps=num_steps)["final"]
        away = np.linalg.norm(final[..., : len(point)] - point, axis=-1)
        what = _by_orbits(periods, away > _LEFT * _jumps(loss, point, rhos, lrs))
        binding = np.full(what.shape, "")
    return Chart(
        rho=rhos,
        lr=lrs,
        what=what,
        binding=binding,
        period=periods["period"],
        exponent=growth["exponent"],
        sharpness=ends["sharpness"],
        boundaries=_boundaries(system, curvature, rhos, lrs) if linear else (),
        point=tuple(point.tolist()),
        by_jacobian=linear,
        provenance=provenance(system.describe(), num_steps=num_steps),
    )


def _jumps(loss: AbstractLoss, point: np.ndarray, rhos: np.ndarray, lrs: np.ndarray) -> np.ndarray:
    """Return lr·max‖g(w + rho e)‖, e an eigenvector of H or −e: how long a step is beside w."""
    vectors = np.linalg.eigh(np.asarray(loss.hessian(jnp.asarray(point))))[1].T
    sides = np.concatenate([vectors, -vectors])
    ascents = jnp.asarray(point + rhos[:, None, None] * sides)
    gradients = np.asarray(jax.vmap(jax.vmap(loss.gradient))(ascents))
    return np.linalg.norm(gradients, axis=-1).max(axis=1)[:, None] * lrs


def _by_orbits(found: Sweep, far: np.ndarray) -> np.ndarray:
    """Say what an orbit from beside the point does, from where it ends and its period."""
    goes_on = [Status.converged.label, Status.out_of_steps.label]
    left = far | ~np.isin(found["status"], goes_on)
    period = found["period"]
    names = {0: "stays", 1: "attracting"} | {
        p: f"cycle of period {p}" for p in range(2, int(period.max()) + 1)
    }
    return np.where(left, "leaves", np.vectorize(names.get)(period))


def _scaled(system: Map, curvature: np.ndarray, rhos: np.ndarray, lrs: np.ndarray) -> np.ndarray:
    """Return ηU(λ), shape (rho, lr, λ)."""
    import sympy

    from samflow.theory.symbols import lam, rho

    family = system.rule.family
    assert family is not None  # the rule has a closed form
    eps = float(getattr(system.rule, "eps", 1.0))
    function = sympy.lambdify((lam, rho), theory.effective_curvature(family), "numpy")
    radii = rhos / eps if "eps" in system.rule.windows else rhos
    values = function(curvature[None, :], radii[:, None]) + 0 * radii[:, None]
    return values[:, None, :] * lrs[None, :, None]


def _flip(system: Map) -> float:
    scheme = "none" if system.momentum is None else "heavy_ball"
    beta = 0.0 if system.momentum is None else float(system.momentum)
    return float(theory.evaluate(theory.flip_threshold(scheme), momentum=beta))


def _binding(system: Map, curvature: np.ndarray, rhos: np.ndarray, lrs: np.ndarray) -> np.ndarray:
    """Name the condition 0 < ηU(λ) < κ that fails most, or that is nearest to failing."""
    kappa = _flip(system)
    x = _scaled(system, curvature, rhos, lrs)
    slack = np.stack([x, kappa - x], axis=-1)  # of each λ: passes +1, flips
    worst = slack.reshape(*slack.shape[:2], -1).argmin(axis=-1)
    names = [
        name for lam in curvature for name in (f"λ = {lam:.6g} passes +1", f"λ = {lam:.6g} flips")
    ]
    return np.array(names)[worst]


def _boundaries(
    system: Map, curvature: np.ndarray, rhos: np.ndarray, lrs: np.ndarray
) -> tuple[Boundary, ...]:
    """Return U = 0 and ηU = κ of each eigenvalue, within the grid."""
    kappa = _flip(system)
    fine = np.linspace(rhos.min(), rhos.max(), 400)
    one = np.array([1.0])
    u = _scaled(system, curvature, fine, one)[:, 0]
    found = []
    for k, lam in enumerate(curvature):
        signs = np.flatnonzero(np.diff(np.sign(u[:, k])) != 0)
        for i in signs:
            a, b = u[i, k], u[i + 1, k]
            at = fine[i] - a * (fine[i + 1] - fine[i]) / (b - a)
            ends = np.array([lrs.min(), lrs.max()])
            found.append(Boundary(f"λ = {lam:.6g} passes +1", np.full(2, at), ends))
        with np.errstate(divide="ignore"):
            edge = np.where(u[:, k] > 0, kappa / u[:, k], np.nan)
        inside = (edge >= lrs.min()) & (edge <= lrs.max())
        if inside.any():
            found.append(Boundary(f"λ = {lam:.6g} flips", fine, np.where(inside, edge, np.nan)))
    return tuple(found)
