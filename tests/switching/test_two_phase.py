"""The two phases against exact rates, and every refusal."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.switching import Rate, fit_rate, line_barrier
from samflow.switching.claims import rate_claim
from samflow.switching.linear_regime import Fitted
from tests.references import VALLEY_EDGE
from tests.units import BOTH, rescaled


@pytest.fixture(scope="module")
def valley():
    """From the kick of which docs/theory gives the numbers: where it ends depends on that."""
    system = sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3)
    return sf.two_phase(system, [2.0, 0.0], displacement=3e-7)


def test_valley(valley):
    """λ = 5, lr·U = 3: escape at log 2; known-answers: edge 3.791529, final sharpness 1.509."""
    assert valley.holds
    assert valley.status is sf.Status.converged
    assert valley.edge == pytest.approx(VALLEY_EDGE, abs=1e-6)
    assert valley.sharpness[0] == pytest.approx(5.0, rel=1e-12)
    assert valley.phases[0].predicted == pytest.approx(math.log(2), rel=1e-12)
    assert valley.escape.slope == pytest.approx(math.log(2), rel=1e-3)
    assert valley.sharpness[1] == pytest.approx(1.509, abs=5e-4)  # as printed
    assert valley.peak == pytest.approx(0.64, abs=0.05)  # depends on the phase of the kick
    assert valley.barrier.height == 0


def test_valley_end_is_a_minimum_of_the_rule(valley):
    system = sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3)
    u = float(valley.end[0])
    multipliers = sf.classify(system, [u, 0.0]).multipliers
    across = multipliers[np.argmin(np.abs(multipliers))].real
    assert valley.convergence.slope == pytest.approx(math.log(abs(across)), rel=1e-3)
    assert 1 + u**2 < valley.edge


def test_a_turning_valley():
    found = sf.two_phase(sf.Map(sf.losses.curved_valley(), sf.USAM(rho=0.2), lr=0.3), [2.0, 2.0])
    assert found.holds
    assert found.escape.slope == pytest.approx(math.log(2), rel=1e-3)
    x, y = np.asarray(found.end)
    assert y == pytest.approx(x**2 / 2, abs=1e-3)  # it ends on the parabola
    assert found.sharpness[1] == pytest.approx(1 + x**2, rel=1e-3)


@pytest.mark.parametrize(
    ("extra", "rho"), [({"momentum": 0.5}, 0.3), ({"momentum": 0.5, "nesterov": True}, 0.15)]
)
def test_momentum(extra, rho):
    """The multipliers are the roots of the update's characteristic polynomial, with numpy."""
    lr, beta = 0.25, 0.5
    found = sf.two_phase(sf.Map(sf.losses.valley(), sf.USAM(rho=rho), lr=lr, **extra), [2.0, 0.0])
    assert found.holds
    x = lr * 5 * (1 + 5 * rho)
    polynomial = [1, -(1 + beta - x), beta]
    if "nesterov" in extra:
        polynomial = [1, -(1 + beta) * (1 - x), beta * (1 - x)]
    rate = math.log(np.abs(np.roots(polynomial)).max())
    assert found.escape.slope == pytest.approx(rate, rel=1e-3)


def test_the_start_is_found_by_gd():
    """From off the valley's floor GD walks down first; the switch happens at its end."""
    found = sf.two_phase(sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3), [2.0, 0.3])
    assert abs(float(found.start[1])) < 1e-9
    assert found.gradient_norm[0] < 1e-9
    assert 3.8 < found.sharpness[0] < 5
    assert found.holds


def test_an_escape_to_infinity_is_reported_not_raised():
    """On a plain parabola nothing bends the growth: USAM leaves and never comes back."""
    found = sf.two_phase(sf.Map(sf.loss("x**2"), sf.USAM(rho=0.5), lr=0.6), [0.0])
    assert found.status is sf.Status.diverged
    assert not found.holds
    assert [phase.verdict for phase in found.phases] == ["holds"] + ["not measured"] * 3
    assert not found.fails
    assert np.isnan([phase.measured for phase in found.phases[1:]]).all()
    first, _, *ends = str(found).splitlines()
    assert first == "Holds: P1; not measured: P2, P3, P4. The orbit after the switch: diverged."
    assert all("(the orbit diverged, so that it has no end)" in line for line in ends)
    assert "nan" not in str(found)
    assert "inf" not in str(found)


