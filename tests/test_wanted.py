"""What is wanted in the index, as its user sets it: files enter and leave, and secrets never do."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, Desk, HashEmbedding, counts

from reposync import SyncConfig, SyncResult, explain, plan_repository
from reposync.chunk import Chunker
from reposync.scan import content

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5"
KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEA"
KEY = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\n-----END PRIVATE KEY-----"

TREE = {
    "main.py": "def main():\n    return 'written by hand'\n",
    "client.py": f"def call():\n    return get('x', token='{TOKEN}')\n",
    "key.py": f'KEY = """\n{KEY}\n"""\n',
    "proto_pb2.py": "class Message:\n    pass\n",
    "made.py": "# @generated\nclass Made:\n    pass\n",
    "app.js": "var a=function(b){return b+1};" * 40,
    "wide.txt": "word " * 5000,
    "node_modules/x/index.js": "module.exports = 1;\n",
    "poetry.lock": "[[package]]\nname = 'x'\n",
    ".env": "PASSWORD=swordfish\n",
    "model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
}
SKIPPED = {
    "proto_pb2.py": "generated",
    "made.py": "generated",
    "app.js": "minified",
    "wide.txt": "long_lines",
    "node_modules/x/index.js": "vendored",
    "poetry.lock": "lock_file",
    ".env": "credentials",
    "model.bin": "lfs_pointer",
}
INDEXED = {"main.py", "client.py", "key.py", "old.c"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository with a file of each kind."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    for path, text in TREE.items():
        desk.write(path, text)
    desk.write("old.c", "/* d\xe9j\xe0 vu */\n".encode("cp1252"))
    return desk


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files whose bytes are looked at from now on."""
    paths: list[str] = []
    really = content.judge

    def judge(path: str, *arguments: Any, **options: Any) -> content.Content:
        paths.append(path)
        return really(path, *arguments, **options)

    monkeypatch.setattr(content, "judge", judge)
    return paths


def indexed(desk: Desk) -> dict[str, str]:
    """The text of each file as the collection has it, by path."""
    rows = sorted(desk.rows().values(), key=lambda row: row.metadata["chunk_index"])
    texts: dict[str, str] = {}
    for row in rows:
        texts[row.metadata["path"]] = texts.get(row.metadata["path"], "") + row.document
    return texts


def reasons(result: SyncResult) -> dict[str, str]:
    """Why each skipped file is skipped."""
    return {one.path: one.reason for one in result.skipped}


def with_settings(**settings: Any) -> SyncConfig:
    """`SMALL` with some settings changed."""
    return SyncConfig(**{**SMALL.model_dump(), **settings})


def test_by_default_an_index_holds_what_people_wrote(desk: Desk) -> None:
    """Everything else is skipped with a reason, and no secret is in what is indexed."""
    result = desk.sync()
    assert result.ok
    assert reasons(result) == SKIPPED
    texts = indexed(desk)
    assert texts.keys() == INDEXED
    assert texts["main.py"] == TREE["main.py"]
    assert texts["old.c"] == "/* déjà vu */\n"
    assert texts["client.py"] == TREE["client.py"].replace(TOKEN, "*" * len(TOKEN))
    assert result.encodings == {"old.c": "cp1252"}
    places = {(one.path, one.line, one.kind) for one in result.redactions}
    assert places == {("client.py", 2, "github_token"), ("key.py", 2, "private_key")}


def test_what_is_not_read_again_is_told_again(desk: Desk, judged: list[str]) -> None:
    """A sync that reads nothing reports the same skips, encodings and redactions."""
    first = desk.settled()
    judged.clear()
    second = desk.sync()
    assert judged == []
    assert counts(second) == {"unchanged": len(INDEXED), "skipped": len(SKIPPED)}
    assert reasons(second) == reasons(first)
    assert second.encodings == first.encodings
    assert set(second.redactions) == set(first.redactions)
    assert SyncResult.model_validate_json(second.model_dump_json()) == second


