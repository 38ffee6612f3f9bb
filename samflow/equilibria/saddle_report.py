"""Every critical point of a loss, and what each of them is for GD, USAM and SAM."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from flint import acb

from samflow import _checks, theory
from samflow._status import Kind, Verdict
from samflow._types import Box
from samflow.equilibria.fixed_points import MULTISTART, find_fixed_points
from samflow.equilibria.saddle_records import (
    Behaviour,
    Cycle,
    HallucinatedPoint,
    Number,
    Quadratic,
    Range,
    Survey,
    SurveyedPoint,
    Threshold,
    Trap,
)
from samflow.equilibria.stability import kind_of
from samflow.losses.base import AbstractLoss
from samflow.proofs.balls import Span, exact, hull, working_precision
from samflow.proofs.certificates import CertifiedPoint
from samflow.proofs.certify import certify_fixed_points
from samflow.proofs.enclosures import Dynamics, ascent_eigenvalue, classify, spectrum
from samflow.proofs.windows import End, Window, lr_window, rho_window
from samflow.records import provenance
from samflow.rules import GD, RULES, USAM
from samflow.systems import Map

_PRECISION = 128
_NEUTRAL = 1e-9
"""Relative: an eigenvalue of no proven sign counts as 0 within this part of the largest, and a
multiplier as neutral within this of the unit circle."""
_SAME = 1e-6
"""Points nearer than this, relative to the box, are one point found twice."""


def survey(
    loss: AbstractLoss,
    box: Any,
    *,
    rules: Sequence[str] = ("gd", "usam", "sam"),
    rho: float = 0.05,
    lr: float = 0.01,
    momentum: float = 0.0,
    hallucinated: bool = False,
) -> Survey:
    """Find every critical point of `loss` in `box` and say what it is for the map of each rule.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> found = survey(sf.losses.beale(), ((-4, 4), (-4, 4)), rho=0.05, lr=0.01)
    >>> [f"{b.rule}: {b.kind}, {b.verdict}" for b in found.points[0].behaviours]
    ['gd: saddle, proved', 'usam: attracting, proved', 'sam: undefined, proved']

    One search serves all rules: GD, USAM and SAM share the critical points, and what each rule
    makes of one depends on its Hessian's eigenvalues λ alone. Multipliers and windows follow from
    enclosures of λ by U(λ) = λ(1 + rho λ), section 2 of docs/theory.md.

    Args:
        loss: with a formula the search ends in a proof where it can; otherwise, and where the
            proof is inconclusive, Newton's method runs from random starts.
        box: one pair (low, high) a weight.
        rules: names of rules.
        rho: radius of USAM and SAM; GD takes no notice of it.
        lr: step size.
        momentum: of heavy ball, in [0, 1).
        hallucinated: also look for USAM's fixed points that are no critical points. This can
            take many times longer, and needs a formula.

    Returns:
        A `Survey`, whose verdict says whether the list of points is complete.

    Raises:
        ArgumentError: for a wrong or empty box, hyperparameters out of range, an unknown rule, or
            single precision.

    """
    _checks.double_precision("`survey`")
    rules = tuple(_checks.known("rule", rule, RULES) for rule in rules)
    box = _checks.box("box", box, loss.dim)
    rho = float(_checks.nonnegative("rho", rho, "rho is the radius of the ascent step."))
    lr, momentum = float(_checks.positive("lr", lr)), float(_checks.fraction("momentum", momentum))
    system = Map(loss, GD(), lr=lr, momentum=momentum)  # pyright: ignore[reportCallIssue]
    certificate = certify_fixed_points(system, box)
    places = [_proved_place(point) for point in certificate.points]
    note = certificate.summary()
    if certificate.verdict is not Verdict.proved:
        others, search = _unproved_places(system, box, [place.w for place in places])
        places, note = sorted(places + others, key=lambda place: place.w), f"{note}. {search}"
    with working_precision(_PRECISION):
        dynamics = Dynamics(exact(lr), exact(momentum) if momentum else None)
        points = tuple(_survey_point(place, rules, rho, dynamics) for place in places)
    extra, extra_note = None, ""
    if hallucinated:
        ascending = Map(loss, USAM(rho=rho), lr=lr, momentum=momentum)  # pyright: ignore
        extra, extra_note = _hallucinated(ascending, box)
    return Survey(
        loss=loss.name,
        box=box,
        rules=rules,
        rho=rho,
        lr=lr,
        momentum=momentum,
        verdict=certificate.verdict,
        note=note,
        points=points,
        undecided=certificate.inconclusive,
        hallucinated=extra,
        hallucinated_note=extra_note,
        provenance=provenance(
            f"critical points of {loss.name}", rho=rho, lr=lr, momentum=momentum, box=box
        ),
    )


class _Place(NamedTuple):
    """A critical point with its Hessian's eigenvalues, before any rule is looked at."""

    w: tuple[float, ...]
    enclosure: Box | None
    loss: float
    spans: tuple[Span, ...]


