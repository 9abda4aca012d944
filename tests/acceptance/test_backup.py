"""Backups that are taken while two processes write restore to stores that lack nothing."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hash_embedding import HashEmbedding, read_log
from peer import Neighbours, Notes, Peer

from reposync import backup_store, restore_store, verify_backup, verify_repository

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from harness import Workshop

    from reposync import BackupReport

SEED = 23
BATCH = 128
"""`SyncConfig.batch_rows`: as many texts may be embedded and not noted yet."""


@dataclass
class Saved:
    """One backup, and what was acknowledged before it began.

    Attributes:
        amid: both processes were still writing when it ended.
    """

    result: BackupReport
    notes: dict[str, str]
    embedded: Counter[str]
    amid: bool


def back_up_amid(folder: Path, repository: Neighbours, notes: Notes, count: int) -> list[Saved]:
    """Let a sync and a host write at the same time, and take backups all the while."""
    shop, saved = repository.shop, []
    with ExitStack() as stack:
        host, syncer = (stack.enter_context(closing(Peer(shop))) for _ in range(2))
        syncer.begin("sync", tree=str(shop.tree), name=shop.name, by="client")
        for number in range(count):
            drafted = notes.draft(500, 600)
            host.begin("write", collection=notes.name, texts=drafted)
            # Those that are written again right now may be there as they were, or as they will be.
            known = {key: text for key, text in notes.texts.items() if key not in drafted}
            embedded = shop.embedded()
            result = backup_store(folder / f"backup{number}", store=shop.store)
            amid = syncer.answers.empty()
            host.answer()
            notes.written(drafted)
            saved.append(Saved(result, known, embedded, amid))
        shop.collection = syncer.answer()["collection"]
    return saved


def check_restored(shop: Workshop, notes: Notes, saved: Saved) -> None:
    """All that was acknowledged is in the restored store, and a sync makes it exact."""
    assert verify_backup(saved.result.path).ok
    folder = shop.store.parent / f"{saved.result.path}-restored"
    restore_store(saved.result.path, store=folder / "store")
    again = replace(shop, store=folder / "store", log=folder / "log", seconds={})
    with closing(Peer(again)) as host:
        if saved.notes:
            found = host.ask("find", collection=notes.name, texts=saved.notes)
            assert not found["lost"]
        result = host.ask("sync", tree=str(shop.tree), name=shop.name, by="client")
    assert result["status"] == "complete"
    again.check("the restore", "--sample", "300")
    found = verify_repository(
        shop.name,
        shop.tree,
        store=again.store,
        level="vectors",
        embedding_function=HashEmbedding(),
    )
    assert found.ok, str(found)
    anew = read_log(again.log) if again.log.exists() else {}
    twice = sum(text in saved.embedded for text in anew)
    assert twice <= BATCH, f"{twice} texts that were there before the backup were embedded again"
    unchanged = again.sync("no change")
    assert unchanged["chunks"]["embedded"] == unchanged["chunks"]["added"] == 0


def write_and_restore(folder: Path, changes: int, count: int) -> None:
    """Back up a store amid its writers so often, and restore each backup."""
    repository, notes = Neighbours(folder, SEED), Notes("notes", SEED)
    for _ in range(changes):
        repository.change()
    saved = back_up_amid(folder, repository, notes, count)
    assert saved[0].amid, "the sync had ended before the first backup"
    for one in saved:
        check_restored(repository.shop, notes, one)
    held = [round(one.result.hold_seconds, 3) for one in saved]
    print(f"\nlocked for {held} s; rows: {[one.result.collections for one in saved]}")
    assert sum(saved[-1].result.collections.values()) > 1000, "no index was ever flushed"


@pytest.mark.timeout(240)
def test_backups_while_two_processes_write(tmp_path: Path) -> None:
    """A sync, a host and backups at once: each backup restores to an exact store."""
    write_and_restore(tmp_path, 50, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_backups_while_two_processes_write(tmp_path: Path) -> None:
    """The same for a larger repository, and twelve backups."""
    write_and_restore(tmp_path, 400, 12)
