"""Work in processes of their own: it can be stopped, and does not hold the page up."""

import contextlib
import importlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_POLL = 0.02
"""Seconds between two looks whether an answer is there."""
_STARTING = 300.0
"""Seconds that a process may take until it is there, on a busy machine."""


class Stopped(Exception):
    """The work was ended before it had an answer; the message says why, in one sentence."""


class Worker:
    """One process that does one piece of work after the other.

    The process starts with the first piece, and again after it was ended. It ends with this one.
    """

    def __init__(self, preload: str = "jax") -> None:
        """Begin without a process; it will import `preload` before any limit counts."""
        self._preload = preload
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="samflow-worker")
        self._process: Any = None
        self._pipe: Any = None
        self._stop = threading.Event()

    def submit(self, function: Callable[..., Any], *args: Any, limit: float) -> Future[Any]:
        """Return what `function(*args)` will return or raise; `Stopped` after `limit` seconds.

        Function, arguments and result are pickled.
        """
        return self._thread.submit(self._run, function, args, limit)

    def close(self) -> None:
        """End the process, and what it does."""
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._end()

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], limit: float) -> Any:
        try:
            if self._process is None or not self._process.is_alive():
                self._begin()
                self._answer(_STARTING)
            self._pipe.send((function, args))
            done, value = self._answer(limit)
        except (EOFError, OSError) as error:
            self._end()
            raise Stopped("Its process ended before it had an answer.") from error
        except Stopped:
            self._end()
            raise
        if done:
            return value
        raise value

    def _answer(self, limit: float) -> Any:
        """Return what the process sends; leave the wait where this worker is closed."""
        end = time.monotonic() + limit
        while not self._pipe.poll(_POLL):
            if self._stop.is_set():
                raise Stopped("The page was closed.")
            if time.monotonic() > end:
                raise Stopped(f"It took longer than {limit:g} seconds, and was stopped.")
        return self._pipe.recv()

    def _begin(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # XLA's threads do not survive a fork
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, self._preload), daemon=True)
        self._process.start()
        theirs.close()  # so that the other end is noticed to be closed

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Any, preload: str) -> None:
    """Say that it is there, and answer what comes through the pipe until its end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    import jax

    jax.config.update("jax_enable_x64", True)
    importlib.import_module(preload)
    with contextlib.suppress(EOFError, OSError):  # the other end is closed
        pipe.send("ready")
        while True:
            function, args = pipe.recv()
            try:
                answer = True, function(*args)
            except Exception as error:
                answer = False, error
            try:
                pipe.send(answer)
            except OSError:
                raise
            except Exception as error:  # what cannot be pickled
                pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))
