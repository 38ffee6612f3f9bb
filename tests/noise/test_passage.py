"""Mean first passage: quadrature, closed forms, and the exact chain hold each other."""

import math

import numpy as np
import pytest
from scipy import special

from samflow._checks import ArgumentError
from samflow.noise.passage import (
    OVERSHOOT,
    chain_exit_time,
    chain_survival,
    kramers_time,
    linear_exit_time,
    mean_passage_time,
)
from tests.references import DOUBLE_WELL_KRAMERS, DOUBLE_WELL_PASSAGE


def well(x):
    return x**4 / 4 - x**2 / 2


def test_double_well_has_the_known_passage_time():
    found = mean_passage_time(well, diffusivity=0.05, start=-1, target=1)
    assert found == pytest.approx(DOUBLE_WELL_PASSAGE, abs=0.005)  # printed digits
    kramers = kramers_time(0.25, diffusivity=0.05, well_curvature=2, top_curvature=-1)
    assert kramers == pytest.approx(DOUBLE_WELL_KRAMERS, abs=0.005)


def test_kramers_is_the_limit_of_small_noise():
    """The relative error is c D/ΔV and higher: halving D halves it, to within the next order."""

    def gap(d):
        exact = mean_passage_time(well, diffusivity=d, start=-1, target=1)
        return exact / kramers_time(0.25, diffusivity=d, well_curvature=2, top_curvature=-1) - 1

    assert gap(0.02) / gap(0.01) == pytest.approx(2, rel=0.15)
    assert 0 < gap(0.01) < 0.03


def test_passage_of_the_quadrature_solves_the_backward_equation():
    """D T'' − V' T' = −1, by finite differences of T in the start: error h² T'''' and rounding."""
    d, h = 0.2, 1e-3
    times = [
        mean_passage_time(well, diffusivity=d, start=x, target=1.2, reflect=-1.5)
        for x in (0.3 - h, 0.3, 0.3 + h)
    ]
    second = (times[0] - 2 * times[1] + times[2]) / h**2
    first = (times[2] - times[0]) / (2 * h)
    assert d * second - (0.3**3 - 0.3) * first == pytest.approx(-1, abs=1e-4)


def test_brownian_motion_between_a_wall_and_an_end_is_half_an_interval():
    flat = lambda x: 0.0  # noqa: E731
    found = mean_passage_time(flat, diffusivity=0.5, start=0.4, target=2, reflect=0)
    assert found == pytest.approx(linear_exit_time(0, intensity=1, radius=2, start=0.4), rel=1e-12)
    assert linear_exit_time(0, intensity=1, radius=2, start=-0.4) == pytest.approx(4 - 0.16)


@pytest.mark.parametrize("rate", [-1.3, 0.7])
def test_linear_exit_is_the_quadrature_by_symmetry(rate):
    """By symmetry x leaves (−r, r) when |x|, with a wall at 0, comes to r."""
    found = linear_exit_time(rate, intensity=0.6, radius=1.1, start=-0.3)
    potential = lambda x: -rate * x * x / 2  # noqa: E731
    twin = mean_passage_time(potential, diffusivity=0.3, start=0.3, target=1.1, reflect=0)
    assert found == pytest.approx(twin, rel=1e-9)  # the accuracy asked of the quadratures


def test_linear_exit_is_a_hypergeometric_function():
    """T = (r²/q) ₂F₂(1, 1; 3/2, 2; −a r²/q), the power series summed in place."""
    a, q, r = 0.8, 1.5, 1.2
    z = -a * r * r / q
    terms = [special.poch(1, k) ** 2 / special.poch(1.5, k) / special.poch(2, k) for k in range(60)]
    series = sum(t * z**k / math.factorial(k) for k, t in enumerate(terms))
    found = linear_exit_time(a, intensity=q, radius=r)
    assert found == pytest.approx(r * r / q * series, rel=1e-12)


def test_exit_from_a_strong_saddle_is_logarithmic_in_the_noise():
    """T ≈ log(4 e^γ c r²/q)/(2c), with an error of relative order q/(c r²): here 1e-4 of 1/c."""
    c, q = 0.5, 1e-4
    found = linear_exit_time(c, intensity=q, radius=1)
    expected = math.log(4 * math.exp(np.euler_gamma) * c / q) / (2 * c)
    assert found == pytest.approx(expected, abs=4 * q / c)
    assert linear_exit_time(c, intensity=q / 16, radius=1) - found == pytest.approx(
        math.log(16) / (2 * c), abs=4 * q / c
    )


def test_linear_exit_is_continuous_at_rate_zero_and_may_be_infinite():
    for rate in (-1e-9, 1e-9):
        assert linear_exit_time(rate, intensity=1, radius=1) == pytest.approx(1, rel=1e-8)
    assert linear_exit_time(-1, intensity=1e-4, radius=1) == math.inf


def test_overshoot_is_minus_zeta_of_a_half():
    """ζ(½) from the alternating series, ζ(s)(1 − 2^(1−s)) = η(s), accelerated by Euler means."""
    sums = np.cumsum([(-1) ** k / math.sqrt(k + 1) for k in range(60)])
    for _ in range(50):
        sums = (sums[1:] + sums[:-1]) / 2
    zeta = sums[-1] / (1 - math.sqrt(2))
    assert pytest.approx(-zeta / math.sqrt(2 * math.pi), rel=1e-12) == OVERSHOOT


