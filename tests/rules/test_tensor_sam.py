"""SAM by tensors: against the rules that it generalises, against formulas, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.rules import ASAM, GCSAM, SAM, PracticalSAM
from samflow.rules.practical import TensorSAM
from tests import contracts
from tests.rules import twins

FOUR, RHO = sf.loss(twins.FOUR), 0.07
W = jnp.array([0.4, -0.7, 0.9, 0.3])
SHAPES = ((1, 3), (1,))
PLACEMENTS = ["outside", "inside"]
RULES = {
    "plain": TensorSAM(RHO),
    "each": TensorSAM(RHO, eps=0.3, tensors=SHAPES, norm_scope="each"),
    "each-inside": TensorSAM(RHO, eps=0.3, placement="inside", tensors=SHAPES, norm_scope="each"),
    "each-bare": TensorSAM(RHO, eps=0.0, tensors=SHAPES, norm_scope="each"),
    "scaled": TensorSAM(RHO, eps=0.3, scaled=True),
    "scaled-some": TensorSAM(RHO, eps=0.3, tensors=SHAPES, scaled=(True, False), shift=0.01),
    "scaled-each": TensorSAM(
        RHO, eps=0.3, tensors=SHAPES, scaled=(False, True), shift=0.01, norm_scope="each"
    ),
    "centred": TensorSAM(RHO, eps=0.3, tensors=((2, 2),), centred=True),
    "centred-each": TensorSAM(RHO, eps=0.3, tensors=SHAPES, centred=True, norm_scope="each"),
}


def written_out(rule, w):
    """Return d(w) from the formula, in NumPy, tensor by tensor."""
    g = twins.four(w)
    shapes = ((len(w),),) if rule.tensors is None else rule.tensors
    flags = rule.scaled if isinstance(rule.scaled, tuple) else [rule.scaled] * len(shapes)
    t, along = np.ones_like(w), g.copy()
    parts, begin = [], 0
    for shape, scaled in zip(shapes, flags, strict=True):
        part = slice(begin, begin := begin + int(np.prod(shape)))
        parts.append(part)
        if scaled:
            t[part] = np.abs(w[part]) + float(rule.shift)
        if rule.centred and len(shape) > 1:
            table = g[part].reshape(shape)
            rest = tuple(range(1, len(shape)))
            along[part] = np.ravel(table - table.mean(axis=rest, keepdims=True))

    def denominator(v):
        eps = float(rule.eps)
        inside = rule.placement.name == "inside"
        return np.hypot(twins.length(v), eps) if inside else twins.length(v) + eps

    whole = denominator(t * g)
    a = np.concatenate([
        t[p] ** 2 * along[p] / (whole if rule.norm_scope.name == "all" else denominator((t * g)[p]))
        for p in parts
    ])  # fmt: skip
    return twins.four(w + RHO * a)


@pytest.mark.parametrize("name", RULES)
def test_it_is_its_formula(name):
    # Rounding of some fifty operations on numbers of order 1.
    expected = written_out(RULES[name], np.asarray(W))
    np.testing.assert_allclose(RULES[name].direction(FOUR, W), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        (TensorSAM(RHO, eps=0.3), PracticalSAM(RHO, eps=0.3)),
        (
            TensorSAM(RHO, eps=0.3, placement="inside", tensors=((2, 2),)),
            PracticalSAM(RHO, eps=0.3, placement="inside"),
        ),
        (TensorSAM(RHO, eps=0.0), SAM(RHO)),
        (TensorSAM(RHO, eps=0.0, scaled=True, shift=0.1), ASAM(RHO, shift=0.1)),
        (TensorSAM(RHO, eps=0.0, tensors=((2, 2),), centred=True), GCSAM(RHO, blocks=(2, 2))),
    ],
)
def test_it_contains_other_rules(rule, known):
    np.testing.assert_allclose(rule.direction(FOUR, W), known.direction(FOUR, W), rtol=1e-14)


@pytest.mark.parametrize("name", RULES)
def test_it_keeps_the_contracts_of_a_rule(name):
    system = sf.Map(FOUR, RULES[name], lr=0.1, momentum=0.5)
    zs = jax.vmap(system.lift)(jnp.stack([W, W[::-1], -0.3 * W]))
    contracts.check_jit_is_eager(system, zs[0])
    contracts.check_vmap_is_loop(system, zs)
    contracts.check_components_are_points(system, zs)
    contracts.check_jacobian_is_finite_differences(system, zs[0])
    contracts.check_traced_once(system, zs[0])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_with_a_norm_a_tensor_a_dead_tensor_does_not_move_and_stops_only_a_bare_rule(placement):
    """At y = 0 the second tensor has no gradient, and the first ascends by rho all the same."""
    loss, w = sf.loss("x**2 + y**2/2"), jnp.array([0.5, 0.0])
    each = {"tensors": ((1,), (1,)), "norm_scope": "each", "placement": placement}
    rule, bare = TensorSAM(0.1, eps=1e-12, **each), TensorSAM(0.1, eps=0.0, **each)
    np.testing.assert_allclose(rule.direction(loss, w), [2 * 0.6, 0.0], rtol=1e-11)  # eps/‖g‖
    assert np.isinf(rule.singularity(loss, w))
    assert float(bare.singularity(loss, w)) == 0
    assert np.isnan(bare.direction(loss, w)).any()
    assert float(TensorSAM(0.1, eps=0.0, tensors=((1,), (1,))).singularity(loss, w)) == 1


def test_at_a_critical_point_each_tensor_has_usams_jacobian():
    """There a(g) = g/eps whatever the norm runs over: H (I + (rho/eps) H)."""
    loss, w = sf.losses.saddle((2.0, -1.0)), jnp.zeros(2)
    for scope in ("all", "each"):
        rule = TensorSAM(0.1, eps=0.5, tensors=((1,), (1,)), norm_scope=scope)
        jacobian = jax.jacfwd(lambda w: rule.direction(loss, w))(w)  # noqa: B023
        np.testing.assert_allclose(jacobian, np.diag([2.8, -0.8]), rtol=1e-15)


def test_a_shift_leaves_a_kink_in_scaled_tensors_alone():
    loss, w = sf.losses.himmelblau(), jnp.array([0.0, 1.0])
    first = TensorSAM(0.1, tensors=((1,), (1,)), scaled=(True, False), shift=0.5)
    second = TensorSAM(0.1, tensors=((1,), (1,)), scaled=(False, True), shift=0.5)
    assert float(first.singularity(loss, w)) == 0
    assert float(second.singularity(loss, w)) == float(jnp.linalg.norm(loss.gradient(w)))
    assert np.isinf(TensorSAM(0.1, scaled=True).singularity(loss, w))
    critical = sf.losses.saddle()
    assert np.isinf(first.singularity(critical, jnp.zeros(2)))  # no gradient, no kink


def test_a_tensor_with_one_axis_is_not_centred():
    plain = TensorSAM(RHO, eps=0.3)
    both = TensorSAM(RHO, eps=0.3, tensors=((4,),), centred=True)
    np.testing.assert_array_equal(both.direction(FOUR, W), plain.direction(FOUR, W))


def test_rows_of_a_kernel_run_over_all_axes_but_the_first():
    g = jnp.arange(16.0) ** 2
    rule = TensorSAM(1.0, eps=0.0, tensors=((2, 2, 2, 2),), centred=True)
    ascent = np.asarray(rule._ascent(g, g)).reshape(2, 8)
    np.testing.assert_allclose(ascent.sum(axis=1), 0, atol=1e-15)
    assert np.abs(ascent.reshape(2, 2, 4).sum(axis=2)).min() > 0.01


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: TensorSAM(0.1, eps=-1.0), "`eps` must be finite and at least 0"),
        (lambda: TensorSAM(0.1, tensors=3), r"shapes, such as \(\(6, 3\), \(6,\)\), but is 3"),
        (lambda: TensorSAM(0.1, tensors=(3,)), "`tensors` must be shapes"),
        (lambda: TensorSAM(0.1, tensors=((0,),)), "`tensors` must be a whole number of at least 1"),
        (lambda: TensorSAM(0.1, norm_scope="layer"), "Unknown norm_scope `layer`"),
        (lambda: TensorSAM(0.1, scaled="yes"), "`scaled` must be a bool"),
        (lambda: TensorSAM(0.1, scaled=(True, True)), "one flag per tensor, 1, but has 2"),
        (lambda: TensorSAM(0.1, scaled=True, centred=True), "`centred` must be False if"),
        (
            lambda: TensorSAM(0.1, tensors=((3,),), norm_scope="each").direction(FOUR, W),
            "as many numbers as there are weights, 4, but holds 3",
        ),
    ],
)
def test_bad_arguments_are_refused(use, words):
    with pytest.raises(ArgumentError, match=words):
        use()
