"""The side file: made, kept in step, and never in the way, whatever happens to it."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import Desk, HashEmbedding, last_json, python, start_python, tiny_disk

from reposync import ConfigError, SyncConfig, backup_store, restore_store
from reposync.manifest import Manifest
from reposync.search import index as side
from reposync.search import refresh
from reposync.search.index import FILE_NAME, IndexUnusable
from reposync.search.rows import Rows

from .desks import FILES, found, furnish, search


@pytest.fixture
def desk(tmp_path: Path, own_home: Path) -> Desk:
    """A repository, synced into a folder."""
    return furnish(Desk(tmp_path / "tree", tmp_path / "store"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of all rows that are read from collections."""
    ids: list[str] = []
    contents = Rows.contents

    def counting(self: Rows, place: Any, wanted: list[str]) -> Any:
        ids.extend(wanted)
        return contents(self, place, wanted)

    monkeypatch.setattr(Rows, "contents", counting)
    return ids


def side_file(desk: Desk) -> Path:
    """Where the side file is."""
    return desk.folder / FILE_NAME


def words_of(path: Path) -> list[tuple[str, ...]]:
    """What a side file holds, in an order that does not depend on how it came there."""
    with closing(sqlite3.connect(path)) as db:
        return sorted(
            db.execute(
                "SELECT f.path, c.position, c.id, w.path, w.symbol, w.text, f.vectors"
                " FROM chunks c JOIN files f ON f.number = c.file"
                " JOIN words w ON w.rowid = c.number"
            ).fetchall()
        )


def test_only_what_changed_is_read_again(desk: Desk, read: list[str]) -> None:
    """The first search reads all rows, the next none, and one after a sync those of its files."""
    search(desk, "wheel")
    assert len(read) == len(desk.rows())
    read.clear()
    search(desk, "wheel")
    assert not read
    desk.write("docs/guide.md", "# Guide\n\nNow about gearboxes.\n")
    (desk.root / "README.md").unlink()
    desk.sync()
    assert search(desk, "gearboxes", mode="lexical")
    assert set(read) == {
        r.id for r in desk.rows().values() if r.metadata["path"] == "docs/guide.md"
    }


def test_nothing_is_compared_while_nothing_changes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the manifest's file is as it was, its rows are not even listed."""
    time.sleep(2 * refresh.SETTLED_SECONDS)
    search(desk, "wheel")
    monkeypatch.setattr(Manifest, "noted_chunks", None)
    assert search(desk, "wheel")


def spoil(path: Path, content: bytes) -> None:
    """Put something else in place of the side file."""
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Lose the second half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    """Lose what is in the middle, but for the first page."""
    content = bytearray(path.read_bytes())
    content[20_000:] = b"\xa5" * len(content[20_000:])
    path.write_bytes(content)


def another_version(path: Path) -> None:
    """Made by another version, whose tables are others."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
        db.execute("DROP TABLE chunks")


def without_a_table(path: Path) -> None:
    """A part of the word index is gone."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_master WHERE name = 'words_data'")
        db.commit()


def another_programs(path: Path) -> None:
    """A sound database that somebody else made."""
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE things (name)")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "empty": lambda path: spoil(path, b""),
    "no database": lambda path: spoil(path, b"x" * 5000),
    "another program's": lambda path: (
        path.unlink(),
        sqlite3.connect(path).execute("CREATE TABLE t(x)"),
    ),
    "cut": cut,
    "scribbled over": scribble,
    "another version": another_version,
    "a table is gone": without_a_table,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_mended(desk: Desk, damage: str) -> None:
    """A side file that is damaged, foreign or of another version is made anew without a word."""
    before = search(desk, "turn the wheel", n_results=100)
    DAMAGES[damage](side_file(desk))
    assert search(desk, "turn the wheel", n_results=100) == before
    assert len(words_of(side_file(desk))) == len(desk.rows())


SEARCH = """
import sys, json
from reposync import search_repository
from support import HashEmbedding
hits = search_repository("wheel", "repo", store=sys.argv[1], embedding_function=HashEmbedding())
print(json.dumps([list(map(list, [(hit.path, hit.start_line) for hit in hits])), hits.warnings]))
"""


