"""The registry, bad arguments, and what every rule tells about itself."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import rules
from samflow._checks import ArgumentError
from samflow.rules import RULES
from tests.rules.cases import CASES, MEMORY


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_made_by_its_name_and_tells_about_itself(name):
    made = rules.rule(name, rho=0.1)
    assert isinstance(made, RULES[name])
    assert RULES[name].name == name
    assert made.formula
    assert "arXiv" in made.source or name in ("gd", "lookahead-sam", "optimistic-sam")
    doc = inspect.getdoc(RULES[name])
    assert doc
    assert name in ("gd", "optimistic-sam") or "Source: " in doc
    assert getattr(rules, RULES[name].__name__) is RULES[name]
    assert name in ("gd",) or float(made.rho) == 0.1
    assert rules.rule(name.upper()).name == name


@pytest.mark.parametrize("name", RULES)
def test_a_class_is_abstract_or_final(name):
    above = [c for c in RULES[name].__mro__[1:] if c.__module__.startswith("samflow.rules")]
    assert above
    assert all(c.__name__.startswith("Abstract") for c in above)
    assert not set(above) & set(RULES.values())


def test_options_are_passed_on():
    made = rules.rule("multistep-sam", rho=0.1, num_steps=5, average=True)
    assert (made.num_steps, made.average) == (5, True)
    assert float(rules.rule("asam", shift=0.01).shift) == pytest.approx(0.01)
    assert rules.rule("practical-sam", placement="inside").placement.name == "inside"


@pytest.mark.parametrize("name", MEMORY)
def test_a_flow_takes_no_rule_with_a_memory(name):
    with pytest.raises(ArgumentError, match="of a flow must have no memory"):
        sf.Flow(sf.losses.beale(), CASES[name].rule)


BEALE, W = sf.losses.beale(), jnp.array([0.3, 0.8])


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: rules.rule("asma"), "Unknown rule `asma`. Did you mean asam"),
        (
            lambda: rules.rule("asam", eps=0.1),
            "`eps` is not an option of asam, which takes rho, shift",
        ),
        (lambda: rules.rule("sam", shift=0.1), "`shift` is not an option of sam, which takes rho"),
        (
            lambda: rules.rule("gd", shift=0.1),
            "`shift` is not an option of gd, which takes rho only",
        ),
        (lambda: rules.PracticalSAM(0.1, eps=0.0), "`eps` must be finite and greater than 0"),
        (lambda: rules.PracticalSAM(0.1, placement="insied"), "Did you mean inside"),
        (lambda: rules.ASAM(0.1, shift=-1.0), "`shift` must be finite and at least 0"),
        (lambda: rules.MultiStepSAM(0.1, num_steps=0), "`num_steps` must be a whole number of at"),
        (lambda: rules.MultiStepSAM(0.1, num_steps=1.5), "`num_steps` must be a whole number"),
        (lambda: rules.MultiStepSAM(0.1, average="yes"), "`average` must be a bool, but is 'yes'"),
        (lambda: rules.PenalisedGradientNorm(0.1, alpha=-0.1), "`alpha` must be finite and at le"),
        (lambda: rules.LookaheadSAM(0.1, lookahead=-1), "`lookahead` must be finite and at least"),
        (lambda: rules.OptimisticSAM(0.1, lookahead=math.inf), "`lookahead` must be finite"),
        (lambda: rules.GCSAM(0.1, norm="central"), "Unknown norm `central`"),
        (lambda: rules.GCSAM(0.1, blocks=3), r"sizes of the blocks, such as \(6, 3\), but is 3"),
        (lambda: rules.GCSAM(0.1, blocks=(1, 0)), "`blocks` must be a whole number of at least 1"),
        (
            lambda: rules.GCSAM(0.1, blocks=(1, 2)).direction(BEALE, W),
            r"`blocks` must add up to the number of weights, 2, but is \(1, 2\)",
        ),
        (lambda: rules.UnifiedSAM(0.1, mix=0.0), r"`mix` must be in \(0, 1\].*USAM"),
        (lambda: rules.UnifiedSAM(0.1, mix=1.2), r"`mix` must be in \(0, 1\], but is 1.2"),
        (lambda: rules.UnifiedSAM(0.1, mix=math.nan), r"`mix` must be in \(0, 1\], but is nan"),
        (lambda: rules.MongeSAM(0.1, metric=-1.0), "`metric` must be finite and at least 0"),
        (lambda: rules.TwoStepUSAM(0.1, second="forth"), "Unknown second `forth`"),
        (lambda: rules.HessianUSAM(0.1, form="ascnt"), "Did you mean ascent"),
        (lambda: rules.MSAM(0.1, shard_size=0), "`shard_size` must be a whole number of at least"),
        (lambda: rules.FSAM(0.1, decay=1.0), r"`decay` must be in \[0, 1\), but is 1.0"),
        (lambda: rules.FSAM(0.1, sigma=-1), "`sigma` must be finite and at least 0"),
        (lambda: rules.VaSSO(0.1, theta=1.1), r"`theta` must be in \[0, 1\], but is 1.1"),
        (lambda: rules.VaSSO(0.1, theta=-0.1), "`theta` must be finite and at least 0"),
    ],
)
def test_bad_arguments_are_refused(use, words):
    with pytest.raises(ArgumentError, match=words):
        use()


@pytest.mark.parametrize("name", sorted(set(RULES) - {"gd"}))
def test_a_bad_rho_is_refused(name):
    with pytest.raises(ArgumentError, match="`rho` must be finite and at least 0"):
        rules.rule(name, rho=-0.1)


def test_a_bad_weight_inside_jit_is_refused_at_run_time():
    make = jax.jit(lambda theta: rules.VaSSO(0.1, theta=theta).theta)
    assert float(make(1.0)) == 1
    with pytest.raises(Exception, match=r"`theta` must be in \[0, 1\]"):
        make(1.1)


def test_orbits_carry_the_memory_along():
    """An ensemble in the compiled loop against single steps."""
    system = sf.Map(sf.losses.himmelblau(), CASES["f-sam"].rule, lr=0.004, momentum=0.6)
    starts = jnp.array([[0.5, 1.5], [0.1, -0.7]])
    z = jax.vmap(system.lift)(starts)
    for _ in range(5):
        z = jax.vmap(system.step)(z)
    np.testing.assert_allclose(sf.iterate(system, starts, num_steps=5).final, z, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adam", r"sf.AdaptiveMap\(.*base=sf.Adam\(\)\).*There are gd, usam, sam,"),
        ("RMSProp", r"base=sf.RMSprop\(\)"),
        ("muon", "no such optimiser"),
        ("sgd", r"Did you mean gd\? There are gd"),
        ("usma", "Did you mean usam"),
        ("nothing-alike", "Known: gd, usam, sam,"),
    ],
)
def test_an_unknown_rule_is_told_what_there_is(name, words):
    """Of adam, which is spelt like asam and means something else, nothing is suggested."""
    with pytest.raises(ArgumentError, match=words) as found:
        rules.rule(name)
    assert "asam?" not in str(found.value)


def test_a_rule_prints_its_numbers():
    assert str(rules.rule("usam", rho=0.1)) == "usam(rho=0.1)"
    assert str(rules.rule("gd")) == "gd"
    assert str(rules.rule("g(w + rho*g)", rho=0.1)) == "g(w + rho*g) [rho=0.1]"
