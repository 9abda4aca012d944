"""Freshness: whoever takes the store lock learns whether anybody else wrote in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings

from reposync.freshness import STATE_FILE, STATE_FOLDER, FolderState, State
from reposync.holder import Holder
from reposync.lock import ChromaLock

DEADLINE = 60


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store; Chroma's database is a stand-in, since only its stat is looked at."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "chroma.sqlite3").write_bytes(b"rows")
    return folder


@pytest.fixture
def folder(store: Path) -> FolderState:
    """Its state, after one hold that wrote."""
    state = FolderState(store)
    take(state, write=True)
    return state


def take(folder: FolderState, *, write: bool = False) -> State:
    """One hold; the state as it began, with what the hold itself raised."""
    with folder.held() as hold:
        if write:
            hold.will_write()
        return hold.state


def known(folder: FolderState) -> State:
    """The recorded state, which must be readable."""
    state = folder.read()
    assert state is not None
    return state


def write_as_a_stranger(store: Path, name: str = "chroma.sqlite3") -> None:
    """Write to Chroma's files as a program that knows nothing of us."""
    with open(store / name, "ab") as file:
        file.write(b"more")


# -- generations -------------------------------------------------------------------------------


def test_the_generation_is_raised_before_the_first_write(folder: FolderState) -> None:
    """A writer has warned the others before it writes, so that a kill does not hide it."""
    before = known(folder).generation
    with folder.held() as hold:
        assert known(folder).generation == before
        hold.will_write()
        on_disk = known(folder)
        assert on_disk.generation == before + 1
        assert on_disk.holder is not None
        assert on_disk.holder.pid == os.getpid()
    assert known(folder).generation == before + 1
    assert known(folder).holder is None


def test_a_hold_that_only_reads_raises_nothing(folder: FolderState) -> None:
    """Reading under the lock is no news to anybody."""
    before = known(folder)
    take(folder)
    after = known(folder)
    assert after == replace(before, released_at=after.released_at, busy=after.busy)


def test_our_own_writes_are_not_foreign(store: Path, folder: FolderState) -> None:
    """What changes during a hold is the holder's doing."""
    with folder.held() as hold:
        hold.will_write()
        write_as_a_stranger(store)
    before = known(folder)
    assert take(folder).generation == before.generation


def test_a_hold_that_fails_ends_properly(store: Path, folder: FolderState) -> None:
    """An error in a hold is no death: the record is closed and later holds find nothing odd."""
    with suppress(KeyboardInterrupt), folder.held() as hold:
        hold.will_write()
        write_as_a_stranger(store)
        raise KeyboardInterrupt
    state = known(folder)
    assert (state.holder, state.doubtful_at, state.stat) == (None, 0, folder.stat())


# -- strangers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chroma.sqlite3", "chroma.sqlite3-wal"])
def test_a_strangers_write_is_noticed(store: Path, folder: FolderState, name: str) -> None:
    """A write by a program that takes no part is a new generation."""
    before = known(folder).generation
    write_as_a_stranger(store, name)
    state = take(folder)
    assert state.generation == before + 1
    assert known(folder).generation == before + 1
    assert take(folder).generation == before + 1, "it is news once"


def test_a_replaced_database_is_noticed(store: Path, folder: FolderState) -> None:
    """Another file of the same size and time under the same name is a stranger's doing."""
    before = known(folder).generation
    database = store / "chroma.sqlite3"
    found = database.stat()
    copy = store / "copy"
    copy.write_bytes(database.read_bytes())
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
    copy.replace(database)
    assert take(folder).generation == before + 1


def test_a_removed_store_is_no_stranger(store: Path, folder: FolderState) -> None:
    """A store whose files are gone holds nothing that could be stale."""
    before = known(folder).generation
    (store / "chroma.sqlite3").unlink()
    assert take(folder).generation == before
    assert known(folder).doubtful_at == 0


def test_a_store_that_is_new_to_us_is_nobodys_fault(store: Path) -> None:
    """The first hold on a store that others made blames nobody for what is there."""
    folder = FolderState(store)
    state = take(folder)
    assert (state.died_at, state.doubtful_at) == (0, 0)
    assert known(folder).stat == folder.stat() != ""


