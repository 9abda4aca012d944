"""What the caller asked for, checked: a mistake ends here, before anything is touched."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reposync.chunk import WINDOW_TOKENS, Chunker, OwnChunker, may_be
from reposync.config import SyncConfig
from reposync.embed import Embedder, make_embedder
from reposync.embed.identity import check_callable, identify, is_default_model
from reposync.errors import ConfigError, NameTaken
from reposync.lock import ChromaLock
from reposync.manifest import RepositoryKey, RepositoryRecord
from reposync.naming import check_collection_name, collection_name
from reposync.origin import Origin, find_origin, open_source
from reposync.retry import Deadline
from reposync.rows import ROW_FORMAT
from reposync.scan import Source
from reposync.scan.clone import is_url
from reposync.scan.ignore import above_root
from reposync.scan.paths import unescape_path
from reposync.store import Store
from reposync.throttle import Throttle

if TYPE_CHECKING:
    from reposync.embed.minilm import MiniLM

MAX_NAME = 512


@dataclass(frozen=True)
class Request:
    """One call of `sync_repository` or `plan_repository`, with its parts made and none opened."""

    origin: Origin
    key: RepositoryKey
    store: Store
    lock: ChromaLock
    embedder: Embedder
    chunker: Chunker | OwnChunker
    config: SyncConfig
    deadline: Deadline
    throttle: Throttle | None = None

    @property
    def location(self) -> str:
        """The folder or URL as text, see `Origin.location`."""
        return self.origin.location

    def open_source(self) -> Source:
        """Open what the files come from; to be closed at the end."""
        return open_source(
            self.origin, self.config, store_path=self.store.folder, deadline=self.deadline
        )

    def settled(self, source: Source) -> Request:
        """The same with what the repository says of itself, see `Source.config`."""
        config = source.config
        if config is self.config:
            return self
        return replace(self, config=config, chunker=_make_chunker(config, self.embedder))

    @property
    def model(self) -> str:
        """The fingerprint that vectors are filed under."""
        return self.embedder.identity.fingerprint

    @property
    def recipe(self) -> str:
        """The version of all that turns files' texts into rows, each grammar's included."""
        grammars = sorted(self.chunker.grammars.items())
        return ";".join([self.row_recipe, *map("=".join, grammars)])

    @property
    def row_recipe(self) -> str:
        """The version of all that turns a file's text into rows, but for its grammar's."""
        return f"{ROW_FORMAT}.{self.chunker.recipe}"

    def outdated(self, recipe: str, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that may be cut otherwise now than by `recipe`.

        A grammar that was installed or upgraded since concerns the files of its language only.
        """
        before, *then = recipe.split(";")
        if before != self.row_recipe:
            return list(paths)
        changed = set(then).symmetric_difference(self.recipe.split(";")[1:])
        languages = {entry.partition("=")[0] for entry in changed}
        return [path for path in paths if may_be(path, languages)]


def make_request(
    path: str | os.PathLike[str],
    name: str | None,
    store: object,
    collection: str | None,
    embedding_function: object,
    config: SyncConfig | None,
    lock: object = None,
    cancel: threading.Event | None = None,
    *,
    ref: str | None = None,
    model: MiniLM | None = None,
) -> Request:
    """Check the arguments of a call.

    `model` is the default model, if several calls are to share it.

    Raises:
        ConfigError: one of them cannot be right.
    """
    if config is not None and not isinstance(config, SyncConfig):
        raise ConfigError(f"config={config!r} is not a SyncConfig. Pass SyncConfig(...).")
    config = config or SyncConfig()
    origin = find_origin(path, ref)
    name = check_name(origin.name if name is None else name)
    if collection is None:
        collection = collection_name(name)
    check_collection_name(collection)
    above_root((), config.include, config.exclude)  # raises if a pattern is none
    deadline = Deadline(config.deadline, cancel)
    opened = Store(
        store,
        attempts=config.max_attempts,
        deadline=deadline,
        request_timeout=config.request_timeout,
    )
    if opened.folder == origin.root:
        raise ConfigError(
            f"store={str(origin.root)!r} is the repository's own folder. Pass another folder"
            " for the store; one inside the repository will do, it is not indexed."
        )
    throttle, size = _make_throttle(embedding_function, config, deadline)
    embedder = make_embedder(
        embedding_function,
        model_id=config.model_id,
        batch_size=size,
        throttle=throttle,
        executor=config.executor,
        deadline=deadline,
        model=model,
    )
    return Request(
        origin=origin,
        key=RepositoryKey(opened.tenant, opened.database, collection, name),
        store=opened,
        lock=_make_lock(opened, config, lock),
        embedder=embedder,
        chunker=_make_chunker(config, embedder),
        config=config,
        deadline=deadline,
        throttle=throttle,
    )


def _make_throttle(
    function: object, config: SyncConfig, deadline: Deadline
) -> tuple[Throttle | None, int]:
    """What keeps calls below their rate, and how many texts a call may have."""
    size, limit, unit = config.batch_rows, config.rate_limit, config.rate_limit_by
    if limit is None:
        return None, size
    model = identify(check_callable(function), config.model_id).fingerprint
    return Throttle(limit, unit, model, deadline), min(size, limit) if unit == "texts" else size


def _make_chunker(config: SyncConfig, embedder: Embedder) -> Chunker | OwnChunker:
    if config.chunker is None:
        return Chunker(config.chunk_tokens)
    is_default = embedder.function is None or is_default_model(embedder.function)
    return OwnChunker(config.chunker, config.chunker_version, WINDOW_TOKENS if is_default else None)


def _make_lock(store: Store, config: SyncConfig, given: object) -> ChromaLock:
    """A lock of this run's own, which keeps count of it; `given` is taken along with it."""
    if not isinstance(given, ChromaLock):
        return ChromaLock(store, config.lock_timeout, also=cast("Any", given))
    if not given.is_of(store):
        raise ConfigError(
            "lock= is a ChromaLock of another store. Pass one of this store, or none."
        )
    return ChromaLock(store, config.lock_timeout, also=given.also)


def check_name(name: str) -> str:
    """Give `name` if a repository can have it; `ConfigError` if not."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"name={name!r} is no name for a repository. Pass a non-empty string.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(
            f"name={name!r} is no name for a repository: it must be printable and at most"
            f" {MAX_NAME} characters long."
        )
    return name


def check_owner(request: Request, record: RepositoryRecord) -> None:
    """Raise `NameTaken` if the name belongs to another repository that is still there.

    If that is a folder and it is gone, the clone has moved, and the name moves with it. Of a URL
    that cannot be known; two URLs that differ only in how they are reached are one repository.
    """
    if record.path == request.location or request.origin.is_at(record.path):
        return
    if not is_url(record.path):
        recorded, root = Path(os.fsdecode(unescape_path(record.path))), request.origin.root
        if not _may_be_there(recorded):
            return
        if request.origin.url is None and _is_same(recorded, root):
            return
    raise NameTaken(
        f"The name {request.key.name!r} belongs to {record.path} in collection"
        f" {request.key.collection!r}{'' if is_url(record.path) else ', and that folder exists'}."
        f" Pass another name= for {request.location}, or another collection= or store=, or sync"
        f" {record.path} instead."
    )


def _may_be_there(folder: Path) -> bool:
    """True if it is a folder, or stands where we may not look: that is not gone."""
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _is_same(folder: Path, other: Path) -> bool:
    try:
        return folder.samefile(other)
    except OSError:
        return False
