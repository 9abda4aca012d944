"""A small repository that is searched, and what a search of it should give, worked out plainly."""

from __future__ import annotations

from typing import Any

import numpy as np
from support import Desk, StoredRow, hash_vectors

from reposync import Hit, SearchResult, search_repository

FILES = {
    "README.md": "# Garage\n\nCars are parked here, for a while.\n\n## Prices\n\nAsk the keeper.\n",
    "src/store.py": (
        "class CarStore:\n"
        '    """Holds cars."""\n\n'
        "    def parkVehicle(self, car):\n"
        "        place = self.free_places.pop()\n"
        "        place.take(car)\n"
        "        return place\n\n\n"
        "def max_hold_seconds(engine):\n"
        "    while engine.fuel:\n"
        "        engine.turn()\n"
        "    return engine.stop()\n"
    ),
    "src/deep/wheel.py": "def turn_wheel(angle):\n    return angle * 2\n",
    "docs/guide.md": "# Guide\n\nHow to keep a carburettor clean.\n",
    "docs/src/old.py": "def parked():\n    return []\n",
    "app/[id]/page.ts": "export function page() { return 'a page about a wheel' }\n",
}


def furnish(desk: Desk) -> Desk:
    """Write the files, and sync them."""
    for path, text in FILES.items():
        desk.write(path, text)
    desk.sync()
    return desk


def search(desk: Desk, query: str, **changes: Any) -> SearchResult:
    """Search as the desk's user would."""
    arguments = {
        "name": desk.name,
        "store": desk.store,
        "embedding_function": desk.embedding,
        **changes,
    }
    return search_repository(query, **arguments)


def found(result: SearchResult) -> list[tuple[str, int]]:
    """Where the hits are."""
    return [(hit.path, hit.start_line) for hit in result]


def paths(result: SearchResult) -> set[str]:
    """The files of the hits."""
    return {hit.path for hit in result}


def nearest(rows: dict[str, StoredRow], query: str, dimension: int = 16) -> list[tuple[str, float]]:
    """All rows by their cosine to the query, worked out one by one: (id, cosine)."""
    vector = hash_vectors([query], dimension)[0].astype(np.float64)
    cosines = {
        row_id: float(
            np.dot(row.vector, vector) / np.linalg.norm(row.vector) / np.linalg.norm(vector)
        )
        for row_id, row in rows.items()
    }
    return sorted(cosines.items(), key=lambda one: -one[1])


def check_true(hits: SearchResult, rows: dict[str, StoredRow]) -> None:
    """Each hit says what its row says."""
    for hit in hits:
        assert as_row(hit) == {key: rows[hit.id].metadata[key] for key in as_row(hit)}
        assert hit.text == rows[hit.id].document


def as_row(hit: Hit) -> dict[str, object]:
    """What of a hit is in its row's metadata."""
    keys = ("repository", "path", "start_line", "end_line", "symbol", "kind", "language", "context")
    return {key: getattr(hit, key) for key in keys}
