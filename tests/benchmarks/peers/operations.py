"""What is measured, in this order; each begins where the one before it ended, unless `fresh`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import changes


class Operation(NamedTuple):
    """Attributes:
    change: what happens to the files before it.
    fresh: into a new store, which is used for this operation only.
    killed: with SIGKILL when it has embedded half of what a cold run embeds; the run that then
        brings it to an end is what is timed, and the texts of both are counted.
    neighbour: another process writes into the collection meanwhile.
    """

    title: str
    change: Callable[[Path], str] | None = None
    fresh: bool = False
    killed: bool = False
    neighbour: bool = False


UNCHANGED = Operation("nothing changed")
OPERATIONS = {
    "cold": Operation("cold"),
    "killed": Operation("killed half-way, resumed", fresh=True, killed=True),
    "shared": Operation("cold, while another process writes", fresh=True, neighbour=True),
    "unchanged": UNCHANGED,
    "changed": Operation("1 % of the files changed", changes.change),
    "renamed": Operation("a folder renamed", changes.rename),
    "deleted": Operation("1 % of the files deleted", changes.delete),
}
