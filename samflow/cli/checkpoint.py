"""`samflow checkpoint`: where trained weights sit on their loss, and what SAM will do to them."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import checked_path, deliver, indented, progress, say, table_of, writing

if TYPE_CHECKING:
    from samflow.networks import Checkpoint, Diagnosis

_PICTURES = (".pdf", ".png", ".svg")
_SHOWN_LAYERS = 5

File = Annotated[
    str,
    typer.Argument(
        help="Trained weights: safetensors, PyTorch tensors, orbax, flax, equinox or npz."
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="module:function that returns a torch.nn.Module, an equinox module or (module, "
        "state), or a loss of samflow with its data. This is your code, and it is run.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="An .npz with x and y, or module:function that returns (x, y)."),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Where the tensors are in a nested file, as params.")
]
Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", help="OLD=NEW: a name in the file and the network's; may repeat."),
]
LeaveOut = Annotated[
    list[str] | None,
    typer.Option(
        "--leave-out", help="A name in the file, or its beginning, that is not needed; may repeat."
    ),
]
MaxBytes = Annotated[
    int | None,
    options.whole_option(
        "--max-bytes",
        help="Of memory that the file may fill; by default 256 MiB and eight times its size.",
    ),
]
Loss = Annotated[str, typer.Option("--loss", help="cross_entropy or squared.")]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="Repeat for several: any of `samflow rules` without a memory; by default gd, usam and "
        "practical-sam.",
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        help="The rule and conventions of an implementation: google, davda54, optax, late-sam, "
        "asam, asam-davda54, gcsam or ssam.",
    ),
]
BatchSize = Annotated[
    int | None, options.whole_option("--batch-size", help="Of mini-batches; by default none.")
]
WeightDecay = Annotated[
    float, options.number_option("--weight-decay", help="Of the optimiser's step.")
]
LossDecay = Annotated[
    float,
    options.number_option("--loss-weight-decay", help="Of the loss: half of it times ‖w‖² is L's."),
]
Smoothing = Annotated[float, options.number_option("--label-smoothing", help="In [0, 1).")]
BatchNorm = Annotated[
    str, typer.Option("--batch-norm", help="eval (running statistics) or train (the data's).")
]
Examples = Annotated[
    int | None, options.whole_option("--examples", help="Take so many of the first examples.")
]
ChunkSize = Annotated[
    int | None,
    options.whole_option("--chunk-size", help="Examples at a time, where memory is short."),
]
Precision = Annotated[
    str | None,
    typer.Option("--dtype", help="float32 or float64: what the network computes in."),
]
Count = Annotated[int, options.whole_option("-k", "--eigenvalues", help="How many at either end.")]
Probes = Annotated[
    int, options.whole_option("--density-probes", help="Of the spectral density; 0 for none.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Write to this file instead: .json or .txt; or draw the spectrum: .pdf, .png, .svg.",
    ),
]


def command(
    file: File,
    model: Model,
    data: Data = None,
    key: Key = None,
    rename: Rename = None,
    leave_out: LeaveOut = None,
    max_bytes: MaxBytes = None,
    loss: Loss = "cross_entropy",
    rule: Rules = None,
    like: Like = None,
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.1,
    momentum: options.Momentum = 0.0,
    weight_decay: WeightDecay = 0.0,
    batch_size: BatchSize = None,
    loss_weight_decay: LossDecay = 0.0,
    label_smoothing: Smoothing = 0.0,
    batch_norm: BatchNorm = "eval",
    examples: Examples = None,
    chunk_size: ChunkSize = None,
    dtype: Precision = None,
    count: Count = 4,
    density_probes: Probes = 0,
    json: options.AsJson = False,
    output: Output = None,
) -> int:
    """Say where a checkpoint sits, its extreme curvature, and what each rule would do to it."""
    path = checked_path(output, (".json", ".txt", *_PICTURES))
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    picture = path is not None and path.suffix in _PICTURES
    from samflow import networks
    from samflow.cli.models import Settings, make_loss
    from samflow.networks.conventions import checked
    from samflow.networks.diagnosis import DEFAULT_RULES

    if like is not None:
        checked(like)
    settings = Settings(loss, label_smoothing, loss_weight_decay, batch_norm, chunk_size, dtype)
    progress("building the model and its loss")
    made = make_loss(model, data, examples, settings)
    names = None if rename is None else _renamings(rename)
    checkpoint = networks.load_checkpoint(
        file, made, key=key, rename=names, leave_out=tuple(leave_out or ()), max_bytes=max_bytes
    )
    found = networks.diagnose(
        checkpoint,
        rho=rho,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        batch_size=batch_size,
        rules=tuple(rule) if rule else DEFAULT_RULES,
        like=like,
        k=count,
        density_probes=max(density_probes, min(4, made.dim)) if picture else density_probes,
        progress=progress,
    )
    if picture:
        assert path is not None
        from samflow import plots

        with writing(path):
            plots.save(plots.spectrum(found), path)
        path = None
    deliver(render(checkpoint, found), found.to_json(), as_json=json, path=path)
    missed = [each for each in found.pairs.status.tolist() if each != _located()]
    if missed:
        say(f"{len(missed)} of {len(found.pairs.values)} eigenvalues have too large a residual.")
        return 1
    return 0


def _renamings(given: list[str]) -> dict[str, str]:
    from samflow import _checks

    pairs = list(map(_renamed, given))
    names = dict(pairs)
    if len(names) < len(pairs):
        raise _checks.ArgumentError(
            "Argument `--rename` must give a name of the file once, but one is there twice."
        )
    return names


def _renamed(given: str) -> tuple[str, str]:
    from samflow import _checks

    old, equals, new = given.partition("=")
    if not (old and equals and new):
        raise _checks.ArgumentError(
            f"Argument `--rename` must be OLD=NEW, as fc.weight=layers.0.weight, but is {given!r}."
        )
    return old, new


def _located() -> int:
    from samflow import Status

    return int(Status.located)


def render(checkpoint: "Checkpoint", found: "Diagnosis") -> list[RenderableType]:
    """Return a diagnosis as it is printed."""
    lines: list[RenderableType] = [Text(checkpoint.source, style="bold")]
    lines += [indented(Text(note)) for note in checkpoint.notes]
    head, *rest = str(found).splitlines()
    lines += [Text(head), Text(rest[0]), Text()]
    return [
        *lines,
        _eigenvalues(found),
        Text(f"{found.trace}"),
        Text(_threshold(found)),
        Text(),
        _verdicts(found),
        Text(),
        *_mini_batches(found),
        Text(_layers("sharpest direction", found, found.top_shares)),
        Text(_layers("lowest direction", found, found.bottom_shares)),
        *(Text(note) for note in found.notes),
    ]


def _eigenvalues(found: "Diagnosis") -> RenderableType:
    table = table_of("eigenvalue of H", "residual", "")
    from samflow import Status

    pairs = found.pairs
    for value, residual, status in zip(
        pairs.values.tolist(), pairs.residuals.tolist(), pairs.status.tolist(), strict=True
    ):
        table.add_row(f"{value:.8g}", f"{residual:.1e}", Status(status).label)
    return table


def _threshold(found: "Diagnosis") -> str:
    if not found.index:
        return "No eigenvalue looked at is negative beyond its residual."
    more = ", and there may be more" if 2 * found.index >= len(found.pairs.values) else ""
    return (
        f"{found.index} negative{more}. USAM's threshold for the lowest: rho = 1/|λ₋| = "
        f"{found.rho_threshold:.6g}"
    )


def _verdicts(found: "Diagnosis") -> RenderableType:
    table = table_of("rule", "edge of λ", "lr·U(λmax)", "limit", "turned", "verdict")
    for each in found.verdicts:
        table.add_row(
            each.rule,
            f"{each.edge:.6g}",
            f"{each.scaled_curvature:.6g}",
            f"{each.limit:.6g}",
            f"{each.turned} of {found.index}",
            f"{each.verdict}. {each.statement}",
        )
    return table


def _mini_batches(found: "Diagnosis") -> list[RenderableType]:
    from samflow.networks.diagnosis import show_mean_square

    rows = zip(found.verdicts, found.mean_square, strict=False)
    lines = [Text(f"{v.rule} in mini-batches: {show_mean_square(m)}") for v, m in rows]
    return [*lines, Text()] if lines else []


def _layers(name: str, found: "Diagnosis", shares: object) -> str:
    parts = sorted(zip(shares.tolist(), found.layers, strict=True), reverse=True)  # pyright: ignore
    shown = ", ".join(f"{layer} {share:.0%}" for share, layer in parts[:_SHOWN_LAYERS])
    return f"{name} in: {shown}"
