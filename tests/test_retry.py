"""Which errors are worth another try, and how often it is made."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
import types

import chromadb.errors as chroma
import httpx
import pytest

from reposync import retry
from reposync.errors import DeadlineExceeded
from reposync.retry import Cancelled, Deadline, Fault, fault_of

REQUEST = httpx.Request("GET", "http://127.0.0.1")


def behind(status: int, error: Exception | None = None) -> Exception:
    """What Chroma's HTTP client raises: a bare error, the status hidden in its context."""
    response = httpx.Response(status, request=REQUEST, text="body")
    try:
        try:
            response.raise_for_status()
        except httpx.HTTPStatusError:
            raise error or Exception(response.text)  # noqa: B904 - as Chroma does it
    except Exception as raised:  # noqa: BLE001 - it is what is made here
        return raised


TRANSIENT = {
    "refused": httpx.ConnectError("Connection refused"),
    "slow": httpx.ReadTimeout("timed out"),
    "no room": httpx.PoolTimeout("no connection free"),
    "cut off": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "no server at start": ValueError(
        "Could not connect to a Chroma server. Are you sure it is running?"
    ),
    "busy": chroma.InternalError(
        "error returned from database: (code: 5) database is locked",
    ),
    "rate limit": chroma.RateLimitError("slow down"),
    "rate limit by status": behind(429),
    "500": behind(500),
    "502": behind(502),
    "503": behind(503),
    "504": behind(504),
}
FINAL = {
    "not found": behind(404, chroma.NotFoundError("no such collection")),
    "deleted meanwhile": behind(500, Exception("Missing field: [Missing metadata segment]")),
    "404": behind(404),
    "400": behind(400),
    "401": behind(401, chroma.ChromaAuthError("who?")),
    "501": behind(501),
    "argument": ValueError("Expected IDs to be a non-empty list"),
    "type": TypeError("x"),
    "invalid": chroma.InvalidArgumentError("Collection expecting dimension of 3, got 2"),
    "duplicate": chroma.DuplicateIDError("a"),
    "full": chroma.InternalError(
        "error returned from database: (code: 13) database or disk is full"
    ),
    "read-only": chroma.InternalError(
        "error returned from database: (code: 8) attempt to write a readonly database"
    ),
    "I/O": chroma.InternalError("error returned from database: (code: 778) disk I/O error"),
    "too many": chroma.InternalError("too many SQL variables"),
    "other code that begins with 5": chroma.InternalError("(code: 523) disk I/O error"),
    "interrupt": KeyboardInterrupt(),
}
DAMAGE = {
    "id": chroma.InternalError("Error executing plan: Internal error: Error finding id"),
    "load": chroma.InternalError("Error loading hnsw index"),
    "logs": chroma.InternalError(
        "Error in compaction: Failed to apply logs to the hnsw segment writer"
    ),
    "pickle": chroma.InternalError("Error deserializing pickle file: EOF while parsing"),
    "by a server": behind(500, chroma.InternalError("Error finding id")),
}


@pytest.mark.parametrize("error", list(TRANSIENT.values()), ids=list(TRANSIENT))
def test_worth_another_try(error: Exception) -> None:
    """Faults of the network, of an overloaded server and of a busy database may pass."""
    assert fault_of(error) is Fault.TRANSIENT


@pytest.mark.parametrize("error", list(FINAL.values()), ids=list(FINAL))
def test_not_worth_another_try(error: BaseException) -> None:
    """A mistake, a full or read-only disk and a refusal will be the same next time."""
    assert fault_of(error) not in (Fault.TRANSIENT, Fault.DAMAGED)


