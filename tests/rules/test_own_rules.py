"""Rules of a user's own, in plain jax.numpy, are rules like all others in every analysis."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import noise, rules
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow.losses import network_function
from samflow.networks import Checkpoint, diagnose
from samflow.networks.training.states import step_settings
from samflow.proofs.certificates import Verdict
from samflow.rules import Ascent
from samflow.systems.coordinates import runs_by_coordinates
from tests.rules.cases import CASES

RHO, LR = 0.1, 0.1
LOSS = sf.loss("x**2/2 - y**2/2 + y**4/4")
SADDLE, MINIMUM = (0.0, 0.0), (0.0, 1.0)
W = jnp.array([0.3, 0.8])


class PlainSAM(rules.AbstractNormalisedRule):
    """SAM with jnp.linalg.norm, which takes arrays alone."""

    rho: float
    name: ClassVar[str] = "plain-sam"
    ascent: ClassVar[Ascent] = Ascent.unit

    def direction(self, loss, w):
        g = loss.gradient(w)
        return loss.gradient(w + self.rho * g / jnp.linalg.norm(g))

    def limit(self, loss, w, e):
        return loss.gradient(w + self.rho * e)

    def singularity(self, loss, w, memory=None):
        return jnp.linalg.norm(loss.gradient(w))


class UnstatedSAM(PlainSAM):
    """The same, with nothing said of its theory."""

    name: ClassVar[str] = "unstated-sam"
    ascent: ClassVar[Ascent] = Ascent.other


OWN_USAM = sf.rule(lambda g, w: g(w + RHO * g(w)), name="own")
PAIRS = {
    "function": (OWN_USAM, sf.USAM(rho=RHO)),
    "array": (sf.rule(lambda g, w: g(w + RHO * jnp.asarray(g(w)))), sf.USAM(rho=RHO)),
    "class": (PlainSAM(RHO), sf.SAM(rho=RHO)),
}
pairs = pytest.mark.parametrize(("own", "known"), PAIRS.values(), ids=PAIRS)


# --- the layout ---


@pytest.mark.parametrize("name", CASES)
def test_every_rule_of_samflow_has_the_fast_layout(name):
    """So that none becomes slow unnoticed."""
    assert runs_by_coordinates(CASES[name].rule, LOSS)
    assert not runs_by_coordinates(CASES[name].rule, sf.loss(lambda w: jnp.sum(w**2), dim=2))


def _by_hand(g, w):
    v = g(w)
    return g(w + RHO * v / jnp.sqrt(v[0] ** 2 + v[1] ** 2))


def _stacked(g, w):
    v = g(w)
    return g(w + RHO * v / jnp.linalg.norm(jnp.stack([v[0], v[1]])))


def _in_a_loop(function, x):
    return jax.lax.scan(lambda z, _: (z * (1 + function(z)), None), x, None, length=2)[0]


@pytest.mark.parametrize(
    ("function", "fast"),
    [
        (lambda g, w: g(w + RHO * g(w)), True),
        (_by_hand, True),
        (lambda g, w: jnp.clip(g(w), -1, 1), False),
        (lambda g, w: g(w) * jnp.array([1.0, 2.0]), False),
        # These run on one array per coordinate, and mix the members of a block there:
        (_stacked, False),
        (lambda g, w: g(w) / (1 + jnp.max(jnp.abs(w[0]))), False),
        (lambda g, w: jnp.sort(jnp.stack([w[0], w[1]]))[0] * g(w), False),
        (lambda g, w: jax.lax.fori_loop(0, 2, lambda _, z: z * 0.5, w[0]) * g(w), True),
        (lambda g, w: _in_a_loop(jnp.tanh, w[0]) * g(w), True),
        (lambda g, w: _in_a_loop(jnp.linalg.norm, w[0]) * g(w), False),
    ],
)
def test_the_layout_is_found_and_changes_nothing(function, fast):
    made = sf.rule(function)
    assert runs_by_coordinates(made, LOSS) is fast
    starts = W + jnp.linspace(0, 0.5, 6).reshape(3, 2)
    system = sf.Map(LOSS, made, lr=LR)
    together = sf.iterate(system, starts, num_steps=4).final_w
    for start, end in zip(starts, together, strict=True):
        for _ in range(4):
            start = start - LR * function(LOSS.gradient, start)
        # Rounding alone, with room for four steps that contract.
        np.testing.assert_allclose(end, start, rtol=1e-13, atol=1e-14)


def test_an_error_of_the_function_is_its_own():
    def faulty(g, w):
        raise KeyError("a fault of mine")

    with pytest.raises(KeyError, match="a fault of mine"):
        sf.iterate(sf.Map(LOSS, sf.rule(faulty), lr=LR), W, num_steps=2)


def test_a_layout_is_found_once():
    calls = []

    def counted(g, w):
        calls.append(type(w))
        return g(w)

    made = sf.rule(counted)
    assert [runs_by_coordinates(made, LOSS) for _ in range(3)] == [True] * 3
    assert calls == [Components]


def test_names_and_options():
    assert sf.Map(LOSS, OWN_USAM, lr=LR).describe() == f"map of own on {LOSS.name}, lr=0.1"
    assert [sf.rule(_by_hand).name, sf.rule(lambda g, w: w).name] == ["_by_hand", "function"]
    assert type("Nameless", (rules.AbstractMemorylessRule,), {}).name == "Nameless"
    for options, word in (({"rho": 0.1}, "rho"), ({"eps": 1.0}, "eps")):
        with pytest.raises(
            ArgumentError, match=f"`{word}` is not an option of a rule from a function"
        ):
            sf.rule(_by_hand, **options)
    with pytest.raises(ArgumentError, match="is the class USAM"):
        sf.rule(sf.USAM)


# --- analyses ---


@pairs
def test_orbits_and_exponents(own, known):
    ours, theirs = (sf.Map(LOSS, rule, lr=LR, momentum=0.5) for rule in (own, known))
    found, expected = (sf.iterate(system, W[None], num_steps=60) for system in (ours, theirs))
    # The layouts round differently, and the orbits contract.
    np.testing.assert_allclose(found.final_w, expected.final_w, rtol=1e-10, atol=1e-12)
    found, expected = (sf.lyapunov_spectrum(s, W, num_steps=50) for s in (ours, theirs))
    np.testing.assert_allclose(found.exponents, expected.exponents, rtol=1e-8)


@pairs
def test_fixed_points_and_their_kinds(own, known):
    """By proof for a class that says of what form it is, by Newton's method for a function."""
    ours, theirs = (sf.Map(LOSS, rule, lr=LR) for rule in (own, known))
    found, expected = (sf.find_fixed_points(system, box=(-2, 2)) for system in (ours, theirs))
    np.testing.assert_allclose(found.w, expected.w, atol=1e-9)  # Newton's tolerance
    assert [s.kind for s in found.stability] == [s.kind for s in expected.stability]
    assert found.complete is (own.ascent is not Ascent.other)
    for w in (SADDLE, MINIMUM):
        found, expected = sf.classify(ours, w), sf.classify(theirs, w)
        assert (found.kind, found.status) == (expected.kind, expected.status)
        np.testing.assert_allclose(found.multipliers, expected.multipliers, rtol=1e-12)
        assert _without_cycles(found.local) == _without_cycles(expected.local)
        assert _cycles(found.local) == pytest.approx(_cycles(expected.local), rel=1e-9)


