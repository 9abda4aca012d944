"""The log of runs: what was begun, and how it ended."""

from __future__ import annotations

import sqlite3

from reposync.manifest.database import Database


class RunLog(Database):
    """The part of the manifest that remembers runs."""

    def was_cut_off(self, repository: int) -> bool:
        """True if the last run of this repository began to write and did not come to its end."""
        query = "SELECT status FROM runs WHERE repository = ? ORDER BY id DESC LIMIT 1"
        cut_off = ("running", "interrupted", "cancelled", "failed")
        return any(status in cut_off for (status,) in self._all(query, repository))

    def start_run(self, repository: int, run_id: str, started_at: str) -> None:
        """Note that a run begins to write."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)

    def end_run(
        self, repository: int, run_id: str, started_at: str, status: str, result: str, token: str
    ) -> None:
        """Note how a run ended, and the store's freshness token that its knowledge is good for."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)
            db.execute(
                "UPDATE runs SET status = ?, result = ? WHERE run_id = ?", (status, result, run_id)
            )
            db.execute("UPDATE repositories SET token = ? WHERE id = ?", (token, repository))

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
