"""One instance or more of every rule, with the twin that it must agree with."""

import functools
from typing import NamedTuple

import numpy as np

from samflow.rules import (
    ASAM,
    DNSAM,
    DPSAT,
    FSAM,
    GCSAM,
    GD,
    MSAM,
    NSAM,
    SAM,
    SSAM,
    USAM,
    AbstractRule,
    AverageSAM,
    HessianUSAM,
    LookaheadSAM,
    MongeSAM,
    MultiStepSAM,
    OptimisticSAM,
    PenalisedGradientNorm,
    PracticalSAM,
    TwoStepUSAM,
    UnifiedSAM,
    VaSSO,
)
from tests.rules import twins

RHO = 0.07
SAMPLE = np.random.default_rng(3).normal(size=(5, 2))


class Case(NamedTuple):
    rule: AbstractRule
    twin: functools.partial


def _case(rule, twin, **hyperparameters):
    return Case(rule, functools.partial(twin, **hyperparameters))


CASES = {
    "gd": _case(GD(), twins.gd),
    "usam": _case(USAM(RHO / 10), twins.usam, rho=RHO / 10),
    "two-step": _case(TwoStepUSAM(RHO / 20), twins.two_step, rho=RHO / 20),
    "two-step-back": _case(TwoStepUSAM(RHO / 20, second="back"), twins.two_step_back, rho=RHO / 20),
    "hessian": _case(HessianUSAM(RHO / 1000), twins.hessian_usam, rho=RHO / 1000),
    "hessian-penalty": _case(
        HessianUSAM(RHO / 10, form="penalty"), twins.penalised_square, rho=RHO / 10
    ),
    "unified": _case(UnifiedSAM(RHO / 2, mix=0.8), twins.unified, rho=RHO / 2, mix=0.8),
    "monge": _case(MongeSAM(RHO, metric=0.2), twins.monge, rho=RHO, metric=0.2),
    "sam": _case(SAM(RHO), twins.sam, rho=RHO),
    "practical": _case(PracticalSAM(RHO, eps=0.5), twins.practical_outside, rho=RHO, eps=0.5),
    "practical-inside": _case(
        PracticalSAM(RHO, eps=0.5, placement="inside"), twins.practical_inside, rho=RHO, eps=0.5
    ),
    "asam": _case(ASAM(RHO), twins.asam, rho=RHO, shift=0.0),
    "asam-shift": _case(ASAM(RHO, shift=0.1), twins.asam, rho=RHO, shift=0.1),
    "multistep": _case(
        MultiStepSAM(RHO, num_steps=3), twins.multistep, rho=RHO, num_steps=3, average=False
    ),
    "multistep-average": _case(
        MultiStepSAM(RHO, num_steps=3, average=True),
        twins.multistep,
        rho=RHO,
        num_steps=3,
        average=True,
    ),
    "ssam": _case(SSAM(RHO), twins.ssam, rho=RHO),
    "pgn": _case(PenalisedGradientNorm(RHO, alpha=0.7), twins.pgn, rho=RHO, alpha=0.7),
    "lookahead": _case(
        LookaheadSAM(RHO, lookahead=0.004), twins.lookahead, rho=RHO, lookahead=0.004
    ),
    "gcsam": _case(GCSAM(RHO), twins.gcsam, rho=RHO, centralised_norm=False),
    "gcsam-centralised": _case(
        GCSAM(RHO, norm="centralised"), twins.gcsam, rho=RHO, centralised_norm=True
    ),
    "average": _case(AverageSAM(RHO), twins.average, rho=RHO, nodes=3),
    "m-sam": _case(MSAM(RHO), twins.sam, rho=RHO),
    "n-sam": _case(NSAM(RHO), twins.sam, rho=RHO),
    "dnsam": _case(DNSAM(RHO), twins.sam, rho=RHO),
    "optimistic": _case(
        OptimisticSAM(RHO, lookahead=0.004), twins.optimistic, rho=RHO, lookahead=0.004
    ),
    "f-sam": _case(FSAM(RHO, sigma=0.8, decay=0.6), twins.fsam, rho=RHO, sigma=0.8, decay=0.6),
    "vasso": _case(VaSSO(RHO, theta=0.4), twins.vasso, rho=RHO, theta=0.4),
    "dp-sat": _case(DPSAT(RHO), twins.dpsat, rho=RHO),
}

MEMORY = [name for name, case in CASES.items() if case.rule.num_memories]
