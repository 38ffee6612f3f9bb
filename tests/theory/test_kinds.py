"""Verdicts by inequalities against multipliers computed by numpy."""

from fractions import Fraction

import numpy as np
import pytest

from samflow import theory
from samflow._status import Kind


def multipliers(eigenvalues, rho, lr, momentum, scheme):
    """Return all multipliers of USAM's update, shape (N, n · order), from dense matrices."""
    u = eigenvalues * (1 + rho[:, None] * eigenvalues)
    step, b = np.broadcast_arrays(lr[:, None], momentum[:, None], u)[0:2]
    if scheme == "none":
        return 1 - step * u
    if scheme == "heavy_ball":
        rows = [[1 - step * u, -step * b], [u, b]]
    else:
        rows = [[1 - step * (1 + b) * u, -step * b**2], [u, b]]
    dense = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    return np.linalg.eigvals(dense).reshape(len(eigenvalues), -1)


def kinds(multipliers):
    size = abs(multipliers)
    return np.select(
        [(size < 1).all(axis=1), (size > 1).all(axis=1)], ["attracting", "repelling"], "saddle"
    )


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_verdicts_agree_with_the_multipliers(scheme):
    rng = np.random.default_rng(6)
    count = 5000
    eigenvalues = rng.normal(size=(count, 2)) * 2
    rho, lr = rng.uniform(0, 2, count), rng.uniform(0.01, 1, count)
    momentum = np.zeros(count) if scheme == "none" else rng.uniform(0, 1, count)
    dense = multipliers(eigenvalues, rho, lr, momentum, scheme)
    # Within 1e-7 of the circle numpy's own error decides (a double root: the square root of 1e-16).
    clear = (abs(abs(dense) - 1) > 1e-7).all(axis=1)
    ours = theory.kinds(eigenvalues, rule="usam", rho=rho, lr=lr, momentum=momentum, scheme=scheme)
    assert clear.mean() > 0.99
    assert (ours[clear] == kinds(dense)[clear]).all()
    expected = {"attracting", "saddle"} | ({"repelling"} if scheme == "none" else set())
    assert set(ours) == expected  # with momentum nothing repels: see the test below


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_with_momentum_no_critical_point_repels_in_the_state_with_velocity(scheme):
    x = np.random.default_rng(7).uniform(-20, 20, (20000, 1))
    momentum = np.random.default_rng(8).uniform(0, 1, 20000)
    assert "repelling" not in theory.kinds(x, rule="gd", lr=1, momentum=momentum, scheme=scheme)
    assert "repelling" in theory.kinds(x, rule="gd", lr=1)


def test_momentum_beyond_one_repels():
    # β > 1 is outside the domain of the library's systems; the inequalities still place the roots.
    assert theory.kind([1.0], rule="gd", lr=0.5, momentum=1.2, scheme="heavy_ball") == "repelling"


def test_verdicts_of_the_flow():
    eigenvalues = [[1.0, 2.0], [-1.0, -2.0], [1.0, -1.0], [1.0, 0.0]]
    expected = [Kind.attracting, Kind.repelling, Kind.saddle, Kind.nonhyperbolic]
    assert theory.kinds(eigenvalues, rule="gd").tolist() == expected
    assert theory.kind([1.0, -1.0], rule="usam", rho=1.01) == "attracting"
    assert theory.kind([1.0, -1.0], rule="usam", rho=0.99) == "saddle"


def test_thresholds_are_decided_exactly_with_fractions():
    third = Fraction(1, 3)
    assert theory.kind([-third], rule="usam", rho=Fraction(3), lr=third) == "nonhyperbolic"
    above = Fraction(3) + Fraction(1, 10**40)
    assert theory.kind([-third], rule="usam", rho=above, lr=third) == "attracting"
    edge = {"rule": "gd", "momentum": third, "scheme": "heavy_ball"}
    assert theory.kind([third], lr=Fraction(8), **edge) == "nonhyperbolic"  # 2(1 + β) = 8/3
    assert theory.kind([third], lr=Fraction(8) + Fraction(1, 10**40), **edge) == "saddle"


def test_a_complex_pair_on_the_circle_is_nonhyperbolic():
    assert theory.kind([1.0], rule="gd", lr=1.0, momentum=1, scheme="heavy_ball") == "nonhyperbolic"


def test_tolerance_widens_the_circle():
    settings = {"rule": "gd", "lr": 0.1}
    assert theory.kind([1e-9, 1.0], **settings) == "attracting"
    assert theory.kind([1e-9, 1.0], tolerance=1e-8, **settings) == "nonhyperbolic"


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_a_tolerance_has_no_unit(unit):
    """λ in units of `unit`, ρ and η in units of 1/unit: only ratios count."""

    def scheme(*lams, rho=0.0, lr=0.1, rule="usam"):
        about = {"rule": rule, "rho": rho / unit, "tolerance": 1e-9}
        return theory.kind(
            [lam * unit for lam in lams], lr=None if lr is None else lr / unit, **about
        )

    assert scheme(1.0, 0.3) == "attracting"
    assert scheme(1.0, 1e-8) == "attracting"
    assert scheme(1.0, 1e-10) == "nonhyperbolic"  # a part of the largest that is rounding
    assert scheme(1.0, -1.0, lr=1e-12) == "saddle"  # however small the step
    for lr in (0.1, None):
        assert scheme(1.0, -1.0, rho=1 + 1e-8, lr=lr) == "attracting"
        assert scheme(1.0, -1.0, rho=1.0, lr=lr) == "nonhyperbolic"
        assert scheme(1.0, -1.0, rho=1 - 1e-8, lr=lr) == "saddle"
    assert scheme(1.0, 0.3, lr=2 - 1e-8) == "attracting"
    assert scheme(1.0, 0.3, lr=2.0) == "nonhyperbolic"
    assert scheme(1.0, 0.3, lr=2 + 1e-8) == "saddle"


def test_sam_and_bad_numbers_are_undefined():
    # A guard in ‖g‖ would answer 0.8 and 0.9 here, and "attracting".
    assert theory.kind([2.0, 1.0], rule="sam", rho=0.05, lr=0.1) == Kind.undefined
    batch = [[1.0, np.nan], [1.0, np.inf], [1.0, 2.0]]
    assert theory.kinds(batch, rule="gd", lr=0.1).tolist() == [
        Kind.undefined,
        Kind.undefined,
        Kind.attracting,
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.kind([[1.0]], rule="gd"), r"shape \(n,\)"),
        (lambda: theory.kinds(1.0, rule="gd"), "n ≥ 1"),
        (lambda: theory.kind([1.0], rule="gd", lr=1, momentum=0.5), "scheme `none`"),
        (lambda: theory.kind([1.0], rule="gd", scheme="nesterov"), "must be given with momentum"),
        (lambda: theory.kind([1.0], rule="adam"), "Unknown rule"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
