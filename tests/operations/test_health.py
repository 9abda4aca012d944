"""A health check names what is wrong and what to do, whatever is wrong, and never raises for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chroma_server import Server, connect, disconnect, move_to_fresh_database
from chromadb.api import ClientAPI
from faults.job import ballast
from faults.proxy import answer, proxied
from support import (
    POISON,
    Desk,
    last_json,
    make_folder,
    python,
    snapshot,
    start_python,
    tiny_disk,
)

from reposync import (
    ChromaLock,
    ConfigError,
    HealthReport,
    SyncError,
    check_health,
    repository_status,
)
from reposync.lock.file import is_locked
from reposync.operations import folder_health
from tests.operations.live import stepwise

LIVE = ["store", "writable", "space", "logs", "lock", "freshness", "manifest", "repository"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of ten files, synced into a folder."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(10)
    desk.sync()
    return desk


def names(report: HealthReport, *but: str) -> list[str]:
    """The checks that are not as they should be."""
    return [check.name for check in report.checks if check.status != "pass"]


def one(report: HealthReport, name: str) -> Any:
    """The check of that name."""
    (check,) = [check for check in report.checks if check.name == name]
    assert str(check) in str(report)
    return check


def check_bad(report: HealthReport, name: str, status: str, *words: str) -> None:
    """This check, and no other, is not as it should be, and says so with what to do."""
    assert names(report) == [name], str(report)
    check = one(report, name)
    assert (check.status, report.status, report.ok) == (status, status, status != "fail")
    said = f"{check.message} {check.advice}"
    for word in words:
        assert word in said
    assert re.search(r"\b(Sync|sync|Give|Make|Check|See|Upgrade|Run|Copy|Pass|Look)\b", said)


# -- All is well ---------------------------------------------------------------------------------


def test_a_store_that_is_well(desk: Desk) -> None:
    """Both levels pass, give figures to plot, and cost the next sync a comparison at most."""
    live, ready = check_health(store=desk.store, level="live"), check_health(store=desk.store)
    assert [check.name for check in live.checks] == LIVE
    assert [check.name for check in ready.checks] == [*LIVE, "opens", "index"]
    for report in (live, ready):
        assert report.ok
        assert report.status == "pass", str(report)
        assert HealthReport.model_validate_json(report.model_dump_json()) == report
        assert one(report, "space").figures["free_bytes"] > 2**20
        assert one(report, "lock").figures == {"held": False, "held_seconds": 0.0, "waiting": 0}
        assert one(report, "freshness").figures["current"] == 1
        figures = one(report, "repository").figures
        assert (figures["repository"], figures["failures"]) == ("repo", 0)
        assert 0 <= figures["last_success_seconds"] < 600
    assert one(ready, "index").figures["rows"] == 10
    assert one(ready, "index").figures["log_rows"] == 10
    result = desk.sync()
    assert result.store.lock_acquisitions > 0, "opening the store was not noticed"
    assert (result.chunks.added, result.chunks.embedded) == (0, 0)


def test_a_live_look_is_cheap() -> None:
    """It loads neither Chroma nor numpy, and starts no process."""
    folder = make_folder("reposync-health-")
    desk = Desk(folder / "tree", folder / "store")
    desk.write_many(1)
    desk.sync()
    code = """
import json, sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
from reposync import check_health
report = check_health(store=sys.argv[1], level="live")
heavy = {"chromadb", "numpy", "onnxruntime"} & sys.modules.keys()
print(json.dumps([report.status, sorted(heavy), started]))
"""
    assert last_json(python(code, desk.folder).stdout) == ["pass", [], []]
    shutil.rmtree(folder)


def test_a_live_look_changes_nothing(desk: Desk) -> None:
    """The next sync knows that nobody wrote, and opens nothing."""
    desk.settle()
    desk.sync()
    before = snapshot(desk.folder)
    check_health(store=desk.store, level="live")
    assert snapshot(desk.folder) == before
    assert desk.sync().store.lock_acquisitions == 0


def test_a_store_in_use(desk: Desk) -> None:
    """A host's own client may be passed, and goes on working; so does one that is beside it."""
    with ChromaLock(desk.folder):
        client = chromadb.PersistentClient(
            str(desk.folder), chromadb.config.Settings(anonymized_telemetry=False)
        )
    assert check_health(store=client).status == "pass"
    assert check_health(store=desk.folder, level="live").status == "pass"
    with ChromaLock(client):
        assert client.get_collection("repo", embedding_function=None).count() == 10
    client.close()  # type: ignore[attr-defined]


