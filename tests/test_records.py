"""Every record as a Dataset, a file and a table: made from its declared fields, so new ones too."""

import dataclasses
import enum
import importlib
import pkgutil
import types
import typing
from typing import Annotated, ClassVar, NamedTuple

import equinox as eqx
import jax
import numpy as np
import pandas
import pytest
import sympy
import xarray

import samflow
from samflow import Kind, Status
from samflow._checks import ArgumentError
from samflow.equilibria.saddle_report import survey
from samflow.records import AbstractRecord, Names, Provenance, axes, load_dataset
from samflow.records.citations import FORMULAS
from samflow.records.html import MOST_ROWS, as_html
from samflow.records.latex import booktabs, escaped
from samflow.records.tables import MOST_COLUMNS, table
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


class Item(NamedTuple):
    name: str
    size: Annotated[float | None, axes(units="weight")]
    kind: Kind
    roots: Annotated[tuple[complex, ...], axes("root", units="1")] = ()
    held: bool | None = None


class Inventory(AbstractRecord):
    """A record that a newcomer writes: it has a Dataset and a table by what its fields declare."""

    rows: ClassVar[Names] = ("item",)
    items: tuple[Item, ...] = eqx.field(metadata=axes("item", prefix="", rename={"name": "item"}))
    status: np.ndarray = eqx.field(metadata=axes("item", words=Status))
    matrix: np.ndarray = eqx.field(metadata=axes("item", "end"))
    provenance: Provenance = (("system", "s"), ("samflow", "0"))


ITEMS = (
    Item("a", 2.0, Kind.chaotic_trap, (1 + 2j, 3j), True),
    Item("b", None, Kind.saddle, (complex(np.inf, 1),)),
)
INVENTORY = Inventory(ITEMS, np.array([0, 7]), np.array([[1.0, 2.0], [3.0, 4.0]]))


def test_declared_fields_are_variables_with_named_dimensions_units_and_words():
    data = INVENTORY.to_dataset()
    assert data["roots"].dims == ("item", "root")
    assert data["size"].attrs["units"] == "weight"
    assert data["kind"].sel(item="a") == "chaotic trap"
    assert data["status"].values.tolist() == ["converged", "residual too large"]
    assert data["matrix"].sel(item="b", end="high") == 4.0
    assert np.isnan(data["size"].values[1])
    assert np.isnan(data["roots"].values[1, 1].real)
    assert np.isnan(data["roots"].values[1, 1].imag)
    assert np.isinf(data["roots"].values[1, 0].real)
    assert data["held"].attrs["flag_meanings"] == "no yes"


def test_short_floats_of_jax_are_saved_as_numbers(tmp_path):
    made = Inventory(ITEMS, np.array([0, 0]), jax.numpy.ones((2, 2), "bfloat16"))
    data = load_dataset(made.save(tmp_path / "t.nc"))
    assert data["matrix"].values.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_table_has_a_row_an_item_and_a_column_a_number():
    table = INVENTORY.table()
    assert table["item"].tolist() == ["a", "b"]
    assert table["kind"].tolist() == ["chaotic trap", "saddle"]
    assert table["held"].tolist() == ["yes", ""]
    assert table["matrix_high"].tolist() == [2.0, 4.0]
    assert table["roots1_imag"].tolist() == [2.0, 1.0]
    assert list(INVENTORY.table(columns=["kind", "size"])) == ["kind", "size"]
    assert len(INVENTORY.table("item", "end")) == 4
    with pytest.raises(ArgumentError, match="Unknown rows `point`"):
        INVENTORY.table("point")
    with pytest.raises(ArgumentError, match="Unknown columns `colour`"):
        INVENTORY.table(columns=["colour"])


def test_what_is_too_wide_for_a_table_is_named():
    wide = Inventory(ITEMS, np.array([0, 0]), np.zeros((2, 2)), (("system", "s"),))
    data = wide.to_dataset().assign(long=(("item", "entry"), np.zeros((2, MOST_COLUMNS + 1))))
    found = table(data, ("item",))
    assert found.attrs["left_out"] == ["long"]
    assert not any("long" in name for name in found)
    kept = table(data.isel(entry=slice(MOST_COLUMNS)), ("item",))
    assert kept.attrs["left_out"] == []
    assert sum("long" in name for name in kept) == MOST_COLUMNS