def test_a_secret_is_nowhere(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the store's files, nor in the cache, the log, the result, a plan or a failure."""
    caplog.set_level(logging.DEBUG)

    class Refusing(HashEmbedding):
        def __call__(self, input: Any) -> Any:  # noqa: A002 - Chroma's name
            if any("get(" in text for text in input):
                raise ValueError(f"cannot embed {input}")
            return super().__call__(input)

    said = [desk.sync(embedding_function=Refusing()), desk.sync()]
    assert said[0].failures
    told = "".join(one.model_dump_json() + str(one) for one in said) + caplog.text
    told += plan_repository(**desk.arguments(full=True)).model_dump_json()
    files = [path.read_bytes() for path in desk.store.rglob("*") if path.is_file()]
    for secret in (TOKEN, KEY_BODY, "swordfish"):
        assert secret not in told
        assert not any(secret.encode() in data for data in files)


def test_a_chunker_that_fails_tells_no_secret(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an error that quotes the text quotes the text without its secrets."""
    caplog.set_level(logging.DEBUG)

    def fail(self: Chunker, path: str, text: str) -> None:
        raise ValueError(text)

    monkeypatch.setattr(Chunker, "chunk", fail)
    result = desk.sync()
    assert {failure.path for failure in result.failures} == INDEXED
    assert TOKEN not in result.model_dump_json() + caplog.text


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("index_vendored", "vendored"),
        ("index_lock_files", "lock_file"),
        ("index_generated", "generated"),
        ("index_minified", "minified"),
    ],
)
def test_files_enter_and_leave_with_a_switch(desk: Desk, setting: str, reason: str) -> None:
    """Switched on, files of the kind enter; switched off, they leave; the others stay."""
    more = {path for path, why in SKIPPED.items() if why == reason}
    desk.settled()
    config = with_settings(**{setting: True})
    planned = plan_repository(**desk.arguments(config=config))
    result = desk.sync(config=config)
    assert result.files.added == planned.files.added == len(more)
    assert result.chunks.deleted == 0
    assert indexed(desk).keys() == INDEXED | more
    desk.settle()
    desk.sync(config=config)
    back = desk.sync()
    assert reasons(back) == SKIPPED
    assert back.files.deleted == len(more)
    assert indexed(desk).keys() == INDEXED


def test_a_rule_of_names_costs_no_reading(desk: Desk, judged: list[str]) -> None:
    """Only the files that it concerns are read; a rule of content has all texts looked at again."""
    desk.settled()
    judged.clear()
    desk.sync(config=with_settings(index_vendored=True, index_lock_files=True))
    assert set(judged) == {"node_modules/x/index.js", "poetry.lock"}
    desk.settle()
    desk.sync()
    judged.clear()
    desk.sync()
    assert judged == []
    result = desk.sync(config=with_settings(max_line_chars=30_000))
    assert set(judged) == set(TREE) - {"proto_pb2.py", "node_modules/x/index.js"} - {
        "poetry.lock",
        ".env",
    } | {"old.c"}
    assert counts(result) == {"added": 1, "unchanged": len(INDEXED), "skipped": len(SKIPPED) - 1}
    judged.clear()
    desk.settle()
    desk.sync(config=with_settings(max_line_chars=30_000))
    assert judged == []


def test_what_becomes_of_secrets_can_be_changed(desk: Desk) -> None:
    """The collection follows the setting, though no file has changed."""
    desk.settled()
    kept = desk.sync(config=with_settings(secrets="keep"))
    assert counts(kept) == {"updated": 2, "unchanged": 2, "skipped": len(SKIPPED)}
    assert kept.redactions == ()
    assert indexed(desk)["client.py"] == TREE["client.py"]
    desk.settle()
    skipped = desk.sync(config=with_settings(secrets="skip"))
    assert reasons(skipped) == {**SKIPPED, "client.py": "secrets", "key.py": "secrets"}
    assert {one.path for one in skipped.redactions} == {"client.py", "key.py"}
    assert indexed(desk).keys() == INDEXED - {"client.py", "key.py"}
    desk.settle()
    again = desk.sync()
    assert again.files.added == 2
    assert TOKEN not in "".join(indexed(desk).values())


def test_attributes_decide_and_can_change(desk: Desk, judged: list[str]) -> None:
    """What the author marks leaves the index, and what he says is written by hand enters."""
    desk.settled()
    attributes = "main.py linguist-generated\nmade.py -linguist-generated\n*.c linguist-vendored\n"
    desk.write(".gitattributes", attributes)
    judged.clear()
    result = desk.sync()
    assert set(judged) == {".gitattributes", "made.py"}
    wanted = {**SKIPPED, "main.py": "generated", "old.c": "vendored"}
    del wanted["made.py"]
    assert reasons(result) == wanted
    assert indexed(desk).keys() == {"client.py", "key.py", "made.py", ".gitattributes"}
    (desk.root / ".gitattributes").unlink()
    assert reasons(desk.sync()) == SKIPPED
    assert indexed(desk).keys() == INDEXED


def test_explain_names_the_rule(desk: Desk) -> None:
    """Each reason can be asked for, and says what was seen and what to do about it."""
    for path, reason in SKIPPED.items():
        said = explain(desk.root, path)
        assert (said.included, said.rule) == (False, reason)
        assert said.detail
    assert "named *_pb2.py" in str(explain(desk.root, "proto_pb2.py"))
    assert "@generated" in str(explain(desk.root, "made.py"))
    for path in INDEXED:
        assert explain(desk.root, path).included
    assert "secrets" in str(explain(desk.root, "client.py"))
    assert explain(desk.root, "key.py", config=with_settings(secrets="skip")).rule == "secrets"


def test_credentials_are_indexed_if_asked_for_by_name(desk: Desk) -> None:
    """A pattern that names the file is a wish; one that happens to match it is not."""
    assert reasons(desk.sync(config=with_settings(include=("*",)))) == SKIPPED
    result = desk.sync(config=with_settings(include=("*", ".env")))
    assert ".env" not in reasons(result)
    assert indexed(desk)[".env"] == TREE[".env"]


def test_a_commit_is_judged_as_its_checkout_is(desk: Desk) -> None:
    """Read from git's objects, every file has the same verdict as in the folder."""
    desk.write("sub/.gitattributes", "*.x linguist-generated\n")
    desk.write("sub/a.x", "made\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-Af"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *identity, *command], cwd=desk.root, check=True)
    folder = desk.sync()
    texts = indexed(desk)
    commit = desk.sync(ref="HEAD")
    assert reasons(commit) == reasons(folder) == {**SKIPPED, "sub/a.x": "generated"}
    assert commit.encodings == folder.encodings
    assert set(commit.redactions) == set(folder.redactions)
    assert indexed(desk) == texts


def test_a_notebook_is_wanted_for_its_cells(desk: Desk) -> None:
    """Pictures in the outputs make a notebook large and its lines long; its cells are indexed."""
    cell = {"cell_type": "code", "execution_count": 1, "id": "a", "metadata": {}}
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 2**21}}
    notebook = {
        "cells": [{**cell, "source": ["plot(values)\n"], "outputs": [picture]}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    desk.write("plots.ipynb", json.dumps(notebook, indent=1))
    desk.write("large.txt", "a line\n" * 2**18)
    result = desk.sync(config=SyncConfig())
    assert {skip.path: skip.reason for skip in result.skipped}["large.txt"] == "too_large"
    rows = [row for row in desk.rows().values() if row.metadata["path"] == "plots.ipynb"]
    assert [row.document for row in rows] == ["plot(values)\n"]
