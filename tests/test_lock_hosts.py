"""What a host gets from the store lock: its turn, a client that sees all, and a word on both."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings
from support import hash_vectors, python, start_python

from reposync import (
    ChromaLock,
    ConfigError,
    LockError,
    LockTimeout,
    StoreUnavailable,
    with_chroma_lock,
)
from reposync.freshness import BUSY_SECONDS, GAP_SECONDS, FolderState, State
from reposync.lock.queue import LOOKS_AT_THE_DEAD, POLL_SECONDS, Queue
from reposync.lock.stats import KEPT, Meter, Spread
from reposync.store import refresh

DEADLINE = 30


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store that is not there yet."""
    return tmp_path / "store"


@pytest.fixture
def client(store: Path) -> Iterator[chromadb.api.ClientAPI]:
    """A host's own client, opened under the lock."""
    with ChromaLock(store):
        opened = chromadb.PersistentClient(str(store), Settings(anonymized_telemetry=False))
        opened.create_collection("notes", embedding_function=None)
    yield opened
    opened.close()


def add(client: chromadb.api.ClientAPI, *ids: str) -> None:
    """Write rows to the host's collection."""
    collection = client.get_collection("notes", embedding_function=None)
    collection.upsert(ids=list(ids), embeddings=hash_vectors(list(ids), 4))


WRITER = """
import sys, chromadb
from chromadb.config import Settings
from support import hash_vectors
from reposync import ChromaLock
with ChromaLock(sys.argv[1]):
    client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))
    ids = sys.argv[2:]
    client.get_collection("notes", embedding_function=None).upsert(
        ids=ids, embeddings=hash_vectors(ids, 4)
    )
"""


def seen(client: chromadb.api.ClientAPI, *ids: str) -> bool:
    """True if the client finds all of these rows with their vectors."""
    collection = client.get_collection("notes", embedding_function=None)
    found = collection.query(query_embeddings=hash_vectors(list(ids), 4), n_results=1)
    return [row[0] for row in found["ids"]] == list(ids)


# -- in turn -----------------------------------------------------------------------------------


def visits(store: Path, count: int) -> list[str]:
    """The order in which `count` threads get the lock that were made to wait one after another."""
    order: list[str] = []
    threads = []

    def visit(name: str) -> None:
        with ChromaLock(store, timeout=DEADLINE):
            order.append(name)

    queue = Queue(store / ".reposync" / "queue")
    with ChromaLock(store):
        for number in range(count):
            thread = threading.Thread(target=visit, args=(str(number),))
            thread.start()
            threads.append(thread)
            wait_until(lambda number=number: tickets(store) == number + 1)
        assert queue.first() is not None
    for thread in threads:
        thread.join(DEADLINE)
    return order


def tickets(store: Path) -> int:
    """How many wait."""
    folder = store / ".reposync" / "queue"
    return len(list(folder.iterdir())) if folder.exists() else 0


def wait_until(met: Callable[[], bool]) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + DEADLINE
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.002)


def test_first_come_first_served(store: Path) -> None:
    """Those who wait get the lock in the order in which they came, and leave nothing behind."""
    assert visits(store, 5) == ["0", "1", "2", "3", "4"]
    assert tickets(store) == 0


def test_a_newcomer_does_not_push_in(store: Path) -> None:
    """Whoever lets go and asks at once again comes after those who wait already."""
    order = []
    lock = ChromaLock(store, timeout=DEADLINE)

    def visit() -> None:
        with ChromaLock(store, timeout=DEADLINE):
            order.append("waited")

    thread = threading.Thread(target=visit)
    with lock:
        thread.start()
        wait_until(lambda: tickets(store) == 1)
    with lock:
        order.append("came back")
    thread.join(DEADLINE)
    assert order == ["waited", "came back"]


