"""What a worker of an executor is sent, and does with it: texts in, vectors out.

It goes as bytes that are pickled once a sync, so that a task is small and a function that cannot be
pickled is found out before anything is sent. What they stand for is loaded once a worker process.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from reposync.embed.checked import CheckedFunction
from reposync.embed.minilm import MiniLM
from reposync.errors import ConfigError, EmbeddingError, ModelUnavailable
from reposync.retry import Fault, fault_of, retry_after

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Compute = Callable[[dict[str, int]], NDArray[np.float32]]

MAX_BYTES = 1024**2
"""It goes with each batch; what is larger has a model in it, which a worker should load itself."""

_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there are no vectors; the error itself may not survive the way to another process.

    Attributes:
        message: of the `EmbeddingError`.
        cause: the name of what led to it.
        fault: what kind of fault that was.
        pause: for how many seconds a service asked to be left alone.
        no_model: the default model has no weights there.
    """

    message: str
    cause: str
    fault: Fault
    pause: float = 0.0
    no_model: bool = False


def embed_texts(
    recipe: bytes | Compute, texts: Sequence[str], number: int
) -> NDArray[np.float32] | Refusal:
    """The task: the vectors of `texts`, all different, or why there are none.

    Args:
        recipe: what `recipe_for` gave, or, within the process, what it would load.
        texts: of one batch.
        number: tells tasks apart; Dask would take two with the same arguments for one.
    """
    try:
        compute = _load(recipe) if isinstance(recipe, bytes) else recipe
        return compute({text: index for index, text in enumerate(texts)})
    except EmbeddingError as error:
        cause = error.__cause__ or error
        return Refusal(
            str(error),
            type(cause).__name__,
            fault_of(cause),
            retry_after(cause),
            isinstance(error, ModelUnavailable),
        )


def computing(function: Any | None, name: str) -> Compute:
    """What embeds with `function`, in whatever thread; None: the default model."""
    if function is None:
        return MiniLM().embed

    def compute(texts: dict[str, int]) -> NDArray[np.float32]:
        return CheckedFunction(function, name=name, batch_size=max(1, len(texts))).embed(texts)

    return compute


def recipe_for(function: Any | None, name: str) -> bytes:
    """`computing` as bytes, for another process, which may be on another machine.

    A function of a notebook or a lambda takes cloudpickle, which comes with Dask. One of
    Chroma's that cannot be pickled, or holds its model, is made anew from its configuration.

    Raises:
        ConfigError: there is no way to send it.
    """
    try:
        data = _dumps(partial(computing, function, name))
        why = f"it takes {len(data) >> 20} MiB" if len(data) > MAX_BYTES else ""
    except Exception as error:  # noqa: BLE001 - anybody's __reduce__ may raise anything
        data, why = b"", f"{type(error).__name__}: {error}"
    if not why:
        return data
    if type(function).__module__.startswith("chromadb."):
        return _dumps(partial(_rebuilt, type(function), function.get_config(), name))  # type: ignore[union-attr]  # None can be pickled
    raise ConfigError(
        f"The embedding function {name} cannot be sent to the workers of SyncConfig.executor"
        f" ({why}). Pass one that loads its model, and makes its client, at its first call; for"
        " one of a notebook or a lambda, install cloudpickle; or use a ThreadPoolExecutor."
    )


def _dumps(value: object) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value)
    return bytes(cloudpickle.dumps(value))


def _rebuilt(kind: Any, config: dict[str, Any], name: str) -> Compute:
    return computing(kind.build_from_config(config), name)


def _load(recipe: bytes) -> Compute:
    with _loading:  # by one thread; the others of a worker find it
        return _loaded(recipe)


@lru_cache(maxsize=2)
def _loaded(recipe: bytes) -> Compute:
    try:
        made: Compute = pickle.loads(recipe)()  # noqa: S301 - what our own process sent
    except Exception as error:
        raise EmbeddingError(
            f"A worker of SyncConfig.executor cannot load the embedding function"
            f" ({type(error).__name__}: {error}). Install what it needs where they run; if it"
            " stands in a notebook or the script that runs, install cloudpickle here and there."
        ) from error
    return made
