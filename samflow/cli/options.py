"""Options that several commands take, and how their texts become losses, rules, points, boxes."""

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samflow._text import is_formula
from samflow.cli.output import PICTURE_SUFFIXES, say

if TYPE_CHECKING:
    import numpy as np

    from samflow._types import Box
    from samflow.losses import AbstractLoss
    from samflow.systems import Flow, Map


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"it must be a number, but is {text!r}") from error


def _whole_number(text: str | int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"it must be a whole number, but is {text!r}") from error


def number_option(*names: str, help: str) -> Any:
    """Return an option that takes a number, and repeats what it was given where it is none."""
    return typer.Option(*names, help=help, parser=_number, metavar="NUMBER")


def whole_option(*names: str, help: str, default: str | bool = True) -> Any:
    """Return an option that takes a whole number; `default` is what help says of it, if words."""
    return typer.Option(
        *names, help=help, parser=_whole_number, metavar="NUMBER", show_default=default
    )


Loss = Annotated[
    str,
    typer.Option(
        "--loss", help='Name of a loss, see `samflow losses`; or a formula such as "x**2 - y**2".'
    ),
]
Rule = Annotated[
    str,
    typer.Option(
        "--rule",
        help="Name of a rule, such as gd, usam or sam; or a formula such as "
        '"g(w + rho*g)". See `samflow rules` for both.',
    ),
]
Rho = Annotated[float, number_option("--rho", help="Radius of the ascent step, at least 0.")]
LearningRate = Annotated[float, number_option("--lr", help="Step size, greater than 0.")]
Momentum = Annotated[
    float, number_option("--momentum", help="Heavy-ball momentum, at least 0 and below 1.")
]
BoxText = Annotated[
    str | None,
    typer.Option(
        "--box",
        help="Box to search: -4,4 for every weight, or one pair per weight, such as -4,4,-3,3. By "
        "default the domain of the loss, or -3,3.",
    ),
]
Eigenvalues = Annotated[
    str | None,
    typer.Option(
        "--eigenvalues", help="For --loss saddle: eigenvalues of its Hessian, such as 1,-2."
    ),
]
Dim = Annotated[
    int | None,
    whole_option("--dim", help="Number of weights, for losses that exist in any dimension."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="What to print: text, json, csv, latex (a table with booktabs), or bibtex (the papers "
        "whose formulas the result rests on).",
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="File to write to instead of stdout: .json or .txt."),
]

OutputOfRecord = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="File to write to instead of stdout: .json, .txt, a table in .csv or .tex (LaTeX with "
        "booktabs), or all arrays in .nc (netCDF).",
    ),
]

PICTURES = f"{', '.join(PICTURE_SUFFIXES[:-1])} or {PICTURE_SUFFIXES[-1]} (needs LaTeX)"
"""How help texts list the formats of pictures."""

_FILES: Any = typer.Option(
    "--output",
    "-o",
    help=f"File for the picture: {PICTURES}; or for the result: .json, .txt, a table in .csv or "
    ".tex (LaTeX with booktabs), or all arrays in .nc (netCDF). Repeat the option for several.",
)
OutputsIfAny = Annotated[list[str] | None, _FILES]

Journal = Annotated[
    str | None,
    typer.Option(
        "--journal",
        help="For the picture: column width and fonts of icml, neurips, iclr, jmlr, tmlr, aps, "
        "ieee, siam, nature, springer, elsevier, pmlr or aistats.",
    ),
]

RhoRange = Annotated[
    str, typer.Option("--rho", help="Radius: lowest and highest, such as 0,0.3; or one number.")
]
LrRange = Annotated[
    str, typer.Option("--lr", help="Step size: lowest and highest, such as 0.001,0.05; or one.")
]
MomentumRange = Annotated[
    str, typer.Option("--momentum", help="Momentum: lowest and highest, such as 0,0.9; or one.")
]
OtherRanges = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Another number of the rule or of the loss, such as eps=0.1, or eps=0.1,1 for a "
        "range. Can be repeated.",
    ),
]
RangeResolution = Annotated[
    int, whole_option("--resolution", help="How many values each range has.")
]

