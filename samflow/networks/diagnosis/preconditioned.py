"""What an adaptive optimiser does at a checkpoint: its preconditioned Hessian against its edge."""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._axes import axes
from samflow._types import Point
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.diagnosis.measurements import Effort
from samflow.networks.diagnosis.progress import Tell, stage
from samflow.networks.moments import SecondMoment
from samflow.rules import AbstractRule
from samflow.spectra.preconditioned import preconditioned_eigenpairs


class Preconditioned(NamedTuple):
    """The quasi-static verdict about an adaptive optimiser, one entry per rule in the arrays.

    P is frozen at the second moment of the checkpoint. About what happens when v has changed, as
    after 1/(1 − beta2) steps, nothing is said.

    Attributes:
        base: the name of the optimiser.
        step: how many steps it made.
        lr: the step size of the verdict.
        edge: the eigenvalue of P⁻¹D beyond which a perturbation grows.
        rules: of which D is the derivative of the direction: H(I + ρH), ρ the `effective_rho`.
        sharpness: the largest eigenvalue of P⁻¹D; NaN for a rule without an effective rho.
        lowest: the smallest.
        residuals: how far an eigenvalue may be from `sharpness`.
        largest_lr: the lr below which `sharpness` is below the edge.
        verdict: "below the edge", "past the edge", "undecided" within the residual, or "unknown".

    """

    base: str
    step: int
    lr: float
    edge: Annotated[float, axes(units="1")]
    rules: Annotated[tuple[str, ...], axes("adaptive_rule")]
    sharpness: Annotated[np.ndarray, axes("adaptive_rule")]
    lowest: Annotated[np.ndarray, axes("adaptive_rule")]
    residuals: Annotated[np.ndarray, axes("adaptive_rule")]
    largest_lr: Annotated[np.ndarray, axes("adaptive_rule")]
    verdict: Annotated[tuple[str, ...], axes("adaptive_rule")]

    def statements(self) -> list[str]:
        """Return a line for each rule, the answer first."""
        said = []
        for i, rule in enumerate(self.rules):
            if self.verdict[i] == "unknown":
                said.append(f"{rule} with {self.base}: no closed form, nothing is known.")
                continue
            bound = f"lr < {self.largest_lr[i]:.3g} is stable" if self.sharpness[i] > 0 else ""
            line = (
                f"{rule} with {self.base} at lr = {self.lr:g} is {self.verdict[i]}: the largest "
                f"eigenvalue of P⁻¹D is {self.sharpness[i]:.4g}, the edge {self.edge:.4g}"
            )
            line += f"; {bound}" if bound else ""
            if self.lowest[i] < -self.residuals[i]:
                line += f"; directions of negative curvature, to {self.lowest[i]:.3g}, repel"
            said.append(f"{line}.")
        return said


def preconditioned(
    loss: AbstractNetworkLoss,
    w: Point,
    moments: SecondMoment,
    rules: list[AbstractRule],
    *,
    lr: float,
    gradient_norm: float,
    effort: Effort,
    key: PRNGKeyArray,
    tell: Tell,
) -> Preconditioned:
    """Return the verdict for each rule, from eigenvalues of P^(-1/2) D P^(-1/2).

    Raises:
        ArgumentError: for a moment of another number of weights, or a P with an entry of 0.

    """
    check_moments(moments, loss)
    base, size = moments.base, moments.preconditioner
    edge = float(base.edge(lr))
    radii = [rule.effective_rho(gradient_norm) for rule in rules]
    sharp, low, residual = (np.full(len(rules), np.nan) for _ in range(3))
    for i, (rule, radius) in enumerate(zip(rules, radii, strict=True)):
        if not np.isfinite(radius):
            continue
        same = next((j for j in range(i) if radii[j] == radius), None)
        if same is not None:
            sharp[i], low[i], residual[i] = sharp[same], low[same], residual[same]
            continue
        with stage(tell, f"{rule.name} with {base.name}", effort.max_products * (1 + bool(radius))):
            pairs = preconditioned_eigenpairs(
                loss,
                w,
                size,
                rho=radius,
                weight_decay=moments.weight_decay,
                tol=effort.tol,
                max_products=effort.max_products,
                key=key,
            )
        values, left = np.asarray(pairs.values), np.asarray(pairs.residuals)
        sharp[i], low[i], residual[i] = values[-1], values[0], left.max()
    first = 0.0 if base.beta1 is None else float(base.beta1)
    decay = 0.0 if base.weight_decay is None else float(base.weight_decay)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = 2 * (1 + first) / ((1 - first) * (sharp + residual) + (1 + first) * decay)
    return Preconditioned(
        base.name,
        moments.step,
        lr,
        edge,
        tuple(rule.name for rule in rules),
        sharp,
        low,
        residual,
        np.where(sharp > 0, bounds, np.nan),
        tuple(_verdict(a, b, edge) for a, b in zip(sharp, residual, strict=True)),
    )


def check_moments(moments: SecondMoment, loss: AbstractNetworkLoss) -> None:
    """Refuse what is no second moment, or one of another number of weights."""
    remedy = "Use `sf.networks.torch_moment` or `sf.networks.optax_moment`."
    _checks.instance("moments", moments, SecondMoment, remedy)
    if len(moments.v) != loss.dim:
        raise _checks.ArgumentError(
            f"Argument `moments` must be of the model at hand, with {loss.dim} weights, but has "
            f"{len(moments.v)}."
        )


def _verdict(sharpness: float, residual: float, edge: float) -> str:
    if np.isnan(sharpness):
        return "unknown"
    if sharpness + residual < edge:
        return "below the edge"
    return "past the edge" if sharpness - residual > edge else "undecided"
