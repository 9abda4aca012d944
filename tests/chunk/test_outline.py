"""How chunks are described, and where they are cut, in each language."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tree_sitter import Parser

from reposync.chunk import Chunker, code, language_of
from reposync.chunk.chunker import _outline
from reposync.chunk.grammar import load_grammar
from reposync.chunk.languages import LANGUAGES
from reposync.chunk.outline import Place, split_lines

from .samples import ALL, CODE

SMALL = Chunker(max_tokens=20, window_tokens=60)


def described(path: str, chunker: Chunker = SMALL) -> set[tuple[str, str]]:
    return {(chunk.symbol, chunk.kind) for chunk in chunker.chunk(path, ALL[path])}


@pytest.mark.parametrize("path", CODE)
def test_the_samples_are_whole(path: str) -> None:
    """Each sample is of its language: its grammar finds no error."""
    language = LANGUAGES[language_of(path)]
    grammar = load_grammar(language.module, language.function)
    assert grammar is not None
    assert not Parser(grammar).parse(ALL[path].encode()).root_node.has_error


def place_of(text: str, path: str) -> Place:
    """Where a chunk would lie that is just the line that holds `text`."""
    lines = split_lines(ALL[path])
    outline = _outline(language_of(path), ALL[path], lines)
    return outline.place([next(row for row, line in enumerate(lines) if text in line)])


@pytest.mark.parametrize(
    ("path", "text", "symbol", "kind"),
    [
        ("a.py", "items.append", "Cart.add", "method"),
        ("a.py", "return Cart()", "main", "function"),
        ("a.py", "import os", "", "module"),
        ("a.js", "items.push", "Cart.add", "method"),
        ("a.js", "items.delete", "Cart.remove", "method"),
        ("a.js", "items.length", "total", "function"),
        ("a.ts", "price: number", "Priced", "interface"),
        ("a.ts", "items.push", "Shop.Cart.add", "method"),
        ("a.ts", "Red", "Colour", "enum"),
        ("a.tsx", "items.push", "Shop.Cart.add", "method"),
        ("a.java", "items.add", "Cart.add", "method"),
        ("a.java", "int price", "Cart.Priced.price", "method"),
        ("a.go", "items []", "Cart", "struct"),
        ("a.go", "append(", "Cart.Add", "method"),
        ("a.rs", "Vec<T>", "Cart", "struct"),
        ("a.rs", "items.push", "Cart.add", "method"),
        ("a.rs", "Cart::new", "shop.main", "function"),
        ("a.c", "int items", "cart", "struct"),
        ("a.c", "c->items +=", "add", "function"),
        ("a.cpp", "push_back", "shop.Cart.add", "method"),
        ("a.cpp", "items.clear", "shop.Cart.clear", "function"),
        ("a.cs", "public int Total", "Shop.Cart.Total", "property"),
        ("a.cs", "void Add", "Shop.Cart.Add", "method"),
        ("a.cs", "void Local", "Shop.Cart.Add.Local", "function"),
        ("a.cs", "struct S", "Shop.S", "struct"),
        ("a.rb", "<< item", "Shop.Cart.add", "method"),
        ("a.rb", "new", "Shop.Cart.make", "method"),
        ("a.php", "return 1", "Cart.add", "method"),
        ("a.php", "function f()", "f", "function"),
        ("a.php", "$g =", "g", "function"),
        ("a.sh", "echo a", "f", "function"),
        ("a.sh", "echo b", "g", "function"),
        ("a.kt", "fun add", "Cart.add", "method"),
        ("a.kt", "object O", "O", "object"),
        ("a.swift", "init(", "Cart.init", "method"),
        ("a.swift", "protocol", "P", "protocol"),
        ("a.swift", "func g", "Cart.g", "method"),
        ("a.scala", "def make", "Cart.make", "method"),
        ("a.scala", "trait T", "T", "trait"),
        ("a.lua", "return 2", "M.sub", "function"),
        ("a.lua", "M.g =", "M.g", "function"),
        ("a.lua", "local M", "", "module"),
        ("a.sql", "id INT", "cart", "table"),
        ("a.sql", "$$ LANGUAGE", "f", "function"),
        ("a.sql", "SELECT a", "", "text"),
        ("a.html", "Items", "", "text"),
        ("a.css", "color", ".cart a", "rule"),
        ("a.json", "b", "a.b", "key"),
        ("a.json", '"c": 1', "", "text"),
        ("a.yaml", "- x", "a.b", "key"),
        ("a.toml", "c = 1", "a.b", "table"),
        ("a.md", "make", "Install > From source", "section"),
        ("a.md", "opening", "", "text"),
        ("a.md", "Other", "Usage", "section"),
        ("a.rst", "More", "Library > Install", "section"),
    ],
)
def test_symbols_are_qualified(path: str, text: str, symbol: str, kind: str) -> None:
    """Each line belongs to the innermost definition around it, and is named after it."""
    place = place_of(text, path)
    separator = " > " if path in ("a.md", "a.rst") else "."
    assert (separator.join(place.symbol), place.kind) == (symbol, kind)


def test_context_names_what_encloses_the_whole_chunk() -> None:
    """A whole method has its class as context; the rest of a method has the method too."""
    body = "".join(f"        self.value_{i} = compute_{i}({i})\n" for i in range(60))
    text = f"class Cart:\n    def small(self):\n        return 1\n\n    def large(self):\n{body}"
    text += (
        "\n    def last(self):\n        return [" + "1, " * 60 + "]\n\n\ndef alone():\n    pass\n"
    )
    chunks = Chunker().chunk("a.py", text)
    assert chunks[0].context == ""
    inside = next(chunk for chunk in chunks if "compute_30" in chunk.document)
    assert (inside.symbol, inside.context) == ("Cart.large", "Cart.large")
    assert inside.embedded_text.startswith("Cart.large\n        self.")
    last = Chunker(max_tokens=140).chunk("a.py", text)
    whole = next(chunk for chunk in last if chunk.document.startswith("    def last"))
    assert "def alone" in whole.document
    assert (whole.symbol, whole.kind, whole.context) == ("Cart.last", "method", "")
    last = Chunker(max_tokens=140).chunk("a.py", text[: text.index("def alone")])
    assert (last[-1].symbol, last[-1].context) == ("Cart.last", "Cart")


def test_a_long_context_keeps_the_innermost_names() -> None:
    """The context never takes the room of the text."""
    names = [f"Quite_a_long_class_name_{i}" for i in range(12)]
    text = "".join(f"{'    ' * i}class {name}:\n" for i, name in enumerate(names))
    text += "".join(f"{'    ' * 12}value_{i} = {i}\n" for i in range(100))
    last = Chunker().chunk("a.py", text)[-1]
    assert last.symbol == ".".join(names)
    assert last.context.endswith(names[-1])
    assert not last.context.startswith(names[0])


def test_comments_and_decorators_stay_with_what_follows() -> None:
    """No cut between a definition and what leads up to it."""
    text = "".join(
        f"# About {i}, in so many words.\n@decorated({i})\ndef f{i}():\n    return {i}\n"
        for i in range(60)
    )
    for chunk in Chunker().chunk("a.py", text):
        assert chunk.document.startswith("# About")


def test_renaming_a_class_changes_only_its_own_chunks() -> None:
    """Only what names the class is embedded again."""

    def program(name: str) -> str:
        bodies = "".join(f"        value_{i} = {i}\n" for i in range(80))
        return f"class {name}:\n    def f(self):\n{bodies}\n\ndef g():\n{bodies}"

    old = {chunk.embedded_text for chunk in Chunker().chunk("a.py", program("Old"))}
    new = Chunker().chunk("a.py", program("New"))
    for chunk in new:
        assert (chunk.embedded_text in old) == ("New" not in chunk.embedded_text)


def test_a_broken_class_keeps_its_methods() -> None:
    """A syntax error in one method does not take the class from the others."""
    method = "    def m{0}(self):\n" + "        a{0} = call(b, c, d, e)\n" * 30
    text = "class Cart:\n" + "\n".join(method.format(i) for i in range(6))
    broken = text.replace("a1 = call(b", "a1 = call((b", 1)
    chunks = Chunker().chunk("a.py", broken)
    assert {chunk.symbol for chunk in chunks[-5:]} <= {f"Cart.m{i}" for i in range(6)}


def test_fenced_code_stays_whole_where_it_fits() -> None:
    """A code block of Markdown is cut only if it does not fit into a chunk."""
    block = "```sh\n" + "run this --now\n\n" * 8 + "```\n"
    text = "".join(f"Words about step {i}.\n\n{block}\n" for i in range(20))
    for chunk in Chunker().chunk("a.md", text):
        assert chunk.document.count("```") % 2 == 0


def test_headings_stay_with_their_text() -> None:
    """A heading is never the last thing in a chunk."""
    text = "".join(f"## Part {i}\n\n{'Some words here. ' * (5 + i % 20)}\n\n" for i in range(50))
    for chunk in Chunker().chunk("a.md", text):
        assert chunk.document.startswith("## Part")


def test_an_edited_paragraph_leaves_the_rest_alone() -> None:
    """In prose, too, cuts come back into step after an edit."""
    parts = [f"{'Some words here and there. ' * (1 + i % 7)}{i}.\n\n" for i in range(300)]
    old = {chunk.embedded_text for chunk in Chunker().chunk("a.md", "".join(parts))}
    parts[0] += "Something altogether new stands here now. " * 3 + "\n\n"
    new = [chunk.embedded_text for chunk in Chunker().chunk("a.md", "".join(parts))]
    assert len([text for text in new if text not in old]) <= 5


@pytest.mark.parametrize("path", CODE)
def test_a_missing_grammar_means_lines(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the grammar's wheel a file is still chunked, without symbols."""
    monkeypatch.setattr(code, "load_grammar", lambda *_: None)
    chunks = SMALL.chunk(path, ALL[path])
    assert "".join(chunk.document for chunk in chunks) == ALL[path]
    assert {(chunk.symbol, chunk.kind) for chunk in chunks} == {("", "text")}


