"""Records: what an analysis returns, as a Dataset, a table, a file or JSON."""

from samflow._axes import axes
from samflow.records._plain import plain, to_json
from samflow.records.base import AbstractRecord, Provenance, attributes, dataset_of, provenance
from samflow.records.files import load_dataset, write_whole
from samflow.records.tables import Names
from samflow.records.variables import as_array

__all__ = [
    "AbstractRecord",
    "Names",
    "Provenance",
    "as_array",
    "attributes",
    "axes",
    "dataset_of",
    "load_dataset",
    "plain",
    "provenance",
    "to_json",
    "write_whole",
]
