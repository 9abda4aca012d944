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


@given(
    st.text(min_size=1),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be", "cp1252"]),
)
def test_no_byte_is_lost(text: str, encoding: str) -> None:
    """Whatever a text is taken for, encoding it so gives the file's bytes, and no surrogate."""
    marks = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}
    data = marks.get(encoding, b"") + text.encode(encoding, "ignore")
    found = decode(data)
    if found.text is not None and found.encoding is not None:
        assert found.text.encode(found.encoding) == data
        assert not any("\ud800" <= letter <= "\udfff" for letter in found.text)


@given(st.binary().map(lambda data: data.replace(b"\0", b"x")))
def test_no_byte_of_odd_data_is_lost(data: bytes) -> None:
    """The same holds for bytes that nobody wrote as text."""
    found = decode(data)
    if found.text is not None and found.encoding is not None:
        assert found.text.encode(found.encoding) == data


RUSSIAN = "# Программа для расчёта зарплаты\ndef f(x):\n    return x  # возвращает значение\n" * 3
JAPANESE = "// これは日本語のコメントです。ファイルを開きます\nint main() { return 0; }\n" * 3
CHINESE = "// 这是一个中文注释，用于打开文件并读取数据\nint main() { return 0; }\n" * 3
FRENCH = "/* Déjà vu: l'été à Besançon, où les élèves étudient */\nint x; // numéro d'élève\n" * 3


@pytest.mark.parametrize(
    ("text", "written", "taken"),
    [
        *((FRENCH, "cp1252", "cp1252"), (FRENCH, "latin-1", "cp1252")),
        ("Copyright © José García\n" + "int x;\n" * 50, "latin-1", "cp1252"),
        ("« Größe » – “Maß” …\n", "cp1252", "cp1252"),
        *(
            (RUSSIAN, "cp1251", "cp1251"),
            (RUSSIAN, "koi8-r", "koi8_r"),
            (RUSSIAN, "cp866", "cp866"),
        ),
        *((JAPANESE, "shift_jis", "cp932"), (JAPANESE, "euc_jp", "euc_jp")),
        (CHINESE, "gbk", "gb18030"),
    ],
)
def test_older_encodings(text: str, written: str, taken: str) -> None:
    """What has an accent here and there is Western; what has runs of foreign letters is guessed."""
    assert decode(text.encode(written)) == (text, taken, None)


def test_utf16_without_a_mark_only_if_certain() -> None:
    """Plain lines are text; numbers of two bytes, or too few of them, are not."""
    text = "name = value\r\nother = 'more of it'\r\n"
    for encoding in ("utf-16-le", "utf-16-be"):
        assert decode(text.encode(encoding)) == (text, encoding, None)
        assert decode(text.encode(encoding) + b"\0").skip == "binary"
    for numbers in (range(1, 200), [7] * 100, [65] * 100, [300, 10, 40] * 30):
        assert decode(b"".join(n.to_bytes(2, "little") for n in numbers)).skip == "binary"


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
