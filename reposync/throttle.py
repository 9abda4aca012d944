"""Keeps calls of a paid embedding service below its rate; the only importer of ``pyrate_limiter``.

What was called when is kept in a small file of the user's, one a model, so that all syncs on a
machine count together: at once or one after the other, in whatever process and into whatever store.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.errors import StoreUnavailable

if TYPE_CHECKING:
    from reposync.retry import Deadline

MINUTE_MS = 60_000
OnWait = Callable[[float], None]


class Throttle:
    """Waits before a call until the calls of the last 60 seconds leave room for it.

    Args:
        limit: how many units in any 60 seconds.
        unit: "texts" or "requests".
        model: the fingerprint of the model that they are for.
        deadline: when it all has to be over; no lock is held while waiting.
    """

    def __init__(self, limit: int, unit: str, model: str, deadline: Deadline) -> None:
        self._limit = limit
        self._unit = unit
        self._model = model
        self._deadline = deadline
        self._on_wait: OnWait | None = None

    @property
    def path(self) -> Path:
        """Where the count is kept."""
        from platformdirs import user_state_path

        name = hashlib.blake2b(self._model.encode(), digest_size=8).hexdigest()
        return user_state_path("reposync") / "rates" / f"{name}.sqlite3"

    def listen(self, on_wait: OnWait | None) -> None:
        """Call `on_wait` with the seconds after each wait."""
        self._on_wait = on_wait

    def __call__(self, texts: int) -> None:
        """Wait until a request with so many texts may be made, and count it.

        Raises:
            DeadlineExceeded: that would be too late.
            Cancelled: the caller wants no more.
            StoreUnavailable: the count cannot be kept.
        """
        weight = texts if self._unit == "texts" else 1
        waited = 0.0
        while pause := self._take(weight):
            if pause >= self._deadline.left:
                raise self._deadline.error()
            self._deadline.sleep(pause)
            waited += pause
        if waited and self._on_wait is not None:
            self._on_wait(waited)

    def _take(self, weight: int) -> float:
        """Count `weight` units, now; or say for how many seconds there is no room for them."""
        from pyrate_limiter import Rate, RateItem, SQLiteBucket

        path, rates = self.path, [Rate(self._limit, MINUTE_MS)]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened for each call: a connection that waits would keep others from cleaning up.
            with closing(
                SQLiteBucket.init_from_file(rates, self._unit, str(path), use_file_lock=True)
            ) as bucket:
                item = RateItem(self._unit, _now(), weight)
                bucket.leak(item.timestamp)
                if bucket.put(item):
                    return 0.0
                wanted = bucket.waiting(item)
                assert isinstance(wanted, int)
                # Since the item got its time others may have been let in, later than that: without
                # what has passed meanwhile theirs would look like times of a clock set back since.
                pause = wanted - (_now() - item.timestamp)
                if pause > MINUTE_MS + 1:  # it was
                    bucket.flush()
                return max(1, min(pause, MINUTE_MS)) / 1000
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"{path}, where SyncConfig.rate_limit keeps count, cannot be written:"
                f" {error}. Make it writable, or have XDG_STATE_HOME name a folder that is."
            ) from error


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
