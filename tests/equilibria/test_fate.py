"""What becomes of orbits near a point: each fate, its negative case, and the table of rules."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from analysis import relatives
from samflow import rules
from samflow._checks import ArgumentError
from samflow.equilibria import fate
from tests.tiers import slow

SADDLE = relatives.POINTS["saddle"]


@pytest.mark.parametrize("name", relatives.TABLE)
def test_the_table_of_rules(name):
    """docs/theory, section 5; a word of the table must be what every start does."""
    assert (
        tuple(relatives.see(name, place).outcome for place in relatives.POINTS)
        == relatives.TABLE[name]
    )


def test_the_table_of_rules_leaves_out_asam_alone():
    assert set(rules.RULES) - set(relatives.TABLE) == {"asam"}


def test_asam_is_held_where_no_weight_is_zero_and_is_linear_where_one_is():
    away = sf.loss("(x - 1)**2/2 - (y - 2)**2/5")
    system = sf.Map(away, rules.ASAM(rho=0.05), lr=0.05)
    assert set(fate(system, [1.0, 2.0], num_starts=8).fates) <= {"cycle", "trap"}
    assert fate(
        sf.Map(sf.losses.saddle(SADDLE), rules.ASAM(rho=0.05), lr=0.05), [0.0, 0.0]
    ).outcome == ("leaves")


@pytest.mark.parametrize(("rho", "outcome"), [(0.98, "leaves"), (1.02, "attractor")])
def test_asam_at_a_weight_of_zero_is_linear_in_one_dimension(rho, outcome):
    system = sf.Map(sf.losses.saddle((-1.0,)), rules.ASAM(rho=rho), lr=0.5)
    for w in (0.3, -0.02):
        moved = system.step(jnp.array([w]))[0]
        assert float(moved) == pytest.approx(w * (1 + 0.5 * (1 - rho)), rel=1e-12)
    assert fate(system, [0.0], radius=0.1, num_starts=4).outcome == outcome


@pytest.mark.parametrize(("share", "outcome"), [(1.1, "cycle"), (0.9, "leaves")])
def test_sam_at_a_saddle_on_both_sides_of_the_weak_bound(share, outcome):
    lr = 0.3
    weak = float(sf.theory.saddle_cycle_bounds(1, lr=lr)[0])
    system = sf.Map(sf.losses.saddle((1.0, -share * weak)), sf.SAM(rho=0.1), lr=lr)
    assert fate(system, [0.0, 0.0], num_steps=40_000).outcome == outcome


def test_flows():
    saddle = sf.losses.saddle(SADDLE)
    outcomes = {
        rule.name: fate(sf.Flow(saddle, rule), [0.0, 0.0], num_starts=6, t1=30.0).outcome
        for rule in (sf.GD(), sf.SAM(rho=0.1), sf.USAM(rho=3.0))
    }
    assert outcomes == {"gd": "leaves", "sam": "slides", "usam": "attractor"}


def test_a_rest_beside_the_point_is_elsewhere_and_a_period_is_counted():
    logistic = sf.FunctionMap(lambda z: 3.5 * z * (1 - z), dim=1)
    seen = fate(logistic, [0.5], radius=0.1, leave_radius=1.0)
    assert (seen.outcome, set(seen.period.tolist())) == ("cycle", {4})
    rest = sf.FunctionMap(lambda z: 2.5 * z * (1 - z), dim=1)
    beside = fate(rest, [0.5], radius=0.1, leave_radius=1.0)
    assert beside.outcome == "elsewhere"
    np.testing.assert_allclose(beside.nearest, 0.1, atol=1e-9)  # 1 − 1/2.5 = .6
    assert "elsewhere (32 of 32), 0.1 to 0.1 away" in str(beside)
    chaos = sf.FunctionMap(lambda z: 3.9 * z * (1 - z), dim=1)
    assert fate(chaos, [0.5], radius=0.1, leave_radius=1.0).outcome == "trap"


def test_what_has_not_settled_is_said_to_be_so():
    turning = sf.FunctionMap(lambda z: z + 1e-5 * jnp.array([1.0, 0.0]), dim=2)
    about = {"radius": 0.3, "leave_radius": 10.0}
    seen = fate(turning, [0.5, 0.0], **about, num_steps=20_000, leaps=0)
    # Some starts drift away from the point, some towards it, all too slowly to have done either.
    assert "undecided" in seen.fates
    assert not {"trap", "cycle", "elsewhere", "leaves"} & set(seen.fates)
    assert fate(turning, [0.5, 0.0], **about).outcome == "leaves"  # in 10⁶ steps, by leaps


_SLOW = [
    # Slower and slower: xₖ ~ k^(-1/2), so that no number of steps that can be made suffices.
    slow("x**4", 0.1, [0.0], "attractor"),
    # Multipliers 1 − 2e-8, and one whose steps are below rounding.
    ("0.000001*x**2", 0.01, [0.0], "attractor"),
    slow("1e-20*x**2", 0.01, [0.0], "attractor"),
    # A 2-cycle, all but: the multiplier is −1 + 2e-7.
    ("x**2", 1 - 1e-7, [0.0], "attractor"),
    ("x**2/2 - y**4/4", 0.1, [0.0, 0.0], "leaves"),
    ("x**4 + y**2", 0.1, [0.0, 0.0], "attractor"),
    slow("(x - 1)**4 - (y - 1)**4", 0.1, [1.0, 1.0], "leaves"),
    ("x**2*y**2", 0.1, [0.0, 0.0], "elsewhere"),
    # Ten times slower, and rounding hides whether some of them still move: those are undecided.
    slow("0.000005*(y - x)**2", 0.1, [0.0, 0.0], "elsewhere"),
    slow("(y - x)**4", 0.1, [0.0, 0.0], "elsewhere"),
]


@pytest.mark.parametrize(("formula", "lr", "w", "outcome"), _SLOW)
def test_slow_motion_is_no_rest(formula, lr, w, outcome):
    """x² y², (y − x)²: all end on a line of rests; the others by their leading term."""
    seen = fate(sf.Map(sf.loss(formula), sf.GD(), lr=lr), w, num_starts=8)
    assert seen.outcome == outcome
    # Without leaps nothing is known of them, and nothing is said.
    plain = fate(sf.Map(sf.loss(formula), sf.GD(), lr=lr), w, num_starts=8, leaps=0)
    assert plain.outcome == "undecided"


class _Descent(eqx.Module):
    """−g of Σ cᵢⱼ xⁱ yʲ, and a turn: the numbers are leaves, so that all share one program."""

    c: jnp.ndarray
    turn: jnp.ndarray

    def __call__(self, z):
        g = jax.grad(lambda z: self._powers(z[0]) @ self.c @ self._powers(z[1]))(z)
        return self.turn * jnp.array([z[1], -z[0]]) - g

    def _powers(self, x):
        return jnp.stack([x**i for i in range(5)])


def _outcome_of_descent(loss, *, turn=0.0, unit=1.0, scale=1.0, **settings):
    """Return the fate of the flow of scale L(w/unit)."""
    c = np.zeros((5, 5))
    for (i, j), value in loss.items():
        c[i, j] = scale * value / unit ** (i + j)
    flow = sf.FunctionFlow(_Descent(jnp.asarray(c), jnp.asarray(turn)), dim=2)
    return fate(flow, [0.0, 0.0], **settings).outcome


def test_a_distance_that_shrinks_is_no_attractor():
    """(y − x)² has a line of rests. Of x⁴ − y⁴: ẏ = 4y³, so that all with y ≠ 0 leave.

    On a turn about the point alone nothing settles, and no leap may go round it.
    """
    line = {(2, 0): 0.005, (1, 1): -0.01, (0, 2): 0.005}
    assert _outcome_of_descent(line, num_starts=3) == "elsewhere"
    assert _outcome_of_descent({(4, 0): 1.0, (0, 4): -1.0}, num_starts=3) == "leaves"
    assert _outcome_of_descent({}, turn=1.0, num_starts=3, leaps=20) == "undecided"


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "scale"), [(1.0, 1.0), (2.0**-20, 3e-7)])
def test_where_flows_tend_in_any_units(unit, scale):
    """x² y² has two lines of rests; x⁴ + y² attracts, ẋ = −4x³, slower than any rate."""
    cases = {
        "elsewhere": ({(2, 0): 0.005, (1, 1): -0.01, (0, 2): 0.005}, {(2, 2): 1.0}),
        "leaves": ({(4, 0): 1.0, (0, 4): -1.0}, {(2, 0): 0.5, (0, 4): -0.25}),
        "attractor": ({(4, 0): 1.0, (0, 2): 1.0},),
    }
    for outcome, losses in cases.items():
        for loss in losses:
            seen = _outcome_of_descent(loss, unit=unit, scale=scale, num_starts=8)
            assert seen == outcome


def test_a_flow_that_rests_beside_the_point_is_elsewhere():
    """SAM of radius 3/2 rests where w + 3/2 sign = 1 or −1: at ∓1/2."""
    flow = sf.Flow(sf.loss("(x**2 - 1)**2/4"), sf.SAM(rho=1.5))
    seen = fate(flow, [0.0], num_starts=4)
    assert seen.outcome == "elsewhere"
    np.testing.assert_allclose(seen.nearest, 0.5, atol=1e-7)  # the solver's relative tolerance
    # In so short a time as 10⁻⁴ it is on its way: without leaps nothing is said.
    assert fate(flow, [0.0], num_starts=4, t1=1e-4, leaps=0).outcome == "undecided"


def test_what_rounding_hides_is_undecided():
    """Of z − (z − 1)³/10 steps are below the last place of z once |z − 1| < 1e-5."""
    hidden = sf.FunctionMap(lambda z: z - 0.1 * (z - 1) ** 3, dim=1)
    assert fate(hidden, [1.0], num_starts=4).outcome == "undecided"
    at_zero = sf.FunctionMap(lambda z: z - 0.1 * z**3, dim=1)
    assert fate(at_zero, [0.0], num_starts=4).outcome == "attractor"


def _farthest_of_sam_on_the_quartic():
    """Return max ‖w − (0, 1)‖ on the cycle of SAM, rho .1, lr .05, in numpy."""
    g = lambda w: np.array([w[0], w[1] ** 3 - w[1]])  # noqa: E731
    w, seen = np.array([1e-4, 1.0 + 2e-4]), []
    for step in range(4000):
        w = w - 0.05 * g(w + 0.1 * g(w) / np.linalg.norm(g(w)))
        seen += [np.linalg.norm(w - [0, 1])] if step >= 3900 else []
    return max(seen)


@pytest.mark.parametrize(("k", "c"), [(2.0**-20, 3e-7), (1.0, 1.0), (3.7e5, 3e-7)])
def test_fates_do_not_depend_on_units(k, c):
    """L(w) → c L(w/k): lr and USAM's rho → k²/c times theirs, SAM's rho → k times."""
    x, y = f"(x/{k!r})", f"(y/{k!r})"
    quartic = sf.loss(f"{c!r}*({x}**2/2 - {y}**2/2 + {y}**4/4)")
    slow = sf.loss(f"{c!r}*({x}**2/2 - {y}**4/4)")
    lr, settings = 0.05 * k**2 / c, {"num_starts": 6}
    sam = fate(sf.Map(quartic, sf.SAM(rho=0.1 * k), lr=lr), [0.0, k], **settings)
    assert (sam.outcome, set(sam.period.tolist())) == ("cycle", {7})
    # The cycle's rate of approach, 0.9 a step or so, leaves rounding of weights of size 1.
    assert sam.farthest.max() / k == pytest.approx(_farthest_of_sam_on_the_quartic(), rel=1e-9)
    usam = sf.Map(quartic, sf.USAM(rho=0.1 * k**2 / c), lr=lr)
    assert fate(usam, [0.0, k], **settings).outcome == "attractor"
    assert fate(usam, [0.0, 0.0], **settings).outcome == "leaves"
    assert fate(sf.Map(slow, sf.GD(), lr=lr), [0.0, 0.0], **settings).outcome == "leaves"


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_displacement_is_the_difference_of_states(momentum):
    loss = sf.losses.quartic()
    for rule in (sf.USAM(rho=0.1), rules.VaSSO(rho=0.1), rules.OptimisticSAM(rho=0.1)):
        for nesterov in (False, True):
            system = sf.Map(
                loss, rule, lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.01
            )
            z = jnp.linspace(0.3, 0.9, system.state_dim)
            difference = system.step(z) - z
            # Rounding of states of size 1.
            np.testing.assert_allclose(system.displacement(z), difference, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("loss", "rho", "lr", "w", "said"),
    [
        # Along y the ascent reaches beyond the minima: what does not come to the cycle leaves.
        (
            sf.losses.quartic(),
            3.0,
            0.1,
            [0.0, 0.0],
            "a 2-cycle, rotation 1/2 along λ = 1, 0.158 to 0.158 away",
        ),
        # A 7-cycle, and a 2-cycle far from that of the quadratic part, which `classify` locates.
        (sf.losses.quartic(), 0.1, 0.05, [0.0, 1.0], None),
        (sf.losses.beale(), 0.05, 0.01, [3.0, 0.5], None),
        # A small rho, where the 2-cycle of the quadratic part is the loss's; and a quadratic loss.
        (sf.losses.beale(), 0.05, 0.01, [0.0, 1.0], None),
        (sf.losses.saddle(SADDLE), 0.1, 0.05, [0.0, 0.0], None),
    ],
)
def test_what_theory_says_of_the_quadratic_part_is_held_against_orbits(loss, rho, lr, w, said):
    system = sf.Map(loss, sf.SAM(rho=rho), lr=lr)
    seen = fate(system, w, num_starts=8)
    if said is None:
        assert seen.disagreement == ""
        assert "theory" not in str(seen)
    else:
        assert seen.disagreement == f"orbits differ from theory, which predicts: {said}"
        assert str(seen).endswith(seen.disagreement)
        alone = fate(system, w, num_starts=8, compare=False)
        assert alone.disagreement == ""
        assert alone.fates == seen.fates


def test_bad_arguments():
    system = sf.Map(sf.losses.saddle(), sf.SAM(rho=0.1), lr=0.1)
    with pytest.raises(ArgumentError, match="`num_steps` must be a whole number of at least 512"):
        fate(system, [0.0, 0.0], num_steps=100)
    with pytest.raises(ArgumentError, match="`system` must be a System"):
        fate("sam", [0.0, 0.0])
    with pytest.raises(ArgumentError, match="`radius` must be finite and greater than 0"):
        fate(system, [0.0, 0.0], radius=-1.0)


@pytest.mark.slow
def test_a_flow_that_goes_around_a_cycle():
    """r′ = r(share − r²), θ′ = 1: the circle; a slow focus comes back nearly."""

    def turning(z, share):
        radial = share - z[0] ** 2 - z[1] ** 2
        return jnp.array([radial * z[0] - z[1], radial * z[1] + z[0]])

    given = {"num_starts": 4, "radius": 0.5, "leave_radius": 5.0, "t1": 40.0, "leaps": 2}
    for share, fates in ((1.0, {"limit cycle"}), (-0.003, {"undecided", "attractor"})):
        leaf = jax.tree_util.Partial(turning, share=jnp.asarray(share))
        found = sf.fate(sf.FunctionFlow(leaf, dim=2), [0.0, 0.0], **given)
        assert set(found.fates) <= fates
        if share > 0:
            assert found.nearest == pytest.approx(1.0, abs=1e-5)
            assert "limit cycle (4 of 4), 1 to 1 away" in str(found)
