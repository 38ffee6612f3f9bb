"""The saddle that attracts: over rho and lr, how many starts it takes, and what branches off."""

from collections.abc import Callable
from typing import NamedTuple

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow import attractors

NAME = "global-dynamics"
TITLE = "Charts, basins and bifurcations of a saddle that USAM and SAM turn into an attractor"
_study = Study(NAME, "derived in docs/theory, Propositions 1, 5 and R5")

SMALL_SIZE = "Charts of 40 by 40 cells instead of 120 by 120; 2,000 starts instead of 20,000."

_CELLS = {Size.full: 120, Size.small: 40}
_STARTS = {Size.full: 20_000, Size.small: 2_000}
_CHART_STEPS = 2000
RHO, LR = (0.0, 0.25), (0.0005, 0.045)
"""Of the charts of Beale's function."""
_BEALE = {"saddle": (-27.75, 27.75), "minimum": (0.3014640, 48.9797860)}
"""Eigenvalues at (0, 1) and (3, ½)."""
WELL = "-y**2/2 + y**4/4"
"""The quartic along y, its unstable direction: x decouples."""
HALF = 1.2
"""Half of the interval of starts."""
_SHARE_LR = 0.01
_SHARE_STEPS = 20_000
_SHARES = {"usam": (0.0, 0.9, 1.1, 1.5, 2.0, 3.0), "sam": (0.1, 0.2, 0.4, 0.6, 0.8)}
_TONGUE_RHO, _TONGUE_LR = (0.02, 0.12), (0.02, 0.3)
_SIDES = 1e-3
"""Cells nearer than this to a curve, relative to a step of the cycle, are left out."""
_FLIP_LRS = (0.05, 0.2, 0.4)


class Tongue(NamedTuple):
    """Cells of (rho, lr) at the minimum of the well: whether a 2-cycle is predicted, and seen."""

    predicted: np.ndarray
    seen: np.ndarray
    decided: np.ndarray


class Record(NamedTuple):
    """What was computed.

    Attributes:
        charts: of Beale's function, by rule.
        shares: of starts that come to the maximum y = 0 of the well, by rule and rho.
        known: what theory says of them: values of rho, and the share at each, by rule.
        number: of starts.
        tongue: where SAM has a 2-cycle about the minimum of the well.
        diagram: of the quartic under USAM along rho.
        flips: rho at which the quartic's minimum flips, by lr.

    """

    charts: dict[str, attractors.AttractorChart]
    shares: dict[str, dict[float, float]]
    known: dict[str, tuple[np.ndarray, np.ndarray]]
    number: int
    tongue: Tongue
    diagram: attractors.BifurcationDiagram
    flips: dict[float, float]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Draw charts by orbits and Jacobians, follow starts, and follow branches."""
    cells, loss = _CELLS[size], sf.losses.beale()
    grid = {"rho": np.linspace(*RHO, cells), "lr": np.linspace(*LR, cells)}
    box = ((-1.0, 4.0), (-0.5, 2.0))
    charts = {}
    for rule in ("usam", "sam"):
        progress(f"chart of {rule}")
        made = sf.rule(rule, rho=0.1)
        charts[rule] = sf.stability_chart(
            loss, made, box=box, num_steps=_CHART_STEPS, num_starts=0, **grid
        )
    progress("shares")
    number = _STARTS[size]
    shares = {
        rule: {rho: share(rule, rho, number) for rho in rhos} for rule, rhos in _SHARES.items()
    }
    progress("2-cycles")
    tongue = _tongue(cells)
    progress("branches")
    quartic = sf.losses.quartic()
    system = sf.Map(quartic, sf.USAM(rho=6.0), lr=0.01)
    starts = [[0.0, y] for y in (0.0, 0.912871, 0.788675, -0.788675, 1.0, -1.0)]
    diagram = attractors.bifurcation_diagram(
        system, starts, "rho", (0.1, 8.0), num_values=2 * cells, num_transient=20_000
    )
    flips = {lr: _flip(quartic, lr) for lr in _FLIP_LRS}
    return Record(charts, shares, _known(), number, tongue, diagram, flips)


def share(rule: str, rho: float, number: int) -> float:
    """Return the share of random starts in the interval that come to the maximum y = 0."""
    system = sf.Map(sf.loss(WELL), sf.rule(rule, rho=rho), lr=_SHARE_LR)
    starts = jr.uniform(jr.key(0), (number, 1), minval=-HALF, maxval=HALF)
    orbit = sf.iterate(system, starts, num_steps=_SHARE_STEPS)
    return float(
        (np.abs(np.asarray(orbit.final_w)[:, 0]) < 0.5 * max(edge(rule, rho), 1e-9)).mean()
    )


def _known() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the curves on which the shares lie: SAM's flow lets go at rho = 1."""
    ends = {"usam": 3.2, "sam": 1.0}
    rows = {rule: np.linspace(0, end, 401) for rule, end in ends.items()}
    return {
        rule: (row, np.array([edge(rule, rho) for rho in row]) / HALF) for rule, row in rows.items()
    }


def edge(rule: str, rho: float) -> float:
    """Return the |y| below which orbits come to y = 0: a repelling fixed point."""
    if rule == "sam":
        return rho  # the ascent point is the maximum itself
    return float(np.sqrt(1 - 1 / rho)) if rho > 1 else 0.0


