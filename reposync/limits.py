"""Which settings kept a run from doing all that there is to do, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reposync.config import SyncConfig
from reposync.errors import DeadlineExceeded
from reposync.tally import Tally


@dataclass(frozen=True, slots=True)
class Limit:
    """A setting that was reached.

    Attributes:
        name: of the setting in `SyncConfig`.
        value: its value.
        warning: what that means, in words.
    """

    name: str
    value: float
    warning: str


def reached(
    config: SyncConfig, tally: Tally, error: BaseException | None = None
) -> Iterator[Limit]:
    """The limits that a run came up against, `error` being what ended it."""
    beyond = sum(reason == "over_limit" for reason in tally.skipped.values())
    if beyond:
        limits = {"max_files": config.max_files, "max_total_bytes": config.max_total_bytes}
        given = {name: value for name, value in limits.items() if value is not None}
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        for name, value in given.items():
            yield Limit(
                name,
                value,
                f"{beyond} files lie beyond the limit ({told}) and are not indexed. Raise it and"
                " sync again to go on.",
            )
    if tally.put_off:
        most = config.max_embeds
        assert most is not None
        yield Limit(
            "max_embeds",
            most,
            f"{len(tally.put_off)} files wait, since the limit (max_embeds={most}) was reached."
            " Sync again to go on, or raise it.",
        )
    if isinstance(error, DeadlineExceeded):
        assert config.deadline is not None
        yield Limit(
            "deadline",
            config.deadline,
            f"The limit (deadline={config.deadline:g}) was reached. Sync again to go on.",
        )
