"""Set-up of every test: double precision, quick compilation, and a limit for the quick tier.

Most of a test's time is compilation. Programs are compiled without most of XLA's optimisations,
unless XLA_FLAGS says otherwise, as `make test-slow` does: there they are those that a user gets.
"""

import contextlib
import ctypes
import gc
import os
import pathlib
import resource
import signal
from collections.abc import Generator
from typing import Any

import pytest

from samflow.cli import process

_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if "XLA_FLAGS" not in os.environ:
    process.compile_quickly()
    process.add_flags(_FLAGS)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's idle threads sleep
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "0")  # nothing in the user's folder
# Threads of BLAS beside a test would only spin. They are as many as the environment says when NumPy
# is imported, which plugins do before this file: so workers have it from the process above them.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker
    os.environ.setdefault("NPROC", "1")
# A shell has what it starts in the background ignore Ctrl-C, and all that this starts: the tests of
# Ctrl-C would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402  (reads the environment when it is imported)

jax.config.update("jax_enable_x64", True)

collect_ignore_glob = ["docs/conf.py", "docs/_*", "docs/gallery", "docs/generated"]
"""What builds the documentation, and what is built: no pages and no modules of tests."""

_MAPPINGS = pathlib.Path("/proc/self/maps")
_MEMORY = pathlib.Path("/proc/self/statm")
_MANY = 15_000
"""Linux gives a process 65530 mappings of memory, of which a compiled program takes several.

A whole run compiles more programs than fit; LLVM then ends the process without a word.
"""
_MUCH, _SHARE = 4 * 2**30, 0.2
"""Bytes of memory, and the share of the machine's, at which compiled programs are let go, too.

Not before: each module of tests would compile again what it shares with those before it, which is a
fifth of the time of a whole run. Two processes then take less than half of the memory.
"""

_YOUNG, _SELDOM = 20_000, 25
"""New objects after which the youngest are looked through, and how seldom all are."""

_LIMIT = 10.0
"""Seconds of CPU that a test of the quick tier may take, what it starts included."""
_began = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)  # before -m leaves items out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tutorials into the slow tier, and refuse a module of tests that is in it as a whole."""
    for item in items:
        if "tutorials" in item.path.parts:
            item.add_marker("slow")
    if any("::" in argument for argument in config.args):
        return  # some tests of a module, whose others are not seen
    quick = {item.path for item in items if item.get_closest_marker("slow") is None}
    alone = {item.path for item in items} - quick
    alone = {path for path in alone if path.suffix == ".py"}
    if alone:
        raise pytest.UsageError(
            f"All tests of {', '.join(sorted(map(str, alone)))} are slow. Leave a small relative "
            "of each in the quick tier."
        )


def pytest_collection_finish() -> None:
    """Have Python look seldom for what refers to itself, and not among what stays to the end.

    JAX makes many objects that live long. Looking through all of them, again and again, took a
    tenth of the time of the quick tier.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, _SELDOM)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take the time at which a test begins, with the fixtures that it is the first to need."""
    item.stash[_began] = _cpu()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test of the quick tier that takes long: it is to be made smaller, or marked slow."""
    result = yield
    taken = _cpu() - item.stash[_began]
    if taken > _LIMIT and item.get_closest_marker("slow") is None:
        pytest.fail(
            f"took {taken:.1f} s of CPU, where the quick tier allows {_LIMIT:g}. Make it smaller, "
            "or mark it slow and leave a small relative in the quick tier.",
            pytrace=False,
        )
    return result


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let go of compiled programs between two modules of tests where they are many."""
    if nextitem is None or nextitem.path == item.path or not _MAPPINGS.exists():
        return
    page = resource.getpagesize()
    most = min(_MUCH, _SHARE * page * os.sysconf("SC_PHYS_PAGES"))
    many = _MAPPINGS.read_bytes().count(b"\n") > _MANY
    if many or page * int(_MEMORY.read_text().split()[1]) > most:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # no C library of GNU's
            ctypes.CDLL(None).malloc_trim(0)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
