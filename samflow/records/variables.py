"""Structures of numbers and words, to variables with named dimensions."""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from samflow._axes import axes

LABELS = {"end": ("low", "high")}
"""The entries of an axis that many records have: an interval's ends."""
_YES_NO = {"flag_values": np.array([0.0, 1.0]), "flag_meanings": "no yes"}
_EMPTY = {float: float, int: int, bool: bool, complex: complex, str: "U1"}


_UNDECLARED = axes() | {"axes": None}


class Variable(NamedTuple):
    """An array, a name for each of its axes, and attributes."""

    dims: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]
    labels: dict[str, tuple[str, ...]]


Variables = dict[str, Variable]


class Field(NamedTuple):
    """What a field declares by `axes`, and its annotation."""

    declared: dict[str, Any]
    annotation: Any


def variables_of(structure: Any) -> Variables:
    """Return the variables of a record, a dataclass or a NamedTuple; a field of None has none.

    A structure whose numbers mean nothing in some state, as the ends of an empty window do, says so
    by a method `adjusted_variables`, which returns the variables as they should be.
    """
    found: Variables = {}
    for name, field in fields_of(type(structure)).items():
        parts = _of_field(name, getattr(structure, name), field)
        twice = found.keys() & parts.keys()
        if twice:
            raise ValueError(
                f"{type(structure).__name__} has two variables of the name {min(twice)!r}. Give "
                f"`axes` of field {name!r} another `prefix`, or `rename` the variable."
            )
        found |= parts
    adjusted = getattr(structure, "adjusted_variables", None)
    return found if adjusted is None else adjusted(found)


@functools.cache
def fields_of(cls: type) -> dict[str, Field]:
    """Return the fields of a structure that belong in a Dataset, and the declared properties."""
    found = {}
    metadata = {}
    if dataclasses.is_dataclass(cls):
        metadata = {field.name: field.metadata for field in dataclasses.fields(cls)}
    for name in metadata or vars(cls)["_fields"]:
        field = _annotated(cls.__annotations__[name])
        if "axes" in metadata.get(name, ()):
            field = Field(dict(metadata[name]), field.annotation)
        found[name] = field
    for name, value in vars(cls).items():
        if isinstance(value, property):
            returned = value.fget.__annotations__.get("return")
            if typing.get_origin(returned) is typing.Annotated:
                field = _annotated(returned)
                replaced = field.declared["rename"].get(name, name)
                items = [
                    (name, field) if key == replaced else (key, old) for key, old in found.items()
                ]
                found = {**dict(items), name: field}
    hidden = {name for name, field in found.items() if field.declared["hidden"]}
    return {name: field for name, field in found.items() if name not in hidden | {"provenance"}}


def _annotated(annotation: Any) -> Field:
    if typing.get_origin(annotation) is not typing.Annotated:
        return Field(_UNDECLARED, annotation)
    annotation, declared = typing.get_args(annotation)
    return Field(declared, annotation)


def _is_structure(value: Any) -> bool:
    """Say whether a value has fields; a NamedTuple that is a complex number is a number."""
    if isinstance(value, type) or hasattr(value, "__complex__"):
        return False
    return hasattr(value, "_fields") or dataclasses.is_dataclass(value)


def _of_field(name: str, value: Any, field: Field) -> Variables:
    declared, annotation = field
    names, rename = declared["axes"] or (), declared["rename"]
    prefix = f"{name}_" if declared["prefix"] is None else declared["prefix"]
    if value is None:
        return {}
    if _is_structure(value):
        return _renamed(variables_of(value), prefix, rename)
    if isinstance(value, (tuple, list)):
        item = _item(annotation)
        if any(map(_is_structure, value)) or (value and not any(v is not None for v in value)):
            rows = [{} if each is None else variables_of(each) for each in value]
            return _renamed(stacked(rows, names[0] if names else f"{name}_0"), prefix, rename)
        if not value:
            if item is None:
                return {}
            return _renamed(_none_of(item, names[0] if names else f"{name}_0"), prefix, rename)
    array = as_array(value, declared["words"])
    if array.ndim < len(names):
        if array.size:
            raise ValueError(f"Field {name!r} has {array.ndim} axes, but declares {names}.")
        array = array.reshape(array.shape + (0,) * (len(names) - array.ndim))
    if declared["axes"] is not None:
        more = tuple(f"batch_{i}" for i in range(array.ndim - len(names)))
    else:
        more = tuple(f"{name}_{i}" for i in range(array.ndim))
    attributes = {"units": declared["units"]} if declared["units"] else {}
    labels = {dim: LABELS[dim] for dim in names if dim in LABELS} | declared["labels"]
    return _renamed({name: Variable((*more, *names), array, attributes, labels)}, "", rename)


