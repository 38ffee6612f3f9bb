"""SAM with eps in the denominator: smooth, and exact where it is hard to be."""

import math
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._components import Components
from samflow.rules import FSAM, SAM, USAM, PracticalFSAM, PracticalSAM
from tests.references import BEALE_SADDLE

PLACEMENTS = ["outside", "inside"]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("eps", [1e-12, 0.25])
def test_at_a_critical_point_it_has_usams_jacobian_with_radius_rho_over_eps(eps, placement):
    """H (I + (rho/eps) H), by both modes and in both layouts, where the gradient is 0 exactly."""
    loss, rho, w = sf.losses.beale(), 0.05, jnp.array(BEALE_SADDLE)
    rule, usam = PracticalSAM(rho, eps=eps, placement=placement), USAM(rho / eps)
    assert np.all(loss.gradient(w) == 0)
    expected = jax.jacfwd(lambda w: usam.direction(loss, w))(w)
    scale = float(jnp.abs(expected).max())
    for jacobian in (
        jax.jacfwd(lambda w: rule.direction(loss, w))(w),
        jax.jacrev(lambda w: rule.direction(loss, w))(w),
        jax.jacfwd(lambda w: in_components(rule, loss, w))(w),
        jax.jacrev(lambda w: in_components(rule, loss, w))(w),
    ):
        # A few products in another order.
        np.testing.assert_allclose(jacobian, expected, rtol=1e-15, atol=4e-16 * scale)
    assert np.all(rule.direction(loss, w) == 0)
    assert np.isinf(rule.singularity(loss, w))


def in_components(rule, loss, w):
    return jnp.stack(rule.direction(loss, Components(*w)).parts)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_its_jacobian_is_continuous_through_the_critical_point(placement):
    loss = sf.losses.quartic()
    rule = PracticalSAM(0.05, eps=1e-3, placement=placement)
    jacobian = jax.jit(jax.jacfwd(lambda w: rule.direction(loss, w)))
    at = jacobian(jnp.zeros(2))
    for size in (1e-9, 1e-160, 1e-200, 1e-310):  # ‖g‖² underflows at the last three
        for turn in (0.3, 2.0, 4.0):
            near = jacobian(size * jnp.array([np.cos(turn), np.sin(turn)]))
            np.testing.assert_allclose(near, at, rtol=0, atol=1e-4 if size > 1e-100 else 1e-13)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_it_tends_to_sam(placement):
    """The ascent is short by rho eps/‖g‖ with eps outside, half its square inside."""
    loss, w, rho = sf.losses.himmelblau(), jnp.array([0.5, 1.5]), 0.07
    sam = SAM(rho).direction(loss, w)
    eps = np.array([1.0, 0.1, 0.01])
    rules = [PracticalSAM(rho, eps=e, placement=placement) for e in eps]
    gaps = [float(jnp.linalg.norm(rule.direction(loss, w) - sam)) for rule in rules]
    slopes = np.diff(np.log(gaps)) / np.diff(np.log(eps))
    np.testing.assert_allclose(slopes, 1 if placement == "outside" else 2, atol=0.02)
    exact = PracticalSAM(rho, placement=placement).direction(loss, w)
    np.testing.assert_allclose(exact, sam, rtol=1e-12)  # eps/‖g‖ is 2e-14


