"""Errors of the diffusion models of SGD, USAM, DNSAM and SAM over the learning rate."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import DOUBLE_COLUMN, GREEN, GREY, PURPLE, RULE_COLOURS, panel_letter

NAME = "weak-order"
STUDIES = ("weak-order",)
ALT = (
    "Three panels of errors over the step size on logarithmic axes: lines of slope 1, flatter "
    "lines of slope ½, and lines that level off."
)
_CAPTION = (
    "Errors of diffusion models at time 1; expectations are computed to 1e-8, not sampled. "
    "(a) Three nonlinear examples on the torus, of which each step draws one, with ρ = 0.4 √η: the "
    "root mean square over all starts of E φ(w_k) − E φ(X), φ = sin x + cos y. Each rule's own "
    "model has order 1. SGD's model used for USAM has order ½, and so has the drift −∇(f + ρ‖∇f‖) "
    "used for DNSAM. (b) The same with ρ = {rho:g} for every η: the error of the models of first "
    "order in ρ does not vanish; that of the models with the update's exact mean and covariance "
    "does. (c) E‖w‖² of USAM on a quadratic where the noise grows as 1/η. Here the order depends "
    "on the covariance: without its terms in ρ it is ½. Model after Compagnoni et al. 2023 (arXiv "
    "2301.08203)."
)

COLOURS = {**RULE_COLOURS, "dnsam": GREEN}
MARKS = {"gd": "o", "usam": "s", "dnsam": "D", "sam": "^"}
LABELS = {"gd": "SGD", "usam": "USAM", "dnsam": "DNSAM", "sam": "SAM"}


def draw(record: Any) -> Figure:
    """Draw the three panels."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        left, middle, right = figure.subplots(1, 3)
        _draw_shrinking(left, record)
        _draw_fixed(middle, record)
        _draw_strong(right, record)
        for ax, letter in zip((left, middle, right), "abc", strict=True):
            panel_letter(ax, letter)
            ax.set(xscale="log", yscale="log", xlabel=r"$\eta$", xlim=(3.3e-4, 0.09))
        left.set_ylabel("error")
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    return _CAPTION.format(rho=record.fixed_rho)


def _draw_shrinking(ax: Axes, record: Any) -> None:
    curves = record.shrinking
    for name in record.names:
        _line(ax, record.lrs, curves[name], COLOURS[name], MARKS[name], LABELS[name])
    _line(
        ax,
        record.lrs,
        curves["usam, SGD's model"],
        COLOURS["usam"],
        "s",
        "USAM, SGD's model",
        hollow=True,
    )
    _line(
        ax,
        record.lrs,
        curves["dnsam, gradient drift"],
        COLOURS["dnsam"],
        "D",
        "DNSAM, gradient",
        hollow=True,
    )
    ax.set(title=r"$\rho = 0.4\sqrt{\eta}$", ylim=(3e-6, 0.9))
    _slopes(ax, record.lrs, 1.1e-5, 8e-4)
    ax.legend(loc="upper left", ncols=2, columnspacing=0.8, handletextpad=0.4)


def _draw_fixed(ax: Axes, record: Any) -> None:
    for name in ("usam", "sam"):
        for moments, hollow in (("exact", False), ("leading", True)):
            label = f"{LABELS[name]}, {moments}"
            curve = record.fixed[f"{name}, {moments}"]
            _line(ax, record.lrs, curve, COLOURS[name], MARKS[name], label, hollow=hollow)
    ax.set(title=rf"$\rho = {record.fixed_rho}$", ylim=(3e-6, 0.9))
    _slopes(ax, record.lrs, 1.1e-5, None)
    ax.legend(loc="upper left")


def _draw_strong(ax: Axes, record: Any) -> None:
    formulas = {
        "leading": (COLOURS["usam"], r"$(I + \rho H)\Sigma(I + \rho H)$", "s"),
        "published": (PURPLE, r"$\Sigma + \rho(S + S^\top)$", "v"),
        "sgd": (COLOURS["gd"], r"$\Sigma$", "o"),
    }
    for name, (colour, formula, mark) in formulas.items():
        _line(ax, record.lrs, record.strong[name], colour, mark, formula, hollow=name == "sgd")
    ax.set(title=r"$\eta\Sigma$ fixed, $\rho = 0.4\sqrt{\eta}$", ylim=(5e-5, 8))
    _slopes(ax, record.lrs, 1e-4, 6e-3)
    ax.legend(loc="upper left")


def _line(
    ax: Axes, lrs: Any, curve: Any, colour: str, mark: str, label: str, *, hollow: bool = False
) -> None:
    ax.plot(
        lrs,
        curve.errors,
        color=colour,
        marker=mark,
        markersize=3.2,
        markerfacecolor="white" if hollow else colour,
        linestyle="--" if hollow else "-",
        linewidth=0.9,
        label=label,
    )


def _slopes(ax: Axes, lrs: Any, one: float, half: float | None) -> None:
    """Draw short lines of slope 1 and ½, each below the data, from their heights at 2⁻¹¹ on."""
    x = lrs[-1] * np.array([1, 8])
    for height, power, text in ((one, 1.0, "1"), (half, 0.5, r"$\frac{1}{2}$")):
        if height is None:
            continue
        y = height * (x / x[0]) ** power
        ax.plot(x, y, color=GREY, linewidth=0.7)
        ax.text(x[1] * 1.08, y[1], text, color=GREY, ha="left", va="center", fontsize=7)