def _proved_place(point: CertifiedPoint) -> _Place:
    return _Place(point.midpoint, point.enclosure, _middle(point.loss), point.hessian)


def _unproved_places(
    system: Map, box: Box, known: list[tuple[float, ...]]
) -> tuple[list[_Place], str]:
    """Return the critical points by Newton's method that are not known, with room for errors."""
    found = find_fixed_points(system, box, method=MULTISTART)
    values = eqx.filter_jit(jax.vmap(system.loss))(found.w).tolist() if len(found) else []
    size = np.array([high - low for low, high in box])
    places = []
    for w, value, stability in zip(np.asarray(found.w), values, found.stability, strict=True):
        if any(np.linalg.norm((w - other) / size) <= _SAME for other in known):
            continue
        lams = np.asarray(stability.curvature, dtype=float)
        error = _NEUTRAL * max(1.0, float(np.abs(lams).max()))
        spans = tuple((float(lam) - error, float(lam) + error) for lam in lams)
        places.append(_Place(tuple(map(float, w)), None, value, spans))
    return places, found.note


def _survey_point(
    place: _Place, rules: Sequence[str], rho: float, dynamics: Dynamics
) -> SurveyedPoint:
    sure = place.enclosure is not None
    return SurveyedPoint(
        w=place.w,
        enclosure=place.enclosure,
        loss=place.loss,
        shape=_shape(place.spans),
        eigenvalues=tuple(map(_middle, place.spans)),
        behaviours=tuple(_behaviour(rule, place.spans, sure, rho, dynamics) for rule in rules),
    )


def _shape(spans: Sequence[Span]) -> str:
    if all(low > 0 for low, _ in spans):
        return "minimum"
    if all(high < 0 for _, high in spans):
        return "maximum"
    return "saddle" if all(low > 0 or high < 0 for low, high in spans) else "degenerate"


def _behaviour(
    rule: str, spans: Sequence[Span], sure: bool, rho: float, dynamics: Dynamics
) -> Behaviour:
    verdict = Verdict.proved if sure else Verdict.inconclusive
    if rule == "sam":
        instead = _quadratic(spans, rho, dynamics)
        return Behaviour(rule, (), Kind.undefined, verdict, None, None, instead)
    radius = exact(rho if rule == "usam" else 0.0)
    lams = [hull(*ends) for ends in spans]
    values = spectrum([acb(ascent_eigenvalue(x, radius)) for x in lams], dynamics)
    multipliers = sorted(map(complex, values), key=abs, reverse=True)
    kind = classify(values, dynamics).kind
    if kind is None or not sure:
        verdict, growth = Verdict.inconclusive, np.abs(multipliers) - 1
        kind = kind_of(growth, _NEUTRAL * max(1.0, abs(multipliers[0])))
    in_rho = _range(rho_window(lams, dynamics), spans, rho) if rule == "usam" else None
    in_lr = _range(lr_window(lams, radius, dynamics), spans, float(radius))
    shown = tuple(Number(z.real, z.imag) for z in multipliers)
    return Behaviour(rule, shown, kind, verdict, in_rho, in_lr, None)


