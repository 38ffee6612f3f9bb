"""Every critical point of a loss, and what each of them is for each rule."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flint import acb

from samflow import _checks
from samflow._status import Kind, Status, Verdict
from samflow._text import shown_name
from samflow._types import Box
from samflow.equilibria._conditions import NEUTRAL
from samflow.equilibria._fate import fate
from samflow.equilibria.exact_zeros import enclosed_zero, exact_zero, rounding_of_loss
from samflow.equilibria.fixed_points import Search, Searched, searched
from samflow.equilibria.higher import ATTRACTING
from samflow.equilibria.nearness import kind_of
from samflow.equilibria.nonsmooth.arriving import Sliding
from samflow.equilibria.nonsmooth.flows import proved_flow, undecided
from samflow.equilibria.saddle_records import (
    Behaviour,
    HallucinatedPoint,
    Number,
    Survey,
    SurveyedPoint,
)
from samflow.equilibria.stability import classify
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import weight_names
from samflow.proofs._certify import certify_fixed_points
from samflow.proofs.balls import Ball, Span, exact, hull, working_precision
from samflow.proofs.certificates import CertifiedPoint
from samflow.proofs.enclosures import Dynamics, ascent_eigenvalue, kind_of_spectrum, spectrum
from samflow.proofs.traps import TrapClaim, certify_trap
from samflow.proofs.windows import lr_window, rho_window
from samflow.records import provenance
from samflow.rules import GD, Ascent, known_rule, rule
from samflow.systems import Flow, Map
from samflow.theory.windows import Window

_PRECISION = 128
_FOLLOWED = 3
"""From so many samples of each curve of critical points orbits are followed; others are alike."""
_SAME = 1e-6
"""Points nearer than this, relative to the box, are one point found twice."""
_ROUNDED = 1e-12
"""Relative: a rational point this near to a proved one is it."""
_ORDER = 9
"""Orders looked at where linearisation does not decide."""
_TRAP_DIM, _TRAP_CELLS, _TRAP_STEPS = 3, 300, 100
"""How long a trap of SAM's map is searched: a tenth of a second or so a point."""
_AT_MINIMUM = 100
"""Cells at a minimum, of which fewer people ask whether it holds SAM."""