def exact_ascent(g, eps, placement):
    """Return a(g) in rational numbers, the root to 60 digits."""
    g, eps = [Fraction(x) for x in g], Fraction(eps)
    square = sum(x * x for x in g) + (eps * eps if placement == "inside" else 0)
    whole = 10**60 * max(1, math.ceil(1 / square))
    root = Fraction(math.isqrt(square.numerator * whole**2 // square.denominator), whole)
    return [float(x / (root + (eps if placement == "outside" else 0))) for x in g]


RANGES = {
    "eps far below": (1.0, 1e-12),
    "alike": (1e-12, 1e-12),
    "eps above": (1e-14, 1e-12),
    "eps far above": (1e-200, 1e-12),
    "both too small to square": (1e-170, 1e-175),
    "the same, eps above": (1e-170, 1e-165),
    "too large to square": (1e200, 1e-12),
    "both too large to square": (1e200, 1e210),
}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("size", "eps"), RANGES.values(), ids=RANGES.keys())
def test_the_ascent_is_exact_where_squares_are_not_numbers(size, eps, placement):
    g = (0.6 * size, -0.7 * size)
    ascent = PracticalSAM(1.0, eps=eps, placement=placement)._ascent(jnp.array(g))
    # Six operations, each to 1.1e-16.
    np.testing.assert_allclose(ascent, exact_ascent(g, eps, placement), rtol=1e-15)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_in_single_precision_neither_eps_squared_nor_the_gradient_is_lost(placement):
    sizes = [(1e-25, 1e-12), (1e-12, 1e-12), (1e-30, 1e-30), (1e7, 1e-12), (1e25, 1.0)]
    with jax.enable_x64(False):
        for size, eps in sizes:
            rule = PracticalSAM(1.0, eps=eps, placement=placement)
            g = jnp.array([0.6 * size, -0.7 * size])
            assert g.dtype == jnp.float32
            expected = exact_ascent(np.asarray(g, float), np.float32(eps).item(), placement)
            np.testing.assert_allclose(rule._ascent(g), expected, rtol=1e-6)
        jacobian = jax.jacrev(lambda w: rule.direction(sf.losses.quartic(), w))(jnp.zeros(2))
        np.testing.assert_allclose(jacobian, np.diag([2.0, 0.0]), atol=1e-6)  # rho/eps = 1


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_gradient_that_is_no_number_makes_no_number(placement):
    rule = PracticalSAM(1.0, eps=0.1, placement=placement)
    assert np.isnan(rule._ascent(jnp.array([1.0, jnp.nan]))).all()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_hyperparameters_are_differentiable(placement):
    loss, w = sf.losses.himmelblau(), jnp.array([0.5, 1.5])

    def first(eps):
        return PracticalSAM(0.3, eps=eps, placement=placement).direction(loss, w)[0]

    h = 1e-5
    slope = (first(5.0 + h) - first(5.0 - h)) / (2 * h)
    assert float(jax.grad(first)(5.0)) == pytest.approx(float(slope), rel=1e-7)


W, MEMORY = (0.5, 1.5), (3.0, -2.0)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("first", ["blended", "gradient"])
def test_friendly_sam_by_hand(placement, first):
    """With eps of the size of ‖u‖, from a memory; numbers of NumPy beside."""
    loss, w, m = sf.losses.himmelblau(), jnp.array(W), np.array(MEMORY)
    rule = PracticalFSAM(0.07, 0.8, 0.6, eps=5.0, placement=placement, first=first)
    g = np.asarray(loss.gradient(w))
    u = g - 0.8 * m
    size = np.hypot(np.linalg.norm(u), 5.0) if placement == "inside" else np.linalg.norm(u) + 5.0
    d, after = rule.step(loss, w, jnp.array(m))
    expected = loss.gradient(w + 0.07 * u / size)
    np.testing.assert_allclose(d, expected, rtol=1e-14)  # some ten operations
    np.testing.assert_allclose(after, 0.6 * m + 0.4 * g, rtol=1e-14)
    assert float(rule.singularity(loss, w, jnp.array(m))) == (3 if first == "gradient" else np.inf)


def test_only_a_memory_of_zero_in_every_coordinate_is_the_first():
    loss, w = sf.losses.himmelblau(), jnp.array(W)
    g, rule = np.asarray(loss.gradient(w)), PracticalFSAM(0.07, decay=0.6)
    np.testing.assert_array_equal(rule.step(loss, w, rule.init(loss, w))[1], g)
    for memory in ([0.0, 1e-300], [1e-300, 0.0]):
        after = rule.step(loss, w, jnp.array(memory))[1]
        np.testing.assert_allclose(after, 0.4 * g, rtol=1e-15)  # a product and a sum with 0
    blended = PracticalFSAM(0.07, decay=0.6, first="blended")
    np.testing.assert_allclose(blended.step(loss, w, blended.init(loss, w))[1], 0.4 * g, rtol=1e-15)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_friendly_sam_tends_to_the_bare_one(placement):
    """The ascent is short by eps/‖u‖ at most; in both layouts, under a compiled function."""
    loss, w, m = sf.losses.himmelblau(), jnp.array(W), jnp.array(MEMORY)
    bare = FSAM(0.07, 0.8, 0.6).step(loss, w, m)
    rule = PracticalFSAM(0.07, 0.8, 0.6, eps=1e-10, placement=placement, first="blended")
    for found, expected in zip(eqx.filter_jit(rule.step)(loss, w, m), bare, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)  # eps/‖u‖ ≈ 1e-11
    parts = rule.step(loss, Components(*w), Components(*m))
    for found, expected in zip(parts, bare, strict=True):
        np.testing.assert_allclose(jnp.stack(found.parts), expected, rtol=1e-9)


def test_friendly_sam_is_defined_at_rest():
    """With sigma = 1 the bare rule is not: there u = 0."""
    loss, w, zero = sf.losses.beale(), jnp.array(BEALE_SADDLE), jnp.zeros(2)
    assert np.isnan(FSAM(0.05).step(loss, w, zero)[0]).all()
    d, memory = PracticalFSAM(0.05).step(loss, w, zero)
    assert not np.any(d)
    assert not np.any(memory)
