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
    """Ask for double precision, fast loops and threads that sleep; before JAX is imported.

    Threads of OpenMP, which PyTorch has, wait for each other by spinning unless told otherwise:
    beside other work on the same cores small products then took thirty times the time.
    """
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()


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

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        sys.unraisablehook = hook
