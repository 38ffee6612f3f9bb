"""Trace and density from products against the dense Hessian, with errors that tell the truth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import samflow as sf
from samflow import networks, spectra
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.spectra.curvature import _xtrace, gaussian
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import extreme_eigenpairs


@pytest.fixture(scope="module")
def perceptron():
    """A perceptron of 1,960 weights on digits, away from a minimum, and its dense Hessian."""
    loss, w = networks.digits_loss(jr.key(0), num_images=60, hidden=26)
    assert loss.dim == 1960
    return loss, w, np.asarray(eqx.filter_jit(lambda loss, w: loss.hessian(w))(loss, w))


@pytest.fixture(scope="module")
def small():
    model = eqx.nn.MLP(3, 2, 8, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    loss = sf.losses.network(model, rng.normal(size=(30, 3)), rng.normal(size=(30, 2)))
    w = loss.flatten(model)
    return loss, w, np.linalg.eigvalsh(np.asarray(loss.hessian(w)))


def diagonal(eigenvalues):
    return sf.losses.Quadratic(jnp.asarray(eigenvalues))


def test_five_eigenvalues_at_each_end_of_a_perceptron(perceptron):
    loss, w, dense = perceptron
    exact = np.linalg.eigvalsh(dense)
    assert (np.abs(exact) < 1e-6 * exact[-1]).sum() > 400  # a cluster at 0, as networks have it
    pairs = extreme_eigenpairs(loss, w, k=5)
    assert (pairs.status == Status.located).all()
    # Each errs by residual²/gap, and by rounding 1e-16 · 20 against |λ| ≥ 1e-2.
    np.testing.assert_allclose(pairs.values, np.r_[exact[:5], exact[-5:]], rtol=1e-9)


def test_the_whole_trace_of_a_perceptron(perceptron):
    loss, w, dense = perceptron
    found = spectra.trace(loss, w, num_products=loss.dim, key=jr.key(0))
    assert (found.method, found.num_products) == ("exact", loss.dim)
    assert found.standard_error == 0
    np.testing.assert_allclose(found.value, np.trace(dense), rtol=1e-12)  # rounding only
    np.testing.assert_array_equal(found.interval, [found.value] * 2)


def test_a_few_products_give_a_perceptrons_trace_within_its_interval(perceptron):
    loss, w, dense = perceptron
    found = spectra.trace(loss, w, num_products=200, key=jr.key(0))
    assert (found.method, found.num_products, found.status) == ("xtrace", 200, Status.located)
    assert found.interval[0] < np.trace(dense) < found.interval[1]
    assert found.standard_error < 0.02 * abs(found.value)
    assert str(found).endswith("(xtrace, 200 products)")  # wide intervals say so


def test_the_estimates_are_those_of_the_definition(small):
    """Each probe left out in turn, with a basis of the others' images made afresh."""
    loss, w, _ = small
    matrix, m, dim = np.asarray(loss.hessian(w)), 6, loss.dim
    probes = gaussian(jr.key(3), m, dim)

    def estimates(probes):
        found = []
        for i, probe in enumerate(probes):
            q = np.linalg.qr(matrix @ np.delete(probes, i, axis=0).T)[0]
            r = probe - q @ (q.T @ probe)
            scale = (dim - len(probes) + 1) / (r @ r)
            found.append(np.trace(q.T @ matrix @ q) + scale * r @ matrix @ r)
        return np.array(found)

    found = spectra.trace(loss, w, num_products=2 * m + 1, key=jr.key(3))
    # The images' condition, 1e4 or so, times rounding.
    np.testing.assert_allclose(found.estimates, estimates(probes), rtol=1e-9)
    fewer = [estimates(np.delete(probes, i, axis=0)).mean() for i in range(m)]
    jackknife, usual = np.sqrt(m) * np.std(fewer), np.std(found.estimates, ddof=1) / np.sqrt(m)
    np.testing.assert_allclose(found.standard_error, np.sqrt(jackknife * usual), rtol=1e-8)


