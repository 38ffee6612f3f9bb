"""Second moments near a critical point: loops in NumPy, sample paths, known cases."""

import itertools

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import Status
from samflow._checks import ArgumentError
from samflow.noise import (
    AdditiveNoise,
    MiniBatch,
    hessian_noise,
    sample_moments,
    second_moment,
)
from samflow.noise.moments import _recursion
from tests.tiers import slow

SADDLE = sf.losses.saddle((1.0, -1.0))


def system(rho=0.1, lr=0.01, momentum=0.0, batch_size=32, loss=SADDLE, **options):
    noise = hessian_noise(loss, np.zeros(loss.dim), batch_size=batch_size)
    return sf.StochasticMap(
        sf.Map(loss, sf.USAM(rho=rho), lr=lr, momentum=momentum), noise, **options
    )


def loop(lam, rho, lr, momentum, variance, num_steps, *, fresh=False, nesterov=False, decay=0.0):
    """P⁺ = A P Aᵀ + Q for one eigenvalue, in NumPy, from the update written out in (w, v)."""
    u = lam * (1 + rho * lam) + decay
    velocity = np.array([u, momentum])  # v⁺ = u w + β v + kick
    if nesterov:
        weights = np.array([1.0, 0.0]) - lr * (np.array([u, 0.0]) + momentum * velocity)
        gain = np.array([-lr * (1 + momentum), 1.0])
    else:
        weights = np.array([1.0, 0.0]) - lr * velocity
        gain = np.array([-lr, 1.0])
    a, g = np.stack([weights, velocity]), gain
    noise = variance * ((1 + (rho * lam) ** 2) if fresh else (1 + rho * lam) ** 2)
    p = np.zeros((2, 2))
    for _ in range(num_steps):
        p = a @ p @ a.T + noise * np.outer(g, g)
    return p[0, 0], max(abs(np.linalg.eigvals(np.kron(a, a))))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rho", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_recursion_is_that_of_a_loop(momentum, rho, fresh, nesterov):
    made = sf.StochasticMap(
        sf.Map(SADDLE, sf.USAM(rho=rho), lr=0.02, momentum=momentum, nesterov=nesterov),
        hessian_noise(SADDLE, [0, 0], batch_size=16),
        fresh,
    )
    found = second_moment(made, [0, 0], num_steps=60, keep_every=20)
    assert found.steps.tolist() == [0, 20, 40, 60]
    for index, lam in enumerate((1.0, -1.0)):
        for row, steps in enumerate((0, 20, 40, 60)):
            p, _ = loop(lam, rho, 0.02, momentum, 1 / 16, steps, fresh=fresh, nesterov=nesterov)
            assert float(found.second[row, index, index]) == pytest.approx(p, rel=1e-11, abs=1e-18)
    if momentum:
        radius = max(
            loop(lam, rho, 0.02, momentum, 1, 1, nesterov=nesterov)[1] for lam in (1.0, -1.0)
        )
        assert float(found.radius) == pytest.approx(radius, rel=1e-9)


def test_weight_decay_enters_the_drift_and_not_the_noise():
    made = sf.StochasticMap(
        sf.Map(SADDLE, sf.USAM(rho=0.3), lr=0.02, momentum=0.5, weight_decay=0.4),
        hessian_noise(SADDLE, [0, 0], batch_size=16),
    )
    found = second_moment(made, [0, 0], num_steps=30)
    p, _ = loop(-1.0, 0.3, 0.02, 0.5, 1 / 16, 30, decay=0.4)
    assert float(found.second[-1, 1, 1]) == pytest.approx(p, rel=1e-11)


