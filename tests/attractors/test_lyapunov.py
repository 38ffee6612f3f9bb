"""Lyapunov exponents of maps against closed forms, literature and a loop in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow.attractors import kaplan_yorke
from samflow.attractors._frames import ArrayFrames, ScalarFrames
from samflow.attractors._map_growth import _BLOCK, _CHUNK
from samflow.systems import AbstractMap
from tests import contracts, references

ROUNDING = 1e-12
"""A mean of logs of size 1, each known to a few units in the 16th digit."""


class Scaled(eqx.Module):
    """z ↦ factor z, the factor a leaf, so that one program serves all of these tests."""

    factor: jax.Array

    def __call__(self, z):
        return (self.factor * z[0],)


class Logistic(eqx.Module):
    r: jax.Array

    def __call__(self, z):
        return (self.r * z[0] * (1 - z[0]),)


class Henon(eqx.Module):
    a: jax.Array

    def __call__(self, z):
        return 1 - self.a * z[0] ** 2 + z[1], 0.3 * z[0]


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, z):
        return self.matrix @ z


def elementwise(function, dim):
    return sf.FunctionMap(function, dim=dim, elementwise=True)


def scaled(factor):
    return elementwise(Scaled(jnp.asarray(factor)), 1)


def logistic(r):
    return elementwise(Logistic(jnp.asarray(r)), 1)


def henon(a=1.4):
    return elementwise(Henon(jnp.asarray(a)), 2)


def linear(matrix):
    return sf.FunctionMap(Linear(jnp.asarray(matrix)), dim=len(matrix))


def status(found):
    return sf.Status(int(found.status)).name


def check_statistical(found, expected, floor):
    """Five standard errors, and what the literature's last digit leaves open."""
    assert status(found) == "reached_end"
    for value, error, exact in zip(found.exponents, found.standard_error, expected, strict=True):
        assert float(value) == pytest.approx(exact, abs=5 * float(error) + floor)
        assert float(error) < 0.002  # or the test would be passed by anything


def test_logistic_map_at_4_has_ln_2():
    found = sf.lyapunov_spectrum(logistic(4.0), [0.1234], num_steps=1_000_000, num_transient=100)
    check_statistical(found, [np.log(2)], 0)
    assert float(found.kaplan_yorke) == 1


def test_henon():
    first, second, dimension = references.LYAPUNOV_MAPS["henon"]
    found = sf.lyapunov_spectrum(henon(), [0.1, 0.1], num_steps=1_000_000, num_transient=100)
    check_statistical(found, [first, second], 1e-5)
    # |det DF| = .3 everywhere, so that no orbit can give another sum.
    assert float(found.sum) == pytest.approx(np.log(0.3), abs=ROUNDING)
    slack = 5 * float(found.standard_error[0]) / abs(second)
    assert float(found.kaplan_yorke) == pytest.approx(dimension, abs=slack + 1e-5)


def test_lozi():
    first, second, dimension = references.LYAPUNOV_MAPS["lozi"]
    lozi = elementwise(lambda z: (1 - 1.7 * jnp.abs(z[0]) + z[1], 0.5 * z[0]), 2)
    found = sf.lyapunov_spectrum(lozi, [0.1, 0.1], num_steps=500_000, num_transient=100)
    check_statistical(found, [first, second], 1e-5)
    assert float(found.sum) == pytest.approx(np.log(0.5), abs=ROUNDING)
    assert float(found.kaplan_yorke) == pytest.approx(dimension, abs=0.002)


def test_cat_map():
    """Starts k/2⁵⁰: every operation is then exact, and the map permutes these points."""

    def cat(z):
        x, y = 2 * z[0] + z[1], z[0] + z[1]
        return x - jnp.floor(x), y - jnp.floor(y)

    start = np.floor(np.array([0.1, 0.7]) * 2**50) / 2**50
    system = elementwise(cat, 2)
    found = sf.lyapunov_spectrum(system, start, num_steps=20_000, num_transient=100)
    exact = references.LYAPUNOV_CAT
    np.testing.assert_allclose(found.exponents, [exact, -exact], atol=ROUNDING)
    assert float(found.sum) == pytest.approx(0, abs=ROUNDING)
    orbit = sf.iterate(system, start, num_steps=20_000)
    assert sf.Status(int(orbit.status)) is sf.Status.out_of_steps  # it has not collapsed
    assert (np.asarray(orbit.final) * 2**50 % 1 == 0).all()


