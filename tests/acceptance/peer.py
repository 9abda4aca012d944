"""What the tests of several processes share: long-lived `host.py` processes, and their work.

A process keeps its client open for the whole test, which is what makes Chroma lose vectors where
its folder is protected by a lock alone: a client never notices what another process wrote, and
overwrites it when it next flushes its index.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import random
import threading
from typing import TYPE_CHECKING, Any

from harness import DEADLINE, Workshop, start

if TYPE_CHECKING:
    from pathlib import Path


class Peer:
    """A `host.py` process: commands in, answers out, never without a deadline."""

    def __init__(self, shop: Workshop, script: str = "host.py", *extra: str) -> None:
        where = ["--store", shop.store, "--log", shop.log]
        self.process = start(script, *where, *extra, stdin=-1, stderr=None)
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
        assert "error" not in answer, answer["error"]
        return answer

    def kill(self) -> list[dict[str, Any]]:
        """Kill the process as it is; what it had answered that nobody read."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        unread = [self.answers.get() for _ in range(self.answers.qsize())]
        self.close()
        return [json.loads(line) for line in unread if line.endswith("\n")]

    def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.begin(do, **command)
        return self.answer()

    def close(self) -> None:
        """Let the process end; kill it if it does not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a killed one reads no more
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()


class Neighbours:
    """A repository that changes at each turn, and its store."""

    def __init__(self, folder: Path, seed: int, name: str = "repo") -> None:
        self.shop = Workshop(folder / name, folder / "store", folder / "log", name)
        self.shop.tree.mkdir()
        self.chance = random.Random(f"{seed} {name}")
        self.newest_path = ""
        self.turn = 0

    def change(self) -> None:
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


class Notes:
    """A collection of a host's, and the text that each of its rows must have."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.chance = random.Random(f"{seed} {name}")
        self.texts: dict[str, str] = {}
        self.newest: dict[str, str] = {}
        self.turn = 0

    def draft(self, least: int = 1, most: int = 400) -> dict[str, str]:
        """Rows to write: new ones, mostly few, and some that are there already."""
        self.turn += 1
        new = int(math.exp(self.chance.uniform(math.log(least), math.log(most + 1))))
        drafted = {
            f"{self.turn}-{number}": f"Note {number} of turn {self.turn} in {self.name}"
            for number in range(new)
        }
        for key in self.chance.sample(sorted(self.texts), min(3, len(self.texts))):
            drafted[key] = f"{self.texts[key]}, changed in turn {self.turn}"
        return drafted

    def written(self, drafted: dict[str, str]) -> None:
        """These rows are in the store: a host said so."""
        self.texts |= drafted
        self.newest = drafted

    def some(self, most: int = 8) -> dict[str, str]:
        """A few of the rows, some of them the newest."""
        keys = {
            key
            for texts in (self.newest, self.texts)
            for key in self.chance.sample(sorted(texts), min(most, len(texts)))
        }
        return {key: self.texts[key] for key in sorted(keys)}


def nothing_lost(auditor: Peer, all_notes: list[Notes]) -> int:
    """Each row that the hosts wrote is there, right and found, and no other; how many there are."""
    for notes in all_notes:
        audit = auditor.ask("audit", collection=notes.name, texts=notes.texts)
        faults = audit["faults"]
        assert not faults, f"{notes.name}: {len(faults)} of {audit['rows']}: {faults[:9]}"
        assert audit["rows"] == len(notes.texts)
    return sum(len(notes.texts) for notes in all_notes)
