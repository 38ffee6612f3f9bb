"""The work behind a report: studies and figures, in this process or side by side in several."""

import functools
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Task(NamedTuple):
    """A study or a figure to make."""

    kind: str
    name: str


class Done(NamedTuple):
    """What a task gave: the claims of a study, or what `figures.draw_all` says of a figure."""

    task: Task
    result: list[Any]


Progress = Callable[[str], None]


def tasks(studies: Sequence[str], *, draw: bool) -> list[Task]:
    """Return what is to be done: figures first, as the slowest of all is one of them."""
    from figures import FIGURES

    drawn = [Task("figure", name) for name in FIGURES] if draw else []
    return [*drawn, *(Task("study", name) for name in studies)]


def perform(task: Task, folder: Path, progress: Progress = lambda message: None) -> Done:
    """Do one task; figures go to `folder`."""
    if task.kind == "figure":
        from figures import draw_all

        return Done(task, draw_all(folder, task.name))
    from analysis import STUDIES

    return Done(task, STUDIES[task.name].run(progress))


def all_done(
    todo: Sequence[Task], folder: Path, *, jobs: int, progress: Progress
) -> Iterator[Done]:
    """Do all tasks and yield each as it is done, in any order.

    With one job everything happens in this process, and `progress` hears of every stage; with
    more, in so many new ones, which end with this iteration, however it ends.
    """
    if jobs == 1:
        for task in todo:
            yield perform(task, folder, lambda stage, task=task: progress(f"{task.name}: {stage}"))
        return
    groups = [[task for task in todo if task.name == name] for name in _names(todo)]
    with multiprocessing.get_context("spawn").Pool(jobs, _begin) as pool:
        for done in pool.imap_unordered(functools.partial(_perform_all, folder=folder), groups):
            yield from done


def _names(todo: Sequence[Task]) -> list[str]:
    """Return the names of the tasks, each once."""
    return list(dict.fromkeys(task.name for task in todo))


def _perform_all(group: Sequence[Task], folder: Path) -> list[Done]:
    return [perform(task, folder) for task in group]


def _begin() -> None:
    """Set up a new process: double precision, and the terminal's Ctrl-C left to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import jax

    jax.config.update("jax_enable_x64", True)
