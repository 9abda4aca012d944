"""A repository gets another name; nothing is embedded, and its history goes along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Desk, check_exact, expected_texts, hash_vectors, opened, python

from reposync import (
    ConfigError,
    NameTaken,
    UnknownRepository,
    list_repositories,
    sync_history,
)
from reposync.operations.drop import drop_repository
from reposync.operations.rename import rename_repository

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """A repository with some files of one chunk, one of many equal ones, and a skipped one."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(10)
    desk.write("same.txt", "\n\n".join(["the same words over and over again, here too"] * 400))
    desk.write("binary.bin", b"\0\1\2")
    desk.settled()
    return desk


def test_the_rows_are_those_of_the_new_name(desk: Desk) -> None:
    """Rows, collection and manifest say the new name; a sync under it finds nothing to do."""
    embedded, rows = desk.embedding.total, len(desk.rows())
    report = rename_repository("repo", "renamed", store=desk.store)
    assert (report.rows, report.collection) == (rows, "renamed")
    desk.name = "renamed"
    desk.check()
    with opened(desk.store) as client:
        assert [one.name for one in client.list_collections()] == ["renamed"]
    result = desk.sync()
    assert (result.files.unchanged, result.chunks.added) == (11, 0)
    assert desk.embedding.total == embedded


def test_its_history_goes_along(desk: Desk) -> None:
    """The runs of before are those of the renamed repository."""
    before = sync_history("repo", store=desk.store)
    rename_repository("repo", "renamed", store=desk.store)
    after = sync_history("renamed", store=desk.store)
    assert [run.run_id for run in after.items] == [run.run_id for run in before.items]
    (entry,) = list_repositories(store=desk.store).items
    assert (entry.name, entry.chunks) == ("renamed", len(desk.rows("renamed")))


def test_a_collection_of_others_keeps_its_name(desk: Desk, tmp_path: Path) -> None:
    """A sibling's collection is not renamed under it; the report says what to do."""
    other = Desk(tmp_path / "other", desk.store, "other", desk.embedding)
    other.write_many(3)
    other.sync(collection="repo")
    report = rename_repository("repo", "renamed", store=desk.store)
    assert report.collection == "repo"
    assert "sync it with collection='repo'" in str(report)
    desk.name = "renamed"
    rows = desk.rows("repo")
    check_exact(rows, expected_texts(desk.root), repository="renamed")
    check_exact(rows, expected_texts(other.root), repository="other")
    assert desk.sync(collection="repo").chunks.added == 0


@pytest.mark.folder_only
def test_a_hosts_rows_keep_the_collections_name(desk: Desk) -> None:
    """So does one row that reposync did not write."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.upsert(ids=["host"], embeddings=hash_vectors(["host"], 16))
    assert rename_repository("repo", "renamed", store=desk.store).collection == "repo"


@pytest.mark.folder_only
def test_names_that_will_not_do(desk: Desk, tmp_path: Path) -> None:
    """A name that is taken, none at all, or its own: an error, and nothing is touched."""
    other = Desk(tmp_path / "other", desk.store, "other", desk.embedding)
    other.write_many(1)
    other.sync()
    with pytest.raises(NameTaken, match="'other' in collection 'other'"):
        rename_repository("repo", "other", store=desk.store)
    with pytest.raises(ConfigError, match="non-empty"):
        rename_repository("repo", " ", store=desk.store)
    with pytest.raises(ConfigError, match="has this name already"):
        rename_repository("repo", "repo", store=desk.store)
    with pytest.raises(UnknownRepository):
        rename_repository("reop", "renamed", store=desk.store)
    desk.check()


@pytest.mark.folder_only
def test_what_was_unfinished_stays_so(desk: Desk) -> None:
    """A file whose last sync was cut off is looked at by the next one, under whatever name."""
    code = """
import os, signal, sys
from pathlib import Path
from support import Desk
from reposync.collection import Collection
desk = Desk(Path(sys.argv[1]), Path(sys.argv[2]))
desk.write("new.txt", "\\n\\n".join(f"paragraph {n} of a new file, cut off" for n in range(40)))
upsert, left = Collection.upsert, [3]
def die(self, *arguments):
    left[0] -= 1
    if not left[0]:
        raise KeyboardInterrupt
    upsert(self, *arguments)
Collection.upsert = die
try:
    desk.sync()
except KeyboardInterrupt:
    pass
"""
    python(code, desk.root, desk.folder)
    rename_repository("repo", "renamed", store=desk.store)
    desk.name = "renamed"
    result = desk.sync()
    assert (result.ok, result.files.unchanged) == (True, 11)
    desk.check()


@pytest.mark.folder_only
def test_rows_are_never_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each call into the store, each text is there under one name or the other."""
    from reposync.collection import Collection

    texts = sorted(row.document for row in desk.rows().values())
    seen = []

    def watched(name: str) -> None:
        function = getattr(Collection, name)

        def then_look(self: Collection, *arguments: object) -> None:
            function(self, *arguments)
            ids = self.all_ids()
            found = {(m["path"], m["chunk_index"]): text for _, text, m in self.contents(ids)}
            seen.append(sorted(found.values()))

        monkeypatch.setattr(Collection, name, then_look)

    watched("upsert")
    watched("delete")
    rename_repository("repo", "renamed", store=desk.store)
    assert len(seen) >= 3
    assert all(one == texts for one in seen)


def test_in_memory(tmp_path: Path, memory: ClientAPI) -> None:
    """A repository of an in-memory client is renamed, too."""
    desk = Desk(tmp_path / "tree", memory, "to-be-renamed")
    desk.write_many(4)
    desk.sync()
    desk.name = rename_repository(desk.name, "in-memory", store=memory).new
    desk.check()
    assert desk.sync().chunks.added == 0
    drop_repository("in-memory", store=memory)
