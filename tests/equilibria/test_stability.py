"""Linearisation against the symbolic twin, and the places where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import theory
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.equilibria.nearness import UNCERTAIN, kind_of, spectrum_and_shifts
from tests.references import BEALE_SADDLE, BEALE_THRESHOLD, HENON
from tests.tiers import slow

MOMENTUM = [("none", 0.0), ("heavy_ball", 0.6), ("nesterov", 0.6)]


@pytest.mark.parametrize(("scheme", "beta"), MOMENTUM)
@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_thousands_of_maps_agree_with_the_symbolic_twin(rule, scheme, beta):
    """The JAX side differentiates the map; the twin knows only inequalities in ηU and β."""
    rng = np.random.default_rng(7)
    count, dim = 3000, 2
    eigenvalues = rng.uniform(-5, 5, (count, dim))
    rho, lr = rng.uniform(0, 1, count), 10 ** rng.uniform(-2, 0.5, count)
    momentum = rng.uniform(0.05, 0.95, count) if beta else np.zeros(count)

    def spectrum(lams, rho, lr, momentum):
        loss = sf.loss(lambda w: 0.5 * jnp.sum(lams * w**2), dim=dim)
        made = sf.GD() if rule == "gd" else sf.USAM(rho=rho)
        extra = {"momentum": momentum, "nesterov": scheme == "nesterov"} if beta else {}
        system = sf.Map(loss, made, lr=lr, **extra)
        return system.jacobian(system.lift(jnp.zeros(dim)))

    jacobians = np.asarray(jax.jit(jax.vmap(spectrum))(eigenvalues, rho, lr, momentum))
    growth = np.abs(np.linalg.eigvals(jacobians)) - 1
    here = np.array([str(kind_of(row, 1e-9)) for row in growth])
    fixed = {"rule": rule, "momentum": momentum, "scheme": scheme}
    twin = theory.kinds(eigenvalues, rho=rho, lr=lr, **fixed)
    near = np.abs(growth).min(axis=1) < 1e-8  # within rounding of a threshold nothing is asked
    assert near.sum() < 5
    assert (here == np.asarray(twin))[~near].all()
    assert len(set(here)) >= 2  # both sides of the thresholds were met


def test_beale_on_both_sides_of_the_threshold():
    for factor, kind in ((0.999, sf.Kind.saddle), (1.001, sf.Kind.attracting)):
        rho = factor * float(BEALE_THRESHOLD)
        for system in (
            sf.Flow(sf.losses.beale(), sf.USAM(rho=rho)),
            sf.Map(sf.losses.beale(), sf.USAM(rho=rho), lr=1e-3),
            sf.Map(sf.losses.beale(), sf.USAM(rho=rho), lr=1e-3, momentum=0.9),
        ):
            found = sf.classify(system, BEALE_SADDLE)
            assert found.kind is kind
            assert (found.margin > 0) == (kind is sf.Kind.attracting)


def test_at_the_threshold_the_point_is_nonhyperbolic():
    flow = sf.Flow(sf.losses.saddle((1.0, -4.0)), sf.USAM(rho=0.25))  # 1/|λ₋| exactly
    assert sf.classify(flow, [0.0, 0.0]).kind is sf.Kind.nonhyperbolic


@pytest.mark.parametrize("name", ["beale", slow("double_well"), slow("himmelblau"), "valley"])
def test_sam_has_no_multipliers_at_a_critical_point(name):
    loss = sf.losses.ZOO[name]()
    for point in loss.critical_points:
        for system in (sf.Map(loss, sf.SAM(rho=0.05), lr=0.1), sf.Flow(loss, sf.SAM(rho=0.05))):
            found = sf.classify(system, point.w)
            assert found.kind in (
                sf.Kind.sliding,
                sf.Kind.cycle,
                sf.Kind.chaotic_trap,
                sf.Kind.undefined,
            )
            assert found.status is sf.Status.not_differentiable
            assert np.isnan(found.spectrum).all()
            assert np.isnan(found.margin)
            assert "no Jacobian" in str(found)


def test_sam_at_a_hallucinated_minimiser_has_one():
    """On −½w² SAM stands still at ±rho, where g ≠ 0: the multiplier is 1 + lr."""
    system = sf.Map(sf.losses.saddle((-1.0,)), sf.SAM(rho=0.25), lr=0.1)
    found = sf.classify(system, [0.25])
    assert found.kind is sf.Kind.repelling
    np.testing.assert_allclose(found.multipliers, [1.1], rtol=1e-12)


def test_a_point_that_moves_is_no_fixed_point():
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=1e-4)
    moved = sf.classify(system, [0.01, 1.0])
    assert moved.status is sf.Status.not_a_fixed_point
    assert moved.kind is sf.Kind.undefined
    # The Newton step from 0.01 away: the distance itself, to second order.
    assert moved.distance == pytest.approx(0.01, rel=0.1)
    assert sf.classify(system, [1e-8, 1.0]).status is sf.Status.located


def test_henon():
    henon = sf.FunctionMap(lambda z: jnp.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), dim=2)
    for x, multipliers in HENON.items():
        found = sf.classify(henon, [x, 0.3 * x])
        assert found.kind is sf.Kind.saddle
        np.testing.assert_allclose(np.sort(found.multipliers.real), np.sort(multipliers), atol=1e-6)


def test_flows_have_eigenvalues_and_maps_multipliers():
    loss = sf.losses.saddle()
    flow, step = sf.Flow(loss, sf.GD()), sf.Map(loss, sf.GD(), lr=0.1)
    np.testing.assert_allclose(sf.classify(flow, [0.0, 0.0]).eigenvalues, [1, -1])
    np.testing.assert_allclose(sf.classify(step, [0.0, 0.0]).multipliers, [1.1, 0.9])
    with pytest.raises(ArgumentError, match="ask for `eigenvalues`"):
        _ = sf.classify(flow, [0.0, 0.0]).multipliers
    with pytest.raises(ArgumentError, match="ask for `multipliers`"):
        _ = sf.classify(step, [0.0, 0.0]).eigenvalues


@pytest.mark.parametrize(
    ("growth", "kind"),
    [
        ([-0.1, -0.2], sf.Kind.attracting),
        ([0.1, 0.2], sf.Kind.repelling),
        ([-0.1, 0.2], sf.Kind.saddle),
        ([-0.1, 1e-12], sf.Kind.nonhyperbolic),
        ([-0.1, np.nan], sf.Kind.undefined),
    ],
)
def test_kinds(growth, kind):
    assert kind_of(np.array(growth), 1e-9) is kind


def test_bad_points_are_refused():
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.01)
    with pytest.raises(ArgumentError, match="must be one point"):
        sf.classify(system, [[0.0, 1.0]])
    with pytest.raises(ArgumentError, match="must be finite"):
        sf.classify(system, [np.nan, 1.0])


def test_cycles_and_traps_are_said_to_be_the_quadratic_parts_unless_the_loss_is_quadratic():
    """At rho = 1.5 orbits of (x² − 1)²/4 rest at ±1/2, and nothing of −x²/2 is said of it."""
    whose = "(of the quadratic part)"
    for loss, exact in ((sf.loss("(x**2 - 1)**2/4"), False), (sf.loss("1/4 - x**2/2"), True)):
        found = sf.classify(sf.Map(loss, sf.SAM(rho=0.5), lr=0.1), [0.0])
        assert found.kind is sf.Kind.chaotic_trap
        assert found.local.exact is exact
        claims = [claim for claim in str(found).split("; ") if not claim.endswith("on the loss")]
        assert [whose in claim for claim in claims] == [not exact] * 3
    rests = sf.classify(sf.Map(sf.loss("(x**2 - 1)**2/4"), sf.SAM(rho=1.5), lr=0.1), [0.0])
    assert (rests.kind, whose in str(rests)) == (sf.Kind.undefined, False)
    found = sf.find_fixed_points(sf.Map(sf.losses.quartic(), sf.SAM(rho=0.1), lr=0.05), (-2, 2))
    assert "3 cycle" in str(found)  # located on the loss itself
    assert whose not in str(found)


def test_an_eigenvalue_is_as_uncertain_as_it_is_itself_and_not_as_the_largest_is():
    jacobian = np.array([[-1e6, 3.0], [0.0, 0.999]])
    beside = jacobian + np.array([[1e4, 0.0], [0.0, 0.0]])  # moves the first alone
    spectrum, shifts = spectrum_and_shifts(jacobian, beside)
    growth = np.abs(spectrum) - 1
    outside = np.abs(spectrum) > 2
    assert shifts[outside] == pytest.approx(UNCERTAIN * 1e4)
    assert (shifts[~outside] < 1e-3 * np.abs(growth[~outside])).all()
    assert kind_of(growth, shifts) is Kind.saddle
    # The same change where it moves the second: its sign of growth is open.
    beside = jacobian + np.array([[0.0, 0.0], [0.0, 1e-3]])
    assert kind_of(growth, spectrum_and_shifts(jacobian, beside)[1]) is Kind.nonhyperbolic


@pytest.mark.parametrize("rate", [2.0, -1e-13])
def test_a_multiplier_on_the_circle_beside_one_far_outside_is_nonhyperbolic(rate):
    # μ = 1 − lr λ: with lr = 1 they are −1e6 and, to rounding of the first, ±1.
    system = sf.Map(sf.losses.Quadratic([1e6 + 1, rate]), sf.GD(), lr=1.0)
    assert sf.classify(system, [0.0, 0.0]).kind is Kind.nonhyperbolic
