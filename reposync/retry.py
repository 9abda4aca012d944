"""What kind of fault an error is, and which are tried again; the only importer of ``tenacity``.

Only what is named here is tried again: a fault that will not pass (a full disk, a refused argument,
a damaged index) must reach the caller at once. docs/reference/faults.md has the table.
"""

from __future__ import annotations

import enum
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from reposync.errors import DeadlineExceeded

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")
OnRetry = Callable[[BaseException, float], None]

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0
LISTEN_SECONDS = 0.5
LONGEST_RETRY_AFTER_SECONDS = 60.0
"""A server that asks for a longer pause is as good as down."""


class Fault(enum.Enum):
    """Kinds of faults, by what can be done about them."""

    TRANSIENT = "the same call may succeed a little later"
    REFUSED = "it will not take what it was given"
    DENIED = "it wants other credentials"
    GONE = "what was asked for is not there any more"
    DAMAGED = "the vector index cannot be read"
    DISK = "the disk is full, read-only or failing"
    OTHER = "anything else"


_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED_STATUS = frozenset({400, 413, 414, 422})
_DENIED_STATUS = frozenset({401, 402, 403})

# By name, so that nothing needs to be imported: of httpx, chromadb, and the clients of embedding
# services (openai, requests, google, cohere), and Python's own.
_TRANSIENT_TYPES = frozenset(
    {
        "APIConnectionError", "APITimeoutError", "ConnectionError", "InternalServerError",
        "RateLimitError", "ResourceExhausted", "ServiceUnavailable", "Timeout", "TimeoutError",
        "TooManyRequests", "TransportError",
    }
)  # fmt: skip
_REFUSED_TYPES = frozenset({"ValueError", "TypeError", "InvalidArgumentError", "DuplicateIDError"})
_DENIED_TYPES = frozenset({"ChromaAuthError", "AuthenticationError", "PermissionDeniedError"})
_GONE_TYPES = frozenset({"NotFoundError"})

_TRANSIENT_TEXT = re.compile(r"could not connect|database is locked|\(code: 5\)", re.IGNORECASE)
# Of a server, for a collection that was deleted after it had been looked up.
_GONE_TEXT = re.compile(r"missing \w+ segment", re.IGNORECASE)
_REFUSED_TEXT = re.compile(r"too many sql variables", re.IGNORECASE)

# What Chroma 1.5 says when its HNSW files and its log disagree or cannot be read.
_DAMAGE_TEXT = re.compile(
    r"hnsw|error finding id|error getting embedding|pickle|failed to apply logs"
    r"|error loading .*index",
    re.IGNORECASE,
)

# SQLite's and the system's words for a full or read-only disk, or one that fails: these come up
# inside index errors, too, but say nothing against the index.
_DISK_TEXT = re.compile(
    r"\(code: (8|10|13|14|778|1032)\)|disk is full|no space left|read-?only|too many open files"
    r"|permission denied|file too large",
    re.IGNORECASE,
)


