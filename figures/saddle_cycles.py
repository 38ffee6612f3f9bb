"""What holds normalised SAM at a saddle: theory's boundaries over simulated orbits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import samflow as sf
from analysis.size import Size
from samflow import plots
from samflow.plots.style import BLACK, DOUBLE_COLUMN, ORANGE, SKY, VERMILION

NAME = "saddle-cycles"
CAPTION = (
    "Normalised SAM on ½(λ₁x² − |λ₋|y²): what the orbit from a random start ρ/1000 from the saddle "
    "does in 20,000 steps (colour) and theory (lines). Between the solid lines, "
    "ηλ₁/(2 − ηλ₁) < |λ₋|/λ₁ < 2/(2 − ηλ₁), the 2-cycle along λ₁ attracts. Between the dashed "
    "lines a ball of gradients is proved to be invariant: no orbit leaves, and where the 2-cycle "
    "does not attract it is trapped. Above the upper one, η|λ₋| = 1, the 2-cycle attracts some of "
    "the starts only. The map is homogeneous: neither ρ nor the scale of the eigenvalues matters."
)

RHO = 1.0
LOWEST, HIGHEST = 0.02, 20.0
PIXELS = {Size.full: 120, Size.small: 60}
NUM_STEPS = 20_000
SMALL_SIZE = "60 by 60 points in the place of 120 by 120."
LEAVES, CYCLE, TRAP = 0, 1, 2
COLOURS = ("#f2f2f2", SKY, ORANGE)


def outcomes(lr: np.ndarray, ratio: np.ndarray, num_steps: int = NUM_STEPS) -> np.ndarray:
    """Return what the orbit of each (lr, ratio) does, with λ₁ = 1 and |λ₋| = ratio."""
    system = sf.Map(sf.losses.Quadratic((1.0, -1.0)), sf.SAM(rho=RHO), lr=1.0)  # pyright: ignore[reportCallIssue]
    keys = jr.split(jr.key(0), lr.size)
    codes = _outcomes(system, jnp.ravel(lr), jnp.ravel(ratio), keys, num_steps)
    return np.asarray(codes).reshape(lr.shape)


@eqx.filter_jit
def _outcomes(system: Any, lr: Array, ratio: Array, keys: Array, num_steps: int) -> Array:
    def one(step: Array, m: Array, key: Array) -> Array:
        lams = jnp.stack([jnp.ones_like(m), -m])
        moved = eqx.tree_at(lambda s: (s.loss.lams, s.lr), system, (lams, step))
        turn = jr.uniform(key) * 2 * jnp.pi
        start = 1e-3 * RHO * jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        end = lax.fori_loop(0, num_steps, lambda _, w: moved.step(w), start)
        again = moved.step(moved.step(end))
        far = ~(jnp.linalg.norm(end) < 10 * RHO * (1 + m))
        cycle = jnp.linalg.norm(again - end) < 1e-6 * jnp.linalg.norm(end)
        return jnp.where(far, LEAVES, jnp.where(cycle, CYCLE, TRAP))

    return jax.vmap(one)(lr, ratio, keys)


def draw(size: Size = Size.full) -> Figure:
    """Draw the plane of ηλ₁ and |λ₋|/λ₁."""
    count = PIXELS[size] + 1
    edges = np.linspace(0.01, 1.99, count), np.geomspace(LOWEST, HIGHEST, count)
    middles = 0.5 * (edges[0][1:] + edges[0][:-1]), np.sqrt(edges[1][1:] * edges[1][:-1])
    lr, ratio = np.meshgrid(*middles)
    with plots.styled():
        figure = plots.new_figure(0.62 * DOUBLE_COLUMN, 3.3)
        ax = figure.subplots()
        mesh = ax.pcolormesh(
            *edges, outcomes(lr, ratio), cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=2.5
        )
        mesh.set_rasterized(True)
        x = np.linspace(0.01, 1.99, 400)
        for bound in (x / (2 - x), 2 / (2 - x)):
            ax.plot(x, bound, color=BLACK, linewidth=1.3)
        ball = x / np.minimum(1, 2 - x)
        inside = ball <= 1 / x
        for bound in (ball, 1 / x):
            ax.plot(x[inside], bound[inside], color=VERMILION, linewidth=1.1, linestyle="--")
        ax.set(yscale="log", xlim=(0, 2), ylim=(LOWEST, HIGHEST))
        ax.set(xlabel=r"$\eta\lambda_1$", ylabel=r"$|\lambda_{-}|/\lambda_1$")
        names = ("leaves", "2-cycle", "trap")
        handles: list[Any] = [
            Patch(facecolor=colour, edgecolor="0.6", label=name)
            for colour, name in zip(COLOURS, names, strict=True)
        ]
        handles += ax.plot([], [], color=BLACK, label="2-cycle attracts between")
        handles += ax.plot([], [], color=VERMILION, linestyle="--", label="ball invariant between")
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
