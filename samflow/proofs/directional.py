"""S(e) on cells of directions: the rate at which ‖g‖ falls at a critical point, in the limit g → 0.

With v = (u, ±1) on a face of the cube, y = T²v, n = ‖Tv‖, the ascent step rho m, m = y/n, and
γ = g(w* + rho m)/rho,

    n² S/rho = F(v, rho) = (Hy)·nγ = ‖Hy‖² + (Hy)·n(γ − Hm).

The first part is a convex quadratic of u, whose least value on a box is taken exactly. Only the
second, which a quadratic loss does not have, is enclosed by its slopes, so that directions need to
be cut no finer than it asks for.
"""

import functools

from flint import arb

from samflow.proofs.balls import Ball, Balls, intersect, span
from samflow.proofs.bounds import Bound, Cell
from samflow.proofs.directions import middle
from samflow.proofs.enclosures import symmetric_eigenvalues
from samflow.proofs.equations import Derivatives, dot
from samflow.rules.critical import AscentStep

_SWEEPS = 8
"""Of coordinate descent to the least value of the quadratic part on a box."""
_NARROW = 8.0
"""rho is narrow where its middle is more than so many times its radius."""


class Directional:
    """S/rho over directions e and, as the one range of a cell, rho ≥ 0.

    S(e) = m(e)ᵀHℓ(e), where ℓ(e) is the limit of the rule's direction as g → 0 along e. For SAM
    m(e) = e; with a scale T S is the rate at which ‖Tg‖ falls. At rho = 0 it is ‖Hm‖².
    """

    def __init__(self, equations: Derivatives, centre: Balls, step: AscentStep):
        """Take an enclosure of w* as `centre`; the rule's direction is `step`."""
        self.equations, self.centre = equations, centre
        self.share = arb(step.share)
        self.hessian = equations.hessian(centre)
        n = len(centre)
        scale = [arb(1)] * n if step.scale is None else step.scale(centre)
        self.squares = [t * t for t in scale]
        # The least eigenvalue of (HT)ᵀHT bounds the quadratic part against n².
        rows = [[h * t for h, t in zip(row, scale, strict=True)] for row in self.hessian]
        form = [[sum((r[i] * r[j] for r in rows), arb(0)) for j in range(n)] for i in range(n)]
        self.least = symmetric_eigenvalues(form)[0].lower()
        if not self.least.is_finite():
            self.least = arb(0)
        across = [[h * d for h, d in zip(row, self.squares, strict=True)] for row in self.hessian]
        self.form = [
            [sum((r[i] * r[j] for r in across), arb(0)) for j in range(n)] for i in range(n)
        ]

    @functools.cached_property
    def _rounded(self) -> tuple[list[list[float]], list[float]]:
        """The form of the quadratic part and T², in floating point."""
        return [[float(x) for x in row] for row in self.form], [float(x) for x in self.squares]

    @functools.cached_property
    def quadratic(self) -> Ball:
        """The least value of S/rho on the quadratic part of the loss, λ² of the weakest for SAM."""
        return self.share * self.least

    def value(self, cell: Cell) -> Ball:
        """Return S/rho at a cell of one point, with rho > 0."""
        v, rho = self._vector(cell), arb(cell.ranges[0][0])
        y, n, m = self._step(v)
        gradient = self.equations.value([c + rho * x for c, x in zip(self.centre, m, strict=True)])
        return self.share * dot(_apply(self.hessian, y), gradient) / (rho * n)

    def bound(self, cell: Cell, about: float) -> Bound:
        """Return bounds of S/rho on a cell, sharp where it is near `about`.

        Raises:
            OutsideDomain: where S certainly has no value in the middle of the cell.

        """
        level = arb(about) / self.share
        low, high = cell.ranges[0]
        rho = arb(low) if low == high else arb(low).union(arb(high))
        slopes, by_rho = self._slopes(cell, rho)
        point = self._lowest(cell, slopes, level)
        at = self._vector(point)
        n = self._step(at)[1]
        value = self.value(point) / self.share
        total = (value - level) * n * n
        pushed = _apply(self.form, at)
        excess = max(arb(0), level - self.least)
        smears, k = [], 0
        for i, square in enumerate(self.squares):
            if i == cell.patch.axis:
                continue
            a, b = cell.patch.box[k]
            offset = (arb(a).union(arb(b))) - point.patch.box[k][0]
            tilt = 2 * (pushed[i] - level * square * at[i])
            total += (tilt + slopes[k]) * offset - excess * square * _square(offset)
            # What is left to gain by a cut: the spread of the slope, and the curvature given away.
            spread = float(2 * slopes[k].rad()) + float((excess * square).abs_upper()) * (b - a)
            smears.append(spread * (b - a))
            k += 1
        total += by_rho * (rho - middle(cell.ranges[0])) if low < high else 0
        smears.append(float(by_rho.abs_upper()) * (high - low) if low < high else 0.0)
        lengths = self._step(self._vector(cell))[1]
        least = level + total / (lengths * lengths)
        return Bound(span(self.share * least)[0], span(self.share * value), point, smears)

    def slope_by_rho(self, cell: Cell) -> Ball:
        """Return the derivative of S/rho by rho in the one direction of a cell."""
        low, high = cell.ranges[0]
        n = self._step(self._vector(cell))[1]
        return self.share * self._slopes(cell, arb(low).union(arb(high)))[1] / (n * n)

    def _slopes(self, cell: Cell, rho: Ball) -> tuple[Balls, Ball]:
        """Return the derivatives of the second part of F by each u_k, and of F by rho."""
        v = self._vector(cell)
        y, n, m = self._step(v)
        point = [c + rho * x for c, x in zip(self.centre, m, strict=True)]
        segment = [x.union(p) for x, p in zip(self.centre, point, strict=True)]
        g, h = self.equations.linearise(point)
        pushed = _apply(self.hessian, y)
        # γ − Hm and H(p)m − γ are both rho times a mean of D³L[m, m]/2 over the segment.
        bend = [x / 2 for x in self.equations.third(segment, m, m)]
        before, after = ([rho * x for x in bend] for _ in range(2))
        by_rho = bend
        if rho.mid() > _NARROW * rho.rad():
            scaled = [x / rho for x in g]
            before = intersect(before, _minus(scaled, _apply(self.hessian, m)))
            after = intersect(after, _minus(_apply(h, m), scaled))
            by_rho = intersect(bend, [x / rho for x in after])
        slopes = []
        for k, square in enumerate(self.squares):
            if k == cell.patch.axis:
                continue
            column = [row[k] * square for row in self.hessian]
            turned = [(a[k] - b[k]) * square for a, b in zip(h, self.hessian, strict=True)]
            turned = [x - m[k] * y for x, y in zip(turned, after, strict=True)]
            slopes.append(n * dot(column, before) + dot(pushed, turned))
        return slopes, n * dot(pushed, by_rho)

    def _lowest(self, cell: Cell, slopes: Balls, level: Ball) -> Cell:
        """Return the point of a cell where the quadratic part with mean slopes is about least."""
        form, squares, height = *self._rounded, float(level)
        linear = [float(x) if x.is_finite() else 0.0 for x in slopes]
        axis, box = cell.patch.axis, cell.patch.box
        free = [i for i in range(len(form)) if i != axis]
        v = [middle(side) for side in box]
        v.insert(axis, float(cell.patch.side))
        for _ in range(min(len(box) ** 2, _SWEEPS)):  # one coordinate needs one sweep
            for i, (a, b), tilt in zip(free, box, linear, strict=True):
                bent = form[i][i] - height * squares[i]
                rest = sum(x * y for x, y in zip(form[i], v, strict=True)) - form[i][i] * v[i]
                if bent > 0:
                    v[i] = min(max(-(rest + tilt / 2) / bent, a), b)
        sides = tuple((v[i], v[i]) for i in free)
        ranges = tuple((m, m) for m in map(middle, cell.ranges))
        return Cell(cell.patch._replace(box=sides), ranges)

    def _step(self, v: Balls) -> tuple[Balls, Ball, Balls]:
        """Return y, n and m."""
        y = [d * x for d, x in zip(self.squares, v, strict=True)]
        terms = (d * _square(x) for d, x in zip(self.squares, v, strict=True))
        n = sum(terms, arb(0)).sqrt()
        return y, n, [x / n for x in y]

    def _vector(self, cell: Cell) -> Balls:
        u = cell.patch.u
        return [*u[: cell.patch.axis], arb(cell.patch.side), *u[cell.patch.axis :]]


def _apply(matrix: list[Balls], v: Balls) -> Balls:
    return [dot(row, v) for row in matrix]


def _minus(a: Balls, b: Balls) -> Balls:
    return [x - y for x, y in zip(a, b, strict=True)]


def _square(x: Ball) -> Ball:
    return (x * x).nonnegative_part()
