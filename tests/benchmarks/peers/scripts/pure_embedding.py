"""The floor for vectors: the distinct texts that our sync embedded, and nothing else.

    python pure_embedding.py DELTA LOG [MODEL]

With MODEL Chroma's own function embeds them, without it our own runner.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from task import Task, chromas_own, hide

BATCH = 1000

delta, log, *model = map(Path, sys.argv[1:])
texts: dict[str, None] = {}
with delta.open("rb") as file:
    while True:
        try:
            action, arguments = pickle.load(file)
        except EOFError:
            break
        if action == "upsert":
            for text, metadata in zip(arguments["documents"], arguments["metadatas"], strict=True):
                context = metadata.get("context")
                texts[f"{context}\n{text}" if context else text] = None
if model:
    embed = chromas_own(model[0])
else:
    hide()
    from reposync.embed import make_embedder

    embed = make_embedder(None).embed
distinct = list(texts)
for start in range(0, len(distinct), BATCH):
    embed(distinct[start : start + BATCH])
Task(log, log, log, None).note(len(distinct))
