"""What a file's bytes tell: its text, or why it has none that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reposync.records import Redaction, Verdict
from reposync.scan.entry import NOTEBOOK
from reposync.scan.generated import generated_by, has_longer_line, minified_by
from reposync.scan.redact import find_secrets, places, redact
from reposync.scan.text import decode

if TYPE_CHECKING:
    from reposync.records import SkipReason
    from reposync.scan.rules import Rules

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_BYTES = 1024

_DECODING = {
    "binary": "holds NUL, or little but control characters",
    "blank": "holds nothing but blanks",
    "undecodable": "is in no encoding that could be told",
}


class Content(NamedTuple):
    """Text and its encoding, or the reason why there is none.

    Attributes:
        text: without `redactions`, encoded as `encoding`, it is the very bytes that were given.
        redactions: the secrets that were taken out of the text, or for which it is skipped.
    """

    text: str | None = None
    encoding: str | None = None
    skip: Verdict | None = None
    redactions: tuple[Redaction, ...] = ()

    def __repr__(self) -> str:
        return f"Content(encoding={self.encoding!r}, skip={self.skip!r})"  # no text in a log


def judge(path: str, data: bytes, rules: Rules, *, exempt: bool = False) -> Content:
    """Decide about a file by its bytes; they are all that counts but the ending of its name.

    Args:
        path: its path, relative to the root.
        data: all of its bytes.
        rules: what is wanted.
        exempt: it is wanted whoever wrote it, see `reposync.scan.names.Named`.
    """
    if len(data) < _LFS_BYTES and data.startswith(_LFS_POINTER) and b"\noid sha256:" in data:
        return _skipped("lfs_pointer", "stands for a file in git LFS")
    text, encoding, skip = decode(data)
    if text is None:
        return _skipped(skip or "undecodable", _DECODING.get(skip or "", ""))
    if verdict := _unwanted(path, text, rules, exempt=exempt):
        return Content(skip=verdict)
    if rules.secrets == "keep" or not (secrets := find_secrets(text)):
        return Content(text, encoding)
    found = places(text, secrets)
    if rules.secrets == "skip":
        first = found[0]
        verdict = Verdict("secrets", f"{first.kind} in line {first.line}")
        return Content(skip=verdict, redactions=found)
    return Content(redact(text, secrets), encoding, redactions=found)


def _unwanted(path: str, text: str, rules: Rules, *, exempt: bool) -> Verdict | None:
    if not (rules.minified or exempt) and (why := minified_by(path, text)):
        return Verdict("minified", why)
    if not (rules.generated or exempt) and (why := generated_by(path, text)):
        return Verdict("generated", why)
    if path.lower().endswith(NOTEBOOK):
        return None  # its long lines are pictures, and are not indexed
    if has_longer_line(text, rules.max_line_chars):
        return Verdict("long_lines", f"a line of more than {rules.max_line_chars} characters")
    return None


def _skipped(reason: SkipReason, rule: str) -> Content:
    return Content(skip=Verdict(reason, rule))