def test_skew_tent_map():
    """−a ln a − (1−a) ln(1−a); a is not dyadic, so that the orbit does not run out of digits."""
    a = 0.37
    tent = elementwise(lambda z: (jnp.where(z[0] < a, z[0] / a, (1 - z[0]) / (1 - a)),), 1)
    found = sf.lyapunov_spectrum(tent, [0.1234], num_steps=500_000, num_transient=100)
    check_statistical(found, [-a * np.log(a) - (1 - a) * np.log(1 - a)], 0)


def test_standard_map():
    def standard(z):
        p = z[1] + 10 * jnp.sin(z[0])
        p = p - 2 * np.pi * jnp.floor(p / (2 * np.pi))
        x = z[0] + p
        return x - 2 * np.pi * jnp.floor(x / (2 * np.pi)), p

    found = sf.lyapunov_spectrum(elementwise(standard, 2), [0.3, 0.5], num_steps=400_000)
    exact = references.LYAPUNOV_STANDARD  # an expansion in 1/K, next term of order 1e-4
    check_statistical(found, [exact, -exact], 5e-4)
    assert float(found.sum) == pytest.approx(0, abs=ROUNDING)


def test_rotation_has_none():
    def turn(z):
        return 0.6 * z[0] - 0.8 * z[1], 0.8 * z[0] + 0.6 * z[1]

    found = sf.lyapunov_spectrum(elementwise(turn, 2), [1.0, 0.5], num_steps=2000)
    np.testing.assert_allclose(found.exponents, 0, atol=ROUNDING)
    assert status(found) == "reached_end"


@pytest.mark.parametrize("dim", [4, 6])
def test_linear_maps_have_the_logs_of_their_eigenvalues(dim):
    """In scalars up to four dimensions, by QR beyond."""
    eigenvalues = np.array([-1.3, 0.8, 0.5, -0.2, 0.1, 0.04])[:dim]
    basis = np.random.default_rng(dim).standard_normal((dim, dim)) + 2 * np.eye(dim)
    matrix = basis @ np.diag(eigenvalues) @ np.linalg.inv(basis)
    found = sf.lyapunov_spectrum(linear(matrix), np.zeros(dim), num_steps=300, num_transient=200)
    # The frame falls into place at the rate of the ratios, at most .625 a step: 1e-40 by then.
    np.testing.assert_allclose(found.exponents, np.log(np.abs(eigenvalues)), atol=1e-11)


def test_the_first_of_all_is_the_first_alone():
    both, first = (
        sf.lyapunov_spectrum(henon(1.0), [0.1, 0.1], num_steps=500, num_exponents=k) for k in (2, 1)
    )
    # A stable 4-cycle, so that rounding dies out.
    np.testing.assert_allclose(first.exponents, both.exponents[:1], atol=ROUNDING)
    assert first.standard_error.shape == (1,)


@pytest.mark.parametrize("point", references.HENON)
def test_fixed_points_of_henon_have_the_logs_of_their_multipliers(point):
    """They repel: rounding grows by 3.26 a step, and so do the digits that the reference lacks."""
    x = (-0.7 + np.sign(point) * np.sqrt(0.49 + 5.6)) / 2.8
    assert x == pytest.approx(point, abs=1e-7)
    found = sf.lyapunov_spectrum(henon(), [x, 0.3 * x], num_steps=8, num_transient=8)
    exact = np.log(np.abs(references.HENON[point]))
    # 1e-16 · 3.26¹⁶ = 2e-8 from the orbit; .081^8 = 2e-9 from the frame; the reference's digits.
    slack = 5e-7 / np.abs(references.HENON[point])
    assert (np.abs(np.asarray(found.exponents) - exact) < 1e-7 + slack).all()


def test_two_cycle_of_the_logistic_map():
    r = 3.2
    found = sf.lyapunov_spectrum(logistic(r), [0.4], num_steps=1000, num_transient=2000)
    assert float(found.exponents[0]) == pytest.approx(np.log(4 + 2 * r - r * r) / 2, abs=ROUNDING)
    assert float(found.kaplan_yorke) == 0


