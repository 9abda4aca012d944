"""A server that is slow, busy, stopped, or cut off: what a sync makes of it, and what the next."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chroma_server import Server
from support import Desk, check_exact, counts, expected_texts, read_rows

from reposync import DeadlineExceeded, StoreError, StoreUnavailable, SyncConfig, SyncError

from .conftest import some_slow
from .proxy import Fault, Proxy, Request, answer, cut_after, cut_before, hold

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


def check(desk: Desk, client: ClientAPI) -> None:
    """The collection on the server is exactly in step, and no text was paid for twice."""
    check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")
    assert max(desk.embedding.counts.values(), default=0) <= 1


def repeated(proxy: Proxy) -> set[str]:
    """The ids that reached the server in more than one upsert."""
    landed = Counter(key for seen in proxy.asked("upsert") if seen.landed for key in seen.ids)
    return {key for key, times in landed.items() if times > 1}


TRANSIENT = {
    "429": answer(429, "slow down", Retry_After="0"),
    "500": answer(500, "oops"),
    "502": answer(502, "bad gateway"),
    "503": answer(503, "busy"),
    "504": answer(504, "too late"),
    "cut": cut_before(),
}
STEPS = ("repo", "get", "upsert", "update", "delete")


@pytest.mark.parametrize("name", some_slow(TRANSIENT, "429", "500", "cut"))
def test_a_fault_that_passes_is_ridden_out(
    desk: Desk, client: ClientAPI, proxy: Proxy, name: str
) -> None:
    """Two failed tries of a write are told in the result, and cost nothing else."""
    proxy.on("upsert", TRANSIENT[name], times=2)
    result = desk.sync(store=client)
    assert result.ok
    assert result.store.retries == 2
    check(desk, client)
    assert not repeated(proxy)


@pytest.mark.parametrize("what", some_slow(STEPS, "get", "update"))
def test_every_kind_of_call_is_tried_again(
    desk: Desk, client: ClientAPI, proxy: Proxy, what: str
) -> None:
    """Whatever a sync asks of a server, a single 503 or lost answer does not end it."""
    desk.write("long.md", "\n\n".join(f"Paragraph number {n} of a text." for n in range(20)))
    desk.settled(store=client)
    proxy.forget()
    proxy.on(what, answer(503, "busy"))
    proxy.on(what, cut_after())
    lines = "\n\n".join(f"Paragraph number {n} of a text." for n in range(20))
    desk.write("long.md", f"A new beginning.\n\n{lines}")  # moves rows: an update of metadata
    desk.write("note00.txt", "another text\n")
    (desk.root / "note01.txt").unlink()
    result = desk.sync(store=client)
    assert result.ok
    assert proxy.asked(what), f"the sync never asked for {what!r}"
    assert result.store.retries >= 1
    check(desk, client)


@pytest.mark.parametrize("name", some_slow(["429", "503", "cut"], "503"))
def test_a_fault_that_stays_is_an_error_with_what_to_do(
    desk: Desk, client: ClientAPI, proxy: Proxy, name: str
) -> None:
    """A server that never takes a batch is given up after `max_attempts` tries; nothing is lost."""
    first = desk.config.batch_rows
    proxy.on(lambda seen: seen.what == "upsert" and len(proxy.asked("upsert")) > 1,
             TRANSIENT[name], times=None)  # fmt: skip
    with pytest.raises(StoreUnavailable, match="sync again") as caught:
        desk.sync(store=client)
    assert len(proxy.asked("upsert")) == 1 + desk.config.max_attempts
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == first
    assert len(read_rows(client, "repo")) == first
    proxy.heal()
    result = desk.sync(store=client)
    assert (result.ok, result.resumed) == (True, True)
    assert result.chunks.added == 20 - first
    check(desk, client)


@pytest.mark.parametrize("status", some_slow([401, 403], 401))
def test_refused_credentials_are_told_at_once(
    desk: Desk, client: ClientAPI, proxy: Proxy, status: int
) -> None:
    """Who may not write is told so after one try, and keeps what is there."""
    desk.settled(store=client)
    before = read_rows(client, "repo")
    desk.write("more.txt", "one more file\n")
    proxy.on("upsert", answer(status, '{"error": "ChromaAuthError", "message": "who are you?"}'),
             times=None)  # fmt: skip
    proxy.forget()
    with pytest.raises(StoreUnavailable, match=r"(?i)credential|token|permission"):
        desk.sync(store=client)
    assert len(proxy.asked("upsert")) == 1
    proxy.heal()
    assert read_rows(client, "repo") == before
    assert desk.sync(store=client).ok
    check(desk, client)


# -- Failures after which nobody knows -------------------------------------------------------------


def test_a_write_whose_answer_was_lost_is_not_made_twice(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """A batch that landed before the connection was cut is found by a look, and not sent again."""
    proxy.on("upsert", cut_after())
    result = desk.sync(store=client)
    assert result.ok
    assert result.store.retries >= 1
    steps = [seen.what for seen in proxy.asked("upsert", "get")]
    at = steps.index("upsert")
    assert steps[at + 1] == "get", "what landed is looked up before anything is written again"
    assert not repeated(proxy)
    check(desk, client)


def test_a_write_that_did_not_land_is_made_after_a_look(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """A connection that was cut before the request got through costs a look and another try."""
    proxy.on("upsert", cut_before())
    assert desk.sync(store=client).ok
    steps = [seen.what for seen in proxy.asked("upsert", "get")]
    at = steps.index("upsert")
    assert steps[at : at + 3] == ["upsert", "get", "upsert"]
    check(desk, client)


@pytest.mark.parametrize("fault", [cut_before(), cut_after()], ids=["before", "after"])
def test_rows_that_are_there_with_another_vector_are_not_taken_for_landed(
    desk: Desk, client: ClientAPI, proxy: Proxy, fault: Fault
) -> None:
    """A new model writes the same ids: the old rows must not pass for the new ones."""
    desk.settled(store=client)
    other = desk.config.model_copy(update={"model_id": "another model"})
    desk.embedding.spoil = lambda vectors: [-vector for vector in vectors]
    proxy.on("upsert", fault, times=2)
    assert desk.sync(store=client, config=other).ok
    rows = read_rows(client, "repo")
    assert {row.metadata["model"] for row in rows.values()} == {"another model"}
    turned = {
        key: row.__class__(row.id, row.document, row.metadata, tuple(-x for x in row.vector))
        for key, row in rows.items()
    }
    check_exact(turned, expected_texts(desk.root), repository="repo")


@pytest.mark.parametrize("fault", [cut_before(), cut_after()], ids=["before", "after"])
def test_a_collection_whose_making_was_not_acknowledged(
    desk: Desk, client: ClientAPI, proxy: Proxy, fault: Fault
) -> None:
    """A collection is made once, whether or not the first try landed."""
    proxy.on(lambda seen: seen.method == "POST" and seen.what == "collections", fault)
    assert desk.sync(store=client).ok
    assert [found.name for found in client.list_collections()] == ["repo"]
    check(desk, client)


@pytest.mark.parametrize("what", ["delete", "update"])
def test_other_writes_whose_answer_was_lost(
    desk: Desk, client: ClientAPI, proxy: Proxy, what: str
) -> None:
    """Deleting and updating rows again after a lost answer does no harm."""
    desk.settled(store=client)
    proxy.on(what, cut_after(), times=2)
    (desk.root / "note00.txt").unlink()
    desk.write("note01.txt", "\n\n\nnote number 1\n")
    desk.write("note02.txt", "another text\n")
    assert desk.sync(store=client).ok
    check(desk, client)


# -- Slow and stopped servers, deadlines -----------------------------------------------------------


def test_a_slow_answer_is_waited_for(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """An answer that comes within `request_timeout` is no fault."""
    go_on = threading.Event()
    proxy.on("upsert", hold(go_on))
    threading.Timer(0.3, go_on.set).start()
    result = desk.sync(store=client)
    assert (result.ok, result.store.retries) == (True, 0)
    check(desk, client)


def test_an_answer_that_does_not_come_is_given_up(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """After `request_timeout` the sync looks what landed, and goes on."""
    go_on = threading.Event()
    proxy.on("upsert", hold(go_on))
    config = desk.config.model_copy(update={"request_timeout": 0.5})
    try:
        result = desk.sync(store=client, config=config)
    finally:
        go_on.set()
    assert result.ok
    assert result.store.retries >= 1
    assert not repeated(proxy)
    check(desk, client)


def test_the_timeout_is_the_calls_and_not_the_clients(desk: Desk, client: ClientAPI) -> None:
    """The host's client is as it was: a sync's `request_timeout` does not stay with it."""
    session = client._server._session  # type: ignore[attr-defined]
    before = session.timeout
    desk.sync(store=client)
    assert session.timeout == before


@pytest.mark.timeout(60)
def test_a_stopped_server(desk: Desk, client: ClientAPI, server: Server) -> None:
    """A server stopped with SIGSTOP is given up in bounded time; once it runs, a sync is exact."""
    config = desk.config.model_copy(update={"request_timeout": 0.3, "max_attempts": 2})

    def freeze(now: object) -> None:
        if getattr(now, "chunks_written", 0):
            server.freeze()

    try:
        with pytest.raises(StoreUnavailable, match="sync again") as caught:
            desk.sync(store=client, config=config, progress=freeze)
    finally:
        server.thaw()
    assert caught.value.result is not None
    assert caught.value.result.chunks.added == desk.config.batch_rows
    assert desk.sync(store=client).ok
    check(desk, client)


@pytest.mark.timeout(60)
def test_a_server_that_is_stopped_from_the_start(
    desk: Desk, client: ClientAPI, server: Server
) -> None:
    """Nothing is embedded for a server that does not answer."""
    config = desk.config.model_copy(update={"request_timeout": 0.3, "max_attempts": 2})
    server.freeze()
    try:
        with pytest.raises(StoreUnavailable, match=r"(?i)running|reach"):
            desk.sync(store=client, config=config)
    finally:
        server.thaw()
    assert desk.embedding.total == 0
    assert desk.sync(store=client).ok
    check(desk, client)


def never(proxy: Proxy) -> None:
    """The server answers 503 for good."""
    proxy.on("upsert", answer(503, "busy"), times=None)


def later(proxy: Proxy) -> None:
    """The server asks to come back in half a minute."""
    proxy.on("upsert", answer(429, "slow down", Retry_After="30"), times=None)


def no_answer(proxy: Proxy) -> None:
    """The server takes the request and does not answer."""
    proxy.on("upsert", hold(threading.Event()), times=None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trouble", [never, later, no_answer])
def test_a_deadline_bounds_the_whole_call(
    desk: Desk, client: ClientAPI, proxy: Proxy, trouble: Callable[[Proxy], None]
) -> None:
    """However long the server fails, the call ends at its `deadline` and says how far it came."""
    desk.sync(store=client)
    desk.write_many(12, "more")
    config = desk.config.model_copy(update={"deadline": 1.0, "max_attempts": 10**6})
    trouble(proxy)
    with pytest.raises(DeadlineExceeded, match="sync again") as caught:
        desk.sync(store=client, config=config)
    assert isinstance(caught.value, SyncError)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == 20
    proxy.heal()
    result = desk.sync(store=client)
    assert result.ok
    check(desk, client)


@pytest.mark.timeout(60)
def test_a_server_that_asks_for_an_hour_is_as_good_as_down(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """Nobody sleeps for an hour because a server says so: it is an error at once."""
    proxy.on("upsert", answer(429, "slow down", Retry_After="3600"), times=None)
    with pytest.raises(StoreUnavailable, match="sync again"):
        desk.sync(store=client)
    assert len(proxy.asked("upsert")) == 1
    proxy.heal()
    assert desk.sync(store=client).ok
    check(desk, client)


def test_a_server_says_when_to_come_back(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """The pause that Retry-After asks for is kept: one refusal, then the write."""
    ready = threading.Event()
    proxy.on(lambda seen: seen.what == "upsert" and not ready.is_set(),
             answer(429, "slow down", Retry_After="1"), times=None)  # fmt: skip
    timer = threading.Timer(0.9, ready.set)

    def start(seen: Request) -> None:
        if seen.what == "upsert" and not timer.is_alive() and not ready.is_set():
            timer.start()

    proxy.watch = start
    try:
        assert desk.sync(store=client).store.retries == 1
    finally:
        timer.join()
    check(desk, client)


@pytest.mark.timeout(60)
def test_a_deadline_in_the_midst_of_healthy_work(desk: Desk) -> None:
    """A sync that is only slow stops between two batches; the next call does the rest."""
    desk.embedding.before = lambda: time.sleep(0.4)
    config = desk.config.model_copy(update={"deadline": 0.7})
    with pytest.raises(DeadlineExceeded, match="sync again") as caught:
        desk.sync(config=config)
    assert caught.value.result is not None
    desk.embedding.before = None
    written = caught.value.result.chunks.added
    assert written < 20
    result = desk.sync()
    assert result.ok
    assert result.chunks.added == 20 - written
    desk.check()
    assert max(desk.embedding.counts.values()) == 1


def test_a_deadline_that_is_not_reached_changes_nothing(desk: Desk) -> None:
    """A sync within its deadline is complete."""
    result = desk.sync(config=SyncConfig(deadline=600.0))
    assert counts(result) == {"added": 20}


@pytest.mark.timeout(60)
def test_a_deadline_holds_for_waiting_for_a_lock(desk: Desk) -> None:
    """Waiting for somebody else's lock ends at the deadline, too."""
    from reposync import ChromaLock

    desk.sync()
    desk.write("more.txt", "one more\n")
    held, done = threading.Event(), threading.Event()

    def hog() -> None:
        with ChromaLock(desk.store):
            held.set()
            done.wait(20)

    hogging = threading.Thread(target=hog)
    hogging.start()
    try:
        assert held.wait(30)
        config = desk.config.model_copy(update={"deadline": 0.3, "lock_timeout": 3600.0})
        with pytest.raises(TimeoutError) as caught:
            desk.sync(config=config)
        assert isinstance(caught.value, SyncError)
        assert hogging.is_alive(), "the deadline ends the wait, not the holder"
    finally:
        done.set()
        hogging.join()
    assert desk.sync().ok
    desk.check()


