"""The languages of the extra ``languages``; without their grammars they are cut by layout."""

from __future__ import annotations

from reposync.chunk.grammar import Def, Language

_SQL = {
    "create_table": "table",
    "create_view": "view",
    "create_materialized_view": "view",
    "create_function": "function",
    "create_procedure": "function",
    "create_trigger": "trigger",
    "create_type": "type",
}

MORE_LANGUAGES = {
    "kotlin": Language(
        ("kt", "kts"),
        "tree_sitter_kotlin",
        {
            "class_declaration": Def("class"),
            "object_declaration": Def("object"),
            "function_declaration": Def("function"),
            "type_alias": Def("type", name="type"),
        },
    ),
    "swift": Language(
        ("swift",),
        "tree_sitter_swift",
        {
            "class_declaration": Def(
                "class",
                needs="declaration_kind",
                types={kind: kind for kind in ("class", "struct", "enum", "extension", "actor")},
            ),
            "protocol_declaration": Def("protocol"),
            "function_declaration": Def("function"),
            "init_declaration": Def("function", name="init"),
        },
    ),
    "scala": Language(
        ("scala", "sc"),
        "tree_sitter_scala",
        {
            "object_definition": Def("object"),
            "class_definition": Def("class"),
            "trait_definition": Def("trait"),
            "enum_definition": Def("enum"),
            "function_definition": Def("function"),
            "function_declaration": Def("function"),
            "type_definition": Def("type"),
        },
    ),
    "lua": Language(
        ("lua",),
        "tree_sitter_lua",
        {
            "function_declaration": Def("function"),
            "assignment_statement": Def(
                "function",
                name="variable_list",
                needs="expression_list",
                types={"function_definition": "function"},
            ),
        },
    ),
    "sql": Language(
        ("sql",),
        "tree_sitter_sql",
        {node: Def(kind, name="object_reference") for node, kind in _SQL.items()},
        kind="text",
    ),
    "html": Language(("html", "htm", "xhtml"), "tree_sitter_html", {}, kind="text"),
    "css": Language(
        ("css",),
        "tree_sitter_css",
        {
            "rule_set": Def("rule", name="selectors", whole=True),
            "keyframes_statement": Def("rule", name="keyframes_name"),
        },
        kind="text",
    ),
    "json": Language(
        ("json",),
        "tree_sitter_json",
        {
            "pair": Def(
                "key",
                name="key",
                needs="value",
                types={"object": "key", "array": "key"},
                whole=True,
            )
        },
        kind="text",
    ),
    "yaml": Language(
        ("yaml", "yml"),
        "tree_sitter_yaml",
        {
            "block_mapping_pair": Def(
                "key", name="key", needs="value", types={"block_node": "key"}, whole=True
            )
        },
        kind="text",
    ),
    "toml": Language(
        ("toml",),
        "tree_sitter_toml",
        {
            node: Def("table", name="dotted_key bare_key quoted_key", whole=True)
            for node in ("table", "table_array_element")
        },
        kind="text",
    ),
}
