"""A repository's collection gets vectors of another model, and is never without some."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Desk, HashEmbedding, OtherEmbedding, hash_vectors, opened

from reposync import (
    ConfigError,
    EmbeddingMismatch,
    list_repositories,
    repository_status,
    sync_history,
)
from reposync.operations.drop import drop_repository
from reposync.operations.migrate import migrate_model

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """A repository, synced."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(12)
    desk.write("code.py", "".join(f"def f{n}(a):\n    return a + {n}\n\n\n" for n in range(12)))
    desk.sync()
    return desk


def collections(desk: Desk) -> list[str]:
    """The names of all collections."""
    with opened(desk.store) as client:
        return [one.name for one in client.list_collections()]


def test_the_collection_is_of_the_new_model(desk: Desk) -> None:
    """Each text is computed once, the collection's name stays, and a sync finds nothing to do."""
    with opened(desk.store) as client:
        client.get_collection("repo", embedding_function=None).modify(metadata={"of": "host"})
    new = OtherEmbedding(24)
    texts = desk.embedding.total
    report = migrate_model("repo", desk.root, **options(desk, new))
    assert (report.status, report.embedded, new.total) == ("migrated", texts, texts)
    assert set(new.counts.values()) == {1}
    assert collections(desk) == ["repo"]
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=new)
        assert collection.metadata == {"of": "host"}
    with pytest.raises(EmbeddingMismatch, match="reposync-test-other"):
        desk.sync()
    desk.embedding = new
    assert desk.sync().chunks.added == 0
    desk.check()
    assert new.total == texts


def options(desk: Desk, function: HashEmbedding) -> dict[str, object]:
    """What is passed besides name and path."""
    return {"store": desk.store, "embedding_function": function, "config": desk.config}


def test_its_history_goes_along(desk: Desk) -> None:
    """The runs of before are those of the same repository still, and the totals are right."""
    migrate_model("repo", desk.root, **options(desk, OtherEmbedding()))
    (entry,) = list_repositories(store=desk.store).items
    runs = sync_history("repo", store=desk.store)
    assert len({run.model for run in runs.items}) == 2
    assert (entry.files, entry.chunks) == (13, len(desk.rows()))
    assert entry.runs == runs.total == len(runs.items)


def test_a_second_call_has_nothing_to_do(desk: Desk) -> None:
    """The collection of the model already is left alone."""
    report = migrate_model("repo", desk.root, **options(desk, desk.embedding))
    assert (report.status, report.ok, report.sync) == ("unchanged", True, None)


def test_what_syncs_see_meanwhile_is_not_lost(desk: Desk) -> None:
    """While the new vectors are computed, the old model's syncs go on; their files are there."""
    new = OtherEmbedding()

    def sync_with_the_old_one() -> None:
        new.before = None
        desk.write("meanwhile.txt", "written while the others were computed\n")
        assert desk.sync().files.added == 1

    new.before = sync_with_the_old_one
    assert migrate_model("repo", desk.root, **options(desk, new)).ok
    desk.embedding = new
    assert "meanwhile.txt" in {row.metadata["path"] for row in desk.check().values()}


def test_a_cancelled_one_goes_on(desk: Desk) -> None:
    """Cancelled, the old collection is in use; called again, nothing is computed twice."""
    cancel, new = threading.Event(), OtherEmbedding()
    new.before = lambda: cancel.set() if len(new.calls) == 3 else None
    report = migrate_model("repo", desk.root, cancel=cancel, **options(desk, new))
    assert (report.status, report.ok) == ("unfinished", False)
    assert "repo is as it was" in str(report)
    desk.check()
    done = new.total
    assert 0 < done < desk.embedding.total
    new.before = None
    report = migrate_model("repo", desk.root, **options(desk, new))
    assert (report.status, report.embedded) == ("migrated", desk.embedding.total - done)
    assert collections(desk) == ["repo"]
    desk.embedding = new
    desk.check()


def test_a_file_that_fails_keeps_the_old_collection(desk: Desk) -> None:
    """If the new model refuses a text, nothing is exchanged: that file would be gone."""
    new = OtherEmbedding(poison="note number 7")
    report = migrate_model("repo", desk.root, **options(desk, new))
    assert report.status == "unfinished"
    assert report.sync is not None
    assert [failure.path for failure in report.sync.failures] == ["note07.txt"]
    desk.check()
    new.poison = None
    assert migrate_model("repo", desk.root, **options(desk, new)).embedded == 1


def test_a_third_model_begins_anew(desk: Desk) -> None:
    """What was half done for another model is in nobody's way."""
    cancel, new = threading.Event(), OtherEmbedding()
    new.before = lambda: cancel.set() if len(new.calls) == 3 else None
    migrate_model("repo", desk.root, cancel=cancel, **options(desk, new))
    third = HashEmbedding(24)
    config = desk.config.model_copy(update={"model_id": "third"})
    arguments = {"store": desk.store, "embedding_function": third, "config": config}
    assert migrate_model("repo", desk.root, **arguments).status == "migrated"
    assert collections(desk) == ["repo"]
    desk.embedding, desk.config = third, config
    desk.check()


def test_a_shared_collection_is_refused(desk: Desk, tmp_path: Path) -> None:
    """One collection has one model: a sibling, or a host, is named, and nothing is touched."""
    other = Desk(tmp_path / "other", desk.store, "other", desk.embedding)
    other.write_many(2)
    other.sync(collection="repo")
    new = OtherEmbedding()
    with pytest.raises(ConfigError, match="repositories other, too"):
        migrate_model("repo", desk.root, **options(desk, new))
    assert new.total == 0
    assert collections(desk) == ["repo"]


@pytest.mark.folder_only
def test_a_hosts_rows_are_not_lost(desk: Desk) -> None:
    """A collection with rows of a host's is refused, too."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.upsert(ids=["host"], embeddings=hash_vectors(["host"], 16))
    with pytest.raises(ConfigError, match="rows of somebody else"):
        migrate_model("repo", desk.root, **options(desk, OtherEmbedding()))


def test_in_memory(tmp_path: Path, memory: ClientAPI) -> None:
    """An in-memory client's collection is migrated, too."""
    desk = Desk(tmp_path / "tree", memory, "migrated-in-memory")
    desk.write_many(4)
    desk.sync()
    desk.embedding = OtherEmbedding()
    assert migrate_model(desk.name, desk.root, **options(desk, desk.embedding)).ok
    assert desk.sync().chunks.added == 0
    desk.check()
    drop_repository(desk.name, store=memory)


def test_syncs_see_one_repository_meanwhile(desk: Desk) -> None:
    """While it lasts, the store knows the repository once, under its collection's name."""
    seen = []
    new = OtherEmbedding()

    def look() -> None:
        page = list_repositories(store=desk.store)
        seen.append((page.total, [entry.collection for entry in page.items]))
        assert repository_status("repo", store=desk.store).state == "synced"

    new.before = look
    migrate_model("repo", desk.root, **options(desk, new))
    assert seen
    assert all(page == (1, ["repo"]) for page in seen)
