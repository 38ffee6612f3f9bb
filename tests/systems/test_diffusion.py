"""Diffusion models of optimisers, and Itô equations as systems."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import rules
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow._random import key_words, words
from samflow.systems import AbstractNoise, EulerMaruyama
from samflow.systems.update_moments import gaussian_direction, root
from tests import contracts

RHO, LR = 0.07, 0.05
W = np.array([0.3, 0.4])
LOSS = sf.losses.mean(
    [sf.loss("sin(x) + 2*x + y**2"), sf.loss("cos(x*y) - y"), sf.loss("x**2/2 - x*y")]
)
SIGMA = np.array([[1.0, 0.4], [0.4, 0.5]])
RULES = {
    "gd": sf.GD(),
    "usam": sf.USAM(rho=RHO),
    "sam": sf.SAM(rho=RHO),
    "dnsam": rules.DNSAM(rho=RHO),
}


def gradients(w):
    """Return the examples' gradients, by hand."""
    x, y = w
    return np.array(
        [
            [np.cos(x) + 2, 2 * y],
            [-y * np.sin(x * y), -x * np.sin(x * y) - 1],
            [x - y, -x],
        ]
    )


def hessians(w):
    x, y = w
    s, c = np.sin(x * y), np.cos(x * y)
    mixed = -s - x * y * c
    return np.array(
        [
            [[-np.sin(x), 0], [0, 2]],
            [[-(y**2) * c, mixed], [mixed, -(x**2) * c]],
            [[1, -1], [-1, 0]],
        ]
    )


def ascents(name, g, whole):
    """Return u for each row of g."""
    length = np.linalg.norm(g, axis=1, keepdims=True)
    return {
        "gd": 0 * g,
        "usam": g,
        "sam": g / length,
        "dnsam": g / np.linalg.norm(whole),
    }[name]


@eqx.filter_jit
def drift(system, w):
    return system.drift(jnp.asarray(w))


@eqx.filter_jit
def expanded(system, w):
    return system.expanded_covariance(jnp.asarray(w))


def covariance(system, w=W):
    factor = np.asarray(eqx.filter_jit(lambda s, w: s.diffusion(w))(system, jnp.asarray(w)))
    return factor @ factor.T


def batches(n, size, replacement):
    """Return every ordered batch: all equally likely."""
    draw = itertools.product if replacement else itertools.permutations
    how = {"repeat": size} if replacement else {"r": size}
    return [list(b) for b in draw(range(n), **how)]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("size", "replacement"), [(1, False), (2, False), (2, True), (3, True)])
def test_leading_model_is_the_formula_in_numpy(name, size, replacement):
    """Drift and covariance from hand-made gradients and Hessians, summed over ordered batches."""
    drawn = batches(3, size, replacement)
    g = np.array([gradients(W)[b].mean(axis=0) for b in drawn])
    h = np.array([hessians(W)[b].mean(axis=0) for b in drawn])
    whole = gradients(W).mean(axis=0)
    hu = np.einsum("bij,bj->bi", h, ascents(name, g, whole))
    d = g + RHO * hu
    noise = sf.noise.MiniBatch(size, replacement)
    system = sf.Diffusion(LOSS, RULES[name], lr=LR, noise=noise)
    centred = d - d.mean(axis=0)
    # Rounding only, here and below.
    np.testing.assert_allclose(drift(system, W), -d.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        covariance(system), LR * centred.T @ centred / len(d), rtol=1e-9, atol=1e-16
    )
    # The published form: Σ + rho (S + Sᵀ), S = E[(g − g_γ)(E[H_γu_γ] − H_γu_γ)ᵀ].
    s = (whole - g).T @ (hu.mean(axis=0) - hu) / len(d)
    sigma = (g - whole).T @ (g - whole) / len(d)
    np.testing.assert_allclose(
        expanded(system, W),
        LR * (sigma + RHO * (s + s.T)),
        rtol=1e-12,
        atol=1e-16,
    )


