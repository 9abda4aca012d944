"""What is searched for, checked; and its vector, by the model of what it is compared with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args
from weakref import WeakKeyDictionary

from reposync.config import SyncConfig
from reposync.embed import Embedder, make_embedder
from reposync.embed.checked import CheckedFunction
from reposync.embed.identity import check_callable, identify, is_default_model
from reposync.errors import ConfigError
from reposync.search.hits import Mode
from reposync.search.paths import check_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_RESULTS = 1_000_000_000
"""More than any index has, and less than what SQLite can count to."""

# The default model takes a fifth of a second to load: it stays loaded for as long as the host keeps
# the function that it passed.
_loaded: WeakKeyDictionary[object, Embedder] = WeakKeyDictionary()


@dataclass(frozen=True)
class Query:
    """What the caller of `search_repository` asked for, see there.

    Attributes:
        model: fingerprint of the model that embeds the query; None if none does.
    """

    text: str
    mode: Mode
    count: int
    path: str | None
    language: str | None
    function: Any
    model: str | None

    def vector(self) -> NDArray[np.float32]:
        """The query's vector, shape (dimension,); raises `EmbeddingError`."""
        if is_default_model(self.function):
            vectors = _default_model(self.function).embed([self.text])
        else:
            # Models that tell questions from documents embed the former in a way of their own.
            function = getattr(self.function, "embed_query", self.function)
            name = self.model or "for the query"
            vectors = CheckedFunction(function, name=name).embed({self.text: 0})
        return cast("NDArray[np.float32]", vectors[0])


def _default_model(function: object | None) -> Embedder:
    if function is None:
        return make_embedder(None)
    if function not in _loaded:
        # Not the function itself: what is kept would keep its own key alive.
        _loaded[function] = make_embedder(None)
    return _loaded[function]


def make_query(
    text: str,
    mode: Mode,
    count: int,
    path: str | os.PathLike[str] | None,
    language: str | None,
    function: object,
    config: SyncConfig,
) -> Query:
    """Check what the caller passed; raises `ConfigError`."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"query={text!r} says nothing. Pass words to search for.")
    if mode not in get_args(Mode):
        raise ConfigError(f"mode={mode!r} is none. Pass 'hybrid', 'dense' or 'lexical'.")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError(f"n_results={count!r} is no number of hits. Pass 1 or more.")
    if language is not None and (not isinstance(language, str) or not language.strip()):
        raise ConfigError(f"language={language!r} is no language. Pass one such as 'python'.")
    called = check_callable(function)
    return Query(
        text=_whole(text),
        mode=mode,
        count=min(count, MOST_RESULTS),
        path=None if path is None else check_path(path) or None,
        language=None if language is None else _whole(language).strip().lower(),
        function=called,
        model=None if mode == "lexical" else identify(called, config.model_id).fingerprint,
    )


def _whole(text: str) -> str:
    """Half of a pair of surrogates is no text: no model takes it, no SQLite, and no JSON."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
