"""A request for a repository as it was last synced: with its own model, whoever computes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from reposync.config import SyncConfig
from reposync.embed.identity import check_callable, identify
from reposync.errors import EmbeddingError, EmbeddingMismatch
from reposync.opened import Opened
from reposync.operations.findings import Level
from reposync.request import Request, check_owner, make_request


class NoFunction:
    """Stands for the embedding function of a repository where none was passed.

    It tells Chroma the name that is written down with the collection, and computes nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        raise EmbeddingError(
            f"{len(input)} texts have no vector in the cache, and no embedding function was passed:"
            " pass the one of the repository's syncs as embedding_function=."
        )

    embed_query = __call__

    def name(self) -> str:
        """As the function that it stands for."""
        return self._name

    def get_config(self) -> dict[str, Any]:
        """Nothing is known of it."""
        return {}

    def is_legacy(self) -> bool:
        """So that Chroma never writes this class down."""
        return True


@dataclass(frozen=True)
class Asked:
    """What the caller of `verify_repository` or `repair_repository` asked for, see there."""

    path: str | os.PathLike[str] | None
    ref: str | None
    store: object
    level: Level
    function: object
    config: SyncConfig


def recorded_request(one: Opened, asked: Asked) -> Request:
    """What a sync of the repository would be asked, by the model that its rows are of.

    Raises:
        ConfigError: an argument cannot be right. `NameTaken` is one.
        EmbeddingMismatch: the embedding function is not the one of the repository's syncs.
    """
    assert asked.path is not None
    function, config = recorded_function(one.key.name, one.record.model, asked)
    request = make_request(
        asked.path, one.key.name, asked.store, one.key.collection, function, config, ref=asked.ref
    )
    check_owner(request, one.record)
    return request


def recorded_function(
    name: str, model: str, asked: Asked, function_name: str = ""
) -> tuple[object, SyncConfig]:
    """An embedding function and settings that give the model of a repository's rows.

    Args:
        name: of the repository.
        model: of its rows; "" if it has none.
        asked: what the caller passed.
        function_name: what Chroma wrote down with the collection, if that is known.

    Raises:
        ConfigError: it cannot be an embedding function.
        EmbeddingMismatch: it is not the one of the repository's syncs.
    """
    passed = identify(check_callable(asked.function), asked.config.model_id).fingerprint
    if model in ("", passed):
        return asked.function, asked.config
    if asked.function is not None:
        raise EmbeddingMismatch(
            f"{name!r} was synced with the model {model!r}, but the embedding function that was"
            f" passed is {passed!r}. Pass the one of its syncs, or none; to change the model, call"
            " migrate_model."
        )
    config = asked.config.model_copy(update={"model_id": model})
    return NoFunction(function_name or model), config