@pytest.mark.parametrize(
    ("fault", "names"),
    {
        Fault.REFUSED: ["400", "argument", "type", "invalid", "duplicate", "too many"],
        Fault.DENIED: ["401"],
        Fault.GONE: ["404", "not found"],
        Fault.DISK: ["full", "read-only", "I/O"],
        Fault.OTHER: ["501", "interrupt"],
    }.items(),
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_can_be_done_about_it(fault: Fault, names: list[str]) -> None:
    """Each fault that stays is told apart by what its remedy is."""
    assert {name: fault_of(FINAL[name]) for name in names} == dict.fromkeys(names, fault)


@pytest.mark.parametrize("error", list(DAMAGE.values()), ids=list(DAMAGE))
def test_damage_is_not_tried_again(error: Exception) -> None:
    """An index that cannot be read stays so, even if a server says it with a status of 500."""
    assert fault_of(error) is Fault.DAMAGED


def test_the_status_behind_an_error() -> None:
    """The status is found in the context; without one there is none."""
    assert retry.status_of(behind(503)) == 503
    assert retry.status_of(ValueError("x")) is None
    odd = ValueError("x")
    odd.__context__ = ValueError("y")
    odd.__context__.response = types.SimpleNamespace(status_code="503")  # type: ignore[attr-defined]
    assert retry.status_of(odd) is None


def test_a_real_refusal_is_transient() -> None:
    """What httpx really raises where nobody listens is recognised."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(httpx.TransportError) as caught:
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False, timeout=5)
    assert fault_of(caught.value) is Fault.TRANSIENT


class Calls:
    """A call that raises what it is given, one after the other, and then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.deadline = Deadline(None)
        self.made = 0
        self.retries = 0

    def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    def note(self, error: BaseException, pause: float) -> None:
        """Count a retry."""
        self.retries += 1

    def run(self, attempts: int) -> str:
        """Call it as the store does."""
        return retry.call(
            self, attempts=attempts, deadline=self.deadline, on_retry=self.note, fault=fault_of
        )


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited; nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(Deadline, "sleep", lambda _, seconds: waited.append(seconds))
    return waited


def busy() -> Exception:
    """A fault that may pass."""
    return httpx.ConnectError("Connection refused")


def test_a_call_that_succeeds_is_made_once(waits: list[float]) -> None:
    """Without an error nothing is waited for or counted."""
    calls = Calls()
    assert calls.run(5) == "answer"
    assert (calls.made, calls.retries, waits) == (1, 0, [])


def test_a_fault_that_passes_is_overcome(waits: list[float]) -> None:
    """Each retry is counted, and the answer is the caller's."""
    calls = Calls(busy(), busy())
    assert calls.run(5) == "answer"
    assert (calls.made, calls.retries, len(waits)) == (3, 2, 2)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_bounded(waits: list[float], attempts: int) -> None:
    """A fault that stays is tried so many times in all, and the last error comes out unchanged."""
    errors = [busy() for _ in range(10)]
    calls = Calls(*errors)
    with pytest.raises(httpx.ConnectError) as caught:
        calls.run(attempts)
    assert caught.value is errors[attempts - 1]
    assert (calls.made, calls.retries, len(waits)) == (attempts, attempts - 1, attempts - 1)


@pytest.mark.parametrize("name", ["full", "404", "argument", "interrupt"])
def test_a_final_error_comes_out_at_once(waits: list[float], name: str) -> None:
    """What is not worth another try is raised as it is after one call."""
    calls = Calls(FINAL[name])
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - identity is compared
        calls.run(5)
    assert caught.value is FINAL[name]
    assert (calls.made, calls.retries, waits) == (1, 0, [])


def test_damage_comes_out_at_once(waits: list[float]) -> None:
    """A damaged index is not tried again."""
    calls = Calls(DAMAGE["id"])
    with pytest.raises(chroma.InternalError):
        calls.run(5)
    assert (calls.made, waits) == (1, [])


def test_a_final_error_ends_the_retries(waits: list[float]) -> None:
    """A transient error that is followed by a final one ends there."""
    calls = Calls(busy(), FINAL["full"])
    with pytest.raises(chroma.InternalError, match="full"):
        calls.run(5)
    assert (calls.made, calls.retries) == (2, 1)


def test_waits_grow_and_stay_bounded(waits: list[float]) -> None:
    """Waits double from 0.1 s up to 5 s, less a random part of up to a half."""
    for _ in range(20):
        with pytest.raises(httpx.ConnectError):
            Calls(*[busy() for _ in range(12)]).run(12)
    for number in range(11):
        bound = min(retry.FIRST_WAIT_SECONDS * 2**number, retry.LONGEST_WAIT_SECONDS)
        assert all(bound / 2 <= wait <= bound for wait in waits[number::11]), number
        assert len(set(waits[number::11])) > 1, "jitter keeps neighbours apart"
    assert max(waits) > 1, "they do grow"


@pytest.mark.parametrize(
    "text",
    [
        "Failed to apply logs to the hnsw segment writer: (code: 13) disk full",
        "hnsw: No space left on device (os error 28)",
        "error returned from database: (code: 8) attempt to write a readonly database",
        "error returned from database: (code: 778) disk I/O error",
    ],
)
def test_a_disk_in_trouble_is_no_damage(text: str) -> None:
    """A full or read-only disk is neither a damaged index nor something that passes by waiting."""
    assert fault_of(Exception(text)) is Fault.DISK


def told(seconds: object) -> Exception:
    """A rate limit of a service that says when to come back, as httpx and openai tell it."""
    error = Exception("too many requests")
    headers = {"retry-after": str(seconds)}
    error.response = httpx.Response(429, headers=headers, request=REQUEST)  # type: ignore[attr-defined]
    return error


def test_a_server_says_when_to_come_back(waits: list[float]) -> None:
    """Retry-After goes before our own pauses, as seconds or as a date."""
    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert Calls(told(7), told("2.5"), told(soon), told("soon")).run(5) == "answer"
    assert waits[:2] == [7, 2.5]
    assert 25 < waits[2] <= 30
    assert waits[3] <= retry.LONGEST_WAIT_SECONDS


def test_a_server_that_wants_a_long_rest_is_as_good_as_down(waits: list[float]) -> None:
    """Nobody waits for an hour because a server says so."""
    calls = Calls(told(3600))
    with pytest.raises(Exception, match="too many"):
        calls.run(5)
    assert (calls.made, waits) == (1, [])


def test_no_try_begins_after_the_deadline(waits: list[float]) -> None:
    """A pause that would end after the deadline is not begun; the error tells of both."""
    calls = Calls(told(30))
    calls.deadline = Deadline(20)
    with pytest.raises(DeadlineExceeded, match="deadline of 20 s") as caught:
        calls.run(5)
    assert "too many" in str(caught.value.__cause__)
    assert (calls.made, waits) == (1, [])


def test_a_deadline_that_passed_within_is_final(waits: list[float]) -> None:
    """That the time is over is a TimeoutError, and yet no fault that may pass."""
    calls = Calls(Deadline(5).error())
    with pytest.raises(DeadlineExceeded):
        calls.run(5)
    assert (calls.made, waits) == (1, [])


def test_a_deadline_passes() -> None:
    """A deadline is over when its time is, and one that was not set never is."""
    Deadline(None).check()
    Deadline(60).check()
    with pytest.raises(DeadlineExceeded, match="sync again to go on"):
        Deadline(1e-9).check()


@pytest.mark.parametrize("name", ["RateLimitError", "APIConnectionError", "Timeout"])
def test_faults_of_embedding_services_by_name(name: str) -> None:
    """Clients of services need not be installed for their passing faults to be known."""
    assert fault_of(type(name, (Exception,), {})("x")) is Fault.TRANSIENT
    wrapped = RuntimeError("x")
    wrapped.__cause__ = told(1)
    assert fault_of(wrapped) is Fault.TRANSIENT


def test_a_cancel_ends_the_tries() -> None:
    """Whoever wants no more does not wait for the next try."""
    cancel = threading.Event()
    calls = Calls(told(50))
    calls.deadline = Deadline(None, cancel)
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(Cancelled):
        calls.run(5)
    assert calls.made == 1
    with pytest.raises(Cancelled):
        calls.deadline.check()


def test_whoever_listens_may_cancel() -> None:
    """A listener is called at each check and in the midst of a pause, and can end it."""
    heard = []
    deadline = Deadline(None)
    deadline.listen(lambda: heard.append(len(heard)) or (len(heard) > 2 and deadline.cancel()))
    deadline.check()
    deadline.check()
    with pytest.raises(Cancelled):
        deadline.sleep(60)
    assert heard == [0, 1, 2]
    deadline.listen(None)
    with pytest.raises(Cancelled):
        deadline.check()
    assert heard == [0, 1, 2]


def test_the_callers_event_is_not_touched() -> None:
    """What ends a sync from elsewhere leaves the caller's own event alone."""
    event = threading.Event()
    Deadline(None, event).cancel()
    assert not event.is_set()
