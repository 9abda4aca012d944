"""What a sync tells while it goes: frozen events, to the log and to whoever listens.

docs/reference/events.md lists them. None holds anything of a file's text, and none an error's
message, which may quote one, or a key: the type of the error has to do here, and the message is
where the caller looks, in the result, in the error itself and in the history.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reposync.result import SyncResult

logger = logging.getLogger(__name__)

Value = str | int | float | bool | None
LONG_WAIT_SECONDS = 1.0


class Kind(NamedTuple):
    """One kind of event: the level that it is logged with, and the names of its fields."""

    level: int
    fields: frozenset[str]


def _kind(level: int, fields: str) -> Kind:
    return Kind(level, frozenset(fields.split()))


EVENTS: Mapping[str, Kind] = MappingProxyType(
    {
        "sync.started": _kind(logging.INFO, "path collection store model"),
        "sync.scanned": _kind(
            logging.DEBUG, "files files_to_read scan_seconds plan_seconds commit_seconds"
        ),
        "sync.restarted": _kind(logging.INFO, "reason"),
        "batch.committed": _kind(
            logging.DEBUG,
            "batch files_done files_total written moved deleted embedded reused seconds"
            " scan_seconds plan_seconds chunk_seconds embed_seconds commit_seconds",
        ),
        "file.failed": _kind(logging.WARNING, "path stage error attempts"),
        "call.retried": _kind(logging.INFO, "stage error pause_seconds"),
        "lock.released": _kind(logging.DEBUG, "wait_seconds hold_seconds"),
        "rate.waited": _kind(logging.INFO, "wait_seconds"),
        "state.damaged": _kind(logging.WARNING, "error"),
        "index.damaged": _kind(logging.WARNING, "error"),
        "index.mended": _kind(logging.INFO, "seconds"),
        "limit.reached": _kind(logging.WARNING, "limit value"),
        "sync.ended": _kind(
            logging.INFO,
            "status error seconds limits warnings store_free_bytes"
            " files_scanned files_added files_updated files_renamed files_deleted files_unchanged"
            " files_skipped files_failed"
            " chunks_total chunks_added chunks_deleted chunks_reused chunks_embedded"
            " scan_seconds plan_seconds chunk_seconds embed_seconds commit_seconds"
            " batches retries embedding_retries lock_acquisitions lock_contended"
            " longest_wait_seconds longest_hold_seconds",
        ),
    }
)

_ENDINGS = {"complete": logging.INFO, "cancelled": logging.INFO, "partial": logging.WARNING}


@dataclass(frozen=True, slots=True)
class SyncEvent:
    """Something that happened in a sync.

    Attributes:
        name: what happened; docs/reference/events.md lists the names, and the fields of each.
        time: when, in seconds since 1970.
        run_id: of the sync, as in `SyncResult.run_id`.
        repository: the repository's name.
        fields: strings, numbers, True, False or None, by name.
    """

    name: str
    time: float
    run_id: str
    repository: str
    fields: Mapping[str, Value]

    def as_dict(self) -> dict[str, Value]:
        """All of it as one flat dict that has a JSON form; the name is its `event_name`."""
        return {"event_name": self.name, "time": self.time, **self.context, **self.fields}

    @property
    def context(self) -> dict[str, Value]:
        """Which sync it is of."""
        return {"run_id": self.run_id, "repository": self.repository}

    @property
    def level(self) -> int:
        """How it is logged, as in ``logging``: in a run without any fault, below WARNING."""
        if self.name == "sync.ended":
            return _ENDINGS.get(str(self.fields["status"]), logging.ERROR)
        if self.name == "lock.released" and _seconds(self, "wait_seconds") >= LONG_WAIT_SECONDS:
            return logging.INFO
        return EVENTS[self.name].level

    def __str__(self) -> str:
        told = (f"{name}={_word(value)}" for name, value in self.fields.items())
        return " ".join([self.name, f"repository={_word(self.repository)}", *told])


OnEvent = Callable[[SyncEvent], object]


class Events:
    """The events of one sync, made and handed on in the thread that syncs.

    Attributes:
        run_id: of the sync.
        ending: how it ended, once that is known.

    Args:
        repository: its name.
        listeners: take each event after the log. One that raises is complained of once, in the
            log, and goes on to get events: no sync fails for want of being heard.
        run_id: of the sync, if that is decided already.
    """

    def __init__(
        self, repository: str = "", listeners: Iterable[OnEvent] = (), *, run_id: str = ""
    ) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self._repository = repository
        self._listeners = tuple(listeners)
        self._complained_of: set[int] = set()
        self.ending: tuple[str, SyncResult] | None = None

    def note_end(self, status: str, result: SyncResult) -> None:
        """Note how the sync ended, to be told when all of it is over."""
        self.ending = status, result

    def emit(self, name: str, **fields: Value) -> None:
        """Tell what happened."""
        assert fields.keys() == EVENTS[name].fields, (name, fields.keys() ^ EVENTS[name].fields)
        event = SyncEvent(
            name, time.time(), self.run_id, self._repository, MappingProxyType(fields)
        )
        # Without a handler, `logging` would print to stderr what a result or an error says anyway.
        if logger.isEnabledFor(event.level) and logger.hasHandlers():
            extra = {"event_name": name, **event.context, **fields}
            logger.log(event.level, "%s", event, extra=extra)
        for listener in self._listeners:
            self._tell(listener, event)

    def _tell(self, listener: OnEvent, event: SyncEvent) -> None:
        try:
            listener(event)
        except Exception as error:
            if id(listener) in self._complained_of:
                return
            self._complained_of.add(id(listener))
            logger.warning(
                "%s: a listener (SyncConfig.on_event) failed on %s; the sync goes on, and what"
                " else it fails on is not told",
                self._repository,
                event.name,
                exc_info=error,
                extra={"event_name": "listener.failed", **event.context},
            )


def _seconds(event: SyncEvent, field: str) -> float:
    value = event.fields[field]
    assert isinstance(value, (int, float))
    return value


def _word(value: Value) -> str:
    """A value in one line without a break in it, quoted if it has blanks."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    plain = text.isprintable() and not set(text) & set(" =\"'")
    return text if plain and text else json.dumps(text)
