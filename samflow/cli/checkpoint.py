"""`samflow checkpoint`: at which step sizes each rule is stable at trained weights."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from samflow.cli import options
from samflow.cli._renaming import renamings, with_remedy
from samflow.cli.output import (
    PICTURE_SUFFIXES,
    RECORD_SUFFIXES,
    TEXT_SUFFIXES,
    checked_path,
    deliver,
    form_of,
    progress,
    say,
    table_of,
    writing,
)

if TYPE_CHECKING:
    from samflow.networks import Interrupted
    from samflow.networks.diagnosis.report import Table

_DRAWN_PROBES, _DRAWN_STEPS = 4, 30
"""Of the density in a picture, unless --density-probes says otherwise: half of the time."""

File = Annotated[
    str,
    typer.Argument(
        help="Trained weights: a file of safetensors, PyTorch, orbax, flax, equinox or npz. No "
        "code in it is run."
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="module:function of your code, which is run. It returns a torch.nn.Module, an equinox "
        "module, (module, state), or a loss of samflow with its data.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="An .npz with the arrays x and y, or module:function that returns (x, y) or a "
        "DataLoader, which is read once. Needed unless --model returns a loss.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option("--group", help="The group of a nested file that holds the weights, as params."),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        help="OLD=NEW: the tensor OLD of the file is NEW in the network. Prefixes that end in a "
        "dot rename all that begin so: model.= removes model. May be repeated.",
    ),
]
LeaveOut = Annotated[
    list[str] | None,
    typer.Option(
        "--leave-out",
        help="A tensor of the file that is not needed, or a prefix of several. May be repeated.",
    ),
]
OptimiserFile = Annotated[
    str | None,
    typer.Option(
        "--optimizer-state",
        help="A file with the state of Adam, AdamW or RMSprop that trained the weights: "
        "torch.save(optimizer.state_dict()), or a checkpoint that holds it, as FILE itself. Each "
        "rule is then also judged with that optimiser. No code in it is run.",
    ),
]
OptimiserEntry = Annotated[
    str | None,
    typer.Option(
        "--optimizer-entry",
        help="Where in that file the state is, as optimizer_states.0; without --optimizer-state, "
        "in FILE. Needed only if there are several.",
    ),
]
MaxBytes = Annotated[
    int | None,
    options.whole_option(
        "--max-bytes",
        help="Most memory that the file may fill. By default 256 MiB plus eight times its size.",
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="cross_entropy or squared. By default cross_entropy if the targets are whole numbers, "
        "squared if they are floats.",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="A rule of `samflow rules` without a memory, or a formula. May be repeated. By "
        "default gd, usam and practical-sam.",
    ),
]
ConventionName = Annotated[
    str | None,
    typer.Option(
        "--convention",
        help="Follow an implementation of SAM, with its rule and all its conventions: google, "
        "davda54, optax, late-sam, asam, asam-davda54, gcsam or ssam.",
    ),
]
Rho = Annotated[
    float, options.number_option("--rho", help="Radius of the ascent step, greater than 0.")
]
BatchSize = Annotated[
    int | None,
    options.whole_option(
        "--batch-size", help="Also judge stability under the noise of mini-batches of this size."
    ),
]
WeightDecay = Annotated[
    float, options.number_option("--weight-decay", help="Weight decay in the optimiser's step.")
]
LossDecay = Annotated[
    float,
    options.number_option(
        "--loss-weight-decay", help="Weight decay in the loss: it gains half of this times ‖w‖²."
    ),
]
Smoothing = Annotated[
    float,
    options.number_option(
        "--label-smoothing", help="Label smoothing of the loss, from 0 to below 1."
    ),
]
BatchNorm = Annotated[
    str,
    typer.Option(
        "--batch-norm", help="Statistics of batch norm: eval (running ones) or train (the data's)."
    ),
]
Examples = Annotated[
    int | None,
    options.whole_option("--examples", help="Use only this many examples, the first ones."),
]
ChunkSize = Annotated[
    int | None,
    options.whole_option(
        "--chunk-size", help="Process this many examples at a time, to save memory."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option("--dtype", help="Float type in which the network computes: float32 or float64."),
]
Count = Annotated[
    int,
    options.whole_option(
        "-k", "--eigenvalues", help="How many eigenvalues at each end of the Hessian's spectrum."
    ),
]
Probes = Annotated[
    int,
    options.whole_option(
        "--density-probes",
        help="Random probes for the spectral density; 0 leaves it out. A plot takes at least 4.",
    ),
]
TraceProducts = Annotated[
    int,
    options.whole_option(
        "--trace-products",
        help="Hessian-vector products for the trace, at least 6, beside those for eigenvalues.",
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Stop after the first answer: one eigenvalue at each end, to 5 % after 60 "
        "Hessian-vector products at most.",
    ),
]
MaxProducts = Annotated[
    int,
    options.whole_option(
        "--max-products",
        help="Hessian-vector products after which the search for eigenvalues gives up.",
    ),
]
Hold = Annotated[
    bool,
    typer.Option(
        "--hold",
        help="Also sample over directions whether SAM at --rho would hold orbits here, on the loss "
        "itself: some thousand gradients.",
    ),
]
ByLayer = Annotated[
    bool,
    typer.Option(
        "--by-layer",
        help="Also print both ends, the norm and the trace of each layer's block of the Hessian.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the report to this file (.json, .txt), a table of the rules (.csv, "
        ".tex), all arrays (.nc, netCDF), or a plot of the spectrum "
        f"({options.PICTURES}).",
    ),
]


def command(
    context: typer.Context,
    file: File,
    model: Model,
    data: Data = None,
    group: Group = None,
    rename: Rename = None,
    leave_out: LeaveOut = None,
    optimizer_state: OptimiserFile = None,
    optimizer_entry: OptimiserEntry = None,
    max_bytes: MaxBytes = None,
    loss: Loss = None,
    rule: Rules = None,
    convention: ConventionName = None,
    rho: Rho = 0.05,
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
    trace_products: TraceProducts = 16,
    max_products: MaxProducts = 400,
    quick: Quick = False,
    hold: Hold = False,
    by_layer: ByLayer = False,
    json: options.AsJson = False,
    form: options.Form = None,
    output: Output = None,
) -> int:
    """Say for which step sizes GD, SAM and other rules are stable at trained weights.

    The answer is about small perturbations of the weights, along the
    eigenvectors at both ends of the spectrum of the Hessian H. The report also
    says how near the weights are to a critical point: elsewhere they move on by
    themselves. usam is SAM without normalisation and ascends by rho·g;
    practical-sam ascends by rho·g/(‖g‖ + 1e-12). On a terminal a first answer
    is there after some seconds, and better ones follow; Ctrl-C prints the last
    one.
    """
    printed = form_of(json, form)
    path = checked_path(output, (*RECORD_SUFFIXES, *PICTURE_SUFFIXES))
    options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    picture = path is not None and path.suffix in PICTURE_SUFFIXES
    from samflow import Status, networks
    from samflow.cli._own_code import own_code
    from samflow.cli.models import LossSettings, make_loss
    from samflow.networks.conventions import checked
    from samflow.networks.diagnosis.records import DEFAULT_RULES
    from samflow.networks.diagnosis.report import first_line, report, unfinished
    from samflow.records import to_json
    from samflow.spectra.density import NUM_STEPS

    if convention is not None:
        checked(convention)
    settings = LossSettings(loss, label_smoothing, loss_weight_decay, batch_norm, chunk_size, dtype)
    progress("building the model and its loss")
    made = make_loss(model, data, examples, settings)
    names = None if rename is None else renamings(rename)
    try:
        checkpoint = networks.load_checkpoint(
            file,
            made,
            group=group,
            rename=names,
            leave_out=tuple(leave_out or ()),
            max_bytes=max_bytes,
        )
    except networks.MismatchError as error:
        raise with_remedy(error, context) from error
    moments = None
    if optimizer_state is not None or optimizer_entry is not None:
        moments = networks.load_moment(
            optimizer_state or file, made, entry=optimizer_entry, max_bytes=max_bytes
        )
    effort = networks.Effort(
        num_eigenpairs=count,
        max_products=max_products,
        trace_products=trace_products,
        density_probes=max(density_probes, min(_DRAWN_PROBES, made.dim) if picture else 0),
        quick=quick,
        density_steps=_DRAWN_STEPS if picture and not density_probes else NUM_STEPS,
    )
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
                convention=convention,
                effort=effort,
                moments=moments,
                by_layer=by_layer,
                progress=progress,
                answer=lambda found: progress(f"{found.stage}: {first_line(found)}"),
            )
    except networks.Interrupted as interrupt:
        found, stopped = interrupt.found, interrupt
    if picture and stopped is None:
        assert path is not None
        from samflow import plots

        with writing(path):
            plots.save(plots.spectrum(found), path)
    if found is not None:
        parts = report(found) if isinstance(found, networks.Diagnosis) else unfinished(made, found)
        content = list(map(_rendered, parts))
        result: Any = found
        if hold and stopped is None:
            try:
                sampled = networks.sample_sliding(
                    checkpoint.loss, checkpoint.w, rho=rho, pairs=found.pairs, progress=progress
                )
            except KeyboardInterrupt:
                stopped = networks.Interrupted(found, ("S over directions (--hold)",))
            else:
                content += [Text(""), *map(Text, sampled.sentences())]
                told = path is None or path.suffix in TEXT_SUFFIXES
                if told and printed in ("text", "json"):
                    result = to_json({**found.to_dict(), "hold": sampled.to_dict()})
        deliver(content, result, form=printed, path=None if picture else path)
    if stopped is not None:
        return _say_stopped(stopped)
    assert found is not None
    missed = [each for each in found.pairs.status.tolist() if each != Status.located]
    if missed:
        more = f"Allow more than --max-products {max_products}, or ask for fewer with -k."
        say(
            f"{len(missed)} of {len(found.pairs.values)} eigenvalues have too large a residual. "
            + ("Leave out --quick." if quick else more)
        )
        return 1
    return 0


def _say_stopped(stopped: "Interrupted") -> int:
    """Say what an interrupt left out and how to go on; return the exit code."""
    left = f"Not done: {', '.join(stopped.left)}. " if stopped.left else ""
    say(
        f"Interrupted. {left}Go on with the same command and less to do: fewer --examples, "
        "--quick, --trace-products 6, --max-products, -k 1, one --rule."
    )
    return 130


def _rendered(part: "str | Table") -> RenderableType:
    """Return a part of a report as it is printed."""
    if isinstance(part, str):
        return Text(part)
    table = table_of(*part.header)
    for row in part.rows:
        table.add_row(*row)
    return table
