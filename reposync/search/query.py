"""A query's vector, by the model of the documents that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from reposync.embed import make_embedder
from reposync.embed.checked import CheckedFunction
from reposync.embed.identity import check_callable, identify, is_default_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Query:
    """What is searched for, and who embeds it; `model` is the fingerprint of that model."""

    text: str
    function: Any
    model: str

    def vector(self) -> NDArray[np.float32]:
        """The query's vector, shape (dimension,); raises `EmbeddingError`."""
        if is_default_model(self.function):
            vectors = make_embedder(self.function).embed([self.text])
            return cast("NDArray[np.float32]", vectors[0])
        # Models that tell questions from documents have a way of their own to embed the former.
        function = getattr(self.function, "embed_query", self.function)
        vectors = CheckedFunction(function, name=self.model).embed({self.text: 0})
        return cast("NDArray[np.float32]", vectors[0])


def make_query(text: str, function: object, model_id: str | None) -> Query:
    """Check what the caller passed; raises `ConfigError`."""
    callable_ = check_callable(function)
    return Query(text, callable_, identify(callable_, model_id).fingerprint)
