"""The words of texts and queries."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reposync.search.index import _WORDS
from reposync.search.words import LONGEST, REMEMBERED, Words, query_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getUserName", "getusername get user name"),
        ("MAX_HOLD", "max_hold max hold"),
        ("HTTPServer2", "httpserver2 http server 2"),
        ("__init__ run _x", "init run x"),
        ("run(walk): 42", "run walk 42"),
        ("Café ÜBER", "cafe uber"),
        ("ｆｕｌｌ width", "full width"),
        ("检索代码", "检索代码 检索 索代 代码"),
        ("ПриветМир", "приветмир"),
        ("", ""),
        ("-- !! __", ""),
        ("x" * (LONGEST + 1), ""),
    ],
)
def test_words(text: str, words: str) -> None:
    """Names are taken whole and in their parts, in small letters without accents."""
    assert Words().of(text) == words


def test_a_query_names_each_word_once() -> None:
    """Repeating a word asks for nothing else."""
    assert query_words("lock Lock LOCK the_lock") == ["lock", "the_lock", "the"]


def test_words_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of ever new words does not fill the memory."""
    monkeypatch.setattr("reposync.search.words.REMEMBERED", 3)
    words = Words()
    assert len(words.of("a b c d e f g").split()) == 7
    assert len(words) <= 3 < REMEMBERED


@given(st.text())
def test_sqlite_finds_each_word_that_is_made(text: str) -> None:
    """Each word of any text matches a row with that text: SQLite cuts words no further."""
    words = Words().of(text)
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(_WORDS)
        db.execute("INSERT INTO words (path, symbol, text) VALUES ('', '', ?)", (words,))
        for word in words.split():
            match = "SELECT count(*) FROM words WHERE words MATCH ?"
            assert db.execute(match, (f'"{word}"',)).fetchone() == (1,)
