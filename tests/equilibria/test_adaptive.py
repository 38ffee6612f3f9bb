"""Where maps with a base optimiser rest, and what they do there."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind, Status

LOSS = sf.loss("x**2/2 - y**2/2 + y**4/4")
BOX = (-2, 2)
ADAM = sf.Adam(eps=0.01)


def adaptive(rule=None, base=ADAM, lr=0.01, **more):
    return sf.AdaptiveMap(LOSS, rule or sf.GD(), lr=lr, base=base, **more)


ROOTED = pytest.param(sf.RMSprop(eps=0.02, eps_root=1e-4), marks=pytest.mark.slow)


@pytest.mark.parametrize("base", [ADAM, ROOTED])
def test_multipliers_are_those_of_the_map_itself(base):
    """At the origin, a critical point without rounding, by forward mode through the map."""
    system = adaptive(sf.USAM(rho=0.3), base)
    found = sf.classify(system, [0.0, 0.0])
    values = np.linalg.eigvals(np.asarray(system.jacobian(system.rest(jnp.zeros(2)))))
    np.testing.assert_allclose(np.sort(found.multipliers), np.sort(values), rtol=1e-9)
    assert (found.kind, found.status) == (Kind.saddle, Status.located)


def test_with_decoupled_decay_other_points_rest():
    """There d = −eps δ w/(1 − δ|w|), kept by the map, whose multipliers these are."""
    base = sf.AdamW(eps=0.01, weight_decay=0.5)
    system = adaptive(base=base)
    found = sf.find_fixed_points(system, BOX)
    assert len(found.w) == 3
    for w, stability in zip(np.asarray(found.w), found.stability, strict=True):
        d = np.asarray(LOSS.gradient(jnp.asarray(w)))
        np.testing.assert_allclose(d, -0.01 * 0.5 * w / (1 - 0.5 * np.abs(w)), atol=1e-12)
        z = system.rest(jnp.asarray(w))
        np.testing.assert_allclose(system.step(z), z, atol=1e-12)
        values = np.linalg.eigvals(np.asarray(system.jacobian(z)))
        if w[1]:  # x = 0 has v = 0, where the slope by v is multiplied by 0 only on the way back
            np.testing.assert_allclose(
                np.sort(np.abs(stability.multipliers)), np.sort(np.abs(values)), rtol=1e-6
            )
    assert [s.kind for s in found.stability] == [Kind.attracting, Kind.saddle, Kind.attracting]
    assert sf.classify(system, [0.0, 1.0]).status is Status.not_a_fixed_point


def test_the_windows_have_two_sides():
    """Of lr and of beta1: just inside the point attracts, just outside it does not."""
    found = sf.conditions(adaptive(), [0.0, 1.0])
    end = float(found.lr_window.high.value)
    np.testing.assert_allclose(end, 38 * 0.01 / 2, rtol=1e-12)
    kinds = [sf.classify(adaptive(lr=x * end), [0.0, 1.0]).kind for x in (0.999, 1.001)]
    assert kinds == [Kind.attracting, Kind.saddle]
    found = sf.conditions(adaptive(lr=0.05), [0.0, 1.0])
    least = float(found.momentum_window.low.value)
    np.testing.assert_allclose(least, (10 - 2) / (10 + 2), rtol=1e-12)
    for share, kind in ((0.999, Kind.saddle), (1.001, Kind.attracting)):
        base = sf.Adam(eps=0.01, beta1=share * least)
        assert sf.classify(adaptive(base=base, lr=0.05), [0.0, 1.0]).kind is kind
    assert "quasi-static edge" in str(found)


def test_usam_holds_a_saddle_under_adam_too():
    """The window in rho is that of USAM with the step size (1 − beta1) lr/eps."""
    found = sf.conditions(adaptive(sf.USAM(rho=2.0)), [0.0, 0.0])
    low, high = (float(end.value) for end in (found.rho_window.low, found.rho_window.high))
    for rho, kind in ((low - 1e-3, Kind.saddle), (low + 1e-3, Kind.attracting)):
        assert sf.classify(adaptive(sf.USAM(rho=rho)), [0.0, 0.0]).kind is kind
    for rho, kind in ((high - 1e-2, Kind.attracting), (high + 1e-2, Kind.saddle)):
        assert sf.classify(adaptive(sf.USAM(rho=rho)), [0.0, 0.0]).kind is kind


@pytest.mark.parametrize(
    ("rule", "base"), [("sam", ADAM), ("gd", sf.Lion()), ("gd", sf.Adam(eps=0.0))]
)
def test_without_a_jacobian_nothing_is_said_to_be_stable(rule, base):
    system = adaptive(sf.rule(rule, rho=0.1) if rule == "sam" else sf.GD(), base)
    found = sf.classify(system, [0.0, 1.0])
    assert (found.kind, found.status) == (Kind.undefined, Status.not_differentiable)
    said = sf.conditions(system, [0.0, 1.0])
    assert (said.kind, said.status) == (Kind.undefined, Status.not_differentiable)
    assert said.windows == ()
    assert sf.classify(system, [0.5, 1.0]).status is Status.not_a_fixed_point


def test_points_are_those_of_the_rule_and_kinds_are_not():
    """At eps = 1e-8 the edge at a critical point is 38e-8/lr: none attracts at lr = 0.01."""
    proved = sf.find_fixed_points(adaptive(base=sf.Adam()), BOX)
    plain = sf.find_fixed_points(sf.Map(LOSS, sf.GD(), lr=0.01), BOX)
    np.testing.assert_array_equal(proved.w, plain.w)
    assert proved.complete
    assert {s.kind for s in proved.stability} == {Kind.saddle}
    assert [s.kind for s in plain.stability].count(Kind.attracting) == 2


def test_weight_decay_is_refused_by_conditions_and_full_states_are_weights():
    with pytest.raises(ArgumentError, match="no weight decay"):
        sf.conditions(adaptive(weight_decay=0.1), [0.0, 1.0])
    with pytest.raises(ArgumentError, match="no weight decay"):
        sf.conditions(adaptive(base=sf.AdamW()), [0.0, 1.0])
    system = adaptive()
    state = system.lift(jnp.array([0.0, 1.0]))
    assert sf.classify(system, state).kind is sf.classify(system, [0.0, 1.0]).kind


def test_what_has_no_answer_says_what_to_call():
    system = adaptive()
    noise = sf.noise.isotropic_noise(2, sigma=0.1)
    for ask, words in (
        (lambda: sf.continue_branch(system, [0.0, 1.0], "lr", (0.005, 0.02)), "`find_cycles`"),
        (lambda: sf.StochasticMap(system, noise), "`sf.networks.train`"),
        (lambda: sf.certify_trap(system, [0.0, 1.0]), "must be a Map, but is AdaptiveMap"),
        (lambda: sf.two_phase(system, [0.0, 1.0]), "must be a Map, but is AdaptiveMap"),
        (lambda: sf.central_flow(system, [0.0, 1.0], num_steps=2), "must be a Map"),
    ):
        with pytest.raises(ArgumentError, match=words):
            ask()


@pytest.mark.slow
def test_a_two_cycle_is_found_and_followed():
    """That of theory: its radius is a straight line over lr."""
    loss = sf.loss("3*x**2/2")
    base = sf.Adam(beta1=0.1, beta2=0.9, eps=1e-4)
    system = sf.AdaptiveMap(loss, sf.GD(), lr=0.01, base=base)
    found = sf.find_cycles(system, (-1, 1), period=2)
    assert found.kinds == (Kind.attracting,)
    branch = sf.continue_branch(system, found.points[0, 0], "lr", (0.005, 0.02), period=2)
    for values, state in zip(np.asarray(branch.parameter), np.asarray(branch.states), strict=True):
        radius = float(sf.theory.adaptive_cycle(3, lr=values, beta1=0.1, eps=1e-4))
        np.testing.assert_allclose(abs(state.ravel()[0]), radius, rtol=1e-6)


def test_a_multiplier_far_outside_is_not_hidden_by_how_much_it_changes():
    adamw = sf.AdaptiveMap(sf.losses.beale(), sf.GD(), lr=0.01, base=sf.AdamW(weight_decay=0.1))
    found = sf.classify(adamw, [3.0, 0.5])
    # Two multipliers are outside by far, and β₂ = 0.999 is inside: a saddle in any case.
    assert (np.abs(found.multipliers[:2]) > 1e4).all()
    assert (np.abs(found.multipliers[2:]) < 1).all()
    assert found.kind is Kind.saddle


def test_multipliers_are_those_of_the_point_at_rest_not_of_one_within_the_tolerance():
    # At rest d/(|d| + eps) = −decay·w, so |d| = eps c/(1 − c) with c = decay·w = 0.1: P = eps/0.9.
    # The leading multiplier is 1 − lr decay + β₁ + ... − (1 − β₁ − c (1 − β₂)) lr λ/P.
    system = sf.AdaptiveMap(
        sf.loss("2*(x-1)**2+(y-1)**2/2"), sf.GD(), lr=0.01, base=sf.AdamW(weight_decay=0.1)
    )
    beside, at_rest = sf.classify(system, [1.0, 1.0]), sf.classify(system, [1 - 1e-8 / 36, 1.0])
    slope = np.array([4.0, 1.0]) * (1 - np.asarray(beside.state)[:2])
    assert slope == pytest.approx(np.full(2, 1e-8 * 0.1 / 0.9), rel=1e-5)
    leading = -(0.1 - 0.1 * 0.001) * 0.01 * 4 * 0.9 / 1e-8
    assert beside.multipliers[0].real == pytest.approx(leading, rel=1e-4)
    assert beside.multipliers == pytest.approx(at_rest.multipliers, rel=1e-6)
    gap = 1e-8 / 9 * np.hypot(1 / 4, 1)
    assert beside.distance == pytest.approx(gap, rel=0.2)  # by the linearisation: c, not c/(1 − c)
