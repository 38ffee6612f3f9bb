"""Structures of numbers and words as JSON, from which they come back with every bit."""

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np

_CLASS, _ARRAY = "class", "array"


def to_plain(value: Any) -> Any:
    """Return NamedTuples, enumerations, arrays, tuples, numbers and words as what JSON knows."""
    if isinstance(value, enum.Enum):
        return {_CLASS: type(value).__name__, "value": value.value}
    if hasattr(value, "_asdict"):
        fields = {name: to_plain(each) for name, each in value._asdict().items()}
        return {_CLASS: type(value).__name__, "fields": fields}
    if isinstance(value, (tuple, list)):
        return [to_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return {_ARRAY: value.tolist(), "dtype": value.dtype.name, "shape": list(value.shape)}
    return value.item() if isinstance(value, np.generic) else value


def from_plain(value: Any, classes: Mapping[str, Any]) -> Any:
    """Return the structures that `to_plain` was given, of the classes named; lists as tuples."""
    if isinstance(value, list):
        return tuple(from_plain(each, classes) for each in value)
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return np.array(value[_ARRAY], value["dtype"]).reshape(value["shape"])
    made = classes[value[_CLASS]]
    if "value" in value:
        return made(value["value"])
    return made(**{name: from_plain(each, classes) for name, each in value["fields"].items()})
