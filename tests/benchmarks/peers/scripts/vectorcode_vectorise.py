"""VectorCode: ``vectorcode vectorise --recursive``; it starts and ends a Chroma server of its own.

    python vectorcode_vectorise.py TREE STORE LOG [MODEL]
    python vectorcode_vectorise.py --rows STORE

`--rows` prints all rows, one a line, as JSON: path, text, and whether there is a vector.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from task import task

UNREACHABLE = "http://127.0.0.1:1"
"""Its own address is that of any Chroma server on this machine; nothing listens here."""


def vectorise() -> int:
    job = task()
    home, data = job.store / "home", job.store / "chroma"
    data.mkdir(parents=True, exist_ok=True)
    config = home / ".config" / "vectorcode" / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        json.dumps(
            {
                # By its documentation, a name in `chromadb.utils.embedding_functions`.
                "embedding_function": "Function",
                "db_url": UNREACHABLE,
                "db_path": str(data),
                "db_log_path": str(job.store / "log"),
            }
        )
    )
    compute = job.embed()  # finds the weights itself, wherever home is
    os.environ["HOME"] = str(home)
    from chromadb.utils import embedding_functions
    from vectorcode.main import main

    class Function:
        def __call__(self, texts: list[str]) -> list[list[float]]:
            return [vector.tolist() for vector in compute(texts)]

    setattr(embedding_functions, "Function", Function)  # noqa: B010
    sys.argv = ["vectorcode", "vectorise", "--recursive", "--project_root", str(job.tree)]
    sys.argv += ["--pipe", str(job.tree)]
    return main()


def rows(store: Path) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(store / "chroma"))
    (name,) = client.list_collections()
    collection = client.get_collection(str(name), embedding_function=None)
    root = collection.metadata["path"]
    found = collection.get(include=["documents", "metadatas", "embeddings"])  # type: ignore[list-item]
    for metadata, text, vector in zip(
        found["metadatas"] or [], found["documents"] or [], found["embeddings"], strict=True
    ):
        path = os.path.relpath(str(metadata["path"]), root)
        if text != path:  # each file has a row with its path for a text, on purpose
            print(json.dumps([path, text, vector is not None]))


if sys.argv[1] == "--rows":
    rows(Path(sys.argv[2]))
else:
    sys.exit(vectorise())
