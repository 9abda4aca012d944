"""What each script is asked to do:  SCRIPT TREE STORE LOG [MODEL]

TREE is the folder of the files, STORE a folder that the script may fill as it likes, LOG a file
that gets a line with the number of texts for each call of the embedding function, MODEL the folder
of the real model; without it, vectors come for free.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLLECTION = "bench"
DIMENSION = 384


class Task(NamedTuple):
    tree: Path
    store: Path
    log: Path
    model: Path | None

    def files(self) -> Iterator[tuple[str, str]]:
        """Each file's path and text, as any script would read them."""
        for folder, names, files in os.walk(self.tree):
            names[:] = sorted(name for name in names if name != ".git")
            for name in sorted(files):
                path = Path(folder, name)
                # No translation of line ends: the text is what is in the file.
                with path.open(encoding="utf-8", newline="") as file:
                    yield str(path.relative_to(self.tree)), file.read()

    def embed(self) -> Callable[[list[str]], list[Any]]:
        """The embedding function; it notes in the log what it was given."""
        compute = free if self.model is None else chromas_own(self.model)

        def embed(texts: list[str]) -> list[Any]:
            self.note(len(texts))
            return compute(texts)

        return embed

    def note(self, texts: int) -> None:
        """Note that so many texts were embedded; in one write, so that a kill cannot tear it."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, b"%d\n" % texts)
        os.close(descriptor)


def task() -> Task:
    tree, store, log, *model = map(Path, sys.argv[1:])
    return Task(tree, store, log, model[0] if model else None)


def hide() -> None:
    """Let the package that $PEERS_HIDE names seem not to be installed."""
    from importlib.machinery import PathFinder

    hidden, find = os.environ.get("PEERS_HIDE"), PathFinder.find_spec
    if hidden:
        PathFinder.find_spec = (  # type: ignore[method-assign]
            lambda name, *rest, **more: None if name == hidden else find(name, *rest, **more)
        )


def free(texts: list[str]) -> list[Any]:
    """A hash of each text, of length one: equal texts have equal vectors, others do not."""
    import hashlib

    import numpy as np

    raw = b"".join(hashlib.shake_128(text.encode()).digest(2 * DIMENSION) for text in texts)
    numbers = np.frombuffer(raw, dtype="<u2").reshape(len(texts), DIMENSION)
    vectors = numbers.astype(np.float32) / 2**15 - 1.0
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def chromas_own(model: Path) -> Callable[[list[str]], list[Any]]:
    """The function that Chroma uses where none is given, with the weights in a folder."""
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    function = ONNXMiniLM_L6_V2()
    function.DOWNLOAD_PATH = model
    return lambda texts: list(function(texts))
