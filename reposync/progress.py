"""Tells where a running sync stands: a callable of the caller's, a face, or the manifest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from reposync.errors import ConfigError
from reposync.faces import Face, Scene, face
from reposync.result import SyncProgress, SyncResult

OnProgress = Callable[[SyncProgress], object]

REDRAW_SECONDS = 0.2


class Reporter:
    """Takes what a sync tells of itself; silent by itself."""

    def __call__(self, now: SyncProgress) -> None:
        """A batch was written."""

    def beat(self, now: SyncProgress) -> None:
        """The sync goes on, or is at another stage."""

    def end(self, now: SyncProgress, result: SyncResult) -> None:
        """It came to its end."""
        self(now)

    def fail(self, error: BaseException) -> None:
        """An error ended it."""


@contextmanager
def reporter(progress: bool | OnProgress, name: str = "") -> Iterator[Reporter]:
    """What takes each `SyncProgress` where the caller wants it.

    Args:
        progress: True for a bar on a terminal, a display in a notebook, and a line now and then
            where there is neither; False for silence; or a callable that is called in the syncing
            thread.
        name: of the repository.
    """
    if callable(progress):
        yield _Caller(progress)
        return
    if progress is not True and progress is not False:
        raise ConfigError(f"progress={progress!r} is neither True, False nor a callable. Pass one.")
    where = face() if progress else None
    report = Reporter() if where is None else Drawn(where, name)
    try:
        yield report
    except BaseException as error:
        report.fail(error)
        raise


class _Caller(Reporter):
    """Hands each batch's progress to a callable."""

    def __init__(self, call: OnProgress) -> None:
        self._call = call

    def __call__(self, now: SyncProgress) -> None:
        self._call(now)


class Drawn(Reporter):
    """Has a face drawn, but not more often than somebody can see."""

    def __init__(self, where: Face, name: str) -> None:
        self._face = where
        self._name = name
        self._began = self._drawn = time.monotonic()
        self._now: SyncProgress | None = None
        self._fraction = 0.0
        self._draw("starting")

    def __call__(self, now: SyncProgress) -> None:
        self.beat(now)

    def beat(self, now: SyncProgress) -> None:
        """Draw it again if there is something new to see."""
        before, self._now = self._now, now
        another = before is None or before.stage != now.stage
        if another or time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._draw(now.stage)

    def end(self, now: SyncProgress, result: SyncResult) -> None:
        """Draw it for the last time."""
        self._now = now
        self._draw(result.status, ended=True)

    def fail(self, error: BaseException) -> None:
        """Leave no bar that looks as if it went on."""
        cut_off = not isinstance(error, Exception)
        self._draw("interrupted" if cut_off else "failed", ended=True)

    def _draw(self, state: str, *, ended: bool = False) -> None:
        self._drawn = time.monotonic()
        done = 1.0 if state == "complete" else _fraction(self._now)
        self._fraction = max(self._fraction, done)  # the total is an estimate, and may grow
        elapsed = self._drawn - self._began
        self._face.draw(Scene(self._name, state, self._now, self._fraction, elapsed, ended))


def _fraction(now: SyncProgress | None) -> float:
    """How much is done, in chunks, or in files if none are to be written."""
    if now is None:
        return 0.0
    if now.chunks_total:
        return min(1.0, now.chunks_written / now.chunks_total)
    return now.files_done / now.files_total if now.files_total else 0.0


def as_json(progress: SyncProgress) -> str:
    """A value as the manifest keeps it."""
    return json.dumps(asdict(progress))


def from_json(text: str | None) -> SyncProgress | None:
    """A value that the manifest kept; None if there is none that this version can read."""
    try:
        fields = json.loads(text or "")
        return SyncProgress(**{name: fields[name] for name in SyncProgress.__slots__})
    except (ValueError, TypeError, KeyError):
        return None
