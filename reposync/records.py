"""The frozen values that flow through a sync; no behaviour beyond naming what they hold.

``scan`` makes `Seen`, ``plan`` makes `Action`, ``chunk`` makes `Chunk`, ``commit`` makes rows of
them. Everything here is a plain value: comparable, printable and safe to hand to another thread.
What there is one of for each file, changed or not, is a named tuple: it is made in a quarter of the
time of a frozen dataclass, and a sync that finds nothing to do makes little else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

SkipReason = Literal[
    "binary",
    "blank",
    "credentials",
    "empty",
    "generated",
    "lfs_pointer",
    "lock_file",
    "long_lines",
    "minified",
    "not_checked_out",
    "over_limit",
    "secrets",
    "special",
    "submodule",
    "symlink",
    "too_large",
    "undecodable",
    "vendored",
]
"""Why a file that belongs to the repository is not in the index (a closed set), see
docs/reference/skipped-files.md."""

ActionKind = Literal["add", "update", "rename", "delete", "keep", "skip", "fail", "forget"]
"""What is to be done about a file. "fail" keeps what is indexed, because unreadable is not deleted;
"forget" drops the note of a skipped file that is gone."""


class FileStat(NamedTuple):
    """What ``lstat`` said of a file; equal stats mean that the file is not read again."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Verdict(NamedTuple):
    """Why a file is not in the index, and in a few words which rule decided that."""

    reason: SkipReason
    rule: str


class Redaction(NamedTuple):
    """Where a secret was taken out of a text (line from 1), and of what kind it was."""

    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one file could not be brought in step: the stage, the error's type and its message."""

    path: str
    stage: Literal["scan", "chunk", "embed", "commit"]
    error: str
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """One file as the scan saw it.

    Exactly one of these holds: it is as recorded (`unread`), it has `text`, it has a `skip` reason,
    it has a `failure`, or it is `gone`.

    Attributes:
        path: relative, ``/`` between the parts, see `reposync.scan.paths` for odd names.
        stat: what the file's stat was when it was read; None where there is none to trust.
        content_hash: hex SHA-256 of the file's bytes, where they were read.
        text: the decoded bytes that `content_hash` was computed from.
        gone: it was listed, and had vanished when it was to be read.
        racy: the file was written so shortly before it was read that a later edit could hide
            behind an equal stat, so its stat must not be trusted next time.
        rule: in a few words, which rule decided that it is skipped.
        rules: stands for the rules that its content was judged by; "" if it was not read.
        encoding: what `text` was decoded from; encoding it again gives the file's bytes.
        redactions: the secrets that were taken out of `text`.
    """

    path: str
    stat: FileStat | None = None
    content_hash: str | None = None
    text: str | None = field(default=None, repr=False)
    skip: SkipReason | None = None
    failure: Failure | None = None
    gone: bool = False
    racy: bool = False
    rule: str = ""
    rules: str = ""
    encoding: str | None = None
    redactions: tuple[Redaction, ...] = ()

    @property
    def unread(self) -> bool:
        """True if the file's stat was as recorded, so that it was not opened."""
        return self.text is None and self.skip is None and self.failure is None and not self.gone


class Known(NamedTuple):
    """One file as the manifest knows it.

    Attributes:
        stat: the stat under which it was read; None if it must not be trusted.
        content_hash: hex SHA-256 of the bytes that were indexed; None if it never was whole.
        skip: why it is not in the collection, if it is not.
        redo: why the manifest cannot vouch for what the collection holds of this file; None if it
            can, and then an equal stat is enough to leave the file alone.
        chunks: how many of its chunks are in the collection.
        rules, encoding, redactions: as in `Seen`, when it was read.
    """

    path: str
    stat: FileStat | None = None
    content_hash: str | None = None
    skip: SkipReason | None = None
    redo: str | None = None
    chunks: int = 0
    rules: str = ""
    encoding: str | None = None
    redactions: tuple[Redaction, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done about one file, and why.

    Attributes:
        kind: see `ActionKind`.
        path: the file's path now (for "delete", the path it had).
        reason: in the user's words; one of a small set of phrases.
        old_path: for "rename", where the same content was before.
        seen: what the scan saw; None for "delete".
    """

    kind: ActionKind
    path: str
    reason: str
    old_path: str | None = None
    seen: Seen | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a file's text, as it will stand in the collection.

    Attributes:
        document: the exact slice; joining a file's chunks in order gives the file's text. Of a
            notebook, joining the chunks of a cell gives the cell's source.
        start_line, end_line: 1-based, lines end at a line feed; `end_line` is the line on which the
            last character stands.
        language: "python", "markdown", ...; "" where it is not known.
        symbol: the qualified name of the definition that this chunk is or lies in, such as
            ``Class.method``; "" outside of any.
        kind: "function", "class", "method", ... for code, "section" or "text" for prose.
        context: the symbols that enclose the whole chunk; put before the document when embedding.
        cell: the number of the notebook's cell, from 1, in which lines are then counted; 0 if the
            notebook could not be read and was cut as plain text; None outside of notebooks.
    """

    document: str
    start_line: int
    end_line: int
    language: str = ""
    symbol: str = ""
    kind: str = "text"
    context: str = ""
    cell: int | None = None

    @property
    def embedded_text(self) -> str:
        """What is embedded: anyone can recompute a row's vector from its context and document."""
        return f"{self.context}\n{self.document}" if self.context else self.document
