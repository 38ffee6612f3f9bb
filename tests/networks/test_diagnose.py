"""Diagnoses of checkpoints whose Hessian is known in closed form."""

import dataclasses
import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import networks
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks import Checkpoint, Effort, diagnose
from samflow.networks.diagnosis.advice import advice
from samflow.networks.diagnosis.report import carried, ends
from samflow.spectra.directions import (
    gradient_difference,
    growth_within,
    log_growth,
    measured_along,
)
from samflow.spectra.spectrum import extreme_eigenpairs

ONE, TWO = Effort(num_eigenpairs=1, trace_products=6), Effort(num_eigenpairs=2)
SHARPEST, FLATTEST = 4.0, 1.0
"""Eigenvalues of H of a linear model with one output: those of XᵀX/n."""


@pytest.fixture(scope="module")
def minimum():
    """A linear model at the minimum that it was made for, H = diag(4, 1), fitting every example."""
    x = np.sqrt(2) * np.diag(np.sqrt([SHARPEST, FLATTEST]))
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    loss = network(model, x, x @ np.array([[3.0], [-1.0]]), name="linear")
    return Checkpoint(loss, jnp.array([3.0, -1.0]))


class TwoLayers(eqx.Module):
    first: jax.Array
    last: jax.Array

    def __call__(self, x):
        return self.last @ (self.first @ x)


@pytest.fixture(scope="module")
def saddle():
    """Two linear layers at 0, where the eigenvalues are ± the singular values 2, 1/2 of YᵀX/n."""
    x, y = np.sqrt(2) * np.eye(2), np.sqrt(2) * np.diag([2.0, 0.5])
    model = TwoLayers(jnp.zeros((1, 2)), jnp.zeros((2, 1)))
    return Checkpoint(network(model, x, y, name="two layers"), jnp.zeros(4))


def stability_of(checkpoint, name, **settings):
    found = diagnose(checkpoint, rules=[name], **{"rho": 0.1, "lr": 0.1} | settings)
    return found.rules[0]


def test_a_minimum_with_a_known_hessian(minimum):
    found = diagnose(minimum, rho=0.1, lr=0.1, batch_size=1)
    assert found.nearness.level == "critical"
    # H is 2 by 2 and found by a dense solver: rounding only.
    np.testing.assert_allclose(found.pairs.values, [FLATTEST, SHARPEST], rtol=1e-12)
    assert (found.index, found.sharpness) == (0, pytest.approx(SHARPEST))
    assert math.isnan(found.rho_threshold)
    assert float(found.trace.value) == pytest.approx(SHARPEST + FLATTEST, rel=1e-12)
    assert [each.rule for each in found.rules] == ["gd", "usam", "practical-sam"]
    np.testing.assert_allclose(found.top_shares, [1.0], rtol=1e-12)
    gd, usam, _ = found.rules
    np.testing.assert_allclose(gd.closed_form, gd.measured, atol=1e-13)
    np.testing.assert_allclose(usam.measured, [1.1, 5.6], atol=1e-13)  # λ(1 + λ/10)
    assert usam.rho_window == (0.0, pytest.approx(-1 / 4 + 2 / (0.1 * 16)))
    # The second example alone curves along its axis, with λ = 2: E[(1 − ηλ)²] over λ = 2 and 0.
    assert found.mean_square[0].radius == pytest.approx((1 + (1 - 0.1 * 2) ** 2) / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "settings", "edge"),
    [
        ("gd", {"lr": 0.25}, 8.0),
        ("gd", {"lr": 0.25, "momentum": 0.5}, 12.0),
        ("usam", {"lr": 0.25, "rho": 0.25}, (math.sqrt(1 + 4 * 0.25 * 8) - 1) / 0.5),
    ],
)
def test_the_edge_is_where_the_verdict_changes(rule, settings, edge):
    assert stability_of(linear(1.0), rule, **settings).edge == pytest.approx(edge, rel=1e-12)
    for factor, verdict in ((0.999, "stable"), (1.001, "unstable")):
        found = stability_of(linear(factor * edge), rule, **settings)
        assert found.stability == verdict
        assert (found.scaled_curvature < found.limit) == (verdict == "stable")
    assert "swings across the valley" in found.statement


