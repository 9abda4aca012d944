"""A plain search over what was synced with the default model, for the command line."""

from __future__ import annotations

import textwrap
from contextlib import ExitStack
from dataclasses import dataclass

from reposync.embed import make_embedder
from reposync.errors import ConfigError
from reposync.lock import ChromaLock
from reposync.manifest import FILE_NAME, read_manifest
from reposync.store import Store

SHOWN_LINES = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that was found; `distance` is the cosine distance, 0 for equal direction."""

    repository: str
    path: str
    start_line: int
    end_line: int
    symbol: str
    distance: float
    text: str

    def __str__(self) -> str:
        symbol = f"  {self.symbol}" if self.symbol else ""
        head = f"{self.path}:{self.start_line}-{self.end_line}{symbol}  ({1 - self.distance:.2f})"
        lines = textwrap.dedent(self.text).strip("\n").splitlines()
        shown = [f"    {line}" for line in lines[:SHOWN_LINES]]
        if len(lines) > SHOWN_LINES:
            shown.append("    ...")
        return "\n".join([head, *shown, ""])


def search_store(
    query: str, name: str | None = None, *, store: object = None, n_results: int = 5
) -> list[Hit]:
    """The chunks nearest in meaning to `query`, best first.

    Args:
        query: words, embedded with the default model (all-MiniLM-L6-v2).
        name: search this repository only; default: all that the store's manifest knows of and that
            were synced with the default model.
        store: as for `reposync.sync_repository`, but a folder must exist.
        n_results: how many.

    Raises:
        ConfigError: there is no such repository, or none at all.
    """
    with ExitStack() as stack:
        opened = Store(store)
        stack.callback(opened.close)
        embedder = make_embedder(None)
        places = _places(opened, name, embedder.identity.fingerprint)
        vector = embedder.embed([query])[0]
        with ChromaLock(opened).hold(write=False):
            opened.open()
            hits = []
            for collection_name, repository in places:
                collection = opened.find(collection_name)
                if collection is not None:
                    hits += collection.nearest(repository, vector, n_results)
    hits.sort(key=lambda hit: hit[2])
    return [
        Hit(
            repository=str(metadata["repository"]),
            path=str(metadata["path"]),
            start_line=int(metadata["start_line"]),
            end_line=int(metadata["end_line"]),
            symbol=str(metadata["symbol"]),
            distance=distance,
            text=document,
        )
        for document, metadata, distance in hits[:n_results]
    ]


def _places(store: Store, name: str | None, model: str) -> list[tuple[str, str]]:
    """(collection, repository) of what is to be searched."""
    if store.folder is None:
        raise ConfigError("store must be a folder here; query a client's collections directly.")
    manifest = read_manifest(store.folder / FILE_NAME)
    if manifest is None:
        raise ConfigError(f"Nothing was synced into {store.folder}. Run: reposync sync PATH")
    with manifest:
        known = manifest.repositories()
    wanted = [
        (key.collection, key.name)
        for key, record in known
        if (name is None or key.name == name) and record.model == model
    ]
    if not wanted:
        names = ", ".join(sorted(key.name for key, _ in known)) or "none"
        raise ConfigError(
            f"{store.folder} holds no repository"
            + (f" {name!r}" if name else "")
            + f" that was synced with the default model. It knows: {names}."
        )
    return wanted
