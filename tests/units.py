"""The same problem in other units: L → cL, w → kw, and with them the hyperparameters."""

import itertools
from typing import Any

import equinox as eqx
import numpy as np
import pytest
import sympy

import samflow as sf
from samflow import rules
from samflow.losses.base import AbstractLoss

EXACT = [2.0**i for i in (-27, 0, 26)]
"""Powers of two, by which floating point scales without rounding; about 1e-8 and 1e8."""
OTHERS = [3e-8, 0.7, 5e7]
UNITS = [*itertools.product(EXACT, EXACT), *itertools.product(OTHERS, OTHERS)]
"""Pairs (c, k)."""
FEW = [(EXACT[0], EXACT[2]), (EXACT[2], EXACT[0]), (OTHERS[2], OTHERS[0]), (OTHERS[0], OTHERS[0])]
BOTH = pytest.mark.parametrize("units", [FEW, pytest.param(UNITS, marks=pytest.mark.slow)])
"""A few pairs in the quick tier, all in the slow one."""


class Scaled(AbstractLoss):
    """L'(w) = c L(w/k), with c and k as leaves: all units are one program."""

    loss: AbstractLoss
    c: Any
    k: Any
    name: str = eqx.field(static=True, default="scaled")
    domain: None = eqx.field(static=True, default=None)
    elementwise: bool = eqx.field(static=True, default=False)

    @property
    def dim(self):
        return self.loss.dim

    def __call__(self, w):
        return self.c * self.loss(w / self.k)

    def gradient(self, w):
        return self.c / self.k * self.loss.gradient(w / self.k)

    def hessian(self, w):
        return self.c / self.k**2 * self.loss.hessian(w / self.k)


def rescaled_rule(rule, c, k):
    """Return the rule in units of k for weights and of c for the loss."""
    if isinstance(rule, rules.USAM):
        return rules.USAM(rho=rule.rho * k**2 / c)
    if isinstance(rule, rules.PracticalSAM):
        return rules.PracticalSAM(rho=rule.rho * k, eps=rule.eps * c / k)
    if isinstance(rule, rules.MongeSAM):
        return rules.MongeSAM(rho=rule.rho * k, metric=rule.metric * k / c)
    if isinstance(rule, rules.ASAM):
        return rules.ASAM(rho=rule.rho, shift=rule.shift * k)
    if isinstance(rule, rules.GD):
        return rule
    return eqx.tree_at(lambda made: made.rho, rule, rule.rho * k)


def rescaled(system, c, k, loss=None):
    """Return the map, with lr k²/c in the place of lr, or the flow, in which time is another."""
    made = Scaled(system.loss, np.float64(c), np.float64(k)) if loss is None else loss
    rule = rescaled_rule(system.rule, c, k)
    if isinstance(system, sf.Flow):
        return sf.Flow(made, rule)
    lr = float(system.lr) * k**2 / c
    return sf.Map(made, rule, lr=lr, momentum=system.momentum, nesterov=system.nesterov)


def formula(loss, c, k):
    """Return c L(w/k) as a formula with exact constants."""
    number = {symbol: symbol / sympy.Rational(k) for symbol in loss.symbols}
    expression = sympy.Rational(c) * loss.expression.subs(number, simultaneous=True)
    return sf.losses.ExpressionLoss(expression, loss.symbols, "scaled")