SPECTRA = {
    "slow decay": 1 / np.arange(1, 101),
    "flat": np.linspace(0.5, 1, 100),
    "indefinite": np.r_[np.linspace(0, 5, 20), -np.linspace(0, 1, 80)],
    "negative": -np.exp(-np.arange(100) / 10.0),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("num_products", [12, 40])
def test_the_interval_covers_as_often_as_it_says(spectrum, num_products):
    """Of 100 keys; a binomial of 100 and 0.95 is below 87 once in 1e3; of 0.98, 100 is not rare."""
    eigenvalues = SPECTRA[spectrum]
    loss, w = diagonal(eigenvalues), np.zeros(100)
    ask = {"num_products": num_products, "level": 0.95}
    found = [spectra.trace(loss, w, key=jr.key(seed), **ask) for seed in range(100)]
    ends = np.array([f.interval for f in found])
    covered = (ends[:, 0] <= eigenvalues.sum()) & (eigenvalues.sum() <= ends[:, 1])
    assert covered.sum() >= 87
    # The standard error is between right and 1.35 times too large: 100 keys know the errors to 7 %.
    errors = np.array([float(f.value) for f in found]) - eigenvalues.sum()
    said = np.sqrt(np.mean([float(f.standard_error) ** 2 for f in found]))
    assert 0.65 < np.sqrt(np.mean(errors**2)) / said < 1.15
    # And without bias: the mean of 100 is within 4 of its standard errors.
    assert abs(errors.mean()) < 4 * errors.std() / 10


SHARES = {
    "flat": (np.linspace(0.5, 1, 100), 0.95),
    "slow decay": (1 / np.arange(1, 101), 0.97),
    "fast decay": (np.exp(-np.arange(100) / 10), 0.97),
    "mixed signs": (np.r_[3, -2, 1.5, -1, 0.5 * np.cos(np.arange(96) ** 2)], 0.97),
    "low rank and a floor": (np.r_[np.linspace(1, 5, 8), np.full(92, 1e-3)], 0.97),
}


@pytest.mark.slow
@pytest.mark.parametrize("num_products", [12, 40])
@pytest.mark.parametrize("spectrum", SHARES)
def test_one_interval_in_twenty_misses_on_every_kind_of_spectrum(spectrum, num_products):
    """600 keys: four standard deviations of the binomial about the share that is said."""
    eigenvalues, share = SHARES[spectrum]
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(600):
        probes = draw.normal(size=(num_products // 2, 100))
        estimates, error, _, method = _xtrace(lambda v: eigenvalues * v, probes)
        assert method == "xtrace"
        half = scipy.stats.t.ppf(0.975, len(estimates) - 1) * error
        covered += abs(estimates.mean() - eigenvalues.sum()) <= half
    spread = 4 * np.sqrt(share * (1 - share) / 600)
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 600) <= covered / 600 <= min(share + spread, 0.995)


def test_an_interval_of_level_one_half_misses_about_half():
    """Where XTrace is nearly a mean, as for a flat spectrum, the standard error is nearly exact."""
    eigenvalues = SPECTRA["flat"]
    loss, w = diagonal(eigenvalues), np.zeros(100)
    covered = 0
    for seed in range(60):
        found = spectra.trace(loss, w, num_products=20, key=jr.key(seed), level=0.5)
        covered += bool(found.interval[0] <= eigenvalues.sum() <= found.interval[1])
    assert 15 <= covered <= 45  # 30 ∓ 4 standard deviations of the binomial


def test_a_trace_that_cancels_is_not_called_located():
    loss = diagonal(np.r_[np.linspace(0, 1, 100), -np.linspace(0, 1, 100)])
    found = spectra.trace(loss, np.zeros(200), num_products=20, key=jr.key(0))
    assert found.status == Status.residual_too_large
    assert found.interval[0] < 0 < found.interval[1]


@pytest.mark.parametrize("eigenvalues", [[3.0, -1.0, 2.0], [1e-3], []])
def test_a_hessian_of_low_rank_needs_no_estimate(eigenvalues):
    loss = diagonal(np.r_[eigenvalues, np.zeros(60 - len(eigenvalues))])
    found = spectra.trace(loss, np.zeros(60), num_products=20, key=jr.key(0))
    assert (found.method, found.status) == ("low rank", Status.located)
    np.testing.assert_allclose(found.value, sum(eigenvalues), atol=1e-14)
    assert found.num_products == 10 + len(eigenvalues)


@pytest.mark.parametrize("dim", [5, 50])
def test_a_trace_that_is_not_finite_says_so(dim):
    loss = sf.loss(lambda w: jnp.sum(jnp.abs(w) ** 1.5), dim=dim)  # H is infinite at 0
    found = spectra.trace(loss, np.zeros(dim), num_products=10, key=jr.key(0))
    assert (found.status, bool(np.isnan(found.value))) == (Status.not_finite, True)
    density = spectra.spectral_density(loss, np.zeros(dim), key=jr.key(0), num_probes=2)
    assert (density.status == Status.not_finite).all()
    assert np.isnan(density.density).all()
    assert np.isnan(density.negative.value)
    assert np.isnan(density.quantile(0.5).value)


@pytest.mark.slow
def test_the_densitys_moments_are_the_traces_of_powers(perceptron):
    """With as many probes as weights no chance is left: s = 2 nodes carry three moments."""
    loss, w, dense = perceptron
    density = spectra.spectral_density(loss, w, key=jr.key(0), num_probes=loss.dim, num_steps=2)
    power = np.eye(loss.dim)
    for k in range(4):
        value, error = density.moment(k)
        np.testing.assert_allclose(value, np.trace(power) / loss.dim, rtol=1e-9)
        assert error == 0
        power = power @ dense
    with pytest.raises(ArgumentError, match=r"`k` must be at most 2 · num_steps − 1 = 3, but is 4"):
        density.moment(4)


def test_each_probe_has_the_moments_of_its_own_measure(perceptron):
    loss, w, dense = perceptron
    density = spectra.spectral_density(loss, w, key=jr.key(5), num_probes=3, num_steps=30)
    np.testing.assert_allclose(density.weights.sum(axis=1), 1.0, rtol=1e-12)
    starts = np.linalg.qr(gaussian(jr.key(5), 3, loss.dim).T)[0].T
    for start, theta, omega in zip(starts, density.nodes, density.weights, strict=True):
        vector = start
        for k in range(9):
            # ‖H‖ᵏ takes part in rounding; the moments themselves are of that size over dim.
            np.testing.assert_allclose(omega @ theta**k, start @ vector, rtol=1e-9)
            vector = dense @ vector
    assert density.num_products == 90


def test_a_nodes_residual_bounds_its_distance_from_an_eigenvalue(perceptron):
    loss, w, dense = perceptron
    exact = np.linalg.eigvalsh(dense)
    density = spectra.spectral_density(loss, w, key=jr.key(5), num_probes=2, num_steps=30)
    distance = np.abs(np.asarray(density.nodes)[..., None] - exact).min(axis=-1)
    assert (distance <= np.asarray(density.residuals) + 1e-12 * exact[-1]).all()
    # The ends converge, the middle does not, and the residuals say both.
    assert (density.residuals[:, -1] < 1e-6 * exact[-1]).all()
    assert (density.residuals[:, 15] > 1e-4 * exact[-1]).all()


def test_all_probes_and_steps_give_the_spectrum_itself(small):
    loss, w, exact = small
    full = {"num_probes": loss.dim, "num_steps": loss.dim}
    density = spectra.spectral_density(loss, w, key=jr.key(0), **full)
    curves = np.exp(-0.5 * ((density.grid[:, None] - exact) / density.bandwidth) ** 2)
    expected = curves.mean(axis=1) / (np.sqrt(2 * np.pi) * float(density.bandwidth))
    # Nodes err by rounding, of which the curve takes 1/bandwidth² times.
    np.testing.assert_allclose(density.density, expected, atol=1e-8)
    np.testing.assert_array_equal(density.density_error, 0.0)
    assert np.trapezoid(density.density, density.grid) == pytest.approx(1, abs=1e-7)
    for level in (exact[3:5].mean(), exact[-3:-1].mean()):
        share = density.share_below(level)
        assert share.value == pytest.approx((exact < level).mean(), abs=1e-9)
        assert share.low <= share.value <= share.high
    middle = (exact.searchsorted(1.0) + 0.5) / loss.dim
    assert density.quantile(middle).value == pytest.approx(exact[exact.searchsorted(1.0)], abs=1e-9)


def test_shares_and_moments_lie_within_their_errors(perceptron):
    loss, w, dense = perceptron
    exact = np.linalg.eigvalsh(dense)
    density = spectra.spectral_density(loss, w, key=jr.key(1), num_probes=20, num_steps=40)
    for level in (-0.05, 0.0, 0.05, 1.0):
        share = density.share_below(level)
        slack = 4 * share.standard_error
        assert share.low - slack <= (exact < level).mean() <= share.high + slack
    assert density.negative == density.share_below(0.0)
    # At 0 the quadrature cannot tell, and its bounds are as far apart as that.
    assert density.negative.high - density.negative.low > 0.3
    assert density.share_below(1.0).high - density.share_below(1.0).low < 0.02
    for k in (1, 2):
        value, error = density.moment(k)
        assert abs(value - (exact**k).mean()) < 4 * error
    bounds = density.quantile(0.99)
    assert bounds.low <= bounds.value <= bounds.high
    assert bounds.low - 0.1 < np.quantile(exact, 0.99) < bounds.high + 0.1  # few probes


def test_the_standard_error_of_orthonormal_probes_is_that_of_many_runs():
    """Thirty probes of forty: without the correction 1 − p/dim it would be twice as large."""
    eigenvalues = np.linspace(-1, 2, 40)
    found = [
        spectra.spectral_density(
            diagonal(eigenvalues), np.zeros(40), key=jr.key(seed), num_probes=30, num_steps=1
        ).moment(1)
        for seed in range(100)
    ]
    values, errors = np.array(found).T
    # A standard deviation of 100 is known to 7 %.
    assert 0.75 < values.std() / np.sqrt(np.mean(errors**2)) < 1.3
    assert abs(values.mean() - eigenvalues.mean()) < 4 * values.std() / 10


def test_an_exhausted_space_adds_nodes_of_no_weight():
    loss = diagonal(np.r_[np.full(10, -1.0), np.full(30, 3.0)])
    density = spectra.spectral_density(loss, np.zeros(40), key=jr.key(0), num_probes=40)
    weight = np.asarray(density.weights)
    assert density.nodes.shape == (40, 40)
    assert ((weight > 1e-12).sum(axis=1) == 2).all()
    assert density.negative.value == pytest.approx(0.25, abs=1e-12)
    assert density.quantile(0.2).value == pytest.approx(-1)
    zero = spectra.spectral_density(diagonal(np.zeros(9)), np.zeros(9), key=jr.key(0), num_probes=2)
    assert np.trapezoid(zero.density, zero.grid) == pytest.approx(1, abs=1e-7)


def test_the_bandwidth_is_the_one_asked_for():
    ask = {"key": jr.key(0), "num_probes": 1, "num_steps": 5, "num_points": 9}
    density = spectra.spectral_density(diagonal(np.arange(5.0)), np.zeros(5), bandwidth=0.5, **ask)
    assert (float(density.bandwidth), len(density.grid)) == (0.5, 9)
    np.testing.assert_allclose(density.grid[jnp.array([0, -1])], [-3.0, 7.0], atol=1e-12)
    assert np.isnan(density.density_error).all()  # one probe has no spread


@pytest.mark.parametrize("chunk_size", [1, 7, 30, 100])
def test_products_in_chunks_are_the_whole_product(small, chunk_size):
    loss, w, _ = small
    v = np.random.default_rng(1).normal(size=loss.dim)
    whole = hessian_product(loss, w)(v)
    parts = loss.in_chunks(chunk_size)
    assert sum(share for share, _ in parts.chunks(chunk_size)) == pytest.approx(1)
    assert [part.num_examples for _, part in parts.chunks(chunk_size)] == [
        min(chunk_size, 30 - i) for i in range(0, 30, chunk_size)
    ]
    # Rounding of sums of 30; the last chunk of 7 has 2 and counts as 2.
    np.testing.assert_allclose(hessian_product(parts, w)(v), whole, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        spectra.trace(parts, w, num_products=20, key=jr.key(0)).value,
        spectra.trace(loss, w, num_products=20, key=jr.key(0)).value,
        rtol=1e-9,
    )


def test_chunks_are_read_from_arrays_on_disk(small, tmp_path):
    loss, w, _ = small
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", np.asarray(getattr(loss, name)))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "y")]
    on_disk = eqx.tree_at(lambda s: (s.x, s.y), loss, tuple(mapped)).in_chunks(7)
    v = np.ones(loss.dim)
    np.testing.assert_allclose(
        hessian_product(on_disk, w)(v), hessian_product(loss, w)(v), rtol=1e-12, atol=1e-13
    )


def test_the_key_decides(small):
    loss, w, _ = small
    ask = {"num_products": 20}
    one, again, other = (spectra.trace(loss, w, key=jr.key(s), **ask).value for s in (0, 0, 1))
    assert one == again != other
    density = spectra.spectral_density(loss, w, key=jr.key(0), num_probes=2, num_steps=9)
    more = spectra.spectral_density(loss, w, key=jr.key(0), num_probes=5, num_steps=9)
    # More probes keep the first ones, to rounding.
    np.testing.assert_allclose(density.nodes, more.nodes[:2], atol=1e-9)


def test_records_turn_into_json_and_datasets(small):
    loss, w, _ = small
    found = spectra.trace(loss, w, num_products=20, key=jr.key(0))
    assert '"method": "xtrace"' in found.to_json()
    density = spectra.spectral_density(loss, w, key=jr.key(0), num_probes=2, num_steps=9)
    assert density.to_dataset()["nodes"].dims == ("probe", "node")


def test_bad_input_fails_at_the_door(small):
    loss, w, _ = small
    key = jr.key(0)
    with pytest.raises(ArgumentError, match=r"`w` must have shape \(50,\)"):
        spectra.trace(loss, [0.0], key=key)
    with pytest.raises(ArgumentError, match=r"`num_products` must be .* at least 6, but is 5"):
        spectra.trace(loss, w, num_products=5, key=key)
    with pytest.raises(ArgumentError, match=r"`level` must be in \[0, 1\)"):
        spectra.trace(loss, w, level=1.0, key=key)
    with pytest.raises(ArgumentError, match="`num_probes` must be at most 50"):
        spectra.spectral_density(loss, w, num_probes=51, key=key)
    with pytest.raises(ArgumentError, match="`bandwidth` must be finite and greater than 0"):
        spectra.spectral_density(loss, w, bandwidth=0.0, key=key)
    with pytest.raises(ArgumentError, match="`num_steps` must be a whole number"):
        spectra.spectral_density(loss, w, num_steps=0, key=key)
    with pytest.raises(ArgumentError, match="`chunk_size` must be a whole number"):
        loss.in_chunks(0)


def test_single_precision_is_refused(small):
    loss, w, _ = small
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ArgumentError, match="the trace needs double precision"):
            spectra.trace(loss, w, key=jr.key(0))
        with pytest.raises(ArgumentError, match="the spectral density needs double precision"):
            spectra.spectral_density(loss, w, key=jr.key(0))
        with pytest.raises(ArgumentError, match="multipliers needs double precision"):
            spectra.update_multipliers(sf.Map(loss, sf.GD(), lr=0.1), w)
    finally:
        jax.config.update("jax_enable_x64", True)
