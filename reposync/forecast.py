"""Counts beforehand how many texts a sync will embed, by cutting its files and embedding none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reposync.manifest import Manifest, RepositoryRecord
from reposync.records import Action
from reposync.request import Request
from reposync.rows import Row, diff_rows
from reposync.work import rows_of

InStore = Mapping[str, "str | None"]
"""The rows that the collection holds, by id; the model of those that the manifest does not know."""


class Forecast:
    """The texts that the actions of one plan need vectors for, each counted once.

    Args:
        request, manifest, record: those of the sync; None if there are none yet.
        in_store: what the collection holds; None: what the manifest says.
        rewrite: all rows are to be written again.
    """

    def __init__(
        self,
        request: Request,
        manifest: Manifest | None,
        record: RepositoryRecord | None,
        in_store: InStore | None,
        *,
        rewrite: bool,
    ) -> None:
        self._request = request
        self._manifest = manifest
        self._record = record
        self._in_store = in_store
        self._rewrite = rewrite
        self._counted: set[bytes] = set()

    def embeds(self, action: Action) -> int:
        """How many texts the plan's next action needs a vector for that is not there yet."""
        if action.kind not in ("add", "update", "rename"):
            return 0
        assert action.seen is not None
        try:
            rows = rows_of(self._request, action.seen)
        except Exception:  # noqa: BLE001 - the sync will say so, too, and go on
            return 0
        keys = {row.text_hash for row in self._to_write(action.path, rows)}
        if self._request.config.cache_vectors:
            keys -= self._counted
            if self._manifest is not None:
                keys -= self._manifest.cached(self._request.model, keys)
            self._counted |= keys
        return len(keys)

    def _to_write(self, path: str, rows: list[Row]) -> Iterable[Row]:
        """Those of a file's rows that the store does not hold, or not with a vector of use."""
        noted = {}
        if self._manifest is not None and self._record is not None:
            noted = self._manifest.rows(self._record.id, path)
        in_store = self._in_store
        if in_store is not None:
            noted = {row_id: row for row_id, row in noted.items() if row_id in in_store}
            model = self._request.model
            rows = [row for row in rows if in_store.get(row.id) != model]
        return diff_rows(rows, noted, rewrite=self._rewrite).writes
