"""What `sync_repository` and `plan_repository` do, as their user sees it, on real Chroma stores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chroma_server import make_database_anew
from support import (
    POISON,
    SMALL,
    Desk,
    HashEmbedding,
    OtherEmbedding,
    check_exact,
    counts,
    expected_texts,
    last_json,
    opened,
    python,
    read_rows,
    rows_of,
    snapshot,
    start_python,
)

import reposync.scan.read
from reposync import (
    ChromaLock,
    ConfigError,
    DeletionRefused,
    EmbeddingError,
    EmbeddingMismatch,
    LockTimeout,
    NameTaken,
    SyncConfig,
    SyncError,
    SyncInProgress,
    SyncProgress,
    SyncResult,
    plan_repository,
    sync_repository,
)
from reposync.vectors import _HARMLESS

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

pytestmark = pytest.mark.usefixtures("own_home")

QUICK = SyncConfig(chunk_tokens=32, batch_rows=32, max_attempts=2)
"""Small chunks, and batches that hold all of them: for whatever is not about batches.

What fails in these tests fails for good, so there is no use in waiting long.
"""

PARAGRAPH = "Paragraph {n} tells of the number {n} and of no other one."
CLASS = """\
class Thing{n}:
    def act(self):
        return {n}

    def rest(self):
        pass
"""
PROSE = "\n\n".join(PARAGRAPH.format(n=n) for n in range(9))
CODE = "\n\n".join(CLASS.format(n=n) for n in range(4))


@pytest.fixture
def desk(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of two files that each have several chunks, not synced yet."""
    desk = Desk(tmp_path / "tree", place, config=QUICK)
    desk.write("prose.md", PROSE)
    desk.write("pkg/code.py", CODE)
    return desk


# -- What the result says --------------------------------------------------------------------------


def test_cold_sync(desk: Desk) -> None:
    """The first sync brings every file in, embeds each different text once, and counts it so."""
    result = desk.sync()
    rows = desk.check()
    assert counts(result) == {"added": 2}
    assert (result.status, result.ok, result.resumed) == ("complete", True, False)
    assert result.chunks.total == result.chunks.added == len(rows)
    assert result.chunks.embedded == desk.embedding.total
    assert (result.chunks.deleted, result.chunks.reused) == (0, 0)
    assert set(desk.embedding.counts.values()) == {1}
    assert (result.repository, result.collection) == ("repo", "repo")
    assert result.path == str(desk.root.resolve())
    assert result.model.dimension in (None, 16)
    assert result.store.batches == -(-len(rows) // QUICK.batch_rows)
    assert result.source is None
    result.raise_for_failures()


def test_nothing_changed(desk: Desk) -> None:
    """A sync of what is in step says so, and writes and embeds nothing."""
    before = desk.sync()
    desk.settle()
    result = desk.sync()
    assert counts(result) == {"unchanged": 2}
    assert result.chunks.model_dump() == {
        "total": before.chunks.total, "added": 0, "deleted": 0, "reused": 0, "embedded": 0
    }  # fmt: skip
    assert result.store.batches == 0
    assert desk.embedding.total == before.chunks.embedded
    desk.check()


def test_edit(desk: Desk) -> None:
    """An edit writes what it changed; rows whose text stayed keep their ids and vectors."""
    desk.sync()
    before = desk.check()
    desk.write("prose.md", PROSE.replace("the number 4", "the number four"))
    result = desk.sync()
    after = desk.check()
    assert counts(result) == {"updated": 1, "unchanged": 1}
    assert 1 <= result.chunks.embedded <= 2
    assert result.chunks.added == len(after.keys() - before.keys())
    assert result.chunks.deleted == len(before.keys() - after.keys())
    assert result.chunks.total == len(after)
    assert max(desk.embedding.counts.values()) == 1


def test_moved_lines_cost_no_embedding(desk: Desk) -> None:
    """Text that only moved within its file keeps its vector; its line numbers follow."""
    desk.sync()
    desk.write(
        "prose.md", "A new beginning.\n\n" + "A longer one, so it has a chunk.\n" * 6 + PROSE
    )
    result = desk.sync()
    desk.check()
    assert counts(result) == {"updated": 1, "unchanged": 1}
    assert max(desk.embedding.counts.values()) == 1


def test_rename(desk: Desk) -> None:
    """A renamed file is a rename, and costs no embedding."""
    desk.sync()
    embedded = desk.embedding.total
    (desk.root / "prose.md").rename(desk.root / "pkg/essay.md")
    result = desk.sync()
    desk.check()
    assert counts(result) == {"renamed": 1, "unchanged": 1}
    assert result.chunks.added == result.chunks.deleted == result.chunks.reused > 0
    assert desk.embedding.total == embedded


def test_delete(desk: Desk) -> None:
    """A deleted file loses all of its chunks."""
    desk.sync()
    (desk.root / "prose.md").unlink()
    result = desk.sync()
    rows = desk.check()
    assert counts(result) == {"deleted": 1, "unchanged": 1}
    assert result.chunks.deleted > 0 == result.chunks.added
    assert result.chunks.total == len(rows)


def test_swapped_files(desk: Desk) -> None:
    """Two files that swapped their texts are both right afterwards, with nothing embedded."""
    desk.write("other.md", PROSE.replace("Paragraph", "Passage"))
    desk.sync()
    embedded = desk.embedding.total
    one, other = desk.root / "prose.md", desk.root / "other.md"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert counts(desk.sync()) == {"updated": 2, "unchanged": 1}
    desk.check()
    assert desk.embedding.total == embedded


def test_skipped_files_are_named_with_the_reason(desk: Desk) -> None:
    """Files that belong and hold no text to index are listed, each with why; again each time."""
    desk.write("image.png", b"\x89PNG\r\n\0\0\0")
    desk.write("blank.txt", " \n\t\n")
    desk.write("empty.txt", "")
    desk.write("large.txt", "many words\n" * 200)
    (desk.root / "link.md").symlink_to("prose.md")
    config = QUICK.model_copy(update={"max_file_bytes": 2000})
    reasons = {
        "image.png": "binary",
        "blank.txt": "blank",
        "empty.txt": "empty",
        "large.txt": "too_large",
        "link.md": "symlink",
    }
    result = desk.sync(config=config)
    assert counts(result) == {"added": 2, "skipped": 5}
    assert {file.path: file.reason for file in result.skipped} == reasons
    assert result.ok
    for _ in range(2):  # the first may read the files again, the second does not
        desk.settle()
        result = desk.sync(config=config)
        assert counts(result) == {"unchanged": 2, "skipped": 5}
        assert {file.path: file.reason for file in result.skipped} == reasons
    assert {row.metadata["path"] for row in desk.rows().values()} == {"prose.md", "pkg/code.py"}


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\0\1\2", "binary"), (b"  \n", "blank"), (b"", "empty")]
)
def test_becoming_skipped_counts_as_deleted_and_skipped(
    desk: Desk, content: bytes, reason: str
) -> None:
    """A file that holds no text any more loses its chunks, and comes back when it has text."""
    desk.sync()
    desk.write("prose.md", content)
    result = desk.sync()
    desk.check()
    assert counts(result) == {"unchanged": 1, "skipped": 1, "deleted": 1}
    assert [(file.path, file.reason) for file in result.skipped] == [("prose.md", reason)]
    assert result.files.scanned == 2
    desk.write("prose.md", PROSE)
    embedded = desk.embedding.total
    assert counts(desk.sync()) == {"added": 1, "unchanged": 1}
    desk.check()
    assert desk.embedding.total == embedded


def test_becoming_ignored_counts_as_deleted(desk: Desk) -> None:
    """A file that is ignored from now on does not belong any more."""
    desk.sync()
    desk.write(".gitignore", "prose.md\n")
    assert counts(desk.sync()) == {"added": 1, "unchanged": 1, "deleted": 1}
    rows = desk.rows()
    assert {row.metadata["path"] for row in rows.values()} == {".gitignore", "pkg/code.py"}


