"""A warm start before SAM: Proposition H6 against proofs and orbits, and verdicts both ways."""

import numpy as np
import pytest

import samflow as sf
from analysis.claims import Verdict
from analysis.papers import warm_start
from analysis.papers.warm_start import Outcome, Toy, binomial, judge, predicted_share, toys

WELLS = toys()[0]


@pytest.mark.parametrize(("rho", "ends"), [(1.0, (0.0, 1.5, 1.5)), (2.2, (0.3, 0.3, 2.2))])
def test_a_warm_start_helps_where_sam_keeps_the_minimum(rho, ends):
    """g = w(w − 2)(w − 5/2): c₊ − ρ is 1 and repels at ρ = 1, and .3 and attracts at ρ = 2.2.

    Starts: beside the minimum 0, just above 1, beside the minimum 5/2, which SAM leaves for 1.5,
    or at ρ = 2.2 for 2.2, whose target is 0.
    """
    proof = sf.certify_fixed_points(sf.Flow(WELLS.loss, sf.SAM(rho=rho)), ((0, 2),))
    found = {p.midpoint[0]: str(p.kind) for p in proof.points if p.origin == "hallucinated"}
    expected = {1.0: "repelling", 1.5: "attracting"} if rho == 1 else {0.3: "attracting"}
    assert list(found.values()) == list(expected.values())
    np.testing.assert_allclose(list(found), list(expected), atol=1e-12)
    starts = [[1e-4], [1.001], [2.4999]]
    orbit = sf.iterate(sf.Map(WELLS.loss, sf.SAM(rho=rho), lr=5e-3), starts, num_steps=6000)
    # at a kept minimum the orbit swings by lr |g(±ρ)|, at most .027 here
    np.testing.assert_allclose(np.asarray(orbit.final_w)[:, 0], ends, atol=0.03)
    kept = warm_start._keeps(WELLS.loss, np.array([0.0]), rho)
    assert kept == (rho == 1)
    assert not warm_start._keeps(WELLS.loss, np.array([2.5]), rho)


@pytest.mark.parametrize(
    ("rho", "share"),
    # starts in (−1, 3): all above 1 end at 1.5; none below the least radius .5 that reaches
    # over the hill; at 2.2 every one ends at .3 or 2.2
    [(1.0, 0.5), (0.4, 0.0), (2.2, 1.0)],
)
def test_shares_in_one_dimension_follow_from_signs(rho, share):
    toy = WELLS._replace(rho=rho)
    ws = np.linspace(-1, 3, 1000)
    # in a grid of 1,000 the boundary falls within one cell
    assert predicted_share(toy, ws) == pytest.approx(share, abs=2e-3)


def test_the_study_finds_both_outcomes_where_theory_has_them():
    """Two wells at ρ = 1: half the starts, and after a long warm start those above 2."""
    found = warm_start.outcome(WELLS._replace(warm=(0, 3000)), 200)
    assert (found.lost, found.attracting) == (0, 1)
    for steps, share in ((0, 0.5), (3000, 0.25)):
        low, high = binomial(int(found.hallucinated[steps].sum()), 200, 1 - 1e-4)
        assert low < share < high
        assert found.predicted[steps] == pytest.approx(share, abs=2e-3)
    assert not (found.kept & found.hallucinated[3000]).any()
    assert found.kept.mean() == pytest.approx(0.75, abs=0.1)


def made(cold, warm, kept, predicted=None):
    """Make an outcome of 400 starts by the shares that end hallucinated."""
    u = np.linspace(0, 1, 400, endpoint=False)
    ended = {0: u < cold, 3000: u < warm}
    return Outcome("toy", ended, predicted or {}, u >= 1 - kept, 0, 1)


@pytest.mark.parametrize(
    ("outcome", "verdicts"),
    [
        (made(0.5, 0.0, 1.0), [Verdict.holds, Verdict.holds]),
        (made(0.5, 0.5, 0.0), [Verdict.disagrees]),
        (made(0.0, 0.5, 0.0), [Verdict.disagrees]),
        (made(0.0, 0.0, 1.0), [Verdict.undecided, Verdict.holds]),
        (made(0.5, 0.2, 0.9), [Verdict.holds, Verdict.fails]),
        (made(0.5, 0.5, 0.0, {0: 0.5}), [Verdict.holds, Verdict.disagrees]),
        (made(0.5, 0.5, 0.0, {0: 0.3}), [Verdict.fails, Verdict.disagrees]),
    ],
)
def test_a_warm_start_is_judged_both_ways(outcome, verdicts):
    assert [claim.verdict for claim in judge([outcome])] == verdicts


def test_toys_of_the_small_size_are_among_those_of_the_full_one():
    names = [[(toy.name, toy.rho) for toy in toys(size)] for size in warm_start.NUM_STARTS]
    full, small = sorted(names, key=len, reverse=True)
    assert set(small) < set(full)
    assert isinstance(toys()[0], Toy)
