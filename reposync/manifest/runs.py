"""The log of runs: what was begun, how far it is, and how it ended."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from reposync.manifest.database import Database


@dataclass(frozen=True, slots=True)
class RunRow:
    """What is noted of one run.

    Attributes:
        id: grows with each run.
        repository: the id of its repository.
        status: how it ended; "running" if it did not yet, or was cut off.
        result: the `SyncResult` as JSON; None before the end, and if it was cut off.
        heartbeat: when it was last heard of, in seconds since 1970; None if that was not noted.
        progress: a `SyncProgress` as JSON, as it was then.
        error: what it failed with.
    """

    id: int
    run_id: str
    repository: int
    started_at: str
    status: str
    result: str | None
    heartbeat: float | None
    progress: str | None
    error: str

    @property
    def was_cut_off(self) -> bool:
        """True if it did not come to its end, unless it still goes on."""
        return self.status in ("running", "interrupted", "cancelled", "failed")


_COLUMNS = "id, run_id, repository, started_at, status, result, heartbeat, progress, error"


class RunLog(Database):
    """The part of the manifest that remembers runs."""

    # -- one run, as it goes ---------------------------------------------------------------------

    def start_run(
        self, repository: int, run_id: str, started_at: str, progress: str | None = None
    ) -> None:
        """Note that a run begins to write."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)
            self._note(db, run_id, progress)

    def beat(self, repository: int, run_id: str, started_at: str, progress: str) -> None:
        """Note that a run goes on, and how far it is; cheap, for this may be lost."""
        with self.cheap_transaction() as db:
            if not self._note(db, run_id, progress):
                self._add_run(db, repository, run_id, started_at)
                self._note(db, run_id, progress)

    def end_run(
        self,
        repository: int,
        run_id: str,
        started_at: str,
        status: str,
        result: str,
        token: str,
        *,
        progress: str | None = None,
        error: str = "",
    ) -> None:
        """Note how a run ended, and the store's freshness token that its knowledge is good for."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)
            self._note(db, run_id, progress)
            db.execute(
                "UPDATE runs SET status = ?, result = ?, error = ? WHERE run_id = ?",
                (status, result, error, run_id),
            )
            db.execute(
                "UPDATE repositories SET token = ?, cancel_at = 0 WHERE id = ?",
                (token, repository),
            )

    def _add_run(
        self, db: sqlite3.Connection, repository: int, run_id: str, started_at: str
    ) -> None:
        db.execute(
            "UPDATE runs SET status = 'interrupted'"
            " WHERE repository = ? AND status = 'running' AND run_id != ?",
            (repository, run_id),
        )
        db.execute(
            "INSERT OR IGNORE INTO runs (run_id, repository, started_at, status)"
            " VALUES (?, ?, ?, 'running')",
            (run_id, repository, started_at),
        )

    def _note(self, db: sqlite3.Connection, run_id: str, progress: str | None) -> bool:
        """Note how far a run is; False if it was not noted before."""
        found = db.execute(
            "UPDATE runs SET heartbeat = ?, progress = coalesce(?, progress) WHERE run_id = ?",
            (time.time(), progress, run_id),
        )
        return found.rowcount > 0

    # -- a wish that it end ----------------------------------------------------------------------

    def ask_to_cancel(self, repository: int) -> None:
        """Ask the run that is under way to end; runs that begin later do not mind."""
        with self.transaction() as db:
            db.execute(
                "UPDATE repositories SET cancel_at = ? WHERE id = ?", (time.time(), repository)
            )

    def cancel_asked_at(self, repository: int) -> float:
        """When a run of this repository was last asked to end; 0 if none was since one ended."""
        rows = self._all("SELECT cancel_at FROM repositories WHERE id = ?", repository)
        return float(rows[0][0]) if rows else 0.0

    # -- looking back ----------------------------------------------------------------------------

    def was_cut_off(self, repository: int) -> bool:
        """True if the last run of this repository did not come to its end.

        Runs that were refused before they wrote anything left things as they were.
        """
        last = self.last_run(repository)
        return last is not None and last.was_cut_off

    def last_run(self, repository: int) -> RunRow | None:
        """The newest run of a repository that was not refused before it wrote anything."""
        return self._newest("repository = ? AND status != 'refused'", repository)

    def last_good_run(self, repository: int) -> RunRow | None:
        """The newest run after which the collection was exact."""
        return self._newest("repository = ? AND status = 'complete'", repository)

    def bad_runs_since(self, repository: int, run: RunRow | None) -> int:
        """How many runs ended otherwise since `run`; all, if that is None."""
        rows = self._all(
            "SELECT count(*) FROM runs WHERE repository = ? AND id > ? AND status != 'running'",
            repository,
            run.id if run else 0,
        )
        return int(rows[0][0])

    def run_page(self, repository: int, before: int, limit: int) -> list[RunRow]:
        """The newest runs of a repository that are older than the run `before`."""
        return self._runs("repository = ? AND id < ?", repository, before, limit=limit)

    def run_page_of(self, tenant: str, database: str, before: int, limit: int) -> list[RunRow]:
        """The newest runs of all repositories of a database, likewise."""
        # "+": by id, newest first, or SQLite would collect and sort the runs of all of them.
        return self._runs(
            "id < ? AND +repository IN"
            " (SELECT id FROM repositories WHERE tenant = ? AND database = ?)",
            before, tenant, database, limit=limit,
        )  # fmt: skip

    def ended_runs(self, repository: int) -> dict[str, int]:
        """Each run of a repository that does not go on any more: its number by its run id."""
        query = "SELECT run_id, id FROM runs WHERE repository = ? AND status != 'running'"
        return dict(self._all(query, repository))

    def run_row(self, number: int) -> RunRow:
        """One run."""
        return self._runs("id = ?", number, limit=1)[0]

    def _newest(self, condition: str, *arguments: object) -> RunRow | None:
        rows = self._runs(condition, *arguments, limit=1)
        return rows[0] if rows else None

    def _runs(self, condition: str, *arguments: object, limit: int) -> list[RunRow]:
        query = f"SELECT {_COLUMNS} FROM runs WHERE {condition} ORDER BY id DESC LIMIT ?"  # noqa: S608
        return [RunRow(*row) for row in self._all(query, *arguments, limit)]
