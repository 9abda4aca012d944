"""Chroma's own embedding function, with weights that are on this machine already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reposync.tokens import TokenCounter

_LOOKED_FOR = ("config.json", "special_tokens_map.json", "tokenizer_config.json", "vocab.txt")


def chromas_function(weights: Path, folder: Path) -> Any:
    """Chroma's function, set up in `folder` as if it had downloaded the ONNX file `weights`."""
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    files = folder / ONNXMiniLM_L6_V2.EXTRACTED_FOLDER_NAME
    files.mkdir(parents=True)
    (files / "model.onnx").symlink_to(weights)
    TokenCounter().tokenizer.save(str(files / "tokenizer.json"))
    for name in _LOOKED_FOR:
        (files / name).touch()
    function = ONNXMiniLM_L6_V2()
    function.DOWNLOAD_PATH = folder
    return function
