"""Who is compared."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")
ROOT = Path(__file__).parents[3]
ENV = {
    # Ours is run from its sources, whatever is installed.
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    "ANONYMIZED_TELEMETRY": "False",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
"""For every program that is run."""


@dataclass(frozen=True)
class Tool:
    """One way to keep a collection in step with a folder.

    Attributes:
        script: takes the arguments that ``scripts/task.py`` explains.
        packages: what its environment must have; empty for ours, which runs where this does. With
            our version of chromadb, unless it names one.
        bare: what is installed there without what it requires: `packages` has what is needed of it.
        elsewhere: where its rows are, if not in a Chroma folder that our version opens as it is;
            the script then prints them when asked to.
        extensions: its Python must be one whose sqlite3 loads extensions.
        hides: a package that must seem not to be installed.
    """

    name: str
    script: str
    packages: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    elsewhere: str = ""
    extensions: bool = False
    hides: str = ""

    @property
    def shown(self) -> tuple[str, ...]:
        """The packages whose versions are told."""
        return (*(self.bare or self.packages or ("reposync",)), "chromadb")

    def command(self, python: str | Path, *arguments: str | Path) -> list[str | Path]:
        """What runs it."""
        return [python, SCRIPTS / self.script, *arguments]


OURS = Tool("reposync", "ours.py", hides="openvino")
FAST = Tool("reposync[fast]", "ours.py")
TOOLS = {
    "ours": OURS,
    "fast": FAST,
    "langchain": Tool(
        "LangChain index()",
        "langchain_index.py",
        (
            "langchain-chroma",
            "langchain-classic",
            "langchain-text-splitters",
            "sqlalchemy[asyncio]",
        ),
    ),
    "llamaindex": Tool(
        "LlamaIndex pipeline",
        "llamaindex_pipeline.py",
        ("llama-index-core", "llama-index-vector-stores-chroma"),
    ),
    "cocoindex": Tool(
        "cocoindex-code",
        "cocoindex_code_index.py",
        ("cocoindex-code",),
        elsewhere="in sqlite-vec",
        extensions=True,
    ),
    "vectorcode": Tool(
        "VectorCode",
        "vectorcode_vectorise.py",
        (
            "chromadb<=0.6.3",
            # Later ones fetch each grammar from the network when it is first used.
            "tree-sitter-language-pack<1",
            "tree-sitter!=0.25.0",
            "charset-normalizer>=3.4.1",
            "colorlog",
            "filelock>=3.15.0",
            "httpx",
            "json5",
            "numpy",
            "pathspec",
            "posthog<6.0.0",
            "psutil",
            "pygments",
            "shtab",
            "tabulate",
        ),
        # It requires sentence-transformers, too, for another embedding function than the one used
        # here: gigabytes that would not be loaded.
        bare=("VectorCode",),
        elsewhere="in the format of its own chromadb",
    ),
    "notebook": Tool("notebook script", "notebook.py", ("onnxruntime", "tokenizers")),
}
PLAIN = "plain Chroma, our rows"
CHROMAS = "embedding alone, Chroma's function"
RUNNER = "embedding alone, our runner"


def floors(tree: Path) -> dict[str, list[str | Path]]:
    """What costs something before any sync does something."""
    floor: list[str | Path] = [sys.executable, SCRIPTS / "floor.py"]
    return {
        "bare Python": [sys.executable, "-c", "pass"],
        "git status": ["git", "-C", tree, "status", "--porcelain"],
        "walk and stat": [*floor, "walk", tree],
        "read and hash all": [*floor, "hash", tree],
        "import chromadb": [*floor, "chromadb", tree],
    }
