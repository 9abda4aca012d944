"""Which files belong to a repository, why the others do not, and what is in those that do.

A `Source` (``source.py``) lists and looks, opening nothing, and reads one file at a time. In a git
work tree git decides what belongs (``git.py``), elsewhere the ignore files do (``ignore.py``,
``walk.py``).
"""

from __future__ import annotations

from reposync.scan.commit import CommitSource
from reposync.scan.entry import Entry
from reposync.scan.git import GitState, git_state
from reposync.scan.listing import list_entries
from reposync.scan.missing import still_there
from reposync.scan.read import read_entry
from reposync.scan.source import FolderSource, Source

__all__ = [
    "CommitSource",
    "Entry",
    "FolderSource",
    "GitState",
    "Source",
    "git_state",
    "list_entries",
    "read_entry",
    "still_there",
]