@pytest.mark.parametrize(
    ("settings", "largest"),
    [
        ({}, (2 / 4, 2 / 8)),  # U = 4 for GD, and 4(1 + 4/4) for USAM
        ({"momentum": 0.5}, (3 / 4, 3 / 8)),  # κ = 2(1 + β)
        ({"momentum": 0.5, "nesterov": True}, (1.5 / 4, 1.5 / 8)),  # κ = (2 + 2β)/(1 + 2β)
        ({"weight_decay": 1.0}, (2 / 5, 2 / 9)),  # U is 1 more
    ],
)
def test_the_largest_lr_is_where_the_verdict_changes(minimum, settings, largest):
    ask = {"rho": 0.25, "rules": ["gd", "usam"], "effort": ONE} | settings
    for i, lr in enumerate(largest):
        below, above = (diagnose(minimum, lr=side * lr, **ask) for side in (0.999, 1.001))
        assert below.rules[i].largest_lr == pytest.approx(lr, rel=1e-12)  # rounding only
        assert (below.rules[i].stability, above.rules[i].stability) == ("stable", "unstable")


def test_the_answer_says_which_directions_repel_at_every_lr(saddle):
    """λ = ±2, ±½: GD leaves along two; USAM with rho = 3 > 2 along none, and U = 2(1 + 6) = 14."""
    found = diagnose(saddle, rho=3.0, lr=0.1, rules=["gd", "usam"])
    assert [each.largest_lr for each in found.rules] == pytest.approx([1, 2 / 14], rel=1e-12)
    assert [(each.num_repelling, each.num_open) for each in found.rules] == [(2, 0), (0, 0)]
    assert str(found).startswith(
        "At lr 0.1 gd and usam are below the edge; lr < 0.142 keeps every direction of "
        "positive curvature stable for each; directions of negative curvature repel gd at every "
        "lr, so train on to leave them.\n"
        "At lr = 0.1, gd is unstable; usam is stable in every direction measured.\nEvery direction "
        "of positive curvature is stable if lr < 1 for gd and lr < 0.142 for usam.\nDirections of "
        "negative curvature repel at every lr: 2 for gd.\n"
    )


def test_what_the_first_sentence_says_follows_from_bounds(saddle, minimum):
    """λ = 4, 1: GD's edge is lr = ½; with residuals of 1 it may lie from 2/5 to 2/3."""
    found = diagnose(minimum, rho=0.1, lr=0.45, rules=["gd"], effort=ONE)
    assert "lr < 0.5 is safe" in str(found).splitlines()[0]
    doubtful = dataclasses.replace(found.pairs, residuals=jnp.ones(2))
    said = advice(0.45, found.rules, doubtful, found.nearness)
    assert said == "At lr 0.45 gd is too near the edge to tell; lr < 0.4 is safe."
    # λ = ±2, ±½ repels at every lr: nothing is safe.
    found = diagnose(saddle, rho=0.1, lr=0.1, rules=["gd"])
    assert str(found).splitlines()[0] == (
        "At lr 0.1 gd is below the edge; lr < 1 keeps every direction of positive curvature "
        "stable; directions of negative curvature repel at every lr, so train on to leave them."
    )


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (-0.05481, 0.002, ("-0.055", "0.003")),
        (18.2448, 0.69, ("18.2", "0.8")),
        (4.0, 1e-15, ("4", "1e-15")),
        (0.3, 2.0, ("0.3", "2")),
        (1.0, 0.0, ("1", "0")),
    ],
)
def test_digits_are_those_that_an_error_leaves(value, error, shown):
    text, within = carried(value, error, 6)
    assert (text, within) == shown
    assert abs(float(text) - value) + error <= float(within) * (1 + 1e-9)


def test_of_the_lowest_found_it_is_not_said_that_it_is_the_lowest(saddle):
    """1/|λ₋| = 1/2; with a residual of 0.1 it is from 1/2.1 to 1/1.9."""
    found = diagnose(saddle, rho=0.1, lr=0.1, rules=["gd"])
    assert "along the lowest, λ₋, only if rho > 1/|λ₋| = 0.5." in str(found)
    rough = dataclasses.replace(
        found.pairs, residuals=jnp.full(len(found.pairs.values), 0.1), method="lanczos"
    )
    rough = dataclasses.replace(found, pairs=rough)
    assert "along the lowest found, λ₋, only if rho > 1/|λ₋| = 0.5 ± 0.03." in str(rough)
    assert "an eigenvalue within 0.1 of -2, the lowest found" in ends(rough)


def test_a_loss_that_is_no_networks_is_refused_with_what_to_call():
    with pytest.raises(ArgumentError, match="extreme_eigenpairs"):
        diagnose(Checkpoint(sf.loss("x**2 + y**2"), jnp.zeros(2)), rho=0.1, lr=0.1)


