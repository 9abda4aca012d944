"""The real model for the others: Chroma's own function, with the weights that ours uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

MAKE = """
import os, sys
from pathlib import Path
from reposync.embed.weights import find_weights
from reposync.tokens import TokenCounter
folder = Path(sys.argv[1], "onnx")
folder.mkdir(parents=True, exist_ok=True)
link = folder / "model.onnx"
link.unlink(missing_ok=True)
link.symlink_to(find_weights())
TokenCounter().tokenizer.save(str(folder / "tokenizer.json"))
for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json", "vocab.txt"):
    (folder / name).touch()  # Chroma only looks whether they are there
"""


def make_model(cache: Path, env: Mapping[str, str]) -> Path:
    """The folder that Chroma's function takes the model from."""
    folder = cache / "model"
    command = [sys.executable, "-c", MAKE, str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **env})
    return folder


def fast_packages(cache: Path) -> Path | None:
    """Where the extra ``fast`` lies for those of ours that use it; None if it is installed."""
    if find_spec("openvino"):
        return None
    folder = cache / "fast"
    if not folder.exists():
        print(f"installing openvino in {folder}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--no-deps", "--target", str(folder), "openvino"], check=True)
    return folder
