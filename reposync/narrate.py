"""Has a sync tell of itself from its first wait to its end, whichever way it ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from reposync import telemetry
from reposync.events import Events, Value
from reposync.request import Request
from reposync.result import ChunkCounts, FileCounts, StageSeconds, StoreUse


@contextmanager
def narrated(request: Request) -> Iterator[Events]:
    """The events of a sync, to the log, to OpenTelemetry if that is set up, and to the caller."""
    listeners = [telemetry.listener(), request.config.on_event]
    events = Events(request.key.name, [listener for listener in listeners if listener])
    _listen(request, events)
    began = time.monotonic()
    events.emit(
        "sync.started",
        path=request.location,
        collection=request.key.collection,
        store=request.store.kind,
        model=request.embedder.identity.name,
    )
    error = None
    try:
        yield events
    except BaseException as failure:
        error = failure
        raise
    finally:
        seconds = time.monotonic() - began
        free = _free_bytes(request)
        ending = _ending(events, error)
        events.emit("sync.ended", **ending, seconds=seconds, store_free_bytes=free)


def _listen(request: Request, events: Events) -> None:
    """Tell what the store, the lock and the throttle of this run meet with."""

    def on_retry(error: BaseException, pause: float) -> None:
        events.emit("call.retried", stage="commit", error=type(error).__name__, pause_seconds=pause)

    def on_release(waited: float, held: float) -> None:
        events.emit("lock.released", wait_seconds=waited, hold_seconds=held)

    request.store.listen(on_retry)
    request.lock.listen(on_release)
    if request.throttle is not None:
        request.throttle.listen(lambda waited: events.emit("rate.waited", wait_seconds=waited))


def _ending(events: Events, error: BaseException | None) -> dict[str, Value]:
    """How it ended; all is zero of a sync that never came to begin."""
    cut_off = error is not None and not isinstance(error, Exception)
    status, result = events.ending or ("interrupted" if cut_off else "refused", None)
    files = result.files if result else FileCounts()
    chunks = result.chunks if result else ChunkCounts()
    stages = result.stages if result else StageSeconds()
    use = result.store if result else StoreUse()
    return {
        "status": status,
        "error": type(error).__name__ if error else None,
        "limits": ",".join(result.limits) or None if result else None,
        "warnings": len(result.warnings) if result else 0,
        **{f"files_{kind}": count for kind, count in files},
        **{f"chunks_{kind}": count for kind, count in chunks},
        **{f"{stage}_seconds": spent for stage, spent in stages},
        **use.model_dump(exclude={"refreshes", "longest_reload_seconds"}),
    }


def _free_bytes(request: Request) -> int | None:
    """How much room is left on the disk of a store in a folder."""
    folder = request.store.folder
    if folder is not None:
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None
