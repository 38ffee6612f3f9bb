"""Work that takes longer than a slider: of each kind one piece at a time, then the newest."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from samflow._checks import ArgumentError
from samflow.explorer import slow
from samflow.explorer.state import State
from samflow.explorer.workers import Stopped, Worker


class Workers(NamedTuple):
    """Processes for proofs, for charts and basins, and for curves and files."""

    proofs: Worker
    regions: Worker
    curves: Worker

    def close(self) -> None:
        """End all of them."""
        for worker in self:
            worker.close()


class Work(NamedTuple):
    """A kind of work: the function, which of the processes does it, how long it may take."""

    function: Callable[[State], Any]
    worker: str
    seconds: float
    quiet: bool
    """Whether it waits until nothing has changed for a while."""


WORK = {
    "landscape": Work(slow.landscape, "regions", 60.0, quiet=False),
    "points": Work(slow.fixed_points, "proofs", 60.0, quiet=False),
    "chart": Work(slow.chart, "regions", 120.0, quiet=True),
    "basins": Work(slow.basins, "regions", 120.0, quiet=True),
    "curves": Work(slow.curves, "curves", 180.0, quiet=True),
}


class Job:
    """The newest result of a kind of work.

    Attributes:
        key: what it was made of, see `key_of`; None before there is one.
        value: the result; None where there is none, or the work failed.
        failure: why it failed, in a sentence; else empty.
        running: whether a piece is under way.

    """

    def __init__(self) -> None:
        self.key: Any = None
        self.value: Any = None
        self.failure = ""
        self.running = False


class Jobs:
    """The work of one page."""

    def __init__(
        self,
        workers: Workers,
        state: Callable[[], State],
        later: Callable[[Callable[[], None]], None],
        arrived: Callable[[str], None],
    ) -> None:
        """Begin without results.

        Args:
            workers: the processes.
            state: returns what the page shows.
            later: does something in the page's thread.
            arrived: is called there with the kind of a result that is new.

        """
        self._workers, self._state, self._later, self._arrived = workers, state, later, arrived
        self._jobs = {name: Job() for name in WORK}

    def __getitem__(self, name: str) -> Job:
        return self._jobs[name]

    def wanted(self, name: str) -> bool:
        """Say whether the page shows this kind."""
        return key_of(name, self._state()) is not None

    def fresh(self, name: str) -> bool:
        """Say whether the result is of what the page shows."""
        return self._jobs[name].key == key_of(name, self._state())

    def value(self, name: str) -> Any:
        """Return the result, unless it is of another loss, rule or motion than is shown."""
        job, state = self._jobs[name], self._state()
        same = job.key is not None and job.key[0] == _subject(state)
        return job.value if same else None

    def begin(self, *, quiet: bool) -> Iterator[str]:
        """Begin all that is wanted and not known; give each kind whose result is of other values.

        Args:
            quiet: whether nothing has changed for a while.

        """
        for name, job in self._jobs.items():
            key = key_of(name, self._state())
            if key == job.key:
                continue
            if key is not None and not job.running and (quiet or not WORK[name].quiet):
                self._submit(name, job, key)
            yield name

    def _submit(self, name: str, job: Job, key: Any) -> None:
        work = WORK[name]
        job.running = True

        def take(future: "Future[Any]") -> None:
            job.running, job.key, job.failure, job.value = False, key, "", None
            error = future.exception()
            if error is None:
                job.value = future.result()
            elif isinstance(error, ArgumentError | Stopped):
                job.failure = str(error)
            else:
                job.failure = f"{type(error).__name__}: {error}"
            self._arrived(name)

        worker: Worker = getattr(self._workers, work.worker)
        future = worker.submit(work.function, self._state(), limit=work.seconds)
        future.add_done_callback(lambda future: self._later(lambda: take(future)))


def _subject(state: State) -> tuple[str, str, bool]:
    """Return what no slider changes."""
    return state.loss, state.rule, state.flow


def key_of(name: str, state: State) -> Any:
    """Return what a kind of work depends on, first the subject; None where it is not wanted."""
    of_map = () if state.flow else (state.lr, state.momentum)
    motion = (_subject(state), state.rho, *of_map, state.box)
    if name == "landscape":
        return _subject(state), state.box
    if name == "points":
        return motion
    if name == "basins":
        return motion if "basins" in state.layers else None
    if name == "curves":
        return motion if "manifolds" in state.layers else None
    if state.point is None or state.rho_max is None or not state.has_chart:
        return None
    return _subject(state), state.momentum, state.point, state.rho_max, state.lr_max
