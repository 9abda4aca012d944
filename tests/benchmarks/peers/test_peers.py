"""The benchmark itself: that it counts everything, and notices what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.api import ClientAPI
from chromadb.errors import InternalError

from . import changes, compare, profiling, scale
from .bench import judged
from .measure import Failed, Usage, measure
from .operations import OPERATIONS
from .run import main
from .table import Figure, table
from .tools import ROOT, SCRIPTS, TOOLS
from .verdict import COLLECTION, Delta, Verdict, judge, pages

BURN = "import time\nwhile time.process_time() < 0.3: pass"
FORK_AND_BURN = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
if os.fork() == 0:  # and one that outlives this process
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", {BURN!r}])
    os._exit(0)
"""
TEXTS = {"a.py": "def a():\n    return 1\n\n\ndef b():\n    return 2\n", "b.md": "# b\n"}
ROWS = [("a.py", "def a():\n    return 1"), ("a.py", "def b():\n    return 2\n"), ("b.md", "# b")]


def test_cpu_of_all_descendants_counts() -> None:
    """A child, and a daemon that outlives whoever started it, are part of what a program costs."""
    assert measure([sys.executable, "-c", FORK_AND_BURN]).cpu >= 0.6


def test_memory_is_that_of_the_program() -> None:
    """A large process that measures a small one does not make it look large, and a large one is."""
    ballast = bytearray(200 * 1024**2)
    ballast[::4096] = b"\1" * len(ballast[::4096])
    assert measure([sys.executable, "-c", "pass"]).peak_mb < 60
    large = "b = bytearray(150 * 2**20); b[::4096] = b'x' * len(b[::4096])"
    assert measure([sys.executable, "-c", large]).peak_mb > 150
    assert ballast[4096] == 1


def test_what_fails_has_no_figures() -> None:
    """A program that fails is not taken for a quick one, and what it said is told."""
    with pytest.raises(Failed, match=r"(?s)ended with 3:.*no such luck"):
        measure([sys.executable, "-c", "import sys; print('no such luck'); sys.exit(3)"])


def test_splitters_may_strip_and_overlap() -> None:
    """A collection is exact if its rows cover every file, however they are cut."""
    assert judge(TEXTS, [*ROWS, ("a.py", "return 1\n\ndef b()")]) == Verdict(4, 0, 0)
    assert str(judge(TEXTS, ROWS)) == "exact"
    assert str(judge({"a": "\ufeffone two"}, [("a", "one"), ("a", "two")])) == "exact"
    braces = [("x.c", "f(){"), ("x.c", "}}}")]  # the last three of four are the last three
    assert str(judge({"x.c": "f() {\n}\n}\n}\n}\n"}, braces)) == "exact"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (ROWS[1:], "1 incomplete files"),
        (ROWS[:2], "1 incomplete files"),
        ([*ROWS, ("gone.py", "def a():")], "1 stale rows"),
        ([*ROWS, ("b.md", "# a")], "1 stale rows"),
        ([*ROWS[:2], ("b.md", "# was b")], "1 incomplete files, 1 stale rows"),
        ([], "2 incomplete files"),
    ],
)
def test_missing_and_stale_chunks_are_noticed(rows: list[tuple[str, str]], found: str) -> None:
    """Text that is in no row, rows of files that are gone, rows of a text that is no more."""
    assert str(judge(TEXTS, rows)) == found


class Damaged:
    """A collection in which some rows have lost their vectors, as Chroma shows it."""

    def __init__(self, ids: Sequence[str], lost: set[str]) -> None:
        self._ids, self._lost = list(ids), lost

    def get(self, ids: list[str] | None = None, include: Sequence[str] = ()) -> dict[str, Any]:
        ids = self._ids if ids is None else ids
        if "embeddings" in include and self._lost & set(ids):
            raise InternalError("Error finding id")
        return {"ids": ids, "documents": ids, "metadatas": ids, "embeddings": [[1.0]] * len(ids)}


def test_rows_without_a_vector_are_found_one_by_one() -> None:
    """A lost vector spoils no verdict on its neighbours, and none is overlooked."""
    rows = {
        row_id: vector
        for page in pages(Damaged("abcdefg", {"b", "g"}))
        for row_id, vector in zip(page["ids"], page["embeddings"], strict=True)
    }
    assert [row_id for row_id, vector in rows.items() if vector is None] == ["b", "g"]
    assert list(rows) == list("abcdefg")


