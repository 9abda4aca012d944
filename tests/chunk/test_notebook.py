"""Notebooks: by cell, without outputs, every source whole."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reposync import Chunk
from reposync.chunk import Chunker
from reposync.tokens import TokenCounter

from .samples import PYTHON

CHUNKER = Chunker()
SOURCES = st.lists(st.text(max_size=300) | st.just(PYTHON * 8), max_size=6)


def notebook(*cells: tuple[str, Any], **metadata: Any) -> str:
    """A notebook of version 4 with cells of (type, source)."""
    made = [
        {"cell_type": kind, "id": str(number), "metadata": {}, "source": source}
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for number, (kind, source) in enumerate(cells)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": made})


def chunks_of(text: str) -> list[Chunk]:
    return CHUNKER.chunk("a.ipynb", text)


def sources(chunks: list[Chunk]) -> dict[int | None, str]:
    return {
        cell: "".join(chunk.document for chunk in part)
        for cell, part in groupby(chunks, lambda chunk: chunk.cell)
    }


def test_each_cell_has_its_chunks() -> None:
    """A chunk is of one cell, in the cell's language, at the cell's lines."""
    text = notebook(
        ("markdown", "# Title\n\nSome words.\n"),
        ("code", ["import os\n", "\n", "def main():\n", "    pass"]),
        ("code", " \n"),
        ("raw", "as it is"),
        kernelspec={"language": "python", "name": "python3", "display_name": "Python"},
    )
    found = [
        (chunk.cell, chunk.language, chunk.start_line, chunk.end_line) for chunk in chunks_of(text)
    ]
    assert found == [(1, "markdown", 1, 3), (2, "python", 1, 4), (4, "", 1, 1)]
    title, code, _ = chunks_of(text)
    assert (title.symbol, title.kind) == ("Title", "section")
    assert (code.symbol, code.kind) == ("main", "function")


@settings(max_examples=60, deadline=None)
@given(found=SOURCES, kind=st.sampled_from(["code", "markdown", "raw"]))
def test_joining_a_cells_chunks_gives_its_source(found: list[str], kind: str) -> None:
    """Nothing of a cell is lost, its lines are right, and each chunk is within the window."""
    chunks = chunks_of(notebook(*((kind, source) for source in found)))
    wanted = {n: source for n, source in enumerate(found, 1) if source.strip()}
    assert sources(chunks) == {n: s.replace("\0", "\ufffd") for n, s in wanted.items()}
    for _, part in groupby(chunks, lambda chunk: chunk.cell):
        line = 1
        for chunk in part:
            assert chunk.document.strip()
            assert chunk.start_line == line
            assert chunk.end_line == line + chunk.document[:-1].count("\n")
            line += chunk.document.count("\n")
    counts = TokenCounter().count([chunk.embedded_text for chunk in chunks])
    assert max(counts, default=0) <= CHUNKER.window_tokens


def test_outputs_are_not_indexed() -> None:
    """What a cell printed is in no chunk."""
    made = json.loads(notebook(("code", "1 + 1")))
    made["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "SECRET"}]
    (chunk,) = chunks_of(json.dumps(made))
    assert chunk.document == "1 + 1"


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({}, "python"),
        ({"kernelspec": {"language": "Rust"}}, "rust"),
        ({"language_info": {"name": "C++"}}, "cpp"),
        ({"language_info": {"name": "R"}}, "r"),
    ],
)
def test_the_kernel_tells_the_language(metadata: dict[str, Any], language: str) -> None:
    """Code cells are in the kernel's language, and in Python if it does not say."""
    (chunk,) = chunks_of(notebook(("code", "x = 1"), **metadata))
    assert chunk.language == language


def test_old_notebooks() -> None:
    """Version 3, with its worksheets, is read as Jupyter reads it."""
    cells = [
        {"cell_type": "heading", "level": 2, "metadata": {}, "source": "Old"},
        {"cell_type": "code", "input": "x = 1", "language": "python", "outputs": []},
    ]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    assert sources(chunks_of(json.dumps(old))) == {1: "## Old", 2: "x = 1"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "{}",
        "[" * 10_000,
        '{"nbformat": 99, "cells": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        notebook(("code", {"no": "text"})),
        notebook(("code", "x"), kernelspec=[1]),
    ],
)
def test_a_broken_notebook_is_cut_as_text(text: str) -> None:
    """Nothing is lost of what is no notebook after all: it is cell 0, cut as JSON."""
    chunks = chunks_of(text)
    assert "".join(chunk.document for chunk in chunks) == text
    assert {chunk.cell for chunk in chunks} == {0}


def test_half_of_a_surrogate_pair() -> None:
    """What no UTF-8 can hold becomes a replacement character."""
    text = notebook(("code", "x = 'HALF'")).replace("HALF", "\\ud83d")
    (chunk,) = chunks_of(text)
    assert chunk.document == "x = '\ufffd'"


def test_a_notebook_without_words_has_no_chunks() -> None:
    """There is nothing to find in it."""
    assert chunks_of(notebook()) == []
    assert chunks_of(notebook(("code", ""), ("markdown", "\n"))) == []
