"""In a notebook, run by a real kernel: what is shown, and that it needs no widgets."""

from __future__ import annotations

import os
import sys
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from test_display import Reader

CELLS = [
    """
import sys
from support import HashEmbedding
from reposync import SyncConfig, plot_history, sync_history, sync_repository

sys.modules["ipywidgets"] = None  # as if it were not installed

class Function(HashEmbedding):
    broken = False

    def __call__(self, input):
        if self.broken and len(self.calls) > 2:
            raise KeyboardInterrupt
        return super().__call__(input)

def sync(name, **more):
    config = SyncConfig(batch_rows=2)
    return sync_repository(name, store="store", config=config, **more)
""",
    "sync('repo', embedding_function=Function(), progress=True)",
    "sync('repo', embedding_function=Function())",
    "Function.broken = True\nsync('other', embedding_function=Function(), progress=True)",
    "sync_history(store='store')",
    "plot_history('repo', store='store')",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell shows."""
    folder = tmp_path_factory.mktemp("notebook")
    for name in ("repo", "other"):
        (folder / name).mkdir()
        for number in range(12):
            (folder / name / f"note{number}.md").write_text(f"# Note {number}\n\nOf {name}.\n")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder)}
    environ |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONWARNINGS": "default"}
    client = NotebookClient(
        notebook, timeout=90, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environ)
    return [cell.outputs for cell in notebook.cells]


def test_progress_is_one_output_that_ends_well(outputs: list[list[Any]]) -> None:
    """The display is exchanged, not repeated, says how it ended, and the result comes after it."""
    shown, result = outputs[1]
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].startswith("repo: complete, 12/12 files")
    reader = Reader()
    reader.feed(shown.data["text/html"])
    assert "12/12 files" in "".join(reader.text)
    assert result.output_type == "execute_result"
    assert "12 added" in result.data["text/html"].replace("<b>", "").replace("</b>", "")
    assert result.data["text/plain"].startswith("repo: complete in")


def test_silence_is_asked_for_by_nothing(outputs: list[list[Any]]) -> None:
    """Without progress only the result is shown, and nowhere is a warning."""
    assert [one.output_type for one in outputs[2]] == ["execute_result"]
    assert [one for cell in outputs for one in cell if one.output_type == "stream"] == []


def test_an_interrupted_sync_leaves_no_running_bar(outputs: list[list[Any]]) -> None:
    """After an interrupt the display says so, and stands where it was."""
    shown, error = outputs[3]
    assert shown.data["text/plain"].startswith("other: interrupted")
    assert "% done" in shown.data["text/html"]
    assert error.ename == "KeyboardInterrupt"


def test_pages_and_figures_are_shown(outputs: list[list[Any]]) -> None:
    """A page is a table, a history is a picture, and neither needs anything set up."""
    ((page,), (figure,)) = outputs[4:]
    assert "<table>" in page.data["text/html"]
    assert "image/png" in figure.data
