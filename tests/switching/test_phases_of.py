"""P1 to P4 read off a monitor are those that a study of the whole run finds."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.networks import Monitor, first_state, train
from samflow.switching import ClaimVerdict, line_barrier, phases_of, two_phase

LR, START = 0.3, (2.0, 1e-6)


def _watched(rule, steps=400, *, motion=True, switch=20):
    loss = sf.losses.valley()
    before, after = sf.Map(loss, sf.GD(), lr=LR), sf.Map(loss, rule, lr=LR)
    monitor = Monitor(every=5, tol=1e-6, motion=motion)
    start = first_state(before, jnp.array([2.0, 0.0]))
    made = train(before, start, until=switch, monitor=monitor).state
    kicked = made._replace(z=made.z + jnp.array([0.0, START[1]]))
    ended = train(after, kicked, until=switch + steps, monitor=monitor).state
    return monitor.record, after, line_barrier(loss, made.z, ended.z)


def test_the_phases_on_the_valley_are_those_of_two_phase():
    """USAM leaves u = 2 at log|1 − lr·U(5)| = log 2 a step, and ends below its edge."""
    record, system, barrier = _watched(sf.USAM(rho=0.2))
    found = {claim.name: claim for claim in phases_of(record, system, barrier=barrier)}
    assert {claim.verdict for claim in found.values()} == {ClaimVerdict.holds}
    assert found["P1"].predicted == pytest.approx(np.log(2), rel=1e-9)
    assert found["P1"].measured == pytest.approx(np.log(2), rel=2e-3)  # the claim's own
    whole = {claim.name: claim for claim in two_phase(system, [2.0, 0.0]).phases}
    # The other run has another kick, and so another end: its sharpness is another by a little.
    assert found["P3"].measured == pytest.approx(whole["P3"].measured, rel=0.2)
    assert found["P4"].measured < 0


def test_where_the_rule_does_not_leave_nothing_grows_and_without_a_barrier_p2_is_open():
    record, system, _ = _watched(sf.USAM(rho=0.01), steps=100)
    found = {claim.name: claim for claim in phases_of(record, system)}
    assert found["P1"].verdict is ClaimVerdict.holds
    assert "no escape is predicted" in found["P1"].statement
    assert found["P2"].verdict is ClaimVerdict.not_measured


def test_of_sam_no_rate_is_claimed():
    record, system, barrier = _watched(sf.SAM(rho=0.1), steps=100)
    found = {claim.name: claim for claim in phases_of(record, system, barrier=barrier)}
    assert found["P1"].verdict is found["P4"].verdict is ClaimVerdict.not_claimed


def test_records_without_motion_or_without_the_map_are_refused():
    record, system, _ = _watched(sf.USAM(rho=0.2), steps=10, motion=False)
    with pytest.raises(ArgumentError, match="motion=True"):
        phases_of(record, system)
    with pytest.raises(ArgumentError, match="rows of sam"):
        phases_of(record, sf.Map(system.loss, sf.SAM(rho=0.1), lr=LR))