@pytest.mark.parametrize("rho", [0.45, 0.6])
def test_a_chaotic_orbit_between_two_wells_has_not_settled(rho):
    """An accidental dip of the motion is no convergence, and a mean over wells no minimum."""
    loss = sf.loss("x**4/4 - x**2/2")
    found = sf.two_phase(sf.Map(loss, sf.USAM(rho=rho), lr=0.95), [1.1])
    assert found.status is sf.Status.out_of_steps
    assert [phase.verdict for phase in found.phases[1:]] == ["not measured"] * 3
    assert all("had not converged" in phase.reason for phase in found.phases[1:])


@pytest.mark.parametrize(
    ("system", "start", "words"),
    [
        (sf.Map(sf.losses.valley(), sf.USAM(rho=0.01), lr=0.3), [2.0, 0.0], "would not leave"),
        (sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.5), [2.0, 0.0], "GD itself would leave"),
        (sf.Map(sf.losses.beale(), sf.USAM(rho=0.1), lr=0.01), [0.0, 1.0], "not a minimum"),
        (sf.Map(sf.losses.saddle(), sf.USAM(rho=0.1), lr=0.1), [1.0, 1.0], "diverged"),
        (sf.Map(sf.losses.valley(), sf.SAM(rho=0.2), lr=0.3), [2.0, 0.0], "has no Jacobian"),
        (sf.Map(sf.losses.valley(), sf.GD(), lr=0.3), [2.0, 0.0], "what is switched from"),
        (sf.Flow(sf.losses.valley(), sf.USAM(rho=0.2)), [2.0, 0.0], "must be a Map"),
        (
            sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3, weight_decay=0.1),
            [2.0, 0.0],
            "no weight decay",
        ),
        (sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3), [2.0], "shape"),
    ],
)
def test_questions_without_sense_are_refused(system, start, words):
    with pytest.raises(ArgumentError, match=words):
        sf.two_phase(system, start)


def test_refusals_are_sharp():
    """Just above the rho that the message names, SAM leaves."""
    loss = sf.losses.valley()
    needed = (2 / (0.3 * 5) - 1) / 5
    with pytest.raises(ArgumentError, match=f"rho > {needed:.4g}"):
        sf.two_phase(sf.Map(loss, sf.USAM(rho=0.999 * needed), lr=0.3), [2.0, 0.0])
    found = sf.two_phase(
        sf.Map(loss, sf.USAM(rho=1.2 * needed), lr=0.3), [2.0, 0.0], num_steps=4000
    )
    assert found.phases[0].holds


def test_barriers():
    well = sf.losses.double_well()
    assert line_barrier(well, [-1.0], [1.0]).height == pytest.approx(0.25)
    assert line_barrier(well, [-1.0], [1.0]).position == 0.5
    assert line_barrier(well, [1.0], [2.0]).height == 0
    assert np.isnan(line_barrier(sf.loss("log(x)"), [-1.0], [1.0]).height)
    curved = sf.losses.curved_valley()
    # Between (±1, ½) the line y = ½ leaves the parabola: L(0, ½) = ⅛.
    assert line_barrier(curved, [-1.0, 0.5], [1.0, 0.5]).height == pytest.approx(0.125)


def test_functions_work_as_well_as_formulas():
    loss = sf.loss(lambda w: 0.5 * (1 + w[0] ** 2) * w[1] ** 2, dim=2)
    found = sf.two_phase(sf.Map(loss, sf.USAM(rho=0.2), lr=0.3), jnp.array([2.0, 0.0]))
    assert found.holds


def test_a_window_ends_where_the_growth_is_no_longer_linear():
    """The orbit runs off along x, where the loss is quadratic, until λ_max is that of y."""
    loss = sf.loss("x**2*(2+y**2)+0.01*y**2")
    found = sf.two_phase(sf.Map(loss, sf.USAM(rho=0.3), lr=0.3), [0.0, 0.0])
    assert found.status is sf.Status.diverged
    escape = found.phases[0]
    exact = math.log(0.3 * 4 * (1 + 0.3 * 4) - 1)  # log 1.64
    assert escape.verdict == "holds"
    assert escape.predicted == pytest.approx(exact, rel=1e-12)
    assert escape.measured == pytest.approx(exact, rel=1e-9)  # linear to rounding
    assert escape.mean == pytest.approx(exact, rel=1e-3)
    assert escape.tolerance < 0.01 * exact
    assert [phase.verdict for phase in found.phases[1:]] == ["not measured"] * 3