def _tongue(cells: int) -> Tongue:
    """Compare periods of orbits with Proposition R5 on the loss itself."""
    rho, lr = np.linspace(*_TONGUE_RHO, cells), np.linspace(*_TONGUE_LR, cells)
    system = sf.Map(sf.loss(WELL), sf.SAM(rho=0.1), lr=0.1)
    found = sf.sweep(system, {"rho": rho, "lr": lr}, "period", w0=[1.001], num_steps=4000)
    r, h = rho[:, None], lr[None, :]
    slope = lambda y: y**3 - y  # noqa: E731
    up, down = -h * slope(1 - r), -h * slope(1 + r)  # where 0 goes from either side
    back = up - h * slope(1 + up + r), down - h * slope(1 + down - r)
    size = up - down
    decided = (np.abs(back[0]) > _SIDES * size) & (np.abs(back[1]) > _SIDES * size)
    return Tongue((back[0] < 0) & (back[1] > 0), found["period"] == 2, decided)


def _flip(loss: sf.losses.AbstractLoss, lr: float) -> float:
    system = sf.Map(loss, sf.USAM(rho=0.1), lr=lr)
    flips = sf.continue_branch(system, [0.0, 1.0], "rho", (0.01, 12.0)).of("flip")
    return min(flip.parameter for flip in flips)  # that of x comes later: η(1 + ρ) = 2


def judge(record: Record) -> list[Claim]:
    """Compare with theory's conditions, repelling points and bifurcations."""
    chart = record.charts["usam"]
    agree = total = 0
    for i, shape in enumerate(chart.shapes):
        predicted = _usam_attracts(chart, _BEALE[shape])
        agree += int((predicted == (chart.at_points[i] == "attracting")).sum())
        total += predicted.size
    claims = [
        _study.every(
            "chart of USAM on Beale's function",
            "the saddle (0, 1) and the minimum (3, ½) attract USAM exactly in the cells of "
            "(ρ, η) with 0 < ηλ(1 + ρλ) < 2 for both eigenvalues",
            holding=agree,
            of=total,
            what="cells agree",
            reason="the kinds are those of the Jacobian of the map; the eigenvalues are known "
            "from a Gröbner basis",
            evidence=Evidence.numerical,
        )
    ]
    tongue = record.tongue
    claims.append(
        _study.every(
            "chart of SAM at the minimum of the quartic",
            "orbits end on a 2-cycle exactly in the cells of (ρ, η) with f(ηb) < 0 < f(−ηa), "
            "Proposition R5 on the loss itself",
            holding=int((tongue.predicted == tongue.seen)[tongue.decided].sum()),
            of=int(tongue.decided.sum()),
            what="cells agree",
            reason="4,000 steps; cells within a thousandth of a step of the curve are left out",
            evidence=Evidence.numerical,
        )
    )
    for rule, found in record.shares.items():
        for rho, measured in found.items():
            predicted = edge(rule, rho) / HALF
            error = float(np.sqrt(predicted * (1 - predicted) / record.number))
            name, what = f"{rule.upper()}, ρ = {rho:g}", "y = 0 of the quartic, its saddle"
            if predicted == 0:
                claims.append(
                    _study.fact(
                        f"share of {name}",
                        f"no start in |y| < {HALF:g} comes to {what}: it repels",
                        predicted=0.0,
                        measured=measured,
                        reason="the starts that would are a set of measure 0",
                        evidence=Evidence.numerical,
                    )
                )
                continue
            claims.append(
                _study.sampled(
                    f"share of {name}",
                    f"of starts in |y| < {HALF:g} those below the repelling fixed point at "
                    f"{edge(rule, rho):.4g} come to {what}",
                    predicted=predicted,
                    measured=measured,
                    error=error,
                    reason=f"four standard errors of {record.number:,} starts",
                )
            )
    return claims + _bifurcations(record)


def _bifurcations(record: Record) -> list[Claim]:
    events = sorted(
        (str(event.point.kind), event.point.parameter) for event in record.diagram.events
    )
    claims = [
        _study.fact(
            "bifurcations of the quartic",
            "along ρ USAM on the quartic has a pitchfork, which lies on two branches, and two "
            "folds; nothing else for η = 0.01",
            predicted="fold, fold, pitchfork, pitchfork",
            measured=", ".join(kind for kind, _ in events),
            reason="both kinds are derived from g(w + ρg(w)) = 0",
        )
    ]
    for kind, known in (("pitchfork", 1.0), ("fold", 4.0)):
        claims.append(
            _study.close(
                f"{kind} of the quartic",
                f"its ρ is {known:g}",
                predicted=known,
                measured=max((at for k, at in events if k == kind), key=lambda at: abs(at - known)),
                absolute=1e-6,
                reason="the branch that is born is tangent there: its bracket is some 1e-7 wide",
            )
        )
    for lr, rho in record.flips.items():
        claims.append(
            _study.close(
                f"flip at η = {lr:g}",
                "the quartic's minimum flips at η = 1/(1 + 2ρ)",
                predicted=lr,
                measured=1 / (1 + 2 * rho),
                rel=1e-8,
                reason="rounding of a bracketed root",
            )
        )
    return claims


def _usam_attracts(
    chart: attractors.AttractorChart, eigenvalues: tuple[float, float]
) -> np.ndarray:
    rho, lr = chart.x[:, None], chart.y[None, :]
    scaled = [lr * lam * (1 + rho * lam) for lam in eigenvalues]
    return np.all([(x > 0) & (x < 2) for x in scaled], axis=0)
