"""PGD against the perturbation that is known to be the worst, and its refusals."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.losses import network, network_function
from samflow.networks.training.attacks import PGD, adversarial_error, attacked

EPSILON = 0.05


def _affine(params, x):
    return x @ params["matrix"].T + params["shift"]


@pytest.fixture(scope="module")
def regression():
    """One output: ½(a·x + b − y)², convex in x, worst at a corner of the box."""
    x, y = jr.normal(jr.key(0), (7, 3)), jr.normal(jr.key(1), (7, 1))
    params = {"matrix": jnp.array([[1.0, -2.0, 0.5]]), "shift": jnp.array([0.3])}
    loss = network_function(_affine, params, x, y)
    return loss, loss.flatten(params)


@pytest.fixture(scope="module")
def classes():
    """Two classes: cross-entropy is log(1 + e^{−m}), m = ±(a₁ − a₀)·x + ... the margin."""
    x, y = jr.uniform(jr.key(0), (9, 4)), jr.randint(jr.key(1), (9,), 0, 2)
    params = {"matrix": jr.normal(jr.key(2), (2, 4)), "shift": jnp.array([0.1, -0.2])}
    loss = network_function(_affine, params, x, y, loss="cross_entropy")
    return loss, loss.flatten(params), params


@pytest.mark.parametrize("random_start", [False, True])
def test_the_worst_perturbation_of_a_squared_error_is_found(regression, random_start):
    """The residual r grows fastest along sign(r a), and every coordinate counts: a corner."""
    loss, w = regression
    attack = PGD(EPSILON, bounds=None, random_start=random_start)
    found = attack.perturb(loss, w, loss.x, jr.key(3))
    a, b = w[:3], w[3]
    residual = loss.x @ a + b - loss.y[:, 0]
    assert float(jnp.min(jnp.abs(residual))) > EPSILON * float(jnp.abs(a).sum())  # no sign flips
    corner = loss.x + EPSILON * jnp.sign(residual)[:, None] * jnp.sign(a)
    np.testing.assert_array_equal(found, corner)
    worst = jnp.mean(0.5 * (jnp.abs(residual) + EPSILON * jnp.abs(a).sum()) ** 2)
    assert float(loss.value_on(w, found)) == pytest.approx(float(worst), rel=1e-14)


def test_the_worst_perturbation_of_a_logistic_loss_is_found(classes):
    """The margin m falls fastest along −sign(∂m/∂x), within the bounds of the inputs."""
    loss, w, params = classes
    found = PGD(EPSILON).perturb(loss, w, loss.x, jr.key(3))
    slope = params["matrix"][1] - params["matrix"][0]
    side = jnp.where(loss.y == 1, 1.0, -1.0)[:, None]
    corner = jnp.clip(loss.x - EPSILON * side * jnp.sign(slope), 0.0, 1.0)
    np.testing.assert_array_equal(found, corner)


def test_neither_ball_nor_bounds_are_left():
    model = eqx.nn.MLP(5, 3, 8, 1, activation=jnp.tanh, key=jr.key(0))
    x = jr.uniform(jr.key(1), (20, 5))
    loss = network(model, x, jr.randint(jr.key(2), (20,), 0, 3), loss="cross_entropy")
    w = loss.flatten(model)
    for attack in (PGD(0.3), PGD(0.3, step_size=5.0, num_steps=3), PGD(2.0, num_steps=1)):
        found = attack.perturb(loss, w, loss.x, jr.key(3))
        assert found.min() >= 0
        assert found.max() <= 1
        # x + epsilon is rounded before x is taken off again: two units of 1.
        assert jnp.abs(found - x).max() <= attack.epsilon + 4e-16
        assert loss.value_on(w, found) > loss(w)


def test_an_attack_of_radius_0_changes_no_bit(classes):
    loss, w, _ = classes
    for attack in (PGD(0.0), PGD(0.0, random_start=False, bounds=None)):
        np.testing.assert_array_equal(attack.perturb(loss, w, loss.x, jr.key(0)), loss.x)
    same = attacked(loss, w, PGD(0.0), jr.key(0))
    assert float(same(w)) == float(loss(w))
    assert float(adversarial_error(loss, w, PGD(0.0))) == float(loss.misclassified(w))


def test_random_starts_come_from_the_key(classes):
    loss, w, _ = classes
    attack = PGD(0.2, step_size=1e-3, num_steps=1)
    first, again, other = (attack.perturb(loss, w, loss.x, jr.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_adversarial_error_is_the_share_of_margins_below_epsilon(classes):
    """An example falls iff its margin is below epsilon · ‖slope‖₁, where bounds do not bind."""
    loss, w, params = classes
    slope = params["matrix"][1] - params["matrix"][0]
    side = jnp.where(loss.y == 1, 1.0, -1.0)
    margin = side * (loss.x @ slope + params["shift"][1] - params["shift"][0])
    for epsilon in (0.05, 0.2, 0.6):
        share = float(jnp.mean(margin < epsilon * jnp.abs(slope).sum()))
        assert float(adversarial_error(loss, w, PGD(epsilon, bounds=None))) == share


def test_chunks_are_attacked_one_after_another(classes):
    loss, w, _ = classes
    attack = PGD(0.2, random_start=False)
    whole = adversarial_error(loss, w, attack)
    parts = adversarial_error(loss.in_chunks(4), w, attack)
    assert float(parts) == pytest.approx(float(whole), rel=1e-14)


def test_bad_input_fails_at_the_door(classes, regression):
    loss, w, _ = classes
    with pytest.raises(ArgumentError, match="`epsilon` must be finite and at least 0"):
        PGD(-0.1)
    with pytest.raises(ArgumentError, match="`num_steps` must be a whole number"):
        PGD(0.1, num_steps=0)
    with pytest.raises(ArgumentError, match="low < high"):
        PGD(0.1, bounds=(1.0, 0.0))
    with pytest.raises(ArgumentError, match="`random_start` must be"):
        PGD(0.1, random_start=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match=r"within the attack's bounds \(0, 1\)"):
        PGD(0.1).perturb(regression[0], regression[1], regression[0].x, jr.key(0))
    with pytest.raises(ArgumentError, match="must be a NetworkLoss to be attacked"):
        attacked(sf.losses.beale(), jnp.zeros(2), PGD(0.1), jr.key(0))
    with pytest.raises(ArgumentError, match="Give `batch_size`"):
        attacked(loss.in_chunks(4), w, PGD(0.1), jr.key(0))
    with pytest.raises(ArgumentError, match=r"`w` must have shape \(10,\)"):
        adversarial_error(loss, w[:3], PGD(0.1))