def test_a_collection_that_kills_who_reads_it_is_a_verdict() -> None:
    """Chroma may crash, or hang, on what a tool left; what the judge does wrong is no verdict."""
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    said = judged([sys.executable, "-c", crash], os.environ)
    assert said == "who reads the collection dies of SIGSEGV"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert judged(sleep, os.environ, 0.1) == "who reads the collection waits without end"
    with pytest.raises(subprocess.CalledProcessError):
        judged([sys.executable, "-c", "raise SystemExit(1)"], os.environ)


def test_the_floor_writes_the_same_rows(tmp_path: Path, memory: ClientAPI) -> None:
    """Plain Chroma is given what a sync wrote and deleted, no more and no less."""
    ours = memory.create_collection("peers-floor", embedding_function=None)
    steps: list[dict[str, tuple[str, int]]] = [
        {"1": ("one", 1), "2": ("two", 1), "3": ("three", 1)},
        {"1": ("one", 1), "2": ("two", 2), "4": ("four", 1)},
    ]
    for rows in steps:
        if gone := [each for each in ours.get()["ids"] if each not in rows]:
            ours.delete(ids=gone)
        ours.upsert(
            ids=list(rows),
            documents=[document for document, _ in rows.values()],
            metadatas=[{"path": "x", "line": line} for _, line in rows.values()],
            embeddings=[[float(line), 1.0] for _, line in rows.values()],
        )
        delta = Delta(tmp_path / "state", tmp_path / "delta")
        for page in pages(ours):
            delta.add(page)
        delta.close()
        script = [sys.executable, SCRIPTS / "plain_chroma.py", tmp_path / "plain"]
        subprocess.run([*script, tmp_path / "delta"], check=True)
    client = chromadb.PersistentClient(str(tmp_path / "plain"))
    plain = client.get_collection(COLLECTION, embedding_function=None).get()
    found = zip(plain["ids"], plain["documents"] or [], plain["metadatas"] or [], strict=True)
    assert {row: (document, meta["line"]) for row, document, meta in found} == steps[1]
    client.close()  # type: ignore[attr-defined]


def make_tree(folder: Path) -> Path:
    for number in range(40):
        file = folder / ("deep/er" if number < 2 else "wide") / f"file{number:02}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"the first line of {number}\nand its second\n")
    return folder


def test_changes_are_the_same_everywhere(tmp_path: Path) -> None:
    """One file in a hundred, and the folder that is nearest to the wanted size."""
    trees = [make_tree(tmp_path / name) for name in ("one", "other")]
    for happen in (changes.change, changes.rename, changes.delete):
        told = {happen(tree) for tree in trees}
        assert len(told) == 1
    assert changes.files_of(trees[0]) == changes.files_of(trees[1])
    assert len(changes.files_of(trees[0])) == 39
    assert "deep-renamed/er/file00.txt" in changes.files_of(trees[0])
    texts = [(trees[0] / path).read_text() for path in changes.files_of(trees[0])]
    assert sum("was not in" in text for text in texts) <= 1


def test_made_up_code_is_the_same_each_time(tmp_path: Path) -> None:
    """Sizes can be compared: equal files at each run, and no text that is there twice."""
    trees = [tmp_path / "one", tmp_path / "other"]
    for tree in trees:
        scale.make_tree(tree, 50)
    texts = [[(tree / path).read_text() for path in changes.files_of(tree)] for tree in trees]
    assert texts[0] == texts[1]
    functions = "\n\n".join(texts[0]).split("\n\n")
    assert len(functions) == len(set(functions)) == 50 * scale.FUNCTIONS


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("/x/lib/python3.11/site-packages/chromadb/api/rust.py", "chromadb"),
        ("/x/lib/python3.11/site-packages/typing_extensions.py", "typing_extensions"),
        ("/x/repo/reposync/chunk/code.py", "reposync/chunk"),
        ("/x/repo/reposync/sync.py", "reposync/sync"),
        ("/x/lib/python3.11/re/_parser.py", "Python's re"),
        ("<frozen importlib._bootstrap>", "Python itself"),
    ],
)
def test_a_profile_names_packages(file: str, package: str) -> None:
    """What a function costs is counted for whoever can do something about it."""
    assert profiling.place_of(file) == package


