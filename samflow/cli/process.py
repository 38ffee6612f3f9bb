"""What the command line sets for its own process, which the library must not set for others."""

import _thread
import os
import signal
import sys
import threading
from typing import Any

_AGAIN = 0.01
"""Seconds until an interrupt that was lost comes again."""

XLA_FLAGS = (
    "--xla_cpu_prefer_vector_width=512 "
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000000"
)
"""Whole loops as one function, in the widest vectors there are: blocks of orbits gain up to 1.5."""


def prepare() -> None:
    """Ask for double precision and fast loops; to be called before JAX is imported."""
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()


def keep_descriptors() -> None:
    """Put nothing in the place of standard streams that are closed: no file may take it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


_interrupts: list[int] = []


def interrupted() -> bool:
    """Say whether an interrupt came since `heed_interrupts`."""
    return bool(_interrupts)


def heed_interrupts() -> None:
    """See to it that an interrupt ends the process wherever it comes.

    Python ignores exceptions in callbacks of its garbage collector, of which JAX has one, and in
    `__del__`: a KeyboardInterrupt there is raised again soon after, outside of them.
    """
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            before(ignored)
            return
        # Not at once: the callback is still under way, and would lose this one as well.
        again = threading.Timer(_AGAIN, _thread.interrupt_main)
        again.daemon = True
        again.start()

    def interrupt(number: int, frame: Any) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, interrupt)