def test_an_empty_repository(tmp_path: Path, place: Path | ClientAPI) -> None:
    """An empty folder is in step at once, and its collection is there for a host to open."""
    desk = Desk(tmp_path / "tree", place)
    desk.root.mkdir()
    result = desk.sync()
    assert counts(result) == {}
    assert result.ok
    with opened(desk.store) as client:
        assert client.get_collection("repo", embedding_function=None).count() == 0


def test_result_survives_json(desk: Desk) -> None:
    """A job queue can carry a result, whatever is in it."""
    desk.write("poison.txt", POISON)
    desk.write("empty.txt", "")
    result = desk.sync()
    assert result.status == "partial"
    assert SyncResult.model_validate_json(result.model_dump_json()) == result
    assert SyncResult.model_validate(json.loads(result.model_dump_json())) == result
    with pytest.raises(ValueError, match="frozen"):
        result.status = "complete"


def test_result_as_text(desk: Desk) -> None:
    """Printed, a result is a short report of what happened and what failed."""
    desk.write("bad.txt", POISON)
    report = str(desk.sync())
    assert "repo: partial in " in report
    assert "2 added" in report
    assert "bad.txt" in report
    assert "poisonous" in report
    assert len(report.splitlines()) <= 6


def test_raise_for_failures_names_the_files(desk: Desk) -> None:
    """`raise_for_failures` names the first files that failed, and carries the result."""
    for number in range(5):
        desk.write(f"bad{number}.txt", f"{POISON} {number}")
    result = desk.sync()
    assert not result.ok
    with pytest.raises(SyncError, match=r"bad0\.txt.*and 2 more") as caught:
        result.raise_for_failures()
    assert caught.value.result is result


def test_seconds_of_the_stages_fit_into_the_whole(desk: Desk) -> None:
    """The stages' seconds are parts of the run's."""
    result = desk.sync()
    stages = result.stages.model_dump()
    assert all(seconds >= 0 for seconds in stages.values())
    assert 0 < sum(stages.values()) <= result.duration_seconds + 0.01
    assert stages["embed"] > 0
    assert result.started_at < result.finished_at


def test_source_says_where_git_stands(desk: Desk) -> None:
    """In a git work tree the result names commit, branch and whether files differ from it."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=desk.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "trunk")
    git("add", ".")
    git("commit", "-qm", "first")
    result = desk.sync()
    assert result.source is not None
    assert result.source.commit == git("rev-parse", "HEAD")
    assert (result.source.branch, result.source.dirty) == ("trunk", False)
    desk.write("prose.md", "changed")
    source = desk.sync().source
    assert source is not None
    assert source.dirty is True


# -- Least work ------------------------------------------------------------------------------------

IDLE_SYNC = """
import json, sys
from pathlib import Path
touched = []
def note(event, arguments):
    if event == "open":
        touched.append(str(arguments[0]))
sys.addaudithook(note)
from support import Desk
result = Desk(Path(sys.argv[1]), Path(sys.argv[2])).sync()
heavy = ("chromadb", "onnxruntime", "tokenizers", "reposync.display", "pygments")
heavy += ("reposync.embed.workers", "reposync.embed.minilm")
loaded = [name for name in heavy if name in sys.modules]
print(json.dumps({"loaded": loaded, "touched": touched, "files": result.files.model_dump()}))
"""


@pytest.mark.folder_only
def test_nothing_changed_opens_nothing(desk: Desk) -> None:
    """When nothing changed, no file is read, and chromadb is not even imported."""
    desk.settled()
    answer = last_json(python(IDLE_SYNC, desk.root, desk.folder).stdout)
    assert answer["files"]["unchanged"] == 2
    assert answer["loaded"] == []
    inside = [path for path in answer["touched"] if path.startswith(str(desk.root))]
    assert inside == []
    assert [path for path in answer["touched"] if "chroma.sqlite3" in path] == []


def test_another_writer_is_noticed(desk: Desk) -> None:
    """Rows that somebody else deleted from the collection are written again, from the cache."""
    desk.settled()
    embedded = desk.embedding.total
    with opened(desk.store, locked=False) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.delete(ids=collection.get(include=[])["ids"][:5])
    result = desk.sync()
    desk.check()
    assert result.chunks.added == result.chunks.reused == 5
    assert desk.embedding.total == embedded


def test_an_edit_of_equal_size_right_after_a_sync_is_noticed(desk: Desk) -> None:
    """An edit in the same clock tick that leaves size and inode alone is not missed."""
    for number in range(10):
        file = desk.write("racy.txt", f"version {number}\n")
        desk.sync()
        file.write_text(f"Version {number}\n")
        assert counts(desk.sync())["updated"] == 1
    desk.check()


def test_touching_costs_nothing(desk: Desk) -> None:
    """Files with new times and old content are unchanged, and nothing is written."""
    desk.settled()
    for file in ("prose.md", "pkg/code.py"):
        os.utime(desk.root / file)
    result = desk.sync()
    assert counts(result) == {"unchanged": 2}
    assert result.store.batches == 0


@pytest.mark.folder_only
def test_nothing_changed_takes_no_lock(desk: Desk) -> None:
    """When nothing changed but a file's times, the store is left alone."""
    desk.settled()
    os.utime(desk.root / "prose.md")
    assert desk.sync().store.lock_acquisitions == 0
    assert desk.sync().store.lock_acquisitions == 0


# -- A caller's mistakes ---------------------------------------------------------------------------


class AsyncClient:
    """Shaped like Chroma's AsyncHttpClient."""

    async def heartbeat(self) -> int:
        return 1

    async def get_or_create_collection(self, name: str) -> None:
        raise NotImplementedError


