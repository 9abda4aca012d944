"""From tokens to vectors, whatever computes the model: cut into runs, spread over the cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

# The size of one run of the model, padding included. Measured with chunks of 152 tokens on average:
# half or twice as many cost the same within a tenth on either runtime, 2 048 a sixth more with
# onnxruntime, since they outgrow the processor's caches. Sorting more texts at once than a batch of
# 128 would gain nothing: of 100 tokens one is padding.
_RUN_TOKENS = 512
_RUN_TEXTS = 32
_DIMENSION = 384


class Runtime(Protocol):
    """Something that computes the model.

    multiple: texts are padded to a multiple of so many tokens.
    workers: how many runs it computes at once.
    """

    multiple: int
    workers: int

    def hidden(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The last hidden state, shape (texts, tokens, 384); called by several threads at once."""


def compute(runtime: Runtime, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """The vectors of texts given as token ids: shape (len(tokens), 384), each of length 1."""
    import numpy as np

    def run(members: list[int]) -> NDArray[np.float32]:
        return _run(runtime, [tokens[index] for index in members])

    vectors = np.empty((len(tokens), _DIMENSION), dtype=np.float32)
    runs = list(_runs([len(ids) for ids in tokens], runtime.multiple))
    workers = min(runtime.workers, len(runs))
    if workers < 2:
        for members in runs:
            vectors[members] = run(members)
        return vectors
    # One core a run, rather than all cores for each: threads that share a run wait for each other
    # at every layer, which took a fifth more CPU on either runtime.
    with ThreadPoolExecutor(workers, "reposync-embed") as pool:
        for members, rows in zip(runs, pool.map(run, runs), strict=True):
            vectors[members] = rows
    return vectors


def _runs(lengths: list[int], multiple: int = 1) -> Iterator[list[int]]:
    """Indices into `lengths` (in tokens), shortest first, in groups that make one run each."""
    members: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        width = _padded(lengths[index], multiple)
        if members and ((len(members) + 1) * width > _RUN_TOKENS or len(members) == _RUN_TEXTS):
            yield members
            members = []
        members.append(index)
    if members:
        yield members


def _padded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _run(runtime: Runtime, tokens: list[Sequence[int]]) -> NDArray[np.float32]:
    """One run of the model: mean over each text's tokens, scaled to length 1; shape (n, 384)."""
    import numpy as np

    lengths = np.array([len(ids) for ids in tokens])
    ids = np.zeros((len(tokens), _padded(int(lengths.max()), runtime.multiple)), dtype=np.int64)
    for row, own in zip(ids, tokens, strict=True):
        row[: len(own)] = own
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    hidden = runtime.hidden(ids, mask.astype(np.int64))
    sums = np.einsum("nth,nt->nh", hidden, mask.astype(np.float32))
    vectors = sums / lengths[:, None]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