INDEX = "0a0a0a0a-0000-4000-8000-000000000001/data_level0.bin"


def test_an_index_file_that_changed_outside_of_any_hold_is_doubtful(
    store: Path, folder: FolderState
) -> None:
    """Chroma's index files may be half-written if nobody among us was there when they changed."""
    index = store / INDEX
    with folder.held() as hold:
        hold.will_write()
        index.parent.mkdir()
        index.write_bytes(b"index")
        (index.parent / "index_metadata.pickle").write_bytes(b"the last file of a flush")
    assert take(folder).doubtful_at == 0, "written by a holder"

    write_as_a_stranger(store)
    assert take(folder).doubtful_at == 0, "the database alone makes no index doubtful"

    write_as_a_stranger(store, INDEX)
    state = take(folder)
    assert state.doubtful_at == state.generation

    index.unlink()
    raised = take(folder)
    assert raised.doubtful_at == raised.generation == state.generation + 1
    assert take(folder).generation == raised.generation, "it is news once"


def test_a_removed_record_counts_no_generation_again(folder: FolderState) -> None:
    """Whoever noted a generation before the record was removed finds that it is another one now."""
    before = known(folder).generation
    (folder.folder / STATE_FOLDER / STATE_FILE).unlink()
    assert take(folder).generation > before


# -- records that cannot be read ---------------------------------------------------------------

TORN = {
    "empty": b"",
    "cut off": b'{"generation": 3, "st',
    "with the tail of an older one": b'{"generation": 3}0}',
    "a list": b"[1, 2]",
    "without a holder": b'{"generation": 3}',
    "with half a holder": b'{"generation": 3, "holder": {"pid": 1}}',
    "zeros": b"\x00" * 200,
}


@pytest.mark.parametrize("content", list(TORN.values()), ids=list(TORN))
def test_a_torn_record_reads_as_unknown(folder: FolderState, content: bytes) -> None:
    """A record that cannot be made out gives no token, and its writer counts as dead."""
    before = known(folder).generation
    (folder.folder / STATE_FOLDER / STATE_FILE).write_bytes(content)
    assert folder.read() is None
    assert folder.token() == ""
    state = take(folder)
    assert state.doubtful_at == state.generation
    assert state.generation > before, "whoever noted any earlier generation is stale"
    assert known(folder).holder is None
    assert folder.token() != ""


@pytest.mark.parametrize("content", [b"null", b"3", b'"x"', b"\xff\xfe"])
def test_a_record_of_another_kind_reads_as_unknown(folder: FolderState, content: bytes) -> None:
    """A record that is no text, or JSON but no object, is one that cannot be made out."""
    (folder.folder / STATE_FOLDER / STATE_FILE).write_bytes(content)
    assert folder.read() is None


def test_a_shorter_record_replaces_a_longer_one(folder: FolderState) -> None:
    """Nothing of an older, longer record remains behind a new one."""
    long = State(holder=Holder(1, "h" * 500, "p", 0.0))
    folder.write(long)
    assert known(folder) == long
    folder.write(State(generation=2))
    assert known(folder) == State(generation=2)


def test_without_a_record_nothing_is_known(store: Path) -> None:
    """Before the first hold the state is that of generation 0, which asking does not change."""
    folder = FolderState(store)
    assert folder.read() == State()
    assert folder.token() == ""
    assert [entry.name for entry in store.iterdir()] == ["chroma.sqlite3"]


# -- tokens ------------------------------------------------------------------------------------


def test_a_token_stays_while_nobody_writes(folder: FolderState) -> None:
    """The same token means the same content: holds that only read do not change it."""
    token = folder.token()
    assert token
    take(folder)
    assert FolderState(folder.folder).token() == token


def test_a_token_ends_with_the_next_write(store: Path, folder: FolderState) -> None:
    """A writer among us makes a new token, whether or not its write can be seen in the stat."""
    token = folder.token()
    take(folder, write=True)
    assert folder.token() not in ("", token)


def test_no_token_while_somebody_holds_the_lock(folder: FolderState) -> None:
    """During a hold the content may change at any moment."""
    with folder.held():
        assert folder.token() == ""
    assert folder.token()


