"""Running the studies and figures of a report, in this process or in several."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from analysis.claims import Claim
from analysis.size import Size
from reporting.drawing import Drawn, save
from reporting.registry import FIGURES, STUDIES, reduction, sized, studies_of
from samflow._checks import ArgumentError, known


class Task(NamedTuple):
    """Studies and the figures that draw their records: what one process does in one go."""

    studies: tuple[str, ...]
    figures: tuple[str, ...]

    @property
    def cost(self) -> float:
        """About how many seconds it takes in the small size."""
        names = (*self.studies, *(f"figure {name}" for name in self.figures))
        return sum(COSTS[name] for name in names)


class Checked(NamedTuple):
    """A study that ran to its end."""

    name: str
    title: str
    reduced: str
    claims: list[Claim]
    seconds: float


class Lost(NamedTuple):
    """A study or figure that stopped with an error."""

    name: str
    why: str


class Done(NamedTuple):
    """What a task gave."""

    task: Task
    checked: list[Checked]
    drawn: list[Drawn]
    lost: list[Lost]

    @property
    def seconds(self) -> float:
        """How long its studies and figures took."""
        return sum(one.seconds for one in (*self.checked, *self.drawn))


class WorkerEnded(RuntimeError):
    """A worker process was killed from outside."""


Progress = Callable[[str], None]
_THREADS = ("NPROC", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""How many threads XLA and the two kinds of BLAS start, as they read it from the environment."""
COSTS = {
    "beale-threshold": 2.5,
    "map-window": 2.0,
    "beale-descent": 2.5,
    "sam-cycle": 2.0,
    "saddle-cycles": 3.0,
    "rotation": 4.0,
    "proved-traps": 6.0,
    "sam-flow": 10.0,
    "saddle-at-finite-rho": 9.0,
    "global-dynamics": 10.0,
    "practical-sam": 2.5,
    "hallucinated": 2.0,
    "relatives": 8.5,
    "lyapunov": 3.5,
    "noise-moments": 4.0,
    "toy-network": 6.0,
    "weak-order": 7.0,
    "escape": 6.0,
    "valley-phases": 2.5,
    "valley-drift": 1.5,
    "asymmetric-valley": 1.5,
    "central-flows": 6.0,
    "edges": 14.0,
    "interpolation": 3.0,
    "digits-phases": 15.0,
    "watched-switch": 16.0,
    "digits-noise": 8.0,
    "noisy-switch": 4.0,
    "late-attack": 11.0,
    "batch-momentum": 20.0,
    "symmetry-saddles": 14.0,
    "landscapes": 13.0,
    "checkpoints": 8.0,
    "monge-sam": 2.0,
    "lookahead": 5.0,
    "ssam": 6.0,
    "multistep": 5.0,
    "dpsat": 4.0,
    "robust-measures": 6.0,
    "warm-start": 3.0,
    "gcsam": 6.0,
    "decentralised": 2.0,
    "si-yun": 4.0,
    "dai-ahn-sra": 2.0,
    "mordukhovich": 3.5,
    "compagnoni": 2.0,
    "figure portrait": 5.0,
    "figure beale": 5.0,
    "figure crossing": 2.5,
    "figure threshold": 10.0,
    "figure separatrices": 15.0,
    "figure saddle-cycles": 1.0,
    "figure staircase": 1.0,
    "figure central-flows": 1.0,
    "figure global-dynamics": 2.0,
    "figure hallucinated": 6.0,
    "figure two_phases": 2.0,
    "figure edges": 1.5,
    "figure interpolation": 1.0,
    "figure noise-moments": 2.0,
    "figure weak-order": 3.0,
    "figure escape": 6.0,
    "figure noisy-switch": 1.0,
    "figure late-attack": 1.0,
    "figure watched-switch": 1.5,
    "figure batch-momentum": 1.0,
    "figure symmetry-saddles": 1.0,
    "figure landscapes": 1.0,
}
"""About how many seconds each takes in the small size, for the order and for the time left."""


