"""The store lock and the repository lock: one holder at a time, whoever it is."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings

from reposync import (
    ChromaLock,
    ConfigError,
    LockError,
    LockTimeout,
    StoreUnavailable,
    SyncInProgress,
)
from reposync.freshness import FolderState
from reposync.lock import LOCK_FILE, holder_of, is_held, repository_lock, state_folder
from reposync.lock.file import LockedFile, try_lock
from reposync.store import Store

SHORT = 0.2
DEADLINE = 30


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store that is not there yet."""
    return tmp_path / "store"


@contextmanager
def process(code: str, store: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has said "ready"; it ends when its input is closed."""
    start = "import sys\nfrom pathlib import Path\nstore = Path(sys.argv[1])\n"
    end = "\nprint('ready', flush=True)\nsys.stdin.read()\n"
    command = [sys.executable, "-c", start + textwrap.dedent(code) + end, str(store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line == "ready\n", child.communicate(timeout=DEADLINE)[1]
            yield child
            child.communicate(timeout=DEADLINE)
        finally:
            child.kill()


HOLD = "from reposync import ChromaLock\nlock = ChromaLock(store)\nlock.__enter__()"
FLOCK = """
    import fcntl
    store.mkdir(exist_ok=True)
    file = open(store / ".chroma.lock", "a+")
    fcntl.flock(file, fcntl.LOCK_EX)
"""


def flock(store: Path) -> None:
    """Lock the file as a foreign program does, without waiting, and let go again."""
    with open(store / LOCK_FILE, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def take(lock: AbstractContextManager[object]) -> None:
    """Take a lock and let go again."""
    with lock:
        pass


def in_thread(lock: ChromaLock) -> BaseException | None:
    """What another thread gets that takes and releases the lock."""
    errors: list[BaseException | None] = []

    def take() -> None:
        try:
            with lock:
                errors.append(None)
        except BaseException as error:  # noqa: BLE001 - it is the answer
            errors.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(DEADLINE)
    (error,) = errors
    return error


# -- one holder at a time ----------------------------------------------------------------------


def test_threads_exclude_each_other(store: Path) -> None:
    """While one thread holds the lock no other gets it, by the same object or another."""
    lock = ChromaLock(store, timeout=SHORT)
    with lock:
        assert isinstance(in_thread(lock), LockTimeout)
        assert isinstance(in_thread(ChromaLock(store, timeout=SHORT)), LockTimeout)
    assert in_thread(lock) is None


def test_threads_that_meet_all_get_in(store: Path) -> None:
    """Threads that share one lock object enter one after the other, and each has its turn."""
    lock = ChromaLock(store, timeout=DEADLINE)
    inside: list[int] = []
    most: list[int] = []

    def visit() -> None:
        for _ in range(10):
            with lock:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert most == [1] * 40
    assert lock.stats().acquisitions == 40


def test_processes_exclude_each_other(store: Path) -> None:
    """While another process holds the lock nobody here gets it; when it ends, it is free."""
    lock = ChromaLock(store, timeout=SHORT)
    with process(HOLD, store), pytest.raises(LockTimeout), lock:
        pass
    with lock:
        pass


def test_two_spellings_of_the_path_are_one_lock(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, a detour and a link all lead to the same lock."""
    store.mkdir()
    (tmp_path / "link").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    spellings = ["store", "./store/", str(tmp_path / "x" / ".." / "store"), tmp_path / "link"]
    with ChromaLock(store):
        for spelling in spellings:
            error = in_thread(ChromaLock(spelling, timeout=0))
            assert isinstance(error, LockTimeout), spelling


# -- within one thread -------------------------------------------------------------------------


def test_it_can_be_taken_again_by_its_holder(store: Path, tmp_path: Path) -> None:
    """In one thread a lock nests, by itself, by another object, and by another spelling."""
    store.mkdir()
    (tmp_path / "link").symlink_to(store)
    lock = ChromaLock(store, timeout=SHORT)
    others = [lock, ChromaLock(str(store) + "/", timeout=SHORT), ChromaLock(tmp_path / "link")]
    with ExitStack() as stack:
        for one in [lock, *others]:
            stack.enter_context(one)
        for one in others:
            assert isinstance(in_thread(ChromaLock(one._store, timeout=0)), LockTimeout)
    assert in_thread(lock) is None, "after the outermost it is free"


def test_an_inner_hold_does_not_let_go(store: Path) -> None:
    """The end of an inner block leaves the lock with the outer one."""
    lock = ChromaLock(store, timeout=0)
    with lock:
        with ChromaLock(store):
            pass
        assert isinstance(in_thread(lock), LockTimeout)


def test_the_end_of_an_inner_hold_is_not_the_end(store: Path) -> None:
    """After an inner hold the record still says who holds the lock."""
    with ChromaLock(store):
        with ChromaLock(store).hold() as inner:
            assert inner is None
        state = FolderState(store).read()
        assert state is not None
        assert state.holder is not None
        assert state.holder.pid == os.getpid()
    assert FolderState(store).token(), "and after the outer one it says nobody does"


def test_a_hold_in_another_folder_is_no_inner_hold(store: Path) -> None:
    """Within a hold of one store, that of another is a hold of its own."""
    other = store.with_name("other")
    with ChromaLock(store), ChromaLock(other).hold() as hold:
        assert hold is not None
        assert isinstance(in_thread(ChromaLock(other, timeout=0)), LockTimeout)


def test_writing_within_a_hold_that_reads_warns_the_others(store: Path) -> None:
    """Whoever writes warns the others first, also if he held the lock for reading already."""
    lock = ChromaLock(store)
    with lock.hold(write=False) as hold:
        assert hold is not None
        before = hold.state.generation
        with lock:
            inside = FolderState(store).read()
    assert inside is not None
    assert inside.generation == before + 1


def test_an_error_in_the_block_lets_go(store: Path) -> None:
    """An exception passes through unchanged, and the lock is free."""
    lock = ChromaLock(store, timeout=0)
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    assert in_thread(lock) is None


# -- foreign programs --------------------------------------------------------------------------


def test_a_foreign_flock_excludes_us(store: Path) -> None:
    """A program that knows only ``flock`` on the lock file keeps us out while it holds it."""
    lock = ChromaLock(store, timeout=SHORT)
    with process(FLOCK, store), pytest.raises(LockTimeout, match="takes no part"), lock:
        pass
    with lock:
        pass


def test_we_exclude_a_foreign_flock(store: Path) -> None:
    """While we hold the lock a program that tries ``flock`` on the file does not get it."""
    with ChromaLock(store), pytest.raises(BlockingIOError):
        flock(store)
    flock(store)


def test_the_lock_file_stays_and_stays_empty(store: Path) -> None:
    """The file is never removed, replaced or written, since hosts may have it open."""
    with ChromaLock(store):
        first = (store / LOCK_FILE).stat()
    with ChromaLock(store), ChromaLock(store):
        pass
    after = (store / LOCK_FILE).stat()
    assert (after.st_size, after.st_ino) == (0, first.st_ino)


def test_what_a_host_wrote_into_the_file_is_left_alone(store: Path) -> None:
    """A host may keep its own notes in the lock file."""
    store.mkdir()
    (store / LOCK_FILE).write_bytes(b"theirs")
    with ChromaLock(store):
        pass
    assert (store / LOCK_FILE).read_bytes() == b"theirs"


# -- waiting -----------------------------------------------------------------------------------


def test_a_timeout_names_the_holder(store: Path) -> None:
    """The error says which process and program holds the lock, and since when."""
    with process(HOLD, store) as child, pytest.raises(LockTimeout) as caught:
        take(ChromaLock(store, timeout=SHORT))
    message = str(caught.value)
    assert f"process {child.pid} on {os.uname().nodename} (-c), for " in message
    assert str(store / LOCK_FILE) in message
    assert "0.2 s" in message
    assert isinstance(caught.value, (LockError, TimeoutError))


def test_it_waits_as_long_as_it_was_told(store: Path) -> None:
    """The timeout is kept to, and 0 means not to wait."""
    with process(HOLD, store):
        for timeout in (0, 0.3):
            began = time.monotonic()
            with pytest.raises(LockTimeout), ChromaLock(store, timeout=timeout):
                pass
            assert timeout <= time.monotonic() - began < timeout + 2


def test_it_gets_in_when_the_holder_lets_go(store: Path) -> None:
    """A waiting lock is taken soon after it is free, and the wait and hold are measured."""
    lock = ChromaLock(store, timeout=DEADLINE)
    with process(HOLD, store) as child:
        assert child.stdin is not None
        timer = threading.Timer(0.3, child.stdin.close)
        timer.start()
        with lock:
            time.sleep(0.05)
        timer.join()
        child.stdin = None
    assert 0.25 < lock.stats().wait.max < 10
    assert 0.05 <= lock.stats().hold.max < 5
    assert lock.stats().acquisitions == 1
    assert lock.last_hold == lock.stats().hold.max
    assert lock.released_at <= time.monotonic()


# -- stores of all kinds -----------------------------------------------------------------------


def test_the_folder_is_made(store: Path) -> None:
    """A store that is not there yet can be locked; nothing but records is put into it."""
    deep = store / "a" / "b"
    with ChromaLock(deep):
        assert {entry.name for entry in deep.iterdir()} == {LOCK_FILE, ".reposync"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder below a file is an error that says what to do, not a lock that protects nothing."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used or locked"):
        take(ChromaLock(tmp_path / "file" / "store"))


def test_a_lock_file_that_cannot_be_opened(store: Path) -> None:
    """A folder in the place of the lock file is an error of ours, too."""
    (store / LOCK_FILE).mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="cannot be used or locked"):
        take(ChromaLock(store, timeout=SHORT))