MISTAKES = {
    "missing path": {"path": "/no/such/folder"},
    "path is None": {"path": None},
    "empty path": {"path": ""},
    "path with a NUL": {"path": "a\0b"},
    "empty name": {"name": ""},
    "blank name": {"name": "  "},
    "name of two lines": {"name": "a\nb"},
    "name is no string": {"name": 7},
    "very long name": {"name": "x" * 1000},
    "short collection": {"collection": "ab"},
    "collection with a space": {"collection": "my repo"},
    "collection that ends in a dot": {"collection": "repo."},
    "collection is an IP address": {"collection": "192.168.0.1"},
    "collection is no string": {"collection": 7},
    "store is a number": {"store": 7},
    "store is in nobody's home": {"store": "~no-such-user/store"},
    "store with a NUL": {"store": "a\0b"},
    "store is an async client": {"store": AsyncClient()},
    "store is an address": {"store": "http://localhost:8000"},
    "function is a class": {"embedding_function": HashEmbedding},
    "function cannot be called": {"embedding_function": "all-MiniLM-L6-v2"},
    "config is a dict": {"config": {"chunk_tokens": 100}},
    "empty model_id": {"config": QUICK.model_copy(update={"model_id": " "})},
    "model_id is not UTF-8": {"config": QUICK.model_copy(update={"model_id": "caf\udce9"})},
    "progress is a word": {"progress": "yes"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_touched(desk: Desk, mistake: str) -> None:
    """What cannot be right raises `ConfigError`, and not even the store's folder is made."""
    with pytest.raises(ConfigError) as caught:
        desk.sync(**MISTAKES[mistake])
    assert len(str(caught.value)) > 20
    assert caught.value.result is None
    assert not desk.touched()


@pytest.mark.parametrize("mistake", sorted(MISTAKES.keys() - {"progress is a word"}))
def test_a_plan_tells_the_same_mistakes(desk: Desk, mistake: str) -> None:
    """`plan_repository` refuses what `sync_repository` refuses."""
    with pytest.raises(ConfigError):
        plan_repository(**desk.arguments(**MISTAKES[mistake]))
    assert not desk.touched()


def test_a_file_is_no_repository(desk: Desk) -> None:
    """The path of a file is a mistake; so is a store that is a file."""
    with pytest.raises(ConfigError, match="file"):
        desk.sync(path=desk.root / "prose.md")
    with pytest.raises(ConfigError, match="folder"):
        desk.sync(store=desk.root / "prose.md")
    assert not desk.touched()


@pytest.mark.parametrize("pattern", ["", "#", "/", "***\0"])
def test_patterns_that_are_none_are_told_first(desk: Desk, pattern: str) -> None:
    """A pattern is either taken or refused before anything is touched."""
    try:
        desk.sync(config=SyncConfig(exclude=(pattern,)))
    except ConfigError:
        assert not desk.touched()


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_tokens": 31},
        {"chunk_tokens": 201},
        {"chunk_tokens": "many"},
        {"batch_rows": 0},
        {"batch_rows": 5001},
        {"max_file_bytes": 0},
        {"lock_timeout": -1},
        {"lock_timeout": float("nan")},
        {"lock_timeout": float("inf")},
        {"max_lock_hold": float("inf")},
        {"deadline": float("inf")},
        {"max_attempts": 0},
        {"max_delete_fraction": 1.5},
        {"include": "*.py"},
        {"chunk_size": 100},
        {"cache_vectors": None},
    ],
    ids=str,
)
def test_settings_that_cannot_be_right(settings: dict[str, Any]) -> None:
    """A bad value or an unknown name raises `ConfigError`, a `ValueError`, that names it."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SyncConfig(**settings)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize("settings", [{"exclude": ("prose.md",)}, {"include": ("pkg/",)}])
def test_patterns_say_what_belongs(desk: Desk, settings: dict[str, Any]) -> None:
    """`include` and `exclude` take files out of the index, and give them back without cost."""
    desk.sync()
    embedded = desk.embedding.total
    fewer = QUICK.model_copy(update=settings)
    assert counts(desk.sync(config=fewer)) == {"unchanged": 1, "deleted": 1}
    assert {row.metadata["path"] for row in desk.rows().values()} == {"pkg/code.py"}
    assert counts(desk.sync()) == {"unchanged": 1, "added": 1}
    desk.check()
    assert desk.embedding.total == embedded


# -- Names -----------------------------------------------------------------------------------------


def test_a_name_is_taken_while_its_folder_exists(desk: Desk, tmp_path: Path) -> None:
    """Another folder under the same name is refused, with the ways out; nothing changes."""
    desk.sync()
    before = desk.rows()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("another")
    with pytest.raises(NameTaken, match=r"name=.*collection=.*store=") as caught:
        desk.sync(path=other)
    assert str(desk.root.resolve()) in str(caught.value)
    with pytest.raises(NameTaken):
        plan_repository(**desk.arguments(path=other))
    assert desk.rows() == before
    assert counts(desk.sync(path=other, collection="elsewhere")) == {"added": 1}
    assert counts(desk.sync()) == {"unchanged": 2}


def test_a_moved_clone_goes_on(desk: Desk, tmp_path: Path) -> None:
    """If the recorded folder is gone, the clone has moved: nothing is embedded or rewritten."""
    desk.settled()
    before, embedded = desk.rows(), desk.embedding.total
    moved = desk.root.rename(tmp_path / "moved")
    result = desk.sync(path=moved)
    assert counts(result) == {"unchanged": 2}
    assert result.path == str(moved.resolve())
    assert (result.chunks.added, result.chunks.deleted) == (0, 0)
    assert desk.rows() == before
    desk.root.mkdir()
    with pytest.raises(NameTaken):  # now the name belongs to the new place
        desk.sync()
    assert desk.embedding.total == embedded


def test_a_copied_clone_goes_on(desk: Desk, tmp_path: Path) -> None:
    """A clone that was copied and then removed has other inodes; its rows stay as they are."""
    desk.sync()
    before, embedded = desk.rows(), desk.embedding.total
    shutil.copytree(desk.root, tmp_path / "copy")
    shutil.rmtree(desk.root)
    result = desk.sync(path=tmp_path / "copy")
    assert counts(result) == {"unchanged": 2}
    assert desk.rows() == before
    assert desk.embedding.total == embedded


@pytest.mark.folder_only
def test_every_spelling_of_a_path_is_the_same_folder(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, a trailing slash and a symlink lead to the same repository and store."""
    desk.settled()
    (desk.root.parent / "link").symlink_to(desk.root)
    monkeypatch.chdir(desk.root)
    for path, store in [(".", "../store"), ("../tree/", "../store/"), ("../link", desk.folder)]:
        result = desk.sync(path=path, store=store)
        assert counts(result) == {"unchanged": 2}
        assert result.store.lock_acquisitions == 0


