"""Stores of sweeps and of basins, opened without what they were made of."""

import os

from samflow import _checks
from samflow.attractors.basins import StoredBasins
from samflow.attractors.chunks import open_chunks
from samflow.attractors.sweep import StoredSweep

_RECORDS = {"Sweep": StoredSweep, "Basins": StoredBasins}


def open_store(path: str | os.PathLike[str]) -> StoredSweep | StoredBasins:
    """Return what `sweep` or `basins` wrote to a folder; nothing is computed.

    Args:
        path: of the folder.

    Raises:
        ArgumentError: where there is no such store.
        ImportError: where zarr is not installed.

    """
    chunks = open_chunks(path)
    return _RECORDS[_checks.known("record", chunks.record, _RECORDS)](chunks)