_HALF_WIDTH = 3.0
MOST_SEED = 2**63


def checked_journal(name: str | None) -> str | None:
    """Return the name given with --journal if it is known: ask before any work is done."""
    if name is None:
        return None
    from samflow import _checks
    from samflow.plots import JOURNALS

    return _checks.known("journal", name.strip().lower(), JOURNALS)


def make_loss(source: str, *, dim: int | None = None, eigenvalues: str | None = None) -> Any:
    """Return the loss that --loss, --dim and --eigenvalues describe."""
    from samflow import _checks, losses

    name = source.strip()
    if re.fullmatch("[A-Za-z]{2,}(-[A-Za-z]+)+", name):
        # Words with hyphens are a name as people type it, and no difference of variables.
        name = source = _checks.known("loss", name.replace("-", "_"), losses.ZOO)
    if eigenvalues is not None:
        if name != "saddle":
            raise _checks.ArgumentError(
                f"Argument `--eigenvalues` needs `--loss saddle`, but the loss is {source!r}."
            )
        if dim is not None:
            raise _checks.ArgumentError(
                "Argument `--dim` cannot be given with `--eigenvalues`, whose number is the "
                "dimension. Leave it out."
            )
        return losses.saddle(numbers("--eigenvalues", eigenvalues))
    if dim is not None:
        takers = [n for n, f in losses.ZOO.items() if "dim" in inspect.signature(f).parameters]
        if name not in takers:
            raise _checks.ArgumentError(
                "Argument `--dim` needs a loss that exists in any dimension "
                f"({', '.join(takers)}), but the loss is {source!r}."
            )
        factory: Any = losses.ZOO[name]
        return factory(dim=dim)
    return losses.loss(source)


def make_map(loss: "AbstractLoss", rule: str, *, rho: float, lr: float, momentum: float) -> "Map":
    """Return the map that --rule, --rho, --lr and --momentum describe."""
    import samflow as sf

    check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
    return sf.Map(loss, sf.rule(rule, rho=rho), lr=lr, momentum=momentum)


def make_flow(loss: "AbstractLoss", rule: str, *, rho: float) -> "Flow":
    """Return the flow that --rule and --rho describe."""
    import samflow as sf

    check_hyperparameters(rho=rho)
    return sf.Flow(loss, sf.rule(rule, rho=rho))


def check_hyperparameters(*, rho: float, lr: float = 1.0, momentum: float = 0.0) -> None:
    """Refuse numbers out of range, by the names that the options have."""
    from samflow import _checks

    _checks.nonnegative("--rho", rho, "It is the radius of the ascent step.")
    _checks.positive("--lr", lr, "It is the step size.")
    _checks.fraction("--momentum", momentum, "Give 0 for none.")


def check_seed(seed: int) -> None:
    """Refuse a seed that is no key of random numbers."""
    from samflow import _checks

    if isinstance(seed, int) and seed >= MOST_SEED:
        raise _checks.ArgumentError(
            f"Argument `--seed` must be below 2⁶³, but is {_checks.excerpt(seed)}."
        )
    _checks.count("--seed", seed, minimum=0, maximum=MOST_SEED)


def make_box(text: str | None, loss: "AbstractLoss", name: str = "--box") -> "Box":
    """Return the box that an option describes, or the one to look in without it."""
    from samflow import _checks

    if text is not None:
        ends = numbers(name, text)
        if len(ends) == 2:
            ends = ends * loss.dim
        if len(ends) != 2 * loss.dim:
            raise _checks.ArgumentError(
                f"Argument `{name}` must be low,high, or one such pair for each of {loss.dim} "
                f"weights, but has {len(ends)} numbers: {text!r}."
            )
        return _checks.box(name, list(zip(ends[::2], ends[1::2], strict=True)), loss.dim)
    if loss.domain is not None:
        return loss.domain
    box = ((-_HALF_WIDTH, _HALF_WIDTH),) * loss.dim
    say(
        f"Searching {show_box(box)}, because {loss.name} has no domain of its own. Change the box "
        "with --box."
    )
    return box


