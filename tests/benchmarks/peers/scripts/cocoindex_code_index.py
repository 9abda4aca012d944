"""cocoindex-code: its indexer on its own engine and vector store (sqlite-vec), without its daemon.

    python cocoindex_code_index.py TREE STORE LOG [MODEL]
    python cocoindex_code_index.py --rows STORE

`--rows` prints all rows, one a line, as JSON: path, text, and whether there is a vector.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from task import DIMENSION, task


def index() -> None:
    job = task()
    os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"
    os.environ["COCOINDEX_CODE_DB_PATH_MAPPING"] = f"{job.tree}={job.store}"
    import asyncio

    import cocoindex as coco
    import numpy as np
    from cocoindex.resources.schema import VectorSchema, VectorSchemaProvider
    from cocoindex_code import indexer
    from cocoindex_code.project import Project
    from cocoindex_code.settings import ProjectSettings

    compute = job.embed()

    class Function(VectorSchemaProvider):
        """Batches and remembers as cocoindex's own embedders do."""

        @coco.fn.as_async(batching=True, runner=coco.GPU, max_batch_size=64)
        def _embed(self, texts: list[str]) -> list[Any]:
            return compute(texts)

        @coco.fn(memo=True, version=1, logic_tracking="self")
        async def embed(self, text: str) -> Any:
            return await self._embed(text)

        async def __coco_vector_schema__(self) -> VectorSchema:
            return VectorSchema(dtype=np.dtype(np.float32), size=DIMENSION)

        def __coco_memo_key__(self) -> object:
            return "bench"

    # By default it indexes some languages only; here, everybody gets the same files.
    everything = ProjectSettings(include_patterns=["**/*"], exclude_patterns=["**/.git"])
    indexer.load_project_settings = lambda _: everything

    async def run() -> None:
        project = await Project.create(job.tree, Function(), {}, {})
        await project.run_index()
        print(project.get_status())
        project.close()

    asyncio.run(run())


def rows(store: Path) -> None:
    import sqlite3

    import sqlite_vec

    database = sqlite3.connect(store / "target_sqlite.db")
    database.enable_load_extension(True)
    sqlite_vec.load(database)
    query = "SELECT file_path, content, embedding IS NOT NULL FROM code_chunks_vec"
    for path, text, vector in database.execute(query):
        print(json.dumps([path, text, bool(vector)]))


if sys.argv[1] == "--rows":
    rows(Path(sys.argv[2]))
else:
    index()