@pytest.mark.parametrize("what", [3, object(), "http://localhost:8000"])
def test_what_is_no_store_is_a_mistake_of_the_caller(what: object) -> None:
    """Neither a client nor a folder: refused at once."""
    with pytest.raises(ConfigError, match="store"):
        ChromaLock(what)


@contextmanager
def client(folder: Path | None) -> Iterator[object]:
    """A real Chroma client, closed at the end."""
    settings = Settings(anonymized_telemetry=False)
    if folder is None:
        opened = chromadb.EphemeralClient(settings)
    else:
        opened = chromadb.PersistentClient(str(folder), settings)
    try:
        yield opened
    finally:
        opened.close()  # type: ignore[attr-defined]


def test_a_client_and_its_folder_are_one_lock(store: Path) -> None:
    """A lock made for a client excludes one made for the folder, and nests with it."""
    with client(store) as opened, ChromaLock(opened):
        assert isinstance(in_thread(ChromaLock(store, timeout=0)), LockTimeout)
        with ChromaLock(store, timeout=0):
            pass


def test_an_in_memory_client_excludes_threads() -> None:
    """A client in memory has no file; its threads exclude each other all the same."""
    with client(None) as opened:
        lock = ChromaLock(opened, timeout=SHORT)
        with lock, ChromaLock(opened, timeout=0):
            error = in_thread(ChromaLock(opened, timeout=0))
            assert isinstance(error, LockTimeout)
            assert "Another thread" in str(error)
        assert in_thread(lock) is None
        assert lock.token == ""


