"""What is to be done about each finding: decided here, done in `reposync.operations.repair`."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from reposync.operations.findings import Finding
from reposync.report import Report

Remedy = Literal["sync", "delete", "vector", "cache", "index", "metadata", "settle", "none"]

_WORDS: dict[Remedy, str] = {
    "sync": "brought in step by a sync from the files",
    "delete": "deleted",
    "vector": "its vector is written again",
    "cache": "its vector is cached anew",
    "index": "the index is put aside, and all vectors are written back",
    "metadata": "its metadata is restored",
    "settle": "finished, or undone",
}

_FILES = "nothing: pass path=, to bring it in step from the files"
_FUNCTION = "nothing: pass embedding_function=, to compute what is lost"
_MODEL = "nothing: call migrate_model, or pass the function that the rows were made with"
_UNREADABLE = "nothing: see to it that the file can be read"
_SERVER = "nothing: pass path=, or restart the server, and see what it says of its index"


class RepairStep(Report):
    """A finding, and what is done about it.

    Attributes:
        finding: what `verify_repository` found.
        remedy: what is done; "none" if nothing can be.
        detail: the same in words; of "none", what you can do.
    """

    finding: Finding
    remedy: Remedy
    detail: str

    def __str__(self) -> str:
        return f"{self.finding} -> {self.detail}"

    def _row(self) -> dict[str, object]:
        found = self.finding
        cells = {"kind": found.kind, "path": found.path, "id": found.id, "found": found.detail}
        return {**cells, "remedy": self.detail}


@dataclass(frozen=True)
class Means:
    """What there is to repair with.

    Attributes:
        files: the caller passed a path.
        function: an embedding function is there to compute with.
        folder: the store is in a folder, so that its index can be put aside.
        noted: the ids that the manifest notes.
        cached: the ids of rows whose right vectors are known.
        restorable: the ids of rows whose metadata is known without their files.
    """

    files: bool
    function: bool
    folder: bool
    noted: Container[str]
    cached: Container[str] = ()
    restorable: Container[str] = ()


def remedy(finding: Finding, means: Means) -> RepairStep:
    """What is to be done about one finding."""
    found, why = _remedy(finding, means)
    return RepairStep(finding=finding, remedy=found, detail=why or _WORDS[found])


def _remedy(finding: Finding, means: Means) -> tuple[Remedy, str]:
    kind, row = finding.kind, finding.id
    if kind == "unsettled":
        return "settle", ""
    if kind == "model":
        return "none", _MODEL
    if kind == "index" or (kind == "unreadable" and row):
        return _index(means)
    if kind == "unreadable":
        return "none", _UNREADABLE
    if kind in ("vector", "cache"):
        return _vector(finding, means)
    if kind in ("stale", "double", "foreign") and row and row not in means.noted:
        return "delete", ""
    if kind == "metadata" and not means.files and row in means.restorable:
        return "metadata", ""
    if kind == "collection" and not means.function:
        return "none", _FUNCTION  # it is to say whose vectors are in the new one
    return ("sync", "") if means.files else ("none", _FILES)


def _index(means: Means) -> tuple[Remedy, str]:
    if means.folder:
        return "index", ""
    return ("sync", "") if means.files and means.function else ("none", _SERVER)


def _vector(finding: Finding, means: Means) -> tuple[Remedy, str]:
    if means.function or finding.id in means.cached:
        return ("vector" if finding.kind == "vector" else "cache"), ""
    return "none", _FUNCTION
