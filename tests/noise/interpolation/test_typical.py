"""The typical rate: closed forms in one dimension, Jensen, and chains that are their own."""

import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from tests.noise.problems import random_rows, system


def test_in_one_dimension_it_is_the_mean_of_logs():
    rows, lr, rho = np.array([[1.0], [1.5], [0.5]]), 0.4, 0.2
    step = system(rows, rho, lr=lr)
    found = sf.typical_rate(step, [0.0], key=jr.key(0), num_steps=4000)
    square = rows[:, 0] ** 2
    wanted = np.log(np.abs(1 - lr * square * (1 + rho * square))).mean()
    assert abs(found.rate - wanted) < 4 * found.standard_error  # 4σ with a fixed seed
    assert found.standard_error < 0.01 * abs(wanted)
    assert found.status is sf.Status.reached_end


def test_the_full_batch_has_the_exponent_of_its_slowest_direction():
    rows = random_rows(0)
    lams = np.linalg.eigvalsh(rows.T @ rows / 5)
    step = system(rows, 0.1, lr=0.2, batch_size=5)
    found = sf.typical_rate(step, np.zeros(3), key=jr.key(0), num_steps=5000)
    wanted = np.log(np.abs(1 - 0.2 * lams * (1 + 0.1 * lams)).max())
    assert found.rate == pytest.approx(wanted, abs=1e-9)  # 50 steps of transient at a gap of 0.5
    assert found.standard_error < 1e-9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("more", [{}, {"momentum": 0.5}, {"fresh": True}], ids=str)
def test_twice_the_typical_rate_is_at_most_the_mean_square_rate(seed, more):
    step = system(random_rows(20 + seed), 0.1, lr=0.3, batch_size=2, **more)
    typical = sf.typical_rate(step, np.zeros(3), key=jr.key(seed), num_steps=1000)
    mean_square = sf.mean_square_rate(step, np.zeros(3))
    assert 2 * typical.interval[0] <= mean_square.rate


def test_almost_every_run_can_come_back_where_the_mean_square_grows():
    # log|1 − ηs| has a mean below 0 and (1 − ηs)² a mean above 1
    both, small = (system(np.sqrt([[0.9], [s]]), lr=1.0) for s in (2.5, 2.4))
    rate = sf.mean_square_rate(small, [0.0]).rate
    assert rate == pytest.approx(np.log((0.1**2 + 1.4**2) / 2), abs=1e-12)
    assert sf.mean_square_rate(both, [0.0]).stability == "unstable"  # (0.01 + 2.25)/2 > 1
    assert sf.typical_rate(both, [0.0], key=jr.key(0)).stability == "stable"  # log(0.1 · 1.5) < 0


def test_a_product_that_becomes_zero_has_the_rate_minus_infinity():
    gone = sf.typical_rate(system([[1.0], [2.0]], lr=1.0), [0.0], key=jr.key(0), num_steps=100)
    assert gone.rate == -np.inf  # 1 − ηs = 0 with probability ½ at every step
    assert gone.stability == "stable"


def test_other_smooth_rules_run_through_the_map_itself():
    rows = random_rows(30)
    usam = system(rows, 0.2, lr=0.2, batch_size=2)
    rule = sf.rules.PracticalSAM(rho=0.1, eps=0.5)  # USAM's Jacobian with 0.2 at a critical point
    practical = sf.StochasticMap(sf.Map(usam.loss, rule, lr=0.2), usam.noise)
    found = [
        sf.typical_rate(s, np.zeros(3), key=jr.key(1), num_steps=1000) for s in (usam, practical)
    ]
    error = np.hypot(found[0].standard_error, found[1].standard_error)
    assert abs(found[0].rate - found[1].rate) < 4 * error
    assert error < 0.05 * abs(found[0].rate)


def test_directions_that_no_example_sees_do_not_count():
    step = system(random_rows(31, n=2, d=4), 0.1, lr=0.1)
    assert sf.typical_rate(step, np.zeros(4), key=jr.key(0), num_steps=200).stability == "stable"


def test_a_direction_that_one_example_alone_has_is_not_missed():
    """One of 40 examples curves steeply; few draws see it, and its exponent is the largest."""
    rows = np.diag([1.0] * 39 + [3.0])
    loss, noise = system(rows, lr=0.5).loss, sf.noise.MiniBatch(1)
    rule = sf.rules.PracticalSAM(rho=0.0, eps=1.0)  # GD through the map itself
    step = sf.StochasticMap(sf.Map(loss, rule, lr=0.5), noise)
    wanted = np.log(abs(1 - 0.5 * 9)) / 40
    for seed in range(4):
        settings = {"key": jr.key(seed), "num_steps": 600, "num_chains": 4}
        found = sf.typical_rate(step, np.zeros(40), **settings)
        assert abs(found.rate - wanted) < 0.025  # σ = 1.25 √(0.024/2400) = 0.004, and the transient


def test_steps_that_overflow_are_not_stable():
    with np.errstate(over="ignore"):
        step = system(random_rows(34), 0.1, lr=1e200)
        found = sf.typical_rate(step, np.zeros(3), key=jr.key(0), num_steps=50, num_chains=4)
    assert found.status is sf.Status.not_finite
    assert found.stability == "undecided"
    assert np.isnan(found.rate)


def test_more_chains_keep_the_first_ones():
    step = system(random_rows(32), 0.1, lr=0.1)
    few, many = (
        sf.typical_rate(step, np.zeros(3), key=jr.key(3), num_steps=50, num_chains=k)
        for k in (4, 9)
    )
    assert np.asarray(many.chains)[:4] == pytest.approx(np.asarray(few.chains), rel=1e-12)


def test_misuse_is_refused():
    step = system(random_rows(33), 0.1, lr=0.1)
    with pytest.raises(ArgumentError, match="num_chains"):
        sf.typical_rate(step, np.zeros(3), key=jr.key(0), num_chains=1)
    with pytest.raises(ArgumentError, match="`key` must be a key"):
        sf.typical_rate(step, np.zeros(3), key=0)
    practical = sf.StochasticMap(
        sf.Map(step.loss, sf.rules.PracticalSAM(rho=0.1, eps=1.0), lr=0.1), step.noise
    )
    with pytest.raises(ArgumentError, match="the number of steps that one key can serve"):
        sf.typical_rate(practical, np.zeros(3), key=jr.key(0), num_steps=2**32)
    sam = sf.StochasticMap(sf.Map(step.loss, sf.SAM(rho=0.1), lr=0.1), step.noise)
    with pytest.raises(ArgumentError, match="no linearisation"):
        sf.typical_rate(sam, np.zeros(3), key=jr.key(0))
