"""The map over one period against closed forms, the variational equation and known attractors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.integrate import solve_ivp

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from tests import contracts
from tests.references import DUFFING_SHARES

T = 2 * np.pi


def duffing_field(t, z, force, damping, frequency):
    return jnp.stack([z[1], -damping * z[1] + z[0] - z[0] ** 3 + force * jnp.cos(frequency * t)])


def duffing(force=0.2, damping=0.15, frequency=1.0):
    leaves = {"force": force, "damping": damping, "frequency": frequency}
    return sf.FunctionFlow(
        Partial(duffing_field, **{name: jnp.asarray(x) for name, x in leaves.items()}),
        dim=2,
        name="duffing",
        period=lambda field: 2 * jnp.pi / field.keywords["frequency"],
    )


def relaxing(t0=0.0, rate=0.3, **settings):
    """ż = −rate z + cos t, whose periodic solution is (rate cos t + sin t)/(1 + rate²)."""
    flow = sf.FunctionFlow(lambda t, z: -rate * z + jnp.cos(t), dim=1, period=T)
    return sf.stroboscopic_map(flow, t0=t0, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("t0", [0.0, 1.2])
def test_a_linear_flow(t0):
    rest = (0.3 * np.cos(t0) + np.sin(t0)) / (1 + 0.3**2)
    found = sf.classify(relaxing(t0), [rest])
    assert found.kind is Kind.attracting
    assert found.multipliers == pytest.approx([np.exp(-0.3 * T)], abs=1e-10)
    image = relaxing(t0).step(jnp.array([2.0]))
    assert float(image[0]) == pytest.approx(rest + np.exp(-0.3 * T) * (2 - rest), abs=1e-9)


def variational(z, force=0.2, damping=0.15):
    """Return F(z) and DF(z) by another solver, from the variational equation."""

    def field(t, y):
        x, v, m = y[0], y[1], y[2:].reshape(2, 2)
        slope = np.array([[0, 1], [1 - 3 * x**2, -damping]])
        moves = [v, -damping * v + x - x**3 + force * np.cos(t)]
        return np.append(moves, (slope @ m).ravel())

    path = solve_ivp(field, (0, T), [*z, 1, 0, 0, 1], "DOP853", rtol=1e-12, atol=1e-13)
    return path.y[:2, -1], path.y[2:, -1].reshape(2, 2)


def test_the_derivative_is_that_of_the_variational_equation():
    """Both have tolerances of 1e-10 a step, some 40 steps, and stretch errors by up to 3."""
    system = sf.stroboscopic_map(duffing())
    z = jnp.array([0.3, 0.4])
    image, derivative = variational(np.asarray(z))
    step, jacobian = jax.jit(lambda z: (system.step(z), system.jacobian(z)))(z)
    np.testing.assert_allclose(step, image, atol=3e-8)
    np.testing.assert_allclose(jacobian, derivative, atol=1e-7)
    # Liouville: the divergence is −damping everywhere.
    assert np.linalg.det(jacobian) == pytest.approx(np.exp(-0.15 * T), abs=1e-8)
    contracts.check_lift_and_position(system, z)


@pytest.mark.slow
def test_derivatives_by_a_number_and_of_second_order():
    system = sf.stroboscopic_map(duffing())
    z = jnp.array([0.3, 0.4])
    contracts.check_vmap_is_loop(system, jnp.stack([z, -z]))
    second = jax.jit(jax.jacfwd(system.jacobian))(z)
    sides = [np.asarray(system.jacobian(z + s * jnp.array([1e-4, 0.0]))) for s in (1, -1)]
    # Central differences: 1e-8 times a fourth derivative, and 1e-9/1e-4 of the solver.
    np.testing.assert_allclose(second[..., 0], (sides[0] - sides[1]) / 2e-4, rtol=1e-4, atol=1e-3)
    # By the frequency, which changes the period with it, against differences of 1e-5.
    by_frequency = lambda f: sf.stroboscopic_map(duffing(frequency=f)).step(z)  # noqa: E731
    slope = jax.jacfwd(by_frequency)(1.0)
    difference = (by_frequency(1 + 1e-5) - by_frequency(1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_phases_agree():
    """The map at phase 1 is conjugate to that at 0 by the solution from 0 to 1; `integrate` too."""
    flow = duffing()
    z = np.array([0.3, 0.4])
    before = sf.integrate(flow, z, t1=1.0, rtol=1e-10, atol=1e-12).states[-1]
    later = sf.integrate(flow, before, t0=1.0, t1=1.0 + T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        sf.stroboscopic_map(flow, t0=1.0).step(before), later.states[-1], atol=1e-7
    )
    assert later.times[0] == 1.0
    from_zero = sf.integrate(flow, before, t1=T, rtol=1e-10, atol=1e-12).states[-1]
    assert float(jnp.linalg.norm(from_zero - later.states[-1])) > 0.1  # the phase matters


def test_a_flow_of_a_loss_with_a_periodic_radius():
    """USAM on −y²: the multiplier is exp ∮ 2(1 − 2 rho) dt, below 1 where rho is over 1/2."""

    def flow(mean):
        return sf.Flow(sf.loss("-y**2"), sf.USAM(rho=lambda t: mean + 0.4 * jnp.sin(t)))

    for mean in (0.45, 0.55):
        found = sf.classify(sf.stroboscopic_map(flow(mean), period=T), [0.0])
        assert found.multipliers[0].real == pytest.approx(np.exp(2 * (1 - 2 * mean) * T), rel=1e-8)
        assert found.kind is (Kind.attracting if mean > 0.5 else Kind.repelling)


def explodes(t, z, rate):
    return rate * z**2 + 0 * t


BLOWS = sf.FunctionFlow(Partial(explodes, rate=1.0), dim=1, period=1.0)


@pytest.mark.slow
def test_iterate_says_why_a_step_failed():
    """ż = z² explodes at time 1/z, and from −2 comes to −2/(1 + 2k)."""
    system = sf.stroboscopic_map(BLOWS)
    orbit = sf.iterate(system, [[2.0], [-2.0], [0.0]], num_steps=3)
    assert orbit.status.tolist() == [Status.diverged, Status.out_of_steps, Status.converged]
    assert np.isnan(orbit.final[0]).all()
    assert orbit.final[1, 0] == pytest.approx(-2 / 7, abs=1e-9)
    few = sf.stroboscopic_map(BLOWS, max_steps=2)
    assert sf.iterate(few, [0.5], num_steps=1).status == Status.solver_out_of_steps


def test_failures_have_names():
    """An explosion, a tolerance that needs more steps, and a period that is none."""

    @eqx.filter_jit
    def solved(system, z):
        return system.solve(jnp.asarray(z))

    system = sf.stroboscopic_map(BLOWS)
    few = sf.stroboscopic_map(BLOWS, max_steps=2)
    for made, z, status in (
        (system, [0.5], Status.reached_end),
        (system, [2.0], Status.diverged),
        (system, [jnp.nan], Status.not_finite),
        (few, [0.5], Status.solver_out_of_steps),
    ):
        end = solved(made, z)
        assert end.status == status
        assert np.isfinite(end.z).all() == (status == Status.reached_end)
    assert solved(system, [0.5]).z[0] == pytest.approx(1.0, abs=1e-9)  # z/(1 − z)
    fixed = sf.stroboscopic_map(sf.FunctionFlow(duffing().function, dim=2, period=T))
    leaf = sf.systems.find_leaf(fixed, "frequency")
    for frequency, status in ((1.1, Status.not_periodic), (2.0, Status.reached_end)):
        end = solved(leaf.replaced(fixed, jnp.asarray(frequency)), [1.0, 1.0])
        assert end.status == status
        assert np.isfinite(end.z).all() == (status == Status.reached_end)


def test_what_is_refused():
    flow = duffing()
    with pytest.raises(ArgumentError, match=r"autonomous.*`sf.stroboscopic_map\(system\)`"):
        sf.classify(flow, [0.0, 0.0])
    for name in ("find_fixed_points", "basins", "lyapunov_spectrum", "fate"):
        with pytest.raises(ArgumentError, match="stroboscopic_map"):
            getattr(sf, name)(flow, [0.0, 0.0])
    with pytest.raises(ArgumentError, match="after 3 its field is another"):
        sf.stroboscopic_map(flow, period=3.0)
    with pytest.raises(ArgumentError, match="`period` must be given"):
        sf.stroboscopic_map(sf.FunctionFlow(lambda t, z: -t * z, dim=1, period=np.inf))
    with pytest.raises(ArgumentError, match="jumps at critical points"):
        sf.stroboscopic_map(sf.Flow(sf.losses.beale(), sf.SAM(rho=0.1)), period=1.0)
    with pytest.raises(ArgumentError, match="greater than t0"):
        sf.integrate(flow, [0.0, 0.0], t0=2.0, t1=1.0)
    with pytest.raises(ArgumentError, match="`period` must be finite and greater than 0"):
        sf.FunctionFlow(lambda t, z: z, dim=1, period=-1.0)
    scheduled = sf.Flow(sf.losses.beale(), sf.USAM(rho=lambda t: 0.1 + 0 * t))
    with pytest.raises(ArgumentError, match=r"`system.at\(t\)`.*stroboscopic_map"):
        sf.classify(scheduled, [0.0, 1.0])


@pytest.mark.slow
def test_a_field_of_time_without_a_period_is_followed():
    """ż = −2 t z: exp(−t²)."""
    flow = sf.FunctionFlow(lambda t, z: -2 * t * z, dim=1, period=np.inf)
    path = sf.integrate(flow, [1.0], t1=2.0, num_times=3)
    assert np.asarray(path.states[:, 0]) == pytest.approx(np.exp([0.0, -1.0, -4.0]), rel=1e-7)


@pytest.mark.slow
def test_exponents_are_those_of_the_multipliers():
    """At a fixed point exponents are log |multiplier|; their sum is −damping T everywhere."""
    system = sf.stroboscopic_map(duffing(damping=0.3))
    rest = sf.iterate(system, [1.2, 0.1], num_steps=100).final
    found = sf.lyapunov_spectrum(system, rest, num_steps=50)
    sizes = np.log(np.abs(sf.classify(system, rest).multipliers))
    assert float(found.sum) == pytest.approx(-0.3 * T, abs=1e-8)
    assert float(found.sum) == pytest.approx(sizes.sum(), abs=1e-8)


@pytest.mark.slow
def test_duffing():
    """Two attracting orbits share the box as published; a saddle lies between; 2-cycles too."""
    system = sf.stroboscopic_map(duffing())
    points = sf.find_fixed_points(system, (-2, 2), num_starts=128)
    attracting = np.array([k is Kind.attracting for k in points.kinds])
    assert attracting.sum() == 2
    # x → −x with half a period: both have the same multipliers.
    spectra = [points.stability[i].multipliers for i in np.flatnonzero(attracting)]
    assert np.abs(spectra[0]) == pytest.approx(np.abs(spectra[1]), abs=1e-6)
    assert Kind.saddle in points.kinds
    found = sf.basins(system, (-2, 2), 50, fixed_points=points)
    shares = sorted(share.fraction for label, share in found.shares().items() if label >= 0)
    assert len(shares) == 2
    # 2,500 starts: a standard error of 1 %.
    assert shares == pytest.approx(DUFFING_SHARES, abs=0.03)
    diagram = sf.attractors.orbit_diagram(
        system, [1.2, 0.1], "force", [0.1, 0.2], num_transient=100, num_kept=2
    )
    np.testing.assert_allclose(diagram.states[:, 0, 0], diagram.states[:, 0, 1], atol=1e-6)
    twos = sf.find_cycles(system, (-2, 2), period=2, num_starts=32)
    residual = [system.step(system.step(z)) - z for z in jnp.asarray(twos.points[:, 0])]
    assert len(twos) >= 1
    assert np.abs(np.array(residual)).max() < 1e-7
    saddle = points.w[[k is Kind.saddle for k in points.kinds].index(True)]
    curves = sf.manifolds(system, saddle, (-2, 2), length=1.0)
    assert curves.error < 0.05


@pytest.mark.slow
def test_a_resonance_curve():
    """Continuation in the frequency: the period follows, and the hardening spring folds."""
    flow = sf.FunctionFlow(
        Partial(hardening, **{k: jnp.asarray(v) for k, v in HARDENING.items()}),
        dim=2,
        name="hardening spring",
        period=lambda field: 2 * jnp.pi / field.keywords["frequency"],
    )
    system = sf.stroboscopic_map(flow)
    start = sf.iterate(system, [0.0, 0.0], num_steps=200).final
    branch = sf.continue_branch(system, start, "frequency", (0.8, 2.0), max_step=0.05)
    folds = sorted(point.parameter for point in branch.of("fold"))
    assert len(folds) == 2
    # The first harmonic (harmonic balance) has its folds within some per cent.
    assert folds == pytest.approx(harmonic_balance_folds(**HARDENING), rel=0.03)


HARDENING = {"force": 0.3, "damping": 0.1, "frequency": 0.8, "stiffness": 0.4}


def hardening(t, z, force, damping, frequency, stiffness):
    bend = -damping * z[1] - z[0] - stiffness * z[0] ** 3
    return jnp.stack([z[1], bend + force * jnp.cos(frequency * t)])


def harmonic_balance_folds(force, damping, stiffness, **_):
    """Amplitudes a of a cos(ωt): a²((1 − ω² + 3/4 k a²)² + (dω)²) = f²; folds where ω turns."""
    a = np.linspace(0.05, 4, 200_000)
    b = 1 + 0.75 * stiffness * a**2
    # In u = ω²: u² − (2b − d²)u + b² − f²/a² = 0.
    half = b - damping**2 / 2
    root = half**2 - b**2 + force**2 / a**2
    a, half, root = a[root >= 0], half[root >= 0], root[root >= 0]
    found = []
    for sign in (-1, 1):
        square = half + sign * np.sqrt(root)
        slope = np.diff(np.sqrt(np.maximum(square, 0)))
        turns = np.flatnonzero(slope[1:] * slope[:-1] < 0) + 1
        found += [float(np.sqrt(square[i])) for i in turns if square[i] > 0]
    return sorted(found)