@_checks.untraced(None)
def survey(
    loss: AbstractLoss,
    box: Any,
    *,
    rules: Sequence[str] = ("gd", "usam", "sam"),
    rho: float = 0.05,
    lr: float = 0.01,
    momentum: float = 0.0,
    hallucinated: bool = False,
    simulate: bool = False,
    progress: Callable[[str], None] = lambda rule: None,
) -> Survey:
    """Find every critical point of `loss` in `box` and say what it is for the map of each rule.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> found = survey(sf.losses.beale(), ((-4, 4), (-4, 4)), rho=0.05, lr=0.01)
    >>> [f"{b.rule}: {b.kind}, {b.verdict}" for b in found.points[0].behaviours]
    ['gd: saddle, proved', 'usam: attracting, proved', 'sam: cycle, unsupported']

    One search serves all rules, which share the critical points. For GD and USAM all depends on the
    Hessian's eigenvalues λ, and multipliers and windows follow from enclosures of λ by
    U(λ) = λ(1 + rho λ), section 2 of docs/theory: these are proofs. For every other rule the
    answer is that of `classify`, in floating point.

    Args:
        loss: with a formula the search ends in a proof where it can; otherwise, and where the
            proof is inconclusive, Newton's method runs from random starts.
        box: one pair (low, high) for each weight, or one for all.
        rules: names of rules, see `samflow.rules.RULES`, or their formulas; other settings than rho
            are the rules' defaults.
        rho: radius of the ascent step; GD takes no notice of it.
        lr: step size.
        momentum: of heavy ball, in [0, 1).
        hallucinated: also look for the fixed points of USAM and SAM, those of them in `rules`,
            that are no critical points. This can take many times longer, and needs a formula.
        simulate: also follow orbits from near each critical point (`fate`), about a second for
            each rule. From three at most of the samples of a curve, twelve in all.
        progress: called with the name of a rule before its turn comes.

    Returns:
        A `Survey`, whose verdict says whether the list of points is complete.

    Raises:
        ArgumentError: for a wrong or empty box, hyperparameters out of range, an unknown rule, or
            single precision.

    """
    _checks.double_precision("`survey`")
    rules = tuple(map(known_rule, rules))
    box = _checks.box("box", box, loss.dim)
    rho = _checks.nonnegative("rho", rho, "rho is the radius of the ascent step.")
    lr, momentum = _checks.positive("lr", lr), _checks.fraction("momentum", momentum)
    system = Map(loss, GD(), lr=lr, momentum=momentum)
    about = {"rho": rho, "lr": lr, "momentum": momentum, "box": box}
    where = provenance(f"critical points of {loss.name}", **about)
    certificate = certify_fixed_points(system, box)
    places = [_proved_place(point) for point in certificate.points]
    note, search = certificate.summary(), None
    if certificate.verdict is not Verdict.proved:
        search = searched(system, box, Search(), certificate, "", (), algebra=True)
        others = _unproved_places(system, search, box, [place.w for place in places])
        places = sorted(places + others, key=lambda place: place.w)
        note = f"{note}. {search.points.note}"
    unfollowed = _unfollowed(places)
    with working_precision(_PRECISION):
        dynamics = Dynamics(exact(lr), exact(momentum) if momentum else None)
        behaviours, continua = [], []
        for name in rules:
            progress(name)
            made = Map(loss, rule(name, rho=rho), lr=lr, momentum=momentum)
            if search is not None and search.geometries:
                from samflow.equilibria.continua.gathered import described  # seldom needed

                continua += described(made, search.geometries, where)
            follow = [simulate and place not in unfollowed for place in places]
            behaviours.append(
                [
                    _behaviour(made, *each)
                    for each in zip(places, [dynamics] * len(places), follow, strict=True)
                ]
            )
        points = tuple(
            _surveyed(place, tuple(row[i] for row in behaviours)) for i, place in enumerate(places)
        )
    extra, extra_note = None, ""
    if hallucinated:
        made = [rule(name, rho=rho) for name in hallucinating(rules)]
        maps = [Map(loss, one, lr=lr, momentum=momentum) for one in made]
        extra, extra_note = _hallucinated(maps, box)
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
        provenance=where,
        weights=weight_names(loss),
        continua=tuple(sorted(continua, key=lambda one: one.number)),
        complete=search.points.complete if search else certificate.verdict is Verdict.proved,
    )


def hallucinating(rules: Sequence[str]) -> list[str]:
    """Return the rules that may stand still off critical points, one of each form."""
    found: dict[Ascent, str] = {}
    for name in rules:
        form = rule(name).ascent
        if form in (Ascent.gradient, Ascent.unit):
            found.setdefault(form, name)
    return list(found.values())


def _unfollowed(places: Sequence["_Place"]) -> list["_Place"]:
    """Return the samples of curves from which no orbits are followed: on a curve L is constant."""
    seen: Counter[str] = Counter()
    unfollowed = []
    for place in places:
        if place.sampled:
            value = 0.0 if abs(place.loss) <= place.loss_error else place.loss
            seen[f"{value:.6g}"] += 1
            if seen[f"{value:.6g}"] > _FOLLOWED or seen.total() - len(unfollowed) > 4 * _FOLLOWED:
                unfollowed.append(place)
    return unfollowed


class _Place(NamedTuple):
    """A critical point with its Hessian's eigenvalues, before any rule is looked at."""

    w: tuple[float, ...]
    enclosure: Box | None
    loss: float
    loss_error: float
    spans: tuple[Span, ...]
    exact: bool = False
    sampled: bool = False


def _proved_place(point: CertifiedPoint) -> _Place:
    low, high = point.loss
    value, error = _middle(point.loss), 0.5 * (high - low)
    if low <= 0 <= high:  # the middle of a ball about 0 is a number of rounding
        value, error = 0.0, max(-low, high)
    return _Place(point.midpoint, point.enclosure, value, error, point.hessian)


