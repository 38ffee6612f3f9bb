"""Saddles by symmetry: closed forms against dense Hessians, both sides of the threshold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from analysis.symmetry_saddles import data, degenerate, duplicated, perceptron
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.networks.saddles import units
from samflow.networks.saddles.critical import critical_point
from samflow.networks.saddles.deep_linear import deep_linear_saddle
from samflow.networks.saddles.holding import departure, holding_threshold
from samflow.networks.saddles.symmetries import (
    duplicated_hessian,
    duplication_saddle,
    permutation_saddle,
)
from tests.tiers import slow

ROUNDING = 1e-12  # of sums over ten examples, with entries of H below 100


@pytest.fixture(scope="module")
def twice():
    """One unit twice, with one output: a saddle of index 1."""
    return duplicated(37, 2, 0.5, bias=True)[0]


@pytest.fixture(scope="module")
def alike():
    return permutation_saddle(perceptron(0, 2, 2, 3, bias=True), *data(22, 2, 2), alike=(0, 1, 2))


@pytest.fixture(scope="module")
def linear():
    return deep_linear_saddle(*data(0, 3, 2), width=3)


@pytest.mark.parametrize("share", [0.3, slow(-0.7), slow(1.0)])
@pytest.mark.parametrize(("layer", "bias"), [(0, True), (1, False)])
def test_the_hessian_of_a_network_with_a_unit_twice_anywhere(share, layer, bias):
    x, y = data(1, 2, 3)
    biases = {"use_bias": bias, "use_final_bias": bias}
    model = eqx.nn.MLP(2, 3, 4, 2, activation=jnp.tanh, key=jr.key(0), **biases)
    bigger = units.duplicate_unit(model, 2, share=share, layer=layer)
    made = sf.losses.network(bigger, x, y)
    w = made.flatten(bigger)
    np.testing.assert_allclose(made.predict(w), jax.vmap(model)(x), atol=ROUNDING)
    closed = duplicated_hessian(model, x, y, unit=2, share=share, layer=layer)
    np.testing.assert_allclose(closed, made.hessian(w), atol=ROUNDING)


def test_the_same_for_cross_entropy():
    x, _ = data(1, 2, 3)
    y = np.eye(3)[np.arange(10) % 3]
    model = perceptron(0, 2, 3, 4, bias=True)
    bigger = units.duplicate_unit(model, 0, share=0.2)
    made = sf.losses.network(bigger, x, y, loss="cross_entropy")
    closed = duplicated_hessian(model, x, y, unit=0, share=0.2, loss="cross_entropy")
    np.testing.assert_allclose(closed, made.hessian(made.flatten(bigger)), atol=ROUNDING)
    labels = duplicated_hessian(model, x, np.arange(10) % 3, unit=0, share=0.2)  # the default
    np.testing.assert_allclose(closed, labels, atol=ROUNDING)


def test_merging_undoes_duplicating():
    model = perceptron(0, 2, 3, 4, bias=True)
    again = units.merge_copies(units.duplicate_unit(model, 1, share=0.3), 1, share=0.3)
    for a, b in zip(again.layers, model.layers, strict=True):
        np.testing.assert_allclose(a.weight, b.weight, atol=1e-15)
        np.testing.assert_array_equal(a.bias, b.bias)
    both = units.difference(units.duplicate_unit(model, 1, share=0.3), 1, share=0.3)
    np.testing.assert_allclose(both, 0, atol=1e-15)


def test_at_a_critical_point_the_block_decides(twice):
    assert twice.gradient_norm < ROUNDING
    np.testing.assert_allclose(twice.closed_form, twice.eigenvalues, atol=ROUNDING)
    x, y = data(37, 2, 1)
    model = units.merge_copies(twice.loss.unflatten(twice.w), 0)
    block = units.unit_block(model, x, y, unit=0)
    np.testing.assert_allclose(block.coupling, 0, atol=ROUNDING)  # one output
    # At equal shares the antisymmetric eigenvalues are those of C/2, and 0 for the outgoing weight.
    half = np.linalg.eigvalsh(block.curvature / 2)
    for value in (*half, 0.0):
        assert np.abs(twice.eigenvalues - value).min() < ROUNDING
    assert twice.weakest == pytest.approx(half[0], abs=ROUNDING)
    np.testing.assert_allclose(
        units.symmetrise(twice.loss.unflatten(jnp.asarray(twice.direction)), (0, 1)).layers[0].bias,
        0,
        atol=1e-9,
    )


@pytest.mark.slow
def test_with_several_outputs_the_coupling_makes_a_saddle_for_every_share(alike):
    x, y = data(22, 2, 2)
    loss = sf.losses.network(perceptron(1, 2, 2, 1, bias=True), x, y)
    found = critical_point(loss, loss.flatten(perceptron(1, 2, 2, 1, bias=True)))
    model = loss.unflatten(found.w)
    assert found.status is Status.located
    assert np.linalg.eigvalsh(loss.hessian(found.w))[0] > 0
    block = units.unit_block(model, x, y, unit=0)
    assert np.linalg.norm(block.coupling) > 0.1
    # aᵀM is the gradient by the incoming weights
    np.testing.assert_allclose(model.layers[1].weight[:, 0] @ block.coupling, 0, atol=ROUNDING)
    for share in (0.3, 1.0, 1.5):
        assert duplication_saddle(model, x, y, unit=0, share=share).weakest < -1e-3


def test_across_the_fixed_space_eigenvalues_are_known_and_come_in_copies(alike):
    assert alike.gradient_norm < ROUNDING
    model = alike.loss.unflatten(alike.w)
    same = units.symmetrise(model, (0, 1, 2))
    np.testing.assert_allclose(alike.loss.flatten(same), alike.w, atol=1e-15)
    pairs = alike.closed_form.reshape(-1, 2)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-15)
    for value in alike.closed_form:
        assert (np.abs(alike.eigenvalues - value) < ROUNDING).sum() == 2
    assert len(alike.negative) == 4
    for v in alike.negative:  # none lies in the fixed space: there the point is a minimum
        mean = units.symmetrise(alike.loss.unflatten(jnp.asarray(v)), (0, 1, 2))
        np.testing.assert_allclose(alike.loss.flatten(mean), 0, atol=1e-9)


@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(rho=0.3)])
def test_descent_stays_in_the_fixed_space(alike, rule):
    model = units.symmetrise(perceptron(4, 2, 2, 3, bias=True), (0, 1, 2))
    system = sf.Map(alike.loss, rule, lr=0.02)
    end = sf.iterate(system, alike.loss.flatten(model), num_steps=100).final
    mean = units.symmetrise(alike.loss.unflatten(end), (0, 1, 2))
    # Equal numbers in the same order of operations; rounding, if the sums are ordered otherwise.
    np.testing.assert_allclose(alike.loss.flatten(mean), end, atol=1e-13)


def test_two_linear_layers_at_zero_have_the_singular_values_of_the_correlation(linear):
    x, y = data(0, 3, 2)
    sigma = np.linalg.svd(y.T @ x / len(x), compute_uv=False)
    expected = np.sort(np.r_[np.repeat(sigma, 3), np.repeat(-sigma, 3), np.zeros(3)])
    np.testing.assert_allclose(linear.eigenvalues, expected, atol=ROUNDING)
    np.testing.assert_allclose(linear.closed_form, expected, atol=1e-15)
    assert linear.weakest == pytest.approx(-sigma.min(), abs=ROUNDING)
    assert linear.gradient_norm == 0


@pytest.mark.parametrize(
    ("layers", "mode", "outputs"), [(2, 0, 2), (2, 1, 4), (3, 0, 4), (3, 1, 2), (4, 1, 3)]
)
def test_a_linear_network_that_has_learned_one_mode(layers, mode, outputs):
    x, y = data(0, 3, outputs)
    x = np.sqrt(len(x)) * np.linalg.qr(x)[0]
    made = deep_linear_saddle(x, y, width=3, layers=layers, learned=mode)
    assert made.gradient_norm < ROUNDING
    np.testing.assert_allclose(made.eigenvalues, made.closed_form, atol=ROUNDING)
    # Strict for two layers, or where a stronger mode is not learned.
    assert np.isfinite(made.weakest) == (layers == 2 or mode > 0)


@pytest.mark.parametrize("name", ["twice", "alike", "linear"])
def test_both_sides_of_the_threshold(name, request):
    saddle = request.getfixturevalue(name)
    lr, strength = 0.5 * saddle.largest_lr, abs(saddle.weakest)
    for part, held in ((0.0, False), (0.9, False), (1.1, True)):
        system = sf.Map(saddle.loss, sf.USAM(rho=part / strength), lr=lr)
        found = departure(saddle, system)
        assert (found.held, found.settled) == (held, True)
        along = departure(saddle, system, along=saddle.direction)
        # Terms of higher order are 1e-3 at most where the orbit is FACTOR times as far.
        assert along.rate == pytest.approx(np.log1p(lr * strength * (1 - part)), rel=1e-3)
        if held:
            assert found.drift < 1e-3
    found = holding_threshold(saddle, lr=lr)
    assert found.status is Status.located
    assert found.low < found.rho < found.high <= found.low * 1.0051
    assert found.predicted == 1 / strength
    assert found.rho == pytest.approx(1 / strength, rel=0.005)  # the width of the bracket


@pytest.fixture(scope="module")
def uneven():
    """Return a saddle whose two negative eigenvalues are 30 times apart."""
    x = np.random.default_rng(3).normal(size=(20, 2))
    y = np.tanh(x @ [1.5, 0.5]) - 0.7 * np.tanh(x @ [-0.5, 1.2])
    model = eqx.nn.MLP(2, 1, 1, 1, activation=jnp.tanh, key=jr.key(0))
    loss = sf.losses.network(model, x, y[:, None])
    small = loss.unflatten(critical_point(loss, loss.flatten(model)).w)
    return duplication_saddle(small, x, y[:, None], unit=0)


def test_the_weakest_eigenvalue_decides_beside_a_strong_one_that_dies(uneven):
    strong, weak = uneven.eigenvalues[:2]
    assert strong < 25 * weak < 0
    lr = 0.5 * uneven.largest_lr
    found = holding_threshold(uneven, lr=lr)
    assert found.status is Status.located
    assert found.rho == pytest.approx(-1 / weak, rel=0.005)
    # Between the two thresholds the strong component dies and the weak one grows, by e^.02 only.
    between = departure(uneven, sf.Map(uneven.loss, sf.USAM(rho=-2 / strong), lr=lr))
    assert (between.held, between.settled) == (False, True)
    assert between.rate == pytest.approx(np.log1p(-lr * weak * (1 - 2 * weak / strong)), rel=1e-2)
    assert between.sizes[-1] < 1.1 * between.sizes[0]


@pytest.mark.parametrize("settings", [{"num_steps": 12}, {"distance": 1e-3}])
def test_a_threshold_needs_few_steps_where_components_do_not_mix(linear, settings):
    found = holding_threshold(linear, lr=0.5 * linear.largest_lr, **settings)
    assert found.status is Status.located
    assert found.rho == pytest.approx(-1 / linear.weakest, rel=0.005)


def test_where_orbits_are_too_short_to_tell_the_bracket_stays_as_it_is(uneven):
    found = holding_threshold(uneven, lr=0.5 * uneven.largest_lr, rel=1e-6)
    assert found.status is Status.out_of_steps
    assert found.low < found.high < found.low * (1 + 1e-4)
    # The start is 1e-6 off, of which the terms of second order are felt.
    assert found.rho == pytest.approx(-1 / uneven.weakest, rel=1e-5)
    with pytest.raises(ArgumentError, match="`rel` must be at least 1e-06"):
        holding_threshold(uneven, lr=0.1, rel=1e-17)
    with pytest.raises(ArgumentError, match=r"`num_steps` must be .* at least 12"):
        holding_threshold(uneven, lr=0.1, num_steps=5)


def test_too_large_a_step_is_held_nowhere(linear):
    found = holding_threshold(linear, lr=1.05 * linear.largest_lr)
    assert found.status is Status.escaped
    assert np.isnan([found.rho, found.low, found.high]).all()
    assert not found.held.any()
    assert found.predicted == -1 / linear.weakest


def test_the_sign_of_the_block_decides_whether_there_is_a_threshold():
    """One input and no bias: C is one number, here positive."""
    inside, outside = duplicated(22, 1, 0.5, 1.5, bias=False)
    assert np.isnan(inside.weakest)
    assert not len(inside.negative)
    assert inside.statement.startswith("No negative eigenvalue")
    found = holding_threshold(inside, lr=0.1)
    assert (found.status, found.num_orbits) == (Status.still_inside, 1)
    assert np.isnan([found.rho, found.predicted]).all()
    assert outside.weakest < 0
    assert departure(outside, sf.Map(outside.loss, sf.GD(), lr=0.1)).held is False


def test_three_linear_layers_at_zero_have_no_threshold():
    saddle, along = degenerate()
    np.testing.assert_array_equal(saddle.eigenvalues, 0)
    assert saddle.statement.startswith("H = 0")
    with pytest.raises(ArgumentError, match="`along` must be given at a saddle where H vanishes"):
        departure(saddle, sf.Map(saddle.loss, sf.GD(), lr=0.1))
    scan = (1.0, 100.0)
    found = holding_threshold(saddle, lr=0.1, along=along, distance=1e-3, scan=scan)
    assert found.status is Status.escaped
    assert not found.held.any()
    # The first step on w₁ = w₂ = w₃ = s e e ᵀ, exactly: s + ησ s²(1 − ρσs)² to fifth order in s.
    s, rho, lr, sigma = 1e-3, 100.0, 0.1, 2.0
    step = sf.Map(saddle.loss, sf.USAM(rho=rho), lr=lr).step(np.sqrt(3) * s * jnp.asarray(along))
    assert float(step[0]) - s == pytest.approx(lr * sigma * (s - rho * sigma * s**2) ** 2, rel=1e-6)


def test_bad_input_fails_at_the_door(linear):
    model, (x, y) = perceptron(0, 2, 1, 3, bias=True), data(0, 2, 1)
    with pytest.raises(ArgumentError, match="`unit` must be one of the 3 units of layer 0"):
        units.duplicate_unit(model, 3)
    with pytest.raises(ArgumentError, match="`layer` must be one of the 1 hidden layers"):
        units.duplicate_unit(model, 0, layer=1)
    with pytest.raises(ArgumentError, match="`share` must be finite"):
        units.duplicate_unit(model, 0, share=np.nan)
    with pytest.raises(ArgumentError, match="must be an MLP with a hidden layer"):
        units.duplicate_unit(eqx.nn.MLP(2, 1, 3, 0, key=jr.key(0)), 0)
    with pytest.raises(ArgumentError, match="must be a MLP, but is Linear"):
        units.duplicate_unit(eqx.nn.Linear(2, 1, key=jr.key(0)), 0)
    with pytest.raises(ArgumentError, match="two or more different units"):
        permutation_saddle(model, x, y, alike=(1, 1))
    with pytest.raises(ArgumentError, match="must be at a critical point"):
        duplication_saddle(model, x, y, unit=0)
    with pytest.raises(ArgumentError, match="must be whitened"):
        deep_linear_saddle(x, y, width=2, learned=0)
    with pytest.raises(ArgumentError, match="must be the index of a mode with σ > 0"):
        deep_linear_saddle(x, y, width=2, learned=1)
    with pytest.raises(ArgumentError, match="`layers` must be a whole number of at least 2"):
        deep_linear_saddle(x, y, width=2, layers=1)
    with pytest.raises(ArgumentError, match=r"must be \(n, in\) and \(n, out\)"):
        deep_linear_saddle(x, y[:4], width=2)
    with pytest.raises(ArgumentError, match="`x` must be finite"):
        deep_linear_saddle([[np.nan, 1]], [[1.0]], width=1)
    with pytest.raises(ArgumentError, match="`y` must be real numbers"):
        deep_linear_saddle([[1.0, 1]], [[1j]], width=1)
    with pytest.raises(ArgumentError, match="but it overflows"):
        deep_linear_saddle([[1e200]], [[1e200]], width=1)
    with pytest.raises(ArgumentError, match="`share` must be finite, but is x"):
        units.duplicate_unit(model, 0, share="x")
    with pytest.raises(ArgumentError, match="no momentum"):
        departure(linear, sf.Map(linear.loss, sf.GD(), lr=0.1, momentum=0.5))
    with pytest.raises(ArgumentError, match="ascending order"):
        holding_threshold(linear, lr=0.1, scan=[2.0, 1.0])
    with pytest.raises(ArgumentError, match="`along` must be a direction"):
        holding_threshold(linear, lr=0.1, along=np.zeros(15))
