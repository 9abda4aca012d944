"""The history as a CSV file: every run once, whole lines only, whoever writes or dies meanwhile."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import POISON, Desk, HashEmbedding, last_json, python, start_python

from reposync import (
    ConfigError,
    EmbeddingError,
    HistoryExport,
    LockTimeout,
    StoreUnavailable,
    export_history,
    read_history,
    sync_history,
)
from reposync.lock.file import try_lock
from reposync.manifest import FILE_NAME, RepositoryKey, open_manifest
from tests.operations.live import stepwise

pytestmark = pytest.mark.folder_only


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of four files in a folder's store, not synced yet."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(4)
    return desk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the CSV file is to be."""
    return tmp_path / "history.csv"


def pretend_runs(store: Path, names: list[str]) -> None:
    """Note runs of one repository as ended; their ids are given."""
    store.mkdir(exist_ok=True)
    key = RepositoryKey("default_tenant", "default_database", "c", f"repo of {store.name}")
    with open_manifest(store / FILE_NAME) as manifest:
        record = manifest.repository(key) or manifest.add_repository(key, "/here")
        for name in names:
            result = json.dumps({"path": "/here", "finished_at": "2026-01-01T00:00:01+00:00"})
            began = "2026-01-01T00:00:00+00:00"
            manifest.end_run(record.id, name, began, "complete", result, "")


# -- what is in it -----------------------------------------------------------------------------


def test_every_kind_of_run(desk: Desk, file: Path) -> None:
    """What the history says of a run is in the file, and read from it, to the last digit."""
    desk.sync()
    desk.write("poison.txt", f"{POISON}\n")
    desk.sync()
    with pytest.raises(EmbeddingError):
        desk.sync(embedding_function=HashEmbedding(before=lambda: 1 / 0))
    with stepwise(desk) as sync:  # it is cut off, which the next one notes
        sync.kill()
    desk.sync(name="another", collection="another")
    desk.sync()
    exported = export_history(file, store=desk.folder)
    assert (exported.ok, exported.added, str(exported)) == (True, 6, f"{file}: 6 runs appended")
    assert HistoryExport.model_validate_json(exported.model_dump_json()) == exported
    found, expected = read_history(file), sync_history(store=desk.folder)
    assert found.items == expected.items
    assert {run.status for run in found.items} == {"complete", "partial", "failed", "interrupted"}
    assert (found.total, found.next_cursor) == (6, None)


def test_only_what_is_new_and_ended(desk: Desk, file: Path) -> None:
    """Each run is appended once, when it has ended; of one repository, if it is named."""
    desk.sync()
    assert export_history(file, store=desk.folder).added == 1
    whole = file.read_bytes()
    desk.write_many(8)
    with stepwise(desk) as sync:
        assert export_history(file, store=desk.folder).added == 0
        sync.finish()
    desk.sync(name="another")
    assert export_history(file, "another", store=desk.folder).added == 1
    assert export_history(file, store=desk.folder).added == 1
    assert file.read_bytes().startswith(whole)
    assert [run.repository for run in read_history(file).items] == ["repo", "another", "repo"]
    with pytest.raises(ConfigError, match="knows no repository"):
        export_history(file, "unknown", store=desk.folder)


def test_what_spreadsheets_make_of_it(desk: Desk, file: Path) -> None:
    """Excel sees its encoding, one line is one run, and no name is taken for a formula."""
    name = '=HYPERLINK("http://example.org")'
    desk.sync(name=name, collection="one")
    desk.write("new.txt", "something new\n")

    def fail() -> None:
        raise ValueError("two\nlines")

    with pytest.raises(EmbeddingError):
        desk.sync(name="'Größe", collection="two", embedding_function=HashEmbedding(before=fail))
    export_history(file, store=desk.folder)
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbfrun_id,repository,")
    assert data.count(b"\n") == 3
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["repository"] for row in rows] == [f"'{name}", "''Größe"]
    assert rows[0]["files_added"] == "4"
    assert [run.repository for run in read_history(file).items] == ["'Größe", name]
    assert "two lines" in read_history(file).items[0].error


def test_columns_of_another_version(tmp_path: Path, file: Path) -> None:
    """A file with fewer columns, or more, is gone on with as it is."""
    pretend_runs(tmp_path / "store", ["first"])
    file.write_text(
        "status,mine,run_id,repository,collection,started_at\n"
        "complete,a note,old,repo,c,2025-01-01T00:00:00Z\n"
    )
    assert export_history(file, store=tmp_path / "store").added == 1
    last = file.read_text().splitlines()[-1]
    assert last == "complete,,first,repo of store,c,2026-01-01T00:00:00+00:00"
    assert [run.run_id for run in read_history(file).items] == ["first", "old"]


