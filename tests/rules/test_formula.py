"""Rules by formula: what is read, what is refused, and that they are the rules that they spell."""

import dataclasses
import pickle
import time
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.proofs.certificates import Verdict
from samflow.rules import Ascent, FormulaRule, NormalisedFormulaRule, is_normalised
from samflow.rules.formula import critical, read_formula

BEALE, SADDLE = sf.losses.beale(), (0.0, 1.0)
W = jnp.array([[0.3, 0.8], [-1.0, 0.5], [2.0, 0.1]])
RHO, EPS, LR = 0.05, 0.5, 1e-3
USAM, SAM = "g(w + rho*g)", "g(w + rho*g/norm(g))"
PRACTICAL = "g(w + rho*g/(norm(g) + eps)); eps = 0.5"
PAIRS = {
    "g": sf.GD(),
    USAM: sf.USAM(rho=RHO),
    SAM: sf.SAM(rho=RHO),
    "grad(rho/norm(grad(w))*grad(w) + w)": sf.SAM(rho=RHO),
    PRACTICAL: sf.rule("practical-sam", rho=RHO, eps=EPS),
    "g(w + rho*g/sqrt(dot(g, g) + 0.5**2))": sf.rule(
        "practical-sam", rho=RHO, eps=EPS, placement="inside"
    ),
    "g(w + rho/100*H(g))": sf.rule("hessian-usam", rho=RHO / 100),
    "(1 - alpha)*g + alpha*g(w + rho*g/norm(g)); alpha = 7/10": sf.rule("pgn", rho=RHO, alpha=0.7),
}


@pytest.mark.parametrize("text", PAIRS)
def test_a_formula_is_the_rule_that_it_spells(text):
    made, known = sf.rule(text, rho=RHO), PAIRS[text]
    for w in W:
        found, expected = (rule.direction(BEALE, w) for rule in (made, known))
        # Rounding, which Beale's Hessian at the ascent point enlarges.
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", [USAM, SAM])
def test_sam_and_usam_step_for_step_to_the_bit(text):
    """In the fast layout the same operations run in the same order."""
    system = sf.Map(BEALE, sf.rule(text, rho=RHO), lr=LR)
    assert system.elementwise
    known = sf.Map(BEALE, PAIRS[text], lr=LR)
    np.testing.assert_array_equal(*(sf.iterate(s, W, num_steps=50).w for s in (system, known)))


@pytest.mark.parametrize(
    ("text", "ascent", "normalised"),
    [
        ("g", Ascent.none, False),
        ("g(w)", Ascent.none, False),
        ("grad(g*rho + w)", Ascent.gradient, False),
        (SAM, Ascent.unit, True),
        ("g(w + g/norm(g)*rho)", Ascent.unit, True),
        ("g(w + rho*g/sqrt(dot(g, g)))", Ascent.unit, True),
        ("g(w + rho*g/dot(g, g)**0.5)", Ascent.unit, True),
        ("sqrt(dot(g, g))*g", Ascent.other, False),
        ("g(w + 2*rho*g)", Ascent.other, False),
        ("g(w - rho*g)", Ascent.other, False),
        ("g(w + r*g); r = 0.1", Ascent.other, False),
        ("2*g(w + rho*g)", Ascent.other, False),
        ("g(w + rho*g/norm(g) + w)", Ascent.other, True),
        (PRACTICAL, Ascent.other, False),
        ("g/dot(g, g)", Ascent.other, True),
        ("g*norm(g)", Ascent.other, False),
        ("w*norm(g)", Ascent.other, True),
        ("g/norm(w)", Ascent.other, False),
        ("g*sqrt(norm(g))", Ascent.other, True),
    ],
)
def test_the_form_and_the_jumps_follow_from_the_text(text, ascent, normalised):
    made = sf.rule(text, rho=RHO)
    assert made.ascent is ascent
    assert is_normalised(made) is normalised
    assert type(made) is (NormalisedFormulaRule if normalised else FormulaRule)
    assert made.smooth is not normalised
    twin = {Ascent.none: sf.GD, Ascent.gradient: sf.USAM, Ascent.unit: sf.SAM}.get(ascent)
    assert made.closed_forms == ("" if twin is None else twin.closed_forms)


def test_proofs_and_thresholds_are_those_of_usam():
    """Beale's saddle attracts USAM from rho = 4/111 on, and so the formula, with proof."""
    for rho, kind in ((0.99 * 4 / 111, sf.Kind.saddle), (1.01 * 4 / 111, sf.Kind.attracting)):
        system = sf.Map(BEALE, sf.rule(USAM, rho=rho), lr=0.01)
        assert sf.classify(system, SADDLE).kind is kind
        proved = sf.certify_fixed_points(system, ((-0.5, 0.5), (0.5, 1.5)))
        assert proved.verdict is Verdict.proved
    assert sf.conditions(system, SADDLE).rho_window.low.value == pytest.approx(4 / 111, abs=1e-15)