def test_trap_and_cycle_of_normalised_sam():
    """On ½λw² the slope of the step is 1 − ηλ wherever there is one."""
    for lam, start in ((-1.0, 0.003), (1.0, 0.02), (1.0, -0.4)):
        system = sf.Map(sf.losses.saddle((lam,)), sf.SAM(rho=0.1), lr=0.1)
        found = sf.lyapunov_spectrum(system, [start], num_steps=5000, num_transient=10)
        assert float(found.exponents[0]) == pytest.approx(np.log(abs(1 - 0.1 * lam)), abs=ROUNDING)
        assert status(found) == "reached_end"


def test_momentum_contracts_volumes_by_itself():
    """|det DF| = momentum^dim for heavy ball, and full states are taken as starts."""
    system = sf.Map(sf.losses.himmelblau(), sf.GD(), lr=0.005, momentum=0.9)
    found = sf.lyapunov_spectrum(system, [0.3, 0.4], num_steps=500)
    assert found.exponents.shape == (4,)
    assert float(found.sum) == pytest.approx(2 * np.log(0.9), abs=ROUNDING)
    full = sf.lyapunov_spectrum(system, [0.3, 0.4, 0.0, 0.0], num_steps=500)
    np.testing.assert_array_equal(full.exponents, found.exponents)


def numpy_henon(a, start, num_steps):
    """QR at every step with a Jacobian written by hand: the independent twin."""
    (x, y), sums = start, 0.0
    q = np.asarray(ScalarFrames(2, 2).to_array(ScalarFrames(2, 2).start((), float))).T
    for _ in range(num_steps):
        jacobian = np.array([[-2 * a * x, 1.0], [0.3, 0.0]])
        x, y = 1 - a * x**2 + y, 0.3 * x
        q, r = np.linalg.qr(jacobian @ q)
        sums = sums + np.log(np.abs(np.diag(r)))
    return sums / num_steps


@pytest.mark.parametrize(
    ("a", "num_steps"),
    [
        (1.0, 3000),  # a 4-cycle: rounding dies out
        (1.4, 40),  # chaos: 1e-16 · e^(.42 · 40) = 2e-9 in the last state
    ],
)
def test_henon_agrees_with_numpy(a, num_steps):
    found = sf.lyapunov_spectrum(henon(a), [0.1, 0.1], num_steps=num_steps)
    twin = numpy_henon(a, (0.1, 0.1), num_steps)
    np.testing.assert_allclose(found.exponents, twin, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 6])
def test_both_layouts_are_the_qr_of_numpy(dim):
    rows = (
        np.random.default_rng(dim).standard_normal((5, dim, dim))
        * np.logspace(0, -40, dim)[:, None]
    )
    exact = np.abs(np.diagonal(np.linalg.qr(np.swapaxes(rows, 1, 2))[1], axis1=1, axis2=2))
    for layout in (ScalarFrames(dim, dim), ArrayFrames(dim, dim)):
        frame = layout.from_array(jnp.asarray(rows))
        frame, logs = layout.rescale(layout.orthogonalise(frame))
        unit = np.asarray(layout.to_array(frame))
        gram = unit @ np.swapaxes(unit, 1, 2)
        np.testing.assert_allclose(layout.stack(logs), np.log(exact), atol=1e-9)
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(dim), gram.shape), atol=1e-9)


def test_an_exact_zero_gives_minus_infinity_and_nothing_else_does():
    at_top = sf.lyapunov_spectrum(logistic(2.0), [0.5], num_steps=500)
    assert float(at_top.exponents[0]) == -np.inf
    assert status(at_top) == "reached_end"
    assert np.isnan(float(at_top.standard_error[0]))
    assert float(at_top.kaplan_yorke) == 0
    assert "-inf" in str(at_top)
    # One zero in the transient is not counted: .5 → 1 → 0 at r = 4, then slope 4 at 0.
    for transient, expected in ((2, np.log(4)), (0, -np.inf)):
        found = sf.lyapunov_spectrum(logistic(4.0), [0.5], num_steps=300, num_transient=transient)
        assert float(found.exponents[0]) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("dim", [2, 6])
def test_gradient_descent_that_kills_one_direction(dim):
    """1 − lr λ = 0 for one λ: what Gram–Schmidt leaves of the last vector is rounding."""
    curvatures = np.linspace(0.2, 2.0, dim)
    system = sf.Map(sf.losses.saddle(curvatures), sf.GD(), lr=0.5)
    found = sf.lyapunov_spectrum(system, np.ones(dim), num_steps=300, num_transient=800)
    with np.errstate(divide="ignore"):
        exact = np.log(np.abs(1 - 0.5 * curvatures))
    # The frame falls into place like (multiplier ratio)^800, .8^800 at worst.
    np.testing.assert_allclose(found.exponents[:-1], exact[:-1], atol=1e-10)
    assert float(found.exponents[-1]) == -np.inf


