"""Extreme eigenpairs against dense linear algebra, and residuals that tell the truth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.losses import network
from samflow.spectra import spectrum
from samflow.spectra.spectrum import DENSE_DIM, extreme_eigenpairs

DIM = 260


class Quadratic(eqx.Module):
    """½ wᵀAw, whose Hessian is A everywhere."""

    a: jax.Array

    def __call__(self, w):
        return 0.5 * w @ self.a @ w


def quadratic(eigenvalues, seed=0):
    """A quadratic with these eigenvalues along random axes, and its matrix."""
    dim = len(eigenvalues)
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    matrix = axes @ np.diag(eigenvalues) @ axes.T
    matrix = (matrix + matrix.T) / 2
    return sf.losses.FunctionLoss(Quadratic(jnp.asarray(matrix)), dim), matrix


def assert_honest(pairs, matrix, scale):
    """Residuals are those of the pairs returned: recomputed here from the dense matrix."""
    vectors = np.asarray(pairs.vectors)
    residuals = np.linalg.norm(
        vectors @ matrix - np.asarray(pairs.values)[:, None] * vectors, axis=1
    )
    # Both carry the rounding of a product with H, dim · eps · ‖H‖ at most.
    np.testing.assert_allclose(pairs.residuals, residuals, atol=1e-13 * scale)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-12)


@pytest.fixture(scope="module")
def small_network():
    model = eqx.nn.MLP(12, 4, 16, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    loss = network(model, rng.normal(size=(30, 12)), rng.normal(size=(30, 4)))
    assert loss.dim > DENSE_DIM
    w = loss.flatten(model)
    return loss, w, np.asarray(jax.jit(lambda loss, w: loss.hessian(w))(loss, w))


@pytest.mark.parametrize("k", [1, 3])
def test_lanczos_finds_both_ends_of_a_networks_hessian(small_network, k):
    loss, w, dense = small_network
    exact = np.linalg.eigvalsh(dense)
    pairs = extreme_eigenpairs(loss, w, k=k)
    assert pairs.method == "lanczos"
    assert exact[0] < 0  # away from a minimum the Hessian is indefinite
    # λ errs by at most the residual, 1e-8 max|λ|, and by its square over the gap when simple.
    expected = np.r_[exact[:k], exact[-k:]]
    np.testing.assert_allclose(pairs.values, expected, atol=1e-8 * abs(exact).max())
    assert (pairs.status == Status.located).all()
    assert_honest(pairs, dense, abs(exact).max())


def test_dense_and_lanczos_agree_on_either_side_of_the_threshold(monkeypatch):
    loss, matrix = quadratic(np.linspace(-1, 3, DENSE_DIM))
    w = np.zeros(DENSE_DIM)
    dense = extreme_eigenpairs(loss, w, k=2)
    assert dense.method == "dense"
    monkeypatch.setattr(spectrum, "DENSE_DIM", 0)
    lanczos = extreme_eigenpairs(loss, w, k=2)
    assert lanczos.method == "lanczos"
    np.testing.assert_allclose(lanczos.values, dense.values, atol=3e-8)
    # The angle errs by residual/gap: 3e-8 over 4/199.
    np.testing.assert_allclose(lanczos.vectors, dense.vectors, atol=2e-6)
    assert_honest(dense, matrix, 3.0)


@pytest.mark.parametrize(("which", "expected"), [("largest", [8, 9]), ("smallest", [-2, -1])])
def test_each_end_alone(which, expected):
    loss, _ = quadratic(np.r_[-2, -1, np.linspace(0, 7, DIM - 4), 8, 9])
    pairs = extreme_eigenpairs(loss, np.zeros(DIM), k=2, which=which)
    np.testing.assert_allclose(pairs.values, expected, atol=1e-7)


def test_largest_means_algebraically_largest_even_where_all_are_negative():
    loss, _ = quadratic(-np.linspace(1, 50, DIM))
    pairs = extreme_eigenpairs(loss, np.zeros(DIM))
    np.testing.assert_allclose(pairs.values, [-50, -1], atol=1e-6)


def test_a_clustered_bottom_as_networks_have_it():
    """Two hundred eigenvalues within 1e-3 of 0, under twenty up to 21: where ARPACK gives up."""
    cluster = 1e-3 * np.random.default_rng(3).normal(size=DIM - 20)
    loss, matrix = quadratic(np.r_[cluster, np.linspace(1, 21, 20)])
    pairs = extreme_eigenpairs(loss, np.zeros(DIM), k=3)
    exact = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(pairs.values, np.r_[exact[:3], exact[-3:]], atol=2.1e-7)
    assert (pairs.status == Status.located).all()


def test_a_pair_cut_short_says_so_and_its_residual_is_true():
    loss, matrix = quadratic(np.linspace(0, 1, DIM))
    pairs = extreme_eigenpairs(loss, np.zeros(DIM), max_products=5)
    assert (pairs.status == Status.residual_too_large).all()
    assert (np.asarray(pairs.residuals) > 1e-2).all()
    assert_honest(pairs, matrix, 1.0)
    # The bound that holds whatever the status: an eigenvalue lies within the residual.
    exact = np.linalg.eigvalsh(matrix)
    for value, residual in zip(pairs.values, pairs.residuals, strict=True):
        assert np.abs(exact - float(value)).min() <= float(residual)


def test_repeated_eigenvalues_are_found_once_the_starts_space_is_exhausted():
    loss, _ = quadratic(np.r_[np.full(100, -1.0), np.full(100, 2.0), np.full(60, 5.0)])
    pairs = extreme_eigenpairs(loss, np.zeros(DIM), k=3)
    np.testing.assert_allclose(pairs.values, [-1, -1, -1, 5, 5, 5], atol=5e-8)
    v = np.asarray(pairs.vectors)
    np.testing.assert_allclose(v @ v.T, np.eye(6), atol=1e-8)


def test_the_zero_hessian_has_eigenvalue_zero_without_residual():
    loss = sf.loss(lambda w: jnp.sum(w), dim=DIM)
    pairs = extreme_eigenpairs(loss, np.zeros(DIM), k=2)
    np.testing.assert_array_equal(pairs.values, 0.0)
    np.testing.assert_array_equal(pairs.residuals, 0.0)


def test_beales_saddle_has_the_eigenvalues_of_its_closed_form():
    pairs = extreme_eigenpairs(sf.losses.beale(), [0.0, 1.0])  # H = [[0, 111/4], [111/4, 0]]
    np.testing.assert_allclose(pairs.values, [-27.75, 27.75], rtol=1e-14)


@pytest.mark.parametrize("dim", [2, DIM])
def test_a_hessian_that_is_not_finite_has_no_eigenvalues(dim):
    loss = sf.loss(lambda w: jnp.sum(jnp.abs(w) ** 1.5), dim=dim)  # H is infinite at 0
    pairs = extreme_eigenpairs(loss, np.zeros(dim))
    assert np.isnan(pairs.values).all()
    assert (pairs.status == Status.not_finite).all()


def test_the_seed_decides_the_start_and_not_the_answer(small_network):
    first, again, other = (
        extreme_eigenpairs(*small_network[:2], which="largest", key=jr.key(s)) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert not np.array_equal(first.vectors, other.vectors)
    np.testing.assert_allclose(first.values, other.values, rtol=1e-8)
    np.testing.assert_allclose(first.vectors, other.vectors, atol=1e-6)  # the sign included


def test_the_product_is_compiled_once_for_all_calls():
    traced = []

    class Counted(eqx.Module):
        a: jax.Array

        def __call__(self, w):
            traced.append(1)
            return 0.5 * self.a * w @ w

    for a in (1.0, 2.0):
        before = len(traced)
        loss = sf.losses.FunctionLoss(Counted(jnp.asarray(a)), DIM)
        extreme_eigenpairs(loss, np.ones(DIM), which="largest", max_products=20)
    assert len(traced) == before


def test_bad_input_fails_at_the_door():
    loss = sf.losses.beale()
    with pytest.raises(ArgumentError, match=r"`w` must have shape \(2,\)"):
        extreme_eigenpairs(loss, [0.0])
    with pytest.raises(ArgumentError, match="no more eigenpairs than the 2 weights, but is 2"):
        extreme_eigenpairs(loss, [0.0, 1.0], k=2)
    with pytest.raises(ArgumentError, match=r"Unknown which `large`. Did you mean largest?"):
        extreme_eigenpairs(loss, [0.0, 1.0], which="large")
    with pytest.raises(ArgumentError, match="at least 1, but is 0"):
        extreme_eigenpairs(loss, [0.0, 1.0], k=0)
    with pytest.raises(ArgumentError, match="`tol` must be finite and greater than 0"):
        extreme_eigenpairs(loss, [0.0, 1.0], tol=float("nan"))


def test_single_precision_is_refused():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ArgumentError, match="extreme eigenvalues needs double precision"):
            extreme_eigenpairs(sf.losses.beale(), [0.0, 1.0])
    finally:
        jax.config.update("jax_enable_x64", True)
