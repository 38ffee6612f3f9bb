"""`samflow checkpoint`: where trained weights sit on their loss, and what SAM will do to them."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli.output import checked_path, deliver, indented, progress, say, table_of, writing

if TYPE_CHECKING:
    from samflow.networks import Checkpoint, Diagnosis, Interrupted, MismatchError
    from samflow.spectra.spectrum import Eigenpairs

_PICTURES = (".pdf", ".png", ".svg")
_SHOWN_LAYERS = 5
_DRAWN_PROBES, _DRAWN_STEPS = 4, 30
"""Of the density in a picture, unless --density-probes says otherwise: half of the time."""

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
    typer.Option(
        "--rename",
        help="OLD=NEW: a name in the file and the network's, or their beginnings up to a dot, as "
        "model.= to take model. off; may repeat.",
    ),
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
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="cross_entropy or squared; by default cross_entropy for targets that are whole "
        "numbers, and squared for floats.",
    ),
]
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
TraceProducts = Annotated[
    int,
    options.whole_option("--trace-products", help="Hessian-vector products for the trace, 6 up."),
]
MaxProducts = Annotated[
    int,
    options.whole_option(
        "--max-products", help="Hessian-vector products after which the eigenvalues are given up."
    ),
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
    context: typer.Context,
    file: File,
    model: Model,
    data: Data = None,
    key: Key = None,
    rename: Rename = None,
    leave_out: LeaveOut = None,
    max_bytes: MaxBytes = None,
    loss: Loss = None,
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
    trace_products: TraceProducts = 60,
    max_products: MaxProducts = 400,
    json: options.AsJson = False,
    output: Output = None,
) -> int:
    """Say where a checkpoint sits, its extreme curvature, and what each rule would do to it."""
    path = checked_path(output, (".json", ".txt", *_PICTURES))
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    picture = path is not None and path.suffix in _PICTURES
    from samflow import networks
    from samflow.cli._own_code import own_code
    from samflow.cli.models import Settings, make_loss
    from samflow.networks.conventions import checked
    from samflow.networks.diagnosis import DEFAULT_RULES
    from samflow.spectra.density import NUM_STEPS

    if like is not None:
        checked(like)
    settings = Settings(loss, label_smoothing, loss_weight_decay, batch_norm, chunk_size, dtype)
    progress("building the model and its loss")
    made = make_loss(model, data, examples, settings)
    names = None if rename is None else _renamings(rename)
    try:
        checkpoint = networks.load_checkpoint(
            file, made, key=key, rename=names, leave_out=tuple(leave_out or ()), max_bytes=max_bytes
        )
    except networks.MismatchError as error:
        raise _with_remedy(error, context) from error
    stopped: networks.Interrupted | None = None
    try:
        with own_code(f"--model {model}"):
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
                max_products=max_products,
                trace_products=trace_products,
                density_probes=_probes(density_probes, picture, made.dim),
                density_steps=NUM_STEPS if density_probes or not picture else _DRAWN_STEPS,
                progress=progress,
            )
    except networks.Interrupted as interrupt:
        found, stopped = interrupt.found, interrupt
    if picture and stopped is None:
        assert path is not None
        from samflow import plots

        with writing(path):
            plots.save(plots.spectrum(found), path)
    path = None if picture else path
    if isinstance(found, networks.Diagnosis):
        deliver(render(checkpoint, found), found.to_json(), as_json=json, path=path)
    elif found is not None:
        text = found.to_json()
        deliver(_unfinished(checkpoint, found), text, as_json=json, path=path)
    if stopped is not None:
        return _say_stopped(stopped)
    assert isinstance(found, networks.Diagnosis)
    missed = [each for each in found.pairs.status.tolist() if each != _located()]
    if missed:
        say(
            f"{len(missed)} of {len(found.pairs.values)} eigenvalues have too large a residual. "
            f"Allow more than --max-products {max_products}, or ask for fewer with -k."
        )
        return 1
    return 0


def _probes(asked: int, picture: bool, dim: int) -> int:
    """Return how many probes of the density are taken: a picture needs some."""
    return max(asked, min(_DRAWN_PROBES, dim)) if picture else asked


def _say_stopped(stopped: "Interrupted") -> int:
    """Say what an interrupt left out and how to go on; return the exit code."""
    left = f"Not done: {', '.join(stopped.left)}. " if stopped.left else ""
    say(
        f"Interrupted. {left}Go on with the same command and less to do: fewer --examples, "
        "--trace-products 6, --max-products, -k 1, one --rule."
    )
    return 130


def _with_remedy(error: "MismatchError", context: typer.Context) -> Exception:
    """Return the error with the whole command line that loads the file, where it is known."""
    from samflow import _checks

    more = [f"--rename={old}={new}" for old, new in error.rename.items()]
    more += [f"--leave-out={name}" for name in error.leave_out]
    if not more:
        return _checks.ArgumentError(f"{error.problem}.")
    line = shlex.join(["samflow", "checkpoint", *_given(context), *more])
    return _checks.ArgumentError(f"{error.problem}. Use: {line}")


def _given(context: typer.Context) -> list[str]:
    """Return the arguments of this call as they would be typed."""
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source, value = context.get_parameter_source(name), context.params.get(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        if parameter.param_type_name == "argument":
            words.insert(0, str(value))
        elif isinstance(value, bool):
            words += [parameter.opts[0]] if value else []
        else:
            each = value if isinstance(value, (list, tuple)) else [value]
            words += [word for one in each for word in (parameter.opts[0], str(one))]
    return words


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
    beginnings = all(part == "" or part.endswith(".") for part in (old, new)) and old != new
    if not equals or not ((old and new) or beginnings):
        raise _checks.ArgumentError(
            "Argument `--rename` must be OLD=NEW, as fc.weight=layers.0.weight, or beginnings up "
            f"to a dot, as model.= to take model. off, but is {given!r}."
        )
    return old, new


def _located() -> int:
    from samflow import Status

    return int(Status.located)


def render(checkpoint: "Checkpoint", found: "Diagnosis") -> list[RenderableType]:
    """Return a diagnosis as it is printed."""
    lines: list[RenderableType] = [Text(checkpoint.source, style="bold")]
    lines += [indented(Text(note)) for note in checkpoint.notes]
    criterion, head, place, *_ = str(found).splitlines()
    lines += [Text(head), Text(place), Text()]
    return [
        Text(criterion),
        *lines,
        *_eigenvalues(found.pairs),
        *([] if found.trace is None else [Text(f"{found.trace}")]),
        Text(_threshold(found)),
        Text(),
        _verdicts(found),
        Text(),
        *_mini_batches(found),
        Text(_layers("sharpest direction", found, found.top_shares)),
        Text(_layers("lowest direction", found, found.bottom_shares)),
        *(Text(note) for note in found.notes),
    ]


def _unfinished(checkpoint: "Checkpoint", pairs: "Eigenpairs") -> list[RenderableType]:
    """Return the eigenvalues as a search has them that was stopped."""
    lines: list[RenderableType] = [Text(checkpoint.loss.criterion), Text(checkpoint.source)]
    return [
        *lines,
        Text("Eigenvalues so far, each within its residual of one:"),
        *_eigenvalues(pairs),
    ]


def _eigenvalues(pairs: "Eigenpairs") -> list[RenderableType]:
    table = table_of("eigenvalue of H", "residual", "")
    from samflow import Status

    for value, residual, status in zip(
        pairs.values.tolist(), pairs.residuals.tolist(), pairs.status.tolist(), strict=True
    ):
        table.add_row(f"{value:.8g}", f"{residual:.1e}", Status(status).label)
    how = {"dense": "from the whole Hessian", "lanczos": "by Lanczos"}[pairs.method]
    return [table, Text(f"{how}, {pairs.num_products} products")]


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