def _unproved_places(
    system: Map, search: Searched, box: Box, known: list[tuple[float, ...]]
) -> list[_Place]:
    """Return the critical points that balls did not prove, with room for errors, and samples."""
    size, found = np.array([high - low for low, high in box]), search.points
    known, places = list(known), []
    for w, sampled, alone in zip(np.asarray(found.w), found.sampled, found.exact, strict=True):
        if any(np.linalg.norm((w - other) / size) <= _SAME for other in known):
            continue
        zero = None if sampled else exact_zero(system.loss, w, size)
        if zero is None and alone:
            enclosures, middles = search.exactly.enclosures, search.exactly.proved
            nearest = int(np.argmin(np.abs((middles - w) / size).max(axis=1)))
            zero = enclosed_zero(system.loss, enclosures[nearest])
        if zero is not None:
            if zero.w not in known:
                known.append(zero.w)
                places.append(_Place(zero.w, None, zero.loss, 0.0, zero.hessian, exact=True))
            continue
        places += _measured(system, w[None], sampled=bool(sampled))
    for geometry in search.geometries:
        places += _measured(system, geometry.w[: -1 if geometry.closed else None], sampled=True)
    return places


def _measured(system: Map, points: np.ndarray, *, sampled: bool) -> list[_Place]:
    """Return critical points (k, dim) with their spectra in floating point."""
    from samflow.equilibria.continua.across import hessians_at  # seldom needed

    loss, places = system.loss, []
    values = np.asarray(eqx.filter_jit(jax.vmap(loss))(jnp.asarray(points)))
    for w, value, hessian in zip(points, values, hessians_at(loss, points), strict=True):
        lams = np.linalg.eigvalsh(hessian)
        error = NEUTRAL * float(np.abs(lams).max())
        spans = tuple((float(lam) - error, float(lam) + error) for lam in lams)
        at = tuple(map(float, w))
        rounding = rounding_of_loss(loss, at)
        places.append(_Place(at, None, float(value), rounding, spans, sampled=sampled))
    return places


def _surveyed(place: _Place, behaviours: tuple[Behaviour, ...]) -> SurveyedPoint:
    return SurveyedPoint(
        w=place.w,
        enclosure=place.enclosure,
        exact=place.exact,
        sampled=place.sampled,
        loss=place.loss,
        loss_error=place.loss_error,
        shape=_shape(place.spans),
        eigenvalues=tuple(map(_middle, place.spans)),
        behaviours=behaviours,
    )


def _shape(spans: Sequence[Span]) -> str:
    if all(low > 0 for low, _ in spans):
        return "minimum"
    if all(high < 0 for _, high in spans):
        return "maximum"
    return "saddle" if all(low > 0 or high < 0 for low, high in spans) else "degenerate"


def _behaviour(system: Map, place: _Place, dynamics: Dynamics, simulate: bool) -> Behaviour:
    linear = system.rule.ascent.is_linear
    found = _enclosed(system, place, dynamics) if linear else _computed(system, place)
    # What `classify` says has been computed once: it is compared here.
    seen = (
        fate(system, place.w, compare=False).beside(found.kind, found.local) if simulate else None
    )
    flow, sliding = _flow(system, place)
    trap = _trap(system, place)
    return found._replace(flow=flow, sliding=sliding, trap=trap, fate=seen)


def _trap(system: Map, place: _Place) -> TrapClaim | None:
    """Return what a short search proves of SAM's map on the loss; None where none is made."""
    tried = system.rule.ascent is Ascent.unit and system.momentum is None
    if not tried or system.dim > _TRAP_DIM or _shape(place.spans) == "degenerate":
        return None
    cells = _AT_MINIMUM if _shape(place.spans) == "minimum" else _TRAP_CELLS
    found = certify_trap(system, place.w, max_cells=cells, max_steps=_TRAP_STEPS)
    return None if found.verdict is Verdict.unsupported else found