def test_numbers_out_of_range_are_refused_before_any_work():
    for name, value in (
        ("trace_products", 5),
        ("num_batches", 1),
        ("tol", 0.0),
        ("max_products", 0),
    ):
        with pytest.raises(ArgumentError, match=f"`{name}`"):
            Effort(**{name: value})


def linear(sharpness):
    x = np.sqrt(2) * np.diag(np.sqrt([sharpness, sharpness / 2]))
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    return Checkpoint(network(model, x, np.zeros((2, 1))), jnp.zeros(2))


def test_weight_decay_of_the_optimiser_adds_to_the_effective_curvature():
    plain, decayed = (stability_of(linear(4.0), "usam", weight_decay=d) for d in (0.0, 0.3))
    np.testing.assert_allclose(decayed.measured - plain.measured, 0.3, atol=1e-12)
    np.testing.assert_allclose(decayed.closed_form - plain.closed_form, 0.3, atol=1e-12)
    assert decayed.rho_window is None


def test_a_saddle_with_known_eigenvalues_and_usam_on_both_sides_of_its_thresholds(saddle):
    found = diagnose(saddle, rho=0.6, lr=0.1)
    np.testing.assert_allclose(found.pairs.values, [-2.0, -0.5, 0.5, 2.0], atol=1e-13)
    assert (found.index, found.rho_threshold) == (2, pytest.approx(0.5))
    assert found.nearness.level == "critical"
    # 1/2 turns the steepest descent, 1/(1/2) = 2 the last one; 0.6 only the first.
    assert [stability_of(saddle, "usam", rho=r).stabilised for r in (0.49, 0.51, 1.99, 2.01)] == [
        0,
        1,
        1,
        2,
    ]
    assert stability_of(saddle, "usam", rho=1.99).stability == "unstable"
    assert "slides down along λ = -0.5" in stability_of(saddle, "usam", rho=1.99).statement
    assert stability_of(saddle, "usam", rho=2.01).stability == "stable"
    low, high = stability_of(saddle, "usam", rho=2.01).rho_window
    assert low == pytest.approx(2.0)
    assert high == pytest.approx(-1 / 2 + 2 / (0.1 * 4))
    # With its default eps practical SAM is USAM with an enormous rho here.
    assert found.unstable == ("gd", "usam", "practical-sam")


def test_growth_is_that_of_the_multipliers(saddle):
    found = stability_of(saddle, "gd", lr=0.1, momentum=0.9)
    # Heavy ball: z² − (1 + β − x)z + β with x = −0.2.
    largest = max(abs(np.roots([1.0, -(1.9 + 0.2), 0.9])))
    assert found.growth[0] == pytest.approx(math.log(largest), rel=1e-9)
    system = sf.Map(saddle.loss, sf.GD(), lr=0.1)
    np.testing.assert_allclose(log_growth(system, [-2.0, 10.0]), [math.log(1.2), -np.inf])
    assert np.isnan(log_growth(system, [np.nan])).all()


def test_practical_sam_near_a_saddle_is_usam_with_rho_over_the_gradient(saddle):
    found = stability_of(saddle, "practical-sam", rho=1e-12)
    assert found.effective_rho == pytest.approx(1.0)  # rho/eps at g = 0
    np.testing.assert_allclose(found.measured, found.closed_form, rtol=1e-6)
    away = Checkpoint(saddle.loss, jnp.array([1e-3, 0.0, 1e-3, 0.0]))
    g = float(jnp.linalg.norm(saddle.loss.gradient(away.w)))
    assert stability_of(away, "practical-sam", rho=0.05).effective_rho == pytest.approx(0.05 / g)


def test_the_cycle_of_sam_is_where_its_orbit_ends(minimum):
    found = stability_of(minimum, "practical-sam", rho=0.05, lr=0.1)
    assert "swings across the valley" in found.statement
    report = str(diagnose(minimum, rho=0.05, lr=0.1))
    assert (
        "practical-sam is unstable (up to a 2-cycle of radius 0.0125 along the sharpest direction)"
        in report
    )
    # c = ηρλ/(2 − ηλ), which the orbit reaches: checked by running it.
    assert found.cycle_radius == pytest.approx(0.1 * 0.05 * 4 / (2 - 0.4), rel=1e-12)
    system = sf.Map(minimum.loss, sf.rules.PracticalSAM(rho=0.05), lr=0.1)
    end = sf.iterate(system, minimum.w + jnp.array([0.02, 0.001]), num_steps=3000).final
    assert abs(float((end - minimum.w)[0])) == pytest.approx(found.cycle_radius, rel=1e-6)
    assert math.isnan(stability_of(minimum, "practical-sam", lr=0.6).cycle_radius)
    assert math.isnan(stability_of(minimum, "usam").cycle_radius)


