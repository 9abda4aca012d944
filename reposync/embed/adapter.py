"""A plain callable in the shape that Chroma asks of an embedding function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_NEEDED_BY_CHROMA = ("name", "get_config", "is_legacy", "embed_query")


class CallableFunction:
    """Wraps `call`, so that a collection opened with it embeds queries with it too.

    Chroma 1.5 refuses a lambda, and takes an object with only ``__call__`` but fails at the first
    query. Nothing here can be rebuilt from a configuration, so it calls itself "legacy": Chroma
    then records no function with the collection, and a reader has to pass its own.
    """

    def __init__(self, call: Callable[[list[str]], Any], name: str) -> None:
        self._call = call
        self._name = name

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma checks the parameter's name
        return self._call(input)

    def embed_query(self, input: list[str]) -> Any:  # noqa: A002 - Chroma passes it by name
        return self._call(input)

    def name(self) -> str:
        return self._name

    def get_config(self) -> dict[str, Any]:
        return {}

    def is_legacy(self) -> bool:
        return True


def as_chroma_function(function: Any, name: str) -> Any:
    """`function` itself if Chroma can use it as it is, else wrapped."""
    if all(hasattr(function, method) for method in _NEEDED_BY_CHROMA):
        return function
    return CallableFunction(function, name)