def test_drift_is_minus_the_gradient_of_the_regularised_loss():
    """USAM: f + (rho/2) E‖g_γ‖²; SAM: f + rho E‖g_γ‖. DNSAM's is none: not f + rho‖∇f‖."""

    def regularised(kind, w):
        g = jnp.stack([part.gradient(w) for part in LOSS.parts])
        if kind == "usam":
            return LOSS(w) + RHO / 2 * jnp.mean(jnp.sum(g * g, axis=1))
        if kind == "sam":
            return LOSS(w) + RHO * jnp.mean(jnp.linalg.norm(g, axis=1))
        return LOSS(w) + RHO * jnp.linalg.norm(jnp.mean(g, axis=0))

    w = jnp.asarray(W)
    for name in ("usam", "sam", "dnsam"):
        system = sf.Diffusion(LOSS, RULES[name], lr=LR, noise=sf.noise.MiniBatch(1))
        gradient = jax.jit(jax.grad(lambda w, name=name: regularised(name, w)))
        apart = drift(system, w) + gradient(w)
        if name == "dnsam":
            assert float(jnp.abs(apart).max()) > 0.1 * RHO
            # Its Jacobian is not symmetric either: the drift is the gradient of nothing.
            slope = jax.jacfwd(lambda w, s=system: drift(s, w))(w)
            assert float(jnp.abs(slope - slope.T).max()) > 0.05 * RHO
        else:
            np.testing.assert_allclose(apart, 0, atol=1e-14)


