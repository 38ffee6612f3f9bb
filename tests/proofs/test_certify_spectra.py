"""Enclosures of eigenvalues, multipliers and windows, against NumPy and against both sides."""

import numpy as np
import pytest
import sympy
from flint import acb, arb, arb_mat

from samflow._status import Kind, Verdict
from samflow.proofs import enclosures
from samflow.proofs.balls import working_precision
from samflow.proofs.enclosures import (
    Dynamics,
    ascent_eigenvalue,
    ascent_jacobian,
    eigenvalues,
    kind_of_spectrum,
    spectrum,
    symmetric_eigenvalues,
)
from samflow.proofs.windows import lr_window, rho_window


@pytest.fixture(autouse=True)
def _many_bits():
    with working_precision(128):
        yield


def balls(matrix, radius=0.0):
    return [[arb(float(x), radius) for x in row] for row in np.asarray(matrix)]


def rotated(values, seed):
    """Return an enclosure of Q diag(values) Qᵀ with an exactly orthogonal Q, by Cayley."""
    n = len(values)
    a = np.round(np.random.default_rng(seed).normal(size=(n, n)), 2)
    skew, one = arb_mat(balls(a - a.T)), arb_mat(balls(np.eye(n)))
    q = (one - skew) * (one + skew).inv()
    return (q * arb_mat(balls(np.diag(values))) * q.transpose()).tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_numpy_finds_each_eigenvalue_in_its_enclosure(n, seed):
    a = np.random.default_rng(seed).normal(size=(n, n))
    a = a + a.T
    twin = np.linalg.eigvalsh(a)
    enclosed = symmetric_eigenvalues(balls(a))
    for value, ball in zip(twin, enclosed, strict=True):
        assert (ball + arb(0, 1e-13 * np.abs(twin).max())).contains(arb(value))  # NumPy's error
        assert ball.rad() < 1e-30


@pytest.mark.parametrize("method", [symmetric_eigenvalues, enclosures._gershgorin])
@pytest.mark.parametrize("seed", range(6))
def test_multiple_eigenvalues_are_enclosed_with_their_multiplicity(method, seed):
    values = np.random.default_rng(seed).choice([-3.0, 0.5, 1.0], size=5)
    enclosed = method(rotated(values, seed))
    for value, ball in zip(np.sort(values), enclosed, strict=True):
        assert ball.contains(arb(value))
        assert ball.rad() < 1e-12


def test_gershgorin_takes_over_where_flint_gives_up(monkeypatch):
    matrix = rotated([2.0, 2.0, -1.0], seed=3)
    monkeypatch.setattr(enclosures, "_eigenvalues", lambda rows: None)
    low, *high = symmetric_eigenvalues(matrix)
    assert low.contains(arb(-1))
    assert all(ball.contains(arb(2)) for ball in high)


def test_discs_that_touch_share_their_eigenvalues(monkeypatch):
    """Discs about 0, ½ and 1 of radius .3, .6 and .3 touch; the one about 9 stands apart."""
    matrix = np.diag([0.0, 0.5, 1.0, 9.0])
    matrix[[0, 1, 1, 2], [1, 0, 2, 1]] = 0.3
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (None, np.eye(4)))
    *joined, apart = enclosures._gershgorin(balls(matrix))
    for ball in joined:
        assert ball.contains(arb(-0.2))
        assert ball.contains(arb(1.2))
        assert not ball.contains(arb(2))
    assert apart.contains(arb(9))
    assert not apart.contains(arb(2))


def test_a_wide_matrix_gives_eigenvalues_of_every_matrix_in_it():
    centre = np.array([[2.0, 1.0], [1.0, -1.0]])
    enclosed = symmetric_eigenvalues(balls(centre, radius=0.01))
    for shift in np.random.default_rng(0).uniform(-0.01, 0.01, (50, 3)):
        a = centre + shift[[[0, 1], [1, 2]]]
        for value, ball in zip(np.linalg.eigvalsh(a), enclosed, strict=True):
            assert ball.contains(arb(value))


def test_what_is_not_finite_has_no_enclosure():
    rows = [[arb.nan(), arb(1)], [arb(1), arb(0)]]
    assert not any(ball.is_finite() for ball in symmetric_eigenvalues(rows))
    assert not any(ball.is_finite() for ball in eigenvalues(rows))
    assert kind_of_spectrum(eigenvalues(rows), Dynamics()) == (None, Verdict.inconclusive)


@pytest.mark.parametrize("seed", range(6))
def test_the_jacobian_of_usam_is_not_symmetric_and_is_enclosed(seed):
    rng = np.random.default_rng(seed)
    a, b = (m + m.T for m in rng.normal(size=(2, 4, 4)))
    jacobian = a @ (np.eye(4) + 0.3 * b)
    enclosed = eigenvalues(ascent_jacobian(balls(a), balls(b), arb(0.3)))
    distance = np.abs(np.linalg.eigvals(jacobian)[:, None] - [complex(z) for z in enclosed])
    assert distance.min(axis=1).max() < 1e-12
    assert distance.min(axis=0).max() < 1e-12