def _without_cycles(local):
    return None if local is None else local._replace(on_loss=None)


def _cycles(local):
    """Return the numbers of the cycles on the loss, which layouts round differently."""
    cycles = () if local is None else local.cycles_on_loss
    return [x for c in cycles for x in (c.period, c.negative, c.nearest, c.farthest)]


class PlainMemory(rules.AbstractRule):
    """VaSSO with jnp.linalg.norm."""

    rho: float
    num_memories: ClassVar[int] = 1

    def init(self, loss, w):
        return loss.gradient(w)

    def step(self, loss, w, memory):
        new = 0.6 * memory + 0.4 * loss.gradient(w)
        return loss.gradient(w + self.rho * new / jnp.linalg.norm(new)), new

    def singularity(self, loss, w, memory):
        return jnp.linalg.norm(0.6 * memory + 0.4 * loss.gradient(w))


def test_a_rule_with_a_memory():
    own, known = PlainMemory(RHO), sf.rule("vasso", rho=RHO, theta=0.4)
    assert own.name == "PlainMemory"
    ours, theirs = (
        sf.iterate(sf.Map(LOSS, rule, lr=LR), W[None], num_steps=60) for rule in (own, known)
    )
    np.testing.assert_allclose(ours.final_w, theirs.final_w, rtol=1e-10, atol=1e-12)