@pytest.mark.parametrize("name", RULES)
def test_exact_model_is_the_updates_own_mean_and_covariance(name):
    drawn = [sf.Map(LOSS.batch([i]), RULES[name], lr=LR).step(jnp.asarray(W)) for i in range(3)]
    moved = (np.asarray(drawn) - W) / LR
    system = sf.Diffusion(LOSS, RULES[name], lr=LR, noise=sf.noise.MiniBatch(1), moments="exact")
    np.testing.assert_allclose(drift(system, W), moved.mean(axis=0), rtol=1e-11)
    np.testing.assert_allclose(
        covariance(system), LR * np.cov(moved.T, bias=True), rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("name", ["usam", "sam", "dnsam"])
def test_leading_and_exact_differ_by_the_square_of_rho(name):
    def gap(rho):
        rule = rules.rule(name, rho=rho)
        pair = [
            sf.Diffusion(LOSS, rule, LR, sf.noise.MiniBatch(1), m) for m in ("leading", "exact")
        ]
        a, b = (np.r_[np.asarray(drift(s, W)), covariance(s).ravel() / LR] for s in pair)
        published = np.asarray(expanded(pair[0], W)).ravel() / LR
        return np.abs(a - b).max(), np.abs(a[2:] - published).max()

    for coarse, fine in zip(gap(2e-3), gap(1e-3), strict=True):
        assert coarse / fine == pytest.approx(4, rel=0.02)  # the next term is rho³


def test_additive_noise_against_quadrature_over_the_noise():
    """Closed forms for GD, USAM, DNSAM; one-dimensional quadrature for SAM; all against a plane."""
    w, g = jnp.asarray(W), np.asarray(LOSS.gradient(jnp.asarray(W)))
    h = np.asarray(LOSS.hessian(w))
    factor = np.linalg.cholesky(SIGMA / 4)
    # Polar coordinates about y = 0, where SAM's direction jumps: smooth in radius and angle.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    radius = 6 * (nodes + 1)  # 12 is twelve standard deviations and more
    angle = 2 * np.pi * np.arange(400) / 400
    e = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    y = radius[:, None, None] * e
    z = np.linalg.solve(factor, (y - g).reshape(-1, 2).T)
    density = np.exp(-0.5 * (z**2).sum(axis=0)) / (2 * np.pi * np.linalg.det(factor))
    p = density * np.repeat(6 * weights * radius, 400) * 2 * np.pi / 400
    y = y.reshape(-1, 2)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    for name, rule in RULES.items():
        d = y + RHO * ascents(name, y, g) @ h
        mean = p @ d
        system = sf.Diffusion(LOSS, rule, lr=LR, noise=sf.noise.AdditiveNoise(SIGMA, 4))
        np.testing.assert_allclose(drift(system, w), -mean, rtol=1e-11)
        np.testing.assert_allclose(
            covariance(system), LR * (p[:, None] * (d - mean)).T @ (d - mean), rtol=1e-9
        )


def test_usam_with_additive_noise_has_the_covariance_of_a_factor_one_plus_rho_h():
    h = np.asarray(LOSS.hessian(jnp.asarray(W)))
    system = sf.Diffusion(LOSS, RULES["usam"], lr=LR, noise=sf.noise.AdditiveNoise(SIGMA))
    stretched = (np.eye(2) + RHO * h) @ SIGMA @ (np.eye(2) + RHO * h)
    np.testing.assert_allclose(covariance(system), LR * stretched, rtol=1e-12)
    published = LR * (SIGMA + RHO * (h @ SIGMA + SIGMA @ h))
    np.testing.assert_allclose(expanded(system, W), published, rtol=1e-12)


def test_the_published_covariance_is_indefinite_where_rho_is_large_and_the_default_is_not():
    """1 + 2 rho λ < 0 for λ = −1, rho = .7; (1 + rho λ)² never is."""
    noise = sf.noise.isotropic_noise(1, sigma=1.0)
    system = sf.Diffusion(sf.loss("-x**2/2"), sf.USAM(rho=0.7), lr=1.0, noise=noise)
    w = jnp.ones(1)
    assert float(expanded(system, w)[0, 0]) == pytest.approx(-0.4, abs=1e-15)
    assert float(covariance(system, [1.0])[0, 0]) == pytest.approx(0.09, abs=1e-15)


def test_exact_moments_of_additive_noise_by_quadrature():
    """L = cos x: E sin(w + ρ(g + ξ)) and the like are closed forms."""
    rho, s, x = 0.3, 0.8, 0.5
    loss = sf.loss("cos(x)")
    noise = sf.noise.isotropic_noise(1, sigma=s)
    system = sf.Diffusion(loss, sf.USAM(rho=rho), lr=LR, noise=noise, moments="exact")
    point = x - rho * math.sin(x)  # w + ρg, g = −sin w
    a = math.exp(-0.5 * (rho * s) ** 2)
    mean = -a * math.sin(point)  # d = ξ − sin(point + ρξ)
    second = s**2 + (1 - a**4 * math.cos(2 * point)) / 2 - 2 * rho * s**2 * a * math.cos(point)
    # 16 nodes integrate polynomials of degree 31 exactly; beyond, (ρs)³² / 32!.
    assert float(drift(system, jnp.array([x]))[0]) == pytest.approx(-mean, rel=1e-12)
    assert covariance(system, [x])[0, 0] == pytest.approx(LR * (second - mean**2), rel=1e-11)


@pytest.mark.parametrize(("m", "s"), [(0.7, 1.3), (0.0, 1.0), (3.0, 1e-3), (1e-6, 2.0)])
def test_direction_of_a_gaussian_in_one_dimension_is_the_error_function(m, s):
    u, second = gaussian_direction(jnp.array([m]), jnp.array([[s * s]]))
    # Trapezoidal rule: 1e-13; where m/s is small, relative to 1.
    assert float(u[0]) == pytest.approx(math.erf(m / s / math.sqrt(2)), abs=1e-12)
    assert float(second[0, 0]) == pytest.approx(1, abs=1e-12)


def test_direction_of_an_isotropic_gaussian_has_equal_second_moments():
    for dim in (2, 3, 5):
        u, second = gaussian_direction(jnp.zeros(dim), 2.5 * jnp.eye(dim))
        np.testing.assert_allclose(u, 0, atol=1e-15)
        np.testing.assert_allclose(second, np.eye(dim) / dim, atol=1e-12)
    assert np.isnan(gaussian_direction(jnp.zeros(2), jnp.zeros((2, 2)))[0]).all()


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_root_of_regular_singular_and_zero_matrices(dim):
    rng = np.random.default_rng(dim)
    for rank in range(dim + 1):
        a = rng.normal(size=(dim, rank))
        found = np.asarray(root(jnp.asarray(a @ a.T)))
        # A zero eigenvalue is rounded to 1e-16, and its root to 1e-8: squared, 1e-15.
        np.testing.assert_allclose(found @ found.T, a @ a.T, atol=3e-15 * dim)


def test_few_examples_drive_as_many_brownian_motions_as_there_are():
    model = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(4, 2))
    loss = sf.losses.network(model, x, x[:, :1])
    system = sf.Diffusion(loss, sf.SAM(rho=0.1), lr=LR, noise=sf.noise.MiniBatch(1))
    w = loss.flatten(model)
    factor = eqx.filter_jit(system.diffusion)(w)
    assert factor.shape == (loss.dim, 4)
    assert system.num_noises == 4 < loss.dim
    np.testing.assert_allclose(factor.sum(axis=1), 0, atol=1e-15)  # centred


