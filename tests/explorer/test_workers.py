"""Processes that compute: answers, errors, limits, and that they begin again."""

import math
import os
import time

import pytest

from samflow._checks import ArgumentError
from samflow.explorer.workers import Stopped, Worker
from samflow.losses import parse


@pytest.fixture(scope="module")
def worker():
    """One process for all tests here."""
    made = Worker()
    yield made
    made.close()


def test_an_answer_an_error_and_an_end(worker):
    assert worker.submit(math.sqrt, 2.0, limit=60).result() == math.sqrt(2.0)
    first = worker.submit(os.getpid, limit=60).result()
    assert first != os.getpid()
    with pytest.raises(ArgumentError, match=r"only \+ - "):
        worker.submit(parse, "x % 2", limit=60).result()
    assert worker.submit(os.getpid, limit=60).result() == first  # an error ends nothing


def test_what_takes_too_long_is_stopped_and_the_next_piece_has_a_process_of_its_own(worker):
    first = worker.submit(os.getpid, limit=60).result()
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"longer than 0\.2 seconds"):
        worker.submit(time.sleep, 600, limit=0.2).result()
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    with pytest.raises(Stopped, match="ended before"):  # the new process, by itself
        worker.submit(os._exit, 3, limit=60).result()
