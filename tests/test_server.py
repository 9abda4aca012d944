"""What only a server can do to a sync: die and come back, and serve others between two requests.

That a sync does on a server what it does in a folder is in `test_sync.py`, which runs on both.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from chroma_server import COMMAND, Server, address_of, connect, disconnect, move_to_fresh_database
from support import (
    SMALL,
    Desk,
    HashEmbedding,
    check_exact,
    counts,
    expected_texts,
    make_folder,
    python,
    read_rows,
    start_python,
)

from reposync import (
    DeadlineExceeded,
    StoreUnavailable,
    SyncConfig,
    SyncProgress,
    SyncResult,
    plan_repository,
)

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

pytestmark = pytest.mark.usefixtures("own_home")

PATIENT = SyncConfig(chunk_tokens=32, batch_rows=8, max_attempts=12)
"""Small batches, and tries enough for a server that needs a few seconds to come back."""

IMPATIENT = PATIENT.model_copy(update={"max_attempts": 2})

MANY = 300


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one test, removed at its end."""
    folder = make_folder("reposync-served-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def client(server: Server) -> Iterator[ClientAPI]:
    """A client of an empty database on the server that all tests share."""
    with server.client() as client:
        move_to_fresh_database(client)
        yield client


@pytest.fixture
def desk(folder: Path, client: ClientAPI) -> Desk:
    """A repository of 40 files, not synced yet, and the server that all tests share."""
    return filled(Desk(folder / "tree", client), 40)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    """A server that tests may kill; each starts it anew if need be."""
    folder = make_folder("reposync-mortal-")
    with Server(folder / "served") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def doomed(folder: Path, mortal: Server) -> Iterator[Desk]:
    """A repository of many files, not synced yet, and a server that is about to be killed."""
    mortal.ensure()
    with mortal.client() as client:
        move_to_fresh_database(client)
        yield filled(Desk(folder / "tree", client, config=PATIENT), MANY)


def filled(desk: Desk, files: int) -> Desk:
    """A desk with that many files of one chunk each."""
    desk.write_many(files)
    return desk


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return found


class Strike:
    """A sync's progress that has something done, by another thread, once enough rows are written.

    The sync goes on meanwhile, so it may be struck within a request or between two.
    """

    def __init__(self, rows: int, *steps: object) -> None:
        self._rows = rows
        self._struck = threading.Event()
        self._thread = threading.Thread(target=self._strike, args=steps)
        self._over = False

    def __enter__(self) -> Strike:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        struck = self._struck.is_set()
        self._over = not struck
        self._struck.set()
        self._thread.join()
        assert struck, "the sync ended before it was struck"

    def __call__(self, progress: SyncProgress) -> None:
        if progress.chunks_written >= self._rows:
            self._struck.set()

    def _strike(self, *steps: object) -> None:
        self._struck.wait()
        for step in steps:
            if self._over:
                return
            if callable(step):
                step()
            else:
                assert isinstance(step, float)
                threading.Event().wait(step)


# -- The server dies -------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [0.0, 1.0], ids=["at once", "a second later"])
def test_a_server_that_dies_and_comes_back_in_mid_sync(
    doomed: Desk, mortal: Server, away: float
) -> None:
    """The call rides through the death of the server, and ends exact, with nothing done twice."""
    with Strike(100, mortal.kill, away, mortal.start) as progress:
        result = doomed.sync(progress=progress)
    assert counts(result) == {"added": MANY}
    assert result.store.retries > 0
    assert result.chunks.added == result.chunks.embedded == len(doomed.check()) == MANY
    assert set(doomed.embedding.counts.values()) == {1}


def test_a_server_that_dies_for_good(doomed: Desk, mortal: Server) -> None:
    """The call ends with an error that says how far it came; the next one embeds only the rest."""
    doomed.config = IMPATIENT
    with (
        Strike(100, mortal.kill) as progress,
        pytest.raises(StoreUnavailable, match="running and reachable") as caught,
    ):
        doomed.sync(progress=progress)
    told = caught.value.result
    assert told is not None
    assert 100 <= told.chunks.added < MANY
    mortal.start()
    assert len(doomed.rows()) >= told.chunks.added  # what was acknowledged is there
    result = doomed.sync()
    assert result.resumed
    assert result.ok
    assert len(doomed.check()) == MANY
    assert result.chunks.embedded <= MANY - told.chunks.added
    assert set(doomed.embedding.counts.values()) == {1}


def test_a_server_that_dies_again_and_again(doomed: Desk, mortal: Server) -> None:
    """Whatever call it dies in, syncs that are cut off add up to an exact one."""
    doomed.config = IMPATIENT
    chance = random.Random(3)
    for _ in range(2):
        mortal.ensure()
        doomed.write("more.txt", f"{chance.random()}\n")
        with (
            Strike(chance.randint(8, 48), mortal.kill) as progress,
            pytest.raises(StoreUnavailable),
        ):
            doomed.sync(progress=progress, full=True)
    mortal.ensure()
    assert doomed.sync().ok
    doomed.check()
    assert max(doomed.embedding.counts.values()) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_deaths_of_a_server(doomed: Desk, mortal: Server) -> None:
    """In fifty deaths at any instant, each sync rides through and is exact, past index flushes."""
    chance = random.Random(5)
    for number in range(50):
        doomed.write_many(100, f"turn{number}")
        doomed.write(f"turn{number}/own.txt", f"only in {number}, {chance.random()}\n")
        wait = chance.random() / 5
        with Strike(8, wait, mortal.kill, chance.random(), mortal.start) as progress:
            assert doomed.sync(progress=progress, full=number % 5 == 4).ok
        doomed.check()
    assert max(doomed.embedding.counts.values()) == 1


def await_flush(folder: Path) -> None:
    """Return as soon as Chroma begins to write an index in the folder, or after ten seconds."""

    def written() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in folder.glob("*/header.bin")}

    before, deadline = written(), time.monotonic() + 10
    while written() == before and time.monotonic() < deadline:
        time.sleep(0.0002)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_deaths_of_a_server_in_mid_flush(doomed: Desk, mortal: Server) -> None:
    """A server killed while it writes its index: the sync under way ends exact, whatever is left.

    If what is left crashes the server at each read, it takes a hand: see docs/how-to/server.md.
    Vectors as wide as these make the moment long enough to be hit.
    """
    doomed.embedding = HashEmbedding(1024)
    doomed.config = PATIENT.model_copy(update={"batch_rows": 128})
    flush = partial(await_flush, mortal.folder)
    for number in range(10):
        text = "".join(f"Paragraph {n} of {number} is long enough.\n\n" for n in range(4500))
        doomed.write("long.md", text)
        try:
            with Strike(8, flush, mortal.kill, mortal.start) as progress:
                assert doomed.sync(progress=progress).ok
        except StoreUnavailable:
            assert mortal.died
            mortal.ensure()
            doomed.client.get_collection("repo").modify(name=f"damaged-{number}")
            assert doomed.sync().ok
        doomed.check()
    assert max(doomed.embedding.counts.values()) == 1


