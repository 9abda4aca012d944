"""Whether what is indexed is still what is in the repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import (
    SMALL,
    Desk,
    HashEmbedding,
    OtherEmbedding,
    last_json,
    python,
    snapshot,
)

from reposync import ConfigError, CurrentReport, NameTaken, is_current
from tests.operations.live import stepwise

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of six files, synced."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(6)
    desk.settle()
    desk.sync()
    return desk


def ask(desk: Desk, **changes: Any) -> CurrentReport:
    """Ask as the user who synced would; the answer prints, and survives a trip through JSON."""
    options = {"store": desk.store, "config": desk.config, **changes}
    found = is_current(desk.root, desk.name, **options)
    assert found.ok == found.current == bool(found)
    assert CurrentReport.model_validate_json(found.model_dump_json()) == found
    assert str(found).startswith(f"{desk.name}: ")
    return found


def touch(desk: Desk) -> None:
    """The same content at another time."""
    (desk.root / "note01.txt").touch()


def add_what_is_skipped(desk: Desk) -> None:
    """A new file that will not be indexed."""
    desk.write("blob.bin", b"\0")


def edit(desk: Desk) -> None:
    """Another content."""
    desk.write("note01.txt", "something else\n")


def edit_unseen(desk: Desk) -> None:
    """Another content of the same size, at the same time."""
    file = desk.root / "note01.txt"
    before = file.stat()
    desk.write("note01.txt", "note number x\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def add(desk: Desk) -> None:
    """A new file."""
    desk.write("new.txt", "new\n")


def delete(desk: Desk) -> None:
    """One file less."""
    (desk.root / "note01.txt").unlink()


def rename(desk: Desk) -> None:
    """Another name."""
    (desk.root / "note01.txt").rename(desk.root / "renamed.txt")


def hollow_out(desk: Desk) -> None:
    """A file that was indexed is to be skipped."""
    desk.write("note01.txt", b"\0")


@pytest.mark.parametrize("change", [touch, add_what_is_skipped])
def test_still_current(desk: Desk, change: Callable[[Desk], None]) -> None:
    """What changes nothing of what is indexed leaves it current."""
    assert ask(desk)
    change(desk)
    assert str(ask(desk)) == "repo: current"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (edit, ("update", "note01.txt")),
        (edit_unseen, ("update", "note01.txt")),
        (add, ("add", "new.txt")),
        (delete, ("delete", "note01.txt")),
        (rename, ("rename", "renamed.txt")),
        (hollow_out, ("skip", "note01.txt")),
    ],
)
def test_not_current(desk: Desk, change: Callable[[Desk], None], expected: tuple[str, str]) -> None:
    """Each kind of change is found and named; after a sync it is current again."""
    change(desk)
    found = ask(desk)
    assert not found
    assert [(one.action, one.path) for one in found.changes] == [expected]
    assert expected[1] in str(found)
    desk.sync()
    assert ask(desk)


def test_after_an_interrupted_sync(desk: Desk) -> None:
    """What a sync that was killed had not done yet is a change."""
    for number in range(8):
        desk.write(f"new{number}.txt", f"something new, number {number}\n")
    with stepwise(desk) as sync:
        sync.step()
        sync.kill()
    assert {one.path for one in ask(desk).changes} == {f"new{number}.txt" for number in range(3, 8)}
    desk.sync()
    assert ask(desk)


def test_never_synced(desk: Desk, tmp_path: Path) -> None:
    """What was never synced is not current; asking leaves nothing behind."""
    assert ask(desk, collection="another").never_synced
    found = is_current(desk.root, "repo", store=tmp_path / "nowhere")
    assert (found.current, found.never_synced, str(found)) == (False, True, "repo: never synced")
    assert not (tmp_path / "nowhere").exists()


def test_a_collection_of_another_name(desk: Desk) -> None:
    """The name is enough if one collection has it; else it says to pass `collection`."""
    desk.name = "other"
    desk.sync(collection="shelf")
    assert ask(desk)
    edit(desk)
    assert len(ask(desk).changes) == 1
    desk.sync(collection="second")
    with pytest.raises(ConfigError, match="Pass collection="):
        ask(desk)
    assert ask(desk, collection="second")
    assert not ask(desk, collection="shelf")


def test_settings_and_models(desk: Desk) -> None:
    """Other settings or another model are changes, too, if they are passed."""
    assert ask(desk, embedding_function=HashEmbedding())
    other = ask(desk, embedding_function=OtherEmbedding())
    assert {one.reason for one in other.changes} == {"the embedding model changed"}
    fewer = ask(desk, config=SMALL.model_copy(update={"exclude": ("note0[0-2]*",)}))
    assert [one.action for one in fewer.changes] == ["delete"] * 3
    larger = ask(desk, config=SMALL.model_copy(update={"chunk_tokens": 64}))
    assert {one.reason for one in larger.changes} == {"the way of chunking changed"}


@pytest.mark.folder_only
def test_a_commit(desk: Desk) -> None:
    """The files of a commit are compared where a `ref` is named."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=desk.root, check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    git("tag", "first")
    edit(desk)
    assert ask(desk, ref="first")
    git("commit", "-qam", "second")
    assert [one.path for one in ask(desk, ref="HEAD").changes] == ["note01.txt"]
    desk.sync(ref="HEAD")
    assert ask(desk, ref="HEAD")
    assert not ask(desk, ref="first")
    with pytest.raises(ConfigError):
        ask(desk, ref="nothing")


@pytest.mark.folder_only
def test_a_name_of_another_folder(desk: Desk, tmp_path: Path) -> None:
    """A name that belongs to another folder is not compared with this one."""
    (tmp_path / "other").mkdir()
    with pytest.raises(NameTaken):
        is_current(tmp_path / "other", "repo", store=desk.store)


CHEAP = """
import json, sys
from reposync import SyncConfig, is_current
settings = SyncConfig(chunk_tokens=32, batch_rows=4)
current = bool(is_current(sys.argv[1], "repo", store=sys.argv[2], config=settings))
heavy = {"chromadb", "onnxruntime", "tokenizers", "tree_sitter"} & sys.modules.keys()
print(json.dumps([current, sorted(heavy)]))
"""


@pytest.mark.folder_only
def test_it_is_cheap(desk: Desk) -> None:
    """Neither Chroma nor a model nor a grammar is loaded, and nothing is written."""
    before = snapshot(desk.folder)
    assert last_json(python(CHEAP, desk.root, desk.folder).stdout) == [True, []]
    edit(desk)
    assert last_json(python(CHEAP, desk.root, desk.folder).stdout) == [False, []]
    assert snapshot(desk.folder) == before
