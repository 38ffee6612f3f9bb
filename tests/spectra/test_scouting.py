"""A scout is a Chebyshev polynomial of A; over rows it sees what one product does not."""

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval

from samflow._status import Status
from samflow.networks.monitoring.search import Search
from samflow.spectra.scouting import advanced, sent
from samflow.spectra.tracking import track

DIM = 300


def _tracked(diagonal, block):
    found = track(lambda v: diagonal * v, block, count=1, tol=0.1, max_products=2)
    np.testing.assert_allclose(found.next, 2.5)
    return found


def _looked(tracked, scout, diagonal):
    return tracked._replace(looks=(scout.now[None], diagonal * scout.now[None]))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_scout_is_a_chebyshev_polynomial_of_a_fixed_operator(steps):
    """e₁, e₂ are tracked, 2.5 is the smaller value: the interval is [−3, 1], beyond it 2 and 4."""
    diagonal = np.r_[6.0, 2.5, 4.0, 2.0, 1.0, 0.3, -1.0, -3.0]
    tracked, start = _tracked(diagonal, np.eye(8)[:2]), np.arange(1.0, 9.0)
    scout = sent(start, tracked.block, -3.0)
    for _ in range(steps):
        scout = advanced(scout, _looked(tracked, scout, diagonal))
    exact = chebval((diagonal + 1) / 2, np.eye(steps + 1)[-1]) * start
    exact[:2] = 0.0
    np.testing.assert_allclose(scout.now, exact / np.linalg.norm(exact), atol=1e-14)
    # As many products in one row, of Lanczos from the scout, are as many degrees.
    scout = sent(start, tracked.block, -3.0)
    how = {"count": 1, "tol": 0.1, "max_products": 8, "fresh": scout.now, "num_looks": steps}
    found = track(lambda v: diagonal * v, tracked.block, **how)
    scout = advanced(scout, tracked._replace(looks=found.looks))
    np.testing.assert_allclose(scout.now, exact / np.linalg.norm(exact), atol=1e-13)


def test_the_interval_begins_where_the_lowest_value_was_seen():
    """A Ritz value of −9 was seen: now −9 is not amplified any more, and 4 is."""
    diagonal = np.r_[6.0, 2.5, 4.0, np.linspace(1, -1, 4), -9.0]
    tracked, sizes = _tracked(diagonal, np.eye(8)[:2]), {}
    for lowest in (-1.0, -9.0):
        scout = sent(np.ones(8), tracked.block, lowest)
        for _ in range(8):
            scout = advanced(scout, _looked(tracked, scout, diagonal)._replace(lowest=lowest))
        sizes[lowest] = abs(scout.now[[2, 7]])
    assert sizes[-1.0][1] > 0.99
    assert sizes[-9.0][0] > 0.99


def test_nothing_outside_leaves_no_scout():
    tracked = _tracked(np.r_[6.0, 2.5], np.eye(2))
    scout = sent(np.array([1.0, 1e-9]), np.eye(2)[:1], 0.0)
    assert advanced(scout, _looked(tracked, scout, np.r_[6.0, 2.5])) is None
    assert advanced(scout, _looked(tracked, scout, np.array([np.nan, 1.0]))) is None


def _rows(grown, search, count=40):
    """Return the pairs of rows: the operator is diagonal, e₆ grows to `grown` after the first."""
    diagonal = np.r_[4.0, 3.0, np.linspace(1, -1, DIM - 2)]
    generator, block, scout, rows = np.random.default_rng(0), None, None, []
    for row in range(count):
        found = search.pairs(
            lambda v: diagonal * v,
            block,
            scout,
            lambda block: generator.standard_normal(DIM),
            # As of a run in which the first rows, which look more often, are long past.
            row + 16,
        )
        block, scout = found.block, found.scout
        rows.append(found)
        diagonal[6] = grown
    return rows


def test_what_is_just_beyond_is_seen_after_some_rows_of_few_products():
    """4.4 overtakes 4 in a direction of its own: residuals are 0, and one product sees nothing."""
    search = Search(1, 0.02, 9)
    rows = _rows(4.4, search)
    late = next(i for i, row in enumerate(rows) if row.values[0] > 4.3)
    assert 1 < late <= 8
    # A residual of 2 % makes an error of its square over the gap, 0.4.
    assert all(row.values[0] == pytest.approx(4.4, abs=0.02) for row in rows[late:])
    assert np.mean([row.num_products for row in rows[1:]]) < 4
    block, diagonal = np.eye(DIM)[:2], np.r_[4.0, 3.0, np.linspace(1, -1, DIM - 2)]
    diagonal[6] = 4.4
    fresh = np.random.default_rng(0).standard_normal(DIM)
    once = track(
        lambda v: diagonal * v, block, count=1, tol=0.02, max_products=9, fresh=fresh, num_looks=1
    )
    assert once.found.values[0] == pytest.approx(4.0, abs=1e-9)


def test_where_nothing_is_beyond_nothing_is_found():
    for row in _rows(0.5, Search(1, 0.02, 9)):
        # The first row is searched to a tenth of 2 % of 4, and an error is its square over 1.
        assert 4 - 0.008**2 <= row.values[0] <= 4 + 1e-12
        assert row.status[0] == Status.located
