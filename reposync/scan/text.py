"""A file's bytes to its text, or the reason why it has none; nothing is guessed, nothing lost."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reposync.records import SkipReason

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKED = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_MOST_CONTROLS = 0.1
# Nearly any bytes are Windows-1252, so for it a file must look more like text than for UTF-8.
_MOST_CONTROLS_LEGACY = 0.01


class Decoded(NamedTuple):
    """Text and the encoding that it was in, or the reason why there is no text."""

    text: str | None
    encoding: str | None
    skip: SkipReason | None


def decode(data: bytes) -> Decoded:
    """Decode a file. UTF-8 gives exactly ``data.decode("utf-8")``, a leading U+FEFF included.

    As for git, NUL makes a file binary; what is valid UTF-8 without it is text, however odd.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return _decode_marked(data)
    if b"\0" in data:
        return _skipped("binary")
    try:
        return _accepted(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    controls = _share_of_controls(data)
    if controls > _MOST_CONTROLS:
        return _skipped("binary")
    if controls > _MOST_CONTROLS_LEGACY:
        return _skipped("undecodable")
    try:
        return _accepted(data.decode("cp1252"), "cp1252")
    except UnicodeDecodeError:
        return _skipped("undecodable")


def _decode_marked(data: bytes) -> Decoded:
    """Decode a file that begins with a mark of UTF-16 or UTF-32; the mark is not text."""
    encoding = next(name for mark, name in _MARKED if data.startswith(mark))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return _skipped("binary" if b"\0" in data else "undecodable")
    as_bytes = text.encode("utf-8")
    if b"\0" in as_bytes or _share_of_controls(as_bytes) > _MOST_CONTROLS:
        return _skipped("binary")
    return _accepted(text, encoding)


def _accepted(text: str, encoding: str) -> Decoded:
    blank = not text or text.isspace() or not text.lstrip("\ufeff").strip()
    return _skipped("blank") if blank else Decoded(text, encoding, None)


def _skipped(reason: SkipReason) -> Decoded:
    return Decoded(None, None, reason)


def _share_of_controls(data: bytes) -> float:
    return 1 - len(data.translate(None, _CONTROLS)) / len(data) if data else 0.0