def test_a_folder_that_cannot_be_written(desk: Desk) -> None:
    """A read-only store is searched by what is beside it, without a trace."""
    expected = [list(one) for one in found(search(desk, "wheel"))]
    parts = [desk.folder, *desk.folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in parts}
    try:
        for path in parts:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = python(SEARCH, desk.folder, obedient=True)
        assert last_json(done.stdout) == [expected, []]
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_side_file_that_cannot_be_written(
    desk: Desk, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it can be kept neither beside the store nor in the cache, it is made in memory."""
    monkeypatch.setattr(
        "reposync.search.opening.index_path", lambda store: desk.root / "README.md" / "no"
    )
    before = search(desk, "wheel", n_results=100)
    (kept,) = (own_home / "cache").rglob("*.sqlite3")
    kept.unlink()
    kept.mkdir()
    assert search(desk, "wheel", n_results=100) == before


def test_a_full_disk(desk: Desk, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fills up while the index is written, the search uses the cache folder's disk."""
    small = desk.root.parent / "small"
    small.mkdir()
    for number in range(8):
        lines = (f"word{number}x{line}\n" for line in range(1500))
        desk.write(f"more{number}.txt", "".join(lines))
    desk.sync(config=SyncConfig(batch_rows=256))
    with tiny_disk(small):
        (small / "filling").write_bytes(b"x" * (47 * 2**20 + 600_000))
        monkeypatch.setattr("reposync.search.opening.index_path", lambda store: small / FILE_NAME)
        assert search(desk, "word7x1499", mode="lexical")[0].path == "more7.txt"
        assert (small / FILE_NAME).exists()
    assert list((own_home / "cache").rglob("*.sqlite3"))


def test_without_fts5(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot search for words, meaning still works, and it is said what is missing."""
    monkeypatch.setattr(side, "_WORDS", "CREATE VIRTUAL TABLE words USING fts6(text)")
    assert search(desk, "wheel", mode="dense").ok
    result = search(desk, "wheel")
    assert (result.mode, bool(result.hits)) == ("dense", True)
    assert "FTS5" in result.warnings[0]
    with pytest.raises(ConfigError, match="FTS5"):
        search(desk, "wheel", mode="lexical")
    monkeypatch.undo()
    assert search(desk, "wheel", mode="lexical")


def test_a_backup_leaves_it_out(desk: Desk, tmp_path: Path) -> None:
    """It is derived, so a backup has none, does not speak of it, and a restored store makes one."""
    before = search(desk, "wheel", n_results=100)
    report = backup_store(tmp_path / "backup", store=desk.store)
    assert not report.left_out
    assert not (tmp_path / "backup" / FILE_NAME).exists()
    restore_store(tmp_path / "backup", store=tmp_path / "restored")
    again = search(desk, "wheel", n_results=100, store=tmp_path / "restored")
    assert again == before


def test_lost_vectors_are_read_from_the_collection(desk: Desk) -> None:
    """Vectors that the cache dropped are those of the collection."""
    before = search(desk, "anything", mode="dense", n_results=100)
    side_file(desk).unlink()
    with closing(sqlite3.connect(desk.manifest)) as db:
        db.execute("DELETE FROM vectors WHERE id % 2")
        db.commit()
    assert search(desk, "anything", mode="dense", n_results=100) == before


def test_whoever_comes_later_does_not_undo(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that read the manifest before a sync, and writes after another search, does no harm.

    What it wrote of the past is found out by the next one.
    """
    write = side.SearchIndex.write
    once: list[int] = []

    def slow(self: side.SearchIndex, *arguments: Any) -> None:
        if not once:
            once.append(1)
            desk.write("docs/guide.md", "# Guide\n\nNow about gearboxes.\n")
            desk.sync()
            time.sleep(2 * refresh.SETTLED_SECONDS)
            assert search(desk, "gearboxes", mode="lexical")
        write(self, *arguments)

    monkeypatch.setattr(side.SearchIndex, "write", slow)
    assert not search(desk, "carburettor", mode="lexical")
    assert not search(desk, "carburettor", mode="lexical").hits
    assert search(desk, "gearboxes", mode="lexical")


LOOP = """
import sys
from reposync import search_repository
from support import HashEmbedding
import reposync.search.refresh as refresh
refresh.SLICE_ROWS = 5
print("ready", flush=True)
result = search_repository(
    "note 7", "repo", store=sys.argv[1], mode="lexical", embedding_function=HashEmbedding()
)
print(len(result), len(result.warnings))
"""


def test_two_processes_make_it_at_once(desk: Desk) -> None:
    """Searches that make the index at the same time end up with one that is right."""
    desk.write_many(60)
    desk.sync()
    children = [start_python(LOOP, desk.folder) for _ in range(3)]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out.split()[1:]) == (0, ["10", "0"]), err
    kept = words_of(side_file(desk))
    assert [row[2] for row in sorted(kept, key=lambda row: row[2])] == sorted(desk.rows())
    side_file(desk).unlink()
    search(desk, "wheel")
    assert words_of(side_file(desk)) == kept


@pytest.mark.parametrize("after", [0.02, 0.15])
def test_killed_while_it_is_made(desk: Desk, after: float) -> None:
    """A kill at any moment leaves what the next search completes."""
    desk.write_many(60)
    desk.sync()
    child = start_python(LOOP, desk.folder)
    assert child.stdout is not None
    child.stdout.readline()
    for _ in range(1000):  # until it writes
        if side_file(desk).exists():
            break
        time.sleep(0.005)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    result = search(desk, "note 59", mode="lexical", n_results=100)
    assert (result[0].path, result.ok) == ("note59.txt", True)
    assert {row[2] for row in words_of(side_file(desk))} == set(desk.rows())


def test_in_step_through_many_syncs(desk: Desk) -> None:
    """However files come, change and go, the index is what one made from nothing would be."""
    for turn in range(6):
        desk.write(f"turn{turn % 4}.txt", f"turn {turn}\n" * (turn + 1))
        desk.write("src/store.py", FILES["src/store.py"] + f"# {turn}\n")
        (desk.root / f"turn{(turn + 2) % 4}.txt").unlink(missing_ok=True)
        desk.sync()
        search(desk, "turn")
    kept = words_of(side_file(desk))
    side_file(desk).unlink()
    search(desk, "turn")
    assert words_of(side_file(desk)) == kept


def test_one_that_cannot_be_used_is_no_error_of_sqlites(tmp_path: Path) -> None:
    """What SQLite says becomes `IndexUnusable`, which a search goes around."""
    with pytest.raises(IndexUnusable):
        side.open_file(tmp_path / "no folder" / "x.sqlite3")
    with side.open_memory() as index, pytest.raises(IndexUnusable), index.transaction(write=True):
        index.db.execute("SELECT * FROM nothing")
    assert HashEmbedding().total == 0
