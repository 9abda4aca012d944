"""Who wrote to a store's folder last: the state file, and what ``os.stat`` says of Chroma's files.

An open Chroma client never notices what another process writes, and overwrites it at its next index
flush. So whoever takes the store lock asks here first whether anybody else wrote in between. The
answer rests on two things:

- a *generation*, raised in ``.reposync/state.json`` before the first write of each hold, so that a
  holder who is killed in mid-write has already warned the others;
- (inode, size, mtime, ctime) of ``chroma.sqlite3``, its ``-wal`` and the files of the vector
  indexes, for writers who know nothing of us, and for damage. ``os.stat`` only: closing any
  descriptor of the database would drop the POSIX locks that Chroma's own SQLite holds on it in
  this process.

The state is written under the store lock only. Reading it without the lock may give a torn record;
that reads as "unknown", which is always safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reposync.errors import StoreUnavailable
from reposync.holder import Holder

STATE_FOLDER = ".reposync"
STATE_FILE = "state.json"

# A host that polls the lock file every 0.1 s, and knows nothing of our queue, gets in within about
# a second of holds, however many of us wait: after each second of them the lock is free this long.
BUSY_SECONDS = 1.0
GAP_SECONDS = 0.105

_INDEX_FILES = (
    "data_level0.bin",
    "header.bin",
    "index_metadata.pickle",
    "length.bin",
    "link_lists.bin",
)


@dataclass(frozen=True, slots=True)
class State:
    """What ``state.json`` says.

    Attributes:
        generation: raised before the first write of each hold; 0 before the first.
        stat: of Chroma's files at the end of the last hold; see `FolderState.stat`.
        doubtful_at: the generation since which index files may be half-written, because a holder
            died or files changed outside of any hold; such a file can crash whoever opens it.
        died_at: the generation since which a holder is known who died.
        restored_at: the generation at which the store was made of a backup that had been checked.
        holder: who holds the lock; left behind by a holder who died.
        released_at: when the last hold ended, in seconds since 1970.
        busy: seconds for which the lock was held since it was last free for `GAP_SECONDS`.
    """

    generation: int = 0
    stat: str = ""
    doubtful_at: int = 0
    died_at: int = 0
    restored_at: int = 0
    holder: Holder | None = None
    released_at: float = 0.0
    busy: float = 0.0

    @property
    def restored(self) -> bool:
        """True if the last doubt about index files is only that they were copied."""
        return 0 < self.doubtful_at == self.restored_at

    def rest(self) -> float:
        """For how many more seconds the lock is to be left to those who only poll it."""
        if self.busy < BUSY_SECONDS:
            return 0.0
        left = self.released_at + GAP_SECONDS - time.time()
        return left if 0 < left <= GAP_SECONDS else 0.0  # a clock that was set back is no reason

    def taken(self) -> State:
        """This state when the lock is taken now."""
        if 0 <= time.time() - self.released_at < GAP_SECONDS:
            return self
        return replace(self, busy=0.0)

    def released(self, held_seconds: float) -> State:
        """This state when the lock is let go now, after it was held for that long."""
        busy = self.busy + held_seconds
        return replace(self, released_at=time.time(), busy=busy, holder=None)


class FolderState:
    """The state of one store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / STATE_FOLDER / STATE_FILE
        self._files = (folder / "chroma.sqlite3", folder / "chroma.sqlite3-wal")

    def stat(self) -> str:
        """The stat of Chroma's files as one comparable string; "" if there is no store."""
        database, log = map(_stat, self._files)
        return f"{database}|{log}|{self._index_stat()}" if database else ""

    def _index_stat(self) -> str:
        """All index files in one hash: a few hundred bytes more would be written at each hold."""
        digest = hashlib.blake2b(digest_size=8)
        with os.scandir(self.folder) as entries:
            segments = sorted(e.path for e in entries if len(e.name) == 36 and e.is_dir())
        for segment in segments:
            # Written last; before the first flush, Chroma makes the other files anew whenever it
            # loads the index, and nothing is in them.
            # No `Path` is made: with a thousand collections that took longer than all the rest.
            if not _stat(f"{segment}/index_metadata.pickle"):
                continue
            for name in _INDEX_FILES:
                digest.update(f"{segment[-36:]}/{name}:{_stat(f'{segment}/{name}')};".encode())
        return digest.hexdigest()

    def glance(self) -> tuple[str, str]:
        """What changes when anybody takes the lock or writes; it costs two ``os.stat`` calls."""
        return _stat(self._path), _stat(self._files[0])

    def is_unwritten(self, state: State, glance: tuple[str, str]) -> bool:
        """True if nobody wrote to Chroma's database between the hold of `state` and `glance`."""
        return state.stat.partition("|")[0] == glance[1]

    def read(self) -> State | None:
        """The recorded state; None if it cannot be made out."""
        try:
            record: dict[str, Any] = json.loads(self._path.read_text("utf-8"))
            holder = record.pop("holder")
            # What another version noted besides does not matter here.
            known = {name: record[name] for name in State.__slots__ if name in record}
            return State(**known, holder=Holder(**holder) if holder else None)
        except FileNotFoundError:
            return State()
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, state: State) -> None:
        """Record `state`; call it under the store lock only.

        Raises:
            StoreUnavailable: it cannot be written.
        """
        try:
            self._path.parent.mkdir(exist_ok=True)
            # In place rather than by a rename: on Windows a rename fails while somebody reads, and
            # readers cope with a torn record.
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "wb") as file:
                file.write(json.dumps(asdict(state)).encode())
                file.truncate()
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path} cannot be written ({error}). Make the folder writable, or make room"
                " on the disk; what was written is kept, sync again to go on."
            ) from error

    def index_changed(self, state: State) -> bool:
        """True if index files are not as they were at the end of the last hold."""
        stat = self.stat()
        return bool(stat and state.stat) and _index_part(state.stat) != _index_part(stat)

    def token(self) -> str:
        """What identifies the store's present content, "" if that cannot be said now."""
        state = self.read()
        if state is None or state.holder is not None or state.stat != self.stat():
            return ""
        return make_token(state)

    @contextmanager
    def held(self) -> Iterator[Hold]:
        """Call it right after the lock was taken; leave it right before the lock is released."""
        state, stat = self.read(), self.stat()
        if state is not None and not state.generation:
            # No record, or it was removed: never count again what some system may reflect already.
            state = replace(state, generation=time.time_ns())
        if state is None:
            # Torn: its writer died in the middle. Any higher number is a new generation.
            state = State(generation=time.time_ns(), holder=Holder.me())
        if state.holder is not None:
            raised = state.generation + 1
            state = replace(state, generation=raised, doubtful_at=raised, died_at=raised)
        elif stat and state.stat not in ("", stat):
            raised = state.generation + 1
            state = replace(state, generation=raised)
            if _index_part(state.stat) != _index_part(stat):
                state = replace(state, doubtful_at=raised)
        hold = Hold(self, replace(state.taken(), stat=stat, holder=Holder.me()))
        self.write(hold.state)
        since = time.monotonic()
        try:
            yield hold
        finally:
            ended = hold.state.released(time.monotonic() - since)
            hold.state = replace(ended, stat=self.stat())
            self.write(hold.state)


@dataclass(slots=True)
class Hold:
    """One hold of the store lock.

    Attributes:
        state: what is recorded when it ends.
        warned: the others know that it writes.
        refreshed: somebody else wrote before it, so that clients were brought up to date.
        loaded: after that, the index that is written to was loaded again.
        shut: readers of this process wait for its end, too.
    """

    folder: FolderState
    state: State
    warned: bool = False
    refreshed: bool = False
    loaded: bool = False
    shut: bool = False

    def will_write(self) -> None:
        """Warn the others before the first write; a kill after this is noticed by them."""
        if self.warned:
            return
        self.warned = True
        self.state = replace(self.state, generation=self.state.generation + 1)
        self.folder.write(self.state)


def make_token(state: State) -> str:
    """`state` as a freshness token; it does not outlive a reboot.

    After a power failure Chroma's files may have fallen back behind what was acknowledged, under
    stats that look the same.
    """
    return f"{state.generation}:{state.stat}:{_boot_id()}"


def _stat(path: str | Path) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{found.st_ino},{found.st_size},{found.st_mtime_ns},{found.st_ctime_ns}"


def _index_part(stat: str) -> str:
    return stat.rpartition("|")[2]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # not Linux; there the token simply has one part less
        return ""
