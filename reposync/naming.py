"""Names: of collections, within Chroma's rules; and which one was perhaps meant."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from reposync.errors import ConfigError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")  # Chroma's rule

BESIDE = "*.reposync-new-" + 8 * "[0-9a-f]"
"""A `beside_name`, as a pattern for file names or SQL's GLOB."""

_KEPT_CHARS = 480  # Chroma allows 512


def nearest(name: str, names: Iterable[str]) -> str:
    """Which of `names` were perhaps meant by `name`, as a sentence; "" if none is near."""
    import difflib

    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""


def collection_name(repository: str) -> str:
    """A collection name for a repository: the same where Chroma allows it, else without collisions.

    A name that has to be changed gets eight hex digits of its hash, so that "a b" and "a/b" differ.
    """
    if _is_collection_name(repository):
        return repository
    digest = hashlib.sha256(repository.encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-zA-Z0-9._-]+|[.]{2,}", "-", repository).strip("._-")[:100].strip("._-")
    return f"{slug}-{digest}" if slug else f"repository-{digest}"


def beside_name(collection: str) -> str:
    """What the collection is called that is built beside `collection`, to replace it."""
    return _derived(collection, "new")


def replaced_name(collection: str) -> str:
    """What `collection` is called while another one takes its place."""
    return _derived(collection, "old")


def is_beside(collection: str) -> bool:
    """True if this is a `beside_name`."""
    return fnmatchcase(collection, BESIDE)


def _derived(collection: str, what: str) -> str:
    # The same each time, so that whoever comes after a kill knows where to look.
    digest = hashlib.sha256(collection.encode()).hexdigest()[:8]
    return f"{collection[:_KEPT_CHARS].rstrip('._-')}.reposync-{what}-{digest}"


def check_collection_name(name: str) -> None:
    """Raise `ConfigError` unless Chroma takes `name` for a collection."""
    if not isinstance(name, str) or not _is_collection_name(name):
        raise ConfigError(
            f"collection={name!r} is no name for a Chroma collection: use 3 to 512 of"
            " [a-zA-Z0-9._-], with a letter or digit at both ends, no two dots in a row,"
            " and no IP address."
        )


def _is_collection_name(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return _NAME.fullmatch(name) is not None and ".." not in name
    return False