def test_a_moving_point_is_told_from_one_at_rest(minimum):
    # The Hessian of a linear model is constant: nothing drifts, wherever it is.
    away = Checkpoint(minimum.loss, minimum.w + 1.0)
    assert diagnose(away, rho=0.1, lr=0.1).nearness.level == "near"
    loss, w = networks.digits_loss(jr.key(0), num_images=20, hidden=2)
    found = diagnose(Checkpoint(loss, w), rho=0.1, lr=0.1, effort=ONE)
    assert found.nearness.level == "far"
    drift = found.nearness.drift
    before, after = (
        extreme_eigenpairs(loss, at, which="largest") for at in (w, w - 0.1 * loss.gradient(w))
    )
    # The old eigenvector's Rayleigh quotient is at most the new eigenvalue.
    assert before.values[0] * (1 + drift) <= after.values[0] * (1 + 1e-12)
    assert found.nearness.steady_steps == pytest.approx(0.1 / abs(drift))
    assert "Not near a critical point" in str(found)


def test_the_derivative_along_a_direction_is_the_dense_one():
    loss, w = networks.digits_loss(jr.key(1), num_images=10, hidden=1)
    system = sf.Map(loss, sf.USAM(rho=0.2), lr=0.3, momentum=0.9, weight_decay=0.1)
    dense = jax.jacfwd(lambda w: system.rule.direction(loss, w) + 0.1 * w)(w)
    v = np.random.default_rng(0).normal(size=loss.dim)
    v /= np.linalg.norm(v)
    found = measured_along(system, w, v[None])
    # (v − J v)/lr loses a few digits to cancellation.
    assert found.curvature[0] == pytest.approx(float(v @ dense @ v), rel=1e-11)
    rest = dense @ v - (v @ dense @ v) * v
    assert found.residual[0] == pytest.approx(float(jnp.linalg.norm(rest)), rel=1e-10)


def test_a_network_in_single_precision_is_diagnosed_within_its_rounding():
    loss, w = networks.digits_loss(jr.key(0), num_images=20, hidden=3)
    single = dataclasses.replace(loss, options=loss.options._replace(dtype="float32"))
    doubles, singles = (
        diagnose(Checkpoint(s, w), rho=0.1, lr=0.1, effort=TWO) for s in (loss, single)
    )
    # 1e-5 · max|λ|: a hundred units of rounding of single precision.
    np.testing.assert_allclose(singles.pairs.values, doubles.pairs.values, atol=1e-5 * 10)
    assert np.all(np.asarray(singles.pairs.status) == sf.Status.located)
    assert any("computes in float32" in note for note in singles.notes)


def test_a_diagnosis_turns_into_json_without_eigenvectors(saddle):
    found = diagnose(saddle, rho=0.6, lr=0.1, effort=Effort(density_probes=2))
    data = json.loads(found.to_json())
    assert "vectors" not in data["pairs"]
    assert data["rules"][1]["rule"] == "usam"
    assert data["density"]["dim"] == 4
    assert dict(found.provenance)["source"] == "given"


class Unit(eqx.Module):
    """A unit of weight w: y = max(w x, 0), with a kink at w = 0."""

    w: jax.Array

    def __call__(self, x):
        return jax.nn.relu(self.w * x)


def test_the_edge_counts_weight_decay(minimum):
    """ηU(λ) + η·decay = κ = 2 at the edge; beyond it at λ = 0 already, the edge is 0."""
    found = diagnose(minimum, rho=0.3, lr=0.1, weight_decay=3.0).rules
    assert found[0].edge == pytest.approx(20 - 3, rel=1e-12)
    edge = found[1].edge
    assert 0.1 * (edge * (1 + 0.3 * edge) + 3) == pytest.approx(2, rel=1e-12)
    assert diagnose(minimum, rho=0.3, lr=0.1, weight_decay=20.0).rules[0].edge == 0


