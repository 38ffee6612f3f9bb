"""Which interpolating minima SGD and USAM keep: exact thresholds under the bounds."""

import numpy as np
from matplotlib.figure import Figure

import samflow as sf
from samflow import noise, plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, ORANGE, VERMILION, panel_letter

NAME = "interpolation"
CAPTION = (
    "Least squares fitted exactly, 12 Gaussian examples of unequal lengths and 4 weights, batches "
    "drawn with replacement. (a) The largest step size at which the mean square does not grow "
    "under USAM, exact (solid), and the largest that the bound of Zhou et al. allows (dashed), "
    "over ρ, for batches of 1, 3 and 12; at ρ = 0 both are SGD's. (b) Their ratio: what the bound "
    "lets pass and is unstable all the same. The noise of one batch serves ascent and descent."
)

EXAMPLES, WEIGHTS, SEED = 12, 4, 1
BATCHES = (1, 3, 12)
COLOURS = (VERMILION, BLUE, BLACK)
RHOS = tuple(float(rho) for rho in np.linspace(0, 2, 33))


def rows() -> np.ndarray:
    """Return the examples, one a row, of mean squared length 1."""
    generator = np.random.default_rng(SEED)
    lengths = np.exp(0.3 * generator.normal(size=(EXAMPLES, 1)))
    made = generator.normal(size=(EXAMPLES, WEIGHTS)) * lengths
    return made / np.sqrt((made**2).sum(axis=1).mean())


def thresholds(batch_size: int, rhos: tuple[float, ...] = RHOS) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact and the bounding lr at each rho."""
    loss, w = noise.least_squares(rows()), np.zeros(WEIGHTS)
    exact, bound = [], []
    for rho in rhos:
        step = sf.Map(loss, sf.USAM(rho=rho), lr=0.1)  # pyright: ignore
        system = sf.StochasticMap(step, noise.MiniBatch(batch_size, True))  # pyright: ignore
        exact.append(noise.stability_threshold(system, w).value)
        bound.append(noise.alignment_bound(system, w).lr)
    return np.array(exact), np.array(bound)


def draw() -> Figure:
    """Draw thresholds, and their ratio, over rho."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.7)
        left, right = figure.subplots(1, 2)
        for size, colour in zip(BATCHES, COLOURS, strict=True):
            exact, bound = thresholds(size)
            left.plot(RHOS, exact, color=colour, label=f"$B = {size}$, exact")
            left.plot(RHOS, bound, color=colour, linestyle="--", label=f"$B = {size}$, bound")
            right.plot(RHOS, bound / exact, color=colour)
        right.axhline(1, color=ORANGE, linewidth=0.8)
        right.annotate(
            "here the bound would be exact",
            (RHOS[-1], 1),
            (-4, 3),
            textcoords="offset points",
            ha="right",
        )
        left.set(yscale="log", ylabel=r"largest step size $\eta$")
        right.set(yscale="log", ylabel=r"$\eta$ of the bound / exact $\eta$")
        for ax, letter in ((left, "a"), (right, "b")):
            ax.set(xlabel=r"$\rho$", xlim=(RHOS[0], RHOS[-1]))
            panel_letter(ax, letter)
        plots.legend_below(figure, (left,), columns=3)
    return figure
