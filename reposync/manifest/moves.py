"""What becomes of whole repositories: renamed, replaced by a better copy, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reposync.manifest.database import Database

if TYPE_CHECKING:
    from reposync.manifest.repository import RepositoryKey

RENAMED = "the repository was renamed"


class Moves(Database):
    """The part of the manifest that moves repositories as a whole."""

    def remove_repository(self, repository: int) -> None:
        """Forget a repository, its files, rows and runs; vectors stay cached."""
        with self.transaction() as db:
            db.execute("DELETE FROM repositories WHERE id = ?", (repository,))

    def rename_repository(self, repository: int, key: RepositoryKey) -> None:
        """Give a repository another name, and maybe another collection.

        Its rows are noted as they were, under ids of the old name, until they are written again;
        whoever syncs it before that writes them again, too.
        """
        with self.transaction() as db:
            db.execute(
                "UPDATE repositories SET collection = ?, name = ?, token = '' WHERE id = ?",
                (key.collection, key.name, repository),
            )
            # Those that could not be vouched for have no hash from now on: that tells them apart.
            db.execute(
                "UPDATE files SET redo = ?, content_hash = iif(redo IS NULL, content_hash, NULL)"
                " WHERE repository = ? AND skip IS NULL",
                (RENAMED, repository),
            )

    def adopt(self, repository: int, copy: int) -> None:
        """Note of a repository what is noted of its copy, which is forgotten; runs are kept."""
        with self.transaction() as db:
            db.execute("DELETE FROM files WHERE repository = ?", (repository,))
            for table in ("files", "runs"):
                db.execute(
                    f"UPDATE {table} SET repository = ? WHERE repository = ?",  # noqa: S608
                    (repository, copy),
                )
            # With the totals, which no trigger keeps when files and runs change hands.
            db.execute(
                "UPDATE repositories SET (path, collection_id, model, recipe, checked, file_count,"
                " chunk_count, run_count) = (SELECT path, collection_id, model, recipe, checked,"
                "  file_count, chunk_count, repositories.run_count + run_count"
                "  FROM repositories AS copy WHERE copy.id = ?), token = '' WHERE id = ?",
                (copy, repository),
            )
            db.execute("DELETE FROM repositories WHERE id = ?", (copy,))
