"""The manifest: a journal that survives kills, and a cache that may be lost, but not wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reposync.batch import Batch, FileWork
from reposync.errors import ManifestError
from reposync.manifest import (
    FILE_NAME,
    NEWEST,
    UNFINISHED,
    Manifest,
    ManifestDamaged,
    RepositoryKey,
    database,
    file,
    memory_manifest,
    open_manifest,
    read_manifest,
    set_aside,
)
from reposync.manifest.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from reposync.records import Chunk, FileStat, Known, Redaction
from reposync.rows import FileRecord, KnownRow, Row, RowChanges, make_rows

KEY = RepositoryKey("tenant", "database", "collection", "repo")
STAT = FileStat(size=10, mtime_ns=2**62, ctime_ns=3, inode=2**60)
MODEL = "model"


def rows_of(path: str, *texts: str, model: str = MODEL) -> list[Row]:
    """A file's rows, one for each text."""
    chunks = [Chunk(text, number, number) for number, text in enumerate(texts, 1)]
    return make_rows(KEY.name, path, chunks, model=model, recipe="r")


def vector(number: float) -> np.ndarray:
    """A vector that can be told from others."""
    return np.array([number, 0.5, -1.0, 2.0], dtype=np.float32)


def vectors_of(rows: list[Row]) -> dict[bytes, np.ndarray]:
    """A vector for each row."""
    return {row.text_hash: vector(number) for number, row in enumerate(rows)}


def writing(path: str, rows: list[Row], *, stale: tuple[str, ...] = ()) -> Batch:
    """A batch that does all the work on one file."""
    record = FileRecord(path, STAT, "hash of " + path, None, len(rows))
    work = FileWork(path, "added", RowChanges(tuple(rows), (), stale), record)
    return Batch(
        writes=[(path, row) for row in rows],
        deletes=[(path, path, row_id) for row_id in stale],
        finished=[work],
    )


def index(manifest: Manifest, repository: int, path: str, *texts: str) -> list[Row]:
    """Bring a file in, from begin to finish."""
    rows = rows_of(path, *texts)
    batch = writing(path, rows)
    manifest.begin(repository, MODEL, batch, vectors_of(rows))
    manifest.finish(repository, batch)
    return rows


def stored(rows: list[Row], *, now: bool = True) -> dict[str, KnownRow]:
    """These rows as the manifest should know them."""
    return {row.id: KnownRow(row.digest, now) for row in rows}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the manifest lies."""
    return tmp_path / FILE_NAME


@pytest.fixture
def manifest(path: Path) -> Iterator[Manifest]:
    """A new manifest."""
    with open_manifest(path) as opened:
        yield opened


@pytest.fixture
def repository(manifest: Manifest) -> int:
    """A repository in it, without files."""
    record = manifest.add_repository(KEY, "/here")
    manifest.describe(record.id, model=MODEL)
    return record.id


# -- repositories ------------------------------------------------------------------------------


def test_repositories_are_told_apart_by_every_part(manifest: Manifest) -> None:
    """Tenant, database, collection and name together are what a repository is noted under."""
    keys = [
        KEY,
        replace(KEY, tenant="other"),
        replace(KEY, database="other"),
        replace(KEY, collection="other"),
        replace(KEY, name="other"),
    ]
    assert all(manifest.repository(key) is None for key in keys)
    ids = {manifest.add_repository(key, f"/{number}").id for number, key in enumerate(keys)}
    assert len(ids) == len(keys)
    found = [manifest.repository(key) for key in keys]
    assert [record.path for record in found if record] == ["/0", "/1", "/2", "/3", "/4"]
    assert dict(manifest.repositories()) == dict(zip(keys, found, strict=True))
    assert manifest.names_in(KEY) == {"repo", "other"}


def test_what_is_described_is_kept(path: Path) -> None:
    """Fields of a repository are there after the manifest was closed and opened again."""
    with open_manifest(path) as manifest:
        record = manifest.add_repository(KEY, "/here")
        manifest.describe(record.id, path="/there", collection_id="c", model="m", checked=7)
    with open_manifest(path) as manifest:
        expected = replace(record, path="/there", collection_id="c", model="m", checked=7)
        assert manifest.repository(KEY) == expected


# -- the journal -------------------------------------------------------------------------------


def test_begun_and_finished_work_is_known(path: Path) -> None:
    """After begin and finish the file is as recorded, its rows are stored, its vectors cached."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        rows = index(manifest, repository, "a.py", "one\n", "two\n")
    with open_manifest(path) as manifest:
        assert manifest.files(repository) == {
            "a.py": Known("a.py", STAT, "hash of a.py", None, None, 2)
        }
        assert manifest.rows(repository, "a.py") == stored(rows)
        assert manifest.all_rows(repository) == {row.id: ("a.py", True) for row in rows}
        assert manifest.count_rows(repository) == 2
        cached = manifest.vectors(MODEL, [row.text_hash for row in rows])
        for number, row in enumerate(rows):
            assert cached[row.text_hash][1].tolist() == vector(number).tolist()
        assert manifest.newest_vector() == max(number for number, _ in cached.values())
        assert manifest.vectors("another model", [rows[0].text_hash]) == {}


