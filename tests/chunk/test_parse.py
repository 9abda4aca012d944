"""Parsing within bounds: a text that would take too long has no tree, and that on any machine."""

from __future__ import annotations

from random import Random
from string import punctuation

import pytest

from reposync.chunk import Chunker, grammar, parse
from reposync.chunk.grammar import load_grammar
from reposync.chunk.languages import LANGUAGES
from reposync.chunk.outline import split_lines

from .samples import PYTHON


def is_parsed(language: str, text: str) -> bool:
    entry = LANGUAGES[language]
    loaded = load_grammar(entry.module, entry.function)
    assert loaded is not None
    return parse.parse(loaded, text, split_lines(text)) is not None


@pytest.mark.parametrize(
    ("language", "text"),
    {
        "too large": ("python", "x = 1\n" * (parse.MAX_CHARS // 6 + 1)),
        "a long line": ("python", f"x = '{'y' * parse.MAX_LINE}'\n"),
        "NUL": ("python", "x = '\0'\n"),
        "open generics": ("java", "a<\n" * 300),
        "deep brackets": ("kotlin", "(\n" * 1_100),
        "random signs": ("javascript", "".join(Random(1).choices(punctuation + "ab \n", k=20_000))),
        "control characters": ("c", "int a;\n\x01\x02\n" * 2_000),
        "reads again and again": ("lua", ("\\ " * 40 + "\n") * 500),
        "errors without end": ("rust", ("a?" * 40 + "\n") * 5_000),
    }.values(),
)
def test_hard_texts_are_not_parsed(language: str, text: str) -> None:
    """Size, nesting, noise and work have their bounds, none of them a time."""
    assert not is_parsed(language, text)


@pytest.mark.parametrize(
    ("language", "text"),
    {
        "large": ("python", PYTHON * 1_500),
        "comparisons": ("c", "int f(int a) { return a < 1; }\n" * 1_000),
        "balanced generics": ("java", "class A { Map<String, List<B>> a; }\n" * 500),
        "numbers": ("c", "int a[] = {" + "0x1f, 0x20,\n" * 5_000 + "};\n"),
        "another alphabet": (
            "python",
            "# \u4e2d\u6587 \u043f\u0440\u0438\n" * 3_000,
        ),
        "broken": ("python", PYTHON.replace("(self", "((self") * 50),
    }.values(),
)
def test_programs_are_parsed(language: str, text: str) -> None:
    """What people write is within the bounds, broken or not."""
    assert is_parsed(language, text)


def test_work_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step too many, and there is no tree: the count depends on the text alone."""
    text = PYTHON * 50
    monkeypatch.setattr(parse, "MAX_STEPS", 5)
    assert not is_parsed("python", text)
    chunks = Chunker().chunk("a.py", text)
    assert "".join(chunk.document for chunk in chunks) == text
    assert {chunk.symbol for chunk in chunks} == {""}


@pytest.mark.timeout(30)
def test_names_are_not_read_through_the_parser() -> None:
    """A tree that took nearly all the reads that it may take is still described (found by fuzzing:
    tree-sitter reads a node's text byte by byte, and waits for ever for what it is not given)."""
    text = (
        "local M = {}\n-% c\nfunction M.add(a)\n  return 1\nend\nfun"
        + "\x0e" * 13
        + "ction M:sub(a)\n"
        + "\ufffd" * 21
        + "G\ufffd     @a << item\n    end\n    def self.ma  return 1\nend\nlocal function f()\n"
        " return 1\nend\nM.g = function()\n return 1\nend\n"
    )
    chunks = Chunker(16, 40).chunk("a.lua", text)
    assert "".join(chunk.document for chunk in chunks) == text


def test_an_unfit_grammar_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that is missing, or made for another tree-sitter, means layout and no error."""
    assert load_grammar("tree_sitter_nothing", "language") is None
    assert load_grammar("tree_sitter_python", "another_language") is None

    def too_old(_: object) -> None:
        raise ValueError("Incompatible Language version 9")

    monkeypatch.setattr("tree_sitter.Language", too_old)
    load_grammar.cache_clear()
    try:
        assert load_grammar("tree_sitter_python", "language") is None
    finally:
        load_grammar.cache_clear()


def test_the_grammar_is_in_the_recipe() -> None:
    """A grammar's version is that of its wheel and of tree-sitter; one that is missing has none."""
    assert grammar.grammar_version("tree_sitter_nothing") == ""
    version = Chunker().grammars["python"]
    assert version == grammar.grammar_version("tree_sitter_python")
    assert version.partition("@")[2].startswith("0.")
    assert len(Chunker().grammars) == len(LANGUAGES)
