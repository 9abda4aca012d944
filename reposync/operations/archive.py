"""The format of an export: one repository's files, chunks and vectors in a folder.

- ``files.jsonl``: a line for each file, by path;
- ``chunks.jsonl``: a line for each chunk, by path and place in the file;
- ``vectors.npy``: float32, a row for each line of ``chunks.jsonl``;
- ``export.json``: what it is, and the sums of the others; written last.

All of it is written and read in one pass, so memory does not grow with the repository. Paths are
what rows say of themselves; no file is ever opened by one of them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from reposync.operations.seal import write_seal
from reposync.records import Redaction, SkipReason
from reposync.report import Report
from reposync.result import SourceInfo
from reposync.rows import FileRecord, Row, embedded_text, row_digest, text_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

SEAL, KIND, VERSION = "export.json", "reposync-export", 1
FILES, CHUNKS, VECTORS = "files.jsonl", "chunks.jsonl", "vectors.npy"
FILES_OF_IT = (FILES, CHUNKS, VECTORS)


class _Line(Report):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class About(_Line):
    """What is exported.

    Attributes:
        repository: its name.
        collection: where it was.
        path: the folder or URL that it was synced from.
        model: fingerprint of the model that made the vectors.
        dimension: of the vectors; 0 if there are none.
        recipe: what the chunks were made with.
        files, chunks: how many there are.
        source: which commit they are of, if that is known.
    """

    repository: str
    collection: str
    path: str
    model: str
    dimension: int = Field(ge=0)
    recipe: str
    files: int = Field(ge=0)
    chunks: int = Field(ge=0)
    source: SourceInfo | None = None


class ArchivedFile(_Line):
    """One file, as the manifest knew it, without its stat, which holds on one machine only."""

    path: str
    content_hash: str | None = None
    skip: SkipReason | None = None
    redo: str | None = None
    chunks: int = 0
    rules: str = ""
    encoding: str | None = None
    redactions: tuple[tuple[int, str], ...] = ()

    @property
    def record(self) -> FileRecord:
        """What a manifest is to note of it."""
        return FileRecord(
            self.path,
            None,
            self.content_hash,
            self.skip,
            self.chunks,
            self.rules,
            self.encoding,
            tuple(Redaction(line, kind) for line, kind in self.redactions),
        )


class ArchivedChunk(_Line):
    """One row of the collection, without its vector."""

    id: str
    document: str
    metadata: dict[str, str | int]

    @property
    def row(self) -> Row:
        """The row, as a collection takes it."""
        text = embedded_text(self.document, self.metadata)
        digest = row_digest(self.document, self.metadata)
        path = str(self.metadata["path"])
        return Row(self.id, path, text, self.document, self.metadata, text_key(text), digest)


# -- writing -------------------------------------------------------------------------------------


class ArchiveWriter:
    """Writes an export into an empty folder: for each file, by path, the file and its chunks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = self.chunks = self.dimension = 0

    def __enter__(self) -> ArchiveWriter:
        with ExitStack() as stack:
            paths = (self._folder / name for name in FILES_OF_IT)
            self._lines, self._rows, self._vectors = (
                stack.enter_context(path.open("wb")) for path in paths
            )
            self._vectors.write(_header(0, 0))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, file: ArchivedFile, chunks: Sequence[ArchivedChunk], vectors: Vectors) -> None:
        """Write one file with its chunks, which have one vector each, all of one dimension."""
        self._lines.write(_line(file))
        self._rows.writelines(map(_line, chunks))
        self._vectors.write(vectors.astype("<f4").tobytes())
        self.files += 1
        self.chunks += len(chunks)
        self.dimension = self.dimension or (int(vectors.shape[1]) if len(chunks) else 0)

    def finish(self, about: About) -> int:
        """Claim that it is complete; how many bytes it has."""
        self._vectors.seek(0)
        self._vectors.write(_header(self.chunks, self.dimension))
        self._stack.close()
        names = (FILES, CHUNKS, VECTORS)
        seal = write_seal(self._folder, SEAL, KIND, VERSION, about.model_dump(mode="json"), names)
        return seal.bytes


def _line(entry: _Line) -> bytes:
    content = entry.model_dump(exclude_defaults=True)  # what has its usual value is not written
    return json.dumps(content, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _header(rows: int, dimension: int) -> bytes:
    """The header of an .npy file, of one length whatever the shape, so that it can be rewritten."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode().ljust(117) + b"\n"
