"""The mean-square rate against Kronecker products over all batches, and against simulation."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh

import samflow as sf
from samflow._checks import ArgumentError
from samflow.noise.interpolation import batch_operator
from samflow.noise.interpolation.batch_moments import BatchMoments, coefficients, partitions
from samflow.noise.interpolation.linearisation import Linearisation, linearise
from tests.noise.problems import (
    brute_force,
    every_batch,
    least_squares,
    random_rows,
    system,
)

ROUNDING = 1e-10  # eigenvalues of nonsymmetric matrices of order 36, condition numbers to 1e4


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_the_radius_is_that_of_kronecker_products_over_all_batches(batch_size, rho, replacement):
    rows = random_rows(0)
    settings = {"lr": 0.2, "batch_size": batch_size, "replacement": replacement}
    found = sf.mean_square_rate(system(rows, rho, **settings), np.zeros(3))
    assert found.expectation == "exact"
    assert found.status is sf.Status.located
    assert found.radius == pytest.approx(brute_force(rows, rho, **settings), rel=ROUNDING)


@pytest.mark.parametrize(
    "more",
    [{"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"fresh": True}],
    ids=["heavy ball", "Nesterov", "second draw"],
)
@pytest.mark.parametrize("replacement", [False, True])
def test_momentum_and_a_second_draw_are_exact_too(more, replacement):
    rows = random_rows(1, n=4)
    settings = {"lr": 0.1, "batch_size": 2, "replacement": replacement, **more}
    found = sf.mean_square_rate(system(rows, 0.2, **settings), np.zeros(3))
    assert found.radius == pytest.approx(brute_force(rows, 0.2, **settings), rel=ROUNDING)


@pytest.mark.parametrize("places", [2, 3, 4])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 5])
def test_the_weights_of_partitions_are_those_of_all_batches(places, batch_size, replacement):
    # one number an example and a place: products of means, and means of products
    n, x = 5, np.random.default_rng(2).normal(size=(4, 5))
    direct = np.mean(
        [
            np.prod([x[k, list(batch)].mean() for k in range(places)])
            for batch in every_batch(n, batch_size, replacement)
        ]
    )
    weights = coefficients(places, batch_size, n, replacement)
    total = sum(
        float(c) * np.prod([np.mean(np.prod(x[[k - 1 for k in block]], axis=0)) for block in tau])
        for tau, c in weights.items()
    )
    assert total == pytest.approx(direct, abs=1e-13)  # fifteen terms of size at most 100
    assert sum(weights.values()) == 1


def test_partitions_are_counted_by_bell():
    assert [len(set(partitions(m))) for m in range(6)] == [1, 1, 2, 5, 15, 52]


@pytest.mark.parametrize("replacement", [False, True])
def test_moments_of_examples_of_several_outputs_that_also_curve_down(replacement):
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(4, 2, 3))
    signs = np.array([[1, 1], [1, -1], [-1, -1], [1, 1.0]])
    data = Linearisation(rows, signs, np.eye(3), 0.0, 0.0)
    x = generator.normal(size=(3, 3))
    x = x + x.T
    for batch_size in (1, 2, 3, 4):
        moments = BatchMoments(data, batch_size, replacement)
        batches = every_batch(4, batch_size, replacement)
        h = np.array([data.hessians()[list(batch)].mean(axis=0) for batch in batches])
        square = h @ h
        wanted = {
            "pair": h @ x @ h,
            "triple": square @ x @ h + h @ x @ square,
            "quadruple": square @ x @ square,
        }
        for name, each in wanted.items():
            found = getattr(moments, name)(x)
            # rounding of sums of fifteen products of norm up to 1e4
            assert_allclose(found, each.mean(axis=0), rtol=0, atol=1e-11 * np.abs(each).max())


def test_a_krylov_method_and_the_dense_matrix_agree(monkeypatch):
    rows = random_rows(4, n=9, d=6)
    for more in ({}, {"momentum": 0.5}):
        step = system(rows, 0.05, lr=0.1, batch_size=3, **more)
        dense = sf.mean_square_rate(step, np.zeros(6))
        with monkeypatch.context() as patch:
            patch.setattr(batch_operator, "DENSE_SIZE", 0)
            krylov = sf.mean_square_rate(step, np.zeros(6))
        assert dense.method == "dense"
        assert krylov.method == ("arnoldi" if more else "lanczos")
        assert krylov.radius == pytest.approx(dense.radius, rel=1e-8)  # ten times the tolerance
        assert krylov.residual < 1e-9 * krylov.radius


def test_listing_all_batches_of_a_rule_without_closed_form_gives_what_usam_has():
    # PracticalSAM has the Jacobian of USAM with rho/eps at a critical point (Proposition 11)
    rows = random_rows(5)
    usam = system(rows, 0.2, lr=0.2, batch_size=2, replacement=True)
    practical = sf.StochasticMap(
        sf.Map(usam.loss, sf.rules.PracticalSAM(rho=0.1, eps=0.5), lr=0.2), usam.noise
    )
    exact = sf.mean_square_rate(usam, np.zeros(3))
    listed = sf.mean_square_rate(practical, np.zeros(3))
    assert listed.expectation == "enumerated"
    assert listed.radius == pytest.approx(exact.radius, rel=ROUNDING)


def test_a_monte_carlo_radius_is_within_its_error_and_the_error_falls():
    step = system(random_rows(6), 0.1, lr=0.2, batch_size=2)
    exact = sf.mean_square_rate(step, np.zeros(3)).radius
    errors = []
    for count in (500, 8000):
        found = sf.mean_square_rate(
            step, np.zeros(3), expectation="monte carlo", num_samples=count, key=jr.key(1)
        )
        assert found.expectation == "monte carlo"
        assert abs(found.radius - exact) < 4 * found.standard_error  # 6e-5 by chance; seed fixed
        errors.append(found.standard_error)
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.3)  # sixteen times as many draws


@pytest.mark.parametrize("rho", [0.0, 0.2])
def test_the_mean_square_of_simulated_steps_moves_as_the_operator_says(rho):
    # E‖w_k‖² itself, over all 4^5 sequences of batches of one: no sampling, so rounding only
    rows, lr, steps = random_rows(7, n=4), 0.15, 5
    step = system(rows, rho, lr=lr)
    data = linearise(step.loss, np.zeros(3))
    apply = batch_operator.operator(BatchMoments(data, 1, False), batch_operator.update(step))
    start = np.array([1.0, -2.0, 0.5])
    points = start[None]
    p = np.outer(data.basis @ start, data.basis @ start)
    for _ in range(steps):
        moved = []
        for a in rows:
            r = points @ a
            moved.append(points - lr * (1 + rho * a @ a) * r[:, None] * a)
        points, p = np.concatenate(moved), apply(p)
    assert np.trace(p) == pytest.approx(np.mean((points**2).sum(axis=1)), rel=1e-12)


def test_directions_that_no_example_sees_are_left_out():
    # two rows in five dimensions: across them every step is the identity, with radius 1
    rows = random_rows(8, n=2, d=5)
    found = sf.mean_square_rate(system(rows, 0.1, lr=0.01), np.zeros(5))
    assert found.span_dim == 2
    assert found.stable
    inside = rows @ np.linalg.svd(rows)[2][:2].T
    wanted = brute_force(inside, 0.1, lr=0.01, batch_size=1, replacement=False)
    assert found.radius == pytest.approx(wanted, rel=ROUNDING)
    listed = sf.mean_square_rate(system(rows, 0.1, lr=0.01), np.zeros(5), expectation="enumerated")
    assert listed.span_dim == 2
    assert listed.radius == pytest.approx(wanted, rel=ROUNDING)


def test_one_step_size_has_a_closed_form_for_the_threshold_of_sgd():
    # Mulayoff and Michaeli 2023: 2/λmax of the pencil (E[H_B ⊗ H_B], H ⊕ H), on symmetric matrices
    rows = random_rows(9, n=6)
    for batch_size in (1, 2, 5):
        step = system(rows, lr=0.1, batch_size=batch_size)
        data = linearise(step.loss, np.zeros(3))
        moments = BatchMoments(data, batch_size, False)
        h = moments.hessian
        noise = batch_operator.as_matrix(moments.pair, 3)
        drift = batch_operator.as_matrix(lambda x, h=h: h @ x + x @ h, 3)
        wanted = 1 / eigh(noise, drift, eigvals_only=True)[-1]
        found = sf.noise.stability_threshold(step, np.zeros(3))
        assert found.value == pytest.approx(wanted, rel=1e-8)  # the bracket is 1e-9 wide


@pytest.mark.parametrize("parameter", ["lr", "rho"])
@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_a_threshold_has_stable_below_and_unstable_above(parameter, batch_size):
    rows = random_rows(10)
    step = system(rows, 0.1, lr=0.05, batch_size=batch_size)
    found = sf.noise.stability_threshold(step, np.zeros(3), parameter)
    assert found.status is sf.Status.located
    assert found.margin_low <= 0 < found.margin_high
    assert found.high - found.low < 1e-7 * found.high
    for factor, verdict in ((0.999, "stable"), (1.001, "unstable")):
        value = {"lr": 0.05, "rho": 0.1, parameter: factor * found.value}
        moved = system(rows, value["rho"], lr=value["lr"], batch_size=batch_size)
        assert sf.mean_square_rate(moved, np.zeros(3)).stability == verdict


def test_the_full_batch_has_the_thresholds_of_the_map_without_noise():
    rows = random_rows(11)
    lams = np.linalg.eigvalsh(rows.T @ rows / 5)
    step = system(rows, 0.3, lr=0.1, batch_size=5)
    found = sf.noise.stability_threshold(step, np.zeros(3))
    assert found.value == pytest.approx(2 / (lams[-1] * (1 + 0.3 * lams[-1])), rel=1e-8)
    rate = sf.mean_square_rate(step, np.zeros(3)).rate
    slowest = np.abs(1 - 0.1 * lams * (1 + 0.3 * lams)).max()
    assert rate == pytest.approx(2 * np.log(slowest), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_of_one_of_usam_is_sgd_on_longer_rows_and_keeps_less(seed):
    rho, rows = 0.4, random_rows(100 + seed, n=4, spread=1.0)
    longer = rows * np.sqrt(1 + rho * (rows**2).sum(axis=1, keepdims=True))
    usam, sgd = system(rows, rho, lr=0.1), system(rows, lr=0.1)
    scaled = sf.mean_square_rate(system(longer, lr=0.1), np.zeros(3)).radius
    assert sf.mean_square_rate(usam, np.zeros(3)).radius == pytest.approx(scaled, rel=1e-10)
    kept = [sf.noise.stability_threshold(s, np.zeros(3)).value for s in (usam, sgd)]
    assert kept[0] < kept[1]


def test_a_point_that_fits_no_example_exactly_says_that_noise_at_rest_is_left_out():
    loss = sf.losses.mean([sf.loss("(x - 1)**2"), sf.loss("(x + 1)**2")])
    step = sf.StochasticMap(sf.Map(loss, sf.GD(), lr=0.1), sf.noise.MiniBatch(1))
    found = sf.mean_square_rate(step, [0.0])
    assert found.status is sf.Status.not_a_fixed_point
    assert found.gradient_norm == pytest.approx(2.0)
    assert "noise at rest" in str(found)


@pytest.mark.filterwarnings("ignore")
def test_a_network_goes_through_the_rows_of_its_outputs():
    import equinox as eqx

    model = eqx.nn.MLP(2, 2, 4, 1, activation=lambda x: x**2, key=jr.key(0))
    x = np.random.default_rng(0).normal(size=(3, 2))
    y = np.asarray([model(row) for row in x])
    loss = sf.losses.network(model, x, y)
    w = loss.flatten(model)
    data = linearise(loss, w)
    assert data.interpolates
    hessians = [np.asarray(part.hessian(w)) for part in loss.shards(1)]
    inside = np.einsum("am,iab,bn->imn", data.basis.T, hessians, data.basis.T)
    # at an exact fit the Gauss–Newton matrix is the Hessian
    assert_allclose(data.hessians(), inside, atol=1e-10 * np.abs(inside).max())
    step = sf.StochasticMap(sf.Map(loss, sf.USAM(rho=0.01), lr=0.01), sf.noise.MiniBatch(2))
    exact = sf.mean_square_rate(step, w)
    listed = sf.mean_square_rate(step, w, expectation="enumerated")
    assert exact.span_dim == listed.span_dim
    assert exact.radius == pytest.approx(listed.radius, rel=1e-8)  # span cut at 1e-12 of λ²


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: sf.mean_square_rate(s.map, np.zeros(3)), "must be a StochasticMap"),
        (lambda s: sf.mean_square_rate(s, np.zeros(2)), "must have shape"),
        (lambda s: sf.mean_square_rate(s, np.full(3, np.nan)), "must be finite"),
        (lambda s: sf.mean_square_rate(s, np.zeros(3), expectation="guess"), "Unknown expectation"),
        (
            lambda s: sf.mean_square_rate(s, np.zeros(3), expectation="monte carlo"),
            "`key` must be given",
        ),
        (
            lambda s: sf.mean_square_rate(
                sf.StochasticMap(sf.Map(s.loss, sf.SAM(rho=0.1), lr=0.1), s.noise), np.zeros(3)
            ),
            "no linearisation",
        ),
        (
            lambda s: sf.mean_square_rate(
                sf.StochasticMap(s.map, sf.noise.isotropic_noise(3, sigma=1.0)), np.zeros(3)
            ),
            "must draw mini-batches",
        ),
        (
            lambda s: sf.noise.stability_threshold(s, np.zeros(3), "rho"),
            "must be of USAM",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make(system(random_rows(12), lr=0.1))


def test_no_radius_is_found_where_sgd_itself_is_unstable():
    step = system(random_rows(13), 0.1, lr=50.0)
    with pytest.raises(ArgumentError, match="must be stable at rho = 0"):
        sf.noise.stability_threshold(step, np.zeros(3), "rho")


def test_a_loss_without_curvature_is_refused():
    with pytest.raises(ArgumentError, match="the Hessian of some example is not 0, but all are 0"):
        sf.mean_square_rate(system(np.zeros((2, 2)), lr=0.1), np.zeros(2))
    assert least_squares(np.eye(2)).num_examples == 2


def test_a_radius_that_overflows_has_no_rate():
    with np.errstate(over="ignore", invalid="ignore"):
        found = sf.mean_square_rate(system(random_rows(0), 0.1, lr=1e200), np.zeros(3))
    assert found.status is sf.Status.not_finite
    assert np.isnan(found.rate)
    assert found.stability == "undecided"


@pytest.mark.parametrize("small", [1e-3, 1e-7, 1e-9])
def test_a_direction_that_hardly_curves_does_not_move_the_threshold_with_momentum(small):
    """Its radius is 1 to rounding at every lr; the other direction decides, here exactly."""
    found, alone = (
        sf.noise.stability_threshold(system(rows, 0.1, lr=0.1, momentum=0.9), np.zeros(2)).value
        for rows in ([[1.0, 0.0], [0.0, small]], [[1.0, 0.0], [0.0, 0.0]])
    )
    assert found == pytest.approx(alone, rel=1e-8)  # brackets of 1e-9


@pytest.mark.parametrize("k", [1e-8, 1.0, 1e8])
def test_whether_a_point_fits_does_not_depend_on_units(k):
    """f(w) = w/k at one example: fitted at w = k to 1e-9, and not to 1e-3, of itself."""
    for off, fits in ((1e-9, True), (1e-3, False)):
        loss = sf.losses.network_function(
            lambda w, x: x * w["w"] / k, {"w": jnp.array([k])}, [[1.0]], [[1.0]], loss="squared"
        )
        assert linearise(loss, [k * (1 + off)]).interpolates is fits
