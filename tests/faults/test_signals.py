"""SIGTERM ends the command between two batches; a caller's `cancel` ends even a hopeless wait."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from support import Desk, StoredRow, check_exact, check_file, expected_texts, read_rows

from reposync import ChromaLock

from .proxy import Proxy, answer

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

COMMAND = (sys.executable, "-m", "reposync")
FILES = 400


def stored(store: Path) -> tuple[int, int]:
    """(rows that are stored, rows in flight), as the manifest has it."""
    manifest = store / "reposync.sqlite3"
    if not manifest.exists():
        return 0, 0
    with closing(sqlite3.connect(f"{manifest.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        try:
            rows = dict(db.execute("SELECT stored, count(*) FROM chunks GROUP BY stored"))
        except sqlite3.OperationalError:  # not set up yet
            return 0, 0
    return rows.get(1, 0), rows.get(0, 0)


def check_texts(rows: dict[str, StoredRow], root: Path) -> None:
    """The rows are exactly the files' text; vectors are the default model's and not looked at."""
    texts = expected_texts(root)
    assert {row.metadata["path"] for row in rows.values()} == texts.keys()
    by_path: dict[str, list[StoredRow]] = {path: [] for path in texts}
    for row in rows.values():
        by_path[row.metadata["path"]].append(row)
    for path, text in texts.items():
        check_file(by_path[path], text)


def test_sigterm_stops_the_command_between_two_batches(tmp_path: Path) -> None:
    """The command ends with 143, nothing is in flight, and the next one does the rest."""
    root, store = tmp_path / "tree", tmp_path / "store"
    root.mkdir()
    for number in range(FILES):
        (root / f"{number}.txt").write_text(f"note number {number} of many\n")
    command = [*COMMAND, "sync", str(root), "--name", "repo", "--store", str(store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            while not stored(store)[0]:
                assert child.poll() is None, child.communicate()
                time.sleep(0.01)
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 143, (out, err)
    assert "Traceback" not in err
    assert "cancelled" in out
    written, in_flight = stored(store)
    assert 0 < written < FILES
    assert in_flight == 0
    assert len(read_rows(store, "repo")) == written
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{FILES - written} embedded" in done.stdout
    check_texts(read_rows(store, "repo"), root)


def test_a_cancel_ends_the_tries(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """Who cancels while a server is down need not wait for the last try; the next call goes on."""
    cancel = threading.Event()
    proxy.on("upsert", answer(503, "busy"), times=None)
    proxy.watch = lambda seen: cancel.set() if len(proxy.asked("upsert")) >= 3 else None
    config = desk.config.model_copy(update={"max_attempts": 10**6, "deadline": 20.0})
    result = desk.sync(store=client, config=config, cancel=cancel)
    assert result.status == "cancelled"
    assert len(proxy.asked("upsert")) <= 4
    proxy.heal()
    proxy.watch = None
    assert desk.sync(store=client).ok
    check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")
    assert max(desk.embedding.counts.values()) == 1


def test_a_cancel_ends_the_wait_for_a_lock(desk: Desk) -> None:
    """Who cancels while somebody else holds the store is not kept waiting for them."""
    desk.sync()
    desk.write("more.txt", "one more\n")
    cancel, held, done = threading.Event(), threading.Event(), threading.Event()

    def hog() -> None:
        with ChromaLock(desk.store):
            held.set()
            done.wait(30)

    hogging = threading.Thread(target=hog)
    hogging.start()
    try:
        assert held.wait(30)
        threading.Timer(0.2, cancel.set).start()
        result = desk.sync(cancel=cancel)
        assert hogging.is_alive(), "the cancel ends the wait, not the holder"
    finally:
        done.set()
        hogging.join()
    assert result.status == "cancelled"
    assert desk.sync().ok
    desk.check()


def test_a_cancel_ends_the_tries_of_an_embedding_function(desk: Desk) -> None:
    """Who cancels while a model's service is down need not wait; paid vectors are kept."""
    cancel, calls = threading.Event(), [0]

    def down() -> None:
        calls[0] += 1
        if calls[0] > 3:
            cancel.set()
        if calls[0] > 1:
            raise TimeoutError("timed out")

    desk.embedding.before = down
    config = desk.config.model_copy(update={"max_attempts": 10**6, "deadline": 20.0})
    result = desk.sync(config=config, cancel=cancel)
    assert (result.status, result.chunks.added) == ("cancelled", 8)
    desk.embedding.before = None
    assert desk.sync().chunks.embedded == 12
    assert max(desk.embedding.counts.values()) == 1
    desk.check()