def test_a_server_needs_no_lock() -> None:
    """For a server's client nothing is locked, so nobody waits."""

    class Server:
        """As much of an HttpClient as is looked at; no server is asked."""

        _system = type(
            "System",
            (),
            {"settings": Settings(chroma_api_impl="chromadb.api.fastapi.FastAPI")},
        )()
        get_or_create_collection = heartbeat = None

    lock = ChromaLock(Server(), timeout=0)
    with lock.hold() as hold:
        assert hold is None
        assert in_thread(lock) is None


# -- the repository lock -----------------------------------------------------------------------

REPOSITORY = """
    from reposync.lock import repository_lock
    held = repository_lock(store, "0123abcd", 1)
    held.__enter__()
"""


def test_one_sync_of_a_repository_at_a_time(store: Path) -> None:
    """A second sync of the same repository ends at its timeout, naming the first one."""
    with process(REPOSITORY, store) as child:
        with pytest.raises(SyncInProgress, match=rf"process {child.pid} on .* \(-c\)"):
            take(repository_lock(store, "0123abcd", SHORT))
        with repository_lock(store, "another1", SHORT):
            pass
    with repository_lock(store, "0123abcd", SHORT):
        pass


def test_a_sync_within_itself_is_refused(store: Path) -> None:
    """A callback that syncs the repository that is being synced hears so, and does not hang."""
    with (
        repository_lock(store, "k", SHORT),
        pytest.raises(SyncInProgress, match=f"process {os.getpid()}"),
    ):
        take(repository_lock(store, "k", SHORT))
    with repository_lock(store, "k", 0):
        pass


def test_a_holder_that_left_no_note(store: Path) -> None:
    """If the holder's note cannot be read, the error says so and is still the right one."""
    with repository_lock(store, "k", SHORT):
        (store / "sync-k.json").write_text("{")
        with pytest.raises(SyncInProgress, match="not known"):
            take(repository_lock(store, "k", 0))


def test_asking_whether_it_is_held(store: Path) -> None:
    """It is held while somebody has it, in whatever process; asking makes nothing, and holds
    nothing: others who ask are told the same."""
    assert not is_held(store, "0123abcd")
    assert not store.exists()
    with process(REPOSITORY, store) as child:
        assert is_held(store, "0123abcd")
        holder = holder_of(store, "0123abcd")
        assert holder is not None
        assert holder.pid == child.pid
        assert not is_held(store, "another1")
    assert not is_held(store, "0123abcd")
    with (store / "sync-0123abcd.lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_held(store, "0123abcd")


def test_asking_turns_no_sync_away(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that would not wait tries again when somebody just asked whether the lock is held."""
    in_the_way = [True, True]

    def attempt(path: Path) -> LockedFile | None:
        return None if in_the_way and in_the_way.pop() else try_lock(path)

    monkeypatch.setattr("reposync.lock.repository.try_lock", attempt)
    with repository_lock(store, "k", 0):
        assert is_held(store, "k")


def test_a_repository_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """A state folder that cannot be made is an error of ours."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable), repository_lock(tmp_path / "file" / "x", "k", 0):
        pass


def test_an_error_during_a_sync_frees_the_repository(store: Path) -> None:
    """Whatever ends a sync, the next one can begin."""
    with pytest.raises(ZeroDivisionError), repository_lock(store, "k", 0):
        _ = 1 / 0
    with repository_lock(store, "k", 0):
        pass


def test_where_records_live(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder keeps its own records; those of a client in memory lie with the user's state."""
    assert state_folder(Store(store)) == store / ".reposync"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with client(None) as opened:
        assert state_folder(Store(opened)).is_relative_to(tmp_path / "state")
