"""The history as a CSV file for spreadsheets, which several programs may append to at once.

Each run is one line, and lines are only ever appended, under a lock beside the file. So whatever
ends in a line break is whole, and a last line without one is being written, or its writer died.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reposync.errors import ConfigError, LockTimeout, StoreUnavailable
from reposync.lock.file import is_locked, try_lock
from reposync.lock.queue import poll, wait
from reposync.manifest import Manifest
from reposync.opened import find_repository
from reposync.operations.history import entries
from reposync.operations.history_row import all_columns, from_row, header, to_row
from reposync.operations.looking import known_store
from reposync.operations.runs import RunEntry
from reposync.report import Page, Report
from reposync.store import Store
from reposync.words import count, encodable

TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 0.02


class HistoryExport(Report):
    """What was appended to a CSV file.

    Attributes:
        path: the file.
        added: how many runs were appended; those that it had already are left alone.
    """

    path: str
    added: int

    @property
    def ok(self) -> bool:
        """Always True: what cannot be written raises."""
        return True

    def __str__(self) -> str:
        return f"{self.path}: {count(self.added, 'run')} appended"


def export_history(
    csv_path: str | os.PathLike[str],
    name: str | None = None,
    *,
    store: object = None,
    collection: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> HistoryExport:
    """Append the runs that ended, and that a CSV file does not have yet, to it; oldest first.

    Call it as often as you like, for several stores, and from several processes at once: it takes
    a lock beside the file (``<csv_path>.lock``), and what it wrote is on disk when it returns.

    >>> from reposync import export_history
    >>> print(export_history("history.csv", store="chroma"))
    history.csv: 1 run appended
    >>> export_history("history.csv", store="chroma").added
    0

    Args:
        csv_path: the file, made if need be, with its folder.
        name: runs of this repository only; None: of all.
        store, collection: as for `reposync.list_files`.
        timeout: seconds to wait for another writer.

    Raises:
        ConfigError: the file is something else, or nothing was ever synced into the store.
        LockTimeout: another writer was at it for too long.
        StoreUnavailable: it cannot be written; what it held before is whole.
    """
    path = Path(csv_path)
    with known_store(store) as (place, manifest), _writing(path, timeout):
        columns, seen = _already_there(path)
        lines = _missing(place, manifest, name, collection, seen)
        return HistoryExport(path=encodable(str(path)), added=_append(path, columns, lines))


def read_history(
    csv_path: str | os.PathLike[str], *, timeout: float = TIMEOUT_SECONDS
) -> Page[RunEntry]:
    """The runs in a CSV file that `export_history` wrote, the newest first.

    A file that is just being written is read again. What a writer that died left of a line is left
    out; the next export writes that line again.

    >>> from reposync import export_history, read_history
    >>> export_history("history.csv", store="chroma").ok
    True
    >>> [(run.repository, run.status) for run in read_history("history.csv").items]
    [('project', 'complete')]

    Args:
        csv_path: the file.
        timeout: seconds to wait for a writer.

    Raises:
        ConfigError: there is no such file, or it is something else.
        LockTimeout: a writer was at it for too long.
    """
    path = Path(csv_path)
    rows = _records(path, _read_whole(path, timeout))
    try:
        runs = [from_row(row) for row in rows]
    except ValueError as error:
        raise ConfigError(
            f"{path} holds a line that is no run: {error}. Was it saved by a spreadsheet? Export"
            " into another file."
        ) from error
    return Page[RunEntry](items=tuple(reversed(runs)), total=len(runs))


# -- the file ------------------------------------------------------------------------------------


@contextmanager
def _writing(path: Path, timeout: float) -> Iterator[None]:
    lock = _lock_path(path)
    taken, _ = wait(poll(lambda: try_lock(lock), timeout, check=lambda: None))
    if taken is None:
        raise LockTimeout(
            f"{path} was written by somebody else for more than {timeout:g} s. Try again, or look"
            f" who holds {lock}."
        )
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be written ({error}). Make it writable, or make room, and export again."
        ) from error
    finally:
        taken.release()


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _already_there(path: Path) -> tuple[list[str], set[str]]:
    """The columns of the file, and the runs that it has; half a line at its end is taken off."""
    data = path.read_bytes() if path.exists() else b""
    whole = _whole_lines(path, data)
    text = _text_of(path, data[:whole])
    seen = {row["run_id"] for row in _records(path, text)}
    if whole < len(data):
        os.truncate(path, whole)
    return next(csv.reader(io.StringIO(text)), []), seen


def _append(path: Path, columns: list[str], runs: Iterable[RunEntry]) -> int:
    text = io.StringIO(newline="")
    if not columns:
        columns = all_columns()
        text.write(header())
    rows = [to_row(run) for run in runs]
    csv.DictWriter(text, columns, restval="", extrasaction="ignore").writerows(rows)
    is_new = not path.exists()
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)  # all or nothing
            raise
    if is_new:
        _keep_entry(path.parent)
    return len(rows)


def _keep_entry(folder: Path) -> None:
    """A new file survives a power failure only if its folder was written, too."""
    if os.name == "nt":  # where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_whole(path: Path, timeout: float) -> str:
    """The whole lines of the file."""
    ends = time.monotonic() + timeout
    before, reason = None, "it is being written"
    while True:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(
                f"There is no {path}. export_history({str(path)!r}) writes it."
            ) from None
        except OSError as error:  # on Windows, while a spreadsheet has it open
            reason = str(error)
        else:
            whole = _whole_lines(path, data)
            abandoned = data == before and not is_locked(_lock_path(path))
            if whole == len(data) or abandoned:
                return _text_of(path, data[:whole])
            before = data
        if time.monotonic() >= ends:
            raise LockTimeout(f"{path} could not be read for {timeout:g} s: {reason}. Try again.")
        time.sleep(RETRY_SECONDS)


# -- what is in it --------------------------------------------------------------------------------


def _missing(
    store: Store, manifest: Manifest, name: str | None, collection: str | None, seen: set[str]
) -> Iterator[RunEntry]:
    if name is not None:
        repositories = [find_repository(store, manifest, name, collection)[1].id]
    else:
        here = (store.tenant, store.database)
        repositories = [
            record.id
            for key, record in manifest.repositories()
            if (key.tenant, key.database) == here
        ]
    wanted = sorted(
        number
        for repository in repositories
        for run_id, number in manifest.ended_runs(repository).items()
        if run_id not in seen
    )
    return entries(store, manifest, map(manifest.run_row, wanted))


def _whole_lines(path: Path, data: bytes) -> int:
    """How many bytes of the file are whole lines; what follows is the beginning of one."""
    whole = data.rfind(b"\n") + 1
    if not whole and not header().encode().startswith(data):
        raise _no_history(path)
    return whole


def _text_of(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_history(path) from None


def _records(path: Path, text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if text and "run_id" not in (reader.fieldnames or ()):
            raise _no_history(path)
        return list(reader)
    except csv.Error:
        raise _no_history(path) from None


def _no_history(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is no history of syncs: it has no column run_id. Pass another file."
    )