@pytest.mark.parametrize("factor", [1e-130, 1e-12, 0.3, 1e12, -1e130])
def test_products_leave_the_range_of_the_numbers_unharmed(factor):
    found = sf.lyapunov_spectrum(scaled(factor), [0.0], num_steps=3000, num_transient=7)
    exact = np.log(abs(factor))
    assert float(found.exponents[0]) == pytest.approx(exact, rel=1e-13)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12 * abs(exact))


def test_the_number_of_steps_is_the_number_counted():
    """Steps of known, unequal stretch: their mean is that of exactly the steps asked for."""
    slope = lambda z: (z[0] + 1, z[1] * (2 + jnp.sin(z[0])))  # noqa: E731
    system = elementwise(slope, 2)
    for num_steps, before in ((1, 0), (7, 3), (19, 0), (100, 33), (_CHUNK + 65, 2 * _CHUNK + 1)):
        found = sf.lyapunov_spectrum(
            system, [0.0, 0.0], num_steps=num_steps, num_transient=before, num_exponents=2
        )
        exact = np.mean(np.log(2 + np.sin(np.arange(before, before + num_steps))))
        assert float(found.sum) == pytest.approx(exact, abs=ROUNDING)
        assert int(found.stopped_at) == num_steps + before
        assert np.isnan(found.standard_error).all() == (num_steps == 1)


def test_the_standard_error_is_that_of_the_mean():
    """Over 100 orbits of the logistic map the means scatter as each of them says."""
    starts = np.random.default_rng(3).uniform(0.1, 0.9, (100, 1))
    found = sf.lyapunov_spectrum(logistic(3.9), starts, num_steps=2000, num_transient=100)
    scatter = np.std(found.exponents, ddof=1)
    # A χ² of 99 degrees of freedom: 7 % in the scatter; correlations between batches are weak.
    said = np.sqrt(np.mean(np.square(found.standard_error)))
    assert float(said) == pytest.approx(float(scatter), rel=0.3)


SADDLE = sf.losses.saddle((1.0, -1.0))


@pytest.fixture(scope="module")
def ensemble():
    """Starts and what is found: one undefined, one that diverges, the rest in SAM's trap."""
    good = np.random.default_rng(5).uniform(-0.08, 0.08, (_BLOCK + 3, 2))
    starts = np.concatenate([[[0.0, 0.0], [0.1, 50.0]], good])
    system = sf.Map(SADDLE, sf.SAM(rho=0.1), lr=0.1)
    return system, starts, sf.lyapunov_spectrum(system, starts, num_steps=600)


def test_one_bad_member_hides_no_good_one(ensemble):
    system, starts, found = ensemble
    assert found.count() == {"diverged": 1, "undefined": 1, "reached end": _BLOCK + 3}
    assert np.isnan(found.exponents[:2]).all()
    assert np.isnan(found.kaplan_yorke[:2]).all()
    assert np.isfinite(found.exponents[2:]).all()
    for i in (2, 3, _BLOCK, _BLOCK + 4):
        alone = sf.lyapunov_spectrum(system, starts[i], num_steps=600)
        # The same orbits up to rounding, which the chaos of the trap magnifies by 1.1 a step.
        np.testing.assert_allclose(found.exponents[i], alone.exponents, atol=0.01)
    assert str(found).startswith(f"Lyapunov exponents of {len(starts)} orbits per step")


def test_records_become_datasets_and_json(ensemble, tmp_path):
    found = ensemble[2]
    data = found.to_dataset()
    assert data["exponents"].dims == ("batch_0", "exponent")
    assert data["unit"] == "step"
    assert data.attrs["num_steps"] == "600"
    data.to_netcdf(tmp_path / "lyapunov.nc", engine="h5netcdf")
    assert '"kaplan_yorke"' in found.to_json()
    assert "NaN" not in found.to_json()


