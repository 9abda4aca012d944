"""A query and its vector."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from reposync import SyncConfig
from reposync.search import query as module
from reposync.search.query import make_query


def test_the_default_model_stays_as_long_as_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps Chroma's default function loads the model once; it goes when that goes."""
    from chromadb.utils.embedding_functions import DefaultEmbeddingFunction

    made: list[object] = []
    make = module.make_embedder

    def counting(function: Any) -> Any:
        made.append(function)
        return make(function)

    monkeypatch.setattr(module, "make_embedder", counting)
    kept = DefaultEmbeddingFunction()
    queries = [make_query("a lock", "dense", 1, None, None, kept, SyncConfig()) for _ in range(2)]
    first, second = (query.vector() for query in queries)
    assert (first == second).all()
    assert len(made) == 1
    assert len(module._loaded) == 1
    del kept, queries
    gc.collect()
    assert not module._loaded
    anew = make_query("a lock", "dense", 1, None, None, None, SyncConfig())
    assert (anew.vector() == first).all()
    assert not module._loaded


def test_half_a_surrogate_is_no_text() -> None:
    """What cannot be written as UTF-8 is replaced, so that models and JSON take the query."""
    asked = make_query("a \ud800 lock", "lexical", 1, None, None, None, SyncConfig())
    assert asked.text == "a \ufffd lock"


def test_half_a_surrogate_is_no_language() -> None:
    """What cannot be written as UTF-8 is replaced in a language, too, which SQLite is asked for."""
    asked = make_query("lock", "lexical", 1, None, "\udcff", None, SyncConfig())
    assert asked.language == "\ufffd"
