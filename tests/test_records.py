"""Every record as a Dataset, a file and a table: made from its declared fields, so new ones too."""

import dataclasses
import enum
import importlib
import pkgutil
import types
import typing

import jax
import numpy as np
import pytest
import sympy

import samflow
from samflow.records import AbstractRecord, load_dataset
from samflow.records.variables import fields_of

for module in pkgutil.walk_packages(samflow.__path__, "samflow."):
    if "__main__" not in module.name and "pytorch" not in module.name:
        importlib.import_module(module.name)

RECORDS = sorted(AbstractRecord.__subclasses__(), key=lambda cls: cls.__name__)
PROVENANCE = (("system", "made by a test"), ("samflow", "0"))


class Maker:
    """Makes an instance of a class from the types of its fields."""

    def __init__(self, *, missing: bool = False, empty: tuple[str, ...] = ()) -> None:
        self.missing, self.empty, self.count = missing, empty, 0

    def size(self, axes: tuple[str, ...]) -> int:
        return 0 if axes[:1] and axes[0] in self.empty else 2

    def record(self, cls: type) -> typing.Any:
        if dataclasses.is_dataclass(cls):
            names = [field.name for field in dataclasses.fields(cls) if field.init]
        else:
            names = list(cls._fields)
        declared = fields_of(cls)
        values = {}
        for name in names:
            annotation = cls.__annotations__[name]
            if name == "provenance":
                values[name] = PROVENANCE
            elif name in declared:
                values[name] = self.value(declared[name].annotation, declared[name].declared)
            else:
                if typing.get_origin(annotation) is typing.Annotated:
                    annotation = typing.get_args(annotation)[0]
                values[name] = self.value(annotation, {"axes": (), "labels": {}, "words": None})
        return cls(**values)

    def value(self, annotation: typing.Any, declared: dict) -> typing.Any:
        self.count += 1
        if isinstance(annotation, types.UnionType):
            options = typing.get_args(annotation)
            if self.missing and type(None) in options:
                return None
            annotation = options[0]
        arguments = typing.get_args(annotation)
        if typing.get_origin(annotation) is tuple:
            if arguments[1:] != (...,):
                return tuple(self.value(each, declared) for each in arguments)
            if hasattr(arguments[0], "_fields") or dataclasses.is_dataclass(arguments[0]):
                makers = (Maker(missing=not self.missing), self)[: self.size(declared["axes"])]
                return tuple(each.value(arguments[0], declared) for each in makers)
            of = {**declared, "axes": declared["axes"][1:]}
            return tuple(self.value(arguments[0], of) for _ in range(self.size(declared["axes"])))
        if typing.get_origin(annotation) is dict:
            self.count += 1
            return {f"name{self.count}": np.array([0.1, 0.2])}
        if hasattr(annotation, "dtypes") or annotation in (np.ndarray, jax.Array):
            return self.array(getattr(annotation, "dtypes", ["float64"]), declared)
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return list(annotation)[self.count % len(annotation)]
        if hasattr(annotation, "_fields") or dataclasses.is_dataclass(annotation):
            return self.record(annotation)
        simple = {
            float: [0.1, np.nan, np.inf][self.count % 3],
            int: self.count,
            bool: self.count % 2 == 0,
            str: ["λ < 0 & 5 %", ""][self.count % 2],
            complex: complex(np.inf, self.count),
            sympy.Symbol: sympy.Symbol("ρ"),
            sympy.Expr: sympy.Rational(1, 3),
        }
        return simple[annotation]

    def array(self, dtypes: typing.Any, declared: dict) -> np.ndarray:
        labels = {"end": ("low", "high"), **declared["labels"]}
        shape = [len(labels.get(name, range(self.size((name,))))) for name in declared["axes"]]
        kinds = {np.dtype(name).kind for name in dtypes if name in np.sctypeDict}
        numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        if declared["words"] is not None:
            return numbers % 3
        if "b" in kinds:
            return numbers % 2 == 0
        if "c" in kinds and "f" not in kinds:
            return np.where(numbers == 1, np.nan, numbers) + 1j * numbers
        return np.where(numbers == 1, np.nan, numbers) if "f" in kinds else numbers


def maker(case: str, cls: type) -> Maker:
    rows = getattr(cls, "rows", ())
    empty = tuple(rows) if case == "empty" and isinstance(rows, tuple) else ()
    return Maker(missing=case == "missing", empty=empty)


@pytest.mark.parametrize("case", ["whole", "missing", "empty"])
@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_record_is_saved_and_loaded_equal_and_has_a_table(cls, case, tmp_path):
    made = maker(case, cls).record(cls)
    data = made.to_dataset()
    read = load_dataset(made.save(tmp_path / "found.nc"))
    assert read.identical(data)
    assert {name: v.dtype for name, v in read.variables.items()} == {
        name: v.dtype for name, v in data.variables.items()
    }
    assert data.attrs["record"] == cls.__name__
    assert data.attrs["system"] == "made by a test"
    # A dimension without a name of its own is a field that declares none.
    numbered = [dim for dim in data.sizes if dim.rpartition("_")[2].isdigit()]
    assert [dim for dim in numbered if dim != "weight_2"] == []
    table = made.table()
    count = int(np.prod([data.sizes[dim] for dim in made.rows], dtype=int))
    assert len(table) == count
    assert len(table.columns) > 0
    assert made.to_latex().count("\\\\\n") == 1 + count
    assert len(made.to_csv().splitlines()) == 1 + count
