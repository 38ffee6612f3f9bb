"""Eigenvalues of the Hessian that an adaptive optimiser sees, P^(-1/2) H P^(-1/2)."""

from typing import Literal

import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.records import provenance
from samflow.spectra.krylov import Product, Stopped, lanczos, settled
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import WHICH, Eigenpairs, ends_of, record_of, tolerance


def preconditioned_product(
    loss: AbstractLoss,
    w: Point,
    preconditioner: ArrayLike,
    *,
    rho: float = 0.0,
    weight_decay: float = 0.0,
) -> Product:
    """Return v ↦ P^(-1/2) (H + rho H² + weight_decay) P^(-1/2) v, between NumPy arrays.

    It is symmetric and has the eigenvalues of P⁻¹D, D = H(I + rho H) + weight_decay the derivative
    of USAM's direction at a critical point. One product with H, with rho two.

    Args:
        loss: any loss.
        w: the weights, shape (dim,).
        preconditioner: the diagonal of P, > 0, shape (dim,).
        rho: of USAM; 0 is GD.
        weight_decay: that is a part of the direction.

    Raises:
        ArgumentError: for a P of the wrong shape, or with an entry that is not finite and > 0.

    """
    diagonal = np.asarray(_checks.point("preconditioner", preconditioner, loss.dim))
    if not (diagonal > 0).all():
        raise _checks.ArgumentError(
            "Argument `preconditioner` must be greater than 0 everywhere, but has an entry "
            f"{diagonal.min():g}: a weight that no gradient has reached, with eps = 0."
        )
    root, product = np.sqrt(diagonal), hessian_product(loss, w)

    def apply(v: NumpyArray) -> NumpyArray:
        scaled = v / root
        image = product(scaled)
        if rho:
            image = image + rho * product(image)
        return (image + weight_decay * scaled) / root

    return apply


def preconditioned_eigenpairs(
    loss: AbstractLoss,
    w: ArrayLike,
    preconditioner: ArrayLike,
    *,
    rho: float = 0.0,
    weight_decay: float = 0.0,
    k: int = 1,
    which: Literal["both", "largest", "smallest"] = "both",
    tol: float | None = None,
    max_products: int = 400,
    key: PRNGKeyArray | None = None,
) -> Eigenpairs:
    """Find extreme eigenvalues of `preconditioned_product`, by Lanczos.

    They are compared with the edge of a base optimiser, as `sf.Adam().edge(lr)`. With P = 1 and
    rho = 0 they are those of `extreme_eigenpairs`. Vectors are P^(1/2) times directions in weight
    space. Arguments, status and what is not guaranteed as there.

    Raises:
        ArgumentError: as `extreme_eigenpairs` and `preconditioned_product`.
        Stopped: for an interrupt: its `found` are the pairs as they were by then.

    """
    _checks.double_precision("Finding extreme eigenvalues")
    w = _checks.point("w", w, loss.dim)
    k, max_products = _checks.count("k", k), _checks.count("max_products", max_products)
    _checks.known("which", which, WHICH)
    tol = tolerance(loss, tol)
    ends = (k if which != "largest" else 0, k if which != "smallest" else 0)
    if sum(ends) > loss.dim:
        raise _checks.ArgumentError(
            f"Argument `k` must ask for no more eigenpairs than the {loss.dim} weights, but is {k} "
            f"with which={which!r}."
        )
    product = preconditioned_product(loss, w, preconditioner, rho=rho, weight_decay=weight_decay)
    settings = provenance(loss.name, k=k, which=which, tol=tol, rho=rho, key=key)
    steps, generator = min(max(max_products, sum(ends)), loss.dim), numpy_generator(key)
    start = generator.standard_normal(loss.dim)
    made = lanczos(product, start, max_steps=steps, generator=generator)
    try:
        found = settled(made, lambda size: ends_of(size, ends), tol=tol, max_steps=steps)
    except Stopped as stopped:
        raise Stopped(record_of(stopped.found, "lanczos", tol, settings)) from stopped
    return record_of(found, "lanczos", tol, settings)
