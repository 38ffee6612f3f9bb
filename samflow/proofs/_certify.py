"""Certificates: all fixed points of a box with their kinds, proved by ball arithmetic."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flint
import sympy

from samflow import _checks
from samflow._status import Kind, Verdict
from samflow._types import Box
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._locate import Limits
from samflow.proofs.balls import Ball, Balls, exact, span, spans, working_precision
from samflow.proofs.blocks import Proved, Solved, count, product, solve, undecided_product
from samflow.proofs.certificates import Certificate, CertifiedPoint, ComplexSpan
from samflow.proofs.enclosures import Dynamics, ProvedKind, kind_of_spectrum, spectrum
from samflow.proofs.equations import GradientEquations
from samflow.proofs.hallucinated import solve_hallucinated
from samflow.proofs.windows import lr_window, rho_window
from samflow.records import provenance
from samflow.rules import Ascent
from samflow.systems import AbstractSystem, Flow, Map
from samflow.systems.base import check_system
from samflow.theory.windows import Window

_FLOW = Dynamics()
_SETTINGS = Limits()
_NOTHING = Solved((), [], [], 0, "")

COVERS = {
    Ascent.none: "all fixed points; they are the critical points",
    Ascent.gradient: "all fixed points, critical and hallucinated",
    Ascent.unit: "all fixed points, which are hallucinated, and all critical points, where the "
    "rule has no direction",
}
"""By the form of the rule, which fixed points a certificate speaks of."""


@_checks.untraced()
def certify_fixed_points(
    system: AbstractSystem, box: Any, *, max_boxes: int = 20_000, precision: int = 128
) -> Certificate:
    """Prove which fixed points `system` has in `box`, and the stability of each.

    Fixed points are for GD where g(w) = 0, for USAM where g(w + rho g(w)) = 0, and for SAM where
    g(w + rho g(w)/‖g(w)‖) = 0 and g(w) ≠ 0. Critical points, where SAM has no direction, are
    listed as well. Hyperparameters are taken as exact binary numbers: 0.1 is the double nearest to
    one tenth.

    Args:
        system: a `Map` or a `Flow` of GD, USAM or SAM, or of a rule that says that it is of
            their form (`ascent`), on a loss given by a formula.
        box: one pair (low, high) for each weight, or one for all; the box is closed.
        max_boxes: the most boxes that one subdivision examines, about 50 µs each.
        precision: bits of the final enclosures.

    Returns:
        A `Certificate`. Its verdict is unsupported, with the reason, for a loss without a
        formula, another rule, or USAM or SAM with weight decay. Degenerate and non-isolated fixed
        points, irrational ones on an edge of the box, and, for SAM, two critical points that
        are exactly rho apart, are inconclusive.

    Raises:
        ArgumentError: for a box of the wrong shape, or empty.

    Not guaranteed: that a proof is found; the search stops at `max_boxes`.

    References: R. Krawczyk 1969; A. Neumaier, Interval Methods for Systems of Equations, 1990;
    F. Johansson, Arb, IEEE Transactions on Computers 2017.

    """
    check_system(system)
    place = _checks.box("box", box, system.dim)
    settings = Limits(
        max_boxes=_checks.count("max_boxes", max_boxes),
        precision=_checks.count("precision", precision, minimum=64),
    )
    reason = _unsupported(system)
    if reason:
        named = provenance(system.describe(), **_versions(settings))
        return _refusal(reason, box=place, covers="nothing", provenance=named)
    assert isinstance(system, (Map, Flow))  # `_unsupported` has seen to that
    loss, rule = system.loss, system.rule
    assert isinstance(loss, ExpressionLoss)
    expression, dynamics = loss.expression, Dynamics()
    if isinstance(system, Map):
        beta = system.momentum
        momentum = None if beta is None else exact(beta)
        dynamics = Dynamics(exact(system.lr), momentum, system.nesterov)
        if system.weight_decay is not None:
            decay = sympy.Rational(float(system.weight_decay))
            expression += decay / 2 * sum(symbol**2 for symbol in loss.symbols)
    rho = getattr(rule, "rho", 0)
    certificate = certify(
        expression,
        loss.symbols,
        place,
        rule=rule.ascent.value,
        rho=float(rho),
        dynamics=dynamics,
        settings=settings,
    )
    named = provenance(system.describe(), **_versions(settings))
    return dataclasses.replace(certificate, provenance=named)


def certify(
    expression: sympy.Expr,
    symbols: Sequence[sympy.Symbol],
    box: Box,
    *,
    rule: str = "gd",
    rho: Any = 0,
    dynamics: Dynamics = _FLOW,
    settings: Limits = _SETTINGS,
) -> Certificate:
    """Prove which fixed points a rule has in `box`, given the formula of the loss.

    The core of `certify_fixed_points`, on exact numbers.

    >>> from sympy.abc import x, y
    >>> quartic = x**2 / 2 - y**2 / 2 + y**4 / 4
    >>> certify(quartic, (x, y), ((-2, 2), (-2, 2)), rule="usam", rho=6).summary()
    'exactly 9 fixed points in [-2, 2] × [-2, 2]: proved (5 attracting, 4 saddle)'

    Args:
        expression: the loss, constants exact.
        symbols: its variables, in the order of the coordinates.
        box: one pair (low, high) for each coordinate, or one for all.
        rule: gd, usam or sam.
        rho: an int, a double, an exact number of sympy, or a pair (low, high) of these: then
            what is proved holds for every rho between them.
        dynamics: the map or the flow whose stability is asked for; the flow by default.
        settings: how hard to try.

    Returns:
        A `Certificate`; unsupported for formulas that have no balls, and for sums over blocks
        with more fixed points than `settings.max_points`.

    Raises:
        ArgumentError: for a box of the wrong shape, or empty, or another rule.

    """
    box = _checks.box("box", box, len(symbols))
    form = Ascent(_checks.known("rule", rule, [each.value for each in COVERS]))
    with working_precision(settings.precision):
        rho = exact(rho)
        ascent = rho if form is Ascent.gradient else exact(0)
    named = provenance(f"{rule}(rho={rho}) on {expression}", **_versions(settings))
    about = {"box": box, "covers": COVERS[form], "provenance": named}
    try:
        value = GradientEquations(expression, symbols).loss
    except TypeError as error:  # a function or a number for which there are no balls
        return _refusal(str(error), **about)
    blocks = solve(expression, symbols, box, rho=ascent, settings=settings)
    if count(blocks) > settings.max_points:
        reason = f"the loss is a sum over blocks, and has {count(blocks)} fixed points: too many"
        return _refusal(f"{reason} to list (max_points = {settings.max_points})", **about)
    elsewhere = _NOTHING
    if form is Ascent.unit and not rho.is_zero():
        elsewhere = solve_hallucinated(expression, symbols, box, rho=rho, settings=settings)
    gaps = [*undecided_product(blocks), *elsewhere.undecided]
    with working_precision(settings.precision):
        points = [
            _describe(proved, value(proved.point.w)[0], form, ascent, dynamics)
            for proved in (*product(blocks), *elsewhere.points)
        ]
    points.sort(key=lambda point: point.midpoint)
    return Certificate(
        verdict=Verdict.inconclusive if gaps else Verdict.proved,
        points=tuple(points),
        inconclusive=tuple(gaps),
        boxes_examined=sum(block.boxes_examined for block in (*blocks, elsewhere)),
        method="; ".join(sorted({block.method for block in (*blocks, elsewhere)} - {""})),
        reason="",
        **about,
    )


def _describe(
    proved: Proved, loss: Ball, form: Ascent, rho: Ball, dynamics: Dynamics
) -> CertifiedPoint:
    point, hessian = proved.point, proved.hessian
    if form is Ascent.unit and not point.hallucinated:
        stability, values, windows = ProvedKind(Kind.undefined, Verdict.proved), [], ()
    else:
        values = spectrum(proved.directions, dynamics)
        stability, windows = kind_of_spectrum(values, dynamics), ()
        if not point.hallucinated:
            windows = _windows(hessian, form, rho, dynamics)
    signed = all(x > 0 or x < 0 for x in hessian)
    return CertifiedPoint(
        enclosure=spans(point.w),
        midpoint=tuple(0.0 if 0 in x else float(x) for x in point.w),
        ascent=spans(point.ascent),
        origin="hallucinated" if point.hallucinated else "critical",
        loss=span(loss),
        hessian=spans(hessian),
        index=sum(1 for x in hessian if x < 0) if signed else None,
        eigenvalues=tuple(ComplexSpan(span(z.real), span(z.imag)) for z in values),
        kind=stability.kind,
        kind_verdict=stability.verdict,
        windows=windows,
    )


def _windows(hessian: Balls, form: Ascent, rho: Ball, dynamics: Dynamics) -> tuple[Window, ...]:
    in_rho = (rho_window(hessian, dynamics),) if form is Ascent.gradient else ()
    in_lr = () if dynamics.lr is None else (lr_window(hessian, rho, dynamics),)
    return in_rho + in_lr


def _unsupported(system: AbstractSystem) -> str:
    """Say why nothing can be proved about `system`; empty where something can."""
    if not isinstance(system, (Map, Flow)):
        return "it is no map or flow of a rule on a loss"
    if not isinstance(system.loss, ExpressionLoss):
        return "the loss is not given by a formula"
    if system.rule.ascent not in COVERS:
        return (
            f"the rule {system.rule.name} does not state that it has the form of gd, usam or sam "
            "(`ascent`)"
        )
    decay = system.weight_decay if isinstance(system, Map) else None
    if decay is not None and system.rule.ascent is not Ascent.none:
        return "weight decay moves the fixed points of a rule with an ascent step"
    return ""


def _refusal(reason: str, **about: Any) -> Certificate:
    return Certificate(
        verdict=Verdict.unsupported,
        points=(),
        inconclusive=(),
        boxes_examined=0,
        method="none",
        reason=reason,
        **about,
    )


def _versions(settings: Limits) -> dict[str, Any]:
    chosen = {"max_boxes": settings.max_boxes, "precision": settings.precision}
    return chosen | {"python-flint": flint.__version__, "sympy": sympy.__version__}