@pytest.mark.parametrize("placement", ["outside", "inside"])
@pytest.mark.parametrize("eps", [0.5, 2.5])
def test_the_cycle_of_practical_sam_shrinks_with_eps_and_vanishes(minimum, eps, placement):
    """G = ηρλ²/(2 − ηλ) = 2 at η = .2, ρ = .75, λ = 4; from eps = G on there is no cycle."""
    rule = sf.rules.PracticalSAM(0.75, eps, placement)
    radius = stability_of(minimum, rule, rho=0.75, lr=0.2).cycle_radius
    if eps > 2:
        assert math.isnan(radius)
        return
    system = sf.Map(minimum.loss, rule, lr=0.2)
    z = minimum.w + jnp.array([0.3, 0.0])
    step = eqx.filter_jit(system.step)
    for _ in range(2000):
        z = step(z)
    # The orbit has come to the cycle to rounding.
    assert float(jnp.linalg.norm(z - minimum.w)) == pytest.approx(radius, rel=1e-9)


def test_a_direction_that_repels_across_is_not_counted_as_turned(saddle):
    """λ₋ = −2: USAM attracts for rho between 1/2 and where ηU = 2."""
    for rho, turned in ((0.4, 0), (0.6, 1), (6.0, 0)):
        found = stability_of(saddle, "usam", rho=rho, lr=0.1, effort=ONE)
        assert found.stabilised == turned


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_growth_within_a_reach_is_that_of_many_points_in_it(minimum, settings):
    system = sf.Map(minimum.loss, sf.GD(), lr=0.1, **settings)
    for u, reach in ((10.0, 12.0), (-5.0, 8.0), (30.0, 1.0), (1.0, 40.0)):
        low, high = growth_within(system, np.array([u]), np.array([reach]))
        many = log_growth(system, np.linspace(u - reach, u + reach, 4001))
        # The grid passes the minimum at half a spacing, where the growth may be steep as a root.
        assert low[0] <= many.min() + 1e-12
        assert high[0] == pytest.approx(many.max(), abs=1e-12)
        if settings:
            assert low[0] == pytest.approx(many.min(), abs=0.05)


def test_nothing_follows_from_a_hessian_of_zero():
    product = lambda p, x: p["a"] * p["b"] * p["c"] * x  # noqa: E731
    params = {name: jnp.zeros(()) for name in "abc"}
    loss = sf.losses.network_function(product, params, np.ones((3, 1)), np.ones((3, 1)))
    found = diagnose(Checkpoint(loss, jnp.zeros(3)), rho=0.1, lr=0.1)
    assert {each.stability for each in found.rules} == {"undecided"}
    assert "The Hessian is 0" in str(found)


def test_second_derivatives_are_held_against_differences_of_gradients(minimum):
    """L = ½(max(w, 0) + 1)²: H = 1 for w > 0, and g jumps by 1 at 0."""
    assert diagnose(minimum, rho=0.1, lr=0.1).mismatch < 1e-9  # quadratic: rounding over h, 6e-6
    loss = network(Unit(jnp.ones(1)), np.ones((1, 1)), -np.ones((1, 1)), name="unit")
    for w, kink in ((1.0, False), (1e-9, True)):
        found = gradient_difference(loss, jnp.array([w]), jnp.ones(1))
        expected = (found.step + w + 1) / (2 * found.step) - 1 if kink else 0.0
        assert found.mismatch == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert (found.mismatch > found.expected) == kink
    flat = gradient_difference(loss, jnp.array([-1.0]), jnp.ones(1))
    assert flat.mismatch == 0
    wide = network(Unit(jnp.ones(2)), np.array([[1.0, 2.0]]), -np.ones((1, 2)), name="unit")
    notes = diagnose(Checkpoint(wide, jnp.array([1.0, 1e-9])), rho=0.1, lr=0.1).notes
    assert sum("a difference of gradients" in note for note in notes) == 1
    smooth = diagnose(Checkpoint(wide, jnp.array([1.0, 1.0])), rho=0.1, lr=0.1).notes
    assert not any("a difference of gradients" in note for note in smooth)


