"""Names as the operating system has them (bytes) to and from names as we store them (text).

A POSIX name is any bytes; a Chroma row and a JSON report hold only Unicode. The form here is
reversible and no two names share one, so that a file with an odd name is found again.
"""

from __future__ import annotations

import os
import re

_ESCAPED = re.compile(rb"\\\\|\\x([0-9a-f]{2})")
_MARK = "\\x"
_WINDOWS = os.name == "nt"


def escape_path(raw: bytes | str) -> str:
    r"""Give the text that stands for a path.

    UTF-8 stays as it is, unless it holds the two characters ``\x``. Otherwise every backslash is
    doubled and every byte that is not UTF-8 becomes ``\xHH``. So only an escaped path holds ``\x``.
    """
    if isinstance(raw, str):
        raw = os.fsencode(raw)
    if _WINDOWS:
        raw = raw.replace(b"\\", b"/")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if _MARK not in text:
            return text
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape_path(path: str) -> bytes:
    """Undo `escape_path`: the bytes by which the operating system knows the path."""
    raw = path.encode("utf-8")
    return _ESCAPED.sub(_unescape, raw) if _MARK in path else raw


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    return b"\\" if digits is None else bytes.fromhex(digits.decode("ascii"))
