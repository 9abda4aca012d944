"""Four threads and four processes sync eight repositories into one store at once."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import chromadb
import pytest
from checker import HashVectors, check_collection, expected_files
from chromadb.config import Settings
from hash_embedding import HashEmbedding
from host import open_files
from peer import Neighbours, Peer

from reposync import ChromaLock, sync_repository

if TYPE_CHECKING:
    from pathlib import Path

SEED = 5
DEADLINE = 100.0
SHARED = {"repo2": "shared", "repo3": "shared", "repo4": "shared", "repo5": "shared"}
"""Two of those that threads sync and two of those that processes sync are in one collection."""


@dataclass
class Town:
    """One store and eight repositories, of which four are synced by processes of their own."""

    repositories: list[Neighbours]
    peers: list[Peer]

    @property
    def store(self) -> Path:
        return self.repositories[0].shop.store

    def sync_all(self, *, changes: int) -> None:
        """Change all repositories, then sync all of them at once."""
        for repository in self.repositories:
            for _ in range(changes):
                repository.change()
        by_process = self.repositories[len(self.peers) :]
        by_thread = self.repositories[: len(self.peers)]
        for peer, repository in zip(self.peers, by_process, strict=True):
            peer.begin("sync", **arguments(repository), by="path")
        with ThreadPoolExecutor(len(by_thread)) as pool:
            results = list(pool.map(sync_here, by_thread, timeout=DEADLINE))
        results += [peer.answer() for peer in self.peers]
        assert [result["status"] for result in results] == ["complete"] * len(results)

    def check(self) -> int:
        """Each repository is exactly in step, and nobody has anything of the store in hand."""
        assert comes_true(lambda: not open_files(self.store))
        for peer in self.peers:
            assert peer.ask("census") == {"threads": ["MainThread"], "files": []}
        self._take_all_locks()
        rows = 0
        with ChromaLock(self.store):
            settings = Settings(anonymized_telemetry=False)
            with closing(chromadb.PersistentClient(str(self.store), settings)) as client:
                for repository in self.repositories:
                    name = repository.shop.name
                    texts, _ = expected_files(repository.shop.tree)
                    collection = SHARED.get(name, name)
                    report = check_collection(
                        client, collection, name, texts, vectors=HashVectors()
                    )
                    assert not report.problems, "\n".join(report.problems[:20])
                    rows += report.rows
        return rows

    def _take_all_locks(self) -> None:
        """Nobody holds a lock, or stands in line for one."""
        locks = [*self.store.glob("*.lock"), *self.store.glob(".*.lock")]
        locks += self.store.glob(".reposync/**/*.lock")
        assert len(locks) > len(self.repositories)
        for path in locks:
            descriptor = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(descriptor)
        assert not list(self.store.glob(".reposync/queue/*"))


def arguments(repository: Neighbours) -> dict[str, Any]:
    shop = repository.shop
    return {"tree": str(shop.tree), "name": shop.name, "collection": SHARED.get(shop.name)}


def sync_here(repository: Neighbours) -> dict[str, Any]:
    """Sync in a thread of this process, with a client that is open for this call only."""
    shop, known = repository.shop, arguments(repository)
    function = HashEmbedding(log=shop.log)
    result = sync_repository(
        shop.tree,
        shop.name,
        store=shop.store,
        collection=known["collection"],
        embedding_function=function,
    )
    result.raise_for_failures()
    return result.model_dump(mode="json")


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def comes_true(met: Callable[[], bool]) -> bool:
    """Wait a little: Chroma closes its files some time after its client was closed."""
    ends = time.monotonic() + 5
    while not met():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


def sync_three_rounds(folder: Path, *, first: int, then: int) -> None:
    """Three rounds of eight syncs at once, each after so many changes of each repository."""
    town = Town([Neighbours(folder, SEED, f"repo{number}") for number in range(8)], [])
    with ExitStack() as stack:
        for repository in town.repositories[4:]:
            peer = Peer(repository.shop, "host.py", "--without-client")
            town.peers.append(stack.enter_context(closing(peer)))
        town.sync_all(changes=first)
        rows = town.check()
        threads, open_now = threading.enumerate(), descriptors()
        for _ in range(2):
            town.sync_all(changes=then)
            rows += town.check()
        assert threading.enumerate() == threads
        assert comes_true(lambda: descriptors() <= open_now)
    texts = town.repositories[0].shop.embedded()
    assert max(texts.values()) == 1, "a text was embedded twice"
    print(f"\n{rows} rows checked in three rounds")


def test_eight_syncs_at_once(tmp_path: Path) -> None:
    """Each of three rounds ends, all repositories are exact, and nothing is left behind."""
    sync_three_rounds(tmp_path, first=4, then=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_larger_syncs_at_once(tmp_path: Path) -> None:
    """The same with repositories whose indexes are flushed meanwhile."""
    sync_three_rounds(tmp_path, first=60, then=8)
