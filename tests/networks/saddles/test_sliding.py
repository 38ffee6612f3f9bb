"""S(e) sampled over directions: against closed forms, proofs, and dense twins."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.networks.saddles.sphere import Sphere

QUARTIC = sf.losses.quartic()
sample = sf.networks.sample_sliding


def test_at_the_quartic_saddle_it_is_the_closed_form_on_both_sides_of_rho_1():
    held, left = (sample(QUARTIC, [0.0, 0.0], rho=rho) for rho in (0.9, 1.1))
    for found in (held, left):
        rho, e = found.rho, found.directions
        # S(e) = rho (1 − rho² e_y⁴)
        assert found.rates == pytest.approx(rho * (1 - rho**2 * e[:, 1] ** 4), abs=1e-12)
        assert found.quadratic == pytest.approx(np.full(len(e), rho))
        assert found.least == pytest.approx(rho * (1 - rho**2), abs=1e-8)
        assert found.greatest == pytest.approx(rho, abs=1e-8)
        assert found.window == pytest.approx((0, 1), rel=2e-3)  # the width of the bisection
        along_y = np.abs(e[:, 1]) > 1 - 1e-12
        assert found.ends[along_y] == pytest.approx(np.ones(along_y.sum()), rel=2e-3)
        assert found.usam_threshold == pytest.approx(1, rel=1e-8)
    assert (held.verdict, left.verdict) == ("held", "not held")
    assert left.least_rest < 1e-3  # y is a direction of rest
    assert "a solution leaves along it" in str(left)


@pytest.mark.parametrize("point", [[0.0, 1.0], [3.0, 0.5]])
def test_on_beales_function_it_agrees_with_what_is_proved(point):
    beale = sf.losses.beale()
    proof = sf.certify_sliding(sf.Flow(beale, sf.SAM(rho=0.05)), point, radius=False, near=False)
    found = sample(beale, point, rho=0.05)
    low, high = proof.least
    assert low - 1e-9 * found.greatest <= found.least <= high + 1e-6 * found.greatest
    assert found.verdict == "held"
    assert found.window[1] == pytest.approx(proof.rho_end[0], rel=4e-3)


def test_at_the_zero_of_two_linear_layers_it_ends_at_the_minimum():
    """L = (1 − ab)²/2: S = rho (1 − ½rho² sin 2θ), so that the end is √2, where ab = 1."""
    found = sample(sf.loss("(1 - a*b)**2/2"), [0.0, 0.0], rho=0.5)
    assert (found.least, found.greatest) == pytest.approx((0.5 * 0.875, 0.5 * 1.125), abs=1e-8)
    assert found.window == pytest.approx((0, np.sqrt(2)), rel=2e-3)
    assert found.usam_quadratic == pytest.approx(1)


def test_on_a_network_the_search_is_below_dense_sampling_of_the_span():
    x, y = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.5]]
    saddle = sf.networks.deep_linear_saddle(x, y, width=1)
    found = sample(saddle.loss, saddle.w, rho=0.5, num_random=2, end=False)
    e = np.random.default_rng(0).normal(size=(4000, 4))
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    ascended = jax.jit(jax.vmap(lambda w: saddle.loss.gradient(w)))(saddle.w + 0.5 * e)
    rates = np.sum(
        (e @ np.asarray(jax.jit(lambda w: saddle.loss.hessian(w))(saddle.w))) * ascended, axis=1
    )
    # 4,000 points of a 3-sphere come within 0.2 of the extremes
    assert found.least <= rates.min() < found.least + 0.05
    assert found.greatest >= rates.max() > found.greatest - 0.05
    assert np.isnan(found.window).all()
    assert found.usam_quadratic == pytest.approx(4)  # of the weakest, −0.25


@pytest.fixture(scope="module")
def network():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    loss = sf.losses.network(model, jr.normal(jr.key(1), (6, 3)), jr.normal(jr.key(2), (6, 2)))
    return loss, loss.flatten(model)


def test_away_from_a_critical_point_the_gradients_row_is_exact_and_the_rest_is_in_doubt(network):
    loss, w = network
    found = sample(loss, w, rho=0.01, k=1, num_random=1, end=False)
    # d‖g‖/dt = −S(ĝ) along SAM's flow, by a step of the flow
    flow = sf.SAM(rho=0.01)
    size = lambda t: jnp.linalg.norm(loss.gradient(w - t * flow.direction(loss, w)))  # noqa: E731
    fall = -float(jax.jit(jax.grad(size))(0.0))
    assert found.kinds[0] == "gradient"
    assert found.rates[0] == pytest.approx(fall, rel=1e-9)
    assert found.verdict == "open"
    assert "is not 0" in str(found)
    h = np.asarray(jax.jit(lambda w: loss.hessian(w))(w))
    images = found.directions @ h
    assert found.quadratic == pytest.approx(0.01 * np.sum(images**2, axis=1), rel=1e-9)
    assert found.doubts == pytest.approx(
        np.linalg.norm(images, axis=1) * found.gradient_norm, rel=1e-9
    )
    assert found.num_curved == 2
    assert found.least_anywhere <= found.least
    assert found.greatest_anywhere >= found.greatest * (1 - 1e-6)  # ended by steps


def test_s_and_its_gradient_are_those_of_the_formula_also_for_a_loss_in_chunks(network):
    """In the span and on the whole sphere, against differences of S itself."""
    loss, w = network
    pairs = sf.spectra.extreme_eigenpairs(loss, w, k=1)
    h, rho, step = np.asarray(jax.jit(lambda w: loss.hessian(w))(w)), 0.5, 1e-5
    y = np.array([0.6, -0.8])
    for each in (loss, loss.in_chunks(4)):
        sphere = Sphere(each, np.asarray(w), pairs, np.array([True, True]))
        value, slope, e = sphere._inside(y, rho)
        assert np.linalg.norm(e) == pytest.approx(1)
        assert value == pytest.approx(float(e @ h @ loss.gradient(w + rho * e)), rel=1e-9)
        turned = [sphere._inside(y + d, rho)[0] for d in step * np.eye(2)]
        back = [sphere._inside(y - d, rho)[0] for d in step * np.eye(2)]
        # of second order in the step
        assert slope == pytest.approx(np.subtract(turned, back) / (2 * step), rel=1e-5, abs=1e-7)
        value, whole, same = sphere._anywhere(3 * e, rho)
        assert same == pytest.approx(e)
        v = pairs.vectors[1] - pairs.vectors[0]
        turned, back = (sphere._anywhere(3 * e + d * v, rho)[0] for d in (step, -step))
        difference = (turned - back) / (2 * step)
        assert float(whole @ v) == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_nothing_depends_on_units():
    beale = sf.losses.beale()
    scaled = sf.loss(lambda w: 1e-6 * beale(w / 1000), dim=2)
    one = sample(beale, [0.0, 1.0], rho=0.2)
    other = sample(scaled, [0.0, 1000.0], rho=200.0)
    unit = 1e-6**2 / 1000**3  # H g
    assert other.least == pytest.approx(unit * one.least, rel=1e-6)
    assert other.window == pytest.approx(np.multiply(1000, one.window), rel=4e-3)
    assert other.verdict == one.verdict


def test_along_an_eigenvector_usams_threshold_is_exact_until_the_curvature_turns():
    """vᵀH(w + rho g)(I + rho H)v = (1 + rho λ) vᵀH(w + rho g)v, wherever w is.

    On ax + ½(x − 1)y² + x²/2 at 0: g = (a, 0), λ = −1, and the second factor is a·rho − 1.
    """
    for slope, threshold in ((0.5, 1.0), (4.0, 0.25)):
        loss = sf.loss(f"{slope}*x + (x - 1)*y**2/2 + x**2/2")
        found = sample(loss, [0.0, 0.0], rho=0.1, end=False)
        assert found.usam_quadratic == pytest.approx(1)
        assert found.usam_threshold == pytest.approx(threshold, rel=1e-8)
    assert np.isnan(sample(sf.loss("x**2 + y**2"), [0.0, 0.0], rho=0.1, end=False).usam_threshold)


def test_misuse():
    with pytest.raises(ArgumentError, match="`rho` must be finite and greater than 0"):
        sample(QUARTIC, [0.0, 0.0], rho=0.0)
    with pytest.raises(ArgumentError, match="Hessian there is 0"):
        sample(sf.loss("x**3 + y**3"), [0.0, 0.0], rho=0.1)
    with pytest.raises(ArgumentError, match="must be a Loss"):
        sample(sf.GD(), [0.0], rho=0.1)


def test_the_threshold_is_found_on_orbits_at_weights_that_are_given():
    """At Beale's saddle 4/111; the two orbits of a displacement meet no multiplier."""
    beale = sf.losses.beale()
    saddle = sf.networks.measured_saddle(beale, [0.0, 1.0])
    found = sf.networks.holding_threshold(saddle, lr=0.2 * saddle.largest_lr)
    assert found.predicted == pytest.approx(4 / 111)
    assert found.rho == pytest.approx(4 / 111, rel=0.01)  # the bracket is 0.5 % wide
    # beside it, where g is not 0, both orbits move, and what is between them is held the same
    beside = sf.networks.measured_saddle(beale, [1e-4, 1.0])
    assert beside.gradient_norm > 1e-3
    moving = sf.networks.holding_threshold(beside, lr=0.2 * saddle.largest_lr, num_steps=400)
    assert moving.rho == pytest.approx(4 / 111, rel=0.02)
    minimum = sf.networks.measured_saddle(beale, [3.0, 0.5])
    none = sf.networks.holding_threshold(minimum, lr=0.01)
    assert none.status == sf.Status.still_inside


def test_a_threshold_that_is_not_found_is_said_not_to_be_found():
    found = sample(sf.loss("x**2 - y**2 + y**4"), [0.0, 0.0], rho=0.8, end=False)
    assert "from rho = " in str(found)
    text = str(dataclasses.replace(found, usam_threshold=np.nan))
    assert "No rho was found from which on USAM is attracted along the weakest" in text
    assert "not found on" not in text
