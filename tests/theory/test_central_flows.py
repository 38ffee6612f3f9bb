"""Central flows: expansions by sympy, multipliers of 2-cycles and orbits in plain numpy."""

import itertools

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve

from samflow import theory
from samflow.theory.central import bend, pull, quartic, steepening, steepening_slope
from samflow.theory.symbols import lam, rho


def is_zero(expr):
    return sympy.simplify(expr) == 0


def numbers(form, values):
    return theory.EdgeForm(*(each.subs(values) for each in form))


def test_the_second_derivative_of_usam_in_general_and_at_small_gradient():
    # L a polynomial with all second, third and fourth derivatives at 0; u any vector.
    w, u = (sympy.symbols(f"{name}0:2", real=True) for name in "wu")
    coefficients = iter(sympy.symbols("c0:20", real=True))
    monomials = [
        w[0] ** i * w[1] ** j for i, j in itertools.product(range(5), repeat=2) if 1 <= i + j <= 4
    ]
    loss = sum(next(coefficients) * each for each in monomials)

    def gradient(at):
        values = dict(zip(w, at, strict=True))
        return sympy.Matrix([loss.diff(x).subs(values, simultaneous=True) for x in w])

    def third(at, a, b):
        values = dict(zip(w, at, strict=True))
        return sympy.Matrix(
            [
                sum(
                    loss.diff(x, y, z).subs(values, simultaneous=True) * a[i] * b[j]
                    for (i, y), (j, z) in itertools.product(enumerate(w), repeat=2)
                )
                for x in w
            ]
        )

    here = dict(zip(w, (0, 0), strict=True))
    p = sympy.Matrix(w) + rho * gradient(w)
    d = gradient(p)
    along = sympy.Matrix([sum(u[i] * each.diff(w[i]) for i in range(2)) for each in d])
    twice = sympy.Matrix([sum(u[i] * each.diff(w[i]) for i in range(2)) for each in along])
    hessian = sympy.hessian(loss, w)
    ascent = (sympy.eye(2) + rho * hessian.subs(here)) * sympy.Matrix(u)
    at = p.subs(here)
    stepped = hessian.subs(dict(zip(w, at, strict=True)), simultaneous=True)
    general = third(at, ascent, ascent) + rho * stepped * third((0, 0), u, u)
    assert is_zero((twice.subs(here) - general)[0])
    assert is_zero((twice.subs(here) - general)[1])
    # At a critical point, along an eigenvector, say the second axis.
    c = {loss.diff(x).subs(here): 0 for x in w} | {hessian[0, 1].subs(here): 0}
    h = hessian.subs(here).subs(c)
    found = general.subs(c).subs({u[0]: 0, u[1]: 1})
    closed = ((1 + rho * h[1, 1]) ** 2 * sympy.eye(2) + rho * h) * third(
        (0, 0), (0, 1), (0, 1)
    ).subs(c)
    assert is_zero((found - closed)[0])
    assert is_zero((found - closed)[1])


def test_the_printed_forms():
    gd, usam = theory.edge_form("gd"), theory.edge_form("usam")
    assert gd == (pull, bend, steepening, steepening_slope, steepening, quartic)
    assert is_zero(usam.push - ((1 + rho * lam) ** 2 + rho * bend) * steepening)
    slope = 1 + 2 * rho * lam + rho * (1 + rho * lam) * bend
    assert is_zero(usam.slope - slope * steepening)
    cubic = ((1 + rho * lam) ** 3 + rho * lam) * quartic
    cubic += 3 * rho * (1 + rho * lam) * steepening**2
    assert is_zero(usam.cubic - cubic)
    assert all(is_zero((a - b).subs(rho, 0)) for a, b in zip(usam, gd, strict=True))
    flat = {bend: 0, rho: 1, pull: -sympy.Rational(1, 2000)}
    toy = numbers(usam, flat | {lam: 2.7015621187, steepening: 2.6088771})
    assert float(theory.edge_variance(toy)) == pytest.approx(2.7975e-5, rel=1e-4)  # as published


TOY_PULL = 1e-4


def toy_gradient(w):
    """Return the gradient of (1 + x²)(√(1 + y²) − 1) − εx."""
    root = np.sqrt(1 + w[1] ** 2)
    return np.array([2 * w[0] * (root - 1) - TOY_PULL, (1 + w[0] ** 2) * w[1] / root])


