"""Which Chroma clients of this process see all that was written to a folder, by whomever.

An index in memory never notices what another process writes. So it is noted here, for each live
system, which generation of its folder it reflects, and how the folder looked then. Both belong to
the system, not to a lock: any lock on the folder may bring it up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from reposync.freshness import FolderState
from reposync.store import live_systems, refresh

if TYPE_CHECKING:
    from chromadb.config import System

_reflects: WeakKeyDictionary[System, int] = WeakKeyDictionary()
_glances: WeakKeyDictionary[System, tuple[str, str]] = WeakKeyDictionary()


def bring_up_to_date(folder: Path, generation: int) -> bool:
    """Have every live client of a folder see `generation`; call it under the lock only.

    Returns:
        True if there was one that did not.
    """
    stale = [system for system in live_systems(folder) if _reflects.get(system) != generation]
    for system in stale:
        refresh(system)
        _reflects[system] = generation
    return bool(stale)


def note_writer(folder: Path, system: System | None, generation: int) -> None:
    """Note the system whose index holds what `generation` is about.

    With two systems on one folder in one process (two spellings of its path), only the one that the
    lock was made for is known to; the other is brought up to date the next time.

    Args:
        folder: the store's.
        system: the one that the lock was made for; None: the only one that is live.
        generation: the folder's.
    """
    live = live_systems(folder) if system is None else [system]
    if len(live) == 1:
        _reflects[live[0]] = generation


def note_glance(folder: FolderState, generation: int) -> None:
    """Note how the folder looks now to the clients that see `generation`."""
    glance = folder.glance()
    for system in live_systems(folder.folder):
        if _reflects.get(system) == generation:
            _glances[system] = glance


def are_fresh(folder: FolderState, *, loading: bool) -> bool:
    """True if there are live clients of the folder, and all of them see all that was written.

    Args:
        folder: the store's.
        loading: this process is about to load an index anew. Two calls that do so at once make the
            next write cost seconds.
    """
    glance = folder.glance()
    systems = live_systems(folder.folder)
    if not systems:
        return False
    if all(_glances.get(system) == glance for system in systems):
        return True
    state = folder.read()
    if state is None or any(_reflects.get(s) != state.generation for s in systems):
        return False
    if state.holder is not None and state.holder.is_this_process:
        return not loading  # what this process writes, its client knows
    if not folder.is_unwritten(state, glance):
        return False
    _glances.update(dict.fromkeys(systems, glance))  # somebody only held the lock
    return True
