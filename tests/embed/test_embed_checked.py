"""Foreign functions: called in batches, and no wrong answer gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest

from reposync.embed import make_embedder
from reposync.errors import EmbeddingError


class Recorder:
    """A correct function that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(list(texts))
        return [[float(len(text)), 1.0] for text in texts]


def answering(answer: Any) -> Any:
    return make_embedder(lambda texts: answer)


def test_batches_are_bounded_and_equal_texts_are_embedded_once() -> None:
    """Each distinct text goes out once, at most batch_size at a time; each gets its vector."""
    function = Recorder()
    texts = ["a", "bb", "a", "ccc", "dddd", "bb", "eeeee"]
    vectors = make_embedder(function, batch_size=2).embed(texts)
    assert function.batches == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert vectors[:, 0].tolist() == [len(text) for text in texts]
    assert vectors.dtype == np.float32


def test_no_texts_give_no_vectors_and_no_call() -> None:
    """Nothing to embed costs nothing; the dimension is 0 until it is known."""
    function = Recorder()
    embedder = make_embedder(function)
    assert embedder.embed([]).shape == (0, 0)
    assert function.batches == []
    embedder.embed(["a"])
    assert embedder.embed([]).shape == (0, 2)


@pytest.mark.parametrize(
    "answer",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
        [np.array([1, 2], dtype=np.int8), np.array([3, 4], dtype=np.float16)],
        np.array([[1, 2], [3, 4]]),
        ((1.0, 2.0), (3.0, 4.0)),
        iter([[1.0, 2.0], [3.0, 4.0]]),
    ],
    ids=["lists", "arrays", "small types", "one array", "tuples", "iterator"],
)
def test_every_usual_form_of_answer_is_understood(answer: Any) -> None:
    """Lists, arrays, one array, tuples, iterators: all become one float32 array."""
    assert answering(answer).embed(["a", "b"]).tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "returned a NoneType for texts 0 to 2"),
        (7, "returned a int"),
        ([[1.0]], "returned 1 vectors for the 2 texts of one batch"),
        ([[1.0]] * 4, "returned 4 vectors"),
        ([[1.0], [float("nan")]], "text 2 holds a value that is not a finite number"),
        ([[1.0], [float("inf")]], "text 2 holds a value that is not a finite"),
        ([[1.0], [1e300]], "text 2 holds a value that is not a finite"),
        ([[1.0, 2.0], [1.0]], "text 2 has 1 dimensions, earlier ones 2"),
        ([[1.0], []], r"text 2 has the shape \(0,\)"),
        ([[1.0], [[1.0]]], r"text 2 has the shape \(1, 1\)"),
        ([[1.0], 1.0], r"text 2 has the shape \(\)"),
        ([[1.0], None], r"text 2 has the shape \(\)"),
        ([[1.0], ["x"]], "text 2 holds <U1 values"),
        ([[1.0], [None]], "text 2 holds object values"),
        ([[1.0], [True]], "text 2 holds bool values"),
        ([[1.0], [[1.0], [1.0, 2.0]]], "text 2 is not a vector"),
        ({"a": [1.0], "b": [2.0]}, "text 0 has the shape"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused_and_named(answer: Any, complaint: str) -> None:
    """The error says which text of the call had no proper vector, and why."""
    texts = ["same", "same", "other"]  # two distinct: their first indices are 0 and 2
    with pytest.raises(EmbeddingError, match=complaint):
        answering(answer).embed(texts)


def test_the_dimension_may_not_change_between_calls() -> None:
    """A model that is swapped behind our back is noticed at its first vector."""
    answers = iter([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]])
    embedder = make_embedder(lambda texts: next(answers))
    embedder.embed(["a"])
    with pytest.raises(EmbeddingError, match="text 0 has 3 dimensions, earlier ones 2"):
        embedder.embed(["b"])


def test_a_failure_is_wrapped_with_its_cause() -> None:
    """What the function raised is the cause of our error, and its message is in ours."""

    def fail(texts: list[str]) -> Any:
        raise ConnectionError("no route")

    with pytest.raises(EmbeddingError, match="ConnectionError: no route") as caught:
        make_embedder(fail).embed(["a"])
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_ctrl_c_passes() -> None:
    """An interrupt is the user's, not the function's failure."""

    def interrupted(texts: list[str]) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_embedder(interrupted).embed(["a"])


def test_a_function_may_do_what_it_likes_with_its_list() -> None:
    """Texts that a function pops from its list are still the texts that were asked for."""

    def consuming(texts: list[str]) -> list[list[float]]:
        vectors = []
        while texts:
            vectors.append([float(len(texts.pop(0)))])
        return vectors

    assert make_embedder(consuming).embed(["a", "bb"]).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("function", [Recorder(), lambda texts: [[1.0, 2.0] for _ in texts]])
def test_a_plain_callable_can_open_a_collection_and_query_it(function: Any, tmp_path: Path) -> None:
    """Chroma refuses a lambda and trips over a bare object: `function` is fit for it."""
    usable = make_embedder(function).function
    client = chromadb.PersistentClient(tmp_path, chromadb.Settings(anonymized_telemetry=False))
    name = "plain-callable"
    try:
        collection = client.create_collection(name, embedding_function=usable)
        collection.upsert(ids=["1"], documents=["x"], embeddings=[[1.0, 2.0]])
        reopened = client.get_collection(name, embedding_function=usable)
        assert reopened.query(query_texts=["x"])["ids"] == [["1"]]
    finally:
        client.close()  # type: ignore[attr-defined]
