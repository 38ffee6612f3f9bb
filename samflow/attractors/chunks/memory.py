"""The refusal of a grid that does not fit into memory."""

from samflow import _checks
from samflow._memory import available, told

_PART = 0.8
"""Of the memory that is free, what a result may take."""


def check_memory(needed: float, cells: int, kind: str) -> None:
    """Refuse a grid whose result does not fit into memory.

    Args:
        needed: bytes that it takes.
        cells: how many there are.
        kind: what they are called.

    Raises:
        ArgumentError: which says how much it takes, and to give a `store`.

    """
    free = available()
    if needed > _PART * free:
        raise _checks.ArgumentError(
            f"The result for {cells:,} {kind} takes {told(needed)} of memory, but {told(free)} "
            'is free. Give a folder that is written and read in chunks: `store="results.zarr"`, '
            "`--store results.zarr` of a command."
        )
