"""Who a model is: stable where vectors stay, different where they change."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from chromadb.api.types import DefaultEmbeddingFunction
from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer
from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

from reposync.embed import make_embedder
from reposync.errors import ConfigError


class Configured:
    """A function in Chroma's shape with any configuration."""

    def __init__(self, name: str = "acme", **config: Any) -> None:
        self._name, self._config = name, config

    def __call__(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def name(self) -> str:
        return self._name

    def get_config(self) -> dict[str, Any]:
        return self._config


class Bare:
    def __call__(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]


class Unimplemented(Bare):
    def name(self) -> str:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError


def scaled(texts: list[str], factor: float = 1.0) -> list[list[float]]:
    return [[factor] for _ in texts]


def fingerprint(function: Any) -> str:
    return make_embedder(function).identity.fingerprint


def test_importing_and_identifying_loads_nothing_heavy() -> None:
    """Neither the import nor the identity costs a runtime, a model or Chroma."""
    code = (
        "import sys; from reposync.embed import make_embedder;"
        "make_embedder(None).identity; make_embedder(lambda texts: []).identity;"
        "heavy = {'chromadb', 'onnxruntime', 'tokenizers', 'numpy'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_default_identity_is_frozen() -> None:
    """The default model's fingerprint is on disk in users' stores: it may never change."""
    identity = make_embedder(None).identity
    assert identity.name == "all-MiniLM-L6-v2"
    assert identity.fingerprint == "all-MiniLM-L6-v2:384"
    assert identity.dimension == 384


@pytest.mark.parametrize("function", [DefaultEmbeddingFunction(), ONNXMiniLM_L6_V2()])
def test_chromas_default_functions_are_the_default_model(function: Any) -> None:
    """Passing Chroma's own default by hand embeds nothing again."""
    embedder = make_embedder(function)
    assert embedder.identity == make_embedder(None).identity
    assert embedder.function is function


def test_a_stranger_that_calls_itself_default_is_not_the_default_model() -> None:
    """A name alone proves no model."""
    assert fingerprint(Configured("default")) != fingerprint(None)


def test_a_subclass_of_chromas_default_is_not_the_default_model() -> None:
    """Whoever overrides Chroma's function may compute anything."""

    class Doubled(ONNXMiniLM_L6_V2):
        def __call__(self, input: Any) -> Any:  # noqa: A002 - as in the class it overrides
            return [2 * vector for vector in super().__call__(input)]

    assert fingerprint(Doubled()) != fingerprint(None)


@pytest.mark.parametrize(
    "irrelevant",
    [
        {"api_key": "sk-1"},
        {"api_key_env_var": "OTHER_KEY"},
        {"openai_apikey": "sk-1"},
        {"default_headers": {"Authorization": "x"}},
        {"hf_token": "t"},
        {"password": "p"},
        {"preferred_providers": ["CUDAExecutionProvider"]},
        {"device": "cuda"},
        {"timeout": 60},
        {"request_timeout": 60},
        {"kwargs": {"device": "cuda", "api_key": "k"}},
    ],
    ids=str,
)
def test_what_leaves_vectors_alone_leaves_the_fingerprint_alone(irrelevant: dict[str, Any]) -> None:
    """A new key, device or time limit never embeds a repository again."""
    base = {"model_name": "m", "kwargs": {}}
    assert fingerprint(Configured(**base)) == fingerprint(Configured(**{**base, **irrelevant}))


@pytest.mark.parametrize(
    "relevant",
    [
        {"model_name": "other"},
        {"dimensions": 256},
        {"token_max_length": 40},
        {"url": "http://elsewhere"},
        {"normalize_embeddings": True},
        {"kwargs": {"revision": "v2"}},
    ],
    ids=str,
)
def test_what_changes_vectors_changes_the_fingerprint(relevant: dict[str, Any]) -> None:
    """Vectors of another model are never taken for this one's."""
    base = {"model_name": "m", "kwargs": {}}
    assert fingerprint(Configured(**base)) != fingerprint(Configured(**{**base, **relevant}))


def test_a_login_in_an_address_is_left_out() -> None:
    """A password that changes is not a model that changes."""
    assert fingerprint(Configured(url="http://me:old@host/v1")) == fingerprint(
        Configured(url="http://host/v1")
    )


def test_fingerprints_are_readable_and_frozen() -> None:
    """Fingerprints are on disk: the same function has the same one in every process and version."""
    assert fingerprint(Configured(model="m", dimensions=3)) == "acme/m:f8b4bb87209d"
    assert fingerprint(json.dumps) == "json.dumps:b2b7199c6b8d"


def test_objects_in_a_configuration_are_identified_by_their_class() -> None:
    """An object's address in memory, new in each process, stays out of the fingerprint."""
    assert fingerprint(Configured(client=object())) == fingerprint(Configured(client=object()))
    assert fingerprint(Configured(words={"b", "a"})) == fingerprint(Configured(words={"a", "b"}))


def test_a_real_chroma_function_is_known_by_its_address_and_not_by_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chroma's own classes are identified by what they report of themselves."""
    monkeypatch.setenv("KEY_A", "a")
    monkeypatch.setenv("KEY_B", "b")
    a, b, elsewhere = (
        HuggingFaceEmbeddingServer(url=f"http://{host}/embed", api_key_env_var=key)
        for host, key in (("one", "KEY_A"), ("one", "KEY_B"), ("two", "KEY_A"))
    )
    assert make_embedder(a).identity.name == "huggingface_server"
    assert make_embedder(a).function is a
    assert fingerprint(a) == fingerprint(b) != fingerprint(elsewhere)


@pytest.mark.parametrize("function", [Bare(), Unimplemented()])
def test_a_function_that_says_nothing_is_identified_by_its_class(function: Any) -> None:
    """Older and duck-typed functions work too."""
    identity = make_embedder(function).identity
    assert identity.name == f"{__name__}.{type(function).__name__}"
    assert identity.dimension is None


def test_functions_of_one_class_and_callables_of_other_names_differ() -> None:
    """Plain callables go by where they are defined, partial ones also by their arguments."""
    assert len({fingerprint(f) for f in (scaled, Bare(), partial(scaled, factor=2.0))}) == 3
    assert fingerprint(partial(scaled, factor=2.0)) == fingerprint(partial(scaled, factor=2.0))
    assert fingerprint(partial(scaled, factor=2.0)) != fingerprint(partial(scaled, factor=3.0))


@pytest.mark.parametrize(("function", "dimension"), [(None, 384), (scaled, None)])
def test_model_id_overrides_name_and_fingerprint(function: Any, dimension: int | None) -> None:
    """The caller has the last word on which vectors are the same."""
    identity = make_embedder(function, model_id="mine-v2").identity
    assert (identity.name, identity.fingerprint) == ("mine-v2", "mine-v2")
    assert identity.dimension == dimension


def test_a_failing_get_config_is_not_taken_for_a_missing_one() -> None:
    """A fingerprint never depends on whether something happened to work today."""

    class Flaky(Configured):
        def get_config(self) -> dict[str, Any]:
            raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        make_embedder(Flaky())


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"embedding_function": Bare}, r"pass Bare\(\.\.\.\)"),
        ({"embedding_function": "all-MiniLM-L6-v2"}, "None for the default model"),
        ({"embedding_function": scaled, "batch_size": 0}, "at least 1"),
        ({"embedding_function": None, "model_id": " "}, "leave model_id out"),
    ],
)
def test_a_callers_mistake_is_answered_with_what_to_do(
    arguments: dict[str, Any], advice: str
) -> None:
    """Wrong arguments fail before anything is embedded, and the message says what to pass."""
    with pytest.raises(ConfigError, match=advice):
        make_embedder(**arguments)