@pytest.mark.folder_only
def test_the_repositorys_env_file_is_not_heeded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chroma would take settings from a file in the current folder, and import what they name."""
    desk.write(".env", "chroma_api_impl=evil.Evil\nchroma_sysdb_impl=evil.Evil\n")
    monkeypatch.chdir(desk.root)
    assert desk.sync().ok


def test_the_name_is_the_folders_by_default(desk: Desk) -> None:
    """Without a name, the repository is called as its folder is."""
    result = desk.sync(name=None)
    assert (result.repository, result.collection) == ("tree", "tree")


def test_default_collections_do_not_collide(desk: Desk) -> None:
    """Names that Chroma does not allow get collections of their own."""
    names = ["a b", "a/b", "a.b", "ä b", "x", "项目", "a" * 512, "..", "192.168.0.1"]
    collections = {desk.sync(name=name).collection for name in names}
    assert len(collections) == len(names)
    with opened(desk.store) as client:
        found = {collection.name: collection.count() for collection in client.list_collections()}
    assert found.keys() == collections
    assert len(set(found.values())) == 1


def test_a_name_with_two_periods_in_a_row(desk: Desk) -> None:
    """A name that Chroma refuses for two periods gets a collection of another name."""
    with pytest.raises(ConfigError):
        desk.sync(collection="a..b")
    assert desk.sync(name="a..b").collection != "a..b"


def test_two_repositories_share_a_collection(desk: Desk, tmp_path: Path) -> None:
    """Each repository keeps to its own rows, and equal files are embedded once for both."""
    other = replace(desk, root=tmp_path / "other", name="second")
    shutil.copytree(desk.root, other.root)
    other.write("more.txt", "only here\n")
    desk.sync(collection="both")
    embedded = desk.embedding.total
    result = other.sync(collection="both")
    assert result.chunks.embedded == 1 == desk.embedding.total - embedded
    assert result.chunks.reused == result.chunks.added - 1
    (desk.root / "prose.md").unlink()
    desk.sync(collection="both")
    rows = read_rows(desk.store, "both")
    for one in (desk, other):
        check_exact(rows, expected_texts(one.root), repository=one.name)
        assert counts(one.sync(collection="both"))["unchanged"] == (1 if one is desk else 3)


def test_one_folder_under_two_names(desk: Desk) -> None:
    """A folder may be indexed twice, under two names; they know nothing of each other."""
    desk.sync()
    desk.sync(name="twin")
    desk.write("prose.md", "short")
    desk.sync()
    assert "short" in {row.document for row in desk.rows("repo").values()}
    assert "short" not in {row.document for row in desk.rows("twin").values()}


def test_rows_of_others_are_left_alone(desk: Desk) -> None:
    """Rows that the user wrote into the same collection survive everything that a sync does."""
    desk.sync()
    with opened(desk.store, locked=False) as client:
        collection = client.get_collection("repo", embedding_function=None)
        vectors = np.eye(3, 16, dtype=np.float32)
        collection.upsert(
            ids=["mine-1", "mine-2", "mine-3"],
            documents=["one", "two", "three"],
            metadatas=[{"path": "prose.md"}, {"repository": "Repo"}, {"note": 1}],
            embeddings=vectors,
        )
        mine = {key: row for key, row in rows_of(collection).items() if key.startswith("mine")}
    (desk.root / "prose.md").unlink()
    desk.sync()
    desk.sync(full=True)
    desk.manifest.unlink()
    desk.sync()
    rows = desk.rows()
    assert {key: row for key, row in rows.items() if key.startswith("mine")} == mine
    check_exact(rows, expected_texts(desk.root), repository="repo")


# -- Guards ----------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of twenty files in one folder, in step."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(20, "notes")
    desk.sync(config=SyncConfig())
    desk.config = SyncConfig()
    return desk


def remove(desk: Desk, numbers: range) -> None:
    for number in numbers:
        (desk.root / f"notes/note{number:02}.txt").unlink()


def test_an_emptied_folder_is_refused(many: Desk) -> None:
    """Deleting most of the index is refused, and changes nothing; asked for, it is done."""
    before = many.rows()
    remove(many, range(11))
    with pytest.raises(DeletionRefused, match=r"11 of 20.*allow_deletions") as caught:
        many.sync()
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == 20
    assert caught.value.result.chunks.deleted == 0
    assert many.rows() == before
    with pytest.raises(DeletionRefused):  # it does not become right by asking twice
        many.sync()
    assert counts(many.sync(allow_deletions=True)) == {"unchanged": 9, "deleted": 11}
    many.check()


@pytest.mark.parametrize(("gone", "fraction"), [(10, 0.5), (9, 0.1), (20, 1.0)])
def test_deletions_within_the_limits_pass(many: Desk, gone: int, fraction: float) -> None:
    """Half of the files, fewer than ten, or as many as the settings say, are no accident."""
    remove(many, range(gone))
    config = SyncConfig(max_delete_fraction=fraction)
    assert counts(many.sync(config=config))["deleted"] == gone
    many.check()


def test_a_moved_folder_is_not_refused(many: Desk) -> None:
    """Renaming the folder of all files deletes nothing, and embeds nothing."""
    embedded = many.embedding.total
    (many.root / "notes").rename(many.root / "remarks")
    assert counts(many.sync()) == {"renamed": 20}
    many.check()
    assert many.embedding.total == embedded


def test_a_moved_folder_is_not_refused_in_a_full_sync(many: Desk) -> None:
    """Renames are renames also where everything is written again."""
    (many.root / "notes").rename(many.root / "remarks")
    assert many.sync(full=True).files.deleted == 0
    many.check()


def test_becoming_binary_is_refused_too(many: Desk) -> None:
    """Files that turn into something unreadable (an encrypted disk, say) are not thrown out."""
    before = many.rows()
    for file in (many.root / "notes").iterdir():
        file.write_bytes(b"\0\0\0")
    with pytest.raises(DeletionRefused):
        many.sync()
    assert many.rows() == before
    assert counts(many.sync(allow_deletions=True)) == {"skipped": 20, "deleted": 20}
    assert many.rows() == {}


def test_a_refused_sync_is_forgotten(many: Desk) -> None:
    """After a refused sync, the files are put back, and nothing at all has to be done."""
    shutil.move(many.root / "notes", many.root.parent / "away")
    with pytest.raises(DeletionRefused):
        many.sync(full=True)
    shutil.move(many.root.parent / "away", many.root / "notes")
    result = many.sync()
    assert counts(result) == {"unchanged": 20}
    assert (result.chunks.added, result.chunks.deleted) == (0, 0)


def test_the_guard_holds_after_the_local_state_is_lost(many: Desk) -> None:
    """An emptied folder and a lost manifest together are still no instruction to delete."""
    remove(many, range(15))
    many.manifest.unlink()
    with pytest.raises(DeletionRefused):
        many.sync()
    assert len(many.rows()) == 20


# -- Plans -----------------------------------------------------------------------------------------


def stir(desk: Desk) -> None:
    """Change a synced repository in every way that a plan can tell."""
    desk.write("new.txt", "all new\n")
    desk.write("edited.txt", "edited\n")
    desk.write("binary.txt", b"\0\0")
    desk.write("unbinary.txt", "text now\n")
    (desk.root / "renamed.txt").rename(desk.root / "a-new-name.txt")
    (desk.root / "deleted.txt").unlink()
    (desk.root / "void.txt").unlink()


@pytest.fixture
def stirred(desk: Desk) -> Desk:
    """A repository that was synced, and then changed in every way."""
    for name in ("edited", "binary", "renamed", "deleted"):
        desk.write(f"{name}.txt", f"the {name} file\n")
    desk.write("unbinary.txt", b"\0")
    desk.write("void.txt", "")
    desk.settled()
    stir(desk)
    return desk


def test_a_plan_is_what_the_sync_then_does(stirred: Desk) -> None:
    """`plan_repository` gives the counts of the sync that follows, and a reason for each file."""
    plan = plan_repository(**stirred.arguments())
    assert not plan.empty
    assert plan.refused is None
    actions = {action.path: (action.action, action.old_path) for action in plan.actions}
    assert actions == {
        "a-new-name.txt": ("rename", "renamed.txt"),
        "binary.txt": ("skip", None),
        "deleted.txt": ("delete", None),
        "edited.txt": ("update", None),
        "new.txt": ("add", None),
        "unbinary.txt": ("add", None),
    }
    assert all(action.reason for action in plan.actions)
    assert "6 files to do" not in str(plan)
    assert "renamed.txt -> a-new-name.txt" in str(plan)
    assert stirred.sync().files == plan.files
    stirred.check()
    again = plan_repository(**stirred.arguments())
    assert again.empty
    assert again.files.unchanged == 6


def test_a_plan_writes_nothing(stirred: Desk) -> None:
    """A dry run leaves the rows, and what is known of them, as they are."""
    before = stirred.rows()
    noted = dump(stirred.manifest)
    plan_repository(**stirred.arguments())
    plan_repository(**stirred.arguments(config=QUICK.model_copy(update={"chunk_tokens": 64})))
    assert dump(stirred.manifest) == noted
    assert stirred.rows() == before
    assert stirred.embedding.total == len({row.embedded_text for row in before.values()})


def dump(manifest: Path) -> list[str]:
    """All that a manifest holds."""
    with sqlite3.connect(manifest) as database:
        lines = list(database.iterdump())
    database.close()
    return lines


@pytest.mark.folder_only
def test_a_plan_for_a_store_that_does_not_exist(desk: Desk) -> None:
    """A dry run of a cold sync creates nothing, in the store's place or in the repository."""
    before = snapshot(desk.root.parent)
    plan = plan_repository(**desk.arguments())
    assert plan.files.added == 2
    assert snapshot(desk.root.parent) == before
    desk.folder.mkdir()
    plan_repository(**desk.arguments())
    assert snapshot(desk.folder) == {}
    assert desk.embedding.calls == []


def test_a_plan_says_that_it_would_be_refused(many: Desk) -> None:
    """A dry run of a sync that would be refused says so, and is not refused itself."""
    remove(many, range(15))
    plan = plan_repository(**many.arguments())
    assert plan.refused is not None
    assert "15 of 20" in plan.refused
    assert "would be refused" in str(plan)
    assert plan_repository(**many.arguments(allow_deletions=True)).refused is None


def test_a_plan_survives_json(stirred: Desk) -> None:
    """A plan can be carried through JSON."""
    plan = plan_repository(**stirred.arguments())
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan


# -- Doing it again --------------------------------------------------------------------------------


def test_full_writes_everything_again(desk: Desk) -> None:
    """`full=True` heals rows that somebody changed, with vectors from the cache."""
    desk.settled()
    good = desk.rows()
    embedded = desk.embedding.total
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        ids = list(good)
        collection.update(
            ids=ids[:2], documents=["spoilt"] * 2, embeddings=np.ones((2, 16), dtype=np.float32)
        )
    result = desk.sync(full=True)
    assert desk.check() == good
    assert result.chunks.added == result.chunks.reused == len(good) == result.chunks.total
    assert desk.embedding.total == embedded


