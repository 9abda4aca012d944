"""`with_chroma_lock`: functions and coroutine functions that run under the store lock."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from reposync.errors import ConfigError
from reposync.lock.chroma import ChromaLock

P = ParamSpec("P")
R = TypeVar("R")


def with_chroma_lock(
    store: object, timeout: float = 30.0
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function or a coroutine function to run under the store's `ChromaLock`.

    >>> from reposync import with_chroma_lock
    >>> @with_chroma_lock("chroma")
    ... def remember(text):
    ...     return f"{text} is written while nobody else writes"
    >>> remember("this")
    'this is written while nobody else writes'

    A coroutine waits for the lock without blocking its loop.

    Args:
        store: a Chroma client, or the folder of a store.
        timeout: seconds to wait for the lock at each call; after that `LockTimeout` is raised.

    Raises:
        ConfigError: `store` is neither, or the function is a generator, whose body would run after
            the lock was let go.
    """
    lock = ChromaLock(store, timeout)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigError(
                f"{function.__qualname__} is a generator: its body would run after the lock was let"
                " go. Take the lock inside it, with ChromaLock."
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_turn(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with lock:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", in_turn)

        @functools.wraps(function)
        def alone(*args: P.args, **kwargs: P.kwargs) -> R:
            with lock:
                return function(*args, **kwargs)

        return alone

    return decorate
