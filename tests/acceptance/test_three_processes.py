"""Two hosts and a syncer write to one store at once, and any of them is killed at any instant.

What a process had acknowledged is there afterwards, whoever was killed in between; of the call that
it was killed in, each row is there or not.

One loss is Chroma's own and cannot be prevented from outside: a process that dies while Chroma
writes the files of a vector index can ruin that index (what a sync loses so, the next sync
restores; a host's rows are the host's). So a host's collection may be ruined if, and only if, that
host was killed in mid-write and index files changed in that very call; it is then made anew.
"""

from __future__ import annotations

import contextlib
import queue
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from harness import index_files
from peer import Neighbours, Notes, Peer, nothing_lost

if TYPE_CHECKING:
    from pathlib import Path

SEED = 11
BATCH = 128
"""`SyncConfig.batch_rows`: as many texts may be in flight when a sync is killed."""
HOSTS = ("ada", "ben")
SYNCER = "syncer"


@dataclass
class Crowd:
    """Three processes with clients of their own, what they wrote, and who was killed."""

    folder: Path
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    peers: dict[str, Peer] = field(default_factory=dict)
    repositories: list[Neighbours] = field(default_factory=list)
    notes: dict[str, list[Notes]] = field(default_factory=lambda: {host: [] for host in HOSTS})
    kills: list[str] = field(default_factory=list)
    in_mid_call: list[str] = field(default_factory=list)
    ruined: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Neighbours:
        return self.repositories[-1]

    def begin_part(self) -> None:
        """From now on another repository, and other collections of the hosts."""
        self.repositories.append(Neighbours(self.folder, SEED, f"repo{len(self.repositories)}"))
        for host in HOSTS:
            self._begin_notes(host)

    def _begin_notes(self, host: str) -> None:
        self.notes[host].append(Notes(f"notes-{host}-{len(self.notes[host])}", SEED))

    def start(self, *names: str) -> None:
        for name in names:
            self.peers[name] = Peer(self.repository.shop)

    def close(self) -> None:
        while self.peers:
            self.peers.popitem()[1].close()

    def fill(self) -> None:
        """Let all write so much that their indexes are flushed within the next rounds."""
        for _ in range(40):
            self.repository.change()
        for host in HOSTS:
            notes = self.notes[host][-1]
            drafted = notes.draft(800, 950)
            self.peers[host].ask("write", collection=notes.name, texts=drafted)
            notes.written(drafted)
        self._sync()

    def round(self, victims: list[str]) -> None:
        """All three at once; the victims are killed at some instant, and then replaced."""
        self.repository.change()
        shop = self.repository.shop
        before = index_files(shop.store)
        drafts = {host: self.notes[host][-1].draft() for host in HOSTS}
        for host in HOSTS:
            self.peers[host].begin(
                "write", collection=self.notes[host][-1].name, texts=drafts[host]
            )
        by = self.chance.choice(["client", "path"])
        self.peers[SYNCER].begin("sync", tree=str(shop.tree), name=shop.name, by=by)
        time.sleep(self.chance.uniform(0.0, 0.3))
        answers = {name: self.peers.pop(name).kill() for name in victims}
        answers |= {name: [peer.answer()] for name, peer in self.peers.items()}
        flushed = index_files(shop.store) != before
        self.kills += victims
        self.start(*victims)
        for host in HOSTS:
            notes = self.notes[host][-1]
            if answers[host]:
                notes.written(drafts[host])
            else:
                self._find_out(host, drafts[host], flushed=flushed)
        if not answers[SYNCER]:
            self.in_mid_call.append(SYNCER)
        self._see_each_other(answers[SYNCER] or [self._sync()])

    def _sync(self) -> dict[str, Any]:
        shop = self.repository.shop
        return self.peers[SYNCER].ask("sync", tree=str(shop.tree), name=shop.name, by="client")

    def _find_out(self, host: str, drafted: dict[str, str], *, flushed: bool) -> None:
        """Which rows of a write that was never acknowledged are there; all others must be."""
        self.in_mid_call.append(host)
        notes = self.notes[host][-1]
        try:
            if self.peers[host].ask("collections").get(notes.name) is None:
                assert not notes.texts, f"{notes.name} is gone"
                return
            found = self.peers[host].ask("texts", collection=notes.name, keys=list(drafted))
            for key, text in found["texts"].items():
                assert text in (drafted[key], notes.texts.get(key)), f"{key} is {text!r}"
            notes.written(found["texts"])
            nothing_lost(self.peers[host], [notes])
        except (AssertionError, queue.Empty):
            if not flushed:
                raise
            self.ruined.append(notes.name)
            self.peers.pop(host).kill()
            self.start(host)
            self.peers[host].ask("forget", collection=notes.name)
            self.notes[host].pop()
            self._begin_notes(host)

    def _see_each_other(self, results: list[dict[str, Any]]) -> None:
        """Each finds at once what the others wrote."""
        shop, path = self.repository.shop, self.repository.newest_path
        (result,) = results
        assert result["status"] == "complete"
        shop.collection = result["collection"]
        for host in HOSTS:
            seen = self.peers[host].ask("find rows", collection=shop.collection, path=path)
            assert seen["rows"] > 0, f"{host} does not see {path} after {self.kills}"
            assert not seen["lost"], f"{host} does not find {seen['lost']} after {self.kills}"
            notes = self.notes[host][-1]
            for name in self.peers.keys() - {host} if notes.texts else ():
                lost = self.peers[name].ask("find", collection=notes.name, texts=notes.some())
                assert not lost["lost"], f"{name} does not find {lost} after {self.kills}"

    def nothing_lost(self) -> None:
        """Fresh processes read every vector of every collection."""
        self.close()
        rows = 0
        for repository in self.repositories:
            rows += repository.shop.check(f"kills of {self.kills}", "--sample", "300")["rows"]
        with contextlib.closing(Peer(self.repository.shop)) as auditor:
            all_notes = [notes for of in self.notes.values() for notes in of if notes.texts]
            written = nothing_lost(auditor, all_notes)
        again = sum(times - 1 for times in self.repository.shop.embedded().values())
        assert again <= BATCH * self.in_mid_call.count(SYNCER)
        print(
            f"\n{rows} rows of repositories and {written} of hosts; {len(self.kills)} kills,"
            f" {len(self.in_mid_call)} in mid-call; ruined by a kill in a flush: {self.ruined};"
            f" {again} texts embedded again"
        )


