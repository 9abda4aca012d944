"""Killed at any touch of the disk, an operation leaves all usable, and can be repeated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Desk, make_folder

from operations.kills import OPERATIONS, prepare

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A synced repository with its backup and its export."""
    folder = make_folder("reposync-kills-")
    yield prepare(folder)
    shutil.rmtree(folder)


def kill(operation: str, desk: Desk, points: int) -> dict[str, Any]:
    """Have an operation killed at so many points, see `operations.kills`."""
    paths = [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.run(
        [sys.executable, "-m", "operations.kills", operation, desk.root.parent, str(points)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert child.returncode == 0, child.stderr[-6000:]
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    print(operation, found)
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_on_the_way(desk: Desk, operation: str) -> None:
    """A few kills, from the first touch of the disk to the last."""
    found = kill(operation, desk, 5)
    assert found["killed"] == 5
    assert found["left"]["nothing"], "a kill at the first touch leaves nothing"
    assert len(found["left"]) > 1, "a kill at the last touch leaves what is complete"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_touch(desk: Desk, operation: str) -> None:
    """A kill at each touch of the disk there is."""
    found = kill(operation, desk, 100_000)
    assert found["killed"] == found["touches"] > 20