def test_a_server_that_is_not_there(doomed: Desk, mortal: Server) -> None:
    """A server that is down, or on another port, is told before anything is embedded."""
    mortal.kill()
    doomed.config = IMPATIENT
    with pytest.raises(StoreUnavailable, match="running and reachable") as caught:
        doomed.sync()
    assert caught.value.result is not None
    assert caught.value.result.store.retries == 1
    assert doomed.embedding.total == 0
    mortal.start()
    assert counts(doomed.sync()) == {"added": MANY}
    mortal.kill()
    doomed.config = PATIENT.model_copy(update={"deadline": 2.0, "max_attempts": 1000})
    with pytest.raises(DeadlineExceeded) as caught:  # nothing to do, but is it all there?
        doomed.sync()
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == MANY
    mortal.start()
    assert counts(doomed.sync()) == {"unchanged": MANY}
    assert doomed.check()


def test_a_server_that_hangs(doomed: Desk, mortal: Server) -> None:
    """A server that takes requests and answers none is given up in time, and nothing is lost."""
    doomed.config = IMPATIENT.model_copy(update={"request_timeout": 0.5})
    with (
        Strike(100, mortal.freeze) as progress,
        pytest.raises(StoreUnavailable, match="running and reachable") as caught,
    ):
        doomed.sync(progress=progress)
    mortal.thaw()
    assert caught.value.result is not None
    assert caught.value.result.store.retries >= 1
    assert doomed.sync().ok
    assert len(doomed.check()) == MANY
    assert set(doomed.embedding.counts.values()) == {1}


