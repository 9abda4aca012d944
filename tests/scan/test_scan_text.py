"""Bytes become text without loss, or a reason."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reposync.scan.text import decode


@given(st.text(min_size=1))
def test_utf8_is_taken_exactly(text: str) -> None:
    """Text that is accepted is what the file's bytes decode to, with every newline as it was."""
    found = decode(text.encode("utf-8"))
    assert found.text == text or found.skip in ("blank", "binary")


@given(st.binary())
def test_any_bytes_have_an_answer(data: bytes) -> None:
    """There is text or a reason, never both, and the text can be stored."""
    text, encoding, skip = decode(data)
    assert (text is None) == (skip is not None) == (encoding is None)
    if text is not None:
        text.encode("utf-8")
        assert text.strip()
        assert "\0" not in text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\rc\n", "a\r\nb\rc\n"),
        (codecs.BOM_UTF8 + b"x", "\ufeffx"),
        (codecs.BOM_UTF16_LE + "é\n".encode("utf-16-le"), "\ufeffé\n"),
        (codecs.BOM_UTF16_BE + "é\n".encode("utf-16-be"), "\ufeffé\n"),
        (codecs.BOM_UTF32_LE + "é\n".encode("utf-32-le"), "\ufeffé\n"),
        (codecs.BOM_UTF32_BE + "é\n".encode("utf-32-be"), "\ufeffé\n"),
        ("d\xe9j\xe0 vu, 5 €\n".encode("cp1252"), "d\xe9j\xe0 vu, 5 €\n"),
        (b"\x1b[31mred\x1b[0m\f\n", "\x1b[31mred\x1b[0m\f\n"),
    ],
)
def test_text_is_recognised(data: bytes, text: str) -> None:
    """An encoding that is certain is decoded; else, if it can be, Windows-1252."""
    assert decode(data).text == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\0b", "binary"),
        (bytes(range(1, 32)) * 9 + b"\xff", "binary"),
        ("ab".encode("utf-16-le"), "binary"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "binary"),
        (codecs.BOM_UTF16_LE + b"abc", "undecodable"),
        (codecs.BOM_UTF16_LE + "a\0b".encode("utf-16-le"), "binary"),
        (b"caf\xe9 \x81", "undecodable"),
        (b"caf\xe9 \x01\x02", "binary"),
        (b"caf\xe9 is here \x01", "undecodable"),
        (b" \t\r\n\f", "blank"),
        (codecs.BOM_UTF8 + b"\n", "blank"),
        (codecs.BOM_UTF16_LE, "blank"),
        ("\u3000\u2003".encode(), "blank"),
    ],
)
def test_what_is_no_text_has_a_reason(data: bytes, reason: str) -> None:
    """Binary, undecodable and blank are told apart."""
    assert decode(data).skip == reason


def test_odd_text_is_text() -> None:
    """What is valid UTF-8 and holds no NUL is text, as for git, whatever controls are in it."""
    data = bytes(range(1, 32)) * 9 + b"so be it"
    assert decode(data).text == data.decode("utf-8")
