"""Which errors are worth another try, and how long to wait; the only importer of ``tenacity``.

Only what is named here is tried again: a fault that will not pass (a full disk, a refused argument,
a damaged index) must reach the caller at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

_TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})
_TRANSIENT_TYPES = frozenset({"TransportError", "RateLimitError"})
_TRANSIENT_TEXT = re.compile(r"could not connect|database is locked|\(code: 5\)", re.IGNORECASE)

# What Chroma 1.5 says when its HNSW files and its log disagree or cannot be read.
_DAMAGE_TEXT = re.compile(
    r"hnsw|error finding id|error getting embedding|pickle|failed to apply logs"
    r"|error loading .*index",
    re.IGNORECASE,
)

# SQLite's and the system's words for a full or read-only disk, or one that fails: these come up
# inside index errors, too, but say nothing against the index.
_DISK_TEXT = re.compile(
    r"\(code: (8|10|13|14|778)\)|disk is full|no space left|read-?only|too many open files"
    r"|permission denied",
    re.IGNORECASE,
)


def call(function: Callable[[], T], *, attempts: int, on_retry: Callable[[], None]) -> T:
    """Call `function`, again after a transient error: at most `attempts` times in all.

    Waits are random, up to a bound that doubles from 0.1 s to 5 s, so that neighbours do not come
    back all at once. The last error is raised as it is.
    """
    import tenacity

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(is_transient),
        before_sleep=lambda _: on_retry(),
        reraise=True,
    )
    return retrying(function)


def is_transient(error: BaseException) -> bool:
    """True if the same call may succeed a little later."""
    if is_damage(error) or is_disk_trouble(error):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _TRANSIENT_TYPES or status_of(error) in _TRANSIENT_STATUS:
        return True
    return bool(_TRANSIENT_TEXT.search(str(error)))


def is_damage(error: BaseException) -> bool:
    """True if the vector index cannot be read; trying again does not help."""
    return bool(_DAMAGE_TEXT.search(str(error))) and not is_disk_trouble(error)


def is_disk_trouble(error: BaseException) -> bool:
    """True if the disk is full, read-only or failing; trying again does not help by itself."""
    return bool(_DISK_TEXT.search(str(error)))


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of Chroma's client, which hides it in the context."""
    response = getattr(error.__context__, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
