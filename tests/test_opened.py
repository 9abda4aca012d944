"""A repository is found again by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from reposync import ConfigError, UnknownRepository, sync_repository
from reposync.opened import opened, opened_store
from tests.support import HashEmbedding


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two repositories, one of them in two collections."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a.py").write_text("print('a')\n")
    for name, collection in (("one", None), ("two", "first"), ("two", "second")):
        sync_repository(
            tmp_path / "tree",
            name,
            store=tmp_path / "store",
            collection=collection,
            embedding_function=HashEmbedding(),
        )
    return tmp_path / "store"


def test_found_by_its_name_alone(store: Path) -> None:
    """The collection need not be named where only one holds the repository."""
    with opened_store(store) as found, opened(found, "one") as repository:
        assert repository.key.collection == "one"
        assert set(repository.manifest.files(repository.record.id)) == {"a.py"}


def test_a_name_in_two_collections(store: Path) -> None:
    """Of two, the caller has to say which."""
    with opened_store(store) as found:
        with (
            pytest.raises(ConfigError, match=r"'first', 'second'.*collection="),
            opened(found, "two"),
        ):
            pass
        with opened(found, "two", "second") as repository:
            assert repository.key.collection == "second"


def test_an_unknown_name(store: Path) -> None:
    """The error says which names there are."""
    with (
        opened_store(store) as found,
        pytest.raises(UnknownRepository, match="'one', 'two'"),
        opened(found, "three"),
    ):
        pass


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    """A folder that is no store stays as it is."""
    with pytest.raises(ConfigError, match="no store"), opened_store(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()
