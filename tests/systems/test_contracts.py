"""The contract suite, over every system."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import samflow as sf
from samflow._checks import ArgumentError
from tests import contracts
from tests.rules.cases import CASES

RULES = {"gd": sf.GD(), "usam": sf.USAM(rho=0.07), "sam": sf.SAM(rho=0.07)}
LOSSES = {"beale": sf.losses.beale(), "mccormick": sf.losses.mccormick()}
LOSSES["function"] = sf.loss(lambda w: jnp.sum(jnp.cos(w)) + 0.3 * w[0] ** 2 * w[1], dim=2)


CUBIC = sf.loss("x**3/3 + x*y**2 + x - y")  # cheap, and without a critical point


def pairs():
    """Yield the three basic rules on every loss, all others on a cheap one."""
    for loss_name, loss in LOSSES.items():
        for rule_name, rule in RULES.items():
            yield f"{loss_name}-{rule_name}", loss, rule
    for rule_name, case in CASES.items():
        if case.rule.name not in RULES:
            yield f"cubic-{rule_name}", CUBIC, case.rule


def systems():
    for name, loss, rule in pairs():
        if not rule.num_memories:
            yield pytest.param(sf.Flow(loss, rule), id=f"{name}-flow")
        for label, extra in {
            "plain": {},
            "heavy": {"momentum": 0.6},
            "nesterov": {"momentum": 0.6, "nesterov": True},
            "decay": {"weight_decay": 0.1},
        }.items():
            system = sf.Map(loss, rule, lr=0.01, **extra)
            yield pytest.param(system, id=f"{name}-{label}")
    henon = lambda z: jnp.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]])  # noqa: E731
    yield pytest.param(sf.FunctionMap(henon, dim=2), id="function-map")
    yield pytest.param(sf.FunctionFlow(lambda z: -z, dim=2), id="function-flow")


def states(system):
    w = jnp.array([[0.3, 0.8], [1.1, -0.4], [-0.6, 0.2]])
    zs = jax.vmap(system.lift)(w)
    return zs + 0.05 * jnp.arange(zs.size).reshape(zs.shape) / zs.size


@pytest.mark.parametrize("system", list(systems()))
def test_contract(system):
    zs = states(system)
    contracts.check_jit_is_eager(system, zs[0])
    contracts.check_vmap_is_loop(system, zs)
    contracts.check_jacobian_is_finite_differences(system, zs[1])
    contracts.check_traced_once(system, zs[0])
    contracts.check_lift_and_position(system, jnp.array([0.3, 0.8]))
    contracts.check_defined(system, zs[0])
    if system.elementwise:
        contracts.check_components_are_points(system, zs)
    assert str(system) == system.describe() != ""


@pytest.mark.parametrize("rule", [sf.USAM, sf.SAM])
@pytest.mark.parametrize("extra", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}])
def test_rho_zero_is_gd(rule, extra):
    loss = sf.losses.himmelblau()
    zs = states(sf.Map(loss, sf.GD(), lr=0.01, **extra))
    for z in zs:
        moved = sf.Map(loss, rule(rho=0.0), lr=0.01, **extra).step(z)
        # w + 0·g is w exactly, so the two steps are the same operations.
        np.testing.assert_array_equal(moved, sf.Map(loss, sf.GD(), lr=0.01, **extra).step(z))


class Turned(eqx.Module):
    """The loss L(Rᵀw)."""

    loss: sf.losses.AbstractLoss
    rotation: jax.Array

    def __call__(self, w):
        return self.loss(self.rotation.T @ w)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    angle=st.floats(0, 6.28),
    x=st.floats(-1.5, 1.5),
    y=st.floats(-1.5, 1.5),
    rho=st.floats(0.001, 0.3),
    kind=st.sampled_from(["gd", "usam", "sam"]),
    beta=st.sampled_from([0.0, 0.7]),
)
def test_rotation_equivariance(angle, x, y, rho, kind, beta):
    """Turning the loss turns the step: R F(w) = F_R(R w)."""
    rotation = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    loss = sf.losses.himmelblau()
    turned = sf.loss(Turned(loss, rotation), dim=2)
    rule, w = sf.rule(kind, rho=rho), jnp.array([x, y])
    # Nearer to SAM's singularity rounded directions cannot be compared.
    assume(float(jnp.linalg.norm(loss.gradient(w))) > 1e-3)
    here = sf.Map(loss, rule, lr=1e-3, momentum=beta)
    there = sf.Map(turned, rule, lr=1e-3, momentum=beta)
    moved = here.position(here.step(here.lift(w)))
    also = there.position(there.step(there.lift(rotation @ w)))
    # Rounding of gradients of size ≲ 1e3 by lr, amplified by rho ‖H‖ ≲ 30.
    np.testing.assert_allclose(rotation @ moved, also, atol=1e-10)


def test_sam_has_no_jacobian_at_a_critical_point():
    for loss in (sf.losses.saddle(), sf.losses.double_well()):
        w = jnp.zeros(loss.dim)
        for system in (sf.Map(loss, sf.SAM(rho=0.1), lr=0.1), sf.Flow(loss, sf.SAM(rho=0.1))):
            contracts.check_undefined(system, w)
        smooth = sf.Map(loss, sf.USAM(rho=0.1), lr=0.1)
        assert np.isinf(smooth.singularity(w))
        assert np.isfinite(smooth.jacobian(w)).all()


def test_weight_decay_and_momentum_follow_the_stated_convention():
    """Two steps by hand, as torch.optim.SGD makes them."""
    loss, w = sf.losses.beale(), np.array([0.4, 0.6])
    lr, beta, decay = 0.01, 0.8, 0.05
    for nesterov in (False, True):
        system = sf.Map(loss, sf.GD(), lr=lr, momentum=beta, nesterov=nesterov, weight_decay=decay)
        z, by_hand, v = system.lift(jnp.asarray(w)), w.copy(), np.zeros(2)
        for _ in range(2):
            z = system.step(z)
            d = np.asarray(loss.gradient(jnp.asarray(by_hand))) + decay * by_hand
            v = beta * v + d
            by_hand = by_hand - lr * (d + beta * v if nesterov else v)
        np.testing.assert_allclose(system.position(z), by_hand, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sf.USAM(rho=-0.1), "`rho` must be finite and at least 0, but is -0.1"),
        (lambda: sf.SAM(rho=float("nan")), "`rho` must be finite"),
        (lambda: sf.SAM(rho="big"), "`rho` must be a number, but is 'big'"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=0.0), "`lr` must be finite and greater"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=float("inf")), "`lr` must be finite"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=1, momentum=1.0), r"in \[0, 1\)"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=1, momentum=-0.1), r"in \[0, 1\)"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=1, weight_decay=-1), "at least 0"),
        (lambda: sf.Map(sf.losses.beale(), "usam", lr=0.1), "`rule` must be a Rule"),
        (lambda: sf.Map(sf.losses.beale(), sf.USAM, lr=0.1), "`rule` must be a Rule, but is USAM"),
        (lambda: sf.Map("beale", sf.GD(), lr=0.1), "`loss` must be a Loss, but is 'beale'"),
        (lambda: sf.Flow("beale", sf.GD()), "`loss` must be a Loss"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr="0.1"), "`lr` must be a number"),
        (lambda: sf.Map(sf.losses.beale(), sf.GD(), lr=True), "`lr` must be a number"),
        (lambda: sf.loss(lambda w: 2 * w, dim=2), "must return a scalar"),
        (lambda: sf.rule("usma"), "Did you mean usam"),
        (lambda: sf.rule("gd", rho=-1.0), "`rho` must be finite"),
    ],
)
def test_bad_hyperparameters_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_a_bad_hyperparameter_inside_jit_is_refused_at_run_time():
    make = jax.jit(lambda rho: sf.USAM(rho=rho).rho)
    assert float(make(0.1)) == pytest.approx(0.1)
    with pytest.raises(Exception, match="`rho` must be finite and at least 0"):
        make(-0.1)


def test_hyperparameters_sweep_by_vmap():
    loss, w = sf.losses.beale(), jnp.array([0.3, 0.8])
    system = sf.Map(loss, sf.USAM(rho=0.1), lr=0.01)
    sweep = lambda rho: eqx.tree_at(lambda s: s.rule.rho, system, rho).step(w)  # noqa: E731
    rhos = jnp.array([0.0, 0.1, 0.2])
    rows = jnp.stack([sf.Map(loss, sf.USAM(rho=r), lr=0.01).step(w) for r in rhos])
    np.testing.assert_allclose(jax.vmap(sweep)(rhos), rows, rtol=1e-12)
