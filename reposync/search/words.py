"""The words of a text, a path or a query: identifiers whole and in their parts, in one spelling."""

from __future__ import annotations

import re
import unicodedata

_RUN = re.compile(r"\w+")
_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PART = re.compile(rf"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[{_ASIAN}]+|[^\W\d_A-Za-z{_ASIAN}]+")
_MARKS = re.compile("[\u0300-\u036f]+")

LONGEST = 100
"""Characters. What is longer is data, which nobody types; a SHA-512 in hex is not found whole."""

REMEMBERED = 200_000
"""Words whose parts are kept at hand while an index is built: some 50 MB."""


class Words(dict[str, str]):
    """What is indexed for a run of letters, digits and underscores, worked out once for each."""

    def __missing__(self, run: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        self[run] = found = " ".join(_words(run))
        return found

    def of(self, text: str) -> str:
        """All words of a text, separated by blanks, repeated as they are in it."""
        return " ".join([self[run] for run in _RUN.findall(folded(text))])


def query_words(query: str) -> list[str]:
    """The words of a query, each once, in its order."""
    return list(dict.fromkeys(Words().of(query).split()))


def folded(text: str) -> str:
    """One spelling for what looks alike: accents are taken away, wide letters made plain."""
    if text.isascii():
        return text
    apart = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", apart)


def _words(run: str) -> list[str]:
    """``getUserName``: getusername get user name. ``MAX_HOLD``: max_hold max hold. ``run``: run."""
    whole = run.strip("_").lower()
    parts = [piece for part in _PART.findall(run) for piece in _pieces(part)]
    found = [whole, *parts] if len(parts) > 1 or parts[:1] != [whole] else parts
    return [word for word in found if 0 < len(word) <= LONGEST]


def _pieces(part: str) -> list[str]:
    """Scripts that set no blanks between words are searched by every two neighbours."""
    if "\u3040" <= part[0] <= "\ufaff" and len(part) > 1:
        return [part[at : at + 2] for at in range(len(part) - 1)]
    return [part.lower()]