def test_totals_are_true_when_a_full_sync_fails_with_a_file(desk: Desk) -> None:
    """`chunks.total` counts what the collection holds, also of a file that could not be read."""
    desk.settled()
    with unreadable("prose.md"):
        result = desk.sync(full=True)
    assert [failure.path for failure in result.failures] == ["prose.md"]
    assert result.chunks.total == len(desk.rows())


def test_a_changed_recipe(desk: Desk) -> None:
    """Another chunk size cuts every file anew; the plan says why."""
    desk.settled()
    config = QUICK.model_copy(update={"chunk_tokens": 64})
    plan = plan_repository(**desk.arguments(config=config))
    assert {action.action for action in plan.actions} == {"update"}
    assert all("chunking" in action.reason for action in plan.actions)
    result = desk.sync(config=config)
    assert counts(result) == {"updated": 2}
    rows = desk.check()
    assert result.chunks.total == len(rows)
    assert max(desk.embedding.counts.values()) == 1
    assert counts(desk.sync(config=config)) == {"unchanged": 2}
    desk.sync()  # and back
    desk.check()
    assert max(desk.embedding.counts.values()) == 1


def test_a_changed_model(desk: Desk) -> None:
    """Another model embeds everything anew; going back costs nothing, and the plan says why."""
    desk.settled()
    config = QUICK.model_copy(update={"model_id": "model-2"})
    plan = plan_repository(**desk.arguments(config=config))
    assert {(action.action, action.reason) for action in plan.actions} == {
        ("update", "the embedding model changed")
    }
    before = desk.embedding.total
    result = desk.sync(config=config)
    assert counts(result) == {"updated": 2}
    assert result.chunks.embedded == before == desk.embedding.total - before
    assert result.model.fingerprint == "model-2"
    rows = desk.check()
    assert {row.metadata["model"] for row in rows.values()} == {"model-2"}
    back = desk.sync()
    assert back.chunks.embedded == 0
    assert back.chunks.reused == len(rows)
    desk.check()


# -- What was lost is rebuilt ----------------------------------------------------------------------


def lose_manifest(desk: Desk) -> None:
    for file in desk.manifest.parent.glob("reposync.sqlite3*"):
        file.unlink()


def overwrite_with_noise(desk: Desk) -> None:
    desk.manifest.write_bytes(os.urandom(40_000))


def overwrite_the_middle(desk: Desk) -> None:
    file = desk.manifest
    data = bytearray(file.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    file.write_bytes(data)


def empty_the_manifest(desk: Desk) -> None:
    desk.manifest.write_bytes(b"")


def put_a_foreign_database_there(desk: Desk) -> None:
    lose_manifest(desk)
    database = sqlite3.connect(desk.manifest)
    database.execute("CREATE TABLE files (mine TEXT)")
    database.execute("PRAGMA user_version = 7")
    database.commit()
    database.close()


def delete_collection(desk: Desk) -> None:
    with opened(desk.store, locked=False) as client:
        client.delete_collection("repo")


def lose_all_of_chroma(desk: Desk) -> None:
    if isinstance(desk.store, Path):
        kept = desk.manifest.read_bytes()
        shutil.rmtree(desk.store)
        desk.store.mkdir()
        desk.manifest.write_bytes(kept)
    else:
        make_database_anew(desk.store)


def lose_all_but_the_collection(desk: Desk) -> None:
    lose_manifest(desk)
    shutil.rmtree(desk.state)
    if isinstance(desk.store, Path):
        (desk.store / ".chroma.lock").unlink()


@pytest.mark.parametrize("edit", [False, True], ids=["same files", "and an edit"])
@pytest.mark.parametrize(
    "lose",
    [
        lose_manifest,
        overwrite_with_noise,
        overwrite_the_middle,
        empty_the_manifest,
        put_a_foreign_database_there,
        delete_collection,
        lose_all_of_chroma,
        lose_all_but_the_collection,
    ],
)
def test_lost_state_is_rebuilt(desk: Desk, lose: Callable[[Desk], None], edit: bool) -> None:
    """Whatever one thing is lost, the next sync is exact and embeds nothing but new text."""
    desk.write("gone.txt", "will be deleted\n")
    desk.settled()
    embedded = desk.embedding.total
    lose(desk)
    if edit:
        desk.write("prose.md", PROSE.replace("the number 8", "the number eight"))
        (desk.root / "gone.txt").unlink()
    result = desk.sync()
    assert result.ok
    assert result.files.deleted == edit
    desk.check()
    assert desk.embedding.total - embedded <= 2 * edit
    desk.settle()
    assert counts(desk.sync()) == {"unchanged": 2 + (not edit)}


def test_a_foreign_database_is_kept_aside(desk: Desk) -> None:
    """A file of another program in the manifest's place is not lost."""
    desk.sync()
    put_a_foreign_database_there(desk)
    desk.sync()
    (aside,) = desk.manifest.parent.glob("reposync.sqlite3.damaged-*")
    database = sqlite3.connect(aside)
    assert database.execute("SELECT count(*) FROM files").fetchone() == (0,)
    database.close()


def test_a_plan_for_lost_state_says_why(desk: Desk) -> None:
    """After a loss, the plan looks at every file again, and names the loss."""
    desk.settled()
    lose_manifest(desk)
    plan = plan_repository(**desk.arguments())
    assert {action.reason for action in plan.actions} == {"the local state was lost"}
    desk.settled()
    delete_collection(desk)
    plan = plan_repository(**desk.arguments())
    assert {action.reason for action in plan.actions} == {"the collection was lost"}


# -- Faults of one file ----------------------------------------------------------------------------


class unreadable:  # noqa: N801 - it reads as a word
    """While it lasts, opening these files for reading fails, as for a user without the right to."""

    def __init__(self, *names: str) -> None:
        self._names = tuple(name.encode() for name in names)
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        real = os.open

        def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
            if isinstance(path, bytes) and path.endswith(self._names):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *arguments, **keywords)

        self._patch.setattr(reposync.scan.read.os, "open", refuse)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def test_an_unreadable_file_keeps_its_chunks(desk: Desk) -> None:
    """Unreadable is not deleted: the file is a failure, findable as it was, until it is read."""
    desk.settled()
    before = desk.rows()
    desk.write("prose.md", "a new text that cannot be read yet\n")
    desk.write("new.txt", "cannot be read either\n")
    with unreadable("prose.md", "new.txt"):
        result = desk.sync()
    assert result.status == "partial"
    assert counts(result) == {"failed": 2, "unchanged": 1}
    assert {failure.path: failure.stage for failure in result.failures} == {
        "prose.md": "scan", "new.txt": "scan"
    }  # fmt: skip
    assert {failure.error for failure in result.failures} == {"PermissionError"}
    assert desk.rows() == before
    assert counts(desk.sync()) == {"added": 1, "updated": 1, "unchanged": 1}
    desk.check()


def test_a_poisonous_text_fails_its_file_only(desk: Desk) -> None:
    """The embedding function fails for one text: that file keeps its old rows, the rest goes on."""
    desk.config = SMALL
    desk.settled()
    old = {key for key, row in desk.rows().items() if row.metadata["path"] == "prose.md"}
    desk.write("prose.md", f"{PROSE}\n\nA paragraph that is {POISON} as a whole, and long too.\n")
    desk.write("fresh.txt", "\n\n".join(f"fresh words, number {n}, " * 5 for n in range(9)))
    result = desk.sync()
    assert counts(result) == {"failed": 1, "added": 1, "unchanged": 1}
    (failure,) = result.failures
    assert (failure.path, failure.stage, failure.error) == ("prose.md", "embed", "Poisoned")
    assert old <= desk.rows().keys()
    embedded = desk.embedding.total
    again = desk.sync()  # still poisonous: nothing of the others is done again
    assert counts(again) == {"failed": 1, "unchanged": 2}
    desk.embedding.poison = None
    healed = desk.sync()
    assert counts(healed) == {"updated": 1, "unchanged": 2}
    desk.check()
    assert max(times for text, times in desk.embedding.counts.items() if text != _HARMLESS) == 1
    assert desk.embedding.total - embedded <= 2


