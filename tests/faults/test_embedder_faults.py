"""Embedding functions that fail: what is tried again, whose fault it is, and what is paid twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support import Desk, HashEmbedding, counts

from reposync import DeadlineExceeded, EmbeddingError, EmbeddingMismatch
from reposync.vectors import _HARMLESS

from .conftest import some_slow

BATCHES = 3
"""Batches of the desk's 20 texts, 8 a batch."""


class APIError(Exception):
    """As the clients of openai, cohere and others raise it: with a status and a response."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"Error code: {status}")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers=httpx.Headers(named))


class RateLimitError(APIError):
    """openai's, by its name."""

    def __init__(self, **headers: str) -> None:
        super().__init__(429, **headers)


def status_error(status: int) -> httpx.HTTPStatusError:
    """What a function raises that calls ``raise_for_status()``."""
    request = httpx.Request("POST", "http://127.0.0.1/embed")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status))


TRANSIENT: dict[str, Callable[[], Exception]] = {
    "timeout": lambda: TimeoutError("timed out"),
    "httpx timeout": lambda: httpx.ReadTimeout("timed out"),
    "refused": lambda: ConnectionRefusedError(111, "Connection refused"),
    "reset": lambda: ConnectionResetError(104, "Connection reset by peer"),
    "cut off": lambda: httpx.RemoteProtocolError("Server disconnected"),
    "rate limit": RateLimitError,
    "rate limit with a pause": lambda: RateLimitError(retry_after="0.05"),
    "500": lambda: APIError(500),
    "503": lambda: status_error(503),
}
FOR_GOOD: dict[str, Callable[[], Exception]] = {
    "bad key": lambda: APIError(401),
    "no quota": lambda: APIError(403),
    "a bug": lambda: KeyError("vectors"),
    "not installed": lambda: ImportError("No module named 'torch'"),
}


class Faulty(HashEmbedding):
    """Raises what it is given, one after the other, and then answers.

    Attributes:
        errors: makers of what is raised; `None` in it lets one call pass.
        broken: raised for every call after `errors` are used up.
    """

    def __init__(self, *errors: Callable[[], Exception] | None) -> None:
        super().__init__()
        self.errors = list(errors)
        self.broken: Callable[[], Exception] | None = None

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        error = self.errors.pop(0) if self.errors else self.broken
        if error is not None:
            self.calls.append(len(input))
            raise error()
        return super().__call__(input)

    @property
    def most(self) -> int:
        """How often the text that was embedded most often was embedded."""
        return max(times for text, times in self.counts.items() if text != _HARMLESS)


def with_function(desk: Desk, *errors: Callable[[], Exception] | None) -> Faulty:
    """Give the desk a faulty function."""
    desk.embedding = function = Faulty(*errors)
    return function


@pytest.mark.parametrize("name", some_slow(TRANSIENT, "timeout", "rate limit", "503"))
def test_a_fault_that_passes_is_ridden_out(desk: Desk, name: str) -> None:
    """Two failures in a row cost two more calls, no file, and no text twice."""
    function = with_function(desk, TRANSIENT[name], TRANSIENT[name])
    result = desk.sync()
    assert (result.ok, counts(result)) == (True, {"added": 20})
    assert len(function.calls) == BATCHES + 2
    assert function.most == 1
    desk.check()


def test_a_pause_that_is_asked_for_is_kept(desk: Desk) -> None:
    """After a rate limit with Retry-After the function is called again no earlier than that."""
    rested = threading.Event()
    function = with_function(desk)

    def limited() -> None:
        if not rested.is_set():
            if not timer.is_alive():
                timer.start()
            refused.append(1)
            raise RateLimitError(retry_after="1")

    refused: list[int] = []
    timer = threading.Timer(0.9, rested.set)
    function.before = limited
    result = desk.sync()
    timer.join()
    assert result.ok
    assert len(refused) == 1
    assert function.most == 1


@pytest.mark.timeout(60)
def test_a_pause_of_an_hour_ends_at_the_deadline_at_the_latest(desk: Desk) -> None:
    """A service that wants to be left alone for long ends the call; the next one goes on."""
    function = with_function(desk, None, *[lambda: RateLimitError(retry_after="3600")] * 1000)
    config = desk.config.model_copy(update={"deadline": 1.0})
    with pytest.raises((DeadlineExceeded, EmbeddingError)) as caught:
        desk.sync(config=config)
    assert caught.value.result is not None
    assert caught.value.result.chunks.added == 8
    assert len(function.calls) <= 1 + 2 * desk.config.max_attempts
    function.errors.clear()
    assert desk.sync().ok
    assert function.most == 1
    desk.check()


@pytest.mark.parametrize("name", some_slow(["timeout", "503", "rate limit"], "503"))
def test_a_service_that_stays_down_ends_the_sync(desk: Desk, name: str) -> None:
    """It is nobody's file: after so many tries the sync ends, what was written stays."""
    function = with_function(desk, None)
    function.broken = TRANSIENT[name]
    with pytest.raises(EmbeddingError) as caught:
        desk.sync()
    assert caught.value.result is not None
    assert caught.value.result.chunks.added == 8
    assert not caught.value.result.failures
    assert len(function.calls) <= 1 + 2 * desk.config.max_attempts
    function.broken = None
    result = desk.sync()
    assert (result.ok, result.chunks.embedded) == (True, 12)
    assert function.most == 1
    desk.check()