def test_what_theory_does_not_know_it_does_not_say():
    """0.5 g + 0.5 g(w + rho g) has U = λ(1 + rho λ/2): at Beale's saddle the edge is 8/111."""
    text = "0.5*g + 0.5*g(w + rho*g)"
    for rho, kind in ((0.99 * 8 / 111, sf.Kind.saddle), (1.01 * 8 / 111, sf.Kind.attracting)):
        system = sf.Map(BEALE, sf.rule(text, rho=rho), lr=0.01)
        assert sf.classify(system, SADDLE).kind is kind
    assert sf.conditions(system).status is sf.Status.no_closed_form
    refused = sf.certify_fixed_points(system, (-2, 2))
    assert refused.verdict is Verdict.unsupported
    assert text in refused.reason


@pytest.mark.parametrize(
    "text",
    [
        SAM,
        "0.5*g + 0.5*g(w + rho*g/norm(g))",
        "g(w + rho*g(w + rho*g/norm(g))/norm(g(w + rho*g/norm(g))))",
        "g(w + rho*H(g)/norm(H(g)))",
        "norm(g)*g(w + rho*g/norm(g))",
        "g(w + rho*g/sqrt(norm(g)))/sqrt(norm(g))",
        "g(w - rho*g)/norm(g(w - rho*g))",
        "(g(w + rho*g) - g)/norm(g)",
        "w*norm(g) + g/norm(g)",
    ],
)
def test_limits_at_critical_points_are_what_the_direction_tends_to(text):
    made, w, e = sf.rule(text, rho=0.1), jnp.array(SADDLE), jnp.array([0.6, 0.8])
    t = 1e-8
    beside = w + jnp.linalg.solve(BEALE.hessian(w), t * e)
    # Terms left out are of order √t·‖∇³L‖ in the slowest of these, that with roots, else of t.
    allowed = 1e-2 if "sqrt" in text else 1e-5
    np.testing.assert_allclose(made.limit(BEALE, w, e), made.direction(BEALE, beside), atol=allowed)
    assert float(made.singularity(BEALE, w)) == 0
    assert 0 < float(made.singularity(BEALE, beside)) < 1e-5
    assert np.isnan(made.direction(BEALE, w)).all() or text.startswith("norm(g)")


def test_a_direction_without_bound_has_no_limit():
    made = sf.rule("g/dot(g, g)")
    assert np.isnan(made.limit(BEALE, jnp.array(SADDLE), jnp.array([1.0, 0.0]))).all()


UNSEEN = f"1.0*{SAM}"
"""SAM in a form that is not seen: its limits alone say what it does."""


def test_flows_slide_as_those_of_sam():
    found, known = (
        sf.classify(sf.Flow(BEALE, rule), SADDLE)
        for rule in (sf.rule(UNSEEN, rho=RHO), sf.SAM(rho=RHO))
    )
    assert found.kind is known.kind is sf.Kind.sliding
    assert "proved" in str(known)
    assert "proved" not in str(found)


@pytest.mark.slow
def test_solutions_arrive_as_those_of_sam():
    ends = [
        sf.integrate(sf.Flow(BEALE, rule), [0.1, 1.1], t1=0.05, num_times=2)
        for rule in (sf.rule(UNSEEN, rho=RHO), sf.SAM(rho=RHO))
    ]
    assert [int(end.status) for end in ends] == [int(sf.Status.sliding)] * 2
    # Both stop to the tolerance of a step.
    assert float(ends[0].arrived_at) == pytest.approx(float(ends[1].arrived_at), rel=1e-5)


def test_singular_is_where_a_norm_or_a_divisor_vanishes():
    at = lambda text, w: float(sf.rule(text, rho=RHO).singularity(BEALE, jnp.array(w)))  # noqa: E731
    assert at(USAM, SADDLE) == np.inf
    assert at(PRACTICAL, SADDLE) == np.inf
    assert at(PRACTICAL.replace("0.5", "0"), SADDLE) == 0  # which divides by 0 there
    assert at("g/(norm(g) + 1)", SADDLE) == np.inf
    assert 1e300 < at("g/norm(w)", [3.0, 4.0]) < np.inf  # a length, and no gradient
    assert at("g/norm(w)", [0.0, 0.0]) == 0


