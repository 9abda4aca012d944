"""What counts as a definition in each language: one entry a language.

To add a language: its extensions, the module of its grammar wheel, and its node types that define
something (``node-types.json`` in the grammar's repository lists them). Languages whose grammars the
extra ``languages`` brings are in ``more_languages``.
"""

from __future__ import annotations

from reposync.chunk.grammar import Def, Language
from reposync.chunk.more_languages import MORE_LANGUAGES

LEADING = frozenset(
    {
        *("comment", "line_comment", "block_comment", "multiline_comment", "marginalia"),
        *("attribute_item", "decorator", "annotation"),
    }
)
"""Nodes that belong to the sibling after them."""

WRAPPERS = frozenset(
    {
        *("decorated_definition", "export_statement", "template_declaration"),
        *("lexical_declaration", "variable_declaration", "type_declaration", "ambient_declaration"),
        *("expression_statement", "declaration", "linkage_specification", "statement"),
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
    "csharp": Language(
        ("cs", "csx"),
        "tree_sitter_c_sharp",
        {
            "namespace_declaration": Def("namespace"),
            "class_declaration": Def("class"),
            "interface_declaration": Def("interface"),
            "struct_declaration": Def("struct"),
            "record_declaration": Def("record"),
            "enum_declaration": Def("enum"),
            "delegate_declaration": Def("type"),
            "method_declaration": Def("function"),
            "constructor_declaration": Def("function"),
            "destructor_declaration": Def("function"),
            "local_function_statement": Def("function"),
            "property_declaration": Def("property"),
        },
    ),
    "ruby": Language(
        ("rb", "rake", "gemspec", "ru"),
        "tree_sitter_ruby",
        {
            "module": Def("module"),
            "class": Def("class"),
            "method": Def("function"),
            "singleton_method": Def("function"),
        },
    ),
    "php": Language(
        ("php", "phtml"),
        "tree_sitter_php",
        {
            "namespace_definition": Def("namespace", needs="body"),
            "class_declaration": Def("class"),
            "interface_declaration": Def("interface"),
            "trait_declaration": Def("trait"),
            "enum_declaration": Def("enum"),
            "method_declaration": Def("function"),
            "function_definition": Def("function"),
            "assignment_expression": Def(
                "function",
                name="left",
                needs="right",
                types={"anonymous_function": "function", "arrow_function": "function"},
            ),
        },
        "language_php",
    ),
    "bash": Language(
        ("sh", "bash", "zsh", "ksh"),
        "tree_sitter_bash",
        {"function_definition": Def("function")},
    ),
    **MORE_LANGUAGES,
}