def test_divergence_is_found_at_its_step():
    """x₂ grows by 1.1 a step, wherever the transient ends."""
    system = sf.Map(SADDLE, sf.GD(), lr=0.1)
    first = int(np.ceil(np.log(1e6) / np.log(1.1)))
    for before in (0, 100, 2000):
        found = sf.lyapunov_spectrum(system, [0.0, 1.0], num_steps=5000, num_transient=before)
        assert status(found) == "diverged"
        assert int(found.stopped_at) == first
        assert np.isnan(found.exponents).all()
        assert np.isnan(float(found.sum))
    assert str(found) == f"no Lyapunov exponents: diverged at step {first}"
    inside = sf.lyapunov_spectrum(system, [0.0, 1.0], num_steps=first - 1)
    assert status(inside) == "reached_end"


def test_a_start_at_a_critical_point_of_sam_is_undefined():
    system = sf.Map(sf.losses.saddle((1.0,)), sf.SAM(rho=0.25), lr=0.5)
    for start, step in (([0.0], 1), ([0.25], 2)):  # ¼ − ½(¼ + ¼) = 0
        found = sf.lyapunov_spectrum(system, start, num_steps=500)
        assert status(found) == "undefined"
        assert int(found.stopped_at) == step
        assert np.isnan(found.exponents).all()


class Kinked(AbstractMap):
    """The map ½|z| + ¼, which is defined at its kink and has no derivative there."""

    dim: int = eqx.field(static=True, default=1)
    state_dim: int = eqx.field(static=True, default=1)
    elementwise: bool = eqx.field(static=True, default=False)

    def step(self, z):
        return 0.5 * jnp.abs(z) + 0.25

    def lift(self, w):
        return w

    def position(self, z):
        return z

    def singularity(self, z):
        return jnp.abs(z[0])

    def describe(self):
        return "kinked"


def test_a_point_without_a_jacobian_is_undefined_even_where_the_map_goes_on():
    found = sf.lyapunov_spectrum(Kinked(), [[0.0], [0.3]], num_steps=50)
    assert [sf.Status(int(code)).name for code in found.status] == ["undefined", "reached_end"]
    assert float(found.exponents[1, 0]) == pytest.approx(np.log(0.5), abs=ROUNDING)


def test_tangent_vectors_that_are_not_finite():
    found = sf.lyapunov_spectrum(elementwise(lambda z: (jnp.sqrt(z[0]),), 1), [0.0], num_steps=20)
    assert status(found) == "not_finite"  # the orbit stays at 0, and its slope is infinite
    assert np.isnan(found.exponents).all()


@pytest.mark.parametrize(
    ("exponents", "dim", "expected"),
    [
        ([0.5, -1.0], 2, 1.5),
        ([0.9, 0.0, -14.5], 3, 2 + 0.9 / 14.5),
        ([-1.0, -2.0], 2, 0.0),
        ([0.4, -0.2], 2, 2.0),  # the whole space
        ([0.0, 0.0], 2, 2.0),
        ([-2.0, 1.0], 2, 1.5),  # sorted first
        ([1.0, -np.inf], 2, 1.0),
        ([0.5], 2, np.nan),  # not known without the second
        ([-0.5], 2, 0.0),
        ([np.nan, np.nan], 2, np.nan),
    ],
)
def test_kaplan_yorke(exponents, dim, expected):
    np.testing.assert_allclose(kaplan_yorke(jnp.asarray(exponents), dim), expected, rtol=1e-14)


def test_single_precision_keeps_the_sum():
    with jax.enable_x64(False):
        found = sf.lyapunov_spectrum(henon(), [0.1, 0.1], num_steps=20_000)
        assert found.exponents.dtype == jnp.float32
        assert float(found.sum) == pytest.approx(np.log(0.3), abs=1e-5)  # 1e-7, √(20,000/8) times
        strong = sf.lyapunov_spectrum(scaled(1e-10), [0.0], num_steps=500)
        assert float(strong.exponents[0]) == pytest.approx(np.log(1e-10), rel=1e-5)


