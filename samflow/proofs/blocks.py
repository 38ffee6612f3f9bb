"""Losses that are sums over disjoint sets of variables: each set is solved by itself.

The fixed points of the sum are the product of those of the sets.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sympy
from flint import acb

from samflow._types import Box
from samflow.proofs._locate import Limits, Located, locate
from samflow.proofs._undecided import Undecided, regroup
from samflow.proofs.balls import Ball, Balls, spans, working_precision
from samflow.proofs.enclosures import (
    Complex,
    ascent_eigenvalue,
    ascent_jacobian,
    eigenvalues,
    symmetric_eigenvalues,
)
from samflow.proofs.equations import GradientEquations


class Proved(NamedTuple):
    """A fixed point that is proved to exist, and enclosures of the spectra there.

    Attributes:
        point: where it is, in the order of the coordinates.
        hessian: the eigenvalues of H(w), ascending, with multiplicity.
        directions: the eigenvalues of Dd(w), with multiplicity.

    """

    point: Located
    hessian: Balls
    directions: list[Complex]


class Solved(NamedTuple):
    """Every fixed point of one block in its part of the box."""

    coordinates: tuple[int, ...]
    points: list[Proved]
    undecided: list[Undecided]
    boxes_examined: int
    method: str


def solve(
    expression: sympy.Expr,
    symbols: Sequence[sympy.Symbol],
    box: Box,
    *,
    rho: Ball,
    settings: Limits,
) -> list[Solved]:
    """Solve each block of `expression`; their product holds every fixed point in `box`."""
    parts = separate(expression, symbols) if settings.separate else None
    parts = parts or [(tuple(range(len(symbols))), expression)]
    blocks = []
    for coordinates, part in parts:
        equations = GradientEquations(part, [symbols[i] for i in coordinates])
        place = tuple(box[i] for i in coordinates)
        found = locate(equations, place, rho=rho, settings=settings)
        with working_precision(settings.precision):
            points = [_spectra(equations, point, rho) for point in found.points]
        solved = Solved(coordinates, points, found.undecided, found.boxes_examined, found.method)
        blocks.append(solved)
    return blocks


def separate(
    expression: sympy.Expr, symbols: Sequence[sympy.Symbol]
) -> list[tuple[tuple[int, ...], sympy.Expr]]:
    """Return the blocks of a sum: the coordinates of each, and the terms that hold them."""
    groups: list[tuple[set[int], list[sympy.Expr]]] = [({i}, []) for i in range(len(symbols))]
    for term in _terms(expression, symbols):
        used = {i for i, symbol in enumerate(symbols) if symbol in term.free_symbols}
        touched = [group for group in groups if group[0] & used]
        if touched:
            groups = [group for group in groups if group not in touched]
            joined = set().union(*(group[0] for group in touched))
            groups.append((joined, [*(t for group in touched for t in group[1]), term]))
    if len(groups) == 1:
        return [(tuple(range(len(symbols))), expression)]  # unexpanded: narrower enclosures
    groups.sort(key=lambda group: min(group[0]))
    return [(tuple(sorted(places)), sympy.Add(*terms)) for places, terms in groups]


def _terms(expression: sympy.Expr, symbols: Sequence[sympy.Symbol]) -> Iterator[sympy.Expr]:
    """Yield the terms of a sum, with constants multiplied into sums and nothing else expanded."""
    for term in sympy.Add.make_args(expression):
        factor, rest = term.as_independent(*symbols, as_Add=False)
        if rest.is_Add and factor != 1:
            yield from (factor * part for part in _terms(rest, symbols))
        else:
            yield term


def count(blocks: Sequence[Solved]) -> int:
    """Return how many fixed points the product of `blocks` has."""
    return math.prod(len(block.points) for block in blocks)


def product(blocks: Sequence[Solved]) -> Iterator[Proved]:
    """Yield the fixed points of the whole loss, one for each choice from every block."""
    order = [i for block in blocks for i in block.coordinates]
    places = sorted(range(len(order)), key=order.__getitem__)
    for choice in itertools.product(*(block.points for block in blocks)):
        w = [x for proved in choice for x in proved.point.w]
        ascent = [x for proved in choice for x in proved.point.ascent]
        yield Proved(
            Located(
                [w[i] for i in places],
                [ascent[i] for i in places],
                any(proved.point.hallucinated for proved in choice),
            ),
            sorted((x for proved in choice for x in proved.hessian), key=float),
            [x for proved in choice for x in proved.directions],
        )


def undecided_product(blocks: Sequence[Solved]) -> list[Undecided]:
    """Return the undecided parts of the whole box: one block open, the others where they can be."""
    dim = sum(len(block.coordinates) for block in blocks)
    extents = [_extent(block) for block in blocks]
    gaps = []
    for block in blocks:
        for gap in block.undecided:
            whole: list[tuple[float, float]] = [(0.0, 0.0)] * dim
            for other, extent in zip(blocks, extents, strict=True):
                part = gap.box if other is block else extent
                if part is None:
                    return []  # a block without any fixed point: the whole loss has none
                for i, interval in zip(other.coordinates, part, strict=True):
                    whole[i] = interval
            gaps.append(Undecided(tuple(whole), gap.reason))
    return regroup(gaps)


def _extent(block: Solved) -> Box | None:
    boxes = [spans(proved.point.w) for proved in block.points]
    boxes += [gap.box for gap in block.undecided]
    if not boxes:
        return None
    axes = zip(*boxes, strict=True)
    return tuple((min(a for a, _ in axis), max(b for _, b in axis)) for axis in axes)


def _spectra(equations: GradientEquations, point: Located, rho: Ball) -> Proved:
    h = equations.hessian(point.w)
    hessian = symmetric_eigenvalues(h)
    if not point.hallucinated:
        return Proved(point, hessian, [acb(ascent_eigenvalue(x, rho)) for x in hessian])
    jacobian = ascent_jacobian(equations.hessian(point.ascent), h, rho)
    return Proved(point, hessian, eigenvalues(jacobian))