def test_numbers_are_leaves():
    made = sf.rule("g(w + rho*g) + decay*w", rho=0.1, decay=0.25, name="mine")
    assert (float(made.rho), float(made.decay), made.name) == (0.1, 0.25, "mine")
    assert not hasattr(made, "eps")
    assert float(dataclasses.replace(made, rho=0.3).rho) == 0.3
    assert dataclasses.replace(made, rho=0.3).name == "mine"
    system = sf.Map(BEALE, made, lr=LR)
    assert system.describe() == "map of mine(rho=0.1, decay=0.25) on beale, lr=0.001"
    moved = eqx.tree_at(lambda s: s.rule.decay, system, jnp.asarray(0.5))
    assert float(moved.rule.decay) == 0.5
    assert pickle.loads(pickle.dumps(made)).formula == made.formula
    slope = jax.grad(lambda rho: sf.Map(BEALE, sf.rule(USAM, rho=rho), lr=LR).step(W[0])[1])
    known = jax.grad(lambda rho: sf.Map(BEALE, sf.USAM(rho=rho), lr=LR).step(W[0])[1])
    assert float(slope(RHO)) == pytest.approx(float(known(RHO)), rel=1e-12)


def test_sweeps_over_its_numbers_are_one_program():
    text = "g(w + rho*g/(norm(g) + eps))"
    system = sf.Map(BEALE, sf.rule(text, rho=RHO, eps=EPS), lr=LR)
    grid = {"rho": np.array([0.01, 0.05]), "eps": np.array([0.5, 2.0, 8.0])}
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *args, **kwargs: compiled.append("backend_compile" in name)
    )
    try:
        found = sf.sweep(system, grid, "orbit", w0=W[0], num_steps=20)
        first = sum(compiled)
        again = sf.sweep(
            system, {name: 1.5 * row for name, row in grid.items()}, "orbit", w0=W[0], num_steps=20
        )
        assert first > 0
        assert sum(compiled) == first
    finally:
        jax.monitoring.clear_event_listeners()
    assert not np.array_equal(found["final"], again["final"])
    one = sf.Map(BEALE, sf.rule(text, rho=0.05, eps=2.0), lr=LR)
    expected = sf.iterate(one, W[0], num_steps=20).final_w
    np.testing.assert_allclose(found["final"][1, 1], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("g.__class__", "attribute access"),
        ("__import__('os').system('true')", "attribute access"),
        ("__import__('os')", "no such function; known: dot, g, grad, H, norm, sqrt"),
        ("g(w + os)", "have no sum"),
        ("g*_x", "a letter, then"),
        ("g*a__b", "a letter, then"),
        ("(lambda: g)()", "a lambda"),
        ("lambda*g", "reserved word"),
        ("g if g else w", "a conditional"),
        ("[g][0]", "indexing"),
        ("{g: g}", "a dictionary"),
        ("f'{g}'*g", "a string"),
        ("'g'*g", "only decimal numbers"),
        ("g*True", "only decimal numbers"),
        ("(x := g)", "an assignment"),
        ("g(*g)", "a star"),
        ("g(v=w)", "one argument"),
        ("g # w", "a comment"),
        ("g*", "invalid syntax"),
        ("2g*rho", "invalid"),
        ("w(g)", "no function; a product needs its *"),
        ("g*eval(1)", "no such function"),
        ("g(w + rho)", "`w` is a vector and `rho` a number"),
        ("g*w", "dot(a, b)"),
        ("w/g", "divide by norm(...)"),
        ("g**2", "norm(v)**2"),
        ("norm(g)", "but this is a number"),
        ("g(rho)", "g takes a vector, but this is a number"),
        ("norm(rho)*g", "norm takes a vector"),
        ("sqrt(g)*g", "sqrt takes a number"),
        ("dot(g)*g", "two arguments"),
        ("norm*g", "write norm(g)"),
        ("g^2", "write **"),
        ("g @ w", "write dot(a, b)"),
        ("g*rho**rho", "written out"),
        ("g*rho**101", "at most 100"),
        ("g*9**9**9", "at most 100"),
        ("g*(1e200*1e200)", "finite real number"),
        ("g*(-1)**0.5", "finite real number"),
        ("g/0", "division by zero"),
        ("g/(1 - 1)", "division by zero"),
        ("g*1e400", "too large"),
        ("g(w + ρ*g)", "column 7, `ρ`: only ASCII letters"),
        ("g(w + ρ*g)", "write rho"),
        ("g*lr", "belongs to the system"),
        ("g*limit", "means something else"),
        ("g*numbers", "means something else"),
        ("g*beta", "`beta` is missing"),
        ("g*beta; beta", "write name = number"),
        ("g*beta; beta = x", "must be a number"),
        ("g*beta; beta = 1; beta = 2", "given twice"),
        ("g; beta = 1", "no number of the formula; it has none"),
        ("g*beta; beta = __import__('os')", "no such function"),
        ("+".join(f"a{i}*g" for i in range(9)), "at most 8 named numbers"),
        ("+".join(f"g({i}*w)" for i in range(2, 19)), "at most 16 different gradients"),
        ("+".join(["g"] * 300), "at most 400"),
        ("g" + "+g" * 500, "at most 1000 characters"),
        ("-" * 900 + "g", "at most 400"),
        ("norm(" * 150 + "g", ""),
        ("(" * 450 + "g" + ")" * 450, ""),
        ("sqrt(" * 50 + "norm(g)" + ")" * 50 + "*g", "too deeply"),
        ("muon", "no such optimiser"),
        ("usamm", "Did you mean usam"),
        (" ", "Unknown rule"),
    ],
)  # fmt: skip
def test_hostile_and_mistaken_texts_are_refused_with_a_reason(text, said):
    began = time.perf_counter()
    with pytest.raises(ArgumentError) as caught:
        sf.rule(text, rho=RHO)
    assert said in str(caught.value)
    assert time.perf_counter() - began < 1  # a bound on behaviour, not a measurement of speed