def test_no_token_after_a_stranger_wrote(store: Path, folder: FolderState) -> None:
    """Between a stranger's write and the next hold nobody can say what the content is."""
    token = folder.token()
    write_as_a_stranger(store)
    assert folder.token() == ""
    take(folder)
    assert folder.token() not in ("", token)


def test_a_token_does_not_outlive_a_reboot(
    folder: FolderState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure files may have fallen back under stats that look the same."""
    token = folder.token()
    monkeypatch.setattr("reposync.freshness._boot_id", lambda: "after the reboot")
    assert folder.token() != token


def test_the_lock_tells_the_token_of_its_last_hold(store: Path) -> None:
    """After a hold, the lock's token is the store's, until somebody else writes."""
    lock, other = ChromaLock(store), ChromaLock(store)
    with lock:
        pass
    assert lock.token == FolderState(store).token() != ""
    with other:
        pass
    assert lock.token != FolderState(store).token()


def test_a_lock_knows_whether_it_was_disturbed(store: Path) -> None:
    """Somebody else's write between two holds shows; one's own holds do not."""
    lock, other = ChromaLock(store), ChromaLock(store)
    for _ in range(2):
        with lock:
            pass
    assert lock.undisturbed
    with other.hold(write=False):
        pass
    with lock:
        pass
    assert lock.undisturbed, "who only reads disturbs nobody"
    with other:
        pass
    with lock:
        pass
    assert not lock.undisturbed


def test_an_error_in_a_hold_is_no_disturbance(store: Path) -> None:
    """A hold that ends with an error is still one's own."""
    lock = ChromaLock(store)
    with lock:
        pass
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    with lock:
        pass
    assert lock.undisturbed


def test_a_full_disk_is_a_store_error(store: Path) -> None:
    """When the record cannot be written, the holder gets an error of ours, and the lock is free."""
    child = python(
        """
        import resource
        lock = ChromaLock(store)
        with lock:
            pass
        (Path(store) / ".reposync" / "state.json").write_bytes(b"")
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))
        try:
            with lock:
                pass
        except BaseException as error:
            say(error=[kind.__name__ for kind in type(error).__mro__])
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        with ChromaLock(store, timeout=1):
            say(free=True)
        """,
        store,
    )
    answers = finished(child)
    assert answers[1] == {"free": True}
    assert "StoreError" in answers[0]["error"]


# -- real processes ----------------------------------------------------------------------------


def python(code: str, store: Path) -> subprocess.Popen[str]:
    """Start code in a process of its own; it says JSON lines, and hears a line at a time."""
    start = textwrap.dedent(
        """
        import json, os, sys
        from pathlib import Path
        from reposync import ChromaLock
        store = sys.argv[1]
        def say(**answer):
            print(json.dumps(answer), flush=True)
        """
    )
    command = [sys.executable, "-c", start + textwrap.dedent(code), str(store)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finished(child: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All that a child says until it ends well."""
    try:
        out, err = child.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    assert child.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_a_holder_who_was_killed_is_noticed(store: Path) -> None:
    """After SIGKILL in a hold the lock is free, and the next holder learns that one died."""
    child = python("ChromaLock(store).__enter__(); say(held=True); sys.stdin.read()", store)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline()
        folder = FolderState(store)
        held = known(folder)
        assert held.holder is not None
        assert held.holder.pid == child.pid
        child.send_signal(signal.SIGKILL)
        child.wait(DEADLINE)
    assert folder.token() == "", "nobody can say how far it came"

    with ChromaLock(store, timeout=5).hold(write=False) as hold:
        assert hold is not None
        assert hold.state.doubtful_at == hold.state.generation == held.generation + 1
    settled = known(folder)
    assert (settled.holder, settled.doubtful_at) == (None, held.generation + 1)
    take(folder, write=True)
    assert known(folder).doubtful_at == held.generation + 1, "when it died stays known"


TURNS, ROWS, SIZE = 10, 150, 8

HOST = f"""
import chromadb, numpy as np
from chromadb.config import Settings
NAME = sys.argv[2] if len(sys.argv) > 2 else ""
client = chromadb.PersistentClient(store, Settings(anonymized_telemetry=False))
lock = ChromaLock(client, timeout=60)

def vector(key):
    seed = int.from_bytes(key.encode().rjust(12, b"_")[-8:], "big")
    return np.random.default_rng(seed).standard_normal({SIZE}).astype(np.float32)

with lock:
    collection = client.get_or_create_collection("shared", embedding_function=None)
say(ready=True)
for line in sys.stdin:
    turn, newest = json.loads(line)
    with lock:
        found = None
        if newest:
            got = collection.query(query_embeddings=[vector(newest)], n_results=1, include=[])
            found = got["ids"][0][:1]
        keys = [f"{{NAME}}-{{turn}}-{{row}}" for row in range({ROWS})]
        collection.upsert(ids=keys, embeddings=[vector(key) for key in keys], documents=keys)
    say(newest=keys[-1], found=found)
"""

AUDIT = f"""
import chromadb, numpy as np
from chromadb.config import Settings
client = chromadb.PersistentClient(store, Settings(anonymized_telemetry=False))
collection = client.get_collection("shared", embedding_function=None)
got = collection.get(include=["embeddings"])
vectors = np.asarray(got["embeddings"])

def vector(key):
    seed = int.from_bytes(key.encode().rjust(12, b"_")[-8:], "big")
    return np.random.default_rng(seed).standard_normal({SIZE}).astype(np.float32)

wrong = [key for key, found in zip(got["ids"], vectors) if not np.allclose(found, vector(key))]
say(rows=len(got["ids"]), vectors=list(vectors.shape), wrong=wrong)
"""


class Host:
    """A process with a long-lived client of its own."""

    def __init__(self, store: Path, name: str) -> None:
        code = HOST.replace('sys.argv[2] if len(sys.argv) > 2 else ""', repr(name))
        self.process = python(code, store)
        assert self._answer() == {"ready": True}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate(timeout=DEADLINE)
            raise AssertionError(errors)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def turn(self, number: int, newest: str | None) -> dict[str, Any]:
        """Look for the other's newest row, then write."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([number, newest]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let the process end."""
        finished(self.process)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Two hosts on one store; they are gone after the test, however it ends."""
    both: list[Host] = []
    try:
        both += [Host(tmp_path / "store", name) for name in ("one", "two")]
        yield both
    finally:
        for host in both:
            host.process.kill()
            host.process.communicate()


def test_two_clients_that_take_turns_lose_nothing(tmp_path: Path, hosts: list[Host]) -> None:
    """Two long-lived clients under `ChromaLock` see each other's rows at once, and all are kept.

    With a lock alone, each would overwrite the other's index when its own is flushed, which
    happens at 1 000 rows.
    """
    newest: str | None = None
    for turn in range(TURNS):
        answer = hosts[turn % 2].turn(turn, newest)
        assert answer["found"] == (None if newest is None else [newest]), f"turn {turn}"
        newest = answer["newest"]
    for host in hosts:
        host.end()
    (audit,) = finished(python(AUDIT, tmp_path / "store"))
    assert audit == {"rows": TURNS * ROWS, "vectors": [TURNS * ROWS, SIZE], "wrong": []}


def test_a_mere_look_at_a_small_store_is_no_reason_for_doubt(tmp_path: Path) -> None:
    """A foreign client that loads an index which was never flushed leaves nothing suspicious."""
    folder = tmp_path / "store"
    folder.mkdir()
    state = FolderState(folder)
    client = chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
    with ChromaLock(client):
        notes = client.create_collection("notes")
        notes.upsert(ids=["1"], embeddings=[[1.0, 2.0]], documents=["one"])
    client.close()
    recorded = state.read()
    assert recorded is not None
    before = recorded.generation
    foreign = chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
    foreign.get_collection("notes").get(include=["embeddings"])
    foreign.close()
    with ChromaLock(folder):
        found = state.read()
    assert found is not None
    assert (found.generation > before, found.doubtful_at) == (True, 0)


def test_what_another_version_noted_does_not_matter(store: Path, folder: FolderState) -> None:
    """A field that this version does not know makes the record no less readable."""
    path = store / STATE_FOLDER / STATE_FILE
    before = known(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "of_tomorrow": 1}))
    assert known(folder) == before
    assert take(folder).doubtful_at == before.doubtful_at
