"""Each base optimiser under GD, USAM and SAM, against optax and torch, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import samflow as sf
from samflow._checks import ArgumentError
from tests import contracts

LOSS = sf.loss("(x - 1)**2/2 + 5*(y + x**2/4)**2/2 + x*y*z/9 + z**4/4")
START = [0.7, -0.4, 1.3]
RULES = {"gd": sf.GD(), "usam": sf.USAM(rho=0.07), "sam": sf.SAM(rho=0.07)}
STEPS = 12
ROUNDING = 1e-12
"""Relative. Powers of beta are products here and powers there: 1 − beta2 loses three digits."""


def ours(system):
    """Return the weights after each step, without a compiled program."""
    z, found = system.lift(jnp.asarray(START)), []
    with jax.disable_jit():
        for _ in range(STEPS):
            z = system.step(z)
            found.append(np.asarray(system.position(z)))
    return np.array(found)


def by_optax(optimiser, rule):
    """Return the same by an optimiser of optax on the direction of the rule."""
    w, found = jnp.asarray(START), []
    state = optimiser.init(w)
    for _ in range(STEPS):
        updates, state = optimiser.update(rule.step(LOSS, w, w[:0])[0], state, w)
        w = optax.apply_updates(w, updates)
        found.append(np.asarray(w))
    return np.array(found)


def torch_loss(w):
    x, y, z = w
    return (x - 1) ** 2 / 2 + 5 * (y + x**2 / 4) ** 2 / 2 + x * y * z / 9 + z**4 / 4


def by_torch(make, rule):
    """Return the same by an optimiser of torch, with ascents and gradients of torch, too."""
    w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimiser, found = make([w]), []
    for _ in range(STEPS):
        (g,) = torch.autograd.grad(torch_loss(w), w)
        ascent = {"gd": 0.0, "usam": 0.07 * g, "sam": 0.07 * g / torch.linalg.norm(g)}[rule]
        (w.grad,) = torch.autograd.grad(torch_loss(p := w + ascent), p)
        optimiser.step()
        found.append(w.detach().numpy().copy())
    return np.array(found)


BY_OPTAX = {
    "adam": (sf.Adam(), optax.adam(0.03)),
    "adam root": (sf.Adam(beta1=0.7, beta2=0.9, eps=1e-3, eps_root=1e-2),
                  optax.adam(0.03, 0.7, 0.9, eps=1e-3, eps_root=1e-2)),
    "adamw": (sf.AdamW(weight_decay=0.1), optax.adamw(0.03, weight_decay=0.1)),
    "rmsprop in root": (sf.RMSprop(beta2=0.9, eps=0.0, eps_root=1e-8), optax.rmsprop(0.03)),
    "rmsprop": (sf.RMSprop(beta2=0.9, eps=1e-4, initial=0.5, bias_correction=True),
                optax.rmsprop(0.03, 0.9, 1e-4, 0.5, False, bias_correction=True)),
    "lion": (sf.Lion(weight_decay=1e-3), optax.lion(0.03)),
    "lion without decay": (sf.Lion(beta1=0.5, beta2=0.8),
                           optax.lion(0.03, 0.5, 0.8, weight_decay=0)),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", BY_OPTAX)
def test_each_base_is_that_of_optax(name, rule):
    base, optimiser = BY_OPTAX[name]
    made = sf.AdaptiveMap(LOSS, RULES[rule], lr=0.03, base=base)
    np.testing.assert_allclose(ours(made), by_optax(optimiser, RULES[rule]), rtol=ROUNDING)


BY_TORCH = {
    "adam": (sf.Adam(), None, lambda p: torch.optim.Adam(p, lr=0.03)),
    "adam coupled": (sf.Adam(), 0.1, lambda p: torch.optim.Adam(p, lr=0.03, weight_decay=0.1)),
    "adamw": (sf.AdamW(), None, lambda p: torch.optim.AdamW(p, lr=0.03)),
    "rmsprop": (sf.RMSprop(), None, lambda p: torch.optim.RMSprop(p, lr=0.03)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", BY_TORCH)
def test_each_base_is_that_of_torch(name, rule):
    base, decay, make = BY_TORCH[name]
    made = sf.AdaptiveMap(LOSS, RULES[rule], lr=0.03, base=base, weight_decay=decay)
    np.testing.assert_allclose(ours(made), by_torch(make, rule), rtol=ROUNDING)


@pytest.mark.parametrize("rule", RULES)
def test_lion_is_its_algorithm(rule):
    """Written down from the paper, in NumPy."""
    made = sf.AdaptiveMap(LOSS, RULES[rule], lr=0.03, base=sf.Lion(weight_decay=0.2))
    w, m, found = np.array(START), np.zeros(3), []
    for _ in range(STEPS):
        g = np.asarray(RULES[rule].step(LOSS, jnp.asarray(w), jnp.zeros(0))[0])
        w = w - 0.03 * (np.sign(0.9 * m + (1 - 0.9) * g) + 0.2 * w)
        m = 0.99 * m + (1 - 0.99) * g
        found.append(w)
    np.testing.assert_allclose(ours(made), found, rtol=ROUNDING)


def test_sam_with_adam_is_optax_contrib_sam():
    """Whose ascent is a step of an adversary of its own: normalised gradient of length rho."""
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.07))
    optimiser = optax.contrib.sam(optax.adam(0.03), adversary, opaque_mode=True)
    w, found = jnp.asarray(START), []
    state, g = optimiser.init(w), lambda w, _: LOSS.gradient(w)
    for _ in range(STEPS):
        updates, state = optimiser.update(g(w, 0), state, w, grad_fn=g)
        w = optax.apply_updates(w, updates)
        found.append(np.asarray(w))
    made = sf.AdaptiveMap(LOSS, sf.SAM(rho=0.07), lr=0.03, base=sf.Adam())
    np.testing.assert_allclose(ours(made), found, rtol=ROUNDING)


SLOW_ADAMW = pytest.param(sf.AdamW(initial=50.0), marks=pytest.mark.slow)


@pytest.mark.parametrize("base", [SLOW_ADAMW, sf.Lion()])
def test_contract(base):
    """The interface of every system, with a v in which differences of 1e-5 are small."""
    system = sf.AdaptiveMap(LOSS, sf.GD(), lr=0.03, base=base)
    w = jnp.array([START, [0.3, 0.8, -0.5], [-1.0, 0.2, 0.4]])
    zs = jax.vmap(lambda w: system.step(system.step(system.lift(w))))(w)
    contracts.check_jit_is_eager(system, zs[0])
    contracts.check_vmap_is_loop(system, zs)
    contracts.check_jacobian_is_finite_differences(system, zs[1])
    contracts.check_lift_and_position(system, w[0])
    contracts.check_components_are_points(system, zs)
    assert system.elementwise


def test_a_memory_comes_last_and_names_are_bases():
    system = sf.AdaptiveMap(LOSS, sf.rules.VaSSO(rho=0.1), lr=0.03, base="adamw")
    z = system.step(system.lift(jnp.asarray(START)))
    memory = system.rule.init(LOSS, jnp.asarray(START))
    assert z.shape == (system.state_dim,) == (3 * 4 + 2,)
    np.testing.assert_allclose(z[-3:], memory)  # of a mean that begins with the gradient
    np.testing.assert_allclose(z[9:11], [0.9, 0.999])
    said = "map of vasso(rho=0.1, theta=0.4) with adamw(beta1=0.9, beta2=0.999, eps=1e-08, "
    assert system.describe().startswith(said)


def test_schedules_are_followed():
    """That of lr, against optax."""
    falls = lambda k: 0.1 * 0.5 ** (jnp.asarray(k, float) / 3)  # noqa: E731
    system = sf.AdaptiveMap(LOSS, sf.GD(), lr=falls, base=sf.Adam())
    found = sf.iterate(system, START, num_steps=STEPS, keep_every=1).w[1:]
    np.testing.assert_allclose(found, by_optax(optax.adam(falls), sf.GD()), rtol=ROUNDING)


def test_numbers_of_a_base_are_swept():
    system = sf.AdaptiveMap(LOSS, sf.GD(), lr=0.03, base=sf.Adam())
    found = sf.sweep(system, {"beta1": [0.5, 0.9]}, "orbit", w0=START, num_steps=STEPS)
    for i, beta1 in enumerate((0.5, 0.9)):
        alone = sf.AdaptiveMap(LOSS, sf.GD(), lr=0.03, base=sf.Adam(beta1=beta1))
        np.testing.assert_allclose(found["final"][i][:3], ours(alone)[-1], rtol=ROUNDING)


def test_wrong_numbers_are_refused():
    for wrong in (
        lambda: sf.Adam(beta1=1.0),
        lambda: sf.Adam(eps=-1e-8),
        lambda: sf.RMSprop(beta2=1.1),
        lambda: sf.Adam(beta2=1.0),  # frozen, and corrected
        lambda: sf.Lion(beta2=1.0),
        lambda: sf.AdaptiveMap(LOSS, sf.GD(), lr=0.1, base="adan"),
        lambda: sf.AdaptiveMap(LOSS, sf.GD(), lr=0.1, base=0.9),
    ):
        with pytest.raises(ArgumentError):
            wrong()


def test_where_a_base_has_no_jacobian():
    """A weight that no gradient has reached has v = 0: smooth with m = 0 and eps > 0 only."""
    loss = sf.loss("x**2/2 + 0*y")
    for base, m, singular in (
        (sf.Adam(), 0.0, False),
        (sf.Adam(), 0.1, True),
        (sf.Adam(eps=0.0), 0.0, True),
        (sf.Adam(eps=0.0, eps_root=1e-8), 0.1, False),
        (sf.Lion(), 0.0, True),
        (sf.Lion(), 0.1, False),
    ):
        system = sf.AdaptiveMap(loss, sf.GD(), lr=0.1, base=base)
        z = system.lift(jnp.array([1.0, 1.0])).at[2:4].set(m)
        assert (float(system.singularity(z)) == 0) == singular


def test_the_slope_at_rest_is_that_by_m_alone():
    """F(m, v) − F(0, 0) = m/eps + O(|m|√v), with eps = 0.1; forward mode has these slopes."""
    flat = sf.loss(lambda w: 0.0 * w[0], dim=1)
    system = sf.AdaptiveMap(flat, sf.GD(), lr=1.0, base=sf.Adam(eps=0.1, bias_correction=False))
    jacobian = np.asarray(system.jacobian(system.rest(jnp.array([1.0]))))
    np.testing.assert_allclose(jacobian[0, :3], [1.0, -0.9 / 0.1, 0.0])
    for v in (1e-8, 1e-12):
        z = system.rest(jnp.array([1.0])).at[1:3].set(jnp.array([v, v]))
        moved = float(system.step(z)[0]) - 1.0
        assert abs(moved + 9.0 * v) < 10 * 9.0 * v * np.sqrt(v)


@pytest.mark.parametrize("scheme", sf.theory.SCHEMES)
def test_a_map_without_base_has_its_edge_too(scheme):
    more = {} if scheme == "none" else {"momentum": 0.9, "nesterov": scheme == "nesterov"}
    system = sf.Map(LOSS, sf.GD(), lr=0.1, **more)
    known = sf.theory.evaluate(sf.theory.edge("gd", scheme), lr=0.1, momentum=0.9)
    np.testing.assert_allclose(float(system.edge), float(known), rtol=1e-15)
