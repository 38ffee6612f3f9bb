"""The search for leading eigenpairs, whose vectors go on from row to row."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.spectra.krylov import Product
from samflow.spectra.scouting import Scout, advanced, sent
from samflow.spectra.tracking import Tracked, dense, track

_COLD = 100
"""Products that the first call may take, which has no vectors of before."""
_COLD_TOL = 0.1
"""The first call is so many times as exact: what it misses, later ones see late."""

_EARLY, _SENT_EVERY = 8, 8
_EARLY_LOOKS, _LAST_LOOKS = 3, 4
"""A row takes a product outside of what is tracked, along a scout that goes on from row to row;
each eighth row takes the second number there, and sends another scout. The first eight
rows take the first number: then eigenvalues grow and overtake each other within a row."""


class Pairs(NamedTuple):
    """The leading eigenpairs of a row, and vectors for the next one."""

    values: NumpyArray
    residuals: NumpyArray
    status: NumpyArray
    num_products: int
    first: NumpyArray
    gap: float
    scale: float
    block: NumpyArray
    scout: Scout | None


class Search(NamedTuple):
    """How leading eigenpairs are looked for.

    Attributes:
        count: how many.
        tol: largest accepted residual, as a part of max|θ|.
        max_products: of a row that has vectors to start from.

    """

    count: int
    tol: float
    max_products: int

    def pairs(
        self,
        product: Product,
        block: NumpyArray | None,
        scout: Scout | None,
        fresh: Callable[[NumpyArray | None], NumpyArray],
        row: int,
    ) -> Pairs:
        """Return the pairs of a row, from `block` where there is one, and along a scout.

        Args:
            product: v ↦ Hv.
            block: vectors of the row before.
            scout: that of the row before.
            fresh: makes a random direction, shape (dim,), beside a block.
            row: the number of rows before.

        """
        if block is None or scout is None:
            how = {"tol": _COLD_TOL * self.tol, "max_products": _COLD}
            found = track(product, fresh(None)[None], count=self.count, **how)
            found = found._replace(looked=1)
            return self._judged(found, sent(fresh(found.block), found.block, found.lowest))
        last = row % _SENT_EVERY == 0
        looks = _LAST_LOOKS if last else _EARLY_LOOKS if row <= _EARLY else 1
        how = {"tol": self.tol, "max_products": self.max_products, "num_looks": looks}
        found = track(product, block, count=self.count, fresh=scout.now, **how)
        scout = None if last else advanced(scout, found)
        return self._judged(found, scout or sent(fresh(found.block), found.block, found.lowest))

    def all_pairs(self, matrix: NumpyArray, num_products: int) -> Pairs:
        """Return those of a matrix that is held; exact."""
        return self._judged(dense(matrix, count=self.count, num_products=num_products))

    def _judged(self, tracked: Tracked, scout: Scout | None = None) -> Pairs:
        found = tracked.found
        good = tracked.accepted & (tracked.looked > 0)
        status = np.where(good, Status.located, Status.residual_too_large)
        status = np.where(np.isfinite(found.residuals), status, Status.not_finite)
        below = found.values[1] if self.count > 1 else tracked.next
        gap = float(found.values[0] - below)
        return Pairs(
            found.values, found.residuals, status, found.num_steps, found.vectors[0], gap,
            found.scale, tracked.block, scout,
        )  # fmt: skip


class Tracking:
    """The searches of a monitor: one for each matrix that it follows, by name.

    Attributes:
        search: how they look.

    """

    def __init__(self, search: Search, key: PRNGKeyArray) -> None:
        """Take what random directions are drawn with."""
        self.search, self._key = search, key
        self.forget()

    def forget(self) -> None:
        """Forget all vectors."""
        self._blocks: dict[str, NumpyArray] = {}
        self._scouts: dict[str, Scout | None] = {}

    def pairs(
        self,
        of: str,
        product: Product,
        matrix: NumpyArray | None,
        slope: NumpyArray,
        *,
        step: int,
        row: int,
    ) -> Pairs:
        """Return the pairs of a row.

        Args:
            of: the name of the matrix.
            product: its product with a vector.
            matrix: the matrix, where it is held.
            slope: a direction that is likely to see a new eigenvalue first: the gradient.
            step: on which random directions depend.
            row: the number of rows before.

        """
        dim = len(slope)
        if self.search.count > dim:
            raise _checks.ArgumentError(
                f"Argument `num_eigenvalues` must be at most {dim}, the number of weights, but is "
                f"{self.search.count}."
            )
        if matrix is not None:
            return self.search.all_pairs(matrix, dim if of == "hessian" else 0)
        block = self._blocks.get(of)
        block = block if block is not None and block.shape[1] == dim else None

        def fresh(block: NumpyArray | None) -> NumpyArray:
            # Random, so that it has a part along every eigenvector; the gradient is where an
            # eigenvalue that the run is moving into shows first.
            drawn = numpy_generator(jr.fold_in(self._key, step)).standard_normal(dim)
            norm = float(np.linalg.norm(slope))
            if block is not None and np.isfinite(norm) and norm > 0:
                drawn += (slope - block.T @ (block @ slope)) * (np.sqrt(dim) / norm)
            return drawn

        pairs = self.search.pairs(product, block, self._scouts.get(of), fresh, row)
        if np.isfinite(pairs.values).all():
            self._blocks[of], self._scouts[of] = pairs.block, pairs.scout
        return pairs

    def arrays(self) -> dict[str, NumpyArray]:
        """Return all vectors, for `restore`."""
        blocks = {f"block.{name}": block for name, block in self._blocks.items()}
        for name, scout in self._scouts.items():
            held = {} if scout is None else scout._asdict()
            blocks |= {f"scout.{name}.{part}": np.asarray(each) for part, each in held.items()}
        return blocks

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Take up what `arrays` returned; other entries are not looked at."""
        self.forget()
        for name, each in arrays.items():
            if name.startswith("block."):
                self._blocks[name.removeprefix("block.")] = np.asarray(each)
        for name in {name.split(".")[1] for name in arrays if name.startswith("scout.")}:
            now, before, lowest = (arrays[f"scout.{name}.{part}"] for part in Scout._fields)
            self._scouts[name] = Scout(np.asarray(now), np.asarray(before), float(lowest))