def test_where_the_models_are_smooth():
    w = jnp.zeros(1)
    loss = sf.losses.mean([sf.loss("x**2"), sf.loss("(x - 1)**2")])
    batch, none = sf.noise.MiniBatch(1), sf.noise.isotropic_noise(1, sigma=0.0)
    blurred = sf.noise.isotropic_noise(1, sigma=0.1)
    make = lambda rule, noise: sf.Diffusion(loss, rule, lr=LR, noise=noise)  # noqa: E731
    for noise in (batch, none, blurred):
        assert np.isinf(make(sf.USAM(rho=RHO), noise).singularity(w))
    # An example's gradient is 0 at 0, the whole one's at ½.
    contracts.check_undefined_motion(make(sf.SAM(rho=RHO), batch), w)
    contracts.check_undefined_motion(make(sf.SAM(rho=RHO), none), w + 0.5)
    contracts.check_undefined_motion(make(rules.DNSAM(rho=RHO), batch), w + 0.5)
    assert float(make(rules.DNSAM(rho=RHO), batch).singularity(w)) == 1
    # Noise in every direction smooths the jump of E u.
    smooth = make(sf.SAM(rho=RHO), blurred)
    assert np.isinf(smooth.singularity(w + 0.5))
    assert np.isfinite(smooth.drift(w + 0.5)).all()


def test_wrong_models_are_refused():
    one = sf.noise.MiniBatch(1)
    additive = sf.noise.isotropic_noise(2, sigma=1.0)
    many = sf.losses.mean([sf.loss("x**2")] * 40)
    cases = [
        (lambda: sf.Diffusion(LOSS, sf.GD(), lr=0.0, noise=one), "`lr` must be finite and greater"),
        (lambda: sf.Diffusion(LOSS, rules.FSAM(RHO), lr=1, noise=one), "must have no memory"),
        (lambda: sf.Diffusion(LOSS, "sam", lr=1, noise=one), "`rule` must be a Rule"),
        (lambda: sf.Diffusion(LOSS, sf.GD(), lr=1, noise=0.1), "`noise` must be a Noise"),
        (lambda: sf.Diffusion(sf.losses.beale(), sf.GD(), 1, one), "must be additive"),
        (lambda: sf.Diffusion(LOSS, sf.GD(), 1, one, "exact_at"), "Did you mean exact"),
        (lambda: sf.Diffusion(many, sf.GD(), 1, sf.noise.MiniBatch(5)), "658008. Use batch_size=1"),
        (lambda: sf.Diffusion(LOSS, sf.SAM(RHO), 1, additive, "exact"), "must be 'leading'"),
        (lambda: sf.Diffusion(LOSS, rules.ASAM(RHO), 1, additive), "Use moments='exact', or"),
        (lambda: sf.FunctionDiffusion(lambda z: z, lambda z: z, 2), r"returns shape \(2,\)"),
        (lambda: EulerMaruyama(sf.GD(), dt=0.1), "`diffusion` must be a Diffusion"),
        (lambda: EulerMaruyama(GBM, dt=0.0), "`dt` must be finite and greater than 0"),
    ]
    for make, message in cases:
        with pytest.raises(ArgumentError, match=message):
            make()