# -- A server that dies of a damaged index ---------------------------------------------------------


@pytest.mark.slow
def test_a_server_whose_index_is_truncated(desk: Desk, tmp_path: Path) -> None:
    """It dies when the index is read: an error; without the collection all comes from the cache."""
    desk.config = desk.config.model_copy(update={"batch_rows": 1000})
    for number in range(1100):
        desk.write(f"many/{number}.txt", f"one of many texts: {number}\n")
    folder = tmp_path / "served"
    with Server(folder) as server, server.client() as client:
        assert desk.sync(store=client).ok
        server.stop()
    (header,) = folder.glob("*/header.bin")
    os.truncate(header, header.stat().st_size // 2)
    desk.write("note00.txt", "an edited note\n")
    with server, server.client() as client, pytest.raises(StoreError, match="sync again"):
        desk.sync(store=client)
    with server, server.client() as client:
        client.delete_collection("repo")
        result = desk.sync(store=client)
        assert (result.ok, result.chunks.total) == (True, 1120)
        check(desk, client)


# -- Answers that make no sense --------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [answer(200, "<html>a captive portal</html>"), answer(404, "<html>not found</html>")],
    ids=["html", "404"],
)
def test_what_is_no_chroma_server_is_an_error_of_ours(
    desk: Desk, client: ClientAPI, proxy: Proxy, nonsense: Fault
) -> None:
    """Something else that answers in the server's place ends the sync with a StoreError."""
    desk.settled(store=client)
    desk.write("more.txt", "one more\n")
    proxy.on("upsert", nonsense, times=None)
    with pytest.raises(StoreError):
        desk.sync(store=client)
    proxy.heal()
    assert desk.sync(store=client).ok
    check(desk, client)
