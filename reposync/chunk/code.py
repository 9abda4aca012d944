"""Source code: a syntax tree tells what is defined where, and refines what the layout tells.

Where to cut depends on rows of the tree, never on its byte offsets. Nothing is recursive,
and a node that begins and ends on one row is not entered: it cannot be cut.

A file that is being edited is often broken, and a parser may then lose the class around a hundred
methods. The definitions that hold an error therefore end where the layout says, and headers that
the parser lost are found by their keyword.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from reposync.chunk.grammar import Def, Language, load_grammar
from reposync.chunk.languages import LEADING, WRAPPERS
from reposync.chunk.layout import ends_by_layout, ranks_by_layout
from reposync.chunk.outline import Outline, Span
from reposync.chunk.parse import parse

if TYPE_CHECKING:
    from tree_sitter import Node

_GENERICS = re.compile(r"<[^<>]*>")
_RECEIVER = re.compile(r"(\w+)\s*(?:\[.*\])?\s*\)$", re.DOTALL)
_NAME_CHARS = 100
_LOST_HEADER = re.compile(
    r"\s*(?:(?:export|default|public|private|protected|static|final|abstract|async|pub|unsafe)\s+)*"
    r"(class|interface|struct|enum|trait|impl|namespace|def|fn|func|function)\s+(\w+)[^;]*$"
)
_KIND = {"def": "function", "fn": "function", "func": "function"}


def code_outline(language: Language, text: str, lines: list[str]) -> Outline | None:
    """The outline of a program, whole or broken; None if it cannot or should not be parsed."""
    grammar = load_grammar(language.module, language.function)
    parsed = parse(grammar, text, lines) if grammar else None
    if parsed is None:
        return None
    root, data = parsed
    walk = _Walk(language.definitions, data, len(lines))
    walk.run(root)
    depths = list(accumulate(walk.steps))[: len(lines)]
    spans = walk.spans
    if root.has_error:
        spans = _repaired(walk, lines)
    return Outline(
        ranks_by_layout(lines, depths, walk.torn, walk.anchors), spans=spans, kind=language.kind
    )


class _Task(NamedTuple):
    """A node to look into, and the row where begins what leads up to it."""

    node: Node
    lead: int


class _Walk:
    """One pass over a tree, in the order of the text."""

    def __init__(self, rules: dict[str, Def], data: bytes, rows: int) -> None:
        self.spans: list[Span] = []
        self.heads: dict[int, int] = {}
        """Where definitions of several rows begin, with the rows of their names."""
        self.steps = [0] * (rows + 2)
        """By how much the depth changes from the border above one row to the next."""
        self.torn: set[int] = set()
        self.anchors: dict[int, int] = {}
        self._rules = rules
        self._data = data

    def run(self, root: Node) -> None:
        tasks = self._children(root)
        while tasks:
            node, lead = tasks.pop()
            first, last = _rows(node)
            kind = node.type
            wraps = kind in WRAPPERS
            if kind in self._rules:
                self._define(self._rules[kind], node, min(lead, first), first, last)
            if first < last:
                self._deepen(node, first, last)
            elif not wraps:
                continue
            children = self._children(node)
            tasks += [task._replace(lead=lead) for task in children] if wraps else children

    def _deepen(self, node: Node, first: int, last: int) -> None:
        self.steps[first + 1] += 1
        self.steps[last + 1] -= 1
        if not node.named_child_count and node.type != "ERROR":
            self.anchors.update(dict.fromkeys(range(first + 1, last + 1), first))

    def _children(self, node: Node) -> list[_Task]:
        """The children, the last first, each with where comments begin that lead up to it."""
        tasks = []
        begin, reached, above = 0, -2, -1
        for child in node.named_children:
            first, last = _rows(child)
            lead = begin if first <= reached + 1 else first
            if lead < first:
                self.torn.add(first)
            if child.type in LEADING and first > above:
                begin, reached = lead, last
            else:
                reached = -2
            above = last
            tasks.append(_Task(child, lead))
        return tasks[::-1]

    def _define(self, rule: Def, node: Node, start: int, first: int, last: int) -> None:
        kind = _kind(rule, node)
        name, row = _name(rule, node, self._data) if kind else ("", 0)
        if not name:
            return
        before = self.spans[-1] if self.spans else None
        if before and before.head == first and before.name == name:
            return  # typedef struct name { ... } name;
        self.spans.append(Span(name, kind, start, first, last))
        if first < last:
            self.heads[first] = row


def _repaired(walk: _Walk, lines: list[str]) -> list[Span]:
    """The spans of a broken program, as they would be if it were whole."""
    found = {span.head for span in walk.spans}
    lost = []
    for row, line in enumerate(lines):
        if row not in found and row not in walk.anchors and (header := _LOST_HEADER.match(line)):
            kind = _KIND.get(header[1], header[1])
            lost.append(Span(header[2], kind, row, row, row))
            walk.heads[row] = row
    ends = ends_by_layout(lines, walk.heads, walk.anchors.keys())
    spans = [span._replace(end=ends.get(span.head, span.end)) for span in [*walk.spans, *lost]]
    return sorted(spans, key=lambda span: span.head)


def _rows(node: Node) -> tuple[int, int]:
    """The first and the last row; a node that ends with its line feed ends on that line."""
    first = node.start_point[0]
    last, column = node.end_point
    return first, last - 1 if column == 0 and last > first else last


def _part(node: Node, names: str) -> Node | None:
    """The first part of `node` that is there: a field of such a name, or a child of such a type."""
    for name in names.split():
        if found := node.child_by_field_name(name):
            return found
        # A definition has few parts before its body; a literal may have 100 000.
        for child in node.children[:16]:
            if child.type == name:
                return child
    return None


def _kind(rule: Def, node: Node) -> str:
    """What the node defines; "" if it defines nothing after all."""
    if not rule.needs:
        return rule.kind
    value = _part(node, rule.needs)
    if value is None:
        return ""
    if not rule.types or rule.kind == "type":
        return rule.types.get(value.type, rule.kind)
    if value.type not in rule.types and value.type == "expression_list":
        value = value.named_children[0] if value.named_child_count else value
    return rule.types.get(value.type, "")


def _name(rule: Def, node: Node, data: bytes) -> tuple[str, int]:
    """The name, qualified by its owner if it stands outside of it, and the row it stands on."""
    name = _part(node, rule.name)
    while name is not None and (inner := name.child_by_field_name("declarator")):
        name = inner  # C wraps a name in what is done with it: *f(x)
    if name is None:
        return "", 0
    text, row = _clean(_text(name, data), whole=rule.whole), name.start_point[0]
    owner = node.child_by_field_name(rule.owner) if rule.owner else None
    receiver = _RECEIVER.search(_text(owner, data)) if owner else None
    return (f"{receiver[1]}.{text}" if receiver else text), row


def _text(node: Node, data: bytes) -> str:
    """The beginning of the node's text."""
    end = min(node.end_byte, node.start_byte + 4 * _NAME_CHARS)
    return data[node.start_byte : end].decode("utf-8", "replace")


def _clean(text: str, *, whole: bool) -> str:
    """`text` on one line; if not `whole`, without type parameters, and joined by dots."""
    if whole:
        return " ".join(text.split()).strip("\"'")[:_NAME_CHARS]
    for _ in range(3):
        text = _GENERICS.sub("", text)
    words = text.replace("::", ".").replace(":", ".").split()
    if not words:
        return ""
    name = "".join(words) if "operator" in text else words[-1]
    return name.lstrip("$")[:_NAME_CHARS]