def test_a_second_derivative_that_pytorch_leaves_out_is_noticed():
    """y = (a x)³ by a function whose backward forgets that its slope 3(ax)² depends on x."""
    torch = pytest.importorskip("torch")

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x.detach() ** 2

    class Module(torch.nn.Module):
        def __init__(self, cube):
            super().__init__()
            self.a, self.cube = torch.nn.Parameter(torch.tensor([1.0, 1.0]).double()), cube

        def forward(self, x):
            return self.cube(self.a * x)

    x, y = torch.tensor([[1.0, 2.0]]).double(), torch.zeros(1, 2).double()
    for cube, right in ((lambda x: x**3, True), (Cube.apply, False)):
        loss = sf.losses.torch_network(Module(cube), x, y, loss="squared")
        found = gradient_difference(loss, loss.flatten(), jnp.array([0.0, 1.0]))
        # L = ½ 2⁶ a⁶ along the second weight: H = 15·64 at a = 1, and 9·64 without y″.
        expected = 0.0 if right else (15 - 9) / 9
        assert found.mismatch == pytest.approx(expected, abs=1e-8)
        assert (found.mismatch <= found.expected) == right


def test_classes_have_an_error_and_other_targets_none(minimum):
    assert math.isnan(float(diagnose(minimum, rho=0.1, lr=0.1).error))
    x, y = np.eye(2), np.array([0, 0])
    model = eqx.nn.Linear(2, 2, use_bias=False, key=jr.key(0))
    loss = network(model, x, y, loss="cross_entropy")
    found = diagnose(Checkpoint(loss, jnp.array([1.0, 0.0, 0.0, 1.0])), rho=0.1, lr=0.1)
    assert float(found.error) == 0.5
    assert "error 50.00%" in str(found)


def test_rules_beyond_the_closed_forms_are_measured(minimum):
    found = stability_of(minimum, "multistep-sam")
    assert np.isnan(found.closed_form).all()
    assert np.isnan(found.edge)
    with pytest.raises(ArgumentError, match="f-sam has one"):
        stability_of(minimum, "f-sam")


def test_bad_input_fails_at_the_door(minimum):
    ask = {"rho": 0.1, "lr": 0.1}
    with pytest.raises(ArgumentError, match="`checkpoint` must be a"):
        diagnose(minimum.w, **ask)
    with pytest.raises(ArgumentError, match="`rho` must be finite and greater than 0"):
        diagnose(minimum, rho=0.0, lr=0.1)
    with pytest.raises(ArgumentError, match="Unknown rule `usma`"):
        diagnose(minimum, rules=["usma"], **ask)
    with pytest.raises(ArgumentError, match="rules without a memory, but f-sam has one"):
        diagnose(minimum, rules=["f-sam"], **ask)
    with pytest.raises(ArgumentError, match="batch_size"):
        diagnose(minimum, batch_size=3, **ask)
    with pytest.raises(ArgumentError, match="`w` must be finite"):
        diagnose(Checkpoint(minimum.loss, jnp.array([np.nan, 0.0])), **ask)
    norm = lambda p, x: jnp.sqrt(jnp.sum(p["a"] ** 2)) * x  # noqa: E731
    cone = sf.losses.network_function(norm, {"a": jnp.zeros(2)}, np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(ArgumentError, match="its gradient there is not finite"):
        diagnose(Checkpoint(cone, jnp.zeros(2)), **ask)
    line = lambda p, x: p["a"] * x  # noqa: E731
    single = sf.losses.network_function(line, {"a": jnp.ones(1)}, np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(ArgumentError, match="at least 2 weights"):
        diagnose(Checkpoint(single, jnp.ones(1)), **ask)


def test_a_convention_brings_its_rule_its_loss_and_its_notes():
    x, y = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 1, 2, 0, 1, 2])
    model = eqx.nn.Linear(2, 3, key=jr.key(0))
    checkpoint = Checkpoint(network(model, x, y, loss="cross_entropy"), jnp.ones(9) / 10)
    plain, google, late = (
        diagnose(checkpoint, rho=0.1, lr=0.1, weight_decay=0.2, convention=convention)
        for convention in (None, "google", "late-sam")
    )
    assert [v.rule for v in google.rules] == ["gd", "usam", "sam"]
    assert [v.rule for v in late.rules] == ["gd", "usam", "practical-sam"]
    # google counts weight decay in the loss, so that it is in H; davda54 and late SAM do not.
    np.testing.assert_allclose(google.pairs.values, plain.pairs.values + 0.2, rtol=1e-10)
    np.testing.assert_allclose(google.rules[0].measured, plain.rules[0].measured, rtol=1e-10)
    assert any("smoothed by 0.15" in note for note in late.notes)  # 0.1 to 2 others of 3 classes
    assert any("Conventions as in google-research/sam" in note for note in google.notes)
    with pytest.raises(ArgumentError, match="Unknown convention `gogle`"):
        diagnose(checkpoint, rho=0.1, lr=0.1, convention="gogle")
