"""The tutorial is a notebook that runs, and its committed outputs are those that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from documentation.tutorial import NOTEBOOK, joined, run


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after it ran in a fresh kernel; a cell that fails raises here."""
    folder = tmp_path_factory.mktemp("tutorial")
    notebook = run(folder)
    assert list(Path(folder).glob("tea-*")) == []  # it cleans up after itself
    return notebook


def test_it_shows_what_is_committed(executed: Any) -> None:
    """Who reads it without running it sees the outputs that it has."""
    committed = nbformat.read(NOTEBOOK, as_version=4)
    for shown, kept in zip(executed.cells, committed.cells, strict=True):
        made = [output.output_type for output in joined(shown.get("outputs", []))]
        assert made == [output.output_type for output in kept.get("outputs", [])], shown.source


def test_what_it_tells_is_so(executed: Any) -> None:
    """The story has its turns: a sync, a search, an edit, damage, a repair, a figure."""
    said = "\n".join(
        output.get("text") or output.data["text/plain"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
    )
    for words in (
        "4 added, 4 embedded",
        "who wants milk? -> guests.txt",
        "kettle.py -> samovar.py (same content)",
        "2 added, 3 deleted, 1 embedded, 1 from the cache",
        "1 missing, 1 vector, 1 text",
        "sound; 3 findings mended, 0 texts embedded",
        "HistoryFigure",
    ):
        assert words in said


def test_it_stays_small() -> None:
    """Outputs that are committed are text and one small picture."""
    assert NOTEBOOK.stat().st_size < 80_000