def test_numbers_at_the_door():
    with pytest.raises(ArgumentError, match="`rho` must be finite and at least 0"):
        sf.rule(USAM, rho=-1)
    with pytest.raises(ArgumentError, match="`rho` must be finite"):
        sf.rule("g", rho=-1)
    with pytest.raises(ArgumentError, match="`eps` must be finite"):
        sf.rule(PRACTICAL, eps=float("nan"))
    with pytest.raises(ArgumentError, match="`eps` is no number of the rule"):
        sf.rule(USAM, rho=1, eps=1)
    with pytest.raises(ArgumentError, match="no Jacobian at critical points"):
        FormulaRule(SAM, rho=1)
    with pytest.raises(ArgumentError, match="a Jacobian at critical points"):
        NormalisedFormulaRule(USAM, rho=1)
    assert float(sf.rule(PRACTICAL, rho=1, eps=0.25).eps) == 0.25  # in the place of the text's
    assert float(sf.rule(USAM).rho) == 0  # as of the rules by name


def test_orders_are_counted_in_powers_of_the_gradient():
    orders = {
        "g": 1,
        "w + g": 0,
        "g/norm(g)": 0,
        "g(w + rho*g)": 1,
        "g(w + rho*g/norm(g))": 0,
        "g(w + g/sqrt(norm(g)))": Fraction(1, 2),
        "g(2*w)": 0,
        "H(H(g))*norm(g)**2": 3,
        "g/dot(g, g)": -1,
        "g(w + g/dot(g, g))": float("-inf"),
    }
    assert {text: critical.order(read_formula(text).root) for text in orders} == orders


def test_what_divides_may_vanish_at_a_critical_point_that_is_known_to_rounding():
    """With eps = 0 the formula is SAM, beside the point as at it; of eps > 0 it has a Jacobian."""
    text = "g(w + rho*g/(norm(g) + eps - off))"
    beside = jnp.array(SADDLE) + 1e-17
    at = lambda eps: sf.rule(text, rho=RHO, eps=eps, off=0.1).singularity(BEALE, beside)  # noqa: E731
    assert 0 < at(0.1) < 1e-14
    assert at(0.2) == np.inf
    flow = sf.Flow(BEALE, sf.rule(text, rho=RHO, eps=0.1, off=0.1))
    assert sf.classify(flow, beside).status is sf.Status.not_differentiable


@pytest.mark.parametrize("text", ["norm(w)*g", "H(w)/norm(w)*norm(w) - H(w) + g"])
def test_a_norm_of_weights_decides_alike_in_all_units_of_the_loss(text):
    """‖w‖ is 1 at Beale's saddle, far from 0, however large a gradient is."""
    for factor in (1.0, 2.0**40):
        loss = sf.losses.loss(lambda w, factor=factor: factor * BEALE(w), dim=2)
        found = sf.classify(sf.Map(loss, sf.rule(text), lr=LR / factor), SADDLE)
        assert found.kind is sf.Kind.saddle


def test_limits_that_are_all_0_decide_nothing():
    """The flow of g/√‖g‖ arrives at a minimum: its ‖g‖ falls, though all limits are 0."""
    found = sf.classify(sf.Flow(BEALE, sf.rule("g/sqrt(norm(g))")), (3.0, 0.5))
    assert found.kind is sf.Kind.undefined
    assert "tends to 0 from all sides" in str(found)
    assert "falls" not in str(found)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (SAM, 0.05),
        ("0.5*g + 0.5*g(w + 2*rho*g/norm(g))", 0.05),
        ("(g(w + rho*g/norm(g)) - g)/rho", 0.05),
        ("g(w - rho*H(g)/norm(H(g)))", 0.05),
        ("g(w + rho*g) + g/norm(g)", 0.0),
        ("rho*g/norm(g)", 0.0),
        ("g/norm(g)", 0.0),
        (USAM, 0.0),
    ],
)
def test_rho_is_a_length_where_its_product_is_added_to_weights(text, length):
    assert sf.rule(text, rho=RHO).ascent_length(jnp.zeros(2)) == length
