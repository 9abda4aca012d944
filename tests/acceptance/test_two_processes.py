"""A host with its own long-lived client and a syncing process share a store and lose nothing."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from peer import Neighbours, Notes, Peer, nothing_lost

if TYPE_CHECKING:
    from pathlib import Path

SEED = 7


def take_turns(folder: Path, parts: int, turns: int, *, fresh_every: int) -> None:
    """Let a host and a syncer alternate, each looking for what the other one just wrote.

    Both keep their clients through all parts; each part has a repository and notes of its own, so
    that the collections stay small, and no turn has to load a large index.
    """
    repositories: list[Neighbours] = []
    all_notes: list[Notes] = []
    with ExitStack() as stack:
        for part in range(parts):
            repositories.append(Neighbours(folder, SEED, f"repo{part}"))
            all_notes.append(Notes(f"notes{part}", SEED))
            if part == 0:
                shop = repositories[0].shop
                host, syncer = (stack.enter_context(closing(Peer(shop))) for _ in range(2))
            take_part(host, syncer, repositories[-1], all_notes[-1], turns, fresh_every)
    rows = 0
    for repository in repositories:  # by fresh processes, from here on
        report = repository.shop.check("all turns", "--sample", "500")
        rows += report["rows"]
    with closing(Peer(shop)) as auditor:
        written = nothing_lost(auditor, all_notes)
    print(f"\n{rows} rows of repositories and {written} of the host, none lost")
    assert written > 1000 * parts, "the index of the notes was flushed"
    assert max(shop.embedded().values()) == 1, "a text was embedded twice"


def take_part(
    host: Peer, syncer: Peer, repository: Neighbours, notes: Notes, turns: int, fresh_every: int
) -> None:
    """The turns of one repository."""
    shop = repository.shop
    sync = {"tree": str(shop.tree), "name": shop.name}
    for turn in range(1, turns + 1):
        repository.change()
        by = "client" if turn % 3 else "path"
        drafted = notes.draft()
        if turn % fresh_every == 0:
            result = shop.sync(f"turn {turn}")
            host.ask("write", collection=notes.name, texts=drafted)
        elif turn % 4 == 0:  # both at the same time
            syncer.begin("sync", **sync, by=by)
            host.begin("write", collection=notes.name, texts=drafted)
            result = syncer.answer()
            host.answer()
        else:
            result = syncer.ask("sync", **sync, by=by)
            host.ask("write", collection=notes.name, texts=drafted)
        notes.written(drafted)
        shop.collection = result["collection"]
        assert result["status"] == "complete"

        seen = host.ask("find rows", collection=shop.collection, path=repository.newest_path)
        assert seen["rows"] > 0, f"turn {turn}: the host does not see the newest file"
        assert not seen["lost"], f"turn {turn}: the host does not find {seen['lost']}"
        found = syncer.ask("find", collection=notes.name, texts=notes.some())
        assert not found["lost"], f"turn {turn}: the syncer does not find {found['lost']}"


@pytest.mark.timeout(240)
def test_host_and_sync_take_turns(tmp_path: Path) -> None:
    """In twenty turns, past flushes of the index, nothing is lost and all is seen at once."""
    take_turns(tmp_path, 1, 20, fresh_every=9)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_host_and_sync_take_two_thousand_turns(tmp_path: Path) -> None:
    """In two thousand turns of two clients nothing is lost and all is seen at once."""
    take_turns(tmp_path, 40, 50, fresh_every=50)
