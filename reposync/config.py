"""`SyncConfig`: every setting with its unit, its default and the reason for it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reposync.errors import ConfigError

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
    """Bytes; larger files are skipped. 1 MiB: what is larger is hardly ever written by a person."""

    chunk_tokens: Annotated[int, Field(ge=32, le=200)] = 200
    """Tokens a chunk. 200 leaves room for the context within the 254 that all-MiniLM-L6-v2 sees,
    and found the right code best of the sizes tried (see docs/explanation/chunking.md)."""

    batch_rows: Annotated[int, Field(ge=1, le=5000)] = 128
    """Rows a batch. Chroma's cost of a row is flat from 128 up, and 128 hold the lock 0.14 s."""

    lock_timeout: Annotated[float, Field(ge=0)] = 30.0
    """Seconds to wait for the store lock, and for another sync of the same repository."""

    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Tries of a store call that failed for a reason that may pass."""

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


def _explain(error: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}" for item in error.errors()
    )
    return f"SyncConfig: {problems}. See help(reposync.SyncConfig) for the settings."
