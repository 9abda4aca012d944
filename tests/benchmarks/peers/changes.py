"""What happens to the files between two syncs; the same for everybody, and on every machine."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

SHARE = 0.01
FOLDER_SHARE = 0.045
"""The folder that is renamed is the one whose number of files is nearest to this share of all."""


def files_of(tree: Path) -> list[str]:
    """The paths of all files, in order, without those of git."""
    found = []
    for folder, names, files in os.walk(tree):
        names[:] = [name for name in names if name != ".git"]
        found += [os.path.relpath(os.path.join(folder, name), tree) for name in files]
    return sorted(found)


def change(tree: Path) -> str:
    """Write a new line into the middle of one file in a hundred."""
    chosen = _sample(tree)
    for path in chosen:
        file = tree / path
        lines = file.read_bytes().splitlines(keepends=True)
        middle = len(lines) // 2
        lines.insert(middle, f"this line was not in {path} before\n".encode())
        file.write_bytes(b"".join(lines))
    return f"{len(chosen)} files"


def rename(tree: Path) -> str:
    """Rename one folder."""
    paths = files_of(tree)
    counts = Counter(parent for path in paths for parent in list(Path(path).parents)[:-1])
    if not counts:
        raise SystemExit(f"{tree} has no folder that could be renamed: choose another corpus.")
    wanted = FOLDER_SHARE * len(paths)
    folder = min(counts, key=lambda parent: (abs(counts[parent] - wanted), parent))
    (tree / folder).rename(tree / folder.with_name(f"{folder.name}-renamed"))
    return f"{folder}/, {counts[folder]} files"


def delete(tree: Path) -> str:
    """Delete one file in a hundred."""
    chosen = _sample(tree)
    for path in chosen:
        (tree / path).unlink()
    return f"{len(chosen)} files"


def _sample(tree: Path) -> list[str]:
    paths = files_of(tree)
    return random.Random(1).sample(paths, max(1, round(len(paths) * SHARE)))
