"""What verify looks at, what it leaves alone, and what it says; see test_repair for the damage."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from support import Desk, OtherEmbedding, hash_vectors, opened, snapshot

from reposync import (
    Chunk,
    ConfigError,
    EmbeddingError,
    EmbeddingMismatch,
    NameTaken,
    SyncInProgress,
    UnknownRepository,
)
from reposync.freshness import FolderState
from reposync.operations import verify as verifying
from reposync.operations.drop import drop_repository
from reposync.operations.findings import SHOWN, Finding, FindingKind, Level, VerifyReport
from reposync.operations.rebuild_collection import rebuild_collection
from reposync.operations.repair import repair_repository
from reposync.operations.verify import verify_repository

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

LEVELS: tuple[Level, ...] = get_args(Level)


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """A repository, synced."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(6)
    desk.write("code.py", "".join(f"def f{n}(a):\n    return a + {n}\n\n\n" for n in range(12)))
    desk.write("binary.bin", b"\0\1\2")
    desk.settled()
    return desk


def options(desk: Desk, **changes: Any) -> dict[str, Any]:
    """What is passed besides name and path."""
    return {"store": desk.store, "config": desk.config, **changes}


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_repository(desk: Desk, level: Level) -> None:
    """What is in step is found sound, and the report says how much was compared."""
    rows, embedded = len(desk.rows()), desk.embedding.total
    report = verify_repository("repo", level=level, **options(desk))
    assert (report.findings, report.rows, report.files) == ((), rows, 0)
    report = verify_repository("repo", desk.root, level=level, **options(desk))
    assert (report.findings, report.rows, report.files) == ((), rows, 7)
    assert report.vectors == rows
    assert str(report) == f"repo: sound (7 files, {rows} rows and {rows} vectors compared)"
    assert desk.embedding.total == embedded


def test_a_sample_is_computed_anew(desk: Desk) -> None:
    """With the embedding function, at the level "vectors", texts are embedded to compare."""
    report = verify_repository(
        "repo", level="vectors", embedding_function=desk.embedding, **options(desk)
    )
    assert report.ok
    assert report.computed == report.rows
    sampled = verify_repository("repo", embedding_function=desk.embedding, **options(desk))
    assert (sampled.ok, sampled.computed) == (True, 0)


def test_nothing_is_written(tmp_path: Path) -> None:
    """No file of the store has another content afterwards, but for who held the lock last."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    flushed = {"hnsw": {"space": "cosine", "batch_size": 5, "sync_threshold": 10}}
    with opened(desk.store) as client:
        client.create_collection("repo", configuration=flushed, embedding_function=desk.embedding)
    desk.write_many(20)
    desk.settled()

    def content() -> dict[str, Any]:
        files: dict[str, Any] = dict(snapshot(desk.folder))
        state = json.loads(files.pop(".reposync/state.json"))
        with closing(sqlite3.connect(desk.folder / "chroma.sqlite3")) as db:
            # Opening a client is all that Chroma writes down, in a table for its own lock.
            rows = [line for line in db.iterdump() if "acquire_write" not in line]
        raised = {name: state[name] for name in ("generation", "doubtful_at", "died_at")}
        return {**files, "chroma.sqlite3": rows, **raised}

    before = content()
    for level in LEVELS:
        assert verify_repository("repo", desk.root, level=level, **options(desk)).ok
    repair_repository("repo", desk.root, dry_run=True, **options(desk))
    state = FolderState(desk.folder)
    recorded = state.read()
    assert recorded is not None
    assert recorded.stat == state.stat(), "the next holder would think that somebody wrote"
    assert content() == before


@pytest.mark.folder_only
def test_the_index_is_queried_at_every_level(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose ``count()`` and ``get()`` look fine, and whose index finds nothing."""
    from reposync.collection import Collection

    monkeypatch.setattr(Collection, "near", lambda *_: [("somebody", 0.7)])
    for level in LEVELS:
        report = verify_repository("repo", level=level, **options(desk))
        assert set(report.counts) == {"index"}


def test_a_sync_under_way_is_no_damage(desk: Desk) -> None:
    """While files are being updated, all that can be said is that they are unfinished."""
    desk.write("code.py", "".join(f"def g{n}(a):\n    return a * {n}\n\n\n" for n in range(12)))
    seen: list[VerifyReport] = []

    def look() -> None:
        seen.append(verify_repository("repo", level="vectors", **options(desk)))

    desk.embedding.before = look
    desk.sync()
    assert len(seen) >= 2
    assert {kind for report in seen for kind in report.counts} == {"unfinished"}
    assert {one.path for report in seen for one in report.findings} == {"code.py"}


