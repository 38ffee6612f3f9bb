"""SAM along one normal direction: contracted rotations against plain iteration in NumPy."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy

from samflow import theory

F = Fraction


def affine(a, b, plus, minus):
    return lambda z: plus * z - a if z > 0 else minus * z + b


def settled(step, z=1e-3, burn=4000, keep=600):
    for _ in range(burn):
        z = step(z)
    orbit = []
    for _ in range(keep):
        orbit.append(z)
        z = step(z)
    return np.array(orbit)


def period_of(orbit, longest=200):
    """Return the least q after which the orbit repeats itself; None where there is none."""
    near = 1e-10 * np.ptp(orbit)  # contraction over 4,000 steps leaves rounding only
    return next((q for q in range(1, longest) if np.abs(orbit[q:] - orbit[:-q]).max() < near), None)


def parameters(seed):
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(0.1, 0.97, 2) if seed % 4 else (1.04, 0.8)  # one side may expand
    return {"a": 1.0, "b": rng.uniform(0.3, 2.5)}, {"plus": slopes[0], "minus": slopes[1]}


@pytest.mark.parametrize("seed", range(24))
def test_the_cycle_is_where_every_orbit_ends(seed):
    """Rotation number, order of signs, points and multiplier, from three starts each."""
    sides, slopes = parameters(seed)
    found = theory.rotation_cycle(**sides, **slopes, max_period=120)
    assert found.attained
    for start in (1e-3, -0.2, 0.25):
        orbit = settled(affine(sides["a"], sides["b"], **slopes), start)
        assert period_of(orbit) == found.period
        q = found.period
        assert int((orbit[: q * 4] < 0).sum()) == 4 * found.share.numerator
        cycle = orbit[:q]
        cycle = np.roll(cycle, -int(np.where(cycle > 0, cycle, np.inf).argmin()))
        np.testing.assert_allclose(cycle, [float(x) for x in found.points], rtol=1e-9, atol=1e-12)
        assert found.word == "".join("+" if x > 0 else "-" for x in cycle)
    slope = np.prod([slopes["plus"] if s == "+" else slopes["minus"] for s in found.word])
    assert float(found.multiplier) == pytest.approx(slope, rel=1e-12)
    assert 0 < found.multiplier < 1


@pytest.mark.parametrize("share", [F(1, 2), F(1, 3), F(2, 5), F(3, 7), F(5, 8)])
@pytest.mark.parametrize(("plus", "minus"), [(F(9, 10), F(7, 10)), (F(1, 3), F(4, 5))])
def test_both_ends_of_each_interval_are_sharp(share, plus, minus):
    low, high = theory.rotation_interval(share, plus=plus, minus=minus)
    ends = [F(int(x.p), int(x.q)) for x in (low, high)]
    beside = F(1, 10**9)

    def at(a):
        return theory.rotation_cycle(a, 1, plus=plus, minus=minus, max_period=400)

    for end, inward in ((ends[0], beside), (ends[1], -beside)):
        assert at(end + inward).share == share
        assert at(end + inward).attained
        assert at(end).share == share
        assert not at(end).attained  # a point is 0, where SAM is not defined
        assert 0 in at(end).points
        # Beyond the end its neighbours in the tree follow, of long periods.
        beyond = at(end - inward)
        if isinstance(beyond, theory.NoCycle):
            assert share in (beyond.low, beyond.high)
        else:
            assert beyond.share != share


def test_the_intervals_are_in_order_and_apart():
    staircase = theory.rotation_staircase(plus=F(4, 5), minus=F(1, 2), max_period=9)
    shares = [share for share, _, _ in staircase]
    assert shares == sorted(shares)
    assert len(shares) == 27  # φ(2) + … + φ(9)
    ends = [end for _, low, high in staircase for end in (low, high)]
    assert all(low < high for low, high in pairwise(ends))


def test_equal_slopes_give_the_classical_formula():
    """Laurent, Nogueira: x → cx + δ mod 1 turns by P/q for δ in a closed interval.

    In our terms δ = 1 − cθ, θ = a/(a + b), and P = q − p: they count the steps from z > 0.
    """
    c = sympy.Symbol("c", positive=True)
    for share in (F(1, 2), F(1, 3), F(2, 3), F(2, 5), F(3, 7), F(5, 7)):
        up, q = share.denominator - share.numerator, share.denominator
        turns = 1 + sum((((k + 1) * up) // q - (k * up) // q) * c**k for k in range(1, q - 1))
        delta = [(1 - c) / (1 - c**q) * t for t in (turns, turns + c ** (q - 1) - c**q)]
        classical = [(1 - d) / c for d in reversed(delta)]
        closed = theory.equal_slopes_interval(share, c)
        general = [r / (1 + r) for r in theory.rotation_interval(share, plus=c, minus=c)]
        for mine, words, theirs in zip(closed, general, classical, strict=True):
            assert sympy.cancel(mine - theirs) == 0
            assert sympy.cancel(words - theirs) == 0
        length = (1 - c) ** 2 * c ** (q - 2) / (1 - c**q)
        assert sympy.cancel(closed[1] - closed[0] - length) == 0


def test_the_intervals_of_equal_slopes_fill_the_line():
    """Σ φ(q)(1 − c)²c^(q−2)/(1 − c^q) over q ≥ 2 is 1, by Lambert's series of φ."""
    c = 0.7
    total = sum(
        int(sympy.totient(q)) * (1 - c) ** 2 * c ** (q - 2) / (1 - c**q) for q in range(2, 200)
    )
    assert total == pytest.approx(1, abs=1e-12)  # the rest is below 200·c^198