CHEAP = sf.losses.mean([sf.loss("x*y**2 - x"), sf.loss("x**2 + y")])
GBM = sf.FunctionDiffusion(
    lambda z: (0.5 * z[0], -z[1]),
    lambda z: ((0.8 * z[0], 0.0), (0.3, 0.2 * z[0])),
    dim=2,
    elementwise=True,
)


@pytest.mark.parametrize(
    "system",
    [
        sf.Diffusion(CHEAP, sf.SAM(RHO), LR, sf.noise.MiniBatch(1)),
        sf.Diffusion(CHEAP, rules.DNSAM(RHO), LR, sf.noise.MiniBatch(2), "exact"),
        sf.Diffusion(CHEAP, sf.USAM(RHO), LR, sf.noise.AdditiveNoise(SIGMA)),
        sf.Diffusion(sf.loss("x*y**2 - x"), sf.GD(), LR, sf.noise.AdditiveNoise(SIGMA), "exact"),
        GBM,
        sf.FunctionDiffusion(lambda z: -z, lambda z: jnp.eye(2), dim=2, name="ou"),
    ],
    ids=lambda system: system.describe(),
)
def test_contract(system):
    zs = jnp.array([[0.3, 0.8], [1.1, -0.4], [-0.6, 0.2]])
    contracts.check_jit_is_eager(system, zs[0])
    contracts.check_vmap_is_loop(system, zs)
    contracts.check_traced_once(system, zs[0])
    contracts.check_lift_and_position(system, zs[0])
    contracts.check_defined(system, zs[0])
    assert system.diffusion(zs[0]).shape == (2, system.num_noises)
    stepped = EulerMaruyama(system, dt=0.01)
    drawn = words(key_words(jax.random.key(0)), 3, 7, stepped.num_words)
    eager = stepped.step(zs[0], drawn)
    compiled = eqx.filter_jit(lambda s, z, d: s.step(z, d))(stepped, zs[0], drawn)
    np.testing.assert_allclose(compiled, eager, rtol=1e-12)


def test_euler_maruyama_is_its_formula_and_takes_components():
    stepped = EulerMaruyama(GBM, dt=0.04)
    z, xi = jnp.array([1.5, -0.5]), jnp.array([0.7, -1.1])
    factor = np.array([[1.2, 0.0], [0.3, 0.3]])
    np.testing.assert_allclose(
        stepped.move(z, xi), z + 0.04 * jnp.array([0.75, 0.5]) + 0.2 * factor @ xi, rtol=1e-15
    )
    zs = jnp.array([[1.5, -0.5], [0.2, 2.0], [-1.0, 0.3]])
    key, members = key_words(jax.random.key(5)), jnp.arange(3)
    together = stepped.step(Components(*zs.T), words(key, members, 2, stepped.num_words))
    single = [stepped.step(z, words(key, i, 2, stepped.num_words)) for i, z in enumerate(zs)]
    np.testing.assert_allclose(jnp.stack(together.parts, axis=-1), jnp.stack(single), rtol=1e-14)
    with pytest.raises(TypeError, match="not `elementwise`"):
        sf.FunctionDiffusion(lambda z: z, lambda z: jnp.eye(2), dim=2).diffusion(Components(*zs.T))


def test_spectrum_of_the_ornstein_uhlenbeck_generator_is_minus_n():
    """dX = −X dt + √2 dB: A He_n = −n He_n, n = 0, 1, 2, ..."""
    ou = sf.FunctionDiffusion(lambda z: -z, lambda z: jnp.sqrt(2.0) * jnp.eye(1), dim=1)
    padded = [
        np.r_[np.polynomial.hermite_e.herme2poly(np.eye(7)[n]), np.zeros(7)][:7] for n in range(7)
    ]

    @jax.jit
    def both(c, x):
        hermite = lambda z: jnp.polyval(c[::-1], z[0])  # noqa: E731
        return ou.generator(hermite, x[None]), hermite(x[None])

    for n, coefficients in enumerate(padded):
        for x in (-1.7, 0.0, 0.4, 2.3):
            rate, value = both(jnp.asarray(coefficients), jnp.asarray(x))
            assert float(rate) == pytest.approx(-n * float(value), abs=1e-11)  # rounding of 100s


