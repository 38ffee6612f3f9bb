"""Step by step against the formulas in NumPy."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.rules import GCSAM, MSAM, RULES, AverageSAM
from tests.rules import twins
from tests.rules.cases import CASES, RHO, SAMPLE

LOSSES = {
    "beale": (sf.losses.beale(), twins.beale, [1.3, 0.3]),
    "himmelblau": (sf.losses.himmelblau(), twins.himmelblau, [0.5, 1.5]),
    "four": (sf.loss(twins.FOUR), twins.four, [0.9, -0.4, 0.5, 1.2]),
}


def assert_agree(system, twin, w, num_steps=12):
    """Compare weights, and memories where there are any, after every step."""
    momentum = 0.0 if system.momentum is None else float(system.momentum)
    path = twins.orbit(
        twin, np.array(w), lr=float(system.lr), num_steps=num_steps, momentum=momentum
    )
    z = system.lift(jnp.asarray(w))
    for weights, memory in path:
        z = system.step(z)
        # Rounding, magnified by at most about 10 over the steps.
        np.testing.assert_allclose(system.position(z), weights, rtol=1e-12, atol=1e-13)
        if system.rule.num_memories:
            np.testing.assert_allclose(z[-system.dim :], memory, rtol=1e-11, atol=1e-12)


def test_every_rule_has_a_twin():
    assert {case.rule.name for case in CASES.values()} == set(RULES)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CASES)
def test_steps_agree_with_the_twin(name, loss, momentum):
    made, g, w = LOSSES[loss]
    rule, twin = CASES[name]
    if isinstance(rule, GCSAM):
        twin = functools.partial(twin, blocks=(len(w),))
    system = sf.Map(made, rule, lr=0.004, momentum=momentum)
    assert_agree(system, functools.partial(twin, g), w)


@pytest.mark.parametrize("norm", ["raw", "centralised"])
def test_blocks_are_centralised_one_by_one(norm):
    made, g, w = LOSSES["four"]
    rule = GCSAM(RHO, norm=norm, blocks=(1, 3))
    system = sf.Map(made, rule, lr=0.004)
    wanted = {"rho": RHO, "centralised_norm": norm == "centralised", "blocks": (1, 3)}
    assert_agree(system, functools.partial(twins.gcsam, g, **wanted), w)
    # The block of one weight is not moved by the ascent.
    ascent = rule._centralised(made.gradient(jnp.asarray(w)))
    assert float(ascent[0]) == 0
    assert float(ascent[1:].sum()) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_a_sample_is_used_with_both_signs(momentum):
    made, g, w = LOSSES["beale"]
    system = sf.Map(made, AverageSAM(RHO, sample=SAMPLE), lr=0.004, momentum=momentum)
    assert_agree(system, functools.partial(twins.sampled, g, rho=RHO, sample=SAMPLE), w)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_shards_ascend_one_by_one(momentum):
    """Four examples in shards of one and of two."""
    (a, ga, w), (b, gb, _) = LOSSES["beale"], LOSSES["himmelblau"]
    tilt = sf.loss("x**2 - 3*x*y")
    gradients = [ga, gb, lambda w: np.array([2 * w[0] - 3 * w[1], -3 * w[0]]), ga]
    loss = sf.losses.mean([a, b, tilt, a])
    for size in (1, 2, 4):
        pairs = [gradients[i : i + size] for i in range(0, 4, size)]
        parts = [lambda w, p=p: np.mean([g(w) for g in p], axis=0) for p in pairs]
        system = sf.Map(loss, MSAM(RHO, shard_size=size), lr=0.004, momentum=momentum)
        assert_agree(system, functools.partial(twins.msam, parts, rho=RHO), w)
