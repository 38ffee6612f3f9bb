"""What the rules have in common, and what sets them apart."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import samflow as sf
from samflow import rules
from samflow.rules import RULES
from tests.rules.cases import CASES, RHO

HIMMELBLAU = sf.losses.himmelblau()
POINTS = jnp.array([[0.3, 0.8], [1.1, -0.4], [-0.6, 0.2]])
CONVEX = sf.losses.saddle((3.0, 0.5))
INDEFINITE = sf.losses.saddle((2.0, -1.0))


def directions(rule, loss, num_steps=3, lr=0.004):
    """Return d at POINTS, and for rules with a memory also at the steps that follow."""
    found = []
    for w in POINTS:
        memory = rule.init(loss, w)
        for _ in range(num_steps if rule.num_memories else 1):
            d, memory = rule.step(loss, w, memory)
            found.append(d)
            w = w - lr * d
    return np.array(found)


def along_orbit(rule, loss, num_steps=3, lr=0.004):
    """The same for a rule without memory, at the points of its own orbit."""
    found = []
    for w in POINTS:
        for _ in range(num_steps):
            found.append(rule.direction(loss, w))
            w = w - lr * found[-1]
    return np.array(found)


EXTRAGRADIENT = {"lookahead-sam", "optimistic-sam"}


@pytest.mark.parametrize("name", sorted(set(RULES) - EXTRAGRADIENT))
def test_rho_zero_is_gd(name):
    rule = rules.rule(name, rho=0.0)
    compare = along_orbit if rule.num_memories else directions
    # Exact but for SSAM, PGN and the means, which multiply by numbers that sum to 1.
    np.testing.assert_allclose(
        directions(rule, HIMMELBLAU), compare(rules.GD(), HIMMELBLAU), rtol=1e-14
    )


def test_rho_zero_leaves_the_looked_ahead_rules_with_extragradient():
    g, ahead = HIMMELBLAU.gradient, 0.004
    made = rules.LookaheadSAM(0.0, lookahead=ahead)
    expected = [g(w - ahead * g(w)) for w in POINTS]
    np.testing.assert_array_equal(directions(made, HIMMELBLAU), expected)
    assert np.abs(directions(made, HIMMELBLAU) - jax.vmap(g)(POINTS)).max() > 0.1
    for kind in (rules.LookaheadSAM, rules.OptimisticSAM):
        compare = along_orbit if kind is rules.OptimisticSAM else directions
        np.testing.assert_array_equal(
            directions(kind(RHO, lookahead=0.0), HIMMELBLAU), compare(rules.SAM(RHO), HIMMELBLAU)
        )


SAME_AS_SAM = {
    "n-sam": rules.NSAM(RHO),
    "dnsam": rules.DNSAM(RHO),
    "m-sam of one shard": rules.MSAM(RHO),
    "one step": rules.MultiStepSAM(RHO, num_steps=1),
    "one step, mean": rules.MultiStepSAM(RHO, num_steps=1, average=True),
    "no penalty but SAM": rules.PenalisedGradientNorm(RHO, alpha=1.0),
    "unified": rules.UnifiedSAM(RHO, mix=1.0),
    "monge on a flat metric": rules.MongeSAM(RHO, metric=0.0),
    "f-sam without mean": rules.FSAM(RHO, sigma=0.0),
    "vasso without mean": rules.VaSSO(RHO, theta=1.0),
}


@pytest.mark.parametrize("name", SAME_AS_SAM)
def test_limiting_cases_are_sam(name):
    rule = SAME_AS_SAM[name]
    compare = along_orbit if rule.num_memories else directions
    np.testing.assert_array_equal(directions(rule, HIMMELBLAU), compare(rules.SAM(RHO), HIMMELBLAU))


def test_pgn_without_weight_is_gd():
    rule = rules.PenalisedGradientNorm(RHO, alpha=0.0)
    np.testing.assert_array_equal(directions(rule, HIMMELBLAU), directions(rules.GD(), HIMMELBLAU))


@pytest.mark.parametrize("memory", ["f-sam", "vasso", "dp-sat", "optimistic-sam"])
def test_a_memory_begins_with_a_step_of_sam(memory):
    rule = rules.rule(memory, rho=RHO)
    first = directions(rule, HIMMELBLAU, num_steps=1)
    # VaSSO: (1 − theta) g + theta g is g up to rounding.
    np.testing.assert_allclose(first, directions(rules.SAM(RHO), HIMMELBLAU), rtol=1e-14)
    later = directions(rule, HIMMELBLAU)
    assert np.abs(later - along_orbit(rules.SAM(RHO), HIMMELBLAU)).max() > 1e-3


def test_friendly_sam_ascends_the_same_with_the_new_mean_where_sigma_is_1():
    """g − m⁺ = decay (g − m), so that the two conventions differ only where sigma ≠ 1."""
    w, m = POINTS[0], jnp.array([5.0, -2.0])
    g = HIMMELBLAU.gradient(w)
    for sigma, same in ((1.0, True), (0.5, False)):
        rule = rules.FSAM(RHO, sigma=sigma)
        d, new = rule.step(HIMMELBLAU, w, m)
        u = g - sigma * new
        other = HIMMELBLAU.gradient(w + RHO * u / jnp.linalg.norm(u))
        assert np.allclose(d, other, rtol=1e-13, atol=0) is same


@pytest.mark.parametrize("loss", [CONVEX, INDEFINITE], ids=["convex", "indefinite"])
def test_identities_on_quadratics(loss):
    gd, sam = rules.GD(), functools.partial(directions, loss=loss)
    # Sums of three terms: rounding.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-15)
    close(sam(rules.AverageSAM(0.5)), sam(gd))
    close(sam(rules.AverageSAM(0.5, nodes=1)), sam(gd))
    sampled = rules.AverageSAM.monte_carlo(0.5, dim=2, num_samples=3, key=jax.random.key(0))
    close(sam(sampled), sam(gd))
    for alpha in (0.3, 0.7, 1.5):
        penalised = rules.PenalisedGradientNorm(0.2, alpha=alpha)
        close(sam(penalised), sam(rules.SAM(alpha * 0.2)))


@pytest.mark.parametrize("num_steps", [2, 5])
def test_steps_along_an_eigenvector_add_up_to_one(num_steps):
    """λ > 0 keeps the gradient's direction; λ < 0 turns it where the ascent passes the top."""
    rule, sam = rules.MultiStepSAM(0.3, num_steps=num_steps), rules.SAM(0.3)
    along, across = jnp.array([0.7, 0.0]), jnp.array([0.7, 0.2])
    np.testing.assert_allclose(rule.direction(CONVEX, along), sam.direction(CONVEX, along))
    bent = rule.direction(CONVEX, across) - sam.direction(CONVEX, across)
    assert float(jnp.abs(bent).max()) > 1e-4
    hill = sf.losses.saddle((-1.0, -2.0))
    turned = rule.direction(hill, 0.2 * along) - sam.direction(hill, 0.2 * along)
    assert float(jnp.abs(turned).max()) > 1e-3


