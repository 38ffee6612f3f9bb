"""Against runs of optax.contrib.sam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.rules import SAM, MultiStepSAM

optax = pytest.importorskip("optax")

LOSS, START, LR = sf.losses.himmelblau(), (0.5, 1.5), 0.004


def optimiser(rho, sync_period, momentum, nesterov, opaque):
    outer = optax.sgd(LR, momentum=momentum or None, nesterov=nesterov)
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(rho))
    return optax.contrib.sam(outer, ascent, sync_period=sync_period, opaque_mode=opaque)


def transparent(num_steps, sync_period, **settings):
    """Feed gradients one by one; the weights after every whole update are kept."""
    sam = optimiser(sync_period=sync_period, opaque=False, **settings)
    w = jnp.array(START)
    state, path = sam.init(w), []
    for _ in range(num_steps):
        for _ in range(sync_period):
            updates, state = sam.update(LOSS.gradient(w), state, w)
            w = optax.apply_updates(w, updates)
        path.append(w)
    return np.array(path)


def opaque(num_steps, **settings):
    sam = optimiser(opaque=True, **settings)
    w = jnp.array(START)
    state, path = sam.init(w), []
    for _ in range(num_steps):
        updates, state = sam.update(
            LOSS.gradient(w), state, w, grad_fn=lambda w, _: LOSS.gradient(w)
        )
        w = optax.apply_updates(w, updates)
        path.append(w)
    return np.array(path)


def ours(num_steps, rule, **settings):
    system = sf.Map(LOSS, rule, lr=LR, **settings)
    z, path = system.lift(jnp.array(START)), []
    for _ in range(num_steps):
        z = system.step(z)
        path.append(system.position(z))
    return np.array(path)


@pytest.mark.parametrize("run", [transparent, opaque])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.6, False), (0.6, True)])
def test_sam_makes_the_steps_of_optax(run, momentum, nesterov):
    settings = {"momentum": momentum, "nesterov": nesterov}
    theirs = run(12, rho=0.07, sync_period=2, **settings)
    # Rounding: optax adds the ascent and takes it away again.
    np.testing.assert_allclose(ours(12, SAM(0.07), **settings), theirs, rtol=1e-12)


@pytest.mark.parametrize("run", [transparent, opaque])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("num_steps", [2, 3])
def test_each_of_optaxs_ascent_steps_has_the_whole_radius(run, momentum, num_steps):
    """sync_period − 1 steps of rho each: our rho is their sum."""
    settings = {"momentum": momentum, "nesterov": False}
    theirs = run(12, rho=0.05, sync_period=num_steps + 1, **settings)
    rule = MultiStepSAM(num_steps * 0.05, num_steps=num_steps)
    np.testing.assert_allclose(ours(12, rule, **settings), theirs, rtol=1e-12)
    short = ours(12, MultiStepSAM(0.05, num_steps=num_steps), **settings)
    assert np.abs(short - theirs).max() > 1e-3


def test_optax_is_undefined_at_a_critical_point_too():
    w = jnp.zeros(2)
    saddle = sf.losses.saddle()
    sam = optimiser(0.1, sync_period=2, momentum=0.0, nesterov=False, opaque=False)
    with jax.debug_nans(False):
        updates, _ = sam.update(saddle.gradient(w), sam.init(w), w)
    assert np.isnan(updates).all()
    assert np.isnan(SAM(0.1).direction(saddle, w)).all()
