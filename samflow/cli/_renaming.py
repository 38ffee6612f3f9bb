"""Names of tensors on the command line: what --rename gives, and what it should have been."""

import shlex
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from samflow.networks import MismatchError


def with_remedy(error: "MismatchError", context: typer.Context) -> Exception:
    """Return the error with the whole command line that loads the file, where it is known."""
    from samflow import _checks

    more = [f"--rename={old}={new}" for old, new in error.rename.items()]
    more += [f"--leave-out={name}" for name in error.leave_out]
    if not more:
        return _checks.ArgumentError(f"{error.problem}.")
    line = shlex.join(["samflow", context.info_name or "checkpoint", *_given(context), *more])
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
            words[:0] = map(str, value if isinstance(value, (list, tuple)) else [value])
        elif isinstance(value, bool):
            words += [parameter.opts[0]] if value else []
        else:
            each = value if isinstance(value, (list, tuple)) else [value]
            words += [word for one in each for word in (parameter.opts[0], str(one))]
    return words


def renamings(given: list[str]) -> dict[str, str]:
    """Return the new names by the old ones, as OLD=NEW gives them.

    Raises:
        ArgumentError: for other texts, and for an old name that is given twice.

    """
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
