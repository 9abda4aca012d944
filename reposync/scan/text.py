"""A file's bytes to its text, or the reason why it has none; nothing is lost.

For every text that is given, ``text.encode(encoding)`` is the file, byte for byte: line ends stay
as they are, and a byte order mark is the text's first character, U+FEFF, in UTF-8 as in UTF-16.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reposync.records import SkipReason

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKED = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_MOST_CONTROLS = 0.1
# Nearly any bytes are Windows-1252, so for it a file must look more like text than for UTF-8.
_MOST_CONTROLS_LEGACY = 0.01

# Western words have a letter with an accent here and there; Russian ones have no other letters.
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3,}")
_FOREIGN_BYTES = bytes(range(0x80, 0x100))
_LEGACY = (
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
    *("cp1251", "koi8_r", "cp866", "cp1253", "cp1256", "tis_620"),
)
_ENOUGH_TO_GUESS = 8
_SAMPLE_BYTES = 65_536
_UNMARKED_CHARS = 32


class Decoded(NamedTuple):
    """Text and the encoding that it was in, or the reason why there is no text."""

    text: str | None
    encoding: str | None
    skip: SkipReason | None


def decode(data: bytes) -> Decoded:
    """Decode a file. What is valid UTF-8 without NUL is text, however odd, as it is for git.

    UTF-16 and UTF-32 are told by their marks; UTF-16 without one only where each character is plain
    text and half of the bytes are NUL. Anything else with a NUL is binary. Only what is not UTF-8
    is in an older encoding: Windows-1252, unless it is full of long runs of foreign bytes.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return _decode_marked(data)
    if b"\0" in data:
        return _decode_unmarked(data)
    try:
        return _accepted(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        return _decode_legacy(data)


def _decode_marked(data: bytes) -> Decoded:
    """Decode a file that begins with a mark of UTF-16 or UTF-32."""
    encoding = next(name for mark, name in _MARKED if data.startswith(mark))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return _skipped("binary" if b"\0" in data else "undecodable")
    as_bytes = text.encode("utf-8")
    if b"\0" in as_bytes or _share_of_controls(as_bytes) > _MOST_CONTROLS:
        return _skipped("binary")
    return _accepted(text, encoding)


def _decode_unmarked(data: bytes) -> Decoded:
    """Decode UTF-16 that has lost its mark, if it can be nothing else."""
    if len(data) % 2 or len(data) < 2 * _UNMARKED_CHARS:
        return _skipped("binary")
    odd, even = data[1::2], data[::2]
    for encoding, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high.count(0) < 0.9 * len(high) or 0 in low:
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            break
        if re.sub(r"[\t\n\r\f]", "", text).isprintable() and "\n" in text:
            return _accepted(text, encoding)
    return _skipped("binary")


def _decode_legacy(data: bytes) -> Decoded:
    controls = _share_of_controls(data)
    if controls > _MOST_CONTROLS:
        return _skipped("binary")
    if controls > _MOST_CONTROLS_LEGACY:
        return _skipped("undecodable")
    foreign = len(data) - len(data.translate(None, _FOREIGN_BYTES))
    in_runs = sum(len(run) for run in _FOREIGN_RUN.findall(data))
    if foreign < _ENOUGH_TO_GUESS:
        return _decode_exactly(data, "cp1252") or _skipped("undecodable")
    guess = _guess(data) if 2 * in_runs > foreign else None
    text = _decode_exactly(data, guess) or _decode_exactly(data, "cp1252")
    return (
        text or (guess is None and _decode_exactly(data, _guess(data))) or _skipped("undecodable")
    )


def _decode_exactly(data: bytes, encoding: str | None) -> Decoded | None:
    if encoding is None:
        return None
    try:
        text = data.decode(encoding)
        # Some encodings have two forms of a character, of which only one would come back.
        return _accepted(text, encoding) if text.encode(encoding) == data else None
    except UnicodeError:
        return None


def _guess(data: bytes) -> str | None:
    """The likeliest of the encodings that are still met in old sources; None if none is likely."""
    from charset_normalizer import from_bytes

    cut = data[:_SAMPLE_BYTES].rfind(b"\n") + 1 if len(data) > _SAMPLE_BYTES else len(data)
    best = from_bytes(data[: cut or _SAMPLE_BYTES], cp_isolation=list(_LEGACY)).best()
    return best.encoding if best is not None and best.encoding in _LEGACY else None


def _accepted(text: str, encoding: str) -> Decoded:
    blank = not text or text.isspace() or not text.lstrip("\ufeff").strip()
    return _skipped("blank") if blank else Decoded(text, encoding, None)


def _skipped(reason: SkipReason) -> Decoded:
    return Decoded(None, None, reason)


def _share_of_controls(data: bytes) -> float:
    return 1 - len(data.translate(None, _CONTROLS)) / len(data) if data else 0.0