@functools.cache
def transformed(matrix):
    """Return the loss L(A⁻¹ w), exactly."""
    old = matrix.inv() * sympy.Matrix(HIMMELBLAU.symbols)
    names = dict(zip(HIMMELBLAU.symbols, old, strict=True))
    moved = HIMMELBLAU.expression.subs(names, simultaneous=True)
    return sf.losses.ExpressionLoss(moved, HIMMELBLAU.symbols, "moved")


ROTATION = sympy.ImmutableMatrix([[3, -4], [4, 3]]) / 5


def turned_steps(rule, w, momentum=0.6):
    """Return R F³(w) and F_R³(R w)."""
    rotation = jnp.array(ROTATION.tolist(), float)
    here = sf.Map(HIMMELBLAU, rule, lr=1e-3, momentum=momentum)
    there = sf.Map(transformed(ROTATION), rule, lr=1e-3, momentum=momentum)
    z, z_there = here.lift(w), there.lift(rotation @ w)
    for _ in range(3):
        z, z_there = here.step(z), there.step(z_there)
    return rotation @ here.position(z), there.position(z_there)


KNOW_COORDINATES = {"asam", "asam-shift", "gcsam", "gcsam-centralised"}


@pytest.mark.parametrize("name", CASES)
def test_turning_the_loss_turns_the_steps(name):
    """But for the rules that know which coordinates there are."""
    rule = CASES[name].rule
    gaps = [jnp.abs(jnp.subtract(*turned_steps(rule, w))).max() for w in POINTS]
    if name in KNOW_COORDINATES:
        assert max(gaps) > 1e-4
    else:
        assert max(gaps) < 1e-12  # rounding; Gauss–Hermite is exact for this polynomial


SCALES = (3, sympy.Rational(-1, 5))


@pytest.mark.parametrize(
    ("name", "invariant"), [("asam", True), ("asam-shift", False), ("sam", False)]
)
def test_asam_follows_a_scaling_of_the_weights(name, invariant):
    """With u = A w the ascent points are A wᵖ, so that the gradients there are A⁻¹ g(wᵖ)."""
    rule, scales = CASES[name].rule, np.array(SCALES, float)
    scaled = transformed(sympy.ImmutableMatrix(sympy.diag(*SCALES)))
    here = np.array([rule.direction(HIMMELBLAU, w) for w in POINTS])
    there = np.array([rule.direction(scaled, scales * w) for w in POINTS])
    assert np.allclose(there, here / scales, rtol=1e-12, atol=0) is invariant


def test_an_ascent_along_the_centralised_gradient_keeps_the_sum_of_the_weights():
    for norm in ("raw", "centralised"):
        rule = rules.GCSAM(RHO, norm=norm)
        for w in POINTS:
            g = HIMMELBLAU.gradient(w)
            e = g / jnp.linalg.norm(g)
            ascent = rule._centralised(e)
            assert float(ascent.sum()) == pytest.approx(0, abs=1e-15)
            size = float(jnp.linalg.norm(ascent))
            assert size < 1  # raw is shorter than rho, unless g is centralised already
            if norm == "centralised":
                ascent = ascent / size
            expected = HIMMELBLAU.gradient(w + RHO * ascent)
            np.testing.assert_allclose(rule.direction(HIMMELBLAU, w), expected, rtol=1e-14)


GRADIENTS = {"gd": 1, "sam": 2, "practical-sam": 2, "asam": 2, "multistep-sam": 3, "ssam": 2}
GRADIENTS |= {"two-step-usam": 3, "unified-sam": 2, "monge-sam": 2, "hessian-usam": 3}
GRADIENTS |= {"lookahead-sam": 4, "optimistic-sam": 2, "f-sam": 2, "vasso": 2, "dp-sat": 1}


class Counting(eqx.Module):
    """Counts how often its gradient is asked for."""

    calls: list = eqx.field(static=True)

    def __call__(self, w):
        self.calls.append(None)
        return jnp.sum(jnp.cosh(w)) + w[0] * w[1]


@pytest.mark.parametrize(
    ("name", "gradients"),
    GRADIENTS.items(),
)
def test_a_step_asks_for_as_many_gradients_as_is_said(name, gradients):
    counting = Counting([])
    loss, rule, w = sf.loss(counting, dim=2), rules.rule(name, rho=RHO), POINTS[0]
    memory = rule.init(loss, w)
    counting.calls.clear()
    rule.step(loss, w, memory)
    assert len(counting.calls) == gradients