def fault_of(error: BaseException) -> Fault:
    """What kind of fault an error of Chroma, or of an embedding function, is."""
    known = getattr(error, "fault", None)
    if isinstance(known, Fault):  # it was found out where the error was raised
        return known
    text, status = str(error), status_of(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    # In this order: Chroma's words about disk and index come in errors of any type, and "could not
    # connect" in a ValueError.
    kinds = (
        (Fault.OTHER, "JSONDecodeError" in names),  # who answers so is no Chroma server
        (Fault.DISK, bool(_DISK_TEXT.search(text))),
        (Fault.DAMAGED, bool(_DAMAGE_TEXT.search(text))),
        (Fault.DENIED, bool(names & _DENIED_TYPES) or status in _DENIED_STATUS),
        (Fault.GONE, bool(names & _GONE_TYPES or _GONE_TEXT.search(text)) or status == 404),
        (Fault.TRANSIENT, status in _TRANSIENT_STATUS or bool(_TRANSIENT_TEXT.search(text))),
        (Fault.REFUSED, status in _REFUSED_STATUS or bool(_REFUSED_TEXT.search(text))),
        (Fault.TRANSIENT, bool(names & _TRANSIENT_TYPES)),
        (Fault.REFUSED, bool(names & _REFUSED_TYPES)),
    )
    return next((fault for fault, found in kinds if found), Fault.OTHER)


class Cancelled(Exception):
    """The caller wants no more, while something was being waited for."""


class Deadline:
    """When the whole call has to be over, or is wished to be.

    Args:
        seconds: from now on; None: whenever it is done.
        cancel: set by the caller who wants no more.
    """

    def __init__(self, seconds: float | None, cancel: threading.Event | None = None) -> None:
        self._seconds = seconds
        self._ends = math.inf if seconds is None else time.monotonic() + seconds
        self._cancel = cancel or threading.Event()
        self._cancelled = False
        self._go_on: Callable[[], None] = _do_nothing

    def cancel(self) -> None:
        """Wish it to be over; the caller's own event is left alone."""
        self._cancelled = True

    def listen(self, go_on: Callable[[], None] | None) -> None:
        """Call `go_on` at each check, also while something is waited for; it may call `cancel`."""
        self._go_on = go_on or _do_nothing

    def sleep(self, seconds: float) -> None:
        """Wait, but not for longer than the caller wants."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._cancel.wait(min(left, LISTEN_SECONDS))
            self.check()

    @property
    def passed(self) -> bool:
        """True if it is over."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds until then; infinite if there is none."""
        return self._ends - time.monotonic()

    def check(self) -> None:
        """Raise `DeadlineExceeded` if it is over, and `Cancelled` if it is wished to be."""
        self._go_on()
        if self.passed:
            raise self.error()
        if self._cancelled or self._cancel.is_set():
            raise Cancelled

    def error(self) -> DeadlineExceeded:
        """What is raised when it is over."""
        return DeadlineExceeded(
            f"The sync did not end within its deadline of {self._seconds:g} s. What was written is"
            " kept: sync again to go on, or raise SyncConfig.deadline."
        )


def _do_nothing() -> None:
    """Nobody listens."""


def call(
    function: Callable[[], T],
    *,
    attempts: int,
    deadline: Deadline,
    on_retry: OnRetry,
    fault: Callable[[BaseException], Fault] = fault_of,
) -> T:
    """Call `function`, again after a transient fault: at most `attempts` times in all.

    The pauses double from 0.1 s to 5 s, less a random part of up to a half, so that neighbours do
    not come back all at once; a server's Retry-After goes before. The last error is raised as it
    is.

    Args:
        function: what to call.
        attempts: how often at most.
        deadline: when it has to be over.
        on_retry: is told the error and the pause, before each pause.
        fault: which kind of fault an error is.

    Raises:
        DeadlineExceeded: the next try would come after `deadline`.
        Cancelled: the caller wants no more tries.
    """
    import tenacity

    def is_transient(error: BaseException) -> bool:
        if isinstance(error, DeadlineExceeded):  # a TimeoutError, but none that will pass
            return False
        return fault(error) is Fault.TRANSIENT and retry_after(error) <= LONGEST_RETRY_AFTER_SECONDS

    def note(state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        pause = state.next_action.sleep if state.next_action else 0.0
        if pause >= deadline.left:
            raise deadline.error() from error
        on_retry(error, pause)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=_pause,
        retry=tenacity.retry_if_exception(is_transient),
        before_sleep=note,
        sleep=deadline.sleep,
        reraise=True,
    )
    return retrying(function)


def _pause(state: tenacity.RetryCallState) -> float:
    assert state.outcome is not None
    error = state.outcome.exception()
    if error is not None and (asked := retry_after(error)):
        return asked
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (state.attempt_number - 1))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error; Chroma's client hides it in the context."""
    for found in _chain(error):
        response = getattr(found, "response", None)
        status = getattr(response, "status_code", None) or getattr(found, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def retry_after(error: BaseException) -> float:
    """For how many seconds a server asked to be left alone; 0 if it did not."""
    for found in _chain(error):
        headers = getattr(getattr(found, "response", None), "headers", None)
        value = getattr(found, "retry_after", None)
        if value is None and headers is not None:
            value = headers.get("retry-after") or headers.get("Retry-After")
        if value is not None:
            return _seconds(value)
    return 0.0


def _seconds(value: object) -> float:
    """A Retry-After (RFC 9110, 10.2.3): a number of seconds, or a date."""
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(value)).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