@pytest.mark.parametrize("name", some_slow(FOR_GOOD, "bad key", "a bug"))
def test_a_function_that_cannot_work_ends_the_sync_at_once(desk: Desk, name: str) -> None:
    """A bad key or a bug fails a harmless text, too: two calls, then an error with the cause."""
    function = with_function(desk)
    function.broken = FOR_GOOD[name]
    with pytest.raises(EmbeddingError) as caught:
        desk.sync()
    assert type(function.broken()).__name__ in str(caught.value)
    assert len(function.calls) <= 2
    function.broken = None
    assert desk.sync().ok
    assert function.most == 1


@pytest.mark.parametrize("last", ["bad key", "503"])
def test_a_function_that_dies_in_the_search_for_a_bad_text(desk: Desk, last: str) -> None:
    """A function that dies while a batch is halved ends the sync; paid vectors are kept."""
    desk.write("note06.txt", "a poisonous text\n")
    function = with_function(desk)
    # The batch of 8 fails (6 is bad), a harmless text passes, then the first half; then it is dead.
    answered, error = [0], {**FOR_GOOD, **TRANSIENT}[last]

    def die() -> None:
        answered[0] += 1
        if answered[0] > 3:
            raise error()

    function.before = die
    with pytest.raises(EmbeddingError) as caught:
        desk.sync()
    assert caught.value.result is not None
    assert answered[0] <= 3 + 3 * desk.config.max_attempts, "a dead service is not asked 100 times"
    paid = function.counts.total()
    assert paid >= 4
    function.before = None
    result = desk.sync()
    assert [failure.path for failure in result.failures] == ["note06.txt"]
    assert function.most == 1
    desk.write("note06.txt", "a harmless text\n")
    assert desk.sync().ok
    assert function.most == 1
    desk.check()


def test_a_passing_fault_in_the_search_for_a_bad_text(desk: Desk) -> None:
    """A timeout while a batch is halved blames no file but the one that is at fault."""
    desk.write("note06.txt", "a poisonous text\n")
    function = with_function(desk)
    seen = [0]

    def stumble() -> None:
        seen[0] += 1
        if seen[0] in (3, 5):
            raise TimeoutError("timed out")

    function.before = stumble
    result = desk.sync()
    assert [(f.path, f.stage) for f in result.failures] == [("note06.txt", "embed")]
    assert result.files.added == 19
    assert function.most == 1


def test_one_text_that_is_refused_with_a_status(desk: Desk) -> None:
    """A service's 400 for one text (too long, say) fails that file, and is not tried again."""
    function = with_function(desk)
    desk.write("note06.txt", "a text that is far too long\n")
    real = function.__class__.__call__

    class Strict(Faulty):
        refusals = 0

        def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
            if any("far too long" in text for text in input):
                Strict.refusals += 1
                raise APIError(400)
            return real(self, input)

    desk.embedding = strict = Strict()
    result = desk.sync()
    assert [(f.path, f.stage, f.error) for f in result.failures] == [
        ("note06.txt", "embed", "APIError")
    ]
    assert Strict.refusals == 4  # 8, 4, 2, 1 texts
    assert strict.most == 1


SPOILERS: dict[str, Callable[[list[Any]], Any]] = {
    "one too few": lambda vectors: vectors[:-1],
    "one too many": lambda vectors: [*vectors, vectors[0]],
    "nothing": lambda vectors: None,
    "nan": lambda vectors: [vector * float("nan") for vector in vectors],
    "texts": lambda vectors: ["0.1 0.2" for _ in vectors],
    "flat": lambda vectors: [1.0 for _ in vectors],
}


@pytest.mark.parametrize("name", some_slow(SPOILERS, "one too few", "nan", "nothing"))
def test_answers_that_become_wrong_in_mid_run(desk: Desk, name: str) -> None:
    """A function that goes wrong after the first batch: no wrong vector is stored or cached."""
    function = with_function(desk)

    def spoil(vectors: list[Any]) -> Any:
        if len(function.calls) == 1:
            return vectors
        return SPOILERS[name](vectors)

    function.spoil = spoil
    with pytest.raises(EmbeddingError, match="embedding function") as caught:
        desk.sync()
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == 8
    function.spoil = None
    assert desk.sync().ok
    desk.check()


def test_a_dimension_that_changes_in_mid_run(desk: Desk) -> None:
    """Vectors of another length are not written; the old ones stay, the next sync goes on."""
    function = with_function(desk)
    function.spoil = lambda vectors: (
        vectors if len(function.calls) == 1 else [vector[:8] for vector in vectors]
    )
    with pytest.raises(EmbeddingError):
        desk.sync()
    function.spoil = None
    assert desk.sync().ok
    desk.check()


def test_another_dimension_is_a_mismatch_before_any_write(desk: Desk) -> None:
    """A function of another dimension is told both numbers and the ways out; nothing changes."""
    desk.settled()
    before = desk.rows()
    desk.write("more.txt", "one more\n")
    desk.embedding = HashEmbedding(8)
    with pytest.raises(EmbeddingMismatch, match=r"16.*8") as caught:
        desk.sync(config=desk.config.model_copy(update={"model_id": "of 8"}))
    assert "collection=" in str(caught.value)
    assert desk.rows() == before
    desk.embedding = HashEmbedding(16)
    result = desk.sync()
    assert result.ok
    assert result.chunks.added == 1
    desk.check()


def test_ctrl_c_in_the_function_keeps_what_was_paid(desk: Desk) -> None:
    """An interrupt in the function ends the sync; vectors of earlier batches are in the cache."""
    function = with_function(desk, None, None)

    def interrupt() -> Exception:
        raise KeyboardInterrupt

    function.broken = interrupt
    with pytest.raises(KeyboardInterrupt):
        desk.sync()
    function.broken = None
    assert desk.sync().chunks.embedded == 4
    assert function.most == 1
    desk.check()
