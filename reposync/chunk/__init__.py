"""Text to chunks: the doorway.

Each kind of text says only how good a place each line is to cut before, and which definitions span
which lines (an `Outline`); one packer does the rest. ``code`` knows syntax, ``prose`` headings and
paragraphs, ``layout`` indentation; ``notebook`` takes notebooks apart into cells. The promises,
for any text:

- Lossless: joining the documents gives the text; no chunk is blank.
- Within the model's window: nothing that is embedded is cut off unseen.
- Local: a small edit changes a chunk or two, because cuts depend on the text around them and not
  on how full the chunks before were.
- Deterministic, and roughly linear in time and memory whatever the text.
"""

from __future__ import annotations

from reposync.chunk.chunker import CHUNKER_VERSION, WINDOW_TOKENS, Chunker
from reposync.chunk.detect import language_of, may_be
from reposync.chunk.own import BadChunks, OwnChunker

__all__ = [
    "CHUNKER_VERSION",
    "WINDOW_TOKENS",
    "BadChunks",
    "Chunker",
    "OwnChunker",
    "language_of",
    "may_be",
]
