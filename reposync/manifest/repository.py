"""What tells one repository of a store from the others, and what is noted of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """What one repository is told apart by within a store."""

    tenant: str
    database: str
    collection: str
    name: str

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """All of it, in the order in which the tables have it."""
        return self.tenant, self.database, self.collection, self.name


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """What is noted of one repository.

    Attributes:
        path: the folder that it was last synced from.
        collection_id: Chroma's id of the collection that the rows are in.
        model: fingerprint of the model that the rows were embedded with.
        recipe: version of chunker and row format that the rows were made with.
        token: the store's freshness token after the last sync that ended well, else "".
        checked: the store's generation when the rows were last compared with the collection.
    """

    id: int
    path: str
    collection_id: str
    model: str
    recipe: str
    token: str
    checked: int