def make_point(name: str, text: str, loss: "AbstractLoss") -> list[float]:
    """Return the point that `text` spells, one number a weight, inside the loss's domain."""
    from samflow import _checks

    point = numbers(name, text)
    if len(point) != loss.dim:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be {loss.dim} numbers separated by commas, one for each "
            f"weight of {loss.name}, but has {len(point)}: {text!r}."
        )
    _checks.point(name, point, loss.dim)
    _checks.inside(name, point, loss.domain)
    return point


def make_range(name: str, text: str) -> tuple[float, float]:
    """Return the two numbers that `text` spells, the lower first."""
    from samflow import _checks

    ends = numbers(name, text)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be two numbers, the lower first, such as 0,2, but is {text!r}."
        )
    return ends[0], ends[1]


def make_row(name: str, text: str, resolution: int) -> "np.ndarray":
    """Return the number that `text` spells, or so many evenly spaced ones of a range low,high."""
    import numpy as np

    ends = numbers(name, text)
    return np.array(ends[0]) if len(ends) == 1 else np.linspace(*make_range(name, text), resolution)


def make_numbers(
    named: dict[str, str], others: Sequence[str], resolution: int
) -> tuple[dict[str, Any], list[str]]:
    """Return a number or a row of numbers by its name, and the options that are ranges.

    Args:
        named: the texts of --rho, --lr, --momentum.
        others: texts of --set: name=value or name=low,high.
        resolution: how many values a range has.

    """
    from samflow import _checks

    named = dict(named)
    for text in others:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise _checks.ArgumentError(
                f"Argument `--set` must be name=value or name=low,high, but is {text!r}."
            )
        named[f"--set {name}"] = value
    checks = {
        "--rho": _checks.nonnegative,
        "--lr": _checks.positive,
        "--momentum": _checks.fraction,
    }
    found, ranges = {}, []
    for option, text in named.items():
        values = make_row(option, text, resolution)
        for value in (values.min(), values.max()) if option in checks else ():
            checks[option](option, value)
        ranges += [option] if values.ndim else []
        found[option.removeprefix("--").removeprefix("set ")] = values
    return found, ranges


def rule_with(name: str, numbers: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the rule, and the numbers that it has; a rule without rho needs none."""
    import samflow as sf
    from samflow.rules import read_formula

    names = read_formula(name).names if is_formula(name) else ()
    own = {each: float(numbers[each].max()) for each in {"rho", *names} if each in numbers}
    rule = sf.rule(name, **own)
    if not hasattr(rule, "rho") and not numbers["rho"].ndim:
        numbers = {key: value for key, value in numbers.items() if key != "rho"}
    return rule, numbers


def rule_names(text: str) -> list[str]:
    """Return the rules that `text` lists, with commas between them that are in no formula."""
    names, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth <= 0:
            names.append("")
        else:
            names[-1] += sign
    return [name.strip() for name in names]


def numbers(name: str, text: str) -> list[float]:
    """Return the numbers that `text` lists with commas between them."""
    from samflow import _checks

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be numbers separated by commas, such as 2,-0.5, but is "
            f"{text!r}."
        ) from error


def show_box(box: "Box") -> str:
    """Return a box as it is written in mathematics."""
    return " × ".join(f"[{low:g}, {high:g}]" for low, high in box)


def show_point(w: Sequence[float]) -> str:
    """Return a point as it is written in mathematics."""
    return "(" + ", ".join(f"{x:.6g}" for x in w) + ")"
