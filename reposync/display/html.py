"""HTML that cannot be torn: what is put into an element is escaped, unless it is an element."""

from __future__ import annotations

from html import escape

from reposync.words import one_line

_VOID = frozenset({"rect"})


class Html(str):
    """HTML that was made here; any other text is escaped where it is put into an element."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: object) -> Html:
    """An element. Of attributes, a trailing ``_`` is cut off, and False and None leave them out."""
    shown = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Elements and texts, one after the other."""
    return Html("".join(c if isinstance(c, Html) else _text(c) for c in children))


def _text(value: object) -> str:
    return escape(one_line(str(value)))


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
