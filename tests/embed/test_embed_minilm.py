"""The default model gives the vectors that the model's authors and Chroma mean by its name."""

from __future__ import annotations

import gc
import json
import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chromas import chromas_function

from reposync.embed import Embedder, fast, weights
from reposync.embed.identity import DEFAULT
from reposync.embed.minilm import MiniLM
from reposync.embed.ort import OnnxRuntime
from reposync.errors import EmbeddingError
from reposync.tokens import TokenCounter

if TYPE_CHECKING:
    from collections.abc import Iterator

# Made with the fp32 weights and a float64 implementation of BERT that shares no code with ours.
CASES = json.loads((Path(__file__).parent / "data/minilm_fp32.json").read_text("utf-8"))["cases"]
TEXTS = [case["text"] for case in CASES]

RUNTIMES = {
    "onnxruntime": OnnxRuntime,
    **({"openvino": fast.OpenVino} if find_spec("openvino") else {}),
}
"""All that are installed: the extra `dev` has both, where there is a wheel of OpenVINO."""


@contextmanager
def _running_on(name: str) -> Iterator[MiniLM]:
    """The default model on that runtime, whatever the processor and the number of texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "has_amx", lambda: name == "openvino")
        patch.setattr(fast, "PAYS_FROM", 1)
        model = MiniLM()
        model.embed(["loads"])
        assert type(model._runtime) is RUNTIMES[name]
        yield model


@pytest.fixture(scope="module", autouse=True)
def _empty_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use the packaged int8 weights, whatever the developer's home holds."""
    with pytest.MonkeyPatch.context() as patch:
        home = str(tmp_path_factory.mktemp("home"))
        patch.setenv("HOME", home)
        patch.setenv("USERPROFILE", home)
        yield


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def embedder(runtime: str) -> Iterator[Embedder]:
    with _running_on(runtime) as model:
        yield Embedder(DEFAULT, None, model.embed)


@pytest.fixture(scope="module")
def vectors(embedder: Embedder) -> Any:
    return embedder.embed(TEXTS)


@pytest.fixture(scope="module")
def chromas(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What Chroma's own function says, with the same weights."""
    folder = tmp_path_factory.mktemp("chroma")
    return np.array(chromas_function(weights.find_weights(), folder)(TEXTS))


def test_vectors_are_float32_of_length_one(vectors: Any) -> None:
    """Shape, type and length are what a cosine index expects."""
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda i: ascii(TEXTS[i][:20]))
def test_int8_weights_stay_close_to_fp32(vectors: Any, index: int) -> None:
    """Packaged weights search as the full-precision ones do: cosine at least 0.998 for any word."""
    wordless = TEXTS[index].strip() in ("", ".")  # little to average over: 0.996
    cosine = float(vectors[index] @ np.array(CASES[index]["vector"]))
    assert cosine >= (0.995 if wordless else 0.998)


def test_equals_chromas_own_function_on_the_same_weights(
    runtime: str, vectors: Any, chromas: Any
) -> None:
    """A host's `collection.query(query_texts=...)` meets the same vectors: to five digits with
    onnxruntime, with OpenVINO at a cosine of 0.9999."""
    if runtime == "onnxruntime":
        np.testing.assert_allclose(vectors, chromas, atol=1e-5)
    assert (vectors * chromas).sum(axis=1).min() >= 0.9999


def test_a_vector_depends_on_its_text_alone(embedder: Embedder, vectors: Any) -> None:
    """Alone, in any order or among others: a text has one vector, so caching it is right."""
    np.testing.assert_allclose(embedder.embed(TEXTS[::-1])[::-1], vectors, atol=1e-6)
    np.testing.assert_allclose(embedder.embed([TEXTS[4]])[0], vectors[4], atol=1e-6)


def test_only_the_first_256_tokens_count(embedder: Embedder) -> None:
    """Longer texts are cut by the model, 254 tokens between [CLS] and [SEP], as Chroma does it."""
    same, longer = embedder.embed(["word " * 254, "word " * 254 + "something else entirely"])
    np.testing.assert_array_equal(same, longer)
    shorter = embedder.embed(["word " * 253])[0]
    assert np.abs(shorter - same).max() > 1e-4


def test_equal_texts_and_no_texts(embedder: Embedder) -> None:
    """Each text gets its vector in its place, and no text is an empty array of the right width."""
    a, b, again = embedder.embed(["red", "green", "red"])
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 0.01
    assert embedder.embed([]).shape == (0, 384)


def test_meaning_is_found(embedder: Embedder) -> None:
    """The nearest text to a question is the one that answers it."""
    texts = ["How to bake bread at home", "def connect(host, port): open a socket", "Tax law"]
    query = embedder.embed(["network connection code"])[0]
    assert int(np.argmax(embedder.embed(texts) @ query)) == 1


def test_the_tokenizer_is_that_of_bert_base_uncased() -> None:
    """Known texts have the token ids of the model's own tokenizer.json."""
    known = {
        "hello world": [101, 7592, 2088, 102],
        "[MASK] and [SEP]": [101, 103, 1998, 102, 102],
        "Élan naïve Ångström": [101, 3449, 2319, 15743, 17076, 15687, 102],
        "東京 tower": [101, 1879, 1755, 3578, 102],
        "w" * 300: [101, 100, 102],
        "a\x00b\x07c\u200bd\u00ade\tf\r\ng": [101, 5925, 3207, 1042, 1043, 102],
        "unaffable != un-affable": [
            *(101, 14477, 20961, 3468, 999, 1027, 4895, 1011, 21358, 7011, 3468, 102),
        ],
        "snake_case(x)->y": [101, 7488, 1035, 2553, 1006, 1060, 1007, 1011, 1028, 1061, 102],
        "": [101, 102],
        "\ufffd🚀": [101, 100, 102],
        "İstanbul ﬁ ½": [101, 9960, 1984, 1092, 102],
    }
    tokenizer = TokenCounter().tokenizer
    assert {text: tokenizer.encode(text).ids for text in known} == known
    assert [min(len(tokenizer.encode(text)), 256) for text in TEXTS] == [
        case["tokens"] for case in CASES
    ]


def test_a_text_that_the_tokenizer_refuses_is_our_error(embedder: Embedder) -> None:
    """A lone surrogate, which no UTF-8 can hold, is an EmbeddingError with its cause."""
    with pytest.raises(EmbeddingError) as caught:
        embedder.embed(["broken \ud800 text"])
    assert caught.value.__cause__ is not None


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads through /proc")
def test_no_thread_outlives_the_embedder(runtime: str, vectors: Any) -> None:
    """The runtime's threads end with the object that made them; tokenising leaves none."""
    before = len(os.listdir("/proc/self/task"))
    with _running_on(runtime) as model:
        model.embed(TEXTS)
        del model
    gc.collect()
    assert len(os.listdir("/proc/self/task")) == before