def test_the_two_cycle_exists_iff_both_conditions_hold():
    c, d = sympy.symbols("c d", positive=True)
    low, high = theory.rotation_interval(F(1, 2), plus=c, minus=d)
    assert sympy.simplify(low - c) == 0  # c₊b < a
    assert sympy.simplify(high - 1 / d) == 0  # c₋a < b
    for a, expected in (
        (F(89, 100), False),
        (F(91, 100), True),
        (F(124, 100), True),
        (F(126, 100), False),
    ):
        assert theory.two_cycle_exists(a, 1, plus=F(9, 10), minus=F(4, 5)) is expected
        found = theory.rotation_cycle(a, 1, plus=F(9, 10), minus=F(4, 5))
        assert (found.period == 2) is expected


def quartic(e):
    """Return the gradient of ½x² − ½y² + ¼y⁴ at y = 1 + e."""
    return (1 + e) ** 3 - (1 + e)


RHO = 0.1
A, B = quartic(RHO), -quartic(-RHO)
CURVATURES = {"curvature_plus": 3 * 1.1**2 - 1, "curvature_minus": 3 * 0.9**2 - 1}


def quartic_slopes(lr):
    return {
        "plus": 1 - lr * CURVATURES["curvature_plus"],
        "minus": 1 - lr * CURVATURES["curvature_minus"],
    }


def test_the_minimum_of_the_quartic_carries_a_seven_cycle():
    assert pytest.approx((0.231, 0.171)) == (A, B)
    limit = float(theory.rotation_limit(A, B))
    assert limit == pytest.approx(0.231 / 0.402)
    found = theory.rotation_cycle(A, B, **quartic_slopes(0.05), lr=0.05)
    assert found.share == F(4, 7)  # at y = −1 the sides change places: 3/7
    orbit = settled(lambda z: z - 0.05 * quartic(z + RHO * np.sign(z)))
    assert period_of(orbit) == 7
    assert (orbit[:70] < 0).mean() == pytest.approx(4 / 7)
    # The branches are affine to O(z) = O(ηa): the points agree to a few per cent.
    cycle = np.sort(orbit[:7])
    np.testing.assert_allclose(cycle, sorted(map(float, found.points)), atol=0.05 * np.ptp(cycle))
    # As η → 0 the share tends to a/(a + b); it is within O(η).
    shares = [float(theory.rotation_cycle(A, B, **quartic_slopes(lr)).share) for lr in (0.05, 0.01)]
    assert abs(shares[1] - limit) < 0.001 < abs(shares[0] - limit)


@pytest.mark.parametrize(("lr", "exists"), [(0.198, False), (0.199, True)])
def test_on_the_loss_the_two_cycle_exists_iff_both_images_of_the_ends_change_sides(lr, exists):
    def step(z):
        return z - lr * quartic(z + RHO * np.sign(z))

    assert bool(step(lr * B) < 0 < step(-lr * A)) is exists
    assert (period_of(settled(step)) == 2) is exists


@pytest.mark.parametrize("lr", [0.01, 0.05, 0.16, 0.17, 0.195, 0.1985, 0.1986, 0.3])
def test_the_rotation_number_on_the_loss_is_that_of_its_orbits(lr):
    """At 0.16 and 0.1985 the affine branches have other numbers, 5/9 and 1/2."""
    found = theory.rotation_number(
        lambda z: z - lr * quartic(z + RHO), lambda z: z - lr * quartic(z - RHO)
    )
    orbit = settled(lambda z: z - lr * quartic(z + RHO * np.sign(z)))
    q = period_of(orbit)
    assert (found.denominator, found.numerator) == (q, (orbit[:q] < 0).sum())
    affine = theory.rotation_cycle(A, B, **quartic_slopes(lr)).share
    assert (affine == found) is (lr not in (0.16, 0.195, 0.1985))


