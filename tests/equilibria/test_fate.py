"""What becomes of orbits near a point: each fate, its negative case, and the table of rules."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from analysis import relatives
from samflow import rules
from samflow._checks import ArgumentError
from samflow.equilibria import fate

SADDLE = relatives.POINTS["saddle"]


@pytest.mark.parametrize("name", relatives.TABLE)
def test_the_table_of_rules(name):
    """docs/theory.md, section 5; a word of the table must be what every start does."""
    assert (
        tuple(relatives.see(name, place).outcome for place in relatives.POINTS)
        == relatives.TABLE[name]
    )


def test_the_table_of_rules_leaves_out_asam_alone():
    assert set(rules.RULES) - set(relatives.TABLE) == {"asam"}


def test_asam_is_held_where_no_weight_is_zero_and_is_linear_where_one_is():
    away = sf.loss("(x - 1)**2/2 - (y - 2)**2/5")
    system = sf.Map(away, rules.ASAM(rho=0.05), lr=0.05)
    assert set(fate(system, [1.0, 2.0], num_starts=8).fates) <= {"cycle", "trap"}
    assert fate(
        sf.Map(sf.losses.saddle(SADDLE), rules.ASAM(rho=0.05), lr=0.05), [0.0, 0.0]
    ).outcome == ("leaves")


@pytest.mark.parametrize(("rho", "outcome"), [(0.98, "leaves"), (1.02, "attractor")])
def test_asam_at_a_weight_of_zero_is_linear_in_one_dimension(rho, outcome):
    system = sf.Map(sf.losses.saddle((-1.0,)), rules.ASAM(rho=rho), lr=0.5)
    for w in (0.3, -0.02):
        moved = system.step(jnp.array([w]))[0]
        assert float(moved) == pytest.approx(w * (1 + 0.5 * (1 - rho)), rel=1e-12)
    assert fate(system, [0.0], radius=0.1, num_starts=4).outcome == outcome


@pytest.mark.parametrize(("share", "outcome"), [(1.1, "cycle"), (0.9, "leaves")])
def test_sam_at_a_saddle_on_both_sides_of_the_weak_bound(share, outcome):
    lr = 0.3
    weak = float(sf.theory.saddle_cycle_bounds(1, lr=lr)[0])
    system = sf.Map(sf.losses.saddle((1.0, -share * weak)), sf.SAM(rho=0.1), lr=lr)
    assert fate(system, [0.0, 0.0], num_steps=40_000).outcome == outcome


def test_flows():
    saddle = sf.losses.saddle(SADDLE)
    outcomes = {
        rule.name: fate(sf.Flow(saddle, rule), [0.0, 0.0], num_starts=6, t1=30.0).outcome
        for rule in (sf.GD(), sf.SAM(rho=0.1), sf.USAM(rho=3.0))
    }
    assert outcomes == {"gd": "leaves", "sam": "slides", "usam": "attractor"}


def test_a_rest_beside_the_point_is_elsewhere_and_a_period_is_counted():
    logistic = sf.FunctionMap(lambda z: 3.5 * z * (1 - z), dim=1)
    seen = fate(logistic, [0.5], radius=0.1, leave_radius=1.0)
    assert (seen.outcome, set(seen.period.tolist())) == ("cycle", {4})
    rest = sf.FunctionMap(lambda z: 2.5 * z * (1 - z), dim=1)
    beside = fate(rest, [0.5], radius=0.1, leave_radius=1.0)
    assert beside.outcome == "elsewhere"
    np.testing.assert_allclose(beside.nearest, 0.1, atol=1e-9)  # 1 − 1/2.5 = .6
    assert "elsewhere (32 of 32), 0.1 to 0.1 away" in str(beside)
    chaos = sf.FunctionMap(lambda z: 3.9 * z * (1 - z), dim=1)
    assert fate(chaos, [0.5], radius=0.1, leave_radius=1.0).outcome == "trap"


def test_what_has_not_settled_is_said_to_be_so():
    turning = sf.FunctionMap(lambda z: z + 1e-5 * jnp.array([1.0, 0.0]), dim=2)
    seen = fate(turning, [0.5, 0.0], radius=0.3, leave_radius=10.0, num_steps=20_000)
    # Some starts drift away from the point, some towards it, all too slowly to have done either.
    assert "undecided" in seen.fates
    assert not {"trap", "cycle", "elsewhere", "leaves"} & set(seen.fates)


def test_bad_arguments():
    system = sf.Map(sf.losses.saddle(), sf.SAM(rho=0.1), lr=0.1)
    with pytest.raises(ArgumentError, match="`num_steps` must be a whole number of at least 512"):
        fate(system, [0.0, 0.0], num_steps=100)
    with pytest.raises(ArgumentError, match="`system` must be a System"):
        fate("sam", [0.0, 0.0])
    with pytest.raises(ArgumentError, match="`radius` must be finite and greater than 0"):
        fate(system, [0.0, 0.0], radius=-1.0)