def two_cycle_growth(ascent, lr, momentum):
    """Return log|μ| a step of the pair of multipliers near 1 at the toy's 2-cycle."""
    kappa = 2 * (1 + momentum)
    edge = kappa / lr if not ascent else (np.sqrt(1 + 4 * kappa * ascent / lr) - 1) / (2 * ascent)

    def step(z):
        v = momentum * z[2:] + toy_gradient(z[:2] + ascent * toy_gradient(z[:2]))
        return np.concatenate([z[:2] - lr * v, v])

    x = np.sqrt(edge - 1)
    y = np.sqrt(TOY_PULL / x) / (1 + ascent * edge)
    z = fsolve(lambda z: step(step(z)) - z, [x, y, 0, -2 * y / lr], xtol=1e-14)
    assert abs(z[1]) > y / 2
    h = 1e-6
    moved = [(step(step(z + h * e)) - step(step(z - h * e))) / (2 * h) for e in np.eye(4)]
    values = np.linalg.eigvals(np.array(moved).T)
    return 0.5 * np.log(np.abs(values).max()), edge


@pytest.mark.parametrize(
    ("ascent", "lr", "momentum", "grows"),
    [
        (0, 0.3, 0, False),  # λ = 6.67
        (0, 0.5, 0, True),  # λ = 4: between the two roots of λ² − 7λ + 8, 1.44 and 5.56
        (0, 1.5, 0, False),  # λ = 1.33
        (0, 0.3, 0.5, True),
        (1.0, 0.2, 0, False),
        (0.05, 0.5, 0, True),
    ],
)
def test_deviations_grow_as_the_multipliers_of_the_two_cycle_say(ascent, lr, momentum, grows):
    measured, edge = two_cycle_growth(ascent, lr, momentum)
    values = {pull: -TOY_PULL, bend: 0, lam: edge, rho: ascent, quartic: -3 * edge}
    values |= {steepening: 2 * np.sqrt(edge - 1), steepening_slope: 2}
    form = numbers(theory.edge_form("usam" if ascent else "gd"), values)
    predicted = float(theory.deviation_growth(form, lr=lr, momentum=momentum))
    # What is left out is of relative order of the angle √(bμ')ησ/(1 − β), at most 0.04, with
    # momentum to the first power, and without to the second; terms of both signs cancel in part.
    assert measured == pytest.approx(predicted, rel=0.05)
    assert (measured > 0) == (predicted > 0) == grows


def test_a_third_derivative_across_enters_by_the_flip_coefficient():
    lr, pulled, quartic_now = 0.3, 1e-4, -10.0
    edge = 2 / lr
    x = np.sqrt(edge - 1)
    found = []
    for third in (0.0, 6.0):

        def step(w, third=third):
            cubic = third * w[1] ** 2 / 2 + quartic_now * w[1] ** 3 / 6
            g = np.array([w[0] * w[1] ** 2 - pulled, (1 + w[0] ** 2) * w[1] + cubic])
            return w - lr * g

        y = np.sqrt(pulled / x)
        w = fsolve(lambda w: step(step(w)) - w, [x, y], xtol=1e-14)
        assert abs(w[1]) > y / 2
        h = 1e-6
        moved = [(step(step(w + h * e)) - step(step(w - h * e))) / (2 * h) for e in np.eye(2)]
        measured = 0.5 * np.log(np.abs(np.linalg.eigvals(np.array(moved).T)).max())
        values = {pull: -pulled, bend: 0, lam: edge, steepening: 2 * x, steepening_slope: 2}
        values[quartic] = quartic_now - 1.5 * lr * third**2
        form = numbers(theory.edge_form("gd"), values)
        assert measured == pytest.approx(float(theory.deviation_growth(form, lr=lr)), rel=0.02)
        found.append(measured)
    assert found[0] > 0 > found[1]  # the third derivative turns the sign


