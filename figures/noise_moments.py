"""How far noise carries SGD and USAM from a saddle, and what three models say of it."""

from typing import Any

import jax.random as jr
import numpy as np
import sympy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.noise import hessian_noise, sample_moments, second_moment
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREEN, GREY, VERMILION, panel_letter
from samflow.theory import diffusion

NAME = "noise-moments"
CAPTION = (
    "Second moment of the displacement y along λ = −1 at the saddle ½(x² − y²), from rest, with "
    "gradient noise of covariance |H|/B, B = 32, η = 0.01, t = ηk. (a) SGD and USAM with one batch "
    "for ascent and descent: the exact recursion (lines), 20,000 sample paths (points; four "
    "standard errors are smaller than they), and the formula of Kim et al. (arXiv 2301.06308, "
    "dashed), whose drift is that of another update. For ρ > 1/|λ| the moment stays bounded. "
    "(b) SGD less USAM at ρ = 0.001: linear in t with one batch, quadratic with a second batch for "
    "the descent; the corollary of Kim et al. is quadratic with twice the constant. Derived in "
    "docs/theory.md, section 6."
)

LAM, LR, BATCH, STEPS = -1.0, 0.01, 32.0, 300
RHOS = {0.0: BLACK, 0.1: BLUE, 0.5: GREEN, 1.6: VERMILION}
SMALL = 0.001
NUM_PATHS = 20_000


def noisy(rho: float, *, fresh: bool = False) -> sf.StochasticMap:
    """Return USAM, or SGD with rho = 0, with noise |H|/B."""
    loss = sf.losses.saddle((1.0, LAM))
    step = sf.Map(loss, sf.USAM(rho=rho), lr=LR)  # pyright: ignore[reportCallIssue]
    return sf.StochasticMap(step, hessian_noise(loss, [0, 0], batch_size=BATCH), fresh)


def exact(rho: float, *, fresh: bool = False) -> np.ndarray:
    """Return E y² at every step."""
    found = second_moment(noisy(rho, fresh=fresh), [0, 0], num_steps=STEPS, keep_every=1)
    return np.asarray(found.second[:, 1, 1])


def draw() -> Figure:
    """Draw the moments and the differences."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.9)
        moments, differences = figure.subplots(1, 2)
        _draw_moments(moments)
        _draw_differences(differences)
        panel_letter(moments, "a")
        panel_letter(differences, "b")
        plots.legend_below(figure, [moments, differences], columns=4)
    return figure


def _draw_moments(ax: Axes) -> None:
    time = LR * np.arange(STEPS + 1)
    for rho, colour in RHOS.items():
        name = "SGD" if rho == 0 else rf"USAM, $\rho={rho:g}$"
        ax.semilogy(time[1:], exact(rho)[1:], color=colour, linewidth=1.3, label=name)
        paths = sample_moments(
            noisy(rho),
            [0, 0],
            key=jr.key(0),
            num_paths=NUM_PATHS,
            num_steps=STEPS,
            keep_every=STEPS // 10,
        )
        at = LR * np.asarray(paths.steps)[1:]
        ax.plot(at, paths.second[1:, 1, 1], "o", markersize=3, color=colour)
        if rho:
            ax.semilogy(time[1:], _kim(rho, time[1:]), color=colour, linewidth=1.0, linestyle="--")
    ax.plot([], [], color=GREY, linestyle="--", label="Kim et al.")
    ax.plot([], [], "o", markersize=3, color=GREY, label="sample paths")
    ax.set(xlabel="$t$", ylabel=r"$\mathrm{E}\,y^2$", xlim=(0, LR * STEPS))


def _kim(rho: float, time: np.ndarray) -> np.ndarray:
    symbols = (diffusion.lam, diffusion.lr, diffusion.noise, diffusion.rho, diffusion.beta)
    values = zip(symbols, (LAM, LR, abs(LAM) / BATCH, rho, 0), strict=True)
    formula = sf.theory.second_moment_limit("kim").subs(list(values))
    return sympy.lambdify(diffusion.time, formula)(time)


def _draw_differences(ax: Axes) -> None:
    first = 3  # the first step of two batches is farther than SGD's
    time = LR * np.arange(first, STEPS + 1)
    unit = LR * SMALL * abs(LAM) ** 3 / BATCH
    one, two = ((exact(0.0) - exact(SMALL, fresh=fresh))[first:] for fresh in (False, True))
    ax.loglog(time, one, color=BLUE, linewidth=1.3, label="one batch, exact")
    ax.loglog(time, two, color=GREEN, linewidth=1.3, label="two batches")
    look: dict[str, Any] = {"linewidth": 1.0, "linestyle": ":"}
    ax.loglog(time, 2 * unit * time, color=BLUE, label=r"$2\eta t\,|\lambda|^2\rho/B$", **look)
    ax.loglog(time, unit * time**2, color=GREEN, label=r"$\eta t^2|\lambda|^3\rho/B$", **look)
    ax.loglog(
        time,
        2 * unit * time**2,
        color=GREY,
        linewidth=1.0,
        linestyle="--",
        label=r"Kim et al., $2\eta t^2|\lambda|^3\rho/B$",
    )
    ax.set(xlabel="$t$", ylabel=r"SGD $-$ USAM", xlim=(time[0], time[-1]))
