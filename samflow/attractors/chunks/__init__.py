"""Large grids in a folder of chunks (zarr): cut, computed, continued, read lazily."""

from samflow.attractors.chunks.filling import Job, check_part, run, share
from samflow.attractors.chunks.fingerprint import of_array, of_function, of_program, of_system
from samflow.attractors.chunks.layout import Layout, chunk_cells, layout
from samflow.attractors.chunks.memory import check_memory
from samflow.attractors.chunks.plain import from_plain, to_plain
from samflow.attractors.chunks.slices import Slices
from samflow.attractors.chunks.store import Chunks, done_in, find, open_chunks, progress_of

__all__ = [
    "Chunks",
    "Job",
    "Layout",
    "Slices",
    "check_memory",
    "check_part",
    "chunk_cells",
    "done_in",
    "find",
    "from_plain",
    "layout",
    "of_array",
    "of_function",
    "of_program",
    "of_system",
    "open_chunks",
    "progress_of",
    "run",
    "share",
    "to_plain",
]
