"""Minima that fit every example: closed forms against brute force."""

import itertools

import numpy as np
import pytest
import sympy

from samflow import theory
from samflow.theory import interpolation
from samflow.theory.symbols import lr, rho


def test_the_printed_bounds_are_the_conditions_with_replacement():
    gamma, h, size = interpolation.alignment, interpolation.hessian_norm, interpolation.batch_size
    share = {interpolation.noise_share: theory.batch_noise_share(True)}
    sgd = theory.sgd_bound().subs(share) - 1
    assert sympy.simplify(sgd - (h**2 - size / (lr**2 * gamma)) * lr**2 * gamma / size) == 0
    sam = theory.sam_bound().subs(share) - 1
    printed = h**2 * (1 + rho**2 * gamma / size * h**2) - size / (lr**2 * gamma)
    assert sympy.simplify(sam - printed * lr**2 * gamma / size) == 0


@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_edges_put_into_the_bounds_give_one(rule):
    bound = {"gd": theory.sgd_bound, "usam": theory.sam_bound}[rule]()
    assert sympy.simplify(bound.subs(lr, theory.tight_lr(rule))) == 1
    largest = theory.largest_hessian_norm(rule)
    assert sympy.simplify(bound.subs(interpolation.hessian_norm, largest)) == 1
    if rule == "usam":
        assert sympy.simplify(bound.subs(rho, theory.tight_rho())) == 1
        assert sympy.limit(largest, rho, 0) == theory.largest_hessian_norm("gd")


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_share_of_noise_is_the_variance_of_a_batch_mean(size, replacement):
    x = np.array([1.0, -2.0, 0.5, 3.0])
    batches = (
        itertools.product(range(4), repeat=size)
        if replacement
        else itertools.combinations(range(4), size)
    )
    variance = np.var([x[list(batch)].mean() for batch in batches])
    share = theory.batch_noise_share(replacement).subs(
        {interpolation.batch_size: size, interpolation.num_examples: 4}
    )
    assert variance == pytest.approx(float(share) * np.var(x), abs=1e-14)


def test_one_weight_threshold_is_where_the_mean_of_squares_is_one_and_falls_with_rho():
    squares = [sympy.Rational(1, 2), 2, 3]
    edge = theory.one_weight_threshold(squares)
    mean = sum((1 - lr * s * (1 + rho * s)) ** 2 for s in squares) / 3
    assert sympy.simplify(mean.subs(lr, edge) - 1) == 0
    values = [float(edge.subs(rho, r)) for r in np.linspace(0, 5, 50)]
    assert (np.diff(values) < 0).all()
    assert theory.example_step(2).subs({lr: 1, rho: 3}) == 7


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="Unknown rule"):
        theory.tight_lr("sam")