def test_on_affine_branches_both_searches_agree():
    for seed in range(1, 12):
        sides, slopes = parameters(seed)
        if max(slopes.values()) >= 1:
            continue
        a, b, plus, minus = (*sides.values(), *slopes.values())
        found = theory.rotation_number(
            lambda z, c=plus, m=a: c * z - m, lambda z, c=minus, m=b: c * z + m
        )
        assert found == theory.rotation_cycle(**sides, **slopes).share


def test_a_third_derivative_takes_the_two_cycle_away_as_lr_tends_to_zero():
    bound = float(theory.two_cycle_lr(A, B, **CURVATURES))
    assert bound == pytest.approx(0.182, abs=5e-4)
    for lr, exists in ((0.999 * bound, False), (1.001 * bound, True)):
        assert theory.two_cycle_exists(A, B, **quartic_slopes(lr)) is exists
        assert (period_of(settled(affine(lr * A, lr * B, **quartic_slopes(lr)))) == 2) is exists
    lam, third, fourth, rho = sympy.symbols("λ t s ρ", positive=True)
    e = sympy.Symbol("e")
    slope = lam * e + third * e**2 / 2 + fourth * e**3 / 6
    a, b = slope.subs(e, rho), -slope.subs(e, -rho)  # a > b
    exact = (1 - b / a) / sympy.diff(slope, e).subs(e, -rho)
    assert sympy.simplify(sympy.series(exact, rho, 0, 2).removeO() - rho * third / lam**2) == 0
    even = theory.two_cycle_lr(0.3, 0.3, curvature_plus=2.0, curvature_minus=2.0)
    assert even == 0


@pytest.mark.parametrize("k", [0.04, 0.5, 0.9, 1.2, 4.0])
def test_the_transverse_exponent_is_the_mean_over_the_rotation(k):
    """Along a rotation by an irrational number, against the mean of log|1 − K/|z||."""
    a, b, plus, minus = 1.0, (1 + 5**0.5) / 2, 1.3 * k, 0.9 * k
    found = float(theory.transverse_rotation_exponent(a, b, plus=plus, minus=minus))
    z = (np.arange(400_000) * b % (a + b)) - a  # each step is +b or −a
    pull = np.where(z > 0, plus, minus)
    mean = np.log(np.abs(1 - pull / np.abs(z))).mean()
    assert mean == pytest.approx(found, abs=2e-4)  # logarithms at 0: O(log N/N) times their size
    entropy = theory.transverse_rotation_exponent(1.0, 1.0, plus=k, minus=k)
    expected = k * np.log(k) + (1 - k) * np.log(abs(1 - k))
    assert float(entropy) == pytest.approx(expected, rel=1e-12)
    assert (entropy < 0) == (k < 1)


def test_the_cycle_does_not_depend_on_units():
    for unit in (1e-8, 1e8):
        found = theory.rotation_cycle(A * unit, B * unit, **quartic_slopes(0.05), lr=0.05)
        one = theory.rotation_cycle(A, B, **quartic_slopes(0.05), lr=0.05)
        assert found.share == one.share
        ratio = [float(x / y) for x, y in zip(found.points, one.points, strict=True)]
        np.testing.assert_allclose(ratio, unit, rtol=1e-9)  # A·unit is rounded


def test_a_period_beyond_the_bound_is_bracketed():
    found = theory.rotation_cycle(A, B, **quartic_slopes(0.001), max_period=100)
    assert isinstance(found, theory.NoCycle)
    inside = theory.rotation_cycle(A, B, **quartic_slopes(0.001), max_period=200)
    assert found.low < inside.share < found.high
    assert inside.period > 100


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"a": 0}, "needs"),
        ({"b": -1}, "needs"),
        ({"plus": 0}, "needs"),
        ({"plus": 1.5, "minus": 0.9}, "needs"),  # the branches overlap: no circle map
        ({"a": sympy.sqrt(2)}, "rational"),
        ({"a": float("nan")}, "finite"),
    ],
)
def test_what_is_no_contracted_rotation_is_refused(change, word):
    given = {"a": 1, "b": 1, "plus": 0.9, "minus": 0.9} | change
    with pytest.raises(ValueError, match=word):
        theory.rotation_cycle(**given)


@pytest.mark.parametrize("share", [0, 1, F(3, 2), -F(1, 2)])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="0 < p < q"):
        theory.rotation_word(share)
