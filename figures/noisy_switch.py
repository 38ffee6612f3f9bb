"""SAM for the last epochs, and the reverse: sharpness, loss and test error against the epoch."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREEN, GREY, VERMILION, panel_letter

NAME = "noisy-switch"
STUDIES = ("noisy-switch",)
ALT = (
    "Three panels over epochs with four curves each: sharpness falls at the switch to SAM and "
    "rises at the switch to SGD; training loss and test error follow."
)
COLOURS = {"SGD": BLACK, "SGD→SAM": VERMILION, "SAM": BLUE, "SAM→SGD": GREEN}


def draw(record: Any) -> Figure:
    """Draw the three quantities along the four arms."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.6)
        axes = figure.subplots(1, 3)
        _draw_panel(axes[0], record, "sharpness", 1.0, r"sharpness $\lambda_{\max}$")
        _draw_panel(axes[1], record, "loss", 1.0, "training loss")
        _draw_panel(axes[2], record, "error", 100.0, "test error (%)")
        for letter, ax in zip("abc", axes, strict=True):
            panel_letter(ax, letter)
        plots.legend_below(figure, list(axes), columns=5)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    return (
        "An MLP (64–32–10, tanh, squared loss) on 500 digits, batches of 32, lr 0.05, momentum "
        f"0.9; SAM has ρ = 0.05. At epoch {record.switch} (dotted) two of the four runs switch "
        "from SGD to SAM or back. (a) Largest eigenvalue of the Hessian, (b) training loss, (c) "
        f"error on 797 test digits: means over {record.num_seeds} seeds with 95 % Student "
        f"intervals. {_closed(record)}. On this network SAM fits more slowly, which costs test "
        "error. After Zhou et al. (arXiv 2410.10373), figure 1."
    )


def _closed(record: Any) -> str:
    """Say what part of the gap in sharpness the last epochs close, and open again."""
    end = {name: record.means[name, "sharpness"][-1].mean for name in record.histories}
    gap = end["SGD"] - end["SAM"]
    closed, opened = (end["SGD"] - end["SGD→SAM"]) / gap, (end["SAM→SGD"] - end["SAM"]) / gap
    return (
        f"Late SAM removes {closed:.0%} of the sharpness by which SGD exceeds SAM; late SGD "
        f"restores {opened:.0%} of it"
    )


def _draw_panel(ax: Axes, record: Any, quantity: str, scale: float, label: str) -> None:
    for name, history in record.histories.items():
        means = record.means[name, quantity]
        # The arms share their trunks: those that change begin at the switch.
        first = list(history.epochs).index(record.switch) if "→" in name else 0
        look: dict[str, Any] = {"color": COLOURS[name], "linewidth": 1.2, "markersize": 3}
        x = history.epochs[first:]
        middle = [scale * each.mean for each in means[first:]]
        ax.plot(x, middle, "o-", label=name.replace("→", r"$\to$"), **look)
        ax.fill_between(
            x,
            [scale * each.low for each in means[first:]],
            [scale * each.high for each in means[first:]],
            color=COLOURS[name],
            alpha=0.15,
            linewidth=0,
        )
    ax.axvline(record.switch, color=GREY, linewidth=0.9, linestyle=":", label="switch")
    ax.set(xlabel="epoch", ylabel=label)
