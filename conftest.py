"""Double precision for every test, before any array is made; and compiled programs let go."""

import gc
import pathlib

import jax
import pytest

jax.config.update("jax_enable_x64", True)

_MAPPINGS = pathlib.Path("/proc/self/maps")
_MANY = 15_000
"""Linux gives a process 65530 mappings of memory, of which a compiled program takes several.

A whole run compiles more programs than fit; LLVM then ends the process without a word.
"""


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let go of compiled programs between two modules of tests where they are many."""
    if nextitem is None or nextitem.path == item.path or not _MAPPINGS.exists():
        return
    if _MAPPINGS.read_bytes().count(b"\n") > _MANY:
        jax.clear_caches()
        gc.collect()