@pytest.mark.folder_only
def test_one_that_never_rests_is_not_called_damaged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the notes change each time while rows that are missing are found, that is an error."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.delete(where={"path": "code.py"})
    times = iter(range(100))
    notes = verifying._notes
    monkeypatch.setattr(verifying, "_notes", lambda one: (notes(one)[0], next(times)))
    with pytest.raises(SyncInProgress, match="Wait for its sync"):
        verify_repository("repo", **options(desk))


@pytest.mark.folder_only
def test_a_rebuild_meanwhile_is_no_damage(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the collection is replaced while it is read, the new one is verified."""
    compare, times = verifying._compare, []

    def replaced(*arguments: Any) -> dict[str, int]:
        times.append(None)
        if len(times) == 1:
            rebuild_collection("repo", store=desk.store)
        return compare(*arguments)

    monkeypatch.setattr(verifying, "_compare", replaced)
    assert verify_repository("repo", **options(desk)).ok
    assert len(times) == 2


@pytest.mark.folder_only
def test_rows_that_agree_and_are_wrong_all_the_same(desk: Desk) -> None:
    """Notes and rows that agree are not believed if an id is not that of its content."""
    with opened(desk.store) as client, closing(sqlite3.connect(desk.manifest)) as db, db:
        collection = client.get_collection("repo", embedding_function=None)
        got = collection.get(where={"path": "note01.txt"}, include=["documents", "metadatas"])
        collection.delete(ids=got["ids"])
        collection.upsert(
            ids=["0" * 32],
            documents=got["documents"],
            metadatas=got["metadatas"],
            embeddings=hash_vectors(got["documents"] or [], 16),
        )
        db.execute("UPDATE chunks SET id = ? WHERE id = ?", ("0" * 32, got["ids"][0]))
    report = verify_repository("repo", **options(desk))
    assert [(one.kind, one.id) for one in report.findings] == [("foreign", "0" * 32)]
    with_files = verify_repository("repo", desk.root, **options(desk))
    assert set(with_files.counts) == {"manifest", "missing"}
    without = repair_repository("repo", **options(desk))
    assert [step.remedy for step in without.steps] == ["none"]
    assert "pass path=" in str(without)
    assert repair_repository("repo", desk.root, **options(desk)).ok
    desk.check()


@pytest.mark.folder_only
def test_what_cannot_be_mended_is_said(desk: Desk) -> None:
    """Without files, a text that is gone stays gone: the report is not ok, and says what to do."""
    with opened(desk.store) as client:
        client.get_collection("repo", embedding_function=None).delete(where={"path": "code.py"})
    report = repair_repository("repo", **options(desk))
    assert not report.ok
    assert report.left is not None
    assert set(report.left.counts) == {"missing"}
    assert "pass path=" in str(report)


@pytest.mark.folder_only
def test_a_dry_run_says_what_would_be_done(desk: Desk) -> None:
    """Nothing is mended, and each finding has its remedy."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.delete(where={"path": "code.py"})
        collection.upsert(
            ids=["stranger"],
            documents=["x"],
            metadatas=[{"repository": "repo"}],
            embeddings=hash_vectors(["x"], 16),
        )
    before = verify_repository("repo", desk.root, **options(desk))
    report = repair_repository("repo", desk.root, dry_run=True, **options(desk))
    assert {step.finding.kind: step.remedy for step in report.steps} == {
        "missing": "sync",
        "foreign": "delete",
    }
    assert report.left is None
    assert verify_repository("repo", desk.root, **options(desk)).findings == before.findings


@pytest.mark.folder_only
def test_what_nobody_has_is_asked_for(desk: Desk) -> None:
    """Without the function, what the cache does not have is an error that asks for it."""
    with opened(desk.store) as client, closing(sqlite3.connect(desk.manifest)) as db, db:
        client.get_collection("repo", embedding_function=None).delete(where={"path": "code.py"})
        file = "(SELECT id FROM files WHERE path = 'code.py')"
        first = f"(SELECT min(text_hash) FROM chunks WHERE file = {file})"
        db.execute(f"DELETE FROM vectors WHERE text_hash = {first}")
    with pytest.raises(EmbeddingError, match="pass the one of the repository's syncs"):
        repair_repository("repo", desk.root, **options(desk))
    arguments = options(desk, embedding_function=desk.embedding)
    assert repair_repository("repo", desk.root, **arguments).embedded == 1
    desk.check()


@pytest.mark.folder_only
def test_another_model_of_the_same_name(desk: Desk) -> None:
    """If the function gives other vectors altogether, that is one finding, and no repair."""
    desk.embedding.spoil = lambda vectors: [-np.asarray(vector) for vector in vectors]
    arguments = options(desk, embedding_function=desk.embedding)
    report = verify_repository("repo", level="vectors", **arguments)
    assert report.counts == {"model": 1}
    assert "migrate_model" in str(repair_repository("repo", desk.root, **arguments))


@pytest.mark.folder_only
def test_what_was_cut_otherwise_is_outdated(desk: Desk) -> None:
    """Other settings than those of the syncs are told as such, not as damage to each row."""
    config = desk.config.model_copy(update={"chunk_tokens": 64})
    report = verify_repository("repo", desk.root, **options(desk, config=config))
    assert report.counts == {"outdated": 1}


@pytest.mark.folder_only
def test_a_file_that_cannot_be_read(desk: Desk) -> None:
    """A file that cannot be compared is named; its rows are compared with their notes."""
    works = [True]

    def chunker(path: str, text: str) -> Iterable[Chunk]:
        if path == "code.py" and not works[0]:
            raise ValueError("no idea how to cut this")
        return [Chunk(text, 1, text.count("\n"))]

    config = desk.config.model_copy(update={"chunker": chunker, "chunker_version": "1"})
    desk.sync(config=config)
    works[0] = False
    report = verify_repository("repo", desk.root, **options(desk, config=config))
    assert [(one.kind, one.path) for one in report.findings] == [("unreadable", "code.py")]
    assert "no idea how to cut this" in report.findings[0].detail
    assert report.rows == len(desk.rows())


@pytest.mark.folder_only
def test_mistakes_of_the_caller(desk: Desk, tmp_path: Path) -> None:
    """An unknown name, level or folder, and another embedding function, are errors."""
    with pytest.raises(UnknownRepository, match="'repo'"):
        verify_repository("reop", **options(desk))
    with pytest.raises(UnknownRepository):
        verify_repository("reop", desk.root, **options(desk))
    with pytest.raises(UnknownRepository):
        repair_repository("reop", desk.root, **options(desk))
    with pytest.raises(ConfigError, match="'ids', 'content', 'vectors'"):
        verify_repository("repo", level="all", **options(desk))  # type: ignore[arg-type]
    other = OtherEmbedding()
    with pytest.raises(EmbeddingMismatch, match="migrate_model"):
        verify_repository("repo", level="vectors", embedding_function=other, **options(desk))
    with pytest.raises(ConfigError, match="not an instance"):
        repair_repository("repo", embedding_function=OtherEmbedding, **options(desk))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(NameTaken):
        verify_repository("repo", elsewhere, **options(desk))


def test_much_at_once_is_mended(desk: Desk) -> None:
    """Damage of several kinds at once, in a folder and on a server alike."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        rows = collection.get(where={"path": "code.py"})["ids"]
        collection.delete(ids=rows[:2])
        collection.update(ids=rows[2:3], metadatas=[{"start_line": 99, "mine": 1}])
        collection.update(ids=rows[3:4], embeddings=hash_vectors(["x"], 16))
        collection.upsert(
            ids=["stranger"],
            documents=["x"],
            metadatas=[{"repository": "repo"}],
            embeddings=hash_vectors(["x"], 16),
        )
    embedded = desk.embedding.total
    report = repair_repository("repo", desk.root, **options(desk))
    assert report.ok
    kinds = {step.finding.kind for step in report.steps}
    assert kinds == {"missing", "metadata", "vector", "foreign"}
    desk.check()
    assert (report.embedded, desk.embedding.total) == (0, embedded)


def test_in_memory(tmp_path: Path, memory: ClientAPI) -> None:
    """An in-memory client's repository is verified and mended, too."""
    desk = Desk(tmp_path / "tree", memory, "verified-in-memory")
    desk.write_many(4)
    desk.sync()
    assert verify_repository(desk.name, desk.root, level="vectors", **options(desk)).ok
    memory.get_collection(desk.name, embedding_function=None).delete(where={"path": "note01.txt"})
    assert not verify_repository(desk.name, **options(desk)).ok
    assert repair_repository(desk.name, desk.root, **options(desk)).ok
    desk.check()
    drop_repository(desk.name, store=memory)


def test_a_long_report_is_cut_when_it_is_printed() -> None:
    """All findings are in the report; its text shows the first, and counts the others."""
    kinds = get_args(FindingKind)
    findings = tuple(
        Finding(kind=kinds[number % len(kinds)], path=f"{number}.py", detail="so it is")
        for number in range(100)
    )
    report = VerifyReport(repository="repo", collection="repo", level="ids", findings=findings)
    lines = str(report).splitlines()
    assert len(lines) == SHOWN + 2
    assert lines[-1] == "  ... and 80 more, see .findings"
    assert VerifyReport.model_validate_json(report.model_dump_json()) == report


def test_the_page_tells_of_every_kind() -> None:
    """Each kind of finding is explained where the report's reader is sent."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "verify-and-repair.md"
    told = re.findall(r"^\| `(\w+)` \|", page.read_text("utf-8"), re.MULTILINE)
    assert sorted(told) == sorted(get_args(FindingKind))
