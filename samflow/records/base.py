"""What an analysis returns: labelled fields, a status for each item, and where it came from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax

from samflow import _checks
from samflow.records._plain import plain, to_json
from samflow.records.citations import citations
from samflow.records.files import save, write_whole
from samflow.records.html import as_html
from samflow.records.latex import booktabs
from samflow.records.tables import Names, table
from samflow.records.variables import variables_of

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar

    import pandas
    import xarray
else:
    from equinox import AbstractVar

Provenance = tuple[tuple[str, str], ...]


def _weights(data: "xarray.Dataset") -> dict[str, str]:
    """Return the names of weights by the columns that `w` has for them."""
    names = map(str, data["weight"].values) if "weight" in data.coords else ()
    return {f"w_{name}": name for name in names}


def provenance(system: str, **settings: Any) -> Provenance:
    """Return what is needed to compute a record again: system, settings and versions."""
    from samflow import __version__

    pairs = {"system": system, **{name: str(value) for name, value in settings.items()}}
    pairs |= {"samflow": __version__, "jax": jax.__version__}
    return tuple(pairs.items())


class AbstractRecord(eqx.Module):
    """Base of all records: fields that turn into a Dataset, a table, a file or JSON."""

    provenance: AbstractVar[Provenance]
    """What is needed to compute the record again."""

    rows: AbstractVar[Names]
    """The dimensions of whose entries `table` has a row each; () for one row in all."""

    printed: ClassVar[Names] = ()
    """The variables of which `to_latex` makes columns by default; () for all."""

    basis: ClassVar[Names] = ()
    """The formulas that the record rests on: names of `samflow.records.citations.FORMULAS`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists; NaN and infinities become None."""
        return {name: plain(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """Return the record as JSON text, valid for every reader: NaN becomes null."""
        return to_json(self.to_dict())

    def to_dataset(self) -> "xarray.Dataset":
        """Return an xarray Dataset: every field a variable, with the provenance as attributes.

        Kinds, statuses and verdicts are words. What is missing is NaN, an empty word, or, where all
        of it is missing, no variable.
        """
        return dataset_of(self)

    def table(self, *rows: str, columns: Sequence[str] | None = None) -> "pandas.DataFrame":
        """Return a table with a row for each item: words, and one column for each number.

        An entry of an array has its number, from 1, or its name in the column: w1, w2,
        interval_low. What has more than 24 entries in a row is left out; `.attrs["left_out"]`
        names it, and `to_dataset` has it.

        Args:
            rows: dimensions of `to_dataset()` of whose entries there is a row each; by default
                those of the items that the record is about.
            columns: variables of `to_dataset()` to show, in their order; all by default.

        """
        return table(self.to_dataset(), rows or self.rows, columns)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the Dataset to a netCDF file, whole or not at all; `load_dataset` reads it."""
        return save(self.to_dataset(), path)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the table as CSV, with all digits, and write it to a file if one is given."""
        text = self.table().to_csv(index=False)
        if path is not None:
            write_whole(_checks.writable("path", path, (".csv",)), text)
        return text

    def to_latex(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        digits: int = 6,
    ) -> str:
        """Return the table for LaTeX with booktabs, and write it to a file if one is given.

        Args:
            path: a file that ends in .tex.
            columns: variables to show, as of `table`; by default the main ones. Those that hold
                nothing in any row are left out.
            digits: significant digits of a number.

        """
        data = self.to_dataset()
        chosen = columns or [name for name in self.printed if name in data.variables]
        found = table(data, self.rows, chosen or None)
        text = booktabs(found, digits=digits, item="_".join(self.rows[-1:]), short=_weights(data))
        if path is not None:
            write_whole(_checks.writable("path", path, (".tex",)), text)
        return text

    def cite(self, style: str = "text") -> str:
        """Return what to cite for this record: its formulas, their papers, and samflow.

        Each formula is named with the page of docs/theory that derives it. A record computed
        from definitions alone cites samflow alone. The rule's own paper is its `source`.

        Args:
            style: "text", or "bibtex" for entries of a bibliography.

        Raises:
            ArgumentError: another style.

        """
        return citations(self.formulas_used(), dict(self.provenance).get("samflow", ""), style)

    def formulas_used(self) -> Names:
        """Return which formulas this very record rests on; by default all of its class."""
        return self.basis

    def _repr_html_(self) -> str:
        """Return the record as a notebook shows it: its text, and its table folded."""
        return as_html(str(self), self.table())


def dataset_of(record: AbstractRecord) -> "xarray.Dataset":
    """Return the Dataset of a record's fields."""
    import xarray

    variables = variables_of(record)
    labels = {dim: list(names) for each in variables.values() for dim, names in each.labels.items()}
    taken = {dim for each in variables.values() for dim in each.dims}
    coords = {dim: (dim, names) for dim, names in labels.items() if dim in taken - variables.keys()}
    arrays = {name: each[:3] for name, each in variables.items()}
    return xarray.Dataset(arrays, coords=coords, attrs=attributes(record))


def attributes(record: AbstractRecord) -> dict[str, str]:
    """Return the attributes of a record's Dataset: what it is, and its provenance."""
    return {"record": type(record).__name__, **dict(record.provenance)}