def _range(window: Window, spans: Sequence[Span], rho: float) -> Range:
    def threshold(end: End | None, event: theory.Event) -> Threshold | None:
        if end is None:
            return None
        lam = _middle(spans[end.eigenvalue])
        return Threshold(_middle(end.enclosure), end.enclosure, lam, event)

    low = threshold(window.low, theory.Event.plus_one)
    high = threshold(window.high, theory.Event.flip)
    if window.verdict is Verdict.proved:
        return Range(False, low, high, "")
    if window.verdict is Verdict.inconclusive:
        return Range(None, low, high, "an eigenvalue may be 0, or the ends may meet")
    if window.parameter == "lr":
        worst = min(map(_middle, spans), key=lambda lam: lam * (1 + rho * lam))
        return Range(True, None, None, f"λ = {worst:.6g} grows at every lr")
    ends = [f"λ = {low.eigenvalue:.6g} needs rho > {low.value:.6g}"] if low else []
    if high and high.value > 0:
        ends.append(f"λ = {high.eigenvalue:.6g} needs rho < {high.value:.6g}")
    elif high:
        ends.append(f"λ = {high.eigenvalue:.6g} has flipped at every rho")
    return Range(True, low, high, ", ".join(ends))


def _quadratic(spans: Sequence[Span], rho: float, dynamics: Dynamics) -> Quadratic:
    assert dynamics.lr is not None  # a survey is about maps
    lr, momentum, kind = float(dynamics.lr), 0.0, "none"
    if dynamics.momentum is not None:
        momentum, kind = float(dynamics.momentum), "heavy_ball"
    about = {"lr": lr, "momentum": momentum, "kind": kind}
    counts = _distinct(spans)
    lams, edge = list(counts), float(dynamics.edge)
    # Along a sphere of cycles the multiplier is 1; across it, it is that of a single cycle.
    stable = theory.stable_cycles(lams, **about)
    cycles = tuple(
        Cycle(
            eigenvalue=lam,
            multiplicity=counts[lam],
            radius=float(theory.cycle_radius(lam, rho=rho, **about)),
            attracts=None if 0.0 in lams else i in stable,
        )
        for i, lam in enumerate(lams)
        if lam != 0 and lr * lam < edge
    )
    trap = None
    if len(spans) == 1 and lams[0] < 0 and kind == "none" and lr * -lams[0] < 1:
        radius = theory.trap_radius(lams[0], rho=rho, lr=lr)
        trap = Trap(float(radius), float(theory.trap_exponent(lams[0], lr=lr)))
    return Quadratic(cycles, trap)


def _distinct(spans: Sequence[Span]) -> dict[float, int]:
    """Count the spans that overlap, under a number for each group: 0 where the sign is open."""
    counts: dict[float, int] = {}
    value = 0.0
    for i, (low, high) in enumerate(spans):
        if low <= 0 <= high:
            value = 0.0
        elif not (i and value and low <= spans[i - 1][1]):
            value = _middle((low, high))
        counts[value] = counts.get(value, 0) + 1
    return counts


def _middle(ends: Span) -> float:
    return 0.5 * ends[0] + 0.5 * ends[1]


def _hallucinated(system: Map, box: Box) -> tuple[tuple[HallucinatedPoint, ...], str]:
    certificate = certify_fixed_points(system, box)
    points = tuple(
        HallucinatedPoint(
            w=point.midpoint,
            ascent=tuple(map(_middle, point.ascent)),
            multipliers=tuple(
                Number(_middle(value.real), _middle(value.imag)) for value in point.eigenvalues
            ),
            kind=point.kind,
            verdict=point.kind_verdict,
        )
        for point in certificate.points
        if point.origin == "hallucinated"
    )
    return points, certificate.summary()
