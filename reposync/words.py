"""How texts, counts and times are put into words, for a terminal and for a notebook alike."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, marks that turn the direction of
# writing or have no width, and halves of characters, which cannot be encoded.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with what cannot be seen escaped, as in ``\x1b``.

    Paths, messages and texts are other people's: a terminal would obey their escape sequences, and
    a mark that turns the direction of writing would make a name look like another.

    Args:
        text: any.
        keep: characters that stay as they are, such as line breaks.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\t\n\r":
        return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def encodable(text: str) -> str:
    r"""The text, with bytes escaped that are not UTF-8: paths and patterns may have some.

    JSON cannot; as a path, it is not found again.
    """
    return text.encode(errors="backslashreplace").decode()


def count(number: int, noun: str) -> str:
    """A number of things: "1 file", "2 files"."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def counts(numbers: dict[str, int]) -> str:
    """What there is any of: "3 added, 1 skipped"; "none" if there is nothing."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number) or "none"


def clipped(text: str, most: int = 400) -> str:
    """The text, or its beginning and how much of it is left out."""
    left_out = len(text) - most
    return f"{text[:most]}… ({left_out} more characters)" if left_out > 0 else text


def one_line(text: str) -> str:
    """Somebody else's text as it may stand in a line of ours: visible, and not too long."""
    return printable(clipped(text))


def data_size(number: float) -> str:
    """Bytes: "812 bytes", "3.4 KiB", "1.2 GiB"."""
    if number < 1024:
        return f"{number:.0f} bytes"
    for unit in ("KiB", "MiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} GiB"


def duration(seconds: float) -> str:
    """How long something took: "0.42 s", "3 min 20 s", "1 h 05 min"."""
    return f"{seconds:.2f} s" if seconds < 60 else about(seconds)


def about(seconds: float) -> str:
    """A time that is not known to the hundredth: "42 s", "3 min 20 s", "1 h 05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
