"""The Python code that makes the same picture as a state."""

from samflow.explorer.slow import portrait_arguments
from samflow.explorer.state import State


def source(state: State) -> str:
    """Return a program that writes the portrait of a state to portrait.pdf.

    It computes what the page computed: fixed points with their proofs, orbits, and basins and
    invariant curves where they are shown.
    """
    momentum = f", momentum={state.momentum!r}" if state.momentum else ""
    rule = f"sf.rule({state.rule!r}, rho={state.rho!r})"
    if not state.has_rho:
        rule = f"sf.rule({state.rule!r})"
    system = f"sf.Map(loss, {rule}, lr={state.lr!r}{momentum})"
    if state.flow:
        system = f"sf.Flow(loss, {rule})"
    lines = [
        "import jax",
        "",
        'jax.config.update("jax_enable_x64", True)',
        "import samflow as sf",
        "",
        f"loss = sf.loss({state.loss!r})",
        f"system = {system}",
        f"box = {state.box!r}",
        "figure = sf.portrait(",
        "    system,",
        "    box,",
    ]
    lines += [f"    {name}={value!r}," for name, value in portrait_arguments(state).items()]
    lines += [")", 'sf.plots.save(figure, "portrait.pdf")', ""]
    return "\n".join(lines)