def test_a_kill_between_begin_and_finish_leaves_a_journal(path: Path) -> None:
    """What was begun is in flight: its vectors are kept, its rows unsure, its file to be redone."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        old = index(manifest, repository, "a.py", "one\n", "two\n")
        new = rows_of("a.py", "one\n", "three\n")
        batch = writing("a.py", new[1:], stale=(old[1].id,))
        manifest.begin(repository, MODEL, batch, {new[1].text_hash: vector(9)})
    with open_manifest(path) as manifest:
        known = manifest.files(repository)["a.py"]
        assert known.redo == UNFINISHED
        assert known.content_hash == "hash of a.py"
        assert manifest.rows(repository, "a.py") == {
            old[0].id: KnownRow(old[0].digest, True),
            old[1].id: KnownRow(old[1].digest, False),
            new[1].id: KnownRow(new[1].digest, False),
        }
        assert manifest.count_rows(repository) == 1
        assert new[1].text_hash in manifest.vectors(MODEL, [new[1].text_hash])
        manifest.finish(repository, batch)
        assert manifest.rows(repository, "a.py") == {
            old[0].id: KnownRow(old[0].digest, True),
            new[1].id: KnownRow(new[1].digest, True),
        }
        assert manifest.files(repository)["a.py"].redo is None


def test_a_killed_process_leaves_what_it_began(path: Path) -> None:
    """What `begin` returned from is on disk even if the process is killed right then."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
    child = run_child(
        """
        import os, signal
        manifest = open_manifest(path)
        rows = rows_of("a.py", "one\\n")
        manifest.begin(1, MODEL, writing("a.py", rows), vectors_of(rows))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    assert child.returncode == -9, child.stderr
    (row,) = rows_of("a.py", "one\n")
    with open_manifest(path) as manifest:
        assert manifest.rows(repository, "a.py") == stored([row], now=False)
        assert manifest.files(repository)["a.py"].redo == UNFINISHED
        assert list(manifest.vectors(MODEL, [row.text_hash])) == [row.text_hash]


def test_part_of_a_file_is_unfinished(manifest: Manifest, repository: int) -> None:
    """A batch that holds only part of a file leaves the file unfinished, its rows stored."""
    rows = rows_of("a.py", "one\n", "two\n")
    first = Batch(writes=[("a.py", rows[0])])
    manifest.begin(repository, MODEL, first, {})
    manifest.finish(repository, first)
    assert manifest.files(repository)["a.py"] == Known("a.py", redo=UNFINISHED)
    assert manifest.rows(repository, "a.py") == stored(rows[:1])


def test_a_moved_row_is_in_flight_with_its_new_digest(manifest: Manifest, repository: int) -> None:
    """A metadata update that is not acknowledged makes the row unsure; finish settles it."""
    (old,) = index(manifest, repository, "a.py", "one\n")
    moved = replace(old, digest=old.digest[:8] + b"moved...")
    batch = Batch(moves=[("a.py", moved)])
    manifest.begin(repository, MODEL, batch, {})
    assert manifest.rows(repository, "a.py") == stored([moved], now=False)
    manifest.finish(repository, batch)
    assert manifest.rows(repository, "a.py") == stored([moved])


def test_a_rename_takes_the_old_file_along(manifest: Manifest, repository: int) -> None:
    """When a rename is finished, the old path and its rows are gone."""
    old = index(manifest, repository, "old.py", "one\n")
    new = rows_of("new.py", "one\n")
    record = FileRecord("new.py", STAT, "h", None, 1)
    stale = tuple(row.id for row in old)
    work = FileWork(
        "new.py", "renamed", RowChanges(tuple(new)), record, old_path="old.py", old_stale=stale
    )
    batch = Batch(
        writes=[("new.py", new[0])],
        deletes=[("new.py", "old.py", row_id) for row_id in stale],
        finished=[work],
    )
    manifest.begin(repository, MODEL, batch, {})
    assert manifest.files(repository).keys() == {"old.py", "new.py"}, "both until it is done"
    manifest.finish(repository, batch)
    assert manifest.files(repository) == {"new.py": Known("new.py", STAT, "h", None, None, 1)}
    assert manifest.all_rows(repository) == {new[0].id: ("new.py", True)}


def test_a_deleted_file_is_forgotten(manifest: Manifest, repository: int) -> None:
    """A file whose work has no record leaves the manifest; the others stay."""
    gone = index(manifest, repository, "gone.py", "one\n")
    kept = index(manifest, repository, "kept.py", "one\n")
    stale = tuple(row.id for row in gone)
    work = FileWork("gone.py", "deleted", RowChanges(stale=stale), deleted=True)
    deletes = [("gone.py", "gone.py", row_id) for row_id in stale]
    batch = Batch(deletes=deletes, finished=[work])
    manifest.begin(repository, MODEL, batch, {})
    manifest.finish(repository, batch)
    assert manifest.all_rows(repository) == {row.id: ("kept.py", True) for row in kept}
    assert manifest.files(repository).keys() == {"kept.py"}


def test_a_skipped_file_is_noted_with_its_reason(manifest: Manifest, repository: int) -> None:
    """A record of a skipped file keeps stat and reason."""
    record = FileRecord("a.bin", STAT, "h", "binary", 0)
    manifest.finish(repository, Batch(finished=[FileWork("a.bin", "skipped", record=record)]))
    assert manifest.files(repository) == {"a.bin": Known("a.bin", STAT, "h", "binary")}


def test_a_racy_file_has_no_stat(manifest: Manifest, repository: int) -> None:
    """A record without a stat takes back the one that was known."""
    index(manifest, repository, "a.py", "one\n")
    record = FileRecord("a.py", None, "h", None, 1)
    manifest.finish(repository, Batch(finished=[FileWork("a.py", "unchanged", record=record)]))
    assert manifest.files(repository)["a.py"].stat is None


def test_a_block_that_fails_leaves_nothing(manifest: Manifest, repository: int) -> None:
    """An error in a transaction, also one that is not SQLite's, undoes all of it."""

    def rows() -> Iterator[tuple[str, bytes, np.ndarray]]:
        yield MODEL, b"first", vector(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manifest.keep_vectors(rows())
    assert manifest.newest_vector() == 0
    index(manifest, repository, "a.py", "one\n")  # and the next transaction works


# -- distrust and loss -------------------------------------------------------------------------


@pytest.fixture
def two_files(manifest: Manifest, repository: int) -> dict[str, list[Row]]:
    """Two indexed files, and a skipped one."""
    rows = {
        "a.py": index(manifest, repository, "a.py", "one\n", "two\n"),
        "b.py": index(manifest, repository, "b.py", "one\n"),
    }
    record = FileRecord("c.bin", STAT, "h", "binary", 0)
    manifest.finish(repository, Batch(finished=[FileWork("c.bin", "skipped", record=record)]))
    return rows


@pytest.mark.parametrize("rows", [True, False])
def test_distrust(
    manifest: Manifest, repository: int, two_files: dict[str, list[Row]], rows: bool
) -> None:
    """Every indexed file is to be read again; its rows are doubted only if asked for."""
    manifest.distrust(repository, "why", rows=rows)
    redo = {path: file.redo for path, file in manifest.files(repository).items()}
    assert redo == {"a.py": "why", "b.py": "why", "c.bin": None}
    assert manifest.rows(repository, "a.py") == stored(two_files["a.py"], now=not rows)


def test_distrust_is_for_one_repository(manifest: Manifest, repository: int) -> None:
    """A repository beside it keeps its trust."""
    other = manifest.add_repository(replace(KEY, name="other"), "/other").id
    rows = index(manifest, other, "a.py", "one\n")
    manifest.distrust(repository, "why", rows=True)
    assert manifest.files(other)["a.py"].redo is None
    assert manifest.rows(other, "a.py") == stored(rows)


def test_lost_rows_are_written_again(
    manifest: Manifest, repository: int, two_files: dict[str, list[Row]]
) -> None:
    """A row that the collection lost is doubted and its file redone; all others are trusted."""
    lost, kept = two_files["a.py"]
    manifest.lose_rows(repository, {"a.py": [lost.id]}, "lost")
    assert manifest.rows(repository, "a.py") == stored([kept]) | stored([lost], now=False)
    assert manifest.files(repository)["a.py"].redo == "lost"
    assert manifest.files(repository)["b.py"].redo is None


def test_imported_rows_are_known_and_unvouched(manifest: Manifest, repository: int) -> None:
    """Rows found in the collection are noted, usable or not, and their files are to be read."""
    good, bad = rows_of("a.py", "one\n", "two\n")
    manifest.import_rows(
        repository,
        [("a.py", row.id, row.text_hash, row.digest, row is good, {}) for row in (good, bad)],
        "imported",
    )
    assert manifest.rows(repository, "a.py") == stored([good]) | stored([bad], now=False)
    assert manifest.files(repository) == {"a.py": Known("a.py", redo="imported")}


def test_imported_rows_of_a_skipped_file(
    manifest: Manifest, repository: int, two_files: dict[str, list[Row]]
) -> None:
    """Rows of a file that should have none make it one whose rows may be in the collection."""
    (row,) = rows_of("c.bin", "x\n")
    manifest.import_rows(
        repository, [("c.bin", row.id, row.text_hash, row.digest, True, {})], "imported"
    )
    known = manifest.files(repository)["c.bin"]
    assert (known.skip, known.redo) == ("binary", "imported")


def test_vectors_read_back_do_not_replace_computed_ones(
    manifest: Manifest, repository: int
) -> None:
    """What was computed stands; only missing vectors are taken from a collection."""
    (row,) = index(manifest, repository, "a.py", "one\n")
    manifest.keep_vectors([(MODEL, row.text_hash, vector(5)), (MODEL, b"new", vector(6))])
    found = manifest.vectors(MODEL, [row.text_hash, b"new"])
    assert found[row.text_hash][1].tolist() == vector(0).tolist()
    assert found[b"new"][1].tolist() == vector(6).tolist()


def test_a_lost_collection_concerns_all_its_repositories(
    manifest: Manifest, repository: int, two_files: dict[str, list[Row]]
) -> None:
    """Who shares the collection writes everything again; who does not goes on as before."""
    neighbour = manifest.add_repository(replace(KEY, name="neighbour"), "/n").id
    stranger = manifest.add_repository(replace(KEY, collection="other"), "/s").id
    for one in (neighbour, stranger):
        index(manifest, one, "n.py", "one\n")
    for one in (repository, neighbour, stranger):
        manifest.describe(one, token="token")

    manifest.lose_collection(KEY, "lost")

    assert (manifest.count_rows(repository), manifest.count_rows(neighbour)) == (0, 0)
    assert manifest.count_rows(stranger) == 1
    files = manifest.files(repository)
    assert files["a.py"].redo == "lost"
    assert files["c.bin"].redo is None
    assert manifest.files(stranger)["n.py"].redo is None
    tokens = {key.name: record.token for key, record in manifest.repositories()}
    assert tokens == {"repo": "token", "neighbour": ""}
    hashes = [row.text_hash for row in two_files["a.py"]]
    manifest.evict(0)
    assert manifest.vectors(MODEL, hashes).keys() == set(hashes), "the cache is what rebuilds it"


# -- eviction ----------------------------------------------------------------------------------


def fill(manifest: Manifest, *keys: bytes, model: str = MODEL) -> None:
    """Cache a vector of 16 bytes under each key, the oldest first."""
    for key in keys:
        manifest.keep_vectors([(model, key, vector(1))])


def left(manifest: Manifest, *keys: bytes, model: str = MODEL) -> list[bytes]:
    """Which of the keys are still cached."""
    return list(manifest.vectors(model, keys))


def test_eviction_takes_the_oldest_first(manifest: Manifest) -> None:
    """As many of the oldest vectors go as must, and no more."""
    keys = (b"1", b"2", b"3", b"4")
    fill(manifest, *keys)
    assert manifest.evict(64) == 0
    assert manifest.evict(63) == 1
    assert left(manifest, *keys) == [b"2", b"3", b"4"]
    assert manifest.evict(32) == 1
    assert left(manifest, *keys) == [b"3", b"4"]
    assert manifest.evict(0) == 2
    assert left(manifest, *keys) == []


def test_each_model_counts_by_its_own_dimension(manifest: Manifest) -> None:
    """Vectors of several models are added up by how long those of each model are."""
    fill(manifest, b"1", b"2")
    manifest.keep_vectors([("long", key, np.zeros(100, np.float32)) for key in (b"1", b"2", b"3")])
    assert manifest.cache_size() == (5, 2 * 16 + 3 * 400)


def test_a_small_cache_is_not_added_up(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the whole file is below the bound, no vector is counted: that took 1 us for each."""
    fill(manifest, b"1")

    def count(_: Manifest) -> int:
        raise AssertionError("all vectors are counted")

    monkeypatch.setattr(Manifest, "_cached_bytes", count)
    assert manifest.evict(1 << 30) == 0


def test_eviction_never_takes_a_live_vector(manifest: Manifest, repository: int) -> None:
    """Vectors of stored rows and of rows in flight stay, however old they are and low the bound."""
    live = index(manifest, repository, "a.py", "one\n", "two\n")
    flying = rows_of("b.py", "three\n")
    manifest.begin(repository, MODEL, writing("b.py", flying), vectors_of(flying))
    fill(manifest, b"orphan")
    assert manifest.evict(0) == 1
    keys = [row.text_hash for row in (*live, *flying)]
    assert left(manifest, *keys, b"orphan") == keys


def test_eviction_takes_vectors_of_a_former_model(manifest: Manifest, repository: int) -> None:
    """A vector that no row was written with is no live one, whatever text it is of."""
    (row,) = index(manifest, repository, "a.py", "one\n")
    fill(manifest, row.text_hash, model="former model")
    assert manifest.evict(16) == 1
    assert left(manifest, row.text_hash, model="former model") == []
    assert left(manifest, row.text_hash) == [row.text_hash]


def test_eviction_spares_a_vector_that_comes_to_use_meanwhile(
    path: Path, manifest: Manifest, repository: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that begins to use a vector while the cache is measured keeps it."""
    (row,) = rows_of("a.py", "one\n")
    fill(manifest, row.text_hash)
    measure = manifest._cached_bytes

    def measure_and_be_overtaken() -> int:
        measured = measure()
        with open_manifest(path) as other:
            other.begin(repository, MODEL, writing("a.py", [row]), {})
        return measured

    monkeypatch.setattr(manifest, "_cached_bytes", measure_and_be_overtaken)
    assert manifest.evict(0) == 0
    assert left(manifest, row.text_hash) == [row.text_hash]


# -- totals ------------------------------------------------------------------------------------


def test_totals_are_kept(manifest: Manifest, repository: int) -> None:
    """Whatever is done, the totals are what a count would give."""
    other = manifest.add_repository(replace(KEY, name="other"), "/other").id

    def check() -> None:
        for each in (repository, other):
            totals, files = manifest.totals_of(each), manifest.files(each)
            assert totals.files == len(files)
            counted = {
                path: manifest._all(
                    "SELECT count(*) FROM chunks JOIN files ON files.id = file"
                    " WHERE repository = ? AND path = ? AND stored != 0",
                    each,
                    path,
                )[0][0]
                for path in files
            }
            assert totals.chunks == manifest.count_rows(each) == sum(counted.values())
            noted = {one.path: one.stored for one in manifest.file_page(each, NEWEST, 99)}
            assert noted == counted

    check()
    one = index(manifest, repository, "a.py", "one\n", "two\n", "three\n")
    index(manifest, repository, "b.py", "one\n", "two\n")
    index(manifest, other, "a.py", "one\n")
    assert manifest.count_rows(repository) == 5
    check()
    again = writing("a.py", one[:1], stale=tuple(row.id for row in one[1:]))
    manifest.begin(repository, MODEL, again, vectors_of(one))
    check()
    assert manifest.count_rows(repository) == 2, "what is in flight may be there or not"
    manifest.finish(repository, again)
    check()
    assert manifest.count_rows(repository) == 3
    manifest.distrust(repository, "why not", rows=True)
    check()
    manifest.lose_rows(repository, {"a.py": [one[0].id]}, "lost")
    check()
    found = [("a.py", row.id, row.text_hash, row.digest, row is one[1], {}) for row in one]
    manifest.import_rows(repository, found, "imported")
    check()
    assert manifest.count_rows(repository) == 5
    manifest.found_again(KEY, rows_of("b.py", "one\n"))
    check()
    manifest.finish(repository, Batch(finished=[FileWork("b.py", "deleted", deleted=True)]))
    check()
    manifest.lose_collection(KEY, "dropped")
    check()
    assert manifest.count_rows(repository) == manifest.count_rows(other) == 0


# -- runs --------------------------------------------------------------------------------------


def test_a_run_that_did_not_end_was_cut_off(path: Path) -> None:
    """A run that began to write and never ended is noticed, until another one has begun."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        assert not manifest.was_cut_off(repository)
        manifest.start_run(repository, "run 1", "then")
    with open_manifest(path) as manifest:
        assert manifest.was_cut_off(repository)
        manifest.start_run(repository, "run 2", "now")
        manifest.end_run(repository, "run 2", "now", "complete", "{}", "token")
        assert not manifest.was_cut_off(repository)
        record = manifest.repository(KEY)
        assert record is not None
        assert record.token == "token"
        assert runs(manifest) == [("run 1", "interrupted"), ("run 2", "complete")]


def test_a_run_that_never_wrote_is_noted_at_its_end(manifest: Manifest, repository: int) -> None:
    """A sync that had nothing to do appears in the list of runs, and settles a cut-off one."""
    manifest.start_run(repository, "run 1", "then")
    manifest.end_run(repository, "run 2", "now", "complete", "{}", "")
    assert runs(manifest) == [("run 1", "interrupted"), ("run 2", "complete")]
    assert not manifest.was_cut_off(repository)


def test_a_refused_run_leaves_the_one_before_cut_off(manifest: Manifest, repository: int) -> None:
    """A run that was refused before it wrote anything took nothing up."""
    manifest.start_run(repository, "run 1", "then")
    manifest.end_run(repository, "run 2", "now", "refused", "{}", "", error="no such folder")
    assert manifest.was_cut_off(repository)
    last = manifest.last_run(repository)
    assert last is not None
    assert (last.run_id, last.status) == ("run 1", "interrupted")
    assert manifest.last_good_run(repository) is None
    assert manifest.bad_runs_since(repository, None) == 2


def test_runs_of_another_repository_go_on(manifest: Manifest, repository: int) -> None:
    """A run of one repository does not end that of another."""
    other = manifest.add_repository(replace(KEY, name="other"), "/other").id
    manifest.start_run(other, "run 1", "then")
    manifest.start_run(repository, "run 2", "then")
    assert manifest.was_cut_off(other)


def runs(manifest: Manifest) -> list[tuple[str, str]]:
    """All runs with their status, the oldest first."""
    return [tuple(row) for row in manifest._all("SELECT run_id, status FROM runs ORDER BY id")]


# -- files that cannot be used -----------------------------------------------------------------


def make_noise(path: Path) -> None:
    """Bytes that are no database."""
    path.write_bytes(b"noise " * 1000)


def make_foreign(path: Path) -> None:
    """Another program's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()


@pytest.mark.parametrize("make", [make_noise, make_foreign])
def test_what_is_no_manifest_is_set_aside(path: Path, make: Callable[[Path], None]) -> None:
    """Noise or another program's database is kept under another name, and a new manifest begun."""
    make(path)
    content = path.read_bytes()
    assert read_manifest(path) is None
    assert path.read_bytes() == content, "reading changes nothing"
    with open_manifest(path) as manifest:
        assert manifest.repositories() == []
        manifest.add_repository(KEY, "/here")
    (aside,) = path.parent.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes() == content
    with open_manifest(path) as manifest:
        assert len(manifest.repositories()) == 1, "the new one is not set aside again"


def test_what_is_set_aside_is_never_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files that are set aside within a second are both kept."""
    monkeypatch.setattr(file.time, "strftime", lambda _: "20260101T000000")
    for content in (b"first", b"second"):
        path.write_bytes(content)
        set_aside(path)
    kept = {file.read_bytes() for file in path.parent.iterdir()}
    assert kept == {b"first", b"second"}


def test_what_belongs_to_a_file_is_set_aside_with_it(path: Path) -> None:
    """A write-ahead log must not be left to be applied to the new file."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(suffix.encode())
    set_aside(path)
    kept = sorted(file.name for file in path.parent.iterdir())
    assert [name.rpartition("-")[2] for name in kept][1:] == ["shm", "wal"]
    assert all(".damaged-" in name for name in kept)
    assert len(kept) == 3


def test_damage_found_late_is_a_manifest_error(path: Path) -> None:
    """A manifest whose pages are overwritten opens, and says so when it is used."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        for number in range(20):
            index(manifest, repository, f"{number}.py", *(f"{n}\n" for n in range(20)))
        pages = manifest._all("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")
    content = bytearray(path.read_bytes())
    for (page,) in pages:  # not those that the schema lies in: their damage is found at once
        content[4096 * (page - 1) : 4096 * page] = b"\xa5" * 4096
    path.write_bytes(content)
    with open_manifest(path) as manifest, pytest.raises(ManifestDamaged, match="damaged"):
        manifest.files(repository)


@pytest.mark.parametrize("opened", [open_manifest, read_manifest])
def test_a_newer_schema_is_refused(path: Path, opened: Callable[[Path], Manifest | None]) -> None:
    """A newer reposync's manifest is left as it is, and the message says what to do."""
    open_manifest(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(ManifestError, match=r"newer reposync.*Upgrade"):
        opened(path)
    assert path.exists()
    assert list(path.parent.glob("*damaged*")) == []


@pytest.fixture
def old(path: Path) -> Path:
    """A manifest as version 1 left it, with one file, its rows, and a run."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(MIGRATIONS[0])
        db.executescript(
            "INSERT INTO repositories (id, tenant, database, collection, name, path)"
            " VALUES (7, 't', 'd', 'c', 'n', '/x');"
            "INSERT INTO files (repository, path, size, mtime_ns, ctime_ns, inode, content_hash,"
            " chunks) VALUES (7, 'a.py', 1, 2, 3, 4, 'hash', 5);"
            "INSERT INTO chunks (file, id, text_hash, digest, stored)"
            " VALUES (1, 'one', '', '', 1), (1, 'two', '', '', 2), (1, 'three', '', '', 0);"
            "INSERT INTO runs (run_id, repository, started_at, status)"
            " VALUES ('run 1', 7, 'then', 'complete');"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        )
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("opened", [open_manifest, read_manifest])
def test_an_older_schema_is_understood(
    old: Path, opened: Callable[[Path], Manifest | None], version: int
) -> None:
    """What version 1 knew is known; its files, judged by no rules, are to be read.

    So it is with version 2, which knew no totals and not where a chunk lies.
    """
    if version == 2:
        with closing(sqlite3.connect(old)) as db:
            db.executescript(f"{MIGRATIONS[1]}; PRAGMA user_version = 2")
    before = old.read_bytes()
    manifest = opened(old)
    assert manifest is not None
    with manifest:
        known = Known("a.py", FileStat(1, 2, 3, 4), "hash", chunks=5)
        assert manifest.files(7) == {"a.py": known}
        totals = manifest.totals_of(7)
        assert (totals.files, totals.chunks, totals.runs) == (1, 2, 1)
        assert manifest.count_rows(7) == 2
        assert [file.stored for file in manifest.file_page(7, NEWEST, 9)] == [2]
        found = manifest.chunk_page(7, NEWEST, "", 9)
        assert [(one.id, one.start_line) for one in found] == [("one", None), ("two", None)]
        last = manifest.last_run(7)
        assert last is not None
        assert (last.run_id, last.heartbeat, last.progress) == ("run 1", None, None)
        assert manifest.cancel_asked_at(7) == 0
    if opened is read_manifest:
        assert old.read_bytes() == before


def test_what_was_found_in_a_file_is_kept(manifest: Manifest, repository: int) -> None:
    """Rules, encoding and redactions of a file are remembered, so that no sync need read it."""
    redactions = (Redaction(3, "github_token"), Redaction(9, "private_key"))
    record = FileRecord("a", None, "hash", None, 0, "rules", "cp1252", redactions)
    manifest.finish(repository, Batch(finished=[FileWork("a", "added", record=record)]))
    (known,) = manifest.files(repository).values()
    assert (known.rules, known.encoding, known.redactions) == ("rules", "cp1252", redactions)


def test_the_file_says_whose_it_is(path: Path) -> None:
    """Application id and schema version stand in the file's header, and the log is a WAL."""
    open_manifest(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_every_commit_is_durable(manifest: Manifest, repository: int) -> None:
    """With less than FULL the last commits could be lost at a power failure.

    Only that a run goes on may be lost: then nothing waits for the disk.
    """
    levels = []
    real = manifest._note

    def note(*arguments: object) -> bool:
        levels.append(manifest._all("PRAGMA synchronous")[0][0])
        return real(*arguments)  # type: ignore[arg-type]

    manifest._note = note  # type: ignore[method-assign]
    manifest.start_run(repository, "run 1", "now")
    manifest.beat(repository, "run 1", "now", "{}")
    manifest.end_run(repository, "run 1", "now", "complete", "{}", "")
    assert levels == [2, 1, 2]
    assert manifest._all("PRAGMA synchronous") == [(2,)]
    with pytest.raises(ZeroDivisionError), manifest.cheap_transaction():
        _ = 1 / 0
    assert manifest._all("PRAGMA synchronous") == [(2,)]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A manifest that cannot be opened is an error that names the file."""
    with pytest.raises(ManifestError, match="missing"):
        open_manifest(tmp_path / "missing" / FILE_NAME)


# -- reading only ------------------------------------------------------------------------------


def test_reading_only(path: Path) -> None:
    """A manifest opened for reading shows everything and leaves everything as it was."""
    assert read_manifest(path) is None
    assert not path.exists()
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        rows = index(manifest, repository, "a.py", "one\n")
        with _read(path) as reader:
            assert reader.rows(repository, "a.py") == stored(rows), "beside an open writer, too"
    content = path.read_bytes()
    with _read(path) as reader:
        assert reader.rows(repository, "a.py") == stored(rows)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [FILE_NAME], "no log stays behind"


def test_what_is_opened_for_reading_cannot_be_written(path: Path) -> None:
    """A slip in a dry run is an error, not a change."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
    with _read(path) as reader, pytest.raises(ManifestError):
        reader.describe(repository, path="/there")


def test_reading_from_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the name."""
    folder = tmp_path / "100% of a?b#c & d=é"
    folder.mkdir()
    with open_manifest(folder / FILE_NAME) as manifest:
        manifest.add_repository(KEY, "/here")
    with _read(folder / FILE_NAME) as reader:
        assert len(reader.repositories()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]


def test_an_empty_file_is_of_no_use(path: Path) -> None:
    """A file whose maker was killed before it had any table is no manifest to read."""
    path.touch()
    assert read_manifest(path) is None


def test_an_empty_file_is_filled(path: Path) -> None:
    """A file whose maker was killed before it had any table is taken over."""
    path.touch()
    with open_manifest(path) as manifest:
        manifest.add_repository(KEY, "/here")
    assert [file.name for file in path.parent.iterdir()] == [FILE_NAME]


def _read(path: Path) -> Manifest:
    reader = read_manifest(path)
    assert reader is not None
    return reader


def test_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest in memory works alike, knows nothing of another, and leaves no file."""
    monkeypatch.chdir(tmp_path)
    with memory_manifest() as manifest, memory_manifest() as other:
        repository = manifest.add_repository(KEY, "/here").id
        rows = index(manifest, repository, "a.py", "one\n")
        assert manifest.rows(repository, "a.py") == stored(rows)
        assert other.repositories() == []
    assert list(tmp_path.iterdir()) == []


# -- several processes -------------------------------------------------------------------------


def run_child(code: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with the helpers of this file."""
    child = start_child(code, path, *arguments)
    out, err = child.communicate(timeout=60)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def start_child(code: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start code in a process of its own, with the helpers of this file and `path`."""
    helpers = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_manifest import *\n"
        "path = Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", helpers + textwrap.dedent(code), str(path), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def test_two_processes_write_at_once(path: Path) -> None:
    """Writers that meet wait for each other: both make the file, and nothing of either is lost."""
    code = """
        key = replace(KEY, name=sys.argv[2])
        with open_manifest(path) as manifest:
            repository = manifest.add_repository(key, "/" + key.name).id
            for number in range(60):
                index(manifest, repository, f"{number}.py", f"{number}\\n", "same\\n")
    """
    children = [start_child(code, path, name) for name in ("one", "two")]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    with open_manifest(path) as manifest:
        counts = {
            key.name: (len(manifest.files(record.id)), manifest.count_rows(record.id))
            for key, record in manifest.repositories()
        }
        assert counts == {"one": (60, 120), "two": (60, 120)}
        assert manifest._all("SELECT count(*) FROM vectors") == [(61,)], "each text once"
        assert manifest._all("PRAGMA integrity_check") == [("ok",)]
    assert [file.name for file in path.parent.glob("*damaged*")] == []


@pytest.mark.parametrize(
    "moment", ["sqlite_master", "application_id", "user_version", "journal_mode", "BEGIN"]
)
def test_two_processes_make_the_file_at_once(
    path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that another process makes at any moment of opening is used, not set aside."""

    class Overtaken(sqlite3.Connection):
        """Another process makes all of the file just before this one asks for `moment`."""

        def execute(self, query: str, *arguments: object) -> sqlite3.Cursor:
            if moment in query and not other:
                other.append(run_child("open_manifest(path).add_repository(KEY, '/x')", path))
            return super().execute(query, *arguments)  # type: ignore[arg-type]

    other: list[subprocess.CompletedProcess[str]] = []
    connect = sqlite3.connect

    def overtaken(*arguments: object, **options: object) -> sqlite3.Connection:
        return connect(*arguments, **options, factory=Overtaken)  # type: ignore[call-overload]

    monkeypatch.setattr(database.sqlite3, "connect", overtaken)
    with open_manifest(path) as manifest:
        assert other[0].returncode == 0, other[0].stderr
        assert list(path.parent.glob("*damaged*")) == []
        assert len(manifest.repositories()) == 1


def test_a_full_disk_is_a_manifest_error(path: Path) -> None:
    """When the disk is full the caller hears it, nothing is half done, and work can go on later."""
    with open_manifest(path) as manifest:
        repository = manifest.add_repository(KEY, "/here").id
        before = index(manifest, repository, "before.py", "one\n")
    child = run_child(
        """
        import resource
        with open_manifest(path) as manifest:
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            full = path.stat().st_size + 20_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, unlimited[1]))
            rows = rows_of("large.py", *(f"{number}\\n" for number in range(2000)))
            batch = writing("large.py", rows)
            try:
                manifest.begin(1, MODEL, batch, vectors_of(rows))
            except ManifestError as error:
                print("refused:", error)
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            print(len(manifest.all_rows(1)), "rows")
            index(manifest, 1, "after.py", "one\\n")
        """,
        path,
    )
    assert child.returncode == 0, child.stderr
    assert "refused:" in child.stdout
    assert "is the disk full" in child.stdout
    assert "1 rows" in child.stdout, "the transaction was undone"
    with open_manifest(path) as manifest:
        assert manifest._all("PRAGMA integrity_check") == [("ok",)]
        assert manifest.files(repository).keys() == {"before.py", "after.py"}
        assert manifest.rows(repository, "before.py") == stored(before)
        assert manifest._all("SELECT count(*) FROM vectors") == [(1,)], "the same text, once"
