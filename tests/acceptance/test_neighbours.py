"""Neighbours of a sync get their turn. How long they wait is measured in `tests/benchmarks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trees
from neighbour import Visit
from street import passed, run_street

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(240)
def test_all_neighbours_get_their_turn(tmp_path: Path) -> None:
    """Beside a sync of many holds nobody is passed by more than four holds for each who waits."""
    trees.small(tmp_path / "tree")
    upsert = ["upsert", "--every", "0.02"]
    account = run_street(
        tmp_path / "street",
        tmp_path / "tree",
        [upsert, upsert, ["flock", "--every", "0.1"]],
        sync=("--query", "reading", "--batch-rows", "32"),
    )
    assert account.sync["status"] == "complete"
    stays = {stay.who: stay for stay in account.stays}
    assert account.holds.count >= 10
    assert min(stays["upsert"].waits.count, stays["query"].waits.count) >= 5
    assert stays["upsert"].most_passed <= account.most_passed
    assert stays["query"].most_passed <= account.most_passed
    # Who only polls gets no turn, but the gaps that the others leave: it must not starve.
    assert stays["flock"].waits.count >= 2


def test_a_record_tells_who_was_passed() -> None:
    """The holds of others that began in between count, and no others."""
    waited = Visit("a 1", wanted=10, entered=50, left=60)
    others = [
        Visit("sync MainThread", wanted=0, entered=5, left=20),
        Visit("b 2", wanted=4, entered=21, left=30),
        Visit("sync MainThread", wanted=22, entered=31, left=49),
        Visit("b 2", wanted=32, entered=61, left=70),
    ]
    assert passed(waited, [*others, waited]) == 2
