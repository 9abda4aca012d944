"""What counts as a definition in each language: one entry a language.

To add a language: its extensions, the module of its grammar wheel, and its node types that define
something (``node-types.json`` in the grammar's repository lists them).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Def:
    """A node type that defines something.

    Attributes:
        kind: what it defines.
        name: the field that holds its name.
        needs: a field that must be there for it to be a definition, such as a body.
        types: if not empty, the node types that this field may have, and the kind each one means.
        owner: a field that names the type that it belongs to, if it does not stand inside of it.
    """

    kind: str
    name: str = "name"
    needs: str = ""
    types: dict[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True)
class Language:
    """One language: its file extensions, its grammar and its definitions."""

    extensions: tuple[str, ...]
    module: str
    definitions: dict[str, Def]
    function: str = "language"


LEADING = frozenset(
    {"comment", "line_comment", "block_comment", "attribute_item", "decorator", "annotation"}
)
"""Nodes that belong to the sibling after them."""

WRAPPERS = frozenset(
    {
        *("decorated_definition", "export_statement", "template_declaration"),
        *("lexical_declaration", "variable_declaration", "type_declaration", "ambient_declaration"),
        *("expression_statement", "declaration", "linkage_specification"),
    }
)
"""Nodes that stand around a single definition and belong to it."""

_FUNCTION_VALUES = {
    "arrow_function": "function",
    "function_expression": "function",
    "generator_function": "function",
    "class": "class",
}

_JAVASCRIPT = {
    "function_declaration": Def("function"),
    "generator_function_declaration": Def("function"),
    "class_declaration": Def("class"),
    "method_definition": Def("function"),
    "field_definition": Def("function", name="property", needs="value", types=_FUNCTION_VALUES),
    "variable_declarator": Def("function", needs="value", types=_FUNCTION_VALUES),
    "assignment_expression": Def("function", name="left", needs="right", types=_FUNCTION_VALUES),
    "pair": Def("function", name="key", needs="value", types=_FUNCTION_VALUES),
}

_TYPESCRIPT = {
    **_JAVASCRIPT,
    "abstract_class_declaration": Def("class"),
    "interface_declaration": Def("interface"),
    "enum_declaration": Def("enum"),
    "type_alias_declaration": Def("type"),
    "internal_module": Def("namespace"),
    "module": Def("namespace"),
    "public_field_definition": Def("function", needs="value", types=_FUNCTION_VALUES),
}

_C = {
    "function_definition": Def("function", name="declarator"),
    "struct_specifier": Def("struct", needs="body"),
    "union_specifier": Def("union", needs="body"),
    "enum_specifier": Def("enum", needs="body"),
    "type_definition": Def(
        "type",
        name="declarator",
        needs="type",
        types={"struct_specifier": "struct", "union_specifier": "union", "enum_specifier": "enum"},
    ),
    "preproc_function_def": Def("macro"),
}

LANGUAGES = {
    "python": Language(
        ("py", "pyi", "pyw"),
        "tree_sitter_python",
        {"function_definition": Def("function"), "class_definition": Def("class")},
    ),
    "javascript": Language(("js", "jsx", "mjs", "cjs"), "tree_sitter_javascript", _JAVASCRIPT),
    "typescript": Language(
        ("ts", "mts", "cts"), "tree_sitter_typescript", _TYPESCRIPT, "language_typescript"
    ),
    "tsx": Language(("tsx",), "tree_sitter_typescript", _TYPESCRIPT, "language_tsx"),
    "java": Language(
        ("java",),
        "tree_sitter_java",
        {
            "class_declaration": Def("class"),
            "interface_declaration": Def("interface"),
            "enum_declaration": Def("enum"),
            "record_declaration": Def("record"),
            "annotation_type_declaration": Def("interface"),
            "method_declaration": Def("function"),
            "constructor_declaration": Def("function"),
            "compact_constructor_declaration": Def("function"),
        },
    ),
    "go": Language(
        ("go",),
        "tree_sitter_go",
        {
            "function_declaration": Def("function"),
            "method_declaration": Def("method", owner="receiver"),
            "type_spec": Def(
                "type",
                needs="type",
                types={"struct_type": "struct", "interface_type": "interface"},
            ),
        },
    ),
    "rust": Language(
        ("rs",),
        "tree_sitter_rust",
        {
            "function_item": Def("function"),
            "struct_item": Def("struct"),
            "enum_item": Def("enum"),
            "union_item": Def("union"),
            "trait_item": Def("trait"),
            "impl_item": Def("impl", name="type"),
            "mod_item": Def("module", needs="body"),
            "macro_definition": Def("macro"),
        },
    ),
    "c": Language(("c", "h"), "tree_sitter_c", _C),
    "cpp": Language(
        ("cpp", "cc", "cxx", "c++", "hpp", "hh", "hxx", "h++", "ipp", "tpp", "inl"),
        "tree_sitter_cpp",
        {
            **_C,
            "namespace_definition": Def("namespace"),
            "class_specifier": Def("class", needs="body"),
            "concept_definition": Def("concept"),
            "alias_declaration": Def("type"),
        },
    ),
}
