"""A small program of a user's: .ci/run runs it with the wheel installed, and has mypy check it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import reposync
from reposync import (
    ChromaLock,
    SyncConfig,
    SyncError,
    SyncResult,
    search_repository,
    sync_repository,
)


def main(folder: Path) -> str:
    """Sync a folder, search it, and say what was found best."""
    source, store = folder / "notes", folder / "store"
    source.mkdir()
    (source / "tea.md").write_text("# Tea\n\nGreen tea steeps for two minutes.\n")
    (source / "code.py").write_text("def add(a, b):\n    return a + b\n")
    config = SyncConfig(max_files=100, exclude=("*.log",))
    try:
        result: SyncResult = sync_repository(source, "notes", store=store, config=config)
    except SyncError as error:
        raise SystemExit(str(error)) from error
    result.raise_for_failures()
    added: int = result.files.added
    assert added == 2
    with ChromaLock(store).reading():
        hits = search_repository("how long does tea steep?", "notes", store=store).hits
    path: str = hits[0].path
    return path


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        assert main(Path(folder)) == "tea.md"
    print(reposync.__file__)
