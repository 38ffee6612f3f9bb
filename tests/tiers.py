"""Parameters of a test that are left to the slow tier."""

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Return values for `pytest.mark.parametrize` with which a test is slow."""
    return pytest.param(*values, marks=pytest.mark.slow)
