"""A host with its own long-lived client and a syncing process share a store and lose nothing.

Both keep their clients open for the whole test, which is what makes Chroma lose vectors where its
folder is protected by a lock alone: a client never notices what another process wrote, and
overwrites it when it next flushes its index.
"""

from __future__ import annotations

import json
import queue
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import DEADLINE, Workshop, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Peer:
    """A `host.py` process: commands in, answers out, never without a deadline."""

    def __init__(self, shop: Workshop, script: str = "host.py") -> None:
        self.process = start(
            script, "--store", shop.store, "--log", shop.log, stdin=-1, stderr=None
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        try:
            assert self.answer() == {"ready": True}
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def begin(self, do: str, **command: Any) -> None:
        """Send a command and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **command}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        line = self.answers.get(timeout=DEADLINE)
        assert line, "the process ended; see its error output"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.begin(do, **command)
        return self.answer()

    def close(self) -> None:
        """Let the process end; kill it if it does not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()


class Neighbours:
    """A repository that changes at each turn, a host's notes, and a record of both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.shop = Workshop(folder / "tree", folder / "store", folder / "log")
        self.shop.tree.mkdir()
        self.chance = random.Random(seed)
        self.notes: dict[str, str] = {}
        self.newest_notes: dict[str, str] = {}
        self.newest_path = ""
        self.turn = 0

    def change_repository(self) -> None:
        """Add a few files, change one, and now and then delete or move some."""
        self.turn += 1
        for number in range(self.chance.randint(2, 6)):
            self.newest_path = f"turn{self.turn}-{number}.txt"
            self._fill(self.newest_path)
        old = sorted(self.shop.tree.glob("*.txt"))
        self._fill(self.chance.choice(old).name)
        if self.turn % 4 == 0:
            self.chance.choice(old).unlink(missing_ok=True)
            moved = self.chance.choice(old)
            if moved.exists():
                moved.rename(moved.with_name(f"moved{self.turn}.txt"))
        if not (self.shop.tree / self.newest_path).exists():
            self._fill(self.newest_path)

    def _fill(self, path: str) -> None:
        lines = [
            f"Turn {self.turn}, line {line} of {path}: {self.chance.random():.17f}, and so on.\n"
            for line in range(self.chance.choice([3, 10, 40, 80]))
        ]
        (self.shop.tree / path).write_text("".join(lines), "utf-8")

    def new_notes(self, most: int) -> dict[str, str]:
        """Rows for the host to write: new ones, and a few that it wrote before."""
        self.newest_notes = {
            f"{self.turn}-{number}": f"Note {number} of turn {self.turn}"
            for number in range(self.chance.randint(1, most))
        }
        for key in self.chance.sample(sorted(self.notes), min(3, len(self.notes))):
            self.newest_notes[key] = f"{self.notes[key]}, changed in turn {self.turn}"
        self.notes |= self.newest_notes
        return self.newest_notes

    def some(self, texts: dict[str, str], most: int = 8) -> dict[str, str]:
        """A few of the texts."""
        keys = self.chance.sample(sorted(texts), min(most, len(texts)))
        return {key: texts[key] for key in keys}


@pytest.fixture
def neighbours(tmp_path: Path) -> Neighbours:
    """A new repository and store."""
    return Neighbours(tmp_path, seed=7)


@pytest.fixture
def peers(neighbours: Neighbours) -> Iterator[list[Peer]]:
    """The processes of a test; all end with it."""
    started: list[Peer] = []
    yield started
    for peer in started:
        peer.close()


def take_turns(
    neighbours: Neighbours, peers: list[Peer], turns: int, *, notes: int, fresh_every: int
) -> None:
    """Let host and syncer alternate, each looking for what the other one just wrote."""
    shop = neighbours.shop
    host, syncer = Peer(shop), Peer(shop)
    peers += [host, syncer]
    sync = {"tree": str(shop.tree), "name": shop.name}
    for turn in range(1, turns + 1):
        neighbours.change_repository()
        by = "client" if turn % 3 else "path"
        if turn % fresh_every == 0:
            result = shop.sync(f"turn {turn}")
            host.ask("write", texts=neighbours.new_notes(notes))
        elif turn % 4 == 0:  # both at the same time
            syncer.begin("sync", **sync, by=by)
            host.begin("write", texts=neighbours.new_notes(notes))
            result = syncer.answer()
            host.answer()
        else:
            result = syncer.ask("sync", **sync, by=by)
            host.ask("write", texts=neighbours.new_notes(notes))
        shop.collection = result["collection"]
        assert result["status"] == "complete"

        seen = host.ask("find rows", collection=shop.collection, path=neighbours.newest_path)
        assert seen["rows"] > 0, f"turn {turn}: the host does not see the newest file"
        assert not seen["lost"], f"turn {turn}: the host does not find {seen['lost']}"
        for texts in (neighbours.newest_notes, neighbours.notes):
            found = syncer.ask("find", collection="notes", texts=neighbours.some(texts))
            assert not found["lost"], f"turn {turn}: the syncer does not find {found['lost']}"


def nothing_lost(neighbours: Neighbours, peers: list[Peer]) -> None:
    """Fresh processes read every vector of both collections."""
    while peers:
        peers.pop().close()
    shop = neighbours.shop
    report = shop.check("all turns", "--sample", "500")
    auditor = Peer(shop)
    peers.append(auditor)
    audit = auditor.ask("audit", collection="notes", texts=neighbours.notes)
    assert not audit["faults"], f"{len(audit['faults'])} of {audit['rows']}: {audit['faults'][:9]}"
    assert audit["rows"] == len(neighbours.notes)
    print(f"\n{report['rows']} rows of the repository, {audit['rows']} of the host, none lost")
    assert max(shop.embedded().values()) == 1, "a text was embedded twice"


@pytest.mark.timeout(240)
def test_host_and_sync_take_turns(neighbours: Neighbours, peers: list[Peer]) -> None:
    """In twenty turns, past flushes of the index, nothing is lost and all is seen at once."""
    take_turns(neighbours, peers, 20, notes=150, fresh_every=9)
    nothing_lost(neighbours, peers)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_host_and_sync_take_two_hundred_turns(neighbours: Neighbours, peers: list[Peer]) -> None:
    """In two hundred turns nothing is lost and all is seen at once."""
    take_turns(neighbours, peers, 200, notes=60, fresh_every=20)
    nothing_lost(neighbours, peers)