def test_a_server_that_hangs_for_a_while(doomed: Desk, mortal: Server) -> None:
    """A request that was given up may have landed all the same; the sync is exact nevertheless."""
    doomed.config = PATIENT.model_copy(update={"request_timeout": 0.5})
    with Strike(100, mortal.freeze, 1.0, mortal.thaw) as progress:
        result = doomed.sync(progress=progress)
    assert result.ok
    assert result.store.retries >= 1
    assert result.chunks.added == len(doomed.check()) == MANY
    assert set(doomed.embedding.counts.values()) == {1}


@pytest.mark.parametrize(
    ("damaged", "kept"), [("data_level0.bin", False), ("index_metadata.pickle", True)]
)
def test_a_server_that_lost_its_index(
    doomed: Desk, mortal: Server, damaged: str, kept: bool
) -> None:
    """Where a server cannot read vectors any more, the collection is made anew from the cache.

    If it cannot even say whose rows are in it, the damaged one is kept under another name.
    """
    doomed.write("long.md", "".join(f"Paragraph {n} is long enough.\n\n" for n in range(4000)))
    doomed.config = PATIENT.model_copy(update={"batch_rows": 500})
    doomed.sync()
    before = doomed.check()
    assert len(before) > 1000  # else nothing was flushed
    mortal.stop()
    files = mortal.folder.glob(f"*/{damaged}")
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)
    mortal.start()
    result = doomed.sync()
    assert result.ok
    assert result.chunks.embedded == 0
    assert doomed.check() == before
    names = {collection.name for collection in doomed.client.list_collections()} - {"repo"}
    assert len(names) == len(result.warnings) == kept
    assert all(name.startswith("repo.damaged-") and name in result.warnings[0] for name in names)


def test_a_folder_moves_behind_a_server_and_back(folder: Path) -> None:
    """A folder that was synced into can be given to a server and taken back, without embedding."""
    desk = filled(Desk(folder / "tree", folder / "store"), 20)
    desk.sync()
    with Server(folder / "store") as server, server.client() as client:
        behind = replace(desk, store=client)
        assert counts(behind.sync()) == {"unchanged": 20}
        behind.write("new.txt", "written while the server runs\n")
        assert behind.sync().ok
        assert desk.embedding.total == 21
        server.stop()
    assert desk.sync().ok
    assert len(desk.check()) == 21
    assert desk.embedding.total == 21


# -- Others on the same server ---------------------------------------------------------------------


@pytest.fixture
def neighbour(client: ClientAPI) -> Iterator[ClientAPI]:
    """Another client of the same database, as another program would have it."""
    other = connect(address_of(client))
    yield other
    disconnect(other)


def test_another_clients_writes_are_found(desk: Desk, neighbour: ClientAPI) -> None:
    """Rows of ours that others deleted come back, and rows in our name that are not ours go."""
    desk.sync()
    good = desk.check()
    theirs = neighbour.get_collection("repo", embedding_function=None)
    theirs.delete(ids=sorted(good)[:7])
    metadata = next(iter(good.values())).metadata
    theirs.upsert(
        ids=["ghost", "double"],
        documents=["a file that never was", "a row too many"],
        metadatas=[{**metadata, "path": "ghost.txt"}, metadata],
        embeddings=np.eye(2, 16, dtype=np.float32),
    )
    result = desk.sync()
    assert result.ok
    assert desk.check() == good
    assert set(desk.embedding.counts.values()) == {1}


def test_a_collection_that_is_deleted_in_mid_sync(desk: Desk, neighbour: ClientAPI) -> None:
    """A sync whose collection somebody deletes writes all of it again, computing nothing twice."""
    deleted = []

    def delete(progress: SyncProgress) -> None:
        if progress.chunks_written >= 16 and not deleted:
            neighbour.delete_collection("repo")
            deleted.append("repo")

    assert desk.sync(progress=delete).ok
    assert deleted
    assert len(desk.check()) == 40
    assert set(desk.embedding.counts.values()) == {1}