def test_a_server(desk: Desk, server: Server) -> None:
    """A server is asked for a sign of life, its version, and the collections that are known."""
    with server.client() as client:
        move_to_fresh_database(client)
        desk.sync(store=client)
        live, ready = check_health(store=client, level="live"), check_health(store=client)
    expected = ["store", "server", "space", "logs", "manifest", "repository"]
    assert [check.name for check in live.checks] == expected
    assert [check.name for check in ready.checks] == [*expected, "index"]
    assert (live.status, ready.status) == ("pass", "pass"), str(ready)
    assert one(ready, "index").figures["rows"] == 10


def test_a_store_in_memory(desk: Desk, memory: ClientAPI) -> None:
    """There is little to ask, and that is well."""
    move_to_fresh_database(memory)
    desk.sync(store=memory)
    report = check_health(store=memory)
    assert [check.name for check in report.checks] == ["store", "manifest", "repository", "index"]
    assert report.status == "pass", str(report)


def test_wrong_arguments(desk: Desk, tmp_path: Path) -> None:
    """Slips of the pen raise: they say nothing about a store."""
    with pytest.raises(ConfigError, match="'live' nor 'ready'"):
        check_health(store=desk.store, level="deep")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be a Chroma client"):
        check_health(store=7)


# -- The folder ----------------------------------------------------------------------------------


def test_no_store(tmp_path: Path) -> None:
    """A folder that is not there, or holds no store, is told, and not made."""
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        report = check_health(store=folder)
        check_bad(report, "store", "fail", "chroma.sqlite3")
        assert len(report.checks) == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_was_removed_under_a_client(tmp_path: Path) -> None:
    """A client on a store that is gone makes a report, not an error."""
    client = chromadb.PersistentClient(
        str(tmp_path / "store"), chromadb.config.Settings(anonymized_telemetry=False)
    )
    (tmp_path / "store").rename(tmp_path / "old")
    check_bad(check_health(store=client), "store", "fail", "removed")
    client.close()  # type: ignore[attr-defined]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Desk]:
    """A repository whose store is alone on a disk of 48 MiB."""
    (tmp_path / "disk").mkdir()
    with tiny_disk(tmp_path / "disk"):
        desk = Desk(tmp_path / "tree", tmp_path / "disk" / "store")
        desk.write_many(3)
        desk.settled()
        yield desk