def tasks(studies: Collection[str], figures: Collection[str]) -> list[Task]:
    """Group studies with the figures that draw them; a figure without its studies is left out.

    A quick task comes first, for a verdict soon; then the longest, so that the last is short.
    """
    needs = {name: set(studies_of(FIGURES[name])) for name in figures}
    needs = {name: need for name, need in needs.items() if need <= set(studies)}
    groups = [({name}, set[str]()) for name in studies]
    for name, need in needs.items():
        joined = [group for group in groups if group[0] & need]
        groups = [group for group in groups if group not in joined]
        together = set().union(*(group[0] for group in joined))
        groups.append((together, {name}.union(*(group[1] for group in joined))))
    found = [
        Task(tuple(n for n in studies if n in some), tuple(n for n in figures if n in drawn))
        for some, drawn in groups
    ]
    found.sort(key=lambda task: -task.cost)
    quickest = max((i for i, task in enumerate(found) if task.studies), default=0)
    return [*found[quickest : quickest + 1], *found[:quickest], *found[quickest + 1 :]]


def perform(
    task: Task, folder: Path, size: Size, progress: Progress = lambda message: None
) -> Done:
    """Do one task; figures go to `folder`. An error loses what stopped, not the rest."""
    records: dict[str, Any] = {}
    done = Done(task, [], [], [])
    for name in task.studies:
        with _losing(done, name):
            study = STUDIES[name]
            begun = time.perf_counter()
            told = lambda stage, name=name: progress(f"{name}: {stage}")  # noqa: E731
            records[name] = study.measure(told, *sized(study, size))
            claims = study.judge(records[name])
            seconds = time.perf_counter() - begun
            reduced = reduction(study, size)
            done.checked.append(Checked(name, study.TITLE, reduced, claims, seconds))
    for name in task.figures:
        needed = studies_of(FIGURES[name])
        if not all(need in records for need in needed):
            done.lost.append(Lost(name, "the error of its study"))
            continue
        progress(f"drawing {name}")
        with _losing(done, name):
            done.drawn.append(save(folder, name, [records[need] for need in needed], size=size))
    return done


@contextlib.contextmanager
def _losing(done: Done, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        done.lost.append(Lost(name, f"{type(error).__name__}: {error}"))


def all_done(
    todo: Sequence[Task], folder: Path, *, size: Size, jobs: int, progress: Progress
) -> Iterator[Done]:
    """Do all tasks and yield each as it is done, in any order.

    With one job everything happens in this process, and `progress` hears of every stage; with
    more, in so many others, which end with this iteration, however it ends.
    """
    if jobs == 1:
        for task in todo:
            yield perform(task, folder, size, progress)
        return
    before = multiprocessing.active_children()
    with _threads(max(1, (os.cpu_count() or 1) // jobs)), _interrupts_held():
        context = multiprocessing.get_context(_start_method(todo))
        pool = ProcessPoolExecutor(jobs, context, _begin)
        waiting = [pool.submit(perform, task, folder, size) for task in todo]
    try:
        for future in as_completed(waiting):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerEnded(
            "A worker process was killed, most likely because memory ran out. Run again with "
            "--jobs 1."
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in before:
                child.terminate()


def _start_method(todo: Sequence[Task]) -> str:
    """Choose how processes start: as copies of this one while that is safe, else anew.

    A copy has imported everything already. Only a process with one thread may be copied: before
    JAX has started its own, and where threads can be counted.
    """
    for task in todo:
        for name in task.studies:
            STUDIES[name]
    try:
        alone = sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        alone = False
    return "fork" if alone else "spawn"


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


def _begin() -> None:
    """Set up a process: double precision, Ctrl-C left to its parent, and no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import jax

    jax.config.update("jax_enable_x64", True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def draw_all(
    folder: str | os.PathLike[str],
    only: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    size: Size = Size.full,
) -> list[Drawn]:
    """Draw every figure, or `only` one, and write it to `folder` as PDF and PNG.

    Args:
        folder: where to write; created if it is missing.
        only: a name in `figures.FIGURES`.
        progress: called with the current stage, the number of figures drawn so far, and the
            number of all.
        size: of the computations behind the figures.

    Raises:
        ArgumentError: for an unknown name (the nearest are given) or a folder that is a file.

    """
    names = list(FIGURES) if only is None else [known("figure", only, FIGURES)]
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"Argument `folder` must be a folder, but {str(folder)!r} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, Any] = {}
    drawn: list[Drawn] = []

    def say(stage: str) -> None:
        if progress is not None:
            progress(stage, len(drawn), len(names))

    for name in names:
        say(name)
        needed = studies_of(FIGURES[name])
        for study in needed:
            if study not in records:
                module = STUDIES[study]
                records[study] = module.measure(
                    lambda stage, study=study: say(f"{study}: {stage}"), *sized(module, size)
                )
        drawn.append(save(folder, name, [records[study] for study in needed], size=size))
    return drawn