@pytest.mark.parametrize(
    ("loss", "rho", "lr", "start"),
    [
        ("(x*y*z-1)**2/2", 0.25, 0.32, [2.2, 0.9, 0.52]),
        ("(1+x**2)*y**2/2", 0.4, 0.3, [2.0, 0.0]),
        ("(1+x**2)*y**2/2", 1.0, 0.3, [2.0, 0.0]),
    ],
)
def test_a_quick_escape_is_measured_from_a_smaller_kick(loss, rho, lr, start):
    system = sf.Map(sf.loss(loss), sf.USAM(rho=rho), lr=lr)
    found = sf.two_phase(system, start)
    escape = found.phases[0]
    sharpness = found.sharpness[0]
    exact = math.log(lr * sharpness * (1 + rho * sharpness) - 1)
    assert escape.predicted == pytest.approx(exact, rel=1e-9)
    assert escape.verdict == "holds"
    # From the usual kick it leaves before a rate can be fitted. That is no failure, and no success.
    usual = sf.two_phase(system, start, displacement=1e-6)
    assert usual.phases[0].verdict == "not measured"
    assert "too few steps" in usual.phases[0].reason
    assert not usual.phases[0].holds
    assert not usual.holds
    assert "P1 not measured" in str(usual)


def _rate(slope, half=0.0, found=True):
    return Rate(slope if found else math.nan, slope - half, slope + half, 0, 20)


@pytest.mark.parametrize(
    ("rate", "along", "missing", "verdict"),
    [
        (_rate(0.7), (0.7, 0.7, 0.7), "", "holds"),
        (_rate(0.7013), (0.7, 0.7, 0.7), "", "holds"),  # within 0.2 %
        (_rate(0.7015), (0.7, 0.7, 0.7), "", "fails"),
        (_rate(0.72), (0.7, 0.71, 0.73), "", "holds"),  # as the prediction itself changes
        (_rate(0.75), (0.7, 0.71, 0.73), "", "fails"),
        (_rate(0.72, half=0.1), (0.7, 0.71, 0.73), "", "not measured"),  # too wide to decide
        (_rate(0.7, half=0.1), (0.7, 0.7, 0.7), "", "not measured"),  # a good fit by chance
        (_rate(0.9, half=0.1), (0.7, 0.7, 0.7), "", "fails"),  # wide, and off by more
        (_rate(0.7), (0.7, 0.75, 0.8), "", "not measured"),  # by more than a tenth: not linear
        (_rate(0.7), (0.7, 0.7, math.inf), "", "not measured"),
        (_rate(0.7), (0.7, 0.7, math.nan), "", "not measured"),
        (_rate(0.7, found=False), (), "too quick", "not measured"),
        (_rate(0.7, found=False), (), "", "fails"),
    ],
)
def test_verdicts_on_a_rate(rate, along, missing, verdict):
    """The tolerance is of the prediction, and does not grow with the interval of the fit."""
    phase = rate_claim("P1", 0.7, Fitted(rate, along), missing=missing)
    assert phase.verdict == verdict
    assert phase.predicted == 0.7
    wide = Fitted(rate._replace(low=-1.0, high=2.0), along)
    wider = rate_claim("P1", 0.7, wide, missing=missing)
    np.testing.assert_equal(wider.tolerance, phase.tolerance)
    assert not math.isinf(phase.tolerance)


@pytest.mark.parametrize("predicted", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_does_not_hold(predicted):
    for along in ((predicted,) * 3, (0.7, 0.7, predicted)):
        phase = rate_claim("P4", predicted, Fitted(_rate(predicted), along))
        assert phase.verdict == "fails"


def test_a_rate_is_found_before_the_orbit_overflows():
    """The step before overflow climbs more decades than all of the linear regime."""
    grown = 1e-9 * np.exp(1.25 * np.arange(17))
    found = fit_rate(np.r_[grown, 1e17, 1e149, np.nan], growing=True)
    assert found.slope == pytest.approx(1.25, rel=1e-12)


@BOTH
def test_the_two_phases_are_the_same_in_all_units(units):
    loss = sf.losses.valley()
    for rho in (0.2, 0.6):
        system = sf.Map(loss, sf.USAM(rho=rho), lr=0.3)
        start = np.array([2.0, 0.1])
        here = sf.two_phase(system, start, num_steps=200)
        for c, k in units:
            found = sf.two_phase(rescaled(system, c, k), k * start, num_steps=200)
            assert [p.verdict for p in found.phases] == [p.verdict for p in here.phases]
            assert found.status is here.status
            assert found.escape.slope == pytest.approx(here.escape.slope, rel=2e-3)
            np.testing.assert_allclose(found.start, k * here.start, rtol=1e-9, atol=1e-9 * k)