def test_a_disk_that_fills_up(tiny: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a rebuild would need is a warning; less than any write needs is a failure."""
    with monkeypatch.context() as patched:
        patched.setattr(folder_health, "MIN_FREE_BYTES", 1 << 10)
        ballast(tiny.folder, 100 << 10)
        check_bad(check_health(store=tiny.store, level="live"), "space", "warn", "Make room")
    (tiny.folder.parent / "ballast").unlink()
    ballast(tiny.folder, 8 << 20)
    report = check_health(store=tiny.store, level="live")
    check_bad(report, "space", "fail", "Make room", "32.0 MiB")
    (tiny.folder.parent / "ballast").unlink()
    ballast(tiny.folder, 0)
    report = check_health(store=tiny.store)  # not a byte left: no lock can be noted either
    assert "space" in names(report)
    assert not report.ok


def test_a_read_only_disk(tiny: Desk) -> None:
    """A disk that was remounted read-only is told by the first look at it."""
    disk = tiny.folder.parent
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        live, ready = check_health(store=tiny.store, level="live"), check_health(store=tiny.store)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    for report in (live, ready):
        assert not report.ok
        writable = one(report, "writable")
        assert writable.status == "fail"
        assert "mount the disk for writing" in writable.advice


def test_a_folder_without_the_right_to_write(desk: Desk) -> None:
    """chmod -w is told, with the path, to whoever it concerns."""
    for path in [desk.folder / "chroma.sqlite3", desk.folder]:
        path.chmod(path.stat().st_mode & ~0o222)
    code = """
import sys
from reposync import check_health
print(check_health(store=sys.argv[1], level="live").model_dump_json())
"""
    report = HealthReport(**last_json(python(code, desk.folder, obedient=True).stdout))
    desk.folder.chmod(0o755)
    assert one(report, "writable").status == "fail"
    assert str(desk.folder) in one(report, "writable").message
    assert "permission" in one(report, "writable").advice


# -- The lock ------------------------------------------------------------------------------------

HOLD = """
import sys, time
from reposync import ChromaLock
with ChromaLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_another_process_holds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds it is named; for long is a warning, and a thorough look does not wait for long."""
    monkeypatch.setattr(folder_health, "LOCK_SECONDS", 0.2)
    with start_python(HOLD, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        live = check_health(store=desk.store, level="live")
        assert live.status == "pass", str(live)
        assert f"process {child.pid}" in one(live, "lock").message
        assert one(live, "lock").figures["held"] is True
        check_bad(check_health(store=desk.store), "index", "warn", f"process {child.pid}")
        monkeypatch.setattr(folder_health, "LONG_HOLD_SECONDS", 0.0)
        late = check_health(store=desk.store, level="live")
        check_bad(late, "lock", "warn", f"process {child.pid}", "end it")
        child.communicate()
    assert check_health(store=desk.store, level="live").status == "pass"


def test_a_holder_that_lets_go_just_now(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that becomes free during the look is not taken for one whose holder died."""
    lock = ChromaLock(desk.folder)
    lock.__enter__()

    def let_go(path: Path) -> bool:
        lock.__exit__(None, None, None)
        return is_locked(path)

    monkeypatch.setattr(folder_health, "is_locked", let_go)
    report = check_health(store=desk.store, level="live")
    assert (one(report, "lock").status, one(report, "lock").message) == ("pass", "free")


def test_a_lock_of_a_program_that_keeps_no_records(desk: Desk) -> None:
    """A holder that only takes flock is told, too."""
    import fcntl

    with (desk.folder / ".chroma.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        check_bad(check_health(store=desk.store, level="live"), "lock", "warn", "no part")


def test_index_files_that_were_changed_without_the_lock(desk: Desk) -> None:
    """They are told before a sync notes them, as by the status; a sync looks at them."""
    index = desk.folder / "0a0a0a0a-0000-4000-8000-000000000001"
    index.mkdir()
    for name in ("data_level0.bin", "index_metadata.pickle"):
        (index / name).write_bytes(b"of somebody who took no lock")
    assert repository_status("repo", store=desk.store).state == "damaged"
    check_bad(check_health(store=desk.store, level="live"), "freshness", "warn", "outside")
    desk.sync()
    assert repository_status("repo", store=desk.store).state == "synced"
    assert check_health(store=desk.store, level="live").status == "pass"


def test_a_holder_that_died(desk: Desk) -> None:
    """A free lock whose last holder never let go is told, until a sync has looked."""
    with start_python(HOLD, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.kill()
        child.communicate()
    check_bad(check_health(store=desk.store, level="live"), "lock", "warn", f"{child.pid}", "Sync")
    with ChromaLock(desk.folder):
        pass
    check_bad(check_health(store=desk.store, level="live"), "freshness", "warn", "died")
    desk.sync()
    assert check_health(store=desk.store, level="live").status == "pass"


# -- Damage --------------------------------------------------------------------------------------


def cut_header(desk: Desk) -> None:
    (header,) = desk.folder.glob("*/header.bin")
    header.write_bytes(header.read_bytes()[:50])


def lose_vectors(desk: Desk) -> None:
    """What a host does that writes without the lock: the rows stay, their vectors are gone."""
    with closing(sqlite3.connect(desk.folder / "chroma.sqlite3")) as db:
        db.execute("DELETE FROM embeddings_queue")
        db.commit()


@pytest.mark.parametrize("damage", [cut_header, lose_vectors])
def test_an_index_that_cannot_be_read(desk: Desk, damage: Callable[[Desk], None]) -> None:
    """What a sync would find is found, in a child process; a sync mends it."""
    damage(desk)
    report = check_health(store=desk.store)
    assert not report.ok
    index = one(report, "index")
    assert index.message.startswith("repo: ")
    assert index.figures["faults"] == 1
    assert "Sync" in index.advice
    before = desk.embedding.total
    assert desk.sync().ok
    assert desk.embedding.total == before


def test_a_database_that_cannot_be_opened(desk: Desk) -> None:
    """Noise in place of Chroma's database makes a report that says so."""
    (desk.folder / "chroma.sqlite3").write_bytes(b"noise" * 9000)
    report = check_health(store=desk.store)
    assert not report.ok
    assert "not a database" in one(report, "opens").message
    assert "restore a backup" in one(report, "opens").advice


@pytest.mark.parametrize(("where", "level"), [(0, "live"), (20_000, "ready")])
def test_a_damaged_manifest(desk: Desk, where: int, level: Any) -> None:
    """The manifest is a cache: its damage is a warning, and a sync makes it good."""
    with desk.manifest.open("r+b") as file:
        file.seek(where)
        file.write(b"noise" * 5000)
    report = check_health(store=desk.store, level=level)
    assert one(report, "manifest").status == "warn", str(report)
    assert "computing nothing" in one(report, "manifest").advice
    before = desk.embedding.total
    assert desk.sync().ok
    assert desk.embedding.total == before
    assert one(check_health(store=desk.store, level="live"), "manifest").ok


def test_a_manifest_of_a_newer_reposync(desk: Desk) -> None:
    """What cannot be used is a failure that says what to do."""
    with closing(sqlite3.connect(desk.manifest)) as db:
        db.execute("PRAGMA user_version = 99")
    report = check_health(store=desk.store, level="live")
    assert not report.ok
    assert "Upgrade reposync" in one(report, "manifest").message


def test_a_record_that_is_torn(desk: Desk) -> None:
    """A torn freshness record is told, and a sync makes it good."""
    (desk.folder / ".reposync" / "state.json").write_text('{"generation": ')
    check_bad(check_health(store=desk.store, level="live"), "freshness", "warn", "torn")
    desk.sync()
    assert check_health(store=desk.store, level="live").status == "pass"


def test_a_log_that_grew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write-ahead log that nobody could clear is told."""
    monkeypatch.setattr(folder_health, "LARGE_LOG_BYTES", 1000)
    with closing(sqlite3.connect(desk.manifest)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM files").fetchone()
        desk.write("more.txt", "one more text\n")
        desk.sync()
        report = check_health(store=desk.store, level="live")
        check_bad(report, "logs", "warn", "reposync.sqlite3-wal")
        assert one(report, "logs").figures["reposync_wal_bytes"] > 1000


# -- Repositories --------------------------------------------------------------------------------


def test_a_streak_of_failures(desk: Desk) -> None:
    """How often a sync ended badly since the last good one, and how long ago that was."""
    desk.write("bad.txt", f"a {POISON} text\n")
    for _ in range(2):
        assert desk.sync().status == "partial"

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    desk.write("more.txt", "one more text\n")
    with pytest.raises(KeyboardInterrupt):
        desk.sync(progress=stop)
    report = check_health(store=desk.store, level="live")
    figures = one(report, "repository").figures
    assert (figures["failures"], figures["last_status"]) == (3, "interrupted")
    assert figures["last_success_seconds"] >= 0
    assert "repository" in names(report)
    assert report.ok, "the store can be used"
    (desk.root / "bad.txt").unlink()
    desk.sync()
    assert check_health(store=desk.store, level="live").status == "pass"


def test_a_repository_that_was_never_finished(tmp_path: Path) -> None:
    """A first sync that failed is told as such."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write("bad.txt", f"a {POISON} text\n")
    desk.write("good.txt", "a good text\n")
    desk.sync()
    report = check_health(store=desk.store, level="live")
    check_bad(report, "repository", "warn", "never synced to its end")
    assert one(report, "repository").figures["last_success_seconds"] is None


def test_a_first_sync_under_way_is_well(tmp_path: Path) -> None:
    """Nobody is told to sync again what is being synced for the first time."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(10)
    with stepwise(desk) as sync:
        sync.step()
        check = one(check_health(store=desk.store, level="live"), "repository")
        assert (check.status, check.message) == ("pass", "repo: its first sync is under way")


def test_a_sync_that_was_killed_counts_at_once(desk: Desk) -> None:
    """What died since the last good sync ended otherwise, before another sync notes it."""
    desk.write("more.txt", "one more text\n")
    with stepwise(desk) as sync:
        sync.kill()
    check = one(check_health(store=desk.store, level="live"), "repository")
    assert (check.status, check.figures["failures"]) == ("warn", 1)
    assert check.figures["last_status"] == "interrupted"
    assert repository_status("repo", store=desk.store).bad_runs == 1


# -- Servers -------------------------------------------------------------------------------------


def test_a_server_that_is_down(tmp_path: Path) -> None:
    """No answer is a failure; what is known here is told all the same."""
    server = Server(tmp_path / "served")
    with server, server.client() as client:
        desk = Desk(tmp_path / "tree", client)
        desk.write_many(2)
        desk.sync()
        server.kill()
        report = check_health(store=client)
        check_bad(report, "store", "fail", "did not answer")
        assert one(report, "repository").status == "pass"
        server.start()
        assert check_health(store=client, level="live").status == "pass"


@pytest.mark.parametrize(
    ("version", "title", "status"),
    [
        ("1.0.0", "chroma-frontend", "pass"),
        ("1.0.0", "Chroma", "fail"),
        ("1.5.8", "Chroma", "fail"),
        ("1.5.9", "Chroma", "fail"),
        ("1.5.10", "Chroma", "pass"),
        ("0.6.3", "Chroma", "pass"),
        ("1.5.8", None, "fail"),
        ("1.0.0", None, "pass"),
        ("unknown", None, "pass"),
    ],
)
def test_servers_that_are_known_to_be_bad(
    server: Server, version: str, title: str | None, status: str
) -> None:
    """Python servers that let strangers run code are told; the one of ``chroma run`` is none."""
    with proxied(server.port) as proxy:
        client = connect(f"http://127.0.0.1:{proxy.port}/default_database")
        proxy.on("version", answer(200, json.dumps(version)), times=1)
        api = json.dumps({"info": {"title": title}})
        proxy.on("openapi.json", answer(200, api) if title else answer(404), times=1)
        report = check_health(store=client, level="live")
        disconnect(client)
    assert one(report, "server").status == status
    if status == "fail":
        check_bad(report, "server", "fail", "CVE-2026-45829", "chroma run")
    assert one(report, "server").figures["version"] == version


def test_a_server_that_talks_nonsense(server: Server) -> None:
    """Answers that no Chroma server gives make a report, too."""
    with proxied(server.port) as proxy:
        client = connect(f"http://127.0.0.1:{proxy.port}/default_database")
        for nonsense in ("<html>", "[]", '{"info": 7}', "null"):
            proxy.on("openapi.json", answer(200, nonsense), times=1)
            proxy.on("version", answer(200, '"1.0.0"'), times=1)
            assert check_health(store=client, level="live").checks
        proxy.on("heartbeat", answer(500), times=1)
        check_bad(check_health(store=client, level="live"), "store", "fail", "did not answer")
        disconnect(client)


def test_collections_that_are_gone(desk: Desk, server: Server) -> None:
    """A collection that somebody deleted on a server is told, and a sync writes it anew."""
    with server.client() as client:
        move_to_fresh_database(client)
        desk.sync(store=client)
        client.delete_collection("repo")
        check_bad(check_health(store=client), "index", "fail", "repo: it is gone")
        desk.sync(store=client)
        assert check_health(store=client).status == "pass"


# -- Whatever else -------------------------------------------------------------------------------


def test_what_nobody_thought_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no check expects is a finding of that check, and the others go on."""

    def fail(*_: object) -> None:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    report = check_health(store=desk.store, level="live")
    assert one(report, "space").status == "fail"
    assert "RuntimeError: out of the blue" in one(report, "space").message
    assert [check.name for check in report.checks] == LIVE


def test_a_child_that_hangs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that does not end is cut off, and that is a finding."""
    from reposync.operations import sample

    monkeypatch.setattr(sample, "SECONDS", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(sample, "SECONDS_EACH", 0)
        report = check_health(store=desk.store)
    assert "did not end within" in one(report, "opens").message
    assert not report.ok
    monkeypatch.setattr(sample, "SECONDS_EACH", 60)  # a store of many collections has more time
    assert check_health(store=desk.store).ok


def test_a_fork(desk: Desk) -> None:
    """In a child of the process that made the client, the report says what is wrong."""
    client = chromadb.PersistentClient(
        str(desk.folder), chromadb.config.Settings(anonymized_telemetry=False)
    )
    assert check_health(store=client, level="live").ok
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(check_health(store=client))
        except SyncError as error:
            said = f"raised {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    client.close()  # type: ignore[attr-defined]
    assert "forked" in said
    assert not said.startswith("raised")


def test_ages_in_words() -> None:
    """An age reads as people say it."""
    from reposync.operations.manifest_health import _words

    assert [_words(seconds) for seconds in (1, 300, 7200, 864000)] == [
        "1 s",
        "5 minutes",
        "2 hours",
        "10 days",
    ]
