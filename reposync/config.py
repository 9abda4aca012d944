"""`SyncConfig`: every setting with its unit, its default and the reason for it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
)
from pydantic.json_schema import SkipJsonSchema

from reposync.errors import ConfigError
from reposync.events import OnEvent
from reposync.records import Chunk
from reposync.settings import Unit

if TYPE_CHECKING:
    from typing_extensions import Self

    from reposync.config_report import ConfigReport
    from reposync.scan.own import OwnSettings
    from reposync.settings import Setting

GIB = 1024**3


class SyncConfig(BaseModel):
    """Settings of a sync. Frozen; unknown names and impossible values raise `ConfigError`.

    >>> from reposync import SyncConfig
    >>> SyncConfig(batch_row=64)
    Traceback (most recent call last):
    ...
    reposync.errors.ConfigError: SyncConfig: batch_row: there is no such setting; did you mean ...
    """

    # JSON knows no infinity: a config that has one would not come back from a queue.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Where values came from that were not passed as arguments; no part of what a config is.
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _file: str | None = PrivateAttr(default=None)
    # Set in what a sync goes by only: what the repository says, and what the caller passed.
    _own: OwnSettings | None = PrivateAttr(default=None)
    _asked: SyncConfig | None = PrivateAttr(default=None)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        **overrides: Any,
    ) -> Self:
        """The settings that environment variables say, one for each: ``REPOSYNC_MAX_FILES=5000``.

        >>> from reposync import SyncConfig
        >>> config = SyncConfig.from_env({"REPOSYNC_MAX_FILES": "5000"}, deadline=60)
        >>> config.max_files, config.deadline
        (5000, 60.0)

        Patterns stand one a line, or as a JSON list; "none" stands for no limit. A variable that is
        empty says nothing. See docs/reference/configuration.md.

        Args:
            environ: the variables; default: those of this process.
            file: a settings file, see `from_file`; what variables say comes before it. Default:
                ``$REPOSYNC_CONFIG``, if that is set.
            overrides: settings that come before both.

        Raises:
            ConfigError: a variable that begins so is none of ours, or its value cannot be right.
        """
        from reposync.settings import FILE_VARIABLE, from_environment, from_file

        environ = os.environ if environ is None else environ
        file = file or environ.get(FILE_VARIABLE)
        found = from_file(file, _textual(cls)) if file else {}
        found.update(from_environment(environ, cls.model_fields))
        return cls._of(found, overrides, file)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """The settings that a TOML file says; of a pyproject.toml, those in ``[tool.reposync]``.

        >>> from reposync import SyncConfig
        >>> with open("sync.toml", "w") as file:
        ...     print('exclude = ["docs/"]', file=file)
        >>> SyncConfig.from_file("sync.toml").exclude
        ('docs/',)

        Args:
            path: the file.
            overrides: settings that come before it.

        Raises:
            ConfigError: it cannot be read, or says what is no setting or cannot be right.
        """
        from reposync.settings import from_file

        return cls._of(from_file(path, _textual(cls)), overrides, path)

    @classmethod
    def _of(
        cls,
        found: Mapping[str, Setting],
        overrides: Mapping[str, Any],
        file: str | os.PathLike[str] | None,
    ) -> Self:
        values = {name: one.value for name, one in found.items()}
        try:
            config = cls(**{**values, **overrides})
        except ConfigError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            places = {name: one.place for name, one in found.items() if name not in overrides}
            raise ConfigError(_explain(error.__cause__, places)) from error.__cause__
        config._origins = {name: one.origin for name, one in found.items() if name not in overrides}
        config._file = os.path.realpath(Path(file).expanduser()) if file else None
        return config

    include: tuple[str, ...] = ()
    """Only files that match one of these patterns (``.gitignore`` syntax); empty: all files."""

    exclude: tuple[str, ...] = ()
    """No files that match one of these patterns (``.gitignore`` syntax)."""

    max_file_bytes: Annotated[PositiveInt, Unit("bytes")] = 1024**2
    """Bytes; larger files are skipped. 1 MiB: what is larger is hardly ever written by a person.
    Notebooks may be 16 times as large: they are mostly outputs, which are not indexed."""

    max_files: Annotated[PositiveInt | None, Unit("files")] = None
    """At most so many files, by the order of their paths; the others are skipped as "over_limit",
    and the result is "partial". None: no limit."""

    max_total_bytes: Annotated[PositiveInt | None, Unit("bytes")] = None
    """At most so many bytes of files together, likewise."""

    repository_settings: bool = True
    """Heed what the repository itself says, in a ``reposync.toml`` or in its pyproject.toml. That
    can narrow what is indexed and set `chunk_tokens`, nothing else; what you say comes before it.
    """

    submodules: bool = False
    """Index what lies in submodules that are checked out, too. Off: they are other repositories."""

    follow_symlinks: bool = False
    """Index what symlinks lead to, if it lies in the repository, under its real path. Off: what
    belongs is listed anyway, and what is ignored is so on purpose."""

    fetch_timeout: Annotated[PositiveFloat, Unit("seconds")] = 600.0
    """Seconds for cloning a git URL, or for fetching what is new there."""

    max_line_chars: Annotated[PositiveInt, Unit("characters")] = 20_000
    """Characters; a file with a longer line is skipped. Nobody wrote such a line, and whoever finds
    a chunk out of its middle can make nothing of it."""

    index_generated: bool = False
    """Index what a program wrote (``*_pb2.py``, ``@generated``), too. False: a search should find
    what people wrote, and generated code is found by what it was made from."""

    index_minified: bool = False
    """Index minified JavaScript and CSS, too. False: it is the copy of a source, without names."""

    index_vendored: bool = False
    """Index copies of other projects (``node_modules/``, ``vendor/``), too. False: they are often
    larger than the project, and would crowd its own code out of the results."""

    index_lock_files: bool = False
    """Index ``package-lock.json``, ``poetry.lock`` and their like, too. False: long lists of
    versions and hashes, which nobody searches by meaning."""

    secrets: Literal["redact", "skip", "keep"] = "redact"
    """What to do about tokens and private keys in a text: replace each of their characters before
    anything else sees it, skip the whole file, or do not look. An index is read by more people, and
    by more programs, than a file is."""

    chunk_tokens: Annotated[int, Field(ge=32, le=200), Unit("tokens")] = 200
    """Tokens a chunk. 200 leaves room for the context within the 254 that all-MiniLM-L6-v2 sees,
    and found the right code best of the sizes tried (see docs/explanation/chunking.md)."""

    chunker: Annotated[
        SkipJsonSchema[Callable[[str, str], Iterable[Chunk]] | None],
        Field(default=None, exclude=True),
    ]
    """Your own way of cutting: takes a path and a text, returns the text's chunks, see
    docs/how-to/own-chunker.md. Not part of ``model_dump()``: a function has no JSON. None: cut by
    syntax, headings and layout, in chunks of `chunk_tokens`."""

    chunker_version: str = ""
    """Change it whenever your own `chunker` cuts otherwise, so that all files are cut anew. Not
    needed if the chunker has an attribute ``recipe`` that says so."""

    batch_rows: Annotated[int, Field(ge=1, le=5000), Unit("rows")] = 128
    """Rows a batch that are written: what is embedded and noted together. From 128 up, a row costs
    Chroma nearly the same. Rows that are only moved or deleted count a quarter."""

    max_lock_hold: Annotated[PositiveFloat, Unit("seconds")] = 0.25
    """Seconds for which to hold the store lock at most. Where rows are dear (a large store, long
    vectors), a batch is written in several holds, as measured on those before. The flush of the
    index, once in 1 000 rows, and its reload after somebody else's write can take longer."""

    lock_timeout: Annotated[NonNegativeFloat, Unit("seconds")] = 30.0
    """Seconds to wait for the store lock, and for another sync of the same repository."""

    max_attempts: Annotated[PositiveInt, Unit("tries")] = 8
    """Tries of a store call, or a call of the embedding function, that failed for a reason that may
    pass. 8 tries span some 9 s of pauses: long enough for a server to be restarted."""

    request_timeout: Annotated[PositiveFloat, Unit("seconds")] = 30.0
    """Seconds for one request to a Chroma server; Chroma's own client would wait for ever. A batch
    takes 0.2 s, and some seconds when a large index is flushed."""

    deadline: Annotated[PositiveFloat | None, Unit("seconds")] = None
    """Seconds for the whole call; then it ends with `DeadlineExceeded` after the batch in flight,
    and the next call goes on from there. None: however long it takes."""

    max_embeds: Annotated[NonNegativeInt | None, Unit("texts")] = None
    """Texts a run computes vectors for at most; a cap on what a run can cost where embedding is
    paid. Files that would need more wait for the next run, keeping what is indexed of them; what
    needs none is done, and the result is "partial". `SyncPlan.embeds` tells the number beforehand.
    None: as many as there are."""

    rate_limit: Annotated[PositiveInt | None, Unit("texts or requests a minute")] = None
    """What the embedding function is given at most in any 60 seconds, in the unit of
    `rate_limit_by`. All syncs of a user on a machine count together, as long as they use the same
    model. Set it to what a paid service allows you: waiting here costs less than being refused
    there. None: as fast as it answers. The default model, which runs here, is never limited."""

    rate_limit_by: Literal["texts", "requests"] = "texts"
    """What `rate_limit` counts: texts, or calls of the embedding function, each with at most
    `batch_rows` texts. Calls that are tried again count again."""

    max_delete_fraction: Annotated[float, Field(ge=0, le=1), Unit("of the indexed files")] = 0.5
    """A sync that would delete more than this share of the indexed files, and at least 10 files, is
    refused: an emptied folder is more often an accident than an instruction."""

    model_id: str | None = None
    """Name of the embedding model, for functions whose own name does not tell models apart."""

    cache_vectors: bool = True
    """Keep vectors outside Chroma, so that nothing is computed twice. False computes anew."""

    max_cache_bytes: Annotated[NonNegativeInt, Unit("bytes")] = 2 * GIB
    """Bytes of vectors to keep at most (1 536 each for the default model). Vectors of chunks that
    are in a collection are kept beyond it."""

    executor: Annotated[
        SkipJsonSchema[InstanceOf[Executor] | None],
        Field(default=None, exclude=True),
        Unit("an executor"),
    ]
    """Where to embed: any `concurrent.futures.Executor`, such as a `ProcessPoolExecutor` or Dask's
    ``client.get_executor()``; it stays yours and is not shut down. See docs/how-to/cluster.md. Not
    part of ``model_dump()``. None: here, on all cores."""

    max_in_flight: Annotated[PositiveInt, Unit("batches")] = 8
    """Batches that are under way at the `executor` at most. Two for each of its workers keep all of
    them busy; a batch of 128 rows takes half a megabyte, and if the sync is killed, what is under
    way is computed again."""

    on_event: Annotated[
        SkipJsonSchema[OnEvent | None],
        Field(default=None, exclude=True),
    ]
    """Takes each `SyncEvent` of the sync, in the syncing thread and at once, so be quick: see
    docs/reference/events.md. What it raises is logged once, and the sync goes on. Not part of
    ``model_dump()``. None: events go to the log, and to OpenTelemetry if that is set up."""

    @property
    def fingerprint(self) -> str:
        """12 hex digits that stand for the settings that decide what is indexed, and how it is cut.

        Your own `chunker` counts by its `chunker_version`; where a value came from does not count.
        """
        deciding = self.model_dump(exclude=_NOT_DECIDING)
        if self._own is not None and self._own.narrows:
            deciding["own"] = (self._own.include, self._own.exclude)
        canonical = json.dumps(deciding, sort_keys=True)
        return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()

    def explain(self) -> ConfigReport:
        """Tell of each setting its value, where that came from, its unit and its reason.

        >>> from reposync import SyncConfig
        >>> print(SyncConfig(max_files=5000).explain())
        include = ()  [default]
        ...
        max_files = 5000 files  [argument]
        ...
        """
        from reposync.config_report import report_config

        return report_config(self)

    @property
    def own(self) -> OwnSettings | None:
        """What the repository says of itself; None unless this is what a sync of it goes by."""
        return self._own

    @property
    def file(self) -> str | None:
        """The settings file that the caller named, as an absolute path."""
        return self._file

    def origin(self, name: str) -> str:
        """Where the value of a setting came from: "default", "argument", or a place."""
        if self._own is not None and name in self._own.taken:
            return f"repository: {self._own.file}"
        if name not in self.model_fields_set:
            return "default"
        return self._origins.get(name, "argument")

    def heeding(self, own: OwnSettings) -> Self:
        """These settings and what the repository says of itself: what a sync of it goes by."""
        free = own.chunk_tokens is not None and "chunk_tokens" not in self.model_fields_set
        config = self.model_copy(update={"chunk_tokens": own.chunk_tokens} if free else {})
        config._own = own.taking("chunk_tokens") if free else own  # noqa: SLF001 - of this class
        config._asked = self  # noqa: SLF001
        return config

    @property
    def asked(self) -> SyncConfig:
        """What the caller passed, without what the repository says of itself."""
        return self if self._asked is None else self._asked

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As of any pydantic model; what is updated counts as an argument."""
        origins = {k: v for k, v in self._origins.items() if k not in (update or {})}
        config = super().model_copy(update=update, deep=deep)
        config._origins = origins  # noqa: SLF001 - of this class
        if self._asked is not None:
            config._asked = self._asked.model_copy(update=update, deep=deep)  # noqa: SLF001
        return config

    def __eq__(self, other: object) -> bool:
        # Pydantic's own would compare where the values came from, too.
        if not isinstance(other, SyncConfig):
            return NotImplemented
        return self.__dict__ == other.__dict__ and self._own == other._own

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))


_NOT_DECIDING = {
    *("batch_rows", "cache_vectors", "deadline", "fetch_timeout", "lock_timeout", "max_attempts"),
    *("max_cache_bytes", "max_delete_fraction", "max_embeds", "max_in_flight", "max_lock_hold"),
    *("rate_limit", "rate_limit_by", "repository_settings", "request_timeout"),
}
"""How, how fast and how patiently; whatever these are, the same is indexed. What the repository
says itself counts where it is heeded."""


def _textual(config: type[SyncConfig]) -> list[str]:
    from reposync.settings import is_textual

    return [name for name, field in config.model_fields.items() if is_textual(field)]


def _explain(error: ValidationError, places: Mapping[str, str] | None = None) -> str:
    """All that is wrong, in one line; each problem named by its place, where that is known."""
    problems = []
    for item in error.errors():
        name = ".".join(map(str, item["loc"])) or "config"
        message = item["msg"]
        if item["type"] == "extra_forbidden":
            from reposync.settings import near

            message = f"there is no such setting{near(name, SyncConfig.model_fields)}"
        place = (places or {}).get(str(item["loc"][0]) if item["loc"] else "")
        problems.append(f"{place or name}: {message}")
    whose = "Settings" if places else "SyncConfig"
    return f"{whose}: {'; '.join(problems)}. See help(reposync.SyncConfig) for the settings."