def test_oscillations_about_the_edge_have_the_flow_as_their_average():
    # d log A/dk = ηℓ, dℓ/dk = η(α − ½bA²): averages over a period, however far from rest.
    eta, alpha, push = 0.2, 0.01, 3.0
    field = lambda k, z: [eta * z[1], eta * (alpha - push * np.exp(2 * z[0]) / 2)]  # noqa: E731
    start = [0.5 * np.log(2 * alpha / push) - 2.0, 0.0]
    returned = lambda k, z: z[1] - 0 * k  # noqa: E731
    returned.direction = 1  # ℓ passes 0 upwards once in a period
    path = solve_ivp(
        field, (0, 2000), start, events=returned, rtol=1e-10, atol=1e-12, dense_output=True
    )
    begin, end = path.t_events[0][-2:]
    k = np.linspace(begin, end, 20001)[:-1]
    size, excess = path.sol(k)
    assert excess.mean() == pytest.approx(0, abs=1e-6)  # of values up to 0.2
    assert np.exp(2 * size).mean() == pytest.approx(2 * alpha / push, rel=1e-5)
    assert np.exp(2 * size).max() > 5 * 2 * alpha / push


@pytest.mark.parametrize(("momentum", "scheme"), [(0.0, "none"), (0.5, "heavy_ball")])
@pytest.mark.parametrize("gradient", [0.05, 0.19, 0.21])
def test_sam_oscillates_where_the_mean_gradient_is_short(gradient, momentum, scheme):
    # L = ½λy² + γx, λ = 2; the 2-cycle of the map has radius c = 0.1 (0.05 λ c...) at γ = 0.
    curvature, radius = 2.0, 0.05
    kappa = 2 * (1 + momentum)
    lr = kappa / (curvature * (1 + radius / 0.1))  # so that c = 0.1, λc = 0.2
    y, v = 0.08, 0.0
    for _ in range(4000):
        g = curvature * y
        v = momentum * v + curvature * (y + radius * g / np.hypot(g, gradient))
        y -= lr * v
    square = theory.saturated_variance(
        curvature, gradient, rho=radius, lr=lr, momentum=momentum, scheme=scheme
    )
    assert y**2 == pytest.approx(float(square), rel=1e-9, abs=1e-9)
    assert (y**2 > 1e-6) == (gradient < 0.2)


def test_the_size_of_sams_oscillation_settles_at_its_multiplier():
    curvature, radius, lr, gradient = 2.0, 0.05, 2 / 3, 0.12
    square = float(theory.saturated_variance(curvature, gradient, rho=radius, lr=lr))
    y = np.sqrt(square) * (1 + 1e-7)
    g = curvature * y
    after = -(y - lr * curvature * (y + radius * g / np.hypot(g, gradient)))
    measured = (after - np.sqrt(square)) / (y - np.sqrt(square))
    predicted = theory.saturation_multiplier(curvature, gradient, rho=radius, lr=lr)
    assert measured == pytest.approx(float(predicted), rel=1e-5)  # the difference is 1e-7
    assert 0 < float(predicted) < 1


def test_the_loss_of_usam_hardly_rises_along_its_flow():
    # (n·d)(d·m) ≤ (1 + c)|d|² n·m for n = Nt, m = Mt, H with eigenvalues from 0 to λ, s = ρλ.
    generator = np.random.default_rng(0)
    angles = generator.uniform(0, 2 * np.pi, (2, 400_000))
    t, d = (np.stack([np.cos(a), np.sin(a)]) for a in angles)
    for s, printed in ((1.0, 0.0052), (2.7, 0.037)):
        h = s * np.array([[0.0], [1.0]])
        n, m = (1 + 2 * s + (1 + s) * h) * t, ((1 + s) ** 2 + h) * t
        worst = ((n * d).sum(0) * (d * m).sum(0) / (n * m).sum(0)).max()
        ratio = (1 + s) ** 2 / (1 + 2 * s)
        bound = ((1 + ratio) / (2 * np.sqrt(ratio)) - 1) / 2
        assert 0 < worst - 1 <= bound == pytest.approx(printed, abs=5e-5 if s == 1 else 5e-4)
        assert worst - 1 == pytest.approx(bound, rel=0.02)  # reached; the maximum is sampled


def test_the_response_of_usam_is_symmetric_and_positive_above_minus_one_over_rho():
    generator = np.random.default_rng(1)
    product, size = 1.7, 6  # ρλ, ρ = 1
    for least, positive in ((-0.99, True), (-20.0, False)):
        spectrum = np.linspace(least, product, size)
        basis = np.linalg.qr(generator.standard_normal((size, size)))[0]
        h = (basis * spectrum) @ basis.T
        m = (1 + product) ** 2 * np.eye(size) + h
        n = (1 + 2 * product) * np.eye(size) + (1 + product) * h
        assert np.allclose(n @ m, (n @ m).T)
        assert (np.linalg.eigvalsh(n @ m)[0] > 0) == positive