def test_latex_is_booktabs_with_escaped_words():
    text = INVENTORY.to_latex(columns=["item", "size", "kind"])
    assert text.splitlines() == [
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"item & size & kind \\",
        r"\midrule",
        r"a & $2$ & chaotic trap \\",
        r"b & -- & saddle \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert escaped("50 % of λ_max & ρ² \\") == (
        r"50 \% of $\lambda$\_max \& $\rho$$^2$ \textbackslash{}"
    )
    frame = pandas.DataFrame({"x": [1.5e-12, -np.inf], "n": [3, -4], "none": [np.nan, np.nan]})
    rows = booktabs(frame, digits=3).splitlines()
    assert rows[2:6] == [
        r"x & n \\",
        r"\midrule",
        r"$1.5 \times 10^{-12}$ & $3$ \\",
        r"$-\infty$ & $-4$ \\",
    ]


def test_files_and_their_errors(tmp_path):
    assert INVENTORY.to_csv(tmp_path / "t.csv") == (tmp_path / "t.csv").read_text()
    assert INVENTORY.to_latex(tmp_path / "t.tex") == (tmp_path / "t.tex").read_text()
    INVENTORY.save(tmp_path / "t.nc")
    with xarray.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as file:  # without samflow
        assert file["roots"].dims == ("item", "root", "complex_part")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["t.csv", "t.nc", "t.tex"]
    for write, suffix in (
        (INVENTORY.save, ".nc"),
        (INVENTORY.to_csv, ".csv"),
        (INVENTORY.to_latex, ".tex"),
    ):
        with pytest.raises(ArgumentError, match=f"must end in {suffix}, but is"):
            write(tmp_path / "found.zip")
        with pytest.raises(ArgumentError, match="must be in a folder that exists"):
            write(tmp_path / "none" / f"found{suffix}")


