"""A chunker of the caller's own: held to the contract, and part of the recipe."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from reposync import Chunk, ConfigError, SyncConfig
from reposync.chunk import BadChunks, Chunker, OwnChunker
from reposync.chunk.own import own_recipe

from .samples import PYTHON
from .test_notebook import notebook

TEXT = "one\ntwo\n\nthree\nfour"
GOOD = [Chunk("one\ntwo\n\n", 1, 3), Chunk("three\n", 4, 4), Chunk("four", 5, 5)]


def halves(_path: str, text: str) -> Iterable[Chunk]:
    """Cuts after every second line."""
    lines = text.splitlines(keepends=True)
    for start in range(0, len(lines), 2):
        part = lines[start : start + 2]
        yield Chunk("".join(part), start + 1, start + len(part))


class Versioned:
    """A chunker that says what it is."""

    recipe = "versioned 3"

    def __call__(self, path: str, text: str) -> Iterable[Chunk]:
        return halves(path, text)


def chunks(made: Iterable[Any], text: str = TEXT, window: int | None = 254) -> list[Chunk]:
    return OwnChunker(lambda *_: made, "1", window).chunk("a.txt", text)


def test_good_chunks_pass_as_they_are() -> None:
    """What keeps the contract is not touched, and may come from a generator."""
    assert chunks(GOOD) == GOOD
    assert chunks(iter(GOOD)) == GOOD
    assert chunks([], " \n") == []


def test_our_own_chunks_pass() -> None:
    """The built-in chunker keeps the contract that others are held to, notebooks included."""
    for path, text in [
        ("a.py", PYTHON * 20),
        ("a.ipynb", notebook(("code", PYTHON * 20), ("raw", " "), ("markdown", "# A\n"))),
        ("a.ipynb", "{ broken"),
    ]:
        wanted = Chunker().chunk(path, text)
        assert OwnChunker(Chunker().chunk, "1", 254).chunk(path, text) == wanted


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (GOOD[1:], "chunk 0 is not what follows in the text at character 0"),
        (GOOD[:2], "end at character 15 of 19"),
        ([], "end at character 0 of 19"),
        ([GOOD[0], GOOD[2], GOOD[1]], "chunk 1 is not what follows"),
        ([GOOD[0], *GOOD], "chunk 1 is not what follows"),
        ([Chunk("one\ntwo\n", 1, 2), Chunk("\n", 3, 3), *GOOD[1:]], "chunk 1 of the text is blank"),
        ([replace(GOOD[0], end_line=2), *GOOD[1:]], "spans lines 1-3, not 1-2"),
        ([GOOD[0], replace(GOOD[1], start_line=1), GOOD[2]], "spans lines 4-4, not 1-4"),
        (["one"], "is a str, not a reposync.Chunk"),
        (repeat(GOOD[0]), "more than 19 chunks"),
        ([replace(GOOD[0], cell=1), *GOOD[1:]], "cells"),
    ],
)
def test_broken_rules_are_named(made: Iterable[Any], message: str) -> None:
    """What is lost, repeated, blank or at wrong lines is refused, with the rule that it breaks."""
    with pytest.raises(BadChunks, match=re.escape(message)):
        chunks(made)


def test_the_window_is_kept() -> None:
    """Nothing may be cut off unseen by the default model; other models' windows are not known."""
    text = "word " * 300
    made = [Chunk(text, 1, 1)]
    with pytest.raises(BadChunks, match="has 300 tokens with its context, and the model sees 254"):
        chunks(made, text)
    assert chunks(made, text, None) == made


def test_cells_are_checked_by_cell() -> None:
    """A notebook's chunks are compared with its cells: none left out, none out of order."""
    text = notebook(("code", "a"), ("code", "b"))
    made = [Chunk("a", 1, 1, cell=1), Chunk("b", 1, 1, cell=2)]
    assert chunks(made, text) == made
    for wrong in (made[:1], made[::-1], [made[0], replace(made[1], cell=3)]):
        with pytest.raises(BadChunks, match="cell"):
            chunks(wrong, text)


@pytest.mark.parametrize(
    ("function", "version", "recipe"),
    [
        (halves, "", f"own:{__name__}.halves:"),
        (halves, "2", f"own:{__name__}.halves:2"),
        (Versioned(), "", "own:versioned 3:"),
        (partial(halves), "1", "own:functools.partial:1"),
    ],
)
def test_the_recipe_names_the_chunker(function: Any, version: str, recipe: str) -> None:
    """Another chunker, or another version of it, is another recipe."""
    assert own_recipe(function, version) == recipe


@pytest.mark.parametrize("function", [lambda *_: [], partial(halves)])
def test_a_chunker_without_a_name_needs_a_version(function: Callable[..., Any]) -> None:
    """Two lambdas have one name: what cuts otherwise must not look the same."""
    with pytest.raises(ConfigError, match="chunker_version"):
        own_recipe(function, "")


def test_a_chunker_in_the_config() -> None:
    """A config with a function in it can still be compared, pickled, and written as JSON."""
    config = SyncConfig(chunker=halves, chunker_version="1")
    assert config == SyncConfig(chunker=halves, chunker_version="1")
    assert config != SyncConfig(chunker_version="1")
    assert hash(config) == hash(SyncConfig(chunker=halves, chunker_version="1"))
    assert pickle.loads(pickle.dumps(config)) == config
    assert "halves" not in config.model_dump_json()
    again = SyncConfig.model_validate_json(config.model_dump_json())
    assert again == SyncConfig(chunker_version="1")
    assert "chunker" not in SyncConfig.model_json_schema()["properties"]
    with pytest.raises(ConfigError, match="chunker"):
        SyncConfig(chunker="halves")


def test_the_example_in_the_docs() -> None:
    """The how-to's wrapper keeps the contract with the default model, for any text."""
    root = Path(__file__).parents[2]
    page = root / "docs/how-to/own-chunker.md"
    code, *_ = re.findall(r"```python\n(from reposync.*?)```", page.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    ours = [path.read_text("utf-8") for path in [page, root / "pyproject.toml", Path(__file__)]]
    dense = ["[0,1];" * 900, "漢字" * 900, "unbelievably" * 90, "x" * 5_000]
    blank = ["\n\na\n\n\n b", "", " \n", "\n" * 99 + "a", "a" + "\n" * 9_000 + "b"]
    for text in [TEXT, PYTHON * 10, *ours, *dense, *blank]:
        made = OwnChunker(names["chunk"], "1", 254).chunk("a.txt", text)
        assert bool(made) == bool(text.strip())
