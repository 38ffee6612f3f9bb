"""The kernel for GPUs, interpreted: it is that of the blocks on a CPU, run by Pallas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import _kernel
from samflow._status import Status
from samflow.orbits import _gpu, blocks
from samflow.orbits.map_loop import LOOP, MapSettings, run_map
from samflow.systems.leaves import Varied, find_leaf

STARTS = np.random.default_rng(0).uniform(-1.5, 1.5, (150, 2))


def test_the_interpreted_kernel_is_that_of_the_cpu():
    """Orbits that converge, diverge and run on; every 30th state kept; its own lr for each."""
    system = sf.Map(sf.losses.quartic(), sf.SAM(rho=0.05), lr=0.1)
    lr = np.linspace(0.05, 3.0, len(STARTS))
    varied = Varied((find_leaf(system, "lr").index,), (jnp.asarray(lr),))
    settings = jax.tree.map(jnp.asarray, MapSettings(100, 30, 50, 0.0, 1e3, 0))
    expected = run_map(system, jnp.asarray(STARTS), settings, 4, varied)
    states, final, status, stopped = _gpu.run_blocks(
        LOOP, system, jnp.asarray(STARTS), settings, 4, varied, interpret=True
    )
    status = np.where(status < 0, Status.out_of_steps, status)
    np.testing.assert_array_equal(status, expected[2])
    assert {Status.diverged, Status.out_of_steps} <= set(status.tolist())
    np.testing.assert_array_equal(stopped, expected[3])
    # Rounding, which chaos at a large lr multiplies: where orbits come to rest there is none.
    calm = lr < 0.8
    for mine, theirs in ((states, expected[0]), (final, expected[1])):
        np.testing.assert_allclose(mine[calm], theirs[calm], rtol=1e-9, atol=1e-12)


def test_on_a_cpu_nothing_runs_as_a_kernel_of_a_gpu():
    assert not _gpu.can_run(sf.Map(sf.losses.quartic(), sf.GD(), lr=0.1))


@pytest.mark.parametrize("loss", ["quartic", "beale"])
def test_the_kernel_lowers_for_a_gpu(loss, monkeypatch):
    """Triton's code is made here, without a GPU: one call, and no loop of XLA around it."""
    for module in (_kernel, blocks):
        monkeypatch.setattr(module, "on_cpu", lambda: False)
    system = sf.Map(sf.losses.ZOO[loss](), sf.SAM(rho=0.05), lr=0.1)
    settings = jax.tree.map(jnp.asarray, MapSettings(100, 30, 50, 0.0, 1e3, 0))
    run = jax.jit(lambda z: _gpu.run_blocks(LOOP, system, z, settings, 4, Varied()))
    lowered = run.trace(jnp.asarray(STARTS)).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("triton") == 1
    assert "stablehlo.while" not in lowered


def test_where_pallas_does_not_work_this_is_said():
    """Here there is no GPU to compile for."""
    _gpu._works.cache_clear()
    with pytest.warns(UserWarning, match="a kernel for each step"):
        assert not _gpu._works()
    _gpu._works.cache_clear()