def test_generator_is_the_rate_of_the_map_as_lr_goes_to_0():
    """E φ(w⁺) − φ(w) = lr Aφ + O(lr²) for the exact model: its covariance is O(lr)."""
    phi = lambda w: jnp.sin(w[0]) * w[1]  # noqa: E731

    def gap(lr):
        system = sf.Diffusion(LOSS, sf.USAM(RHO), lr, sf.noise.MiniBatch(1), "exact")
        w = jnp.asarray(W)
        ends = [phi(sf.Map(LOSS.batch([i]), sf.USAM(RHO), lr=lr).step(w)) for i in range(3)]
        return float((sum(ends) / 3 - phi(w)) / lr - system.generator(phi, w))

    assert gap(2e-4) / gap(1e-4) == pytest.approx(2, rel=1e-2)


def test_dnsam_divides_by_the_gradient_of_the_whole_loss():
    """On a batch, on a tilted loss and on two draws; a network's batch knows its whole as well."""
    w, g = jnp.asarray(W), gradients(W)
    whole = np.linalg.norm(g.mean(axis=0))
    batch = LOSS.batch([1])
    found = rules.DNSAM(RHO).direction(batch, w)
    np.testing.assert_allclose(found, gradients(W + RHO * g[1] / whole)[1], rtol=1e-12)
    assert np.abs(found - sf.SAM(RHO).direction(batch, w)).max() > 1e-3
    assert float(rules.DNSAM(RHO).singularity(batch, w)) == pytest.approx(whole, rel=1e-14)
    xi = jnp.array([0.5, -2.0])
    tilted = sf.systems.gradient_noise.TiltedLoss(LOSS, xi)
    up = W + RHO * (g.mean(axis=0) + xi) / whole
    np.testing.assert_allclose(
        rules.DNSAM(RHO).direction(tilted, w), gradients(up).mean(axis=0) + xi, rtol=1e-12
    )
    fresh = sf.StochasticMap(
        sf.Map(LOSS, rules.DNSAM(RHO), lr=LR), sf.noise.MiniBatch(1), fresh=True
    )
    drawn = words(key_words(jax.random.key(1)), 0, 3, fresh.num_words)
    first, second = (int(fresh.noise.indices(3, part)[0]) for part in drawn.split(1))
    assert first != second
    there = gradients(W + RHO * g[first] / whole)[second]
    np.testing.assert_allclose(fresh.step(w, drawn), W - LR * there, rtol=1e-12)


def test_dnsam_on_a_networks_batch():
    model = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(4, 2))
    loss = sf.losses.network(model, x, x[:, :1])
    w, batch = loss.flatten(model), loss.batch(np.array([2, 0]))
    g = eqx.filter_jit(lambda loss, w: loss.gradient(w))
    d = eqx.filter_jit(lambda rule, loss, w: rule.direction(loss, w))
    expected = g(batch, w + RHO * g(batch, w) / jnp.linalg.norm(g(loss, w)))
    np.testing.assert_allclose(d(rules.DNSAM(RHO), batch, w), expected, rtol=1e-12)
    on_all = d(rules.DNSAM(RHO), loss, w)
    np.testing.assert_allclose(on_all, d(sf.SAM(RHO), loss, w), rtol=1e-13)


def test_an_unknown_noise_is_refused():
    class Other(AbstractNoise):
        def num_words(self, loss):
            return 2

        def sample(self, loss, words):
            return loss

        def check(self, loss):
            return None

        def describe(self):
            return "other noise"

    with pytest.raises(ArgumentError, match="MiniBatch or AdditiveNoise, but is other noise"):
        sf.Diffusion(LOSS, sf.GD(), lr=1, noise=Other())
