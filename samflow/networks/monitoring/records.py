"""The record of a monitored training: a row for each time that it was looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from samflow._status import Status
from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance

_CURVATURE = "loss/weight^2"


def _row(units: str = "", *more: str) -> NumpyArray:
    return eqx.field(metadata=axes("row", *more, units=units))


def _status(*more: str) -> NumpyArray:
    return eqx.field(metadata=axes("row", *more, words=Status))


class TrainingRecord(AbstractRecord):
    """What a monitor saw of a training: curvature, edges, alignment and losses, row by row.

    A row is made at the weights before the step `steps`; all is of the whole loss unless it says
    of batches. What was not asked for is NaN.

    Attributes:
        steps: the number of steps made before the row.
        epochs: the number of whole epochs made; −1 where the training does not say.
        update: the rule or optimiser with its numbers, by row.
        lr: its step size; NaN where it is unknown.
        loss: L(w).
        gradient_norm: ‖g(w)‖.
        eigenvalues: the largest eigenvalues of the Hessian, descending.
        eigenvalue_residuals: ‖Hv − λv‖ of each: H has an eigenvalue within it.
        eigenvalue_status: located, residual too large, or not finite.
        num_products: Hessian-vector products that they took.
        preconditioned: the same of P^(-1/2) H P^(-1/2), for an optimiser that divides its steps by
            P; NaN for others.
        preconditioned_residuals: likewise.
        preconditioned_status: likewise; undefined for an optimiser that divides by nothing.
        preconditioned_products: likewise.
        edge: the curvature at which the optimiser's own update flips, at this ‖g‖: to be compared
            with `curvature`. NaN where it is unknown.
        edge_names: the rules that were compared.
        edges: at the same lr and momentum the edge of each, for eigenvalues of H.
        cosine: |cos(g, v₁)|, v₁ the leading eigenvector of H.
        cosine_error: its error as far as it is seen, residual of v₁ over the gap below λ₁.
        cosine_status: located; residual too large, where the error exceeds 0.1, as where two
            eigenvalues are nearly equal; no gradient; or not finite.
        direction_cosine: |cos(d, v₁)|, d the rule's direction: of SAM and its relatives the
            gradient at the ascent point. NaN for an optimiser without a rule.
        batch_sharpness: E[gᵀHg]/E‖g‖² over mini-batches, each with its own g and H.
        batch_sharpness_error: its standard error.
        test_loss: the loss on held-out data.
        test_error: the share of held-out examples misclassified.
        mean_loss: ¼(L₋ + 2L + L₊), of the steps before and after: without what has period 2.
        predicted_loss: the same by the central flow, L(w̄) + ½⟨H, Σ⟩.
        oscillation: ¼‖w₋ − 2w + w₊‖, the amplitude of what has period 2.
        predicted_oscillation: the same by the central flow, √tr Σ.
        distance: ‖w̄ − ¼(w₋ + 2w + w₊)‖ from the central flow.
        effective_curvature: U = v₁ᵀDv₁, D the derivative of the rule's direction; with `motion`.
        effective_residual: how far v₁ is from an eigenvector of D.
        growth: log|μ| at U: the predicted growth a step of the motion along v₁.
        turn: the last step along v₁ over the one before: −1 in a cycle of period 2. NaN where the
            weights of the two steps before the row were not seen, as in the first row.
        motion_steps: steps k at which the motion was seen.
        motion: v₁·(w[k] − 2w[k−1] + w[k−2]), with the v₁ of the last row before k.

    """

    rows: ClassVar[Names] = ("row",)
    printed: ClassVar[Names] = ("steps", "loss", "eigenvalues", "edge", "num_products")
    provenance: Provenance = eqx.field(static=True)
    update: tuple[str, ...] = eqx.field(static=True, metadata=axes("row"))
    edge_names: tuple[str, ...] = eqx.field(static=True, metadata=axes("edge_of"))
    motion_steps: NumpyArray = eqx.field(metadata=axes("seen", units="step"))
    motion: NumpyArray = eqx.field(metadata=axes("seen", units="weight"))
    steps: NumpyArray = _row("step")
    epochs: NumpyArray = _row("epoch")
    lr: NumpyArray = _row()
    loss: NumpyArray = _row("loss")
    gradient_norm: NumpyArray = _row("loss/weight")
    eigenvalues: NumpyArray = _row(_CURVATURE, "pair")
    eigenvalue_residuals: NumpyArray = _row(_CURVATURE, "pair")
    eigenvalue_status: NumpyArray = _status("pair")
    num_products: NumpyArray = _row("1")
    preconditioned: NumpyArray = _row("1/weight", "pair")
    preconditioned_residuals: NumpyArray = _row("1/weight", "pair")
    preconditioned_status: NumpyArray = _status("pair")
    preconditioned_products: NumpyArray = _row("1")
    edge: NumpyArray = _row()
    edges: NumpyArray = _row(_CURVATURE, "edge_of")
    cosine: NumpyArray = _row("1")
    cosine_error: NumpyArray = _row("1")
    cosine_status: NumpyArray = _status()
    direction_cosine: NumpyArray = _row("1")
    batch_sharpness: NumpyArray = _row(_CURVATURE)
    batch_sharpness_error: NumpyArray = _row(_CURVATURE)
    test_loss: NumpyArray = _row("loss")
    test_error: NumpyArray = _row("1")
    mean_loss: NumpyArray = _row("loss")
    predicted_loss: NumpyArray = _row("loss")
    oscillation: NumpyArray = _row("weight")
    predicted_oscillation: NumpyArray = _row("weight")
    distance: NumpyArray = _row("weight")
    effective_curvature: NumpyArray = _row(_CURVATURE)
    effective_residual: NumpyArray = _row(_CURVATURE)
    growth: NumpyArray = _row("1/step")
    turn: NumpyArray = _row("1")

    @classmethod
    def row_fields(cls) -> tuple[str, ...]:
        """Return the names of the fields that are arrays with an entry for each row."""
        fields = {f.name: f.metadata.get("axes", ()) for f in dataclasses.fields(cls)}
        return tuple(name for name, of in fields.items() if of[:1] == ("row",) and name != "update")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.steps)

    @property
    def sharpness(self) -> NumpyArray:
        """The largest eigenvalue of H in each row."""
        return self.eigenvalues[:, 0]

    @property
    def curvature(self) -> NumpyArray:
        """What is compared with `edge`: the preconditioned sharpness where there is one.

        NaN where an optimiser that divides its steps has made none: λ₁ of H is another quantity.
        """
        own = self.preconditioned[:, 0]
        plain = np.isfinite(self.edge) if np.isfinite(own).any() else np.full(len(self), True)
        return np.where(np.isfinite(own), own, np.where(plain, self.sharpness, np.nan))

    def __str__(self) -> str:
        """Return where the curvature was against the edge, and what it took."""
        if not len(self):
            return "no rows yet"
        ratio = self.curvature / self.edge
        known = ratio[np.isfinite(ratio)]
        text = f"{len(self)} rows, steps {self.steps[0]} to {self.steps[-1]}"
        if len(known):
            text += f"; curvature over edge: {known[-1]:.3g} at last, "
            text += f"{known.max():.3g} at most at the rows"
        else:
            text += f"; the edge of {self.update[-1]} is unknown"
        text += f"; sharpness {self.sharpness[-1]:.4g}, loss {self.loss[-1]:.4g}"
        wrong = int((self.eigenvalue_status[:, 0] != Status.located).sum())
        if wrong:
            text += f"; the largest eigenvalue is not located in {wrong} rows"
        turned, even = int((self.turn < 0).sum()), not (np.diff(self.steps) % 2).any()
        if even and 2 * turned > max(int(np.isfinite(self.turn).sum()), 1):
            text += (
                f"; the motion along v1 turned around at each step in {turned} rows, which are an "
                "even number of steps apart: they see one phase of it, and an odd number both"
            )
        return text


_BY_PAIR = ("eigenvalues", "eigenvalue_residuals", "eigenvalue_status")
_BY_PAIR += ("preconditioned", "preconditioned_residuals", "preconditioned_status")
"""Fields with an entry for each eigenvalue."""


def record_of(
    rows: list[dict[str, Any]],
    moved: list[tuple[int, float]],
    count: int,
    compared: tuple[str, ...],
    settings: Mapping[str, str],
) -> TrainingRecord:
    """Return the record of rows, by the names of its fields, and of the motion at steps."""
    shapes = dict.fromkeys(_BY_PAIR, (count,)) | {"edges": (len(compared),)}
    whole = {"steps", "epochs", "num_products", "preconditioned_products"}
    names = TrainingRecord.row_fields()
    arrays: dict[str, Any] = {
        name: np.array(
            [row[name] for row in rows], dtype=int if name in whole or "status" in name else float
        ).reshape(len(rows), *shapes.get(name, ()))
        for name in names
    }
    at = np.array(moved, dtype=float).reshape(-1, 2)
    return TrainingRecord(
        **arrays,
        update=tuple(row["update"] for row in rows),
        edge_names=compared,
        motion_steps=at[:, 0].astype(int),
        motion=at[:, 1],
        provenance=provenance("; ".join(dict.fromkeys(row["of"] for row in rows)), **settings),
    )
