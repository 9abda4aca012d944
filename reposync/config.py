"""`SyncConfig`: every setting with its unit, its default and the reason for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from reposync.errors import ConfigError
from reposync.events import OnEvent
from reposync.records import Chunk

GIB = 1024**3


class SyncConfig(BaseModel):
    """Settings of a sync. Frozen; unknown names and impossible values raise `ConfigError`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error

    include: tuple[str, ...] = ()
    """Only files that match one of these patterns (``.gitignore`` syntax); empty: all files."""

    exclude: tuple[str, ...] = ()
    """No files that match one of these patterns (``.gitignore`` syntax)."""

    max_file_bytes: Annotated[int, Field(gt=0)] = 1024**2
    """Bytes; larger files are skipped. 1 MiB: what is larger is hardly ever written by a person.
    Notebooks may be 16 times as large: they are mostly outputs, which are not indexed."""

    max_files: Annotated[int, Field(gt=0)] | None = None
    """At most so many files, by the order of their paths; the others are skipped as "over_limit",
    and the result is "partial". None: no limit."""

    max_total_bytes: Annotated[int, Field(gt=0)] | None = None
    """At most so many bytes of files together, likewise."""

    submodules: bool = False
    """Index what lies in submodules that are checked out, too. Off: they are other repositories."""

    follow_symlinks: bool = False
    """Index what symlinks lead to, if it lies in the repository, under its real path. Off: what
    belongs is listed anyway, and what is ignored is so on purpose."""

    fetch_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds for cloning a git URL, or for fetching what is new there."""

    max_line_chars: Annotated[int, Field(gt=0)] = 20_000
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

    chunk_tokens: Annotated[int, Field(ge=32, le=200)] = 200
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

    batch_rows: Annotated[int, Field(ge=1, le=5000)] = 128
    """Rows a batch that are written: what is embedded and noted together. From 128 up, a row costs
    Chroma nearly the same. Rows that are only moved or deleted count a quarter."""

    max_lock_hold: Annotated[float, Field(gt=0)] = 0.25
    """Seconds for which to hold the store lock at most. Where rows are dear (a large store, long
    vectors), a batch is written in several holds, as measured on those before. The flush of the
    index, once in 1 000 rows, and its reload after somebody else's write can take longer."""

    lock_timeout: Annotated[float, Field(ge=0)] = 30.0
    """Seconds to wait for the store lock, and for another sync of the same repository."""

    max_attempts: Annotated[int, Field(ge=1)] = 8
    """Tries of a store call, or a call of the embedding function, that failed for a reason that may
    pass. 8 tries span some 9 s of pauses: long enough for a server to be restarted."""

    request_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds for one request to a Chroma server; Chroma's own client would wait for ever. A batch
    takes 0.2 s, and some seconds when a large index is flushed."""

    deadline: Annotated[float, Field(gt=0)] | None = None
    """Seconds for the whole call; then it ends with `DeadlineExceeded` after the batch in flight,
    and the next call goes on from there. None: however long it takes."""

    max_embeds: Annotated[int, Field(ge=0)] | None = None
    """Texts a run computes vectors for at most; a cap on what a run can cost where embedding is
    paid. Files that would need more wait for the next run, keeping what is indexed of them; what
    needs none is done, and the result is "partial". `SyncPlan.embeds` tells the number beforehand.
    None: as many as there are."""

    rate_limit: Annotated[int, Field(gt=0)] | None = None
    """What the embedding function is given at most in any 60 seconds, in the unit of
    `rate_limit_by`. All syncs of a user on a machine count together, as long as they use the same
    model. Set it to what a paid service allows you: waiting here costs less than being refused
    there. None: as fast as it answers. The default model, which runs here, is never limited."""

    rate_limit_by: Literal["texts", "requests"] = "texts"
    """What `rate_limit` counts: texts, or calls of the embedding function, each with at most
    `batch_rows` texts. Calls that are tried again count again."""

    max_delete_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A sync that would delete more than this share of the indexed files, and at least 10 files, is
    refused: an emptied folder is more often an accident than an instruction."""

    model_id: str | None = None
    """Name of the embedding model, for functions whose own name does not tell models apart."""

    cache_vectors: bool = True
    """Keep vectors outside Chroma, so that nothing is computed twice. False computes anew."""

    max_cache_bytes: Annotated[int, Field(ge=0)] = 2 * GIB
    """Bytes of vectors to keep at most (1 536 each for the default model). Vectors of chunks that
    are in a collection are kept beyond it."""

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

        Your own `chunker` counts by its `chunker_version`.
        """
        deciding = self.model_dump(exclude=_NOT_DECIDING)
        canonical = json.dumps(deciding, sort_keys=True)
        return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()


_NOT_DECIDING = {
    *("batch_rows", "cache_vectors", "deadline", "fetch_timeout", "lock_timeout", "max_attempts"),
    *("max_cache_bytes", "max_delete_fraction", "max_embeds", "max_lock_hold"),
    *("rate_limit", "rate_limit_by", "request_timeout"),
}
"""How, how fast and how patiently; whatever these are, the same is indexed."""


def _explain(error: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}" for item in error.errors()
    )
    return f"SyncConfig: {problems}. See help(reposync.SyncConfig) for the settings."
