"""The record of a diagnosis, and how it reads.

The answer comes first, then the numbers that carry it, then the caveats.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from samflow._status import Status
from samflow._types import NumpyArray, Scalar
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.diagnosis.advice import advice, floored, listed
from samflow.networks.diagnosis.preconditioned import Preconditioned
from samflow.networks.diagnosis.records import FIRST, WHOLE, Nearness, RuleStability
from samflow.noise.interpolation.directional import MeanSquareAlong
from samflow.noise.interpolation.mean_square import NORMAL_95, MeanSquareRate
from samflow.records import AbstractRecord, Names, Provenance, axes
from samflow.spectra.blocks import BlockSpectra
from samflow.spectra.curvature import Trace
from samflow.spectra.density import SpectralDensity
from samflow.spectra.differences import Difference
from samflow.spectra.spectrum import Eigenpairs

_SHOWN_LAYERS = 5
_EXACT = 1e-6
"""An error below this part of a number is not seen in six digits."""
_VERDICTS = {
    "stable": "stable in every direction measured",
    "neutral": "stable in every direction measured except the neutral ones",
    "unstable": "unstable",
    "unresolved": "unresolved (a perturbation grows, but more slowly than the weights move)",
    "undecided": "undecided (see the statements below)",
}
_LEGEND = (
    "Curvature is the rule's effective curvature U: λ for gd, λ(1 + rho λ) for usam.",
    "lr below: the lr below which every direction of positive curvature is stable.",
    "edge of λ: the largest eigenvalue of H at which the rule is stable near a minimum.",
    "lr·U: of the sharpest direction, which is stable below the limit.",
    "λ < 0 held: of the negative eigenvalues, those along which the rule attracts.",
)


class Diagnosis(AbstractRecord):
    """Where a checkpoint sits and what each rule does there.

    Attributes:
        stage: "first answer" (one eigenvalue at each end, mostly to 5 %), "ends" (all eigenvalues
            and rules) or "whole".
        criterion: one line about the loss that was taken.
        nearness: how near the weights are to a critical point, and what that means.
        lr: the step size.
        loss: L(w).
        error: share of examples misclassified; NaN for targets that are no classes.
        dim: number of weights.
        num_examples: number of examples.
        pairs: the k most negative and the k largest eigenvalues of H, with residuals.
        index: how many of the eigenvalues looked at are negative beyond their residual; if it is
            all of the k lowest, there may be more.
        rho_threshold: 1/|λ₋| of the most negative eigenvalue: USAM with a larger rho climbs along
            it, and is attracted up to the upper end of its `rho_window`. NaN without negative
            eigenvalues.
        neutral: how many of the eigenvalues looked at are 0 to rounding.
        trace: tr H, with an interval; None where an interrupt came before.
        density: the spectral density; None where it was not asked for.
        blocks: ends, norm and trace of the block of each layer; None where not asked for.
        rules: what each rule does, one entry per rule.
        mean_square: of mini-batches, one entry per rule in the order of `rules`: the exact rate
            where the problem is small enough, else a bound along the sharpest direction; None for
            a rule or a map that has none. Empty without a batch size.
        layers: names of the weight arrays.
        top_shares: of the squared length of the sharpest direction in each array; they sum to 1.
        bottom_shares: the same for the most negative eigenvector.
        mismatch: by how much, relatively, a difference of gradients along the sharpest direction is
            another vector than Hv; what is expected of rounding is noted where it is more.
        without_gradient: the weight arrays whose gradient is exactly 0; `notes` say why.
        notes: what else should be known, as kinks that the Hessian does not see.
        adaptive: what each rule does with the optimiser whose moments were given; None without.

    """

    basis: ClassVar[Names] = ("checkpoint", "effective curvature", "sam edge")
    rows: ClassVar[Names] = ("rule",)
    printed: ClassVar[Names] = (
        "rule",
        "stability",
        "largest_lr",
        "edge",
        "scaled_curvature",
        "limit",
        "stabilised",
    )
    stage: str = eqx.field(static=True)
    criterion: str = eqx.field(static=True)
    nearness: Nearness = eqx.field(static=True)
    lr: float = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    num_examples: int = eqx.field(static=True)
    index: int = eqx.field(static=True)
    neutral: int = eqx.field(static=True)
    rho_threshold: float = eqx.field(static=True)
    mismatch: float = eqx.field(static=True)
    without_gradient: tuple[str, ...] = eqx.field(
        static=True, metadata=axes("array_without", rename={"without_gradient": "array_without"})
    )
    layers: tuple[str, ...] = eqx.field(
        static=True, metadata=axes("array", rename={"layers": "array"})
    )
    notes: tuple[str, ...] = eqx.field(static=True, metadata=axes("note", rename={"notes": "note"}))
    provenance: Provenance = eqx.field(static=True)
    rules: tuple[RuleStability, ...] = eqx.field(
        metadata=axes("rule", prefix="", rename={"neutral": "neutral_directions"})
    )
    mean_square: tuple[MeanSquareRate | MeanSquareAlong | None, ...] = eqx.field(
        metadata=axes("rule")
    )
    pairs: Eigenpairs
    trace: Trace | None = eqx.field(metadata=axes(rename={"probe": "trace_probe"}))
    density: SpectralDensity | None = eqx.field(metadata=axes(rename={"probe": "density_probe"}))
    blocks: BlockSpectra | None
    loss: Scalar = eqx.field(metadata=axes(units="loss"))
    error: Scalar = eqx.field(metadata=axes(units="1"))
    top_shares: Float[Array, " arrays"] = eqx.field(metadata=axes("array"))
    bottom_shares: Float[Array, " arrays"] = eqx.field(metadata=axes("array"))
    adaptive: Preconditioned | None = None

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue."""
        return float(self.pairs.values[-1])

    @property
    def unstable(self) -> tuple[str, ...]:
        """The rules under which a perturbation grows."""
        return tuple(each.rule for each in self.rules if each.stability == "unstable")

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists, without eigenvectors, which have dim entries."""
        pairs = {name: v for name, v in self.pairs.to_dict().items() if name != "vectors"}
        return super().to_dict() | {"pairs": pairs}

    def __str__(self) -> str:
        """Return the report as text, the answer first."""
        return as_text(report(self))


class Table(NamedTuple):
    """Names of texts under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_text(parts: Iterable[str | Table]) -> str:
    """Return a report as plain text, with the columns of tables aligned."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
            continue
        rows = (part.header, *part.rows)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def report(found: Diagnosis) -> list[str | Table]:
    """Return the parts of a report of a diagnosis."""
    error = float(found.error)
    return [
        *_opening(found),
        *_stage(found),
        *_answer(found),
        found.nearness.statement,
        "",
        found.criterion,
        f"Weights: {dict(found.provenance)['source']}",
        f"{found.dim} weights, {found.num_examples} examples: loss {float(found.loss):.6g}"
        + ("" if math.isnan(error) else f", error {error:.2%}"),
        "",
        *_eigenvalues(found.pairs),
        *([] if found.trace is None else [str(found.trace)]),
        _threshold(found),
        "",
        *_stability(found),
        *_mini_batches(found),
        _layers("sharpest direction", found, found.top_shares),
        _layers("lowest direction", found, found.bottom_shares),
        *([] if found.blocks is None else _blocks(found.blocks)),
        *([""] if found.notes else []),
        *found.notes,
    ]


def _blocks(found: BlockSpectra) -> list[str | Table]:
    """Return the table of the diagonal blocks of the layers, each beside the whole Hessian."""
    columns = (found.smallest, found.largest, found.norms, found.traces, found.trace_errors)
    rows = [
        (
            name,
            str(int(size)),
            *(f"{float(value):.5g}" for value in values),
            Status(int(code)).label,
        )
        for name, size, code, *values in zip(
            found.names, found.sizes, found.status, *columns, strict=True
        )
    ]
    header = ("layer", "weights", "lowest λ", "largest λ", "norm", "trace", "±", "status")
    said = "Diagonal blocks of H by layer; ± is the standard error of the trace:"
    return ["", said, Table(header, tuple(rows))]


def _opening(found: Diagnosis) -> list[str]:
    """Return the answer: of the optimiser that trained the weights, if its moments are known."""
    if found.adaptive is None:
        return [first_line(found)]
    return [*found.adaptive.statements(), f"Without {found.adaptive.base}: {first_line(found)}"]


def first_line(found: Diagnosis) -> str:
    """Return the answer in one sentence."""
    return advice(found.lr, found.rules, found.pairs, found.nearness)


def unfinished(loss: AbstractNetworkLoss, pairs: Eigenpairs) -> list[str | Table]:
    """Return the parts of a report of a search for eigenvalues that was stopped."""
    return [
        "The search for eigenvalues was stopped; no rule was measured.",
        loss.criterion,
        "Eigenvalues so far; the Hessian has one within the residual of each:",
        *_eigenvalues(pairs),
    ]


def _stage(found: Diagnosis) -> list[str]:
    """Return what is known so far, of a record that is not whole."""
    if found.stage == WHOLE:
        return []
    if found.stage != FIRST:
        return ["Only eigenvalues and rules were computed, and no trace or later stage."]
    return [f"This is the first answer: {ends(found)}."]


def ends(found: Diagnosis) -> str:
    """Return both ends of the spectrum with their residuals, and the products they took.

    A residual shows that an eigenvalue is near, not that it is the last one.
    """
    values, residuals = np.asarray(found.pairs.values), np.asarray(found.pairs.residuals)
    (low, below), (high, above) = (carried(values[i], residuals[i], 4) for i in (0, -1))
    return (
        f"H has an eigenvalue within {below} of {low}, the lowest found, and one within {above} of "
        f"{high}, the largest found, after {found.pairs.num_products} products"
    )


def carried(value: float, error: float, most: int) -> tuple[str, str]:
    """Return a number with the digits that its error leaves, and within what it is then."""
    value, error = float(value), float(error)
    digits = most
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value:.{digits}g}", f"{error:.1g}"
    if value and error:
        places = math.floor(math.log10(abs(value))) - math.floor(math.log10(error))
        digits = min(max(places + 1, 1), most)
    text = f"{value:.{digits}g}"
    return text, _ceiled(error + abs(float(text) - value))


def _ceiled(error: float) -> str:
    """Return one digit of an error, rounded up: a bound must not be rounded down."""
    if error <= 0:
        return "0"
    unit = 10.0 ** math.floor(math.log10(error))
    return f"{math.ceil(error / unit * (1 - 1e-9)) * unit:.1g}"


def _answer(found: Diagnosis) -> list[str]:
    """Return what each rule does at the step size, and the step sizes at which it is stable."""
    if not found.rules:
        return ["No rule was measured."]
    names: dict[str, list[str]] = {}
    for each in found.rules:
        names.setdefault(_behaviour(each), []).append(each.rule)
    said = [
        f"{listed(rules)} {'is' if len(rules) == 1 else 'are'} {what}"
        for what, rules in names.items()
    ]
    text = f"At lr = {found.lr:g}, {'; '.join(said)}"
    if found.nearness.level == "far":
        text += "; this is about perturbations of weights that are not near a critical point"
    return [f"{text}.", *_step_sizes(found.rules)]


def _behaviour(rule: RuleStability) -> str:
    """Return the verdict in words, with the 2-cycle that an unstable SAM ends on."""
    swings = bool(rule.measured[np.argmax(rule.growth)] > 0)
    if rule.stability == "unstable" and swings and math.isfinite(rule.cycle_radius):
        radius = f"{rule.cycle_radius:.3g}"
        return f"unstable (up to a 2-cycle of radius {radius} along the sharpest direction)"
    return _VERDICTS[rule.stability]


def _step_sizes(rules: Sequence[RuleStability]) -> list[str]:
    """Return for each rule the step sizes at which the directions measured are stable."""
    below = [f"lr < {floored(r.largest_lr)} for {r.rule}" for r in rules if r.largest_lr > 0]
    unknown = [each.rule for each in rules if math.isnan(each.largest_lr)]
    repelling = [f"{r.num_repelling} for {r.rule}" for r in rules if r.num_repelling]
    doubtful = [f"{r.num_open} for {r.rule}" for r in rules if r.num_open]
    text = []
    if below:
        which = "of positive curvature" if repelling or doubtful else "measured"
        which += " that is not neutral" if any(r.neutral for r in rules) else ""
        text.append(f"Every direction {which} is stable if {listed(below)}.")
    if unknown:
        text.append(f"No bound on lr is known for {listed(unknown)}.")
    if repelling:
        text.append(f"Directions of negative curvature repel at every lr: {listed(repelling)}.")
    if doubtful:
        text.append(f"Directions whose residuals leave the sign open: {listed(doubtful)}.")
    return text


def _eigenvalues(pairs: Eigenpairs) -> list[str | Table]:
    """Return the table of eigenvalues, and how they were found."""
    rows = zip(pairs.values.tolist(), pairs.residuals.tolist(), pairs.status.tolist(), strict=True)
    texts = tuple((carried(v, r, 8)[0], f"{r:.1e}", Status(s).label) for v, r, s in rows)
    how = {"dense": "from the whole Hessian", "lanczos": "by Lanczos"}[pairs.method]
    table = Table(("eigenvalue of H", "residual", "status"), texts)
    return [table, f"{how}, {pairs.num_products} Hessian-vector products"]


def _threshold(found: Diagnosis) -> str:
    if not found.index:
        return "No eigenvalue measured is negative beyond its residual."
    more = ", and there may be more" if 2 * found.index >= len(found.pairs.values) else ""
    least, residual = float(found.pairs.values[0]), float(found.pairs.residuals[0])
    # Over the residual λ₋ is of one sign: 1/|λ₋| is off by at most r/(|λ₋|(|λ₋| − r)).
    error = residual / (abs(least) * (abs(least) - residual)) if abs(least) > residual else np.inf
    value, within = carried(found.rho_threshold, error, 6)
    doubt = f" ± {within}" if error > _EXACT * found.rho_threshold else ""
    lowest = "the lowest" if found.pairs.method == "dense" else "the lowest found"
    return (
        f"Negative eigenvalues measured: {found.index}{more}. At a critical point USAM is "
        f"attracted along {lowest}, λ₋, only if rho > 1/|λ₋| = {value}{doubt}."
    )


def _stability(found: Diagnosis) -> list[str | Table]:
    if not found.rules:
        return []
    header = ("rule", "verdict", "lr below", "edge of λ", "lr·U", "limit", "λ < 0 held")
    rows = tuple(
        (
            each.rule,
            each.stability,
            "not known" if math.isnan(each.largest_lr) else floored(each.largest_lr),
            _number(each.edge),
            f"{each.scaled_curvature:.6g}",
            f"{each.limit:.6g}",
            f"{each.stabilised} of {found.index}",
        )
        for each in found.rules
    )
    statements = (f"{each.rule}: {each.statement}." for each in found.rules)
    return [Table(header, rows), *_LEGEND, "", *statements, ""]


def _number(value: float) -> str:
    return "no formula" if math.isnan(value) else f"{value:.6g}"


def _mini_batches(found: Diagnosis) -> list[str]:
    rows = zip(found.rules, found.mean_square, strict=False)
    lines = [f"{each.rule} in mini-batches: {_mean_square(square)}" for each, square in rows]
    return [*lines, ""] if lines else []


def _mean_square(found: MeanSquareRate | MeanSquareAlong | None) -> str:
    if found is None:
        return "nothing is known of its mean square here"
    if isinstance(found, MeanSquareAlong):
        return (
            f"{found.stability}, the sharpest direction: its mean-square multiplier "
            f"{found.radius:.6g} ± {NORMAL_95 * found.standard_error:.2g} is a lower bound"
        )
    return str(found)


def _layers(name: str, found: Diagnosis, shares: Any) -> str:
    parts = sorted(zip(np.asarray(shares).tolist(), found.layers, strict=True), reverse=True)
    shown = ", ".join(f"{layer} {share:.0%}" for share, layer in parts[:_SHOWN_LAYERS])
    return f"{name} in: {shown}"


def neutral_note(
    loss: AbstractNetworkLoss, pairs: Eigenpairs, neutral: NumpyArray, shares: NumpyArray
) -> tuple[str, ...]:
    """Name the directions in which H is 0 to rounding, by where most of them lies."""
    if not neutral.any():
        return ()
    values = np.asarray(pairs.values)[neutral]
    where = sorted({loss.weight_names[i] for i in shares[neutral].argmax(axis=1)})
    count, all_ = int(neutral.sum()), len(neutral)
    text = (
        f"{count} of {all_} directions looked at {'is' if count == 1 else 'are'} neutral, with "
        f"λ = 0 to rounding (|λ| ≤ {np.abs(values).max():.2g}), most in {', '.join(where)}: to "
        "first order nothing grows or dies out along them, and whether they hold is open."
    )
    if loss.has_classes and not loss.options.label_smoothing:
        text += " A softmax has such: adding one number to all scores changes nothing."
    return (text,)


def loss_notes(loss: AbstractNetworkLoss, difference: Difference) -> tuple[str, ...]:
    """Return what decides the loss besides weights and data, said aloud."""
    options = loss.options
    decay = f"½·{options.weight_decay:g}·‖w‖² is" if options.weight_decay else "no weight decay is"
    notes = [f"The loss is {options.criterion}; {decay} part of it."]
    if options.label_smoothing:
        notes.append(f"Labels are smoothed by {options.label_smoothing:g}.")
    if options.batch_norm != "none":
        whence = {"eval": "its running statistics", "train": "the statistics of the data at hand"}
        notes.append(f"Batch norm takes {whence[options.batch_norm]}.")
    if options.dtype != "float64":
        notes.append(f"The network computes in {options.dtype}: residuals are limited by that.")
    if loss.kinks:
        notes.append(
            f"Kinks ({', '.join(loss.kinks)}): the Hessian is that of the smooth pieces, and what "
            "happens where a unit switches is not in it."
        )
    if not difference.agrees:
        notes.append(difference.statement(loss.kinks))
    return tuple(notes)
