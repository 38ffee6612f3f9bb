"""What a long computation tells a person: how far it is, how long it takes, where it stopped."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from samflow.spectra.products import watched

Tell = Callable[[str], None]

_FIRST = 2.0
_PART = 0.2
"""A stage tells after so many seconds, and then after this part of its time so far, if longer."""


class Interrupted(KeyboardInterrupt):
    """The user's interrupt of a diagnosis, with what is known by then.

    Attributes:
        found: a `Diagnosis` without what was not reached; `Eigenpairs`, where it was stopped in the
            search for them; None, where nothing is known.
        left: what was not done, in words.

    """

    def __init__(self, found: Any, left: tuple[str, ...]) -> None:
        """Hold both."""
        super().__init__()
        self.found, self.left = found, left


class Search(Protocol):
    """What knows how many products its answer is going to take."""

    @property
    def expected(self) -> int | None:
        """How many in all; None where it is not known yet."""
        ...


@contextlib.contextmanager
def stage(
    tell: Tell,
    name: str,
    most: int,
    search: Search | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Tell the name of a stage and, after some seconds, how long its products H v will take.

    The first product compiles what all need: what is left is estimated without it.

    Args:
        tell: is told.
        name: of the stage.
        most: products at most; a search may end with fewer.
        search: estimates how many it will be.
        clock: seconds.

    """
    tell(name)
    start = last = clock()
    first = start
    done = 0

    def after_each() -> None:
        nonlocal done, last, first
        done, now = done + 1, clock()
        if done == 1:
            first = now
        if done > 1 and now - last >= max(_FIRST, _PART * (now - start)):
            expected = None if search is None else search.expected
            count = most if expected is None else min(expected, most)
            left, last = (now - first) / (done - 1) * max(count - done, 0), now
            about = f"about {count}" if expected is not None else f"at most {most}"
            tell(f"{name}: product {done} of {about}, about {_seconds(left)} left")

    with watched(after_each):
        yield


def _seconds(left: float) -> str:
    return f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
