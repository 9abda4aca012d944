"""Notebooks: their cells, without outputs."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

_LANGUAGES = {"c++": "cpp", "c#": "csharp", "ipython": "python", "python3": "python", "sh": "bash"}


class Cell(NamedTuple):
    """One cell of a notebook; `number` counts all cells from 1."""

    number: int
    language: str
    source: str


def read_cells(text: str) -> list[Cell] | None:
    """The cells of the notebook that `text` is the JSON of; None if it is no such thing.

    Old formats are converted to version 4, as Jupyter does. What JSON can hold and the index cannot
    (half of a surrogate pair, NUL) becomes U+FFFD.
    """
    # Loaded late: it takes 0.2 s, and most repositories have no notebook.
    from nbformat.converter import convert
    from nbformat.reader import reads

    try:
        # Not nbformat.read(), which checks outputs against a schema that nobody here reads.
        notebook = convert(reads(text), 4)  # type: ignore[no-untyped-call]
        language = _language(notebook.get("metadata", {}))
        return [
            Cell(number, _cell_language(cell, language), _clean(cell["source"]))
            for number, cell in enumerate(notebook["cells"], 1)
        ]
    except Exception:  # whatever nbformat meets in a text that may be anything
        logger.debug("a notebook could not be read", exc_info=True)
        return None


def _language(metadata: Any) -> str:
    """The language of code cells: Python if the notebook does not say."""
    name = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get(
        "name"
    )
    name = str(name or "python").lower()
    return _LANGUAGES.get(name, name)


def _cell_language(cell: Any, language: str) -> str:
    return {"code": language, "markdown": "markdown"}.get(cell["cell_type"], "")


def _clean(source: Any) -> str:
    if not isinstance(source, str):
        raise TypeError("the source of a cell is no text")
    clean = source.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean.replace("\0", "\ufffd")
