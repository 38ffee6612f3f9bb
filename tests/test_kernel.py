"""What XLA makes of a step: counted in the compiled program, where a clock would be of no use."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import _kernel as kernel
from samflow._components import Components
from samflow.attractors import _map_growth
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.map_loop import MapSettings, run_map
from samflow.systems.leaves import Varied

POINTS = Components(jnp.linspace(2.8, 3.2, 128), jnp.linspace(0.4, 0.6, 128))
BEALE = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=1e-3)


def operations(function, *arguments):
    """Return the arithmetic operations of the compiled program, for each of the points."""
    compiled = jax.jit(lambda *a: function(*a)).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"] / len(POINTS[0])


def test_a_step_computes_two_gradients_and_no_third():
    gradient = operations(BEALE.loss.gradient, POINTS)
    steps = 8  # w + rho g and w − lr h have two operations for each of two coordinates
    assert operations(step_with_barrier(BEALE), POINTS) <= 2 * gradient + steps
    # Left alone XLA computes the ascent point, with both parts of g, for each coordinate of h.
    assert operations(BEALE.step, POINTS) > 2.5 * gradient


def test_a_linearised_step_computes_each_hessian_once():
    def derivatives(w):
        h = BEALE.loss.hessian_formula
        formulas = (*BEALE.loss.gradient_formula, h[0, 0], h[0, 1], h[1, 1])
        return sf.losses.expression.evaluate(formulas, BEALE.loss.symbols, w)

    def pushed(step):
        def apply(z, u, v):
            moved, linear = jax.linearize(step, z)
            return moved, linear(u), linear(v)

        return apply

    both = operations(derivatives, POINTS)
    # A vector is carried by w + rho H v and w − lr H v: 2 (3 + 2) operations each time.
    vectors, steps = 2 * 2 * 10, 8
    arranged = step_with_barrier(BEALE, linearised=True)
    # The ascent's part of a vector is computed again for each of its two coordinates.
    bound = 2 * both + 2 * vectors + steps
    assert operations(pushed(arranged), *(POINTS,) * 3) <= bound
    assert operations(pushed(BEALE.step), *(POINTS,) * 3) > bound


def entry_of(run, starts):
    """Return what the compiled program of `run` itself does, line by line."""
    text = jax.jit(run).lower(starts).compile().as_text()
    return text[text.index("ENTRY") :].splitlines()


def test_all_blocks_and_steps_are_one_function():
    starts = jnp.stack(list(POINTS), axis=1).repeat(2, axis=0)
    settings = jax.tree.map(jnp.asarray, MapSettings(100, 100, 50, 0.0, 1e6, 0))
    growth = jax.tree.map(jnp.asarray, _map_growth.MapSettings(100, 0, 1e6))
    henon = sf.FunctionMap(
        lambda z: (1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]), dim=2, elementwise=True
    )
    for lines in (
        entry_of(lambda z: run_map(BEALE, z, settings, 2, Varied()), starts),
        entry_of(lambda z: _map_growth.map_growth(henon, z, 2, growth, Varied()), starts),
    ):
        called = [line for line in lines if " call(" in line]
        assert sum('xla_cpu_small_call="true"' in line for line in called) == 1
        assert not any(" while(" in line or " conditional(" in line for line in lines)


def test_what_needs_a_library_is_left_to_xla():
    """A sort is a call of a library: it is computed all the same, and the same under `vmap`."""

    def sorted_halves(z):
        return jnp.sort(z)[::-1] / 2

    made = kernel.fused(sorted_halves)(jnp.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(made, [1.5, 1.0, 0.5])
    text = jax.jit(kernel.fused(sorted_halves)).lower(jnp.arange(3.0)).as_text()
    assert "xla_cpu_small_call" not in text
    text = jax.jit(kernel.fused(lambda z: z / 2)).lower(jnp.arange(3.0)).as_text()
    assert "xla_cpu_small_call" in text


@pytest.mark.parametrize(("rows", "in_one"), [(63, True), (64, False)])
def test_long_sums_are_left_to_xla(rows, in_one):
    """XLA calls a library for sums of 4096 entries, and fails to compile that in one function."""
    z = jnp.ones((rows, 64))
    function = kernel.fused(lambda z: jnp.sum(z, axis=1))
    np.testing.assert_array_equal(function(z), np.full(rows, 64.0))
    assert ("xla_cpu_small_call" in jax.jit(function).lower(z).as_text()) == in_one


def test_an_ensemble_in_many_dimensions_is_computed():
    """300 states of 40 coordinates: a step has sums of 12,000 entries."""
    halved = sf.FunctionMap(lambda z: z / 2 + 0 * jnp.sum(z), dim=40)
    made = sf.iterate(halved, np.ones((300, 40)), num_steps=3).final
    np.testing.assert_array_equal(made, np.full((300, 40), 0.125))


def test_a_function_in_one_piece_can_be_transformed():
    def cubed(z):
        return kernel.stored(kernel.apart(jnp.square)(z)) * z

    function = kernel.fused(lambda z: jax.lax.fori_loop(0, 2, lambda _, z: cubed(z), z))
    z = jnp.array([[0.5, 2.0], [1.0, -1.0]])
    np.testing.assert_allclose(jax.vmap(function)(z), z**9, rtol=1e-14)
    tangent = jax.jvp(function, (z,), (jnp.ones_like(z),))[1]
    np.testing.assert_allclose(tangent, 9 * z**8, rtol=1e-14)


SHARED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import samflow as sf
from samflow.orbits.blocks import devices_for
from samflow.orbits.map_loop import MapSettings, run_map
from samflow.systems.leaves import Varied

system = sf.Map(sf.losses.quartic(), sf.USAM(rho=0.05), lr=0.1)
starts = np.random.default_rng(0).uniform(-1, 1, (1500, 2))
assert len(devices_for(jnp.asarray(starts), 512)) == 2
assert devices_for(jnp.asarray(starts), 1024) == ()
together = sf.iterate(system, starts, num_steps=60, keep_every=7)
settings = jax.tree.map(jnp.asarray, MapSettings(60, 7, 50, 0.0, 1e6, 0))
states, final, *_ = run_map(system, jnp.asarray(starts), settings, 9, Varied())
np.testing.assert_array_equal(together.states, states)
np.testing.assert_array_equal(together.final, final)
assert together.final.devices() == {jax.devices()[0]}
spectrum = sf.lyapunov_spectrum(system, starts[:300], num_steps=50).exponents
alone = sf.lyapunov_spectrum(system, starts[:100], num_steps=50).exponents
np.testing.assert_allclose(spectrum[:100], alone, rtol=1e-12)
"""


@pytest.mark.slow
def test_two_devices_share_the_blocks_and_compute_the_same():
    flags = "--xla_force_host_platform_device_count=2"
    environment = {"XLA_FLAGS": flags, "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARED], check=True, env=environment)