def _enclosed(system: Map, place: _Place, dynamics: Dynamics) -> Behaviour:
    """Return what a point is for GD or USAM, from enclosures of the Hessian's eigenvalues."""
    spans, sure = place.spans, place.enclosure is not None or place.exact
    verdict = Verdict.proved if sure else Verdict.inconclusive
    rho = system.rule.effective_rho()
    radius = exact(rho)
    lams = [hull(*ends) for ends in spans]
    values = spectrum([acb(ascent_eigenvalue(x, radius)) for x in lams], dynamics)
    multipliers = sorted(map(complex, values), key=abs, reverse=True)
    kind = kind_of_spectrum(values, dynamics).kind
    if kind is None or not sure:
        verdict, growth = Verdict.inconclusive, np.abs(multipliers) - 1
        kind = kind_of(growth, NEUTRAL * max(1.0, abs(multipliers[0])))
    shown = tuple(Number(z.real, z.imag) for z in multipliers)
    name, nothing = system.rule.name, (None, None, None, None, None)
    higher = None
    if kind is Kind.nonhyperbolic and not place.sampled:
        from samflow.equilibria.degenerate import higher_order  # seldom needed

        state = np.asarray(system.lift(jnp.asarray(place.w)))
        reach = _ROUNDED * max(1.0, float(np.abs(state).max())) if place.exact else 0.0
        higher = higher_order(system, state, reach=reach, order=_ORDER, functions=False)
    rest = [x for x in lams if 0 not in x]
    # A proved order along the one flat direction is the same for every rho and lr: Proposition Z5.
    flat = higher is not None and higher.verdict == ATTRACTING and len(rest) == len(lams) - 1
    if flat and higher is not None and higher.evidence is Verdict.proved and higher.multiplier == 1:
        in_rho, in_lr = _windows(system, rest, dynamics)
        in_rho, in_lr = (w if w is None else replace(w, neutral=1) for w in (in_rho, in_lr))
    else:
        in_rho, in_lr = _windows(system, lams, dynamics)
    found = (name, shown, kind, verdict, Status.located, in_rho, in_lr)
    return Behaviour(*found, *nothing, higher)


def _windows(system: Map, lams: Sequence[Ball], dynamics: Dynamics) -> tuple[Window | None, Window]:
    """Return the windows in rho, of USAM, and in lr."""
    in_rho = None
    if system.rule.ascent is Ascent.gradient:
        in_rho = rho_window(list(lams), dynamics)
    return in_rho, lr_window(list(lams), exact(system.rule.effective_rho()), dynamics)


def _computed(system: Map, place: _Place) -> Behaviour:
    """Return what a point is for any rule, in floating point."""
    found = classify(system, place.w)
    kind, local = found.kind, found.local
    if local is not None and _shape(place.spans) == "degenerate":
        kind, local = Kind.undefined, None  # a sign that is not known decides
    shown = ()
    if found.status is Status.located:
        shown = tuple(Number(float(z.real), float(z.imag)) for z in found.multipliers)
    verdict, name, nothing = Verdict.unsupported, system.rule.name, (None, None, None, None)
    seen = (name, shown, kind, verdict, found.status, None, None, local)
    return Behaviour(*seen, *nothing, None if place.sampled else found.higher)


def _kind_of_flow(place: _Place, rho: float) -> Kind | None:
    """Return what a point is for the flow of GD or USAM, by the Hessian's eigenvalues."""
    lams = [hull(*ends) for ends in place.spans]
    rates = [acb(ascent_eigenvalue(x, exact(rho))) for x in lams]
    return kind_of_spectrum(spectrum(rates, Dynamics()), Dynamics()).kind


def _flow(system: Map, place: _Place) -> tuple[Kind | None, Sliding | None]:
    """Return what the point is for the flow, and where that jumps, how it comes or leaves."""
    if system.rule.num_memories or _shape(place.spans) == "degenerate":
        return None, None
    if system.rule.ascent.is_linear:
        kind = _kind_of_flow(place, system.rule.effective_rho())
        if kind is not None:
            return kind, None
    flow = Flow(system.loss, system.rule)
    local = proved_flow(flow, np.asarray(place.w), brief=True)
    if local is None or undecided(local):
        found = classify(flow, place.w)
        return found.kind, None if found.local is None else found.local.sliding
    return local.kind, local.sliding


def _middle(ends: Span) -> float:
    return 0.5 * ends[0] + 0.5 * ends[1]


def _hallucinated(systems: Sequence[Map], box: Box) -> tuple[tuple[HallucinatedPoint, ...], str]:
    found = [(system.rule.name, certify_fixed_points(system, box)) for system in systems]
    points = tuple(
        HallucinatedPoint(
            rule=name,
            w=point.midpoint,
            ascent=tuple(map(_middle, point.ascent)),
            multipliers=tuple(
                Number(_middle(value.real), _middle(value.imag)) for value in point.eigenvalues
            ),
            kind=point.kind,
            verdict=point.kind_verdict,
        )
        for name, certificate in found
        for point in certificate.points
        if point.origin == "hallucinated"
    )
    notes = [f"{shown_name(name)}, critical points included: {c.summary()}" for name, c in found]
    return points, "\n".join(notes)
