"""What a rule is near a critical point is stated in samflow/rules/ and nowhere else."""

import ast
from pathlib import Path

import numpy as np
import pytest

import samflow as sf
from samflow import rules, theory
from samflow.rules import RULES, Ascent, rule
from samflow.systems.hyperparameters import theory_settings

ROOT = Path(sf.__file__).parent
CLASSES = {name for name in rules.__all__ if isinstance(getattr(rules, name), type)} - {"Ascent"}
NAMES = set(RULES) | {made.name for made in (rules.TensorSAM, rules.PracticalFSAM)}
OWN_WORDS = {"networks/conventions.py"}
"""Modules with a vocabulary of their own: what other implementations do."""


def rule_tests(source):
    """Return the lines that ask for the class or the name of a rule, or choose by one.

    Found are isinstance and issubclass with a class of a rule, comparisons and membership with one
    or with the name of one, dictionaries with such keys, and `case`s of `match`. The abstract rule
    as the type of an argument (`_checks.kind`) and names as values are none.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        asked = []
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in ("isinstance", "issubclass"):
                asked = node.args[1:]
            elif called == "instance" and "AbstractRule" not in map(ast.unparse, node.args):
                asked = node.args[2:]
        elif isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            asked = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.match_case):
            asked = [node.pattern]
        if any(_is_of_a_rule(part) for each in asked for part in ast.walk(each)):
            found.add(node.lineno if hasattr(node, "lineno") else node.pattern.lineno)
    return sorted(found)


def _is_of_a_rule(node):
    if isinstance(node, ast.Attribute):
        return node.attr in CLASSES or (node.attr == "name" and "rule" in ast.unparse(node.value))
    named = getattr(node, "id", None) in CLASSES
    return named or (isinstance(node, ast.Constant) and node.value in NAMES)


def test_no_module_outside_rules_asks_which_rule_it_has():
    """Formulas of theory/ and proofs come in families called as rules; plots have colours."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        home = path.relative_to(ROOT)
        if home.parts[0] in ("rules", "theory", "plots") or home.as_posix() in OWN_WORDS:
            continue
        lines = rule_tests(path.read_text())
        if lines:
            found[home.as_posix()] = lines
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(system.rule, SAM)",
        "isinstance(rule, (rules.GD, int))",
        "issubclass(kind, AbstractNormalisedRule)",
        "type(rule) is SAM",
        'x = 1 if rule.name == "gd" else 2',
        'if system.rule.name in ("gd", "usam"): pass',
        'if name != "sam": pass',
        "if system.rule.name in known: pass",
        "{SAM: 1, USAM: 2}[type(rule)]",
        '_checks.instance("rule", rule, AbstractNormalisedRule)',
        '{"gd": 1}[rule.name]',
        'match name:\n    case "sam": pass',
        "match rule:\n    case SAM(): pass",
    ],
)
def test_a_test_of_a_rule_is_seen(source):
    assert len(rule_tests(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'def f(rule: str = "usam"): pass',
        "GD()",
        "rule.ascent is Ascent.unit",
        'f"{rule.name} has no Jacobian"',
        '_checks.instance("rule", rule, AbstractRule)',
        "isinstance(system, Map)",
    ],
)
def test_what_is_no_test_of_a_rule_is_not_seen(source):
    assert rule_tests(source) == []


SMOOTH_LOSS = sf.losses.Quadratic((1.5, -0.5))


