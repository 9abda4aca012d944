"""What chunking means for a sync: recipes, notebooks, chunkers of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

import pytest
from support import Desk, counts

from reposync import Chunk, plan_repository
from reposync.chunk import chunker

from .test_notebook import notebook
from .test_own_chunker import halves


@pytest.fixture
def desk(tmp_path: Path, own_home: Path) -> Desk:
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write("notes.md", "# Notes\n\nSome words.\n")
    return desk


KOTLIN = "fun main() {\n    println()\n}\n"


def grammars(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let these grammars be installed, as far as the recipe knows."""
    monkeypatch.setattr(chunker, "_grammars", lambda: MappingProxyType(versions))


def test_a_new_grammar_is_for_its_own_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing one has the files of its language cut anew, and no others even read."""
    desk.write("a.kt", KOTLIN)
    desk.write("script", "#!/usr/bin/env lua\n")
    grammars(monkeypatch, python="1")
    desk.settled()
    assert desk.settled().files.unchanged == len(
        {row.metadata["path"] for row in desk.check().values()}
    )
    grammars(monkeypatch, python="1", kotlin="1.1")
    plan = plan_repository(**desk.arguments())
    assert [(action.path, action.reason) for action in plan.actions] == [
        ("a.kt", "the way of chunking changed")
    ]
    before = desk.embedding.total
    assert desk.sync().files.updated == 1
    assert desk.embedding.total == before
    recipes = {row.metadata["path"]: row.metadata["recipe"] for row in desk.check().values()}
    assert recipes["a.kt"].endswith(";kotlin=1.1")
    assert "kotlin" not in recipes["script"]
    assert plan_repository(**desk.arguments()).actions == ()
    grammars(monkeypatch, python="1", kotlin="1.1", lua="2")
    plan = plan_repository(**desk.arguments())
    assert [action.path for action in plan.actions] == ["script"]


def test_notebooks_in_a_sync(desk: Desk) -> None:
    """Rows of a notebook say which cell they are of; one without a word is skipped as blank."""
    desk.write("a.ipynb", notebook(("markdown", "# Title"), ("code", "x = 1\n")))
    desk.write("empty.ipynb", notebook())
    result = desk.settled()
    assert {(skip.path, skip.reason) for skip in result.skipped} == {("empty.ipynb", "blank")}
    rows = [row for row in desk.rows().values() if row.metadata["path"] == "a.ipynb"]
    found = {(row.metadata["cell"], row.document) for row in rows}
    assert found == {(1, "# Title"), (2, "x = 1\n")}
    assert all("cell" not in row.metadata for row in desk.rows().values() if row not in rows)
    desk.write("a.ipynb", notebook())
    assert desk.settled().files.skipped == 2
    assert not [row for row in desk.rows().values() if row.metadata["path"] == "a.ipynb"]


def test_an_own_chunker_in_a_sync(desk: Desk) -> None:
    """It cuts every file, and another version of it cuts them all anew."""
    desk.write("a.py", "one\ntwo\nthree\n")
    desk.settled()
    own = desk.config.model_copy(update={"chunker": halves})
    desk.sync(config=own)
    documents = {row.document for row in desk.check().values()}
    assert {"one\ntwo\n", "three\n"} <= documents
    assert desk.settled(config=own).files.updated == 0
    newer = own.model_copy(update={"chunker_version": "2"})
    assert counts(desk.sync(config=newer)) == {"updated": 2}


def test_a_chunker_that_breaks_a_rule(desk: Desk) -> None:
    """Its file fails with the rule's name, keeps what is indexed of it, and the others go on."""

    def lossy(path: str, text: str) -> Iterable[Chunk]:
        made = list(halves(path, text))
        return made[1:] if path == "a.py" else made

    desk.write("a.py", "one\ntwo\nthree\n")
    desk.settled()
    before = {row.document for row in desk.rows().values() if row.metadata["path"] == "a.py"}
    config = desk.config.model_copy(update={"chunker": lossy, "chunker_version": "1"})
    result = desk.sync(config=config)
    (failure,) = result.failures
    assert (failure.path, failure.stage, failure.error) == ("a.py", "chunk", "BadChunks")
    assert "nothing left out" in failure.message
    after = {row.document for row in desk.rows().values() if row.metadata["path"] == "a.py"}
    assert after == before
    assert counts(result)["failed"] == 1