def test_unknown_text_is_cut_at_blank_lines_and_low_indentation() -> None:
    """Blocks of a file in an unknown language stay together."""
    text = "".join(f"block {i}\n{'    some setting here = 1' + chr(10)}" * 1 for i in range(200))
    for chunk in Chunker().chunk("a.unknown", text):
        assert chunk.document.startswith("block")


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("src/a.py", "", "python"),
        ("a.PY", "", "python"),
        ("a.jsx", "", "javascript"),
        ("a.tsx", "", "tsx"),
        ("a.h", "int f(void);\n", "c"),
        ("a.h", "namespace a {\n", "cpp"),
        ("README.md", "", "markdown"),
        ("docs/a.rst", "", "rst"),
        ("Makefile", "", "make"),
        ("a.yml", "", "yaml"),
        ("run", "#!/usr/bin/env -S python3 -u\n", "python"),
        ("run", "#!/bin/sh\n", "bash"),
        ("run", "#!/usr/bin/env node\n", "javascript"),
        ("LICENSE", "Apache\n", ""),
        (".gitignore", "", ""),
        ("a.py/b", "", ""),
    ],
)
def test_language_of(path: str, text: str, language: str) -> None:
    """The extension, the name and the first line tell the language."""
    assert language_of(path, text) == language