@pytest.mark.parametrize("name", RULES)
def test_the_effective_radius_is_that_of_the_jacobian(name):
    """H(I + rho H) at a critical point; unknown or infinite where a rule has no such Jacobian."""
    made = rule(name, rho=0.2, **({"eps": 0.5} if name == "practical-sam" else {}))
    radius = made.effective_rho()
    assert made.has_closed_form == np.isfinite(radius) == (name in ("gd", "usam", "practical-sam"))
    if made.has_closed_form:
        lams = np.array([1.5, -0.5])
        jacobian = sf.Flow(SMOOTH_LOSS, made).jacobian(np.zeros(2))
        # Rounding alone.
        np.testing.assert_allclose(-jacobian, np.diag(lams * (1 + radius * lams)), atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_ascent_is_that_of_the_direction(name):
    """Rules of one form have the direction of the rule whose name the form bears."""
    made, w = rule(name, rho=0.2), np.array([0.3, -0.4])
    if made.ascent is Ascent.other:
        return
    family = rule("sam" if made.ascent is Ascent.over_whole else made.ascent.value, rho=0.2)
    loss = sf.losses.beale()
    np.testing.assert_allclose(made.direction(loss, w), family.direction(loss, w), rtol=1e-12)


def test_a_window_is_in_fields_of_the_rule():
    for name in RULES:
        made = rule(name, rho=0.1)
        assert set(made.windows) <= {"rho", "eps"} & set(vars(made))


def test_forms_are_families_of_theory():
    forms = {form.value for form in Ascent if form.is_linear}
    made = [rule(name, rho=0.1) for name in RULES]
    made += [rules.TwoStepUSAM(0.1, second="back"), rules.HessianUSAM(0.1, form="penalty")]
    families = {one.family for one in made} - {None}
    assert forms | set(theory.CUBIC) == families == set(theory.RULES)


@pytest.mark.parametrize(
    "made",
    [
        rules.GD(),
        rules.USAM(0.2),
        rules.TwoStepUSAM(0.2),
        rules.TwoStepUSAM(0.2, second="back"),
        rules.HessianUSAM(0.2),
        rules.HessianUSAM(0.2, form="penalty"),
        rules.PracticalSAM(0.2, eps=0.5),
    ],
)
def test_the_jacobian_is_that_of_the_family(made):
    settings = theory_settings(sf.Flow(SMOOTH_LOSS, made))
    formula = theory.effective_curvature(settings["rule"])
    jacobian = -np.asarray(sf.Flow(SMOOTH_LOSS, made).jacobian(np.zeros(2)))
    expected = [theory.evaluate(formula, lam=lam, rho=settings["rho"]) for lam in (1.5, -0.5)]
    np.testing.assert_allclose(jacobian, np.diag(np.array(expected, float)), atol=1e-12)
    assert sf.conditions(sf.Flow(SMOOTH_LOSS, made), [0.0, 0.0]).status is sf.Status.located


class Plain(rules.AbstractMemorylessRule):
    """A rule that states nothing but itself."""

    name = "plain"

    def direction(self, loss, w):
        return loss.gradient(w)

    def singularity(self, loss, w, memory=None):
        return np.inf


def test_a_rule_that_states_nothing_is_unknown():
    made, w, hessian = Plain(), np.zeros(2), np.diag([1.0, -1.0])
    assert made.ascent is Ascent.other
    assert np.isnan(made.effective_rho())
    assert not made.has_closed_form
    assert made.linear_ascent(SMOOTH_LOSS, w) is None
    assert made.attraction(SMOOTH_LOSS, w, hessian) is None
    assert made.aligned_cycle(1.0, [-1.0], 0.1) is None
    assert made.invariant_ball([1.0, -1.0], 0.1) is None
    assert made.family is None
    assert np.isnan(made.cycle_radius(1.0, lr=0.1, momentum=0.0, scheme="none"))
    assert (made.ascent_length(w), made.windows, made.closed_forms) == (0.0, (), "")


def test_lengths_of_ascents():
    """A radius is a length, unless it multiplies the gradient or scaled weights."""
    w = np.array([0.5, -2.0])
    lengths = {name: rule(name, rho=0.1).ascent_length(w) for name in RULES}
    expected = dict.fromkeys(RULES, 0.1) | {"gd": 0.0, "usam": 0.0, "asam": 0.2}
    expected |= {"two-step-usam": 0.0, "hessian-usam": 0.0, "unified-sam": 0.05}
    assert lengths == pytest.approx(expected, rel=1e-15)
    scaled = rules.TensorSAM(0.1, tensors=((1,), (1,)), scaled=(True, False))
    assert scaled.ascent_length(w) == pytest.approx(0.1)
    assert rules.TensorSAM(0.1, scaled=True, shift=1.0).ascent_length(w) == pytest.approx(0.3)


@pytest.mark.parametrize("name", RULES)
def test_the_step_that_a_rule_states_for_proofs_is_its_direction(name):
    """d(w) by the formula of `AscentStep`, at two points of a loss that is not quadratic."""
    loss = sf.losses.beale()
    made = rule(name, rho=0.2, **({"eps": 0.5} if name == "practical-sam" else {}))
    step = made.ascent_step(loss)
    stated = {"sam", "n-sam", "dnsam", "m-sam", "asam", "ssam", "pgn", "practical-sam"}
    in_the_limit = {"unified-sam", "monge-sam"}
    assert (step is not None) == (name in stated | in_the_limit)
    if step is None:
        return
    assert step.limit_only == (name in in_the_limit)
    if step.limit_only:  # at a critical point alone: its limit from every side
        e = np.array([0.6, -0.8])
        limit = made.limit(loss, np.array([0.0, 1.0]), e)
        expected = np.asarray(loss.gradient(np.array([0.0, 1.0]) + step.rho * e))
        np.testing.assert_allclose(limit, expected, rtol=1e-12)
        return
    for w in (np.array([0.3, -0.8]), np.array([1.7, 0.4])):
        g = np.asarray(loss.gradient(w))
        t = np.ones(2) if step.scale is None else np.array(step.scale(w.tolist()))
        size = np.linalg.norm(t * g) + step.eps
        ahead = np.asarray(loss.gradient(w + step.rho * t * t * g / size))
        expected = (1 - step.share) * g + step.share * ahead
        if step.keeps_length:
            expected = np.linalg.norm(g) / np.linalg.norm(ahead) * ahead
        # Rounding alone.
        np.testing.assert_allclose(made.direction(loss, w), expected, rtol=1e-12)


def test_the_step_with_eps_inside_the_root_and_that_of_a_batch():
    made = rules.PracticalSAM(rho=0.2, eps=0.5, placement="inside")
    assert made.ascent_step(sf.losses.beale()).inside
    two = sf.losses.mean([sf.loss("x**2 - y**2"), sf.loss("2*x*y + x**2")])
    assert rules.MSAM(rho=0.1).ascent_step(two) is None
    assert rules.MSAM(rho=0.1, shard_size=2).ascent_step(two).rho == 0.1
