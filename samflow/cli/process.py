"""What the command line sets for its own process, which the library must not set for others."""

import _thread
import atexit
import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

_AGAIN = 0.01
"""Seconds until an interrupt that was lost comes again."""

XLA_FLAGS = (
    "--xla_cpu_prefer_vector_width=512 "
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000000"
)
"""Whole loops as one function, in the widest vectors there are: blocks of orbits gain up to 1.5."""


COMPILE_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Compile in about half the time of XLA's default, to loops that are as fast."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt, from its malloc.h."""
_KEPT_BYTES, _KEPT_BYTES_BEFORE = 2**28, 2**25
"""The second where glibc refuses the first: the most that its older versions take."""

_FLAGS_KNOWN = ((0, 6), (0, 11))
"""The versions of jaxlib, from and below, that know them: XLA ends a process for unknown flags."""

_CACHE_BYTES = 16 * 2**20
"""What JAX keeps of compiled programs; those not used for longest go first.

Some thousand: to keep one more JAX looks at each of them.
"""


def prepare() -> None:
    """Ask for double precision, fast loops, threads that sleep and programs that are kept.

    To be called before JAX is imported. Threads of OpenMP, which PyTorch has, wait for each other
    by spinning unless told otherwise: beside other work on the same cores small products then
    took thirty times the time. Those of NumPy's BLAS spin, too, so that it gets one.
    """
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    add_flags(XLA_FLAGS)
    compile_quickly()
    keep_programs()
    keep_memory()


def keep_memory() -> None:
    """Have glibc keep freed memory up to `_KEPT_BYTES` for the next product; else do nothing.

    Arrays of megabytes otherwise go back to the system after each product and come again page by
    page, which took up to a third of the time of a diagnosis.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            if not mallopt(option, _KEPT_BYTES):
                mallopt(option, _KEPT_BYTES_BEFORE)


def add_flags(flags: str) -> None:
    """Put XLA's flags before those that the user has set, which so win."""
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}".strip()


def compile_quickly() -> None:
    """Have XLA compile in less time, where this version of it is known to take the flags."""
    lowest, beyond = _FLAGS_KNOWN
    if lowest <= _jaxlib() < beyond:
        add_flags(COMPILE_FLAGS)


def keep_programs() -> None:
    """Keep compiled programs in the user's cache folder, for the next process; else do nothing.

    JAX's own variables win: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=0 keeps nothing.
    """
    # Without filelock JAX bounds no cache, and warns for each program.
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or importlib.util.find_spec("filelock") is None:
        return
    folder = cache_folder()
    if folder is None:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_CACHE_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def cache_folder() -> Path | None:
    """Return a folder for compiled programs that can be written to; None if there is none.

    It is one for each version of jaxlib and each kind of processor: a home folder may be shared
    by machines of several kinds.
    """
    with contextlib.suppress(OSError, RuntimeError):  # no home, or none that can be written to
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        version = ".".join(map(str, _jaxlib()))
        folder = Path(root) / "samflow" / f"jaxlib-{version}-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def _jaxlib() -> tuple[int, ...]:
    parts = importlib.metadata.version("jaxlib").split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _processor() -> str:
    """Return a name for this kind of processor: what it is called, and what it can do."""
    facts = {platform.machine()}
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        facts |= {
            line for line in text.splitlines() if line.startswith(("model name", "flags", "Feat"))
        }
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:12]


def keep_descriptors() -> None:
    """Put nothing in the place of standard streams that are closed: no file may take it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


_interrupts: list[int] = []


def _is_importing(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


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
        if _is_importing(frame):
            # Modules in C may not survive an exception while they set themselves up.
            with contextlib.suppress(OSError):
                os.write(2, b"Interrupted.\n")
            os._exit(130)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, interrupt)


def finish(code: int) -> NoReturn:
    """End this process when its work is done, in a fifth of a second less than Python takes.

    What is registered to be done at the end is done; modules are not taken down one by one. No
    interrupt changes the exit code any more.
    """
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit._run_exitfuncs()
    leave(code)


def leave(code: int) -> NoReturn:
    """End this process now, without Python's end of itself; for the way out of an interrupt.

    Then XLA's threads may still run a program, or wait for the interpreter to call back into
    Python. Python's end frees what they stand on, and the process dies of SIGSEGV now and then.
    Files that were to be written are whole or not there, and no other process is left.
    """
    import multiprocessing.util

    # Ends children, and lets go of what they shared.
    multiprocessing.util._exit_function()  # pyright: ignore[reportAttributeAccessIssue]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