def test_a_file_that_no_record_saved_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="is no file"):
        load_dataset(tmp_path / "missing.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(ArgumentError, match=r"must be a netCDF file, .* no HDF5 file"):
        load_dataset(tmp_path / "text.nc")
    INVENTORY.save(tmp_path / "cut.nc")
    (tmp_path / "cut.nc").write_bytes((tmp_path / "cut.nc").read_bytes()[:3000])
    with pytest.raises(ArgumentError, match=r"must be a netCDF file, but .* cannot be read"):
        load_dataset(tmp_path / "cut.nc")
    xarray.Dataset({"x": 1.0}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ArgumentError, match="has no attributes `record` and `samflow`"):
        load_dataset(tmp_path / "other.nc")


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    INVENTORY.save(tmp_path / "t.nc")
    before = (tmp_path / "t.nc").read_bytes()

    def full(self, *arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="No space"):
        INVENTORY.save(tmp_path / "t.nc")
    assert (tmp_path / "t.nc").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.nc"]


def test_an_ensemble_has_an_axis_of_members_and_rows_for_each():
    found = samflow.iterate(
        samflow.Map(samflow.losses.Quadratic([1.0, 0.5]), samflow.GD(), lr=0.5),
        np.ones((3, 2)),
        num_steps=2,
        keep_every=1,
    )
    data = found.to_dataset()
    assert data["status"].dims == ("batch_0",)
    assert data["status"].values.tolist() == ["out of steps"] * 3
    table = found.table()
    assert table["batch_0"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert table["states1"].tolist() == [1.0, 0.5, 0.25] * 3  # 1 − lr λ, exact in binary
    assert table["states2"].tolist() == [1.0, 0.75, 0.5625] * 3


def test_a_record_without_rows_cannot_be_made():
    class Rowless(AbstractRecord):
        provenance: Provenance = ()

    with pytest.raises(TypeError, match="rows"):
        Rowless()


def test_two_fields_of_one_name_are_an_error_that_says_so():
    class Twice(AbstractRecord):
        rows: ClassVar[Names] = ()
        size: float
        item: Item = eqx.field(metadata=axes(prefix=""))
        provenance: Provenance = ()

    with pytest.raises(ValueError, match="two variables of the name 'size'"):
        Twice(1.0, ITEMS[0]).to_dataset()


def test_fixed_points_of_a_map_as_a_table():
    loss = samflow.loss("x**2/2 - y**2/2 + y**4/4")
    found = samflow.find_fixed_points(samflow.Map(loss, samflow.GD(), lr=0.1), (-2, 2))
    table = found.table()
    assert table["w_y"].tolist() == pytest.approx([-1, 0, 1])  # critical points y³ = y
    assert table["kind"].tolist() == ["attracting", "saddle", "attracting"]
    assert table["proved"].all()
    # multipliers 1 − lr λ, λ = 1 and 3y² − 1
    assert table["spectrum1_real"].tolist() == pytest.approx([0.9, 1.1, 0.9])
    assert found.to_dataset()["w"].sel(weight="x").shape == (3,)


def test_an_empty_window_has_no_ends_in_a_table_and_weights_are_called_by_their_names():
    # λ = 2 and −4: USAM needs rho > 1/4, and (with lr = 0.9) rho < (2/(0.9·2) − 1)/2 = 1/18.
    loss = samflow.loss("y**2 - 2*x**2 + x**4")
    found = survey(loss, ((-0.5, 0.5), (-0.5, 0.5)), rules=["usam"], rho=1.3, lr=0.9, momentum=0.0)
    table = found.table()
    assert table["rho_window_empty"].tolist() == [True]
    assert table[["rho_window_low_value", "rho_window_high_value"]].isna().all(axis=None)
    window = found.points[0].behaviours[0].rho_window
    ends = [float(window.low.value), float(window.high.value)]
    assert ends == pytest.approx([1 / 4, 1 / 18])
    assert found.to_latex().splitlines()[2].startswith("x & y & loss & ")


def test_conditions_have_a_row_a_window_or_a_formula():
    system = samflow.Map(samflow.loss("x**2/2 - y**2/2 + y**4/4"), samflow.USAM(rho=0.5), lr=0.1)
    windows = samflow.conditions(system, [0.0, 0.0]).table()
    assert windows["parameter"].tolist() == ["rho", "lr"]
    # rho > 1/|λ₋| with λ₋ = −1; at rho = 0.5 < 1 there is no lr, and no ends of its window.
    assert windows["low_value"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert windows["empty"].tolist() == [False, True]
    assert windows["low_event"].tolist()[0] == "plus_one"
    formulas = samflow.conditions(system)
    assert formulas.table()["formula"].tolist()[0] == "effective curvature"
    lines = formulas.to_latex().splitlines()
    assert lines[2] == r"formula & latex \\"
    assert lines[5].startswith(r"multipliers & $- \eta \lambda")


def test_a_survey_has_a_row_for_each_rule_at_each_point():
    loss = samflow.loss("x**2/2 - y**2/2 + y**4/4")
    table = samflow.survey(loss, (-2, 2), rules=("gd", "usam"), rho=0.5, lr=0.1).table()
    assert table["rule"].tolist() == ["gd", "usam"] * 3
    assert table["w_y"].tolist() == pytest.approx([-1, -1, 0, 0, 1, 1])
    assert table["shape"].tolist()[::2] == ["minimum", "saddle", "minimum"]
    saddle = table[table["shape"] == "saddle"]
    assert saddle["kind"].tolist() == ["saddle", "saddle"]
    # USAM attracts at the saddle from rho = 1/|λ₋| = 1 on; GD has no rho.
    assert saddle["rho_window_low_value"].tolist() == [pytest.approx(np.nan, nan_ok=True), 1.0]
    assert saddle["rho_window_low_event"].tolist() == ["", "plus_one"]


@pytest.mark.parametrize("cls", RECORDS)
def test_record_cites_formulas_that_exist(cls):
    assert set(cls.basis) <= FORMULAS.keys()


def test_notebook_shows_text_and_table_and_takes_nothing_for_html():
    table = pandas.DataFrame({"name": ["<b>", "x"], "value": [1.0, np.nan]})
    shown = as_html("a < b", table)
    assert "<pre>a &lt; b</pre>" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "2 rows<" in shown
    long = as_html("", pandas.DataFrame({"value": range(MOST_ROWS + 1)}))
    assert f"{MOST_ROWS + 1} rows, the first {MOST_ROWS} shown" in long