def test_the_table_has_medians_and_everything_that_went_wrong() -> None:
    """One line for each program and operation; a single bad outcome shows."""
    usages = [Usage(1.0, 2.0, 30.0), Usage(9.0, 9.0, 90.0), Usage(2.0, 3.0, 40.0)]
    exact, stale = Verdict(7, 0, 0), Verdict(8, 0, 1)
    figures = [
        Figure("cold", "x", usage, 1234, stale if number == 1 else exact)
        for number, usage in enumerate(usages)
    ]
    lines = table([*figures, Figure("cold", "y", verdict="failed")]).splitlines()
    assert lines[2:] == [
        "| cold | x | 2.00 | 3.00 | 40.0 | 1 234 | 7 | 1 stale rows |",
        "| cold | y | - | - | - |  |  | failed |",
    ]


def test_a_comparison_hides_nothing(tmp_path: Path) -> None:
    """Each tool has a cell for each operation, and one bad outcome of several stands out in it."""
    usages = [Usage(1.0, 2.0, 30.0), Usage(2.0, 3.0, 40.0), Usage(9.0, 9.0, 90.0)]
    verdicts = [Verdict(7, 0, 0), Verdict(8, 0, 1), Verdict(7, 0, 0)]
    figures = [
        *(Figure("cold", "x", u, 1234, v) for u, v in zip(usages, verdicts, strict=True)),
        Figure("cold", "y", usages[0], 7, verdicts[0]),
        Figure("nothing changed", "y", verdict="failed"),
    ]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{compare.BEGIN}\nold\n{compare.END}\nafter\n")
    compare.paste(compare.comparison("some files", {"x": "x 1", "y": "y 2"}, figures), page)
    lines = page.read_text().splitlines()
    cells = ["cold", "2.00 s<br>1 234 texts<br>**1 stale rows**", "1.00 s<br>7 texts<br>exact"]
    assert f"| {' | '.join(cells)} |" in lines
    assert "| nothing changed | - | failed |" in lines
    assert lines[4:7] == ["", "- x: x 1", "- y: y 2"]
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)


def test_the_comparison_page_is_what_the_command_makes() -> None:
    """The page has all tools and all operations, and nothing that is no longer measured."""
    page = (ROOT / "docs/explanation/comparison.md").read_text("utf-8")
    inside = page.partition(compare.BEGIN)[2].partition(compare.END)[0]
    rows = [row.split(" | ") for row in inside.splitlines() if row.startswith("| ")]
    names = [TOOLS[name].name for name in compare.PEERS]
    assert [cell.strip("| ") for cell in rows[0] if cell.strip("| ")] == names
    assert [row[0].strip("| ") for row in rows[1:]] == [each.title for each in OPERATIONS.values()]
    assert all(len(row) == len(names) + 1 for row in rows)
    listed = [line.partition(":")[0] for line in inside.splitlines() if line.startswith("- ")]
    assert listed == [f"- {name}" for name in names]


def test_a_page_without_marks_is_told_before_anything_runs(tmp_path: Path) -> None:
    """A quarter of an hour is not measured for nothing."""
    page = tmp_path / "page.md"
    page.write_text("no table here\n")
    with pytest.raises(SystemExit, match="has no <!-- measured: begin -->"):
        main(["--compare", "--into", str(page)])


def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder to the table: ours, its floor, and whether the collection is right."""
    folder, results = make_tree(tmp_path / "corpus"), tmp_path / "results.json"
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    chosen = ["--tools", "ours", "--operations", "cold,changed"]
    where = ["--cache", str(tmp_path / "cache"), "--json", str(results)]
    main(["--corpus", str(folder), *chosen, *where])
    found = json.loads(results.read_text())
    assert "corpus, 40 files; " in found["what"]
    ours = [figure for figure in found["figures"] if figure["who"] == "reposync"]
    assert [figure["embedded"] for figure in ours] == [40, 1]
    assert {figure["afterwards"] for figure in ours} == {"exact"}
    assert {figure["rows"] for figure in ours} == {40}
    shown = capsys.readouterr().out
    assert shown.count("| exact |") == 2
    assert "- reposync: reposync " in shown
