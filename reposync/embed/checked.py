"""A foreign embedding function, called in batches and not trusted.

A vector that is missing, of another length or not a number would otherwise surface much later, as
a search that finds the wrong text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from reposync.errors import ConfigError, EmbeddingError, SyncError
from reposync.retry import Cancelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CheckedFunction:
    """Calls `function` with at most `batch_size` texts at a time and checks every answer.

    Remembers the dimension of the first vector; all others must have it, also in later calls.
    `before` is called with the number of texts before each call, and may wait.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Any],
        *,
        name: str,
        batch_size: int = 128,
        before: Callable[[int], None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: it must be at least 1.")
        self._function = function
        self._name = name
        self._batch_size = batch_size
        self._before = before
        self._dimension: int | None = None

    def embed(self, texts: dict[str, int]) -> NDArray[np.float32]:
        """One vector for each key of `texts`; its value is the index that an error speaks of.

        Returns float32 of shape (len(texts), dimension). Raises EmbeddingError.
        """
        import numpy as np

        remaining = iter(texts.items())
        vectors: list[NDArray[np.float32]] = []
        while batch := dict(islice(remaining, self._batch_size)):
            if self._before is not None:
                self._before(len(batch))
            answer = self._call(list(batch), list(batch.values()))
            for vector, index in zip(answer, batch.values(), strict=True):
                vectors.append(self._check(vector, index))
        return np.stack(vectors)

    def _call(self, texts: list[str], indices: list[int]) -> list[Any]:
        """The function's answer, as a list with one item for each text."""
        where = f"texts {indices[0]} to {indices[-1]}" if len(texts) > 1 else f"text {indices[0]}"
        count = len(texts)  # the list is the function's from here on
        try:
            answer = self._function(texts)
            vectors = list(answer) if isinstance(answer, Iterable) else None
        except (SyncError, Cancelled):  # of `Workers`, which asked another process
            raise
        except Exception as error:
            raise EmbeddingError(
                f"The embedding function {self._name} failed on {where}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if vectors is None:
            raise EmbeddingError(
                f"The embedding function {self._name} returned a {type(answer).__name__} for "
                f"{where}; expected a list of vectors."
            )
        if len(vectors) != count:
            raise EmbeddingError(
                f"The embedding function {self._name} returned {len(vectors)} vectors for the "
                f"{count} texts of one batch ({where})."
            )
        return vectors

    def _check(self, vector: Any, index: int) -> NDArray[np.float32]:
        """`vector` as float32 of shape (dimension,); raises EmbeddingError if it is not one."""
        import numpy as np

        try:
            array = np.asarray(vector)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._wrong(index, f"is not a vector ({error})") from error
        if array.ndim != 1 or array.size == 0:
            raise self._wrong(index, f"has the shape {array.shape}, not (dimension,)")
        if array.dtype.kind not in "fiu":
            raise self._wrong(index, f"holds {array.dtype} values, not numbers")
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite: refused below
            row = array.astype(np.float32)
        if not np.isfinite(row).all():
            raise self._wrong(index, "holds a value that is not a finite number")
        if self._dimension not in (None, row.size):
            raise self._wrong(index, f"has {row.size} dimensions, earlier ones {self._dimension}")
        self._dimension = row.size
        return row

    def _wrong(self, index: int, what: str) -> EmbeddingError:
        return EmbeddingError(
            f"The embedding function {self._name} answered wrongly: its vector for text {index} "
            f"{what}."
        )
