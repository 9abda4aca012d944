"""Texts to vectors: the default model, or any embedding function of Chroma, behind one doorway.

Importing this package, and asking an embedder who it is, imports neither a model nor a runtime: a
sync that finds nothing to do needs the identity and no vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reposync.embed.identity import ModelIdentity, check_callable, identify, is_default_model
from reposync.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

    from reposync.embed.minilm import MiniLM
    from reposync.embed.workers import Workers
    from reposync.retry import Deadline

__all__ = ["Embedder", "ModelIdentity", "WorkersLost", "make_embedder"]


class WorkersLost(EmbeddingError):
    """No text is at fault: the executor lost its workers, or takes no more tasks."""


class Embedder:
    """One model: who it is, and the vectors it gives.

    identity: what vectors are filed under; computing it embeds nothing and loads nothing.
    function: the embedding function to open a Chroma collection with: what the caller gave, in
        Chroma's shape if it was a plain callable; None for the default model, which is also
        Chroma's own default.
    workers: what computes elsewhere, and can be sent texts ahead; None: it is computed here.

    What is loaded for embedding (weights, session, tokenizer) is loaded at the first text, belongs
    to this object and goes with it.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        function: Any | None,
        compute: Callable[[dict[str, int]], NDArray[np.float32]],
        workers: Workers | None = None,
    ) -> None:
        self.identity = identity
        self.function = function
        self.workers = workers
        self._compute = compute
        self._dimension = identity.dimension or 0

    @property
    def dimension(self) -> int | None:
        """How long the vectors are; None until one of an unknown model was seen."""
        return self._dimension or None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `texts`, in their order: float32 of shape (len(texts), dimension).

        Equal texts are embedded once. No texts: shape (0, dimension), with dimension 0 as long as
        it is unknown. The default model looks at the first 256 tokens of a text only, [CLS] and
        [SEP] included: keeping texts shorter is the chunker's business.

        Raises EmbeddingError when the function fails or its answer is not n vectors of one
        dimension and finite numbers, ModelUnavailable when the default model has no weights.
        """
        import numpy as np

        first: dict[str, int] = {}
        for index, text in enumerate(texts):
            first.setdefault(text, index)
        if not first:
            return np.zeros((0, self._dimension), dtype=np.float32)

        vectors = self._compute(first)
        self._dimension = vectors.shape[1]
        if len(first) == len(texts):
            return vectors
        row = {text: number for number, text in enumerate(first)}
        return vectors[[row[text] for text in texts]]


def make_embedder(
    embedding_function: Any | None,
    *,
    model_id: str | None = None,
    batch_size: int = 128,
    throttle: Callable[[int], None] | None = None,
    executor: Executor | None = None,
    deadline: Deadline | None = None,
    model: MiniLM | None = None,
) -> Embedder:
    """The embedder for what the caller passed as `embedding_function`.

    embedding_function: None for the default model (all-MiniLM-L6-v2, 384 dimensions), or any
        chromadb EmbeddingFunction, or a callable that takes a list of str and returns their
        vectors.
    model_id: the name and fingerprint to file vectors under, in place of those worked out from the
        function. Needed when the function cannot say by itself which model is behind it, and
        useful to keep vectors when only its configuration's wording changed.
    batch_size: the most texts that a foreign function gets in one call; default 128.
    throttle: called with the number of texts before each call of a foreign function; it may wait.

    executor: has its workers compute, in place of this process.
    deadline: for waiting for them.
    model: the default model, if it is loaded already.

    Raises ConfigError when `embedding_function` is a class or cannot be called, when `model_id` is
    empty, when `batch_size` is less than 1, or when the function cannot be sent to the workers.
    """
    function = check_callable(embedding_function)
    identity = identify(function, model_id)
    own = None if is_default_model(function) else function
    if own is None and executor is None:
        from reposync.embed.minilm import MiniLM

        return Embedder(identity, function, (model or MiniLM()).embed)

    from reposync.embed.adapter import as_chroma_function
    from reposync.embed.checked import CheckedFunction

    workers, call, before = None, own, throttle
    if executor is not None:
        from reposync.embed.workers import Workers
        from reposync.retry import Deadline

        deadline = deadline or Deadline(None)
        call = workers = Workers(
            executor, own, identity.name, batch_size=batch_size, before=throttle, deadline=deadline
        )
        before = None  # what waits is what is sent
    assert call is not None
    checked = CheckedFunction(call, name=identity.name, batch_size=batch_size, before=before)
    shaped = own and as_chroma_function(own, identity.name)
    return Embedder(identity, shaped or function, checked.embed, workers)
