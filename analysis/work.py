"""The work behind a report: studies and figures, in this process or side by side in several."""

import contextlib
import functools
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from analysis.size import Size, sized


class Task(NamedTuple):
    """A study or a figure to make."""

    kind: str
    name: str


class Done(NamedTuple):
    """What a task gave: the claims of a study, or what `figures.draw_all` says of a figure."""

    task: Task
    result: list[Any]


Progress = Callable[[str], None]
_THREADS = ("NPROC", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""How many threads XLA and the two kinds of BLAS start, as they read it from the environment."""


def tasks(studies: Sequence[str], *, draw: bool) -> list[Task]:
    """Return what is to be done, in an order in which the last is not long.

    Networks, which take longest, are the last studies of a report.
    """
    from figures import FIGURES

    drawn = [Task("figure", name) for name in reversed(FIGURES)] if draw else []
    return [*drawn, *(Task("study", name) for name in reversed(studies))]


def perform(
    task: Task, folder: Path, size: Size, progress: Progress = lambda message: None
) -> Done:
    """Do one task; figures go to `folder`."""
    if task.kind == "figure":
        from figures import draw_all

        return Done(task, draw_all(folder, task.name, size=size))
    from analysis import STUDIES

    study = STUDIES[task.name]
    return Done(task, study.run(progress, *sized(study, size)))


def all_done(
    todo: Sequence[Task], folder: Path, *, size: Size, jobs: int, progress: Progress
) -> Iterator[Done]:
    """Do all tasks and yield each as it is done, in any order.

    With one job everything happens in this process, and `progress` hears of every stage; with
    more, in so many new ones, which end with this iteration, however it ends.
    """
    if jobs == 1:
        for task in todo:
            told = lambda stage, task=task: progress(f"{task.name}: {stage}")  # noqa: E731
            yield perform(task, folder, size, told)
        return
    groups = [[task for task in todo if task.name == name] for name in _names(todo)]
    work = functools.partial(_perform_all, folder=folder, size=size)
    with _threads(max(1, (os.cpu_count() or 1) // jobs)), _interrupts_held():
        pool = multiprocessing.get_context("spawn").Pool(jobs, _begin)
    with pool:
        for done in pool.imap_unordered(work, groups):
            yield from done


def leave(code: int) -> NoReturn:
    """End this process now, without Python's end of itself; for the way out of an interrupt.

    Then XLA's threads may still run a program, or wait for the interpreter to call back into
    Python. Python's end frees what they stand on, and the process dies of SIGSEGV now and then.
    Files that were to be written are whole or not there, and no other process is left.
    """
    multiprocessing.util._exit_function()  # pyright: ignore  # ends children, and lets go of what they shared
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from the processes and threads that start meanwhile; it is ours alone.

    They inherit that it is blocked, so that it does not stop them while they are still importing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _threads(each: int) -> Iterator[None]:
    """Let the processes that start meanwhile have so many threads each, unless the user said.

    With a thread a core in every process, most of them would spin while they wait for a core.
    """
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(each)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _names(todo: Sequence[Task]) -> list[str]:
    """Return the names of the tasks, each once."""
    return list(dict.fromkeys(task.name for task in todo))


def _perform_all(group: Sequence[Task], folder: Path, size: Size) -> list[Done]:
    return [perform(task, folder, size) for task in group]


def _begin() -> None:
    """Set up a new process: double precision, and the terminal's Ctrl-C left to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import jax

    jax.config.update("jax_enable_x64", True)
