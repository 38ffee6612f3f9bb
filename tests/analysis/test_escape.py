"""Comparisons of escape times: cells are chosen beforehand, and lost paths decide nothing."""

import math

import jax.random as jr
import pytest

import samflow as sf
from analysis.claims import Verdict
from analysis.escape import HIGHEST, NEEDED, _asked, _sooner, barrier, later
from analysis.passages import SADDLES, Swept
from samflow import noise

KEY = jr.key(0)


def times(loss, lr, radius, sigma=1.0, max_steps=400):
    made = sf.StochasticMap(sf.Map(loss, sf.GD(), lr=lr), noise.isotropic_noise(1, sigma=sigma))
    return sf.escape_time(made, [0.0], radius=radius, key=KEY, num_paths=50, max_steps=max_steps)


@pytest.fixture(scope="module")
def fast_and_slow():
    maximum = sf.losses.Quadratic((-1.0,))
    return times(maximum, 0.2, 5.0), times(maximum, 0.05, 5.0)


def test_a_path_that_is_lost_is_not_left_sooner(fast_and_slow):
    fast, slow = fast_and_slow
    assert later(fast, slow).z > NEEDED
    assert later(slow, fast).z < -NEEDED
    lost = times(sf.loss("(x + 1)**(3/2)"), 0.5, 5.0, sigma=3.0)  # no slope below −1
    assert "not finite" in lost.count()
    assert math.isnan(later(lost, slow).z)
    assert math.isnan(later(slow, lost).z)


def test_nothing_is_sooner_than_itself(fast_and_slow):
    assert not any(later(found, found).z > NEEDED for found in fast_and_slow)


def test_every_pair_counts_and_none_at_all_fails(fast_and_slow):
    fast, slow = fast_and_slow
    assert _sooner("n", "s", [("a", fast, slow)]).verdict is Verdict.holds
    both = _sooner("n", "s", [("a", fast, slow), ("b", slow, fast)])
    assert (both.verdict, both.measured) == (Verdict.fails, "1 of 2 pairs of settings")
    assert _sooner("n", "s", []).verdict is Verdict.fails


def test_cells_with_paths_still_inside_are_compared_and_named(fast_and_slow):
    short = times(sf.losses.Quadratic((-1.0,)), 0.01, 5.0, max_steps=400)
    assert short.survival.censored > 0
    claim = _sooner("n", "s", [("the slow one", fast_and_slow[0], short)])
    assert claim.holds
    assert f"the slow one ({short.survival.censored})" in claim.reason


def test_the_barrier_of_sam_and_no_other():
    """At |λ₋| = 1 the potential λ₋(y²/2 − ρ|y|) has height ρ²/2 and D is η/(2B(1 − β))."""
    quartic, beale = SADDLES
    assert barrier("SAM", (0.5, 0.9, 128.0), quartic) == pytest.approx(0.25 * 128 * 0.1 / 0.05)
    assert barrier("USAM", (0.5, 0.0, 128.0), quartic) == 0.0
    scaled = (0.5 / 27.75) ** 2 * 8 / 1e-3
    assert barrier("SAM", (0.5, 0.0, 8.0), beale) == pytest.approx(scaled)


def test_pairs_are_left_out_by_the_barrier_and_not_by_what_was_found(fast_and_slow):
    fast, slow = fast_and_slow
    inside = ("SAM", 0.5, 0.0, 8.0), ("SAM", 0.5, 0.0, 128.0)
    behind = ("SAM", 0.75, 0.0, 8.0), ("SAM", 0.75, 0.0, 128.0)
    swept = Swept(SADDLES[0], {}, {}, {}, None)
    heights = [barrier(pair[0][0], pair[0][1:], swept.saddle) for pair in (inside, behind)]
    assert heights[0] < HIGHEST < heights[1]
    within = dict(zip((*inside, *behind), (slow, fast, fast, slow), strict=True))
    claim = _asked(swept, "n", "s", within, [inside, behind])
    # the one that is asked goes the wrong way; the one that is not would have held
    assert (claim.measured, claim.verdict) == ("0 of 1 pairs of settings", Verdict.fails)
    assert "SAM ρ|λ| = 0.75 β = 0 B = 8" in claim.statement
