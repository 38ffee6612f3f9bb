"""Saddles that symmetry makes in networks, with the eigenvalues that are known in closed form.

A hidden unit duplicated at a critical point of a smaller network, and several hidden units that
are one, with the loss minimised among such networks. `deep_linear` has a third kind.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, Matrix, NumpyArray, Point
from samflow.losses import network
from samflow.networks.saddles import units
from samflow.networks.saddles.critical import RANK, critical_point, derivatives, is_critical

_CRITICAL = 1e-9
"""‖g‖ up to this times max|λ| and a length of the problem counts as 0."""


class SymmetrySaddle(NamedTuple):
    """A critical point of a network's loss, and its Hessian H taken apart.

    Attributes:
        name: which symmetry made it.
        loss: the loss.
        w: the critical point, shape (dim,).
        gradient_norm: ‖g(w)‖.
        eigenvalues: all of H(w), from the dense matrix, ascending, shape (dim,).
        closed_form: those that theory gives, ascending, with multiplicity: all dim of them for a
            duplicated unit and a linear network, the antisymmetric ones for a permutation.
        vectors: unit eigenvectors as rows, in the order of `eigenvalues`.
        statement: what USAM needs to hold the point, in words.

    """

    name: str
    loss: Any
    w: Point
    gradient_norm: float
    eigenvalues: NumpyArray
    closed_form: NumpyArray
    vectors: NumpyArray
    statement: str

    def __str__(self) -> str:
        """Return name and statement."""
        return f"{self.name}: {self.statement}"

    @property
    def negative(self) -> NumpyArray:
        """The eigenvectors of the negative eigenvalues, as rows, the weakest last."""
        return self.vectors[self.eigenvalues < -self._zero]

    @property
    def positive(self) -> NumpyArray:
        """The eigenvectors of the positive eigenvalues, as rows."""
        return self.vectors[self.eigenvalues > self._zero]

    @property
    def weakest(self) -> float:
        """The negative eigenvalue nearest to zero, λ₋; NaN if there is none."""
        return _weakest(self.eigenvalues)

    @property
    def direction(self) -> NumpyArray:
        """A unit eigenvector of `weakest`; NaN if there is none."""
        negative = self.negative
        return negative[-1] if len(negative) else np.full(len(self.eigenvalues), np.nan)

    @property
    def largest_lr(self) -> float:
        """The lr below which USAM holds the point from 1/|λ₋| on, 2/U(λmax) at that ρ; or NaN."""
        top = float(self.eigenvalues[-1])
        return 2 / (top * (1 + top / abs(self.weakest))) if top > 0 else float(np.nan)

    @property
    def _zero(self) -> float:
        return RANK * float(np.abs(self.eigenvalues).max())


def duplicated_hessian(
    model: eqx.nn.MLP,
    x: ArrayLike,
    y: ArrayLike,
    *,
    unit: int,
    share: float = 0.5,
    layer: int = 0,
    loss: str | None = None,
) -> Matrix:
    """Return the Hessian of the network with a unit duplicated from that of the smaller one.

    With u the unit's incoming weights, a its outgoing ones, α the share, and C and M of
    `units.unit_block`, exactly and at any weights,

        δᵀHδ = δₛᵀ Hₛ δₛ + α(1 − α) Dᵀ C D + 2 Bᵀ M D,

    where δₛ moves the smaller network (its u by αδu₁ + (1 − α)δu₂, its a by δa₁ + δa₂),
    D = δu₁ − δu₂ and B = (1 − α)δa₁ − αδa₂. Arguments as for `duplication_saddle`, which says
    what follows; the weights are in the order of the larger network's loss.

    Raises:
        ArgumentError: as `units.duplicate_unit` and `sf.losses.network`.

    """
    small = network(model, x, y, loss=loss)
    bigger = units.duplicate_unit(model, unit, share=share, layer=layer)
    made = network(bigger, x, y, loss=loss)

    def parts(v: Point) -> Any:
        split = made.unflatten(v)
        merged = units.merge_copies(split, unit, share=share, layer=layer)
        return small.flatten(merged), units.difference(split, unit, share=share, layer=layer)

    merging, differing = jax.jit(jax.jacfwd(parts))(jnp.zeros(made.dim))  # linear: anywhere
    block = units.unit_block(model, x, y, unit=unit, layer=layer, loss=loss)
    antisymmetric = differing.T @ block.matrix(share * (1 - share)) @ differing
    _, hessian = derivatives(small, small.flatten(model))
    return merging.T @ hessian @ merging + antisymmetric


def duplication_saddle(
    model: eqx.nn.MLP,
    x: ArrayLike,
    y: ArrayLike,
    *,
    unit: int,
    share: float = 0.5,
    layer: int = 0,
    loss: str | None = None,
) -> SymmetrySaddle:
    """Duplicate a hidden unit of a network at a critical point of its loss.

    By the form of `duplicated_hessian`, H has as many negative eigenvalues as the smaller
    network's and the block [[α(1 − α)C, Mᵀ], [M, 0]] together. With one output M = 0, and the
    sign of α(1 − α)C decides: a minimum stays one, for α between 0 and 1 or else outside, only
    where C is definite. With several outputs it becomes a saddle for every α unless M = 0.
    Moving the share is free, so that H has an eigenvalue 0 (B = a).

    Args:
        model: a perceptron at a critical point, as `critical_point` finds it.
        x: inputs.
        y: targets.
        unit: which unit of the hidden layer.
        share: α, any real number.
        layer: which hidden layer, from 0.
        loss: as for `sf.losses.network`.

    Raises:
        ArgumentError: if the model is no critical point, in single precision, and as
            `units.duplicate_unit`.

    Source: Fukumizu, Amari 2000 (Neural Networks 13); Simsek et al. 2021 (arXiv 2105.12221).

    """
    _checks.double_precision("Making a saddle")
    small = network(model, x, y, loss=loss)
    bigger = units.duplicate_unit(model, unit, share=share, layer=layer)
    made = network(bigger, x, y, loss=loss, name=f"network with unit {unit} twice")
    at = small.flatten(model)
    if not is_critical(small, at, _CRITICAL):
        size = float(np.linalg.norm(derivatives(small, at)[0]))
        raise _checks.ArgumentError(
            f"Argument `model` must be at a critical point of its loss, but has ‖g‖ = {size:.3g}. "
            "Use `critical_point` first."
        )
    hessian = duplicated_hessian(model, x, y, unit=unit, share=share, layer=layer, loss=loss)
    closed = np.linalg.eigvalsh(np.asarray(hessian))
    return saddle_at("duplicated unit", made, made.flatten(bigger), closed)


def permutation_saddle(
    model: eqx.nn.MLP,
    x: ArrayLike,
    y: ArrayLike,
    *,
    alike: tuple[int, ...],
    layer: int = 0,
    loss: str | None = None,
    tol: float = 1e-11,
) -> SymmetrySaddle:
    """Minimise the loss among networks whose units `alike` are one in all their weights.

    These networks are the fixed space of the permutations of those k units. The gradient there
    lies in the space, so that the minimum within is a critical point of the whole. Within it H is
    positive; across it, on displacements of the k units that sum to 0, H is k − 1 copies of

        [[C, Mᵀ], [M, 0]],    C and M of `units.unit_block` for one of the units.

    Args:
        model: a perceptron; the means over its units `alike` are where the search begins.
        x: inputs.
        y: targets.
        alike: two or more units of the hidden layer.
        layer: which hidden layer, from 0.
        loss: as for `sf.losses.network`.
        tol: of `critical_point`.

    Raises:
        ArgumentError: where no critical point is found, in single precision, and for units that
            are fewer than two, repeated or not there.

    Source: Simsek et al. 2021 (arXiv 2105.12221); Brea et al. 2019 (arXiv 1907.02911).

    """
    _checks.double_precision("Making a saddle")
    made = network(model, x, y, loss=loss, name=f"network with units {alike} alike")
    w0 = made.flatten(units.symmetrise(model, alike, layer=layer))

    def fixed(v: Point) -> Point:
        return made.flatten(units.symmetrise(made.unflatten(v), alike, layer=layer))

    values, vectors = np.linalg.eigh(np.asarray(jax.jit(jax.jacfwd(fixed))(jnp.zeros(made.dim))))
    found = critical_point(made, w0, basis=vectors.T[values > 0.5], tol=tol)  # 0 or 1
    if found.status != Status.located:
        raise _checks.ArgumentError(
            f"Argument `model` must lead to a critical point, but the search ended at ‖g‖ = "
            f"{found.gradient_norm:.3g}. Try other weights or another `tol`."
        )
    w = made.flatten(units.symmetrise(made.unflatten(found.w), alike, layer=layer))
    block = units.unit_block(made.unflatten(w), x, y, unit=alike[0], layer=layer, loss=loss)
    one = np.linalg.eigvalsh(np.asarray(block.matrix(1.0)))
    return saddle_at(f"{len(alike)} units alike", made, w, np.tile(one, len(alike) - 1))


def _weakest(eigenvalues: NumpyArray) -> float:
    negative = eigenvalues[eigenvalues < -RANK * np.abs(eigenvalues).max()]
    return float(negative.max()) if len(negative) else float(np.nan)


def saddle_at(name: str, loss: Any, w: Point, closed_form: NumpyArray) -> SymmetrySaddle:
    """Return the record of a critical point `w`, with H(w) formed and diagonalised.

    `closed_form` holds the eigenvalues that theory gives, in any order.
    """
    slope, hessian = derivatives(loss, w)
    eigenvalues, vectors = np.linalg.eigh(hessian)
    weakest, top = _weakest(eigenvalues), np.abs(eigenvalues).max()
    zeros = int((np.abs(eigenvalues) <= RANK * top).sum())
    if np.isfinite(weakest):
        statement = f"A saddle: USAM stays at it only if rho > 1/|λ₋| = {-1 / weakest:.6g}."
    elif top > 0:
        statement = "No negative eigenvalue: not a strict saddle, and no threshold in rho."
    else:
        statement = "H = 0: there is no threshold 1/|λ₋|, and no rho changes the linear part."
    if 0 < zeros < len(eigenvalues):
        statement += f" H vanishes along {zeros} directions: the multiplier there is 1 for any rho."
    size = float(np.linalg.norm(slope))
    closed = np.sort(np.asarray(closed_form))
    return SymmetrySaddle(name, loss, w, size, eigenvalues, closed, vectors.T, statement)