def kill_at_random(folder: Path, parts: int, rounds: int) -> Crowd:
    """A crowd of which one, and sometimes several, are killed in each round."""
    crowd = Crowd(folder)
    with ExitStack() as stack:
        stack.callback(crowd.close)
        for _ in range(parts):
            crowd.begin_part()
            if not crowd.peers:
                crowd.start(*HOSTS, SYNCER)
            crowd.fill()
            for number in range(rounds):
                first = (*HOSTS, SYNCER)[number % 3]
                others = [name for name in (*HOSTS, SYNCER) if name != first]
                more = crowd.chance.choice([0, 0, 0, 0, 1, 2])
                crowd.round([first, *crowd.chance.sample(others, more)])
        crowd.nothing_lost()
    return crowd


@pytest.mark.timeout(240)
def test_kills_lose_nothing_of_the_others(tmp_path: Path) -> None:
    """After kills of each of three processes all that was acknowledged is there and right."""
    crowd = kill_at_random(tmp_path, 1, 5)
    assert set(crowd.kills) == {*HOSTS, SYNCER}


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_hundreds_of_kills_lose_nothing_of_the_others(tmp_path: Path) -> None:
    """The same with three hundred kills and more, among ten repositories."""
    crowd = kill_at_random(tmp_path, 10, 30)
    assert len(crowd.kills) >= 300
    assert len(crowd.in_mid_call) >= 150, "most kills come in mid-call"
