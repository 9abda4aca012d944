"""Counting and cutting in the tokens of the default model; the only importer of ``tokenizers``.

The vocabulary is that of ``bert-base-uncased`` (30 522 entries), which all-MiniLM-L6-v2 uses. It is
carried as a data file, so that chunking needs no download; see ``reposync/data/NOTICE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


class TokenCounter:
    """Counts in tokens of ``bert-base-uncased``, special tokens left out.

    Counts of texts that are cut at white space add up, because the tokenizer splits there anyway.
    Loads the vocabulary at the first use (about 20 ms), not before.
    """

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each of `texts` has."""
        # One by one: a batch costs as much CPU, and leaves a pool of threads behind in the process.
        encode = self.tokenizer.encode
        return [len(encode(text, add_special_tokens=False)) for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of `text` stands: (start, end) in characters."""
        encoding: Encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.offsets

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself, with neither truncation nor padding."""
        from importlib.resources import as_file, files

        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

        with as_file(files("reposync") / "data" / "vocab.txt") as vocabulary:
            bert = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        return bert._tokenizer  # noqa: SLF001 - the implementation only wraps it
