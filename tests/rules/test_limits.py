"""What normalised rules tend to at a critical point, from every side; and that they say where."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.rules import ASAM, GCSAM, SSAM, AbstractNormalisedRule, MultiStepSAM, PracticalSAM
from tests import contracts
from tests.rules.cases import CASES, MEMORY

HIMMELBLAU = sf.losses.himmelblau()
CRITICAL = {"minimum": (3.0, 2.0), "saddle": (0.08667750455539636, 2.884254701174776)}
NORMALISED = [n for n, case in CASES.items() if isinstance(case.rule, AbstractNormalisedRule)]
SMOOTH = {name for name, case in CASES.items() if case.rule.smooth}


def newton(w):
    """Polish a critical point: its digits are rounded."""
    for _ in range(3):
        w = w - jnp.linalg.solve(HIMMELBLAU.hessian(w), HIMMELBLAU.gradient(w))
    return w


@pytest.mark.parametrize("point", CRITICAL)
@pytest.mark.parametrize("name", NORMALISED)
def test_the_limit_is_what_the_direction_tends_to(name, point):
    """With h = H⁻¹e the gradient at w* + s h is s e + O(s²): d differs from its limit by O(s)."""
    rule, w = CASES[name].rule, newton(jnp.array(CRITICAL[point]))
    values = []
    for turn in (0.1, 2.9, 4.4):
        e = jnp.array([np.cos(turn), np.sin(turn)])
        h = jnp.linalg.solve(HIMMELBLAU.hessian(w), e)
        limit = rule.limit(HIMMELBLAU, w, e)
        gaps = [
            float(jnp.abs(rule.direction(HIMMELBLAU, w + s * h) - limit).max())
            for s in (1e-4, 1e-6)
        ]
        # Linear in s; the Hessian is below 100 and the third derivative times h² below 10.
        assert gaps[0] < 1e-2
        assert gaps[1] < 2e-2 * gaps[0] + 1e-9
        values.append(limit)
    spread = float(jnp.ptp(jnp.stack(values), axis=0).max())
    assert spread == 0 if name == "ssam" else spread > 1  # a jump, but for SSAM


@pytest.mark.parametrize("name", sorted(set(CASES) - SMOOTH - set(MEMORY)))
def test_a_rule_that_jumps_has_no_value_and_no_jacobian_there(name):
    loss, w = sf.losses.double_well(), jnp.array([1.0])
    rule = CASES[name].rule
    if name == "gcsam-centralised":  # undefined in one dimension
        loss, w = sf.losses.quartic(), jnp.array([0.0, 1.0])
    contracts.check_undefined(sf.Flow(loss, rule), w)


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_a_smooth_rule_has_a_value_and_a_jacobian_there(name):
    w = jnp.array([0.0, 1.0])
    system = sf.Flow(sf.losses.quartic(), CASES[name].rule)
    assert np.isinf(system.singularity(w))
    assert np.isfinite(system.jacobian(w)).all()
    contracts.check_jacobian_is_finite_differences(system, w, step=1e-6)


@pytest.mark.parametrize("name", MEMORY)
def test_a_rule_with_a_memory_has_no_value_where_it_begins_at_a_critical_point(name):
    loss, rule = sf.losses.quartic(), CASES[name].rule
    system = sf.Map(loss, rule, lr=0.1, momentum=0.5)
    z = system.lift(jnp.array([0.0, 1.0]))
    assert float(system.singularity(z)) == 0
    assert np.isnan(system.step(z)[:4]).all()  # weights and velocity; a mean may be defined
    assert np.isnan(system.jacobian(z)).any()


def test_several_steps_are_undefined_where_one_of_them_is():
    """From 0.5 up the hill of ¼(x² − 1)²: the second step begins on the top, at 0."""
    loss, w = sf.losses.double_well(), jnp.array([0.5])
    assert float(loss.gradient(w)[0]) < 0
    for average in (False, True):
        two = MultiStepSAM(1.0, num_steps=2, average=average)
        contracts.check_undefined(sf.Flow(loss, two), w)
        three = MultiStepSAM(1.0, num_steps=3, average=average)
        contracts.check_defined(sf.Flow(loss, three), w)
        # The gradient at the end is no divisor.
        one = MultiStepSAM(0.5, num_steps=1, average=average)
        assert float(one.direction(loss, w)[0]) == 0
        assert float(one.singularity(loss, w)) == pytest.approx(0.375)


def test_ssam_is_undefined_where_the_ascent_ends_on_a_critical_point():
    loss, w = sf.losses.double_well(), jnp.array([0.5])
    contracts.check_undefined(sf.Flow(loss, SSAM(0.5)), w)
    assert np.isnan(SSAM(0.5).limit(loss, jnp.array([0.5]), jnp.array([-1.0]))).all()


def test_asam_is_undefined_where_every_weight_with_a_gradient_is_zero():
    loss = sf.loss("exp(x) + y**2/2")
    w = jnp.array([0.0, 0.0])
    assert float(jnp.linalg.norm(loss.gradient(w))) == 1
    contracts.check_undefined(sf.Flow(loss, ASAM(0.1)), w)
    contracts.check_defined(sf.Flow(loss, ASAM(0.1)), jnp.array([0.1, 0.0]))


def test_asams_shift_leaves_a_kink_where_a_weight_is_zero():
    """T² = (|x| + c)²: one-sided slopes ±2c, and none of it where there is no gradient."""
    loss = sf.losses.himmelblau()
    kink, smooth = jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0])
    shifted, plain = sf.Flow(loss, ASAM(0.1, shift=0.5)), sf.Flow(loss, ASAM(0.1))
    step = jnp.array([1e-6, 0.0])

    def slopes(system, w):
        here = system.velocity(w)
        right, left = system.velocity(w + step) - here, here - system.velocity(w - step)
        return np.abs(right - left).max() / 1e-6

    assert float(shifted.singularity(kink)) == 0
    assert np.isfinite(shifted.velocity(kink)).all()
    assert slopes(shifted, kink) > 1
    assert float(plain.singularity(smooth)) > 0
    assert slopes(plain, smooth) < 1e-2
    flat = sf.Flow(sf.loss("y**2/2", variables=["x", "y"]), ASAM(0.1, shift=0.5))
    assert float(flat.singularity(kink)) > 0


def test_gcsam_by_its_own_norm_is_undefined_where_all_gradients_are_equal():
    loss, w = sf.loss("x + y + x*y"), jnp.array([0.3, 0.3])
    contracts.check_undefined(sf.Flow(loss, GCSAM(0.1, norm="centralised")), w)
    raw = sf.Flow(loss, GCSAM(0.1))
    contracts.check_defined(raw, w)
    np.testing.assert_array_equal(raw.velocity(w), -loss.gradient(w))  # no ascent: GD


def test_one_weight_is_descended_by_gd_or_not_at_all():
    loss, w = sf.losses.double_well(), jnp.array([0.5])
    np.testing.assert_array_equal(GCSAM(0.1).direction(loss, w), loss.gradient(w))
    contracts.check_undefined(sf.Flow(loss, GCSAM(0.1, norm="centralised")), w)


def test_practical_sam_stays_where_sam_jumps():
    """At ‖g‖ far below eps it is USAM, far above SAM: at a saddle both are seen."""
    loss, rule = sf.losses.saddle((2.0, -1.0)), PracticalSAM(0.1, eps=1e-6)
    far, near = jnp.array([1e-3, 0.0]), jnp.array([1e-9, 0.0])
    assert float(rule.direction(loss, far)[0]) == pytest.approx(2 * 0.1, rel=0.02)
    assert float(rule.direction(loss, near)[0]) == pytest.approx(2 * 1e-9 * (1 + 2e5), rel=0.01)