def companion(mu, lr, beta, nesterov):
    """Return the update of (w, v) on one mode, as torch.optim.SGD makes it."""
    if nesterov:
        return np.array([[1 - lr * mu * (1 + beta), -lr * beta**2], [mu, beta]])
    return np.array([[1 - lr * mu, -lr * beta], [mu, beta]])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mu", [-2.0, 0.5, 30.0, 3.0 + 2.0j, -1.0 - 4.0j])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_multipliers_with_momentum_are_those_of_the_update(mu, beta, nesterov):
    lr = 0.125
    twin = np.linalg.eigvals(companion(mu, lr, beta, nesterov))
    found = spectrum([acb(mu.real, mu.imag)], Dynamics(arb(lr), arb(beta), nesterov))
    distance = np.abs(twin[:, None] - [complex(z) for z in found])
    assert distance.min(axis=1).max() < 1e-7  # double roots of a polynomial: half the digits


EIGENVALUES = [(-27.75, 27.75), (-0.781, 867.752), (0.3, 49.0), (-1.0, -2.0, 3.0)]
SYSTEMS = [
    Dynamics(),
    Dynamics(arb(0.001)),
    Dynamics(arb(0.001), arb(0.9)),
    Dynamics(arb(0.001), arb(0.9), nesterov=True),
]


def kind(values, rho, dynamics):
    directions = [acb(ascent_eigenvalue(arb(value), arb(rho))) for value in values]
    return kind_of_spectrum(spectrum(directions, dynamics), dynamics).kind


@pytest.mark.parametrize("values", EIGENVALUES)
@pytest.mark.parametrize("dynamics", SYSTEMS)
def test_both_sides_of_every_end_of_the_rho_window(values, dynamics):
    """Just inside of the window the multipliers attract, just outside they do not."""
    window = rho_window([arb(value) for value in values], dynamics)
    if window.is_empty:
        assert dynamics.lr is not None
        grid = np.linspace(0, 2 * window.low.enclosure[1], 200)
        assert not any(kind(values, rho, dynamics) is Kind.attracting for rho in grid)
        return
    assert window.is_empty is False
    if window.low.eigenvalue is not None:
        low, high = window.low.enclosure
        assert high - low <= 2 * np.spacing(high)
        assert kind(values, low * (1 - 1e-12), dynamics) is not Kind.attracting
        assert kind(values, high * (1 + 1e-12), dynamics) is Kind.attracting
        assert high == pytest.approx(-1 / window.low.eigenvalue)
    if window.high.eigenvalue is not None:
        low, high = window.high.enclosure
        assert kind(values, low * (1 - 1e-12), dynamics) is Kind.attracting
        assert kind(values, high * (1 + 1e-12), dynamics) is not Kind.attracting
    assert (window.high.value == sympy.oo) == (dynamics.lr is None)


@pytest.mark.parametrize("dynamics", SYSTEMS[1:])
def test_both_sides_of_the_lr_window(dynamics):
    values, rho = (-27.75, 27.75), 0.05
    window = lr_window([arb(value) for value in values], arb(rho), dynamics)
    assert window.is_empty is False
    assert window.low.value == 0
    assert window.high.eigenvalue == values[1]
    low, high = window.high.enclosure
    at = dynamics._replace
    assert kind(values, rho, at(lr=arb(low * (1 - 1e-12)))) is Kind.attracting
    assert kind(values, rho, at(lr=arb(high * (1 + 1e-12)))) is Kind.saddle


def test_no_step_size_makes_a_saddle_attract_below_the_threshold_in_rho():
    window = lr_window([arb(-4), arb(1)], arb(0.2), Dynamics(arb(0.1)))
    assert window.is_empty
    assert window.describe() == "attracts for no lr: λ = -4 grows at every lr"


def test_ends_closer_than_doubles_are_not_decided():
    """At lr = 2/λ the upper end in rho is (2/lr − λ)/λ² = 0, up to the ball of lr."""
    for width, decided in ((0, True), (1e-25, False)):
        window = rho_window([arb(4)], Dynamics(arb(0.5, width)))
        assert window.decided is decided
        assert window.is_empty is (True if decided else None)


def test_an_eigenvalue_of_unknown_sign_leaves_the_windows_open():
    values = [arb(0, 1e-30), arb(1)]
    assert rho_window(values, Dynamics()).is_empty is None
    assert lr_window(values, arb(0), Dynamics(arb(0.1))).is_empty is None


def test_a_multiplier_on_the_unit_circle_proves_nothing():
    """At rho = 1/|λ| = 1/4, a dyadic number, U is exactly 0; at lr U = 2 exactly −1."""
    assert kind((-4.0, 1.0), 0.25, Dynamics()) is None
    assert kind((-4.0, 1.0), 0.25, Dynamics(arb(0.125))) is None
    assert kind((1.0, 2.0), 0.0, Dynamics(arb(1.0))) is None
    assert kind((1.0, 2.0), 0.0, Dynamics(arb(0.999))) is Kind.attracting


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 2.0), Kind.attracting),
        ((-1.0, -2.0), Kind.repelling),
        ((-1.0, 2.0), Kind.saddle),
        ((30.0, 40.0), Kind.repelling),  # beyond the flip
    ],
)
def test_kinds_of_gradient_descent(values, expected):
    assert kind(values, 0.0, Dynamics(arb(0.1))) is expected
