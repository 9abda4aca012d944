"""Run the tutorial's notebook; as a program, write the outputs that are committed with it.

python tests/documentation/tutorial.py        # after a change of docs/tutorial/first-sync.ipynb
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/tutorial/first-sync.ipynb"
KEPT = ("text/plain", "image/png")


def run(folder: Path) -> Any:
    """The notebook as it is after it ran from top to bottom in an empty folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HOME": str(folder)}
    environ |= {"IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(folder)}
    client = NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environ)
    return notebook


def write() -> None:
    """Keep of each output what is small, and the same on each machine but for figures."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = run(Path(folder))
        for cell in notebook.cells:
            cell.metadata = {}
            if "outputs" in cell:
                cell.outputs = joined(cell.outputs)
            for output in cell.get("outputs", []):
                output.pop("metadata", None)
                if "data" in output:
                    output.metadata = {}
                    output.data = {kind: output.data[kind] for kind in KEPT if kind in output.data}
                    output.data = tidy(output.data, folder)
                elif "text" in output:
                    output.text = tidy(output.text, folder)
    notebook.metadata = {"language_info": {"name": "python"}}
    nbformat.write(notebook, NOTEBOOK)


def joined(outputs: list[Any]) -> list[Any]:
    """What one cell prints, in one piece: the kernel sends it in as many as it likes."""
    found: list[Any] = []
    for output in outputs:
        if found and (found[-1].output_type, output.output_type) == ("stream", "stream"):
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def tidy(data: Any, folder: str) -> Any:
    """Without this machine's folder."""
    if isinstance(data, str):
        return re.sub(rf"{re.escape(folder)}/tea-\w+", "/tmp/tea", data)
    return {k: v if k == "image/png" else tidy(v, folder) for k, v in data.items()}


if __name__ == "__main__":
    sys.exit(write())
