"""Hosts that only take ``flock`` ruin the index they share with us; the next sync mends it.

Two hosts and syncs strictly take turns under one lock. But a host's client never notices what
others wrote, and at its next flush overwrites the index: then our vectors are gone, and the other
host's.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from harness import Workshop
from peer import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMED = "that reposync did not write have no readable vector any more"


class SharedCollection:
    """A repository and the notes of two hosts in one collection."""

    def __init__(self, folder: Path) -> None:
        self.shop = Workshop(folder / "tree", folder / "store", folder / "log")
        self.shop.tree.mkdir()
        self.hosts: list[Peer] = []
        self.notes: dict[str, str] = {}
        self.turn = 0

    def change_repository(self) -> None:
        """More files, and one that changes: a few hundred chunks."""
        self.turn += 1
        for name in [*(f"{self.turn}-{number}.md" for number in range(5)), "changing.md"]:
            paragraphs = (
                f"Turn {self.turn}, part {part} of {name}. " * 40 + "\n\n" for part in range(10)
            )
            (self.shop.tree / name).write_text("".join(paragraphs))

    def open_host(self) -> None:
        """One more host opens its client, and keeps it."""
        self.hosts.append(Peer(self.shop, "flock_host.py"))

    def write_notes(self, host: int, count: int) -> None:
        """A host writes, with the client that it has had from its start."""
        self.turn += 1
        texts = {f"{self.turn}-{n}": f"Note {n} of turn {self.turn}" for n in range(count)}
        self.hosts[host].ask("write", collection=self.shop.collection, texts=texts)
        self.notes |= texts

    def read(self, **where: str) -> dict[str, tuple[str, str]]:
        """What a client that was opened just now reads."""
        reader = Peer(self.shop, "flock_host.py")
        try:
            rows = reader.ask("read", collection=self.shop.collection, where=where)
        finally:
            reader.close()
        return {row_id: (text, state) for row_id, (text, state) in rows.items()}

    def problems(self) -> list[str]:
        """What the checker finds; that the hosts' rows are of no repository is no problem here."""
        found = self.shop.report()["problems"]
        hosts = tuple(f"row {row_id!r} " for row_id in self.notes)
        return [problem for problem in found if not problem.startswith(hosts)]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedCollection]:
    """Repository and hosts, each with rows in the collection."""
    all_three = SharedCollection(tmp_path)
    all_three.change_repository()
    all_three.shop.sync("cold sync")
    yield all_three
    for host in all_three.hosts:
        host.close()


def damage(shared: SharedCollection) -> None:
    """Take turns until both clients have flushed what they never refreshed."""
    for host in range(2):
        shared.open_host()
        shared.write_notes(host, 100)
    shared.change_repository()
    shared.shop.sync("while the hosts are idle")
    for host in range(2):
        shared.write_notes(host, 1100)
    assert "lost" in states(shared.read(repository=shared.shop.name)), "there is no damage"


def states(rows: dict[str, tuple[str, str]]) -> set[str]:
    """In how many ways the vectors of rows are."""
    return {state for _, state in rows.values()}


@pytest.mark.timeout(240)
def test_hosts_without_refresh_are_survived(shared: SharedCollection) -> None:
    """Ours comes back without embedding, theirs as far as it was readable; the rest is named."""
    damage(shared)
    before = shared.read(of="host")
    result = shared.shop.sync("the damage")
    assert (result["status"], result["chunks"]["embedded"]) == ("complete", 0)
    assert not shared.problems()

    after = shared.read(of="host")
    assert {row_id: text for row_id, (text, _) in after.items()} == shared.notes
    assert after == before, "what could be read of the hosts' rows still can be"

    lost = {row_id for row_id, (_, state) in after.items() if state == "lost"}
    assert lost, "the hosts did not overwrite each other"
    (warning,) = result["warnings"]
    found = re.fullmatch(rf"(\d+) rows .* {NAMED}.*: (.*), and \d+ more\. Until .*", warning)
    assert found, warning
    assert int(found[1]) == len(lost)
    assert set(found[2].split(", ")) <= lost

    os.utime(next(shared.shop.store.glob("*/header.bin")))  # so that the index is looked at again
    quiet = shared.shop.sync("the same, once it is known")
    assert (quiet["warnings"], quiet["chunks"]["added"]) == ([], 0)