def test_who_died_waiting_holds_nobody_up(store: Path) -> None:
    """The ticket of a waiting process that is killed is removed by the next in line."""
    waiting = "import sys\nfrom reposync import ChromaLock\nChromaLock(sys.argv[1]).__enter__()"
    with ChromaLock(store), start_python(waiting, store) as child:
        wait_until(lambda: tickets(store) == 1)
        child.kill()
        child.communicate()
    assert tickets(store) == 1
    with ChromaLock(store, timeout=DEADLINE) as lock:
        assert tickets(store) == 0
    assert lock.stats().wait.max > POLL_SECONDS * (LOOKS_AT_THE_DEAD - 1)


def test_who_gives_up_leaves_the_line(store: Path) -> None:
    """A timeout, and an interrupt, give the ticket back."""
    with ChromaLock(store):
        stuck = ChromaLock(store, timeout=0.05)
        errors = []

        def give_up() -> None:
            with pytest.raises(LockTimeout) as caught, stuck:
                pass
            errors.append(caught.value)

        thread = threading.Thread(target=give_up)
        thread.start()
        thread.join(DEADLINE)
        assert tickets(store) == 0
    (error,) = errors
    assert error.holder is not None
    assert error.holder.pid == os.getpid()
    assert stuck.stats().timeouts == 1
    assert stuck.stats().acquisitions == 0


def test_those_who_only_poll_are_let_in_after_a_second_of_holds(store: Path) -> None:
    """After each second of holds the lock is left free for as long as a poller sleeps."""
    now = time.time()
    assert State().rest() == 0
    assert State(busy=BUSY_SECONDS - 0.1, released_at=now).rest() == 0
    assert GAP_SECONDS - 0.05 < State(busy=BUSY_SECONDS, released_at=now).rest() <= GAP_SECONDS
    assert State(busy=BUSY_SECONDS, released_at=now - 1).rest() == 0
    assert State(busy=BUSY_SECONDS, released_at=now + 3600).rest() == 0, "a clock set back"

    store.mkdir()
    folder = FolderState(store)
    folder.write(State(generation=1, busy=BUSY_SECONDS, released_at=time.time()))
    with ChromaLock(store) as lock:
        state = folder.read()
        assert state is not None
        assert state.busy == 0
    assert lock.stats().wait.max > GAP_SECONDS / 2
    assert lock.stats().contended == 1


# -- reading -----------------------------------------------------------------------------------


def test_reading_sees_what_another_process_wrote(client: object, store: Path) -> None:
    """Within the block the host's own, long-lived client finds all that others wrote."""
    assert isinstance(client, chromadb.api.client.Client)
    lock = ChromaLock(client)
    with lock:
        add(client, "ours")
    for number in range(3):
        python(WRITER, store, f"theirs{number}")
        with lock.reading():
            assert seen(client, "ours", f"theirs{number}")
    assert lock.stats().refreshes == 3