def test_what_is_not_stated_is_unknown():
    """The flow is asked for its limits; of the map the cycle is located, no other is known."""
    flow = sf.classify(sf.Flow(LOSS, UnstatedSAM(RHO)), SADDLE)
    assert flow.kind is sf.Kind.sliding
    assert flow.local.sliding.radius is None
    found = sf.classify(sf.Map(LOSS, UnstatedSAM(RHO), lr=LR), SADDLE)
    stated = sf.classify(sf.Map(LOSS, sf.SAM(rho=RHO), lr=LR), SADDLE)
    assert (found.kind, found.local.cycles, found.local.trap) == (sf.Kind.cycle, (), None)
    assert _cycles(found.local) == pytest.approx(_cycles(stated.local), rel=1e-9)
    assert sf.conditions(sf.Map(LOSS, OWN_USAM, lr=LR)).status is sf.Status.no_closed_form
    assert sf.conditions(sf.Map(LOSS, PlainSAM(RHO), lr=LR)).status is sf.Status.not_differentiable


class PlainUSAM(rules.AbstractMemorylessRule):
    """USAM by its form."""

    rho: float
    ascent: ClassVar[Ascent] = Ascent.gradient

    def direction(self, loss, w):
        return loss.gradient(w + self.rho * jnp.asarray(loss.gradient(w)))

    def singularity(self, loss, w, memory=None):
        return jnp.inf


def test_a_form_brings_its_theory():
    found, expected = (
        sf.conditions(sf.Map(LOSS, made, lr=LR, momentum=0.5), SADDLE)
        for made in (PlainUSAM(RHO), sf.USAM(rho=RHO))
    )
    assert str(found) == str(expected)
    assert (found.kind, found.rho_window) == (expected.kind, expected.rho_window)


def test_proofs_say_what_they_need():
    refused = sf.certify_fixed_points(sf.Map(LOSS, OWN_USAM, lr=LR), (-2, 2))
    assert refused.verdict is Verdict.unsupported
    assert "(`ascent`)" in refused.reason
    proved, known = (
        sf.certify_fixed_points(sf.Map(LOSS, rule, lr=LR), (-2, 2))
        for rule in (PlainSAM(RHO), sf.SAM(rho=RHO))
    )
    assert proved.points == known.points
    assert proved.verdict is known.verdict is Verdict.proved


@pytest.mark.parametrize("name", ["function", "class"])
def test_fates(name):
    settings = {"num_starts": 3, "num_steps": 512, "radius": 1e-3, "leave_radius": 0.5}
    found, expected = (
        sf.fate(sf.Map(LOSS, rule, lr=LR), MINIMUM, compare=False, **settings)
        for rule in PAIRS[name]
    )
    assert (found.outcome, found.fates) == (expected.outcome, expected.fates)


def test_two_phases():
    valley = sf.losses.valley()
    own = sf.rule(lambda g, w: g(w + 0.2 * g(w)))
    found, expected = (
        sf.two_phase(sf.Map(valley, rule, lr=0.3), [2.0, 0.0], num_steps=600)
        for rule in (own, sf.USAM(rho=0.2))
    )
    np.testing.assert_allclose(found.end, expected.end, rtol=1e-8)
    for one, other in zip(found.phases, expected.phases, strict=True):
        assert one.measured == pytest.approx(other.measured, rel=1e-6, abs=1e-12)
    assert found.phases[0].verdict == found.phases[3].verdict == "not claimed"
    assert found.phases[1].verdict == expected.phases[1].verdict == "holds"


def test_two_phases_need_a_multiplier_and_an_escape():
    valley = sf.losses.valley()
    for rule in (PlainSAM(0.2), sf.rule("vasso", rho=0.2)):
        with pytest.raises(ArgumentError, match="multipliers at a minimum"):
            sf.two_phase(sf.Map(valley, rule, lr=0.3), [2.0, 0.0])
    with pytest.raises(ArgumentError, match="OWN would not leave this minimum"):
        sf.two_phase(sf.Map(valley, sf.rule(lambda g, w: g(w), name="own"), lr=0.3), [2.0, 0.0])
    with pytest.raises(ArgumentError, match="multipliers at a minimum"):  # NaN at g = 0
        sf.two_phase(sf.Map(valley, sf.rule(_by_hand), lr=0.3), [2.0, 0.0])