def test_other_numbers_need_no_new_program(caplog):
    """One compile serves every parameter, start and number of steps."""
    with jax.log_compiles():
        first = elementwise(lambda z: (jnp.cos(z[0]),), 1)
        sf.lyapunov_spectrum(first, [0.5], num_steps=100)
        assert "Compiling jit(map_growth)" in caplog.text
        sf.lyapunov_spectrum(henon(1.3), [0.1, 0.1], num_steps=100)
        caplog.clear()
        sf.lyapunov_spectrum(first, [0.7], num_steps=321, num_transient=5)
        sf.lyapunov_spectrum(henon(1.2), [0.2, 0.1], num_steps=50, escape_radius=10.0)
    assert "Compiling jit(map_growth)" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"w0": [1.0, 2.0, 3.0]}, r"shape \(2,\) or \(N, 2\), but has shape \(3,\)"),
        ({"w0": [np.nan, 0.0]}, "must be finite"),
        ({"w0": [9.0, 0.0]}, r"loss's domain \[-4.5, 4.5\]"),
        ({"num_steps": 0}, "at least 1, but is 0"),
        ({"num_steps": None}, "`num_steps` must be a whole number of at least 1, but is None"),
        ({"num_transient": -1}, "`num_transient` must be a whole number of at least 0"),
        ({"num_exponents": 3}, "at most 2, the dimension of a state, but is 3"),
        ({"num_exponents": 0}, "at least 1"),
        ({"escape_radius": 0.0}, "greater than 0"),
        ({"t1": 10.0}, "`t1` must be left out for a map, but is 10.0. Use `num_steps`"),
        ({"rtol": 1e-3}, "`rtol` must be left out for a map"),
        ({"system": sf.losses.beale()}, "`system` must be a Map.*or `sf.Flow"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.Map(sf.losses.beale(), sf.GD(), lr=0.01)
    given = {"system": system, "w0": [0.0, 0.0], "num_steps": 10} | arguments
    with pytest.raises(ArgumentError, match=words):
        sf.lyapunov_spectrum(given.pop("system"), given.pop("w0"), **given)


def test_functions_on_coordinates():
    """What `elementwise=True` takes: sequences or arrays of coordinates, and plain numbers."""
    zs = jnp.array([[0.3, 0.8], [1.1, -0.4], [-0.6, 0.2]])
    for function in (
        lambda z: (1 - z[0] * z[1], jnp.sin(z[0])),
        lambda z: jnp.array([1 - z[0] * z[1], jnp.sin(z[0])]),
        lambda z: [0.5, z[1]],
        lambda z: -0.3 * z,
    ):
        for kind in (sf.FunctionMap, sf.FunctionFlow):
            contracts.check_components_are_points(kind(function, dim=2, elementwise=True), zs)
    plain, fast = (
        sf.FunctionMap(Henon(jnp.asarray(1.4)), dim=2, elementwise=choice)
        for choice in (False, True)
    )
    slow_orbit, fast_orbit = (sf.iterate(s, zs, num_steps=20).final for s in (plain, fast))
    # Chaos multiplies rounding by e^0.42 a step: 4e3 in 20 steps; the second start diverges.
    np.testing.assert_allclose(fast_orbit, slow_orbit, rtol=1e-10)


def test_functions_that_break_their_promise_are_refused():
    columns = Components(jnp.ones(3), jnp.ones(3))
    with pytest.raises(TypeError, match="not `elementwise`"):
        sf.FunctionMap(lambda z: z, dim=2).step(columns)
    with pytest.raises(TypeError, match="must return 2 coordinates, but returned 3"):
        elementwise(lambda z: (z[0], z[1], z[0]), 2).step(columns)
    with pytest.raises(TypeError):
        sf.FunctionFlow(lambda z: jnp.ones((2, 2)) @ z, dim=2, elementwise=True).velocity(columns)


def test_exponents_are_descending_where_an_orbit_falls_onto_a_diagonal():
    """SAM about the maximum of cos x + cos y comes to y = −x exactly, and its frame with it.

    There the map is that of one weight, and its exponent is the smaller one; the other is across.
    """
    loss = sf.loss("cos(x) + cos(y)")
    sam = sf.Map(loss, sf.SAM(rho=2.0), lr=0.01)
    found = sf.lyapunov_spectrum(sam, [0.1, 0.2], num_steps=1000, num_transient=1000)
    x = sf.iterate(sam, [0.1, 0.2], num_steps=1000).final_w
    assert float(x[0]) == -float(x[1])
    path = np.asarray(sf.iterate(sam, x, num_steps=999, keep_every=1).w)
    jacobians = np.asarray(jax.jit(jax.vmap(sam.jacobian))(jnp.asarray(path)))
    along, across = (
        np.log(np.abs(jacobians[:, 0, 0] + sign * jacobians[:, 0, 1])).mean() for sign in (-1, 1)
    )
    assert across > along + 1
    # The pair (log |a − b|, log |a + b|) of the symmetric matrices ((a, b), (b, a)).
    np.testing.assert_allclose(found.exponents, [across, along], rtol=1e-6, atol=1e-6)
    assert found.standard_error[0] > found.standard_error[1]
