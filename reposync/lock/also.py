"""Another lock that is held along with the store's, such as one in Redis; its errors made ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from reposync.errors import ConfigError, LockError, LockTimeout


def check_reusable(also: object) -> AbstractContextManager[object]:
    """Give `also` if it is a lock that can be taken again and again.

    Raises:
        ConfigError: it is none.
    """
    if not hasattr(also, "__enter__") or not hasattr(also, "__exit__"):
        raise ConfigError(
            f"lock={also!r} is no lock: pass a ChromaLock, or a context manager that can be entered"
            " again and again, for example redis.Redis(...).lock(...)."
        )
    if hasattr(also, "gen"):  # made by contextlib.contextmanager
        raise ConfigError(
            f"lock={also!r} can be entered only once, but the lock is taken for each batch. Pass an"
            " object that can be entered again and again, for example redis.Redis(...).lock(...)."
        )
    return cast("AbstractContextManager[object]", also)


@contextmanager
def holding(also: AbstractContextManager[object] | None) -> Iterator[None]:
    """Hold another lock for the block, if there is one.

    Raises:
        LockTimeout: it was not free in its own time.
        LockError: it cannot be taken, or was lost while it was held.
    """
    if also is None:
        yield
        return
    try:
        also.__enter__()
    except Exception as error:
        kind = LockTimeout if _says_timeout(error) else LockError
        raise kind(
            f"The lock= that was passed could not be taken ({type(error).__name__}: {error})."
            " Wait for its holder to end, or give it a longer timeout."
        ) from error
    failed: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failed = error
        raise
    finally:
        _let_go(also, failed)


def _let_go(also: AbstractContextManager[object], failed: BaseException | None) -> None:
    traceback = failed.__traceback__ if failed else None
    try:
        also.__exit__(type(failed) if failed else None, failed, traceback)
    except Exception as error:
        raise LockError(
            f"The lock= that was passed was lost while it was held ({type(error).__name__}:"
            f" {error}): others may have written meanwhile. Give it a longer timeout, and sync"
            " again: that goes on from there."
        ) from error


def _says_timeout(error: Exception) -> bool:
    # redis-py's LockError says that a lock was not free in time; it is no TimeoutError.
    return isinstance(error, TimeoutError) or type(error).__name__ == "LockError"
