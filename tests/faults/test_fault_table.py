"""docs/reference/faults.md keeps up with the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import reposync
from reposync import SyncConfig, errors, retry

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
PAGE = TABLE.read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "what happens" not in line]


def public_errors() -> list[str]:
    """The names of all error classes."""
    found = inspect.getmembers(errors, inspect.isclass)
    return [name for name, kind in found if issubclass(kind, errors.SyncError)]


@pytest.mark.parametrize("name", public_errors())
def test_every_error_has_its_line(name: str) -> None:
    """Whoever meets an error finds it in the table."""
    assert f"`{name}`" in PAGE


def test_no_line_names_an_error_that_does_not_exist() -> None:
    """What the table promises can be caught."""
    named = set(re.findall(r"`(\w+(?:Error|Gone|Refused|Unavailable|Timeout|Exceeded))`", PAGE))
    python = {"ValueError", "TimeoutError", "InvalidArgumentError"}
    assert named - python <= set(public_errors())
    for name in named - python:
        assert hasattr(reposync, name), f"{name} cannot be imported from reposync"


def test_every_line_has_four_cells() -> None:
    """What happens, the error, whether it is tried again, what to do."""
    for row in ROWS:
        assert row.count("|") == 5, row


def test_numbers_are_those_of_the_code() -> None:
    """Attempts, pauses and limits are as the code has them."""
    config = SyncConfig()
    assert f"in all ({config.max_attempts})" in PAGE
    assert f"`request_timeout` ({config.request_timeout:g} s)" in PAGE
    assert f"from\n{retry.FIRST_WAIT_SECONDS:g} s to {retry.LONGEST_WAIT_SECONDS:g} s" in PAGE
    assert f"`Retry-After` of up to {retry.LONGEST_RETRY_AFTER_SECONDS:g} s" in PAGE
