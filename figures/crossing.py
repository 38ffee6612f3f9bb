"""x² − y² from (−3, −0.01): GD leaves along y, USAM and SAM are held at the saddle."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.orbits._iterate import Orbit
from samflow.plots.layers import draw_frame
from samflow.plots.style import BLACK, DOUBLE_COLUMN, RULE_COLOURS, panel_letter

NAME = "crossing"
STUDIES: tuple[str, ...] = ()
BESIDE = "sam-cycle"
ALT = (
    "Left, three orbits that come in from the left: GD turns away upwards or downwards, USAM "
    "and SAM stop at the origin. Right, distances on a logarithmic scale: GD's grows again, "
    "USAM's falls along a straight line, SAM's settles on a dashed line."
)

START = (-3.0, -0.01)
LR = 0.01
NUM_STEPS = 600
RHOS = {"gd": 0.0, "usam": 0.6, "sam": 0.5}
BOX = ((-3.2, 0.6), (-0.08, 0.02))
CATCHING_RHO = 0.0949


def system(rule: str) -> sf.Map:
    """Return the map of a rule on x² − y²."""
    return sf.Map(sf.loss("x**2 - y**2"), sf.rule(rule, rho=RHOS[rule]), lr=LR)


def orbit(rule: str) -> Orbit:
    """Return the orbit of a rule from the papers' start."""
    return sf.iterate(system(rule), np.array(START), num_steps=NUM_STEPS, keep_every=1)


def cycle_radius() -> float:
    """Return the radius of SAM's 2-cycle along x, where λ = 2."""
    return float(sf.theory.cycle_radius(2, rho=RHOS["sam"], lr=LR))  # pyright: ignore


def caption() -> str:
    """Say what is seen."""
    return (
        "Orbits on x² − y² from (−3, −0.01) at η = 0.01, after Kim et al. (arXiv 2301.06308): (a) "
        "in the plane, (b) their distance from the saddle. GD passes the saddle and leaves along "
        "y. USAM with ρ = 0.6, above the threshold 1/|λ₋| = ½, converges to the saddle "
        "geometrically. SAM with ρ = 0.5 converges to a 2-cycle at distance c = ηρλ/(2 − ηλ) = "
        "0.00505 (dashed). The cycle attracts for every ρ; the orbit from this start reaches it "
        "for ρ ≥ 0.0949. The axes of (a) have different scales."
    )


def draw() -> Figure:
    """Draw the three orbits in the plane, and their distances from the saddle."""
    records = {rule: orbit(rule) for rule in RHOS}
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.7)
        plane, distance = figure.subplots(1, 2)
        _draw_plane(plane, records)
        _draw_distance(distance, records)
        panel_letter(plane, "a")
        panel_letter(distance, "b")
        plots.legend_below(figure, [plane], columns=5)
    return figure


def _draw_plane(ax: Axes, records: dict[str, Orbit]) -> None:
    descent = system("gd")
    draw_frame(ax, descent, BOX)
    field = plots.sample_field(descent, BOX)
    plots.draw_levels(ax, field, descent, sf.find_fixed_points(descent, BOX))
    for rule, record in records.items():
        plots.draw_orbits(ax, record, colour=RULE_COLOURS[rule], label=name(rule))
    ax.plot(0, 0, marker="+", markersize=8, color=BLACK, zorder=5, linestyle="none")
    ax.annotate("saddle", (0, 0), (5, 6), textcoords="offset points", fontsize=7)


def _draw_distance(ax: Axes, records: dict[str, Orbit]) -> None:
    for rule, record in records.items():
        ax.semilogy(
            record.steps, np.linalg.norm(record.w, axis=1), color=RULE_COLOURS[rule], linewidth=1.0
        )
    ax.axhline(cycle_radius(), color=BLACK, linestyle="--", linewidth=0.7, zorder=5)
    ax.annotate("$c$", (NUM_STEPS, cycle_radius()), (-10, 3), textcoords="offset points")
    ax.set(xlabel="step", ylabel="distance from the saddle", xlim=(0, NUM_STEPS), ylim=(1e-4, 30))


def name(rule: str) -> str:
    """Return a rule's label, as "SAM, ρ = 0.5"."""
    return rule.upper() + (rf", $\rho={RHOS[rule]:g}$" if RHOS[rule] else "")