@pytest.mark.parametrize("rate", [-0.5, 0.0, 1.0])
def test_chain_tends_to_the_diffusion_with_the_order_of_the_overshoot(rate):
    """Relative error O(√dt) without the correction, O(dt) with it: a quarter of dt each."""

    def gaps(dt):
        chain = dt * chain_exit_time(1 + rate * dt, noise=math.sqrt(dt), radius=1)
        plain = linear_exit_time(rate, intensity=1, radius=1)
        return plain / chain - 1, linear_exit_time(rate, intensity=1, radius=1, dt=dt) / chain - 1

    (coarse, coarse_corrected), (fine, fine_corrected) = gaps(1e-2), gaps(2.5e-3)
    assert coarse < 0  # the chain is later
    assert coarse / fine == pytest.approx(2, rel=0.15)  # next order, relative √dt
    assert coarse_corrected / fine_corrected == pytest.approx(4, rel=0.15)
    assert abs(fine_corrected) < 0.004


def test_chain_against_a_chain_on_a_grid():
    """A dense grid of midpoints, with probabilities of cells by the normal law: error O(h²)."""
    a, s, r, n = 1.2, 0.4, 1.0, 1200
    edges = np.linspace(-r, r, n + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    cells = np.diff(special.ndtr((edges - a * middles[:, None]) / s), axis=1)
    times = np.linalg.solve(np.eye(n) - cells, np.ones(n))
    from_start = np.diff(special.ndtr((edges - a * 0.2) / s))
    found = chain_exit_time(a, noise=s, radius=r, start=0.2)
    assert found == pytest.approx(1 + from_start @ times, rel=1e-5)
    assert found == pytest.approx(chain_exit_time(a, noise=s, radius=r, start=-0.2), rel=1e-12)


def test_chain_survival_sums_to_the_mean_and_begins_with_the_normal_law():
    survival = chain_survival(0.9, noise=0.5, radius=1, num_steps=400, start=0.3)
    mean = chain_exit_time(0.9, noise=0.5, radius=1, start=0.3)
    assert survival.sum() == pytest.approx(mean, rel=1e-12)
    assert survival[0] == 1
    first = special.ndtr((1 - 0.27) / 0.5) - special.ndtr((-1 - 0.27) / 0.5)
    assert survival[1] == pytest.approx(first, rel=1e-12)
    assert (np.diff(survival) <= 0).all()


def test_what_has_no_mean_is_nan():
    """Free motion on a half-line comes to the target, but after a time of infinite mean."""
    assert math.isnan(mean_passage_time(lambda x: 0.0, diffusivity=1, start=0, target=1))
    assert math.isnan(mean_passage_time(lambda x: -x * x, diffusivity=1, start=0, target=1))


@pytest.mark.parametrize("exponent", [705, 720, 1000])
def test_a_barrier_past_what_doubles_hold_has_no_number(exponent):
    """Kramers' time is 4.4 e^(ΔV/D); up to e^700 it can be integrated."""
    assert math.isnan(mean_passage_time(well, diffusivity=0.25 / exponent, start=-1, target=1))
    found = mean_passage_time(well, diffusivity=0.25 / 650, start=-1, target=1)
    kramers = kramers_time(0.25, diffusivity=0.25 / 650, well_curvature=2, top_curvature=-1)
    assert found == pytest.approx(kramers, rel=2e-3)  # D/ΔV = 1.5e-3


@pytest.mark.parametrize(("multiplier", "noise"), [(0.5, 0.1), (0.9, 0.05), (0.9, 0.03), (0, 0.1)])
def test_an_exit_too_rare_for_rounding_is_nan(multiplier, noise):
    """The diffusion leaves after 1e19 steps and more; the linear system is singular to rounding."""
    assert math.isnan(chain_exit_time(multiplier, noise=noise, radius=1))


REFUSED = [
    (lambda: mean_passage_time(well, diffusivity=0, start=-1, target=1), "`diffusivity` .*0"),
    (lambda: mean_passage_time(well, diffusivity=1, start=1, target=-1), "right of `start`"),
    (lambda: mean_passage_time(well, diffusivity=1, start=-1, target=1, reflect=0), "`reflect`"),
    (lambda: mean_passage_time(well, diffusivity=1, start=math.nan, target=1), "`start` .*nan"),
    (lambda: kramers_time(-1, diffusivity=1, well_curvature=1, top_curvature=-1), "`barrier`"),
    (lambda: kramers_time(1, diffusivity=1, well_curvature=1, top_curvature=1), "below 0"),
    (lambda: linear_exit_time(1, intensity=1, radius=-1), "`radius` .*greater than 0.* -1"),
    (lambda: linear_exit_time(1, intensity=1, radius=1, start=2), "`start` .* is 2"),
    (lambda: linear_exit_time(1, intensity=-1, radius=1), "`intensity`"),
    (lambda: linear_exit_time("a", intensity=1, radius=1), "`rate` must be a number"),
    (lambda: chain_exit_time(1, noise=0, radius=1), "`noise`"),
    (lambda: chain_exit_time(1, noise=1e-5, radius=1), "`noise` .*linear_exit_time"),
    (lambda: chain_exit_time(math.nan, noise=1, radius=1), "`multiplier`"),
    (lambda: chain_survival(1, noise=1, radius=1, num_steps=-1), "`num_steps`"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_misuse(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