# -- several at once ---------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from reposync import export_history
from tests.operations.test_history_file import pretend_runs
file, store, writer = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(15):
    pretend_runs(store, [f"{store.name}-{writer}-{turn}-{number}" for number in range(4)])
    export_history(file, store=store)
"""


def test_several_writers(tmp_path: Path, file: Path) -> None:
    """Processes that append at once lose and repeat nothing; a reader sees whole lines only."""
    stores = [tmp_path / "one", tmp_path / "two"]
    for store in stores:
        pretend_runs(store, [])
    with contextmanager(start_all)(file, stores) as children:
        seen = 0
        while any(child.poll() is None for child in children):
            if file.exists():
                now = read_history(file).total
                assert now >= seen
                seen = now
        assert [child.wait() for child in children] == [0] * 4
    found = [run.run_id for run in read_history(file).items]
    assert len(found) == len(set(found)) == 4 * 15 * 4


def start_all(file: Path, stores: list[Path]) -> Iterator[list[object]]:
    """Two writers for each store, who begin together."""
    children = [
        start_python(WRITER, file, store, str(writer)) for store in stores for writer in range(2)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", child.communicate()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_a_writer_that_died(tmp_path: Path, file: Path) -> None:
    """Half a line that a kill left is not read, and is written anew by the next export."""
    pretend_runs(tmp_path / "store", ["first"])
    export_history(file, store=tmp_path / "store")
    pretend_runs(tmp_path / "store", ["second"])
    whole = file.read_bytes()
    for torn in (b"second,rep", b"second,repo of \xc3", b'"second'):
        file.write_bytes(whole + torn)
        assert [run.run_id for run in read_history(file).items] == ["first"]
    assert export_history(file, store=tmp_path / "store").added == 1
    assert file.read_bytes().startswith(whole)
    assert [run.run_id for run in read_history(file).items] == ["second", "first"]


def test_read_while_it_is_written(tmp_path: Path, file: Path) -> None:
    """A reader who meets half a line waits for the other half; but not for ever."""
    pretend_runs(tmp_path / "store", ["first", "second"])
    export_history(file, store=tmp_path / "store")
    data = file.read_bytes()
    file.write_bytes(data[:-20])
    lock = try_lock(file.with_name(f"{file.name}.lock"))
    assert lock is not None
    try:
        with pytest.raises(LockTimeout, match="it is being written"):
            read_history(file, timeout=0.1)
        timer = threading.Timer(0.2, file.write_bytes, [data])
        timer.start()
        assert read_history(file).total == 2
        timer.join()
        with pytest.raises(LockTimeout, match="was written by somebody else"):
            export_history(file, store=tmp_path / "store", timeout=0.1)
    finally:
        lock.release()


FULL = """
import json, resource, signal, sys
from reposync import StoreUnavailable, export_history
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    export_history(sys.argv[1], store=sys.argv[2])
except StoreUnavailable as error:
    print(json.dumps(str(error)))
"""


def test_a_disk_that_runs_full(tmp_path: Path, file: Path) -> None:
    """What does not fit as a whole is not written at all; afterwards it is."""
    store = tmp_path / "store"
    pretend_runs(store, ["first"])
    export_history(file, store=store)
    whole = file.read_bytes()
    pretend_runs(store, [f"run {number}" for number in range(600)])
    told = last_json(python(FULL, file, store, "40000").stdout)  # less would stop SQLite, too
    assert "cannot be written" in told
    assert file.read_bytes() == whole
    assert export_history(file, store=store).added == 600


# -- what is no history ------------------------------------------------------------------------


def test_what_is_no_history(tmp_path: Path, file: Path) -> None:
    """A missing, foreign or spoiled file is named as such, and left as it is."""
    store = tmp_path / "store"
    pretend_runs(store, ["first"])
    with pytest.raises(ConfigError, match=r"There is no .*export_history"):
        read_history(file)
    for content in (b"a,b\n1,2\n3", b"no table at all", b"\xff\xfe\n"):
        file.write_bytes(content)
        for use in (lambda: read_history(file), lambda: export_history(file, store=store)):
            with pytest.raises(ConfigError, match="no history"):
                use()
        assert file.read_bytes() == content
    file.unlink()
    export_history(file, store=store)
    file.write_text(file.read_text().replace("2026-01-01T00:00:00+00:00", "01.01.26 00:00"))
    with pytest.raises(ConfigError, match="saved by a spreadsheet"):
        read_history(file)
    with pytest.raises(ConfigError, match="Nothing was ever synced"):
        export_history(file, store=tmp_path / "nowhere")
    with pytest.raises(StoreUnavailable):
        export_history(file / "history.csv", store=store)
