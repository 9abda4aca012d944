"""Has an executor's workers embed: some batches ahead, so that they need not wait for the store.

A batch is sent as one task, as it would be embedded here: so its vectors are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from itertools import count
from typing import TYPE_CHECKING, Any

from reposync.embed import WorkersLost
from reposync.embed.task import Refusal, computing, embed_texts, recipe_for
from reposync.errors import EmbeddingError, ModelUnavailable
from reposync.retry import LISTEN_SECONDS, Deadline, Fault, fault_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

# By name, so that nothing needs to be imported: Python's own (a killed process), Dask's, Ray's.
_LOST = frozenset(
    {
        "BrokenExecutor", "CancelledError", "KilledWorker", "CommClosedError",
        "FutureCancelledError", "WorkerCrashedError", "NodeDiedError", "RayActorError",
    }
)  # fmt: skip


class RemoteError(Exception):
    """Stands for an error that was raised elsewhere, under the same name; `retry` knows it."""

    def __init__(self, text: str, fault: Fault, retry_after: float) -> None:
        super().__init__(text)
        self.fault = fault
        self.retry_after = retry_after or None


def _double(name: str, text: str, fault: Fault, pause: float = 0.0) -> RemoteError:
    kind: type[RemoteError] = type(name, (RemoteError,), {})
    return kind(text, fault, pause)


class Workers:
    """An embedding function that computes on an executor. Used by one thread, for one sync.

    Args:
        executor: the caller's; it is never shut down.
        function: what embeds; None: the default model.
        name: the model's name.
        batch_size: how many texts a task has at most.
        before: called with the number of texts before each task is sent; it may wait.
        deadline: looked at while waiting.

    Raises:
        ConfigError: the function cannot be sent.
    """

    def __init__(
        self,
        executor: Executor,
        function: Any | None,
        name: str,
        *,
        batch_size: int,
        before: Callable[[int], None] | None,
        deadline: Deadline,
    ) -> None:
        self._executor = executor
        # Threads share what cannot be pickled: a client's connections, a model that is loaded.
        local = isinstance(executor, ThreadPoolExecutor)
        self._recipe = computing(function, name) if local else recipe_for(function, name)
        self._batch_size = batch_size
        self._before = before
        self._deadline = deadline
        self._numbers = count()
        self._sent: dict[str, tuple[Future[Any], int]] = {}
        self._sizes: dict[Future[Any], int] = {}

    @property
    def under_way(self) -> int:
        """How many texts were sent and not fetched yet."""
        return len(self._sent)

    def send(self, texts: Iterable[str], most: int | None = None) -> None:
        """Have texts embedded that are not under way yet, the first `most` of them.

        Raises:
            WorkersLost: the executor takes no more tasks.
        """
        fresh = [text for text in dict.fromkeys(texts) if text not in self._sent][:most]
        for begin in range(0, len(fresh), self._batch_size):
            part = fresh[begin : begin + self._batch_size]
            if self._before is not None:
                self._before(len(part))
            future = self._submit(part)
            self._sizes[future] = len(part)
            self._sent.update((text, (future, index)) for index, text in enumerate(part))

    def __call__(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of `texts`: waits for those under way, sends the others first.

        Raises:
            EmbeddingError: the function failed there, or the answer is none; what failed is not
                under way any more, so that another call sends it again, to whichever worker is
                free. `WorkersLost` if it is the executor that failed.
            DeadlineExceeded, Cancelled: as of the deadline.
        """
        self.send(texts)
        vectors = [self._vector(text) for text in texts]
        for text in texts:
            self._sent.pop(text, None)
        self._let_go()
        return vectors

    def reclaim(self, texts: Iterable[str]) -> dict[str, Vector]:
        """Give up those of `texts` that nobody asked for; the vectors of those that are done."""
        wanted = {text: self._sent.pop(text) for text in texts if text in self._sent}
        # One that was cancelled may never say so (Dask's, if it ended just then): not waited for.
        wait({future for future, _ in wanted.values() if not future.cancel()})
        found = {}
        for text, (future, index) in wanted.items():
            answer = None if future.cancelled() or future.exception() else future.result()
            if (vectors := _vectors(answer, self._sizes[future])) is not None:
                found[text] = vectors[index]
        self._let_go()
        return found

    def close(self) -> dict[str, Vector]:
        """End all that is under way, and wait for its end: what cannot be cancelled is finished."""
        return self.reclaim(list(self._sent))

    # -- one task --------------------------------------------------------------------------------

    def _submit(self, texts: list[str]) -> Future[Any]:
        try:
            return self._executor.submit(embed_texts, self._recipe, texts, next(self._numbers))
        except Exception as error:  # noqa: BLE001 - anybody's executor may raise anything
            raise WorkersLost(
                f"SyncConfig.executor takes no more texts ({type(error).__name__}: {error}). Pass"
                " one that works, and sync again: what was written is kept."
            ) from _double(type(error).__name__, str(error), Fault.OTHER)

    def _vector(self, text: str) -> Vector:
        future, index = self._sent[text]
        try:
            vector: Vector = self._answer(future)[index]
        except EmbeddingError:
            self._sent = {text: (f, i) for text, (f, i) in self._sent.items() if f is not future}
            self._let_go()
            raise
        return vector

    def _answer(self, future: Future[Any]) -> NDArray[np.float32]:
        while not wait((future,), timeout=LISTEN_SECONDS).done:
            self._deadline.check()
        error = CancelledError() if future.cancelled() else future.exception()
        if isinstance(error, Exception):
            raise _lost(error) from _double(type(error).__name__, str(error), _fault(error))
        answer = future.result()  # raises what is no Exception, such as a Ctrl-C there
        if isinstance(answer, Refusal):
            raise _refused(answer)
        vectors = _vectors(answer, self._sizes[future])
        if vectors is None:
            raise EmbeddingError(
                f"A worker of SyncConfig.executor answered with a {type(answer).__name__} for"
                f" {self._sizes[future]} texts; expected so many vectors. Does it run the same"
                " version of reposync?"
            )
        return vectors

    def _let_go(self) -> None:
        used = {future for future, _ in self._sent.values()}
        self._sizes = {future: size for future, size in self._sizes.items() if future in used}


def _vectors(answer: Any, count: int) -> NDArray[np.float32] | None:
    """An answer, if it is as many vectors; each of them is checked where all vectors are."""
    shape: tuple[int, ...] = getattr(answer, "shape", ())
    return answer if len(shape) == 2 and shape[0] == count else None


def _refused(refusal: Refusal) -> EmbeddingError:
    kind = ModelUnavailable if refusal.no_model else EmbeddingError
    error = kind(refusal.message)
    error.__cause__ = _double(refusal.cause, refusal.message, refusal.fault, refusal.pause)
    return error


def _fault(error: BaseException) -> Fault:
    """A worker that was lost is none for the next try; what cannot be loaded there never can."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return Fault.TRANSIENT if names & _LOST else fault_of(error)


def _lost(error: BaseException) -> WorkersLost:
    return WorkersLost(
        f"A worker of SyncConfig.executor was lost, or could not do its task"
        f" ({type(error).__name__}: {error}). Look into its log: it may have been short of memory,"
        " or have another version of reposync. Then sync again: what was written is kept."
    )
