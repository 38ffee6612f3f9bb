"""`samflow landscape`: the loss along eigenvectors, lines and trajectories, drawn and said."""

from typing import Annotated, Any

import typer
from rich.text import Text

from samflow.cli import checkpoint, options
from samflow.cli._renaming import renamings, with_remedy
from samflow.cli.output import PICTURES_AND_RECORDS, checked_paths, deliver_all, form_of, progress

Files = Annotated[
    list[str] | None,
    typer.Argument(
        help="Trained weights, as of `samflow checkpoint`; several are a trajectory, the last one "
        "the centre. Needs --model."
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="Without --model: the name of a loss, or a formula such as x**2-y**2. With it: "
        "cross_entropy or squared.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="module:function of your code, which is run. It returns a torch.nn.Module, an equinox "
        "module, (module, state), or a loss of samflow with its data.",
    ),
]
Points = Annotated[
    list[str] | None,
    typer.Option(
        "--point",
        help="Weights of a loss that is no network, such as 0,1. Repeat it for a trajectory.",
    ),
]
Along = Annotated[
    list[str] | None,
    typer.Option(
        "--along",
        help="sharpest, second-sharpest, lowest, second-lowest, line, first-principal, "
        "second-principal, random, eigenvectors or trajectory. Give it twice for a plane. By "
        "default eigenvectors of one point, the line of two, trajectory of more.",
    ),
]
Extent = Annotated[
    str | None,
    typer.Option("--extent", help="How far to go, in units of weight; or a number per direction."),
]
Resolution = Annotated[
    int, options.whole_option("--resolution", help="Points along each direction, at least 3.")
]
Seed = Annotated[int, options.whole_option("--seed", help="Seed of random directions.")]


def command(
    context: typer.Context,
    files: Files = None,
    model: Model = None,
    data: checkpoint.Data = None,
    loss: Loss = None,
    point: Points = None,
    along: Along = None,
    extent: Extent = None,
    resolution: Resolution = 51,
    group: checkpoint.Group = None,
    rename: checkpoint.Rename = None,
    leave_out: checkpoint.LeaveOut = None,
    max_bytes: checkpoint.MaxBytes = None,
    loss_weight_decay: checkpoint.LossDecay = 0.0,
    label_smoothing: checkpoint.Smoothing = 0.0,
    batch_norm: checkpoint.BatchNorm = "eval",
    examples: checkpoint.Examples = None,
    chunk_size: checkpoint.ChunkSize = None,
    dtype: checkpoint.Precision = None,
    max_products: checkpoint.MaxProducts = 400,
    seed: Seed = 0,
    eigenvalues: options.Eigenvalues = None,
    dim: options.Dim = None,
    journal: options.Journal = None,
    json: options.AsJson = False,
    form: options.Form = None,
    output: options.OutputsIfAny = None,
) -> int:
    """Compute the loss along directions through weights, and say what it is evidence of.

    A slice is the loss along one direction. The text says how far the loss
    agrees with its parabola, the slope and curvature at the weights. The
    picture has the same text below.
    """
    printed = form_of(json, form)
    target = options.checked_journal(journal)
    paths = checked_paths(output or (), PICTURES_AND_RECORDS)
    import jax.random as jr

    import samflow as sf
    from samflow import _checks

    options.check_seed(seed)
    if (model is None) != (not files):
        raise _checks.ArgumentError(
            "Files of weights and `--model` must be given together, but one is missing. For a loss "
            "that is no network give `--loss` and `--point`."
        )
    ranges = None if extent is None else options.numbers("--extent", extent)
    if model is None:
        made, states = _of_formula(loss, point, dim, eigenvalues)
    else:
        if point:
            raise _checks.ArgumentError(
                "Argument `--point` must be left out where files of weights are given."
            )
        from samflow.cli.models import LossSettings

        settings = LossSettings(
            loss, label_smoothing, loss_weight_decay, batch_norm, chunk_size, dtype
        )
        loading = {"group": group, "leave_out": tuple(leave_out or ()), "max_bytes": max_bytes}
        loading["rename"] = None if rename is None else renamings(rename)
        made, states = _of_files(context, files or [], model, data, examples, settings, loading)
    names = [name.replace("-", " ") for name in along or ()]
    found = sf.landscape(
        made,
        states,
        along=None if not names else names[0] if len(names) == 1 else names,
        extent=None if ranges is None else ranges[0] if len(ranges) == 1 else ranges,
        num_points=_checks.count("--resolution", resolution, minimum=3),
        max_products=max_products,
        key=jr.key(seed),
        progress=progress,
    )
    content = [Text(line) for line in found.sentences()]
    deliver_all(
        content, found, lambda: sf.plots.landscape(found), form=printed, paths=paths, journal=target
    )
    return 0


def _of_formula(
    loss: str | None, points: list[str] | None, dim: int | None, eigenvalues: str | None
) -> tuple[Any, Any]:
    from samflow import _checks

    if loss is None or not points:
        raise _checks.ArgumentError(
            "Arguments `--loss` and `--point` must be given, such as --loss beale --point 0,1; or "
            "files of weights with `--model`."
        )
    made = options.make_loss(loss, dim=dim, eigenvalues=eigenvalues)
    return made, [options.make_point("--point", text, made) for text in points]


def _of_files(
    context: typer.Context,
    files: list[str],
    model: str,
    data: str | None,
    examples: int | None,
    settings: Any,
    loading: dict[str, Any],
) -> tuple[Any, Any]:
    """Return the loss, with the buffers of the last file, and the weights of all."""
    import numpy as np

    from samflow import networks
    from samflow.cli.models import make_loss

    progress("building the model and its loss")
    made = make_loss(model, data, examples, settings)
    states = []
    for file in files:
        try:
            loaded = networks.load_checkpoint(file, made, **loading)
        except networks.MismatchError as error:
            raise with_remedy(error, context) from error
        made = loaded.loss
        states.append(np.asarray(loaded.w))
    return made, np.stack(states)
