"""The study of charts, shares and branches: its formulas, and that wrong records fail."""

import numpy as np
import pytest

from analysis import global_dynamics as study
from analysis.claims import Verdict
from analysis.size import Size


@pytest.mark.parametrize("rule", ["usam", "sam"])
def test_the_edge_is_a_repelling_fixed_point(rule):
    """g at the ascent point of y is 0 there, and orbits from its two sides part."""
    rho = {"usam": 2.0, "sam": 0.4}[rule]
    y = study.edge(rule, rho)
    g = y**3 - y
    ascent = y + rho * (g if rule == "usam" else np.sign(g))
    assert abs(ascent**3 - ascent) < 1e-12
    inside, outside = (study.share(rule, rho, 64) for _ in range(2))
    assert inside == outside  # the starts have a seed
    assert abs(inside - y / study.HALF) < 4 * np.sqrt(0.25 / 64)


def test_below_the_pitchfork_no_start_comes_to_the_saddle():
    assert study.edge("usam", 1.0) == 0
    assert study.share("usam", 0.9, 64) == 0


def test_the_two_cycle_of_the_minimum():
    """In some of 8 by 8 cells and not in others; orbits agree where the curve is not near."""
    tongue = study._tongue(8)
    assert 0 < tongue.predicted.mean() < 1
    np.testing.assert_array_equal(tongue.predicted[tongue.decided], tongue.seen[tongue.decided])


@pytest.mark.slow
def test_all_claims_hold_and_a_wrong_cell_fails():
    record = study.measure(size=Size.small)
    assert {claim.verdict for claim in study.judge(record)} == {Verdict.holds}
    cells = record.charts["usam"].at_points
    cells[0, 0, 0] = "saddle" if cells[0, 0, 0] == "attracting" else "attracting"
    record.shares["usam"][0.9] = 0.01
    failed = [claim.name for claim in study.judge(record) if claim.verdict is Verdict.fails]
    assert failed == ["chart of USAM on Beale's function", "share of USAM, ρ = 0.9"]