def test_a_poisonous_text_in_two_files(desk: Desk) -> None:
    """Each file that holds the text fails, and each other file of the batch does not."""
    desk.write("one.txt", POISON)
    desk.write("two.txt", POISON)
    result = desk.sync()
    assert {failure.path for failure in result.failures} == {"one.txt", "two.txt"}
    assert counts(result) == {"failed": 2, "added": 2}


def raise_nothing_but(vectors: list[Any]) -> Any:
    raise ConnectionError("no route to the model")


SPOILERS: dict[str, Callable[[list[Any]], Any]] = {
    "down": raise_nothing_but,
    "too few": lambda vectors: vectors[:-1],
    "too many": lambda vectors: [*vectors, vectors[0]],
    "not a number": lambda vectors: [np.full(16, np.nan, dtype=np.float32) for _ in vectors],
    "no vectors": lambda vectors: None,
    "empty vectors": lambda vectors: [[] for _ in vectors],
    "words": lambda vectors: ["one" for _ in vectors],
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_an_embedding_function_that_is_down(desk: Desk, spoiler: str) -> None:
    """A function that fails, or answers wrongly, for everything ends the sync with an error."""
    desk.settled()
    before = desk.rows()
    desk.write("new.txt", "words that were never embedded\n")
    desk.embedding.spoil = SPOILERS[spoiler]
    with pytest.raises(EmbeddingError) as caught:
        desk.sync()
    result = caught.value.result
    assert result is not None
    assert result.chunks.added == 0
    assert result.chunks.total == len(before)
    assert desk.rows() == before
    desk.embedding.spoil = None
    assert desk.sync().files.added == 1
    desk.check()


def test_one_vector_that_is_not_a_number_fails_its_file_only(desk: Desk) -> None:
    """A wrong vector never reaches the store, and only its own file waits for a better one."""

    def spoil_poison(vectors: list[Any]) -> list[Any]:
        poison = desk.embedding.embed_query([f"{POISON} words"])[0]
        return [v * np.nan if np.array_equal(v, poison) else v for v in vectors]

    desk.embedding.poison = None
    desk.embedding.spoil = spoil_poison
    desk.write("bad.txt", f"{POISON} words")
    result = desk.sync()
    assert [failure.path for failure in result.failures] == ["bad.txt"]
    assert counts(result) == {"failed": 1, "added": 2}


def test_a_function_that_changes_its_dimension(desk: Desk) -> None:
    """Cached and new vectors of two dimensions do not mix: the mismatch is named."""
    desk.sync()
    paragraph = PROSE.split("\n\n")[0]
    desk.write("mixed.md", f"{PROSE}\n\n{paragraph} And more that is new, and long, too.\n")
    with pytest.raises(EmbeddingMismatch, match="dimension"):
        desk.sync(embedding_function=HashEmbedding(dimension=8))


def test_the_collection_belongs_to_another_function(desk: Desk) -> None:
    """A collection that was made with another function or dimension is refused, and unharmed."""
    desk.settled()
    before = desk.rows()
    with pytest.raises(EmbeddingMismatch, match="reposync-test-other") as caught:
        desk.sync(embedding_function=OtherEmbedding())
    assert caught.value.result is not None
    config = QUICK.model_copy(update={"model_id": "wide"})
    with pytest.raises(EmbeddingMismatch, match="dimension"):
        desk.sync(embedding_function=HashEmbedding(dimension=32), config=config)
    assert desk.rows() == before


def test_a_refused_function_costs_the_right_one_nothing(desk: Desk) -> None:
    """After a sync with the wrong function was refused, the right one finds nothing to do."""
    desk.settled()
    with pytest.raises(EmbeddingMismatch):
        desk.sync(embedding_function=OtherEmbedding())
    result = desk.sync()
    assert counts(result) == {"unchanged": 2}
    assert result.chunks.added == 0


@pytest.mark.filterwarnings("ignore:.*The class Old:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*EmbeddingFunction class does not:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:legacy embedding function config:DeprecationWarning")
def test_plain_and_old_functions(desk: Desk) -> None:
    """A plain callable, and an embedding function from before Chroma named them, do as well."""
    from chromadb import Documents, EmbeddingFunction, Embeddings

    class Old(EmbeddingFunction[Documents]):
        def __call__(self, input: Documents) -> Embeddings:  # noqa: A002
            return HashEmbedding()(input)  # type: ignore[no-any-return]

    for number, function in enumerate([Old(), lambda texts: HashEmbedding()(texts)]):
        name = f"plain{number}"
        assert counts(desk.sync(name=name, embedding_function=function)) == {"added": 2}
        desk.write("prose.md", f"{PROSE}\n\n{number}\n")
        result = desk.sync(name=name, embedding_function=function)
        assert counts(result) == {"updated": 1, "unchanged": 1}


# -- Cancelled, interrupted, watched ---------------------------------------------------------------


def test_cancel(many: Desk) -> None:
    """A cancelled sync ends after the batch in flight, says so, and the next one goes on."""
    many.write_many(40, "more")
    cancel = threading.Event()
    many.embedding.before = lambda: cancel.set() if many.embedding.total >= 28 else None
    many.config = SMALL
    before = many.embedding.total
    result = many.sync(cancel=cancel)
    assert result.status == "cancelled"
    assert not result.ok
    assert 0 < many.embedding.total - before <= 16
    assert result.chunks.total == len(many.rows())
    with pytest.raises(SyncError, match="cancelled"):
        result.raise_for_failures()
    many.embedding.before = None
    assert many.sync().ok
    many.check()
    assert max(many.embedding.counts.values()) == 1


def test_cancelled_before_it_began(desk: Desk) -> None:
    """An event that is set already ends the sync at once."""
    cancel = threading.Event()
    cancel.set()
    result = desk.sync(cancel=cancel)
    assert (result.status, result.chunks.added) == ("cancelled", 0)
    assert desk.sync().ok
    desk.check()


def test_progress(desk: Desk) -> None:
    """A callable is told how far the sync is, by frozen values that only grow."""
    seen: list[SyncProgress] = []
    result = desk.sync(progress=seen.append, config=SMALL)
    assert len(seen) >= 3
    for before, after in pairwise(seen):
        for name in ("files_done", "files_total", "chunks_written", "texts_embedded"):
            assert getattr(before, name) <= getattr(after, name)
    last = seen[-1]
    assert (last.files_done, last.files_total) == (2, 2)
    assert last.chunks_written == result.chunks.added
    assert last.texts_embedded == result.chunks.embedded
    with pytest.raises(AttributeError):
        last.files_done = 0  # type: ignore[misc]


def test_progress_bar(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """`progress=True` shows a bar on the terminal's error stream."""
    desk.sync(progress=True)
    assert "2/2" in capsys.readouterr().err


def test_an_error_in_the_callers_progress(desk: Desk) -> None:
    """An exception of the progress callable reaches the caller, and the next sync goes on."""

    def fail(progress: SyncProgress) -> None:
        if progress.chunks_written >= 8:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        desk.sync(progress=fail, config=SMALL)
    assert desk.sync().ok
    desk.check()
    assert max(desk.embedding.counts.values()) == 1


SLOW_SYNC = """
import sys, time
from pathlib import Path
from support import Desk, HashEmbedding, store_at
root, where, log = sys.argv[1:]
embedding = HashEmbedding(log=Path(log), before=lambda: time.sleep(0.05))
Desk(Path(root), store_at(where), embedding=embedding).sync()
"""


def interrupt(desk: Desk, log: Path, number: int) -> None:
    """Start a sync in another process, and signal it once it is well under way."""
    with start_python(SLOW_SYNC, desk.root, desk.where, log) as child:
        deadline = time.monotonic() + 30
        while not log.exists() or log.stat().st_size < 65 * 12:
            assert child.poll() is None, child.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(number)
        began = time.monotonic()
        _, err = child.communicate(timeout=20)
        assert time.monotonic() - began < 5
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in err
    assert child.returncode != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_interrupted(tmp_path: Path, place: Path | ClientAPI, number: int) -> None:
    """Ctrl-C and kill -9 end a sync promptly; the next one takes it up, and repeats one batch."""
    log = tmp_path / "log"
    desk = Desk(tmp_path / "tree", place, embedding=HashEmbedding(log=log))
    desk.write_many(80)
    interrupt(desk, log, number)
    result = desk.sync()
    assert result.ok
    desk.check()
    lines = log.read_text().split()
    assert len(lines) - len(set(lines)) <= SMALL.batch_rows
    assert len(set(lines)) == 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_resumed_is_said(tmp_path: Path, place: Path | ClientAPI, number: int) -> None:
    """A sync that takes up an interrupted run says so, once."""
    log = tmp_path / "log"
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(80)
    interrupt(desk, log, number)
    assert desk.sync().resumed
    assert not desk.sync().resumed


# -- Beside others ---------------------------------------------------------------------------------


def test_one_sync_of_a_repository_at_a_time(desk: Desk) -> None:
    """While one thread syncs a repository, another waits, and gives up with a word about who."""
    started, end = threading.Event(), threading.Event()
    slow = HashEmbedding(before=lambda: (started.set(), end.wait(30)))
    results: list[SyncResult] = []
    thread = threading.Thread(
        target=lambda: results.append(desk.sync(embedding_function=slow)), daemon=True
    )
    thread.start()
    assert started.wait(30)
    impatient = QUICK.model_copy(update={"lock_timeout": 0.1})
    with pytest.raises(SyncInProgress, match=str(os.getpid())):
        desk.sync(config=impatient)
    assert counts(desk.sync(name="another", config=impatient)) == {"added": 2}
    end.set()
    thread.join(30)
    assert results[0].ok
    assert counts(desk.sync(config=impatient)) == {"unchanged": 2}
    desk.check()


BLOCKED_SYNC = """
import sys
from pathlib import Path
from support import Desk, HashEmbedding, store_at
def block():
    print("embedding", flush=True)
    sys.stdin.readline()
Desk(Path(sys.argv[1]), store_at(sys.argv[2]), embedding=HashEmbedding(before=block)).sync()
"""


def test_a_sync_in_another_process(desk: Desk) -> None:
    """While another process syncs the repository, the error names that process."""
    with start_python(BLOCKED_SYNC, desk.root, desk.where) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "embedding\n"
        with pytest.raises(SyncInProgress, match=str(child.pid)):
            desk.sync(config=QUICK.model_copy(update={"lock_timeout": 0.1}))
        child.kill()
    assert desk.sync().ok
    desk.check()


EPHEMERAL_SYNC = """
import sys
from pathlib import Path
import chromadb
from chromadb.config import Settings
from support import Desk, HashEmbedding
def block():
    print("embedding", flush=True)
    sys.stdin.readline()
client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
desk = Desk(Path(sys.argv[1]), Path(sys.argv[2]), embedding=HashEmbedding(before=block))
desk.sync(store=client)
"""


@pytest.mark.folder_only
def test_in_memory_stores_of_two_processes_have_nothing_to_do_with_each_other(
    desk: Desk, in_memory: ClientAPI
) -> None:
    """Another process's in-memory store does not block a sync into this one's."""
    with start_python(EPHEMERAL_SYNC, desk.root, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "embedding\n"
        try:
            config = QUICK.model_copy(update={"lock_timeout": 0.1})
            assert desk.sync(store=in_memory, config=config).ok
        finally:
            child.kill()


HOLD_THE_LOCK = """
import sys
from reposync import ChromaLock
with ChromaLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""

HOLD_THE_FILE = """
import fcntl, sys
with open(sys.argv[1] + "/.chroma.lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.folder_only
@pytest.mark.parametrize(
    ("holder", "named"), [(HOLD_THE_LOCK, True), (HOLD_THE_FILE, False)], ids=["ours", "foreign"]
)
def test_lock_timeout_names_the_holder(desk: Desk, holder: str, named: bool) -> None:
    """When somebody holds the store for too long, the error says who; then the sync goes on."""
    desk.settled()
    desk.write("new.txt", "something to write\n")
    with start_python(holder, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        config = QUICK.model_copy(update={"lock_timeout": 0.1})
        with pytest.raises(LockTimeout, match=str(child.pid) if named else "a program") as caught:
            desk.sync(config=config)
        assert ".chroma.lock" in str(caught.value)
        assert caught.value.result is not None
        child.communicate("\n", timeout=20)
    assert counts(desk.sync()) == {"added": 1, "unchanged": 2}
    desk.check()


def test_two_threads_sync_two_repositories_of_one_store(desk: Desk, tmp_path: Path) -> None:
    """Syncs of different repositories run side by side in one process."""
    desks = [replace(desk, root=tmp_path / f"tree{n}", name=f"repo{n}") for n in range(3)]
    for number, one in enumerate(desks):
        one.embedding = HashEmbedding()
        one.write_many(12)
        one.write("own.txt", f"only in {number}\n")
    results: list[SyncResult] = []
    for _ in range(3):
        threads = [
            threading.Thread(target=lambda one=one: results.append(one.sync())) for one in desks
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for one in desks:
            one.write("own.txt", f"{one.name} changed {len(results)}\n")
    assert len(results) == 9
    assert all(result.ok for result in results)
    for one in desks:
        one.sync()
        one.check()


# -- A host in the same process --------------------------------------------------------------------


@pytest.mark.folder_only
@pytest.mark.parametrize("spelling", ["store", "store/", "./store", "../{}/store"])
def test_a_hosts_live_client(desk: Desk, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    """A host's client on the folder, however spelled and set up, is used, and goes on working."""
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings

    folder = desk.folder.parent
    monkeypatch.chdir(folder)
    settings = Settings(anonymized_telemetry=False, allow_reset=True)
    client = chromadb.PersistentClient(spelling.format(folder.name), settings=settings)
    own = client.create_collection("own", embedding_function=None)
    own.add(ids=["1"], embeddings=[[1.0, 0.0]], documents=["mine"])
    systems = dict(SharedSystemClient._identifier_to_system)
    for text in ("first", "second"):
        desk.write("edited.txt", f"{text} version\n")
        assert desk.sync().ok
        assert SharedSystemClient._identifier_to_system == systems
        assert own.count() == 1
        found = own.query(query_embeddings=[[1.0, 0.1]], n_results=1)
        assert found["documents"] == [["mine"]]
        rows = read_rows(client, "repo")
        check_exact(rows, expected_texts(desk.root), repository="repo")
        vector = next(iter(rows.values())).vector
        collection = client.get_collection("repo", embedding_function=None)
        assert collection.query(query_embeddings=[list(vector)], n_results=1)["ids"]
    own.add(ids=["2"], embeddings=[[0.0, 1.0]], documents=["mine, too"])
    assert desk.sync().ok
    assert own.count() == 2
    client.close()


@pytest.mark.folder_only
def test_a_client_as_store_is_not_closed(desk: Desk) -> None:
    """The caller's own client is used, not closed, and shares all state with its folder's path."""
    with opened(desk.store, locked=False) as client:
        assert counts(desk.sync(store=client)) == {"added": 2}
        assert client.get_collection("repo", embedding_function=None).count() > 0
        desk.settle()
        assert counts(desk.sync(store=client)) == {"unchanged": 2}
        client.heartbeat()
    assert counts(desk.sync()) == {"unchanged": 2}
    desk.check()


def test_a_hosts_question_in_words(desk: Desk) -> None:
    """A host that opens the collection with the same function can query it with a text."""
    desk.sync()
    row = next(iter(desk.rows().values()))
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=HashEmbedding())  # type: ignore[arg-type]
        found = collection.query(query_texts=[row.embedded_text], n_results=1)
    assert found["documents"] == [[row.document]]


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder}/"):
            found.append(target)
    return found


@pytest.mark.folder_only
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_stays_open(desk: Desk) -> None:
    """After a sync, good or bad, no thread, file, lock or client of its own is left."""
    from chromadb.api.shared_system_client import SharedSystemClient

    threads = set(threading.enumerate())
    systems = set(SharedSystemClient._identifier_to_system)
    desk.sync()
    desk.write("prose.md", "changed")
    desk.sync()
    desk.write("more.txt", "down")
    desk.embedding.spoil = raise_nothing_but
    with pytest.raises(EmbeddingError):
        desk.sync()
    plan_repository(**desk.arguments())
    with pytest.raises(ConfigError):
        desk.sync(name="")
    assert set(threading.enumerate()) <= threads
    deadline = time.monotonic() + 1.0  # Chroma may take a moment to close its own files
    while open_below(desk.root.parent) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_below(desk.root.parent) == []
    assert set(SharedSystemClient._identifier_to_system) <= systems
    assert python(HOLD_THE_LOCK, desk.folder).stdout == "held\n"


@pytest.fixture
def in_memory() -> Iterator[ClientAPI]:
    """An in-memory client whose store is empty."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False, allow_reset=True))
    client.reset()
    yield client
    client.close()  # type: ignore[attr-defined]


@pytest.mark.folder_only
def test_an_in_memory_client(desk: Desk, in_memory: ClientAPI) -> None:
    """An `EphemeralClient` is kept in step as any store; a second sync reads nothing anew."""
    assert counts(desk.sync(store=in_memory)) == {"added": 2}
    check_exact(read_rows(in_memory, "repo"), expected_texts(desk.root), repository="repo")
    desk.settle()
    desk.sync(store=in_memory)
    with unreadable("prose.md", "code.py"):
        result = desk.sync(store=in_memory)
    assert counts(result) == {"unchanged": 2}
    desk.write("prose.md", "short")
    assert plan_repository(**desk.arguments(store=in_memory)).files.updated == 1
    assert counts(desk.sync(store=in_memory)) == {"updated": 1, "unchanged": 1}
    check_exact(read_rows(in_memory, "repo"), expected_texts(desk.root), repository="repo")
    in_memory.delete_collection("repo")
    assert desk.sync(store=in_memory).chunks.embedded == 0
    check_exact(read_rows(in_memory, "repo"), expected_texts(desk.root), repository="repo")
    assert not desk.touched()


# -- Odd places and names --------------------------------------------------------------------------


@pytest.mark.folder_only
@pytest.mark.parametrize("inside", ["chroma", ".cache/deep/chroma"])
def test_a_store_inside_of_the_repository(desk: Desk, inside: str) -> None:
    """The store is no part of the repository, wherever it lies."""
    desk.store = desk.root / inside
    assert counts(desk.settled()) == {"unchanged": 2}
    desk.check()
    assert plan_repository(**desk.arguments()).files.scanned == 2


@pytest.mark.folder_only
def test_a_store_in_the_very_folder_of_the_repository(desk: Desk) -> None:
    """A store whose folder is the repository's own is refused, or not indexed either."""
    try:
        result = desk.sync(store=desk.root)
        again = desk.sync(store=desk.root)
    except ConfigError:
        return
    assert counts(result) == {"added": 2}
    assert counts(again) == {"unchanged": 2}


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_that_are_not_utf_8(desk: Desk) -> None:
    """A file whose name is no text is indexed under an escaped name, and found again."""
    odd = os.fsencode(desk.root) + b"/caf\xe9 \xff.txt"
    Path(os.fsdecode(odd)).write_text("a file with an odd name\n")
    desk.write("back\\slash\\x41.txt", "a file with another odd name\n")
    assert counts(desk.sync()) == {"added": 4}
    paths = {row.metadata["path"] for row in desk.rows().values()}
    assert "caf\\xe9 \\xff.txt" in paths
    assert len(paths) == 4
    desk.settle()
    result = desk.sync()
    assert counts(result) == {"unchanged": 4}
    assert SyncResult.model_validate_json(result.model_dump_json()) == result
    os.unlink(odd)
    assert counts(desk.sync()) == {"unchanged": 3, "deleted": 1}


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_a_folder_whose_name_is_not_utf_8(desk: Desk) -> None:
    """A repository may lie below a folder whose name is no text."""
    odd = Path(os.fsdecode(os.fsencode(desk.root.parent) + b"/caf\xe9"))
    desk.root = desk.root.rename(odd)
    result = desk.sync()
    assert counts(result) == {"added": 2}
    result.model_dump_json()
    assert counts(desk.sync()) == {"unchanged": 2}


@pytest.mark.folder_only
def test_the_default_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store, `REPOSYNC_STORE` says where it is, and else the user's data folder."""
    desk.sync(store=None)
    assert list(Path(os.environ["XDG_DATA_HOME"]).rglob("chroma.sqlite3"))
    monkeypatch.setenv("REPOSYNC_STORE", str(desk.folder))
    desk.sync(store=None)
    assert (desk.folder / "chroma.sqlite3").exists()


# -- The vector cache ------------------------------------------------------------------------------


def vectors_kept(manifest: Path) -> int:
    """How many vectors the cache holds."""
    database = sqlite3.connect(manifest)
    (found,) = database.execute("SELECT count(*) FROM vectors").fetchone()
    database.close()
    return int(found)


def test_without_a_cache_vectors_are_computed_anew(desk: Desk) -> None:
    """`cache_vectors=False` keeps no vector outside of Chroma, and computes each when needed."""
    config = QUICK.model_copy(update={"cache_vectors": False})
    first = desk.sync(config=config)
    assert first.chunks.embedded == first.chunks.added
    assert vectors_kept(desk.manifest) == 0
    result = desk.sync(config=config, full=True)
    assert result.chunks.embedded == result.chunks.added == len(desk.check())
    assert result.chunks.reused == 0


def test_the_cache_evicts_orphans_only(desk: Desk) -> None:
    """Beyond its bound the cache drops vectors that no chunk uses, the oldest first."""
    config = QUICK.model_copy(update={"max_cache_bytes": 0})
    desk.sync(config=config)
    texts = {row.embedded_text for row in desk.check().values()}
    assert vectors_kept(desk.manifest) == len(texts)
    (desk.root / "prose.md").unlink()
    desk.write("new.txt", "something new to embed\n")
    desk.sync(config=config)
    texts = {row.embedded_text for row in desk.check().values()}
    assert vectors_kept(desk.manifest) == len(texts)
    delete_collection(desk)
    assert desk.sync(config=config).chunks.embedded == 0


def test_eviction_spares_what_a_lost_collection_will_need(desk: Desk, tmp_path: Path) -> None:
    """While a shared collection is rebuilt, no vector of its other repositories is dropped."""
    config = QUICK.model_copy(update={"max_cache_bytes": 0})
    other = replace(desk, root=tmp_path / "other", name="second", embedding=HashEmbedding())
    other.write_many(5)
    for one in (desk, other):
        one.sync(config=config, collection="both")
    with opened(desk.store) as client:
        client.delete_collection("both")
    desk.write("new.txt", "something new to embed\n")
    desk.sync(config=config, collection="both")
    assert other.sync(config=config, collection="both").chunks.embedded == 0


def test_locks_of_hosts_and_syncs_nest(desk: Desk) -> None:
    """A host may sync while it holds the store's lock itself."""
    with ChromaLock(desk.store):
        assert counts(desk.sync()) == {"added": 2}
    desk.check()


@pytest.mark.folder_only
def test_the_lock_file_stays_empty(desk: Desk) -> None:
    """Hosts that know only the lock file see it as they would make it themselves."""
    desk.sync()
    assert (desk.folder / ".chroma.lock").read_bytes() == b""


def test_the_public_names() -> None:
    """The two functions are the ones that the package exports."""
    import reposync

    assert reposync.sync_repository is sync_repository
    assert set(reposync.__all__) <= set(dir(reposync))