def test_reading_is_free_while_nobody_writes(
    client: object, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs two os.stat calls, and waits for nobody, as long as nobody else wrote."""
    assert isinstance(client, chromadb.api.client.Client)
    lock = ChromaLock(client)
    with lock:
        add(client, "ours")
    taken = lock.stats().acquisitions

    calls = []
    stat = os.stat

    def counted(*arguments: object, **options: object) -> os.stat_result:
        calls.append(arguments)
        return stat(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", counted)
    with lock.reading():
        pass
    assert len(calls) == 2
    monkeypatch.undo()

    with ExitStack() as stack:
        holding = "import sys\nfrom reposync import ChromaLock\n"
        holding += "with ChromaLock(sys.argv[1]).hold(write=False):\n"
        holding += "    print('ready', flush=True)\n    sys.stdin.read()\n"
        child = stack.enter_context(start_python(holding, store))
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        with lock.reading():  # held by one who has written nothing
            assert seen(client, "ours")
        child.stdin.close()
    with lock.reading():
        assert seen(client, "ours")
    assert lock.stats().acquisitions == taken


def test_reading_does_not_wait_for_writers_of_the_same_process(client: object) -> None:
    """What another thread of this process writes, its client knows anyway."""
    assert isinstance(client, chromadb.api.client.Client)
    lock = ChromaLock(client)
    with lock:
        add(client, "one")
        done = []

        def read() -> None:
            with ChromaLock(client, timeout=0).reading():
                done.append(seen(client, "one"))

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(DEADLINE)
        assert done == [True]
        with lock.reading():
            assert seen(client, "one")


def test_reading_waits_while_this_process_loads_the_index_anew(client: object, store: Path) -> None:
    """Two calls that load an index at once would make the next write cost seconds."""
    assert isinstance(client, chromadb.api.client.Client)
    lock = ChromaLock(client)
    with lock:
        add(client, "one")
    python(WRITER, store, "theirs")

    def can_read() -> bool:
        read = []

        def attempt() -> None:
            with suppress(LockTimeout), ChromaLock(client, timeout=0).reading():
                read.append(seen(client, "one", "theirs"))

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join(DEADLINE)
        return bool(read)

    with lock.hold() as hold:
        assert hold is not None
        assert hold.refreshed
        assert not can_read()
        assert seen(client, "one", "theirs")
        hold.loaded = True
        assert can_read()


def test_reading_waits_for_a_writer_of_another_process(client: object, store: Path) -> None:
    """An index that may be half-written is not read."""
    assert isinstance(client, chromadb.api.client.Client)
    with ChromaLock(client):
        add(client, "ours")
    writing = "import sys\nfrom reposync import ChromaLock\nwith ChromaLock(sys.argv[1]):\n"
    writing += "    print('ready', flush=True)\n    sys.stdin.read()\n"
    with start_python(writing, store) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        lock = ChromaLock(client, timeout=0.05)
        with pytest.raises(LockTimeout, match=f"process {child.pid}"), lock.reading():
            pass
        child.stdin.close()


def test_a_client_is_opened_under_the_lock(store: Path) -> None:
    """Without a client there is nothing that could be fresh: the block may open one."""
    lock = ChromaLock(store)
    with lock.reading():
        assert lock.used
        assert not lock.stats().refreshes


def test_a_client_that_was_closed_is_not_opened_again(store: Path) -> None:
    """Bringing clients up to date while another thread closes the last one leaves no file open."""
    with ChromaLock(store):
        opened = chromadb.PersistentClient(str(store), Settings(anonymized_telemetry=False))
    system = opened._system
    opened.close()
    refresh(system)
    wait_until(lambda: not open_files(store))


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(f"{folder}/")]


# -- the decorator -----------------------------------------------------------------------------


def test_a_decorated_function_holds_the_lock(store: Path) -> None:
    """It runs alone, keeps its name, and gives and raises what it always did."""

    @with_chroma_lock(store, timeout=0.05)
    def store_memory(text: str, *, times: int = 1) -> str:
        """Remember."""
        errors = []

        def intrude() -> None:
            with pytest.raises(LockTimeout), ChromaLock(store, timeout=0):
                pass
            errors.append(1)

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join(DEADLINE)
        assert errors == [1]
        if not text:
            raise KeyError(text)
        return text * times

    assert store_memory("a", times=2) == "aa"
    assert (store_memory.__name__, store_memory.__doc__) == ("store_memory", "Remember.")
    with pytest.raises(KeyError):
        store_memory("")
    assert store_memory("b") == "b"


def test_a_generator_cannot_be_decorated(store: Path) -> None:
    """Its body would run after the lock was let go."""

    def rows() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="rows is a generator"):
        with_chroma_lock(store)(rows)


# -- another lock along with it ----------------------------------------------------------------


class Recorded:
    """A lock that writes down when it is entered and left."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.error = error

    def __enter__(self) -> None:
        if self.error is not None:
            raise self.error
        self.events.append("in")

    def __exit__(self, *_: object) -> None:
        self.events.append("out")


def test_another_lock_is_held_along_with_it(store: Path) -> None:
    """The other lock is taken first, let go last, and once for holds within holds."""
    other = Recorded()
    lock = ChromaLock(store, also=other)
    with lock, lock:
        assert other.events == ["in"]
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    assert other.events == ["in", "out", "in", "out"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(TimeoutError("busy"), LockTimeout), (ConnectionError("down"), LockError)],
)
def test_another_lock_that_cannot_be_had(
    store: Path, error: Exception, expected: type[Exception]
) -> None:
    """Its error becomes ours, and the store lock stays free."""
    with (
        pytest.raises(expected, match=r"lock= that was passed"),
        ChromaLock(store, also=Recorded(error)),
    ):
        pass
    with ChromaLock(store, timeout=0):
        pass


