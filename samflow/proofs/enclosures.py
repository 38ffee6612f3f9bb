"""Enclosures of eigenvalues and multipliers, and the kind of fixed point that they prove."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flint import acb, acb_mat, arb, arb_mat

from samflow._status import Kind, Verdict
from samflow.proofs.balls import Ball, Balls

Complex: TypeAlias = Any
"""A `flint.acb`."""


class Dynamics(NamedTuple):
    """What turns the eigenvalues μ of a rule's Jacobian Dd into those of the system.

    Attributes:
        lr: step size of the map, a ball; None for the flow ẇ = −d(w).
        momentum: a ball, or None where the state is w alone.
        nesterov: which of the two forms of momentum.

    """

    lr: Ball | None = None
    momentum: Ball | None = None
    nesterov: bool = False

    @property
    def edge(self) -> Ball:
        """The c in 0 < lr μ < c, the condition under which a real μ attracts; needs |β| < 1.

        c = 2 for the plain map, 2(1+β) for heavy ball, (2+2β)/(1+2β) for Nesterov.
        """
        beta = arb(0) if self.momentum is None else self.momentum
        return 2 * (1 + beta) / (1 + 2 * beta) if self.nesterov else 2 * (1 + beta)


class ProvedKind(NamedTuple):
    """What enclosures prove: `kind` where `verdict` is proved, else None."""

    kind: Kind | None
    verdict: Verdict


def symmetric_eigenvalues(rows: list[Balls]) -> Balls:
    """Return one ball per eigenvalue of the symmetric matrices in `rows`, ascending.

    Multiple and close eigenvalues get overlapping balls. NaN where there is no enclosure.
    """
    values = _eigenvalues(rows)
    if values is None:
        return _gershgorin(rows)
    return sorted((value.real for value in values), key=float)


def eigenvalues(rows: list[Balls]) -> list[Complex]:
    """Return one complex ball an eigenvalue of the real matrices in `rows`.

    Multiple eigenvalues get overlapping balls. NaN where there is no enclosure.
    """
    values = _eigenvalues(rows)
    return _discs(rows, np.linalg.eig) if values is None else values


def _eigenvalues(rows: list[Balls]) -> list[Complex] | None:
    if not all(x.is_finite() for row in rows for x in row):
        return None
    if len(rows) == 1:
        return [acb(rows[0][0])]
    try:
        return arb_mat(rows).eig(multiple=True)
    except ValueError:  # flint's way to say that it could not isolate them
        return None


def _gershgorin(rows: list[Balls]) -> Balls:
    """Return eigenvalues of symmetric matrices from discs."""
    return sorted((value.real for value in _discs(rows, np.linalg.eigh)), key=float)


def _discs(rows: list[Balls], decompose: Callable[[np.ndarray], Any]) -> list[Complex]:
    """Return eigenvalues from Gershgorin's discs of Q⁻¹AQ, Q ≈ eigenvectors.

    A union of k discs apart from the others holds k eigenvalues, so each gets the whole union.
    """
    nothing = [acb(arb.nan(), arb.nan())] * len(rows)
    midpoints = np.array([[float(x) for x in row] for row in rows])
    if not np.isfinite(midpoints).all():
        return nothing
    vectors = decompose(midpoints)[1].astype(complex).tolist()
    basis = acb_mat([[acb(z.real, z.imag) for z in row] for row in vectors])
    try:
        similar = (basis.inv() * acb_mat(arb_mat(rows)) * basis).tolist()
    except ZeroDivisionError:  # a matrix without a basis of eigenvectors
        return nothing
    unions: list[list[Complex]] = []
    for i, row in enumerate(similar):
        radius = sum((abs(z) for j, z in enumerate(row) if j != i), arb(0)).abs_upper()
        new: Complex = row[i] + acb(arb(0, radius), arb(0, radius))
        touched = [any(disc.overlaps(new) for disc in union) for union in unions]
        joined = [disc for union, t in zip(unions, touched, strict=True) if t for disc in union]
        unions = [union for union, t in zip(unions, touched, strict=True) if not t]
        unions.append([*joined, new])
    return [functools.reduce(acb.union, union) for union in unions for _ in union]


def ascent_eigenvalue(eigenvalue: Ball, rho: Ball) -> Ball:
    """Return U(λ) = λ(1 + rho λ), the eigenvalue of USAM's Jacobian at a critical point."""
    return eigenvalue * (1 + rho * eigenvalue)


def ascent_jacobian(at_ascent: list[Balls], at_point: list[Balls], rho: Ball) -> list[Balls]:
    """Return H(p)(I + rho H(w)), USAM's Jacobian at w with ascent point p."""
    outer, inner = arb_mat(at_ascent), arb_mat(at_point)
    return (outer + outer * inner * rho).tolist()


def normalised_jacobian(
    at_ascent: list[Balls], at_point: list[Balls], unit: Balls, slope: Ball
) -> list[Balls]:
    """Return H(p)(I + (I − eeᵀ)H(w)/μ), SAM's Jacobian at w with ascent point p = w + rho e.

    Here `unit` is e = g(w)/‖g(w)‖ and `slope` is μ = ‖g(w)‖/rho, both at w.
    """
    outer, inner, e = arb_mat(at_ascent), arb_mat(at_point), arb_mat([[x] for x in unit])
    across = inner - e * (e.transpose() * inner)
    return (outer + outer * across / slope).tolist()


def spectrum(directions: list[Complex], dynamics: Dynamics) -> list[Complex]:
    """Return the system's own eigenvalues, given those of Dd.

    Flow: −μ. Plain map: 1 − lr μ. Heavy ball: the roots of z² − (1 + β − lr μ)z + β. Nesterov in
    the form of torch.optim.SGD: the roots of z² − (1 + β)(1 − lr μ)z + β(1 − lr μ).
    """
    if dynamics.lr is None:
        return [-mu for mu in directions]
    if dynamics.momentum is None:
        return [1 - dynamics.lr * mu for mu in directions]
    beta, roots = dynamics.momentum, []
    for mu in directions:
        step = 1 - dynamics.lr * mu
        trace = (1 + beta) * step if dynamics.nesterov else beta + step
        determinant = beta * step if dynamics.nesterov else acb(beta)
        root = _square_root(trace * trace - 4 * determinant)
        roots += [(trace + root) / 2, (trace - root) / 2]
    return roots


def _square_root(z: Complex) -> Complex:
    # The cut of the root lies on the negative axis; −z is then far from it.
    return (-z).sqrt() * acb(0, 1) if z.real < 0 else z.sqrt()


def kind_of_spectrum(values: list[Complex], dynamics: Dynamics) -> ProvedKind:
    """Return the kind that the system's eigenvalues prove, or inconclusive.

    Attracting: all inside the unit circle (of a flow: left of 0). Repelling: all outside.
    Saddle: some inside, all the others outside.
    """
    if dynamics.lr is None:
        sides = [_side(value.real) for value in values]
    else:
        sides = [_side(value.real * value.real + value.imag * value.imag - 1) for value in values]
    if None in sides:
        return ProvedKind(None, Verdict.inconclusive)
    if len(set(sides)) == 2:
        return ProvedKind(Kind.saddle, Verdict.proved)
    return ProvedKind(Kind.repelling if sides[0] else Kind.attracting, Verdict.proved)


def _side(value: Ball) -> bool | None:
    if value > 0:
        return True
    return False if value < 0 else None
