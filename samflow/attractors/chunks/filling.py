"""Which chunks are whose, and the loop that computes them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from samflow import _checks
from samflow.attractors.chunks import store
from samflow.attractors.chunks.layout import Layout
from samflow.attractors.chunks.store import Chunks, Found

Part = tuple[int, int]
"""(i, n): the i-th, from 1, of n parts that share the chunks."""
Compute = Callable[[Chunks | None, Layout, int, int], Found]


class Job(NamedTuple):
    """What is to be computed, and where it is kept.

    Attributes:
        path: of the store.
        record: what its chunks are of.
        request: what makes it this request and no other.
        layout: its chunks, where there is no store yet.
        cut: whether the user wants these chunks and no others.
        coordinates: values along axes, by name.
        dims: names of the axes.
        details: makes what else the record needs, as JSON, when the store is made.
        provenance: of the record.
        fill: what arrays hold where nothing is computed.
        arrays: examples of what is kept of cells; None where the first chunk tells.
        more_dims: makes the names of the further axes of arrays, by name, when the store is made.

    """

    path: str | os.PathLike[str]
    record: str
    request: Mapping[str, str]
    layout: Layout
    cut: bool
    coordinates: Mapping[str, np.ndarray]
    dims: Sequence[str]
    details: Callable[[], Mapping[str, Any]]
    provenance: Sequence[tuple[str, str]]
    fill: Mapping[str, Any] | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    more_dims: Callable[[], Mapping[str, tuple[str, ...]]] = dict

    def create(self, arrays: Mapping[str, np.ndarray]) -> Chunks:
        """Make the store."""
        return store.create(
            self.path, self.record, self.request, self.layout, arrays,
            coordinates=self.coordinates, dims=self.dims, details=self.details(),
            provenance=self.provenance, fill=self.fill, more_dims=self.more_dims(),
        )  # fmt: skip


def check_part(part: Part | None) -> Part | None:
    """Return `part` if it is (i, n) with 1 ≤ i ≤ n."""
    if part is None:
        return None
    try:
        i, n = part
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError(
            f"Argument `part` must be (i, n), the i-th of n parts, but is {_checks.excerpt(part)}."
        ) from error
    n = _checks.count("part", n)
    if _checks.count("part", i) > n:
        raise _checks.ArgumentError(
            f"Argument `part` must be (i, n) with i from 1 to n, but is {(i, n)}: there is no part "
            f"{i} of {n}."
        )
    return int(i), n


def share(count: int, part: Part | None) -> range:
    """Return the numbers of the chunks that this process computes.

    Every n-th chunk, from the i-th on; and of these every p-th where JAX runs in p processes.

    Raises:
        ArgumentError: for more parts than chunks.

    """
    i, n = (1, 1) if part is None else part
    if n > count:
        raise _checks.ArgumentError(
            f"Argument `part` must be of at most {count} parts, since there are {count} chunks, "
            f"but is {(i, n)}. Give fewer parts, or a smaller `chunk_cells`."
        )
    processes = jax.process_count()
    first = (i - 1) * processes + jax.process_index()
    return range(first, count, n * processes)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say, as misuse, that a store cannot be written: a full disk, or a folder that went away."""
    try:
        yield
    except OSError as error:
        raise _checks.ArgumentError(
            f"Argument `store` must be a folder that can be written, but {str(path)!r} cannot "
            f"({error.strerror or error}). Chunks that are there stay. Make room, or give another "
            "path."
        ) from error


def run(
    job: Job,
    compute: Compute,
    part: Part | None,
    progress: Callable[[int, int], None],
) -> Chunks:
    """Open the store of a job, or make it; compute the chunks of this process that are missing.

    Args:
        job: what, and where.
        compute: the cells of a store (None where it is not made yet) and a layout, from one number
            to below another.
        part: which chunks.
        progress: is called with how many cells of this process are done, of how many; first with
            those that were there.

    """
    part = check_part(part)
    chunks = store.find(job.path, job.request)
    if chunks is not None:
        if job.cut:
            store.check_same(chunks, job.request, job.layout)
        job = job._replace(layout=chunks.layout)
    mine = share(job.layout.count, part)
    if not mine and chunks is None:  # one process of many, without a chunk of its own
        mine = range(1)
    done = np.zeros(job.layout.count, bool) if chunks is None else chunks.done()
    ranges = {k: job.layout.range(k) for k in mine}
    sizes = {k: end - begin for k, (begin, end) in ranges.items()}
    total, made = sum(sizes.values()), sum(sizes[k] for k in mine if done[k])
    if made:
        progress(made, total)
    try:
        if chunks is None and job.arrays is not None:
            with writing(job.path):
                chunks = job.create(job.arrays)
        for k in mine:
            if done[k]:
                continue
            if chunks is None or not chunks.has(k):
                found = compute(chunks, job.layout, *ranges[k])
                with writing(job.path):
                    chunks = job.create(found) if chunks is None else chunks
                    chunks.write(k, found)
            made += sizes[k]
            progress(made, total)
    except KeyboardInterrupt as error:
        if chunks is not None:
            there = int(chunks.done().sum())
            error.add_note(
                f"{there} of {job.layout.count} chunks are in {str(job.path)!r}. The same call or "
                "command computes the others."
            )
        raise
    assert chunks is not None
    return chunks