@pytest.mark.parametrize("batch_size", [slow(1), 10, slow(100)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rho", [0.0, 0.4, 1.6])  # 1/|λ| = 1
def test_sample_paths_agree_at_every_time(rho, momentum, batch_size):
    """Four standard errors of 100,000 paths, at ten times, with one seed for all cases.

    If right, one of the 540 numbers compared is farther off with probability 3 %.
    """
    made = system(rho=rho, momentum=momentum, batch_size=batch_size)
    steps = 40 if momentum else 200
    exact = second_moment(made, [0, 0], num_steps=steps, keep_every=steps // 10)
    paths = sample_moments(
        made, [0, 0], key=jr.key(2), num_paths=100_000, num_steps=steps, keep_every=steps // 10
    )
    assert (np.abs(paths.second - exact.second) <= 4 * paths.second_error).all()
    wrong = second_moment(
        system(rho=rho, momentum=momentum, batch_size=1.05 * batch_size),
        [0, 0],
        num_steps=steps,
        keep_every=steps // 10,
    )
    assert (np.abs(paths.second - wrong.second)[1:] > 4 * paths.second_error[1:]).any()


def test_start_away_from_the_critical_point():
    found = second_moment(system(rho=0.2), [0, 0], num_steps=10, start=[0.3, -0.1])
    multipliers = np.array([1 - 0.01 * 1.2, 1 + 0.01 * 0.8])
    expected = np.array([0.3, -0.1]) * multipliers**10
    np.testing.assert_allclose(found.mean[-1], expected, rtol=1e-12)
    still = second_moment(system(rho=0.2), [0, 0], num_steps=10)
    np.testing.assert_allclose(
        found.second[-1], still.second[-1] + np.outer(expected, expected), rtol=1e-11, atol=1e-16
    )


def quadratics():
    """Three examples whose Hessians do not commute, and the critical point of their mean."""
    rows = ((1, 0.5, 0.2, 0.1), (2, -0.3, -0.1, 0), (0.5, 1, 0, 0.3))
    parts = [sf.loss(f"{a}*(x-{c})**2/2 + {b}*(y+{c})**2/2 + {d}*x*y") for a, b, c, d in rows]
    loss = sf.losses.mean(parts)
    zero = jnp.zeros(2)
    return loss, -np.linalg.solve(loss.hessian(zero), loss.gradient(zero))


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(("size", "fresh"), [(1, False), (2, False), (1, True), (2, True)])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_mini_batches_are_summed_over_exactly(replacement, size, fresh, momentum):
    """On quadratic examples the linearised map is the map: a loop over all batches agrees."""
    loss, w = quadratics()
    rho, lr, steps = 0.3, 0.1, 4
    made = sf.StochasticMap(
        sf.Map(loss, sf.USAM(rho=rho), lr=lr, momentum=momentum),
        MiniBatch(size, replacement),
        fresh,
    )
    found = second_moment(made, w, num_steps=steps, start=[0.1, 0.2])
    hessians = [np.asarray(p.hessian(jnp.zeros(2))) for p in loss.parts]
    gradients = [np.asarray(p.gradient(jnp.zeros(2))) for p in loss.parts]
    draw = itertools.product if replacement else itertools.combinations
    batches = list(draw(range(3), **({"repeat": size} if replacement else {"r": size})))

    def affine(batch):
        return np.mean([hessians[i] for i in batch], axis=0), np.mean(
            [gradients[i] for i in batch], axis=0
        )

    pairs = itertools.product(batches, batches) if fresh else ((b, b) for b in batches)
    maps = []
    for one, two in pairs:
        (h, c), (k, d) = affine(one), affine(two)
        slope, kick = k + rho * k @ h, d + rho * k @ c  # of g₂(w + ρ g₁(w))
        maps.append((slope, slope @ w + kick))
    first, second = np.r_[0.1, 0.2, 0, 0], np.outer(np.r_[0.1, 0.2, 0, 0], np.r_[0.1, 0.2, 0, 0])
    for _ in range(steps):
        next_first, next_second = np.zeros(4), np.zeros((4, 4))
        for slope, kick in maps:
            v = np.hstack([slope, momentum * np.eye(2)])
            j = np.vstack([np.hstack([np.eye(2), np.zeros((2, 2))]) - lr * v, v])
            c = np.r_[-lr * kick, kick]
            mixed = np.outer(j @ first, c)
            next_first += (j @ first + c) / len(maps)
            next_second += (j @ second @ j.T + mixed + mixed.T + np.outer(c, c)) / len(maps)
        first, second = next_first, next_second
    np.testing.assert_allclose(found.mean[-1], first[:2], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.second[-1], second[:2, :2], rtol=1e-10, atol=1e-14)


def test_radius_tells_growth_from_decay():
    """The second moment of one mode has the multiplier (1 − ηU)²: both sides of ρ = 1/|λ|."""
    loss = sf.losses.saddle((-1.0,))
    for rho in (0.98, 1.02):
        found = second_moment(system(rho=rho, loss=loss), [0], num_steps=2)
        assert float(found.radius) == pytest.approx((1 + 0.01 * (1 - rho)) ** 2, rel=1e-12)
    grows, decays = (
        second_moment(system(rho=r, loss=loss), [0], num_steps=20_000, keep_every=10_000).second
        for r in (0.9, 1.1)
    )
    assert grows[2] > 2 * grows[1]
    assert float(decays[2, 0, 0]) == pytest.approx(float(decays[1, 0, 0]), rel=1e-6)


def test_points_where_the_theory_is_silent():
    moving = second_moment(system(), [0.1, 0], num_steps=3, keep_every=1)
    assert moving.status == Status.not_a_fixed_point
    assert np.isnan(moving.second).all()
    assert moving.second.shape == (4, 2, 2)
    sam = sf.StochasticMap(sf.Map(SADDLE, sf.SAM(rho=0.1), lr=0.1), AdditiveNoise([1, 1]))
    assert second_moment(sam, [0, 0], num_steps=3).status == Status.not_differentiable


def test_nonlinear_losses_agree_while_displacements_are_small():
    loss = sf.losses.quartic()  # ½x² − ½y² + ¼y⁴
    made = system(loss=loss, batch_size=3e4)  # |w| ≲ .01, so that y³ is 1e-4 of y
    exact = second_moment(made, [0, 0], num_steps=150)
    paths = sample_moments(made, [0, 0], key=jr.key(3), num_paths=50_000, num_steps=150)
    error = np.abs(paths.second - exact.second)[-1]
    assert (error <= 5 * paths.second_error[-1]).all()


def test_one_compilation_for_a_sweep():
    before = None
    for rho, lr in ((0.1, 0.01), (0.2, 0.02), (0.3, 0.03)):
        second_moment(system(rho=rho, lr=lr), [0, 0], num_steps=10)
        size = _recursion._cached._cache_size()
        assert before in (None, size)
        before = size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_steps": 0}, "`num_steps` must be"),
        ({"num_steps": -3}, "`num_steps` must be"),
        ({"keep_every": 0}, "`keep_every` must be"),
        ({"w": [0, 0, 0]}, "`w` must have shape"),
        ({"start": [0]}, "`start` must have shape"),
        ({"system": sf.Map(SADDLE, sf.GD(), lr=0.1)}, "`system` must be a StochasticMap"),
    ],
)
def test_bad_input_is_refused(change, words):
    options = {"system": system(), "w": [0, 0], "num_steps": 5} | change
    with pytest.raises(ArgumentError, match=words):
        second_moment(options.pop("system"), options.pop("w"), **options)


def test_too_many_batches_are_refused():
    loss = sf.losses.mean([sf.loss(f"{i + 1}*x**2") for i in range(30)])
    made = sf.StochasticMap(sf.Map(loss, sf.GD(), lr=0.01), MiniBatch(15))
    with pytest.raises(ArgumentError, match="but has 155117520"):
        second_moment(made, [0], num_steps=5)


def test_many_weights_have_a_radius_and_batches_of_them_are_refused():
    loss = sf.losses.Quadratic((1.0,) * 99 + (-1.0,))
    made = sf.StochasticMap(sf.Map(loss, sf.GD(), lr=0.1), sf.noise.isotropic_noise(100, sigma=1.0))
    found = second_moment(made, np.zeros(100), num_steps=2)
    assert float(found.radius) == pytest.approx(1.1**2, rel=1e-12)  # rounding
    both = sf.StochasticMap(sf.Map(sf.losses.mean([loss, loss]), sf.GD(), lr=0.1), MiniBatch(1))
    with pytest.raises(ArgumentError, match="at most 60 numbers"):
        second_moment(both, np.zeros(100), num_steps=2)
