"""Enclosures of SAM's steps on cells of cones, against steps in floating point."""

import numpy as np
import pytest
from flint import arb

from analysis.proved_traps import Polynomial
from samflow.proofs._gauges import Ellipsoid, Parallelepiped
from samflow.proofs._steps import Cell, Chart, Singular, Steps
from samflow.proofs.balls import span, spans, working_precision
from samflow.proofs.directions import Patch
from samflow.proofs.equations import GradientEquations

ROUNDING = 1e-9
"""Of the doubles that are compared, relative to numbers of order 1."""


def gauge_of(dim, form, rng):
    rows = 20 * (np.eye(dim) + 0.2 * rng.standard_normal((dim, dim)))
    if form == "ellipsoid":
        return Ellipsoid(rows)
    return Parallelepiped(rows, rng.uniform(-0.5, 0.5, dim))


def points(gauge, cell, rng, number=200):
    """Return y, s, rho and lr of random points of a cell, as the definition of a gauge has them."""
    drawn = np.array([rng.uniform(low, high, number) for low, high in cell.intervals]).T
    first = drawn.shape[1] - 3
    u = np.insert(drawn[:, :first], cell.patch.axis, cell.patch.side, axis=1)
    s, rho, lr = drawn[:, first], drawn[:, first + 1], drawn[:, first + 2]
    if isinstance(gauge, Ellipsoid):
        q = u / np.linalg.norm(u, axis=1, keepdims=True)
    else:
        q = gauge.shift + u
    return s[:, None] * q, s, rho, lr


def random_cell(dim, low, rng):
    centre = rng.uniform(-0.8, 0.8, dim - 1)
    patch = Patch(int(rng.integers(dim)), int(rng.choice([-1, 1])), box_about(centre, 0.05))
    return Cell(patch, ((low, low + 0.1), (0.1, 0.11), (0.05, 0.052)))


def box_about(centre, half):
    return tuple((float(c - half), float(c + half)) for c in centre)


@pytest.mark.parametrize("form", ["ellipsoid", "box"])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("low", [0.0, 0.7])
def test_enclosures_hold_every_sampled_image(form, dim, low):
    rng = np.random.default_rng([dim, int(10 * low)])
    polynomial = Polynomial(rng, dim)
    loss = polynomial.loss()
    gauge = gauge_of(dim, form, rng)
    equations = GradientEquations(loss.expression, loss.symbols)
    compared = 0
    with working_precision(80):
        chart = Chart(equations, [arb(0)] * dim, gauge)
        for _ in range(6):
            cell = random_cell(dim, low, rng)
            y, s, rho, lr = points(gauge, cell, rng)
            np.testing.assert_allclose(gauge.level(y), s, atol=ROUNDING)
            w = np.linalg.solve(gauge.rows, y.T).T
            steps = Steps(chart, cell)
            for _ in range(2):
                try:
                    found = steps.advance()
                except Singular:
                    break
                w = polynomial.step(w, rho[:, None], lr[:, None])
                y = w @ gauge.rows.T
                for (low_end, high_end), values in zip(spans(found.all_over), y.T, strict=True):
                    assert low_end - ROUNDING <= values.min()
                    assert values.max() <= high_end + ROUNDING
                    compared += 1
                excess = np.array([gauge_excess(gauge, *pair) for pair in zip(y, s, strict=True)])
                assert excess.max() <= span(steps.change()[0])[1] + ROUNDING
                over = np.array([gauge_excess(gauge, each, 1.0) for each in y])
                assert over.max() <= span(steps.excess(arb(1))[0])[1] + ROUNDING
    assert compared >= 6 * dim


def gauge_excess(gauge, y, s):
    """Return what is ≤ 0 iff V(y) ≤ s, in floating point."""
    if isinstance(gauge, Ellipsoid):
        return y @ y - s**2
    return np.concatenate([y - s * (gauge.shift + 1), s * (gauge.shift - 1) - y]).max()


def test_the_enclosure_of_a_narrow_cell_is_narrow():
    """Halving every width at least halves what is not the image's own variation: second order."""
    polynomial = Polynomial(np.random.default_rng(3), 2)
    loss = polynomial.loss()
    equations = GradientEquations(loss.expression, loss.symbols)
    widths = []
    with working_precision(80):
        chart = Chart(equations, [arb(0)] * 2, Ellipsoid(20 * np.eye(2)))
        for half in (0.02, 0.01, 0.005):
            patch = Patch(0, 1, ((0.3 - half, 0.3 + half),))
            cell = Cell(patch, ((0.8 - half, 0.8 + half), (0.1, 0.1), (0.05, 0.05)))
            steps = Steps(chart, cell)
            low, high = span(steps.advance().all_over[0])
            y, s, rho, lr = points(chart.gauge, cell, np.random.default_rng(0), 4000)
            image = polynomial.step(y / 20, rho[:, None], lr[:, None]) * 20
            widths.append((high - low) - np.ptp(image[:, 0]))
            assert s.min() > 0
    assert widths[1] < 0.5 * widths[0]
    assert widths[2] < 0.5 * widths[1]
