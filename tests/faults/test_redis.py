"""`lock=` with a real Redis: several machines write to one Chroma server, one at a time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis_server import running
from support import (
    Desk,
    check_exact,
    expected_texts,
    last_json,
    read_rows,
    start_python,
)

from reposync import LockError, LockTimeout, sync_repository

from .conftest import PATIENT
from .proxy import Landed, Proxy, Request

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

WRITES = {"upsert", "update", "delete"}


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    """A real Redis on loopback that keeps nothing."""
    with running() as port:
        yield port


@pytest.fixture
def broker(redis_port: int) -> Iterator[Any]:
    """A client of an empty Redis."""
    with redis.Redis(host="127.0.0.1", port=redis_port) as broker:
        broker.flushall()
        yield broker


class Watch:
    """Stands in the proxy: notes at each write who writes beside it, and if the lock is held."""

    def __init__(self, broker: Any, proxy: Proxy) -> None:
        self.broker = broker
        self.guard = threading.Lock()
        self.under_way = 0
        self.most = 0
        self.unlocked: list[Request] = []
        self.writes = 0
        proxy.on(lambda seen: seen.what in WRITES, self, times=None)

    def __call__(self, request: Request, landed: Landed) -> tuple[int, bytes, dict[str, str]]:
        with self.guard:
            self.writes += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(0.01)  # long enough for another writer to show up
        if not self.broker.exists("chroma"):
            self.unlocked.append(request)
        status, body = landed()
        if not self.broker.exists("chroma"):
            self.unlocked.append(request)
        with self.guard:
            self.under_way -= 1
        return status, body, {}


def test_every_write_is_made_under_the_lock(
    desk: Desk, client: ClientAPI, proxy: Proxy, broker: Any
) -> None:
    """Another client of Redis sees the lock held at each upsert, update and delete, then free."""
    watch = Watch(broker, proxy)
    lock = broker.lock("chroma", timeout=30, blocking_timeout=5)
    desk.write("long.md", "\n\n".join(f"Paragraph number {n} of a text." for n in range(20)))
    assert desk.sync(store=client, lock=lock).ok
    long = (desk.root / "long.md").read_text()
    desk.write("long.md", f"A new beginning.\n\n{long}")
    (desk.root / "note01.txt").unlink()
    assert desk.sync(store=client, lock=lock).ok
    assert {seen.what for seen in proxy.asked(*WRITES)} == WRITES
    assert not watch.unlocked
    assert not broker.exists("chroma")
    check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")


ELSEWHERE = """
import json, os, sys, warnings
root, name, port, redis_port, state = sys.argv[1:]
os.environ["XDG_STATE_HOME"] = state  # another machine has files of its own
import chromadb, redis
from chromadb.config import Settings
from support import HashEmbedding, SMALL
from reposync import sync_repository
client = chromadb.HttpClient(
    host="127.0.0.1", port=int(port), settings=Settings(anonymized_telemetry=False)
)
with redis.Redis(host="127.0.0.1", port=int(redis_port)) as broker:
    print("ready", flush=True)
    sys.stdin.readline()
    result = sync_repository(
        root, name, store=client, collection="shared", embedding_function=HashEmbedding(),
        config=SMALL, lock=broker.lock("chroma", timeout=30, blocking_timeout=60),
    )
print(json.dumps({"ok": result.ok, "chunks": result.chunks.total}))
"""


def test_machines_write_one_at_a_time(
    tmp_path: Path, client: ClientAPI, proxy: Proxy, broker: Any, redis_port: int
) -> None:
    """Two processes with nothing in common but server and Redis: never two writes at once."""
    watch = Watch(broker, proxy)
    children = []
    for name in ("one", "two"):
        desk = Desk(tmp_path / name, tmp_path / "nowhere", name)
        desk.write_many(20)
        state = tmp_path / f"state-{name}"
        arguments = [desk.root, name, str(proxy.port), str(redis_port), state]
        children.append(start_python(ELSEWHERE, *arguments))
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            out, err = child.communicate(timeout=60)
            assert child.returncode == 0, err
            assert last_json(out) == {"ok": True, "chunks": 20}
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert watch.writes >= 10
    assert watch.most == 1
    assert not watch.unlocked
    rows = read_rows(client, "shared")
    for name in ("one", "two"):
        check_exact(rows, expected_texts(tmp_path / name), repository=name)


def test_a_lock_that_is_not_to_be_had(
    desk: Desk, client: ClientAPI, proxy: Proxy, broker: Any
) -> None:
    """While another machine holds it nothing is written: `LockTimeout`, then all goes on."""
    lock = broker.lock("chroma", timeout=30, blocking_timeout=0.2)
    with (
        broker.lock("chroma", timeout=30),
        pytest.raises(LockTimeout, match=r"(?i)wait for its holder") as caught,
    ):
        desk.sync(store=client, lock=lock)
    assert isinstance(caught.value, TimeoutError)
    assert not proxy.asked("upsert")
    assert desk.embedding.total == 0
    assert desk.sync(store=client, lock=lock).ok


def test_a_lock_that_is_lost_in_mid_write(
    desk: Desk, client: ClientAPI, proxy: Proxy, broker: Any
) -> None:
    """A lock that ran out in mid-write is an error of ours, and the next sync goes on."""
    lock = broker.lock("chroma", timeout=30, blocking_timeout=5)
    proxy.watch = lambda seen: broker.delete("chroma") if seen.what == "upsert" else None
    with pytest.raises(LockError, match=r"(?i)sync again") as caught:
        desk.sync(store=client, lock=lock)
    assert caught.value.result is not None
    proxy.watch = None
    assert desk.sync(store=client, lock=lock).ok
    check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")
    assert max(desk.embedding.counts.values()) == 1


def test_a_redis_that_is_not_there(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """Without Redis nothing is written: an error of ours that names the cause."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    no_retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with redis.Redis(host="127.0.0.1", port=closed, retry=no_retry) as nobody:
        lock = nobody.lock("chroma", timeout=30, blocking_timeout=0.2)
        with pytest.raises(LockError, match=r"(?i)connect"):
            desk.sync(store=client, lock=lock)
    assert not proxy.asked("upsert")


def test_it_is_held_beside_the_lock_of_a_folder(desk: Desk, broker: Any) -> None:
    """For a folder, too, a lock that is passed is held in addition to the store's own."""
    lock = broker.lock("chroma", timeout=30, blocking_timeout=0.2)
    with broker.lock("chroma", timeout=30), pytest.raises(LockTimeout):
        desk.sync(lock=lock)
    result = sync_repository(**desk.arguments(config=PATIENT, lock=lock))
    assert result.ok
    assert not broker.exists("chroma")
    desk.check()
