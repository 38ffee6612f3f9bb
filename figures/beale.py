"""Beale's function: GD reaches the minimum, USAM and SAM stay at the saddle (0, 1)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.orbits._iterate import Orbit
from samflow.plots.style import DOUBLE_COLUMN, RULE_COLOURS, panel_letter
from samflow.rules import AbstractMemorylessRule

NAME = "beale"
STUDIES: tuple[str, ...] = ()
BESIDE = "beale-descent"
ALT = (
    "Three phase portraits with three orbits each: under GD all end at the minimum, under "
    "USAM at the saddle, under SAM they wander about the saddle; below, two curves of a "
    "cosine over time, one with a single change of sign, one that jumps between −1 and 1."
)

LR = 1e-4
RHOS = {"gd": 0.0, "usam": 0.05, "sam": 0.3}
STARTS = ((0.5, 1.5), (-0.4, 0.5), (0.2, 0.9))
BOX = ((-1.2, 3.8), (-0.1, 1.9))
LAYERS = ("levels", "motion", "directions", "fixed points")
_EARLY, _LATE = 4_000, 600_000


def system(rule: str) -> sf.Map:
    """Return the map of a rule on Beale's function at the papers' step size."""
    return sf.Map(sf.losses.beale(), sf.rule(rule, rho=RHOS[rule]), lr=LR)


def orbits(rule: str) -> tuple[Orbit, Orbit]:
    """Return the orbits from `STARTS`: every step at first, then every 150th for long."""
    early = sf.iterate(system(rule), np.array(STARTS), num_steps=_EARLY, keep_every=1)
    late = sf.iterate(system(rule), early.final_w, num_steps=_LATE, keep_every=_LATE // _EARLY)
    return early, late


def cosines(rule: str, w: Float[Array, "N 2"]) -> Float[np.ndarray, " N"]:
    """Return cos∠(g(w), g(wᵖ)), wᵖ the ascent point: the rule's direction is g(wᵖ)."""
    return np.asarray(_cosines(system(rule), w))


@eqx.filter_jit
def _cosines(system: sf.Map, w: Array) -> Array:
    assert isinstance(system.rule, AbstractMemorylessRule)
    direction = system.rule.direction

    def one(point: Array) -> Array:
        g = jnp.asarray(system.loss.gradient(point))
        ascent = jnp.asarray(direction(system.loss, point))
        return jnp.vdot(g, ascent) / (jnp.linalg.norm(g) * jnp.linalg.norm(ascent))

    return jax.vmap(one)(w)


def caption() -> str:
    """Say what is seen."""
    return (
        "Three orbits on Beale's function from the same starts, at η = 10⁻⁴ as in Kim et al. "
        "(arXiv 2301.06308). (a) GD converges to the minimum (3, ½). (b) USAM with ρ = 0.05, above "
        "the threshold 4/111 ≈ 0.036, converges to the saddle (0, 1). The saddle is a stable node "
        "of USAM, between two saddles of USAM that are no critical points of the loss. (c) SAM "
        "with ρ = 0.3 ends up within 0.0011 of (0, 1) and does not converge. Arrows show the "
        "direction of a step, not its size. (d, e) The cosine between g(w) and the gradient at the "
        "ascent point, from (0.5, 1.5). For USAM it changes sign once, from 0.99 to −1, when the "
        "ascent point crosses into the next basin. For SAM it varies chaotically between −1 and 1."
    )


def draw() -> Figure:
    """Draw the portraits of GD, USAM and SAM, and the cosines of USAM and SAM under them."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 4.3)
        top: list[Any] = ["gd", "gd", "usam", "usam", "sam", "sam"]
        bottom: list[Any] = ["usam cosine"] * 3 + ["sam cosine"] * 3
        axes = figure.subplot_mosaic([top, bottom], height_ratios=[1.5, 1.0])
        for rule, letter, letter_below in (("gd", "a", ""), ("usam", "b", "d"), ("sam", "c", "e")):
            early, late = orbits(rule)
            _draw_portrait(axes[rule], rule, early, late)
            panel_letter(axes[rule], letter)
            if letter_below:
                _draw_cosine(axes[f"{rule} cosine"], rule, early)
                panel_letter(axes[f"{rule} cosine"], letter_below)
        for ax in (axes["usam"], axes["sam"]):
            ax.set_ylabel("")
        axes["sam cosine"].set_ylabel("")
        _name_points(axes["gd"])
        plots.legend_below(figure, [axes[rule] for rule in RHOS], columns=4)
    return figure


def _draw_portrait(ax: Axes, rule: str, early: Orbit, late: Orbit) -> None:
    plots.portrait(system(rule), BOX, layers=LAYERS, ax=ax)
    plots.draw_orbits(ax, early)
    plots.draw_orbits(ax, late, mark_starts=False)
    ax.set_title(rule.upper() + (rf", $\rho={RHOS[rule]:g}$" if RHOS[rule] else ""))


def _draw_cosine(ax: Axes, rule: str, early: Orbit) -> None:
    ax.plot(early.steps, cosines(rule, early.w[0]), color=RULE_COLOURS[rule], linewidth=0.6)
    ax.set(xlim=(0, _EARLY), ylim=(-1.12, 1.12), yticks=(-1, 0, 1), xlabel="step")
    ax.set_ylabel(r"$\cos\angle\,(g(w),\ g(w^{\mathrm{p}}))$")
    ax.set_title(rule.upper())


def _name_points(ax: Axes) -> None:
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "zorder": 7}
    look["bbox"] = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"}
    ax.annotate("$(0, 1)$", (0.0, 1.0), (-7, -2.5), ha="right", **look)
    ax.annotate("$(3, ½)$", (3.0, 0.5), (0, -16), ha="center", **look)