def test_what_is_no_lock(store: Path) -> None:
    """A value that cannot be entered, or only once, is refused at once."""
    for wrong in (3, visits, ExitStack().pop_all):
        with pytest.raises(ConfigError, match="is no lock"):
            ChromaLock(store, also=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="only once"):
        ChromaLock(store, also=ChromaLock(store).reading())


# -- after a fork ------------------------------------------------------------------------------

FORKED = """
import os, sys, chromadb
from chromadb.config import Settings
from reposync import ChromaLock, SyncError, sync_repository
store, tree, what = sys.argv[1:]
client = chromadb.PersistentClient(store, Settings(anonymized_telemetry=False))
lock = ChromaLock(client)
before = ChromaLock(store)
if what == "held":
    lock.__enter__()
else:
    with lock:
        pass
if child := os.fork():
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
try:
    if what == "sync":
        sync_repository(tree, "repo", store=store)
    elif what == "folder":
        with before.reading():
            pass
    else:
        with lock:
            pass
except SyncError as error:
    assert f"forked from process {os.getppid()}" in str(error), error
    assert "spawn" in str(error)
    os._exit(7)
os._exit(1)
"""


@pytest.mark.parametrize("what", ["client", "folder", "held", "sync"])
def test_a_fork_is_a_clear_error(store: Path, tmp_path: Path, what: str) -> None:
    """A Chroma client does not survive a fork, its calls hang: that is said instead."""
    with start_python(FORKED, store, tmp_path, what) as child:
        out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 7, out + err


def test_a_lock_made_before_a_fork_serves_workers_that_open_their_own_client(store: Path) -> None:
    """A module's decorator is made before the workers of a server are forked."""
    code = """
import os, sys, chromadb
from chromadb.config import Settings
from reposync import with_chroma_lock
@with_chroma_lock(sys.argv[1])
def work():
    client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))
    client.get_or_create_collection("notes", embedding_function=None)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
work()
os._exit(7)
"""
    with start_python(code, store) as child:
        out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 7, out + err


# -- the account -------------------------------------------------------------------------------


def test_the_account_of_a_lock() -> None:
    """Counts, means, maxima and 95th percentiles are those of what was noted."""
    meter = Meter()
    assert meter.stats().wait == Spread()
    for number in range(1, 101):
        meter.acquired(number / 100, contended=number > 90)
        meter.released(1.0)
    meter.timed_out()
    meter.refreshed()
    stats = meter.stats()
    assert (stats.acquisitions, stats.contended, stats.timeouts, stats.refreshes) == (100, 11, 1, 1)
    assert stats.wait == Spread(pytest.approx(0.505), 1.0, 0.95)
    assert stats.hold == Spread(1.0, 1.0, 1.0)
    for _ in range(KEPT):
        meter.acquired(2.0, contended=False)
    assert meter.stats().wait.p95 == 2.0


# -- where there is no flock -------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_flock(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nobody pretends to hold a lock that the file system does not know."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreUnavailable, match="knows flock"), ChromaLock(store):
        pass
