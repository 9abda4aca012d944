"""Who a model is: the name and fingerprint that its vectors are filed under.

Two functions with one fingerprint are taken to give the same vectors, so the fingerprint must
change with the model and must not change with an API key, a device or a time limit: that would
embed a whole repository again for nothing.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from reposync.errors import ConfigError
from reposync.words import encodable


@dataclass(frozen=True)
class ModelIdentity:
    """name: for people; fingerprint: what vectors are filed under; dimension: None if unknown."""

    name: str
    fingerprint: str
    dimension: int | None


# One model, whatever its weights' precision and what computes it: the vectors are interchangeable
# (minilm.py and fast.py say how close they are), and weights or a runtime that are installed later
# must not re-embed everything.
DEFAULT = ModelIdentity("all-MiniLM-L6-v2", "all-MiniLM-L6-v2:384", 384)

# The names under which Chroma persists this same model.
_CHROMA_DEFAULTS = {"default", "onnx_mini_lm_l6_v2"}
# Providers that run on the processor, where our own runner is faster. Chroma's function fills in
# all that are available once it is used, so their mere presence is not a wish of the caller's.
_CPU_PROVIDERS = {"CPUExecutionProvider", "AzureExecutionProvider", "CoreMLExecutionProvider"}

# What a configuration may hold that leaves the vectors of documents as they are: who pays, where
# and how it is computed, how queries are embedded. Addresses (`url`, `api_base`) stay in: behind
# another address may be another model.
_IRRELEVANT = {
    *("account_id", "gateway_id", "organization_id", "project", "project_id"),
    *("location", "region", "session_args", "note"),
    *("preferred_providers", "device", "device_ids", "cuda", "threads", "num_threads"),
    *("cache_dir", "cache_folder", "lazy_load", "local_files_only"),
    *("batch_size", "show_progress", "show_progress_bar", "max_retries", "query_config"),
}
_SECRET_OR_TRANSPORT = re.compile(
    r"api_?key|secret|passw|credential|auth|headers?$|(^|_)token$|timeout|prox(y|ies)$",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


def check_callable(function: Any | None) -> Callable[[list[str]], Any] | None:
    """`function` as it is; ConfigError if it cannot be an embedding function."""
    if function is None:
        return None
    if inspect.isclass(function):
        raise ConfigError(
            f"embedding_function is the class {function.__name__}, not an instance of it: "
            f"pass {function.__name__}(...)."
        )
    if not callable(function):
        raise ConfigError(
            f"embedding_function is a {type(function).__name__}, which cannot be called: pass a "
            "chromadb EmbeddingFunction, or None for the default model."
        )
    return function  # type: ignore[no-any-return]  # any callable; its answers are checked


def identify(function: Any | None, model_id: str | None = None) -> ModelIdentity:
    """The identity of `function` (None: the default model), or of `model_id` where one is given.

    Computed from what the function says of itself; nothing is embedded and nothing imported.
    """
    known = DEFAULT if function is None or _is_chromas_default(function) else None
    if model_id is not None:
        if not model_id.strip():
            raise ConfigError("model_id is empty: give the model a name, or leave model_id out.")
        if encodable(model_id) != model_id:
            raise ConfigError(f"model_id={model_id!r} is not UTF-8. Give the model another name.")
        return ModelIdentity(model_id, model_id, known.dimension if known else None)
    return known or _describe(function)


def is_default_model(function: Any | None) -> bool:
    """Whether our own runner computes what `function` would: the default model on the processor."""
    if function is None:
        return True
    if not _is_chromas_default(function):
        return False
    providers = (_config(function) or {}).get("preferred_providers") or ()
    return set(providers) <= _CPU_PROVIDERS


def _is_chromas_default(function: Any) -> bool:
    # A subclass of Chroma's class may compute anything, so the class itself has to be Chroma's.
    return type(function).__module__.startswith("chromadb.") and _name(function) in _CHROMA_DEFAULTS


def _describe(function: Any) -> ModelIdentity:
    """Name and fingerprint of a foreign function, from its name and configuration."""
    own_name, config = _name(function), _config(function)
    relevant = _relevant(config)
    facts: list[Any] = [own_name, relevant]
    if own_name is None or config is None:
        facts.append(_qualified_name(function))
    if isinstance(function, partial):
        facts += [_relevant(function.args), _relevant(function.keywords)]

    name = own_name or _qualified_name(function)
    model = _model_name(relevant)
    if model:
        name = f"{name}/{model}"
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return ModelIdentity(name, f"{name}:{digest[:12]}", None)


def _name(function: Any) -> str | None:
    answer = _ask(function, "name")
    return answer if isinstance(answer, str) and answer else None


def _config(function: Any) -> Mapping[str, Any] | None:
    answer = _ask(function, "get_config")
    return answer if isinstance(answer, Mapping) else None


def _ask(function: Any, method_name: str) -> Any:
    """What the method says, or None where the function has none: older ones, plain callables.

    Only its absence is forgiven. A method that fails now and answers tomorrow would change the
    fingerprint, and with it embed everything again.
    """
    method = getattr(function, method_name, None)
    if not callable(method):
        return None
    try:
        return method()
    except (NotImplementedError, Warning):  # Chroma's protocol warns that a method is missing
        return None


def _model_name(config: Any) -> str | None:
    for key in ("model_name", "model"):
        if isinstance(config, dict) and isinstance(config.get(key), str):
            return str(config[key])
    return None


def _qualified_name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _relevant(value: Any) -> Any:
    """`value` as plain JSON, the same in every process, without what leaves vectors as they are."""
    if isinstance(value, Mapping):
        return {str(key): _relevant(item) for key, item in value.items() if _matters(str(key))}
    if isinstance(value, (list, tuple)):
        return [_relevant(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_relevant(item), sort_keys=True) for item in value)
    if isinstance(value, str):
        return _URL_LOGIN.sub("", value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # An object's repr often holds its address, which differs in each process.
    return _qualified_name(value)


def _matters(key: str) -> bool:
    return key.lower() not in _IRRELEVANT and not _SECRET_OR_TRANSPORT.search(key)