def test_a_plan_makes_nothing_on_a_server(desk: Desk) -> None:
    """A dry run creates neither a collection nor local state."""
    assert plan_repository(**desk.arguments()).files.added == 40
    assert not desk.touched()


SYNC_IN_TURNS = """
import sys
from pathlib import Path
from support import Desk, store_at
root, where, name = sys.argv[1:]
desk = Desk(Path(root), store_at(where), name=name)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(3):
    desk.write(f"turn{turn}.txt", f"{name} in turn {turn}\\n" * 20)
    if turn:
        (desk.root / f"turn{turn - 1}.txt").unlink()
    desk.sync(collection="shared").raise_for_failures()
"""


def test_two_processes_share_a_collection(folder: Path, client: ClientAPI) -> None:
    """Two processes that sync two repositories into one new collection at once are both exact."""
    desks = [
        filled(Desk(folder / name, client, name=name, config=SMALL), 60)
        for name in ("first", "second")
    ]
    children = [start_python(SYNC_IN_TURNS, one.root, one.where, one.name) for one in desks]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        with child:
            _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    rows = read_rows(client, "shared")
    for one in desks:
        check_exact(rows, expected_texts(one.root), repository=one.name)
    assert {row.metadata["repository"] for row in rows.values()} == {"first", "second"}


def test_two_machines(desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines with a clone each take turns: each sync makes the collection equal its clone.

    What one of them embedded, the other reads from the collection instead of embedding it again.
    """
    theirs = replace(desk, root=folder / "clone", embedding=HashEmbedding())
    shutil.copytree(desk.root, theirs.root)

    def sync_there() -> SyncResult:
        with monkeypatch.context() as there:
            there.setenv("XDG_STATE_HOME", str(folder / "elsewhere"))
            return theirs.sync()

    desk.sync()
    assert counts(sync_there()) == {"unchanged": 40}
    theirs.write("theirs.txt", "written on the other machine\n")
    (theirs.root / "note07.txt").unlink()
    assert sync_there().ok
    theirs.check()
    assert theirs.embedding.total == 1
    desk.write("ours.txt", "written here\n")
    assert desk.sync().ok
    desk.check()
    assert sync_there().ok
    theirs.check()
    assert theirs.embedding.total == 1
    assert set(desk.embedding.counts.values()) == {1}


# -- What a sync costs and leaves ------------------------------------------------------------------


@pytest.mark.parametrize("files", [3, 100])
def test_a_sync_with_nothing_to_do_costs_four_requests(
    desk: Desk, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is always asked, since nothing tells whether others wrote; four times, not more."""
    desk.write_many(files, "more")
    desk.settled()
    sent: list[str] = []
    send = httpx.Client.send

    def count(client: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        sent.append(request.url.path)
        return send(client, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx.Client, "send", count)
    assert counts(desk.sync()) == {"unchanged": 40 + files}
    assert 1 <= len(sent) <= 4, sent


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_of_a_sync_stays(desk: Desk) -> None:
    """After a sync there is no thread and no connection more than the caller's client had."""
    desk.client.heartbeat()
    threads, before = set(threading.enumerate()), sockets()
    desk.sync()
    desk.write("new.txt", "more\n")
    desk.sync()
    desk.client.heartbeat()
    assert set(threading.enumerate()) <= threads
    assert sockets() <= before


def test_the_how_to(server: Server, folder: Path) -> None:
    """The how-to's command is the one that all tests start servers with, and its program runs."""
    page = (Path(__file__).parents[1] / "docs/how-to/server.md").read_text("utf-8")
    (command,) = re.findall("```sh\n(.*?)\n```", page)
    assert command == COMMAND.format(path="./chroma", port=8000)
    program, *_ = re.findall("```python\n(.*?)```", page, re.DOTALL)
    filled(Desk(folder / "tree", folder / "unused"), 3)
    program = program.replace("path/to/repo", str(folder / "tree"))
    python(program.replace("8000", str(server.port)))
    with server.client() as client:
        assert client.get_collection("my-repo", embedding_function=None).count() == 3
