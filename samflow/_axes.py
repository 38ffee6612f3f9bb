"""How a field of a record becomes variables of a Dataset: its axes, unit and words."""

import enum
from collections.abc import Mapping, Sequence
from typing import Any


def axes(
    *names: str,
    units: str = "",
    words: type[enum.Enum] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    prefix: str | None = None,
    rename: Mapping[str, str] | None = None,
    hidden: bool = False,
) -> dict[str, Any]:
    """Return what a field declares; see "Records" in docs/design.md.

    As `eqx.field(metadata=axes("point", units="weight"))` in a record or a dataclass, and as
    `Annotated[tuple[float, ...], axes("weight")]` in a NamedTuple. A property whose return type
    is annotated so counts as a field.

    Args:
        names: of the trailing axes of an array; of a tuple of structures the name of its axis.
        units: "step", "1/step", "weight", "loss", "1", ...
        words: of integer codes the enumeration that they belong to.
        labels: of an axis the name of each of its entries.
        prefix: of a field that is a structure: what the names of its parts begin with; by default
            the name of the field and an underscore.
        rename: other names for variables and axes, of the field or of its parts; "" leaves
            a variable out. A property that gets the name of a field takes its place.
        hidden: leave it out, because another field says the same.

    """
    declared = {"axes": names, "units": units, "words": words, "prefix": prefix, "hidden": hidden}
    return declared | {"labels": dict(labels or {}), "rename": dict(rename or {})}
