"""The default model, all-MiniLM-L6-v2: the same vectors as Chroma's own function, for less work.

On onnxruntime they are equal to 1e-7 on the same weights, for a third of the work: texts are sorted
by length and padded to the longest of a small run, where Chroma pads each to 256 tokens. With the
extra ``fast`` and enough texts it goes on with OpenVINO, see fast.py for how close that is.

How close are the packaged int8 weights (see weights.py) to fp32? Cosine 0.9989 to 0.9996 for real
text, 0.9983 for a lone word, 0.996 for an empty text. Only the weights are int8 there; the runtime
unpacks them when it loads them and computes in floats, so a vector does not depend on the texts
that it is computed with (measured: differences below 1e-6, none at all with OpenVINO).
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from reposync.embed import fast
from reposync.embed.cores import usable_cores
from reposync.embed.ort import OnnxRuntime
from reposync.embed.runs import Runtime, compute
from reposync.embed.weights import find_weights
from reposync.errors import EmbeddingError, ModelUnavailable
from reposync.tokens import TokenCounter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# Tokens of a text that the model sees, [CLS] and [SEP] included; as in Chroma's function.
MAX_TOKENS = 256

# Each takes about 20 MB; a batch of 128 texts makes 40 runs.
_MAX_WORKERS = 16


class MiniLM:
    """The model's tokenizer and runtime, loaded at the first text and dropped with the object.

    May be shared by threads, but not with a process forked later, where its threads are missing.
    """

    def __init__(self) -> None:
        self._choosing = threading.Lock()
        self._runtime: Runtime | None = None
        self._wanted = 0
        self._settled = False

    def embed(self, texts: Collection[str]) -> NDArray[np.float32]:
        """The vectors of `texts`: float32 of shape (len(texts), 384), each of length 1.

        Of a text with more than MAX_TOKENS tokens only the first count.
        Raises ModelUnavailable without weights, EmbeddingError when the model fails.
        """
        try:
            return compute(self._choose(len(texts)), self._tokens(texts))
        except ModelUnavailable:
            raise
        except Exception as error:
            raise EmbeddingError(
                f"The default model failed on {len(texts)} texts: {type(error).__name__}: {error}"
            ) from error

    def _choose(self, count: int) -> Runtime:
        """What computes the next `count` texts: OpenVINO once so many were wanted that it pays."""
        with self._choosing:
            self._wanted += count
            if self._wanted >= fast.PAYS_FROM and not self._settled and fast.is_possible():
                samples = self._tokens(fast.SAMPLES)
                expected = compute(self._runtime or self._onnxruntime(), samples)
                self._runtime = None  # so that two copies of the model are not in memory at once
                self._runtime = fast.load(self._weights, self._workers, samples, expected)
            self._settled = self._wanted >= fast.PAYS_FROM
            if self._runtime is None:
                self._runtime = self._onnxruntime()
            return self._runtime

    def _onnxruntime(self) -> Runtime:
        return OnnxRuntime(self._weights, self._workers)

    @cached_property
    def _weights(self) -> Path:
        return find_weights()

    @cached_property
    def _workers(self) -> int:
        return min(usable_cores(), _MAX_WORKERS)

    def _tokens(self, texts: Iterable[str]) -> list[list[int]]:
        # One by one: `encode_batch` leaves a pool of threads in the process, and what it would
        # gain (0.1 ms a text) is a hundredth of what the model takes.
        return [self._tokenizer.encode(text).ids for text in texts]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = TokenCounter().tokenizer
        tokenizer.enable_truncation(max_length=MAX_TOKENS)
        return tokenizer