def _renamed(variables: Variables, prefix: str, rename: Mapping[str, str]) -> Variables:
    found = {}
    for name, (dims, values, attributes, labels) in variables.items():
        dims = tuple(rename.get(dim, dim) for dim in dims)
        labels = {rename.get(dim, dim): entries for dim, entries in labels.items()}
        if rename.get(name) != "":
            found[rename.get(name, prefix + name)] = Variable(dims, values, attributes, labels)
    return found


def as_array(value: Any, words: type[enum.Enum] | None = None) -> np.ndarray:
    """Return numbers as an array; members of enumerations, and codes of `words`, as words."""
    if isinstance(value, (tuple, list)):
        value = [_number_or_word(each) for each in value]
    array = np.asarray(_number_or_word(value))
    shape = array.shape
    if words is not None:
        codes, inverse = np.unique(array, return_inverse=True)
        texts = np.array([str(words(code)) for code in codes.tolist()], dtype=np.str_)
        return texts[inverse].reshape(shape)
    if array.dtype.kind == "V":  # a short float of JAX, which no file knows
        array = array.astype(np.float32)
    if array.dtype == object:  # words, or some are missing
        flat = [_number_or_word(each) for each in array.ravel().tolist()]
        if any(isinstance(each, str) for each in flat):
            array = np.array(["" if each is None else str(each) for each in flat], np.str_)
        else:
            array = np.array([np.nan if each is None else each for each in flat])
        array = array.reshape(shape)
    return array


def _number_or_word(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return str(value)
    if hasattr(value, "is_number"):  # an expression of sympy
        return float(value) if value.is_number else str(value)
    if isinstance(value, typing.SupportsComplex) and isinstance(value, tuple):
        return complex(value)
    return value


def stacked(rows: Sequence[Variables], dim: str) -> Variables:
    """Return the variables of many structures along one axis.

    What a row has not is NaN, or an empty word; so is the rest of an axis along which it is shorter
    than others. Integers become floats then, and booleans 0 and 1, which attributes call no and
    yes.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _stack([row.get(name) for row in rows], dim) for name in names}


def _stack(parts: list[Variable | None], dim: str) -> Variable:
    known = [part for part in parts if part is not None]
    first = max(known, key=lambda part: len(part.dims))
    shape = tuple(np.max([part.values.shape for part in known], axis=0).tolist())
    attributes = {key: value for part in known for key, value in part.attributes.items()}
    labels = {key: value for part in known for key, value in part.labels.items()}
    kinds = {part.values.dtype.kind for part in known}
    text = "U" in kinds
    whole = len(known) == len(parts) and all(part.values.shape == shape for part in known)
    if not whole and kinds == {"b"}:
        attributes |= _YES_NO
    arrays = [part.values.astype(np.str_) if text else part.values for part in known]
    dtype = np.result_type(*arrays) if arrays else np.dtype(float)
    if not whole and not text:
        dtype = np.result_type(dtype, np.float64 if dtype.kind in "biu" else dtype)
    missing = "" if text else 0 if whole else np.nan
    out = np.full((len(parts), *shape), missing, dtype=dtype)
    if dtype.kind == "c" and not whole:
        out[...] = complex(np.nan, np.nan)
    left = iter(arrays)
    for i, part in enumerate(parts):
        if part is not None:
            out[(i, *map(slice, part.values.shape))] = next(left)
    return Variable((dim, *first.dims), out, attributes, labels)


def _item(annotation: Any) -> Any:
    """Return the structure X of `tuple[X, ...]`, also where it may be None; else None."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else ()
    for option in (annotation, *options):
        arguments = typing.get_args(option)
        if typing.get_origin(option) is tuple and arguments[1:] == (...,):
            item = arguments[0]
            if hasattr(item, "_fields") or dataclasses.is_dataclass(item):
                return None if hasattr(item, "__complex__") else item
    return None


def _none_of(item: type, dim: str) -> Variables:
    """Return variables with no entries along `dim`, as of no structures of a type.

    Arrays, whose other axes would have no known length, are not among them.
    """
    return {
        name: each._replace(
            dims=(dim, *each.dims), values=np.zeros((0, *each.values.shape), each.values.dtype)
        )
        for name, each in _blank(item).items()
    }


def _blank(structure: type) -> Variables:
    """Return the variables of a structure that its type alone tells."""
    found: Variables = {}
    for name, (declared, annotation) in fields_of(structure).items():
        prefix = f"{name}_" if declared["prefix"] is None else declared["prefix"]
        names, item = declared["axes"] or (), _item(annotation)
        if item is not None:
            parts = _none_of(item, names[0] if names else f"{name}_0")
            found |= _renamed(parts, prefix, declared["rename"])
            continue
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else ()
        for option in (annotation, *options):
            word = isinstance(option, type) and issubclass(option, enum.Enum)
            if option in _EMPTY or word:
                units = {"units": declared["units"]} if declared["units"] else {}
                value = np.zeros((), "U1" if word else _EMPTY[option])
                found |= _renamed({name: Variable((), value, units, {})}, "", declared["rename"])
                break
    return found
