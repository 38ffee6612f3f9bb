"""The state of a page: what is refused at the door, and that its link restores it."""

import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.explorer.state import (
    LENGTHS,
    LONGEST_QUERY,
    MOST_STARTS,
    State,
    from_query,
    names_of_weights,
    number,
)

FULL = State(
    loss="(1 - u)**2 + u**2*v**2",
    rule="sam",
    rho=4 / 111,
    lr=1e-3,
    momentum=0.1 + 0.2,  # which has no short decimal
    box=((-1.0, 2.0), (-3e-4, 5.0)),
    starts=((0.1, 1 / 3), (-1.0, 2.0)),
    length=10_000,
    steps=120,
    layers=("basins", "motion"),
    point=(1.0, 0.0),
    rho_max=0.25,
    lr_max=0.5,
)


FLOW = State(
    rule="g(w + rho*g/(norm(g) + eps)); eps = 0.1", flow=True, length=0.1, steps=1_000, rho=0.2
)


@pytest.mark.parametrize("state", [State(), FULL, FLOW, State(layers=()), State(steps=0)])
def test_a_link_restores_the_state_to_the_bit(state):
    assert from_query(state.query()) == state


def test_an_empty_link_is_the_default():
    assert from_query("") == State()
    assert State().query() == "loss=beale"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rho=-1", "`rho`"),
        ("rho=1&rho=2", "twice"),
        ("lr=nan", "`lr`"),
        ("lr=0", "`lr`"),
        ("momentum=1", "`momentum`"),
        ("colour=red", "Unknown part of the link"),
        ("rule=muon", "Unknown rule"),
        ("rule=g.__class__", "attribute access"),
        ("rule=__import__('os')", "no such function"),
        ("rule=g(w%2Brho)", "have no sum"),
        ("rule=g*beta", "`beta` is missing"),
        ("flow=yes", "1 for a flow"),
        ("flow=1&rule=vasso", "must have no memory"),
        ("flow=1&length=7", "one of 0.1, 1, 10, 100, 1000"),
        ("flow=1&steps=1001", "from 0 to 1000"),
        ("loss=", "non-empty"),
        ("loss=x", "two weights"),
        ("loss=__import__('os').system('true')", "attribute access"),
        ("loss=x**2%2By**9**9**9", "exponent"),
        (f"loss={'x%2B' * 3000}y", "at most"),
        ("box=1,0,0,1", "low < high"),
        ("box=0,1", "4 numbers"),
        ("box=0,1e300,0,1", "within"),
        ("starts=1,2;3", "2 numbers"),
        ("starts=9,9", "domain"),
        ("starts=" + ";".join(["0,0"] * (MOST_STARTS + 1)), "at most"),
        ("length=7", "one of"),
        ("steps=1001", "from 0 to"),
        ("steps=1.5", "whole"),
        ("layers=motion,fog", "Unknown layer"),
        ("point=1", "2 numbers"),
        ("rho_max=0", "`rho_max`"),
        ("rho_max=1e99", "at most"),
        ("%ff=1", "cannot be read"),
        ("rho", "cannot be read"),
        (f"loss={'x' * LONGEST_QUERY}", "characters"),
    ],
)
def test_what_is_wrong_with_a_link_is_said(query, said):
    with pytest.raises(ArgumentError, match=said):
        from_query(query)


def test_numbers_may_be_fractions_and_nothing_with_variables():
    assert number("rho", "4/111") == 4 / 111
    assert number("rho", "1e-3") == 1e-3
    for text in ("x", "4/", "", "__import__('os')", "9**9**9"):
        with pytest.raises(ArgumentError):
            number("rho", text)


def test_another_loss_begins_anew_and_another_rule_keeps_the_starts():
    other = FULL.changed(loss="beale")
    assert other.box == sf.losses.beale().domain
    assert (other.starts, other.point, other.rho_max) == ((), None, None)
    assert other.rho == FULL.rho
    other = FULL.changed(rule="usam")
    assert (other.starts, other.box, other.rho_max) == (FULL.starts, FULL.box, None)


def test_the_system_is_that_of_the_library():
    system = FULL.system()
    assert (
        system.describe()
        == (
            sf.Map(sf.loss(FULL.loss), sf.SAM(rho=FULL.rho), lr=FULL.lr, momentum=FULL.momentum)
        ).describe()
    )
    assert State().system().state_dim == 2  # momentum 0 is none
    assert names_of_weights(FULL) == ("u", "v")


def test_a_flow_has_its_own_length_and_no_chart():
    flow = FULL.changed(flow=True)
    assert (flow.length, flow.steps, flow.ticks) == (10, -1, 1000)
    assert flow.system().describe() == "flow of sam(rho=0.036036) on (1 - u)**2 + u**2*v**2"
    assert (flow.has_rho, flow.has_chart, FULL.has_chart) == (True, False, True)
    back = flow.changed(flow=False)
    assert (back.length, back.lr, back.momentum) == (1000, FULL.lr, FULL.momentum)
    assert not State(rule="g", flow=True).has_rho


def test_lengths_are_multiples_of_the_shortest():
    assert all(length % min(LENGTHS) == 0 for length in LENGTHS)
