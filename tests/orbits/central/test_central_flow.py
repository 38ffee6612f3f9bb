"""Central flows beside closed forms, an independent solution of the reduced equation, and runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.integrate import solve_ivp

import samflow as sf
from samflow import theory
from samflow._checks import ArgumentError

EPS = 5e-4


@pytest.fixture(scope="module")
def toy():
    """The valley with one sharpness, λ = 1 + x², and a slope that steepens it without end."""
    return sf.loss(f"(1 + x**2)*(sqrt(1 + y**2) - 1) - {EPS}*x")


def toy_run(start, lr, steps, ascent=0.0):
    """Return an orbit of GD or USAM on the toy, in plain Python."""
    x, y = start
    points = []

    def gradient(x, y):
        root = np.sqrt(1 + y * y)
        return 2 * x * (root - 1) - EPS, (1 + x * x) * y / root

    for _ in range(steps):
        points.append((x, y))
        a, b = gradient(x, y)
        if ascent:
            a, b = gradient(x + ascent * a, y + ascent * b)
        x, y = x - lr * a, y - lr * b
    return np.array(points)


OTHERS = np.linspace(0.0, 1.5, 38)
"""Curvatures of weights beside the toy."""


def beside_others(w):
    x, y = w[:2]
    curved = (1 + x**2) * (jnp.sqrt(1 + y**2) - 1) - EPS * x
    return curved + jnp.vdot(jnp.asarray(OTHERS) * w[2:], w[2:]) / 2


def scaled_toy(w, size, loss_unit):
    x, y = w / size
    return loss_unit * ((1 + x**2) * (jnp.sqrt(1 + y**2) - 1) - EPS * x)


def two_along(w, pulls):
    """½qᵀMq(1 − |q|²) − pulls·(a, b, c), with M = [[a, b], [b, c]] weights themselves."""
    a, b, c, y, z = w
    square = y**2 + z**2
    curved = (a * y**2 + 2 * b * y * z + c * z**2) / 2
    return curved * (1 - square) - jnp.vdot(pulls, w[:3])


def bent_edge(w, lr):
    """Sharpness (2 + (x + sin z)/2)/lr: the edge is a curve, along which the flow moves."""
    x, z, y = w
    return (2 + (x + jnp.sin(z)) / 2) * (jnp.sqrt(1 + y**2) - 1) / lr - x - z / 2


def of(function, dim, **leaves):
    leaves = {name: jnp.asarray(value) for name, value in leaves.items()}
    return sf.loss(Partial(function, **leaves), dim=dim)


def test_usam_stays_at_its_edge_with_the_published_variance(toy):
    system = sf.Map(toy, sf.USAM(rho=1.0), lr=0.2)
    edge = float(theory.evaluate(theory.edge("usam"), rho=1.0, lr=0.2))
    x = np.sqrt(edge - 1)
    flow = sf.central_flow(system, [x - 0.005, 0.0], num_steps=240, keep_every=20)
    assert flow.status is sf.Status.reached_end
    assert flow.edge == pytest.approx(edge, rel=1e-12)
    assert int(flow.num_critical[0]) == 0
    assert flow.variance[0, 0, 0] == 0.0
    assert int(flow.num_critical[-1]) == 1
    # μ is the curvature of d in general; U(λ) is it up to ρ‖∇λ‖‖g‖/λ, of 5e-4.
    assert flow.curvature[-1, 0] == pytest.approx(10.0, rel=1e-8)
    assert flow.sharpness[-1] == pytest.approx(edge, rel=1e-3)
    variance = 2 * EPS / ((1 + edge) ** 2 * 2 * x)
    assert flow.variance[-1, 0, 0] == pytest.approx(variance, rel=1e-3)
    run = toy_run([x, np.sqrt(variance)], 0.2, 40_000, ascent=1.0)[-10_000:]
    measured = np.mean(run[:, 1] ** 2)
    # The amplitude at which the cubic term and λ − edge balance is the next order.
    assert float(measured) == pytest.approx(float(flow.variance[-1, 0, 0]), rel=1e-3)
    assert float(jnp.mean(1 + run[:, 0] ** 2)) == pytest.approx(float(flow.sharpness[-1]), rel=2e-4)
    losses = jax.vmap(toy)(run)
    # The oscillation is 4 % of what L differs by from its value at w̄.
    gained = float(flow.mean_loss[-1] - flow.loss[-1])
    assert float(jnp.mean(losses)) - float(toy(jnp.mean(run, axis=0))) == pytest.approx(
        gained, rel=1e-3
    )
    g = jax.vmap(toy.gradient)(run)
    assert float(jnp.sqrt(jnp.mean(jnp.sum(g**2, axis=1)))) == pytest.approx(
        float(flow.rms_gradient[-1]), rel=1e-3
    )


@pytest.mark.parametrize(("lr", "stays"), [(0.3, True), (0.5, False)])
def test_where_deviations_grow_the_flow_says_so_and_the_run_leaves(toy, lr, stays):
    # λ = 2/lr: deviations die out outside [1.44, 5.56], the roots of λ² − 7λ + 8.
    system, x = sf.Map(toy, sf.GD(), lr=lr), np.sqrt(2 / lr - 1)
    flow = sf.central_flow(system, [x, 0.0], num_steps=30, keep_every=10)
    values = {theory.central.pull: -EPS, theory.central.bend: 0, theory.symbols.lam: 2 / lr}
    values |= {theory.central.steepening: 2 * x, theory.central.steepening_slope: 2}
    values |= {theory.central.quartic: -3 * 2 / lr}
    form = theory.EdgeForm(*(each.subs(values) for each in theory.edge_form("gd")))
    assert float(flow.growth[-1]) == pytest.approx(
        float(theory.deviation_growth(form, lr=lr)), rel=1e-2
    )
    assert (float(flow.growth[-1]) < 0) == stays
    assert ("does not hold" in str(flow)) == (not stays)
    run = toy_run([x - 1e-4, np.sqrt(EPS / x)], lr, 20_000)
    early, late = (float(np.std(part[:, 0])) for part in (run[:2000], run[-2000:]))
    # Nonlinear in the deviations, which are 1e-3 of x at most
    assert np.log(late / early) / 18_000 == pytest.approx(float(flow.growth[-1]), rel=0.1)


def test_momentum_follows_the_path_of_the_gd_with_its_edge(toy):
    # Edge 3/0.3 = 2/0.2, and time 0.3/(1 − 1/2) = 3 · 0.2 a step.
    start = [2.99, 0.0]
    heavy = sf.Map(toy, sf.GD(), lr=0.3, momentum=0.5)
    nesterov = sf.Map(toy, sf.GD(), lr=0.15, momentum=0.5, nesterov=True)
    plain = sf.central_flow(sf.Map(toy, sf.GD(), lr=0.2), start, num_steps=180, keep_every=180)
    found = sf.central_flow(heavy, start, num_steps=80, keep_every=80)
    other = sf.central_flow(nesterov, start, num_steps=160, keep_every=160)
    for flow in (found, other):
        assert flow.limit == pytest.approx(10.0, rel=1e-12)
        assert np.allclose(flow.w[-1], plain.w[-1], atol=1e-12)
        assert flow.variance[-1, 0, 0] == pytest.approx(float(plain.variance[-1, 0, 0]), rel=1e-6)
    assert float(found.growth[-1]) > 0 > float(plain.growth[-1])


def test_by_products_as_from_whole_matrices(toy):
    # The toy beside 38 weights below the edge, which move by themselves.
    many = sf.loss(beside_others, dim=40)
    system, small = (sf.Map(each, sf.USAM(rho=1.0), lr=0.2) for each in (many, toy))
    start = np.concatenate([[1.303, 0.0], np.full(38, 0.1)])
    flow = sf.central_flow(system, start, num_steps=60, num_pairs=2, keep_every=60)
    twin = sf.central_flow(small, start[:2], num_steps=60, keep_every=60)
    assert flow.status is sf.Status.reached_end
    assert int(flow.num_critical[-1]) == 1
    assert np.allclose(flow.w[-1, :2], twin.w[-1], atol=1e-8)
    assert flow.variance[-1, 0, 0] == pytest.approx(float(twin.variance[-1, 0, 0]), rel=1e-3)
    rates = 1 - 0.2 * OTHERS * (1 + OTHERS)
    assert np.allclose(flow.w[-1, 2:], 0.1 * rates**60, atol=1e-12)


@pytest.mark.parametrize(("pulls", "critical"), [((3e-4, 1e-4, 2e-4), 2), ((3e-4, 6e-4, 1e-4), 1)])
def test_two_critical_directions_have_a_full_covariance(pulls, critical):
    lr = 0.5
    a, b, c = pulls
    system = sf.Map(of(two_along, 5, pulls=pulls), sf.GD(), lr=lr)
    flow = sf.central_flow(
        system, [3.99, 0.0, 3.99, 0, 0], num_steps=160, num_pairs=3, keep_every=160
    )
    assert flow.status is sf.Status.reached_end
    size, mix = np.linalg.eigh([[2 * a, b], [b, 2 * c]])
    assert (size[0] > 0) == (critical == 2)
    assert int(flow.num_critical[-1]) == critical
    if critical == 2:
        # d/dt M = 0 at M = 4I: ½⟨y²⟩ = a, ⟨yz⟩ = b, ½⟨z²⟩ = c, whatever the eigenvectors.
        assert np.allclose(flow.curvature[-1, :2], 4.0, rtol=1e-9)
        sizes = np.linalg.eigvalsh(flow.variance[-1])
        assert np.allclose(sizes[1:], size, rtol=1e-6)
        y, z = np.sqrt(size[1]) * mix[:, 1], np.sqrt(size[0]) * mix[:, 0]
        run = sf.iterate(system, [4, 0, 4, *(y + z)], num_steps=40_000, keep_every=1).w[-30_000:]
        found = np.cov(np.asarray(run[:, 3:]).T, bias=True)
        # Higher orders: |q|² = 1e-3 beside 1, with the average over slow beats of the two sizes.
        assert np.allclose(found, [[2 * a, b], [b, 2 * c]], atol=0.05 * size[1])
    else:
        assert flow.curvature[-1, 0] == pytest.approx(4.0, rel=1e-9)
        assert float(flow.curvature[-1, 1]) < 4.0 - 1e-3


def test_more_critical_directions_than_are_watched_end_the_flow():
    system = sf.Map(of(two_along, 5, pulls=(3e-4, 1e-4, 2e-4)), sf.GD(), lr=0.5)
    flow = sf.central_flow(system, [3.99, 0.0, 3.99, 0, 0], num_steps=160, num_pairs=2)
    assert flow.status is sf.Status.too_few_pairs
    assert 0 < flow.stopped_at < 160
    assert np.isnan(flow.w[flow.stopped_at]).all()
    assert np.isfinite(flow.w[flow.stopped_at - 1]).all()
    assert "too few pairs" in str(flow)


def test_the_average_of_runs_nears_the_flow_with_the_step_size():
    distances, ends = [], []
    for lr in (0.01, 0.005):
        system, number = sf.Map(of(bent_edge, 3, lr=lr), sf.GD(), lr=lr), round(1 / lr)
        flow = sf.central_flow(system, [0.0, 0, 0], num_steps=number, keep_every=4)
        run = sf.iterate(system, [0, 0, np.sqrt(3 * lr)], num_steps=number + 1, keep_every=1).w
        distances.append(float(jnp.nanmax(flow.distance(run))))
        ends.append(np.asarray(flow.w[-1, :2]))
    assert distances[1] < 0.1
    # Order lr, with the next order lr^1.5: what is off balance turns about the flow in 1/√lr steps.
    assert distances[0] / distances[1] == pytest.approx(2, abs=0.3)

    def reduced(t, at):
        """Return the flow along the edge: s = σ²/2lr keeps x + sin z."""
        cos = np.cos(at[1])
        s = (2 + cos) / (1 + cos**2)
        return [1 - s / 2, 0.5 - s * cos / 2]

    exact = solve_ivp(reduced, (0, 1), [0, 0], rtol=1e-10, atol=1e-12).y[:, -1]
    errors = [np.linalg.norm(end - exact) for end in ends]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)  # Euler's method
    system = sf.Map(of(bent_edge, 3, lr=0.01), sf.GD(), lr=0.01)
    finer = sf.central_flow(system, [0.0, 0, 0], num_steps=100, substeps=3, keep_every=100)
    assert np.linalg.norm(finer.w[-1, :2] - exact) == pytest.approx(errors[0] / 3, rel=0.1)


def test_the_loss_falls_along_a_central_flow_of_gd():
    system = sf.Map(of(bent_edge, 3, lr=0.01), sf.GD(), lr=0.01)
    flow = sf.central_flow(system, [0.0, 0, 0], num_steps=50)
    speed = np.diff(np.asarray(flow.w), axis=0) / 0.01
    fall = np.diff(np.asarray(flow.loss)) / 0.01
    # dL/dt = −‖ẇ‖², to first order in lr
    assert (fall < 0).all()
    assert np.allclose(-fall, (speed**2).sum(axis=1), rtol=0.02)


def test_no_oscillation_holds_an_eigenvalue_where_usam_reverses_the_push():
    # bμ′ < 0 for −(1 + ρλ) < ρV″ < −(1 + 2ρλ)/(1 + ρλ): at ρλ = 2.7 between −3.7 and −1.73.
    for bend, status in ((-3.0, sf.Status.unbalanced), (-0.5, sf.Status.reached_end)):
        loss = sf.loss(f"(2.715 + x)*(sqrt(1 + y**2) - 1) + {bend / 2}*(x + 0.01)**2")
        flow = sf.central_flow(sf.Map(loss, sf.USAM(rho=1.0), lr=0.2), [0.0, 0.0], num_steps=20)
        assert flow.status is status
        oscillates = np.linalg.norm(np.nan_to_num(flow.variance)) > 0
        assert oscillates == (status is sf.Status.reached_end)


@pytest.mark.parametrize(("momentum", "lr"), [(None, 0.6), (0.5, 0.7)])
def test_sams_oscillation_and_drift_on_the_valley(momentum, lr):
    rho, scheme = 0.005, "heavy_ball" if momentum else "none"
    loss = sf.loss("(1 + x**2)*y**2/2 - x/200")
    system = sf.Map(loss, sf.SAM(rho=rho), lr=lr, momentum=momentum)
    flow = sf.central_flow(system, [0.7, 0.0], num_steps=300, keep_every=50)
    run = sf.iterate(system, [0.7, rho], num_steps=301, keep_every=1).w
    mean = np.array([0.005, 0.0])
    lam, sigma = np.asarray(flow.sharpness), np.sqrt(np.asarray(flow.variance[:, 0, 0]))
    for k in (1, -1):
        push = [float(flow.w[k, 0]) * sigma[k] ** 2, 0.0]
        size = float(np.linalg.norm(mean - push))
        at = {"rho": rho, "lr": lr, "momentum": momentum or 0, "scheme": scheme}
        square = theory.saturated_variance(lam[k], size, **at)
        # λ at the ascent point is larger by λ′ρ‖ḡ‖/G, 0.3 %; σ² changes by 12 times that part.
        assert sigma[k] ** 2 == pytest.approx(float(square), rel=0.05)
    assert flow.edge[-1] == pytest.approx(lam[-1], rel=3 * rho)
    heights = np.asarray(run[-4:, 1])
    # The size lags by some steps, in each of which it grows by 0.3 %.
    assert np.abs(heights).mean() == pytest.approx(sigma[-1], rel=0.03)
    still = np.linalg.norm(np.asarray(flow.w[-1]) - [0.7, 0.0])
    assert float(jnp.nanmax(flow.distance(run)[1:])) < 0.02 * still
    assert np.isnan(flow.growth).all()


@pytest.mark.parametrize("unit", [1e-4, 1e5])
def test_the_flow_does_not_depend_on_units(unit):
    # L → cL and w → kw: lr and USAM's rho scale by k²/c. c and k are 1e∓8 and 1e±4, say.
    size, loss_unit = unit, unit**-2
    scaled = of(scaled_toy, 2, size=size, loss_unit=loss_unit)
    factor = size**2 / loss_unit
    system = sf.Map(scaled, sf.USAM(rho=factor), lr=0.2 * factor)
    flow = sf.central_flow(
        system, [1.3 * size, 0.0], num_steps=80, keep_every=80, escape_radius=1e9
    )
    assert flow.status is sf.Status.reached_end
    assert flow.w[-1, 0] == pytest.approx(1.304728427 * size, rel=1e-8)
    assert flow.variance[-1, 0, 0] == pytest.approx(2.79685084e-5 * size**2, rel=1e-6)
    assert flow.growth[-1] == pytest.approx(-1.0787949e-4, rel=1e-5)


def test_arguments(toy):
    gd = sf.Map(toy, sf.GD(), lr=0.5)
    with pytest.raises(ArgumentError, match="at or below the edge"):
        sf.central_flow(gd, [2.0, 0.0], num_steps=3)
    with pytest.raises(ArgumentError, match="at least 6 at this momentum"):
        sf.central_flow(
            sf.Map(toy, sf.GD(), lr=0.5, momentum=0.5), [0.1, 0.0], num_steps=3, substeps=3
        )
    with pytest.raises(ArgumentError, match="at most 2"):
        sf.central_flow(gd, [0.1, 0.0], num_steps=3, num_pairs=3)
    with pytest.raises(ArgumentError, match="without a memory"):
        sf.central_flow(sf.Map(toy, sf.rules.FSAM(rho=0.1), lr=0.1), [0.1, 0.0], num_steps=3)
    with pytest.raises(ArgumentError, match="no central flow is known"):
        sf.central_flow(sf.Map(toy, sf.rules.ASAM(rho=0.1), lr=0.1), [0.1, 0.1], num_steps=3)
    with pytest.raises(ArgumentError, match="must not change"):
        sf.central_flow(sf.Map(toy, sf.GD(), lr=lambda k: 0.1 + 0 * k), [0.1, 0.1], num_steps=3)


def test_a_flow_that_diverges_says_so():
    loss = sf.loss("-x**2/2 + y**2/2")
    flow = sf.central_flow(sf.Map(loss, sf.GD(), lr=0.5), [1.0, 1.0], num_steps=90, keep_every=30)
    assert flow.status is sf.Status.diverged
    assert "diverged" in str(flow)
