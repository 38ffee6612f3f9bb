"""Basins of flows that an explicit solver cannot follow: stiff ones, and finite times of escape."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow.attractors import Ending, basins


def steep(z, sign):
    """ẇ = −w ± w⁴¹: at |w| = 4 the speed is 5e24, which no step in time can follow."""
    return (-z[0] + sign * z[0] ** 41,)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_is_stiff_comes_to_rest_and_what_blows_up_has_diverged(sign):
    """With −, 0 attracts all. With +, |w| > 1 is at infinity after log(1/(1 − |w|⁻⁴⁰))/40."""
    flow = sf.FunctionFlow(Partial(steep, sign=jnp.asarray(sign)), dim=1, elementwise=True)
    found = basins(flow, (-4, 4), 16)
    (zero,) = found.attractors
    np.testing.assert_allclose(zero.points, 0, atol=1e-9)
    outside = np.abs(found.starts[:, 0]) > 1
    assert outside.sum() == 12
    wanted = np.where(outside & (sign > 0), int(Ending.diverged), 0)
    np.testing.assert_array_equal(found.labels, wanted)


@pytest.mark.slow
def test_the_flow_of_usam_on_beales_function():
    """Half of the starts come to an attractor at up to 1e22 in speed; SciPy's Radau says where.

    Elsewhere, near y = 1.2 and far left, the flow is too stiff for the implicit method as well.
    """
    import scipy.integrate

    flow = sf.Flow(sf.losses.beale(), sf.USAM(0.05))
    found = basins(flow, (-4, 4), 8)
    assert (found.labels >= 0).mean() > 0.6
    assert not (found.labels == Ending.undefined).any()
    assert (found.labels == Ending.solver_out_of_steps).any()
    points = np.array([one.points[0] for one in found.attractors])
    for start, label in list(zip(found.starts, found.labels, strict=True))[::5]:
        if label < 0:
            continue

        def field(t, w):
            f = np.asarray(flow.velocity(jnp.asarray(w)))
            return f / (1 + np.linalg.norm(f))  # the same paths, in another time

        end = scipy.integrate.solve_ivp(field, (0, 60), start, "Radau", rtol=1e-5, atol=1e-7)
        assert np.linalg.norm(end.y[:, -1] - points, axis=1).argmin() == label
