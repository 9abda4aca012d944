"""Reads an export, and judges whether it is whole before anything is taken from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from reposync.errors import ArchiveDamaged, ConfigError
from reposync.naming import check_collection_name
from reposync.operations.archive import (
    CHUNKS,
    FILES,
    KIND,
    SEAL,
    VECTORS,
    VERSION,
    About,
    ArchivedChunk,
    ArchivedFile,
)
from reposync.operations.seal import problem_of, read_seal
from reposync.report import Report
from reposync.request import check_name
from reposync.rows import content_hash, embedded_text, make_id, text_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

MAX_LINE_BYTES = 64 << 20

T = TypeVar("T", bound=Report)


class Archive:
    """An export, to be read.

    Raises:
        ConfigError: there is no such folder, or a newer reposync wrote it.
        ArchiveDamaged: it is no export.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seal = read_seal(folder, SEAL, KIND, VERSION)
        try:
            self.about = About.model_validate_json(json.dumps(self._seal.about))
            check_name(self.about.repository)
            check_collection_name(self.about.collection)
        except (ValidationError, ConfigError) as error:
            raise self._damaged(SEAL, str(error).splitlines()[0]) from error

    @property
    def digest(self) -> str:
        """What tells this export from others, in hex."""
        sums = json.dumps(self._seal.model_dump(mode="json"), sort_keys=True)
        return content_hash(sums)[:16]

    def check(self) -> None:
        """Read all of it, and raise `ArchiveDamaged` unless it is whole and consistent."""
        import numpy as np

        if set(self._seal.files) != {FILES, CHUNKS, VECTORS}:
            raise self._damaged(SEAL, "it names other files than an export has")
        for name, expected in self._seal.files.items():
            if problem := problem_of(self.folder, name, expected):
                raise self._damaged(name, problem)
        files = chunks = 0
        for file, found, vectors in self.content():
            files, chunks = files + 1, chunks + len(found)
            try:
                _check_file(self.about, file, found)
            except ValueError as error:
                raise self._damaged(f"{CHUNKS}, {file.path[:200]!r}", str(error)) from error
            if not np.isfinite(vectors).all():
                raise self._damaged(VECTORS, f"a vector of {file.path!r} is not finite")
        if (files, chunks) != (self.about.files, self.about.chunks):
            raise self._damaged(SEAL, f"it holds {files} files and {chunks} chunks, and says other")

    def content(self) -> Iterator[tuple[ArchivedFile, list[ArchivedChunk], Vectors]]:
        """Each file, by path, with its chunks and their vectors."""
        vectors = self._vectors()
        chunks = self._lines(CHUNKS, ArchivedChunk)
        ahead, at, before = next(chunks, None), 0, ""
        for file in self._lines(FILES, ArchivedFile):
            if file.path <= before:
                raise self._damaged(FILES, f"{file.path[:200]!r} is not in its place")
            found = []
            while ahead is not None and ahead.metadata.get("path") == file.path:
                found.append(ahead)
                ahead = next(chunks, None)
            if at + len(found) > len(vectors):
                raise self._damaged(VECTORS, "there are fewer vectors than chunks")
            yield file, found, vectors[at : at + len(found)]
            at, before = at + len(found), file.path
        if ahead is not None or at != len(vectors):
            raise self._damaged(CHUNKS, "there are chunks or vectors of no file")

    def _vectors(self) -> Vectors:
        import numpy as np

        shape = (self.about.chunks, self.about.dimension)
        path = self.folder / VECTORS
        if 0 in shape:
            return np.zeros(shape, np.float32)
        try:
            found = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise self._damaged(VECTORS, str(error)) from error
        if found.shape != shape or found.dtype != np.dtype("<f4") or not found.flags.c_contiguous:
            raise self._damaged(VECTORS, f"it is not float32 of shape {shape}")
        return found

    def _lines(self, name: str, kind: type[T]) -> Iterator[T]:
        with (self.folder / name).open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                try:
                    entry = _parse(line, kind)
                except ValueError as error:  # pydantic's errors are, too
                    what = str(error).splitlines()[0]
                    raise self._damaged(f"{name}, line {number}", what) from error
                yield entry

    def _damaged(self, where: str, problem: str) -> ArchiveDamaged:
        return ArchiveDamaged(
            f"{self.folder} is damaged, or was edited: {where}: {problem}. Nothing was imported;"
            " export again."
        )


def _parse(line: bytes, kind: type[T]) -> T:
    if not line.endswith(b"\n"):
        raise ValueError("it is cut off, or too long")
    return kind.model_validate_json(line)


# -- what must hold ------------------------------------------------------------------------------

_TYPES: dict[str, type] = {
    "repository": str, "path": str, "chunk_index": int, "start_line": int, "end_line": int,
    "language": str, "symbol": str, "kind": str, "context": str, "content_hash": str,
    "model": str, "recipe": str,
}  # fmt: skip


def _check_file(about: About, file: ArchivedFile, chunks: Sequence[ArchivedChunk]) -> None:
    """Raise `ValueError` unless a file's chunks are such as a sync makes."""
    _check_path(file.path)
    for chunk in chunks:
        _check_chunk(about, chunk)
    if len({chunk.id for chunk in chunks}) < len(chunks):
        raise ValueError("two chunks have one id")
    if file.redo is not None:
        return  # it was not complete, and the next sync looks at it again
    if len(chunks) != file.chunks or (file.skip is not None and chunks):
        raise ValueError(f"it has {len(chunks)} chunks instead of {file.chunks}")
    seen: Counter[bytes] = Counter()
    for index, chunk in enumerate(chunks):
        key = text_key(embedded_text(chunk.document, chunk.metadata))
        if chunk.metadata["chunk_index"] != index:
            raise ValueError(f"chunk {index} is not in its place")
        if chunk.id != make_id(about.repository, file.path, key, seen[key]):
            raise ValueError(f"chunk {index} has another id than its text makes")
        seen[key] += 1


def _check_path(path: str) -> None:
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError("its path leads out of the repository")


def _check_chunk(about: About, chunk: ArchivedChunk) -> None:
    metadata = chunk.metadata
    for key, kind in _TYPES.items():
        if type(metadata.get(key)) is not kind:
            raise ValueError(f"a chunk has no {key}, or a wrong one")
    if (metadata["repository"], metadata["model"]) != (about.repository, about.model):
        raise ValueError("a chunk is of another repository or model")
    if metadata["content_hash"] != content_hash(chunk.document):
        raise ValueError("a chunk is not as it was made")
    if len(chunk.id) != 32 or not set(chunk.id) <= set("0123456789abcdef"):
        raise ValueError("a chunk's id is none")