@pairs
def test_noise(own, known):
    white = noise.isotropic_noise(2, sigma=0.3)
    ours, theirs = (sf.StochasticMap(sf.Map(LOSS, r, lr=LR), white) for r in (own, known))
    paths = [
        noise.sample_paths(s, W, num_steps=20, num_paths=4, key=jr.key(0)) for s in (ours, theirs)
    ]
    np.testing.assert_allclose(*(path.states for path in paths), rtol=1e-9, atol=1e-12)
    ends = {"radius": 0.3, "key": jr.key(1), "num_paths": 50, "max_steps": 100}
    times = [np.asarray(sf.escape_time(s, MINIMUM, **ends).times) for s in (ours, theirs)]
    np.testing.assert_array_equal(*times)


def test_mean_square_rates():
    """By listing every batch for a function, in closed form for USAM."""
    parts = [sf.loss("2*x**2 + y**2/2"), sf.loss("x**2/2 - x*y + y**2")]
    loss = sf.losses.mean(parts)
    ours, theirs = (
        sf.StochasticMap(sf.Map(loss, rule, lr=LR), noise.MiniBatch(1))
        for rule in (OWN_USAM, sf.USAM(rho=RHO))
    )
    found, expected = (sf.mean_square_rate(s, SADDLE) for s in (ours, theirs))
    assert (found.expectation, expected.expectation) == ("enumerated", "exact")
    assert found.rate == pytest.approx(expected.rate, rel=1e-9)
    with pytest.raises(ArgumentError, match="plain-sam divides by the length"):
        sf.mean_square_rate(
            sf.StochasticMap(sf.Map(loss, PlainSAM(RHO), lr=LR), noise.MiniBatch(1)), SADDLE
        )


def _linear(params, x):
    return x * params["a"] * params["b"]


@pytest.fixture(scope="module")
def network():
    """½(ab − 1)² at a minimum of sharpness a² + b² = 4.25."""
    params = {"a": jnp.array([2.0]), "b": jnp.array([0.5])}
    loss = network_function(_linear, params, [[1.0]], [[1.0]], name="two weights")
    return Checkpoint(loss, loss.flatten(params))


def test_a_late_switch(network):
    own = sf.rule(lambda g, w: g(w + 0.1 * g(w)))
    found, expected = (
        sf.late_switch(sf.Map(network.loss, rule, lr=0.4), network, num_epochs=200)
        for rule in (own, sf.USAM(rho=0.1))
    )
    np.testing.assert_allclose(found.end, expected.end, rtol=1e-8)
    assert found.effective_curvature == pytest.approx(expected.effective_curvature, rel=1e-9)


@pytest.mark.parametrize("name", ["function", "class"])
def test_a_diagnosis(network, name):
    """At a point that is not critical, where SAM has a Jacobian, too."""
    beside = Checkpoint(network.loss, network.w + 0.1)
    found, expected = (
        diagnose(beside, rules=[rule], rho=RHO, lr=LR).rules[0] for rule in PAIRS[name]
    )
    np.testing.assert_allclose(found.measured, expected.measured, rtol=1e-9)
    np.testing.assert_allclose(found.growth, expected.growth, rtol=1e-9)
    assert found.stability == expected.stability
    known = name == "class"
    assert np.isfinite(found.edge) == np.isfinite(found.effective_rho) == known
    if known:
        assert found.effective_rho == pytest.approx(expected.effective_rho, rel=1e-12)
        assert found.cycle_radius == pytest.approx(expected.cycle_radius, rel=1e-12)


def test_arrays_of_a_function_are_leaves():
    """A module as the function: its numbers can be swept and differentiated."""

    class Scaled(eqx.Module):
        rho: jax.Array

        def __call__(self, g, w):
            return g(w + self.rho * g(w))

    def slope(make):
        return jax.grad(lambda rho: sf.Map(LOSS, make(rho), lr=LR).step(W)[1])(jnp.array(RHO))

    found, expected = slope(lambda rho: sf.rule(Scaled(rho), name="scaled")), slope(sf.USAM)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_a_training_is_known_by_the_names_of_its_functions_not_by_their_addresses():
    """An address differs from process to process: the training could not be resumed in another."""
    one, other = (
        step_settings(sf.Map(sf.losses.beale(), sf.rule(made), lr=0.1), None, False, None)
        for made in (lambda g, w: g(w), lambda g, w: g(w))
    )
    assert one == other
    assert "0x" not in str(one)
    gd = step_settings(sf.Map(sf.losses.beale(), sf.GD(), lr=0.1), None, False, None)
    assert one != gd
