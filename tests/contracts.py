"""What every system must do, whatever it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow._components import Components
from samflow.systems import AbstractDiffusion, AbstractMap


def motion(system):
    """Return the function that moves a state: a map's step, a flow's velocity or a drift."""
    if isinstance(system, AbstractDiffusion):
        return system.drift
    return system.step if isinstance(system, AbstractMap) else system.velocity


def check_jit_is_eager(system, z):
    eager = motion(system)(z)
    compiled = eqx.filter_jit(lambda s, x: motion(s)(x))(system, z)
    # Fusion may contract a product and a sum: rounding of each operation.
    np.testing.assert_allclose(compiled, eager, rtol=1e-12, atol=1e-13)


def check_vmap_is_loop(system, zs):
    together = jax.vmap(motion(system))(zs)
    one_by_one = jnp.stack([motion(system)(z) for z in zs])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12, atol=1e-13)


def check_components_are_points(system, zs):
    columns = Components(*(zs[:, i] for i in range(zs.shape[1])))
    together = jnp.stack(motion(system)(columns).parts, axis=-1)
    np.testing.assert_allclose(together, jax.vmap(motion(system))(zs), rtol=1e-12, atol=1e-13)


def check_jacobian_is_finite_differences(system, z, step=1e-5):
    columns = [
        (motion(system)(z + step * e) - motion(system)(z - step * e)) / (2 * step)
        for e in np.eye(len(z))
    ]
    jacobian = np.asarray(system.jacobian(z))
    # Central differences: step² times a third derivative, and rounding / step.
    scale = max(1.0, np.abs(jacobian).max())
    np.testing.assert_allclose(jacobian, np.stack(columns, axis=1), rtol=1e-5, atol=1e-6 * scale)


def check_traced_once(system, z):
    """Hyperparameters are leaves: other values run the same program."""
    traces = []

    @eqx.filter_jit
    def run(s, x):
        traces.append(None)
        return motion(s)(x)

    run(system, z)
    changed = jax.tree.map(lambda leaf: leaf * 0.9 if eqx.is_array(leaf) else leaf, system)
    run(changed, z)
    assert len(traces) == 1


def check_lift_and_position(system, w):
    z = system.lift(w)
    assert z.shape == (system.state_dim,)
    np.testing.assert_array_equal(system.position(z), w)


def check_defined(system, z):
    """Away from a singular point the system moves, and says that it can be differentiated."""
    assert float(system.singularity(z)) > 0
    assert np.isfinite(motion(system)(z)).all()


def check_undefined_motion(system, z):
    """A singular point gives NaN, not a guarded number, for the motion."""
    assert float(system.singularity(z)) == 0
    assert not np.isfinite(motion(system)(z)).any()


def check_undefined(system, z):
    """So it does for the Jacobian."""
    check_undefined_motion(system, z)
    assert np.isnan(system.jacobian(z)).any()
