"""What of a repository's files is wanted in the index: the settings that names and bytes meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from reposync.config import SyncConfig

VERSION = 2
"""Raise it whenever `reposync.scan.content.judge` may answer otherwise for the same file: then
every file is read and judged again. Rules of names need no version: they are applied each time."""

MAX_LINE_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of `SyncConfig` that decides about single files, see there."""

    include: tuple[str, ...] = ()
    generated: bool = False
    minified: bool = False
    vendored: bool = False
    lock_files: bool = False
    max_line_chars: int = MAX_LINE_CHARS
    secrets: Literal["redact", "skip", "keep"] = "redact"

    @classmethod
    def of(cls, config: SyncConfig) -> Rules:
        """The rules of a configuration."""
        return cls(
            include=config.include,
            generated=config.index_generated,
            minified=config.index_minified,
            vendored=config.index_vendored,
            lock_files=config.index_lock_files,
            max_line_chars=config.max_line_chars,
            secrets=config.secrets,
        )

    def fingerprint(self, *, exempt: bool = False) -> str:
        """What stands for the rules that a file's bytes are judged by; see `judge` for `exempt`.

        Equal fingerprints give equal answers for equal bytes, so that a file that was judged under
        this one need not be read again.
        """
        generated, minified = self.generated or exempt, self.minified or exempt
        return f"{VERSION}:{generated:d}{minified:d}:{self.max_line_chars}:{self.secrets}"