@pytest.mark.parametrize("path", CODE)
def test_every_language_has_its_grammar(path: str) -> None:
    """The grammars that are listed can be loaded, and find something."""
    assert language_of(path) in SMALL.grammars
    if path != "a.html":  # nothing in HTML has a name
        assert any(kind not in ("module", "text") for _, kind in described(path))


def test_lines_meet_without_gaps() -> None:
    """The next chunk starts on the line after the last one's end."""
    for before, after in pairwise(SMALL.chunk("a.py", ALL["a.py"])):
        assert after.start_line == before.end_line + 1


LONG_SECTION = "## Long\n\n" + "Many more words about that.\n\n" * 50


def test_a_definition_that_fits_is_not_torn_for_a_small_one_before_it() -> None:
    """A function stays whole, though the chunk before it is less than half full by that."""
    small = "def small():\n    return a.something + a.other + call(a, b, c, d, e, f, g, h, i)\n\n"
    rows = [f"    a.value_{i} = call(a, b, c, {i}, {i}{i})\n" for i in range(9)]
    text = f"{small * 2}def large():\n{''.join(rows)}\n" * 30
    for chunk in Chunker().chunk("a.py", text):
        assert sum(row in chunk.document for row in rows) in (0, len(rows))


def test_a_short_section_does_not_take_the_head_of_a_long_one() -> None:
    """A heading begins a chunk, if the section before it says enough by itself."""
    short = "## Short\n\n" + "A few words of its own. " * 10 + "\n\n"
    for chunk in Chunker().chunk("a.md", (short + LONG_SECTION) * 20):
        assert "##" not in chunk.document or chunk.document.startswith("##")
        assert chunk.document.count("##") < 2


def test_a_section_that_says_little_is_not_left_alone() -> None:
    """Below a quarter of the capacity what follows is taken in, torn or not."""
    for chunk in Chunker().chunk("a.md", ("## Short\n\nFew words.\n\n" + LONG_SECTION) * 20):
        assert "Few words" not in chunk.document or "Many more" in chunk.document
