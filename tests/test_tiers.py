"""The two tiers: a quick test that takes long fails, and no module is slow as a whole."""

import pathlib
import subprocess
import sys

CONFTEST = pathlib.Path(__file__).parent.parent / "conftest.py"
BURN = """
import time
import pytest

def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
"""


def _run(tmp_path, body, *arguments):
    source = CONFTEST.read_text()
    assert source.count("_LIMIT = 10.0") == 1
    (tmp_path / "conftest.py").write_text(source.replace("_LIMIT = 10.0", "_LIMIT = 0.3"))
    (tmp_path / "test_it.py").write_text(BURN + body)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes long\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments, "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_quick_test_that_takes_long_fails_and_a_slow_one_does_not(tmp_path):
    code, out = _run(
        tmp_path,
        """
def test_quick():
    burn(0.01)

def test_long():
    burn(0.6)

@pytest.fixture(scope="module")
def record():
    burn(0.6)

def test_whose_fixture_takes_long(record):
    pass

def test_that_finds_the_fixture_made(record):
    pass

@pytest.mark.slow
def test_long_and_slow():
    burn(0.6)
""",
    )
    assert code == 1
    assert "2 failed, 3 passed" in out
    assert "FAILED test_it.py::test_long " in out
    assert "FAILED test_it.py::test_whose_fixture_takes_long" in out
    assert "where the quick tier allows 0.3" in out


def test_a_module_that_is_slow_as_a_whole_is_refused(tmp_path):
    body = """
@pytest.mark.slow
def test_slow():
    pass
"""
    code, out = _run(tmp_path, body)
    assert code == 4
    assert "Leave a small relative of each in the quick tier." in out
