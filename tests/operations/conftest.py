"""What the tests of all operations share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_home(own_home: Path) -> None:
    """Each test has a home of its own."""
